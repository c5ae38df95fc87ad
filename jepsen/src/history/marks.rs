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
    /// It is asked for by the name of a group, of which its account is the part that is meant.
    Group {
        /// The group's number among the accounts.
        group: u32,
    },
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
            Mark::Withdrawal | Mark::Group { .. } => None,
        })
    }

    /// What is said of its legs wherever they are shown: there accounts go by their own names.
    pub fn shown_marks(&self) -> Marks {
        let is_shown = |(_, mark): &&(u8, Mark)| !matches!(mark, Mark::Group { .. });
        self.marks.iter().filter(is_shown).copied().collect()
    }
}
