//! Whether what clients read while the traffic flowed agrees with what was booked. Pure.

use std::collections::BTreeMap;

use super::Violation;
use crate::history::History;

/// Every balance, stale ones included, is exactly the sum of what was booked up to the index that the answer names: no
/// reader ever saw something that was lost later, or missed something that it claims to include.
pub fn balances_are_as_of_their_position(history: &History) -> Vec<Violation> {
    let mut changes: BTreeMap<u32, Vec<(u64, i128)>> = BTreeMap::new();
    for asked in &history.requests {
        let Some((_, place)) = asked.booked() else { continue };
        let cents = i128::from(asked.wish.cents);
        changes.entry(asked.wish.debit).or_default().push((place.index, -cents));
        changes.entry(asked.wish.credit).or_default().push((place.index, cents));
    }
    for of_account in changes.values_mut() {
        of_account.sort_unstable();
        let mut sum = 0;
        for (_, change) in of_account {
            sum += *change;
            *change = sum;
        }
    }
    let mut violations = Vec::new();
    for read in &history.reads {
        let sums = changes.get(&read.account).map(Vec::as_slice).unwrap_or_default();
        let included = sums.partition_point(|(index, _)| *index <= read.as_of.index);
        let expected = included.checked_sub(1).map_or(0, |last| sums[last].1);
        if read.balance != expected {
            let account = &history.accounts[read.account as usize];
            violations.push(format!("account {account} was read as {read:?} instead of {expected} cents"));
        }
    }
    violations
}

/// A linearizable read that began after an answer had arrived is not as of before it, in the same set.
pub fn linearizable_reads_are_fresh(history: &History) -> Vec<Violation> {
    let mut answered: BTreeMap<u32, Vec<(u64, u64)>> = BTreeMap::new();
    for asked in &history.requests {
        if let (Some((_, place)), Some(call)) = (asked.booked(), asked.decided()) {
            answered.entry(place.set).or_default().push((call.end_us, place.index));
        }
    }
    for of_set in answered.values_mut() {
        of_set.sort_unstable();
        let mut latest = 0;
        for (_, index) in of_set {
            latest = latest.max(*index);
            *index = latest;
        }
    }
    let mut violations = Vec::new();
    for read in history.reads.iter().filter(|read| read.linearizable) {
        let of_set = answered.get(&read.as_of.set).map(Vec::as_slice).unwrap_or_default();
        let before = of_set.partition_point(|(end_us, _)| *end_us < read.begin_us);
        let due = before.checked_sub(1).map_or(0, |last| of_set[last].1);
        if read.as_of.index < due {
            let account = &history.accounts[read.account as usize];
            violations.push(format!("account {account} was read as {read:?}, but {due} was answered before"));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::{history, one, place};
    use crate::history::Read;

    fn with(read: Read) -> History {
        History { reads: vec![read], ..history(vec![one("x", 7, 0, 1), one("y", 9, 2, 3)]) }
    }

    fn read(index: u64, balance: i128, begin_us: u64) -> Read {
        Read { account: 1, linearizable: true, begin_us, as_of: place(index, 0), balance }
    }

    #[test]
    fn a_balance_is_the_sum_up_to_its_index() {
        for right in [read(6, 0, 0), read(7, 150, 0), read(8, 150, 0), read(9, 300, 4)] {
            assert!(balances_are_as_of_their_position(&with(right)).is_empty());
            assert!(linearizable_reads_are_fresh(&with(right)).is_empty());
        }
        for wrong in [read(6, 150, 0), read(8, 0, 0), read(9, 150, 0), read(9, 301, 0)] {
            assert_eq!(balances_are_as_of_their_position(&with(wrong)).len(), 1);
        }
    }

    #[test]
    fn a_read_from_the_past_is_caught_unless_it_says_that_it_is_stale() {
        let old = read(8, 150, 4);
        assert_eq!(linearizable_reads_are_fresh(&with(old)).len(), 1);
        assert!(linearizable_reads_are_fresh(&with(Read { linearizable: false, ..old })).is_empty());
    }
}
