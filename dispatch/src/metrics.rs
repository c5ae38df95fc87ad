//! What is measured on the way to the leaders. The series begin with the prefix that the process gives at composition,
//! exist from the start, and are touched without a look-up by name.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};

use crate::retry::Cause;

/// The figures of lanes, links and dispatcher.
pub struct Metrics {
    /// In the order of [`Cause::ALL`].
    retries: Vec<IntCounter>,
    frame_items: Histogram,
    queue_full: IntCounter,
    connected: IntCounter,
}

/// A counter of that name, registered.
pub fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    let counter = IntCounter::new(name, help).expect("the name is a valid metric name");
    registry.register(Box::new(counter.clone())).expect("each metric is registered once");
    counter
}

fn retries(registry: &Registry, name: &str) -> Vec<IntCounter> {
    let opts = Opts::new(name, "Attempts that did not answer the client, by why");
    let retries = IntCounterVec::new(opts, &["cause"]).expect("the name is a valid metric name");
    registry.register(Box::new(retries.clone())).expect("each metric is registered once");
    Cause::ALL.into_iter().map(|cause| retries.with_label_values(&[cause.as_str()])).collect()
}

fn frame_items(registry: &Registry, name: &str) -> Histogram {
    let buckets = vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 4096.0];
    let opts = HistogramOpts::new(name, "Items sent to a node in one frame").buckets(buckets);
    let histogram = Histogram::with_opts(opts).expect("the name is a valid metric name");
    registry.register(Box::new(histogram.clone())).expect("each metric is registered once");
    histogram
}

impl Metrics {
    /// Registers all series; their names begin with `prefix` and an underscore.
    pub fn new(registry: &Registry, prefix: &str) -> Self {
        let name = |name: &str| format!("{prefix}_{name}");
        let queue_full = "Requests refused because a set's queue was full";
        Metrics {
            retries: retries(registry, &name("retries_total")),
            frame_items: frame_items(registry, &name("frame_items")),
            queue_full: counter(registry, &name("queue_full_total"), queue_full),
            connected: counter(registry, &name("node_connections_total"), "Connections made to nodes"),
        }
    }

    /// Attempts ended without an answer.
    pub(crate) fn retried(&self, cause: Cause, count: usize) {
        self.retries[cause as usize].inc_by(count as u64);
    }

    /// A frame was sent.
    pub(crate) fn frame(&self, items: usize) {
        self.frame_items.observe(items as f64);
    }

    /// A set's queue was full.
    pub(crate) fn queue_full(&self) {
        self.queue_full.inc();
    }

    /// A connection to a node was made.
    pub(crate) fn connected(&self) {
        self.connected.inc();
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder, TextEncoder};

    use super::*;

    #[test]
    fn every_series_is_there_from_the_start_and_counts_its_own() {
        let registry = Registry::new();
        let one = Metrics::new(&registry, "twinset_one");
        let _other = Metrics::new(&registry, "twinset_other");
        one.retried(Cause::Broken, 3);
        one.frame(2);
        one.queue_full();
        one.connected();
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).expect("memory takes it");
        let text = String::from_utf8(text).expect("text");
        for line in [
            "twinset_one_retries_total{cause=\"broken\"} 3",
            "twinset_one_retries_total{cause=\"superseded\"} 0",
            "twinset_one_frame_items_sum 2",
            "twinset_one_queue_full_total 1",
            "twinset_one_node_connections_total 1",
            "twinset_other_retries_total{cause=\"broken\"} 0",
            "twinset_other_frame_items_count 0",
            "twinset_other_queue_full_total 0",
            "twinset_other_node_connections_total 0",
        ] {
            assert!(text.contains(line), "{line} is not in:\n{text}");
        }
    }
}
