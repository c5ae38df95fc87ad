//! What is on its way to buffered accounts, and what could not be booked there, as clients are told. Plain data; amounts are whole
//! cents, as everywhere in a history.

use serde::{Deserialize, Serialize};

use super::{AsOf, Name, Place};

/// What is on its way to an account from one set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InTransit {
    /// As of when; the set is that of the payers.
    pub as_of: AsOf,
    /// How many credits.
    pub credits: u64,
    /// Their sum.
    pub cents: i64,
}

/// A credit that stands on a suspense account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspended {
    /// Its name.
    pub item: Name,
    /// Where it was taken in.
    pub place: Place,
    /// Whose it was to be.
    pub account: u32,
    /// Debits above zero.
    pub cents: i64,
    /// The payer's transaction.
    pub of: Name,
    /// The day that it is booked on, in days since 1970-01-01.
    pub day: i32,
    /// Why it is not booked where it should be.
    pub reason: String,
}
