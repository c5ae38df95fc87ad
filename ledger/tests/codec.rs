//! The stored and sent forms: golden bytes that never change, and decoding of bytes that nobody vouches for. A failing
//! case is written to `tests/codec.regressions`; then `cargo test -p twinset-ledger --test codec` tries it first.

#[path = "support/generate.rs"]
mod generate;

use std::fmt::Write as _;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use rust_decimal::Decimal;
use twinset_ledger::attempt::{Attempt, Ballot, Coordination, Part, Planned, Role, Sum, Vote};
use twinset_ledger::codec::{
    DecodeError, Entry, EntryBuilder, HEADER_BYTES, PackedId, Record, SHORT_BYTES, Short, ShortScope,
    decode_attempts, decode_command, decode_outcome, encode_attempts, encode_command, encode_outcome,
};
use twinset_ledger::command::Metadata;
use twinset_ledger::rejection::CODES;
use twinset_ledger::{
    Attempts, Begin, Command, Durability, Effect, FreezeMode, Leg, Outcome, Position, Posted, Rejection,
    Reversal, Side, Step, Transaction, TransactionId,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all");
        text
    })
}

fn encoded(command: &Command) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_command(command, &mut bytes);
    bytes
}

fn encoded_outcome(outcome: &Outcome) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_outcome(outcome, &mut bytes);
    bytes
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn transaction_id() -> TransactionId {
    TransactionId { set: 3, incarnation: 2, position: Position::new(5, 7) }
}

fn transaction() -> Transaction {
    Transaction {
        request_id: text("id"),
        scope_account: Some(text("b")),
        legs: vec![
            Leg { account: text("a"), side: Side::Debit, amount: Decimal::new(150, 2), currency: None },
            Leg {
                account: text("b"),
                side: Side::Credit,
                amount: Decimal::new(15, 1),
                currency: Some(text("E")),
            },
        ],
        kind: 0x0102,
        reason: 0x0304,
        accounting_date: Some(-1),
        metadata: Metadata::from([(text("k"), text("v"))]),
    }
}

fn commands() -> Vec<(Command, &'static str)> {
    let (request_id, account) = (text("id"), text("a"));
    let mode = FreezeMode::Both;
    vec![
        (Command::DefineCurrency { code: text("BTC"), scale: 8 }, "010342544308"),
        (
            Command::DefineSubject { code: text("c"), name: text("Ü"), normal_side: Side::Credit },
            "02016302c39c02",
        ),
        (
            Command::OpenAccount {
                request_id: request_id.clone(),
                account: account.clone(),
                subject: text("asset"),
                currency: text("EUR"),
                normal_side: Some(Side::Debit),
                limit: Some(Decimal::new(-500, 2)),
                metadata: Metadata::from([(text("k"), text("v"))]),
            },
            "0302696401610561737365740345555201 0182f40100000000000000000000 01016b010076",
        ),
        (
            Command::SetLimit { request_id: request_id.clone(), account: account.clone(), limit: None },
            "04026964016100",
        ),
        (
            Command::Freeze { request_id: request_id.clone(), account: account.clone(), mode },
            "05026964016103",
        ),
        (
            Command::Unfreeze { request_id: request_id.clone(), account: account.clone(), mode },
            "06026964016103",
        ),
        (Command::CloseAccount { request_id: request_id.clone(), account }, "070269640161"),
        (
            Command::Transaction(transaction()),
            "0803 0201 0403 ffffffff 026964 0162 0200 01 0161 02960000000000000000000000 \
             82 0162 010f0000000000000000000000 0145 01016b010076",
        ),
        (
            Command::Reversal(Reversal {
                request_id,
                transaction: transaction_id(),
                amount: Some(Decimal::new(1, 0)),
                reason: 9,
                metadata: Metadata::new(),
            }),
            "09026964 0300000002000000 0700050000000000 0100010000000000000000000000 0900 00",
        ),
        (Command::MarkDurability { durability: Durability::Degraded }, "0a01"),
        (
            Command::Begin(Begin { transaction: transaction(), sets: vec![3, 4] }),
            "0b03 0201 0403 ffffffff 026964 0162 0200 01 0161 02960000000000000000000000 \
             82 0162 010f0000000000000000000000 0145 01016b010076 03000000 04000000",
        ),
        (
            step(Step::Prepare { legs: transaction().legs, accounting_date: -1 }),
            "0c 0300000002000000 0700050000000000 ffffffff 0200 01 0161 02960000000000000000000000 \
             82 0162 010f0000000000000000000000 0145",
        ),
        (step(Step::Decide(Ballot::GivenUp { set: 4 })), "0d 0300000002000000 0700050000000000 00 04000000"),
        (
            step(Step::Decide(Ballot::Votes(vec![
                Vote { set: 4, said: Ok(vec![sum()]) },
                Vote { set: 5, said: Err(Rejection::AccountClosed { account: text("a") }) },
            ]))),
            "0d 0300000002000000 0700050000000000 01 02 \
             04000000 01 01 0145 02 01000000000000000000000000000000 02000000000000000000000000000000 \
             05000000 00 0c00 0161",
        ),
        (step(Step::Commit), "0e 0300000002000000 0700050000000000"),
        (step(Step::Abort), "0f 0300000002000000 0700050000000000"),
        (
            step(Step::Settle {
                parts: vec![Part { set: 4, position: Position::new(1, 2), legs: vec![posted()] }],
            }),
            "10 0300000002000000 0700050000000000 01 04000000 0200010000000000 \
             0100 01 02 01000000000000000000000000000000 ffffffffffffffffffffffffffffffff \
             02000000000000000000000000000000 0161",
        ),
    ]
}

fn step(step: Step) -> Command {
    Command::Step { attempt: transaction_id(), step }
}

fn sum() -> Sum {
    Sum { currency: text("E"), scale: 2, debits: 1, credits: 2 }
}

fn posted() -> Posted {
    Posted { account: text("a"), side: Side::Debit, amount: 1, scale: 2, posted: -1, available: 2 }
}

#[test]
fn commands_have_golden_bytes() {
    for (command, golden) in commands() {
        let bytes = encoded(&command);
        assert_eq!(hex(&bytes), golden.replace(' ', ""), "{command:?}");
        assert_eq!(decode_command(&bytes), Ok(command));
    }
}

#[test]
fn commands_of_bad_length_are_refused() {
    for (command, _) in commands() {
        let mut bytes = encoded(&command);
        for len in 0..bytes.len() {
            assert_eq!(decode_command(&bytes[..len]), Err(DecodeError::Truncated), "{command:?}");
        }
        bytes.push(0);
        assert_eq!(decode_command(&bytes), Err(DecodeError::Trailing { left: 1 }), "{command:?}");
    }
}

#[test]
fn one_meaning_has_one_form() {
    let refused = |hex: &str| decode_command(&unhex(hex)).expect_err("refused");
    assert_eq!(refused("11"), DecodeError::Unknown { what: "command kind", found: 17 });
    assert_eq!(refused("070269640120"), DecodeError::BadId);
    assert_eq!(refused("0702696401ff"), DecodeError::BadId);
    assert_eq!(refused("07026964 00"), DecodeError::BadId);
    assert_eq!(refused("020163 01ff 02"), DecodeError::Utf8);
    assert_eq!(refused("04026964016102"), DecodeError::OutOfRange { field: "amount present" });
    // Minus zero, and more places than there are.
    assert_eq!(
        refused("040269640161 01 80000000000000000000000000"),
        DecodeError::OutOfRange { field: "amount" }
    );
    assert_eq!(
        refused("040269640161 01 1d010000000000000000000000"),
        DecodeError::OutOfRange { field: "amount" }
    );
    // Metadata keys that do not rise.
    let twice = "09026964 0300000002000000 0700050000000000 00 0900 02 01620000 01610000";
    assert_eq!(refused(twice), DecodeError::OutOfRange { field: "metadata order" });
    let decide = |rest: &str| refused(&format!("0d 0300000002000000 0700050000000000 {rest}"));
    assert_eq!(decide("02 04000000"), DecodeError::OutOfRange { field: "ballot" });
    assert_eq!(decide("01 01 04000000 02"), DecodeError::OutOfRange { field: "vote" });
    assert_eq!(decide("01 01 04000000 01 01 0120"), DecodeError::BadId);
}

fn unhex(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    let digits = hex.as_bytes().chunks_exact(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    digits.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect()
}

fn short() -> Short {
    Short {
        request_id: PackedId::pack("01890a5d-ac96-774b-bcce-b302099a8057").expect("a UUID"),
        debit: 1,
        credit: 0x0203_0405,
        amount: 150,
        kind: 0x0102,
        reason: 0x0304,
        accounting_date: Some(19_000),
        scope: ShortScope::Credit,
        credit_first: true,
    }
}

const SHORT_GOLDEN: &str = "010e02010403 2001890a5dac96774bbcceb302099a8057 00 01000000 05040302 \
     9600000000000000 384a0000 0000000000000000000000000000000000000000";

#[test]
fn an_entry_has_golden_bytes() {
    let plain = Short {
        request_id: PackedId::pack("r1").expect("short"),
        accounting_date: None,
        scope: ShortScope::Default,
        credit_first: false,
        ..short()
    };
    let mut builder = EntryBuilder::new(1, 2, 3);
    builder.push_short(&short());
    builder.push_command_bytes(&[0x0a, 0x01]);
    builder.push_short(&plain);
    assert_eq!(builder.count(), 3);
    assert_eq!(builder.len_bytes(), HEADER_BYTES + 2 * SHORT_BYTES + 7);
    let bytes = builder.finish();
    let golden = format!(
        "01 0100 02000000 0300000000000000 03000000 {SHORT_GOLDEN} 02 02000000 0a01 \
         010002010403 0272310000000000000000000000000000 00 01000000 05040302 \
         9600000000000000 00000000 0000000000000000000000000000000000000000"
    );
    assert_eq!(hex(&bytes), hex(&unhex(&golden)));

    let entry = Entry::parse(&bytes).expect("just built");
    assert_eq!((entry.rules_version(), entry.incarnation(), entry.time_unix_ns()), (1, 2, 3));
    let records = [Record::Short(short()), Record::General(&[0x0a, 0x01]), Record::Short(plain)];
    assert!(!entry.is_all_short());
    assert_eq!(entry.records().collect::<Vec<_>>(), records);
    for (n, record) in records.into_iter().enumerate() {
        assert_eq!(entry.record(n), Some(record));
    }
    assert_eq!(entry.record(3), None);
    assert_eq!(plain.request_id.to_string(), "r1");
}

#[test]
fn records_of_a_short_entry_are_found_at_once() {
    let mut builder = EntryBuilder::new(1, 1, 1);
    for amount in 1..=100 {
        builder.push_short(&Short { amount, ..short() });
    }
    let bytes = builder.finish();
    let entry = Entry::parse(&bytes).expect("just built");
    assert!(entry.is_all_short());
    assert_eq!(entry.record(41), Some(Record::Short(Short { amount: 42, ..short() })));
    assert_eq!(entry.records().len(), 100);
}

#[test]
fn a_bad_entry_is_refused() {
    let mut builder = EntryBuilder::new(1, 1, 1);
    builder.push_short(&short());
    builder.push_command_bytes(&[1, 2, 3]);
    let good = builder.finish();
    for len in 0..good.len() {
        assert_eq!(Entry::parse(&good[..len]).err(), Some(DecodeError::Truncated), "{len}");
    }
    let with = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        Entry::parse(&bytes).expect_err("refused")
    };
    assert_eq!(with(0, 2), DecodeError::Unknown { what: "entry format", found: 2 });
    assert_eq!(with(17, 1), DecodeError::OutOfRange { field: "count" });
    assert_eq!(with(HEADER_BYTES, 3), DecodeError::Unknown { what: "record tag", found: 3 });
    for (at, byte, field) in [
        (1, 0x0f, "flags"),
        (1, 0x1e, "flags"),
        (1, 0x06, "accounting date"),
        (6, 0x22, "packed request id"),
        (23, 1, "padding"),
        (63, 1, "padding"),
        (43, 0x70, "accounting date"),
    ] {
        assert_eq!(with(HEADER_BYTES + at, byte), DecodeError::OutOfRange { field }, "{at}");
    }
    let mut no_amount = good;
    no_amount[HEADER_BYTES + 32] = 0;
    assert_eq!(Entry::parse(&no_amount).err(), Some(DecodeError::OutOfRange { field: "legs" }));
}

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
        (Rejection::ReversalExceeds { left: 1, scale: 2 }, golden(&[one, "02"])),
        (Rejection::PartialReversalOfManyLegs { transaction }, t),
        (Rejection::StepOutOfPlace { attempt: transaction }, t),
        (Rejection::SetUnavailable { set: 5 }, "05000000"),
    ]
}

fn outcome(result: Result<Effect, Rejection>) -> Outcome {
    Outcome { position: Position::new(1, 2), incarnation: 4, time_unix_ns: 3, replayed: true, result }
}

#[test]
fn outcomes_have_golden_bytes() {
    let head = "0200010000000000 04000000 0300000000000000 01";
    let legs = "0100 01 02 01000000000000000000000000000000 ffffffffffffffffffffffffffffffff \
                02000000000000000000000000000000 0161";
    let mut cases = vec![
        (Ok(Effect::Defined { changed: false }), text("01")),
        (Ok(Effect::Defined { changed: true }), text("02")),
        (Ok(Effect::Account), text("03")),
        (Ok(Effect::Posted(vec![posted()])), format!("04 {legs}")),
        (Ok(Effect::Marked), text("05")),
        (Ok(Effect::Begun), text("06")),
        (
            Ok(Effect::Prepared(vec![sum()])),
            text("07 01 0145 02 01000000000000000000000000000000 02000000000000000000000000000000"),
        ),
        (Ok(Effect::Aborted), text("08")),
        (Ok(Effect::Settled(vec![posted()])), format!("09 {legs}")),
    ];
    for (number, (rejection, fields)) in (1u8..).zip(rejections()) {
        cases.push((Err(rejection), format!("00 {number:02x}00 {fields}")));
    }
    for (result, golden) in cases {
        let outcome = outcome(result);
        let mut bytes = encoded_outcome(&outcome);
        assert_eq!(hex(&bytes), hex(&unhex(&format!("{head} {golden}"))), "{outcome:?}");
        assert_eq!(decode_outcome(&bytes).as_ref(), Ok(&outcome));
        for len in 0..bytes.len() {
            assert_eq!(decode_outcome(&bytes[..len]), Err(DecodeError::Truncated), "{outcome:?}");
        }
        bytes.push(0);
        assert_eq!(decode_outcome(&bytes), Err(DecodeError::Trailing { left: 1 }));
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

/// One attempt of each kind.
fn attempts() -> Attempts {
    let planned = Planned { no: 7, side: Side::Credit, amount: 3 };
    let attempt = |role, reserved| Attempt { reserved, accounting_date: -1, opened_ns: 9, role };
    let coordination = Coordination {
        legs: transaction().legs,
        sets: vec![3, 4],
        reverses: Some((Position::new(1, 2), 5)),
        decided: Some(Position::new(1, 3)),
    };
    let asking = Coordination { reverses: None, decided: None, ..coordination.clone() };
    let id = |set| TransactionId { set, ..transaction_id() };
    let mut attempts = Attempts::default();
    attempts.open(id(4), attempt(Role::Participant, vec![planned]));
    attempts.open(id(2), attempt(Role::Coordinator(coordination), Vec::new()));
    attempts.open(id(3), attempt(Role::Coordinator(asking), vec![planned]));
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
    let reserved = "01 07000000 02 03000000000000000000000000000000";
    let legs = "0200 01 0161 02960000000000000000000000 82 0162 010f0000000000000000000000 0145";
    let golden = [
        text("03000000"),
        head(2),
        format!("00 01 {legs} 03000000 04000000"),
        text("01 0200010000000000 05000000000000000000000000000000 01 0300010000000000"),
        head(3),
        format!("{reserved} 01 {legs} 03000000 04000000 00 00"),
        head(4),
        format!("{reserved} 00"),
    ];
    let mut bytes = encoded_attempts(&attempts());
    assert_eq!(hex(&bytes), hex(&unhex(&golden.join(" "))));
    assert_eq!(decode_attempts(&bytes), Ok(attempts()));
    for len in 0..bytes.len() {
        assert_eq!(decode_attempts(&bytes[..len]), Err(DecodeError::Truncated), "{len}");
    }
    bytes.push(0);
    assert_eq!(decode_attempts(&bytes), Err(DecodeError::Trailing { left: 1 }));
    assert_eq!(encoded_attempts(&Attempts::default()), [0; 4]);
}

#[test]
fn attempts_have_one_form() {
    let refused = |golden: &[&str]| {
        let text = format!("{:02x}000000 {}", golden.len(), golden.concat());
        decode_attempts(&unhex(&text)).expect_err("refused")
    };
    let id = "02000000 02000000 0700050000000000 ffffffff 0900000000000000";
    let (plain, no_role) = (format!("{id} 00 00"), format!("{id} 00 02"));
    let nothing = format!("{id} 01 07000000 02 00000000000000000000000000000000 00");
    assert_eq!(refused(&[&plain, &plain]), DecodeError::OutOfRange { field: "attempt order" });
    assert_eq!(refused(&[&no_role]), DecodeError::OutOfRange { field: "role" });
    assert_eq!(refused(&[&nothing]), DecodeError::OutOfRange { field: "reserved amount" });
}

/// Bytes with a few of them changed, or cut.
fn damaged(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let len = bytes.len();
    (Just(bytes), vec((0..len, any::<u8>()), 0..3), 0..=len).prop_map(|(mut bytes, changes, keep)| {
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes.truncate(if keep < 3 { keep } else { bytes.len() });
        bytes
    })
}

fn config() -> ProptestConfig {
    let regressions = FileFailurePersistence::Direct("tests/codec.regressions");
    ProptestConfig { failure_persistence: Some(Box::new(regressions)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn commands_round_trip(command in prop_oneof![generate::command(), generate::across()]) {
        prop_assert_eq!(decode_command(&encoded(&command)), Ok(command));
    }

    #[test]
    fn damaged_commands_never_panic(
        bytes in prop_oneof![generate::command(), generate::across()].prop_flat_map(|c| damaged(encoded(&c))),
    ) {
        if let Ok(command) = decode_command(&bytes) {
            prop_assert_eq!(encoded(&command), bytes);
        }
    }

    #[test]
    fn damaged_attempts_never_panic(bytes in damaged(encoded_attempts(&attempts()))) {
        if let Ok(attempts) = decode_attempts(&bytes) {
            prop_assert_eq!(encoded_attempts(&attempts), bytes);
        }
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), kind in 0u8..18) {
        let mut with_kind = vec![kind];
        with_kind.extend_from_slice(&bytes);
        for bytes in [&bytes, &with_kind] {
            if let Ok(command) = decode_command(bytes) {
                prop_assert_eq!(&encoded(&command), bytes);
            }
            if let Ok(outcome) = decode_outcome(bytes) {
                prop_assert_eq!(&encoded_outcome(&outcome), bytes);
            }
            if let Ok(attempts) = decode_attempts(bytes) {
                prop_assert_eq!(&encoded_attempts(&attempts), bytes);
            }
            if let Ok(entry) = Entry::parse(bytes) {
                prop_assert_eq!(entry.records().count(), entry.count());
            }
        }
    }

    #[test]
    fn damaged_entries_never_panic(
        bytes in vec(generate::command(), 0..4).prop_flat_map(|commands| {
            let mut builder = EntryBuilder::new(1, 1, 1);
            for command in &commands {
                builder.push_short(&short());
                builder.push_command_bytes(&encoded(command));
            }
            damaged(builder.finish())
        }),
    ) {
        if let Ok(entry) = Entry::parse(&bytes) {
            let mut again =
                EntryBuilder::new(entry.rules_version(), entry.incarnation(), entry.time_unix_ns());
            for record in entry.records() {
                match record {
                    Record::Short(short) => again.push_short(&short),
                    Record::General(command) => again.push_command_bytes(command),
                }
            }
            prop_assert_eq!(again.finish(), bytes);
        }
    }
}
