//! Who is alive, by the control set's voters, and who may answer although its set is DEGRADED. Every node says several times a
//! second to each voter that it lives; a voter also says whom it has heard. Leaders of DEGRADED sets ask the control set's leader
//! for a lease and stop answering when it runs out: whoever recovers such a set waits that out.

mod clocks;
mod heard;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tonic::transport::Channel;
use tracing::{debug, warn};
use twinset_control::{Catalogue, LEASE_MS};
use twinset_ledger::Durability;
use twinset_proto::cluster::v1 as wire;
use wire::admin_client::AdminClient;

use self::clocks::Reading;
pub use self::clocks::{ClockConfig, Clocks};
pub use self::heard::{Heard, Subject};
use crate::catalogue::CatalogueCell;
use crate::control_client::ControlClient;
use crate::dial;
use crate::raft::Role;
use crate::set::Sets;

/// Between two words to the same voter.
const BEAT_EVERY: Duration = Duration::from_millis(250);
const BEAT_WITHIN: Duration = Duration::from_millis(500);
/// Between two questions for leases, while there is something to ask for.
const LEASE_EVERY: Duration = Duration::from_millis(500);
/// A leader that no majority has answered for longer than this does not say that it leads.
const MAJORITY_SILENCE_MAX: Duration = Duration::from_millis(500);
/// Monotonic clocks of two machines drift apart by less than this in the time of a lease.
const LEASE_MARGIN: Duration = Duration::from_millis(100);

/// This node's part in it.
pub struct Vigil {
    heard: Heard,
    clocks: Clocks,
    sets: Arc<Sets>,
    cell: CatalogueCell,
    control: ControlClient,
    me: String,
}

impl Vigil {
    /// For the node `me`.
    pub fn new(
        sets: Arc<Sets>,
        cell: CatalogueCell,
        control: ControlClient,
        me: String,
        clock: ClockConfig,
    ) -> Self {
        Vigil { heard: Heard::new(Instant::now()), clocks: Clocks::new(clock), sets, cell, control, me }
    }

    /// How this node's wall clock compares with the others'.
    pub fn clocks(&self) -> &Clocks {
        &self.clocks
    }

    /// Whom this node has heard.
    pub fn heard(&self) -> &Heard {
        &self.heard
    }

    /// Another node is alive.
    pub fn take(&self, alive: wire::AliveRequest) {
        // One that was taken out of the cluster says so as well, until it hears of that.
        if self.cell.get().is_none_or(|known| !known.nodes.contains_key(&alive.node)) {
            return;
        }
        let ms = Duration::from_millis;
        let nodes = alive.silent_ms.into_iter().map(|(node, silent)| (Subject::Node(node), ms(silent)));
        let sets = alive.unled_ms.into_iter().map(|(set, silent)| (Subject::Set(set), ms(silent)));
        self.heard.beat(Instant::now(), &alive.node, &alive.led, nodes.chain(sets).collect());
    }

    /// This node hears itself as well.
    fn hear_myself(&self) {
        self.heard.beat(Instant::now(), &self.me, &self.led(), BTreeMap::new());
    }

    /// The sets that this node leads with a majority behind it.
    fn led(&self) -> Vec<u32> {
        let replicas = self.sets.all();
        let leads = replicas.iter().filter(|replica| {
            let majority = replica.fence.gate.silence_of_majority();
            replica.ledger().is_some()
                && replica.group.is_leader()
                && majority.is_some_and(|silent| silent <= MAJORITY_SILENCE_MAX)
        });
        leads.map(|replica| replica.fence.set).collect()
    }

    /// Tells every voter of the control set that this node lives. Runs until it is dropped, and everything that it has begun
    /// with it.
    pub async fn beat(self: Arc<Self>) {
        let mut telling = JoinSet::new();
        let mut told: BTreeMap<String, AbortHandle> = BTreeMap::new();
        let mut changes = self.cell.watch();
        loop {
            if let Some(catalogue) = changes.borrow_and_update().clone() {
                let voters: Vec<_> = catalogue.control.replicas.iter().map(|r| r.node.clone()).collect();
                told.retain(|node, task| {
                    let stays = voters.contains(node);
                    if !stays {
                        task.abort();
                    }
                    stays
                });
                for voter in voters.into_iter().filter(|voter| *voter != self.me) {
                    let tell = || telling.spawn(self.clone().tell(voter.clone()));
                    told.entry(voter.clone()).or_insert_with(tell);
                }
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    async fn tell(self: Arc<Self>, voter: String) {
        let mut tick = tokio::time::interval(BEAT_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connected = None;
        loop {
            tick.tick().await;
            let Some(catalogue) = self.cell.get() else { continue };
            if let Err(reason) = self.tell_once(&catalogue, &voter, &mut connected).await {
                debug!(voter, reason, "not heard");
                connected = None;
            }
        }
    }

    async fn tell_once(
        &self,
        catalogue: &Catalogue,
        voter: &str,
        connected: &mut Option<AdminClient<Channel>>,
    ) -> Result<(), String> {
        if connected.is_none() {
            let address = &catalogue.nodes.get(voter).ok_or("unknown node")?.api_addr;
            let channel = dial::connect(self.cell.platform(), address).await.map_err(|e| e.to_string())?;
            *connected = Some(AdminClient::new(channel));
        }
        let client = connected.as_mut().expect("it was just connected");
        let mut alive = wire::AliveRequest {
            cluster_id: catalogue.cluster_id.clone(),
            node: self.me.clone(),
            led: self.led(),
            ..wire::AliveRequest::default()
        };
        self.say_whom_i_heard(catalogue, &mut alive);
        let asked_ns = self.cell.platform().now_unix_ns();
        let told = tokio::time::timeout(BEAT_WITHIN, client.alive(alive)).await;
        let reply = told.map_err(|_| "no answer in time")?.map_err(|status| status.to_string())?;
        let answered_ns = self.cell.platform().now_unix_ns();
        let reading = Reading { asked_ns, theirs_ns: reply.into_inner().now_unix_ns, answered_ns };
        self.clocks.read(Instant::now(), voter, reading);
        Ok(())
    }

    /// Only voters of the control set are witnesses.
    fn say_whom_i_heard(&self, catalogue: &Catalogue, alive: &mut wire::AliveRequest) {
        if !catalogue.control.replicas.iter().any(|replica| replica.node == self.me) {
            return;
        }
        self.hear_myself();
        let nodes = catalogue.nodes.keys().cloned().map(Subject::Node);
        let subjects = nodes.chain(catalogue.sets.keys().copied().map(Subject::Set));
        for (subject, silent) in self.heard.silent_here(Instant::now(), subjects) {
            let ms = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
            match subject {
                Subject::Node(node) => drop(alive.silent_ms.insert(node, ms)),
                Subject::Set(set) => drop(alive.unled_ms.insert(set, ms)),
            }
        }
    }

    /// Asks for leases while this node leads sets that are DEGRADED. Runs until it is dropped.
    pub async fn lease(self: Arc<Self>) {
        let (mut pulse, mut changes) = (self.sets.pulse.subscribe(), self.cell.watch());
        let mut refused = false;
        loop {
            let wanted = self.wanted();
            if !wanted.is_empty() {
                let asked_at = Instant::now();
                let answer = self.control.lease(&wanted).await;
                if answer.is_err() != refused {
                    refused = answer.is_err();
                    if let Err(reason) = &answer {
                        warn!(reason, "no word of the control set: DEGRADED sets will not answer");
                    }
                }
                for set in answer.unwrap_or_default() {
                    if let Some(replica) = self.sets.get(set) {
                        let lease = Duration::from_millis(LEASE_MS) - LEASE_MARGIN;
                        replica.fence.gate.lease(asked_at + lease);
                    }
                }
            }
            // Who begins to lead, or becomes DEGRADED, does not wait for its turn.
            let news = async {
                let unleased = |replica: &wire::SetIncarnation| {
                    self.sets.get(replica.set).is_some_and(|replica| replica.fence.gate.leased().is_none())
                };
                loop {
                    tokio::select! {
                        ended = pulse.changed() => drop(ended),
                        ended = changes.changed() => drop(ended),
                    }
                    if self.wanted().iter().any(unleased) {
                        return;
                    }
                }
            };
            // It is only how long nothing new may go unnoticed.
            let _ = tokio::time::timeout(LEASE_EVERY, news).await;
        }
    }

    /// The sets that this node leads and that are DEGRADED, or on record as that.
    fn wanted(&self) -> Vec<wire::SetIncarnation> {
        let Some(catalogue) = self.cell.get() else { return Vec::new() };
        let degraded = |set: u32| {
            catalogue
                .sets
                .get(&set)
                .is_some_and(|set| set.durability == twinset_control::Durability::Degraded)
        };
        let replicas = self.sets.all();
        let wants = replicas.iter().filter(|replica| {
            replica.ledger().is_some()
                && replica.group.view().borrow().role == Role::Leader
                && (replica.fence.gate.durability() == Durability::Degraded || degraded(replica.fence.set))
        });
        wants
            .map(|replica| wire::SetIncarnation {
                set: replica.fence.set,
                incarnation: replica.fence.incarnation,
            })
            .collect()
    }
}
