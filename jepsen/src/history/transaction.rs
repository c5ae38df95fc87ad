//! Transactions, as they are asked for and as the ledger shows them.

use serde::{Deserialize, Serialize};

use super::event::Leg;
use super::holds::Capture;
use super::place::{Name, Place};

/// A transaction that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Transfer {
    /// The request id.
    pub id: String,
    /// The scope account, if it is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u32>,
    /// What else is written on it: see [`super::label`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<u16>,
    /// What it captures, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Capture>,
    /// In the client's order.
    pub legs: Vec<Leg>,
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
