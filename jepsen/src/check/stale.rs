//! Stale reads: that each is a whole state of the past is the replay's finding; here, that it is not older than it says.
//! Pure.

use std::collections::HashMap;

use super::{Case, Found};
use crate::history::Level;
use crate::nemesis::Fault;

/// Milliseconds are cut off, not rounded.
const CUT_NS: u64 = 1_000_000;

/// When something was answered, and the furthest spot (index, time) of the set that anyone had been told of by then.
type Told = (u64, (u64, u64));

/// Whatever was answered before the age that a read names is in it.
pub fn check(case: &Case<'_>) -> Found {
    let mut found = case.replay.stale.clone();
    let mut told: HashMap<u32, Vec<Told>> = HashMap::new();
    for (set, log) in &case.witness.sets {
        let mut ends: Vec<_> = log
            .iter()
            .filter(|decided| decided.end_ns != u64::MAX)
            .map(|decided| (decided.end_ns, (decided.place.index, decided.place.time_ns)))
            .collect();
        ends.sort_unstable();
        let mut furthest = (0, 0);
        for (_, spot) in &mut ends {
            furthest = furthest.max(*spot);
            *spot = furthest;
        }
        told.insert(*set, ends);
    }
    let allowance_ns = clock_steps_ns(case);
    for (number, op) in case.history.ops.iter().enumerate() {
        if op.ask.read_level() != Some(Level::Stale) {
            continue;
        }
        let Some(as_of) = op.answer.as_of() else { continue };
        found.checked += 1;
        let age_ns = as_of.age_ms.saturating_mul(1_000_000).saturating_add(CUT_NS + allowance_ns);
        let Some(since) = op.begin_ns.checked_sub(age_ns) else { continue };
        let Some(ends) = told.get(&as_of.place.set) else { continue };
        let before = ends.partition_point(|(end, _)| *end < since);
        let due = before.checked_sub(1).map(|last| ends[last].1);
        let spot = (as_of.place.index, as_of.place.time_ns);
        if due.is_some_and(|due| spot < due) {
            found.wrong(|| {
                format!(
                    "operation {number} says that it is {} ms old, but lacks {due:?}: {op:?}",
                    as_of.age_ms
                )
            });
        }
    }
    found
}

/// How far clocks were put wrong: an age may rest on the stamp of the last command.
fn clock_steps_ns(case: &Case<'_>) -> u64 {
    let steps = case.history.faults.iter().map(|span| clock_step_ns(&span.fault));
    steps.max().unwrap_or(0)
}

fn clock_step_ns(fault: &Fault) -> u64 {
    match fault {
        Fault::ClockStep { by_ms, .. } => by_ms.unsigned_abs().saturating_mul(1_000_000),
        Fault::Amid { around, .. } => clock_step_ns(around),
        _ => 0,
    }
}
