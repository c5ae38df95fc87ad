//! Buffered credits: each break of what is promised of them is seen by the checker that is for it.

use twinset_jepsen::check::{Case, Verdict, all};
use twinset_jepsen::history::buffered::{InTransit, Suspended};
use twinset_jepsen::history::{Answer, AsOf, Ask, Found, History, Name, Op, Phase, Place, suspense};
use twinset_ledger::Position;

use super::{find, verdicts};

/// Of buffered accounts alone, and of events that tell of them.
fn good() -> History {
    let kinds = twinset_jepsen::workload::named(&["buffered".to_owned(), "events".to_owned()]).unwrap();
    twinset_jepsen::synthetic::of(&kinds, 3_000, 7)
}

/// Breaks a good history; the checker must say so.
fn caught(name: &str, verdict: Verdict, spoil: impl FnOnce(&mut History)) {
    let mut history = good();
    spoil(&mut history);
    let found = verdicts(&history).remove(name).unwrap();
    assert_eq!(found.verdict, verdict, "{name}: {found:#?}");
}

/// Every page that lists what a set has booked.
fn on_pages(history: &mut History, in_set: u32, mut change: impl FnMut(&mut Vec<Found>)) {
    for op in &mut history.ops {
        let (Ask::List { set, .. }, Answer::Page { found, .. }) = (&op.ask, &mut op.answer) else { continue };
        if *set == in_set {
            change(found);
        }
    }
}

/// All that is listed.
fn rows(history: &History) -> impl Iterator<Item = &Found> {
    let from = history.phase(Phase::Final).unwrap();
    let last = history.ops.iter().filter(move |op| op.begin_ns >= from && op.router == 0);
    last.filter_map(|op| match &op.answer {
        Answer::Page { found, .. } => Some(found),
        _ => None,
    })
    .flatten()
}

fn is_suspended(history: &History, row: &Found) -> bool {
    row.part_of.is_some() && suspense(&history.accounts[row.legs[0].0 as usize]).is_some()
}

/// Rows of what was taken in from another set without having been asked for.
fn parcels(history: &History) -> Vec<&Found> {
    let paid: Vec<Name> = rows(history).filter(|row| row.is_paid()).map(|row| row.transaction).collect();
    let of_paid = |row: &&Found| row.part_of.is_some_and(|part| paid.contains(&part.of)) && !row.is_paid();
    rows(history).filter(of_paid).collect()
}

/// One of those, somewhere in the middle, that is not in suspense.
fn one(history: &History) -> Found {
    let parcels = parcels(history);
    let booked: Vec<&&Found> = parcels.iter().filter(|row| !is_suspended(history, row)).collect();
    (**booked[booked.len() / 2]).clone()
}

fn on_row(history: &mut History, row: &Found, change: impl Fn(&mut Vec<Found>, usize)) {
    on_pages(history, row.place.set, |found| {
        if let Some(at) = found.iter().position(|other| other.transaction == row.transaction) {
            change(found, at);
        }
    });
}

fn in_traffic(history: &History) -> impl Iterator<Item = (&Op, &InTransit)> {
    let last = history.phase(Phase::Final).unwrap();
    history.ops.iter().filter(move |op| op.begin_ns < last).filter_map(|op| match &op.answer {
        Answer::Transit { from, .. } => Some((op, from.first()?)),
        _ => None,
    })
}

fn reversed(op: &Op) -> Option<(Name, &Answer)> {
    match &op.ask {
        Ask::Reverse { transaction, .. } => Some((*transaction, &op.answer)),
        _ => None,
    }
}

#[test]
fn the_made_up_history_has_all_that_can_come_of_a_buffered_payment() {
    let history = good();
    let paid: Vec<Name> = rows(&history).filter(|row| row.is_paid()).map(|row| row.transaction).collect();
    let suspended = rows(&history).filter(|row| is_suspended(&history, row)).count();
    let legs = parcels(&history).len();
    assert!(paid.len() > 30 && legs > paid.len() && suspended > 2, "{} {legs} {suspended}", paid.len());
    assert!(in_traffic(&history).filter(|(_, one)| one.credits > 1).count() > 5);
    let resolved = |op: &&Op| {
        matches!((&op.ask, &op.answer), (Ask::ResolveSuspense { .. }, Answer::Booked { replayed: false, .. }))
    };
    assert!(history.ops.iter().any(|op| resolved(&op)), "nothing was booked on");
    let back = history.ops.iter().filter_map(reversed).filter(|(of, _)| paid.contains(of));
    let (mut booked, mut early) = (0, 0);
    for (_, answer) in back {
        booked += usize::from(matches!(answer, Answer::Booked { .. }));
        early += usize::from(matches!(answer, Answer::GivenUp { .. }));
    }
    assert!(booked > 0 && early > 0, "{booked} {early}");
}

#[test]
fn a_perfect_history_of_buffered_payments_is_valid() {
    for (name, found) in verdicts(&good()) {
        assert!(!found.verdict.is_red(), "{name}: {found:#?}");
        let is_ours = ["buffered", "in_transit"].contains(&name);
        assert!(!is_ours || found.verdict == Verdict::Valid, "{name}: {found:#?}");
    }
}

#[test]
fn what_arrives_not_or_twice_or_otherwise_is_caught() {
    let bad = |change: &dyn Fn(&mut Vec<Found>, usize)| {
        caught("buffered", Verdict::Invalid, |history| {
            let row = one(history);
            on_row(history, &row, change);
        });
    };
    bad(&|found, at| drop(found.remove(at)));
    bad(&|found, at| {
        let mut twice = found[at].clone();
        twice.place.time_ns += 1;
        twice.transaction.0.position = Position::new(twice.place.index, 1);
        found.insert(at + 1, twice);
    });
    bad(&|found, at| found[at].legs.iter_mut().for_each(|(_, cents)| *cents += cents.signum()));
    // To somebody else.
    bad(&|found, at| found[at].legs[0].0 -= 1);
    // What squares it is not booked.
    bad(&|found, at| found[at].legs.truncate(1));
    // Under the name of another one.
    bad(&|found, at| {
        let part = found[at].part_of.as_mut().unwrap();
        part.of.0.position = Position::new(part.of.0.position.index() + 1, 0);
    });
}

#[test]
fn another_order_is_caught() {
    caught("buffered", Verdict::Invalid, |history| {
        let all: Vec<Found> = parcels(history).into_iter().cloned().collect();
        let set = all[0].place.set;
        let own: Vec<&Found> = all.iter().filter(|row| row.place.set == set).collect();
        let pair = own.windows(2).find(|pair| pair[0].part_of != pair[1].part_of).unwrap();
        let (one, next) = (pair[0].clone(), pair[1].clone());
        on_pages(history, set, |found| {
            for row in found {
                // Each in the other's place.
                let other = match row.transaction {
                    name if name == one.transaction => &next,
                    name if name == next.transaction => &one,
                    _ => continue,
                };
                (row.legs, row.part_of) = (other.legs.clone(), other.part_of);
            }
        });
    });
}

#[test]
fn a_payers_part_that_is_wrong_or_not_there_is_caught() {
    let paid = |history: &History| {
        let all: Vec<&Found> = rows(history).filter(|row| row.is_paid()).collect();
        all[all.len() / 2].clone()
    };
    for spoil in [
        |found: &mut Vec<Found>, at: usize| found[at].legs.truncate(1),
        |found: &mut Vec<Found>, at: usize| found[at].legs[0].1 += 1,
        // Nothing is owed, and the other set has booked it.
        |found: &mut Vec<Found>, at: usize| drop(found.remove(at)),
    ] {
        caught("buffered", Verdict::Invalid, |history| {
            let row = paid(history);
            on_row(history, &row, spoil);
        });
    }
}

#[test]
fn not_to_ask_for_an_account_that_nobody_has_set_free_is_caught() {
    caught("buffered", Verdict::Invalid, |history| {
        let account = one(history).legs[0].0;
        for op in &mut history.ops {
            match &mut op.ask {
                Ask::SetMode { account: own, buffered, .. } if *own == account => *buffered = false,
                _ => {}
            }
        }
    });
}

/// The last lists of what is in suspense that have something.
fn last_in_suspense(history: &mut History) -> &mut Vec<Suspended> {
    let from = history.phase(Phase::Final).unwrap();
    let last = history.ops.iter_mut().filter(|op| op.begin_ns >= from);
    let lists = last.filter_map(|op| match &mut op.answer {
        Answer::Suspense { found, .. } if !found.is_empty() => Some(found),
        _ => None,
    });
    lists.into_iter().next().expect("something is in suspense in the end")
}

#[test]
fn what_is_in_suspense_and_not_said_to_be_is_caught() {
    let bad = |spoil: &dyn Fn(&mut Vec<Suspended>)| {
        caught("buffered", Verdict::Invalid, |history| spoil(last_in_suspense(history)));
    };
    bad(&|found| drop(found.pop()));
    bad(&|found| found[0].cents -= 1);
    bad(&|found| found[0].reason = "account_closed".into());
    bad(&|found| found[0].of.0.position = Position::new(1, 0));
    caught("buffered", Verdict::Invalid, |history| {
        let events = history.ops.iter_mut().filter_map(|op| match &mut op.answer {
            Answer::Events { events, .. } => Some(events),
            _ => None,
        });
        events.flatten().for_each(|told| told.suspended.clear());
    });
    caught("buffered", Verdict::Unknown, |history| {
        history.ops.retain(|op| !matches!(op.ask, Ask::ListSuspense { .. }));
    });
    // Booked on twice.
    caught("buffered", Verdict::Invalid, |history| {
        let at = find(history, |op| {
            let is_new = matches!(op.answer, Answer::Booked { replayed: false, .. });
            matches!(op.ask, Ask::ResolveSuspense { .. }) && is_new
        });
        let mut twice = history.ops[at].clone();
        let Ask::ResolveSuspense { id, .. } = &mut twice.ask else { unreachable!() };
        id.push('x');
        let Answer::Booked { transaction, place, .. } = &mut twice.answer else { unreachable!() };
        place.time_ns += 1;
        transaction.0.position = Position::new(place.index, 1);
        history.ops.insert(at + 1, twice);
    });
}

fn on_transit(history: &mut History, mut change: impl FnMut(&mut Vec<InTransit>, &mut Vec<u32>)) {
    let last = history.phase(Phase::Final).unwrap();
    for op in history.ops.iter_mut().filter(|op| op.begin_ns < last) {
        if let Answer::Transit { from, silent } = &mut op.answer {
            change(from, silent);
        }
    }
}

#[test]
fn a_wrong_figure_of_what_is_in_transit_is_caught() {
    let bad = |change: &dyn Fn(&mut InTransit)| {
        caught("in_transit", Verdict::Invalid, |history| {
            let (op, _) = in_traffic(history).find(|(_, one)| one.credits > 1).unwrap();
            let begin_ns = op.begin_ns;
            let op = history.ops.iter_mut().find(|op| op.begin_ns == begin_ns).unwrap();
            let Answer::Transit { from, .. } = &mut op.answer else { unreachable!() };
            change(&mut from[0]);
        });
    };
    bad(&|one| one.cents += 1);
    bad(&|one| one.credits += 1);
    bad(&|one| one.credits -= 1);
    // More than was ever sent.
    bad(&|one| one.credits += 1_000_000);
}

#[test]
fn what_is_forgotten_before_it_is_booked_or_said_again_or_left_out_is_caught() {
    caught("in_transit", Verdict::Invalid, |history| {
        on_transit(history, |from, _| {
            from.iter_mut().for_each(|one| (one.credits, one.cents) = (0, 0));
        });
    });
    // Nothing was ever heard of it.
    caught("in_transit", Verdict::Invalid, |history| on_transit(history, |from, _| from.clear()));
    // From before what was answered.
    caught("in_transit", Verdict::Invalid, |history| {
        on_transit(history, |from, _| {
            for one in from.iter_mut() {
                *one = InTransit {
                    as_of: AsOf::now(Place { index: 11, ..one.as_of.place }),
                    credits: 0,
                    cents: 0,
                };
            }
        });
    });
    // Of one index the same is said to all, whoever asks.
    caught("in_transit", Verdict::Invalid, |history| {
        let (op, _) = in_traffic(history).find(|(_, one)| one.credits == 1).unwrap();
        let mut other = op.clone();
        let Answer::Transit { from, .. } = &mut other.answer else { unreachable!() };
        (from[0].credits, from[0].cents) = (0, 0);
        history.ops.push(other);
    });
}

#[test]
fn what_is_in_transit_in_the_end_is_caught() {
    let in_the_end = |change: &dyn Fn(&mut Vec<InTransit>, &mut Vec<u32>)| {
        caught("in_transit", Verdict::Invalid, |history| {
            let last = history.phase(Phase::Final).unwrap();
            for op in history.ops.iter_mut().filter(|op| op.begin_ns >= last) {
                if let Answer::Transit { from, silent } = &mut op.answer {
                    change(from, silent);
                }
            }
        });
    };
    in_the_end(&|from, _| from.iter_mut().for_each(|one| (one.credits, one.cents) = (1, 100)));
    in_the_end(&|_, silent| silent.push(2));
}

#[test]
fn a_history_without_buffered_accounts_shows_nothing() {
    let kinds = twinset_jepsen::workload::named(&["across".to_owned()]).unwrap();
    let history = twinset_jepsen::synthetic::of(&kinds, 300, 5);
    for finding in all(&Case::of(&history)) {
        if ["buffered", "in_transit"].contains(&finding.checker) {
            assert_eq!(finding.verdict, Verdict::Idle, "{finding:?}");
        }
    }
}
