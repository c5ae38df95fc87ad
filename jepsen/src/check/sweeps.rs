//! Sweeps, by the lists, look-ups and events alone: the runs of one have their numbers in the order in which they stand, no two of
//! them share a turn of its schedule, and a refusal is told once, of a run that was refused. That a run was due, and took no more than was to
//! go, the model says where its answer is compared; what was left undone in the end, the replay. Pure.

use std::collections::{BTreeMap, BTreeSet};

use twinset_ledger::TransactionId;

use super::witness::{Body, calls};
use super::{Case, Found};
use crate::history::sweeps::When;
use crate::history::{Answer, Ask, Place, run_of};

const SECOND_NS: u64 = 1_000_000_000;
const DAY_NS: u64 = 86_400 * SECOND_NS;

/// Every sweep that somebody has set.
pub fn check(case: &Case<'_>) -> Found {
    let mut found = case.replay.swept.clone();
    let mut runs: BTreeMap<TransactionId, Vec<(u32, Place, &Answer)>> = BTreeMap::new();
    for call in calls(case.history) {
        let place = call.answer.decided().map(|(place, _)| place).or(call.answer.given_up());
        if let (Some((sweep, run)), Some(place)) = (run_of(call.body.id()), place) {
            runs.entry(sweep).or_default().push((run, place, call.answer));
        }
    }
    for (sweep, runs) in &mut runs {
        runs.sort_by_key(|(run, ..)| *run);
        found.checked += runs.len() as u64;
        let set = set_at(case, *sweep);
        for pair in runs.windows(2) {
            let [(first, at, _), (second, then, _)] = pair else { continue };
            if at >= then {
                found.wrong(|| {
                    format!("run {second} of sweep {sweep} stands at {then:?}, run {first} at {at:?}")
                });
            }
            let turn = |place: &Place| match set {
                Some((set, When::Every(seconds))) => {
                    let since = place.time_ns.saturating_sub(set.time_ns);
                    Some(since / (u64::from(seconds) * SECOND_NS))
                }
                Some((_, When::Daily)) => Some(place.time_ns / DAY_NS),
                _ => None,
            };
            // What a set that did not answer has kept back is tried again within the same turn.
            let is_again = matches!(pair[0].2, Answer::GivenUp { .. });
            if turn(at).is_some() && turn(at) == turn(then) && !is_again {
                found.wrong(|| {
                    format!("runs {first} and {second} of sweep {sweep} are of one turn: {at:?}, {then:?}")
                });
            }
        }
    }
    refusals(case, &runs, &mut found);
    found
}

/// Where a sweep was set, and when it runs.
fn set_at(case: &Case<'_>, sweep: TransactionId) -> Option<(Place, When)> {
    let log = case.witness.sets.get(&sweep.set)?;
    let decided = log.iter().find(|decided| decided.name == Some(sweep))?;
    match case.witness.call(decided.call).body {
        Body::Other(Ask::SetSweep { terms, .. }) => Some((decided.place, terms.when)),
        _ => None,
    }
}

fn refusals(case: &Case<'_>, runs: &BTreeMap<TransactionId, Vec<(u32, Place, &Answer)>>, found: &mut Found) {
    let told = case.history.ops.iter().filter_map(|op| match &op.answer {
        Answer::Events { events, .. } => Some(events),
        _ => None,
    });
    let events: BTreeMap<_, _> =
        told.flatten().filter_map(|told| Some((told.event, told.refused.as_ref()?))).collect();
    let mut ended = BTreeSet::new();
    for (event, refused) in events {
        found.checked += 1;
        let of = runs.get(&refused.sweep.0).into_iter().flatten().find(|(run, ..)| *run == refused.run);
        let is_right = match of {
            Some((_, _, Answer::Rejected { code, .. })) => *code == refused.code,
            Some((_, _, Answer::GivenUp { .. })) => refused.code == "set_unavailable",
            _ => false,
        };
        if !is_right {
            found.wrong(|| format!("event {event} tells of {refused:?}; found is {of:?}"));
        }
        if !ended.insert((refused.sweep, refused.run)) {
            found.wrong(|| format!("event {event} tells of {refused:?} again"));
        }
    }
}
