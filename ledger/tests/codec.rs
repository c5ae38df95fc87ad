//! The forms of commands and entries: golden bytes that never change, and decoding of bytes that nobody vouches for. A failing
//! case is written to `tests/codec.regressions`; then `cargo test -p twinset-ledger --test codec` tries it first.

#[path = "support/generate.rs"]
mod generate;
#[path = "support/golden.rs"]
mod golden;

use golden::{
    assert_golden_commands, damaged, encoded, hex, posted, sum, text, transaction, transaction_id, unhex,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use rust_decimal::Decimal;
use twinset_ledger::attempt::{Ballot, Part, Vote};
use twinset_ledger::check_back::{Came, CheckBack, CheckedBack, Failure, OnExpiry};
use twinset_ledger::codec::{
    DecodeError, Entry, EntryBuilder, HEADER_BYTES, PackedId, Record, SHORT_BYTES, Short, ShortScope,
    decode_command,
};
use twinset_ledger::command::{Expected, Metadata, Precondition};
use twinset_ledger::hold::{Capture, PlaceHold};
use twinset_ledger::{
    Begin, Command, Durability, FreezeMode, Label, LegKind, LegPart, Position, Rejection, Reversal, Side,
    Step, Transaction,
};

/// With what only captures and careful clients say.
fn capture() -> Transaction {
    let mut transaction = transaction();
    transaction.capture = Some(Capture { hold: transaction_id(), is_final: true });
    transaction.legs[1].preconditions = vec![
        Precondition { expected: Expected::PostedMax, value: Decimal::new(-5, 1) },
        Precondition { expected: Expected::Version, value: Decimal::new(7, 0) },
    ];
    transaction
}

/// With what is said of restricted funds.
fn restricted() -> Transaction {
    let mut transaction = transaction();
    transaction.legs[0].kind = LegKind::Withdrawal;
    transaction.legs[1].kind = LegKind::Restricted { until_ns: Some(258) };
    transaction
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
                legs: None,
                reason: 9,
                metadata: Metadata::new(),
            }),
            "09026964 0300000002000000 0700050000000000 0100010000000000000000000000 0900 00",
        ),
        (
            Command::Reversal(Reversal {
                request_id: text("id"),
                transaction: transaction_id(),
                amount: None,
                legs: Some(vec![
                    LegPart { leg: 0, amount: Decimal::new(1, 0) },
                    LegPart { leg: 255, amount: Decimal::new(15, 1) },
                ]),
                reason: 9,
                metadata: Metadata::new(),
            }),
            "2d026964 0300000002000000 0700050000000000 0200 0000 00010000000000000000000000 \
             ff00 010f0000000000000000000000 0900 00",
        ),
        (Command::DefineGroup { group: "g".into() }, "2c0167"),
        (Command::MarkDurability { durability: Durability::Degraded }, "0a01"),
        (
            Command::Begin(Begin { transaction: transaction(), sets: vec![3, 4] }),
            "0b03 0201 0403 ffffffff 026964 0162 0200 01 0161 02960000000000000000000000 \
             82 0162 010f0000000000000000000000 0145 01016b010076 03000000 04000000",
        ),
        (
            step(Step::Prepare {
                legs: transaction().legs,
                accounting_date: -1,
                reverses: None,
                label: Label::default(),
            }),
            "0c 0300000002000000 0700050000000000 ffffffff 00 0200 01 0161 02960000000000000000000000 \
             82 0162 010f0000000000000000000000 0145",
        ),
        (step(Step::Decide(Ballot::GivenUp { set: 4 })), "0d 0300000002000000 0700050000000000 00 04000000"),
        (
            step(Step::Decide(Ballot::Votes(vec![
                Vote { set: 4, said: Ok(vec![sum()]) },
                Vote { set: 5, said: Err(Rejection::AccountClosed { account: text("a") }) },
            ]))),
            "0d 0300000002000000 0700050000000000 01 02 \
             04000000 01 01 0145 02 01 02 \
             05000000 00 0c00 0161",
        ),
        (step(Step::Commit), "0e 0300000002000000 0700050000000000"),
        (step(Step::Abort), "0f 0300000002000000 0700050000000000"),
        (
            Command::Transaction(capture()),
            "080f 0201 0403 ffffffff 026964 0162 0300000002000000 0700050000000000 0200 01 0161 \
             02960000000000000000000000 c2 0162 010f0000000000000000000000 0145 \
             02 04 81050000000000000000000000 05 00070000000000000000000000 01016b010076",
        ),
        (
            Command::PlaceHold(PlaceHold {
                request_id: text("id"),
                account: text("a"),
                amount: Decimal::new(150, 2),
                currency: Some(text("E")),
                expires_ns: Some(258),
                on_expiry: OnExpiry::CheckBack(CheckBack { initiator: text("i"), to: text("b") }),
                reason: 9,
                metadata: Metadata::from([(text("k"), text("v"))]),
            }),
            "11 026964 0161 02960000000000000000000000 01 0145 01 0201000000000000 01 0169 0162 0900 01016b010076",
        ),
        (
            Command::ReleaseHold {
                request_id: text("id"),
                account: text("a"),
                hold: transaction_id(),
                amount: None,
            },
            "12 026964 0161 0300000002000000 0700050000000000 00",
        ),
        (
            Command::ExtendHold {
                request_id: text("id"),
                account: text("a"),
                hold: transaction_id(),
                expires_ns: None,
            },
            "13 026964 0161 0300000002000000 0700050000000000 00",
        ),
        (
            Command::CheckedBack(CheckedBack {
                hold: transaction_id(),
                no: 3,
                came: Came::Failed { why: Failure::Refused { number: 13 }, next_ns: 258 },
            }),
            "1e 0300000002000000 0700050000000000 03000000 02 05 0d00 0201000000000000",
        ),
        (Command::ExpireHold { hold: transaction_id() }, "14 0300000002000000 0700050000000000"),
        (Command::Together { count: 258 }, "15 0201"),
        (
            Command::Transaction(restricted()),
            "0803 0201 0403 ffffffff 026964 0162 0200 21 0161 02960000000000000000000000 \
             9a 0162 010f0000000000000000000000 0145 0201000000000000 01016b010076",
        ),
        (
            step(Step::Prepare {
                legs: transaction().legs[..1].to_vec(),
                accounting_date: -1,
                reverses: Some(transaction_id()),
                label: Label::default(),
            }),
            "0c 0300000002000000 0700050000000000 ffffffff 01 0300000002000000 0700050000000000 \
             0100 01 0161 02960000000000000000000000",
        ),
        (
            step(Step::Prepare {
                legs: transaction().legs[..1].to_vec(),
                accounting_date: -1,
                reverses: None,
                label: Label::from(&transaction()),
            }),
            "2a 0300000002000000 0700050000000000 ffffffff 00 \
             0100 01 0161 02960000000000000000000000 0201 0403 01016b010076",
        ),
        (
            Command::ReleaseRestriction {
                request_id: text("id"),
                account: text("a"),
                restriction: transaction_id(),
                amount: None,
            },
            "16 026964 0161 0300000002000000 0700050000000000 00",
        ),
        (
            Command::ExpireRestriction { account: text("a"), restriction: transaction_id() },
            "17 0161 0300000002000000 0700050000000000",
        ),
        (
            step(Step::Settle {
                parts: vec![Part { set: 4, position: Position::new(1, 2), legs: vec![posted()] }],
            }),
            "10 0300000002000000 0700050000000000 01 04000000 0200010000000000 \
             0100 01 02 01 01 04 0161",
        ),
    ]
}

fn step(step: Step) -> Command {
    Command::Step { attempt: transaction_id(), step }
}

#[test]
fn commands_have_golden_bytes() {
    assert_golden_commands(&commands());
}

#[test]
fn one_meaning_has_one_form() {
    let refused = |hex: &str| decode_command(&unhex(hex)).expect_err("refused");
    assert_eq!(refused("18"), DecodeError::Unknown { what: "command kind", found: 24 });
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
    // A leg that is both kinds, and one that has a time and is not restricted.
    for head in ["31", "39", "09", "29"] {
        let leg = format!(
            "0c 0300000002000000 0700050000000000 00000000 00 0100 {head} 0161 00010000000000000000000000"
        );
        assert_eq!(refused(&leg), DecodeError::OutOfRange { field: "leg kind" });
    }
    let decide = |rest: &str| refused(&format!("0d 0300000002000000 0700050000000000 {rest}"));
    assert_eq!(decide("03 04000000"), DecodeError::OutOfRange { field: "ballot" });
    assert_eq!(decide("01 01 04000000 02"), DecodeError::OutOfRange { field: "vote" });
    assert_eq!(decide("01 01 04000000 01 01 0120"), DecodeError::BadId);
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
    fn foreign_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), kind in 0u8..40) {
        let mut with_kind = vec![kind];
        with_kind.extend_from_slice(&bytes);
        for bytes in [&bytes, &with_kind] {
            if let Ok(command) = decode_command(bytes) {
                prop_assert_eq!(&encoded(&command), bytes);
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
