//! Limits and conservation. That no floor is crossed, and that each `limit_exceeded` has its reason, is decided by the replay
//! against the model; here the same is looked at without the model: by adding up what is listed. Pure.

use std::collections::{BTreeMap, HashMap};

use super::{Case, Found};
use crate::history::{Answer, Ask, Figures, Phase};

/// No floor is crossed at any index: the model's word, and the balances that clients were told.
pub fn limits(case: &Case<'_>) -> Found {
    let mut found = case.replay.limits.clone();
    // Liabilities whose floor never changes: asked for once, and by no `SetLimit`.
    let mut floors: HashMap<u32, Option<i64>> = HashMap::new();
    for op in &case.history.ops {
        match &op.ask {
            Ask::Open { account, limit, subject, .. } => {
                let wanted = limit.filter(|_| subject == "liability");
                let floor = floors.entry(*account).or_insert(wanted);
                *floor = floor.filter(|floor| Some(*floor) == wanted);
            }
            Ask::SetLimit { account, .. } => {
                floors.insert(*account, None);
            }
            _ => {}
        }
    }
    let mut sums: HashMap<u32, i64> = HashMap::new();
    for booked in case.replay.booked.values().flatten() {
        let mut touched: BTreeMap<u32, i64> = BTreeMap::new();
        for (account, cents) in &booked.legs {
            *touched.entry(*account).or_default() += cents;
        }
        for (account, cents) in touched {
            // Liabilities: a credit raises the balance.
            let sum = sums.entry(account).or_default();
            *sum -= cents;
            found.checked += 1;
            let floor = floors.get(&account).copied().flatten();
            if cents > 0 && floor.is_some_and(|floor| *sum < floor) {
                let id = &case.history.accounts[account as usize];
                found.wrong(|| format!("{id} has {sum} cents after {:?}, below {floor:?}", booked.position));
            }
        }
    }
    found
}

/// Debits equal credits in each set at every index, and in the accounts as they are read in the end.
pub fn conservation(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    let mut sums: BTreeMap<u32, (i128, i128)> = BTreeMap::new();
    for (set, listed) in &case.witness.listed {
        let (debits, credits) = sums.entry(*set).or_default();
        for one in listed {
            found.checked += 1;
            for (_, cents) in &one.legs {
                *(if *cents > 0 { &mut *debits } else { &mut *credits }) += i128::from(cents.abs());
            }
            if debits != credits {
                found.wrong(|| {
                    format!("set {set} has debits {debits} and credits {credits} cents at {one:?}")
                });
            }
        }
    }
    for words in &case.witness.unlisted {
        found.missing(|| words.clone());
    }
    let (last, mut read) = (final_figures(case), BTreeMap::<u32, (i128, i128)>::new());
    for account in 0..case.history.accounts.len() as u32 {
        let Some(set) = case.history.set_of(account) else { continue };
        match last.get(&account) {
            Some(figures) => {
                let (debits, credits) = read.entry(set).or_default();
                *debits += i128::from(figures.debits);
                *credits += i128::from(figures.credits);
            }
            None => {
                found.missing(|| format!("{} was not read last", case.history.accounts[account as usize]))
            }
        }
    }
    for (set, listed) in sums {
        found.checked += 1;
        let read = read.get(&set).copied().unwrap_or_default();
        if read != listed {
            found.wrong(|| format!("the accounts of set {set} add up to {read:?}, its list to {listed:?}"));
        }
    }
    found
}

/// Every account as it was read last; nothing in one that is not there.
fn final_figures(case: &Case<'_>) -> BTreeMap<u32, Figures> {
    let mut last = BTreeMap::new();
    let Some(from) = case.history.phase(Phase::Final) else { return last };
    for op in case.history.ops.iter().filter(|op| op.begin_ns >= from) {
        match (&op.ask, &op.answer) {
            (Ask::ReadAccount { account, .. }, Answer::Account { figures, .. }) => {
                last.insert(*account, *figures);
            }
            (Ask::ReadAccount { account, .. }, Answer::Absent { .. }) => {
                last.insert(*account, Figures::default());
            }
            _ => {}
        }
    }
    last
}
