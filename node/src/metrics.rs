//! Every metric of this binary. Counters are counted where things happen; gauges of sets are read when asked for.

use std::sync::Arc;

use prometheus::{
    Encoder, Gauge, IntCounter, IntGaugeVec, Opts, Registry, TextEncoder, register_gauge_with_registry,
    register_int_counter_vec_with_registry, register_int_counter_with_registry,
    register_int_gauge_vec_with_registry,
};
use twinset_ledger::{Effect, Rejection};

use crate::raft::Role;
use crate::set::Sets;

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
    set_leader: IntGaugeVec,
    set_index: IntGaugeVec,
    set_term: IntGaugeVec,
    set_degraded: IntGaugeVec,
    set_attempts: IntGaugeVec,
    /// What comes of transactions over several sets.
    pub attempts: AttemptMetrics,
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
        Ok(Metrics {
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
            set_attempts: gauges(
                "twinset_set_attempts",
                "Transactions over several sets that are open in the set's replica here, by its role in them.",
                &["set", "role"],
            )?,
            attempts: AttemptMetrics::new(&registry)?,
            dispatch: Arc::new(twinset_dispatch::metrics::Metrics::new(&registry, "twinset_node_dispatch")),
            registry,
        })
    }

    /// The text that Prometheus scrapes.
    pub fn render(&self, sets: &Sets, ready: bool) -> String {
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
