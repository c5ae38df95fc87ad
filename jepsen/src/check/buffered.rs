//! Buffered credits: what was paid without asking the payee's set is booked there exactly once, in the order in which the payers' set
//! has booked it, under its own transaction and with the amount that was accepted, or stands on the suspense account, with its
//! event; and nothing else is booked in its name. Trusts the final lists; of the replay it takes the reasons of what is in suspense.
//! Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use twinset_ledger::{Position, TransactionId};

use super::across::{Across, Plans};
use super::statements::signs;
use super::witness::{Body, calls};
use super::{Case, Found};
use crate::history::buffered::Suspended;
use crate::history::event::Leg;
use crate::history::{Answer, Ask, Found as Listed, Name, Phase, suspense};

/// A leg that one set owes another: the transaction, the account and the amount.
type Parcel = (TransactionId, Leg);

/// What is looked at.
pub struct Sent<'c> {
    /// By the payers' set and the payee's, in the order in which the first has booked.
    pub parcels: BTreeMap<(u32, u32), Vec<Parcel>>,
    /// The payers' own rows, with what was asked for.
    paid: Vec<(&'c Listed, Across)>,
}

impl<'c> Sent<'c> {
    /// What the final lists of the payers' sets say that was paid without asking.
    pub fn of(case: &'c Case<'_>) -> Self {
        let mut sent = Sent { parcels: BTreeMap::new(), paid: Vec::new() };
        for (set, listed) in &case.witness.listed {
            for row in listed.iter().copied().filter(|row| row.is_paid()) {
                let name = row.transaction.0;
                // Of what nobody was told another checker speaks.
                let Some((_, number)) = case.witness.across.get(&name) else { continue };
                let body = case.witness.call(case.witness.sets[set][*number].call).body;
                let Some(across) = Across::of(&case.witness, body, None) else { continue };
                for (leg, to) in across.legs.iter().zip(&across.sets).filter(|(_, to)| *to != set) {
                    sent.parcels.entry((*set, *to)).or_default().push((name, *leg));
                }
                sent.paid.push((row, across));
            }
        }
        sent
    }
}

/// Whether anybody let accounts be paid without asking.
pub fn is_asked(case: &Case<'_>) -> bool {
    case.history.ops.iter().any(|op| matches!(op.ask, Ask::SetMode { .. }))
}

/// Booked once, in order, as accepted, or in suspense.
pub fn check(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    let sent = Sent::of(case);
    if !is_asked(case) && sent.paid.is_empty() {
        return found;
    }
    for words in &case.witness.unlisted {
        found.missing(|| words.clone());
    }
    let plans = Plans::rows_of(&case.witness);
    own_parts(case, &plans, &sent, &mut found);
    for set in case.witness.listed.keys() {
        for from in case.witness.listed.keys().filter(|from| *from != set) {
            let owed = sent.parcels.get(&(*from, *set)).map(Vec::as_slice).unwrap_or_default();
            arrived(case, &plans, (*from, *set), owed, &mut found);
        }
    }
    strange(case, &mut found);
    in_suspense(case, &mut found);
    events(case, &mut found);
    found
}

/// The payers' set has booked its own legs with what squares them, and had reason not to ask.
fn own_parts(case: &Case<'_>, plans: &Plans<'_>, sent: &Sent<'_>, found: &mut Found) {
    // When each account was first let be paid so.
    let mut opened: HashMap<u32, u64> = HashMap::new();
    for call in calls(case.history).filter(|call| !call.answer.is_nothing()) {
        if let Body::Other(Ask::SetMode { account, buffered: true, .. }) = call.body {
            let first = opened.entry(*account).or_insert(u64::MAX);
            *first = call.op.begin_ns.min(*first);
        }
    }
    let signs = signs(case.history);
    for (row, across) in &sent.paid {
        found.checked += 1;
        let set = row.place.set;
        let own: Vec<Leg> = across.legs_of(set).collect();
        if names(case, &row.legs) != with_clearing(case, plans, set, &own, None) {
            found.wrong(|| format!("{across:?} was asked for, and set {set} has booked {row:?}"));
        }
        let (_, number) = case.witness.across[&row.transaction.0];
        let end_ns = case.witness.sets[&set][number].end_ns;
        for (leg, _) in across.legs.iter().zip(&across.sets).filter(|(_, to)| **to != set) {
            let is_inflow = signs.get(&leg.0).is_none_or(|sign| sign * leg.1 > 0);
            if !is_inflow || opened.get(&leg.0).is_none_or(|first| *first > end_ns) {
                let id = &case.history.accounts[leg.0 as usize];
                found.wrong(|| {
                    format!("{row:?} did not ask for {id}, which nobody had let be paid so, or which pays")
                });
            }
        }
    }
}

/// What a set has taken in of another one.
fn arrived(case: &Case<'_>, plans: &Plans<'_>, (from, set): (u32, u32), owed: &[Parcel], found: &mut Found) {
    // The places of each transaction's parcels in their order.
    let mut places: HashMap<TransactionId, Vec<usize>> = HashMap::new();
    for (at, (name, _)) in owed.iter().enumerate() {
        places.entry(*name).or_default().push(at);
    }
    let mut taken: HashMap<TransactionId, usize> = HashMap::new();
    let mut last = None;
    for row in &case.witness.listed[&set] {
        let Some(of) = row.part_of.map(|part| part.of.0) else { continue };
        if of.set != from || !case.witness.unasked.contains(&of) {
            continue;
        }
        found.checked += 1;
        let count = taken.entry(of).or_default();
        let place = places.get(&of).and_then(|places| places.get(*count)).copied();
        *count += 1;
        let Some(place) = place else {
            found
                .wrong(|| format!("set {set} has booked more of {of} than set {from} has accepted: {row:?}"));
            continue;
        };
        let (_, leg) = owed[place];
        let expected = with_clearing(case, plans, set, &[leg], None);
        let instead = with_clearing(case, plans, set, &[leg], suspense_of(case, row));
        let legs = names(case, &row.legs);
        if legs != expected && legs != instead {
            found.wrong(|| format!("{leg:?} of {of} was accepted, and set {set} has booked {row:?}"));
        }
        if last.is_some_and(|last| place < last) {
            found.wrong(|| {
                format!("set {set} has booked {row:?} behind what set {from} has accepted after it")
            });
        }
        last = last.max(Some(place));
    }
    for (name, places) in places {
        let count = taken.get(&name).copied().unwrap_or_default();
        for place in places.iter().skip(count) {
            found.wrong(|| {
                format!(
                    "{:?} of {name} was accepted in set {from}, and set {set} has not booked it",
                    owed[*place].1
                )
            });
        }
    }
}

/// The suspense account that a row is booked on, if it is.
fn suspense_of<'c>(case: &'c Case<'_>, row: &Listed) -> Option<&'c str> {
    let id = case.history.accounts[row.legs.first()?.0 as usize].as_str();
    suspense(id).filter(|(set, _)| *set == row.place.set).map(|_| id)
}

/// Parts of what no set has accepted: of a transaction that nobody was told of, and that its own set does not list.
fn strange(case: &Case<'_>, found: &mut Found) {
    let known: BTreeSet<TransactionId> =
        case.witness.listed.values().flatten().filter_map(|row| row.part_of).map(|part| part.of.0).collect();
    let rows = case.witness.listed.values().flatten();
    let own = rows.filter_map(|row| row.part_of.filter(|part| part.of.0.set == row.place.set));
    let own: BTreeSet<TransactionId> = own.map(|part| part.of.0).collect();
    for name in known.difference(&own).filter(|name| case.witness.listed.contains_key(&name.set)) {
        found.wrong(|| format!("a set has booked a part of {name}, of which set {} lists nothing", name.set));
    }
}

/// In the end what is in suspense is what was suspended and not booked on, and that was done once each.
fn in_suspense(case: &Case<'_>, found: &mut Found) {
    let mut due: BTreeMap<TransactionId, &Listed> = BTreeMap::new();
    for row in case.witness.listed.values().flatten() {
        if row.part_of.is_some() && suspense_of(case, row).is_some() {
            due.insert(row.transaction.0, row);
        }
    }
    if due.is_empty() && final_suspense(case).values().all(|shown| shown.as_ref().is_none_or(Vec::is_empty)) {
        return;
    }
    let mut resolved: BTreeMap<TransactionId, BTreeSet<Name>> = BTreeMap::new();
    for call in calls(case.history) {
        if let (Body::Other(Ask::ResolveSuspense { item, .. }), Answer::Booked { transaction, .. }) =
            (call.body, call.answer)
        {
            resolved.entry(item.0).or_default().insert(*transaction);
        }
    }
    for (item, by) in &resolved {
        found.checked += 1;
        if by.len() > 1 || !due.contains_key(item) {
            found.wrong(|| format!("{item} was booked on by {by:?}; it was {:?}", due.get(item)));
        }
    }
    let mut shown = final_suspense(case);
    for set in case.witness.listed.keys() {
        let Some(shown) = shown.remove(set).flatten() else {
            found.missing(|| format!("what is in suspense in set {set} was not read in the end"));
            continue;
        };
        let expected = due.iter().filter(|(item, _)| item.set == *set && !resolved.contains_key(item));
        let expected: Vec<TransactionId> = expected.map(|(item, _)| *item).collect();
        found.checked += 1;
        if !shown.iter().map(|one| &one.item.0).eq(&expected) {
            found.wrong(|| format!("in suspense are {shown:?}; of set {set} should be there {expected:?}"));
        }
        for one in shown {
            let row = due.get(&one.item.0);
            let is_right = row.is_some_and(|row| {
                let reason = case.replay.suspended.get(&(*set, one.item.0.position));
                row.part_of.is_some_and(|part| (part.of, part.day) == (one.of, one.day))
                    && (row.place, row.legs[0].1) == (one.place, one.cents)
                    && reason.is_some_and(|reason| *reason == one.reason)
            });
            if !is_right {
                found.wrong(|| format!("{one:?} is in suspense, and was booked as {row:?}"));
            }
        }
    }
}

/// What the last whole list of each set's suspense shows.
fn final_suspense<'c>(case: &'c Case<'_>) -> BTreeMap<u32, Option<Vec<&'c Suspended>>> {
    let from = case.history.phase(Phase::Final).unwrap_or(u64::MAX);
    let mut chains: BTreeMap<u32, (Option<Name>, Vec<&Suspended>)> = BTreeMap::new();
    let mut whole = BTreeMap::new();
    for op in case.history.ops.iter().filter(|op| op.begin_ns >= from) {
        let (Ask::ListSuspense { set, after, .. }, Answer::Suspense { found, next, .. }) =
            (&op.ask, &op.answer)
        else {
            continue;
        };
        if after.is_none() {
            chains.insert(*set, (None, Vec::new()));
        }
        let Some((at, all)) = chains.get_mut(set).filter(|(at, _)| at == after) else { continue };
        all.extend(found);
        *at = *next;
        if next.is_none() {
            whole.insert(*set, chains.remove(set).map(|(_, all)| all));
        }
    }
    whole
}

/// An event says of what is in suspense why, and of nothing else.
fn events(case: &Case<'_>, found: &mut Found) {
    let mut told: BTreeMap<(u32, Position), &str> = BTreeMap::new();
    for op in &case.history.ops {
        let Answer::Events { events, .. } = &op.answer else { continue };
        for event in events.iter().filter(|event| event.kind == "booked") {
            told.insert((event.event.0.set, event.event.0.position), &event.suspended);
        }
    }
    for (place, words) in told {
        let reason = case.replay.suspended.get(&place).copied().unwrap_or_default();
        if reason != words {
            found.wrong(|| {
                format!("the event at {place:?} says {words:?} of what is suspended for {reason:?}")
            });
        }
    }
}

/// Legs with the names of their accounts and behind them what squares them; all on the account `instead`, if it is given.
fn with_clearing(
    case: &Case<'_>,
    plans: &Plans<'_>,
    set: u32,
    legs: &[Leg],
    instead: Option<&str>,
) -> Vec<(String, i64)> {
    let mut all = names(case, legs);
    if let Some(instead) = instead {
        all.iter_mut().for_each(|(id, _)| *id = instead.to_owned());
    }
    all.extend(plans.clearing_legs(set, legs));
    all
}

fn names(case: &Case<'_>, legs: &[Leg]) -> Vec<(String, i64)> {
    legs.iter().map(|(account, cents)| (case.history.accounts[*account as usize].clone(), *cents)).collect()
}
