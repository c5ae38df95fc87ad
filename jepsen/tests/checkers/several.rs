//! Transactions over several sets: each break of what is promised of them is seen by the checker that is for it.

use twinset_jepsen::check::Verdict;
use twinset_jepsen::history::{
    Answer, AsOf, Ask, Figures, Found, History, InDoubt, Level, Meta, Name, Op, Part, Phase, Place, Transfer,
    clearing,
};
use twinset_ledger::Position;

use crate::{all_answers, caught, find, verdicts};

/// Booked over several sets, as a new one.
fn across(history: &History) -> impl Fn(&Op) -> bool + use<> {
    let (slots, accounts) = (history.meta.slots.clone(), history.accounts.clone());
    move |op| {
        let booked = matches!(op.answer, Answer::Booked { replayed: false, .. });
        let Ask::Transfer(transfer) = &op.ask else { return false };
        let set = |account: &u32| twinset_jepsen::history::set_of(&slots, &accounts[*account as usize]);
        booked && transfer.legs.iter().any(|(account, _)| set(account) != set(&transfer.legs[0].0))
    }
}

fn name_and_place(op: &Op) -> (Name, Place) {
    match op.answer {
        Answer::Booked { transaction, place, .. } => (transaction, place),
        _ => unreachable!("it was booked"),
    }
}

/// The first that was booked over several sets.
fn first(history: &History) -> (usize, Name) {
    let at = find(history, across(history));
    (at, name_and_place(&history.ops[at]).0)
}

/// Changes every page that shows parts of a transaction in a set.
fn on_pages(history: &mut History, of: Name, in_set: u32, change: impl Fn(&mut Vec<Found>, usize)) {
    for op in &mut history.ops {
        let (Ask::List { set, .. }, Answer::Page { found, .. }) = (&op.ask, &mut op.answer) else { continue };
        let part = |row: &Found| row.part_of.is_some_and(|part| part.of == of);
        if *set == in_set
            && let Some(at) = found.iter().position(part)
        {
            change(found, at);
        }
    }
}

fn other_set(name: Name) -> u32 {
    3 - name.0.set
}

#[test]
fn a_part_that_is_missing_or_wrong_or_there_twice_is_caught() {
    for of_coordinator in [true, false] {
        caught("atomicity", Verdict::Invalid, |history| {
            let (_, name) = first(history);
            let set = if of_coordinator { name.0.set } else { other_set(name) };
            on_pages(history, name, set, |found, at| drop(found.remove(at)));
        });
        caught("atomicity", Verdict::Invalid, |history| {
            let (_, name) = first(history);
            let set = if of_coordinator { name.0.set } else { other_set(name) };
            on_pages(history, name, set, |found, at| found[at].legs[0].1 += 1);
        });
        caught("atomicity", Verdict::Invalid, |history| {
            let (_, name) = first(history);
            let set = if of_coordinator { name.0.set } else { other_set(name) };
            on_pages(history, name, set, |found, at| {
                let mut twice = found[at].clone();
                twice.place.time_ns += 1;
                twice.transaction.0.position = Position::new(twice.place.index, 1);
                found.insert(at + 1, twice);
            });
        });
        // The leg that squares the others is not booked.
        caught("atomicity", Verdict::Invalid, |history| {
            let is_across = across(history);
            let at = find(history, |op| is_across(op) && legs(op) == 2);
            let name = name_and_place(&history.ops[at]).0;
            let set = if of_coordinator { name.0.set } else { other_set(name) };
            on_pages(history, name, set, |found, at| {
                found[at].legs.pop();
            });
        });
    }
}

fn legs(op: &Op) -> usize {
    match &op.ask {
        Ask::Transfer(transfer) => transfer.legs.len(),
        _ => 0,
    }
}

#[test]
fn a_part_of_what_was_refused_or_given_up_is_caught() {
    let no: [fn(Place) -> Answer; 2] = [
        |place| Answer::Rejected { code: "unbalanced".into(), place, replayed: false },
        |place| Answer::GivenUp { place },
    ];
    for no in no {
        caught("atomicity", Verdict::Invalid, |history| {
            let (at, _) = first(history);
            let place = name_and_place(&history.ops[at]).1;
            all_answers(history, at, |answer| *answer = no(place));
        });
    }
    caught("one_answer", Verdict::Invalid, |history| {
        let (at, _) = first(history);
        all_answers(history, at, |answer| *answer = Answer::NotApplied { code: "no_leader".into() });
    });
}

#[test]
fn a_request_that_is_booked_under_two_names_is_caught() {
    caught("one_answer", Verdict::Invalid, |history| {
        let is_across = across(history);
        let again = |op: &Op| {
            let first = history.ops.iter().find(|first| first.ask == op.ask);
            matches!(op.answer, Answer::Booked { replayed: true, .. }) && first.is_some_and(&is_across)
        };
        let at = history.ops.iter().position(again).unwrap();
        let Answer::Booked { transaction, place, .. } = &mut history.ops[at].answer else { unreachable!() };
        place.index += 1;
        place.time_ns += 7;
        transaction.0.position = Position::new(place.index, 0);
    });
}

#[test]
fn a_read_after_the_answer_that_does_not_show_the_part_is_caught() {
    caught("visibility", Verdict::Invalid, |history| {
        let at = find(history, across(history));
        let name = name_and_place(&history.ops[at]).0;
        let (told_ns, set) = (history.ops[at].end_ns.unwrap(), other_set(name));
        let mut row = None;
        on_rows(history, |found| {
            if found.part_of.is_some_and(|part| part.of == name) && found.place.set == set {
                row = Some(found.place);
            }
        });
        let row: Place = row.unwrap();
        let later = |op: &&mut Op| op.begin_ns > told_ns && op.ask.read_level() == Some(Level::Linearizable);
        for op in history.ops.iter_mut().filter(later) {
            if let Answer::Account { as_of, .. } = &mut op.answer
                && as_of.place.set == set
            {
                as_of.place = Place { index: row.index - 1, time_ns: row.time_ns - 7, ..row };
                return;
            }
        }
        panic!("nobody reads that set");
    });
}

fn on_rows(history: &History, mut look: impl FnMut(&Found)) {
    for op in &history.ops {
        if let Answer::Page { found, .. } = &op.answer {
            found.iter().for_each(&mut look);
        }
    }
}

/// The last read of an account that is wanted.
fn last_read(history: &mut History, wanted: impl Fn(&str) -> bool) -> &mut Answer {
    let from = history.phase(Phase::Final).unwrap();
    let accounts = history.accounts.clone();
    let read = history.ops.iter_mut().rev().find(|op| match &op.ask {
        Ask::ReadAccount { account, .. } => {
            let there = matches!(op.answer, Answer::Account { .. });
            op.begin_ns >= from && there && wanted(&accounts[*account as usize])
        }
        _ => false,
    });
    &mut read.unwrap().answer
}

#[test]
fn what_is_open_between_the_sets_in_the_end_is_caught() {
    caught("clearing", Verdict::Invalid, |history| {
        let attempt = first(history).1;
        history.in_doubt = Some(vec![InDoubt { set: 1, attempt, phase: "waits".into() }]);
    });
    caught("clearing", Verdict::Unknown, |history| history.in_doubt = None);
    caught("clearing", Verdict::Invalid, |history| {
        let Answer::Account { figures, .. } = last_read(history, |id| clearing(id).is_some()) else {
            unreachable!()
        };
        figures.debits += 1;
    });
    caught("clearing", Verdict::Unknown, |history| {
        *last_read(history, |id| clearing(id).is_some()) = Answer::NotApplied { code: "no_leader".into() };
    });
    for incoming in [false, true] {
        caught("in_doubt", Verdict::Invalid, |history| {
            let Answer::Account { figures, .. } = last_read(history, |id| id.contains(":purse")) else {
                unreachable!()
            };
            *(if incoming { &mut figures.incoming } else { &mut figures.held }) = 1;
        });
    }
}

#[test]
fn a_wrong_balance_in_another_set_and_a_refusal_without_a_reason_are_caught() {
    caught("answers", Verdict::Invalid, |history| {
        let at = find(history, across(history));
        let Ask::Transfer(transfer) = history.ops[at].ask.clone() else { unreachable!() };
        let coordinator = name_and_place(&history.ops[at]).0.0.set;
        let elsewhere = |(account, _): &(u32, i64)| history.set_of(*account) != Some(coordinator);
        let leg = transfer.legs.iter().position(elsewhere).unwrap();
        let Answer::Booked { balances, .. } = &mut history.ops[at].answer else { unreachable!() };
        balances[leg].0 += 1;
    });
    // No account of it is closed or has a floor, and it balances.
    for code in ["account_closed", "limit_exceeded", "unbalanced"] {
        let mut history = tiny(&[]);
        all_answers(&mut history, 2, |answer| {
            let place = Place { set: 1, index: 12, time_ns: 120 };
            *answer = Answer::Rejected { code: code.into(), place, replayed: false };
        });
        for op in &mut history.ops {
            if let Answer::Page { found, .. } = &mut op.answer {
                found.clear();
            }
        }
        assert_eq!(verdicts(&history)["answers"].verdict, Verdict::Invalid, "{code}");
    }
}

#[test]
fn a_part_that_is_read_as_set_aside_where_nothing_is_under_way_is_caught() {
    caught("linearizable_reads", Verdict::Invalid, |history| {
        let Answer::Account { figures, .. } = last_read(history, |id| id.contains("across")) else {
            unreachable!()
        };
        (figures.held, figures.available) = (7, figures.posted - 7);
    });
    // A transaction that was answered is there.
    caught("lists", Verdict::Invalid, |history| {
        let whole = |op: &Op| {
            let found =
                matches!(&op.answer, Answer::Transaction { found, .. } if is_over_both(history, found));
            matches!(op.ask, Ask::ReadTransaction { level: Level::Linearizable, .. }) && found
        };
        let at = find(history, whole);
        let as_of = history.ops[at].answer.as_of().unwrap();
        history.ops[at].answer = Answer::Absent { as_of };
    });
}

fn is_over_both(history: &History, found: &Found) -> bool {
    let sets: Vec<_> = found.legs.iter().map(|(account, _)| history.set_of(*account)).collect();
    sets.iter().any(|set| *set != sets[0])
}

/// One payment of five cents from an account of the first set to one of the second, begun at index 12 of the one, booked
/// there at 14 and in the other at 26; and reads of the two accounts.
fn tiny(reads: &[(usize, u64, Figures)]) -> History {
    let slots: Vec<u32> = (0..4096).map(|slot| 1 + slot / 2048).collect();
    let in_set = |set: u32| {
        let mut ids = (0..).map(|n| format!("{{t{n}}}"));
        ids.find(|id| twinset_jepsen::history::set_of(&slots, id) == Some(set)).unwrap()
    };
    let accounts = vec![in_set(1), in_set(2), "@clearing-1:EUR".into(), "@clearing-2:EUR".into()];
    let place = |set: u32, index: u64| Place { set, index, time_ns: index * 10 };
    let name = |text: &str| Name(text.parse().unwrap());
    let mut history = History {
        meta: Meta { sets: vec![1, 2], slots, routers: vec!["ra".into()], ..Meta::default() },
        accounts,
        ..History::default()
    };
    let mut add = |begin_ns: u64, end_ns: u64, ask: Ask, answer: Answer| {
        let process = history.ops.len() as u32;
        let (site, router, retry, end_ns) = (0, 0, None, Some(end_ns));
        history.ops.push(Op { process, site, router, begin_ns, end_ns, retry, ask, answer });
    };
    for (account, set) in [(0, 1), (1, 2)] {
        let (id, subject, currency) = ("open".into(), "liability".into(), "EUR".into());
        let ask = Ask::Open { id, account, subject, currency, limit: None };
        add(10, 20, ask, Answer::Done { place: place(set, 10 * u64::from(set) + 1), replayed: false });
    }
    let (id, legs) = ("x".into(), vec![(0, 5), (1, -5)]);
    let ask = Ask::Transfer(Transfer { id, scope: None, label: None, capture: None, marks: vec![], legs });
    let (transaction, balances) = (name("1-1-12-0"), vec![(-5, -5), (5, 5)]);
    add(100, 200, ask, Answer::Booked { transaction, place: place(1, 12), replayed: false, balances });
    for (account, index, figures) in reads {
        let set = *account as u32 % 2 + 1;
        let as_of = AsOf { place: place(set, *index), age_ms: 0 };
        let ask = Ask::ReadAccount { account: *account as u32, level: Level::Linearizable };
        add(110, 190, ask, Answer::Account { as_of, figures: *figures });
    }
    for (set, index, leg) in [(1, 14, 5), (2, 26, -5)] {
        let part = Found {
            transaction: name(&format!("{set}-1-{index}-0")),
            place: place(set, index),
            id: String::new(),
            scope: None,
            label: None,
            legs: vec![(set - 1, leg), (set + 1, -leg)],
            reverses: None,
            reversed_by: Vec::new(),
            capture: None,
            marks: vec![],
            part_of: Some(Part { of: transaction, day: 0 }),
        };
        let ask = Ask::List { set, after: None, page_size: 10, level: Level::Linearizable };
        let as_of = AsOf { place: place(set, 30), age_ms: 0 };
        add(300, 310, ask, Answer::Page { as_of, found: vec![part], next: None });
    }
    history.phases =
        vec![(Phase::Setup, 0), (Phase::Traffic, 50), (Phase::Resolve, 250), (Phase::Final, 260)];
    history
}

#[test]
fn what_may_be_set_aside_may_be_read_so_or_so_and_nothing_else_may() {
    let before = Figures::default();
    let held = Figures { available: -5, held: 5, ..before };
    let paid = Figures { posted: -5, available: -5, debits: 5, version: 1, ..before };
    let incoming = Figures { incoming: 5, ..before };
    let got = Figures { posted: 5, available: 5, credits: 5, version: 1, ..before };
    let judged = |read: (usize, u64, Figures)| {
        let found = verdicts(&tiny(&[read]));
        (found["linearizable_reads"].verdict, found["answers"].verdict)
    };
    let right = (Verdict::Valid, Verdict::Valid);
    let wrong = (Verdict::Invalid, Verdict::Valid);
    // The coordinator sets its own legs aside where it begins, and books them where its list says.
    for (index, figures, expected) in [
        (11, before, right),
        (11, held, wrong),
        (12, held, right),
        (13, held, right),
        (13, before, wrong),
        (14, paid, right),
        (14, Figures { available: -10, held: 5, ..paid }, wrong),
    ] {
        assert_eq!(judged((0, index, figures)), expected, "{index}: {figures:?}");
    }
    // One that is refused by the other set is held for from where it begins until it is answered, at most.
    let refused = |index: u64, figures: Figures| {
        let mut history = tiny(&[(0, index, figures)]);
        let place = Place { set: 1, index: 12, time_ns: 120 };
        all_answers(&mut history, 2, |answer| {
            *answer = Answer::Rejected { code: "account_not_found".into(), place, replayed: false };
        });
        for op in &mut history.ops {
            if let Answer::Page { found, .. } = &mut op.answer {
                found.clear();
            }
        }
        verdicts(&history)["linearizable_reads"].verdict
    };
    for (index, figures, expected) in [
        (11, held, Verdict::Invalid),
        (12, held, Verdict::Valid),
        (12, before, Verdict::Valid),
        (20, held, Verdict::Valid),
        (20, paid, Verdict::Invalid),
    ] {
        assert_eq!(refused(index, figures), expected, "{index}: {figures:?}");
    }
    // Nobody knows when the other set has done so, but that it was after the question.
    for (index, figures, expected) in [
        (21, before, right),
        (21, incoming, wrong),
        (22, before, right),
        (22, incoming, right),
        (25, incoming, right),
        (25, Figures { incoming: 6, ..before }, wrong),
        (25, Figures { available: -5, held: 5, ..before }, wrong),
        (25, got, wrong),
        (26, got, right),
        (26, incoming, wrong),
    ] {
        assert_eq!(judged((1, index, figures)), expected, "{index}: {figures:?}");
    }
}

#[test]
fn a_reversal_that_is_refused_needs_somebody_who_takes_it_back() {
    let name = |text: &str| Name(text.parse().unwrap());
    let place = |index: u64| Place { set: 1, index, time_ns: index * 10 };
    let reverse =
        |id: &str| Ask::Reverse { id: id.into(), transaction: name("1-1-12-0"), cents: None, parts: vec![] };
    let op = |at_ns: u64, ask: Ask, answer: Answer| {
        let (process, end_ns) = (at_ns as u32, Some(at_ns + 2));
        Op { process, site: 0, router: 0, begin_ns: at_ns, end_ns, retry: None, ask, answer }
    };
    for is_taken_back in [true, false] {
        let mut history = tiny(&[]);
        let mut more = Vec::new();
        if is_taken_back {
            let (transaction, balances) = (name("1-1-16-0"), vec![(0, 0), (0, 0)]);
            let answer = Answer::Booked { transaction, place: place(16), replayed: false, balances };
            more.push(op(210, reverse("all"), answer));
            for (set, index, leg) in [(1, 17, -5), (2, 27, 5)] {
                let part = Found {
                    transaction: name(&format!("{set}-1-{index}-0")),
                    place: Place { set, ..place(index) },
                    id: String::new(),
                    scope: None,
                    label: None,
                    legs: vec![(set - 1, leg), (set + 1, -leg)],
                    reverses: None,
                    reversed_by: Vec::new(),
                    capture: None,
                    marks: vec![],
                    part_of: Some(Part { of: transaction, day: 0 }),
                };
                on_pages(&mut history, name("1-1-12-0"), set, |found, _| found.push(part.clone()));
            }
        }
        // The first call may have begun attempts that were given up: they count for others, and not for the second one.
        more.push(op(220, reverse("more"), Answer::Unknown { why: "silence".into() }));
        let code = "reversal_exceeds".into();
        more.push(op(225, reverse("more"), Answer::Rejected { code, place: place(18), replayed: true }));
        history.ops.splice(3..3, more);
        let expected = if is_taken_back { Verdict::Valid } else { Verdict::Invalid };
        let found = &verdicts(&history)["answers"];
        assert_eq!(found.verdict, expected, "{found:?}");
    }
}
