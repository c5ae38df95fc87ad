//! What a process knows of the cluster at one moment: the newest catalogue it has seen and, per set, the leader with
//! the highest term that any node named. Pure; [`crate::topology`] feeds it and hands out copies. It holds no ledger
//! truth: a view that is behind costs a detour, never a wrong answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use twinset_control::{Catalogue, Role};
use twinset_proto::cluster::v1::WatchUpdate;

use crate::groups::Groups;
use crate::target::Node;

/// One set, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetView {
    /// Raised only by a forced recovery; whoever is asked must be of the same.
    pub incarnation: u32,
    /// The leader of the highest term, unless that term has none.
    pub leader: Option<Node>,
    /// The highest term that any node named.
    pub term: u64,
    /// The nodes that host it, those at home first.
    pub replicas: Arc<[Node]>,
}

/// Where a node is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeView {
    /// Its API address, `name:port`.
    pub api_addr: String,
    /// Its site.
    pub site: String,
    /// Whether it hosts sets.
    pub hosts_sets: bool,
}

/// Everything that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Empty until a catalogue was seen.
    pub cluster_id: String,
    /// Of the catalogue; 0 until one was seen.
    pub version: u64,
    /// The set of each slot; empty until a catalogue was seen.
    pub slots: Arc<[u32]>,
    /// Groups of accounts.
    pub groups: Arc<Groups>,
    /// By name.
    pub nodes: Arc<BTreeMap<Node, NodeView>>,
    /// By number.
    pub sets: BTreeMap<u32, SetView>,
}

/// Why news is not taken in.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The catalogue cannot be read.
    #[error(transparent)]
    Catalogue(#[from] twinset_control::document::Error),
    /// It is another cluster's.
    #[error("a catalogue of cluster {found} came in; {expected} is followed here")]
    OtherCluster {
        /// Whose it is.
        found: String,
        /// Which one is followed since the first catalogue.
        expected: String,
    },
}

impl View {
    /// Takes in what a node says. Whether anything changed.
    pub fn merge(&mut self, update: &WatchUpdate) -> Result<bool, Refused> {
        let mut changed = false;
        if !update.catalogue_json.is_empty() {
            let catalogue = Catalogue::from_json(&update.catalogue_json)?;
            changed |= self.merge_catalogue(&catalogue)?;
        }
        for news in &update.sets {
            let Some(set) = self.sets.get_mut(&news.set) else { continue };
            changed |= set.heard(news.term, &news.leader);
        }
        Ok(changed)
    }

    fn merge_catalogue(&mut self, catalogue: &Catalogue) -> Result<bool, Refused> {
        if !self.cluster_id.is_empty() && self.cluster_id != catalogue.cluster_id {
            let (found, expected) = (catalogue.cluster_id.clone(), self.cluster_id.clone());
            return Err(Refused::OtherCluster { found, expected });
        }
        if catalogue.version <= self.version {
            return Ok(false);
        }
        let known = std::mem::take(&mut self.sets);
        self.sets =
            catalogue.sets.values().map(|set| (set.id, placed(catalogue, set, known.get(&set.id)))).collect();
        self.nodes = Arc::new(catalogue.nodes.values().map(node_view).collect());
        self.slots = catalogue.slot_table().into();
        self.groups = Arc::new(Groups::of(catalogue, &self.slots));
        self.cluster_id = catalogue.cluster_id.clone();
        self.version = catalogue.version;
        Ok(true)
    }

    /// The site of a node; empty if it is not in the catalogue.
    pub fn site_of(&self, node: &Node) -> &str {
        self.nodes.get(node).map_or("", |node| &node.site)
    }
}

fn node_view(node: &twinset_control::Node) -> (Node, NodeView) {
    let view =
        NodeView { api_addr: node.api_addr.clone(), site: node.site.clone(), hosts_sets: !node.arbiter };
    (Node::from(node.name.as_str()), view)
}

/// Voters before learners, home before away: the order in which a lost leader is looked for.
fn placed(catalogue: &Catalogue, set: &twinset_control::Set, known: Option<&SetView>) -> SetView {
    let mut replicas: Vec<_> = set.replicas.iter().collect();
    let is_away = |node: &str| catalogue.nodes.get(node).is_none_or(|node| node.site != set.home);
    replicas.sort_by_key(|replica| (replica.role != Role::Voter, is_away(&replica.node)));
    let replicas = replicas.into_iter().map(|replica| Node::from(replica.node.as_str())).collect();
    match known {
        Some(known) => SetView { incarnation: set.incarnation, replicas, ..known.clone() },
        None => SetView { incarnation: set.incarnation, leader: None, term: 0, replicas },
    }
}

impl SetView {
    /// A node names `leader` (empty: none) for `term`. Whether that is news.
    fn heard(&mut self, term: u64, leader: &str) -> bool {
        if term < self.term || (term == self.term && leader.is_empty()) {
            return false;
        }
        let leader = (!leader.is_empty()).then(|| Node::from(leader));
        let changed = term > self.term || leader != self.leader;
        self.term = term;
        self.leader = leader;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set() -> SetView {
        SetView { incarnation: 1, leader: None, term: 0, replicas: Arc::new([]) }
    }

    #[test]
    fn the_highest_term_wins_and_silence_of_the_same_term_says_nothing() {
        let mut view = set();
        let table = [
            (3, "a1", true, Some("a1")),
            (3, "", false, Some("a1")),
            (2, "b1", false, Some("a1")),
            (3, "a1", false, Some("a1")),
            (4, "", true, None),
            (3, "a1", false, None),
            (4, "b1", true, Some("b1")),
            (5, "a2", true, Some("a2")),
        ];
        for (term, leader, news, expected) in table {
            assert_eq!(view.heard(term, leader), news, "{leader} of term {term}");
            assert_eq!(view.leader.as_deref(), expected, "{leader} of term {term}");
        }
    }
}
