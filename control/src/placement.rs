//! Where replicas stand: the first placement of a new cluster, and the roles after a switch. Two voters in the home
//! site, a voter and a learner away. Pure arithmetic over names and counts; the catalogue is changed in `apply.rs`.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalogue::{Catalogue, Replica, Role, Set, SlotRange};
use crate::rejection::Rejection;
use crate::{CONTROL_SET, SLOTS};

/// The roles of a set's replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Replica ids that vote: two in the home site, one away.
    pub voters: BTreeSet<u64>,
    /// Replica ids that do not: one, away.
    pub learners: BTreeSet<u64>,
}

impl Placement {
    /// The role that `id` has here; none if it is no replica of the set.
    pub fn role(&self, id: u64) -> Option<Role> {
        if self.voters.contains(&id) {
            return Some(Role::Voter);
        }
        self.learners.contains(&id).then_some(Role::Learner)
    }
}

impl Catalogue {
    /// The roles of `set` once its home is `to`: both replicas there vote, and one of the old home stays a voter. For a
    /// switch to `to` that is under way it is the one its intent names; otherwise the voter with the smallest id.
    pub fn placement_after_switch(&self, set: &Set, to: &str) -> Result<Placement, Rejection> {
        let keep = set.switch.as_ref().filter(|s| s.to == to).map(|s| s.keep);
        placement_keeping(self, set, to, keep)
    }

    /// The roles of `set` as recorded.
    pub fn placement(&self, set: &Set) -> Placement {
        Placement { voters: set.ids(Role::Voter).collect(), learners: set.ids(Role::Learner).collect() }
    }
}

/// As [`Catalogue::placement_after_switch`]; `keep` is heeded if it is a voter outside `to`.
pub(crate) fn placement_keeping(
    catalogue: &Catalogue,
    set: &Set,
    to: &str,
    keep: Option<u64>,
) -> Result<Placement, Rejection> {
    if !catalogue.is_data_site(to) {
        return Err(Rejection::UnknownSite { site: to.into() });
    }
    let (home, away): (Vec<&Replica>, Vec<&Replica>) =
        set.replicas.iter().partition(|r| catalogue.site_of_node(&r.node) == Some(to));
    let voters_away = || away.iter().filter(|r| r.role == Role::Voter).map(|r| r.id);
    let kept = keep.filter(|id| voters_away().any(|v| v == *id)).or_else(|| voters_away().min());
    let (2, 2, Some(kept)) = (home.len(), away.len(), kept) else {
        let count = |side: &[&Replica]| u32::try_from(side.len()).unwrap_or(u32::MAX);
        let (home, away) = (count(&home), count(&away));
        return Err(Rejection::NoPlacement { set: set.id, site: to.into(), home, away });
    };
    Ok(Placement {
        voters: home.iter().map(|r| r.id).chain([kept]).collect(),
        learners: away.iter().map(|r| r.id).filter(|id| *id != kept).collect(),
    })
}

/// The slots of set number `set` (from 1) of `sets`: contiguous, and the counts differ by one at most.
pub(crate) fn slots_of(set: u32, sets: u32) -> SlotRange {
    assert!(set > CONTROL_SET && set <= sets, "set {set} is one of 1..={sets}");
    let start = |n: u32| n * u32::from(SLOTS) / sets;
    let slot = |n: u32| u16::try_from(n).expect("a slot is below SLOTS, which is a u16");
    SlotRange { from: slot(start(set - 1)), to: slot(start(set) - 1) }
}

/// What a node has been given so far.
#[derive(Clone, Copy, Default)]
struct Load {
    replicas: u32,
    voters: u32,
    leads: u32,
}

/// Deals replicas out to the nodes of two sites, the least loaded first, so that copies, votes and leaders spread evenly.
/// Ties go by name: the same topology gives the same placement, whatever the order of its file.
pub(crate) struct Dealer<'a> {
    loads: BTreeMap<&'a str, Load>,
    next_id: u64,
}

impl<'a> Dealer<'a> {
    /// Ids start at 1.
    pub(crate) fn new() -> Self {
        Dealer { loads: BTreeMap::new(), next_id: 1 }
    }

    /// The id that the next replica would get.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id
    }

    /// A voter of the control set; it weighs nothing against the sets.
    pub(crate) fn control_voter(&mut self, node: &str) -> Replica {
        self.replica(node, Role::Voter)
    }

    /// The four replicas of one set: the home site's first (the first of all is meant to lead), then voter and learner
    /// away. Each slice names at least two nodes.
    pub(crate) fn set(&mut self, home: &[&'a str], away: &[&'a str]) -> Vec<Replica> {
        let mut at_home = self.least_loaded_two(home);
        at_home.sort_by_key(|node| (self.load(node).leads, *node));
        let mut at_away = self.least_loaded_two(away);
        at_away.sort_by_key(|node| (self.load(node).voters, *node));
        self.loads.entry(at_home[0]).or_default().leads += 1;
        let dealt = [
            (at_home[0], Role::Voter),
            (at_home[1], Role::Voter),
            (at_away[0], Role::Voter),
            (at_away[1], Role::Learner),
        ];
        dealt.map(|(node, role)| self.deal(node, role)).into()
    }

    fn load(&self, node: &str) -> Load {
        self.loads.get(node).copied().unwrap_or_default()
    }

    fn least_loaded_two(&self, nodes: &[&'a str]) -> [&'a str; 2] {
        let mut nodes = nodes.to_vec();
        nodes.sort_by_key(|node| (self.load(node).replicas, *node));
        [nodes[0], nodes[1]]
    }

    fn deal(&mut self, node: &'a str, role: Role) -> Replica {
        let load = self.loads.entry(node).or_default();
        load.replicas += 1;
        load.voters += u32::from(role == Role::Voter);
        self.replica(node, role)
    }

    fn replica(&mut self, node: &str, role: Role) -> Replica {
        let id = self.next_id;
        self.next_id += 1;
        Replica { id, node: node.into(), role }
    }
}
