//! Holds: an amount of one account's available balance that is set aside, so that only captures of it can use it (ADR 12). This
//! file keeps the records and their figures; when they may change is [`crate::apply`]'s to say.
//!
//! ```text
//! place --> open --+-- capture (a transaction), release, extend: any number
//!                  +-- final capture, or all captured --> captured
//!                  +-- release of all that is left -----> released
//!                  +-- expiry --------------------------> expired
//! ```
//!
//! One that names an initiator does not expire: [`crate::check_back`].
//!
//! Invariant: `amount = captured + capturing + released + left`, none below zero.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;

use crate::account::AccountNo;
use crate::check_back::{Asking, Came, OnExpiry};
use crate::command::Metadata;
use crate::id::{Position, TransactionId};

/// Lines of a journal from which on a hold takes only what ends it. Its record is read, copied and written as a whole, and must
/// stay small.
pub const LINES_MAX: usize = 1_000;

/// Sets an amount aside on an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceHold {
    /// The client's idempotency key, within the account.
    pub request_id: String,
    /// The account's id.
    pub account: String,
    /// In major units, above zero.
    pub amount: Decimal,
    /// If named, it must be the account's.
    pub currency: Option<String>,
    /// From this ledger time on nothing can be captured, in nanoseconds since the Unix epoch; None: no end.
    pub expires_ns: Option<u64>,
    /// What comes of it then.
    pub on_expiry: OnExpiry,
    /// The client's reason code.
    pub reason: u16,
    /// Free.
    pub metadata: Metadata,
}

/// What makes a transaction a capture: its scope account is the held one, and what it takes from that comes out of the hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The hold.
    pub hold: TransactionId,
    /// Whether the rest is given back when it is booked.
    pub is_final: bool,
}

/// A hold and its figures, in minor units of its account's currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its name: where it was placed.
    pub id: TransactionId,
    /// The held account.
    pub account: AccountNo,
    /// As placed.
    pub amount: i128,
    /// Booked by captures.
    pub captured: i128,
    /// In the hands of open transactions over several sets, which may yet be booked.
    pub capturing: i128,
    /// Given back.
    pub released: i128,
    /// From this ledger time on it takes no command, or is overdue; None: no end.
    pub expires_ns: Option<u64>,
    /// If somebody is asked when its time is over: how far that is.
    pub check_back: Option<Asking>,
    /// How it has ended, if it has.
    pub ended: Option<Ended>,
    /// What has happened to it, in order.
    pub journal: Vec<HoldEvent>,
}

/// How a hold has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ended {
    /// By a capture: a final one, or one of all that was left.
    Captured = 1,
    /// All that was left was given back.
    Released = 2,
    /// Its time was over.
    Expired = 3,
}

/// One line of a hold's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldEvent {
    /// The command that did it.
    pub at: Position,
    /// Its ledger time.
    pub time_unix_ns: u64,
    /// What it did.
    pub change: HoldChange,
}

/// What happens to a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldChange {
    /// This much was booked, by the transaction of that name.
    Captured {
        /// In minor units.
        amount: i128,
        /// The transaction.
        by: TransactionId,
    },
    /// This much was given back.
    Released {
        /// In minor units.
        amount: i128,
    },
    /// The rest was given back because the time was over; it may be nothing.
    Expired {
        /// In minor units.
        amount: i128,
    },
    /// It ends at another time, or at none.
    Extended {
        /// As [`Hold::expires_ns`].
        expires_ns: Option<u64>,
    },
    /// Its time was over, and this came of asking what is to become of it.
    CheckedBack {
        /// The number of the try.
        no: u32,
        /// What came of it.
        came: Came,
    },
}

impl Hold {
    /// What can still be captured.
    pub fn left(&self) -> i128 {
        self.amount - self.captured - self.capturing - self.released
    }

    /// Whether it takes commands at that ledger time.
    pub fn is_open(&self, time_unix_ns: u64) -> bool {
        self.ended.is_none() && self.ends_by_itself_ns().is_none_or(|end| time_unix_ns < end)
    }

    /// From which ledger time on it is over without anybody's doing; None: never, or it has ended.
    pub fn ends_by_itself_ns(&self) -> Option<u64> {
        self.expires_ns.filter(|_| self.ended.is_none() && self.check_back.is_none())
    }

    /// Whether its journal is full.
    pub fn is_full(&self) -> bool {
        self.journal.len() >= LINES_MAX
    }

    /// Whether nothing can happen to it any more.
    pub fn is_over(&self) -> bool {
        self.ended.is_some() && self.capturing == 0
    }
}

/// The holds of a set that a state has in memory: all that are not over, and those that became so since they were last
/// taken out with [`Holds::take_changed`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    by_place: BTreeMap<Position, Hold>,
    by_account: BTreeSet<(AccountNo, Position)>,
    /// When those end that do so by themselves.
    due: BTreeSet<(u64, Position)>,
    /// By their initiators: from when on those are asked about that are asked about.
    asked: BTreeMap<String, BTreeSet<(u64, Position)>>,
    /// Expiries of those that are checked back and have not ended.
    checked_back: BTreeSet<(u64, Position)>,
    changed: BTreeSet<Position>,
}

impl Holds {
    /// The hold that was placed there.
    pub fn get(&self, at: Position) -> Option<&Hold> {
        self.by_place.get(&at)
    }

    /// All, in the order in which they were placed.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Hold> {
        self.by_place.values()
    }

    /// Those of an account that were placed there or later, in order.
    pub fn of_account(&self, account: AccountNo, from: Position) -> impl Iterator<Item = &Hold> {
        let all = self.by_account.range((account, from)..=(account, Position(u64::MAX)));
        all.map(|(_, at)| &self.by_place[at])
    }

    /// How many are not over.
    pub fn open(&self) -> usize {
        // What is over has changed since it was last taken out.
        let over = self.changed.iter().filter(|at| self.by_place[at].is_over()).count();
        self.by_place.len() - over
    }

    /// Those that end by themselves and have not though their time is over, the longest over first.
    pub fn due(&self, time_unix_ns: u64) -> impl Iterator<Item = &Hold> {
        let until = (time_unix_ns, Position(u64::MAX));
        self.due.range(..=until).map(|(_, at)| &self.by_place[at])
    }

    /// The names of those who are to be asked about a hold, now or later.
    pub fn initiators(&self) -> impl Iterator<Item = &str> {
        self.asked.keys().map(String::as_str)
    }

    /// Those that an initiator is to be asked about by now, the longest due first.
    pub fn to_ask(&self, initiator: &str, time_unix_ns: u64) -> impl Iterator<Item = &Hold> {
        let until = (time_unix_ns, Position(u64::MAX));
        let due = self.asked.get(initiator).into_iter().flat_map(move |due| due.range(..=until));
        due.map(|(_, at)| &self.by_place[at])
    }

    /// Those whose time is over and that wait for an answer or for a person, the longest overdue first.
    pub fn overdue(&self, time_unix_ns: u64) -> impl Iterator<Item = &Hold> {
        self.overdue_from((0, Position(0)), time_unix_ns)
    }

    /// The same from an end and, among those with this end, a place on.
    pub fn overdue_from(&self, from: (u64, Position), time_unix_ns: u64) -> impl Iterator<Item = &Hold> {
        let until = (time_unix_ns, Position(u64::MAX));
        // No range ends before it begins.
        let range = (from <= until).then(|| self.checked_back.range(from..=until));
        range.into_iter().flatten().map(|(_, at)| &self.by_place[at])
    }

    /// Puts a hold as it now stands in the place of what it was.
    pub fn put(&mut self, hold: Hold) {
        self.changed.insert(hold.id.position);
        self.load(hold);
    }

    /// The same for one that is stored elsewhere as it is.
    pub fn load(&mut self, hold: Hold) {
        let at = hold.id.position;
        if let Some(before) = self.by_place.remove(&at) {
            self.forget_times(&before);
        }
        self.note_times(&hold);
        self.by_account.insert((hold.account, at));
        self.by_place.insert(at, hold);
    }

    fn note_times(&mut self, hold: &Hold) {
        let at = hold.id.position;
        self.due.extend(hold.ends_by_itself_ns().map(|end| (end, at)));
        let Some(asking) = &hold.check_back else { return };
        let overdue = hold.expires_ns.filter(|_| hold.ended.is_none());
        self.checked_back.extend(overdue.map(|end| (end, at)));
        if let Some(from) = hold.asked_from_ns() {
            self.asked.entry(asking.terms.initiator.clone()).or_default().insert((from, at));
        }
    }

    fn forget_times(&mut self, hold: &Hold) {
        let at = hold.id.position;
        if let Some(end) = hold.expires_ns {
            self.due.remove(&(end, at));
            self.checked_back.remove(&(end, at));
        }
        let Some((asking, from)) = hold.check_back.as_ref().zip(hold.asked_from_ns()) else { return };
        let initiator = &asking.terms.initiator;
        let due = self.asked.get_mut(initiator).expect("it was noted");
        due.remove(&(from, at));
        if due.is_empty() {
            self.asked.remove(initiator);
        }
    }

    /// Gives those that have changed since the last call, and lets go of those that are over: whoever takes them keeps
    /// them.
    pub fn take_changed(&mut self) -> Vec<Hold> {
        let changed = std::mem::take(&mut self.changed);
        let take = |at: &Position| {
            let hold = self.by_place[at].clone();
            if hold.is_over() {
                self.by_place.remove(at);
                self.by_account.remove(&(hold.account, *at));
            }
            hold
        };
        changed.iter().map(take).collect()
    }
}
