//! The replicated state of one set as this replica holds it: accounts in memory, everything since the last checkpoint
//! in memory, the rest on disk. Implements the ledger's [`State`]. Decides nothing about money.
//!
//! Invariant: of what is on disk, only positions of entries below `stored_end` count. A crash may leave more there;
//! replay writes the same again, so it is ignored, not removed.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use twinset_ledger::account::{Account, AccountNo, Side};
use twinset_ledger::apply::scope_account;
use twinset_ledger::codec::{DecodeError, decode_outcome};
use twinset_ledger::command::{Command, Transaction};
use twinset_ledger::id::{Position, slot_of};
use twinset_ledger::outcome::{Effect, Outcome, Posted};
use twinset_ledger::rejection::Rejection;
use twinset_ledger::state::{Durability, Posting, Reversed, State};

use super::bloom::Bloom;
use super::entry::{Entries, Opened};
use super::outcomes::{Kept, Outcomes};
use super::postings::{Journal, after_in_chunk};
use super::requests::{self, Requests, Scope, Seed};
use super::set_state::SetState;
use crate::engine::{self, Engine};
use crate::fault::Fault;
use crate::keys::{self, Generation};
use crate::table::Table;
use crate::wire::BadRecord;

/// Running hashes that are remembered.
pub(crate) const HASHES_KEPT: usize = 4096;

/// The state.
pub(crate) struct ReplicaState {
    pub(crate) engine: Arc<Engine>,
    pub(crate) set: u32,
    pub(crate) generation: Generation,
    pub(crate) entries: Entries,
    /// What is not an account and not a run: also the next checkpoint's state record.
    pub(crate) about: SetState,
    pub(crate) accounts: Vec<Account>,
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
    pub(crate) stored_end: u64,
    pub(crate) hashes: VecDeque<(u64, [u8; 32])>,
    /// The entry being applied.
    pub(crate) current: Option<Opened>,
    /// A fault in a method that cannot say so; looked at after every entry.
    pub(crate) fault: Option<Fault>,
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
    pub(crate) links: BTreeMap<u64, Vec<(u64, i128)>>,
    pub(crate) commands: u64,
    pub(crate) log_bytes: u64,
}

impl Fresh {
    /// Empty, with room for as much as `before` holds.
    pub(crate) fn after(before: &Fresh) -> Fresh {
        Fresh {
            journal: Journal::with_capacity(before.journal.len()),
            requests: Requests::with_capacity(before.requests.len()),
            ..Fresh::new()
        }
    }

    pub(crate) fn new() -> Fresh {
        Fresh {
            journal: Journal::default(),
            requests: Requests::with_capacity(0),
            outcomes: Vec::new(),
            links: BTreeMap::new(),
            commands: 0,
            log_bytes: 0,
        }
    }

    fn outcome(&self, index: u64) -> Option<&[u8]> {
        let at = self.outcomes.binary_search_by_key(&index, |(index, _)| *index).ok()?;
        Some(&self.outcomes[at].1)
    }
}

fn bad(what: &'static str) -> impl Fn(BadRecord) -> Fault {
    move |error| Fault::damaged(what, error.to_string())
}

fn missing(position: Position) -> Fault {
    let detail = format!("command {} of entry {} is missing", position.offset(), position.index());
    Fault::damaged("the log", detail)
}

impl ReplicaState {
    /// The memory parts, newest first.
    fn memories(&self) -> impl Iterator<Item = &Fresh> {
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
        self.sides.push(Aside { posted: account.posted(), slot: slot_of(&account.id), stamp: 0 });
        self.accounts.push(account);
        no
    }

    /// Where the record of a request key says it was decided, if that counts.
    fn request_at<'a>(&'a self, key: u128) -> Result<Option<(u64, StoredScope<'a>)>, Fault> {
        for memory in self.memories() {
            if let Some((position, scope)) = memory.requests.get(key) {
                return Ok(Some((position, StoredScope::Here(scope))));
            }
        }
        let stored = keys::request(self.generation, key);
        let Some(value) = self.engine.get(Table::Request, &stored)? else { return Ok(None) };
        let (position, scope) = requests::decode(&value).map_err(bad("a request record"))?;
        if Position(position).index() >= self.stored_end {
            return Ok(None);
        }
        let scope = match scope {
            Scope::Account(no) => StoredScope::Here(Scope::Account(no)),
            Scope::Text(text) => StoredScope::Copied(text.to_owned()),
        };
        Ok(Some((position, scope)))
    }

    fn is_scope(&self, stored: &StoredScope<'_>, scope: &str) -> bool {
        match stored {
            StoredScope::Here(Scope::Account(no)) => {
                self.accounts.get(*no as usize).is_some_and(|account| account.id == scope)
            }
            StoredScope::Here(Scope::Text(text)) => *text == scope,
            StoredScope::Copied(text) => text == scope,
        }
    }

    /// Whether the command at a position carries this request id.
    fn has_request_id(&self, position: Position, request_id: &str) -> Result<bool, Fault> {
        let (index, offset) = (position.index(), position.offset());
        let one = match &self.current {
            Some(current) if current.index == index => current.one(offset),
            _ => match self.with_outcomes(index, |outcomes| Ok(outcomes.all_short()))? {
                Some(all_short) => self.entries.one(index, offset, all_short)?,
                None => None,
            },
        };
        one.ok_or_else(|| missing(position))?.has_request_id(request_id)
    }

    /// Goes through the candidates of a request: where it was decided before `before`, or the key that is free for it.
    fn find_request(
        &self,
        scope: &str,
        request_id: &str,
        hash: u128,
        before: Position,
    ) -> Result<Found, Fault> {
        let owner = self.numbers.get(scope);
        let slot = owner.map_or_else(|| slot_of(scope), |&no| self.sides[no as usize].slot);
        for n in 0.. {
            let key = requests::key(slot, hash, n);
            if !self.bloom.may_contain(key) {
                return Ok(Found::Free(key));
            }
            let Some((position, stored)) = self.request_at(key)? else { return Ok(Found::Free(key)) };
            // At or after the entry being applied: that is this very command, seen by a replay.
            if position >= before.0 {
                return Ok(Found::Free(key));
            }
            if self.is_scope(&stored, scope) && self.has_request_id(Position(position), request_id)? {
                return Ok(Found::At(Position(position)));
            }
        }
        unreachable!("a slot has more keys than a set has requests")
    }

    /// The posted balance of an account after all its postings at `position`, which must be one of them.
    fn posted_after(&self, account: AccountNo, position: Position) -> Result<i128, Fault> {
        for memory in self.memories() {
            if let Some(after) = memory.journal.after(account, position.0) {
                return Ok(after);
            }
        }
        let end = keys::posting(self.generation, account, position.0.saturating_add(1));
        let first = keys::posting(self.generation, account, 0);
        let mut iterator = self.engine.iterator(Table::Posting, &end)?;
        iterator.seek_to_last();
        // More than one step back only where a crash left overlapping chunks.
        while let Some((_, chunk)) = iterator.item().filter(|(key, _)| *key >= &first[..]) {
            if let Some(after) = after_in_chunk(chunk, position.0).map_err(bad("a chunk of postings"))? {
                return Ok(after);
            }
            iterator.prev();
        }
        engine::ended(&iterator, Table::Posting)?;
        Err(Fault::damaged("the postings", format!("account {account} has none at {}", position.0)))
    }

    /// Calls `read` with the outcome record of an entry.
    pub(crate) fn with_outcomes<T>(
        &self,
        index: u64,
        read: impl FnOnce(&Outcomes<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let open = |bytes: &[u8]| -> Result<T, Fault> {
            let record = Outcomes::open(bytes).map_err(bad("an outcome record"))?;
            read(&record)
        };
        if let Some(bytes) = self.memories().find_map(|memory| memory.outcome(index)) {
            return open(bytes).map(Some);
        }
        if index >= self.stored_end {
            return Ok(None);
        }
        let stored = self.engine.get(Table::Outcome, &keys::outcome(self.generation, index))?;
        stored.map(|bytes| open(&bytes)).transpose()
    }

    /// The remembered command at a position with its first outcome and the incarnation of its entry.
    pub(crate) fn remembered(&self, position: Position) -> Result<Option<(Command, Outcome, u32)>, Fault> {
        let (index, offset) = (position.index(), position.offset());
        let kept = self.with_outcomes(index, |outcomes| {
            let all_short = outcomes.all_short();
            Ok(match outcomes.get(offset) {
                None | Some(Kept::Nothing) => None,
                Some(Kept::Booked { time_unix_ns }) => Some((Err(time_unix_ns), all_short)),
                Some(Kept::Outcome(bytes)) => {
                    let outcome = decode_outcome(bytes);
                    let bad = |error: DecodeError| Fault::damaged("an outcome", error.to_string());
                    Some((Ok(outcome.map_err(bad)?), all_short))
                }
            })
        })?;
        let Some((kept, all_short)) = kept.flatten() else { return Ok(None) };
        let one = self.entries.one(index, offset, all_short)?.ok_or_else(|| missing(position))?;
        let (command, incarnation) = one.command(self)?;
        let outcome = match (kept, &command) {
            (Ok(outcome), _) => outcome,
            (Err(time_unix_ns), Command::Transaction(transaction)) => {
                let result = Ok(Effect::Posted(self.booked_legs(transaction, position)?));
                Outcome { position, time_unix_ns, replayed: false, result }
            }
            (Err(_), _) => {
                return Err(Fault::damaged(
                    "an outcome record",
                    "it takes another command for a transaction",
                ));
            }
        };
        Ok(Some((command, outcome, incarnation)))
    }

    /// The legs of a transaction that was booked, with the balances after it.
    fn booked_legs(&self, transaction: &Transaction, position: Position) -> Result<Vec<Posted>, Fault> {
        let unfit = |what| Fault::damaged("a booked transaction", format!("{what}, at {}", position.0));
        let mut legs = Vec::with_capacity(transaction.legs.len());
        for leg in &transaction.legs {
            let no = self.account_no(&leg.account).ok_or_else(|| unfit("an account is unknown"))?;
            let scale = self.accounts[no as usize].scale;
            let amount = twinset_ledger::amount::to_minor(leg.amount, scale);
            let amount = amount.map_err(|_| unfit("an amount does not fit"))?;
            let posted = self.posted_after(no, position)?;
            legs.push(Posted {
                account: String::new(),
                side: leg.side,
                amount,
                scale,
                posted,
                available: posted,
            });
        }
        Ok(legs)
    }

    /// The account under which a command's request id is remembered. Reversals of what cannot be reversed share the
    /// empty scope.
    pub(crate) fn scope_of(&self, command: &Command, outcome: &Outcome) -> Result<Option<String>, Fault> {
        let original = match command {
            Command::Transaction(transaction) => {
                return Ok(scope_account(self, transaction).map(str::to_owned));
            }
            Command::Reversal(reversal) => reversal.transaction.position,
            other => return Ok(other.accounts().next().map(str::to_owned)),
        };
        if matches!(
            outcome.result,
            Err(Rejection::TransactionNotFound { .. } | Rejection::NotReversible { .. })
        ) {
            return Ok(Some(String::new()));
        }
        match self.remembered(original)? {
            Some((Command::Transaction(original), ..)) => {
                Ok(scope_account(self, &original).map(str::to_owned))
            }
            _ => Err(Fault::damaged("a reversal", format!("its original at {} is missing", original.0))),
        }
    }
}

/// A scope read from memory or from disk.
enum StoredScope<'a> {
    Here(Scope<'a>),
    Copied(String),
}

enum Found {
    At(Position),
    Free(u128),
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
        self.fresh.journal.push(no, posting, aside.posted);
    }

    fn request(&self, scope: &str, request_id: &str, before: Position) -> Result<Option<Position>, Fault> {
        let hash = requests::hash(scope, request_id);
        // The filter does not look at the slot: a new id is known to be new before the slot is.
        if !self.bloom.may_contain(hash) {
            return Ok(None);
        }
        Ok(match self.find_request(scope, request_id, hash, before)? {
            Found::At(position) => Some(position),
            Found::Free(_) => None,
        })
    }

    fn remember(&mut self, scope: &str, request_id: &str, position: Position) {
        let hash = requests::hash(scope, request_id);
        match self.find_request(scope, request_id, hash, position) {
            Ok(Found::Free(key)) => {
                let owner = match self.numbers.get(scope) {
                    Some(&no) => Scope::Account(no),
                    None => Scope::Text(scope),
                };
                self.fresh.requests.insert(key, position.0, &owner);
                self.bloom.insert(key);
                self.about.requests += 1;
            }
            // Remembered already: the first decision stands.
            Ok(Found::At(_)) => {}
            Err(fault) => self.fault = Some(fault),
        }
    }

    fn original(&self, position: Position) -> Result<Option<(Command, Outcome)>, Fault> {
        Ok(self.remembered(position)?.map(|(command, outcome, _)| (command, outcome)))
    }

    fn reversed(&self, position: Position) -> Result<Reversed, Fault> {
        let mut reversed = Reversed::default();
        let end = keys::link(self.generation, position.0, u64::MAX);
        let mut iterator = self.engine.iterator(Table::Link, &end)?;
        iterator.seek(keys::link(self.generation, position.0, 0));
        while let Some((key, value)) = iterator.item() {
            let by = Position(keys::parse_link(key).map_err(bad("a reversal link"))?);
            let amount = value.try_into().map(i128::from_le_bytes);
            let amount = amount.map_err(|_| Fault::damaged("a reversal link", "wrong length"))?;
            if by.index() < self.stored_end {
                reversed.amount += amount;
                reversed.by.push(by);
            }
            iterator.next();
        }
        engine::ended(&iterator, Table::Link)?;
        for memory in self.frozen.as_deref().into_iter().chain([&self.fresh]) {
            for &(by, amount) in memory.links.get(&position.0).into_iter().flatten() {
                reversed.amount += amount;
                reversed.by.push(Position(by));
            }
        }
        Ok(reversed)
    }

    fn add_reversal(&mut self, original: Position, by: Position, amount: i128) {
        self.fresh.links.entry(original.0).or_default().push((by.0, amount));
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

    fn last_time(&self) -> u64 {
        self.about.last_time
    }

    fn set_last_time(&mut self, time_unix_ns: u64) {
        self.about.last_time = time_unix_ns;
    }

    fn set_durability(&mut self, durability: Durability) {
        self.about.durability = durability;
    }

    fn identity(&self) -> (u32, u32) {
        (self.set, self.about.incarnation)
    }
}
