//! What clients saw: each request's start, end and outcome; latency percentiles; failures by class; the pause of a set
//! around an event. Bounded in memory. Sends nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::plan::{Transfer, Way};

/// How a request (or one transaction of a batch) ended, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Class {
    /// Booked.
    Done,
    /// The ledger said no.
    Rejected,
    /// Certainly not booked: it may be sent again under any id.
    NotApplied,
    /// It may have been booked: it must be asked again under the same id.
    Unknown,
}

/// Why something was not booked, or is not known to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What that means for its sender.
    pub class: Class,
    /// The router's code; without an answer, what happened instead.
    pub code: String,
}

impl Failure {
    /// A failure that no router has told.
    pub fn local(class: Class, what: &str) -> Self {
        Failure { class, code: what.to_owned() }
    }
}

/// How the transactions of one request ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    counts: [u64; 4],
    /// Those that were not booked, by code.
    errors: BTreeMap<String, u64>,
}

impl Answers {
    /// `count` transactions that were booked.
    pub fn done(count: usize) -> Self {
        let mut answers = Answers::default();
        answers.add_done(count as u64);
        answers
    }

    /// `count` transactions that failed alike.
    pub fn failed(failure: Failure, count: usize) -> Self {
        let mut answers = Answers::default();
        answers.add_failed(failure, count as u64);
        answers
    }

    /// Counts more that were booked.
    pub fn add_done(&mut self, count: u64) {
        self.counts[Class::Done as usize] += count;
    }

    /// Counts more that were not.
    pub fn add_failed(&mut self, failure: Failure, count: u64) {
        if count > 0 {
            self.counts[failure.class as usize] += count;
            *self.errors.entry(failure.code).or_default() += count;
        }
    }

    /// Takes in others.
    fn add(&mut self, other: &Answers) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
    }

    /// How many ended so.
    pub fn count(&self, class: Class) -> u64 {
        self.counts[class as usize]
    }

    /// The worst class present.
    pub fn worst(&self) -> Class {
        const FROM_BAD: [Class; 3] = [Class::Unknown, Class::NotApplied, Class::Rejected];
        FROM_BAD.into_iter().find(|class| self.count(*class) > 0).unwrap_or(Class::Done)
    }
}

/// Booked transfers of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Made {
    /// How many.
    pub transfers: u64,
    /// Their sum.
    pub cents: u64,
}

impl Made {
    fn add(&mut self, other: Made) {
        self.transfers += other.transfers;
        self.cents += other.cents;
    }
}

/// What was booked, by kind. Of a batch that was not booked whole it is not known which of it was: none is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Kinds {
    /// Between accounts of one set.
    pub within: Made,
    /// To accounts of another set.
    pub across: Made,
    /// To the payee beside the traffic's own accounts.
    pub into: Made,
    /// Of all these, those that were set aside first.
    pub held: Made,
}

impl Kinds {
    /// Counts one that was booked.
    pub fn count(&mut self, transfer: &Transfer) {
        let one = Made { transfers: 1, cents: transfer.cents.into() };
        match transfer.way {
            Way::Within => self.within.add(one),
            Way::Across => self.across.add(one),
            Way::Into => self.into.add(one),
        }
        if transfer.held {
            self.held.add(one);
        }
    }

    /// How many were booked.
    pub fn transfers(&self) -> u64 {
        self.within.transfers + self.across.transfers + self.into.transfers
    }

    fn add(&mut self, other: Kinds) {
        self.within.add(other.within);
        self.across.add(other.across);
        self.into.add(other.into);
        self.held.add(other.held);
    }
}

/// One request. Times are microseconds on the load's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// When it was sent.
    pub start_us: u64,
    /// When it was answered.
    pub end_us: u64,
    /// The set of its accounts.
    pub set: u32,
    /// Its end; the worst one, for a batch.
    pub class: Class,
}

/// What one connection saw.
pub struct Tally {
    histogram: Histogram<u64>,
    answers: Answers,
    kinds: Kinds,
    requests: u64,
    failed: u64,
    samples: Vec<Sample>,
    samples_max: usize,
    samples_dropped: u64,
}

/// Latencies above this are recorded as this, in microseconds.
const LATENCY_US_MAX: u64 = 600_000_000;

impl Tally {
    /// Keeps at most `samples_max` samples.
    pub fn new(samples_max: usize) -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are in order");
        Tally {
            histogram,
            answers: Answers::default(),
            kinds: Kinds::default(),
            requests: 0,
            failed: 0,
            samples: Vec::new(),
            samples_max,
            samples_dropped: 0,
        }
    }

    /// Takes in one request: what was asked for, and how its transactions ended.
    pub fn record(&mut self, sample: Sample, transfers: &[Transfer], answers: &Answers) {
        if sample.class == Class::Done {
            transfers.iter().for_each(|transfer| self.kinds.count(transfer));
        }
        self.histogram.saturating_record((sample.end_us - sample.start_us).max(1));
        self.requests += 1;
        self.failed += u64::from(sample.class != Class::Done);
        self.answers.add(answers);
        if self.samples.len() < self.samples_max {
            self.samples.push(sample);
        } else {
            self.samples_dropped += 1;
        }
    }

    /// Takes in what another connection saw.
    pub fn add(&mut self, other: Tally) {
        self.histogram.add(&other.histogram).expect("all histograms have the same bounds");
        self.requests += other.requests;
        self.failed += other.failed;
        self.answers.add(&other.answers);
        self.kinds.add(other.kinds);
        self.samples.extend(other.samples);
        self.samples_dropped += other.samples_dropped;
    }

    /// The report of a run that took `elapsed`.
    pub fn report(mut self, elapsed: Duration) -> LoadReport {
        self.samples.sort_unstable_by_key(|sample| sample.end_us);
        let seconds = elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        let transfers = self.answers.count(Class::Done);
        LoadReport {
            seconds,
            requests: self.requests,
            failed_requests: self.failed,
            requests_per_second: self.requests as f64 / seconds,
            transfers,
            transfers_per_second: transfers as f64 / seconds,
            rejected: self.answers.count(Class::Rejected),
            not_applied: self.answers.count(Class::NotApplied),
            unknown: self.answers.count(Class::Unknown),
            errors: self.answers.errors,
            kinds: self.kinds,
            latency: Latency::of(&self.histogram),
            samples: self.samples,
            samples_dropped: self.samples_dropped,
        }
    }
}

/// Latency of requests in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Half are faster.
    pub p50_us: u64,
    /// 90% are faster.
    pub p90_us: u64,
    /// 99% are faster.
    pub p99_us: u64,
    /// 99.9% are faster.
    pub p999_us: u64,
    /// The slowest.
    pub max_us: u64,
    /// The mean.
    pub mean_us: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        Latency {
            p50_us: histogram.value_at_quantile(0.50),
            p90_us: histogram.value_at_quantile(0.90),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
            mean_us: histogram.mean(),
        }
    }
}

/// What the clients of a run saw.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadReport {
    /// How long the run took.
    pub seconds: f64,
    /// Requests answered or given up.
    pub requests: u64,
    /// Requests of which not everything was booked.
    pub failed_requests: u64,
    /// Requests per second.
    pub requests_per_second: f64,
    /// Transactions booked.
    pub transfers: u64,
    /// Transactions booked per second.
    pub transfers_per_second: f64,
    /// Transactions that the ledger refused.
    pub rejected: u64,
    /// Transactions certainly not booked.
    pub not_applied: u64,
    /// Transactions whose end is not known.
    pub unknown: u64,
    /// Transactions that were not booked, or are not known to be, by error code.
    pub errors: BTreeMap<String, u64>,
    /// What was booked, by kind.
    pub kinds: Kinds,
    /// Of requests.
    pub latency: Latency,
    /// In the order of their ends.
    #[serde(skip)]
    pub samples: Vec<Sample>,
    /// Samples that did not fit.
    #[serde(skip)]
    pub samples_dropped: u64,
}

impl LoadReport {
    /// The commonest error code and how many transactions ended with it; of two as common, the first by name.
    pub fn commonest_error(&self) -> Option<(&str, u64)> {
        let by_count = |(code, count): (&String, &u64)| (*count, std::cmp::Reverse(code.clone()));
        let (code, count) = self.errors.iter().max_by_key(|&error| by_count(error))?;
        Some((code, *count))
    }

    /// The longest time within the window in which no request of `set` succeeded. The window's own ends count as
    /// successes, so that a set that never came back shows a pause up to the end of the window.
    pub fn pause(&self, set: u32, from_us: u64, to_us: u64) -> Duration {
        let ends = self
            .samples
            .iter()
            .filter(|sample| sample.set == set && sample.class == Class::Done)
            .map(|sample| sample.end_us)
            .filter(|end| (from_us..=to_us).contains(end));
        let mut longest = 0;
        let mut last = from_us;
        for end in ends.chain([to_us]) {
            longest = longest.max(end.saturating_sub(last));
            last = end;
        }
        Duration::from_micros(longest)
    }

    /// The slowest request that ended within the window.
    pub fn slowest(&self, from_us: u64, to_us: u64) -> Duration {
        let within = self.samples.iter().filter(|sample| (from_us..=to_us).contains(&sample.end_us));
        Duration::from_micros(within.map(|sample| sample.end_us - sample.start_us).max().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(start_ms: u64, end_ms: u64, set: u32, class: Class) -> Sample {
        Sample { start_us: start_ms * 1000, end_us: end_ms * 1000, set, class }
    }

    fn report(samples: &[Sample]) -> LoadReport {
        let mut tally = Tally::new(100);
        for sample in samples {
            tally.record(*sample, &[], &answers(sample.class));
        }
        tally.report(Duration::from_secs(2))
    }

    fn answers(class: Class) -> Answers {
        match class {
            Class::Done => Answers::done(1),
            class => Answers::failed(Failure::local(class, "code"), 1),
        }
    }

    #[test]
    fn the_commonest_error_is_named() {
        let mut tally = Tally::new(0);
        for code in ["no_leader", "no_answer", "no_leader"] {
            let answers = Answers::failed(Failure::local(Class::NotApplied, code), 2);
            tally.record(sample(0, 1, 1, answers.worst()), &[], &answers);
        }
        let report = tally.report(Duration::from_secs(1));
        assert_eq!(report.commonest_error(), Some(("no_leader", 4)));
        assert_eq!(Tally::new(0).report(Duration::from_secs(1)).commonest_error(), None);
    }

    #[test]
    fn the_pause_is_the_longest_gap_between_successes_of_the_set() {
        let done = |end, set| sample(end - 1, end, set, Class::Done);
        let failed = sample(40, 50, 1, Class::Unknown);
        let report = report(&[done(10, 1), done(20, 1), failed, done(45, 2), done(80, 1), done(90, 1)]);
        assert_eq!(report.pause(1, 10_000, 90_000), Duration::from_millis(60));
        assert_eq!(report.pause(1, 80_000, 90_000), Duration::from_millis(10));
        assert_eq!(report.pause(1, 80_000, 500_000), Duration::from_millis(410));
        assert_eq!(report.pause(3, 0, 1_000), Duration::from_millis(1));
    }

    #[test]
    fn failures_are_counted_by_class_and_only_bookings_are_transfers() {
        let report = report(&[
            sample(0, 1, 1, Class::Done),
            sample(0, 2, 1, Class::Rejected),
            sample(0, 3, 1, Class::NotApplied),
            sample(0, 4, 1, Class::Unknown),
        ]);
        assert_eq!((report.requests, report.failed_requests, report.transfers), (4, 3, 1));
        assert_eq!((report.rejected, report.not_applied, report.unknown), (1, 1, 1));
        assert_eq!(report.requests_per_second, 2.0);
    }

    #[test]
    fn what_was_booked_is_counted_by_kind() {
        let transfer =
            |cents, held, way| Transfer { debit: "a".into(), credit: "b".into(), cents, held, way };
        let booked = [
            transfer(5, false, Way::Within),
            transfer(7, true, Way::Across),
            transfer(11, true, Way::Into),
            transfer(13, false, Way::Into),
        ];
        let mut tally = Tally::new(0);
        for transfer in booked {
            tally.record(sample(0, 1, 1, Class::Done), &[transfer], &Answers::done(1));
        }
        let mut other = Tally::new(0);
        let (lost, unsure) = (transfer(17, true, Way::Within), transfer(19, false, Way::Within));
        other.record(sample(0, 1, 1, Class::Rejected), &[lost, unsure], &answers(Class::Rejected));
        other.record(sample(0, 1, 1, Class::Done), &[transfer(23, false, Way::Within)], &Answers::done(1));
        tally.add(other);
        let kinds = tally.report(Duration::from_secs(1)).kinds;
        let made = |transfers, cents| Made { transfers, cents };
        let expected =
            Kinds { within: made(2, 28), across: made(1, 7), into: made(2, 24), held: made(2, 18) };
        assert_eq!((kinds, kinds.transfers()), (expected, 5));
    }

    #[test]
    fn percentiles_come_within_a_thousandth() {
        let samples: Vec<Sample> = (1..=1000).map(|ms| sample(0, ms, 1, Class::Done)).collect();
        let mut tally = Tally::new(10);
        for sample in samples {
            tally.record(sample, &[], &Answers::done(1));
        }
        let report = tally.report(Duration::from_secs(1));
        let near = |got: u64, ms: u64| got.abs_diff(ms * 1000) <= ms;
        assert!(near(report.latency.p50_us, 500) && near(report.latency.p99_us, 990), "{:?}", report.latency);
        assert!(near(report.latency.max_us, 1000));
        assert_eq!((report.samples.len(), report.samples_dropped), (10, 990));
    }

    #[test]
    fn the_worst_answer_of_a_batch_counts_for_the_request() {
        let mut answers = Answers::done(5);
        assert_eq!(answers.worst(), Class::Done);
        answers.add_failed(Failure::local(Class::Rejected, "x"), 1);
        answers.add_failed(Failure::local(Class::Unknown, "y"), 1);
        assert_eq!(answers.worst(), Class::Unknown);
    }
}
