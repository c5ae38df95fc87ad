//! What is promised of transactions over several sets and can be seen in no set alone: all of their sets have their part or
//! none has; a request is booked once over all sets; whoever was told of one sees it everywhere; and in the end nothing is open
//! between the sets. Trusts the final lists, and no replay. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use twinset_ledger::TransactionId;

use super::across::{Across, Plans, Spot, spot};
use super::witness::{Body, What, Witness, calls};
use super::{Case, Found};
use crate::history::event::Leg;
use crate::history::{Answer, Ask, Found as Listed, Level, Phase, clearing};

/// Whether anybody asked for a transaction over several sets.
fn is_asked(case: &Case<'_>) -> bool {
    calls(case.history).any(|call| match call.body {
        Body::Transfer(transfer) => case.history.sets_across(transfer).is_some(),
        Body::Other(_) => false,
    })
}

/// All sets of a transaction have booked just their part of it, and no set has booked a part of anything else.
pub fn atomicity(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    if !is_asked(case) {
        return found;
    }
    for words in &case.witness.unlisted {
        found.missing(|| words.clone());
    }
    let plans = Plans::rows_of(&case.witness);
    let asked = |(name, _): &(&TransactionId, _)| !case.witness.unasked.contains(*name);
    for (name, (set, number)) in case.witness.across.iter().filter(asked) {
        let body = case.witness.call(case.witness.sets[set][*number].call).body;
        let rows = |set: u32| plans.rows.get(&(*name, set)).map(Vec::as_slice).unwrap_or_default();
        let cents = rows(*set).first().and_then(|row| row.legs.first()).map(|(_, cents)| cents.abs());
        let Some(across) = Across::of(&case.witness, body, cents) else { continue };
        found.checked += 1;
        for set in across.all_sets().into_iter().filter(|set| case.witness.listed.contains_key(set)) {
            match rows(set) {
                [row] => {
                    let asked: Vec<Leg> = across.legs_of(set).collect();
                    let expected = with_clearing(case, &plans, set, &asked);
                    if told(case, &row.legs) != expected {
                        found.wrong(|| format!("{body:?} was asked for, and set {set} has booked {row:?}"));
                    }
                }
                rows => {
                    let count = rows.len();
                    found.wrong(|| format!("set {set} has booked {count} parts of {name}: {body:?}"));
                }
            }
        }
        let strange = |of: &&u32| !across.sets.contains(of) && !rows(**of).is_empty();
        if let Some(set) = case.witness.listed.keys().find(strange) {
            found
                .wrong(|| format!("set {set} has booked a part of {name}, of which nothing was asked of it"));
        }
    }
    for row in case.witness.phantoms.iter().filter(|row| row.part_of.is_some()) {
        let attempt = row.part_of.and_then(|part| attempt_at(&case.witness, part.of.0));
        let what = attempt.unwrap_or_else(|| "nobody was told of that transaction".to_owned());
        found.wrong(|| format!("set {} has booked {row:?}: {what}", row.place.set));
    }
    found
}

/// What somebody was told of an attempt that was not booked.
fn attempt_at(witness: &Witness<'_>, name: TransactionId) -> Option<String> {
    let mut log = witness.sets.get(&name.set)?.iter();
    let decided =
        log.find(|decided| decided.position == name.position && !matches!(decided.what, What::Part(_)))?;
    let told = witness.replies.get(decided.replies.start)?;
    Some(format!("{:?} was answered {:?}", witness.call(*told).body, witness.call(*told).answer))
}

/// Legs with the names of their accounts, and behind them what squares them.
fn with_clearing(case: &Case<'_>, plans: &Plans<'_>, set: u32, legs: &[Leg]) -> Vec<(String, i64)> {
    let mut all = told(case, legs);
    all.extend(plans.clearing_legs(set, legs));
    all
}

fn told(case: &Case<'_>, legs: &[Leg]) -> Vec<(String, i64)> {
    legs.iter().map(|(account, cents)| (case.history.accounts[*account as usize].clone(), *cents)).collect()
}

/// A request is booked at most once over all sets, however often it was asked for, given up and asked for again.
pub fn one_answer(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    let mut names: HashMap<u64, BTreeSet<TransactionId>> = HashMap::new();
    for name in case.witness.across.keys() {
        let (set, number) = case.witness.across[name];
        let decided = &case.witness.sets[&set][number];
        for reply in &case.witness.replies[decided.replies.clone()] {
            names.entry(case.witness.call(*reply).body.key()).or_default().insert(*name);
        }
    }
    found.checked = names.len() as u64;
    for names in names.values().filter(|names| names.len() > 1) {
        found.wrong(|| format!("one request was told to be booked as {names:?}"));
    }
    // A part that nobody was told of, and somebody has asked for.
    let unexplained = case.witness.phantoms.iter().filter(|row| row.part_of.is_some());
    let mut by_name: BTreeMap<TransactionId, BTreeMap<u32, Vec<(String, i64)>>> = BTreeMap::new();
    for row in unexplained {
        let Some(part) = row.part_of else { continue };
        let own: Vec<(String, i64)> =
            told(case, &row.legs).into_iter().filter(|(id, _)| clearing(id).is_none()).collect();
        by_name.entry(part.of.0).or_default().insert(row.place.set, own);
    }
    for (name, parts) in by_name {
        let twin = calls(case.history).find(|call| {
            let Some(across) = Across::of(&case.witness, call.body, None) else { return false };
            let own = |set: &u32| told(case, &across.legs_of(*set).collect::<Vec<Leg>>());
            across.coordinator == name.set && parts.iter().all(|(set, legs)| own(set) == *legs)
        });
        if let Some(call) = twin {
            found.wrong(|| format!("{:?} was booked as {name}, and nobody was told so", call.body));
        }
    }
    // What is found under one id of one account in the end is one transaction.
    let from = case.history.phase(Phase::Final).unwrap_or(u64::MAX);
    let mut ids: HashMap<(Option<u32>, &str), &Listed> = HashMap::new();
    for op in case.history.ops.iter().filter(|op| op.begin_ns >= from) {
        let (Ask::ReadTransaction { .. }, Answer::Transaction { found: read, .. }) = (&op.ask, &op.answer)
        else {
            continue;
        };
        found.checked += 1;
        let first = *ids.entry((read.scope, read.id.as_str())).or_insert(read);
        if first.transaction != read.transaction {
            found.wrong(|| format!("one id is both {first:?} and {read:?}"));
        }
    }
    found
}

/// Who begins a linearizable read of any of its sets after an answer has arrived anywhere reads a state that has it.
pub fn visibility(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    let mut told: Vec<(u64, u32, Spot, TransactionId)> = Vec::new();
    for (set, log) in &case.witness.sets {
        for decided in log.iter().filter(|decided| decided.end_ns != u64::MAX) {
            let What::Part(row) = decided.what else { continue };
            if let Some(part) = case.witness.listed[set][row].part_of {
                told.push((decided.end_ns, *set, spot(decided.place), part.of.0));
            }
        }
    }
    told.sort_unstable();
    let mut reads: Vec<(u64, u32, Spot, usize)> = Vec::new();
    for (number, op) in case.history.ops.iter().enumerate() {
        if let (Some(Level::Linearizable), Some(as_of)) = (op.ask.read_level(), op.answer.as_of()) {
            reads.push((op.begin_ns, as_of.place.set, spot(as_of.place), number));
        }
    }
    reads.sort_unstable();
    let mut furthest: HashMap<u32, (Spot, TransactionId)> = HashMap::new();
    let mut told = told.into_iter().peekable();
    for (begin_ns, set, at, number) in reads {
        while let Some((_, set, spot, name)) = told.next_if(|(end_ns, ..)| *end_ns < begin_ns) {
            let known = furthest.entry(set).or_insert((spot, name));
            *known = (*known).max((spot, name));
        }
        let Some((due, name)) = furthest.get(&set) else { continue };
        found.checked += 1;
        if at < *due {
            found.wrong(|| {
                format!(
                    "operation {number} reads set {set} at {at:?}, and {name} was answered before; its part is at {due:?}"
                )
            });
        }
    }
    found
}

/// When nothing is under way the clearing accounts of all sets together are zero, and no set has anything open.
pub fn clearing_accounts(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    if !is_asked(case) {
        return found;
    }
    match &case.history.in_doubt {
        None => found.missing(|| "nobody asked what is open between the sets".into()),
        Some(open) => {
            found.checked += 1;
            for one in open {
                found.wrong(|| format!("set {} has {} open in the end: {}", one.set, one.attempt, one.phase));
            }
        }
    }
    let mut sums: BTreeMap<&str, (i128, i128)> = BTreeMap::new();
    for (account, answer) in case.last_accounts() {
        let Some((_, currency)) = clearing(&case.history.accounts[account as usize]) else { continue };
        let (debits, credits) = sums.entry(currency).or_default();
        found.checked += 1;
        match answer {
            Some(Answer::Account { figures, .. }) => {
                *debits += i128::from(figures.debits);
                *credits += i128::from(figures.credits);
            }
            Some(_) => {}
            None => {
                let id = &case.history.accounts[account as usize];
                found.missing(|| format!("{id} was not read last"));
            }
        }
    }
    if found.missing {
        return found;
    }
    for (currency, (debits, credits)) in sums.into_iter().filter(|(_, (debits, credits))| debits != credits) {
        found.wrong(|| {
            format!("the clearing accounts in {currency} have {debits} in debits and {credits} in credits")
        });
    }
    found
}

/// In the end nothing is set aside on any account.
pub fn in_doubt(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    if !is_asked(case) {
        return found;
    }
    for (account, answer) in case.last_accounts() {
        let Some(Answer::Account { figures, as_of }) = answer else { continue };
        found.checked += 1;
        // What holds keep is another checker's.
        let left = super::holds::left_at(case, account, as_of.place.index);
        if (figures.held, figures.incoming) != (left, 0) {
            let id = &case.history.accounts[account as usize];
            found.wrong(|| format!("{id} has something set aside in the end: {figures:?}"));
        }
    }
    found
}
