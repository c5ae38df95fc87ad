//! What must hold at every moment of a run, looked at from outside between two steps: replicas that have the same index have
//! the same hash there, a term has one leader, and what a set in SYNC has let out is on disk in each site. Clients cannot see
//! the last one, for as long as no site is lost for good.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::trace;
use twinset_control::CONTROL_SET;
use twinset_jepsen::history::VerifyLine;
use twinset_ledger::Durability;
use twinset_node::freshness::Basis;
use twinset_node::node::Node;
use twinset_node::raft::Role;

use crate::cluster;
use crate::disk::Disks;

/// The nodes that have sets, by site.
const SITES: [[&str; 2]; 2] = [["a1", "a2"], ["b1", "b2"]];

/// The nodes that run, by name.
pub type Nodes = BTreeMap<&'static str, Arc<Node>>;

/// What was seen so far.
#[derive(Default)]
pub struct Watch {
    leaders: BTreeMap<(u32, u64), u64>,
    changes: u64,
    violations: Vec<String>,
}

impl Watch {
    /// What was found wrong so far.
    pub fn violations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.violations)
    }

    /// How often it was seen so far that a set of accounts has got another leader.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Looks at everything that runs.
    pub fn look(&mut self, nodes: &Nodes, disks: &Disks) {
        let mut hashes: BTreeMap<u32, (u64, Vec<Arc<twinset_node::set::Replica>>)> = BTreeMap::new();
        for node in nodes.values() {
            for replica in node.sets.all() {
                let set = replica.fence.set;
                let view = replica.group.view().borrow().clone();
                if view.role == Role::Leader {
                    self.leads(set, view.term, replica.group.replica());
                }
                let Some(state) = replica.fence.state.as_ref().filter(|_| set != CONTROL_SET) else {
                    continue;
                };
                let Some(applied) = state.applied().log_id else { continue };
                let (least, replicas) = hashes.entry(set).or_insert((u64::MAX, Vec::new()));
                *least = (*least).min(applied.index);
                replicas.push(replica.clone());
            }
        }
        for (set, (index, replicas)) in &hashes {
            self.compare(*set, *index, replicas);
        }
        if let (Some(first), Some(last)) = (hashes.keys().next(), hashes.keys().next_back()) {
            // What is let out after this is not looked for on these disks.
            let out: BTreeMap<u32, u64> =
                (*first..=*last).filter_map(|set| Some((set, let_out(set, nodes)?))).collect();
            let of_node = |name: &&'static str| Some((*name, disks.synced(name, *first..=*last)?));
            let synced: BTreeMap<&str, _> = SITES.iter().flatten().filter_map(of_node).collect();
            for (set, out) in out {
                self.in_each_site((set, out), nodes, &synced);
            }
        }
    }

    fn leads(&mut self, set: u32, term: u64, own: u64) {
        let before = self.leaders.range((set, 0)..(set, term)).next_back().map(|(_, before)| *before);
        match self.leaders.insert((set, term), own) {
            None if set != CONTROL_SET && before.is_some_and(|before| before != own) => self.changes += 1,
            Some(led) if led != own => {
                self.violations.push(format!("one leader: {led} and {own} lead set {set} in term {term}"));
            }
            _ => {}
        }
    }

    /// A site whose machines do not all run may have more than can be seen.
    fn in_each_site(
        &mut self,
        (set, out): (u32, u64),
        nodes: &Nodes,
        synced: &BTreeMap<&str, BTreeMap<u32, u64>>,
    ) {
        for site in SITES {
            let hosts = |name: &&str| nodes.get(*name).is_some_and(|node| node.sets.get(set).is_some());
            if !site.iter().all(hosts) {
                continue;
            }
            let of_node = |name: &&str| synced.get(*name)?.get(&set).copied();
            let synced = site.iter().filter_map(of_node).max().unwrap_or(0);
            if out > synced {
                self.violations.push(format!(
                    "both sites: set {set} let out {out}, but {site:?} have only {synced} on disk"
                ));
            }
        }
    }

    fn compare(&mut self, set: u32, index: u64, replicas: &[Arc<twinset_node::set::Replica>]) {
        let mut first: Option<(u64, [u8; 32])> = None;
        for replica in replicas {
            let state = replica.fence.state.as_ref().expect("only those with a state are compared");
            let Some(hash) = state.hash_at(index) else { continue };
            let own = replica.fence.replica;
            trace!(set, index, replica = own, hash = ?&hash[..4], "hash");
            match first {
                None => first = Some((own, hash)),
                Some((other, known)) if known != hash => {
                    self.violations
                        .push(format!("replicas: {other} and {own} of set {set} differ at {index}"));
                }
                Some(_) => {}
            }
        }
    }
}

/// The furthest entry that a set in SYNC has let out.
fn let_out(set: u32, nodes: &Nodes) -> Option<u64> {
    let gates = nodes.values().filter_map(|node| Some(node.sets.get(set)?.fence.gate.clone()));
    let in_sync = gates.filter(|gate| gate.durability() == Durability::Sync);
    in_sync.map(|gate| gate.horizon().open).max()
}

/// Whether each replica of accounts on a node has led or understood a leader since its process began. Before that,
/// the age of a stale read may rest on the stamp of its last command, and so on another machine's clock.
pub fn is_grown(node: &Node, sets: u32) -> bool {
    let grown = |set: u32| {
        node.sets.get(set).is_some_and(|replica| {
            let basis = replica.fence.gate.basis(replica.group.is_leader());
            matches!(basis, Some(Basis::Led(_) | Basis::Followed(_)))
        })
    };
    cluster::is_arbiter(&node.config.node.name) || (1..=sets).all(grown)
}

/// Whether all replicas of each set have applied the same.
pub fn have_met(nodes: &Nodes, sets: u32) -> bool {
    (1..=sets).all(|set| {
        let replicas = nodes.values().filter_map(|node| node.sets.get(set));
        let applied: Vec<_> = replicas.map(|r| r.fence.state.as_ref().map(|s| s.applied().log_id)).collect();
        applied.len() == 4 && applied.windows(2).all(|pair| pair[0] == pair[1])
    })
}

/// What replicas that have applied the same say of themselves: debits and credits, and what each of them holds.
pub fn verify(nodes: &Nodes, sets: u32) -> Vec<VerifyLine> {
    let mut lines = Vec::new();
    for set in 1..=sets {
        let mut first = None;
        let mut wrong = Vec::new();
        for (name, node) in nodes {
            let Some(replica) = node.sets.get(set) else { continue };
            let Some(ledger) = replica.ledger() else { continue };
            let read = ledger.state.totals();
            for (currency, (debits, credits)) in &read.value.currencies {
                if debits != credits {
                    wrong.push(format!("{name} has {debits} and {credits} {currency}"));
                }
            }
            let holds = (read.index, read.value.running_hash, read.value.state_hash);
            let known = *first.get_or_insert(holds);
            if known != holds {
                wrong.push(format!("{name} is another at {}", read.index));
            }
        }
        if first.is_none() {
            wrong.push("nobody has it".to_owned());
        }
        let detail = wrong.join("; ");
        lines.push(VerifyLine { subject: format!("set {set}"), clean: detail.is_empty(), detail });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_has_one_leader_and_another_leader_is_a_change() {
        let mut watch = Watch::default();
        // (set, term, who leads, changes so far)
        for (set, term, own, changes) in [
            (1, 1, 11, 0),
            (1, 1, 11, 0),
            (2, 1, 22, 0),
            (1, 3, 12, 1),
            (1, 1, 11, 1),
            (1, 4, 12, 1),
            (2, 2, 21, 2),
        ] {
            watch.leads(set, term, own);
            assert_eq!(watch.changes(), changes, "set {set} in term {term}");
        }
        // Clients do not ask the control set.
        watch.leads(CONTROL_SET, 1, 1);
        watch.leads(CONTROL_SET, 2, 2);
        assert_eq!((watch.changes(), watch.violations()), (2, Vec::new()));
        watch.leads(1, 4, 11);
        assert_eq!(watch.violations().len(), 1);
    }
}
