//! What a client says of a leg beside its account, side and amount, and what is shown of it. Plain data.

use serde::{Deserialize, Serialize};

use super::Transfer;

/// Of one leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// It takes only what may be withdrawn.
    Withdrawal,
    /// What it brings may not be withdrawn before that ledger time; none: before somebody says so.
    Restricted {
        /// Nanoseconds since 1970.
        until_ns: Option<u64>,
    },
    /// What is to be true of its account before: cents, or a count of postings.
    Expects {
        /// Of what.
        figure: Figure,
        /// At least, at most, or just so much.
        value: i64,
    },
    /// It is asked for by the name of a group, of which its account is the part that is meant.
    Group {
        /// The group's number among the accounts.
        group: u32,
    },
}

/// What a precondition is about, and how it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words are those of the API")]
pub enum Figure {
    AvailableMin,
    AvailableMax,
    PostedMin,
    PostedMax,
    Version,
}

impl Figure {
    /// All of them.
    pub const ALL: [Figure; 5] =
        [Figure::AvailableMin, Figure::AvailableMax, Figure::PostedMin, Figure::PostedMax, Figure::Version];

    /// As the API spells it.
    pub fn word(self) -> &'static str {
        match self {
            Figure::AvailableMin => "available_min",
            Figure::AvailableMax => "available_max",
            Figure::PostedMin => "posted_min",
            Figure::PostedMax => "posted_max",
            Figure::Version => "version",
        }
    }

    /// Whether an account on which nothing is set aside is so.
    pub fn holds(self, posted: i64, version: u64, wanted: i64) -> bool {
        match self {
            Figure::AvailableMin | Figure::PostedMin => posted >= wanted,
            Figure::AvailableMax | Figure::PostedMax => posted <= wanted,
            Figure::Version => i64::try_from(version) == Ok(wanted),
        }
    }
}

/// By the number of the leg, in order; nothing is said of any other.
pub type Marks = Vec<(u8, Mark)>;

impl Transfer {
    /// What comes restricted: account, cents, and until when.
    pub fn restricted(&self) -> impl Iterator<Item = (u32, i64, Option<u64>)> {
        self.marks.iter().filter_map(|(number, mark)| match mark {
            Mark::Restricted { until_ns } => {
                let (account, cents) = self.legs.get(usize::from(*number))?;
                Some((*account, cents.abs(), *until_ns))
            }
            Mark::Withdrawal | Mark::Expects { .. } | Mark::Group { .. } => None,
        })
    }

    /// Its preconditions: account, figure, and what is wanted.
    pub fn expects(&self) -> impl Iterator<Item = (u32, Figure, i64)> {
        self.marks.iter().filter_map(|(number, mark)| match mark {
            Mark::Expects { figure, value } => {
                let (account, _) = self.legs.get(usize::from(*number))?;
                Some((*account, *figure, *value))
            }
            Mark::Withdrawal | Mark::Restricted { .. } | Mark::Group { .. } => None,
        })
    }

    /// What is said of its legs wherever they are shown: there accounts go by their own names, and conditions are met.
    pub fn shown_marks(&self) -> Marks {
        let is_shown = |(_, mark): &&(u8, Mark)| !matches!(mark, Mark::Group { .. } | Mark::Expects { .. });
        self.marks.iter().filter(is_shown).copied().collect()
    }
}
