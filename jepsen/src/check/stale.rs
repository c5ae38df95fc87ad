//! Stale reads: that each is a whole state of the past is the replay's finding; here, that it is not older than it says.
//! Pure.

use std::collections::HashMap;

use super::{Case, Found};
use crate::history::{History, Level, Op};
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
    let clocks = Clocks::of(case.history);
    for (number, op) in case.history.ops.iter().enumerate() {
        if op.ask.read_level() != Some(Level::Stale) {
            continue;
        }
        let Some(as_of) = op.answer.as_of() else { continue };
        let allowance_ns = CUT_NS + clocks.allowance_ns(op);
        let age_ns = as_of.age_ms.saturating_mul(1_000_000).saturating_add(allowance_ns);
        let Some(since) = op.begin_ns.checked_sub(age_ns) else { continue };
        found.checked += 1;
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

/// Where an age may rest on the stamp of the last command, which is the clock of whoever led then: in a replica that has not
/// heard a leader since its process began.
struct Clocks {
    /// When a clock was first put wrong by so much or more: begins and sizes, both rising. Stamps never go back, so that it matters
    /// from then on.
    steps: Vec<(u64, u64)>,
    /// From when until when a process may be as young as that.
    young: Vec<(u64, u64)>,
}

impl Clocks {
    fn of(history: &History) -> Self {
        let mut steps: Vec<(u64, u64)> = Vec::new();
        for span in &history.faults {
            let size = clock_step_ns(&span.fault);
            if size > steps.last().map_or(0, |(_, known)| *known) {
                steps.push((span.begin_ns, size));
            }
        }
        let ending = history.faults.iter().filter(|span| span.fault.ends_processes());
        let young = ending.map(|span| (span.begin_ns, span.end_ns.unwrap_or(u64::MAX))).collect();
        Clocks { steps, young }
    }

    fn allowance_ns(&self, read: &Op) -> u64 {
        let end_ns = read.end_ns.unwrap_or(u64::MAX);
        let may_be_young = self.young.iter().any(|(from, to)| *from <= end_ns && read.begin_ns <= *to);
        let wrong_by = self.steps.iter().rev().find(|(begin, _)| *begin <= end_ns);
        wrong_by.filter(|_| may_be_young).map_or(0, |(_, size)| *size)
    }
}

fn clock_step_ns(fault: &Fault) -> u64 {
    match fault {
        Fault::ClockStep { by_ms, .. } => by_ms.unsigned_abs().saturating_mul(1_000_000),
        Fault::Amid { around, .. } => clock_step_ns(around),
        _ => 0,
    }
}
