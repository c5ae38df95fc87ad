//! In SYNC nothing is answered that only one site has on disk: while one site cannot tell the other what it has, whatever was
//! asked after that waits. It takes nothing from positions: the faults and their times are enough. Pure.

use super::witness::calls;
use super::{Case, Found};
use crate::history::{FaultSpan, Level, Op};

/// Answers from within the times in which the sites were apart. Every set of a history is in SYNC from begin to end.
pub fn check(case: &Case<'_>) -> Found {
    let history = case.history;
    let mut found = Found::default();
    let mut apart: Vec<(u64, u64)> = Vec::new();
    for span in history.faults.iter().filter(|span| span.fault.parts_sites(&history.meta.nodes)) {
        match in_force(span) {
            Some(window) => apart.push(window),
            None => found.missing(|| format!("when {:?} was in force is not in the history", span.fault)),
        }
    }
    apart.sort_unstable();
    let within = |op: &Op| {
        let at = apart.partition_point(|(from, _)| *from < op.begin_ns);
        let (_, to) = *apart.get(at.checked_sub(1)?)?;
        (op.begin_ns < to).then(|| op.end_ns.is_some_and(|end| end < to))
    };
    let writes = calls(history).map(|call| (call.at.op, call.op, call.answer.decided().is_some()));
    let reads =
        history.ops.iter().zip(0..).filter(|(op, _)| op.ask.read_level() == Some(Level::Linearizable));
    let reads = reads.map(|(op, number)| (number, op, op.answer.as_of().is_some()));
    for (number, op, answered) in writes.chain(reads) {
        let Some(ended) = within(op) else { continue };
        found.checked += 1;
        if answered && ended {
            found.wrong(|| {
                format!(
                    "operation {number} began at {} ms, when the sites were apart, and was answered before they met: {:?}: {:?}",
                    op.begin_ns / 1_000_000,
                    op.ask,
                    op.answer
                )
            });
        }
    }
    found
}

/// From when until when all of a fault was in force at least. None, if it broke off or nobody noted it.
fn in_force(span: &FaultSpan) -> Option<(u64, u64)> {
    let lasts = u64::try_from(span.fault.lasts().as_nanos()).ok()?;
    span.acts_ns.map(|from| (from, from + lasts))
}
