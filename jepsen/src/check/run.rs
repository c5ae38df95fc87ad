//! Whether a run means anything: its faults acted, its replicas agree, its history is whole, its processes said nothing that
//! nobody expects. Pure.

use super::witness::calls;
use super::{Case, Found};
use crate::history::{Answer, Phase};

/// What `verify` said of the replicas in the end.
pub fn replicas(case: &Case<'_>) -> Found {
    let mut found = Found { checked: case.history.verify.len() as u64, ..Found::default() };
    if case.history.verify.is_empty() {
        found.missing(|| "the replicas were not compared".into());
    }
    for line in case.history.verify.iter().filter(|line| !line.clean) {
        found.wrong(|| format!("{}: {}", line.subject, line.detail));
    }
    found
}

/// Each fault was seen to act, and was undone.
pub fn faults(case: &Case<'_>) -> Found {
    let mut found = Found { checked: case.history.faults.len() as u64, ..Found::default() };
    if case.history.faults.is_empty() && !case.history.meta.nemeses.is_empty() {
        found.missing(|| "no fault was done".into());
    }
    for span in &case.history.faults {
        match &span.evidence {
            Some(evidence) if evidence.acted && span.end_ns.is_some() => {}
            Some(evidence) => {
                found.wrong(|| format!("{:?} was not seen to act: {}", span.fault, evidence.detail))
            }
            None => found.wrong(|| format!("{:?} was never undone", span.fault)),
        }
    }
    found
}

/// The history is whole, processes keep to their rules, nothing unexpected was logged, and something was booked.
pub fn harness(case: &Case<'_>) -> Found {
    let history = case.history;
    let mut found = Found { checked: history.ops.len() as u64, ..Found::default() };
    history.malformed().into_iter().for_each(|words| found.wrong(|| words));
    history.notes.iter().for_each(|note| found.wrong(|| note.clone()));
    for (number, op) in history.ops.iter().enumerate() {
        if matches!(op.answer, Answer::NotApplied { .. }) && !op.answer.will_pass() {
            found.wrong(|| format!("operation {number} asked for nonsense: {:?}: {:?}", op.ask, op.answer));
        }
    }
    if history.cut {
        found.missing(|| "the history ends in the middle of a line".into());
    }
    if history.phase(Phase::Done).is_none() {
        found.missing(|| "the run did not come to its end".into());
    }
    if !calls(history).any(|call| matches!(call.answer, Answer::Booked { .. })) {
        found.missing(|| "nothing was booked: the traffic proves nothing".into());
    }
    found
}
