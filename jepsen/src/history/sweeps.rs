//! Sweeps as they are asked for and read. Plain data; amounts are whole cents, as everywhere in a history.

use serde::{Deserialize, Serialize};

use super::Name;

/// When a sweep runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Each so many seconds.
    Every(u32),
    /// Whenever more cents may be withdrawn.
    Above(i64),
    /// When the day changes.
    Daily,
}

/// What is swept where to, and when.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Terms {
    /// The account that gets it.
    pub to: u32,
    /// What stays.
    pub keep: i64,
    /// When.
    pub when: When,
}

/// A sweep as it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swept {
    /// Its name.
    pub sweep: Name,
    /// The account that is swept.
    pub account: u32,
    /// What was asked for.
    pub terms: Terms,
    /// The number of its last run.
    pub runs: u32,
    /// It does not run before this ledger time.
    pub next_ns: u64,
    /// The transaction of its last run, while what came of it is not written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Name>,
}

/// That an account is swept from now on, or no more, as an event tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turned {
    /// The account.
    pub account: u32,
    /// Seconds between two runs, if they come so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u32>,
}

/// A run that was refused, as its event tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Of which sweep.
    pub sweep: Name,
    /// The account that is swept.
    pub account: u32,
    /// Its number.
    pub run: u32,
    /// The code of the reason.
    pub code: String,
}
