//! Where in a set's log something is, and what is called by that.

use serde::{Deserialize, Serialize};
use twinset_ledger::TransactionId;

/// Where something was decided, or as of where it was read: set, log index, ledger time in nanoseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "(u32, u64, u64)", into = "(u32, u64, u64)")]
pub struct Place {
    /// The set.
    pub set: u32,
    /// The index of the entry in the set's log.
    pub index: u64,
    /// Ledger time; for a read, that of the last command before it.
    pub time_ns: u64,
}

impl From<(u32, u64, u64)> for Place {
    fn from((set, index, time_ns): (u32, u64, u64)) -> Self {
        Place { set, index, time_ns }
    }
}

impl From<Place> for (u32, u64, u64) {
    fn from(place: Place) -> Self {
        (place.set, place.index, place.time_ns)
    }
}

/// A transaction's name, in JSON as its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(pub TransactionId);

impl TryFrom<String> for Name {
    type Error = twinset_ledger::id::ParseTransactionIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Name)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.to_string()
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// As of when a read is, by its own word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AsOf {
    /// Where in the log.
    pub place: Place,
    /// How old it may be, in milliseconds.
    pub age_ms: u64,
}
