//! Accounts and transactions as clients are shown them. Plain data; amounts are whole cents, as everywhere in a history.

use serde::{Deserialize, Serialize};

use super::event::Leg;
use super::holds::Capture;
use super::marks::Marks;
use super::{Name, Place};

fn is_zero(cents: &i64) -> bool {
    *cents == 0
}

/// An account's figures, in cents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the API")]
pub struct Figures {
    pub posted: i64,
    pub available: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held: i64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub incoming: i64,
    /// What is withdrawable is so much less than what is available: no reply that says otherwise can be read.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restricted: i64,
    pub debits: i64,
    pub credits: i64,
    pub limit: Option<i64>,
    pub frozen_debit: bool,
    pub frozen_credit: bool,
    pub closed: bool,
    pub version: u64,
}

/// A transaction as the ledger holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its name.
    pub transaction: Name,
    /// Where it was booked.
    pub place: Place,
    /// Its request id; empty for what a list shows of one over several sets.
    pub id: String,
    /// The account that the id belongs to; none where a list shows none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u32>,
    /// What else is written on it: see [`super::label`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<u16>,
    /// As booked.
    pub legs: Vec<Leg>,
    /// What it reverses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverses: Option<Name>,
    /// Its reversals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reversed_by: Vec<Name>,
    /// What it captures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Capture>,
    /// What else is said of its legs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Marks,
    /// In a list: this is what the set has booked of that transaction over several sets, clearing legs last. Where it names the
    /// transaction itself, that was paid without asking the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<Part>,
}

impl Found {
    /// In a list: whether it is the payers' own part of what was paid without asking other sets.
    pub fn is_paid(&self) -> bool {
        self.part_of.is_some_and(|part| part.of == self.transaction)
    }
}

/// What a row in a list is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The transaction over several sets.
    pub of: Name,
    /// The day that it is booked on, in days since 1970-01-01: the same in all sets.
    pub day: i32,
}

/// A transaction over several sets that one of them has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InDoubt {
    /// The set that has it open.
    pub set: u32,
    /// The transaction.
    pub attempt: Name,
    /// How far it is there, in the word of that set's leader.
    pub phase: String,
}
