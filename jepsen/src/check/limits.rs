//! Limits and conservation. That no floor is crossed, and that each `limit_exceeded` has its reason, is decided by the replay
//! against the model; here the same is looked at without the model: by adding up what is listed. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Case, Found};
use crate::history::event::EURO;
use crate::history::{Answer, Ask, History, is_readable, own_account};

/// No floor is crossed at any index: the model's word, and the balances that clients were told.
pub fn limits(case: &Case<'_>) -> Found {
    let mut found = case.replay.limits.clone();
    let floors = floors(case.history, |subject| subject == "liability");
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

/// The floor of each account under one of some subjects whose floor never changes: asked for once, and by no `SetLimit`.
pub(super) fn floors(history: &History, is_wanted: fn(&str) -> bool) -> HashMap<u32, Option<i64>> {
    let mut floors: HashMap<u32, Option<i64>> = HashMap::new();
    for op in &history.ops {
        match &op.ask {
            Ask::Open { account, limit, subject, .. } => {
                let wanted = limit.filter(|_| is_wanted(subject));
                let floor = floors.entry(*account).or_insert(wanted);
                *floor = floor.filter(|floor| Some(*floor) == wanted);
            }
            Ask::SetLimit { account, .. } => {
                floors.insert(*account, None);
            }
            _ => {}
        }
    }
    floors
}

/// Debits and credits in cents, by set and currency.
type Sums<'h> = BTreeMap<(u32, &'h str), (i128, i128)>;

/// Debits equal credits in each set and currency at every index, and in the accounts as they are read in the end.
pub fn conservation(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    let currencies = currencies(case.history);
    let currency = |account: u32| currencies.get(&account).copied().unwrap_or(EURO);
    let (mut sums, mut readable) = (Sums::new(), Sums::new());
    let is_unreadable = |account: u32| !is_readable(&case.history.accounts[account as usize]);
    for (set, listed) in &case.witness.listed {
        for one in listed {
            found.checked += 1;
            for (account, cents) in &one.legs {
                for sums in
                    [&mut sums, &mut readable].into_iter().take(1 + usize::from(!is_unreadable(*account)))
                {
                    let (debits, credits) = sums.entry((*set, currency(*account))).or_default();
                    *(if *cents > 0 { debits } else { credits }) += i128::from(cents.abs());
                }
            }
            for (account, _) in &one.legs {
                let (debits, credits) = sums[&(*set, currency(*account))];
                if debits != credits {
                    let currency = currency(*account);
                    found.wrong(|| {
                        format!("set {set} has debits {debits} and credits {credits} cents of {currency} at {one:?}")
                    });
                }
            }
        }
    }
    for words in &case.witness.unlisted {
        found.missing(|| words.clone());
    }
    let (last, mut read) = (case.last_accounts(), Sums::new());
    let mut unread = BTreeSet::new();
    for account in 0..case.history.accounts.len() as u32 {
        let Some(set) = case.history.set_of(account).filter(|_| !is_unreadable(account)) else { continue };
        match last.get(&account).copied().flatten() {
            Some(Answer::Account { figures, .. }) => {
                let (debits, credits) = read.entry((set, currency(account))).or_default();
                *debits += i128::from(figures.debits);
                *credits += i128::from(figures.credits);
            }
            // There is none of that name.
            Some(_) => {}
            None => {
                unread.insert(set);
                found.missing(|| format!("{} was not read last", case.history.accounts[account as usize]));
            }
        }
    }
    // What was not read may be what is missing in the sum.
    for ((set, currency), listed) in readable.into_iter().filter(|((set, _), _)| !unread.contains(set)) {
        found.checked += 1;
        let read = read.get(&(set, currency)).copied().unwrap_or_default();
        if read != listed {
            found.wrong(|| {
                format!("the accounts of set {set} in {currency} add up to {read:?}, its list to {listed:?}")
            });
        }
    }
    found
}

/// In which currency each account was opened; a set's own account says so itself.
pub fn currencies<'h>(history: &'h History) -> HashMap<u32, &'h str> {
    let opened = history.ops.iter().filter_map(|op| match (&op.ask, &op.answer) {
        (Ask::Open { account, currency, .. }, Answer::Done { .. }) => Some((*account, currency.as_str())),
        _ => None,
    });
    let of_own = |(number, id): (u32, &'h String)| Some((number, own_account(id)?.1));
    opened.chain((0..).zip(&history.accounts).filter_map(of_own)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic;

    /// Where the model has nothing to say, the sums alone must see it.
    #[test]
    fn a_crossed_floor_shows_in_the_sums_alone() {
        let history = synthetic::history(2_000, 5).unwrap();
        let mut case = Case::of(&history);
        let before = limits(&case);
        assert_eq!(before.wrong, 0, "{before:?}");
        let floored: HashMap<u32, i64> = history
            .ops
            .iter()
            .filter_map(|op| match &op.ask {
                Ask::Open { account, limit: Some(floor), subject, .. } if subject == "liability" => {
                    Some((*account, *floor))
                }
                _ => None,
            })
            .collect();
        let changed: Vec<u32> = history
            .ops
            .iter()
            .filter_map(|op| match &op.ask {
                Ask::SetLimit { account, .. } => Some(*account),
                _ => None,
            })
            .collect();
        let is_debit = |(account, cents): &&mut (u32, i64)| {
            *cents > 0 && floored.contains_key(account) && !changed.contains(account)
        };
        let legs = case.replay.booked.values_mut().flatten().flat_map(|booked| &mut booked.legs);
        legs.into_iter().find(|leg| is_debit(leg)).expect("somebody pays").1 += 1_000_000_000;
        case.replay.limits = Found::default();
        assert!(limits(&case).wrong > 0);
    }
}
