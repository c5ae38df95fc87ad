//! The catalogue as bytes: one JSON document with a format number. Reading refuses an unknown format, unknown fields and
//! a catalogue that contradicts itself, so that nobody routes money by a damaged map.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::catalogue::{Catalogue, Replica};
use crate::{CONTROL_SET, FORMAT, SLOTS};

/// Why bytes are no catalogue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not the JSON that is meant here.
    #[error("the catalogue is not readable: {reason}")]
    Unreadable {
        /// What the parser says.
        reason: String,
    },
    /// A format that this build does not know.
    #[error("catalogue format {found} is not known: this build knows {FORMAT}")]
    UnknownFormat {
        /// The number found.
        found: u64,
    },
    /// It contradicts itself.
    #[error("the catalogue contradicts itself: {0}")]
    Inconsistent(#[from] Inconsistent),
}

/// How a catalogue contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistent {
    /// A key is not the name or number of what it leads to.
    #[error("{what} {key:?} is filed under another name")]
    Misfiled {
        /// Site, node, set, group or plan.
        what: &'static str,
        /// The key.
        key: String,
    },
    /// There are not two sites for data.
    #[error("{count} data sites instead of two")]
    DataSites {
        /// How many there are.
        count: usize,
    },
    /// A node or set names a site that is not there, or not of the right kind.
    #[error("{what} {name:?} names site {site:?}, which cannot hold it")]
    Site {
        /// Node or set.
        what: &'static str,
        /// Its name or number.
        name: String,
        /// The site.
        site: String,
    },
    /// A slot has no set, or more than one.
    #[error("slot {slot} belongs to {owners} sets instead of one")]
    Slot {
        /// The slot.
        slot: u16,
        /// How many sets claim it.
        owners: u32,
    },
    /// A range is empty or goes past the last slot.
    #[error("set {set} has a slot range {from}-{to}, which is none")]
    Range {
        /// The set.
        set: u32,
        /// Its first slot.
        from: u16,
        /// Its last slot.
        to: u16,
    },
    /// A replica's id is used twice or was not given out yet.
    #[error("replica {id} of set {set} has an id that is taken or not given out yet")]
    ReplicaId {
        /// The set.
        set: u32,
        /// The id.
        id: u64,
    },
    /// A replica stands on a node that is not there, or not for it, or that has another replica of the set.
    #[error("replica {id} of set {set} cannot stand on node {node:?}")]
    ReplicaNode {
        /// The set.
        set: u32,
        /// The replica.
        id: u64,
        /// The node.
        node: String,
    },
    /// A replacement is about replicas that are not there.
    #[error("replacement {id} of set {set} is about replicas that are not there")]
    Replacement {
        /// The set.
        set: u32,
        /// The replacement.
        id: u64,
    },
    /// A plan is about a set that is not there.
    #[error("plan {plan} is about set {set}, which is not there")]
    Plan {
        /// Its id.
        plan: u64,
        /// The set.
        set: u32,
    },
    /// A group is none, or shares an account with another one.
    #[error("group {group:?} is none, or shares an account with another")]
    Group {
        /// Its id.
        group: String,
    },
}

/// Read first, so that a newer format is named as such whatever else the document holds.
#[derive(Deserialize)]
struct Header {
    format: u64,
}

impl Catalogue {
    /// The document; equal catalogues give equal bytes.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data with string and number keys has a JSON form")
    }

    /// Reads the document.
    pub fn from_json(bytes: &[u8]) -> Result<Self, Error> {
        let header: Header = serde_json::from_slice(bytes).map_err(unreadable)?;
        if header.format != u64::from(FORMAT) {
            return Err(Error::UnknownFormat { found: header.format });
        }
        let catalogue: Catalogue = serde_json::from_slice(bytes).map_err(unreadable)?;
        catalogue.check()?;
        Ok(catalogue)
    }

    /// Refuses a catalogue that contradicts itself. The 2+2 placement is not checked here: a forced recovery leaves
    /// fewer voters, and its catalogue must stay readable.
    pub fn check(&self) -> Result<(), Inconsistent> {
        self.check_sites()?;
        self.check_slots()?;
        self.check_replicas()?;
        self.check_groups()?;
        self.check_plans()?;
        self.check_drills()
    }

    fn check_sites(&self) -> Result<(), Inconsistent> {
        let misfiled = |what, key: &dyn ToString| Err(Inconsistent::Misfiled { what, key: key.to_string() });
        if let Some((key, _)) = self.sites.iter().find(|(key, site)| **key != site.name) {
            return misfiled("site", key);
        }
        let count = self.data_sites().count();
        if count != 2 {
            return Err(Inconsistent::DataSites { count });
        }
        for (key, node) in &self.nodes {
            if *key != node.name {
                return misfiled("node", key);
            }
            if self.sites.get(&node.site).is_none_or(|site| site.arbiter != node.arbiter) {
                let (name, site) = (node.name.clone(), node.site.clone());
                return Err(Inconsistent::Site { what: "node", name, site });
            }
        }
        for (key, set) in &self.sets {
            if *key != set.id || *key == CONTROL_SET {
                return misfiled("set", key);
            }
            if let Some(site) = [&set.home, &set.configured_home].into_iter().find(|s| !self.is_data_site(s))
            {
                return Err(Inconsistent::Site { what: "set", name: key.to_string(), site: site.clone() });
            }
        }
        Ok(())
    }

    fn check_slots(&self) -> Result<(), Inconsistent> {
        let mut owners = vec![0u32; usize::from(SLOTS)];
        for set in self.sets.values() {
            for range in &set.slots {
                if range.from > range.to || range.to >= SLOTS {
                    return Err(Inconsistent::Range { set: set.id, from: range.from, to: range.to });
                }
                (range.from..=range.to).for_each(|slot| owners[usize::from(slot)] += 1);
            }
        }
        match (0..SLOTS).zip(owners).find(|(_, owners)| *owners != 1) {
            Some((slot, owners)) => Err(Inconsistent::Slot { slot, owners }),
            None => Ok(()),
        }
    }

    fn check_groups(&self) -> Result<(), Inconsistent> {
        if let Some((key, _)) = self.groups.iter().find(|(key, group)| **key != group.id) {
            return Err(Inconsistent::Misfiled { what: "group", key: key.clone() });
        }
        match self.inconsistent_group() {
            Some(group) => Err(Inconsistent::Group { group: group.into() }),
            None => Ok(()),
        }
    }

    fn check_plans(&self) -> Result<(), Inconsistent> {
        for (key, plan) in &self.plans {
            if *key != plan.id {
                return Err(Inconsistent::Misfiled { what: "plan", key: key.to_string() });
            }
            if let Some(step) = plan.steps.iter().find(|step| !self.sets.contains_key(&step.set)) {
                return Err(Inconsistent::Plan { plan: *key, set: step.set });
            }
        }
        Ok(())
    }

    fn check_drills(&self) -> Result<(), Inconsistent> {
        match self.drills.iter().find(|(key, drill)| **key != drill.id) {
            Some((key, _)) => Err(Inconsistent::Misfiled { what: "drill", key: key.to_string() }),
            None => Ok(()),
        }
    }

    fn check_replicas(&self) -> Result<(), Inconsistent> {
        let mut ids = BTreeSet::new();
        for set in std::iter::once(CONTROL_SET).chain(self.sets.keys().copied()) {
            let mut nodes = BTreeSet::new();
            for Replica { id, node, .. } in self.replicas(set) {
                if *id == 0 || *id >= self.next_replica_id || !ids.insert(*id) {
                    return Err(Inconsistent::ReplicaId { set, id: *id });
                }
                let fits = self.nodes.get(node).is_some_and(|n| set == CONTROL_SET || !n.arbiter);
                if !fits || !nodes.insert(node) {
                    return Err(Inconsistent::ReplicaNode { set, id: *id, node: node.clone() });
                }
            }
            if let Some(open) = self.replacement(set)
                && [open.old, open.new].iter().any(|id| self.replica(set, *id).is_none())
            {
                return Err(Inconsistent::Replacement { set, id: open.id });
            }
        }
        Ok(())
    }
}

fn unreadable(error: serde_json::Error) -> Error {
    Error::Unreadable { reason: error.to_string() }
}
