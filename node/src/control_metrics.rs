//! What the control set has on record that somebody should know, as metrics: read from this node's copy of the catalogue, and so
//! the same on every node but for those that are behind.

use prometheus::{IntGaugeVec, Registry, register_int_gauge_vec_with_registry};
use twinset_control::{CONTROL_SET, Catalogue};

/// What is counted, in the order in which it is shown.
const WHAT: [&str; 11] = [
    "plans_active",
    "plans_stopped",
    "drills_active",
    "switches_open",
    "recoveries_open",
    "sets_away",
    "sets_pinned",
    "sets_unproven",
    "sets_unreconciled",
    "sites_isolated",
    "replicas_kept",
];

/// The metrics.
#[derive(Clone)]
pub struct ControlMetrics(IntGaugeVec);

impl ControlMetrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let help = "What is on record in the control set, by what it is: plans_active, plans_stopped, drills_active, switches_open, \
                    recoveries_open, sets_away, sets_pinned, sets_unproven, sets_unreconciled, sites_isolated, \
                    replicas_kept.";
        let gauge =
            register_int_gauge_vec_with_registry!("twinset_control_on_record", help, &["what"], registry)?;
        let metrics = ControlMetrics(gauge);
        metrics.set(&[0; WHAT.len()]);
        Ok(metrics)
    }

    /// Takes in a catalogue.
    pub fn show(&self, catalogue: &Catalogue) {
        use twinset_control::plan::State;
        let plans = |of: fn(State) -> bool| catalogue.plans.values().filter(|plan| of(plan.state)).count();
        let sets =
            |of: fn(&twinset_control::Set) -> bool| catalogue.sets.values().filter(|set| of(set)).count();
        let groups = std::iter::once(CONTROL_SET).chain(catalogue.sets.keys().copied());
        let kept = groups.flat_map(|set| catalogue.lost(set)).filter(|lost| lost.kept).count();
        self.set(&[
            plans(State::is_active),
            plans(|state| state == State::Stopped),
            catalogue.active_drill().iter().count(),
            sets(|set| set.switch.is_some()),
            sets(|set| set.recovery.is_some()),
            sets(|set| set.home != set.configured_home),
            sets(|set| set.pinned),
            sets(twinset_control::Set::is_unproven),
            sets(twinset_control::Set::is_unreconciled),
            catalogue.sites.values().filter(|site| site.isolated).count(),
            kept,
        ]);
    }

    fn set(&self, counts: &[usize; WHAT.len()]) {
        for (what, count) in WHAT.iter().zip(counts) {
            self.0.with_label_values(&[what]).set(i64::try_from(*count).unwrap_or(i64::MAX));
        }
    }
}
