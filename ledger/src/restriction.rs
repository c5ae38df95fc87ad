//! Restrictions: what has arrived on an account with a restricted leg, and may not be withdrawn yet (ADR 14). This file keeps the
//! records and their figures; when they may change is [`crate::apply`]'s to say.
//!
//! ```text
//! restricted leg --> open --+-- release of a part, taken back in part: any number
//!                           +-- release of all that is left --> released
//!                           +-- its time ---------------------> expired
//!                           +-- all that is left taken back --> reversed
//! ```
//!
//! Invariant: `0 <= left <= amount`, and it has ended when nothing is left.

use std::collections::{BTreeMap, BTreeSet};

use crate::account::AccountNo;
use crate::id::{Position, TransactionId};

/// The name of a restriction within its set: the account, and the transaction that brought the money.
pub type RestrictionName = (AccountNo, TransactionId);

/// A restriction and its figures, in minor units of its account's currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restriction {
    /// The transaction that brought the money.
    pub transaction: TransactionId,
    /// The account that got it.
    pub account: AccountNo,
    /// Where in this set's log it was booked.
    pub made_at: Position,
    /// Ledger time of that, in nanoseconds since the Unix epoch.
    pub made_ns: u64,
    /// As booked.
    pub amount: i128,
    /// What may still not be withdrawn.
    pub left: i128,
    /// From this ledger time on it may be released without a command, in nanoseconds since the Unix epoch; None: only by one.
    pub until_ns: Option<u64>,
    /// How it has ended, if it has.
    pub ended: Option<RestrictionEnded>,
}

/// The end of a restriction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestrictionEnded {
    /// How.
    pub how: RestrictionEnd,
    /// The command that did it.
    pub at: Position,
    /// Its ledger time.
    pub time_unix_ns: u64,
}

/// How a restriction has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RestrictionEnd {
    /// All that was left was released by a command.
    Released = 1,
    /// Its time had come.
    Expired = 2,
    /// All that was left was taken back by reversals of its transaction.
    Reversed = 3,
}

impl Restriction {
    /// Its name within the set.
    pub fn name(&self) -> RestrictionName {
        (self.account, self.transaction)
    }
}

/// The restrictions of a set that a state has in memory: all that have not ended, and those that did since they were last
/// taken out with [`Restrictions::take_changed`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restrictions {
    by_name: BTreeMap<RestrictionName, Restriction>,
    /// Release times of those that have not ended.
    due: BTreeSet<(u64, RestrictionName)>,
    changed: BTreeSet<RestrictionName>,
}

impl Restrictions {
    /// The restriction of that name.
    pub fn get(&self, name: RestrictionName) -> Option<&Restriction> {
        self.by_name.get(&name)
    }

    /// All, by account, and of an account in the order of the transactions' names.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Restriction> {
        self.by_name.values()
    }

    /// Those of an account whose transactions are named so or later, in order.
    pub fn of_account(&self, account: AccountNo, from: TransactionId) -> impl Iterator<Item = &Restriction> {
        let all = self.by_name.range((account, from)..);
        all.take_while(move |((of, _), _)| *of == account).map(|(_, restriction)| restriction)
    }

    /// How many have not ended.
    pub fn open(&self) -> usize {
        // What has ended has changed since it was last taken out.
        let ended = self.changed.iter().filter(|name| self.by_name[name].ended.is_some()).count();
        self.by_name.len() - ended
    }

    /// Those that have not ended though their time has come, the longest due first.
    pub fn due(&self, time_unix_ns: u64) -> impl Iterator<Item = &Restriction> {
        let all = self.due.iter().take_while(move |(until, _)| *until <= time_unix_ns);
        all.map(|(_, name)| &self.by_name[name])
    }

    /// Puts a restriction as it now stands in the place of what it was.
    pub fn put(&mut self, restriction: Restriction) {
        self.changed.insert(restriction.name());
        self.load(restriction);
    }

    /// The same for one that is stored elsewhere as it is.
    pub fn load(&mut self, restriction: Restriction) {
        let name = restriction.name();
        // The time that it was made with is never changed.
        if let Some(until) = restriction.until_ns {
            match restriction.ended {
                None => self.due.insert((until, name)),
                Some(_) => self.due.remove(&(until, name)),
            };
        }
        self.by_name.insert(name, restriction);
    }

    /// Gives those that have changed since the last call, and lets go of those that have ended: whoever takes them keeps
    /// them.
    pub fn take_changed(&mut self) -> Vec<Restriction> {
        let changed = std::mem::take(&mut self.changed);
        let take = |name: &RestrictionName| {
            let restriction = self.by_name[name].clone();
            if restriction.ended.is_some() {
                self.by_name.remove(name);
            }
            restriction
        };
        changed.iter().map(take).collect()
    }
}
