//! Lists and look-ups: a page shows exactly what was booked between where it begins and where it ends, in order, as of its
//! index; a transaction is shown as it was booked, with the reversals it had by then. Pure.

use twinset_ledger::{Position, TransactionId};

use super::replay::shown_rightly;
use super::{Case, Found};
use crate::history::{Answer, Ask, Found as Listed, Level, Name, Op};

/// Pages, transactions by name, and request ids, linearizable and stale.
pub fn check(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    for (number, op) in case.history.ops.iter().enumerate() {
        let Some(as_of) = op.answer.as_of() else { continue };
        let index = as_of.place.index;
        let result = match (&op.ask, &op.answer) {
            (Ask::List { set, after, page_size, .. }, Answer::Page { found, next, .. }) => {
                if found.len() > *page_size as usize {
                    Err(format!("{} transactions on a page of {page_size}", found.len()))
                } else {
                    page(case, *set, *after, *next, index, found)
                }
            }
            (Ask::ReadTransaction { transaction, .. }, Answer::Transaction { found, .. }) => {
                same(*transaction, found).and_then(|()| shown_rightly(case, found, index))
            }
            (Ask::ReadTransaction { transaction, .. }, Answer::Absent { .. }) => {
                lacks(case, transaction.0, index, op)
            }
            (Ask::ReadRequest { id, scope, .. }, Answer::Transaction { found, .. }) => {
                if found.id == *id && found.scope == Some(*scope) {
                    shown_rightly(case, found, index)
                } else {
                    // The id may have been used before all accounts of its legs were known.
                    Err(format!("another request was found: {found:?}"))
                }
            }
            _ => continue,
        };
        found.checked += 1;
        if let Err(words) = result {
            let level = if op.ask.read_level() == Some(Level::Stale) { "stale " } else { "" };
            found.wrong(|| format!("{level}operation {number} ({:?}) as of index {index}: {words}", op.ask));
        }
    }
    found
}

/// A transaction that is not there was not booked by then; one over several sets is there when somebody was told of it.
fn lacks(case: &Case<'_>, id: TransactionId, index: u64, op: &Op) -> Result<(), String> {
    if let Some((set, number)) = case.witness.across.get(&id) {
        let told_ns = case.witness.sets[set][*number].end_ns;
        let late = op.ask.read_level() == Some(Level::Linearizable) && told_ns < op.begin_ns;
        return if late { Err("somebody had been told of it by then".to_owned()) } else { Ok(()) };
    }
    match case.replay.booked_at(id.set, id.position) {
        // Parts are found in lists alone.
        Some(booked) if booked.part_of.is_none() && id.position.index() <= index => {
            Err("it was booked by then".to_owned())
        }
        _ => Ok(()),
    }
}

fn same(asked: Name, found: &Listed) -> Result<(), String> {
    if found.transaction == asked { Ok(()) } else { Err(format!("another one was found: {found:?}")) }
}

/// Everything booked behind `after` up to `next`, or up to the page's index where nothing comes next.
fn page(
    case: &Case<'_>,
    set: u32,
    after: Option<Name>,
    next: Option<Name>,
    index: u64,
    shown: &[Listed],
) -> Result<(), String> {
    let booked = case.replay.booked.get(&set).map(Vec::as_slice).unwrap_or_default();
    let from = after.map_or(0, |after| booked.partition_point(|one| one.position <= after.0.position));
    let last = next.map_or(Position::new(index, u16::MAX), |next| next.0.position);
    let to = booked.partition_point(|one| one.position <= last && one.position.index() <= index);
    let expected = booked[from.min(to)..to].iter().map(|one| one.position);
    let told = shown.iter().map(|one| one.transaction.0.position);
    if !expected.clone().eq(told.clone()) {
        let missing: Vec<Position> =
            expected.clone().filter(|one| !told.clone().any(|other| other == *one)).collect();
        let extra: Vec<Position> = told.filter(|one| !expected.clone().any(|other| other == *one)).collect();
        return Err(format!(
            "it lacks {missing:?} and has {extra:?} that do not belong there, or another order"
        ));
    }
    shown.iter().try_for_each(|one| shown_rightly(case, one, index))
}
