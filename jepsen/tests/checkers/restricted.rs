//! Restricted funds: each break of what is promised of them is seen by the checker that is for it.

use twinset_jepsen::check::{Verdict, overall};
use twinset_jepsen::history::marks::Mark;
use twinset_jepsen::history::restrictions::{FoundRestriction, RestrictionState};
use twinset_jepsen::history::{Answer, Ask, Found, History, Level, Op, Phase};

use super::{find, verdicts};

/// Of restricted funds alone, and of events that tell of them.
fn good() -> History {
    let kinds = twinset_jepsen::workload::named(&["restricted".to_owned(), "events".to_owned()]).unwrap();
    twinset_jepsen::synthetic::of(&kinds, 3_000, 7)
}

/// Breaks a good history; the checkers must say so.
fn caught(names: &[&str], spoil: impl FnOnce(&mut History)) {
    let mut history = good();
    spoil(&mut history);
    let found = verdicts(&history);
    for name in names {
        assert_eq!(found[name].verdict, Verdict::Invalid, "{name}: {:#?}", found[name]);
    }
}

/// What is listed in the end and is wanted.
fn on_final(history: &mut History, wanted: impl Fn(&FoundRestriction) -> bool) -> Vec<&mut FoundRestriction> {
    let from = history.phase(Phase::Final).unwrap();
    let lists = history.ops.iter_mut().filter(|op| op.begin_ns >= from);
    let found = lists.filter_map(|op| match &mut op.answer {
        Answer::Restrictions { found, .. } => Some(found),
        _ => None,
    });
    let found: Vec<&mut FoundRestriction> = found.flatten().filter(|one| wanted(one)).collect();
    assert!(!found.is_empty(), "the made-up history has no such restriction");
    found
}

fn in_state(history: &mut History, state: RestrictionState) -> &mut FoundRestriction {
    on_final(history, |found| found.restricted.state == state).swap_remove(0)
}

/// Every page that lists what a set has booked.
fn on_rows(history: &mut History, mut change: impl FnMut(&mut Vec<Found>)) {
    for op in &mut history.ops {
        if let Answer::Page { found, .. } = &mut op.answer {
            change(found);
        }
    }
}

fn is_withdrawal(op: &Op) -> bool {
    match &op.ask {
        Ask::Transfer(transfer) => transfer.marks.iter().any(|(_, mark)| *mark == Mark::Withdrawal),
        _ => false,
    }
}

fn is_refused(op: &Op) -> bool {
    matches!(&op.answer, Answer::Rejected { code, replayed: false, .. } if code == "withdrawable_exceeded")
}

#[test]
fn the_made_up_history_has_all_that_can_come_of_restricted_funds() {
    let mut history = good();
    for state in RestrictionState::ALL {
        assert!(on_final(&mut history, |found| found.restricted.state == state).len() > 2, "{state:?}");
    }
    let count = |is: &dyn Fn(&Op) -> bool| history.ops.iter().filter(|op| is(op)).count();
    let refused = |code: &'static str| move |op: &Op| matches!(&op.answer, Answer::Rejected { code: told, .. } if told == code);
    for code in ["withdrawable_exceeded", "restriction_exceeded", "restricted_outflow"] {
        assert!(count(&refused(code)) > 2, "{code}: {}", count(&refused(code)));
    }
    let parts = |op: &Op| matches!(&op.answer, Answer::Released { restricted, .. } if restricted.left > 0);
    assert!(count(&parts) > 5);
    let withdrawn = |op: &Op| is_withdrawal(op) && matches!(op.answer, Answer::Booked { .. });
    assert!(count(&withdrawn) > 30, "{}", count(&withdrawn));
}

#[test]
fn a_perfect_history_of_restricted_funds_is_valid() {
    let found = verdicts(&good());
    for (name, found) in &found {
        assert!(!found.verdict.is_red(), "{name}: {found:#?}");
    }
    for name in ["restrictions", "withdrawals"] {
        assert_eq!(found[name].verdict, Verdict::Valid, "{name}");
    }
    assert_eq!(overall(&found.into_values().collect::<Vec<_>>()), Verdict::Valid);
}

/// What was paid out of an account of which something is restricted is said to have been withdrawn.
#[test]
fn a_withdrawal_of_what_is_restricted_is_caught() {
    let mut history = good();
    let at = find(&history, |op| is_withdrawal(op) && is_refused(op));
    let Ask::Transfer(transfer) = &history.ops[at].ask else { unreachable!() };
    let account = transfer.legs[0].0;
    let mark = |legs: &[(u32, i64)], marks: &mut Vec<(u8, Mark)>| {
        if marks.is_empty() && legs.first().is_some_and(|leg| leg.0 == account && leg.1 > 0) {
            marks.push((0, Mark::Withdrawal));
        }
    };
    for op in &mut history.ops {
        if let Ask::Transfer(transfer) = &mut op.ask {
            mark(&transfer.legs, &mut transfer.marks);
        }
        match &mut op.answer {
            Answer::Page { found, .. } => found.iter_mut().for_each(|row| mark(&row.legs, &mut row.marks)),
            Answer::Transaction { found, .. } => mark(&found.legs, &mut found.marks),
            _ => {}
        }
    }
    let found = verdicts(&history);
    for name in ["withdrawals", "limits"] {
        assert_eq!(found[name].verdict, Verdict::Invalid, "{name}: {:#?}", found[name]);
    }
}

#[test]
fn a_refusal_without_a_reason_is_caught() {
    caught(&["limits"], |history| {
        let at = find(history, |op| {
            is_withdrawal(op) && matches!(op.answer, Answer::Booked { replayed: false, .. })
        });
        let (place, _) = history.ops[at].answer.decided().unwrap();
        let code = "withdrawable_exceeded".to_owned();
        for op in &mut history.ops {
            if op.answer.decided().is_some_and(|(told, _)| told == place) {
                let (_, replayed) = op.answer.decided().unwrap();
                op.answer = Answer::Rejected { code: code.clone(), place, replayed };
            }
        }
        on_rows(history, |rows| rows.retain(|row| row.place != place));
    });
}

#[test]
fn figures_that_are_wrong_are_caught() {
    caught(&["linearizable_reads"], |history| {
        let at = find(history, |op| {
            matches!((&op.ask, &op.answer), (Ask::ReadAccount { level: Level::Linearizable, .. }, Answer::Account { figures, .. })
                if figures.restricted > 0)
        });
        let Answer::Account { figures, .. } = &mut history.ops[at].answer else { unreachable!() };
        figures.restricted -= 1;
    });
    caught(&["linearizable_reads"], |history| {
        let at = find(history, |op| {
            matches!(
                (&op.ask, &op.answer),
                (Ask::ReadRestriction { level: Level::Linearizable, .. }, Answer::Restriction { .. })
            )
        });
        let Answer::Restriction { found, .. } = &mut history.ops[at].answer else { unreachable!() };
        found.restricted.until_ns = found.restricted.until_ns.map_or(Some(1), |until| Some(until + 1));
    });
    // One is left out of a page.
    caught(&["linearizable_reads"], |history| {
        let at = find(history, |op| {
            matches!((&op.ask, &op.answer), (Ask::ListRestrictions { level: Level::Linearizable, .. }, Answer::Restrictions { found, .. })
                if !found.is_empty())
        });
        let Answer::Restrictions { found, .. } = &mut history.ops[at].answer else { unreachable!() };
        found.remove(0);
    });
    // In the end an account shows more than is left.
    caught(&["restrictions"], |history| {
        let account = in_state(history, RestrictionState::Open).account;
        let last = history.ops.iter_mut().rev().find_map(|op| match (&op.ask, &mut op.answer) {
            (Ask::ReadAccount { account: read, .. }, Answer::Account { figures, .. }) if *read == account => {
                Some(figures)
            }
            _ => None,
        });
        last.unwrap().restricted += 1;
    });
}

#[test]
fn releases_of_too_much_or_another_rest_are_caught() {
    let released = |history: &History| {
        find(
            history,
            |op| matches!(&op.answer, Answer::Released { replayed: false, restricted, .. } if restricted.left > 0),
        )
    };
    for spoil in [
        |answer: &mut Answer| {
            let Answer::Released { restricted, .. } = answer else { unreachable!() };
            restricted.left -= 1;
        },
        |answer: &mut Answer| {
            let Answer::Released { cents, .. } = answer else { unreachable!() };
            *cents += 1;
        },
    ] {
        caught(&["restrictions", "answers"], |history| {
            let at = released(history);
            let (place, _) = history.ops[at].answer.decided().unwrap();
            for op in &mut history.ops {
                if op.answer.decided().is_some_and(|(told, _)| told == place) {
                    spoil(&mut op.answer);
                }
            }
        });
    }
    caught(&["answers"], |history| {
        let at = released(history);
        let Answer::Released { withdrawable, .. } = &mut history.ops[at].answer else { unreachable!() };
        *withdrawable += 1;
    });
}

#[test]
fn a_restriction_that_ends_too_early_or_never_is_caught() {
    // Its time had not come.
    caught(&["restrictions", "answers"], |history| {
        let early = in_state(history, RestrictionState::Expired);
        let (restriction, account) = (early.restricted.restriction, early.account);
        let later = early.ended.map(|place| place.time_ns + 1_000_000_000);
        history.ops.iter_mut().for_each(|op| {
            let until = |marks: &mut Vec<(u8, Mark)>| {
                for (_, mark) in marks {
                    if let Mark::Restricted { until_ns } = mark {
                        *until_ns = later;
                    }
                }
            };
            let asked = match (&mut op.ask, &op.answer) {
                (Ask::Transfer(transfer), answer) => vec![(transfer, answer)],
                (Ask::Batch { items, .. }, Answer::Batch(answers)) => items.iter_mut().zip(answers).collect(),
                _ => Vec::new(),
            };
            for (transfer, answer) in asked {
                if matches!(answer, Answer::Booked { transaction, .. } if *transaction == restriction) {
                    until(&mut transfer.marks);
                }
            }
            match &mut op.answer {
                Answer::Page { found, .. } => {
                    found
                        .iter_mut()
                        .filter(|row| row.transaction == restriction)
                        .for_each(|row| until(&mut row.marks));
                }
                Answer::Restrictions { found, .. } => {
                    let own = found
                        .iter_mut()
                        .filter(|one| (one.account, one.restricted.restriction) == (account, restriction));
                    own.for_each(|one| one.restricted.until_ns = later);
                }
                _ => {}
            }
        });
    });
    // It is still there long after its time.
    caught(&["restrictions"], |history| {
        let kept = in_state(history, RestrictionState::Expired);
        kept.restricted.state = RestrictionState::Open;
        (kept.restricted.left, kept.ended) = (kept.restricted.amount, None);
    });
    // It is not there.
    caught(&["restrictions"], |history| {
        let restriction = in_state(history, RestrictionState::Released).restricted.restriction;
        for op in &mut history.ops {
            if let Answer::Restrictions { found, .. } = &mut op.answer {
                found.retain(|one| one.restricted.restriction != restriction);
            }
        }
    });
}

#[test]
fn what_is_shown_of_legs_is_what_was_asked_for() {
    caught(&["lists", "restrictions"], |history| {
        let of = in_state(history, RestrictionState::Released).restricted.restriction;
        on_rows(history, |rows| {
            rows.iter_mut().filter(|row| row.transaction == of).for_each(|row| row.marks.clear());
        });
    });
    caught(&["events"], |history| {
        let at = find(history, |op| match &op.answer {
            Answer::Events { events, .. } => events.iter().any(|told| told.kind == "restriction_expired"),
            _ => false,
        });
        let Answer::Events { events, .. } = &mut history.ops[at].answer else { unreachable!() };
        let told = events.iter_mut().find(|told| told.kind == "restriction_expired");
        told.unwrap().kind = "restriction_released".into();
    });
}
