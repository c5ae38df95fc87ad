//! Groups of accounts, without the model: a read is the sum of its parts, and all of them are there; money that came or
//! went before the read began is in it, and none that was asked for after its end; each payment that somebody was told
//! of is on one part, in its payer's set where there is one. What each part shows by itself is the replay's finding.
//! Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use twinset_ledger::TransactionId;

use super::witness::{Body, What, calls};
use super::{Case, Found};
use crate::history::event::Leg;
use crate::history::groups::{FoundGroup, group_of};
use crate::history::{Answer, Ask, Figures, Found as Row, History, Level, Place};

/// What moved on a group's parts, debits and credits, by when.
#[derive(Default)]
struct Moved {
    /// First asked for then.
    begun: Vec<(u64, i64, i64)>,
    /// Answered by then.
    told: Vec<(u64, i64, i64)>,
}

/// Every read of a group and every payment into one.
pub fn check(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    let history = case.history;
    let parts = parts(history);
    if parts.is_empty() {
        return found;
    }
    for words in &case.witness.unlisted {
        found.missing(|| words.clone());
    }
    let moved = moved(case);
    for (number, op) in history.ops.iter().enumerate() {
        let (Ask::ReadGroup { group, level }, Answer::Group(shown)) = (&op.ask, &op.answer) else { continue };
        found.checked += 1;
        let mut wrong = |words: String| found.wrong(|| format!("operation {number}: {words}: {shown:?}"));
        let id = history.accounts[*group as usize].as_str();
        let own = parts.get(id).cloned().unwrap_or_default();
        let read: BTreeSet<u32> = shown.parts.iter().map(|part| part.account).collect();
        if read != own || read.len() != shown.parts.len() {
            wrong(format!("its parts are {own:?}"));
        }
        let sum = sum(shown);
        if shown.figures != sum {
            wrong(format!("its parts add up to {sum:?}"));
        }
        if let Some(oldest) = shown.parts.iter().map(|part| part.as_of.age_ms).max()
            && oldest != shown.age_ms
        {
            wrong(format!("the oldest part is {oldest} ms old"));
        }
        let Some(moved) = moved.get(id) else { continue };
        let most = upto(&moved.begun, op.end_ns.unwrap_or(u64::MAX).saturating_add(1));
        let least = match level {
            Level::Linearizable => upto(&moved.told, op.begin_ns),
            Level::Stale => (0, 0),
        };
        let Figures { debits, credits, .. } = shown.figures;
        if !(least.0..=most.0).contains(&debits) || !(least.1..=most.1).contains(&credits) {
            wrong(format!("debits and credits must be {least:?} at least and {most:?} at most"));
        }
    }
    payments(case, &mut found);
    found
}

/// The parts of each group that were opened.
fn parts(history: &History) -> BTreeMap<&str, BTreeSet<u32>> {
    let mut parts: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for op in &history.ops {
        if let Ask::Open { account, .. } = op.ask
            && let Some(group) = group_of(&history.accounts[account as usize])
        {
            parts.entry(group).or_default().insert(account);
        }
    }
    parts
}

/// What all parts have together.
fn sum(shown: &FoundGroup) -> Figures {
    let mut sum = Figures { limit: Some(0), ..Figures::default() };
    for part in &shown.parts {
        let own = &part.figures;
        sum = Figures {
            posted: sum.posted + own.posted,
            available: sum.available + own.available,
            held: sum.held + own.held,
            incoming: sum.incoming + own.incoming,
            restricted: sum.restricted + own.restricted,
            debits: sum.debits + own.debits,
            credits: sum.credits + own.credits,
            limit: sum.limit.zip(own.limit).map(|(sum, own)| sum + own),
            frozen_debit: sum.frozen_debit | own.frozen_debit,
            frozen_credit: sum.frozen_credit | own.frozen_credit,
            closed: sum.closed | own.closed,
            version: sum.version + own.version,
        };
    }
    sum
}

/// All that is listed as booked on the parts of each group.
fn moved<'h>(case: &Case<'h>) -> HashMap<&'h str, Moved> {
    let mut moved: HashMap<&str, Moved> = HashMap::new();
    for (set, log) in &case.witness.sets {
        let listed = case.witness.listed.get(set).map(Vec::as_slice).unwrap_or_default();
        let rows: HashMap<Place, &Row> = listed.iter().map(|row| (row.place, *row)).collect();
        for decided in log.iter().filter(|decided| matches!(decided.what, What::Command | What::Part(_))) {
            let Some(row) = rows.get(&decided.place) else { continue };
            for (account, cents) in &row.legs {
                let Some(group) = group_of(&case.history.accounts[*account as usize]) else { continue };
                let (debits, credits) = if *cents > 0 { (*cents, 0) } else { (0, -cents) };
                let moved = moved.entry(group).or_default();
                moved.begun.push((decided.begin_ns, debits, credits));
                moved.told.push((decided.end_ns, debits, credits));
            }
        }
    }
    for moved in moved.values_mut() {
        for list in [&mut moved.begun, &mut moved.told] {
            list.sort_unstable();
            let mut sums = (0, 0);
            for (_, debits, credits) in list {
                sums = (sums.0 + *debits, sums.1 + *credits);
                (*debits, *credits) = sums;
            }
        }
    }
    moved
}

/// What had come together before a time.
fn upto(list: &[(u64, i64, i64)], at_ns: u64) -> (i64, i64) {
    let by_then = list.partition_point(|(at, ..)| *at < at_ns);
    by_then.checked_sub(1).map_or((0, 0), |last| (list[last].1, list[last].2))
}

/// Each payment is on as many parts as it has legs on groups, and to the cent.
fn payments(case: &Case<'_>, found: &mut Found) {
    let history = case.history;
    let mut booked: HashMap<TransactionId, Vec<Leg>> = HashMap::new();
    for row in case.witness.listed.values().flatten() {
        let name = row.part_of.map_or(row.transaction.0, |part| part.of.0);
        let on_parts =
            row.legs.iter().filter(|(account, _)| group_of(&history.accounts[*account as usize]).is_some());
        booked.entry(name).or_default().extend(on_parts);
    }
    let all_listed = history.meta.sets.iter().all(|set| case.witness.listed.contains_key(set));
    let mut seen = BTreeSet::new();
    for call in calls(history).filter(|_| all_listed) {
        let (Body::Transfer(transfer), Answer::Booked { transaction, .. }) = (call.body, call.answer) else {
            continue;
        };
        if transfer.groups().next().is_none() || !seen.insert(transaction.0) {
            continue;
        }
        found.checked += 1;
        let own = booked.get(&transaction.0).map(Vec::as_slice).unwrap_or_default();
        let payer = transfer.payer(&history.accounts).and_then(|payer| history.set_of(payer));
        let mut amounts: Vec<(u32, i64)> =
            own.iter().map(|leg| (group_number(history, leg.0), leg.1)).collect();
        let mut asked: Vec<(u32, i64)> =
            transfer.groups().filter_map(|(leg, group)| Some((group, transfer.legs.get(leg)?.1))).collect();
        amounts.sort_unstable();
        asked.sort_unstable();
        if amounts != asked {
            found.wrong(|| {
                format!("operation {} was told {:?}; on parts of groups is {own:?}", call.at.op, call.answer)
            });
        }
        for (account, _) in own {
            let group = group_of(&history.accounts[*account as usize]);
            let has_near = history.accounts.iter().any(|other| {
                group_of(other) == group && crate::history::set_of(&history.meta.slots, other) == payer
            });
            if has_near && history.set_of(*account) != payer {
                found.wrong(|| {
                    format!("operation {} was paid in set {payer:?}, and is on {own:?}", call.at.op)
                });
            }
        }
    }
}

fn group_number(history: &History, part: u32) -> u32 {
    let group = group_of(&history.accounts[part as usize]);
    let number = history.accounts.iter().position(|id| Some(id.as_str()) == group);
    number.map_or(u32::MAX, |number| number as u32)
}
