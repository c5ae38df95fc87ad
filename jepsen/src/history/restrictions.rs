//! Restricted funds as clients are told of them. Plain data; amounts are whole cents, as everywhere in a history.

use serde::{Deserialize, Serialize};

use super::{Name, Place};

/// How a restriction stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words are those of the API")]
pub enum RestrictionState {
    Open,
    Released,
    Expired,
    Reversed,
}

impl RestrictionState {
    /// All of them.
    pub const ALL: [RestrictionState; 4] = [
        RestrictionState::Open,
        RestrictionState::Released,
        RestrictionState::Expired,
        RestrictionState::Reversed,
    ];

    /// The word of the API.
    pub fn word(self) -> &'static str {
        match self {
            RestrictionState::Open => "open",
            RestrictionState::Released => "released",
            RestrictionState::Expired => "expired",
            RestrictionState::Reversed => "reversed",
        }
    }
}

/// A restriction's figures in cents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the API")]
pub struct Restricted {
    pub restriction: Name,
    pub state: RestrictionState,
    pub amount: i64,
    pub left: i64,
    pub until_ns: Option<u64>,
}

/// A restriction that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundRestriction {
    /// Its figures.
    pub restricted: Restricted,
    /// Whose money it is about.
    pub account: u32,
    /// Where that was booked.
    pub made: Place,
    /// Where it has ended, if it has.
    pub ended: Option<Place>,
}
