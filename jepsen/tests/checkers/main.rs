//! The checkers against histories of a perfect ledger, whole and broken in one place each: every checker must let the whole
//! one pass, and catch what it is for.

#![allow(clippy::unwrap_used, reason = "a test may panic anywhere, in its helpers too")]

mod buffered;
mod faults;
mod groups;
mod lives;
mod once;
mod parts;
mod past;
mod preconditions;
mod restricted;
mod several;
mod sweeps;

use twinset_jepsen::api::UNREADABLE;
use twinset_jepsen::check::{ALL, Case, Finding, Verdict, all, overall};
use twinset_jepsen::history::{
    Answer, Ask, Figures, Found, History, Level, Op, Phase, Place, Retry, VerifyLine,
};
use twinset_jepsen::synthetic;
use twinset_jepsen::workload::JAR;

fn good() -> History {
    synthetic::history(6_000, 5).unwrap()
}

fn verdicts(history: &History) -> std::collections::BTreeMap<&'static str, Finding> {
    all(&Case::of(history)).into_iter().map(|finding| (finding.checker, finding)).collect()
}

/// Breaks a good history; the checker must say so.
fn caught(name: &str, verdict: Verdict, spoil: impl FnOnce(&mut History)) {
    let mut history = good();
    spoil(&mut history);
    let found = verdicts(&history).remove(name).unwrap();
    assert_eq!(found.verdict, verdict, "{name}: {found:#?}");
}

/// The first operation for which `wanted` gives something, with its number.
fn find(history: &History, wanted: impl Fn(&Op) -> bool) -> usize {
    let from = history.phase(Phase::Traffic).unwrap();
    let found = history.ops.iter().position(|op| op.begin_ns >= from && wanted(op));
    found.expect("the made-up history has one")
}

fn booked(op: &Op) -> bool {
    matches!(op.answer, Answer::Booked { replayed: false, .. }) && matches!(op.ask, Ask::Transfer(_))
}

/// Changes every answer to the same request.
fn all_answers(history: &mut History, at: usize, change: impl Fn(&mut Answer)) {
    let ask = history.ops[at].ask.clone();
    history.ops.iter_mut().filter(|op| op.ask == ask).for_each(|op| change(&mut op.answer));
}

fn final_page(history: &mut History) -> &mut Vec<Found> {
    let from = history.phase(Phase::Final).unwrap();
    let op = history.ops.iter_mut().filter(|op| op.begin_ns >= from);
    let page = op.filter_map(|op| match &mut op.answer {
        Answer::Page { found, .. } if found.len() > 10 => Some(found),
        _ => None,
    });
    page.into_iter().next().unwrap()
}

#[test]
fn a_perfect_history_is_valid_and_every_checker_has_something_to_look_at() {
    let history = good();
    for (name, found) in verdicts(&history) {
        // The made-up history has no faults, and no set of it was recovered.
        let idle = ["faults_act", "both_sites", "lives"].contains(&name);
        let expected = if idle { Verdict::Idle } else { Verdict::Valid };
        assert_eq!(found.verdict, expected, "{name}: {found:#?}");
    }
    assert!(history.ops.iter().any(|op| op.retry == Some(Retry::Again)));
}

#[test]
fn a_wrong_balance_or_code_in_an_answer_is_caught() {
    caught("answers", Verdict::Invalid, |history| {
        let at = find(history, booked);
        let Answer::Booked { balances, .. } = &mut history.ops[at].answer else { unreachable!() };
        balances[0].0 += 1;
    });
    caught("answers", Verdict::Invalid, |history| {
        let at = find(
            history,
            |op| matches!(&op.answer, Answer::Rejected { code, .. } if code == "account_frozen"),
        );
        all_answers(history, at, |answer| {
            if let Answer::Rejected { code, .. } = answer {
                *code = "account_closed".into();
            }
        });
    });
}

#[test]
fn a_wrong_answer_within_a_batch_is_caught() {
    let one = |history: &mut History, wanted: fn(&Answer) -> bool, spoil: &dyn Fn(&mut Answer)| {
        let items = history.ops.iter_mut().find_map(|op| match &mut op.answer {
            Answer::Batch(items) if items.iter().any(wanted) => Some(items),
            _ => None,
        });
        spoil(items.unwrap().iter_mut().find(|item| wanted(item)).unwrap());
    };
    let told = |answer: &Answer| matches!(answer, Answer::Booked { balances, replayed: false, .. } if !balances.is_empty());
    caught("answers", Verdict::Invalid, |history| {
        one(history, told, &|answer| {
            if let Answer::Booked { balances, .. } = answer {
                balances[1].0 += 1;
            }
        });
    });
    let refused = |answer: &Answer| matches!(answer, Answer::Rejected { replayed: false, .. });
    caught("limits", Verdict::Invalid, |history| {
        one(history, refused, &|answer| {
            if let Answer::Rejected { code, .. } = answer {
                *code = "account_frozen".into();
            }
        });
    });
    let booked = |answer: &Answer| matches!(answer, Answer::Booked { replayed: false, .. });
    caught("exactly_once", Verdict::Unknown, |history| {
        one(history, booked, &|answer| *answer = Answer::Unknown { why: "silent".into() });
        // Neither is it listed.
        let from = history.phase(Phase::Final).unwrap();
        history.ops.retain(|op| op.begin_ns < from);
    });
}

#[test]
fn an_answer_of_another_set_or_of_another_kind_is_caught() {
    let other = |place: &mut Place| place.set = 3 - place.set;
    let bad = |spoil: &dyn Fn(&mut History)| caught("fits", Verdict::Invalid, |history| spoil(history));
    // A write, a read and a page that another set answers, each consistent there.
    bad(&|history| {
        let at = find(history, booked);
        let Answer::Booked { place, .. } = &mut history.ops[at].answer else { unreachable!() };
        other(place);
    });
    bad(&|history| {
        let at = find(history, |op| matches!(op.answer, Answer::Account { .. }));
        let Answer::Account { as_of, .. } = &history.ops[at].answer else { unreachable!() };
        let mut as_of = *as_of;
        other(&mut as_of.place);
        history.ops[at].answer = Answer::Absent { as_of };
    });
    bad(&|history| {
        let at = find(history, |op| matches!(op.answer, Answer::Page { .. }));
        let Answer::Page { as_of, .. } = &mut history.ops[at].answer else { unreachable!() };
        other(&mut as_of.place);
    });
    // A reply that came and says nothing.
    bad(&|history| {
        let at = find(history, |op| matches!(op.ask, Ask::ReadAccount { .. }));
        history.ops[at].answer = Answer::Unknown { why: format!("{UNREADABLE}200 OK") };
    });
    // A page for an account, and a transaction without what it did.
    bad(&|history| {
        let page = find(history, |op| matches!(op.answer, Answer::Page { .. }));
        let at = find(history, |op| matches!(op.ask, Ask::ReadAccount { .. }));
        history.ops[at].answer = history.ops[page].answer.clone();
    });
    bad(&|history| {
        let at = find(history, booked);
        let Answer::Booked { balances, .. } = &mut history.ops[at].answer else { unreachable!() };
        balances.clear();
    });
}

#[test]
fn a_request_that_nobody_used_is_not_read() {
    caught("linearizable_reads", Verdict::Invalid, |history| {
        let at = find(history, |op| {
            matches!(op.ask, Ask::ReadAccount { level: Level::Linearizable, .. })
                && matches!(op.answer, Answer::Account { .. })
        });
        let Ask::ReadAccount { account, level } = history.ops[at].ask else { unreachable!() };
        history.ops[at].ask = Ask::ReadRequest { scope: account, id: "nobody-asked".into(), level };
    });
}

/// A late linearizable read, put back to where the set was long before.
fn old_read(history: &mut History) -> usize {
    let wanted = |op: &Op| {
        op.ask.read_level() == Some(Level::Linearizable)
            && matches!(op.answer, Answer::Account { figures, .. } if figures.version > 3)
    };
    let at = find(history, wanted);
    if let Answer::Account { as_of, .. } = &mut history.ops[at].answer {
        as_of.place.index -= 50;
        as_of.place.time_ns -= 350;
    }
    at
}

#[test]
fn an_order_against_real_time_is_caught() {
    caught("real_time_order", Verdict::Invalid, |history| {
        old_read(history);
    });
    // A write that was answered before another began, and stands behind it.
    caught("real_time_order", Verdict::Invalid, |history| {
        let at = find(history, |op| booked(op) && op.retry.is_none());
        let early = history.ops[at].begin_ns;
        let later = history.ops.iter().rposition(booked).unwrap();
        let length = history.ops[later].end_ns.unwrap() - history.ops[later].begin_ns;
        history.ops[later].begin_ns = early - 40 * length;
        history.ops[later].end_ns = Some(early - 39 * length);
        history.ops[later].process = 77;
    });
}

#[test]
fn a_session_that_goes_back_is_caught() {
    caught("sessions", Verdict::Invalid, |history| {
        let at = old_read(history);
        let place = history.ops[at].answer.as_of().unwrap().place;
        // The same process had been told of something newer.
        let newer = |op: &Op| {
            op.answer.decided().is_some_and(|(told, _)| told.set == place.set && told.index > place.index)
        };
        let before = history.ops[..at].iter().rposition(newer).unwrap();
        history.ops[at].process = history.ops[before].process;
    });
}

#[test]
fn a_read_that_shows_another_state_is_caught() {
    for level in [Level::Linearizable, Level::Stale] {
        let name = if level == Level::Stale { "stale_reads" } else { "linearizable_reads" };
        caught(name, Verdict::Invalid, |history| {
            let wanted =
                |op: &Op| op.ask.read_level() == Some(level) && matches!(op.answer, Answer::Account { .. });
            let at = find(history, wanted);
            let Answer::Account { figures, .. } = &mut history.ops[at].answer else { unreachable!() };
            *figures = Figures { posted: figures.posted + 1, ..*figures };
        });
    }
}

#[test]
fn a_stale_read_that_is_older_than_it_says_is_caught() {
    caught("stale_reads", Verdict::Invalid, |history| {
        // Half a second before the end of the traffic something was answered that this read lacks.
        let at = history.ops.iter().rposition(|op| {
            op.ask.read_level() == Some(Level::Stale)
                && matches!(op.answer, Answer::Page { .. } | Answer::Account { .. })
        });
        let as_of = match &mut history.ops[at.unwrap()].answer {
            Answer::Page { as_of, .. } | Answer::Account { as_of, .. } => as_of,
            _ => unreachable!(),
        };
        (as_of.place.index, as_of.place.time_ns, as_of.age_ms) = (11, 8, 3);
    });
}

#[test]
fn a_crossed_floor_and_a_groundless_rejection_are_caught() {
    let refloor = |limit: Option<i64>| {
        move |history: &mut History| {
            let purse =
                |history: &History, account: u32| history.accounts[account as usize].contains(":purse-");
            for at in 0..history.ops.len() {
                let account = match &history.ops[at].ask {
                    Ask::Open { account, .. } => *account,
                    _ => continue,
                };
                if purse(history, account)
                    && let Ask::Open { limit: floor, .. } = &mut history.ops[at].ask
                {
                    *floor = limit;
                }
            }
            history.ops.retain(|op| !matches!(op.ask, Ask::SetLimit { .. }));
        }
    };
    caught("limits", Verdict::Invalid, refloor(Some(100_000)));
    caught("limits", Verdict::Invalid, refloor(None));
}

#[test]
fn money_from_nowhere_is_caught() {
    caught("conservation", Verdict::Invalid, |history| final_page(history)[5].legs[0].1 += 1);
    caught("conservation", Verdict::Invalid, |history| {
        let last = history.ops.iter().rposition(|op| matches!(op.answer, Answer::Account { .. })).unwrap();
        let Answer::Account { figures, .. } = &mut history.ops[last].answer else { unreachable!() };
        figures.credits += 1;
    });
}

#[test]
fn time_that_stands_still_and_a_misplaced_name_are_caught() {
    caught("ledger_time", Verdict::Invalid, |history| {
        let at = find(history, |op| booked(op) && op.retry.is_none());
        all_answers(history, at, |answer| {
            if let Answer::Booked { place, .. } = answer {
                place.time_ns += 700_000_000;
            }
        });
    });
    // An index that no log can have.
    caught("ledger_time", Verdict::Invalid, |history| {
        let at = find(history, |op| matches!(op.answer, Answer::Rejected { .. }));
        let Answer::Rejected { place, .. } = &mut history.ops[at].answer else { unreachable!() };
        place.index = u64::MAX;
    });
    caught("ledger_time", Verdict::Invalid, |history| {
        let at = find(history, booked);
        all_answers(history, at, |answer| {
            if let Answer::Booked { transaction, .. } = answer {
                transaction.0.incarnation = 2;
            }
        });
    });
}

#[test]
fn a_list_with_a_gap_or_an_old_transaction_is_caught() {
    caught("lists", Verdict::Invalid, |history| {
        let at = find(history, |op| matches!(&op.answer, Answer::Page { found, .. } if found.len() > 2));
        let Answer::Page { found, .. } = &mut history.ops[at].answer else { unreachable!() };
        found.remove(1);
    });
    caught("lists", Verdict::Invalid, |history| {
        let at = find(history, |op| matches!(&op.answer, Answer::Page { found, .. } if found.len() > 2));
        let Answer::Page { found, .. } = &mut history.ops[at].answer else { unreachable!() };
        found.swap(0, 1);
    });
    caught("lists", Verdict::Invalid, |history| {
        let at = find(
            history,
            |op| matches!(&op.answer, Answer::Transaction { found, .. } if !found.reversed_by.is_empty()),
        );
        let Answer::Transaction { found, .. } = &mut history.ops[at].answer else { unreachable!() };
        found.reversed_by.clear();
    });
    caught("lists", Verdict::Invalid, |history| {
        let at = find(history, |op| {
            matches!((&op.ask, &op.answer), (Ask::ReadTransaction { .. }, Answer::Transaction { .. }))
        });
        history.ops[at].answer = Answer::Absent { as_of: history.ops[at].answer.as_of().unwrap() };
    });
}

#[test]
fn a_jar_that_lacks_or_has_too_much_is_caught() {
    let jar = |history: &History| {
        let read = |op: &Op| match (&op.ask, &op.answer) {
            (Ask::ReadAccount { account, level: Level::Linearizable }, Answer::Account { figures, .. }) => {
                history.accounts[*account as usize].contains(JAR) && figures.posted > 15
            }
            _ => false,
        };
        history.ops.iter().rposition(read).unwrap()
    };
    for change in [|posted: i64| posted & !1, |posted: i64| posted | 1 << 61] {
        caught("opaque_balances", Verdict::Invalid, |history| {
            let at = jar(history);
            let Answer::Account { figures, .. } = &mut history.ops[at].answer else { unreachable!() };
            figures.posted = change(figures.posted);
        });
    }
    // Nobody was told of the gift; one read has seen it, and a later one has not.
    caught("opaque_balances", Verdict::Invalid, |history| {
        let at = jar(history);
        let Ask::ReadAccount { account, .. } = history.ops[at].ask else { unreachable!() };
        let Answer::Account { figures, .. } = &mut history.ops[at].answer else { unreachable!() };
        let cents = figures.posted & figures.posted.wrapping_neg();
        figures.posted -= cents;
        let gives =
            |ask: &Ask| matches!(ask, Ask::Transfer(transfer) if transfer.legs.contains(&(account, -cents)));
        for op in history.ops.iter_mut().filter(|op| gives(&op.ask)) {
            op.answer = Answer::Unknown { why: "silent".into() };
        }
    });
}

#[test]
fn a_second_opinion_sees_an_old_read() {
    caught("second_opinion", Verdict::Invalid, |history| {
        // An account that others read, too.
        let wanted = |op: &Op| match (&op.ask, &op.answer) {
            (Ask::ReadAccount { account, level: Level::Linearizable }, Answer::Account { figures, .. }) => {
                history.accounts[*account as usize].contains(":purse-") && figures.version > 4
            }
            _ => false,
        };
        let at = history.ops.iter().rposition(wanted).unwrap();
        let Answer::Account { figures, .. } = &mut history.ops[at].answer else { unreachable!() };
        figures.version = 1;
    });
}

#[test]
fn replicas_that_differ_or_were_not_compared_are_red() {
    let line = VerifyLine { subject: "set 1".into(), clean: false, detail: "they differ".into() };
    caught("replicas", Verdict::Invalid, |history| history.verify.push(line));
    caught("replicas", Verdict::Unknown, |history| history.verify.clear());
    caught("replicas", Verdict::Unknown, |history| history.meta.replicas.clear());
}

#[test]
fn a_replica_that_holds_something_else_or_was_not_read_is_red() {
    caught("replicas", Verdict::Invalid, |history| history.holdings[1].chunks[0] ^= 1);
    caught("replicas", Verdict::Invalid, |history| {
        *history.holdings[0].accounts.values_mut().last().unwrap() += 1;
    });
    caught("replicas", Verdict::Invalid, |history| {
        let account = *history.holdings[0].accounts.keys().next().unwrap();
        history.holdings[0].accounts.remove(&account);
    });
    caught("replicas", Verdict::Unknown, |history| drop(history.holdings.pop()));
}

#[test]
fn replicas_that_differ_in_what_a_history_has_no_words_for_are_red() {
    caught("replicas", Verdict::Invalid, |history| history.holdings[1].rest ^= 1);
}

#[test]
fn an_account_that_was_not_read_in_the_end_is_red() {
    for name in ["replicas", "conservation"] {
        caught(name, Verdict::Unknown, |history| {
            let last = history.ops.iter().rposition(|op| matches!(op.answer, Answer::Account { .. }));
            history.ops[last.unwrap()].answer = Answer::NotApplied { code: "no_leader".into() };
        });
    }
}

#[test]
fn a_history_that_breaks_off_is_unknown_where_open_ends_may_explain_it() {
    let mut history = good();
    let at = history.ops.len() / 2;
    history.ops.truncate(at);
    history.phases.retain(|(phase, _)| !matches!(phase, Phase::Final | Phase::Done));
    history.verify.clear();
    history.holdings.clear();
    // A transfer that was done, with an end that nobody has seen.
    let lost = find(&history, |op| booked(op) && op.retry.is_none());
    all_answers(&mut history, lost, |answer| *answer = Answer::Unknown { why: "cut off".into() });
    for (name, found) in verdicts(&history) {
        let apart = ["faults_act", "both_sites", "harness"].contains(&name);
        assert!(apart || found.verdict != Verdict::Invalid, "{name}: {found:#?}");
    }
    assert_eq!(verdicts(&history)["answers"].verdict, Verdict::Unknown);
    // What no open end explains stays wrong.
    let at = find(&history, |op| matches!(op.answer, Answer::Done { .. }));
    if let Answer::Done { place, .. } = &mut history.ops[at].answer {
        place.set = 3 - place.set;
    }
    assert_eq!(verdicts(&history)["fits"].verdict, Verdict::Invalid);
}

#[test]
fn stale_reads_that_are_always_too_old_to_be_judged_are_unknown() {
    caught("stale_reads", Verdict::Unknown, |history| {
        for op in history.ops.iter_mut().filter(|op| op.ask.read_level() == Some(Level::Stale)) {
            match &mut op.answer {
                Answer::Account { as_of, .. }
                | Answer::Transaction { as_of, .. }
                | Answer::Page { as_of, .. }
                | Answer::Absent { as_of } => as_of.age_ms = 1 << 40,
                _ => {}
            }
        }
    });
}

#[test]
fn a_harness_that_breaks_its_own_rules_is_red() {
    caught("harness", Verdict::Invalid, |history| history.notes.push("a1: panicked".into()));
    caught("harness", Verdict::Invalid, |history| {
        let at = find(history, booked);
        history.ops[at].answer = Answer::NotApplied { code: "same_account".into() };
    });
    caught("harness", Verdict::Unknown, |history| history.cut = true);
    caught("harness", Verdict::Unknown, |history| history.ops.iter_mut().for_each(|op| op.retry = None));
    caught("harness", Verdict::Unknown, |history| {
        history.ops.retain(|op| matches!(op.ask, Ask::Open { .. }));
    });
    caught("harness", Verdict::Unknown, |history| history.phases.retain(|(phase, _)| *phase != Phase::Done));
    caught("harness", Verdict::Invalid, |history| {
        let at = find(history, booked);
        history.ops[at].answer = Answer::Unknown { why: "silent".into() };
    });
}

#[test]
fn every_claim_stands_in_the_guarantees_with_its_checkers() {
    let page = std::fs::read_to_string("../docs/reference/guarantees.md").unwrap();
    for checker in ALL.iter().filter(|checker| checker.claim != "-") {
        let row = format!("| {} |", checker.claim);
        let line = page.lines().find(|line| line.starts_with(&row));
        let line = line.unwrap_or_else(|| panic!("{} has no row in the guarantees", checker.claim));
        assert!(
            line.contains(&format!("`{}`", checker.name)),
            "{} does not name {}",
            checker.claim,
            checker.name
        );
    }
    // And the other way round: no row names a checker that does not exist, or is of another claim.
    for row in page.lines().filter(|line| line.starts_with("| G")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let (claim, named) = (cells[0].trim_start_matches("| "), cells[cells.len() - 1]);
        let named: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{claim} is checked by nobody");
        for name in named {
            let known = ALL.iter().find(|checker| checker.name == name);
            assert_eq!(known.map(|checker| checker.claim), Some(claim), "{name}");
        }
    }
}

#[test]
fn findings_are_as_red_as_their_worst() {
    let finding =
        |verdict| Finding { checker: "c", claim: "-", verdict, checked: 1, wrong: 0, examples: Vec::new() };
    let of = |verdicts: &[Verdict]| overall(&verdicts.iter().copied().map(finding).collect::<Vec<_>>());
    assert_eq!(of(&[Verdict::Valid, Verdict::Valid]), Verdict::Valid);
    assert_eq!(of(&[Verdict::Valid, Verdict::Unknown]), Verdict::Unknown);
    assert_eq!(of(&[Verdict::Unknown, Verdict::Invalid]), Verdict::Invalid);
}
