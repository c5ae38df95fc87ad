//! What a run means: the history of its clients, judged by the checkers of the Jepsen harness. Two of them are left out:
//! liveness is judged by the run itself, which has another clock for it, and whether faults act by their tally, since here they
//! overlap.

use std::sync::Arc;
use std::time::Duration;

use twinset_jepsen::check::{self, Case, Finding, Verdict};
use twinset_jepsen::history::event::FORMAT;
use twinset_jepsen::history::{Event, FaultSpan, History, Meta};
use twinset_jepsen::nemesis::{self, Evidence};

use crate::faults::Fault;
use crate::plan::{Plan, ROUTERS};
use crate::run::Outcome;

const ELSEWHERE: [&str; 2] = ["liveness", "faults_act"];
/// Examples of one finding that are told.
const TOLD: usize = 5;

/// What a run was, for its history.
pub fn meta(plan: &Plan, slots: Vec<u32>) -> Meta {
    Meta {
        format: FORMAT,
        seed: plan.seed,
        workloads: plan.workloads.iter().map(|name| (*name).to_owned()).collect(),
        machine: "simulated".to_owned(),
        sets: (1..=plan.sets).collect(),
        slots,
        sites: ["A", "B"].map(str::to_owned).to_vec(),
        routers: ROUTERS.map(str::to_owned).to_vec(),
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
    let Outcome { plan, violations: mut wrong, events, .. } = outcome;
    let whole = wrong.is_empty();
    let mut history = match History::from_events(events) {
        Ok(history) => history,
        Err(error) => {
            wrong.push(format!("harness: {error}"));
            return Judged { answered: 0, open: 0, wrong };
        }
    };
    history.faults = clocks(&plan);
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

/// The faults that a checker must know of: how far clocks were wrong, and which processes ended. Nobody waits here until a new
/// process has heard its leader, so that it may be young until the end.
fn clocks(plan: &Arc<Plan>) -> Vec<FaultSpan> {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let killed = |victims: &[&str], for_: Duration| nemesis::Fault::Kill {
        victims: victims.iter().map(|name| (*name).to_owned()).collect(),
        down_ms: ms(for_),
        again_ms: None,
    };
    let span = |planned: &crate::plan::Planned| {
        let for_ = planned.for_;
        let (fault, end_ns) = match &planned.fault {
            Fault::Clock(victim, by_ms) => {
                let (victim, by_ms) = ((*victim).to_owned(), *by_ms);
                (nemesis::Fault::ClockStep { victim, by_ms, for_ms: ms(for_) }, Some(ns(planned.at + for_)))
            }
            Fault::Crash(victims) | Fault::PowerLoss(victims) => (killed(victims, for_), None),
            Fault::SyncError(victim) | Fault::DiskFull(victim) | Fault::DeathAtWork(victim, _) => {
                (killed(&[victim], for_), None)
            }
            _ => return None,
        };
        let evidence = Some(Evidence { acted: true, detail: String::new() });
        Some(FaultSpan { fault, begin_ns: ns(planned.at), acts_ns: None, undone_ns: None, end_ns, evidence })
    };
    plan.faults.iter().filter_map(span).collect()
}

/// The lines of a history as its files have them.
pub fn lines(events: &[Event]) -> impl Iterator<Item = String> {
    events.iter().map(|event| serde_json::to_string(event).expect("an event has only what JSON has"))
}

#[cfg(test)]
mod tests {
    use twinset_jepsen::history::{Answer, Ask, Phase, Recorder};

    use super::*;
    use crate::faults::Tally;

    fn outcome(violations: Vec<String>, closed: bool) -> Outcome {
        let plan = Arc::new(Plan::draw(1, Duration::from_secs(1)));
        let recorder = Recorder::in_memory(meta(&plan, vec![1; 4096]));
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
}
