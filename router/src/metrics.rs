//! What the router measures. All series exist from the start, labels are enums, and the hot path touches counters it
//! has in hand: nothing is looked up by name. The registry comes from `main`.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use twinset_dispatch::metrics::{Metrics as Dispatch, counter};
use twinset_dispatch::view::View;

use crate::error::{Error, Outcome};

/// What a client can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Call {
    /// A currency or a subject.
    Define,
    /// Opening or changing an account.
    Account,
    /// One transaction.
    Transaction,
    /// Many transactions.
    Batch,
    /// Taking back.
    Reversal,
    /// Any read.
    Read,
    /// Placing, releasing or extending a hold.
    Hold,
    /// What transactions would come to.
    DryRun,
    /// Releasing a restriction.
    Restriction,
}

impl Call {
    /// Every call.
    pub const ALL: [Call; 9] = [
        Call::Define,
        Call::Account,
        Call::Transaction,
        Call::Batch,
        Call::Reversal,
        Call::Read,
        Call::Hold,
        Call::DryRun,
        Call::Restriction,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Call::Define => "define",
            Call::Account => "account",
            Call::Transaction => "transaction",
            Call::Batch => "batch",
            Call::Reversal => "reversal",
            Call::Read => "read",
            Call::Hold => "hold",
            Call::DryRun => "dry_run",
            Call::Restriction => "restriction",
        }
    }
}

/// Over what a client asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Protocol {
    /// HTTP/JSON.
    Http,
    /// gRPC.
    Grpc,
}

const PROTOCOLS: [&str; 2] = ["http", "grpc"];
const ENDS: [&str; 4] = ["ok", "rejected", "not_applied", "unknown"];

/// One call's end, by name of its outcome.
fn end_of<T>(result: &Result<T, Error>) -> usize {
    match result {
        Ok(_) => 0,
        Err(error) => match error.outcome() {
            Outcome::Rejected => 1,
            Outcome::NotApplied => 2,
            Outcome::Unknown => 3,
        },
    }
}

/// All series of a router.
pub struct Metrics {
    registry: Registry,
    /// By protocol, call and end, in the order of the enums.
    calls: Vec<IntCounter>,
    /// By call.
    durations: Vec<Histogram>,
    /// Of the way to the nodes.
    pub dispatch: Arc<Dispatch>,
    batch_transactions: IntCounter,
    connections_refused: IntCounter,
    /// By protocol.
    event_streams: [IntGauge; 2],
    events_sent: [IntCounter; 2],
    event_lag: Histogram,
    in_flight: IntGauge,
    catalogue_version: IntGauge,
    set_has_leader: IntGaugeVec,
    set_queue_requests: IntGaugeVec,
    set_queue_bytes: IntGaugeVec,
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    let gauge = IntGauge::new(name, help).expect("the name is a valid metric name");
    registry.register(Box::new(gauge.clone())).expect("each metric is registered once");
    gauge
}

fn per_set(registry: &Registry, name: &str, help: &str) -> IntGaugeVec {
    let gauges = IntGaugeVec::new(Opts::new(name, help), &["set"]).expect("the name is a valid metric name");
    registry.register(Box::new(gauges.clone())).expect("each metric is registered once");
    gauges
}

fn histogram(registry: &Registry, opts: HistogramOpts, buckets: Vec<f64>) -> Histogram {
    let histogram = Histogram::with_opts(opts.buckets(buckets)).expect("the name is a valid metric name");
    registry.register(Box::new(histogram.clone())).expect("each metric is registered once");
    histogram
}

fn latencies() -> Vec<f64> {
    vec![0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0]
}

/// Calls by protocol, kind and end, in the order of the enums.
fn calls(registry: &Registry) -> Vec<IntCounter> {
    let opts = Opts::new("twinset_router_calls_total", "Calls by how they ended");
    let calls =
        IntCounterVec::new(opts, &["protocol", "call", "end"]).expect("the name is a valid metric name");
    registry.register(Box::new(calls.clone())).expect("each metric is registered once");
    let mut found = Vec::with_capacity(PROTOCOLS.len() * Call::ALL.len() * ENDS.len());
    for protocol in PROTOCOLS {
        for call in Call::ALL {
            found.extend(ENDS.map(|end| calls.with_label_values(&[protocol, call.as_str(), end])));
        }
    }
    found
}

fn durations(registry: &Registry) -> Vec<Histogram> {
    let duration = |call: Call| {
        let opts = HistogramOpts::new("twinset_router_call_seconds", "From the request to the answer");
        histogram(registry, opts.const_label("call", call.as_str()), latencies())
    };
    Call::ALL.into_iter().map(duration).collect()
}

fn event_streams(registry: &Registry) -> [IntGauge; 2] {
    let opts = Opts::new("twinset_router_event_streams", "Streams of events that are open");
    let streams = IntGaugeVec::new(opts, &["protocol"]).expect("the name is a valid metric name");
    registry.register(Box::new(streams.clone())).expect("each metric is registered once");
    PROTOCOLS.map(|protocol| streams.with_label_values(&[protocol]))
}

fn events_sent(registry: &Registry) -> [IntCounter; 2] {
    let opts = Opts::new("twinset_router_events_sent_total", "Events given to streams");
    let sent = IntCounterVec::new(opts, &["protocol"]).expect("the name is a valid metric name");
    registry.register(Box::new(sent.clone())).expect("each metric is registered once");
    PROTOCOLS.map(|protocol| sent.with_label_values(&[protocol]))
}

fn event_lag(registry: &Registry) -> Histogram {
    let help = "How far behind the set's newest entry an event was when it was given to a stream";
    let buckets = vec![0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0, 600.0, 3_600.0, 86_400.0];
    histogram(registry, HistogramOpts::new("twinset_router_event_lag_seconds", help), buckets)
}

/// A stream of events that is open; ends when it is dropped.
pub struct StreamOpen {
    streams: IntGauge,
    sent: IntCounter,
    lag: Histogram,
}

impl StreamOpen {
    /// An event is given to the client, so far behind its set's newest entry.
    pub fn sent(&self, behind: Duration) {
        self.sent.inc();
        self.lag.observe(behind.as_secs_f64());
    }
}

impl Drop for StreamOpen {
    fn drop(&mut self) {
        self.streams.dec();
    }
}

impl Metrics {
    /// Registers all series.
    pub fn new(registry: Registry) -> Self {
        let counter = |name: &str, help: &str| counter(&registry, &format!("twinset_router_{name}"), help);
        let gauge = |name: &str, help: &str| gauge(&registry, &format!("twinset_router_{name}"), help);
        let per_set = |name: &str, help: &str| per_set(&registry, &format!("twinset_router_{name}"), help);
        Metrics {
            calls: calls(&registry),
            durations: durations(&registry),
            dispatch: Arc::new(Dispatch::new(&registry, "twinset_router")),
            batch_transactions: counter("batch_transactions_total", "Transactions that came in batches"),
            connections_refused: counter(
                "connections_refused_total",
                "Client connections refused because there were too many",
            ),
            event_streams: event_streams(&registry),
            events_sent: events_sent(&registry),
            event_lag: event_lag(&registry),
            in_flight: gauge("calls_in_flight", "Calls in progress"),
            catalogue_version: gauge("catalogue_version", "Version of the catalogue followed"),
            set_has_leader: per_set("set_has_leader", "Whether a leader of the set is known"),
            set_queue_requests: per_set("set_queue_requests", "Requests without an answer yet"),
            set_queue_bytes: per_set("set_queue_bytes", "Bytes of those requests"),
            registry,
        }
    }

    /// A call has ended.
    pub fn call<T>(&self, protocol: Protocol, call: Call, result: &Result<T, Error>, took: Duration) {
        let index = (protocol as usize * Call::ALL.len() + call as usize) * ENDS.len() + end_of(result);
        self.calls[index].inc();
        self.durations[call as usize].observe(took.as_secs_f64());
    }

    /// A batch came in.
    pub fn batch(&self, transactions: usize) {
        self.batch_transactions.inc_by(transactions as u64);
    }

    /// A stream of events is open until what this gives is dropped.
    pub fn stream_opened(&self, protocol: Protocol) -> StreamOpen {
        let (streams, sent) = (&self.event_streams[protocol as usize], &self.events_sent[protocol as usize]);
        streams.inc();
        StreamOpen { streams: streams.clone(), sent: sent.clone(), lag: self.event_lag.clone() }
    }

    /// A client's connection was refused.
    pub fn connection_refused(&self) {
        self.connections_refused.inc();
    }

    /// Everything in Prometheus' text format, after taking in the figures that are only read then.
    pub fn render(&self, in_flight: usize, view: &View, fill: &[(u32, usize, usize)]) -> Vec<u8> {
        self.in_flight.set(in_flight as i64);
        self.catalogue_version.set(view.version as i64);
        for (number, set) in &view.sets {
            let label = number.to_string();
            self.set_has_leader.with_label_values(&[label.as_str()]).set(i64::from(set.leader.is_some()));
            let (requests, bytes) = fill
                .iter()
                .find(|(other, ..)| other == number)
                .map_or((0, 0), |(_, requests, bytes)| (*requests, *bytes));
            self.set_queue_requests.with_label_values(&[label.as_str()]).set(requests as i64);
            self.set_queue_bytes.with_label_values(&[label.as_str()]).set(bytes as i64);
        }
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("writing to memory does not fail");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_series_is_there_from_the_start_and_counts_its_own() {
        let metrics = Metrics::new(Registry::new());
        metrics.call(Protocol::Grpc, Call::Read, &Ok(()), Duration::from_millis(1));
        metrics.call(
            Protocol::Http,
            Call::Batch,
            &Err::<(), _>(Error::malformed("x")),
            Duration::from_millis(1),
        );
        let text = String::from_utf8(metrics.render(3, &View::default(), &[])).expect("text");
        let has = |line: &str| assert!(text.contains(line), "{line} is not in:\n{text}");
        has("twinset_router_calls_total{call=\"read\",end=\"ok\",protocol=\"grpc\"} 1");
        has("twinset_router_calls_total{call=\"batch\",end=\"not_applied\",protocol=\"http\"} 1");
        has("twinset_router_calls_total{call=\"transaction\",end=\"unknown\",protocol=\"http\"} 0");
        has("twinset_router_retries_total{cause=\"superseded\"} 0");
        has("twinset_router_call_seconds_count{call=\"define\"} 0");
        has("twinset_router_calls_in_flight 3");
    }
}
