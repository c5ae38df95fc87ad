//! What apply may read and write: the one seam between the pure rules and whoever keeps the state. Above it is
//! [`crate::apply`]; below it are the store's replica state and [`crate::memory::MemoryState`].

use crate::account::{Account, AccountNo, Side};
use crate::attempt::Attempts;
use crate::buffer::Buffer;
use crate::command::Command;
use crate::hold::Hold;
use crate::id::{Position, TransactionId};
use crate::outcome::Outcome;
use crate::restriction::{Restriction, RestrictionName};
pub use crate::reversed::{Reversed, Taken, TakenBack};
use crate::sweep::Sweeps;

/// Whether answers of the set wait for the away site. Marked in the set's own log, entry by entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Durability {
    /// Nothing leaves the set before it is on disk in each site.
    #[default]
    Sync = 0,
    /// An operator gave up the away site's copy for now: a majority's disk is enough.
    Degraded = 1,
}

/// A leg as booked on one account. Postings of an account are appended in position order and never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posting {
    /// Of the transaction that booked it.
    pub position: Position,
    /// In minor units; raises (inflow, positive) or lowers (outflow, negative) the account's posted balance.
    pub delta: i128,
}

/// The replicated state of one set, as apply sees it. A read must see every earlier write of the same entry. All
/// methods must give the same answers on every replica that has applied the same entries. `Fault` is a local failure
/// (disk, corruption): the replica stops, and nothing is answered.
pub trait State {
    /// A local failure of the storage below.
    type Fault;

    /// The number of an account, if it was ever opened.
    fn account_no(&self, id: &str) -> Option<AccountNo>;
    /// An open or closed account. Panics on a number that was never given out.
    fn account(&self, no: AccountNo) -> &Account;
    /// The same for change; the account counts as touched.
    fn account_mut(&mut self, no: AccountNo) -> &mut Account;
    /// Adds an account and gives it the next number: 0, 1, 2, ...
    fn open(&mut self, account: Account) -> AccountNo;
    /// Appends a posting to an account's history (the balance itself is changed through `account_mut`).
    fn post(&mut self, no: AccountNo, posting: Posting);

    /// Where (scope, request id) was first decided, at a position strictly below `before`. Exact, for ever. A scope is
    /// an account's id, or what [`TransactionId::scope`] or [`TransactionId::attempt_scope`] gives.
    fn request(
        &self,
        scope: &str,
        request_id: &str,
        before: Position,
    ) -> Result<Option<Position>, Self::Fault>;
    /// Remembers that (scope, request id) was decided at `position`.
    fn remember(&mut self, scope: &str, request_id: &str, position: Position) -> Result<(), Self::Fault>;
    /// The command at an earlier position of this set and its first outcome, balances included. None if nothing that
    /// is remembered stands there (no such position, or a replay or a conflict). Only asked for positions of earlier
    /// entries: apply itself answers for the entry that it is in.
    fn original(&self, position: Position) -> Result<Option<(Command, Outcome)>, Self::Fault>;
    /// The outcome alone, which may be nearer at hand than the command.
    fn became(&self, position: Position) -> Result<Option<Outcome>, Self::Fault> {
        Ok(self.original(position)?.map(|(_, outcome)| outcome))
    }

    /// What has been reversed of the transaction at `position`.
    fn reversed(&self, position: Position) -> Result<Reversed, Self::Fault>;
    /// Adds a reversal that takes so much to the transaction at `original`. `at` is where it is booked: the command that is
    /// being applied, which of a reversal over several sets is not the one that it is named by.
    fn add_reversal(&mut self, original: Position, by: TransactionId, at: Position, taken: Taken);

    /// The attempts that are open in this set.
    fn attempts(&self) -> &Attempts;
    /// The same for change.
    fn attempts_mut(&mut self) -> &mut Attempts;
    /// What the set keeps about buffered accounts.
    fn buffer(&self) -> &Buffer;
    /// The same for change.
    fn buffer_mut(&mut self) -> &mut Buffer;
    /// The sweeps of the set.
    fn sweeps(&self) -> &Sweeps;
    /// The same for change.
    fn sweeps_mut(&mut self) -> &mut Sweeps;
    /// The hold that was placed there. Of those that are over a state may know nothing any more.
    fn hold(&self, at: Position) -> Option<&Hold>;
    /// Puts a hold as it now stands in the place of what it was.
    fn put_hold(&mut self, hold: Hold);
    /// The restriction of that name. Of those that have ended a state may know nothing any more.
    fn restriction(&self, name: RestrictionName) -> Option<&Restriction>;
    /// Puts a restriction as it now stands in the place of what it was.
    fn put_restriction(&mut self, restriction: Restriction);

    /// The scale of a currency that was defined in this set (the built-in ones are in [`crate::chart`]).
    fn currency_scale(&self, code: &str) -> Option<u8>;
    /// Defines a currency; only called when `currency_scale` gave none.
    fn define_currency(&mut self, code: &str, scale: u8);
    /// A subject that was defined in this set: its name and normal side.
    fn subject(&self, code: &str) -> Option<(String, Side)>;
    /// Defines a subject; only called when `subject` gave none.
    fn define_subject(&mut self, code: &str, name: &str, normal_side: Side);
    /// Whether the id is kept for a group of accounts.
    fn is_group(&self, id: &str) -> bool;
    /// Whether any id is.
    fn has_groups(&self) -> bool;
    /// Keeps the id for one; only called when `is_group` said no.
    fn define_group(&mut self, id: &str);

    /// The time of the last command applied, in nanoseconds since the Unix epoch.
    fn last_time(&self) -> u64;
    /// Moves the ledger time; always upwards.
    fn set_last_time(&mut self, time_unix_ns: u64);
    /// Marks the durability state from this entry on.
    fn set_durability(&mut self, durability: Durability);
    /// The set's number, for transaction ids.
    fn set(&self) -> u32;
}
