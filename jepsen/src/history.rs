//! What clients asked and what they were told: the raw material of every check. Plain data; sends and judges nothing.

use twinset_ledger::TransactionId;

/// What a client wants: one account pays another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Number of the account that is debited; the request's scope account.
    pub debit: u32,
    /// Number of the account that is credited.
    pub credit: u32,
    /// In cents.
    pub cents: u32,
    /// The debited account is empty and may not go below zero: the ledger must say no, for ever.
    pub doomed: bool,
}

/// Where something was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The set.
    pub set: u32,
    /// The index of the entry in the set's log.
    pub index: u64,
    /// Ledger time: the digits of its text down to the nanosecond, so that it compares as time does.
    pub time: u128,
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was booked.
    Booked {
        /// The transaction's name.
        transaction: TransactionId,
        /// Where.
        place: Place,
        /// Whether this was the first answer given again.
        replayed: bool,
    },
    /// The ledger said no.
    Rejected {
        /// The stable code.
        code: String,
        /// Where.
        place: Option<Place>,
        /// Whether this was the first answer given again.
        replayed: bool,
    },
    /// Certainly nothing happened in this call.
    NotApplied {
        /// The stable code; `unsent` when no router took the connection.
        code: String,
    },
    /// It may have happened.
    Unknown,
}

impl Answer {
    /// Whether the request is decided by it.
    pub fn is_definite(&self) -> bool {
        matches!(self, Answer::Booked { .. } | Answer::Rejected { .. })
    }
}

/// One call with a request id. Times are microseconds on the run's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Number of the router.
    pub router: usize,
    /// The same id, but another amount: never to be booked.
    pub other_body: bool,
    /// Before it was sent.
    pub begin_us: u64,
    /// After it was answered or given up.
    pub end_us: u64,
    /// What came back.
    pub answer: Answer,
}

/// One request id and everything that was said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The request id.
    pub id: String,
    /// What was wanted.
    pub wish: Wish,
    /// In the order of their begins.
    pub calls: Vec<Call>,
}

impl Asked {
    /// The calls with the right body.
    pub fn same_body(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| !call.other_body)
    }

    /// The first definite answer.
    pub fn decided(&self) -> Option<&Call> {
        self.same_body().filter(|call| call.answer.is_definite()).min_by_key(|call| call.end_us)
    }

    /// The transaction and its place, if some call said that it was booked.
    pub fn booked(&self) -> Option<(TransactionId, Place)> {
        self.same_body().find_map(|call| match call.answer {
            Answer::Booked { transaction, place, .. } => Some((transaction, place)),
            _ => None,
        })
    }

    /// Whether some call ended without saying what happened.
    pub fn was_unknown(&self) -> bool {
        self.same_body().any(|call| call.answer == Answer::Unknown)
    }
}

/// A balance that a client read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// Number of the account.
    pub account: u32,
    /// Linearizable; else stale.
    pub linearizable: bool,
    /// Before it was asked. Microseconds on the run's clock.
    pub begin_us: u64,
    /// As of when the answer is, by its own word.
    pub as_of: Place,
    /// In cents.
    pub balance: i128,
}

/// All of a run.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Account ids by number.
    pub accounts: Vec<String>,
    /// Every request id.
    pub requests: Vec<Asked>,
    /// Every balance read while the traffic flowed.
    pub reads: Vec<Read>,
}

impl History {
    /// The scope account of a request.
    pub fn scope(&self, asked: &Asked) -> &str {
        &self.accounts[asked.wish.debit as usize]
    }
}
