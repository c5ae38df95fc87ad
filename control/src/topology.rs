//! The topology file: the one thing a person writes to make a cluster. Typed, unknown keys refused, checked as a whole
//! before any node is touched; [`Topology::place`] turns it into the first catalogue. Whoever reads the file parses the
//! TOML; this module sees only the values.
//!
//! ```toml
//! [cluster]
//! name = "payments"
//! sets = 4            # 2 to 512; homes alternate between the two sites
//! durability = "max-availability"   # or "max-protection": never DEGRADED by itself
//!
//! [[node]]
//! name = "a1"
//! site = "A"
//! api  = "127.0.0.1:7101"    # routers and tools
//! peer = "127.0.0.1:7201"    # the other nodes
//! http = "127.0.0.1:7301"    # health and metrics
//!
//! # ... at least two nodes in each of exactly two sites, and at most one arbiter in a third place:
//!
//! [[node]]
//! name = "c1"
//! site = "C"
//! api  = "127.0.0.1:7105"
//! peer = "127.0.0.1:7205"
//! http = "127.0.0.1:7305"
//! arbiter = true
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::FORMAT;
use crate::audit::Audit;
use crate::catalogue::{Catalogue, ControlSet, Durability, Node, Replica, Set, Site};
use crate::durability::Policy;
use crate::placement::{Dealer, slots_of};

/// Sets of a cluster, at least.
pub const SETS_MIN: u32 = 2;
/// Sets of a cluster, at most.
pub const SETS_MAX: u32 = 512;
/// Bytes of a name (cluster, site, node, cluster id), at most.
pub const NAME_BYTES_MAX: usize = 64;

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topology {
    /// `[cluster]`
    pub cluster: Cluster,
    /// `[[node]]`, in any order.
    #[serde(rename = "node", default)]
    pub nodes: Vec<TopologyNode>,
}

/// `[cluster]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// What people call it.
    pub name: String,
    /// How many sets the accounts are spread over: [`SETS_MIN`] (the default) to [`SETS_MAX`].
    #[serde(default = "sets_default")]
    pub sets: u32,
    /// The policy of every set at first.
    #[serde(default, skip_serializing_if = "Policy::is_default")]
    pub durability: Policy,
}

fn sets_default() -> u32 {
    SETS_MIN
}

/// `[[node]]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopologyNode {
    /// Its name, unique in the cluster.
    pub name: String,
    /// Its site; the arbiter's is a third place of its own.
    pub site: String,
    /// As [`Node::api_addr`].
    pub api: String,
    /// As [`Node::peer_addr`].
    pub peer: String,
    /// As [`Node::http_addr`].
    pub http: String,
    /// Whether it hosts only a voter of the control set.
    #[serde(default)]
    pub arbiter: bool,
}

/// Why a topology makes no cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A name is empty, too long or has other characters than `A-Za-z0-9._-`.
    #[error("{what} {name:?}: a name is 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 . _ -")]
    BadName {
        /// What is named.
        what: &'static str,
        /// The name given.
        name: String,
    },
    /// Two nodes have one name.
    #[error("two nodes are named {name:?}")]
    NodeTwice {
        /// The name.
        name: String,
    },
    /// An address is not `name:port`.
    #[error("node {node:?}, {key}: {address:?} is not name:port with a port from 1 to 65535")]
    BadAddress {
        /// The node.
        node: String,
        /// The key in the file.
        key: &'static str,
        /// The text given.
        address: String,
    },
    /// Two listeners have one address.
    #[error("node {node:?}, {key}: {address:?} is taken by node {other:?}, {other_key}")]
    AddressTwice {
        /// The later node.
        node: String,
        /// Its key.
        key: &'static str,
        /// The address.
        address: String,
        /// The earlier node.
        other: String,
        /// Its key.
        other_key: &'static str,
    },
    /// Not exactly two sites hold data.
    #[error("exactly two sites hold nodes other than the arbiter, here {}: {sites:?}", sites.len())]
    NotTwoSites {
        /// The sites found.
        sites: Vec<String>,
    },
    /// A site cannot hold two copies.
    #[error("site {site:?} has {nodes} node: each site needs at least two, for two copies of every set")]
    TooFewNodes {
        /// The site.
        site: String,
        /// Its nodes.
        nodes: usize,
    },
    /// More than one arbiter.
    #[error("nodes {first:?} and {second:?} are both arbiters: a cluster has at most one")]
    ManyArbiters {
        /// The first.
        first: String,
        /// The second.
        second: String,
    },
    /// The arbiter would die with a data site.
    #[error("arbiter {node:?} stands in site {site:?} with data nodes: it belongs in a third place")]
    ArbiterInDataSite {
        /// The arbiter.
        node: String,
        /// The site.
        site: String,
    },
    /// The number of sets is out of range.
    #[error("cluster.sets is {sets}: it may be {SETS_MIN} to {SETS_MAX}")]
    BadSetCount {
        /// The number given.
        sets: u32,
    },
}

impl Topology {
    /// Refuses what makes no cluster, naming the first thing wrong.
    pub fn validate(&self) -> Result<(), Error> {
        check_name("cluster", &self.cluster.name)?;
        if !(SETS_MIN..=SETS_MAX).contains(&self.cluster.sets) {
            return Err(Error::BadSetCount { sets: self.cluster.sets });
        }
        self.validate_names()?;
        self.validate_addresses()?;
        self.validate_sites()
    }

    fn validate_names(&self) -> Result<(), Error> {
        let mut seen = BTreeSet::new();
        for node in &self.nodes {
            check_name("node", &node.name)?;
            check_name("site", &node.site)?;
            if !seen.insert(&node.name) {
                return Err(Error::NodeTwice { name: node.name.clone() });
            }
        }
        Ok(())
    }

    fn validate_addresses(&self) -> Result<(), Error> {
        let mut seen: BTreeMap<&str, (&str, &'static str)> = BTreeMap::new();
        for node in &self.nodes {
            for (key, address) in [("api", &node.api), ("peer", &node.peer), ("http", &node.http)] {
                if !is_address(address) {
                    return Err(Error::BadAddress { node: node.name.clone(), key, address: address.clone() });
                }
                if let Some((other, other_key)) = seen.insert(address, (&node.name, key)) {
                    let (node, other) = (node.name.clone(), other.into());
                    return Err(Error::AddressTwice {
                        node,
                        key,
                        address: address.clone(),
                        other,
                        other_key,
                    });
                }
            }
        }
        Ok(())
    }

    fn validate_sites(&self) -> Result<(), Error> {
        let sites = self.data_nodes();
        let mut arbiters = self.nodes.iter().filter(|n| n.arbiter);
        let arbiter = arbiters.next();
        if let (Some(first), Some(second)) = (arbiter, arbiters.next()) {
            return Err(Error::ManyArbiters { first: first.name.clone(), second: second.name.clone() });
        }
        if let Some(arbiter) = arbiter.filter(|a| sites.contains_key(a.site.as_str())) {
            return Err(Error::ArbiterInDataSite { node: arbiter.name.clone(), site: arbiter.site.clone() });
        }
        if sites.len() != 2 {
            return Err(Error::NotTwoSites { sites: sites.keys().map(|s| (*s).into()).collect() });
        }
        match sites.iter().find(|(_, nodes)| nodes.len() < 2) {
            Some((site, nodes)) => Err(Error::TooFewNodes { site: (*site).into(), nodes: nodes.len() }),
            None => Ok(()),
        }
    }

    /// Names of the nodes that hold data, by site, both sorted.
    fn data_nodes(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut sites: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for node in self.nodes.iter().filter(|n| !n.arbiter) {
            sites.entry(&node.site).or_default().push(&node.name);
        }
        sites.values_mut().for_each(|nodes| nodes.sort_unstable());
        sites
    }

    /// The first catalogue of the cluster `cluster_id`; the same topology always gives the same one.
    pub fn place(&self, cluster_id: &str) -> Result<Catalogue, Error> {
        self.validate()?;
        check_name("cluster id", cluster_id)?;
        let data_nodes: Vec<(&str, Vec<&str>)> = self.data_nodes().into_iter().collect();
        let mut dealer = Dealer::new();
        let control = ControlSet {
            incarnation: 1,
            replicas: self.control_replicas(&data_nodes, &mut dealer),
            replacement: None,
            lives: Vec::new(),
            recovered: None,
            ids_from: 0,
            set_incarnations_from: 0,
        };
        let mut sets = BTreeMap::new();
        for id in 1..=self.cluster.sets {
            let (home, away) = if id % 2 == 1 { (0, 1) } else { (1, 0) };
            let replicas = dealer.set(&data_nodes[home].1, &data_nodes[away].1);
            let set = Set {
                id,
                slots: vec![slots_of(id, self.cluster.sets)],
                home: data_nodes[home].0.into(),
                configured_home: data_nodes[home].0.into(),
                epoch: 1,
                incarnation: 1,
                replicas,
                durability: Durability::Sync,
                durability_epoch: 1,
                last_safe_index: 0,
                policy: self.cluster.durability,
                pinned: false,
                synced_unix_ns: 0,
                unproven_since_unix_ns: 0,
                switch: None,
                last_switch: None,
                recovery: None,
                replacement: None,
                lives: Vec::new(),
                recovered: None,
            };
            sets.insert(id, set);
        }
        Ok(Catalogue {
            format: FORMAT,
            cluster_id: cluster_id.into(),
            cluster_name: self.cluster.name.clone(),
            version: 1,
            sites: self.nodes.iter().map(|n| (n.site.clone(), site(n))).collect(),
            nodes: self.nodes.iter().map(|n| (n.name.clone(), node(n))).collect(),
            removed_nodes: BTreeSet::new(),
            sets,
            control,
            next_replica_id: dealer.next_id(),
            groups: BTreeMap::new(),
            audit: Audit::default(),
            drills: Default::default(),
            plans: BTreeMap::new(),
        })
    }

    /// One voter in each site and the arbiter; with no arbiter, two in the first site and one in the other.
    fn control_replicas(&self, data_nodes: &[(&str, Vec<&str>)], dealer: &mut Dealer<'_>) -> Vec<Replica> {
        let (first, second) = (&data_nodes[0].1, &data_nodes[1].1);
        let third = self.nodes.iter().find(|n| n.arbiter).map_or(first[1], |n| n.name.as_str());
        [first[0], second[0], third].map(|name| dealer.control_voter(name)).into()
    }
}

fn site(node: &TopologyNode) -> Site {
    Site { name: node.site.clone(), arbiter: node.arbiter, isolated: false }
}

fn node(node: &TopologyNode) -> Node {
    Node {
        name: node.name.clone(),
        site: node.site.clone(),
        arbiter: node.arbiter,
        api_addr: node.api.clone(),
        peer_addr: node.peer.clone(),
        http_addr: node.http.clone(),
    }
}

fn check_name(what: &'static str, name: &str) -> Result<(), Error> {
    if is_name(name) { Ok(()) } else { Err(Error::BadName { what, name: name.into() }) }
}

/// Whether `text` can name a cluster, site or node.
pub fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// Whether `text` is `name:port`: a DNS name, an IPv4 address or an IPv6 address in brackets, and a port that is not 0.
pub fn is_address(text: &str) -> bool {
    let Some((name, port)) = text.rsplit_once(':') else { return false };
    // One spelling for each port (no sign, no leading zero): two spellings would pass for two addresses.
    let port_is_good = port.parse::<u16>().is_ok_and(|p| p > 0 && p.to_string() == port);
    let name_is_good = match name.strip_prefix('[').and_then(|n| n.strip_suffix(']')) {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            (1..=253).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b))
        }
    };
    port_is_good && name_is_good
}
