//! Every metric of this binary. Counters are counted where things happen; gauges of sets are read when asked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Encoder, Gauge, IntCounter, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
    register_gauge_with_registry, register_int_counter_vec_with_registry, register_int_counter_with_registry,
    register_int_gauge_vec_with_registry, register_int_gauge_with_registry,
};
use twinset_ledger::{Effect, Rejection};
use twinset_store::LedgerReplica;

use crate::check_back::{CheckBackMetrics, Initiators};
use crate::control_metrics::ControlMetrics;
use crate::drill_faults;
use crate::durability::sentinel::{Phase, Standing};
use crate::raft::Role;
use crate::set::{Replica, Sets};
use crate::sweeps::SweepMetrics;

/// All metrics of a node. Clones count into the same registry.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    /// Client calls received from routers.
    pub items: IntCounter,
    /// Commands in them.
    pub commands: IntCounter,
    /// Reads received.
    pub reads: IntCounter,
    ready: Gauge,
    /// The faults of drills that act, by kind.
    pub drill_faults: IntGaugeVec,
    /// By how much the clock is ahead, in milliseconds.
    pub clock_ahead: IntGauge,
    /// What the control set has on record.
    pub control: ControlMetrics,
    set_leader: IntGaugeVec,
    set_index: IntGaugeVec,
    set_term: IntGaugeVec,
    set_degraded: IntGaugeVec,
    set_durability: IntGaugeVec,
    set_unsafe_ms: IntGaugeVec,
    set_lease_ms: IntGaugeVec,
    set_resync_stalled: IntGaugeVec,
    set_attempts: IntGaugeVec,
    /// What comes of transactions over several sets.
    pub attempts: AttemptMetrics,
    set_parcels: IntGaugeVec,
    set_parcels_age: IntGaugeVec,
    set_suspended: IntGaugeVec,
    /// What outboxes send.
    pub outbox: OutboxMetrics,
    set_holds: IntGaugeVec,
    /// Holds that leaders have put away.
    pub holds_expired: IntCounter,
    set_restrictions: IntGaugeVec,
    /// Restrictions that leaders have put away.
    pub restrictions_expired: IntCounter,
    set_sweeps: IntGaugeVec,
    set_references_unread: IntGaugeVec,
    /// What comes of the runs of sweeps.
    pub sweeps: SweepMetrics,
    set_holds_overdue: IntGaugeVec,
    /// What comes of calling initiators.
    pub check_back: CheckBackMetrics,
    /// The way to the leaders of other sets.
    pub dispatch: Arc<twinset_dispatch::metrics::Metrics>,
}

/// What the drivers of all sets count.
#[derive(Clone)]
pub struct AttemptMetrics {
    booked: IntCounter,
    refused: IntCounter,
    given_up: IntCounter,
    /// Attempts that a leader carried on without having begun them, or waiting for nobody.
    pub resumed: IntCounter,
    /// Questions to coordinators about parts that were set aside for too long.
    pub inquiries: IntCounter,
}

/// What the outboxes of all sets count, at the payer's set.
#[derive(Clone)]
pub struct OutboxMetrics {
    /// Parcels that were booked where they should be.
    pub credited: IntCounter,
    /// Parcels that stand on a suspense account.
    pub suspended: IntCounter,
}

impl OutboxMetrics {
    fn new(registry: &Registry) -> prometheus::Result<Self> {
        let ends = register_int_counter_vec_with_registry!(
            Opts::new(
                "twinset_node_parcels_total",
                "Buffered credits to other sets by what came of them there, as their leader heard it."
            ),
            &["end"],
            registry
        )?;
        Ok(OutboxMetrics {
            credited: ends.with_label_values(&["credited"]),
            suspended: ends.with_label_values(&["suspended"]),
        })
    }
}

impl AttemptMetrics {
    fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter =
            |name: &str, help: &str| register_int_counter_with_registry!(Opts::new(name, help), registry);
        let ends = register_int_counter_vec_with_registry!(
            Opts::new(
                "twinset_node_attempts_total",
                "Transactions over several sets by how they ended, at their coordinator."
            ),
            &["end"],
            registry
        )?;
        Ok(AttemptMetrics {
            booked: ends.with_label_values(&["booked"]),
            refused: ends.with_label_values(&["refused"]),
            given_up: ends.with_label_values(&["given_up"]),
            resumed: counter(
                "twinset_node_attempts_resumed_total",
                "Attempts that a leader found in its log and carried on.",
            )?,
            inquiries: counter(
                "twinset_node_inquiries_total",
                "Questions to coordinators about what is set aside for too long.",
            )?,
        })
    }

    /// An attempt has ended.
    pub fn ended(&self, result: &Result<Effect, Rejection>) {
        match result {
            Ok(_) => self.booked.inc(),
            Err(Rejection::SetUnavailable { .. }) => self.given_up.inc(),
            Err(_) => self.refused.inc(),
        }
    }
}

impl Metrics {
    /// Registers everything.
    pub fn new(registry: Registry) -> prometheus::Result<Self> {
        let counter =
            |name: &str, help: &str| register_int_counter_with_registry!(Opts::new(name, help), registry);
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            register_int_gauge_vec_with_registry!(name, help, labels, registry)
        };
        let drill_faults = gauges(
            "twinset_node_drill_fault_active",
            "1 while a fault of a drill acts on the node.",
            &["kind"],
        )?;
        for kind in drill_faults::KINDS {
            drill_faults.with_label_values(&[kind]).set(0);
        }
        Ok(Metrics {
            drill_faults,
            clock_ahead: register_int_gauge_with_registry!(
                "twinset_node_clock_ahead_milliseconds",
                "By how much the node's wall clock is ahead of what two voters of the control set say; behind below 0.",
                registry
            )?,
            control: ControlMetrics::new(&registry)?,
            items: counter("twinset_node_items_total", "Client calls received from routers.")?,
            commands: counter("twinset_node_commands_total", "Ledger commands received from routers.")?,
            reads: counter("twinset_node_reads_total", "Reads received from routers.")?,
            ready: register_gauge_with_registry!(
                "twinset_node_ready",
                "1 if the node serves all its sets.",
                registry
            )?,
            set_leader: gauges("twinset_set_leader", "1 on the node that leads the set.", &["set"])?,
            set_index: gauges(
                "twinset_set_index",
                "Log indices of the set's replica here, by kind: last_log, committed, applied, safe, open.",
                &["set", "kind"],
            )?,
            set_term: gauges("twinset_set_term", "Raft term of the set's replica here.", &["set"])?,
            set_degraded: gauges("twinset_set_degraded", "1 if the set is marked DEGRADED.", &["set"])?,
            set_durability: gauges(
                "twinset_set_durability",
                "1 for what the set is doing about its durability, on the node that leads it: SYNC, DEGRADING, DEGRADED, RESYNC.",
                &["set", "phase"],
            )?,
            set_unsafe_ms: gauges(
                "twinset_set_unsafe_milliseconds",
                "How long the oldest committed entry that is not on disk in both sites has waited, on the node that leads the set.",
                &["set"],
            )?,
            set_lease_ms: gauges(
                "twinset_set_lease_milliseconds",
                "How long the leader of a DEGRADED set may still answer without another word of the control set.",
                &["set"],
            )?,
            set_resync_stalled: gauges(
                "twinset_set_resync_stalled",
                "1 if the away site is back and has come no nearer for too long, on the node that leads the set.",
                &["set"],
            )?,
            set_attempts: gauges(
                "twinset_set_attempts",
                "Transactions over several sets that are open in the set's replica here, by its role in them.",
                &["set", "role"],
            )?,
            attempts: AttemptMetrics::new(&registry)?,
            set_parcels: gauges(
                "twinset_set_parcels",
                "Buffered credits to another set that it has not acknowledged, in the set's replica here.",
                &["set", "to"],
            )?,
            set_parcels_age: gauges(
                "twinset_set_parcels_oldest_seconds",
                "Ledger time since the oldest of them was paid.",
                &["set", "to"],
            )?,
            set_suspended: gauges(
                "twinset_set_suspended",
                "Credits that stand on suspense accounts in the set's replica here.",
                &["set"],
            )?,
            outbox: OutboxMetrics::new(&registry)?,
            set_holds: gauges(
                "twinset_set_holds",
                "Holds that are open in the set's replica here.",
                &["set"],
            )?,
            holds_expired: counter(
                "twinset_node_holds_expired_total",
                "Holds that were put away because their time was over.",
            )?,
            set_restrictions: gauges(
                "twinset_set_restrictions",
                "Restrictions that are open in the set's replica here.",
                &["set"],
            )?,
            restrictions_expired: counter(
                "twinset_node_restrictions_expired_total",
                "Restrictions that were put away because their time had come.",
            )?,
            set_references_unread: gauges(
                "twinset_set_references_unread",
                "Entries that the index of references lacks in the set's replica here.",
                &["set"],
            )?,
            set_sweeps: gauges(
                "twinset_set_sweeps",
                "Accounts that have a sweep in the set's replica here.",
                &["set"],
            )?,
            sweeps: SweepMetrics::new(&registry)?,
            set_holds_overdue: gauges(
                "twinset_set_holds_overdue",
                "Overdue holds in the set's replica here, by what they wait for: asked, kept, unconfigured.",
                &["set", "waits"],
            )?,
            check_back: CheckBackMetrics::new(&registry)?,
            dispatch: Arc::new(twinset_dispatch::metrics::Metrics::new(&registry, "twinset_node_dispatch")),
            registry,
        })
    }

    fn render_durability(&self, set: &str, replica: &Replica, standing: Standing) {
        let leads = replica.group.is_leader();
        let milliseconds = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        for phase in Phase::ALL {
            let gauge = self.set_durability.with_label_values(&[set, phase.name()]);
            gauge.set(i64::from(leads && phase == standing.phase));
        }
        self.set_unsafe_ms.with_label_values(&[set]).set(milliseconds(standing.waited));
        self.set_lease_ms.with_label_values(&[set]).set(replica.fence.gate.leased().map_or(0, milliseconds));
        self.set_resync_stalled.with_label_values(&[set]).set(i64::from(standing.stalled));
    }

    fn render_parcels(&self, set: &str, state: &LedgerReplica) {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.set_suspended.with_label_values(&[set]).set(signed(state.suspended_count() as u64));
        let mut destinations = BTreeMap::<u32, (u64, u64)>::new();
        for (to, waiting, age_ns) in state.waiting_parcels() {
            let (count, oldest) = destinations.entry(to).or_default();
            *count += waiting;
            *oldest = age_ns.max(*oldest);
        }
        for (to, (waiting, age_ns)) in destinations {
            let to = to.to_string();
            let labels = [set, to.as_str()];
            self.set_parcels.with_label_values(&labels).set(signed(waiting));
            self.set_parcels_age.with_label_values(&labels).set(signed(age_ns / 1_000_000_000));
        }
    }

    /// The text that Prometheus scrapes.
    pub fn render(&self, sets: &Sets, initiators: &Initiators, ready: bool) -> String {
        self.ready.set(f64::from(u8::from(ready)));
        for replica in sets.all() {
            let set = replica.fence.set.to_string();
            let view = replica.group.view().borrow().clone();
            let progress = replica.group.progress();
            let signed = |index: u64| i64::try_from(index).unwrap_or(i64::MAX);
            self.set_leader.with_label_values(&[&set]).set(i64::from(view.role == Role::Leader));
            self.set_term.with_label_values(&[&set]).set(signed(view.term));
            let horizon = replica.fence.gate.horizon();
            for (kind, index) in [
                ("last_log", progress.last_log),
                ("committed", progress.committed),
                ("applied", progress.applied),
                ("safe", horizon.safe),
                ("open", horizon.open),
            ] {
                self.set_index.with_label_values(&[set.as_str(), kind]).set(signed(index));
            }
            let degraded = replica.fence.gate.durability() == twinset_ledger::Durability::Degraded;
            self.set_degraded.with_label_values(&[&set]).set(i64::from(degraded));
            if let Some(ledger) = replica.ledger() {
                self.render_durability(&set, &replica, *ledger.standing.borrow());
                self.render_parcels(&set, &ledger.state);
                self.set_holds.with_label_values(&[&set]).set(signed(ledger.state.open_holds() as u64));
                self.set_sweeps.with_label_values(&[&set]).set(signed(ledger.state.sweep_count() as u64));
                let unread = ledger.state.references_unread();
                self.set_references_unread.with_label_values(&[&set]).set(signed(unread));
                let restrictions = ledger.state.open_restrictions() as u64;
                self.set_restrictions.with_label_values(&[&set]).set(signed(restrictions));
                let now = replica.fence.platform.now_unix_ns().max(ledger.state.last_time());
                let overdue = ledger.state.overdue_holds(now, |name| initiators.get(name).is_some());
                for (waits, count) in
                    [("asked", overdue.asked), ("kept", overdue.kept), ("unconfigured", overdue.unconfigured)]
                {
                    let gauge = self.set_holds_overdue.with_label_values(&[set.as_str(), waits]);
                    gauge.set(signed(count as u64));
                }
                let (coordinated, others) = ledger.state.attempt_counts();
                for (role, count) in [("coordinator", coordinated), ("participant", others)] {
                    self.set_attempts.with_label_values(&[set.as_str(), role]).set(signed(count as u64));
                }
            }
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("metrics encode into memory");
        String::from_utf8(text).expect("the text format is UTF-8")
    }
}
