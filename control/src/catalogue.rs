//! The catalogue: sites, nodes, sets, slots, homes, epochs and durability, as the control set keeps them and every
//! router and node copies them. Types and lookups only: changes go through `apply.rs`, bytes through `document.rs`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::audit::Audit;
use crate::control_recovery::ControlRecovered;
use crate::drill::Drill;
use crate::durability::Policy;
use crate::groups::Group;
use crate::plan::Plan;
use crate::proof::Proof;
use crate::recovery::{Recovered, RecoveryIntent};
use crate::replacement::Replacement;
use crate::{CONTROL_SET, SLOTS};

/// Everything the control set knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The document's format, [`crate::FORMAT`].
    pub format: u32,
    /// Names this cluster for ever; every message between nodes carries it.
    pub cluster_id: String,
    /// What people call the cluster.
    pub cluster_name: String,
    /// Raised by one with every change; the first catalogue has 1.
    pub version: u64,
    /// By name: the two data sites and, with an arbiter, its third place.
    pub sites: BTreeMap<String, Site>,
    /// By name, the arbiter included.
    pub nodes: BTreeMap<String, Node>,
    /// Names of nodes that were taken out of the cluster. None comes back: a data directory that was forgotten would pass for a new
    /// node's.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub removed_nodes: BTreeSet<String>,
    /// By number, from 1.
    pub sets: BTreeMap<u32, Set>,
    /// Raft group [`CONTROL_SET`] itself.
    pub control: ControlSet,
    /// The next replica gets this id; ids are never reused.
    pub next_replica_id: u64,
    /// By id; none ever changes or goes.
    pub groups: BTreeMap<String, Group>,
    /// Who did what and why: the newest of it, and what stands for all.
    pub audit: Audit,
    /// By id: those under way, and the newest of those that have ended.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub plans: BTreeMap<u64, Plan>,
    /// By id: the one under way, and the newest of those that have ended.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub drills: BTreeMap<u64, Drill>,
}

/// A place that can fail as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// Its name, the key in [`Catalogue::sites`].
    pub name: String,
    /// The third place: it holds the arbiter and no ledger data, and can be no set's home.
    pub arbiter: bool,
    /// It is to be powered off: no set moves into it, and those that degraded for that stay so until it returns.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub isolated: bool,
}

/// One process that hosts replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name, the key in [`Catalogue::nodes`].
    pub name: String,
    /// The site it stands in.
    pub site: String,
    /// Hosts a voter of the control set and no other replica.
    pub arbiter: bool,
    /// Where routers and tools reach it, `name:port`.
    pub api_addr: String,
    /// Where the other nodes reach it, `name:port`.
    pub peer_addr: String,
    /// Where it shows health and metrics, `name:port`.
    pub http_addr: String,
}

/// A run of slots, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotRange {
    /// The first slot.
    pub from: u16,
    /// The last slot.
    pub to: u16,
}

impl SlotRange {
    /// Whether the range holds `slot`.
    pub fn contains(self, slot: u16) -> bool {
        (self.from..=self.to).contains(&slot)
    }
}

/// What a replica may do in its Raft group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Counts for the majority.
    Voter,
    /// Holds the log, counts for nothing.
    Learner,
}

/// One copy of a set on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replica {
    /// Its Raft node id: unique over the whole cluster and never reused.
    pub id: u64,
    /// The node that hosts it.
    pub node: String,
    /// What it may do.
    pub role: Role,
}

/// What an acknowledgement of a set proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durability {
    /// On disk in both sites.
    #[serde(rename = "SYNC")]
    Sync,
    /// On the disks of a majority, maybe in one site only.
    #[serde(rename = "DEGRADED")]
    Degraded,
}

impl std::fmt::Display for Durability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Durability::Sync => "SYNC",
            Durability::Degraded => "DEGRADED",
        })
    }
}

/// A switch that was begun and has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchIntent {
    /// The log index of its beginning in the control set.
    pub id: u64,
    /// The home it leaves.
    pub from: String,
    /// The home it goes to.
    pub to: String,
    /// The node that carries it out; when that dies, any other may complete or abort it.
    pub owner: String,
    /// The replica of the old home that stays a voter; fixed at the beginning, so that every later owner means the
    /// same placement.
    pub keep: u64,
    /// Who asked for it.
    pub who: String,
    /// What speaks for that.
    #[serde(default, skip_serializing_if = "Proof::is_declared")]
    pub proof: Proof,
    /// Why.
    pub why: String,
}

/// How a switch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwitchEnd {
    /// The home moved.
    Completed,
    /// All stayed as it was.
    Aborted,
}

/// The last switch that ended: what a repeated command is recognised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndedSwitch {
    /// The id it had.
    pub id: u64,
    /// How it ended.
    pub end: SwitchEnd,
}

/// One Raft group of accounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// Its number, the key in [`Catalogue::sets`].
    pub id: u32,
    /// The slots it owns.
    pub slots: Vec<SlotRange>,
    /// The site that holds the majority and, normally, the leader.
    pub home: String,
    /// The home it returns to.
    pub configured_home: String,
    /// Raised by every change of home; starts at 1. Only routers and plans compare it.
    pub epoch: u64,
    /// Raised only by a forced recovery; starts at 1. The fence on every message between nodes. Numbers may be left out.
    pub incarnation: u32,
    /// Its copies; the first one was meant to lead when the cluster was made.
    pub replicas: Vec<Replica>,
    /// What its acknowledgements prove, as recorded.
    pub durability: Durability,
    /// Raised whenever a durability is recorded, the same one included; starts at 1. A record of SYNC that was under way
    /// while another leader recorded DEGRADED comes too late.
    pub durability_epoch: u64,
    /// The greatest log index that was reported safe when the durability was last recorded.
    pub last_safe_index: u64,
    /// Whether it becomes DEGRADED by itself.
    #[serde(default, skip_serializing_if = "Policy::is_default")]
    pub policy: Policy,
    /// DEGRADED on an operator's word: it does not return to SYNC by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// When the set was last recorded as SYNC again, in nanoseconds since 1970 by the control set's leader; 0: never.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub synced_unix_ns: u64,
    /// Since when nobody knows whether what stands here of the set is the last that was recorded, in nanoseconds since 1970: the
    /// control set was recovered then, without those who may have recorded more. 0: it is. Until then the set is neither moved nor
    /// let go on in one site, but on an operator's word.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unproven_since_unix_ns: u64,
    /// The switch under way, if any.
    pub switch: Option<SwitchIntent>,
    /// The last switch that ended, if any.
    pub last_switch: Option<EndedSwitch>,
    /// The forced recovery under way, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryIntent>,
    /// The replacement of a replica under way, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<Replacement>,
    /// The last log index of each incarnation before this one, from the first on: what is given a position behind it is of the
    /// next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lives: Vec<u64>,
    /// The last forced recovery, if there ever was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<Recovered>,
}

/// Raft group [`CONTROL_SET`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlSet {
    /// As [`Set::incarnation`].
    pub incarnation: u32,
    /// Voters all, but for one that is to take another's place, or has not caught up after a recovery.
    pub replicas: Vec<Replica>,
    /// The replacement of a replica under way, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<Replacement>,
    /// As [`Set::lives`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lives: Vec<u64>,
    /// The last recovery on an operator's word, if there ever was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<ControlRecovered>,
    /// Added to log indices to make ids of them: an index may have a second life, an id has not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub ids_from: u64,
    /// The least incarnation that a recovery gives a set: those below may have been given by the ones that were lost.
    #[serde(default, skip_serializing_if = "is_none")]
    pub set_incarnations_from: u32,
}

pub(crate) fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_none(number: &u32) -> bool {
    *number == 0
}

impl Set {
    /// Ids of the replicas in `role`, in the order of the catalogue.
    pub fn ids(&self, role: Role) -> impl Iterator<Item = u64> + '_ {
        self.replicas.iter().filter(move |r| r.role == role).map(|r| r.id)
    }

    /// Whether the set owns `slot`.
    pub fn owns(&self, slot: u16) -> bool {
        self.slots.iter().any(|range| range.contains(slot))
    }
}

impl Catalogue {
    /// The set that owns `slot`; none only if `slot` is not below [`SLOTS`].
    pub fn set_of_slot(&self, slot: u16) -> Option<&Set> {
        self.sets.values().find(|set| set.owns(slot))
    }

    /// The owning set's number for every slot, for those who look up often.
    pub fn slot_table(&self) -> Vec<u32> {
        let mut table = vec![CONTROL_SET; usize::from(SLOTS)];
        for set in self.sets.values() {
            for range in &set.slots {
                table[usize::from(range.from)..=usize::from(range.to)].fill(set.id);
            }
        }
        table
    }

    /// The replicas of `set`, [`CONTROL_SET`] included; empty if there is no such set.
    pub fn replicas(&self, set: u32) -> &[Replica] {
        match set {
            CONTROL_SET => &self.control.replicas,
            _ => self.sets.get(&set).map_or(&[], |s| &s.replicas),
        }
    }

    /// One replica of `set`, [`CONTROL_SET`] included.
    pub fn replica(&self, set: u32, id: u64) -> Option<&Replica> {
        self.replicas(set).iter().find(|r| r.id == id)
    }

    /// The incarnation of `set`, [`CONTROL_SET`] included.
    pub fn incarnation(&self, set: u32) -> Option<u32> {
        match set {
            CONTROL_SET => Some(self.control.incarnation),
            _ => self.sets.get(&set).map(|s| s.incarnation),
        }
    }

    /// Everything that `node` hosts: set number (the control set first) and replica.
    pub fn replicas_on<'a>(&'a self, node: &'a str) -> impl Iterator<Item = (u32, &'a Replica)> + 'a {
        let groups = std::iter::once(CONTROL_SET).chain(self.sets.keys().copied());
        groups
            .flat_map(|set| self.replicas(set).iter().map(move |r| (set, r)))
            .filter(move |(_, r)| r.node == node)
    }

    /// The site of a replica of `set`, [`CONTROL_SET`] included.
    pub fn site_of_replica(&self, set: u32, id: u64) -> Option<&str> {
        self.replica(set, id).and_then(|r| self.site_of_node(&r.node))
    }

    /// The site of a node.
    pub fn site_of_node(&self, node: &str) -> Option<&str> {
        self.nodes.get(node).map(|n| n.site.as_str())
    }

    /// Names of the two sites that hold ledger data, in order.
    pub fn data_sites(&self) -> impl Iterator<Item = &str> {
        self.sites.values().filter(|s| !s.arbiter).map(|s| s.name.as_str())
    }

    /// Whether `site` can be a set's home.
    pub fn is_data_site(&self, site: &str) -> bool {
        self.sites.get(site).is_some_and(|s| !s.arbiter)
    }

    /// The data site that is not `site`; none if `site` is no data site.
    pub fn other_site(&self, site: &str) -> Option<&str> {
        if !self.is_data_site(site) {
            return None;
        }
        self.data_sites().find(|s| *s != site)
    }
}
