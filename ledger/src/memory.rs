//! The state in plain ordered maps: for tests, and as the model that checkers share. Keeps everything, slow and
//! obvious. Above it is [`crate::apply`]; nothing is below.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use crate::account::{Account, AccountNo, Side};
use crate::apply::{ApplyError, apply_entry};
use crate::attempt::Attempts;
use crate::buffer::Buffer;
use crate::codec::{DecodeError, Entry, Record, decode_command, expand};
use crate::command::Command;
use crate::hold::{Hold, Holds};
use crate::id::{Position, TransactionId};
use crate::outcome::Outcome;
use crate::restriction::{Restriction, RestrictionName, Restrictions};
use crate::state::{Durability, Posting, Reversed, State, Taken};
use crate::sweep::Sweeps;

/// Why an entry's bytes could not be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are no entry.
    #[error("the bytes are no entry: {0}")]
    Decode(#[from] DecodeError),
    /// The entry cannot be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError<Infallible>),
}

/// All of a set's state, history included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryState {
    set: u32,
    numbers: BTreeMap<String, AccountNo>,
    accounts: Vec<Account>,
    postings: BTreeMap<AccountNo, Vec<Posting>>,
    requests: BTreeMap<(String, String), Position>,
    history: BTreeMap<Position, (Command, Outcome)>,
    reversed: BTreeMap<Position, Reversed>,
    attempts: Attempts,
    buffer: Buffer,
    sweeps: Sweeps,
    holds: Holds,
    restrictions: Restrictions,
    currencies: BTreeMap<String, u8>,
    subjects: BTreeMap<String, (String, Side)>,
    groups: BTreeSet<String>,
    last_time: u64,
    durability: Durability,
}

impl MemoryState {
    /// An empty set.
    pub fn new(set: u32) -> Self {
        MemoryState { set, ..MemoryState::default() }
    }

    /// Applies the bytes of an entry and keeps its commands and outcomes. After an error the state is of no use.
    pub fn apply(&mut self, index: u64, entry_bytes: &[u8]) -> Result<Vec<Outcome>, Error> {
        let entry = Entry::parse(entry_bytes)?;
        let mut outcomes = Vec::new();
        apply_entry(self, index, &entry, &mut outcomes)?;
        for ((record, outcome), offset) in entry.records().zip(&outcomes).zip(0u16..) {
            let command = match record {
                Record::Short(short) => Command::Transaction(expand(&short, self)),
                Record::General(bytes) => decode_command(bytes)?,
            };
            self.history.insert(Position::new(index, offset), (command, outcome.clone()));
        }
        Ok(outcomes)
    }

    /// All accounts in the order of their numbers: what a digest of the state goes over.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.iter()
    }

    /// The account of that id.
    pub fn account_by_id(&self, id: &str) -> Option<&Account> {
        self.account_no(id).map(|no| self.account(no))
    }

    /// The postings of an account, in order.
    pub fn postings(&self, no: AccountNo) -> &[Posting] {
        self.postings.get(&no).map_or(&[], Vec::as_slice)
    }

    /// Every command with its outcome, in order, replays and mismatches included.
    pub fn history(&self) -> impl Iterator<Item = (Position, &Command, &Outcome)> {
        self.history.iter().map(|(position, (command, outcome))| (*position, command, outcome))
    }

    /// Sums of debits and of credits per currency, over all accounts.
    pub fn totals(&self) -> BTreeMap<String, (i128, i128)> {
        let mut totals = BTreeMap::<String, (i128, i128)>::new();
        for account in &self.accounts {
            let (debits, credits) = totals.entry(account.currency.clone()).or_default();
            *debits += account.debits;
            *credits += account.credits;
        }
        totals
    }

    /// Gives the holds that have changed since the last call, and lets go of those that are over, as a replica does.
    pub fn take_changed_holds(&mut self) -> Vec<Hold> {
        self.holds.take_changed()
    }

    /// All holds that ever were, unless some were let go of.
    pub fn holds(&self) -> &Holds {
        &self.holds
    }

    /// Gives the restrictions that have changed since the last call, and lets go of those that have ended, as a replica does.
    pub fn take_changed_restrictions(&mut self) -> Vec<Restriction> {
        self.restrictions.take_changed()
    }

    /// All restrictions that ever were, unless some were let go of.
    pub fn restrictions(&self) -> &Restrictions {
        &self.restrictions
    }

    /// The durability state last marked.
    pub fn durability(&self) -> Durability {
        self.durability
    }
}

impl State for MemoryState {
    type Fault = Infallible;

    fn account_no(&self, id: &str) -> Option<AccountNo> {
        self.numbers.get(id).copied()
    }

    fn account(&self, no: AccountNo) -> &Account {
        &self.accounts[no as usize]
    }

    fn account_mut(&mut self, no: AccountNo) -> &mut Account {
        &mut self.accounts[no as usize]
    }

    fn open(&mut self, account: Account) -> AccountNo {
        let no = AccountNo::try_from(self.accounts.len()).expect("fewer than 2^32 accounts");
        let earlier = self.numbers.insert(account.id.clone(), no);
        assert!(earlier.is_none(), "an account is opened once");
        self.accounts.push(account);
        no
    }

    fn post(&mut self, no: AccountNo, posting: Posting) {
        self.postings.entry(no).or_default().push(posting);
    }

    fn request(
        &self,
        scope: &str,
        request_id: &str,
        before: Position,
    ) -> Result<Option<Position>, Infallible> {
        let found = self.requests.get(&(scope.to_owned(), request_id.to_owned()));
        Ok(found.copied().filter(|&position| position < before))
    }

    fn remember(&mut self, scope: &str, request_id: &str, position: Position) -> Result<(), Infallible> {
        let earlier = self.requests.insert((scope.to_owned(), request_id.to_owned()), position);
        assert!(earlier.is_none(), "a request id is decided once in a scope");
        Ok(())
    }

    fn original(&self, position: Position) -> Result<Option<(Command, Outcome)>, Infallible> {
        Ok(self.history.get(&position).filter(|(_, outcome)| outcome.is_remembered()).cloned())
    }

    fn reversed(&self, position: Position) -> Result<Reversed, Infallible> {
        Ok(self.reversed.get(&position).cloned().unwrap_or_default())
    }

    fn add_reversal(&mut self, original: Position, by: TransactionId, _: Position, taken: Taken) {
        self.reversed.entry(original).or_default().add(by, &taken);
    }

    fn attempts(&self) -> &Attempts {
        &self.attempts
    }

    fn attempts_mut(&mut self) -> &mut Attempts {
        &mut self.attempts
    }

    fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    fn buffer_mut(&mut self) -> &mut Buffer {
        &mut self.buffer
    }

    fn sweeps(&self) -> &Sweeps {
        &self.sweeps
    }

    fn sweeps_mut(&mut self) -> &mut Sweeps {
        &mut self.sweeps
    }

    fn hold(&self, at: Position) -> Option<&Hold> {
        self.holds.get(at)
    }

    fn put_hold(&mut self, hold: Hold) {
        self.holds.put(hold);
    }

    fn restriction(&self, name: RestrictionName) -> Option<&Restriction> {
        self.restrictions.get(name)
    }

    fn put_restriction(&mut self, restriction: Restriction) {
        self.restrictions.put(restriction);
    }

    fn currency_scale(&self, code: &str) -> Option<u8> {
        self.currencies.get(code).copied()
    }

    fn define_currency(&mut self, code: &str, scale: u8) {
        self.currencies.insert(code.to_owned(), scale);
    }

    fn subject(&self, code: &str) -> Option<(String, Side)> {
        self.subjects.get(code).cloned()
    }

    fn define_subject(&mut self, code: &str, name: &str, normal_side: Side) {
        self.subjects.insert(code.to_owned(), (name.to_owned(), normal_side));
    }

    fn is_group(&self, id: &str) -> bool {
        self.groups.contains(id)
    }

    fn has_groups(&self) -> bool {
        !self.groups.is_empty()
    }

    fn define_group(&mut self, id: &str) {
        self.groups.insert(id.to_owned());
    }

    fn last_time(&self) -> u64 {
        self.last_time
    }

    fn set_last_time(&mut self, time_unix_ns: u64) {
        assert!(time_unix_ns > self.last_time, "ledger time rises");
        self.last_time = time_unix_ns;
    }

    fn set_durability(&mut self, durability: Durability) {
        self.durability = durability;
    }

    fn set(&self) -> u32 {
        self.set
    }
}
