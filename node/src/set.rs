//! The replicas that this node hosts: one [`Replica`] per set, found by set number. A replica is a Raft group, its gate,
//! and, for a set of accounts, the proposer and the reader in front of it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use tokio::sync::watch;
use twinset_control::{CONTROL_SET, Catalogue, Replacement};
use twinset_proto::cluster::v1 as wire;
use twinset_store::LedgerReplica;

use crate::across::Across;
use crate::control_set::ControlMachine;
use crate::durability::sentinel::Standing;
use crate::fatal;
use crate::gate::Gate;
use crate::platform::Platform;
use crate::proposer::Proposer;
use crate::raft::Group;
use crate::reader::Reader;

/// Entries between two points of the running hash that leader and followers compare, at most.
const HASH_POINT_EVERY_MAX: u64 = 64;

/// What every message of a set must carry, and what goes with every message.
pub struct Fence {
    /// The cluster.
    pub cluster_id: String,
    /// The set.
    pub set: u32,
    /// Raised only by a forced recovery.
    pub incarnation: u32,
    /// This replica.
    pub replica: u64,
    /// Of this replica.
    pub gate: Arc<Gate>,
    /// The state whose running hash is compared between replicas; none for the control set.
    pub state: Option<LedgerReplica>,
    /// Raised when who leads or who belongs has changed.
    pub pulse: watch::Sender<u64>,
    /// The machine that the node runs on.
    pub platform: Arc<dyn Platform>,
}

impl Fence {
    /// The address of another replica of the set.
    pub fn address(&self, to: u64) -> wire::Address {
        wire::Address {
            cluster_id: self.cluster_id.clone(),
            set: self.set,
            incarnation: self.incarnation,
            from_replica: self.replica,
            to_replica: to,
        }
    }

    /// An applied index and the running hash there, for a follower to compare with its own. A follower is usually a few
    /// entries behind, so the point is not the newest one.
    pub fn hash_point(&self) -> (u64, bytes::Bytes) {
        let point = self.state.as_ref().and_then(|state| {
            let applied = state.applied().log_id?.index;
            let index = hash_point_of(applied);
            Some((index, state.hash_at(index)?.to_vec().into()))
        });
        point.unwrap_or_default()
    }

    fn check(&self, to: &wire::Address) -> Result<(), String> {
        self.check_set(&to.cluster_id, to.incarnation)?;
        if to.to_replica != self.replica {
            return Err(format!(
                "wrong replica {} of set {}: here is {}",
                to.to_replica, self.set, self.replica
            ));
        }
        Ok(())
    }

    fn check_set(&self, cluster_id: &str, incarnation: u32) -> Result<(), String> {
        if cluster_id != self.cluster_id {
            return Err(format!("wrong cluster {cluster_id}: this is {}", self.cluster_id));
        }
        if incarnation != self.incarnation {
            return Err(format!(
                "wrong incarnation {incarnation} of set {}: here it is {}",
                self.set, self.incarnation
            ));
        }
        Ok(())
    }
}

/// The newest index to compare when everything up to `applied` is applied: the first entries one by one, later ones ever more
/// at a time.
fn hash_point_of(applied: u64) -> u64 {
    let every = (applied / 8).next_power_of_two().min(HASH_POINT_EVERY_MAX);
    applied - applied % every
}

/// What kind of set a replica belongs to.
pub enum Kind {
    /// Accounts.
    Ledger(Ledger),
    /// The catalogue.
    Control(ControlMachine),
}

/// The front of a set of accounts.
pub struct Ledger {
    /// The applied state.
    pub state: LedgerReplica,
    /// Takes commands.
    pub proposer: Proposer,
    /// Takes reads.
    pub reader: Reader,
    /// Carries on what the set has open with others.
    pub across: Across,
    /// How the set stands with its durability, while this replica leads.
    pub standing: watch::Sender<Standing>,
}

/// One hosted replica.
pub struct Replica {
    /// Who it is.
    pub fence: Arc<Fence>,
    /// Its Raft group.
    pub group: Group,
    /// What it keeps.
    pub kind: Kind,
}

impl Replica {
    /// The front of a set of accounts; None for the control set.
    pub fn ledger(&self) -> Option<&Ledger> {
        match &self.kind {
            Kind::Ledger(ledger) => Some(ledger),
            Kind::Control(_) => None,
        }
    }

    /// Compares a point of the leader's running hash with ours. Replicas that disagree must not go on.
    pub fn compare_hash(&self, index: u64, hash: &[u8]) {
        let own = self.fence.state.as_ref().and_then(|state| state.hash_at(index));
        if own.is_some_and(|own| !hash.is_empty() && own[..] != *hash) {
            let reason = format!("set {} differs from its leader at index {index}", self.fence.set);
            fatal::stop(&*self.fence.platform, &reason);
        }
    }
}

/// The replicas of this node.
pub struct Sets {
    replicas: RwLock<BTreeMap<u32, Arc<Replica>>>,
    /// Who belongs to the sets.
    catalogue: OnceLock<watch::Receiver<Option<Arc<Catalogue>>>>,
    /// Raised when who leads or who belongs has changed in any set.
    pub pulse: watch::Sender<u64>,
}

impl Default for Sets {
    fn default() -> Self {
        Sets { replicas: RwLock::default(), catalogue: OnceLock::new(), pulse: watch::Sender::new(0) }
    }
}

impl Sets {
    /// From now on whoever belongs to a set no more is not heard.
    pub fn follow(&self, catalogue: watch::Receiver<Option<Arc<Catalogue>>>) {
        // A node begins once.
        let _ = self.catalogue.set(catalogue);
    }

    /// Adds a replica.
    pub fn insert(&self, replica: Replica) -> Arc<Replica> {
        let replica = Arc::new(replica);
        self.replicas.write().insert(replica.fence.set, replica.clone());
        self.pulse.send_modify(|pulse| *pulse += 1);
        replica
    }

    /// Takes a replica away: nobody finds it any more.
    pub fn remove(&self, set: u32) {
        self.replicas.write().remove(&set);
        self.pulse.send_modify(|pulse| *pulse += 1);
    }

    /// The replica of a set, if this node hosts one.
    pub fn get(&self, set: u32) -> Option<Arc<Replica>> {
        self.replicas.read().get(&set).cloned()
    }

    /// The control set's replica, if this node hosts one.
    pub fn control(&self) -> Option<Arc<Replica>> {
        self.get(CONTROL_SET)
    }

    /// All replicas, in the order of their sets.
    pub fn all(&self) -> Vec<Arc<Replica>> {
        self.replicas.read().values().cloned().collect()
    }

    /// The replica that a peer's message is for, if the fence lets it pass.
    pub fn addressed(&self, to: &wire::Address) -> Result<Arc<Replica>, String> {
        let replica = self.hosted(to.set)?;
        replica.fence.check(to)?;
        let retired = self.catalogue.get().is_some_and(|catalogue| {
            catalogue.borrow().as_ref().is_some_and(|known| known.is_retired(to.set, to.from_replica))
        });
        if retired {
            return Err(format!("replica {} belongs to set {} no more", to.from_replica, to.set));
        }
        Ok(replica)
    }

    /// The replica that a router's message is for, whichever replica of the set that is, if the fence lets it pass.
    pub fn asked(&self, cluster_id: &str, set: u32, incarnation: u32) -> Result<Arc<Replica>, String> {
        let replica = self.hosted(set)?;
        replica.fence.check_set(cluster_id, incarnation)?;
        Ok(replica)
    }

    fn hosted(&self, set: u32) -> Result<Arc<Replica>, String> {
        self.get(set).ok_or_else(|| format!("set {set} is not hosted here"))
    }
}

/// The site of every replica of a set.
pub fn replica_sites(catalogue: &Catalogue, set: u32) -> BTreeMap<u64, String> {
    let replicas = catalogue.replicas(set).iter();
    replicas.filter_map(|r| Some((r.id, catalogue.site_of_node(&r.node)?.to_owned()))).collect()
}

/// Tells the gate of a set where its replicas stand, and which of them its site does not count on: one that is being replaced
/// is not to come back.
pub fn tell_sites(gate: &Gate, catalogue: &Catalogue, set: u32) {
    let leaving = catalogue.replacement(set).map(Replacement::discounted);
    gate.set_sites(catalogue.version, replica_sites(catalogue, set), leaving);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entries_are_compared_one_by_one() {
        for (applied, point) in [
            (0, 0),
            (1, 1),
            (7, 7),
            (15, 15),
            (17, 16),
            (63, 56),
            (64, 64),
            (519, 512),
            (640, 640),
            (703, 640),
            (1_000_000, 1_000_000),
            (1_000_063, 1_000_000),
        ] {
            assert_eq!(hash_point_of(applied), point, "{applied}");
        }
    }
}
