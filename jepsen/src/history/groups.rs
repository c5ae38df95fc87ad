//! Groups of accounts as clients are told of them, and how their ids are told from those of accounts. Plain data.

use serde::{Deserialize, Serialize};

use super::{AsOf, Figures, Transfer};
use crate::history::marks::Mark;

/// How the ids of groups begin, and those of their parts, which go on behind a point.
pub const PREFIX: &str = "group.";

/// A part of a group, as it was read with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundPart {
    /// The account.
    pub account: u32,
    /// As of when.
    pub as_of: AsOf,
    /// What it has.
    pub figures: Figures,
}

/// A group that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundGroup {
    /// What is said that all parts have together.
    pub figures: Figures,
    /// How old it may be, in milliseconds.
    pub age_ms: u64,
    /// In the order of the group.
    pub parts: Vec<FoundPart>,
}

/// Whether an id is a group's.
pub fn is_group(id: &str) -> bool {
    id.strip_prefix(PREFIX).is_some_and(|name| !name.contains('.'))
}

/// The group that an account is a part of.
pub fn group_of(account: &str) -> Option<&str> {
    account.rsplit_once('.').map(|(group, _)| group).filter(|group| is_group(group))
}

impl Transfer {
    /// The groups that it credits: the number of the leg, and the group.
    pub fn groups(&self) -> impl Iterator<Item = (usize, u32)> {
        self.marks.iter().filter_map(|(number, mark)| match mark {
            Mark::Group { group } => Some((usize::from(*number), *group)),
            _ => None,
        })
    }

    /// Whose request id it is, where groups are credited and the client names nobody: the least account that is debited and none of
    /// a group, or the least that is none.
    pub fn payer(&self, accounts: &[String]) -> Option<u32> {
        let of_group = |at: usize| self.groups().any(|(number, _)| number == at);
        let own = || self.legs.iter().enumerate().filter(|(at, _)| !of_group(*at)).map(|(_, leg)| leg);
        let least = |debits: bool| {
            let legs = own().filter(|(_, cents)| !debits || *cents > 0);
            legs.map(|(account, _)| *account).min_by_key(|account| &accounts[*account as usize])
        };
        self.scope.or_else(|| least(true)).or_else(|| least(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_told_from_its_parts_and_from_accounts() {
        assert!(is_group("group.pot") && !is_group("group.pot.1") && !is_group("{x}:pot"));
        assert_eq!(group_of("group.pot.12"), Some("group.pot"));
        assert_eq!((group_of("group.pot"), group_of("{x}:pot.1")), (None, None));
    }
}
