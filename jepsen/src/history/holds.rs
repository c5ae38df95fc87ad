//! Holds, postings and events as clients are told of them. Plain data; amounts are whole cents, as everywhere in a history.

use serde::{Deserialize, Serialize};

use super::event::Leg;
use super::sweeps::{Refused, Turned};
use super::{Name, Place};

/// What makes a transaction a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Capture {
    /// The hold.
    pub hold: Name,
    /// Whether the rest of it is given back.
    pub is_final: bool,
}

/// How a hold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words are those of the API")]
pub enum HoldState {
    Open,
    Captured,
    Released,
    Expired,
}

/// A hold's figures in cents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the API")]
pub struct Held {
    pub hold: Name,
    pub state: HoldState,
    pub amount: i64,
    pub captured: i64,
    pub capturing: i64,
    pub released: i64,
    pub left: i64,
    pub expires_ns: Option<u64>,
}

/// A hold that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundHold {
    /// Its figures.
    pub held: Held,
    /// The held account.
    pub account: u32,
    /// Where it was placed.
    pub placed: Place,
    /// The request id of that.
    pub id: String,
    /// What has happened to it, in order.
    pub journal: Vec<HoldLine>,
}

/// A line of a hold's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldLine {
    /// Where.
    pub place: Place,
    /// What.
    pub change: HoldChange,
}

/// What happened to a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words are those of the API")]
pub enum HoldChange {
    Captured { cents: i64, by: Name },
    Released { cents: i64 },
    Expired { cents: i64 },
    Extended { expires_ns: Option<u64> },
}

impl HoldChange {
    /// What is less left by it.
    pub fn cents(self) -> i64 {
        match self {
            HoldChange::Captured { cents, .. }
            | HoldChange::Released { cents }
            | HoldChange::Expired { cents } => cents,
            HoldChange::Extended { .. } => 0,
        }
    }
}

/// A line of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What was booked, in the words of the account's set.
    pub transaction: Name,
    /// Where.
    pub place: Place,
    /// Debits above zero.
    pub cents: i64,
    /// The balance after this posting.
    pub posted: i64,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its key.
    pub event: Name,
    /// The key of the one before it in its set; none: it is the set's first.
    pub previous: Option<Name>,
    /// Where.
    pub place: Place,
    /// What kind of event, in the word of the API.
    pub kind: String,
    /// The request id of the command, where the event says it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// What was booked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub legs: Vec<Leg>,
    /// Posted and available of each leg's account afterwards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub balances: Vec<(i64, i64)>,
    /// A hold as it stood then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
    /// Why a credit of another set stands on the suspense account; empty: it does not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub suspended: String,
    /// A sweep that was set or removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turned: Option<Turned>,
    /// A run of a sweep that was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
}
