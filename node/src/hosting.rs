//! Which replicas are open on this node. The catalogue says which should be; a forced recovery closes those that it fences, and
//! opens them in their new incarnation when it is over; what a recovery has left behind is closed and reported here, and makes room for a
//! new replica under a new id.
//!
//! Invariant: a replica is open only in the incarnation that its record on disk has, and nothing of it leaves this node
//! once [`Node::fence`] has answered.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use twinset_control::{CONTROL_SET, Catalogue, LogEnd, control_recovery};
use twinset_ledger::canary::{self, Canary};
use twinset_store::ReplicaRecord;

use crate::across::{Across, Driver, Ways};
use crate::birth::Joined;
use crate::check_back::Asker;
use crate::cluster_check::{self, Place};
use crate::conductor::Conductor;
use crate::control_set::ControlMachine;
use crate::durability::sentinel::Sentinel;
use crate::duty::Duty;
use crate::expiry::Expiry;
use crate::fatal;
use crate::gate::Gate;
use crate::keeper::Keeper;
use crate::node::{FIRST_CATALOGUE, Node};
use crate::outbox::Outbox;
use crate::proposer::Proposer;
use crate::raft::{self, Group, Machine};
use crate::reader::Reader;
use crate::reconciliation::Reconciler;
use crate::recovery::control::Promise;
use crate::recovery::tail;
use crate::set::{Fence, Kind, Ledger, Replica, replica_sites, tell_sites};
use crate::sweeps::Sweeper;

/// For what runs beside a replica to end.
const TASKS_END_MAX: Duration = Duration::from_secs(2);
/// For a Raft group to end.
const GROUP_END_MAX: Duration = Duration::from_secs(5);

/// What is open.
#[derive(Default)]
pub struct Hosting {
    lives: Mutex<BTreeMap<u32, Life>>,
    /// Held by whoever opens or closes a replica.
    changing: tokio::sync::Mutex<()>,
    ways: OnceLock<Arc<Ways>>,
}

/// What runs beside one replica, and its end.
struct Life {
    tasks: TaskTracker,
    ending: CancellationToken,
}

/// Why a replica is not fenced.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    /// It is not the one that is meant, or has gone further.
    #[error("{0}")]
    Refused(String),
    /// It did not stop, or its disk did not take it.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

/// A replica that nobody hears any more.
pub struct Fenced {
    /// Where its log ends.
    pub end: LogEnd,
    /// Up to where it knew both sites to have it; 0: it was closed before.
    pub safe: u64,
}

impl Node {
    /// Opens every replica that the catalogue places here and that may be, then lets them all take part.
    pub(crate) async fn host_replicas(&self, catalogue: &Catalogue) -> anyhow::Result<()> {
        let ways = Ways::start(
            self.platform.clone(),
            catalogue,
            &self.config.node.site,
            self.metrics.dispatch.clone(),
            &self.tasks,
            &self.ending,
        );
        // A node begins once.
        let _ = self.hosting.ways.set(Arc::new(ways));
        self.reconcile(catalogue).await?;
        self.takes_part.store(true, Ordering::Relaxed);
        // Whoever follows the catalogue has passed over what came until here.
        match self.cell.get().filter(|newest| newest.version > catalogue.version) {
            Some(newest) => self.reconcile(&newest).await,
            None => Ok(()),
        }
    }

    /// Follows the catalogue: opens what it places here, closes what it does not. A fault ends the node.
    pub(crate) async fn follow_placement(self: Arc<Self>) {
        let mut changes = self.cell.watch();
        loop {
            let catalogue = changes.borrow_and_update().clone();
            if let Some(catalogue) = catalogue.filter(|_| self.takes_part.load(Ordering::Relaxed))
                && let Err(error) = self.reconcile(&catalogue).await
            {
                fatal::stop(&*self.platform, &format!("{error:#}"));
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    pub(crate) async fn reconcile(&self, catalogue: &Catalogue) -> anyhow::Result<()> {
        let _one_at_a_time = self.hosting.changing.lock().await;
        let held: BTreeMap<u32, ReplicaRecord> =
            self.store.replicas()?.into_iter().map(|record| (record.set, record)).collect();
        let promise = Promise::of(&self.store)?;
        let mut placed = BTreeMap::new();
        for (set, replica) in catalogue.replicas_on(&self.config.node.name) {
            let incarnation = match set {
                CONTROL_SET => Promise::incarnation_of(promise.as_ref(), catalogue, replica.id),
                _ => catalogue.incarnation(set).context("not in the catalogue")?,
            };
            placed.insert(set, ReplicaRecord { set, replica_id: replica.id, incarnation });
        }
        for record in held.values().filter(|record| !placed.contains_key(&record.set)) {
            let recovered = catalogue.incarnation(record.set).is_some_and(|now| now > record.incarnation);
            if recovered || catalogue.is_retired(record.set, record.replica_id) {
                self.leave_behind(catalogue, *record).await?;
            }
        }
        let mut opened = Vec::new();
        for (set, record) in placed {
            let hosted = self.sets.get(set);
            let is_open = |replica: &Arc<Replica>| {
                (replica.fence.replica, replica.fence.incarnation) == (record.replica_id, record.incarnation)
            };
            if hosted.as_ref().is_some_and(is_open) {
                continue;
            }
            match cluster_check::place(held.get(&set).copied(), record)? {
                Place::Wait => {
                    warn!(set, ?record, held = ?held.get(&set), "closed: what is here is newer than the catalogue here");
                    continue;
                }
                Place::Open => {}
                Place::Anew(_) if canary::on(Canary::OldLogGoesOn) => self.take_down(set).await?,
                Place::Anew(old) => {
                    self.leave_behind(catalogue, old).await?;
                    self.store.begin_anew(record)?;
                    info!(set, replica = record.replica_id, "a new replica in place of {}", old.replica_id);
                }
            }
            let first = !held.contains_key(&set);
            if first
                && let Some(joined) = Joined::of(&self.store)?
                && record.replica_id < joined.next_replica_id
            {
                anyhow::bail!(
                    "set {set}: replica {} is older than this node's data, which knows nothing of it",
                    record.replica_id
                );
            }
            let replica = self.host(catalogue, record).await.with_context(|| format!("set {set}"))?;
            opened.push((replica, first));
        }
        for (replica, _) in &opened {
            replica.group.run();
        }
        for (replica, first) in opened {
            if first {
                self.initialize_if_first(catalogue, &replica).await?;
            }
        }
        Ok(())
    }

    /// Takes a replica out of its set for good: it neither answers nor acknowledges in any incarnation before this one, from when
    /// this returns, whatever happens to the node. The end of its log is its last word.
    pub async fn fence(&self, set: u32, replica: u64, incarnation: u32) -> Result<Fenced, FenceError> {
        let _one_at_a_time = self.hosting.changing.lock().await;
        let records = self.store.replicas().map_err(anyhow::Error::from)?;
        let held = records.into_iter().find(|record| record.set == set);
        let Some(held) = held.filter(|held| held.replica_id == replica && held.incarnation <= incarnation)
        else {
            let here = held.map_or("none".to_owned(), |held| {
                format!("replica {} of incarnation {}", held.replica_id, held.incarnation)
            });
            return Err(FenceError::Refused(format!(
                "replica {replica} of set {set} is to be fenced for incarnation {incarnation}, here is {here}"
            )));
        };
        let hosted = self.sets.get(set);
        let safe = hosted.as_ref().map_or(0, |hosted| hosted.fence.gate.horizon().safe);
        if hosted.is_none_or(|hosted| hosted.fence.incarnation != incarnation) {
            self.take_down(set).await?;
            if held.incarnation < incarnation {
                let record = ReplicaRecord { incarnation, ..held };
                self.store.put_replica(record).map_err(anyhow::Error::from)?;
                warn!(set, replica, incarnation, "fenced: the set is being recovered");
            }
        }
        let end = raft::log_end(&self.store.log(set).map_err(anyhow::Error::from)?);
        Ok(Fenced { end, safe })
    }

    /// What the replicas that recoveries have left behind here hold beyond what goes on.
    pub fn tail_reports(&self) -> anyhow::Result<Vec<tail::TailReport>> {
        tail::reports(&self.store)
    }

    /// Closes a replica, if it is open.
    async fn take_down(&self, set: u32) -> anyhow::Result<()> {
        let Some(replica) = self.sets.get(set) else { return Ok(()) };
        replica.fence.gate.close();
        self.sets.remove(set);
        let life = self.hosting.lives.lock().remove(&set);
        if let Some(life) = life {
            life.ending.cancel();
            life.tasks.close();
            // Nothing leaves any more: what still runs is only slow to notice.
            if timeout(TASKS_END_MAX, life.tasks.wait()).await.is_err() {
                warn!(set, "some tasks do not end in time");
            }
        }
        timeout(GROUP_END_MAX, replica.group.shutdown()).await.context("its Raft group does not end")
    }

    /// What a recovery has left behind here, or somebody has replaced: closed, and what is in it told of. Its data stays until the
    /// node is given a new replica of the set.
    async fn leave_behind(&self, catalogue: &Catalogue, old: ReplicaRecord) -> anyhow::Result<()> {
        if self.sets.get(old.set).is_some() {
            let (set, replica) = (old.set, old.replica_id);
            match catalogue.incarnation(set).is_some_and(|now| now > old.incarnation) {
                true => warn!(set, replica, "the set was recovered without this replica"),
                false => {
                    warn!(set, replica, "this replica belongs to its set no more: it is closed for good")
                }
            }
            self.take_down(set).await?;
        }
        tail::keep_report(&self.store, catalogue, old)
    }

    async fn host(&self, catalogue: &Catalogue, record: ReplicaRecord) -> anyhow::Result<Arc<Replica>> {
        let set = record.set;
        let recovered = catalogue.sets.get(&set).and_then(|set| set.recovered.as_ref());
        if let Some(recovered) = recovered.filter(|recovered| recovered.from == record.replica_id) {
            let survivors =
                catalogue.replicas(set).iter().filter(|replica| replica.role == twinset_control::Role::Voter);
            let voters = survivors.map(|replica| (replica.id, replica.node.clone())).collect();
            let log = self.store.log(set)?;
            raft::revive(&log, record.replica_id, recovered.end, recovered.term, voters, None)?;
        }
        self.revive_control_log(record)?;
        let life = Life { tasks: TaskTracker::new(), ending: self.ending.child_token() };
        let ways = self.hosting.ways.get().context("the node has not begun")?;
        let replica = self.open_replica(catalogue, record, ways, &life).await?;
        // There may have been news since: nobody else tells a replica that was not there yet.
        if let Some(newest) = self.cell.get() {
            tell_sites(&replica.fence.gate, &newest, set);
        }
        self.spawn_of(&life, stop_on_fault(replica.clone(), self.draining.subscribe()));
        if replica.ledger().is_some() {
            let sentinel = Sentinel {
                replica: replica.clone(),
                cell: self.cell.clone(),
                control: self.control.clone(),
                switching: self.switch_lock(set),
                config: self.config.durability.clone(),
            };
            self.spawn_of(&life, sentinel.run());
        }
        if set == CONTROL_SET {
            let conductor = Conductor {
                group: replica.group.clone(),
                cell: self.cell.clone(),
                control: self.control.clone(),
                me: self.config.node.name.clone(),
            };
            self.spawn_of(&life, conductor.run());
        }
        let keeper = Keeper {
            switching: self.switch_lock(set),
            cell: self.cell.clone(),
            control: self.control.clone(),
            vigil: self.vigil.clone(),
            replica: replica.clone(),
        };
        self.spawn_of(&life, keeper.run());
        self.hosting.lives.lock().insert(set, life);
        Ok(replica)
    }

    /// As an operator's word has decided, and only in the incarnation that it was for.
    fn revive_control_log(&self, record: ReplicaRecord) -> anyhow::Result<()> {
        let Some(promise) = Promise::of(&self.store)? else { return Ok(()) };
        let Some(go_on) = promise.going_on(record) else { return Ok(()) };
        let (log, term) = (self.store.log(CONTROL_SET)?, control_recovery::term_after(go_on.end));
        let first = Some(go_on.entry.clone().into());
        Ok(raft::revive(&log, record.replica_id, go_on.end, term, promise.survivors.clone(), first)?)
    }

    /// Runs a task until it ends, or its replica is closed, or this node ends.
    fn spawn_of(&self, life: &Life, task: impl Future<Output = ()> + Send + 'static) {
        let ending = life.ending.clone();
        self.tasks.spawn(life.tasks.track_future(async move { ending.run_until_cancelled(task).await }));
    }

    async fn open_replica(
        &self,
        catalogue: &Catalogue,
        record: ReplicaRecord,
        ways: &Arc<Ways>,
        life: &Life,
    ) -> anyhow::Result<Arc<Replica>> {
        let ReplicaRecord { set, replica_id: id, incarnation } = record;
        self.store.put_replica(record)?;
        let log = self.store.log(set)?;
        let state = if set == CONTROL_SET { None } else { Some(self.store.ledger(set)?) };
        let durability = state.as_ref().map(|state| state.durability()).unwrap_or_default();
        let gate = Arc::new(Gate::new(id, replica_sites(catalogue, set), durability));
        tell_sites(&gate, catalogue, set);
        // What was applied before is not applied again.
        if let Some(applied) = state.as_ref().and_then(|state| state.applied().log_id) {
            gate.applied(applied.index, durability);
        }
        let fence = Arc::new(Fence {
            cluster_id: catalogue.cluster_id.clone(),
            set,
            incarnation,
            replica: id,
            gate: gate.clone(),
            state: state.clone(),
            pulse: self.sets.pulse.clone(),
            platform: self.platform.clone(),
        });
        let machine = match &state {
            Some(state) => Machine::Ledger(state.clone(), gate.clone(), self.platform.clone()),
            None => {
                let first =
                    self.store.get_blob(FIRST_CATALOGUE)?.context("the first catalogue is missing")?;
                let first = Catalogue::from_json(&first)?;
                Machine::Control(ControlMachine::open(self.store.document(set)?, &first, self.cell.clone())?)
            }
        };
        let home = catalogue.sets.get(&set).map(|set| set.home.as_str());
        let preferred = home.is_none_or(|home| home == self.config.node.site);
        let group = Group::open(
            fence.clone(),
            self.links.clone(),
            log,
            machine.clone(),
            &self.config.raft,
            preferred,
        )
        .await?;
        let kind = match machine {
            Machine::Control(machine) => Kind::Control(machine),
            Machine::Ledger(state, gate, _) => {
                let (across, inbox) = Across::new(set, &self.config.across);
                let proposer = Proposer::start(
                    group.clone(),
                    state.clone(),
                    fence.clone(),
                    &self.config.proposer,
                    self.cell.watch(),
                    across.clone(),
                    self.initiators.clone(),
                );
                let driver = Driver {
                    fence: fence.clone(),
                    group: group.clone(),
                    state: state.clone(),
                    proposer: proposer.clone(),
                    ways: ways.clone(),
                    catalogue: self.cell.watch(),
                    config: self.config.across.clone(),
                    metrics: self.metrics.attempts.clone(),
                };
                self.spawn_of(life, driver.run(inbox));
                let outbox = Outbox {
                    fence: fence.clone(),
                    group: group.clone(),
                    state: state.clone(),
                    proposer: proposer.clone(),
                    ways: ways.clone(),
                    catalogue: self.cell.watch(),
                    metrics: self.metrics.outbox.clone(),
                };
                self.spawn_of(life, outbox.run());
                let duty = Duty {
                    fence: fence.clone(),
                    group: group.clone(),
                    state: state.clone(),
                    proposer: proposer.clone(),
                };
                let reconciler = Reconciler {
                    duty: duty.clone(),
                    ways: ways.clone(),
                    catalogue: self.cell.watch(),
                    control: self.control.clone(),
                };
                self.spawn_of(life, reconciler.run());
                let expiry = Expiry {
                    duty: duty.clone(),
                    holds_expired: self.metrics.holds_expired.clone(),
                    restrictions_expired: self.metrics.restrictions_expired.clone(),
                };
                self.spawn_of(life, expiry.run());
                let asker = Asker {
                    duty: duty.clone(),
                    across: across.clone(),
                    catalogue: self.cell.watch(),
                    initiators: self.initiators.clone(),
                    metrics: self.metrics.check_back.clone(),
                };
                self.spawn_of(life, asker.run());
                let sweeper = Sweeper {
                    duty,
                    across: across.clone(),
                    catalogue: self.cell.watch(),
                    metrics: self.metrics.sweeps.clone(),
                };
                self.spawn_of(life, sweeper.run());
                let reader = Reader::start(group.clone(), state.clone(), gate);
                let standing = watch::Sender::default();
                Kind::Ledger(Ledger { state, proposer, reader, across, standing })
            }
        };
        Ok(self.sets.insert(Replica { fence, group, kind }))
    }

    /// The first replica of a blank set gives it its voters; the learner is added by the keeper.
    async fn initialize_if_first(&self, catalogue: &Catalogue, replica: &Replica) -> anyhow::Result<()> {
        let set = replica.fence.set;
        let replicas = catalogue.replicas(set);
        let first = replicas.first().is_some_and(|first| first.id == replica.fence.replica);
        if !first || replica.group.is_initialized().await? {
            return Ok(());
        }
        let voters: BTreeMap<u64, String> = replicas
            .iter()
            .filter(|r| r.role == twinset_control::Role::Voter)
            .map(|r| (r.id, r.node.clone()))
            .collect();
        info!(set, ?voters, "initializing");
        replica.group.initialize(voters).await
    }
}

/// A replica that its storage has failed must not leave a node behind that looks well.
async fn stop_on_fault(replica: Arc<Replica>, draining: watch::Receiver<bool>) {
    let mut view = replica.group.view();
    if let Ok(view) = view.wait_for(|view| view.fault.is_some()).await
        && !*draining.borrow()
    {
        let fault = view.fault.as_deref().unwrap_or_default();
        let reason = format!("set {}: {fault}", replica.fence.set);
        fatal::stop(&*replica.fence.platform, &reason);
    }
}
