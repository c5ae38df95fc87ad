//! Parts of legs that are taken back, in histories of a perfect ledger that are broken in one place.

use twinset_jepsen::check::Verdict;
use twinset_jepsen::history::{Answer, Ask, History, Op, Phase};

use super::{all_answers, caught, find, good};

/// Whether legs were named, and it was decided anew.
fn is_of_legs(op: &Op) -> bool {
    matches!(&op.ask, Ask::Reverse { parts, .. } if !parts.is_empty())
        && op.answer.decided().is_some_and(|(_, replayed)| !replayed)
}

fn refused(code: &'static str) -> impl Fn(&Op) -> bool {
    move |op| is_of_legs(op) && matches!(&op.answer, Answer::Rejected { code: told, .. } if told == code)
}

#[test]
fn the_made_up_history_takes_back_parts_of_legs_and_too_much_of_them() {
    let history = good();
    let from = history.phase(Phase::Traffic).unwrap();
    let count = |wanted: &dyn Fn(&Op) -> bool| {
        history.ops.iter().filter(|op| op.begin_ns >= from && wanted(op)).count()
    };
    assert!(count(&|op| is_of_legs(op) && matches!(op.answer, Answer::Booked { .. })) >= 10);
    for code in ["reversal_exceeds", "unbalanced", "leg_not_found"] {
        assert!(count(&refused(code)) >= 1, "{code}");
    }
}

#[test]
fn more_of_a_leg_than_what_is_left_is_caught() {
    // Refused for another reason than the one there was.
    for (code, other) in [("reversal_exceeds", "unbalanced"), ("leg_not_found", "reversal_exceeds")] {
        caught("answers", Verdict::Invalid, |history: &mut History| {
            let at = find(history, refused(code));
            all_answers(history, at, |answer| {
                if let Answer::Rejected { code, .. } = answer {
                    *code = other.into();
                }
            });
        });
    }
    // What was booked was more than the request says: a cent of it came out of nothing that was left.
    caught("answers", Verdict::Invalid, |history: &mut History| {
        let at = find(history, |op| is_of_legs(op) && matches!(op.answer, Answer::Booked { .. }));
        let ask = history.ops[at].ask.clone();
        for op in history.ops.iter_mut().filter(|op| op.ask == ask) {
            let Ask::Reverse { parts, .. } = &mut op.ask else { unreachable!("it is one") };
            parts.iter_mut().for_each(|(_, cents)| *cents += 1_000_000);
        }
    });
}
