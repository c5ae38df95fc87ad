//! Sweeps: each break of what is promised of them is seen by the checker that is for it.

use twinset_jepsen::check::Verdict;
use twinset_jepsen::history::holds::Told;
use twinset_jepsen::history::sweeps::When;
use twinset_jepsen::history::{Answer, Ask, Found, History, Op, Phase, run_of};
use twinset_ledger::TransactionId;
use twinset_ledger::sweep::run_id;

use super::verdicts;

/// Of swept accounts alone, and of events that tell of them.
fn good() -> History {
    let kinds = twinset_jepsen::workload::named(&["sweeps".to_owned(), "events".to_owned()]).unwrap();
    twinset_jepsen::synthetic::of(&kinds, 6_000, 9)
}

/// Breaks a good history; the checker must say so.
fn caught(name: &str, spoil: impl FnOnce(&mut History)) {
    let mut history = good();
    spoil(&mut history);
    history.make_up_runs();
    let found = verdicts(&history).remove(name).unwrap();
    assert_eq!(found.verdict, Verdict::Invalid, "{name}: {found:#?}");
}

/// A run, with where it was found.
fn run(op: &Op) -> Option<(TransactionId, u32)> {
    let Op { ask: Ask::Transfer(transfer), .. } = op else { return None };
    run_of(&transfer.id)
}

/// How a sweep was set.
fn when(history: &History, sweep: TransactionId) -> When {
    let place = *history.sweeps_set().iter().find(|(_, name)| name.0 == sweep).unwrap().0;
    let set = history.ops.iter().find_map(|op| match (&op.ask, &op.answer) {
        (Ask::SetSweep { terms, .. }, Answer::Done { place: at, .. }) if *at == place => Some(terms.when),
        _ => None,
    });
    set.unwrap()
}

/// A run that moved money within its set, somewhere in the middle; of a sweep for which `wanted`.
fn moved(history: &History, wanted: impl Fn(When) -> bool) -> (TransactionId, u32, Found) {
    let rows = listed(history);
    let is_wanted = |row: &&&Found| {
        let Some((sweep, run)) = run_of(&row.id).filter(|_| row.part_of.is_none()) else { return false };
        run > 1 && wanted(when(history, sweep))
    };
    let all: Vec<&&Found> = rows.iter().filter(is_wanted).collect();
    let row = (**all[all.len() / 2]).clone();
    let (sweep, run) = run_of(&row.id).unwrap();
    (sweep, run, row)
}

fn listed(history: &History) -> Vec<&Found> {
    let from = history.phase(Phase::Final).unwrap();
    let last = history.ops.iter().filter(|op| op.begin_ns >= from && op.router == 0);
    let pages = last.filter_map(|op| match &op.answer {
        Answer::Page { found, .. } => Some(found),
        _ => None,
    });
    pages.flatten().collect()
}

/// What any page, look-up or event says of a transaction.
fn everywhere(history: &mut History, row: &Found, change: impl Fn(&mut Found)) {
    for op in &mut history.ops {
        match &mut op.answer {
            Answer::Page { found, .. } => {
                found.iter_mut().filter(|one| one.transaction == row.transaction).for_each(&change);
            }
            Answer::Transaction { found, .. } if found.transaction == row.transaction => change(found),
            _ => {}
        }
    }
}

fn events(history: &mut History) -> impl Iterator<Item = &mut Told> {
    let told = history.ops.iter_mut().filter_map(|op| match &mut op.answer {
        Answer::Events { events, .. } => Some(events),
        _ => None,
    });
    told.flatten()
}

#[test]
fn the_made_up_history_has_all_that_can_come_of_a_run() {
    let history = good();
    let of = |wanted: fn(&Answer) -> bool| history.runs.iter().filter(|op| wanted(&op.answer)).count();
    let booked = of(|answer| matches!(answer, Answer::Booked { .. }));
    let refused = of(|answer| matches!(answer, Answer::Rejected { .. }));
    assert!(booked > 50 && refused > 1, "{booked} {refused}");
    let every = history.runs.iter().filter_map(run);
    let every = every.filter(|(sweep, _)| matches!(when(&history, *sweep), When::Every(_))).count();
    let across = listed(&history).iter().filter(|row| row.part_of.is_some()).count();
    assert!(every > 3 && across > 10, "{every} {across}");
}

#[test]
fn a_perfect_history_of_sweeps_is_valid() {
    for (name, found) in verdicts(&good()) {
        assert!(!found.verdict.is_red(), "{name}: {found:#?}");
        assert!(name != "sweeps" || found.verdict == Verdict::Valid, "{name}: {found:#?}");
    }
}

/// The same run once more, under the next number, a nanosecond later.
#[test]
fn a_turn_that_is_run_twice_is_caught() {
    for name in ["sweeps", "answers"] {
        caught(name, |history| {
            let (sweep, run, row) = moved(history, |when| matches!(when, When::Every(_)));
            let mut twice = row.clone();
            twice.id = run_id(sweep, run + 1);
            twice.place.time_ns += 1;
            twice.transaction.0.position =
                twinset_ledger::Position::new(row.place.index, row.transaction.0.position.offset() + 1);
            for op in &mut history.ops {
                if let Answer::Page { found, .. } = &mut op.answer
                    && let Some(at) = found.iter().position(|one| one.transaction == row.transaction)
                {
                    found.insert(at + 1, twice.clone());
                }
            }
            let at = history.ops.iter().position(|op| {
                let is_it = |found: &Found| found.transaction == row.transaction;
                matches!(&op.answer, Answer::Transaction { found, .. } if is_it(found))
            });
            let mut lookup = history.ops[at.unwrap()].clone();
            let Ask::ReadRequest { id, .. } = &mut lookup.ask else { unreachable!() };
            *id = twice.id.clone();
            let Answer::Transaction { found, .. } = &mut lookup.answer else { unreachable!() };
            **found = twice;
            let last = history.ops.last().unwrap().end_ns.unwrap();
            (lookup.begin_ns, lookup.end_ns) = (last, Some(last + 1));
            history.ops.push(lookup);
        });
    }
}

#[test]
fn a_run_that_takes_too_much_or_goes_elsewhere_is_caught() {
    let bad = |change: &dyn Fn(&mut Found)| {
        caught("answers", |history| {
            let (.., row) = moved(history, |when| matches!(when, When::Above(_)));
            everywhere(history, &row, change);
        });
    };
    bad(&|found| found.legs.iter_mut().for_each(|(_, cents)| *cents *= 1_000));
    bad(&|found| found.legs[1].0 -= 1);
    bad(&|found| found.legs.swap(0, 1));
}

#[test]
fn a_run_that_nobody_can_find_or_that_is_not_listed_is_caught() {
    caught("exactly_once", |history| {
        let (.., row) = moved(history, |_| true);
        history.ops.retain(|op| !matches!(&op.ask, Ask::ReadRequest { id, .. } if *id == row.id));
    });
    caught("exactly_once", |history| {
        let (.., row) = moved(history, |_| true);
        for op in &mut history.ops {
            if let Answer::Page { found, .. } = &mut op.answer {
                found.retain(|one| one.transaction != row.transaction);
            }
        }
    });
}

#[test]
fn what_is_said_of_a_sweep_and_is_not_so_is_caught() {
    let bad = |change: &dyn Fn(&mut twinset_jepsen::history::sweeps::Swept)| {
        caught("linearizable_reads", |history| {
            let reads = history
                .ops
                .iter_mut()
                .filter(|op| op.ask.read_level() == Some(twinset_jepsen::history::Level::Linearizable));
            let mut swept = reads.filter_map(|op| match &mut op.answer {
                Answer::Swept { found, .. } => {
                    found.iter_mut().find(|one| one.runs > 1 && matches!(one.terms.when, When::Above(_)))
                }
                _ => None,
            });
            change(swept.next().unwrap());
        });
    };
    bad(&|swept| swept.runs -= 1);
    bad(&|swept| swept.terms.keep += 1);
    bad(&|swept| swept.next_ns += 1);
    bad(&|swept| swept.sweep.0.position = twinset_ledger::Position::new(1, 0));
    bad(&|swept| swept.open = Some(swept.sweep));
}

#[test]
fn a_sweep_that_is_left_undone_is_caught() {
    caught("sweeps", |history| {
        // As if nobody had run it any more since its last run.
        let is_above = |when| matches!(when, When::Above(_));
        let (sweep, run, _) = moved(history, is_above);
        let later: Vec<Found> = listed(history)
            .into_iter()
            .filter(|row| run_of(&row.id).is_some_and(|(other, number)| other == sweep && number >= run))
            .cloned()
            .collect();
        let is_later =
            |name: &twinset_jepsen::history::Name| later.iter().any(|row| row.transaction == *name);
        for op in &mut history.ops {
            match &mut op.answer {
                Answer::Page { found, .. } => found.retain(|row| !is_later(&row.transaction)),
                Answer::Events { events, .. } => events.retain(|told| !is_later(&told.event)),
                _ => {}
            }
        }
        history.ops.retain(|op| {
            let is_it = |id: &str| run_of(id).is_some_and(|(other, number)| other == sweep && number >= run);
            // The sweep stands until the end.
            let is_over =
                |account: u32| matches!(&op.ask, Ask::SetSweep { account: own, .. } if *own == account);
            !matches!(&op.ask, Ask::ReadRequest { id, .. } if is_it(id))
                && !later.iter().any(|row| {
                    op.begin_ns > 0
                        && is_over(row.legs[0].0)
                        && op.answer.decided().is_some_and(|(place, _)| place > row.place)
                })
        });
    });
}

#[test]
fn a_refusal_that_is_told_twice_or_wrongly_is_caught() {
    let bad = |change: &dyn Fn(&mut Told)| {
        caught("sweeps", |history| {
            let event = events(history).find(|told| told.refused.is_some()).unwrap().event;
            events(history).filter(|told| told.event == event).for_each(change);
        });
    };
    bad(&|told| told.refused.as_mut().unwrap().code = "account_full".into());
    bad(&|told| told.refused.as_mut().unwrap().run += 1_000);
    caught("sweeps", |history| {
        let refused: Vec<Told> =
            events(history).filter(|told| told.refused.is_some()).map(|told| told.clone()).collect();
        let other = refused.iter().find(|told| told.event != refused[0].event).unwrap().event;
        events(history)
            .filter(|told| told.event == other)
            .for_each(|told| told.refused = refused[0].refused.clone());
    });
}
