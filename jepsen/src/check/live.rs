//! Liveness: while no fault is in force that takes a quorum or a site every set serves without a gap, and after the last fault
//! every set serves soon, and quickly. What serves is a definite answer to a new write, and one to a linearizable read: a
//! set that does only one of the two does not serve. Pure.

use super::fits::owner_of_read;
use super::{Case, Found};
use crate::history::records::{Change, Recorded};
use crate::history::{FaultSpan, Level, Op, Phase};
use crate::nemesis::Fault;
use crate::nemesis::silence::Ways;

const SECOND: u64 = 1_000_000_000;
/// No set is silent for longer while no fault is in force that may silence it: an election and what follows it, on a busy machine.
/// Times in which such faults were in force are taken out of a silence, not what comes after them: a set that recovers
/// from none of them is silent for their sum.
const GAP_NS: u64 = 10 * SECOND;
/// Every set serves so soon after the last fault.
const HEALED_NS: u64 = 20 * SECOND;
/// Traffic that ends sooner after the last fault shows nothing of that.
const SHOWN_NS: u64 = 2 * SECOND;
/// Reads that are asked for less often than this, all the traffic over, show nothing by their gaps. Who waits for an answer in
/// vain asks less often, but not as seldom as that.
const REGULAR_NS: u64 = 2 * SECOND;

/// After the last fault, and this much time to find the leaders again, of a hundred answers 99 come within [`SOON_NS`].
const FOUND_NS: u64 = SECOND;
/// See [`FOUND_NS`]. Clients wait for five seconds: what takes longer has an open end.
const SOON_NS: u64 = 2 * SECOND;
/// At most one of so many calls has no definite answer by then: some clients hang up by themselves.
const OPEN_OF: usize = 8;
/// Fewer calls after the last fault show nothing of that.
const CALLS_LEAST: usize = 100;

/// How calls fare after the last fault.
fn healed_calls(case: &Case<'_>, from: u64, to: u64, found: &mut Found) {
    let calls = case.history.ops.iter().filter(|op| (from..=to).contains(&op.begin_ns));
    let (mut took, mut open) = (Vec::new(), 0);
    for op in calls {
        match (op.end_ns, &op.answer) {
            (Some(end), answer) if !answer.is_open() && !answer.will_pass() => took.push(end - op.begin_ns),
            _ => open += 1,
        }
    }
    let all = took.len() + open;
    found.checked += all as u64;
    if all < CALLS_LEAST {
        return;
    }
    if open * OPEN_OF > all {
        found.wrong(|| format!("{open} of {all} calls after the last fault got no definite answer"));
    }
    took.sort_unstable();
    if let Some(p99) = took.get(took.len() * 99 / 100).filter(|p99| **p99 > SOON_NS) {
        found.wrong(|| {
            format!("after the last fault only 99 of 100 answers came within {} ms", p99 / 1_000_000)
        });
    }
}

/// Gaps of each set.
pub fn check(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    let history = case.history;
    let (Some(from), Some(to)) = (history.phase(Phase::Traffic), history.phase(Phase::Resolve)) else {
        found.missing(|| "the history does not say when the traffic flowed".into());
        return found;
    };
    let healed = history.phase(Phase::Healed);
    if !history.meta.nemeses.is_empty() && healed.is_none_or(|healed| healed + SHOWN_NS > to) {
        found.missing(|| "the traffic did not go on after the last fault".into());
    }
    if let Some(healed) = healed {
        healed_calls(case, healed + FOUND_NS, to, &mut found);
    }
    for set in &history.meta.sets {
        let excuses = excuses(case, *set);
        for (what, serves) in [("write", wrote as fn(&Op) -> Option<u32>), ("read", read)] {
            let mut served: Vec<u64> = history
                .ops
                .iter()
                .filter(|op| serves(op) == Some(*set))
                .filter_map(|op| op.end_ns)
                .filter(|end| (from..=to).contains(end))
                .collect();
            served.sort_unstable();
            found.checked += served.len() as u64;
            // Writes are asked for in every run; whether reads are hangs on the workloads.
            if what == "read" && reads_asked(case, *set, (from, to)) < (to - from) / REGULAR_NS {
                continue;
            }
            let first =
                healed.and_then(|healed| served.iter().find(|end| **end >= healed).map(|end| end - healed));
            if let Some(healed) = healed.filter(|healed| healed + SHOWN_NS <= to)
                && first.is_none_or(|after| after > HEALED_NS)
            {
                let ms = HEALED_NS.min(to - healed) / 1_000_000;
                found.wrong(|| format!("set {set} did not {what} within {ms} ms after the last fault"));
            }
            gaps((from, to), served, &excuses, &mut found, &|gap, at, excused| {
                format!(
                    "set {set} did not {what} for {gap} ms from {at} ms on, of which faults excuse {excused} ms"
                )
            });
        }
    }
    found
}

/// Silences that are too long; `words` tells of one: how long, since when, and how much of it faults excuse.
fn gaps(
    (from, to): (u64, u64),
    mut served: Vec<u64>,
    excuses: &[(u64, u64)],
    found: &mut Found,
    words: &dyn Fn(u64, u64, u64) -> String,
) {
    served.insert(0, from);
    served.push(to);
    for pair in served.windows(2) {
        let gap = pair[1] - pair[0];
        if gap <= GAP_NS {
            continue;
        }
        let excused = excused_ns(excuses, pair[0], pair[1]);
        if gap - excused > GAP_NS {
            let ms = |ns: u64| ns / 1_000_000;
            found.wrong(|| words(ms(gap), ms(pair[0]), ms(excused)));
        }
    }
}

/// The set that has decided a new write.
fn wrote(op: &Op) -> Option<u32> {
    let (place, replayed) = op.answer.decided().filter(|_| op.ask.is_write())?;
    (!replayed).then_some(place.set)
}

/// The set that has answered a linearizable read.
fn read(op: &Op) -> Option<u32> {
    let as_of = op.answer.as_of().filter(|_| op.ask.read_level() == Some(Level::Linearizable))?;
    Some(as_of.place.set)
}

/// How many linearizable reads of a set were asked for.
fn reads_asked(case: &Case<'_>, set: u32, (from, to): (u64, u64)) -> u64 {
    let wanted = |op: &&Op| {
        (from..=to).contains(&op.begin_ns)
            && op.ask.read_level() == Some(Level::Linearizable)
            && owner_of_read(case.history, &op.ask) == Some(set)
    };
    case.history.ops.iter().filter(wanted).count() as u64
}

/// When faults were in force that may silence a set, in the order of their begins. One that was never undone: until the end.
fn excuses(case: &Case<'_>, set: u32) -> Vec<(u64, u64)> {
    let meta = &case.history.meta;
    let replicas = meta.replicas.get(&set).map(Vec::as_slice).unwrap_or_default();
    let ways = Ways { replicas, routers: &meta.routers, sites: &meta.sites };
    let mut spans: Vec<(u64, u64)> = case
        .history
        .faults
        .iter()
        .filter(|span| span.fault.may_silence(&ways))
        .map(|span| (span.begin_ns, until(case, set, span)))
        .collect();
    spans.sort_unstable();
    spans
}

/// Until when a fault may silence a set. A site that is lost is missed only until it is on record that the set goes on without it.
fn until(case: &Case<'_>, set: u32, span: &FaultSpan) -> u64 {
    let undone_ns = span.undone_ns.or(span.end_ns).unwrap_or(u64::MAX);
    if !matches!(span.fault, Fault::SiteLoss { .. }) {
        return undone_ns;
    }
    let goes_on = |record: &&Recorded| {
        record.set == set
            && record.seen_ns >= span.begin_ns
            && matches!(record.change, Change::Degraded | Change::Recovered)
    };
    let first = case.history.records.iter().find(goes_on);
    first.map_or(undone_ns, |record| record.seen_ns.min(undone_ns))
}

/// How much of an interval lies within these spans.
fn excused_ns(spans: &[(u64, u64)], from: u64, to: u64) -> u64 {
    let (mut excused, mut reached) = (0, from);
    for (begin, end) in spans {
        let (begin, end) = ((*begin).max(reached), (*end).min(to));
        if begin < end {
            excused += end - begin;
            reached = end;
        }
    }
    excused
}
