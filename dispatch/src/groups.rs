//! Groups of accounts as a router looks them up: by id, by set, by part. Made from the catalogue once, with every change of
//! it. What a group may be stands in [`twinset_control::groups`]; what is done with one is the router's own.

use std::collections::BTreeMap;

use twinset_control::{Catalogue, Group as Definition};
use twinset_ledger::slot_of;

/// All groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    by_id: BTreeMap<String, Group>,
    /// The group of each part.
    of_part: BTreeMap<String, String>,
}

/// A group, and where its parts live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// As the control set keeps it.
    pub definition: Definition,
    /// The set of each part, in the order of the definition.
    pub sets: Vec<u32>,
    /// For each set with parts, their places in the definition.
    places: BTreeMap<u32, Vec<usize>>,
}

impl Groups {
    /// Those of a catalogue whose slots belong to these sets.
    pub fn of(catalogue: &Catalogue, slots: &[u32]) -> Groups {
        let mut groups = Groups::default();
        for definition in catalogue.groups.values() {
            let named = definition.parts.iter().map(|part| (part.clone(), definition.id.clone()));
            groups.of_part.extend(named);
            groups.by_id.insert(definition.id.clone(), Group::new(definition.clone(), slots));
        }
        groups
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// The group of this id.
    pub fn get(&self, id: &str) -> Option<&Group> {
        self.by_id.get(id)
    }

    /// The id of the group that this account is a part of.
    pub fn of_part(&self, account: &str) -> Option<&str> {
        self.of_part.get(account).map(String::as_str)
    }
}

impl Group {
    fn new(definition: Definition, slots: &[u32]) -> Group {
        let set = |part: &String| slots[usize::from(slot_of(part))];
        let sets: Vec<u32> = definition.parts.iter().map(set).collect();
        let mut places = BTreeMap::<u32, Vec<usize>>::new();
        for (place, set) in sets.iter().enumerate() {
            places.entry(*set).or_default().push(place);
        }
        Group { definition, sets, places }
    }

    /// The places, in the definition, of the parts that live in `set`.
    pub fn places_in(&self, set: u32) -> &[usize] {
        self.places.get(&set).map_or(&[], Vec::as_slice)
    }
}
