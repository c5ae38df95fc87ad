//! The laws of holds, over random histories of one set in which captures over several sets begin, are decided and given up
//! while time passes: an independent model says the same of every command and every hold, journals included; the figures of
//! a hold add up and follow from its journal and the open attempts; the log alone gives the holds. A failing case is written
//! to `tests/holds.regressions`; then `cargo test -p twinset-ledger --test holds` tries it first.

mod model;
#[path = "support/parts.rs"]
mod parts;
#[path = "support/story/mod.rs"]
mod story;
mod support;
#[path = "support/tally.rs"]
mod tally;
#[path = "support/twin.rs"]
mod twin;

use std::collections::BTreeMap;

use parts::parts;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::FileFailurePersistence;
use rust_decimal::Decimal;
use story::{ACCOUNTS, Ask, ELSEWHERE, Expectation, HOLDERS, Legs, Pick, Story};
use support::SET;
use twin::Twin;
use twinset_ledger::attempt::{Coordination, Role};
use twinset_ledger::check_back::{Came, CheckBack, CheckedBack, OnExpiry};
use twinset_ledger::codec::{decode_hold, encode_hold};
use twinset_ledger::command::{Expected, Metadata};
use twinset_ledger::hold::{Capture, Hold, HoldChange, LINES_MAX, PlaceHold};
use twinset_ledger::memory::MemoryState;
use twinset_ledger::{
    Command, FreezeMode, Leg, Outcome, Position, Rejection, Side, State, Transaction, TransactionId,
};

/// Some of what must be met is rare.
const HISTORIES: u32 = 1_000;

fn config() -> ProptestConfig {
    let regressions = FileFailurePersistence::Direct("tests/holds.regressions");
    let ProptestConfig { cases, .. } = ProptestConfig::default();
    ProptestConfig {
        cases: cases.max(HISTORIES),
        failure_persistence: Some(Box::new(regressions)),
        ..ProptestConfig::default()
    }
}

/// Entries: how much later each is, what it asks for under which ids, and whether the set is in a new incarnation then.
type History = Vec<(u64, Vec<(String, Ask)>, bool)>;

fn history() -> impl Strategy<Value = History> {
    vec((0u64..40, vec((request_id(), ask()), 1..5), prop::bool::weighted(0.02)), 4..40)
}

fn ask() -> impl Strategy<Value = Ask> {
    let currency = option::weighted(0.15, select(vec!["EUR", "EUR", "JPY"]).prop_map(str::to_owned));
    let much = prop_oneof![12 => amount(), 1 => Just(fortune())];
    let payee = prop_oneof![
        6 => select(vec![0usize, 1, 2, 4]),
        1 => 0..ACCOUNTS.len(),
        5 => ACCOUNTS.len()..ACCOUNTS.len() + ELSEWHERE.len(),
    ];
    let payee = option::weighted(0.4, payee);
    let place = (holder(), much, currency, expiry(), 0u16..2, payee).prop_map(
        |(account, amount, currency, expiry, reason, payee)| {
            // Who is to be asked is to be asked soon.
            let soon = |by: Option<i64>| Some(by.map_or(20, |by| by % 60));
            let expiry = if payee.is_some() { soon(expiry) } else { expiry };
            Ask::Place { account, amount, currency, expiry, reason, payee }
        },
    );
    // Two of them at once are more than can be held of the account that has no floor.
    let rich =
        Ask::Place { account: 2, amount: fortune(), currency: None, expiry: None, reason: 0, payee: None };
    let tried = (pick(), 0u8..10, -5i64..60).prop_map(|(hold, came, by)| Ask::Tried { hold, came, by });
    let confirmed = (pick(), 1u8..6).prop_map(|(hold, quarters)| Ask::Confirmed { hold, quarters });
    let release =
        (pick(), option::weighted(0.6, amount())).prop_map(|(hold, amount)| Ask::Release { hold, amount });
    let extend = (pick(), expiry()).prop_map(|(hold, by)| Ask::Extend { hold, by });
    let capture = (pick(), 0u8..6, legs(), prop::bool::weighted(0.25))
        .prop_map(|(hold, quarters, legs, is_final)| Ask::Capture { hold, quarters, legs, is_final });
    let from = prop_oneof![0..ACCOUNTS.len(), Just(2), Just(4)];
    let moved = (from, legs()).prop_map(|(from, legs)| Ask::Move { from, legs });
    let leg = (0..ACCOUNTS.len(), side(), amount(), expectations());
    let prepare = (vec(leg, 1..3), 1u64..30).prop_map(|(legs, attempt)| Ask::Prepare { legs, attempt });
    let end = (1u64..30, any::<bool>()).prop_map(|(attempt, commit)| Ask::End { attempt, commit });
    let decide = (any::<Index>(), 0u8..16).prop_map(|(attempt, how)| Ask::Decide { attempt, how });
    let named = option::weighted(0.3, parts(amount()));
    let reverse = (any::<Index>(), prop::bool::weighted(0.8), option::weighted(0.2, amount()), named)
        .prop_map(|(of, booked, amount, parts)| Ask::Reverse { of, booked, amount, parts });
    let mode = select(vec![FreezeMode::Debit, FreezeMode::Credit, FreezeMode::Both]);
    let freeze = (0..ACCOUNTS.len(), mode, prop::bool::weighted(0.4))
        .prop_map(|(account, mode, on)| Ask::Freeze { account, mode, on });
    let limit = (holder(), option::weighted(0.7, (-5i64..30).prop_map(|limit| Decimal::new(limit, 0))))
        .prop_map(|(account, limit)| Ask::Limit { account, limit });
    prop_oneof![
        10 => place,
        1 => Just(rich),
        7 => release,
        5 => extend,
        5 => pick().prop_map(|hold| Ask::Expire { hold }),
        11 => tried,
        9 => confirmed,
        26 => capture,
        8 => moved,
        3 => prepare,
        3 => end,
        8 => decide,
        6 => any::<Index>().prop_map(|attempt| Ask::Settle { attempt }),
        4 => reverse,
        3 => freeze,
        2 => limit,
        1 => (0..ACCOUNTS.len()).prop_map(|account| Ask::Close { account }),
        1 => Just(Ask::OpenLast),
        8 => (any::<Index>(), 0u8..12).prop_map(|(of, twist)| Ask::Again { of, twist }),
    ]
}

fn pick() -> impl Strategy<Value = Pick> {
    (any::<Index>(), 0u8..110).prop_map(|(back, twist)| Pick { back, twist })
}

fn holder() -> impl Strategy<Value = usize> {
    prop_oneof![20 => 0..HOLDERS, 2 => HOLDERS..ACCOUNTS.len()]
}

/// From now, in the time that entries take.
fn expiry() -> impl Strategy<Value = Option<i64>> {
    option::weighted(0.7, prop_oneof![1 => -20i64..2, 6 => 2i64..80, 6 => 80i64..600, 1 => Just(i64::MAX)])
}

fn legs() -> impl Strategy<Value = Legs> {
    let to = prop_oneof![
        12 => select(vec![0usize, 1, 2, 4]),
        1 => 0..ACCOUNTS.len(),
        9 => ACCOUNTS.len()..ACCOUNTS.len() + ELSEWHERE.len(),
    ];
    (amount(), vec(to, 1..4), vec(expectations(), 0..4), 0u8..60)
        .prop_map(|(amount, to, expects, twist)| Legs { amount, total: None, to, expects, twist })
}

fn expectations() -> impl Strategy<Value = Vec<Expectation>> {
    let one = (select(Expected::ALL.as_slice()), -3000i64..40_000, prop::bool::weighted(0.8));
    prop_oneof![5 => Just(Vec::new()), 1 => vec(one, 1..4)]
}

fn request_id() -> impl Strategy<Value = String> {
    (0u32..2000).prop_map(|no| format!("r{no}"))
}

fn side() -> impl Strategy<Value = Side> {
    select(vec![Side::Debit, Side::Credit])
}

fn amount() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        30 => (1i64..5).prop_map(|n| Decimal::new(n, 0)),
        3 => (5i64..30).prop_map(|n| Decimal::new(n, 0)),
        4 => (1i64..400).prop_map(|n| Decimal::new(n, 2)),
        1 => (1i64..4).prop_map(|n| Decimal::new(n, 3)),
        1 => Just(fortune()),
    ]
}

/// Two of them are more than an account can keep.
fn fortune() -> Decimal {
    Decimal::from_i128_with_scale(15_000_000_000_000_000_000_000_000_000, 2)
}

fn run(history: &History) -> Story {
    let mut story = Story::new();
    for (later, asks, recovered) in history {
        story.twin.books.incarnation += u32::from(*recovered);
        asks.iter().for_each(|(request_id, ask)| story.ask(request_id, ask));
        story.write(*later);
        let state = &story.twin.books.short;
        state.holds().iter().for_each(|hold| check(state, hold));
    }
    story
}

/// What comes of entries in a state that keeps only holds that are not over, as a replica does; and what it gave away.
fn forgetful(entries: &[Vec<u8>]) -> (Vec<Outcome>, BTreeMap<Position, Hold>) {
    let mut state = MemoryState::new(SET);
    let (mut outcomes, mut holds) = (Vec::new(), BTreeMap::new());
    for (index, entry) in (1..).zip(entries) {
        outcomes.extend(state.apply(index, entry).expect("it applied before"));
        holds.extend(state.take_changed_holds().into_iter().map(|hold| (hold.id.position, hold)));
        assert!(state.holds().iter().all(|hold| !hold.is_over()));
    }
    (outcomes, holds)
}

/// What is true of every hold at every step.
fn check(state: &MemoryState, hold: &Hold) {
    let figures = [hold.captured, hold.capturing, hold.released, hold.left()];
    assert!(figures.iter().all(|figure| *figure >= 0), "{hold:?}");
    assert_eq!(figures.iter().sum::<i128>(), hold.amount, "{hold:?}");
    let (mut captured, mut released) = (0, 0);
    for line in &hold.journal {
        match line.change {
            HoldChange::Captured { amount, .. } => captured += amount,
            HoldChange::Released { amount } | HoldChange::Expired { amount } => released += amount,
            HoldChange::Extended { .. } | HoldChange::CheckedBack { .. } => {}
        }
    }
    assert_eq!((hold.captured, hold.released), (captured, released), "{hold:?}");
    let mut bytes = Vec::new();
    encode_hold(hold, &mut bytes);
    assert_eq!(decode_hold(&bytes).as_ref(), Ok(hold));
    assert!(hold.journal.is_sorted_by_key(|line| (line.at, line.time_unix_ns)), "{hold:?}");
    let in_hand = state.attempts().iter().filter_map(|(_, attempt)| match &attempt.role {
        Role::Coordinator(Coordination { captures: Some(taken), decided: None, .. })
            if taken.hold == hold.id.position =>
        {
            Some(taken.amount)
        }
        _ => None,
    });
    assert_eq!(hold.capturing, in_hand.sum::<i128>(), "{hold:?}");
    let used_up = hold.left() == 0 && hold.capturing == 0;
    assert!(if hold.ended.is_some() { hold.left() == 0 } else { !used_up }, "{hold:?}");
}

#[test]
fn a_full_journal_leaves_only_what_ends_a_hold() {
    let mut twin = Twin::of(SET);
    let open = |account: &str| Command::OpenAccount {
        request_id: "open".to_owned(),
        account: account.to_owned(),
        subject: "liability".to_owned(),
        currency: "EUR".to_owned(),
        normal_side: None,
        limit: None,
        metadata: Default::default(),
    };
    let place = Command::PlaceHold(PlaceHold {
        request_id: "place".to_owned(),
        account: "a".to_owned(),
        amount: 2_000.into(),
        currency: None,
        expires_ns: None,
        on_expiry: OnExpiry::Release,
        reason: 0,
        metadata: Default::default(),
    });
    twin.apply(1, &[open("a"), open("b"), place]);
    let hold = TransactionId { set: SET, incarnation: 1, position: Position::new(1, 2) };
    let release = |id: String, amount: Option<Decimal>| Command::ReleaseHold {
        request_id: id,
        account: "a".to_owned(),
        hold,
        amount,
    };
    let capture = |id: &str, is_final| {
        Command::Transaction(Transaction {
            request_id: id.to_owned(),
            scope_account: Some("a".to_owned()),
            legs: vec![Leg::new("a", Side::Debit, 1.into()), Leg::new("b", Side::Credit, 1.into())],
            capture: Some(Capture { hold, is_final }),
            ..Transaction::default()
        })
    };
    let lines: Vec<Command> = (0..LINES_MAX).map(|no| release(format!("r{no}"), Some(1.into()))).collect();
    assert!(twin.apply(2, &lines).iter().all(|outcome| outcome.result.is_ok()));
    let extend =
        Command::ExtendHold { request_id: "e".to_owned(), account: "a".to_owned(), hold, expires_ns: None };
    let full = [release("part".to_owned(), Some(1.into())), capture("c1", false), extend];
    for outcome in twin.apply(3, &full) {
        assert_eq!(outcome.result, Err(Rejection::HoldJournalFull { hold }));
    }
    let mut other = twin.books.clone();
    assert!(other.apply(4, &[release("all".to_owned(), None)])[0].result.is_ok());
    assert!(twin.apply(4, &[capture("c2", true)])[0].result.is_ok());
}

/// A journal that is full still takes tries, as many as there may be, and what ends the hold.
#[test]
fn tries_are_bounded_between_two_extensions() {
    let mut twin = Twin::of(SET);
    let open = |account: &str| Command::OpenAccount {
        request_id: "open".to_owned(),
        account: account.to_owned(),
        subject: "liability".to_owned(),
        currency: "EUR".to_owned(),
        normal_side: None,
        limit: None,
        metadata: Metadata::new(),
    };
    let place = Command::PlaceHold(PlaceHold {
        request_id: "place".to_owned(),
        account: "a".to_owned(),
        amount: 2_000.into(),
        currency: None,
        expires_ns: Some(10),
        on_expiry: OnExpiry::CheckBack(CheckBack { initiator: "shop".to_owned(), to: "b".to_owned() }),
        reason: 0,
        metadata: Metadata::new(),
    });
    twin.apply(1, &[open("a"), open("b"), place]);
    let hold = TransactionId { set: SET, incarnation: 1, position: Position::new(1, 2) };
    let tries = |numbers: std::ops::RangeInclusive<u32>| -> Vec<Command> {
        let came = Came::Pending { next_ns: 0 };
        numbers.map(|no| Command::CheckedBack(CheckedBack { hold, no, came })).collect()
    };
    let extend = |id: &str, end| Command::ExtendHold {
        request_id: id.to_owned(),
        account: "a".to_owned(),
        hold,
        expires_ns: Some(end),
    };
    let all_done = |outcomes: Vec<Outcome>| outcomes.iter().all(|outcome| outcome.result.is_ok());
    assert!(all_done(twin.apply(10, &tries(1..=100))));
    let full = Err(Rejection::HoldJournalFull { hold });
    assert_eq!(twin.apply(10, &tries(101..=101))[0].result, full);
    assert!(all_done(twin.apply(10, &[extend("later", 5_000)])));
    let release = |no| Command::ReleaseHold {
        request_id: format!("r{no}"),
        account: "a".to_owned(),
        hold,
        amount: Some(1.into()),
    };
    let lines: Vec<Command> = (101..LINES_MAX).map(release).collect();
    assert!(all_done(twin.apply(10, &lines)));
    assert!(all_done(twin.apply(5_000, &tries(101..=200))));
    assert_eq!(twin.apply(5_000, &tries(201..=201))[0].result, full);
    assert_eq!(twin.apply(5_000, &[extend("again", 9_000)])[0].result, full);
    let kept = CheckedBack { hold, no: 201, came: Came::Kept };
    assert!(all_done(twin.apply(5_000, &[Command::CheckedBack(kept)])));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_model_says_the_same_and_figures_add_up(history in history()) {
        let story = run(&history);
        story.twin.compare_readings();
        let books = &story.twin.books;
        let mut again = MemoryState::new(SET);
        let mut outcomes = Vec::new();
        for (index, entry) in (1..).zip(&books.entries) {
            outcomes.extend(again.apply(index, entry).expect("it applied before"));
        }
        prop_assert!(outcomes == story.outcomes);
        prop_assert!(again == books.short);
        let (outcomes, holds) = forgetful(&books.entries);
        prop_assert!(outcomes == story.outcomes);
        prop_assert!(holds.values().eq(books.short.holds().iter()));
    }
}

/// Each leg fits minor units, and what they take out of the held account together does not.
#[test]
fn a_capture_of_more_than_can_be_counted_is_refused() {
    let account = |account: &str| Command::OpenAccount {
        request_id: "open".to_owned(),
        account: account.to_owned(),
        subject: "liability".to_owned(),
        currency: "TKN".to_owned(),
        normal_side: None,
        limit: None,
        metadata: Metadata::new(),
    };
    let place = Command::PlaceHold(PlaceHold {
        request_id: "place".to_owned(),
        account: "a".to_owned(),
        amount: Decimal::ONE,
        currency: None,
        expires_ns: None,
        on_expiry: OnExpiry::Release,
        reason: 0,
        metadata: Metadata::new(),
    });
    let mut twin = Twin::of(SET);
    let define = Command::DefineCurrency { code: "TKN".to_owned(), scale: 12 };
    twin.apply(1, &[define, account("a"), account("b"), place]);
    let much = Decimal::from_i128_with_scale(160_000_000_000_000_000_000_000_000, 0);
    let legs = [("a", Side::Debit), ("a", Side::Debit), ("b", Side::Credit), ("b", Side::Credit)];
    let hold = TransactionId { set: SET, incarnation: 1, position: Position::new(1, 3) };
    let transaction = Transaction {
        request_id: "capture".to_owned(),
        scope_account: Some("a".to_owned()),
        legs: legs.iter().map(|(account, side)| Leg::new(account, *side, much)).collect(),
        capture: Some(Capture { hold, is_final: false }),
        ..Transaction::default()
    };
    let refused = twin.apply(2, &[Command::Transaction(transaction)]).remove(0);
    assert_eq!(refused.result, Err(Rejection::AmountOverflow { account: "a".to_owned() }));
}

#[test]
fn the_generator_reaches_all_of_it() {
    tally::assert_seen(
        800,
        history(),
        |history| run(history).seen,
        &[
            ("place done", 300),
            ("place account_closed", 5),
            ("place account_frozen", 5),
            ("place account_not_found", 5),
            ("place amount_overflow", 1),
            ("place currency_mismatch", 20),
            ("place excess_scale", 20),
            ("place expiry_too_early", 20),
            ("place limit_exceeded", 100),
            ("place again", 5),
            ("release done", 50),
            ("release hold_ended", 20),
            ("release hold_exceeded", 20),
            ("release hold_not_found", 20),
            ("release again", 3),
            ("extend done", 30),
            ("extend expiry_too_early", 20),
            ("extend hold_ended", 10),
            ("extend hold_not_found", 20),
            ("extend again", 3),
            ("expire done", 30),
            ("expire step_out_of_place", 50),
            ("try done", 30),
            ("try step_out_of_place", 50),
            ("confirm done", 3),
            ("confirm step_out_of_place", 20),
            ("confirm hold_exceeded", 1),
            ("begin confirm begun", 5),
            ("begin confirm step_out_of_place", 5),
            ("tried: pending", 10),
            ("tried: failed", 5),
            ("tried: cancelled", 3),
            ("tried: released", 1),
            ("tried: kept", 3),
            ("tried: confirmed", 5),
            ("mismatch on_expiry", 1),
            ("capture done", 50),
            ("capture account_frozen", 5),
            ("capture capture_without_outflow", 5),
            ("capture hold_ended", 20),
            ("capture hold_exceeded", 50),
            ("capture hold_not_found", 50),
            ("capture limit_exceeded", 5),
            ("capture precondition_failed", 5),
            ("capture unbalanced", 3),
            ("begin capture begun", 100),
            ("begin capture capture_without_outflow", 1),
            ("begin capture hold_ended", 20),
            ("begin capture hold_exceeded", 50),
            ("begin capture hold_not_found", 50),
            ("begin capture precondition_failed", 3),
            ("decide done", 50),
            ("decide set_unavailable", 20),
            ("decide unbalanced", 5),
            ("settle done", 20),
            ("prepare precondition_failed", 3),
            ("transaction precondition_failed", 5),
            ("reversal done", 20),
            ("reversal begun", 5),
            ("mismatch capture", 10),
            ("mismatch currency", 5),
            ("mismatch expires_at", 5),
            ("mismatch hold", 3),
            ("mismatch legs[1].preconditions", 3),
            ("ended Captured", 20),
            ("ended Captured with parts in hand", 2),
            ("ended Expired", 20),
            ("ended Expired with parts in hand", 2),
            ("ended Released", 20),
            ("ended Released with parts in hand", 5),
            ("captured after the end", 3),
            ("captured past the expiry", 2),
            ("let go after the end", 3),
            ("not in hand any more", 20),
        ],
    );
}
