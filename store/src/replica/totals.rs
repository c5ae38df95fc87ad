//! Sums over all accounts, exact at one index while entries go on being applied: accounts are read a few at a time, and what
//! apply changes before it was read is kept as it was. Above is the node's `verify`.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};

use twinset_ledger::account::{Account, AccountNo};
use twinset_ledger::apply::CLEARING_SUBJECT;

use super::LedgerReplica;
use super::account::{encode_figures, encode_who};
use super::between::Between;
use super::reads::Read;

/// Accounts that are read under one lock: about a millisecond.
const ACCOUNTS_PER_LOCK: u32 = 1_000;

/// Sums over the whole replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Debits and credits per currency.
    pub currencies: BTreeMap<String, (i128, i128)>,
    /// The same of the clearing accounts alone.
    pub clearing: BTreeMap<String, (i128, i128)>,
    /// Transactions over several sets that are open.
    pub attempts: u64,
    /// Parcels to other sets that are not acknowledged.
    pub parcels: u64,
    /// What is open with other sets, for whom adds up the clearing accounts of all.
    pub between: Between,
    /// Accounts opened.
    pub accounts: u64,
    /// Transactions and reversals booked, and parts of those over several sets.
    pub transactions: u64,
    /// Hash over all entries and outcomes.
    pub running_hash: [u8; 32],
    /// Hash over all accounts in the order of their numbers.
    pub state_hash: [u8; 32],
}

/// The accounts as they were at one index, for whom reads them bit by bit. Part of the state, so that apply sees it.
pub(super) struct Survey {
    /// How many have been read. Written by the one reader, under the shared lock.
    done: AtomicU32,
    /// How many there were.
    end: AccountNo,
    /// Those that were changed before they were read, as they were.
    kept: HashMap<AccountNo, Account>,
}

impl Survey {
    /// The account is about to change.
    pub(super) fn keep(&mut self, no: AccountNo, account: &Account) {
        if (*self.done.get_mut()..self.end).contains(&no) {
            self.kept.entry(no).or_insert_with(|| account.clone());
        }
    }
}

/// Sums over what was read so far.
struct Sums {
    read: Read<Totals>,
    hasher: blake3::Hasher,
}

impl LedgerReplica {
    /// Sums over the whole replica, for `verify`: it walks through all accounts. One at a time; apply goes on meanwhile.
    pub fn totals(&self) -> Read<Totals> {
        let _one_at_a_time = self.cell.surveying.lock();
        let mut sums = self.begin_survey();
        loop {
            match self.survey(&mut sums, ACCOUNTS_PER_LOCK) {
                Some(true) => break,
                Some(false) => {}
                // A snapshot took the state's place.
                None => sums = self.begin_survey(),
            }
        }
        // Freeing it takes a while: not under the lock.
        let survey = self.cell.state.write().survey.take();
        drop(survey);
        sums.read.value.state_hash = *sums.hasher.finalize().as_bytes();
        sums.read
    }

    fn begin_survey(&self) -> Sums {
        let mut state = self.cell.state.write();
        let end = state.about.accounts;
        state.survey = Some(Survey { done: AtomicU32::new(0), end, kept: HashMap::new() });
        let read = state.answer(Totals {
            accounts: end.into(),
            attempts: state.about.attempts.len() as u64,
            parcels: state.about.buffer.streams().map(|(_, stream)| stream.waiting()).sum(),
            between: Between::of(&state),
            transactions: state.about.transactions,
            running_hash: state.about.hash,
            ..Totals::default()
        });
        Sums { read, hasher: blake3::Hasher::new() }
    }

    /// Reads the next accounts, `count` at most. Whether these were the last; None if the survey is lost.
    fn survey(&self, sums: &mut Sums, count: u32) -> Option<bool> {
        let state = self.cell.state.read();
        let survey = state.survey.as_ref()?;
        let from = survey.done.load(Ordering::Relaxed);
        let to = survey.end.min(from.saturating_add(count));
        for (no, account) in (from..).zip(&state.accounts[from as usize..to as usize]) {
            sums.add(survey.kept.get(&no).unwrap_or(account));
        }
        survey.done.store(to, Ordering::Relaxed);
        Some(to == survey.end)
    }
}

impl Sums {
    fn add(&mut self, account: &Account) {
        self.hasher.update(&encode_who(account));
        self.hasher.update(&encode_figures(account));
        add(&mut self.read.value.currencies, account);
        if account.subject == CLEARING_SUBJECT {
            add(&mut self.read.value.clearing, account);
        }
    }
}

fn add(currencies: &mut BTreeMap<String, (i128, i128)>, account: &Account) {
    if !currencies.contains_key(&account.currency) {
        currencies.insert(account.currency.clone(), (0, 0));
    }
    let sums = currencies.get_mut(&account.currency).expect("it was just put there");
    sums.0 += account.debits;
    sums.1 += account.credits;
}

#[cfg(test)]
mod tests {
    use super::super::sample::{Fed, open, pay};

    #[test]
    fn totals_are_of_one_index_though_entries_are_applied_meanwhile() {
        let fed = Fed::new();
        let names: Vec<String> = (0..6).map(|no| format!("account-{no}")).collect();
        fed.feed(&names.iter().map(|name| open(name)).collect::<Vec<_>>());
        fed.feed(&[pay("1", &names[0], &names[5], 7), pay("2", &names[3], &names[1], 3)]);
        let before = fed.replica.totals();
        let mut sums = fed.replica.begin_survey();
        let mut rounds = 0;
        while fed.replica.survey(&mut sums, 2) == Some(false) {
            // From what was read already to what was not, twice, and a new account.
            rounds += 1;
            let late = format!("late-{rounds}");
            fed.feed(&[open(&late)]);
            for _ in 0..2 {
                let id = format!("{}", fed.log.last().unwrap().index);
                fed.feed(&[pay(&id, &names[0], &names[4], 100), pay(&id, &late, &names[2], 9)]);
            }
        }
        assert_eq!(rounds, 2);
        sums.read.value.state_hash = *sums.hasher.finalize().as_bytes();
        assert_eq!(sums.read, before);
        let after = fed.replica.totals();
        assert_eq!((after.value.accounts, after.value.transactions), (8, 10));
        assert!(after.index > before.index && after.value.state_hash != before.value.state_hash);
        assert!(fed.replica.cell.state.read().survey.is_none(), "nothing is kept afterwards");
    }
}
