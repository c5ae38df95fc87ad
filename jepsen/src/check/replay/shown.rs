//! How a transaction is to be shown: as it was booked, with the reversals that it had by then. In a list a row is what one set
//! booked, a part of a transaction over several sets included; by its name, such a transaction is shown whole.

use twinset_ledger::{Position, TransactionId};

use super::super::Case;
use crate::history::label::written;
use crate::history::{Found, Name, Part, Place};

const DAY_NS: u64 = 86_400_000_000_000;

/// Whether a transaction is shown as it was booked, with its reversals as of a log index.
pub fn shown_rightly(case: &Case<'_>, found: &Found, as_of_index: u64) -> Result<(), String> {
    let id = found.transaction.0;
    let expected = match (found.part_of, case.replay.across.contains_key(&id)) {
        (None, true) => whole(case, id, as_of_index)?,
        _ => booked(case, id, as_of_index).ok_or_else(|| format!("{id} was never booked: {found:?}"))?,
    };
    if *found == expected { Ok(()) } else { Err(format!("{found:?} should be {expected:?}")) }
}

/// What is called by its position in a set.
fn named(case: &Case<'_>, set: u32, position: Position) -> TransactionId {
    TransactionId { set, incarnation: case.history.meta.incarnation_at(set, position.index()), position }
}

/// What stands in its set's list under that name.
fn booked(case: &Case<'_>, id: TransactionId, as_of_index: u64) -> Option<Found> {
    let booked =
        case.replay.booked_at(id.set, id.position).filter(|_| id == named(case, id.set, id.position))?;
    let decided = &case.witness.sets[&id.set][booked.decided as usize];
    let body = case.witness.call(booked.call).body;
    let name = |position: Position| Name(named(case, id.set, position));
    let found = Found {
        transaction: Name(id),
        place: decided.place,
        id: body.id().to_owned(),
        scope: booked.scope,
        label: body.label(),
        legs: booked.legs.clone(),
        reverses: booked.reverses.map(name),
        reversed_by: reversed_by(case, id, as_of_index),
        capture: body.capture(),
        marks: body.marks(),
        part_of: None,
    };
    let Some(of) = booked.part_of else { return Some(found) };
    if of == id {
        // What was paid without asking other sets is all that its request asked for.
        let day = written(found.label).accounting_date.unwrap_or(day_of(decided.place));
        return Some(Found { part_of: Some(Part { of: Name(of), day }), ..found });
    }
    let whole = case.replay.across.get(&of)?;
    let begun = case.witness.sets[&of.set][whole.number].place;
    let day = written(body.label()).accounting_date.unwrap_or(day_of(begun));
    Some(Found {
        id: String::new(),
        reverses: None,
        reversed_by: Vec::new(),
        capture: None,
        marks: vec![],
        part_of: Some(Part { of: Name(of), day }),
        ..found
    })
}

/// A transaction over several sets.
fn whole(case: &Case<'_>, id: TransactionId, as_of_index: u64) -> Result<Found, String> {
    let whole = &case.replay.across[&id];
    let decided = &case.witness.sets[&id.set][whole.number];
    if whole.decided.is_some_and(|decided| decided > as_of_index) {
        return Err(format!("{id} is shown before it was decided"));
    }
    let body = case.witness.call(decided.call).body;
    Ok(Found {
        transaction: Name(id),
        place: decided.place,
        id: body.id().to_owned(),
        scope: whole.scope,
        label: body.label(),
        legs: whole.legs.clone(),
        reverses: whole.reverses.map(|position| Name(named(case, id.set, position))),
        reversed_by: reversed_by(case, id, as_of_index),
        capture: body.capture(),
        marks: body.marks(),
        part_of: None,
    })
}

fn reversed_by(case: &Case<'_>, id: TransactionId, as_of_index: u64) -> Vec<Name> {
    let reversals = case.replay.reversed_by.get(&(id.set, id.position)).into_iter().flatten();
    let by_then = reversals.filter(|(index, _)| *index <= as_of_index);
    by_then.map(|(_, position)| Name(named(case, id.set, *position))).collect()
}

fn day_of(place: Place) -> i32 {
    i32::try_from(place.time_ns / DAY_NS).unwrap_or(i32::MAX)
}
