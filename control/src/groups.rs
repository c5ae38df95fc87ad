//! Groups of accounts: one id that takes credits for many accounts, its parts, and reads as one balance. What may be defined
//! stands here; the ledger knows nothing of groups, its accounts are ordinary ones. A group never changes and is never
//! removed: a router chooses the part of a request by this definition, and a retry must come to the same part for ever.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::catalogue::Catalogue;
use crate::rejection::Rejection;

/// Groups of a cluster, at most.
pub const GROUPS_MAX: usize = 256;
/// Parts of one group, at most: one in each of as many sets as a cluster can have.
pub const PARTS_MAX: usize = crate::topology::SETS_MAX as usize;
/// Parts of all groups together, at most. Every node and router holds them all, and is sent them with every change of the
/// catalogue.
pub const PARTS_TOTAL_MAX: usize = 8_192;
/// Metadata of the account that keeps a group's id from any other use, with the id as its value: it was opened and closed before
/// the group was defined. Who reads such an account and knows no group of its id knows too little.
pub const MARK: &str = "twinset.group";
/// Bytes of an account id or a currency, at most: as many as in the ledger.
const ID_BYTES_MAX: usize = 64;

/// The side that raises a balance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Left.
    Debit,
    /// Right.
    Credit,
}

/// An id that stands for several accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// What is credited, the key in [`Catalogue::groups`]. No money is ever on an account of this id.
    pub id: String,
    /// The currency of every part.
    pub currency: String,
    /// The normal side of every part: legs on it are inflows, and the only ones that a group takes.
    pub normal_side: Side,
    /// The accounts, in an order that never changes.
    pub parts: Vec<String>,
}

/// Whether `text` is an account id, or a currency: the same alphabet as in the ledger.
pub fn is_id(text: &str) -> bool {
    (1..=ID_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-{}".contains(&b))
}

impl Group {
    /// Refuses a group that could not be, whatever else is defined.
    pub fn validate(&self) -> Result<(), Rejection> {
        let malformed =
            |field: &str, reason: String| Err(Rejection::Malformed { field: field.into(), reason });
        if !is_id(&self.id) {
            return malformed("id", "it is no account id".into());
        }
        if !is_id(&self.currency) {
            return malformed("currency", "it is no currency".into());
        }
        if !(1..=PARTS_MAX).contains(&self.parts.len()) {
            return malformed(
                "parts",
                format!("a group has 1 to {PARTS_MAX}, this one {}", self.parts.len()),
            );
        }
        let mut seen = BTreeSet::from([&self.id]);
        for part in &self.parts {
            if !is_id(part) {
                return malformed("parts", "one of them is no account id".into());
            }
            if !seen.insert(part) {
                return malformed("parts", format!("{part} is in it twice, or is the group itself"));
            }
        }
        Ok(())
    }

    /// Every id that the group takes: its own and its parts'.
    fn ids(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.id).chain(&self.parts).map(String::as_str)
    }
}

impl Catalogue {
    /// Refuses a well-formed group that cannot be beside those that are there.
    pub(crate) fn check_new_group(&self, group: &Group) -> Result<(), Rejection> {
        let wanted: BTreeSet<&str> = group.ids().collect();
        for other in self.groups.values() {
            if let Some(taken) = other.ids().find(|id| wanted.contains(id)) {
                return Err(Rejection::AccountOfGroup { account: taken.into(), group: other.id.clone() });
            }
        }
        let parts: usize = self.groups.values().map(|other| other.parts.len()).sum();
        if self.groups.len() >= GROUPS_MAX || parts + group.parts.len() > PARTS_TOTAL_MAX {
            return Err(Rejection::TooManyGroups { groups: self.groups.len(), parts });
        }
        Ok(())
    }

    /// The first group that contradicts itself or another one.
    pub(crate) fn inconsistent_group(&self) -> Option<&str> {
        let mut seen = BTreeSet::new();
        let bad =
            |group: &&Group| group.validate().is_err() || !group.ids().all(|id| seen.insert(id.to_owned()));
        self.groups.values().find(bad).map(|group| group.id.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_no_more_groups_than_every_node_may_hold() {
        let text = include_str!("../tests/golden/catalogue.json");
        let mut catalogue = Catalogue::from_json(text.as_bytes()).expect("a catalogue");
        let group = |n: usize| Group {
            id: format!("group-{n}"),
            currency: "EUR".into(),
            normal_side: Side::Credit,
            parts: vec![format!("group-{n}.1")],
        };
        for n in catalogue.groups.len()..GROUPS_MAX {
            catalogue.check_new_group(&group(n)).expect("there is room");
            catalogue.groups.insert(group(n).id, group(n));
        }
        let refused = catalogue.check_new_group(&group(GROUPS_MAX));
        assert!(matches!(refused, Err(Rejection::TooManyGroups { groups: GROUPS_MAX, .. })), "{refused:?}");
    }
}
