//! Order: real time against the log of each set, the sessions of processes, and ledger time. One sweep each over what is
//! sorted. Pure.

use std::collections::HashMap;

use super::{Case, Found};
use crate::history::{Level, Place};

/// Where in a set's log: index, then time.
type Spot = (u64, u64);

/// Something with an interval in real time and a spot in a set's log.
struct Interval {
    set: u32,
    spot: Spot,
    write: bool,
    begin_ns: u64,
    end_ns: u64,
    op: u32,
}

fn intervals(case: &Case<'_>) -> Vec<Interval> {
    let mut all = Vec::new();
    for (set, log) in &case.witness.sets {
        all.extend(log.iter().map(|decided| Interval {
            set: *set,
            spot: (decided.place.index, decided.place.time_ns),
            write: true,
            begin_ns: decided.begin_ns,
            end_ns: decided.end_ns,
            op: decided.call.op,
        }));
    }
    for (number, op) in case.history.ops.iter().enumerate() {
        if op.ask.read_level() != Some(Level::Linearizable) {
            continue;
        }
        all.extend(op.answer.each_as_of().into_iter().map(|as_of| Interval {
            set: as_of.place.set,
            spot: (as_of.place.index, as_of.place.time_ns),
            write: false,
            begin_ns: op.begin_ns,
            end_ns: op.end_ns.unwrap_or(u64::MAX),
            op: number as u32,
        }));
    }
    all
}

/// What begins after something else was answered stands behind it in the set's log. A begin at the instant of an end counts
/// as concurrent with it. With the replay, this is strict serializability of the set.
pub fn real_time(case: &Case<'_>) -> Found {
    let all = intervals(case);
    let mut found = Found { checked: all.len() as u64, ..Found::default() };
    let mut events: Vec<(u64, bool, u32)> = Vec::with_capacity(all.len() * 2);
    for (number, one) in all.iter().enumerate() {
        events.push((one.begin_ns, false, number as u32));
        if one.end_ns != u64::MAX {
            events.push((one.end_ns, true, number as u32));
        }
    }
    events.sort_unstable();
    // By set: the furthest spot that anyone was told of, and by which operation.
    let mut told: HashMap<u32, (Spot, u32)> = HashMap::new();
    for (_, ends, number) in events {
        let one = &all[number as usize];
        let furthest = told.get(&one.set).copied();
        if ends {
            if furthest.is_none_or(|(spot, _)| one.spot > spot) {
                told.insert(one.set, (one.spot, one.op));
            }
        } else if let Some((spot, op)) = furthest
            && (one.spot < spot || one.write && one.spot == spot)
        {
            found.wrong(|| {
                let words = if one.write { "was decided" } else { "read" };
                format!(
                    "operation {} began after {op} was answered at {spot:?} of set {}, but {words} at {:?}",
                    one.op, one.set, one.spot
                )
            });
        }
    }
    found
}

/// What one process is told never goes back: its linearizable reads follow its own writes and reads, whichever router it
/// asked.
pub fn sessions(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    let mut told: HashMap<(u32, u32), Spot> = HashMap::new();
    for (number, op) in case.history.ops.iter().enumerate() {
        let places: Vec<_> = match op.ask.read_level() {
            Some(Level::Linearizable) => op.answer.each_as_of().iter().map(|as_of| as_of.place).collect(),
            Some(Level::Stale) => continue,
            None => op.answer.decided().map(|(place, _)| place).into_iter().collect(),
        };
        let spot = |place: &Place| (place.index, place.time_ns);
        // What is read at once has no order of its own.
        for place in &places {
            let Some(last) = told.get(&(op.process, place.set)) else { continue };
            if !op.ask.is_write() && spot(place) < *last {
                found.wrong(|| {
                    let (process, spot) = (op.process, spot(place));
                    format!(
                        "process {process} knew of {last:?}, then read {spot:?} in operation {number}: {op:?}"
                    )
                });
            }
        }
        for place in &places {
            found.checked += 1;
            let last = told.entry((op.process, place.set)).or_insert(spot(place));
            *last = spot(place).max(*last);
        }
    }
    found
}

/// Positions are given once, and ledger time rises with them; no read claims a time before what it includes.
pub fn ledger_time(case: &Case<'_>) -> Found {
    let mut found = case.witness.misplaced.clone();
    for (set, log) in &case.witness.sets {
        found.checked += log.len() as u64;
        for pair in log.windows(2) {
            if pair[0].place.time_ns >= pair[1].place.time_ns || pair[0].position >= pair[1].position {
                found.wrong(|| format!("set {set}: {:?} stands before {:?}", pair[0].place, pair[1].place));
            }
        }
    }
    for (number, op) in case.history.ops.iter().enumerate() {
        let Some(as_of) = op.answer.as_of() else { continue };
        let Some(log) = case.witness.sets.get(&as_of.place.set) else { continue };
        found.checked += 1;
        let included = log.partition_point(|decided| decided.place.index <= as_of.place.index);
        let last = included.checked_sub(1).map(|at| &log[at]);
        if let Some(last) = last.filter(|last| last.place.time_ns > as_of.place.time_ns) {
            found.wrong(|| format!("operation {number} is as of {:?}, before {:?}", as_of.place, last.place));
        }
    }
    found
}
