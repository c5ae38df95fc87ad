//! The durability of a set changes by itself: the leader's sentinel goes on with one site when the other does not follow, and
//! returns to SYNC when it does again. One for each replica; it acts only while its replica leads and no switch runs here.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};
use twinset_control::{Catalogue, Set};
use twinset_ledger::Durability;

pub use super::judgement::DurabilityConfig;
use super::judgement::{Backlog, Facts, Verdict, judge};
use super::{Change, change};
use crate::catalogue::CatalogueCell;
use crate::control_client::ControlClient;
use crate::keeper::SwitchLock;
use crate::raft::Role;
use crate::set::Replica;
use crate::since::Since;

const PERIOD: Duration = Duration::from_millis(50);
/// Between two attempts.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Who the control set's log says it was.
const WHO: &str = "sentinel";

/// What a set is doing about its durability, as its leader knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// What is acknowledged is on disk in both sites.
    #[default]
    Sync,
    /// The away site does not follow: answers wait until that is recorded.
    Degrading,
    /// What is acknowledged may be in one site only.
    Degraded,
    /// The away site is back, and has not caught up or not for long enough.
    Resync,
}

impl Phase {
    /// All of them.
    pub const ALL: [Phase; 4] = [Phase::Sync, Phase::Degrading, Phase::Degraded, Phase::Resync];

    /// As people read it.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Sync => "SYNC",
            Phase::Degrading => "DEGRADING",
            Phase::Degraded => "DEGRADED",
            Phase::Resync => "RESYNC",
        }
    }
}

/// How a set stands, for status and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What it is doing.
    pub phase: Phase,
    /// For how long the oldest committed entry that is not safe has waited.
    pub waited: Duration,
    /// The away site is back and has come no nearer for too long.
    pub stalled: bool,
}

/// The sentinel of one replica.
pub struct Sentinel {
    /// Its replica.
    pub replica: Arc<Replica>,
    /// The catalogue.
    pub cell: CatalogueCell,
    /// The control set.
    pub control: ControlClient,
    /// Taken by whoever moves the set or changes its durability.
    pub switching: SwitchLock,
    /// When it acts.
    pub config: DurabilityConfig,
}

/// What it remembers from look to look.
#[derive(Default)]
struct Memory {
    backlog: Backlog,
    leading: Since,
    following: Since,
    /// Nothing is tried before.
    rest_until: Option<Instant>,
    /// How little the away site has lacked so far, and since when.
    nearest: Option<(u64, Instant)>,
    /// Whether people were told of that.
    stalled: bool,
}

impl Sentinel {
    /// Runs until the node stops.
    pub async fn run(self) {
        let mut tick = tokio::time::interval(PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut memory = Memory::default();
        loop {
            tick.tick().await;
            let leads = self.replica.group.view().borrow().role == Role::Leader;
            let catalogue = self.cell.get();
            let set = catalogue.as_ref().and_then(|known| known.sets.get(&self.replica.fence.set));
            let (true, Some(catalogue), Some(set)) = (leads, &catalogue, set) else {
                memory = Memory::default();
                self.tell(Standing { phase: self.in_force(), ..Standing::default() });
                continue;
            };
            let facts = self.look(catalogue, set, &mut memory);
            let verdict = judge(&facts, &self.config);
            self.tell(self.standing(catalogue, &facts, verdict, &mut memory));
            if verdict != Verdict::Keep && memory.rest_until.is_none_or(|until| until <= Instant::now()) {
                self.act(catalogue, verdict, &mut memory).await;
            }
        }
    }

    fn in_force(&self) -> Phase {
        match self.replica.fence.gate.durability() {
            Durability::Sync => Phase::Sync,
            Durability::Degraded => Phase::Degraded,
        }
    }

    fn tell(&self, standing: Standing) {
        if let Some(ledger) = self.replica.ledger() {
            ledger.standing.send_if_modified(|told| std::mem::replace(told, standing) != standing);
        }
    }

    fn look(&self, catalogue: &Catalogue, set: &Set, memory: &mut Memory) -> Facts {
        let gate = &self.replica.fence.gate;
        let now = Instant::now();
        let led_for = memory.leading.observe(true).unwrap_or_default();
        let applied = self.replica.group.progress().applied;
        let follows = super::away_site_follows(&self.replica, catalogue).is_ok();
        let now_ns = self.replica.fence.platform.now_unix_ns();
        Facts {
            in_force: gate.durability(),
            recorded: match set.durability {
                twinset_control::Durability::Sync => Durability::Sync,
                twinset_control::Durability::Degraded => Durability::Degraded,
            },
            policy: set.policy,
            unproven: set.is_unproven(),
            // A site that is to be powered off is not waited for again before it has returned.
            pinned: set.pinned || catalogue.has_isolated(set),
            waited: memory.backlog.observe(now, applied, gate.horizon().safe),
            // What it answered to an earlier leadership says nothing of this one.
            away_silent: gate.silence_of_away_site().map_or(led_for, |silent| silent.min(led_for)),
            majority_silent: gate.silence_of_majority(),
            followed: memory.following.observe(follows),
            since_return: Duration::from_nanos(now_ns.saturating_sub(set.synced_unix_ns)),
        }
    }

    fn standing(
        &self,
        catalogue: &Catalogue,
        facts: &Facts,
        verdict: Verdict,
        memory: &mut Memory,
    ) -> Standing {
        let back = facts.away_silent < Duration::from_millis(self.config.degrade_after_ms);
        let phase = match (facts.in_force, verdict) {
            (Durability::Sync, Verdict::Degrade(_)) => Phase::Degrading,
            (Durability::Sync, _) => Phase::Sync,
            (Durability::Degraded, _) if back && !facts.pinned => Phase::Resync,
            (Durability::Degraded, _) => Phase::Degraded,
        };
        let mut stalled = false;
        if phase == Phase::Resync && facts.followed.is_none() {
            let (lag, now) = (super::lag_of_away_site(&self.replica, catalogue), Instant::now());
            match memory.nearest {
                Some((nearest, since)) if lag >= nearest => {
                    stalled = now - since >= Duration::from_millis(self.config.stalled_after_ms);
                    if stalled && !memory.stalled {
                        warn!(
                            set = self.replica.fence.set,
                            lag, "the away site is back and does not catch up"
                        );
                    }
                }
                _ => memory.nearest = Some((lag, now)),
            }
        } else {
            memory.nearest = None;
        }
        memory.stalled = stalled;
        Standing { phase, waited: facts.waited.unwrap_or_default(), stalled }
    }

    async fn act(&self, catalogue: &Catalogue, verdict: Verdict, memory: &mut Memory) {
        let Ok(_alone) = self.switching.clone().try_lock_owned() else { return };
        let set = self.replica.fence.set;
        let (durability, why) = match verdict {
            Verdict::Keep => return,
            Verdict::Degrade(cause) => (Durability::Degraded, cause.to_string()),
            Verdict::Return => (Durability::Sync, "the away site follows again".to_owned()),
        };
        let (who, proof) = (WHO.to_owned(), self.control.own_proof());
        let wanted = Change { durability, pinned: false, who, proof, why: why.clone() };
        match change(&self.replica, catalogue, &self.control, wanted).await {
            Ok(marked) => {
                info!(
                    set,
                    ?durability,
                    why,
                    index = marked.index,
                    safe = marked.last_safe_index,
                    "durability"
                );
            }
            Err(error) => warn!(set, ?durability, why, %error, "durability not changed yet"),
        }
        // Success rests as well: the record comes back to this node a moment later.
        memory.rest_until = Some(Instant::now() + AGAIN_AFTER);
    }
}
