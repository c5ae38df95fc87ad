//! In SYNC nothing is answered that only one site has on disk: while one site cannot tell the other what it has, whatever was
//! asked after that waits, and no stale read at a site that hears nothing of the other shows it. Routers stand in the sites of their
//! numbers. Pure.

use std::collections::{BTreeMap, HashMap};

use super::witness::asked;
use super::{Case, Found};
use crate::history::{FaultSpan, Level, Op, Place};

/// Answers from within the times in which the sites were apart. Every set of a history is in SYNC from begin to end.
pub fn check(case: &Case<'_>) -> Found {
    let history = case.history;
    let mut found = Found::default();
    let nodes = &history.meta.nodes;
    let (mut apart, mut deaf) = (Vec::new(), BTreeMap::<usize, Vec<(u64, u64)>>::new());
    for span in history.faults.iter().filter(|span| span.fault.parts_sites(nodes)) {
        let Some(window) = in_force(span) else {
            found.missing(|| format!("when {:?} was in force is not in the history", span.fault));
            continue;
        };
        apart.push(window);
        for (number, _) in
            history.meta.sites.iter().enumerate().filter(|(_, site)| span.fault.deafens(site, nodes))
        {
            deaf.entry(number).or_default().push(window);
        }
    }
    let apart = joined(apart);
    let deaf: BTreeMap<usize, Vec<(u64, u64)>> =
        deaf.into_iter().map(|(site, windows)| (site, joined(windows))).collect();
    let writes = asked(history).map(|call| (call.at.op, call.op, call.answer.decided().is_some()));
    let reads =
        history.ops.iter().zip(0..).filter(|(op, _)| op.ask.read_level() == Some(Level::Linearizable));
    let reads = reads.map(|(op, number)| (number, op, shown(op).is_some()));
    for (number, op, answered) in writes.chain(reads) {
        let Some((_, ended)) = within(&apart, op) else { continue };
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
    // A site that hears the other one knows itself what both have, though that one does not.
    let kept: BTreeMap<usize, _> =
        deaf.iter().map(|(site, windows)| (*site, (windows, kept_back(case, windows)))).collect();
    for (number, op) in history.ops.iter().enumerate() {
        let (Some(Level::Stale), Some(shown)) = (op.ask.read_level(), shown(op)) else { continue };
        let Some((windows, kept)) = kept.get(&usize::from(op.router)) else { continue };
        let Some((window, true)) = within(windows, op) else { continue };
        found.checked += 1;
        if kept.get(&(window, shown.set)).is_some_and(|first| shown.index >= *first) {
            found.wrong(|| {
                format!("operation {number} shows what was written while the sites were apart: {op:?}")
            });
        }
    }
    found
}

/// The window in which an operation began, and whether it ended there too.
fn within(windows: &[(u64, u64)], op: &Op) -> Option<(usize, bool)> {
    let window = windows.partition_point(|(from, _)| *from < op.begin_ns).checked_sub(1)?;
    let to = windows[window].1;
    (op.begin_ns < to).then(|| (window, op.end_ns.is_some_and(|end| end < to)))
}

/// As of where a read is; of a rejection that was looked up, where it was decided: no other place is told with it.
fn shown(op: &Op) -> Option<Place> {
    op.answer.as_of().map(|as_of| as_of.place).or(op.answer.decided().map(|(place, _)| place))
}

/// Windows that touch each other are one.
fn joined(mut windows: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    windows.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (from, to) in windows {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    joined
}

/// By window and set: the first index of what was asked within the window.
fn kept_back(case: &Case<'_>, apart: &[(u64, u64)]) -> HashMap<(usize, u32), u64> {
    let mut first: HashMap<(usize, u32), u64> = HashMap::new();
    for (set, log) in &case.witness.sets {
        for decided in log {
            let Some(window) = apart.partition_point(|(from, _)| *from < decided.begin_ns).checked_sub(1)
            else {
                continue;
            };
            if decided.begin_ns < apart[window].1 {
                let index = first.entry((window, *set)).or_insert(u64::MAX);
                *index = (*index).min(decided.place.index);
            }
        }
    }
    first
}

/// From when until when all of a fault was in force at least. None, if it broke off or nobody noted it.
fn in_force(span: &FaultSpan) -> Option<(u64, u64)> {
    let lasts = u64::try_from(span.fault.lasts().as_nanos()).ok()?;
    span.acts_ns.map(|from| (from, from + lasts))
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn windows_that_overlap_are_one() {
        assert_eq!(joined(vec![(5, 6), (0, 4), (1, 2), (6, 9)]), [(0, 4), (5, 9)]);
    }
}
