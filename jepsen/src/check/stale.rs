//! Stale reads: that each is a whole state of the past is the replay's finding; here, that it is not older than it says.
//! Pure.

use std::collections::HashMap;

use super::{Case, Found};
use crate::history::{FaultSpan, History, Level, Op};
use crate::nemesis::Fault;

/// Milliseconds are cut off, not rounded.
const CUT_NS: u64 = 1_000_000;

/// In so long a time without faults a new process hears its leader, which it then follows or asks readers to wait for.
const CALM_NS: u64 = 1_000_000_000;

/// A leader's word is not longer on its way than this: its lane breaks before.
const WAY_NS: u64 = 10_000_000_000;

/// Of so many stale reads that no wrong clock excuses, at least one in [`SHARE`] is younger than what was done first.
const MANY: u64 = 100;
/// See [`MANY`].
const SHARE: u64 = 4;

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
    let (mut answered, mut judged) = (0, 0);
    for (number, op) in case.history.ops.iter().enumerate() {
        if op.ask.read_level() != Some(Level::Stale) {
            continue;
        }
        let clock_ns = clocks.stamped_ns(op).max(clocks.heard_ns(op));
        for as_of in op.answer.each_as_of() {
            answered += u64::from(clock_ns == 0);
            let allowance_ns = CUT_NS + clock_ns;
            let age_ns = as_of.age_ms.saturating_mul(1_000_000).saturating_add(allowance_ns);
            let Some(since) = op.begin_ns.checked_sub(age_ns) else { continue };
            let Some(ends) = told.get(&as_of.place.set) else { continue };
            let before = ends.partition_point(|(end, _)| *end < since);
            let Some(due) = before.checked_sub(1).map(|last| ends[last].1) else { continue };
            found.checked += 1;
            judged += u64::from(clock_ns == 0);
            if (as_of.place.index, as_of.place.time_ns) < due {
                found.wrong(|| {
                    let age_ms = as_of.age_ms;
                    format!("operation {number} says that it is {age_ms} ms old, but lacks {due:?}: {op:?}")
                });
            }
        }
    }
    if answered >= MANY && judged * SHARE < answered {
        found.missing(|| {
            format!(
                "of {answered} stale reads only {judged} say that they are younger than what was done first"
            )
        });
    }
    found
}

/// Where an age may be wrong because a clock is. It may rest on the stamp of the last command, which is the clock of whoever
/// led then: in a replica that no leader has spoken to since its process began. And how long the leader's word was on its way
/// is the difference of two clocks.
struct Clocks {
    /// When a clock was first put wrong by so much or more: begins and sizes, both rising. Stamps never go back, so that it matters
    /// from then on.
    steps: Vec<(u64, u64)>,
    /// From when until when a process may be as young as that.
    young: Vec<(u64, u64)>,
    /// From when until when a clock is wrong, or a word may be the newest that was sent while it was; and by how much.
    wrong: Vec<(u64, u64, u64)>,
}

impl Clocks {
    fn of(history: &History) -> Self {
        let end = |span: &FaultSpan| span.end_ns.unwrap_or(u64::MAX);
        let (mut steps, mut wrong): (Vec<(u64, u64)>, Vec<_>) = (Vec::new(), Vec::new());
        for span in &history.faults {
            let size = clock_step_ns(&span.fault);
            if size > 0 {
                wrong.push((span.begin_ns, until_calm(history, end(span)), size));
            }
            if size > steps.last().map_or(0, |(_, known)| *known) {
                steps.push((span.begin_ns, size));
            }
        }
        let ending = history.faults.iter().filter(|span| span.fault.ends_processes());
        let young = ending.map(|span| (span.begin_ns, until_calm(history, end(span)))).collect();
        Clocks { steps, young, wrong }
    }

    /// By how much the stamps may be wrong that the age of this read may rest on.
    fn stamped_ns(&self, read: &Op) -> u64 {
        if !self.young.iter().any(|(from, to)| meets(read, *from, *to)) {
            return 0;
        }
        let end_ns = read.end_ns.unwrap_or(u64::MAX);
        self.steps.iter().rev().find(|(begin, _)| *begin <= end_ns).map_or(0, |(_, size)| *size)
    }

    /// How much of the way of a leader's word may be hidden from this read.
    fn heard_ns(&self, read: &Op) -> u64 {
        let wrong = self.wrong.iter().filter(|(from, to, _)| meets(read, *from, *to));
        wrong.map(|(.., size)| (*size).min(WAY_NS)).max().unwrap_or(0)
    }
}

fn meets(read: &Op, from: u64, to: u64) -> bool {
    from <= read.end_ns.unwrap_or(u64::MAX) && read.begin_ns <= to
}

/// The end of a fault, or of the one after it that came before a new process could catch up with its leader, and so on.
fn until_calm(history: &History, mut end_ns: u64) -> u64 {
    for span in &history.faults {
        if span.begin_ns <= end_ns.saturating_add(CALM_NS) {
            end_ns = end_ns.max(span.end_ns.unwrap_or(u64::MAX));
        }
    }
    end_ns
}

fn clock_step_ns(fault: &Fault) -> u64 {
    match fault {
        Fault::ClockStep { by_ms, .. } => by_ms.unsigned_abs().saturating_mul(1_000_000),
        Fault::Amid { around, .. } => clock_step_ns(around),
        _ => 0,
    }
}
