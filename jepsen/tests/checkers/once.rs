//! Exactly once: what was asked is decided once, and found as it was decided.

use twinset_jepsen::check::Verdict;
use twinset_jepsen::history::{Answer, Ask, History, Level, Op, Phase, Place};

use crate::{all_answers, booked, caught, final_page, find, good, verdicts};

#[test]
fn a_first_answer_that_came_late_and_a_refusal_of_what_was_done_are_caught() {
    let again = |op: &Op| {
        matches!(op.answer, Answer::Booked { replayed: true, .. }) && matches!(op.ask, Ask::Transfer(_))
    };
    let say = |op: &mut Op, told: bool| {
        if let Answer::Booked { replayed, .. } = &mut op.answer {
            *replayed = told;
        }
    };
    let all_known = |history: &mut History| {
        let at = find(history, again);
        let ask = history.ops[at].ask.clone();
        history.ops.iter_mut().filter(|op| op.ask == ask).for_each(|op| say(op, true));
        ask
    };
    // A router that asks twice within a call is told so.
    caught("exactly_once", Verdict::Valid, |history| {
        all_known(history);
    });
    // The last is told that it is new.
    caught("exactly_once", Verdict::Invalid, |history| {
        let ask = all_known(history);
        say(history.ops.iter_mut().rfind(|op| op.ask == ask).unwrap(), false);
    });
    // The first was told that nothing happened; it was there all the same before the second asked.
    caught("real_time_order", Verdict::Invalid, |history| {
        let ask = all_known(history);
        let first = history.ops.iter().position(|op| op.ask == ask).unwrap();
        history.ops[first].answer = Answer::NotApplied { code: "no_leader".into() };
        let late = history.phase(Phase::Resolve).unwrap();
        for op in history.ops[first + 1..].iter_mut().filter(|op| op.ask == ask) {
            (op.begin_ns, op.end_ns) = (late, Some(late + 1));
        }
    });
}

#[test]
fn a_lost_a_double_and_a_made_up_transaction_are_caught() {
    caught("exactly_once", Verdict::Invalid, |history| {
        final_page(history).remove(5);
    });
    caught("exactly_once", Verdict::Invalid, |history| {
        let page = final_page(history);
        page.insert(5, page[5].clone());
    });
    caught("exactly_once", Verdict::Invalid, |history| {
        let page = final_page(history);
        let mut phantom = page[5].clone();
        phantom.id = "nobody-asked".into();
        phantom.place.time_ns += 1;
        phantom.transaction.0.position = twinset_ledger::Position::new(phantom.place.index, 1);
        page.insert(6, phantom);
    });
    caught("exactly_once", Verdict::Invalid, |history| final_page(history)[5].legs[0].1 += 1);
}

#[test]
fn a_request_that_is_decided_twice_is_caught() {
    // A replay that claims a place of its own: the retry was booked again.
    caught("exactly_once", Verdict::Invalid, |history| {
        let at = find(history, |op| {
            matches!(op.answer, Answer::Booked { replayed: true, .. }) && matches!(op.ask, Ask::Transfer(_))
        });
        let Answer::Booked { place, transaction, replayed, .. } = &mut history.ops[at].answer else {
            unreachable!()
        };
        place.index += 1_000_000;
        place.time_ns += 1_000_000_000;
        transaction.0.position = twinset_ledger::Position::new(place.index, 0);
        *replayed = false;
    });
    // Two answers as new at the same place.
    caught("exactly_once", Verdict::Invalid, |history| {
        let at = find(history, |op| matches!(op.answer, Answer::Booked { replayed: true, .. }));
        let Answer::Booked { replayed, .. } = &mut history.ops[at].answer else { unreachable!() };
        *replayed = false;
    });
}

#[test]
fn a_replay_that_names_another_transaction_is_caught() {
    caught("exactly_once", Verdict::Invalid, |history| {
        let at = find(history, |op| matches!(op.answer, Answer::Booked { replayed: true, .. }));
        let Answer::Booked { transaction, .. } = &mut history.ops[at].answer else { unreachable!() };
        transaction.0.position.0 += 1 << 16;
    });
}

#[test]
fn routers_that_list_differently_are_caught() {
    caught("exactly_once", Verdict::Invalid, |history| {
        let from = history.phase(Phase::Final).unwrap();
        let other = history.ops.iter_mut().filter(|op| op.begin_ns >= from && op.router == 1);
        let page = other.filter_map(|op| match &mut op.answer {
            Answer::Page { found, .. } if found.len() > 10 => Some(found),
            _ => None,
        });
        page.into_iter().next().unwrap()[5].legs[0].1 += 1;
    });
}

#[test]
fn a_label_that_was_lost_is_caught() {
    caught("exactly_once", Verdict::Invalid, |history| {
        let labelled = final_page(history).iter_mut().find(|found| found.label.is_some());
        labelled.unwrap().label = None;
    });
}

#[test]
fn an_open_end_is_resolved_by_the_lists_and_stays_unknown_without_them() {
    let mut history = good();
    let at = find(&history, |op| booked(op) && op.retry.is_none());
    let lost = Answer::Unknown { why: "silent".into() };
    all_answers(&mut history, at, |answer| *answer = lost.clone());
    assert_eq!(verdicts(&history)["exactly_once"].verdict, Verdict::Valid);
    caught("exactly_once", Verdict::Unknown, |history| {
        let limit =
            |answer: &Answer| matches!(answer, Answer::Rejected { code, .. } if code == "limit_exceeded");
        let at = find(history, |op| limit(&op.answer) && op.retry.is_none());
        all_answers(history, at, |answer| *answer = lost.clone());
    });
    caught("exactly_once", Verdict::Unknown, |history| {
        let last = history.ops.iter().rposition(|op| matches!(op.answer, Answer::Page { .. })).unwrap();
        history.ops[last].answer = lost.clone();
    });
}

#[test]
fn a_refused_request_that_is_there_is_caught() {
    for refusal in [
        Answer::NotApplied { code: "no_leader".into() },
        Answer::Rejected { code: "limit_exceeded".into(), place: Place::from((1, 5, 5)), replayed: false },
    ] {
        caught("refused_is_never", Verdict::Invalid, |history| {
            let at = find(history, booked);
            all_answers(history, at, |answer| *answer = refusal.clone());
            let id = match &history.ops[at].ask {
                Ask::Transfer(transfer) => transfer.id.clone(),
                _ => unreachable!(),
            };
            // Ids that are used for several things are not told apart.
            history.ops.retain(
                |op| !matches!(&op.ask, Ask::Transfer(other) if other.id == id && op.answer != refusal),
            );
        });
    }
}

#[test]
fn a_request_id_that_changed_no_account_shows_none() {
    caught("linearizable_reads", Verdict::Invalid, |history| {
        let paid = find(history, booked);
        let Ask::Transfer(transfer) = history.ops[paid].ask.clone() else { unreachable!() };
        let scope = transfer.scope.unwrap_or_else(|| transfer.legs.iter().find(|leg| leg.1 > 0).unwrap().0);
        // An account that is read after that, as if what it shows stood under the id of the payment.
        let reads = |op: &Op| {
            matches!(op.ask, Ask::ReadAccount { account, level: Level::Linearizable } if account == scope)
                && matches!(op.answer, Answer::Account { .. })
        };
        let at = history.ops.iter().rposition(reads).unwrap();
        let level = Level::Linearizable;
        history.ops[at].ask = Ask::ReadRequest { scope, id: transfer.id, level };
    });
}

#[test]
fn a_rejection_that_is_looked_up_and_was_never_given_is_caught() {
    let looked_up = |history: &mut History, spoil: fn(&mut String, &mut String, &mut Place)| {
        let rejected = |op: &Op| matches!((&op.ask, &op.answer), (Ask::Transfer(_), Answer::Rejected { .. }));
        let at = find(history, rejected);
        let mut op = history.ops[at].clone();
        let (Ask::Transfer(transfer), Answer::Rejected { code, place, .. }) = (&op.ask, &mut op.answer)
        else {
            unreachable!()
        };
        let mut id = transfer.id.clone();
        spoil(&mut id, code, place);
        op.ask = Ask::ReadRequest { scope: transfer.legs[0].0, id, level: Level::Linearizable };
        let late = history.phase(Phase::Resolve).unwrap();
        (op.begin_ns, op.end_ns) = (late, Some(late + 1));
        history.ops.push(op);
    };
    caught("refused_is_never", Verdict::Valid, |history| looked_up(history, |_, _, _| {}));
    // The same rejection under another account.
    caught("refused_is_never", Verdict::Invalid, |history| {
        looked_up(history, |_, _, _| {});
        let look = history.ops.last_mut().unwrap();
        let Ask::ReadRequest { scope, .. } = &mut look.ask else { unreachable!() };
        *scope += 1;
    });
    for spoil in [
        |_: &mut String, code: &mut String, _: &mut Place| *code = "nobody_said_so".into(),
        |_: &mut String, _: &mut String, place: &mut Place| place.index += 1_000_000,
        |id: &mut String, _: &mut String, _: &mut Place| id.push('x'),
    ] {
        caught("refused_is_never", Verdict::Invalid, |history| looked_up(history, spoil));
    }
}
