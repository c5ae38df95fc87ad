//! What is counted of calls, by initiator.

use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, register_histogram_vec_with_registry,
    register_int_counter_vec_with_registry,
};

use super::config::Initiators;

/// The results of a call, as the metric names them. A refusal of the ledger is one of what the answer asks for.
const RESULTS: [&str; 8] =
    ["confirm", "cancel", "pending", "unreachable", "timed_out", "bad_status", "bad_answer", "refused"];
const SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// What the askers of all sets count.
#[derive(Clone)]
pub struct CheckBackMetrics {
    pub(super) calls: IntCounterVec,
    pub(super) exhausted: IntCounterVec,
    pub(super) seconds: HistogramVec,
}

impl CheckBackMetrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        Ok(CheckBackMetrics {
            calls: register_int_counter_vec_with_registry!(
                Opts::new(
                    "twinset_node_check_back_calls_total",
                    "Calls of initiators about overdue holds, by what came of them."
                ),
                &["initiator", "result"],
                registry
            )?,
            exhausted: register_int_counter_vec_with_registry!(
                Opts::new(
                    "twinset_node_check_backs_exhausted_total",
                    "Overdue holds that the last resort was taken with, because no call has brought an answer."
                ),
                &["initiator"],
                registry
            )?,
            seconds: register_histogram_vec_with_registry!(
                HistogramOpts::new(
                    "twinset_node_check_back_seconds",
                    "From the beginning of a call of an initiator to its end."
                )
                .buckets(SECONDS.to_vec()),
                &["initiator"],
                registry
            )?,
        })
    }

    /// Makes the series of these initiators, so that they are there from the start.
    pub fn present(&self, initiators: &Initiators) {
        for initiator in initiators.iter() {
            let name = initiator.config.name.as_str();
            for result in RESULTS {
                self.calls.with_label_values(&[name, result]);
            }
            self.exhausted.with_label_values(&[name]);
            self.seconds.with_label_values(&[name]);
        }
    }
}
