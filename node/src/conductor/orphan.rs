//! What becomes of a drill whose player fell silent: it is recorded as abandoned, which halts every plan, and then its sets
//! are brought home by a plan, and by another one while that does not succeed: nodes may have to be started first, and faults to end
//! by themselves. A pure function of the catalogue, so that the next
//! conductor goes on with it.

use twinset_control::drill::{self, State, Verdict};
use twinset_control::plan::{self, Kind, Pace, Planned};
use twinset_control::{Catalogue, Command, Drill, Plan};

/// For so long the cluster sees to the way home, in nanoseconds: what is away later is somebody else's business.
const SEES_TO_IT_NS: u64 = 900_000_000_000;
/// Between the end of a plan that has not brought all of them home and the next one.
const AGAIN_NS: u64 = 15_000_000_000;

/// The next thing to record, if there is one.
pub fn next(catalogue: &Catalogue, now_unix_ns: u64, me: &str) -> Option<Command> {
    if let Some(drill) = catalogue.active_drill() {
        let is_over = now_unix_ns > drill.until_unix_ns;
        let end = drill::Command::End { drill: drill.id, verdict: Verdict::Abandoned, who: me.to_owned() };
        return is_over.then_some(Command::Drill(end));
    }
    let (drill, ended_ns) = left_behind(catalogue, now_unix_ns)?;
    if catalogue.active_plans().next().is_some() {
        return None;
    }
    let since: Vec<&Plan> = catalogue.plans.values().filter(|plan| plan.began_unix_ns >= ended_ns).collect();
    let is_ours = |plan: &&Plan| plan.request_id.starts_with(&drill.way_home());
    // Whoever has begun a plan since then knows better where sets are to be.
    if !since.iter().all(is_ours) {
        return None;
    }
    let waits = since.last().is_some_and(|last| {
        let ended_ns = last.ended_unix_ns.unwrap_or(last.began_unix_ns);
        last.state == plan::State::Done || now_unix_ns.saturating_sub(ended_ns) < AGAIN_NS
    });
    (!waits && catalogue.is_away()).then(|| Command::Plan(home(catalogue, drill, since.len() + 1, me)))
}

/// Whether something may have to be done although nothing changes: a lease ends without a word, and so does the time between two
/// plans.
pub fn is_due_by_time(catalogue: &Catalogue, now_unix_ns: u64) -> bool {
    catalogue.active_drill().is_some() || left_behind(catalogue, now_unix_ns).is_some()
}

/// The newest drill, if it was abandoned a little while ago, and when.
fn left_behind(catalogue: &Catalogue, now_unix_ns: u64) -> Option<(&Drill, u64)> {
    let drill = catalogue.drills.values().next_back()?;
    let ended_ns = drill.ended_unix_ns?;
    let is_abandoned = drill.state == (State::Ended { verdict: Verdict::Abandoned });
    (is_abandoned && now_unix_ns.saturating_sub(ended_ns) < SEES_TO_IT_NS).then_some((drill, ended_ns))
}

fn home(catalogue: &Catalogue, drill: &Drill, turn: usize, me: &str) -> plan::Command {
    let kind = Kind::Return { site: None };
    let planned = |(set, _)| Planned { set, epoch: catalogue.sets[&set].epoch, leader: String::new() };
    plan::Command::Begin {
        request_id: format!("{}-{turn}", drill.way_home()),
        order: kind.sets(catalogue).into_iter().map(planned).collect(),
        kind,
        // One set that cannot return keeps none of the others away.
        pace: Pace {
            stages: vec![100],
            soak_ms: 0,
            concurrency: 4,
            failures_max: u32::MAX,
            roll_back: false,
        },
        who: me.to_owned(),
        why: format!("drill {} ({}) was abandoned", drill.id, drill.scenario),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinset_control::plan::{StepOutcome, StepState};
    use twinset_control::{Topology, apply};

    const SECOND: u64 = 1_000_000_000;

    /// A catalogue in which a drill of ten seconds has begun at second 100, by index.
    fn drilled() -> Catalogue {
        let mut text = "[cluster]\nname = \"t\"\nsets = 2\n".to_owned();
        for (number, (name, site)) in [("a1", "A"), ("a2", "A"), ("b1", "B"), ("b2", "B")].iter().enumerate()
        {
            let port = 100 + number * 3;
            text.push_str(&format!(
                "[[node]]\nname = \"{name}\"\nsite = \"{site}\"\narbiter = false\napi = \"h:{port}\"\npeer = \"h:{}\"\nhttp = \"h:{}\"\n",
                port + 1,
                port + 2
            ));
        }
        let mut catalogue = toml::from_str::<Topology>(&text).unwrap().place("id").unwrap();
        let begin = drill::Command::Begin {
            request_id: "r".into(),
            scenario: "s".into(),
            set: 1,
            lease_ms: 10_000,
            who: "ops".into(),
            why: "test".into(),
        };
        apply(&mut catalogue, 100, 100 * SECOND, Command::Drill(begin)).unwrap();
        catalogue
    }

    fn moved(catalogue: &mut Catalogue) {
        catalogue.sets.get_mut(&1).unwrap().home = "B".into();
    }

    #[test]
    fn a_drill_is_left_alone_while_its_lease_runs() {
        let catalogue = drilled();
        assert_eq!(next(&catalogue, 110 * SECOND, "a1"), None);
        let over = next(&catalogue, 110 * SECOND + 1, "a1").unwrap();
        let end = drill::Command::End { drill: 100, verdict: Verdict::Abandoned, who: "a1".into() };
        assert_eq!(over, Command::Drill(end));
    }

    #[test]
    fn the_sets_of_an_abandoned_drill_go_home_once() {
        let mut catalogue = drilled();
        let over = next(&catalogue, 111 * SECOND, "a1").unwrap();
        apply(&mut catalogue, 101, 111 * SECOND, over).unwrap();
        assert_eq!(next(&catalogue, 112 * SECOND, "a1"), None, "all are at home");
        moved(&mut catalogue);
        let Some(Command::Plan(plan::Command::Begin { kind, order, request_id, .. })) =
            next(&catalogue, 112 * SECOND, "a1")
        else {
            panic!("a plan is begun");
        };
        assert_eq!((kind, request_id.as_str()), (Kind::Return { site: None }, "drill-100-home-1"));
        assert_eq!(order.iter().map(|planned| planned.set).collect::<Vec<_>>(), [1]);
        begun(&mut catalogue, 102, 112);
        assert_eq!(next(&catalogue, 113 * SECOND, "b1"), None, "the plan is on its way");
        ended(&mut catalogue, 102, 114, StepState::Failed { reason: "x".into() });
        assert_eq!(next(&catalogue, 120 * SECOND, "b1"), None, "not at once");
        begun(&mut catalogue, 105, 130);
        ended(&mut catalogue, 105, 131, StepState::Done);
        assert_eq!(next(&catalogue, 300 * SECOND, "b1"), None, "what is away now was moved by somebody else");
    }

    /// The plan that is due is begun.
    fn begun(catalogue: &mut Catalogue, index: u64, second: u64) {
        let begin = next(catalogue, second * SECOND, "a1").expect("a plan is due");
        apply(catalogue, index, second * SECOND, begin).unwrap();
    }

    /// Its step ends so, and with it the plan.
    fn ended(catalogue: &mut Catalogue, plan: u64, second: u64, state: StepState) {
        let failed = matches!(state, StepState::Failed { .. });
        let outcomes = vec![StepOutcome { set: 1, state, pause_us: None }];
        let record = plan::Command::Record { plan, outcomes };
        apply(catalogue, plan + 1, second * SECOND, Command::Plan(record)).unwrap();
        let (state, reason) = match failed {
            true => (plan::State::Failed, Some("x".to_owned())),
            false => (plan::State::Done, None),
        };
        let end = plan::Command::End { plan, state, reason };
        apply(catalogue, plan + 2, second * SECOND, Command::Plan(end)).unwrap();
    }

    #[test]
    fn nobody_is_brought_home_against_an_operator_or_much_later() {
        let mut catalogue = drilled();
        let over = next(&catalogue, 111 * SECOND, "a1").unwrap();
        apply(&mut catalogue, 101, 111 * SECOND, over).unwrap();
        let later = 111 * SECOND + SEES_TO_IT_NS;
        assert!(is_due_by_time(&catalogue, later - 1) && !is_due_by_time(&catalogue, later));
        let mut much_later = catalogue.clone();
        moved(&mut much_later);
        assert_eq!(next(&much_later, later, "a1"), None);
        let evacuate = plan::Command::Begin {
            request_id: "ours".into(),
            kind: Kind::Evacuate { site: "B".into(), emergency: true },
            pace: Pace { stages: vec![100], soak_ms: 0, concurrency: 1, failures_max: 0, roll_back: false },
            order: vec![Planned { set: 2, epoch: 1, leader: String::new() }],
            who: "ops".into(),
            why: "fire".into(),
        };
        apply(&mut catalogue, 102, 120 * SECOND, Command::Plan(evacuate)).unwrap();
        let stop = plan::Command::Stop { who: "ops".into(), why: "out".into() };
        apply(&mut catalogue, 103, 121 * SECOND, Command::Plan(stop)).unwrap();
        let end = plan::Command::End { plan: 102, state: plan::State::Stopped, reason: None };
        apply(&mut catalogue, 104, 122 * SECOND, Command::Plan(end)).unwrap();
        moved(&mut catalogue);
        assert_eq!(next(&catalogue, 200 * SECOND, "a1"), None, "he has taken over");
    }

    #[test]
    fn a_drill_that_ended_by_itself_is_its_players_business() {
        let mut catalogue = drilled();
        let end = drill::Command::End { drill: 100, verdict: Verdict::Stopped, who: "ops".into() };
        apply(&mut catalogue, 101, 105 * SECOND, Command::Drill(end)).unwrap();
        moved(&mut catalogue);
        assert_eq!(next(&catalogue, 200 * SECOND, "a1"), None);
    }
}
