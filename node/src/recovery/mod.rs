//! The forced recovery of sets that have lost their majority with a site, and the copies that sets get back afterwards. It is
//! carried out by the node whose replica of the control set leads; every step stands in the control set, so that the next
//! leader goes on where this one stopped.
//!
//! The order is what makes it safe. The intent is recorded: no state of the old incarnation can become weaker, no lease is given any more.
//! A set that was DEGRADED waits the last lease out. Every survivor is fenced, on disk, the learner too: from then on the old
//! leader gets no word from the site that it would need. Only then are their logs compared; that the one with the greatest end
//! goes on is recorded, as DEGRADED, and the survivors open by what is on record.

pub mod control;
mod judgement;
pub mod tail;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};
use twinset_control::{
    CONTROL_SET, Catalogue, Command, Durability, LEASE_MS, LogEnd, RecoveryIntent, Role, Set,
};
use twinset_ledger::canary::{self, Canary};
use twinset_proto::cluster::v1 as wire;
use wire::admin_client::AdminClient;

use self::judgement::{Hearing, place_for, place_for_control, recoverable, spread_control};
use crate::catalogue::CatalogueCell;
use crate::control_client::ControlClient;
use crate::dial;
use crate::hosting::Fenced;
use crate::node::Node;
use crate::set::Sets;
use crate::vigil::{Subject, Vigil};

const PERIOD: Duration = Duration::from_millis(100);
/// A voter of the control set whose last word is older is no witness.
const FRESH: Duration = Duration::from_secs(1);
/// For one node to fence a replica.
const FENCE_WITHIN: Duration = Duration::from_secs(10);
/// Who the control set's log says it was.
const WHO: &str = "recovery";

/// When sets are recovered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecoveryConfig {
    /// Whether sets that were SYNC are recovered without an operator's word, where there is an arbiter.
    pub automatic: bool,
    /// A node is dead when it has been silent for so long to the arbiter and to the other site alike, in milliseconds.
    pub silent_ms: u64,
}

impl Default for RecoveryConfig {
    fn default() -> Self {
        RecoveryConfig { automatic: true, silent_ms: 1_500 }
    }
}

/// The recoverer of one node; it acts while the node's replica of the control set leads.
pub struct Recoverer {
    /// The replicas of this node.
    pub sets: Arc<Sets>,
    /// The catalogue.
    pub cell: CatalogueCell,
    /// The control set.
    pub control: ControlClient,
    /// Who is alive.
    pub vigil: Arc<Vigil>,
    /// This node's name.
    pub me: String,
    /// When it acts.
    pub config: RecoveryConfig,
}

impl Recoverer {
    /// Runs until it is dropped.
    pub async fn run(self) {
        let mut tick = tokio::time::interval(PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Sets do not wait for each other: a survivor that does not answer, and a lease that is waited out, hold up their own.
        let (mut busy, mut working) = (BTreeSet::new(), FuturesUnordered::new());
        loop {
            tokio::select! {
                Some(set) = working.next() => {
                    busy.remove(&set);
                    continue;
                }
                _ = tick.tick() => {}
            }
            let leading = self.sets.control().filter(|replica| replica.group.is_leader());
            let Some(incarnation) = leading.map(|replica| replica.fence.incarnation) else { continue };
            // After a recovery of the control set, its record comes first.
            let current = |known: &Arc<Catalogue>| known.control.incarnation == incarnation;
            let Some(catalogue) = self.cell.get().filter(current) else { continue };
            for set in std::iter::once(CONTROL_SET).chain(catalogue.sets.keys().copied()) {
                if busy.insert(set) {
                    working.push(self.look_after(catalogue.clone(), set));
                }
            }
        }
    }

    /// Does what is to be done for a set now; gives the set.
    async fn look_after(&self, catalogue: Arc<Catalogue>, number: u32) -> u32 {
        let done = match catalogue.sets.get(&number) {
            None => self.complete_control(&catalogue).await,
            Some(set) => match &set.recovery {
                Some(intent) => self.carry_on(&catalogue, set, intent).await,
                None => self.begin(&catalogue, set).await,
            },
        };
        if let Err(reason) = done {
            warn!(set = number, reason, "not recovered yet");
            // Not an answer to anything: it only keeps the log readable.
            tokio::time::sleep(FRESH).await;
        }
        number
    }

    async fn begin(&self, catalogue: &Catalogue, set: &Set) -> Result<(), String> {
        let heard = Heard { recoverer: self, catalogue };
        if let Some(site) = recoverable(catalogue, set, &heard).filter(|_| self.config.automatic) {
            let why = format!("the majority is silent for {} ms, site {site} lives", self.config.silent_ms);
            warn!(set = set.id, why, "recovery");
            let command = Command::BeginRecovery {
                set: set.id,
                site: site.to_owned(),
                expected_incarnation: set.incarnation,
                accept_loss: false,
                without_replaced: false,
                who: WHO.to_owned(),
                why,
            };
            return self.propose(&command).await;
        }
        if let Some(node) = place_for(catalogue, set, &heard) {
            let why = "the set lacks a copy in that site".to_owned();
            let (node, who) = (node.to_owned(), WHO.to_owned());
            return self.propose(&Command::PlaceReplica { set: set.id, node, who, why }).await;
        }
        Ok(())
    }

    /// After a recovery on an operator's word the control set gets as many copies as nodes can have, and in the end one in each place.
    async fn complete_control(&self, catalogue: &Catalogue) -> Result<(), String> {
        let (heard, who) = (Heard { recoverer: self, catalogue }, WHO.to_owned());
        let command = match (place_for_control(catalogue, &heard), spread_control(catalogue, &heard)) {
            (Some(node), _) => {
                let (node, why) = (node.to_owned(), "the control set lacks a copy".to_owned());
                Command::PlaceReplica { set: CONTROL_SET, node, who, why }
            }
            (None, Some((replica, node))) => {
                let why = "the control set has two copies in its site, and none there".to_owned();
                Command::BeginReplacement { set: CONTROL_SET, replica, node: node.to_owned(), who, why }
            }
            (None, None) => return Ok(()),
        };
        self.propose(&command).await
    }

    async fn propose(&self, command: &Command) -> Result<(), String> {
        self.control.propose(command).await.map(drop).map_err(|error| error.to_string())
    }

    async fn carry_on(
        &self,
        catalogue: &Catalogue,
        set: &Set,
        intent: &RecoveryIntent,
    ) -> Result<(), String> {
        let seen_at = Instant::now();
        let survivors = intent.survivors.iter().map(|&replica| async move {
            let known = catalogue.replica(set.id, replica).ok_or("a survivor is not in the catalogue")?;
            let reply = self.fence(catalogue, &known.node, set.id, replica, intent.incarnation).await;
            reply
                .map(|end| (end, replica))
                .map_err(|error| format!("replica {replica} on {}: {error}", known.node))
        });
        let fenced = join_all(survivors).await.into_iter().collect::<Result<Vec<_>, String>>()?;
        if set.durability == Durability::Degraded && !canary::on(Canary::LeaseNotWaitedOut) {
            // The leader of the old incarnation may have asked a moment before the intent was recorded.
            tokio::time::sleep_until(seen_at + Duration::from_millis(LEASE_MS)).await;
        }
        // Of equal ends any will do; the same one each time.
        let asked = |replica: u64| {
            let votes = set.replicas.iter().any(|known| known.id == replica && known.role == Role::Voter);
            votes || !canary::on(Canary::LearnerNotAsked)
        };
        let ends = fenced.iter().filter(|(_, replica)| asked(*replica));
        let greatest = ends.map(|(fenced, replica)| (fenced.end, *replica)).max();
        let (end, from) = greatest.ok_or("nobody survives")?;
        let last_safe_index = fenced.iter().map(|(fenced, _)| fenced.safe).max().unwrap_or(0);
        let command = Command::CompleteRecovery { set: set.id, id: intent.id, from, end, last_safe_index };
        self.propose(&command).await?;
        info!(set = set.id, incarnation = intent.incarnation, from, ?end, site = intent.site, "recovered");
        Ok(())
    }

    async fn fence(
        &self,
        catalogue: &Catalogue,
        node: &str,
        set: u32,
        replica: u64,
        incarnation: u32,
    ) -> Result<Fenced, String> {
        let address = &catalogue.nodes.get(node).ok_or("unknown node")?.peer_addr;
        let cluster_id = catalogue.cluster_id.clone();
        let request = wire::FenceRequest { cluster_id, set, replica, incarnation };
        let asked = async {
            let channel = dial::connect(self.cell.platform(), address).await.map_err(|e| e.to_string())?;
            AdminClient::new(channel).fence(request).await.map_err(|status| status.message().to_owned())
        };
        let reply = tokio::time::timeout(FENCE_WITHIN, asked).await.map_err(|_| "no answer in time")??;
        let reply = reply.into_inner();
        let end = LogEnd { term: reply.last_term, index: reply.last_index };
        Ok(Fenced { end, safe: reply.safe_index })
    }
}

/// What the recoverer has heard, directly and from the other voters of the control set.
struct Heard<'a> {
    recoverer: &'a Recoverer,
    catalogue: &'a Catalogue,
}

impl Heard<'_> {
    /// For how long nobody has heard of it, and which voters say so, this one among them.
    fn silent(&self, subject: &Subject) -> (Duration, Vec<&str>) {
        let me = self.recoverer.me.as_str();
        let voters = self.catalogue.control.replicas.iter().filter(|replica| replica.role == Role::Voter);
        let others = voters.map(|replica| replica.node.as_str()).filter(|node| *node != me);
        let heard = self.recoverer.vigil.heard();
        let (least, mut witnesses) = heard.silent(Instant::now(), subject, others, FRESH);
        witnesses.push(me);
        (least, witnesses)
    }

    fn limit(&self) -> Duration {
        Duration::from_millis(self.recoverer.config.silent_ms)
    }
}

impl Hearing for Heard<'_> {
    fn is_alive(&self, node: &str) -> bool {
        node == self.recoverer.me || self.silent(&Subject::Node(node.to_owned())).0 <= FRESH
    }

    fn is_heard(&self, node: &str) -> bool {
        let subject = Subject::Node(node.to_owned());
        node == self.recoverer.me || self.recoverer.vigil.heard().was_heard(Instant::now(), &subject, FRESH)
    }

    fn is_silent(&self, node: &str, site: &str) -> bool {
        if node == self.recoverer.me {
            return false;
        }
        let (least, witnesses) = self.silent(&Subject::Node(node.to_owned()));
        let known = || witnesses.iter().filter_map(|witness| self.catalogue.nodes.get(*witness));
        let arbiter = known().any(|witness| witness.arbiter);
        let there = known().any(|witness| witness.site == site);
        least >= self.limit() && arbiter && there
    }

    fn is_led(&self, set: u32) -> bool {
        self.silent(&Subject::Set(set)).0 < self.limit()
    }
}

/// The recoverer of a node.
pub fn recoverer(node: &Node) -> Recoverer {
    Recoverer {
        sets: node.sets.clone(),
        cell: node.cell.clone(),
        control: node.control.clone(),
        vigil: node.vigil.clone(),
        me: node.config.node.name.clone(),
        config: node.config.recovery.clone(),
    }
}
