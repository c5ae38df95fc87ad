//! The replicated state of one set as this replica holds it: accounts in memory, everything since the last checkpoint
//! in memory, the rest on disk. Implements the ledger's [`State`] over it, with `lookup` (request ids) and `rebuild` (what
//! was decided before). Decides nothing about money.
//!
//! Invariant: of what is on disk, only positions of entries below `stored_end` count. A crash may leave more there;
//! replay writes the same again, so it is ignored, not removed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use twinset_ledger::account::{Account, AccountNo, Side};
use twinset_ledger::attempt::Attempts;
use twinset_ledger::buffer::Buffer;
use twinset_ledger::command::Command;
use twinset_ledger::hold::{Hold, Holds};
use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::outcome::Outcome;
use twinset_ledger::restriction::{Restriction, RestrictionName, Restrictions};
use twinset_ledger::state::{Durability, Posting, Reversed, State, Taken};
use twinset_ledger::sweep::Sweeps;

use super::bloom::Bloom;
use super::entry::{Entries, Opened};
use super::links::Link;
use super::postings::Journal;
use super::references::Coverage;
use super::requests::{self, Requests, Seed};
use super::set_state::SetState;
use super::totals::Survey;
use crate::engine::Engine;
use crate::fault::Fault;
use crate::keys::Generation;

/// The state.
pub(crate) struct ReplicaState {
    pub(crate) engine: Arc<Engine>,
    pub(crate) set: u32,
    pub(crate) generation: Generation,
    pub(crate) entries: Entries,
    /// What is not an account and not a run: also the next checkpoint's state record.
    pub(crate) about: SetState,
    pub(crate) accounts: Vec<Account>,
    /// Those that are not over, and those that became so since the last freeze.
    pub(crate) holds: Holds,
    /// Those that have not ended, and those that did since the last freeze.
    pub(crate) restrictions: Restrictions,
    pub(crate) sides: Vec<Aside>,
    pub(crate) numbers: HashMap<Box<str>, AccountNo, Seed>,
    /// Accounts changed since the last freeze, each once.
    pub(crate) touched: Vec<AccountNo>,
    /// Marks accounts that are in `touched`.
    pub(crate) stamp: u32,
    pub(crate) bloom: Bloom,
    pub(crate) fresh: Fresh,
    /// What a running checkpoint is writing.
    pub(crate) frozen: Option<Arc<Fresh>>,
    /// What the last one wrote, emptied: memory that need not be asked for again.
    pub(crate) spare: Option<Fresh>,
    pub(crate) stored_end: u64,
    /// How much of the log the index of references covers.
    pub(super) coverage: Coverage,
    /// Somebody reads all accounts as they were at one index.
    pub(super) survey: Option<Survey>,
    /// The entry being applied.
    pub(crate) current: Option<Opened>,
}

/// What the store knows of an account beside the account itself.
pub(crate) struct Aside {
    /// Sum of its postings.
    pub(crate) posted: i128,
    pub(crate) slot: u16,
    pub(crate) stamp: u32,
}

/// Everything since a freeze.
pub(crate) struct Fresh {
    pub(crate) journal: Journal,
    pub(crate) requests: Requests,
    pub(crate) outcomes: Vec<(u64, Vec<u8>)>,
    /// By original: the reversals, in the order in which they were booked.
    pub(crate) links: BTreeMap<u64, Vec<Link>>,
    /// Hashes of references, and the positions of the transactions that have them.
    pub(crate) references: BTreeSet<(u64, u64)>,
    /// Once it is frozen: the holds that had changed until then, in the order of their places.
    pub(crate) holds: Vec<Hold>,
    /// The same of restrictions, in the order of their names.
    pub(crate) restrictions: Vec<Restriction>,
    pub(crate) commands: u64,
    pub(crate) log_bytes: u64,
}

impl Fresh {
    /// Empty, with room for as much as `before` holds: in `spare`, if that is not far too large for it.
    pub(crate) fn after(before: &Fresh, spare: Option<Fresh>) -> Fresh {
        let count = before.requests.len();
        match spare {
            Some(spare) if (count..=4 * count).contains(&spare.requests.capacity()) => spare,
            _ => Fresh {
                journal: Journal::with_capacity(before.journal.len()),
                requests: Requests::with_capacity(count),
                ..Fresh::new()
            },
        }
    }

    /// Empty, with the room that it has.
    pub(crate) fn emptied(self) -> Fresh {
        let Fresh { journal, requests, .. } = self;
        Fresh { journal: journal.emptied(), requests: requests.emptied(), ..Fresh::new() }
    }

    pub(crate) fn new() -> Fresh {
        Fresh {
            journal: Journal::default(),
            requests: Requests::with_capacity(0),
            outcomes: Vec::new(),
            links: BTreeMap::new(),
            references: BTreeSet::new(),
            holds: Vec::new(),
            restrictions: Vec::new(),
            commands: 0,
            log_bytes: 0,
        }
    }

    /// The outcome record of an entry.
    pub(crate) fn outcome(&self, index: u64) -> Option<&[u8]> {
        let at = self.outcomes.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        Some(&self.outcomes[at].1)
    }
}

impl ReplicaState {
    /// The memory parts, newest first.
    pub(crate) fn memories(&self) -> impl Iterator<Item = &Fresh> {
        std::iter::once(&self.fresh).chain(self.frozen.as_deref())
    }

    /// The account of an id.
    pub(crate) fn account_by_id(&self, id: &str) -> Option<&Account> {
        self.numbers.get(id).map(|&no| &self.accounts[no as usize])
    }

    /// Adds an account that was opened or loaded.
    pub(crate) fn add_account(&mut self, account: Account) -> AccountNo {
        let no =
            u32::try_from(self.accounts.len()).expect("a set has fewer than four thousand million accounts");
        self.numbers.insert(account.id.as_str().into(), no);
        self.sides.push(Aside { posted: account.posted(), slot: requests::slot(&account.id), stamp: 0 });
        self.accounts.push(account);
        no
    }
}

impl State for ReplicaState {
    type Fault = Fault;

    fn account_no(&self, id: &str) -> Option<AccountNo> {
        self.numbers.get(id).copied()
    }

    fn account(&self, no: AccountNo) -> &Account {
        &self.accounts[no as usize]
    }

    fn account_mut(&mut self, no: AccountNo) -> &mut Account {
        if let Some(survey) = &mut self.survey {
            survey.keep(no, &self.accounts[no as usize]);
        }
        let aside = &mut self.sides[no as usize];
        if aside.stamp != self.stamp {
            aside.stamp = self.stamp;
            self.touched.push(no);
        }
        &mut self.accounts[no as usize]
    }

    fn open(&mut self, account: Account) -> AccountNo {
        let no = self.add_account(account);
        self.account_mut(no);
        self.about.accounts += 1;
        no
    }

    fn post(&mut self, no: AccountNo, posting: Posting) {
        let aside = &mut self.sides[no as usize];
        aside.posted += posting.delta;
        self.fresh.journal.push(no, aside.slot, posting, aside.posted);
    }

    fn request(&self, scope: &str, request_id: &str, before: Position) -> Result<Option<Position>, Fault> {
        self.decided_at(scope, request_id, before)
    }

    fn remember(&mut self, scope: &str, request_id: &str, position: Position) -> Result<(), Fault> {
        self.keep(scope, request_id, position)
    }

    fn original(&self, position: Position) -> Result<Option<(Command, Outcome)>, Fault> {
        self.remembered(position)
    }

    fn became(&self, position: Position) -> Result<Option<Outcome>, Fault> {
        self.outcome_at(position)
    }

    fn reversed(&self, position: Position) -> Result<Reversed, Fault> {
        self.taken_back(position, u64::MAX)
    }

    fn add_reversal(&mut self, original: Position, by: TransactionId, at: Position, taken: Taken) {
        self.fresh.links.entry(original.0).or_default().push(Link { by, at, taken });
    }

    fn attempts(&self) -> &Attempts {
        &self.about.attempts
    }

    fn attempts_mut(&mut self) -> &mut Attempts {
        &mut self.about.attempts
    }

    fn buffer(&self) -> &Buffer {
        &self.about.buffer
    }

    fn buffer_mut(&mut self) -> &mut Buffer {
        &mut self.about.buffer
    }

    fn sweeps(&self) -> &Sweeps {
        &self.about.sweeps
    }

    fn sweeps_mut(&mut self) -> &mut Sweeps {
        &mut self.about.sweeps
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
        self.about.chart.currencies.get(code).copied()
    }

    fn define_currency(&mut self, code: &str, scale: u8) {
        self.about.chart.currencies.insert(code.to_owned(), scale);
    }

    fn subject(&self, code: &str) -> Option<(String, Side)> {
        self.about.chart.subjects.get(code).cloned()
    }

    fn define_subject(&mut self, code: &str, name: &str, normal_side: Side) {
        self.about.chart.subjects.insert(code.to_owned(), (name.to_owned(), normal_side));
    }

    fn is_group(&self, id: &str) -> bool {
        self.about.chart.groups.contains(id)
    }

    fn has_groups(&self) -> bool {
        !self.about.chart.groups.is_empty()
    }

    fn define_group(&mut self, id: &str) {
        self.about.chart.groups.insert(id.to_owned());
    }

    fn last_time(&self) -> u64 {
        self.about.last_time
    }

    fn set_last_time(&mut self, time_unix_ns: u64) {
        self.about.last_time = time_unix_ns;
    }

    fn set_durability(&mut self, durability: Durability) {
        self.about.durability = durability;
    }

    fn set(&self) -> u32 {
        self.set
    }
}
