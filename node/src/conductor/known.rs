//! What a conductor knows besides the catalogue: who leads which set and how far its copies are, what is asked of
//! whom at this moment, what was tried in vain, and since when all is well. It is lost with the conductor; the next
//! one learns it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use twinset_control::{Catalogue, Plan};
use twinset_proto::cluster::v1::StatusReply;

use super::decide::{Ask, guardrail};

/// A set whose leader was seen longer ago than this has none: while it moves, one look may miss it.
const LED_WITHIN: Duration = Duration::from_secs(1);
/// What was refused is asked for again after this, twice as long each time.
const AGAIN_MIN: Duration = Duration::from_millis(100);
/// At most.
const AGAIN_MAX: Duration = Duration::from_secs(2);
/// After so long without being asked the patience with a set begins anew.
const BREAK: Duration = Duration::from_secs(30);
/// Entries that a copy may lack without its set being called lagging.
const LAG_MAX: u64 = 500;

/// What is known.
#[derive(Default)]
pub struct Known {
    led: BTreeMap<u32, Led>,
    asked: BTreeSet<u32>,
    tries: BTreeMap<(u64, u32), Tries>,
    pauses_us: BTreeMap<(u64, u32), u64>,
    health: BTreeMap<u64, Health>,
}

/// The leader of a set, as it was seen last.
struct Led {
    node: String,
    term: u64,
    seen: Instant,
    last_log: u64,
    matched: BTreeMap<u64, u64>,
}

/// What was tried in vain.
#[derive(Clone, Debug)]
pub struct Tries {
    /// What was asked for.
    pub what: Ask,
    /// For how long it has been asked for without a break.
    pub lasting: Duration,
    /// Why the last time.
    pub reason: String,
    count: u32,
    last: Instant,
    again: Instant,
}

struct Health {
    since: Instant,
    unwell: Option<String>,
}

impl Known {
    /// Takes in what a node says of the sets that it leads.
    pub fn heard(&mut self, reply: &StatusReply, at: Instant) {
        for status in reply.replicas.iter().filter(|status| status.role == "leader") {
            // A leader that does not know of its successor yet says that it leads, in an earlier term.
            if self.led.get(&status.set).is_some_and(|known| known.term > status.term) {
                continue;
            }
            let led = Led {
                node: reply.node.clone(),
                term: status.term,
                seen: at,
                last_log: status.last_log_index,
                matched: status.matched.iter().map(|(replica, index)| (*replica, *index)).collect(),
            };
            self.led.insert(status.set, led);
        }
    }

    /// The node that leads a set, as far as is known.
    pub fn leader(&self, set: u32) -> Option<&str> {
        self.led.get(&set).map(|led| led.node.as_str())
    }

    /// Sees whether the plan's guardrails hold.
    pub fn look(&mut self, catalogue: &Catalogue, plan: &Plan, at: Instant) {
        let lately = |led: &Led| at.duration_since(led.seen) <= LED_WITHIN;
        let led = self.led.iter().filter(|(_, led)| lately(led)).map(|(set, _)| *set).collect();
        let unwell = guardrail(catalogue, plan, &led);
        match self.health.get_mut(&plan.id) {
            Some(health) if health.unwell.is_some() == unwell.is_some() => health.unwell = unwell,
            _ => _ = self.health.insert(plan.id, Health { since: at, unwell }),
        }
    }

    /// Whether the guardrails hold.
    pub fn is_well(&self, plan: u64) -> bool {
        self.health.get(&plan).is_some_and(|health| health.unwell.is_none())
    }

    /// For how long they have held.
    pub fn well_for(&self, plan: u64, now: Instant) -> Option<Duration> {
        let health = self.health.get(&plan).filter(|health| health.unwell.is_none())?;
        Some(now.duration_since(health.since))
    }

    /// Which does not hold, and for how long there has been one.
    pub fn unwell(&self, plan: u64, now: Instant) -> Option<(&str, Duration)> {
        let health = self.health.get(&plan)?;
        Some((health.unwell.as_deref()?, now.duration_since(health.since)))
    }

    /// Whether a copy in `site` lacks so much of the set's log that others go first.
    pub fn lags(&self, catalogue: &Catalogue, set: u32, site: &str) -> bool {
        let Some(led) = self.led.get(&set) else { return true };
        let there = catalogue.replicas(set).iter().filter(|r| catalogue.site_of_node(&r.node) == Some(site));
        let lag = |id: u64| led.last_log.saturating_sub(led.matched.get(&id).copied().unwrap_or(0));
        there.filter(|replica| replica.node != led.node).any(|replica| lag(replica.id) > LAG_MAX)
    }

    /// A leader is asked.
    pub fn ask(&mut self, set: u32) {
        self.asked.insert(set);
    }

    /// Whether a leader is being asked.
    pub fn is_asked(&self, set: u32) -> bool {
        self.asked.contains(&set)
    }

    /// It has answered; the error is why not as it was asked.
    pub fn answered(
        &mut self,
        (plan, set): (u64, u32),
        what: Ask,
        answer: Result<Option<u64>, String>,
        at: Instant,
    ) {
        self.asked.remove(&set);
        match answer {
            Ok(pause_us) => {
                self.tries.remove(&(plan, set));
                if let Some(pause_us) = pause_us {
                    self.pauses_us.insert((plan, set), pause_us);
                }
            }
            Err(reason) => self.in_vain((plan, set), what, reason, at),
        }
    }

    /// Nothing came of it. The patience with a set begins anew when something else is asked of it, and when the plan
    /// has held meanwhile.
    pub fn in_vain(&mut self, step: (u64, u32), what: Ask, reason: String, at: Instant) {
        let before = self.tries.remove(&step).filter(|tries| tries.what == what);
        let before = before.filter(|tries| at.duration_since(tries.last) <= BREAK);
        let (lasting, count) = before.map_or((Duration::ZERO, 0), |tries| {
            (tries.lasting + at.duration_since(tries.last), tries.count + 1)
        });
        let wait = AGAIN_MIN.saturating_mul(1 << count.min(8)).min(AGAIN_MAX);
        self.tries.insert(step, Tries { what, lasting, reason, count, last: at, again: at + wait });
    }

    /// What was tried in vain.
    pub fn tries(&self, plan: u64, set: u32) -> Option<&Tries> {
        self.tries.get(&(plan, set))
    }

    /// Whether it is time to ask.
    pub fn may_ask(&self, plan: u64, set: u32, now: Instant) -> bool {
        self.tries(plan, set).is_none_or(|tries| now >= tries.again)
    }

    /// How long the set took no writes when it moved, in microseconds.
    pub fn pause_us(&self, plan: u64, set: u32) -> Option<u64> {
        self.pauses_us.get(&(plan, set)).copied()
    }
}
