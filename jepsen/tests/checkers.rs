//! The checkers against histories of a perfect ledger, whole and broken in one place each: every checker must let the whole
//! one pass, and catch what it is for.

#![allow(clippy::unwrap_used, reason = "a test may panic anywhere, in its helpers too")]

use twinset_jepsen::api::UNREADABLE;
use twinset_jepsen::check::{ALL, Case, Finding, Verdict, all, overall};
use twinset_jepsen::history::{
    Answer, Ask, FaultSpan, Figures, Found, History, Level, Op, Phase, Place, Retry, VerifyLine,
};
use twinset_jepsen::nemesis::{Evidence, Fault, Link};
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
        // The made-up history has no faults.
        let idle = ["faults_act", "both_sites"].contains(&name);
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
fn a_wrong_clock_excuses_an_old_stale_read_only_of_a_young_process() {
    let step = || Fault::ClockStep { victim: "a1".into(), by_ms: 3_600_000, for_ms: 1 };
    let old = |history: &mut History, fault: Fault| {
        history.faults.push(FaultSpan { fault: step(), ..span(1, 2, true) });
        history.faults.push(FaultSpan { fault, ..span(3, u64::MAX, true) });
        let at = find(history, |op| {
            op.ask.read_level() == Some(Level::Stale) && matches!(op.answer, Answer::Account { .. })
        });
        // Asked in the end, as of the beginning.
        let late = history.phase(Phase::Resolve).unwrap();
        (history.ops[at].begin_ns, history.ops[at].end_ns) = (late, Some(late + 1));
        let Answer::Account { as_of, .. } = &mut history.ops[at].answer else { unreachable!() };
        as_of.age_ms = 0;
    };
    caught("stale_reads", Verdict::Invalid, |history| old(history, step()));
    let kill = || Fault::Kill { victims: vec!["a1".into()], down_ms: 1, again_ms: None };
    caught("stale_reads", Verdict::Valid, |history| old(history, kill()));
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
                place.time_ns += 700;
            }
        });
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
}

fn span(begin_ns: u64, end_ns: u64, acted: bool) -> FaultSpan {
    let evidence = Evidence { acted, detail: "seen".into() };
    let fault = Fault::Pause { victims: vec!["a1".into()], for_ms: 1 };
    FaultSpan {
        fault,
        begin_ns,
        acts_ns: None,
        undone_ns: None,
        end_ns: Some(end_ns),
        evidence: Some(evidence),
    }
}

#[test]
fn a_fault_that_was_not_seen_to_act_makes_a_run_invalid() {
    caught("faults_act", Verdict::Invalid, |history| history.faults.push(span(1, 2, false)));
    caught("faults_act", Verdict::Valid, |history| history.faults.push(span(1, 2, true)));
    caught("faults_act", Verdict::Unknown, |history| history.meta.nemeses.push("pause".into()));
}

/// The made-up history has no faults of its own: one that comes after its traffic parts the sites from the first answer on.
fn sites_apart(history: &mut History, fault: Fault) {
    let nodes = [("a1", "A"), ("a2", "A"), ("b1", "B"), ("b2", "B")];
    history.meta.nodes = nodes.map(|(name, site)| (name.to_owned(), site.to_owned())).into();
    let from = history.ops[find(history, booked)].begin_ns - 1;
    let acts = FaultSpan { acts_ns: Some(from), ..span(from - 1, from + 10_000_000_000, true) };
    history.faults.push(FaultSpan { fault, ..acts });
}

fn cut(from: [&str; 2], to: [&str; 2], for_ms: u64) -> Fault {
    let pairs = from.iter().flat_map(|from| to.iter().map(|to| (*from, *to)));
    let link = |(from, to): (&str, &str)| Link { from: from.into(), to: to.into() };
    Fault::Partition { shape: "any".into(), cut: pairs.map(link).collect(), for_ms }
}

#[test]
fn an_answer_while_the_sites_are_apart_is_caught() {
    let one_way = || cut(["b1", "b2"], ["a1", "a2"], 1_000);
    caught("both_sites", Verdict::Invalid, |history| sites_apart(history, one_way()));
    let dark = || Fault::PowerLoss { victims: vec!["b2".into(), "b1".into()], down_ms: 1_000, seed: 1 };
    caught("both_sites", Verdict::Invalid, |history| sites_apart(history, dark()));
    // A read alone is enough.
    caught("both_sites", Verdict::Invalid, |history| {
        sites_apart(history, one_way());
        let from = history.faults[0].begin_ns;
        let writes = history.ops.iter_mut().filter(|op| op.ask.is_write() && op.begin_ns >= from);
        writes.for_each(|op| op.answer = Answer::NotApplied { code: "no_leader".into() });
    });
    // What is answered after they have met, or while one link is left, is no harm.
    caught("both_sites", Verdict::Valid, |history| {
        sites_apart(history, one_way());
        let to = history.faults[0].acts_ns.unwrap() + 1_000_000_000;
        history.ops.iter_mut().for_each(|op| op.end_ns = op.end_ns.map(|end| end.max(to)));
    });
    caught("both_sites", Verdict::Idle, |history| {
        let mut fault = one_way();
        if let Fault::Partition { cut, .. } = &mut fault {
            cut.pop();
        }
        sites_apart(history, fault);
    });
    // Everybody is silent, but for a stale read of what was asked while they were apart.
    let silent = |history: &mut History, stale: bool| {
        let at = find(history, |op| op.ask.read_level() == Some(Level::Stale) && op.answer.as_of().is_some());
        let mut read = history.ops[at].clone();
        sites_apart(history, one_way());
        let from = history.faults[0].acts_ns.unwrap();
        let to = from + 1_000_000_000;
        for op in history.ops.iter_mut().filter(|op| op.begin_ns > from && op.begin_ns < to) {
            op.end_ns = Some(to);
        }
        if stale {
            (read.begin_ns, read.end_ns) = (to - 2, Some(to - 1));
            match &mut read.answer {
                Answer::Account { as_of, .. }
                | Answer::Page { as_of, .. }
                | Answer::Absent { as_of }
                | Answer::Transaction { as_of, .. } => as_of.place.index = u64::MAX >> 20,
                other => panic!("{other:?}"),
            }
            history.ops.push(read);
        }
    };
    caught("both_sites", Verdict::Valid, |history| silent(history, false));
    caught("both_sites", Verdict::Invalid, |history| silent(history, true));
    caught("both_sites", Verdict::Unknown, |history| {
        sites_apart(history, cut(["a1", "a2"], ["b1", "b2"], 1_000));
        history.faults[0].acts_ns = None;
    });
}

#[test]
fn a_gap_is_caught_unless_a_fault_excuses_it() {
    const MINUTE: u64 = 60_000_000_000;
    let late = |history: &mut History| {
        let at = history.ops.len() / 2;
        let from = history.ops[at].begin_ns;
        let later = |time: &mut u64| *time += if *time >= from { MINUTE } else { 0 };
        for op in &mut history.ops[at..] {
            op.begin_ns += MINUTE;
            op.end_ns = op.end_ns.map(|end| end + MINUTE);
        }
        history.phases.iter_mut().for_each(|(_, time)| later(time));
        from
    };
    caught("liveness", Verdict::Invalid, |history| {
        late(history);
    });
    caught("liveness", Verdict::Valid, |history| {
        let from = late(history);
        history.faults.push(span(from, from + MINUTE - 5_000_000_000, true));
    });
    // Silent through many faults: each is an excuse for itself, not for the calm after it.
    caught("liveness", Verdict::Invalid, |history| {
        let from = late(history);
        let every = MINUTE / 10;
        history
            .faults
            .extend((0..10).map(|n| span(from + n * every, from + n * every + every * 3 / 4, true)));
    });
    // Nobody was served after the last fault.
    caught("liveness", Verdict::Invalid, |history| {
        let last = history.phase(Phase::Resolve).unwrap();
        for (phase, time) in &mut history.phases {
            *time += if *time >= last { MINUTE } else { 0 };
            assert!(*phase != Phase::Healed);
        }
        history.ops.retain(|op| op.begin_ns < last);
        history.phases.push((Phase::Healed, last + 10_000_000));
        history.faults.push(span(1, last + MINUTE, true));
    });
    caught("liveness", Verdict::Unknown, |history| history.meta.nemeses.push("pause".into()));
}

#[test]
fn a_harness_that_breaks_its_own_rules_is_red() {
    caught("harness", Verdict::Invalid, |history| history.notes.push("a1: panicked".into()));
    caught("harness", Verdict::Invalid, |history| {
        let at = find(history, booked);
        history.ops[at].answer = Answer::NotApplied { code: "same_account".into() };
    });
    caught("harness", Verdict::Unknown, |history| history.cut = true);
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
