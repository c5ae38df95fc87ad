//! Whether the answers to one request id agree with each other and with what was asked. Pure.

use super::Violation;
use crate::history::{Answer, History};

/// Every definite answer to the same request is the same result, and at most one of them is the first.
pub fn one_result_each(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    for asked in &history.requests {
        let mut results: Vec<_> = asked.same_body().filter_map(|call| result(&call.answer)).collect();
        results.sort();
        results.dedup();
        if results.len() > 1 {
            violations.push(format!(
                "request {} has {} different results: {results:?}",
                asked.id,
                results.len()
            ));
        }
        let firsts = asked.same_body().filter(|call| is_first(&call.answer)).count();
        if firsts > 1 {
            violations
                .push(format!("request {} was answered {firsts} times as new, not as a replay", asked.id));
        }
    }
    violations
}

/// A definite answer without its replay mark.
fn result(answer: &Answer) -> Option<String> {
    match answer {
        Answer::Booked { transaction, place, .. } => Some(format!("booked {transaction} {place:?}")),
        Answer::Rejected { code, place, .. } => Some(format!("rejected {code} {place:?}")),
        Answer::NotApplied { .. } | Answer::Unknown => None,
    }
}

fn is_first(answer: &Answer) -> bool {
    matches!(answer, Answer::Booked { replayed: false, .. } | Answer::Rejected { replayed: false, .. })
}

/// The same id with another body, after it was decided, is refused as a mismatch or not answered definitely.
pub fn other_bodies_are_refused(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    for asked in &history.requests {
        for call in asked.calls.iter().filter(|call| call.other_body) {
            let fine = match &call.answer {
                Answer::Rejected { code, .. } => code == "request_mismatch",
                Answer::Booked { .. } => false,
                Answer::NotApplied { .. } | Answer::Unknown => true,
            };
            if !fine {
                violations
                    .push(format!("request {} with another body was answered {:?}", asked.id, call.answer));
            }
        }
    }
    violations
}

/// What can be booked is never rejected, what breaks a limit is never booked.
pub fn wishes_come_out_right(history: &History) -> Vec<Violation> {
    let mut violations = Vec::new();
    for asked in &history.requests {
        for call in asked.same_body() {
            let fine = match &call.answer {
                Answer::Booked { .. } => !asked.wish.doomed,
                Answer::Rejected { code, .. } => asked.wish.doomed && code == "limit_exceeded",
                Answer::NotApplied { code } => code != "malformed",
                Answer::Unknown => true,
            };
            if !fine {
                violations
                    .push(format!("request {} ({:?}) was answered {:?}", asked.id, asked.wish, call.answer));
            }
        }
    }
    violations
}

/// In the end no request with an open end is left without a definite answer.
pub fn nothing_stays_open(history: &History) -> Vec<Violation> {
    let open = history.requests.iter().filter(|asked| asked.was_unknown() && asked.decided().is_none());
    open.map(|asked| format!("request {} was never resolved: {:?}", asked.id, asked.calls)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::{asked, booked, call, history, not_applied, one, rejected};
    use crate::history::Call;

    #[test]
    fn a_replay_of_the_first_result_is_right() {
        let calls = vec![
            call(0, 1, Answer::Unknown),
            call(2, 3, booked(7, true)),
            call(4, 5, booked(7, false)),
            call(6, 7, not_applied()),
        ];
        let history = history(vec![asked("x", calls)]);
        assert!(one_result_each(&history).is_empty());
        assert!(nothing_stays_open(&history).is_empty());
        assert!(wishes_come_out_right(&history).is_empty());
    }

    #[test]
    fn two_results_for_one_request_are_caught() {
        let two = |other| history(vec![asked("x", vec![call(0, 1, booked(7, false)), call(2, 3, other)])]);
        assert_eq!(one_result_each(&two(booked(8, true))).len(), 1);
        assert_eq!(one_result_each(&two(rejected("limit_exceeded", 8, true))).len(), 1);
    }

    #[test]
    fn a_second_first_answer_is_caught() {
        let twice = vec![call(0, 1, booked(7, false)), call(2, 3, booked(7, false))];
        assert_eq!(one_result_each(&history(vec![asked("x", twice)])).len(), 1);
    }

    #[test]
    fn another_body_that_is_taken_is_caught() {
        let with = |answer| {
            let other = Call { other_body: true, ..call(2, 3, answer) };
            history(vec![asked("x", vec![call(0, 1, booked(7, false)), other])])
        };
        assert!(other_bodies_are_refused(&with(rejected("request_mismatch", 9, false))).is_empty());
        assert!(other_bodies_are_refused(&with(Answer::Unknown)).is_empty());
        for wrong in [booked(7, true), booked(9, false), rejected("limit_exceeded", 9, false)] {
            assert_eq!(other_bodies_are_refused(&with(wrong)).len(), 1);
        }
    }

    #[test]
    fn a_crossed_limit_and_a_groundless_rejection_are_caught() {
        let mut doomed = one("x", 7, 0, 1);
        doomed.wish.doomed = true;
        assert_eq!(wishes_come_out_right(&history(vec![doomed])).len(), 1);
        let groundless = asked("y", vec![call(0, 1, rejected("limit_exceeded", 7, false))]);
        assert_eq!(wishes_come_out_right(&history(vec![groundless])).len(), 1);
    }

    #[test]
    fn a_request_that_stays_open_is_caught() {
        let open = asked("x", vec![call(0, 1, Answer::Unknown), call(2, 3, not_applied())]);
        assert_eq!(nothing_stays_open(&history(vec![open])).len(), 1);
    }
}
