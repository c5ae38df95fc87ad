//! Atomic batches: in the answer to one all transactions are booked or none newly is, beside each other in one entry; and in the
//! lists there are all of them or none, whatever anybody was told. Trusts no model. Pure.

use std::collections::{HashMap, HashSet};

use twinset_ledger::TransactionId;

use super::{Case, Found};
use crate::history::{Answer, Ask, Op, Retry, Transfer};

/// Every atomic batch that was asked for.
pub fn check(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    let mut batches: HashMap<&[Transfer], Vec<usize>> = HashMap::new();
    // In which batches a request id stands: of one that stands in a single one all that is booked was booked by that one.
    let mut seen: HashMap<&str, HashSet<Option<&[Transfer]>>> = HashMap::new();
    for (number, op) in case.history.ops.iter().enumerate() {
        match &op.ask {
            Ask::Batch { items, atomic: true, .. } => {
                found.checked += 1;
                answered(number, op, &mut found);
                if op.retry != Some(Retry::OtherBody) {
                    batches.entry(items).or_default().push(number);
                }
                for item in items {
                    seen.entry(&item.id).or_default().insert(Some(items));
                }
            }
            Ask::Batch { items, .. } => {
                for item in items {
                    seen.entry(&item.id).or_default().insert(None);
                }
            }
            Ask::Transfer(transfer) => {
                seen.entry(&transfer.id).or_default().insert(None);
            }
            _ => {}
        }
    }
    if batches.is_empty() {
        return found;
    }
    for words in &case.witness.unlisted {
        found.missing(|| words.clone());
    }
    let listed: HashMap<&str, TransactionId> = case
        .witness
        .listed
        .values()
        .flatten()
        .filter(|one| one.part_of.is_none())
        .map(|one| (one.id.as_str(), one.transaction.0))
        .collect();
    for (items, ops) in batches {
        let mut own: Vec<&str> = items.iter().map(|item| item.id.as_str()).collect();
        own.retain(|id| seen[id].len() == 1);
        // A request that stands in it twice is booked once, where it stands first.
        let mut known = HashSet::new();
        own.retain(|id| known.insert(*id));
        let booked: Vec<TransactionId> = own.iter().filter_map(|id| listed.get(id).copied()).collect();
        if !booked.is_empty() && booked.len() != own.len() {
            found.wrong(|| format!("of the atomic batch of operations {ops:?} only {booked:?} are booked"));
        }
        let is_apart = |pair: &[TransactionId]| {
            let (one, next) = (pair[0].position, pair[1].position);
            one.index() != next.index() || one >= next
        };
        if booked.windows(2).any(is_apart) {
            found.wrong(|| format!("the atomic batch of operations {ops:?} is booked apart: {booked:?}"));
        }
    }
    found
}

/// The results of one answer.
fn answered(number: usize, op: &Op, found: &mut Found) {
    let Answer::Batch(answers) = &op.answer else { return };
    let new = answers.iter().zip(0u64..).filter_map(|(answer, item)| match answer.decided() {
        Some((place, false)) => Some((place.set, place.index, place.time_ns.wrapping_sub(item))),
        _ => None,
    });
    let mut firsts: Vec<_> = new.collect();
    firsts.dedup();
    let is_refused = |answer: &Answer| matches!(answer, Answer::Rejected { .. });
    let is_new = |answer: &Answer| matches!(answer, Answer::Booked { replayed: false, .. });
    let is_torn = answers.iter().any(is_refused) && answers.iter().any(is_new);
    let is_open = answers.iter().any(Answer::is_open) && !answers.iter().all(Answer::is_open);
    if firsts.len() > 1 || is_torn || is_open {
        found.wrong(|| format!("operation {number} is an atomic batch, and was answered {answers:?}"));
    }
}
