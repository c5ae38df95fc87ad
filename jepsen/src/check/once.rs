//! Exactly once: what was acknowledged is there, once, as it was asked for; what is there was asked for; what was refused is
//! not there. Compares the witness with the final lists of all sets. Pure.

use std::collections::HashMap;

use super::replay::shown_rightly;
use super::witness::calls;
use super::{Case, Found};
use crate::history::{Answer, Ask, Found as Listed, Phase};

/// No lost acknowledgement, no duplicate, no phantom, and each request decided once.
pub fn exactly_once(case: &Case<'_>) -> Found {
    let mut found = case.replay.twice.clone().and(&case.witness.shared);
    for words in &case.witness.unlisted {
        found.missing(|| words.clone());
    }
    for at in &case.witness.open {
        found.missing(|| format!("operation {} has an open end: {:?}", at.op, case.witness.call(*at).body));
    }
    for (set, listed) in &case.witness.listed {
        one_set(case, *set, listed, &mut found);
    }
    for phantom in &case.witness.phantoms {
        found.wrong(|| format!("nobody was told of {phantom:?}"));
    }
    found
}

fn one_set(case: &Case<'_>, set: u32, listed: &[&Listed], found: &mut Found) {
    let booked = case.replay.booked.get(&set).map(Vec::as_slice).unwrap_or_default();
    let mut rest = listed.iter().peekable();
    for one in booked {
        found.checked += 1;
        while let Some(other) = rest.next_if(|other| other.transaction.0.position < one.position) {
            unexpected(case, other, found);
        }
        match rest.next_if(|other| other.transaction.0.position == one.position) {
            Some(other) => {
                if let Err(words) = shown_rightly(case, other, u64::MAX) {
                    found.wrong(|| words);
                }
            }
            None => {
                let body = case.witness.call(one.call).body;
                found.wrong(|| {
                    format!("{body:?} was booked at {:?} of set {set} and is not listed", one.position)
                });
            }
        }
    }
    rest.for_each(|other| unexpected(case, other, found));
}

/// A listed transaction that stands in no one's place: a duplicate, or told already as a phantom.
fn unexpected(case: &Case<'_>, listed: &Listed, found: &mut Found) {
    if !case.witness.phantoms.iter().any(|phantom| phantom.transaction == listed.transaction) {
        found.wrong(|| format!("{listed:?} is listed, but was not booked there"));
    }
}

/// What was rejected, or told `not_applied` by every call, is in no list, and is not found under its id.
pub fn refused_is_never(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    // By request id: whether all that its calls were told is that nothing happened.
    let mut refused: HashMap<&str, bool> = HashMap::new();
    for call in calls(case.history) {
        let nothing = match call.answer {
            Answer::GivenUp { .. } | Answer::NotApplied { .. } => true,
            Answer::Rejected { code, .. } => code != "request_mismatch",
            _ => false,
        };
        *refused.entry(call.body.id()).or_insert(true) &= nothing;
    }
    found.checked = refused.values().filter(|nothing| **nothing).count() as u64;
    for listed in case.witness.listed.values().flatten() {
        if refused.get(listed.id.as_str()) == Some(&true) {
            found.wrong(|| format!("it was refused, but is listed: {listed:?}"));
        }
    }
    for words in &case.witness.unlisted {
        found.missing(|| words.clone());
    }
    made_up(case, &mut found);
    found.and(&case.replay.looked_up)
}

/// A rejection that is looked up was told to somebody, or to a call with an open end. Whether it is the right one, the replay
/// has seen.
fn made_up(case: &Case<'_>, found: &mut Found) {
    let from = case.history.phase(Phase::Traffic).unwrap_or(0);
    for (number, op) in case.history.ops.iter().enumerate().filter(|(_, op)| op.begin_ns >= from) {
        let (Ask::ReadRequest { id, .. }, Answer::Rejected { place, .. }) = (&op.ask, &op.answer) else {
            continue;
        };
        let log = case.witness.sets.get(&place.set).map(Vec::as_slice).unwrap_or_default();
        let told = log.binary_search_by_key(place, |decided| decided.place).is_ok();
        if !told && !case.witness.open.iter().any(|at| case.witness.call(*at).body.id() == id) {
            found.wrong(|| format!("operation {number} found a rejection that nobody asked for: {op:?}"));
        }
    }
}
