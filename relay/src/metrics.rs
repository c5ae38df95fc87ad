//! What the relay measures. All series exist from the start, those of a set as soon as it is known; labels are the configuration's
//! names and closed lists. The registry comes from `main`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

/// What became of an event at a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fate {
    /// The receiver has taken it.
    Delivered,
    /// The sink does not want it.
    Filtered,
    /// It became a dead letter.
    Dead,
}

const FATES: [&str; 3] = ["delivered", "filtered", "dead"];

/// How an attempt has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Attempt {
    /// All of it was taken.
    Taken,
    /// The receiver does not want it.
    Refused,
    /// It may go better later.
    Failed,
}

const ATTEMPTS: [&str; 3] = ["taken", "refused", "failed"];

/// All series of a relay.
pub struct Metrics {
    registry: Registry,
    events: IntCounterVec,
    attempts: IntCounterVec,
    attempt_seconds: HistogramVec,
    dead_letters: IntGaugeVec,
    halted: IntGaugeVec,
    stopped: IntGaugeVec,
    head_seconds: GaugeVec,
    streams: Streams,
    heads: Mutex<Vec<(Gauge, Head)>>,
}

/// Since when the event that is to be delivered next has been that; none: there is none.
type Head = Arc<Mutex<Option<Instant>>>;

fn register<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let series = made.expect("the name is a valid metric name");
    registry.register(Box::new(series.clone())).expect("each metric is registered once");
    series
}

impl Metrics {
    /// Registers all series.
    pub fn new(registry: Registry) -> Metrics {
        let opts = |name: &str, help: &str| Opts::new(format!("twinset_relay_{name}"), help);
        let counters = |name: &str, help: &str| {
            register(&registry, IntCounterVec::new(opts(name, help), &["sink", "end"]))
        };
        let per_set = |name: &str, help: &str| {
            register(&registry, IntGaugeVec::new(opts(name, help), &["sink", "set"]))
        };
        let counter = |name: &str, help: &str| register(&registry, IntCounter::with_opts(opts(name, help)));
        let buckets = vec![0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0];
        let seconds = HistogramOpts::new("twinset_relay_attempt_seconds", "From an attempt to its end");
        let head =
            opts("head_seconds", "For how long the event has been in hand that is to be delivered next");
        Metrics {
            events: counters("events_total", "Events by what became of them"),
            attempts: counters("attempts_total", "Attempts to deliver one or more events, by how they ended"),
            attempt_seconds: register(&registry, HistogramVec::new(seconds.buckets(buckets), &["sink"])),
            dead_letters: per_set("dead_letters", "Dead letters that wait for a decision"),
            halted: per_set(
                "halted",
                "1 if the set waits at this sink until somebody decides on dead letters",
            ),
            stopped: per_set("stopped", "1 if the set's events have ended at this sink: the log tells why"),
            head_seconds: register(&registry, GaugeVec::new(head, &["sink", "set"])),
            streams: Streams {
                open: register(
                    &registry,
                    IntGauge::with_opts(opts("streams", "Streams of events that are open at routers")),
                ),
                broken: counter("stream_breaks_total", "Streams that ended or could not be opened"),
                repeated: counter("events_repeated_total", "Events that a router told again"),
            },
            heads: Mutex::default(),
            registry,
        }
    }

    /// Those of the streams from routers.
    pub fn streams(&self) -> Streams {
        self.streams.clone()
    }

    /// Those of a set at a sink.
    pub fn lane(&self, sink: &str, set: u32) -> Lane {
        let set = set.to_string();
        let of_set = |gauges: &IntGaugeVec| gauges.with_label_values(&[sink, &set]);
        let head = Head::default();
        self.heads.lock().push((self.head_seconds.with_label_values(&[sink, &set]), head.clone()));
        Lane {
            events: FATES.map(|fate| self.events.with_label_values(&[sink, fate])),
            attempts: ATTEMPTS.map(|end| self.attempts.with_label_values(&[sink, end])),
            attempt_seconds: self.attempt_seconds.with_label_values(&[sink]),
            dead_letters: of_set(&self.dead_letters),
            halted: of_set(&self.halted),
            stopped: of_set(&self.stopped),
            head,
        }
    }

    /// Everything in Prometheus' text format.
    pub fn render(&self) -> Vec<u8> {
        for (gauge, since) in self.heads.lock().iter() {
            gauge.set(since.lock().map_or(0.0, |since| since.elapsed().as_secs_f64()));
        }
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("writing to memory does not fail");
        text
    }
}

/// The series of the streams from routers.
#[derive(Clone)]
pub struct Streams {
    open: IntGauge,
    broken: IntCounter,
    repeated: IntCounter,
}

impl Streams {
    /// A stream is open until what this gives is dropped.
    pub fn opened(&self) -> Open {
        self.open.inc();
        Open(self.open.clone())
    }

    /// A stream has ended, or could not be opened.
    pub fn broken(&self) {
        self.broken.inc();
    }

    /// A router has told an event again.
    pub fn repeated(&self) {
        self.repeated.inc();
    }
}

/// A stream that is open.
pub struct Open(IntGauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The series of a set at a sink.
pub struct Lane {
    events: [IntCounter; 3],
    attempts: [IntCounter; 3],
    attempt_seconds: Histogram,
    /// Dead letters that wait for a decision.
    pub dead_letters: IntGauge,
    /// 1 while the set waits for such a decision.
    pub halted: IntGauge,
    /// 1 when there are no more events.
    pub stopped: IntGauge,
    head: Head,
}

impl Lane {
    /// So many events have come to that.
    pub fn events(&self, fate: Fate, count: usize) {
        self.events[fate as usize].inc_by(count as u64);
    }

    /// An attempt has ended.
    pub fn attempt(&self, end: Attempt, took: Duration) {
        self.attempts[end as usize].inc();
        self.attempt_seconds.observe(took.as_secs_f64());
    }

    /// Another event is to be delivered next, or none.
    pub fn head(&self, is_there: bool) {
        *self.head.lock() = is_there.then(Instant::now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_counts_its_own() {
        let metrics = Metrics::new(Registry::new());
        let lane = metrics.lane("billing", 2);
        lane.events(Fate::Delivered, 3);
        lane.attempt(Attempt::Refused, Duration::from_millis(1));
        lane.halted.set(1);
        let open = metrics.streams().opened();
        lane.head(true);
        let text = String::from_utf8(metrics.render()).expect("text");
        let has = |line: &str| assert!(text.contains(line), "{line} is not in:\n{text}");
        has("twinset_relay_events_total{end=\"delivered\",sink=\"billing\"} 3");
        has("twinset_relay_events_total{end=\"dead\",sink=\"billing\"} 0");
        has("twinset_relay_attempts_total{end=\"refused\",sink=\"billing\"} 1");
        has("twinset_relay_halted{set=\"2\",sink=\"billing\"} 1");
        has("twinset_relay_stopped{set=\"2\",sink=\"billing\"} 0");
        has("twinset_relay_streams 1");
        assert!(!text.contains("twinset_relay_head_seconds{set=\"2\",sink=\"billing\"} 0\n"), "{text}");
        drop(open);
        lane.head(false);
        let text = String::from_utf8(metrics.render()).expect("text");
        assert!(text.contains("twinset_relay_streams 0\n"));
        assert!(text.contains("twinset_relay_head_seconds{set=\"2\",sink=\"billing\"} 0\n"));
    }
}
