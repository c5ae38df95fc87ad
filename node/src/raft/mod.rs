//! Raft groups: the only place that names openraft. Above are the set (`crate::set`) and the peer service, which speak
//! of entries, indices and replicas; below are openraft, the store and the peer lanes.

mod convert;
mod log;
mod machine;
mod network;
mod peer_side;
mod revive;
#[cfg(test)]
mod suite;
mod types;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::impls::{BasicNode, ProgressResponder};
use openraft::raft::{ClientWriteResult, ReadPolicy};
use openraft::type_config::alias::WatchReceiverOf;
use openraft::type_config::async_runtime::WatchReceiver;
use openraft::{ChangeMembers, Config, RaftMetrics, ServerState, SnapshotPolicy};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};
use twinset_ledger::canary::{self, Canary};

pub use convert::Malformed;
pub use machine::{Machine, SnapshotData};
pub use peer_side::{DecodedAppend, PeerError};
pub use revive::{ReviveError, log_end, revive, shared_until};
pub use types::Applied;

use self::log::LogStore;
use self::network::Network;
use self::types::{Commands, TypeConfig};
use crate::config::RaftConfig;
use crate::peer::Links;
use crate::platform::Platform;
use crate::set::Fence;

/// How often a replica looks at who leads and who belongs, whether or not that has changed: the sites may have.
const OBSERVE_TICK: Duration = Duration::from_millis(50);
/// How often a replica outside the home site looks whether it may ask for votes.
const HOLD_BACK_TICK: Duration = Duration::from_millis(20);

type Raft = openraft::Raft<TypeConfig, Machine>;

/// A Raft group's replica on this node. Clones are handles to the same replica.
#[derive(Clone)]
pub struct Group {
    raft: Raft,
    fence: Arc<Fence>,
    view: watch::Receiver<View>,
    preferred: Arc<AtomicBool>,
}

/// What a replica is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Not a member yet, or receives the log without a vote.
    Learner,
    /// Votes and follows.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Orders the log.
    Leader,
    /// Stopped by a fault.
    Stopped,
}

/// What changes rarely: who leads, and who belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Of this replica.
    pub role: Role,
    /// Current term.
    pub term: u64,
    /// The replica that leads, if known.
    pub leader: Option<u64>,
    /// Voters of the newest configuration in the log; of both its halves while it is joint. A leader that dies in the
    /// middle of a change leaves a joint one behind, which stays until somebody changes the voters again.
    pub voters: BTreeSet<u64>,
    /// Learners of it.
    pub learners: BTreeSet<u64>,
    /// Whether the newest configuration is not committed yet.
    pub changing: bool,
    /// Why the replica has stopped.
    pub fault: Option<String>,
}

/// What changes with every entry.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Last entry in the local log.
    pub last_log: u64,
    /// Last entry known to be committed.
    pub committed: u64,
    /// Last entry applied.
    pub applied: u64,
    /// On the leader: what each replica holds on disk.
    pub matched: BTreeMap<u64, u64>,
}

impl Progress {
    /// On the leader: the entries of its log that `replica` is not known to hold on disk.
    pub fn lag(&self, replica: u64) -> u64 {
        self.last_log.saturating_sub(self.matched.get(&replica).copied().unwrap_or(0))
    }
}

/// Why an entry did not give a result.
#[derive(Debug, PartialEq, Eq)]
pub enum ProposeError {
    /// It was not appended; `leader` is the replica to ask, if known.
    NotLeader {
        /// A replica of the same set.
        leader: Option<u64>,
    },
    /// It may or may not be committed.
    Unknown,
    /// The change of membership is not possible now.
    Refused(String),
}

/// An entry that was handed to the log.
pub struct Proposal {
    result: oneshot::Receiver<ClientWriteResult<TypeConfig>>,
}

impl Proposal {
    /// Waits until the entry is applied here, or its fate is out of this replica's hands.
    pub async fn result(self) -> Result<(u64, Applied), ProposeError> {
        match self.result.await {
            Ok(Ok(written)) => Ok((written.log_id.index, written.data)),
            Ok(Err(error)) => Err(refusal(error)),
            Err(_) => Err(ProposeError::Unknown),
        }
    }
}

fn refusal(error: ClientWriteError<TypeConfig>) -> ProposeError {
    match error {
        ClientWriteError::ForwardToLeader(forward) => ProposeError::NotLeader { leader: forward.leader_id },
        ClientWriteError::LogEntryDiscarded(_) => ProposeError::Unknown,
        other => ProposeError::Refused(other.to_string()),
    }
}

fn raft_refusal(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ProposeError {
    match error {
        RaftError::APIError(error) => refusal(error),
        RaftError::Fatal(_) => ProposeError::Unknown,
    }
}

fn settings(name: String, timing: &RaftConfig) -> Config {
    Config {
        cluster_name: name,
        heartbeat_interval: timing.heartbeat_ms,
        election_timeout_min: timing.election_timeout_min_ms,
        election_timeout_max: timing.election_timeout_max_ms,
        install_snapshot_timeout: timing.snapshot_timeout_ms,
        max_payload_entries: 256,
        replication_lag_threshold: u64::MAX,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(timing.snapshot_entries),
        max_in_snapshot_log_to_keep: timing.keep_entries,
        purge_batch_size: 1024,
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        quorum_loss_probe_interval: Some(timing.election_timeout_max_ms * 2 + 200),
        ..Config::default()
    }
}

impl Group {
    /// Opens the replica from its stored state. It takes no part until [`Group::run`].
    pub fn open<'a>(
        fence: Arc<Fence>,
        links: Links,
        log: twinset_store::Log,
        machine: Machine,
        timing: &'a RaftConfig,
        preferred: bool,
    ) -> BoxFuture<'a, anyhow::Result<Self>> {
        Box::pin(async move {
            let config = settings(format!("set-{}", fence.set), timing).validate()?;
            let network = Network { fence: fence.clone(), links };
            let log = LogStore::new(log).telling(fence.gate.clone())?;
            let raft = Raft::build(fence.replica, Arc::new(config), network, log, machine).await?;
            let (publish, view) = watch::channel(view_of(&raft.metrics().borrow_watched()));
            tokio::spawn(observe(raft.clone(), fence.clone(), publish));
            let preferred = Arc::new(AtomicBool::new(preferred));
            let away = away_after(timing);
            tokio::spawn(hold_back(raft.clone(), fence.clone(), view.clone(), preferred.clone(), away));
            Ok(Group { raft, fence, view, preferred })
        })
    }

    /// Whether this replica may ask for votes as early as any other: it is in the home site.
    pub fn prefer(&self, preferred: bool) {
        self.preferred.store(preferred, Ordering::Relaxed);
    }

    /// Starts taking part.
    pub fn run(&self) {
        self.raft.run();
    }

    /// Stops taking part.
    pub fn shutdown(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // A join error means that the task has panicked, which the panic hook has reported.
            let _ = self.raft.shutdown().await;
        })
    }

    /// The machine that the node runs on.
    pub(crate) fn platform(&self) -> Arc<dyn Platform> {
        self.fence.platform.clone()
    }

    /// The replica's id.
    pub fn replica(&self) -> u64 {
        self.fence.replica
    }

    /// Who leads and who belongs; changes can be awaited.
    pub fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    /// Whether this replica leads, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.view.borrow().role == Role::Leader
    }

    /// The indices.
    pub fn progress(&self) -> Progress {
        let metrics = self.raft.data_metrics();
        let data = metrics.borrow_watched();
        let index = |id: &Option<types::LogId>| id.as_ref().map_or(0, |id| id.index);
        Progress {
            last_log: index(&data.last_log),
            committed: index(&data.cluster_committed).max(index(&data.local_committed)),
            applied: index(&data.last_applied),
            matched: matched(data.replication.as_ref()),
        }
    }

    /// Hands an entry to the log. Entries handed over one after the other keep their order.
    pub fn propose(&self, payload: Bytes) -> BoxFuture<'_, Result<Proposal, ProposeError>> {
        Box::pin(async move {
            let (responder, result) = ProgressResponder::complete_only();
            self.raft
                .client_write_ff(Commands(payload), Some(responder))
                .await
                .map_err(|_| ProposeError::Unknown)?;
            Ok(Proposal { result })
        })
    }

    /// Confirms with a majority that this replica leads, and waits until it has applied everything committed before. Callers
    /// bring their own deadline.
    pub async fn read_barrier(&self) -> Result<(), ProposeError> {
        let gate = &self.fence.gate;
        let (term, began) = (gate.current_term(), Instant::now());
        if canary::on(Canary::ReadBeforeApply) {
            let confirmed = self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await;
            return confirmed.map(|_| ()).map_err(|_| ProposeError::NotLeader { leader: None });
        }
        match self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
            // openraft's word alone does not do: see the gate.
            Ok(_) if gate.wait_for_majority(term, began).await => Ok(()),
            Ok(_) => Err(ProposeError::NotLeader { leader: None }),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(ProposeError::NotLeader { leader: forward.leader_id })
            }
            Err(_) => Err(ProposeError::NotLeader { leader: None }),
        }
    }

    /// Whether the group has ever had a member.
    pub async fn is_initialized(&self) -> anyhow::Result<bool> {
        Ok(self.raft.is_initialized().await?)
    }

    /// Gives a blank group its first voters; called on one replica only.
    pub fn initialize(&self, voters: BTreeMap<u64, String>) -> BoxFuture<'_, anyhow::Result<()>> {
        Box::pin(async move {
            let members: BTreeMap<u64, BasicNode> =
                voters.into_iter().map(|(id, addr)| (id, BasicNode { addr })).collect();
            self.raft.initialize(members).await?;
            Ok(())
        })
    }

    /// Adds a learner and returns when the entry is committed; it catches up afterwards.
    pub async fn add_learner(&self, replica: u64, node: &str) -> Result<(), ProposeError> {
        let node = BasicNode { addr: node.to_owned() };
        self.raft.add_learner(replica, node, false).await.map(|_| ()).map_err(raft_refusal)
    }

    /// Makes `voters` the voters; who is no longer one stays as a learner.
    pub async fn change_voters(&self, voters: BTreeSet<u64>) -> Result<(), ProposeError> {
        self.raft.change_membership(voters, true).await.map(|_| ()).map_err(raft_refusal)
    }

    /// Makes `voters` the voters, in one joint step; who is no longer one leaves the group.
    pub async fn replace_voters(&self, voters: BTreeSet<u64>) -> Result<(), ProposeError> {
        self.raft.change_membership(voters, false).await.map(|_| ()).map_err(raft_refusal)
    }

    /// Takes a learner out of the group.
    pub async fn remove_learner(&self, replica: u64) -> Result<(), ProposeError> {
        let change = ChangeMembers::RemoveNodes(BTreeSet::from([replica]));
        self.raft.change_membership(change, false).await.map(|_| ()).map_err(raft_refusal)
    }

    /// Asks `to` to take over. No result comes back: watch the view.
    pub async fn transfer_leader(&self, to: u64) {
        // An error means that the replica has stopped; the view says so.
        let _ = self.raft.trigger().transfer_leader(to).await;
    }
}

fn matched(replication: Option<&BTreeMap<u64, Option<types::LogId>>>) -> BTreeMap<u64, u64> {
    let entries = replication.into_iter().flatten();
    entries.map(|(id, log_id)| (*id, log_id.as_ref().map_or(0, |log_id| log_id.index))).collect()
}

fn view_of(metrics: &RaftMetrics<TypeConfig>) -> View {
    let membership = metrics.membership_config.membership();
    let fault = metrics.running_state.as_ref().err().map(ToString::to_string);
    let role = match metrics.state {
        _ if fault.is_some() => Role::Stopped,
        ServerState::Learner => Role::Learner,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Leader => Role::Leader,
        ServerState::Shutdown => Role::Stopped,
    };
    View {
        role,
        term: metrics.current_term,
        leader: metrics.current_leader,
        voters: membership.voter_ids().collect(),
        learners: membership.learner_ids().collect(),
        changing: metrics.membership_config.log_id() != metrics.committed_membership_config.log_id(),
        fault,
    }
}

/// How long a replica outside the home site has heard no leader before it may ask for votes. openraft lets nobody do so
/// before the leader's lease, which is the longest election timeout, and the replica's own timeout are over.
fn away_after(timing: &RaftConfig) -> Duration {
    Duration::from_millis(timing.election_timeout_max_ms + timing.election_timeout_away_min_ms)
}

/// Keeps a replica outside the home site from asking for votes before it has heard no leader for `away_after`, so that one
/// in the home site usually wins. The home may change at any time. Ends with the group.
async fn hold_back(
    raft: Raft,
    fence: Arc<Fence>,
    view: watch::Receiver<View>,
    preferred: Arc<AtomicBool>,
    away_after: Duration,
) {
    let began = Instant::now();
    let mut tick = tokio::time::interval(HOLD_BACK_TICK);
    while view.has_changed().is_ok() {
        tick.tick().await;
        let silent = fence.gate.heard().unwrap_or(began).elapsed() >= away_after;
        raft.runtime_config().elect(preferred.load(Ordering::Relaxed) || silent);
    }
}

/// Feeds the gate with the leader's progress and with the voters, and publishes the view when it changes. Ends with the group.
///
/// openraft says how far it is at every turn, a leader and its followers alike: only a leader listens to all of that.
async fn observe(raft: Raft, fence: Arc<Fence>, publish: watch::Sender<View>) {
    let (mut metrics, mut server) = (raft.metrics(), raft.server_metrics());
    let mut tick = tokio::time::interval(OBSERVE_TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // openraft tells what rarely changes a moment before all of it, which is then looked at once more.
    let mut changing = true;
    loop {
        let leads = look(&metrics, &fence, &publish);
        let ended = tokio::select! {
            changed = server.changed() => {
                changing = true;
                changed.is_err()
            }
            changed = metrics.changed(), if leads || changing => {
                changing = false;
                changed.is_err()
            }
            _ = tick.tick() => false,
        };
        if ended {
            // Why it has ended.
            look(&metrics, &fence, &publish);
            return;
        }
    }
}

/// Takes in all that there is to know. Whether the replica leads.
fn look(
    metrics: &WatchReceiverOf<TypeConfig, RaftMetrics<TypeConfig>>,
    fence: &Fence,
    publish: &watch::Sender<View>,
) -> bool {
    // Copied out: openraft waits while somebody reads them.
    let (leading, view, since, electorates) = {
        let metrics = metrics.borrow_watched();
        let membership = &metrics.membership_config;
        let since = membership.log_id().as_ref().map_or(0, |id| id.index);
        let electorates = membership.membership().get_joint_config().clone();
        let leading = metrics.replication.as_ref().map(|replication| matched(Some(replication)));
        (leading, view_of(&metrics), since, electorates)
    };
    fence.gate.leads(leading.is_some());
    if let Some(matched) = &leading {
        fence.gate.matched(view.term, matched);
    }
    // With the progress, not later: what a replica has counts for its site only while it votes.
    fence.gate.voters(since, &electorates, !view.changing);
    let changed = publish.send_if_modified(|old| {
        let changed = *old != view;
        if changed {
            *old = view;
        }
        changed
    });
    if changed {
        fence.pulse.send_modify(|pulse| *pulse += 1);
    }
    leading.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_at_home_asks_for_votes_before_the_first_outside() {
        let timing = RaftConfig::default();
        let settings = settings("set-1".to_owned(), &timing).validate().unwrap();
        // As openraft has it: the lease is the longest timeout, and then comes the replica's own draw below that.
        let last_at_home = Duration::from_millis(settings.election_timeout_max * 2);
        assert!(away_after(&timing) >= last_at_home + HOLD_BACK_TICK, "{timing:?}");
    }
}
