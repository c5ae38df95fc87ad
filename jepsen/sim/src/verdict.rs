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
use crate::world::{Span, cuts};

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

/// The faults that a checker must know of, as far as they acted: which machines did not hear which, how far clocks were wrong,
/// and which processes ended. Nobody waits here until a new process has heard its leader, so that it may be young until the
/// end of the run.
pub fn faults(spans: &[Span], over_ns: u64) -> impl Iterator<Item = Event> {
    let acted = spans.iter().filter(|span| span.acted != Some(false));
    acted.filter_map(move |span| known(span, over_ns)).map(Event::Fault)
}

fn known(span: &Span, over_ns: u64) -> Option<FaultSpan> {
    let (begin_ns, undone_ns) = (span.begin_ns, span.end_ns.unwrap_or(over_ns));
    let for_ms = (undone_ns - begin_ns) / 1_000_000;
    let killed = |victims: &[&str]| nemesis::Fault::Kill {
        victims: victims.iter().map(|name| (*name).to_owned()).collect(),
        down_ms: for_ms,
        again_ms: None,
    };
    let (fault, end_ns) = match &span.fault {
        Fault::Clock(victim, by_ms) => {
            let (victim, by_ms) = ((*victim).to_owned(), *by_ms);
            (nemesis::Fault::ClockStep { victim, by_ms, for_ms }, undone_ns)
        }
        Fault::Crash(victims) | Fault::PowerLoss(victims) => (killed(victims), over_ns),
        Fault::SyncError(victim) | Fault::DiskFull(victim) | Fault::DeathAtWork(victim, _) => {
            // It ends some time after the begin.
            (nemesis::Fault::FsyncError { victim: (*victim).to_owned(), down_ms: 0 }, over_ns)
        }
        Fault::Isolate(_) | Fault::SiteSplit | Fault::OneWay(..) => {
            let pairs = NODES.iter().flat_map(|from| NODES.iter().map(move |to| (*from, *to)));
            let silent = pairs.filter(|(from, to)| from != to && cuts(&span.fault, from, to));
            let cut = silent.map(|(from, to)| Link { from: from.to_owned(), to: to.to_owned() }).collect();
            (nemesis::Fault::Partition { shape: span.fault.kind().to_owned(), cut, for_ms }, undone_ns)
        }
        Fault::Hold(one, other) => {
            let way = |from: &str, to: &str| Link { from: from.to_owned(), to: to.to_owned() };
            let links = vec![way(one, other), way(other, one)];
            (nemesis::Fault::Delay { links, delay_ms: for_ms, jitter_ms: 0, for_ms }, undone_ns)
        }
        Fault::SlowDisk(victim, by_ms) => {
            let (victim, by_ms) = ((*victim).to_owned(), *by_ms);
            (nemesis::Fault::SlowDisk { victim, by_ms, for_ms }, undone_ns)
        }
        Fault::Switch(_) => return None,
    };
    let evidence = Some(Evidence { acted: true, detail: String::new() });
    Some(FaultSpan {
        fault,
        begin_ns,
        acts_ns: Some(begin_ns),
        undone_ns: Some(undone_ns),
        end_ns: Some(end_ns),
        evidence,
    })
}

/// The lines of a history as its files have them.
pub fn lines(events: &[Event]) -> impl Iterator<Item = String> {
    events.iter().map(|event| serde_json::to_string(event).expect("an event has only what JSON has"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use twinset_jepsen::history::{Answer, Ask, Phase, Recorder};

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
        assert_eq!(faults(&[clock(Some(false)), clock(Some(true))], 4_000_000).count(), 1);
    }
}
