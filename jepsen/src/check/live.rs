//! Liveness: outside faults every set serves without a gap, and after the last fault every set serves soon. What serves is a
//! definite answer to a new write or a linearizable read. Pure.

use super::{Case, Found};
use crate::history::{Level, Phase};

const SECOND: u64 = 1_000_000_000;
/// No set is silent for longer, outside faults: an election and what follows it, on a busy machine.
pub const GAP_NS: u64 = 10 * SECOND;
/// How long after a fault is undone its effects may be felt.
pub const ALLOWANCE_NS: u64 = 10 * SECOND;
/// Every set serves so soon after the last fault.
pub const HEALED_NS: u64 = 20 * SECOND;
/// Traffic that ends sooner after the last fault shows nothing of that.
const SHOWN_NS: u64 = 2 * SECOND;

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

/// How much of an interval lies within faults and their allowance.
fn excused_ns(case: &Case<'_>, from: u64, to: u64) -> u64 {
    let mut spans: Vec<(u64, u64)> = case
        .history
        .faults
        .iter()
        .map(|span| (span.begin_ns, span.end_ns.map_or(u64::MAX, |end| end.saturating_add(ALLOWANCE_NS))))
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
