//! The forms of what is answered and of what is stored: golden bytes that never change, and decoding of bytes that nobody
//! vouches for.

#[path = "support/golden.rs"]
mod golden;

use golden::{
    assert_golden, damaged, encoded_outcome, posted, sum, text, transaction, transaction_id, unhex,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use twinset_ledger::attempt::{Attempt, Capturing, Coordination, Planned, Role};
use twinset_ledger::check_back::{Asking, Came, CheckBack};
use twinset_ledger::codec::{
    DecodeError, decode_attempts, decode_hold, decode_outcome, decode_restriction, encode_attempts,
    encode_hold, encode_restriction,
};
use twinset_ledger::command::Expected;
use twinset_ledger::hold::{Ended, Hold, HoldChange, HoldEvent};
use twinset_ledger::outcome::{Held, Restricted};
use twinset_ledger::rejection::CODES;
use twinset_ledger::restriction::{Restriction, RestrictionEnd, RestrictionEnded};
use twinset_ledger::state::Taken;
use twinset_ledger::{
    Attempts, Effect, Label, LegKind, Outcome, Position, Posted, Rejection, Side, TransactionId,
};

/// One of each, in the order of their numbers.
fn rejections() -> Vec<(Rejection, &'static str)> {
    let (account, currency, subject) = (text("a"), text("E"), text("s"));
    let transaction = transaction_id();
    let (a, c, s, t) = ("0161", "0145", "0173", "0300000002000000 0700050000000000");
    let one = "01000000000000000000000000000000";
    let two = "02000000000000000000000000000000";
    let minus = "ffffffffffffffffffffffffffffffff";
    let golden = |parts: &[&str]| -> &'static str { parts.concat().leak() };
    vec![
        (
            Rejection::RequestMismatch { field: text("kind"), original: Position::new(1, 2) },
            golden(&["046b696e64", "0200010000000000"]),
        ),
        (Rejection::AccountNotFound { account: account.clone() }, a),
        (Rejection::AccountExists { account: account.clone() }, a),
        (Rejection::SubjectUnknown { subject: subject.clone() }, s),
        (Rejection::SubjectConflict { subject }, s),
        (Rejection::CurrencyUnknown { currency: currency.clone() }, c),
        (Rejection::CurrencyConflict { currency: currency.clone() }, c),
        (
            Rejection::CurrencyMismatch { account: account.clone(), expected: currency.clone() },
            golden(&[a, c]),
        ),
        (Rejection::ExcessScale { account: account.clone(), scale: 2 }, golden(&[a, "02"])),
        (Rejection::AmountOverflow { account: account.clone() }, a),
        (Rejection::Unbalanced { currency, debits: 1, credits: 2, scale: 3 }, golden(&[c, one, two, "03"])),
        (Rejection::AccountClosed { account: account.clone() }, a),
        (Rejection::AccountFrozen { account: account.clone(), side: Side::Credit }, golden(&[a, "02"])),
        (
            Rejection::LimitExceeded {
                account: account.clone(),
                available: 1,
                limit: -1,
                needed: 2,
                scale: 3,
            },
            golden(&[a, one, minus, two, "03"]),
        ),
        (Rejection::AccountNotEmpty { account }, a),
        (Rejection::TransactionNotFound { transaction }, t),
        (Rejection::NotReversible { transaction }, t),
        (Rejection::ReversalExceeds { left: 1, scale: 2, leg: None }, golden(&[one, "02"])),
        (Rejection::PartialReversalOfManyLegs { transaction }, t),
        (Rejection::StepOutOfPlace { attempt: transaction }, t),
        (Rejection::SetUnavailable { set: 5 }, "05000000"),
        (Rejection::HoldNotFound { account: text("a"), hold: transaction }, golden(&[a, t])),
        (Rejection::HoldEnded { hold: transaction }, t),
        (
            Rejection::HoldExceeded { hold: transaction, left: 1, needed: 2, scale: 3 },
            golden(&[t, one, two, "03"]),
        ),
        (Rejection::CaptureWithoutOutflow { account: text("a") }, a),
        (Rejection::ExpiryTooEarly { after_ns: 258 }, "0201000000000000"),
        (
            Rejection::PreconditionFailed {
                account: text("a"),
                expected: Expected::PostedMin,
                found: 1,
                wanted: 2,
                scale: 3,
            },
            golden(&[a, "03", one, two, "03"]),
        ),
        (Rejection::BatchRefused { item: 258 }, "0201"),
        (Rejection::HoldJournalFull { hold: transaction }, t),
        (Rejection::RestrictedOutflow { account: text("a") }, a),
        (
            Rejection::WithdrawableExceeded {
                account: text("a"),
                withdrawable: 1,
                limit: -1,
                needed: 2,
                scale: 3,
            },
            golden(&[a, one, minus, two, "03"]),
        ),
        (
            Rejection::RestrictionExceeded {
                account: text("a"),
                restriction: transaction,
                left: 1,
                scale: 3,
            },
            golden(&[a, t, one, "03"]),
        ),
        (Rejection::AccountBuffered { account: text("a") }, a),
        (Rejection::SuspenseNotFound { item: transaction }, t),
        (Rejection::SuspenseResolved { item: transaction }, t),
        (Rejection::SweepNotFound { account: text("a") }, a),
        (Rejection::TooManySweeps { most: 258 }, "02010000"),
        (Rejection::LegOnGroup { group: text("a") }, a),
        (Rejection::LegNotFound { transaction, leg: 258 }, golden(&[t, "0201"])),
    ]
}

fn held() -> Held {
    Held {
        hold: transaction_id(),
        scale: 2,
        amount: 9,
        captured: 2,
        capturing: 1,
        released: 3,
        expires_ns: Some(258),
        ended: Some(Ended::Captured),
        available: -1,
    }
}

fn held_bytes() -> String {
    let amounts = [9, 2, 1, 3].map(|n: u8| format!("{n:02x}{}", "00".repeat(15)));
    let available = "ff".repeat(16);
    format!("0300000002000000 0700050000000000 02 {}{available} 01 0201000000000000 01", amounts.concat())
}

fn restricted() -> Restricted {
    Restricted {
        restriction: transaction_id(),
        scale: 2,
        amount: 9,
        released: 3,
        left: 6,
        until_ns: Some(258),
        ended: Some(RestrictionEnd::Reversed),
        withdrawable: -1,
    }
}

fn restricted_bytes() -> String {
    let amounts = [9, 3, 6].map(|n: u8| format!("{n:02x}{}", "00".repeat(15)));
    let withdrawable = "ff".repeat(16);
    format!("0300000002000000 0700050000000000 02 {}{withdrawable} 01 0201000000000000 03", amounts.concat())
}

fn outcome(result: Result<Effect, Rejection>) -> Outcome {
    Outcome { position: Position::new(1, 2), incarnation: 4, time_unix_ns: 3, replayed: true, result }
}

#[test]
fn outcomes_have_golden_bytes() {
    let head = "0200010000000000 04000000 0300000000000000 01";
    let legs = "0100 01 02 01 01 04 0161";
    let mut cases = vec![
        (Ok(Effect::Defined { changed: false }), text("01")),
        (Ok(Effect::Defined { changed: true }), text("02")),
        (Ok(Effect::Account), text("03")),
        (Ok(Effect::Posted(vec![posted()])), format!("04 {legs}")),
        (Ok(Effect::Marked), text("05")),
        (Ok(Effect::Begun), text("06")),
        (Ok(Effect::Posted(vec![nothing_held()])), text("04 0100 82 02 01 808002 0161")),
        (Ok(Effect::Prepared(vec![sum()])), text("07 01 0145 02 01 02")),
        (Ok(Effect::Aborted), text("08")),
        (Ok(Effect::Settled(vec![posted()])), format!("09 {legs}")),
        (Ok(Effect::Held(held())), format!("0a {}", held_bytes())),
        (Ok(Effect::Grouped), text("0b")),
        (Ok(Effect::Restricted(restricted())), format!("0c {}", restricted_bytes())),
    ];
    for (number, (rejection, fields)) in (1u8..).zip(rejections()) {
        cases.push((Err(rejection), format!("00 {number:02x}00 {fields}")));
    }
    let of_a_leg = Rejection::ReversalExceeds { left: 1, scale: 2, leg: Some(258) };
    cases.push((Err(of_a_leg), format!("00 1200 01{} 82 0201", "00".repeat(15))));
    for (result, golden) in cases {
        assert_golden(&outcome(result), &format!("{head} {golden}"), encoded_outcome, decode_outcome);
    }
}

#[test]
fn rejections_have_stable_numbers_and_codes() {
    let all = rejections();
    assert_eq!(all.len(), CODES.len());
    for ((number, code), (rejection, _)) in (1u16..).zip(CODES).zip(all) {
        assert_eq!((rejection.number(), rejection.code()), (number, code));
        let sentence = rejection.to_string();
        assert!(sentence.len() > 10 && !sentence.ends_with('.'), "{sentence}");
    }
}

/// A leg on an account of which nothing is held.
fn nothing_held() -> Posted {
    Posted { side: Side::Credit, posted: 1 << 14, available: 1 << 14, ..posted() }
}

#[test]
fn balances_have_one_form() {
    let decoded = |legs: &str| {
        let head = "0200010000000000 04000000 0300000000000000 01 04 0100";
        decode_outcome(&unhex(&format!("{head} {legs}"))).map(|outcome| outcome.result)
    };
    assert_eq!(decoded("82 02 01 808002 0161"), Ok(Ok(Effect::Posted(vec![nothing_held()]))));
    for (legs, field) in [
        ("02 02 01 02 02 0161", "available"),
        ("80 02 01 02 0161", "side"),
        ("82 02 01 8000 0161", "varint"),
        ("82 02 80808080808080808080808080808080808002 02 0161", "posted amount"),
    ] {
        assert_eq!(decoded(legs), Err(DecodeError::OutOfRange { field }), "{legs}");
    }
    for balance in [0, 1, -1, 63, -64, i128::from(i64::MAX), i128::MAX, i128::MIN] {
        for available in [balance, 7] {
            let outcome =
                outcome(Ok(Effect::Posted(vec![Posted { posted: balance, available, ..posted() }])));
            assert_eq!(decode_outcome(&encoded_outcome(&outcome)), Ok(outcome));
        }
    }
}

/// One attempt of each kind.
fn attempts() -> Attempts {
    let planned = Planned { no: 7, side: Side::Credit, amount: 3, kind: LegKind::Ordinary };
    let restricted = Planned { kind: LegKind::Restricted { until_ns: Some(258) }, ..planned };
    let withdrawn = Planned { kind: LegKind::Withdrawal, ..planned };
    let attempt = |role, reserved| Attempt { reserved, accounting_date: -1, opened_ns: 9, role };
    let coordination = Coordination {
        legs: transaction().legs,
        sets: vec![3, 4],
        reverses: Some((transaction_id(), Taken::Evenly(5))),
        captures: Some(Capturing { hold: Position::new(2, 1), amount: 7, is_final: true, confirms: Some(3) }),
        decided: Some(Position::new(1, 3)),
        label: Label::from(&transaction()),
    };
    let asking = Coordination {
        reverses: None,
        captures: None,
        decided: None,
        label: Label::default(),
        ..coordination.clone()
    };
    let of_legs = Coordination {
        reverses: Some((transaction_id(), Taken::Legs(vec![(1, 5), (258, 6)]))),
        ..asking.clone()
    };
    let id = |set| TransactionId { set, ..transaction_id() };
    let mut attempts = Attempts::default();
    attempts.open(id(4), attempt(Role::Participant { reverses: None }, vec![restricted, withdrawn]));
    attempts.open(id(5), attempt(Role::Participant { reverses: Some(id(3)) }, vec![planned]));
    attempts.open(id(2), attempt(Role::Coordinator(coordination), Vec::new()));
    attempts.open(id(3), attempt(Role::Coordinator(asking), vec![planned]));
    attempts.open(id(6), attempt(Role::Coordinator(of_legs), Vec::new()));
    attempts
}

fn encoded_attempts(attempts: &Attempts) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_attempts(attempts, &mut bytes);
    bytes
}

#[test]
fn attempts_have_golden_bytes() {
    let head = |set: u8| format!("{set:02x}000000 02000000 0700050000000000 ffffffff 0900000000000000");
    let three = "03000000000000000000000000000000";
    let reserved = format!("01 07000000 02 {three}");
    let legs = "0200 01 0161 02960000000000000000000000 82 0162 010f0000000000000000000000 0145";
    let golden = [
        text("05000000"),
        head(2),
        format!("00 02 {legs} 03000000 04000000"),
        text("01 0300000002000000 0700050000000000 05000000000000000000000000000000"),
        text("01 0100020000000000 07000000000000000000000000000000 01 01 03000000 01 0300010000000000"),
        text("0201 0403 01016b010076"),
        head(3),
        format!("{reserved} 01 {legs} 03000000 04000000 00 00 00"),
        head(4),
        format!("02 07000000 1a {three} 0201000000000000 07000000 22 {three} 00 00"),
        head(5),
        format!("{reserved} 00 01 0300000002000000 0700050000000000"),
        head(6),
        format!("00 01 {legs} 03000000 04000000 02 0300000002000000 0700050000000000 02"),
        text("0100 05000000000000000000000000000000 0201 06000000000000000000000000000000 00 00"),
    ];
    assert_golden(&attempts(), &golden.join(" "), encoded_attempts, decode_attempts);
    assert_eq!(encoded_attempts(&Attempts::default()), [0; 4]);
}

#[test]
fn attempts_have_one_form() {
    let refused = |golden: &[&str]| {
        let text = format!("{:02x}000000 {}", golden.len(), golden.concat());
        decode_attempts(&unhex(&text)).expect_err("refused")
    };
    let id = "02000000 02000000 0700050000000000 ffffffff 0900000000000000";
    let (plain, no_role) = (format!("{id} 00 00 00"), format!("{id} 00 03"));
    let nothing = format!("{id} 01 07000000 02 00000000000000000000000000000000 00");
    assert_eq!(refused(&[&plain, &plain]), DecodeError::OutOfRange { field: "attempt order" });
    assert_eq!(refused(&[&no_role]), DecodeError::OutOfRange { field: "role" });
    let unlabelled = format!("{id} 00 02 0000 00 00 00 0000 0000 00");
    assert_eq!(refused(&[&unlabelled]), DecodeError::OutOfRange { field: "label" });
    assert_eq!(refused(&[&nothing]), DecodeError::OutOfRange { field: "reserved amount" });
}

/// One that has seen everything.
fn hold() -> Hold {
    let event = |index, change| HoldEvent { at: Position::new(index, 0), time_unix_ns: index, change };
    Hold {
        id: transaction_id(),
        account: 7,
        amount: 9,
        captured: 2,
        capturing: 1,
        released: 6,
        expires_ns: Some(258),
        check_back: Some(Asking {
            terms: CheckBack { initiator: "i".to_owned(), to: "b".to_owned() },
            tries: 7,
            tries_before: 3,
            next_ns: 258,
            confirming: true,
            kept: true,
        }),
        ended: Some(Ended::Expired),
        journal: vec![
            event(1, HoldChange::Captured { amount: 2, by: transaction_id() }),
            event(2, HoldChange::Released { amount: 3 }),
            event(3, HoldChange::Extended { expires_ns: Some(258) }),
            event(4, HoldChange::Expired { amount: 3 }),
            event(5, HoldChange::CheckedBack { no: 4, came: Came::Pending { next_ns: 258 } }),
            event(6, HoldChange::CheckedBack { no: 5, came: Came::Confirmed }),
        ],
    }
}

fn encoded_hold(hold: &Hold) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_hold(hold, &mut bytes);
    bytes
}

#[test]
fn a_hold_has_golden_bytes() {
    let number = |n: u8| format!("{n:02x}{}", "00".repeat(15));
    let event = |index: u8| format!("0000{index:02x}0000000000 {index:02x}00000000000000");
    let id = "0300000002000000 0700050000000000";
    let golden = [
        text(id),
        text("07000000"),
        [9, 2, 1, 6].map(number).concat(),
        text("01 0201000000000000 01 0169 0162 07000000 03000000 0201000000000000 01 01 03 06000000"),
        format!("{} 01 {} {id}", event(1), number(2)),
        format!("{} 02 {}", event(2), number(3)),
        format!("{} 04 01 0201000000000000", event(3)),
        format!("{} 03 {}", event(4), number(3)),
        format!("{} 05 04000000 01 0201000000000000", event(5)),
        format!("{} 05 05000000 06", event(6)),
    ];
    assert_golden(&hold(), &golden.join(" "), encoded_hold, decode_hold);
    for wrong in [Hold { amount: 8, ..hold() }, Hold { captured: -1, ..hold() }] {
        assert_eq!(decode_hold(&encoded_hold(&wrong)), Err(DecodeError::OutOfRange { field: "hold" }));
    }
}

/// One that has ended.
fn restriction() -> Restriction {
    let at = Position::new(2, 0);
    Restriction {
        transaction: transaction_id(),
        account: 7,
        made_at: Position::new(1, 0),
        made_ns: 5,
        amount: 9,
        left: 0,
        until_ns: Some(258),
        ended: Some(RestrictionEnded { how: RestrictionEnd::Expired, at, time_unix_ns: 300 }),
    }
}

fn encoded_restriction(restriction: &Restriction) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_restriction(restriction, &mut bytes);
    bytes
}

#[test]
fn a_restriction_has_golden_bytes() {
    let golden = "0300000002000000 0700050000000000 07000000 0000010000000000 0500000000000000 \
                  09000000000000000000000000000000 00000000000000000000000000000000 \
                  01 0201000000000000 02 0000020000000000 2c01000000000000";
    assert_golden(&restriction(), golden, encoded_restriction, decode_restriction);
    let open = Restriction { left: 9, until_ns: None, ended: None, ..restriction() };
    assert_eq!(decode_restriction(&encoded_restriction(&open)), Ok(open.clone()));
    for wrong in [
        Restriction { left: 1, ..restriction() },
        Restriction { left: 10, ..open.clone() },
        Restriction { left: -1, ..open.clone() },
        Restriction { left: 0, ..open },
    ] {
        let refused = decode_restriction(&encoded_restriction(&wrong));
        assert_eq!(refused, Err(DecodeError::OutOfRange { field: "restriction" }), "{wrong:?}");
    }
}

fn config() -> ProptestConfig {
    let regressions = FileFailurePersistence::Direct("tests/codec_outcomes.regressions");
    ProptestConfig { failure_persistence: Some(Box::new(regressions)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn damaged_attempts_never_panic(bytes in damaged(encoded_attempts(&attempts()))) {
        if let Ok(attempts) = decode_attempts(&bytes) {
            prop_assert_eq!(encoded_attempts(&attempts), bytes);
        }
    }

    #[test]
    fn damaged_holds_never_panic(bytes in damaged(encoded_hold(&hold()))) {
        if let Ok(hold) = decode_hold(&bytes) {
            prop_assert_eq!(encoded_hold(&hold), bytes);
        }
    }

    #[test]
    fn damaged_restrictions_never_panic(bytes in damaged(encoded_restriction(&restriction()))) {
        if let Ok(restriction) = decode_restriction(&bytes) {
            prop_assert_eq!(encoded_restriction(&restriction), bytes);
        }
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(outcome) = decode_outcome(&bytes) {
            prop_assert_eq!(&encoded_outcome(&outcome), &bytes);
        }
        if let Ok(attempts) = decode_attempts(&bytes) {
            prop_assert_eq!(&encoded_attempts(&attempts), &bytes);
        }
        if let Ok(hold) = decode_hold(&bytes) {
            prop_assert_eq!(&encoded_hold(&hold), &bytes);
        }
        if let Ok(restriction) = decode_restriction(&bytes) {
            prop_assert_eq!(&encoded_restriction(&restriction), &bytes);
        }
    }
}
