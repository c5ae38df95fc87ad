//! Liveness: while no fault is in force that takes a quorum or a site every set serves without a gap, and after the last fault every set serves soon, and
//! quickly. What serves is a definite answer to a new write or a linearizable read. Pure.

use super::{Case, Found};
use crate::history::{Level, Phase};

const SECOND: u64 = 1_000_000_000;
/// No set is silent for longer while no fault is in force that may silence it: an election and what follows it, on a busy machine.
/// Times in which such faults were in force are taken out of a silence, not what comes after them: a set that recovers
/// from none of them is silent for their sum.
pub const GAP_NS: u64 = 10 * SECOND;
/// Every set serves so soon after the last fault.
pub const HEALED_NS: u64 = 20 * SECOND;
/// Traffic that ends sooner after the last fault shows nothing of that.
const SHOWN_NS: u64 = 2 * SECOND;

/// After the last fault, and this much time to find the leaders again, of a hundred answers 99 come within [`SOON_NS`], and at
/// least three of four calls get a definite one: some clients hang up by themselves.
const FOUND_NS: u64 = SECOND;
/// See [`FOUND_NS`].
pub const SOON_NS: u64 = 5 * SECOND;
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
    if open * 4 > all {
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
        let mut served: Vec<u64> = history
            .ops
            .iter()
            .filter(|op| serves(op, *set))
            .filter_map(|op| op.end_ns)
            .filter(|end| (from..=to).contains(end))
            .collect();
        served.sort_unstable();
        found.checked += served.len() as u64;
        let first =
            healed.and_then(|healed| served.iter().find(|end| **end >= healed).map(|end| end - healed));
        if healed.is_some_and(|healed| healed + SHOWN_NS <= to) && first.is_none_or(|after| after > HEALED_NS)
        {
            found.wrong(|| {
                format!("set {set} did not serve within {} s of the last fault", HEALED_NS / SECOND)
            });
        }
        served.insert(0, from);
        served.push(to);
        for pair in served.windows(2) {
            let excused = excused_ns(case, pair[0], pair[1]);
            if pair[1] - pair[0] - excused > GAP_NS {
                let ms = |ns: u64| ns / 1_000_000;
                found.wrong(|| {
                    format!(
                        "set {set} did not serve for {} ms from {} ms on, of which faults excuse {} ms",
                        ms(pair[1] - pair[0]),
                        ms(pair[0]),
                        ms(excused)
                    )
                });
            }
        }
    }
    found
}

fn serves(op: &crate::history::Op, set: u32) -> bool {
    let place = match (op.answer.decided(), op.answer.as_of()) {
        (Some((place, false)), _) => place,
        (_, Some(as_of)) if op.ask.read_level() == Some(Level::Linearizable) => as_of.place,
        _ => return false,
    };
    place.set == set
}

/// How much of an interval lies within faults that may silence a set. Of one that was never undone: all that follows.
fn excused_ns(case: &Case<'_>, from: u64, to: u64) -> u64 {
    let mut spans: Vec<(u64, u64)> = case
        .history
        .faults
        .iter()
        .filter(|span| span.fault.may_silence())
        .map(|span| (span.begin_ns, span.undone_ns.or(span.end_ns).unwrap_or(u64::MAX)))
        .collect();
    spans.sort_unstable();
    let (mut excused, mut reached) = (0, from);
    for (begin, end) in spans {
        let (begin, end) = (begin.max(reached), end.min(to));
        if begin < end {
            excused += end - begin;
            reached = end;
        }
    }
    excused
}
