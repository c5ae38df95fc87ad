//! What becomes of a drill whose player fell silent: it is recorded as abandoned, which halts every plan, and then its sets
//! are brought home by one plan. Faults have ended by themselves. A pure function of the catalogue, so that the next
//! conductor goes on with it.

use twinset_control::drill::{self, State, Verdict};
use twinset_control::plan::{self, Kind, Pace, Planned};
use twinset_control::{Catalogue, Command, Drill};

/// The next thing to record, if there is one.
pub fn next(catalogue: &Catalogue, now_unix_ns: u64, me: &str) -> Option<Command> {
    if let Some(drill) = catalogue.active_drill() {
        let is_over = now_unix_ns > drill.until_unix_ns;
        let end = drill::Command::End { drill: drill.id, verdict: Verdict::Abandoned, who: me.to_owned() };
        return is_over.then_some(Command::Drill(end));
    }
    // What ended later has brought its own sets home, or left that to its operator.
    let drill = catalogue.drills.values().next_back()?;
    if drill.state != (State::Ended { verdict: Verdict::Abandoned })
        || catalogue.active_plans().next().is_some()
    {
        return None;
    }
    let is_begun = catalogue.plans.values().any(|plan| plan.request_id == drill.way_home());
    (!is_begun && is_away(catalogue)).then(|| Command::Plan(home(catalogue, drill, me)))
}

fn is_away(catalogue: &Catalogue) -> bool {
    let isolated = catalogue.sites.values().any(|site| site.isolated);
    isolated || catalogue.sets.values().any(|set| set.home != set.configured_home || set.pinned)
}

fn home(catalogue: &Catalogue, drill: &Drill, me: &str) -> plan::Command {
    let kind = Kind::Return { site: None };
    let planned = |(set, _)| Planned { set, epoch: catalogue.sets[&set].epoch, leader: String::new() };
    plan::Command::Begin {
        request_id: drill.way_home(),
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
        assert_eq!((kind, request_id.as_str()), (Kind::Return { site: None }, "drill-100-home"));
        assert_eq!(order.iter().map(|planned| planned.set).collect::<Vec<_>>(), [1]);
        let begin = next(&catalogue, 112 * SECOND, "a1").unwrap();
        apply(&mut catalogue, 102, 112 * SECOND, begin).unwrap();
        assert_eq!(next(&catalogue, 113 * SECOND, "b1"), None, "the plan is on its way");
        let end = plan::Command::End { plan: 102, state: plan::State::Failed, reason: Some("x".into()) };
        let _ = apply(&mut catalogue, 103, 114 * SECOND, Command::Plan(end));
        assert_eq!(next(&catalogue, 120 * SECOND, "b1"), None, "and is begun once");
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
