//! Every metric of this binary. Counters are counted where things happen; gauges of sets are read when asked for.

use prometheus::{
    Encoder, Gauge, IntCounter, IntGaugeVec, Opts, Registry, TextEncoder, register_gauge_with_registry,
    register_int_counter_with_registry, register_int_gauge_vec_with_registry,
};

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
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("metrics encode into memory");
        String::from_utf8(text).expect("the text format is UTF-8")
    }
}
