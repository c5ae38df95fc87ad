//! What routers count of the calls that book something: how they ended, and how long they took. What was between two looks is the
//! difference; times are bounds of the routers' histograms. Pure but for the asking.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Uri};

use crate::drill::moment::Payments;
use crate::http1;

const ENDED: &str = "twinset_router_calls_total{";
const TOOK: &str = "twinset_router_call_seconds_bucket{";
/// Calls that book nothing.
const OTHERS: [&str; 3] = ["call=\"read\"", "call=\"define\"", "call=\"dry_run\""];
/// Ends that say nothing of the ledger: the call failed.
const FAILED: [&str; 2] = ["end=\"not_applied\"", "end=\"unknown\""];
/// What is told of calls that took longer than the last bound.
const BEYOND_US: u64 = 60_000_000;

/// Calls, since a router began or between two looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    ended: u64,
    failed: u64,
    /// How many took at most so many microseconds.
    within_us: BTreeMap<u64, u64>,
}

impl Counts {
    /// From a router's metrics.
    pub fn parse(text: &str) -> Counts {
        let mut counts = Counts::default();
        let booking = |line: &&str| !OTHERS.iter().any(|other| line.contains(other));
        for line in text.lines().filter(booking) {
            let Some((_, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.parse::<u64>() else { continue };
            if line.starts_with(ENDED) {
                counts.ended += value;
                counts.failed += if FAILED.iter().any(|end| line.contains(end)) { value } else { 0 };
            } else if line.starts_with(TOOK)
                && let Some(bound) = bound_us(line)
            {
                *counts.within_us.entry(bound).or_default() += value;
            }
        }
        counts
    }

    /// Both together.
    pub fn add(&mut self, other: &Counts) {
        self.ended += other.ended;
        self.failed += other.failed;
        for (bound, count) in &other.within_us {
            *self.within_us.entry(*bound).or_default() += count;
        }
    }

    /// What came since an earlier look; of a router that has been started again since, all there is.
    pub fn since(&self, before: &Counts) -> Counts {
        if self.ended < before.ended {
            return self.clone();
        }
        let earlier = |bound: &u64| before.within_us.get(bound).copied().unwrap_or_default();
        let within =
            self.within_us.iter().map(|(bound, count)| (*bound, count.saturating_sub(earlier(bound))));
        Counts {
            ended: self.ended - before.ended,
            failed: self.failed.saturating_sub(before.failed),
            within_us: within.collect(),
        }
    }

    /// As a report has them.
    pub fn payments(&self) -> Payments {
        let all = self.within_us.values().max().copied().unwrap_or_default();
        let rank = |share: f64| {
            let wanted = ((all as f64 * share).ceil() as u64).max(1);
            let bound = self.within_us.iter().find(|(_, count)| **count >= wanted);
            bound.map_or(0.0, |(bound, _)| (*bound).min(BEYOND_US) as f64 / 1e3)
        };
        Payments {
            ended: self.ended,
            failed: self.failed,
            p50_ms: rank(0.5),
            p99_ms: rank(0.99),
            p999_ms: rank(0.999),
            max_ms: rank(1.0),
        }
    }
}

fn bound_us(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("le=\"")?;
    match rest.split_once('"')?.0 {
        "+Inf" => Some(u64::MAX),
        text => Some((text.parse::<f64>().ok()? * 1e6).round() as u64),
    }
}

/// Asks a router for all that it counts; none if it does not answer.
pub async fn ask(addr: &str, patience: Duration) -> Option<Counts> {
    let mut connection = http1::Connection::open(addr, patience).await.ok()?;
    let request = http1::request(Method::GET, addr, &Uri::from_static("/metrics"), Bytes::new());
    let (status, body) = connection.call(request, patience).await.ok()?;
    let text = std::str::from_utf8(&body).ok().filter(|_| status.is_success())?;
    Some(Counts::parse(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP twinset_router_calls_total Calls by how they ended
twinset_router_calls_total{call=\"transaction\",end=\"ok\",protocol=\"http\"} 90
twinset_router_calls_total{call=\"batch\",end=\"rejected\",protocol=\"grpc\"} 6
twinset_router_calls_total{call=\"transaction\",end=\"unknown\",protocol=\"http\"} 3
twinset_router_calls_total{call=\"hold\",end=\"not_applied\",protocol=\"http\"} 1
twinset_router_calls_total{call=\"read\",end=\"not_applied\",protocol=\"http\"} 77
twinset_router_call_seconds_bucket{call=\"transaction\",le=\"0.001\"} 40
twinset_router_call_seconds_bucket{call=\"transaction\",le=\"0.5\"} 92
twinset_router_call_seconds_bucket{call=\"transaction\",le=\"+Inf\"} 93
twinset_router_call_seconds_bucket{call=\"batch\",le=\"0.001\"} 0
twinset_router_call_seconds_bucket{call=\"batch\",le=\"0.5\"} 7
twinset_router_call_seconds_bucket{call=\"batch\",le=\"+Inf\"} 7
twinset_router_call_seconds_bucket{call=\"read\",le=\"+Inf\"} 77
twinset_router_call_seconds_sum{call=\"transaction\"} 3.5
";

    #[test]
    fn calls_that_book_are_counted_and_ranked_by_the_routers_bounds() {
        let counts = Counts::parse(TEXT);
        let found = counts.payments();
        assert_eq!((found.ended, found.failed), (100, 4));
        assert_eq!((found.p50_ms, found.p99_ms, found.p999_ms), (500.0, 500.0, 60_000.0));
        assert_eq!(Counts::default().payments(), Payments::default());
    }

    #[test]
    fn between_two_looks_is_the_difference_and_a_new_process_begins_anew() {
        let before = Counts::parse(TEXT);
        assert_eq!(before.since(&before).payments(), Payments::default());
        let mut later = before.clone();
        later.add(&before);
        assert_eq!(later.since(&before), before);
        assert_eq!(before.since(&later), before, "it counts from zero again");
    }
}
