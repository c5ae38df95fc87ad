//! A state on top of another: reads go through, writes stay here and are gone with it. What is tried before it is done.

use std::collections::{BTreeMap, BTreeSet};

use crate::account::{Account, AccountNo, Side};
use crate::attempt::Attempts;
use crate::buffer::Buffer;
use crate::canary::{self, Canary};
use crate::command::Command;
use crate::hold::Hold;
use crate::id::{Position, TransactionId};
use crate::outcome::Outcome;
use crate::restriction::{Restriction, RestrictionName};
use crate::state::{Durability, Posting, Reversed, State, Taken};
use crate::sweep::Sweeps;

pub(super) struct Overlay<'a, S> {
    base: &'a S,
    /// Changed or opened here.
    accounts: BTreeMap<AccountNo, Account>,
    numbers: BTreeMap<String, AccountNo>,
    requests: BTreeMap<(String, String), Position>,
    reversed: BTreeMap<Position, Reversed>,
    holds: BTreeMap<Position, Hold>,
    restrictions: BTreeMap<RestrictionName, Restriction>,
    attempts: Option<Attempts>,
    buffer: Option<Buffer>,
    sweeps: Option<Sweeps>,
    currencies: BTreeMap<String, u8>,
    subjects: BTreeMap<String, (String, Side)>,
    groups: BTreeSet<String>,
    last_time: Option<u64>,
}

impl<'a, S: State> Overlay<'a, S> {
    pub fn new(base: &'a S) -> Self {
        Overlay {
            base,
            accounts: BTreeMap::new(),
            numbers: BTreeMap::new(),
            requests: BTreeMap::new(),
            reversed: BTreeMap::new(),
            holds: BTreeMap::new(),
            restrictions: BTreeMap::new(),
            attempts: None,
            buffer: None,
            sweeps: None,
            currencies: BTreeMap::new(),
            subjects: BTreeMap::new(),
            groups: BTreeSet::new(),
            last_time: None,
        }
    }
}

impl<S: State> State for Overlay<'_, S> {
    type Fault = S::Fault;

    fn account_no(&self, id: &str) -> Option<AccountNo> {
        self.numbers.get(id).copied().or_else(|| self.base.account_no(id))
    }

    fn account(&self, no: AccountNo) -> &Account {
        self.accounts.get(&no).unwrap_or_else(|| self.base.account(no))
    }

    fn account_mut(&mut self, no: AccountNo) -> &mut Account {
        let base = self.base;
        self.accounts.entry(no).or_insert_with(|| base.account(no).clone())
    }

    fn open(&mut self, account: Account) -> AccountNo {
        let opened = AccountNo::try_from(self.numbers.len()).expect("fewer than 2^32 accounts");
        // Counted down from above, where no state is ever going to reach.
        let no = AccountNo::MAX - opened;
        self.numbers.insert(account.id.clone(), no);
        self.accounts.insert(no, account);
        no
    }

    /// Nothing that is tried looks at histories.
    fn post(&mut self, _: AccountNo, _: Posting) {}

    fn request(&self, scope: &str, request_id: &str, before: Position) -> Result<Option<Position>, S::Fault> {
        let here = self.requests.get(&(scope.to_owned(), request_id.to_owned())).copied();
        match here.filter(|&position| position < before) {
            Some(position) => Ok(Some(position)),
            None if canary::on(Canary::DryRunOfNewIds) => Ok(None),
            None => self.base.request(scope, request_id, before),
        }
    }

    fn remember(&mut self, scope: &str, request_id: &str, position: Position) -> Result<(), S::Fault> {
        self.requests.insert((scope.to_owned(), request_id.to_owned()), position);
        Ok(())
    }

    fn original(&self, position: Position) -> Result<Option<(Command, Outcome)>, S::Fault> {
        self.base.original(position)
    }

    fn became(&self, position: Position) -> Result<Option<Outcome>, S::Fault> {
        self.base.became(position)
    }

    fn reversed(&self, position: Position) -> Result<Reversed, S::Fault> {
        match self.reversed.get(&position) {
            Some(reversed) => Ok(reversed.clone()),
            None => self.base.reversed(position),
        }
    }

    fn add_reversal(&mut self, original: Position, by: TransactionId, _: Position, taken: Taken) {
        // A fault of the base shows again where the reversal is applied to that.
        let before = self.base.reversed(original).unwrap_or_default();
        self.reversed.entry(original).or_insert(before).add(by, &taken);
    }

    fn attempts(&self) -> &Attempts {
        self.attempts.as_ref().unwrap_or_else(|| self.base.attempts())
    }

    fn attempts_mut(&mut self) -> &mut Attempts {
        let base = self.base;
        self.attempts.get_or_insert_with(|| base.attempts().clone())
    }

    fn buffer(&self) -> &Buffer {
        self.buffer.as_ref().unwrap_or_else(|| self.base.buffer())
    }

    /// Nothing that is tried looks at parcels.
    fn buffer_mut(&mut self) -> &mut Buffer {
        let base = self.base;
        self.buffer.get_or_insert_with(|| base.buffer().outline())
    }

    fn sweeps(&self) -> &Sweeps {
        self.sweeps.as_ref().unwrap_or_else(|| self.base.sweeps())
    }

    fn sweeps_mut(&mut self) -> &mut Sweeps {
        let base = self.base;
        self.sweeps.get_or_insert_with(|| base.sweeps().clone())
    }

    fn hold(&self, at: Position) -> Option<&Hold> {
        self.holds.get(&at).or_else(|| self.base.hold(at))
    }

    fn put_hold(&mut self, hold: Hold) {
        self.holds.insert(hold.id.position, hold);
    }

    fn restriction(&self, name: RestrictionName) -> Option<&Restriction> {
        self.restrictions.get(&name).or_else(|| self.base.restriction(name))
    }

    fn put_restriction(&mut self, restriction: Restriction) {
        self.restrictions.insert(restriction.name(), restriction);
    }

    fn currency_scale(&self, code: &str) -> Option<u8> {
        self.currencies.get(code).copied().or_else(|| self.base.currency_scale(code))
    }

    fn define_currency(&mut self, code: &str, scale: u8) {
        self.currencies.insert(code.to_owned(), scale);
    }

    fn subject(&self, code: &str) -> Option<(String, Side)> {
        self.subjects.get(code).cloned().or_else(|| self.base.subject(code))
    }

    fn define_subject(&mut self, code: &str, name: &str, normal_side: Side) {
        self.subjects.insert(code.to_owned(), (name.to_owned(), normal_side));
    }

    fn is_group(&self, id: &str) -> bool {
        self.groups.contains(id) || self.base.is_group(id)
    }

    fn has_groups(&self) -> bool {
        !self.groups.is_empty() || self.base.has_groups()
    }

    fn define_group(&mut self, id: &str) {
        self.groups.insert(id.to_owned());
    }

    fn last_time(&self) -> u64 {
        self.last_time.unwrap_or_else(|| self.base.last_time())
    }

    fn set_last_time(&mut self, time_unix_ns: u64) {
        self.last_time = Some(time_unix_ns);
    }

    fn set_durability(&mut self, _: Durability) {}

    fn set(&self) -> u32 {
        self.base.set()
    }
}
