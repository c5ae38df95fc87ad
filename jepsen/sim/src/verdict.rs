//! What a run means: the history of its clients, judged by the checkers of the Jepsen harness. Two of them are left out:
//! liveness is judged by the run itself, which has another clock for it, and whether faults act by their tally, since here they
//! overlap.

use twinset_control::Catalogue;
use twinset_jepsen::books::replicas;
use twinset_jepsen::check::{self, Case, Finding, Verdict};
use twinset_jepsen::history::event::FORMAT;
use twinset_jepsen::history::{Event, FaultSpan, History, Meta};
use twinset_jepsen::nemesis::{self, Evidence, Link};

use crate::cluster;
use crate::faults::Fault;
use crate::plan::{NODES, Plan, ROUTERS};
use crate::run::Outcome;
use crate::world::{Ending, Span, World, cuts};

const ELSEWHERE: [&str; 2] = ["liveness", "faults_act"];
/// Examples of one finding that are told.
const TOLD: usize = 5;

/// What a run was, for its history.
pub fn meta(plan: &Plan, catalogue: &Catalogue) -> Meta {
    let node = |name: &&str| ((*name).to_owned(), cluster::site(name).to_owned());
    Meta {
        format: FORMAT,
        seed: plan.seed,
        workloads: plan.workloads.iter().map(|name| (*name).to_owned()).collect(),
        machine: "simulated".to_owned(),
        sets: (1..=plan.sets).collect(),
        slots: catalogue.slot_table(),
        sites: ["A", "B"].map(str::to_owned).to_vec(),
        routers: ROUTERS.map(str::to_owned).to_vec(),
        nodes: NODES.iter().filter(|name| !cluster::is_arbiter(name)).map(node).collect(),
        replicas: replicas::placed(catalogue),
        ..Meta::default()
    }
}

/// What clients saw of a run, and what is wrong with it.
pub struct Judged {
    /// Questions with a definite answer.
    pub answered: usize,
    /// Questions with an open end.
    pub open: usize,
    /// What is wrong, in words; empty, if all is well.
    pub wrong: Vec<String>,
}

/// Judges a run. What is missing counts only in a run that came to its end: another one has its reason already.
pub fn judge(outcome: Outcome) -> Judged {
    let Outcome { violations: mut wrong, events, .. } = outcome;
    let whole = wrong.is_empty();
    let history = match History::from_events(events) {
        Ok(history) => history,
        Err(error) => {
            wrong.push(format!("harness: {error}"));
            return Judged { answered: 0, open: 0, wrong };
        }
    };
    let counts = |finding: &Finding| match finding.verdict {
        Verdict::Valid | Verdict::Idle => false,
        Verdict::Invalid => true,
        Verdict::Unknown => whole,
    };
    for finding in check::all(&Case::of(&history)) {
        if counts(&finding) && !ELSEWHERE.contains(&finding.checker) {
            let told = finding.examples.iter().take(TOLD);
            wrong.extend(told.map(|words| format!("{} ({}): {words}", finding.checker, finding.claim)));
        }
    }
    let open = history.ops.iter().filter(|op| op.answer.is_open()).count();
    Judged { answered: history.ops.len() - open, open, wrong }
}

/// The faults that a checker must know of, as far as they acted: which machines did not hear which, and how far
/// clocks were wrong; and each end of a process, whatever ended it. In the order of their begins.
pub fn faults(world: &World, over_ns: u64) -> impl Iterator<Item = Event> {
    let acted = world.spans.iter().filter(|span| span.acted != Some(false));
    let ended = world.endings.iter().map(|ending| ended(ending, over_ns));
    let mut faults: Vec<FaultSpan> = acted.filter_map(|span| known(span, over_ns)).chain(ended).collect();
    faults.sort_by_key(|span| span.begin_ns);
    faults.into_iter().map(Event::Fault)
}

fn known(span: &Span, over_ns: u64) -> Option<FaultSpan> {
    let (begin_ns, end_ns) = (span.begin_ns, span.end_ns.unwrap_or(over_ns));
    let for_ms = (end_ns - begin_ns) / 1_000_000;
    let fault = match &span.fault {
        Fault::Clock(victim, by_ms) => {
            nemesis::Fault::ClockStep { victim: (*victim).to_owned(), by_ms: *by_ms, for_ms }
        }
        Fault::Crash(victims) | Fault::PowerLoss(victims) => killed(victims, for_ms),
        Fault::Isolate(_) | Fault::SiteSplit | Fault::OneWay(..) => {
            let pairs = NODES.iter().flat_map(|from| NODES.iter().map(move |to| (*from, *to)));
            let silent = pairs.filter(|(from, to)| from != to && cuts(&span.fault, from, to));
            let cut = silent.map(|(from, to)| Link { from: from.to_owned(), to: to.to_owned() }).collect();
            nemesis::Fault::Partition { shape: span.fault.kind().to_owned(), cut, for_ms }
        }
        Fault::Hold(one, other) => {
            let way = |from: &str, to: &str| Link { from: from.to_owned(), to: to.to_owned() };
            let links = vec![way(one, other), way(other, one)];
            nemesis::Fault::Delay { links, delay_ms: for_ms, jitter_ms: 0, for_ms }
        }
        Fault::SlowDisk(victim, by_ms) => {
            nemesis::Fault::SlowDisk { victim: (*victim).to_owned(), by_ms: *by_ms, for_ms }
        }
        // What came of these is the end of a process, some time after their begin, or even after their end.
        Fault::SyncError(_) | Fault::DiskFull(_) | Fault::DeathAtWork(..) | Fault::Switch(_) => return None,
    };
    Some(told(fault, begin_ns, end_ns, end_ns))
}

/// The end of one process. It is over when the next one has grown up, as a fault of the Jepsen harness is when the
/// cluster is whole again: the checkers take any process for young until then, and no longer.
fn ended(ending: &Ending, over_ns: u64) -> FaultSpan {
    let undone_ns = ending.again_ns.unwrap_or(over_ns);
    let down_ms = (undone_ns - ending.ended_ns) / 1_000_000;
    let end_ns = ending.grown_ns.unwrap_or(over_ns);
    told(killed(&[ending.node], down_ms), ending.ended_ns, undone_ns, end_ns)
}

fn killed(victims: &[&str], down_ms: u64) -> nemesis::Fault {
    let victims = victims.iter().map(|name| (*name).to_owned()).collect();
    nemesis::Fault::Kill { victims, down_ms, again_ms: None }
}

fn told(fault: nemesis::Fault, begin_ns: u64, undone_ns: u64, end_ns: u64) -> FaultSpan {
    FaultSpan {
        fault,
        begin_ns,
        acts_ns: Some(begin_ns),
        undone_ns: Some(undone_ns),
        end_ns: Some(end_ns),
        evidence: Some(Evidence { acted: true, detail: String::new() }),
    }
}

/// The lines of a history as its files have them.
pub fn lines(events: &[Event]) -> impl Iterator<Item = String> {
    events.iter().map(|event| serde_json::to_string(event).expect("an event has only what JSON has"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use twinset_jepsen::history::{Answer, Ask, Level, Phase, Recorder};
    use twinset_jepsen::synthetic;

    use super::*;
    use crate::faults::Tally;

    fn outcome(violations: Vec<String>, closed: bool) -> Outcome {
        let plan = Arc::new(Plan::draw(1, Duration::from_secs(1)));
        let recorder = Recorder::in_memory(meta(&plan, &cluster::catalogue(plan.sets)));
        let account = recorder.account("{t}:1");
        let ask = Ask::Close { id: "x".into(), account };
        let op = recorder.invoke(recorder.process(), 0, 0, None, &ask);
        recorder.end(op, &Answer::Unknown { why: "silent".into() });
        if closed {
            recorder.phase(Phase::Done);
        }
        let (events, faults) = (recorder.events(), Tally::default());
        Outcome { plan, violations, events, faults, simulated: Duration::ZERO }
    }

    #[test]
    fn what_is_missing_is_wrong_unless_the_run_broke_off() {
        let judged = judge(outcome(Vec::new(), true));
        assert_eq!((judged.answered, judged.open), (0, 1));
        assert!(judged.wrong.iter().any(|words| words.starts_with("exactly_once")), "{:?}", judged.wrong);
        let broken_off = judge(outcome(vec!["liveness".into()], false));
        assert_eq!(broken_off.wrong, ["liveness"]);
    }

    #[test]
    fn sites_that_do_not_hear_each_other_are_known_to_be_apart() {
        let plan = Plan::draw(1, Duration::from_secs(1));
        let nodes = meta(&plan, &cluster::catalogue(plan.sets)).nodes;
        let apart = |fault: Fault| {
            let span = Span { fault, begin_ns: 5, end_ns: Some(2_000_005), acted: Some(true) };
            known(&span, 9_000_000)
                .is_some_and(|span| span.acts_ns == Some(5) && span.fault.parts_sites(&nodes))
        };
        assert!(apart(Fault::SiteSplit));
        assert!(apart(Fault::Isolate(vec!["a1", "a2"])) && !apart(Fault::Isolate(vec!["a1"])));
        assert!(apart(Fault::PowerLoss(vec!["b1", "b2"])) && !apart(Fault::PowerLoss(vec!["b1"])));
        assert!(!apart(Fault::OneWay("a1", "b1")) && !apart(Fault::SyncError("a1")));
        let clock =
            |acted| Span { fault: Fault::Clock("a1", 7), begin_ns: 0, end_ns: Some(3_000_000), acted };
        assert_eq!(known(&clock(None), 4_000_000).unwrap().fault.lasts(), Duration::from_millis(3));
        let mut world = World::new(Arc::new(plan));
        world.spans = vec![clock(Some(false)), clock(Some(true))];
        assert_eq!(faults(&world, 4_000_000).count(), 1);
    }

    const SECOND: u64 = 1_000_000_000;

    /// What a read of 100 s after the begin is called that claims to be fresh and is as old as the begin, if a clock
    /// was an hour ahead once, and a process ended at 3 s, whose follower began at 4 s and had grown up by `grown_s`.
    fn stale_read(grown_s: Option<u64>) -> Verdict {
        let mut history = synthetic::history(6_000, 5).unwrap();
        let from = history.phase(Phase::Traffic).unwrap();
        let read = history.ops.iter_mut().find(|op| {
            let is_stale = op.ask.read_level() == Some(Level::Stale);
            op.begin_ns >= from && is_stale && matches!(op.answer, Answer::Account { .. })
        });
        let read = read.expect("the made-up history has one");
        (read.begin_ns, read.end_ns) = (from + 100 * SECOND, Some(from + 100 * SECOND + 1));
        let Answer::Account { as_of, .. } = &mut read.answer else { unreachable!() };
        as_of.age_ms = 0;
        let mut world = World::new(Arc::new(Plan::draw(1, Duration::from_secs(1))));
        let fault = Fault::Clock("b1", 3_600_000);
        world.spans = vec![Span { fault, begin_ns: SECOND, end_ns: Some(2 * SECOND), acted: Some(true) }];
        world.endings = vec![Ending {
            node: "a1",
            ended_ns: 3 * SECOND,
            again_ns: Some(4 * SECOND),
            grown_ns: grown_s.map(|grown_s| from + grown_s * SECOND),
        }];
        let known = faults(&world, 1_000 * SECOND).map(|event| match event {
            Event::Fault(span) => span,
            other => panic!("{other:?}"),
        });
        history.faults = known.collect();
        let findings = check::all(&Case::of(&history));
        findings
            .into_iter()
            .find(|finding| finding.checker == "stale_reads")
            .expect("it is a checker")
            .verdict
    }

    #[test]
    fn a_process_is_young_until_it_has_grown_up_and_a_wrong_clock_excuses_nothing_after_that() {
        assert_eq!(stale_read(Some(5)), Verdict::Invalid);
        assert_eq!(stale_read(Some(101)), Verdict::Valid);
        assert_eq!(stale_read(None), Verdict::Valid, "it was young to the end of the run");
    }

    #[test]
    fn every_end_of_a_process_is_told_and_in_the_order_of_time() {
        let mut world = World::new(Arc::new(Plan::draw(1, Duration::from_secs(1))));
        let span = |fault, begin_ns| Span { fault, begin_ns, end_ns: Some(9), acted: Some(true) };
        world.spans = vec![span(Fault::SyncError("b2"), 1), span(Fault::Crash(vec!["a1"]), 5)];
        let ending = |node, ended_ns| Ending { node, ended_ns, again_ns: Some(9), grown_ns: Some(12) };
        world.endings = vec![ending("b2", 3), ending("a1", 5)];
        let told: Vec<_> = faults(&world, 20)
            .map(|event| match event {
                Event::Fault(span) => (span.begin_ns, span.end_ns, span.fault.ends_processes()),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told, [(3, Some(12), true), (5, Some(9), true), (5, Some(12), true)]);
    }
}
