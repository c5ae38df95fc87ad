//! Whether positions and ledger times are given once, rise together, and agree with real time. Pure.

use std::collections::BTreeMap;

use twinset_ledger::TransactionId;

use super::Violation;
use crate::history::{Answer, Asked, History, Place};

/// Every decided request with its place; the transaction, if it was booked.
fn decided(history: &History) -> impl Iterator<Item = (&Asked, Option<TransactionId>, Place)> {
    history.requests.iter().filter_map(|asked| match asked.decided()?.answer {
        Answer::Booked { transaction, place, .. } => Some((asked, Some(transaction), place)),
        Answer::Rejected { place: Some(place), .. } => Some((asked, None, place)),
        _ => None,
    })
}

/// No two request ids share a transaction or a ledger time.
pub fn positions_are_unique(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    let (mut by_name, mut by_time) = (BTreeMap::new(), BTreeMap::new());
    for (asked, transaction, place) in decided(history) {
        if let Some(name) = transaction
            && let Some(other) = by_name.insert(name, &asked.id)
        {
            violations.push(format!("requests {other} and {} share transaction {name}", asked.id));
        }
        if let Some(other) = by_time.insert((place.set, place.time), &asked.id) {
            violations.push(format!("requests {other} and {} share ledger time {place:?}", asked.id));
        }
    }
    violations
}

/// In each set a later position has a later ledger time, and a transaction's name says where it was booked.
pub fn time_follows_position(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut by_position = BTreeMap::new();
    for (asked, transaction, place) in decided(history) {
        let Some(name) = transaction else { continue };
        if name.set != place.set || name.position.index() != place.index {
            violations.push(format!("request {}: transaction {name} is not at {place:?}", asked.id));
        }
        by_position.insert((name.set, name.incarnation, name.position), (place.time, &asked.id));
    }
    let neighbours = by_position.iter().zip(by_position.iter().skip(1));
    for (((set, ..), (time, id)), ((other_set, ..), (next_time, next_id))) in neighbours {
        if set == other_set && time >= next_time {
            violations
                .push(format!("request {next_id} stands behind {id}, but its ledger time is not later"));
        }
    }
    violations
}

/// A request whose first call began after another one's answer had arrived was decided behind it, in the same set.
pub fn real_time_order(history: &History) -> Vec<Violation> {
    #[derive(PartialEq, Eq, PartialOrd, Ord)]
    enum Event {
        // A begin at the instant of an end counts as concurrent with it, so begins come first.
        Begin,
        End,
    }
    let mut events = Vec::new();
    for (number, (asked, _, place)) in decided(history).enumerate() {
        let begin = asked.same_body().map(|call| call.begin_us).min().unwrap_or(0);
        let end = asked.decided().map_or(u64::MAX, |call| call.end_us);
        events.push((begin, Event::Begin, number, asked, place));
        events.push((end, Event::End, number, asked, place));
    }
    events.sort_by(|a, b| (a.0, &a.1, a.2).cmp(&(b.0, &b.1, b.2)));
    let mut latest: BTreeMap<u32, (u128, &Asked)> = BTreeMap::new();
    let mut violations = Vec::new();
    for (_, event, _, asked, place) in events {
        match (event, latest.get(&place.set)) {
            (Event::Begin, Some((time, other))) if place.time <= *time => violations.push(format!(
                "request {} began after {} was answered, but was decided before it at {place:?}",
                asked.id, other.id
            )),
            (Event::End, known) if known.is_none_or(|(time, _)| place.time > *time) => {
                latest.insert(place.set, (place.time, asked));
            }
            _ => {}
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::{asked, call, history, one, place, rejected};

    #[test]
    fn a_serial_history_is_right() {
        let history = history(vec![one("x", 7, 0, 1), one("y", 8, 2, 3), one("z", 9, 2, 5)]);
        assert!(positions_are_unique(&history).is_empty());
        assert!(time_follows_position(&history).is_empty());
        assert!(real_time_order(&history).is_empty());
    }

    #[test]
    fn a_shared_position_is_caught() {
        assert_eq!(positions_are_unique(&history(vec![one("x", 7, 0, 1), one("y", 7, 2, 3)])).len(), 2);
        let no = asked("y", vec![call(2, 3, rejected("limit_exceeded", 7, false))]);
        assert_eq!(positions_are_unique(&history(vec![one("x", 7, 0, 1), no])).len(), 1);
    }

    #[test]
    fn time_that_stands_still_or_a_misplaced_name_is_caught() {
        let at = |id: &str, index: u64, stands: Place| {
            let transaction = format!("1-1-{index}-0").parse().unwrap();
            asked(id, vec![call(0, 1, Answer::Booked { transaction, place: stands, replayed: false })])
        };
        let still = history(vec![at("x", 7, place(7, 70)), at("y", 8, place(8, 70))]);
        assert_eq!(time_follows_position(&still).len(), 1);
        let misplaced = history(vec![at("x", 7, place(6, 70))]);
        assert_eq!(time_follows_position(&misplaced).len(), 1);
    }

    #[test]
    fn an_order_against_real_time_is_caught() {
        let wrong = history(vec![one("x", 8, 0, 1), one("y", 7, 2, 3)]);
        assert_eq!(real_time_order(&wrong).len(), 1);
        let concurrent = history(vec![one("x", 8, 0, 3), one("y", 7, 2, 5)]);
        assert!(real_time_order(&concurrent).is_empty());
    }
}
