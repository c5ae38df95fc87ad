//! Preconditions and dry runs: each way to be wrong about them is seen by the checker that is for it.

use twinset_jepsen::check::{Verdict, overall};
use twinset_jepsen::history::marks::{Figure, Mark};
use twinset_jepsen::history::{Answer, Ask, History, Op, Transfer};

use super::{find, verdicts};

fn good() -> History {
    let kinds = twinset_jepsen::workload::named(&["preconditions".to_owned()]).unwrap();
    twinset_jepsen::synthetic::of(&kinds, 4_000, 11)
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

/// The conditions of one transaction, wherever it is asked for.
fn on_conditions(history: &mut History, at: usize, change: impl Fn(&mut Figure, &mut i64)) {
    let Ask::Transfer(Transfer { id, .. }) = &history.ops[at].ask else { panic!("it is no transaction") };
    let id = id.clone();
    for op in &mut history.ops {
        let (Ask::Transfer(transfer) | Ask::DryRun(transfer)) = &mut op.ask else { continue };
        for (_, mark) in transfer.marks.iter_mut().filter(|_| transfer.id == id) {
            if let Mark::Expects { figure, value } = mark {
                change(figure, value);
            }
        }
    }
}

fn expects(op: &Op, wanted: Figure) -> bool {
    match &op.ask {
        Ask::Transfer(transfer) => transfer.expects().any(|(_, figure, _)| figure == wanted),
        _ => false,
    }
}

fn is_booked(op: &Op) -> bool {
    matches!(op.answer, Answer::Booked { replayed: false, .. })
}

fn is_refused(op: &Op) -> bool {
    matches!(&op.answer, Answer::Rejected { code, replayed: false, .. } if code == "precondition_failed")
}

fn is_foreseen(op: &Op) -> bool {
    matches!(op.answer, Answer::Foreseen { replayed: false, .. })
}

#[test]
fn the_made_up_history_has_all_that_can_come_of_conditions_and_dry_runs() {
    let history = good();
    let count = |is: &dyn Fn(&Op) -> bool| history.ops.iter().filter(|op| is(op)).count();
    for figure in Figure::ALL {
        assert!(count(&|op| expects(op, figure) && is_booked(op)) > 10, "{figure:?}");
        assert!(count(&|op| expects(op, figure) && is_refused(op)) > 10, "{figure:?}");
    }
    let tried = |op: &Op| matches!(op.ask, Ask::DryRun(_));
    assert!(count(&is_foreseen) > 50);
    assert!(count(&|op| matches!(op.answer, Answer::Foreseen { replayed: true, .. })) > 10);
    assert!(count(&|op| matches!(op.answer, Answer::ForeseenRefusal { .. })) > 50);
    assert!(count(&|op| tried(op) && matches!(op.answer, Answer::Rejected { .. })) > 10);
    let other =
        |op: &Op| matches!(&op.answer, Answer::ForeseenRefusal { code, .. } if code == "request_mismatch");
    assert!(count(&other) > 3);
}

#[test]
fn a_perfect_history_of_conditions_and_dry_runs_is_valid() {
    let found = verdicts(&good());
    for (name, found) in &found {
        assert!(!found.verdict.is_red(), "{name}: {found:#?}");
    }
    for name in ["preconditions", "dry_runs"] {
        assert_eq!(found[name].verdict, Verdict::Valid, "{name}");
    }
    assert_eq!(overall(&found.into_values().collect::<Vec<_>>()), Verdict::Valid);
}

#[test]
fn what_is_booked_on_a_condition_that_did_not_hold_is_caught() {
    for wanted in Figure::ALL {
        caught(&["preconditions", "answers"], |history| {
            // Where amounts are set aside the lists cannot tell what is available.
            let is_plain = |op: &Op| match &op.ask {
                Ask::Transfer(transfer) => transfer
                    .expects()
                    .all(|(account, ..)| !history.accounts[account as usize].contains(":held")),
                _ => false,
            };
            let at = find(history, |op| expects(op, wanted) && is_booked(op) && is_plain(op));
            on_conditions(history, at, |figure, value| {
                if *figure == wanted {
                    *value += match figure {
                        Figure::AvailableMin | Figure::PostedMin => 1_000_000,
                        Figure::AvailableMax | Figure::PostedMax => -1_000_000,
                        Figure::Version => 1,
                    };
                }
            });
        });
    }
}

#[test]
fn a_refusal_for_a_condition_that_held_is_caught() {
    caught(&["preconditions", "answers"], |history| {
        let at = find(history, |op| is_refused(op) && !expects(op, Figure::Version));
        on_conditions(history, at, |figure, value| {
            (*figure, *value) = (Figure::PostedMin, -1_000_000);
        });
    });
    // Just at least is enough.
    caught(&["preconditions"], |history| {
        let at = find(history, |op| {
            matches!(&op.ask, Ask::Transfer(transfer) if transfer.marks.len() == 1)
                && expects(op, Figure::PostedMin)
                && is_booked(op)
        });
        let Ask::Transfer(transfer) = history.ops[at].ask.clone() else { unreachable!() };
        let Answer::Booked { place, balances, .. } = history.ops[at].answer.clone() else { unreachable!() };
        let till = history.accounts[transfer.legs[0].0 as usize].contains(":till");
        let moved = if till { transfer.legs[0].1 } else { -transfer.legs[0].1 };
        let before = balances[0].0 - moved;
        on_conditions(history, at, |_, value| *value = before);
        let refused = Answer::Rejected { code: "precondition_failed".to_owned(), place, replayed: false };
        history.ops[at].answer = refused;
    });
}

#[test]
fn a_dry_run_that_tells_something_else_than_the_real_call_would_be_is_caught() {
    caught(&["dry_runs"], |history| {
        let at = find(history, is_foreseen);
        let Answer::Foreseen { balances, .. } = &mut history.ops[at].answer else { unreachable!() };
        balances[1].0 += 1;
    });
    caught(&["dry_runs"], |history| {
        let at = find(history, |op| matches!(op.answer, Answer::ForeseenRefusal { .. }));
        let Answer::ForeseenRefusal { code, .. } = &mut history.ops[at].answer else { unreachable!() };
        *code = "account_frozen".to_owned();
    });
    // It would be booked, and was to be refused; and the other way round.
    caught(&["dry_runs"], |history| {
        let refused = find(
            history,
            |op| matches!(&op.answer, Answer::ForeseenRefusal { code, .. } if code == "precondition_failed"),
        );
        let Answer::ForeseenRefusal { as_of, .. } = history.ops[refused].answer else { unreachable!() };
        let balances = vec![(0, 0), (0, 0)];
        history.ops[refused].answer = Answer::Foreseen { as_of, before: None, replayed: false, balances };
    });
    caught(&["dry_runs"], |history| {
        let at = find(history, is_foreseen);
        let Answer::Foreseen { as_of, .. } = history.ops[at].answer else { unreachable!() };
        history.ops[at].answer = Answer::ForeseenRefusal { as_of, code: "limit_exceeded".to_owned() };
    });
}

#[test]
fn a_dry_run_of_what_is_known_that_takes_it_for_new_is_caught() {
    caught(&["dry_runs"], |history| {
        let at = find(history, |op| matches!(op.answer, Answer::Foreseen { replayed: true, .. }));
        let Answer::Foreseen { before, replayed, .. } = &mut history.ops[at].answer else { unreachable!() };
        (*before, *replayed) = (None, false);
    });
    caught(&["dry_runs"], |history| {
        let at =
            find(history, |op| matches!((&op.ask, &op.answer), (Ask::DryRun(_), Answer::Rejected { .. })));
        let Answer::Rejected { code, .. } = &mut history.ops[at].answer else { unreachable!() };
        *code = "limit_exceeded".to_owned() + code;
    });
}

#[test]
fn a_dry_run_that_shows_an_older_state_than_was_answered_before_is_caught() {
    caught(&["real_time_order"], |history| {
        let late = history.ops.len() / 2;
        let at = (late..).find(|at| is_foreseen(&history.ops[*at])).unwrap();
        let Answer::Foreseen { as_of, .. } = &mut history.ops[at].answer else { unreachable!() };
        as_of.place.index -= 200;
        as_of.place.time_ns -= 200 * 5_000_000;
    });
}

#[test]
fn a_dry_run_of_which_something_came_is_caught() {
    // Booked, though nobody asked for more than a dry run.
    caught(&["dry_runs", "exactly_once"], |history| {
        let at = find(history, is_booked);
        let Ask::Transfer(transfer) = history.ops[at].ask.clone() else { panic!("it is a transaction") };
        let Answer::Booked { place, balances, .. } = history.ops[at].answer.clone() else { unreachable!() };
        let as_of = twinset_jepsen::history::AsOf { place, age_ms: 0 };
        for op in &mut history.ops {
            if matches!(&op.ask, Ask::Transfer(other) if other.id == transfer.id) {
                op.ask = Ask::DryRun(transfer.clone());
                let balances = balances.clone();
                op.answer = Answer::Foreseen { as_of, before: None, replayed: false, balances };
            }
        }
    });
    // Remembered: who asks in earnest is told that it was refused before.
    caught(&["answers"], |history| {
        let tried: Vec<String> = history
            .ops
            .iter()
            .filter_map(|op| match (&op.ask, &op.answer) {
                (Ask::DryRun(transfer), Answer::ForeseenRefusal { .. }) => Some(transfer.id.clone()),
                _ => None,
            })
            .collect();
        let at = find(history, |op| {
            matches!(&op.ask, Ask::Transfer(transfer) if tried.contains(&transfer.id)) && is_booked(op)
        });
        let Answer::Booked { place, .. } = history.ops[at].answer else { unreachable!() };
        let code = "precondition_failed".to_owned();
        super::all_answers(history, at, |answer| {
            *answer = Answer::Rejected { code: code.clone(), place, replayed: true };
        });
    });
}
