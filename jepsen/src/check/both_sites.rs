//! In SYNC nothing is answered that only one site has on disk: while one site cannot tell the other what it has, whatever was
//! asked after that waits, and no stale read at a site that hears nothing of the other shows it. Routers stand in the sites of their
//! numbers. Pure.

use std::collections::{BTreeMap, HashMap};

use super::witness::asked;
use super::{Case, Found};
use crate::history::{FaultSpan, Level, Op, Place};

/// From when until when each, in order and apart.
type Windows = Vec<(u64, u64)>;

/// Answers from within the times in which the sites were apart, and the set that gave them was SYNC. Where sets may go on with one
/// site, they are so until something weaker is on record; everywhere else always.
pub fn check(case: &Case<'_>) -> Found {
    let history = case.history;
    let mut found = Found::default();
    let nodes = &history.meta.nodes;
    let (mut apart, mut deaf) = (Vec::new(), BTreeMap::<usize, Windows>::new());
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
    let (apart, sets) = (joined(apart), &history.meta.sets);
    let in_sync: BTreeMap<u32, Windows> = sets.iter().map(|set| (*set, history.in_sync(*set))).collect();
    let in_sync = |set: u32| in_sync.get(&set).map(Vec::as_slice).unwrap_or_default();
    let apart_of: BTreeMap<u32, Windows> =
        sets.iter().map(|set| (*set, both(&apart, in_sync(*set)))).collect();
    let writes =
        asked(history).map(|call| (call.at.op, call.op, call.answer.decided().map(|(place, _)| place)));
    let reads =
        history.ops.iter().zip(0..).filter(|(op, _)| op.ask.read_level() == Some(Level::Linearizable));
    let reads = reads.map(|(op, number)| (number, op, shown(op)));
    for (number, op, answered) in writes.chain(reads) {
        let windows = answered.and_then(|place| apart_of.get(&place.set)).unwrap_or(&apart);
        let Some((_, ended)) = within(windows, op) else { continue };
        found.checked += 1;
        if answered.is_some() && ended {
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
    let mut kept: BTreeMap<(usize, u32), (Windows, HashMap<usize, u64>)> = BTreeMap::new();
    for (site, windows) in deaf {
        let windows = joined(windows);
        for set in sets {
            let windows = both(&windows, in_sync(*set));
            let first = kept_back(case, *set, &windows);
            kept.insert((site, *set), (windows, first));
        }
    }
    for (number, op) in history.ops.iter().enumerate() {
        let (Some(Level::Stale), Some(shown)) = (op.ask.read_level(), shown(op)) else { continue };
        let Some((windows, kept)) = kept.get(&(usize::from(op.router), shown.set)) else { continue };
        let Some((window, true)) = within(windows, op) else { continue };
        found.checked += 1;
        if kept.get(&window).is_some_and(|first| shown.index >= *first) {
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
fn joined(mut windows: Windows) -> Windows {
    windows.sort_unstable();
    let mut joined: Windows = Vec::new();
    for (from, to) in windows {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    joined
}

/// What is in one of these windows and in one of those.
fn both(these: &[(u64, u64)], those: &[(u64, u64)]) -> Windows {
    let meets = |(from, to): &(u64, u64)| {
        let (from, to) = (*from, *to);
        those.iter().map(move |other| (from.max(other.0), to.min(other.1))).filter(|(from, to)| from < to)
    };
    these.iter().flat_map(meets).collect()
}

/// By window: the first index of what was asked of a set within the window.
fn kept_back(case: &Case<'_>, set: u32, apart: &[(u64, u64)]) -> HashMap<usize, u64> {
    let mut first: HashMap<usize, u64> = HashMap::new();
    for decided in case.witness.sets.get(&set).into_iter().flatten() {
        let Some(window) = apart.partition_point(|(from, _)| *from < decided.begin_ns).checked_sub(1) else {
            continue;
        };
        if decided.begin_ns < apart[window].1 {
            let index = first.entry(window).or_insert(u64::MAX);
            *index = (*index).min(decided.place.index);
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
    use super::{both, joined};

    #[test]
    fn windows_that_overlap_are_one() {
        assert_eq!(joined(vec![(5, 6), (0, 4), (1, 2), (6, 9)]), [(0, 4), (5, 9)]);
    }

    #[test]
    fn what_is_in_both_is_in_order() {
        assert_eq!(both(&[(2, 6), (8, 9)], &[(0, 3), (5, 7), (9, 12)]), [(2, 3), (5, 6)]);
        assert_eq!(both(&[(2, 6)], &[(0, u64::MAX)]), [(2, 6)]);
    }
}
