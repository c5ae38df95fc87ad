//! Events: each names the one before it, and between two of a page nothing is missing; a stream that is resumed goes on where it was
//! left, at whichever router; what was acknowledged is told once, under a key for ever, and nothing is told that is not there in
//! the end. Pure.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use twinset_ledger::TransactionId;

use super::witness::{Body, What};
use super::{Case, Found};
use crate::history::event::Leg;
use crate::history::holds::Told;
use crate::history::{Answer, Ask, Op, Place};

/// What a set must tell of: its kind, and the legs of what was booked.
type Due<'c> = BTreeMap<Place, (&'static str, &'c [Leg])>;

/// Events that no client asks for.
const BESIDE: [&str; 4] = ["currency_defined", "subject_defined", "group_defined", "durability_marked"];

/// An account that left buffered mode is strict again when it is empty: that nobody asks for, either.
fn is_beside(told: &Told) -> bool {
    // The id of a group is taken out of use before it is one.
    told.id.starts_with("twinset-group-")
        || BESIDE.contains(&told.kind.as_str())
        || told.kind == "posting_mode_changed" && told.id.is_empty()
}

/// Where a stream stands in each of its sets: behind that event. None: before the first.
type Stand = BTreeMap<u32, Option<(TransactionId, Place)>>;

/// Every page, of one set and of all, linearizable and stale.
pub fn check(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    if !case.history.ops.iter().any(|op| matches!(op.ask, Ask::Events { .. })) {
        return found;
    }
    let due = due(case);
    let mut known: HashMap<TransactionId, &Told> = HashMap::new();
    let mut stands: HashMap<(Option<u32>, &str), Stand> = HashMap::new();
    for (number, op) in case.history.ops.iter().enumerate() {
        let (Ask::Events { set, after, page_size, .. }, Answer::Events { events, next, .. }) =
            (&op.ask, &op.answer)
        else {
            continue;
        };
        found.checked += 1;
        let mut wrong = |words: String| found.wrong(|| format!("operation {number} ({:?}): {words}", op.ask));
        for told in events {
            let first = *known.entry(told.event.0).or_insert(told);
            if first != told {
                wrong(format!("one key is both {first:?} and {told:?}"));
            }
        }
        let sets = if set.is_some() { 1 } else { case.history.meta.sets.len() };
        if events.len() > *page_size as usize * sets {
            wrong(format!("it has {} events", events.len()));
        }
        let named = |after: &str| known.get(&after.parse().ok()?);
        let stand = match (after.as_str(), stands.get(&(*set, after.as_str()))) {
            ("", _) => Some(Stand::new()),
            (_, Some(stand)) => Some(stand.clone()),
            (after, None) => {
                named(after).map(|told| [(told.place.set, Some((told.event.0, told.place)))].into())
            }
        };
        let Some(mut stand) = stand else {
            wrong("it begins where nobody was told to".to_owned());
            continue;
        };
        for set in case.history.meta.sets.iter().filter(|own| set.is_none_or(|set| set == **own)) {
            let events: Vec<&Told> = events.iter().filter(|told| told.place.set == *set).collect();
            let from = stand.get(set).copied().flatten();
            if let Err(words) = of_one_set(&due[set], from, &events, upto(op, *set)) {
                wrong(words);
            }
            if let Some(last) = events.last() {
                stand.insert(*set, Some((last.event.0, last.place)));
            }
        }
        stands.entry((*set, next)).or_insert(stand);
    }
    found
}

/// Of a page that ends where the log does, up to which index nothing may be missing.
fn upto(op: &Op, set: u32) -> Option<u64> {
    let Answer::Events { as_of, more: false, .. } = &op.answer else { return None };
    as_of.iter().find(|place| place.set == set).map(|place| place.index)
}

/// What the answers and the final lists say that each set has done.
fn due<'c>(case: &'c Case<'_>) -> BTreeMap<u32, Due<'c>> {
    let mut all: BTreeMap<u32, Due<'c>> =
        case.history.meta.sets.iter().map(|set| (*set, Due::new())).collect();
    for (set, log) in &case.witness.sets {
        let due = all.entry(*set).or_default();
        for booked in case.replay.booked.get(set).into_iter().flatten() {
            due.insert(log[booked.decided as usize].place, ("booked", &booked.legs));
        }
        for decided in log {
            let told = || {
                case.witness.replies[decided.replies.clone()].iter().map(|reply| case.witness.call(*reply))
            };
            let is_done = || {
                told().any(|call| {
                    matches!(call.answer, Answer::Done { .. } | Answer::Held { .. } | Answer::Released { .. })
                })
            };
            let kind = match (decided.what, case.witness.call(decided.call).body) {
                (What::Expired(_), _) => "hold_expired",
                (What::RunEnded, _) => "sweep_refused",
                (What::Lapsed(..), _) => "restriction_expired",
                (What::Command, Body::Other(ask)) if is_done() => kind(ask),
                _ => continue,
            };
            due.insert(decided.place, (kind, &[]));
        }
    }
    all
}

fn kind(ask: &Ask) -> &'static str {
    match ask {
        Ask::Open { .. } => "account_opened",
        Ask::SetLimit { .. } => "limit_changed",
        Ask::Freeze { on: true, .. } => "account_frozen",
        Ask::Freeze { .. } => "account_unfrozen",
        Ask::Close { .. } => "account_closed",
        Ask::SetMode { .. } => "posting_mode_changed",
        Ask::SetSweep { .. } => "sweep_set",
        Ask::RemoveSweep { .. } => "sweep_removed",
        Ask::PlaceHold { .. } => "hold_placed",
        Ask::ReleaseHold { .. } => "hold_released",
        Ask::ExtendHold { .. } => "hold_extended",
        Ask::ReleaseRestriction { .. } => "restriction_released",
        _ => "",
    }
}

/// A set's events on a page that begins behind `from`; up to the index `upto` at least, if that is known.
fn of_one_set(
    due: &Due<'_>,
    from: Option<(TransactionId, Place)>,
    events: &[&Told],
    upto: Option<u64>,
) -> Result<(), String> {
    let mut before = from.map(|(name, _)| name);
    for told in events {
        if told.previous.map(|name| name.0) != before {
            return Err(format!("behind {before:?} comes {told:?}"));
        }
        before = Some(told.event.0);
        if told.event.0.position.index() != told.place.index || told.event.0.set != told.place.set {
            return Err(format!("its key is not of its place: {told:?}"));
        }
        match due.get(&told.place) {
            _ if is_beside(told) => {}
            Some((kind, legs)) if (*kind, *legs) == (told.kind.as_str(), told.legs.as_slice()) => {}
            expected => return Err(format!("{told:?} is told, and {expected:?} is there")),
        }
    }
    let last = events.last().map(|told| told.place).or(from.map(|(_, place)| place));
    let in_reach = |place: &Place| {
        last.is_some_and(|last| *place <= last) || upto.is_some_and(|upto| place.index <= upto)
    };
    let behind = (from.map_or(Bound::Unbounded, |(_, from)| Bound::Excluded(from)), Bound::Unbounded);
    let is_told = |place: &Place| events.binary_search_by_key(place, |told| told.place).is_ok();
    let mut expected = due.range(behind).take_while(|(place, _)| in_reach(place));
    match expected.find(|(place, _)| !is_told(place)) {
        Some((place, what)) => Err(format!("it passes over {what:?} at {place:?}")),
        None => Ok(()),
    }
}
