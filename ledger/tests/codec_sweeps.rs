//! The forms of sweeps: golden bytes that never change, and decoding of bytes that nobody vouches for.

#[path = "support/golden.rs"]
mod golden;

use golden::{
    OUTCOME_HEAD, assert_golden_commands, assert_golden_effects, damaged, encoded, hex, text, transaction_id,
    unhex,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use rust_decimal::Decimal;
use twinset_ledger::codec::{DecodeError, decode_command, decode_outcome, decode_sweeps, encode_sweeps};
use twinset_ledger::sweep::{Sweeps, Timing, run_id};
use twinset_ledger::{Command, Effect, Rejection, RunEnd, Schedule, SetSweep};

const ID: &str = "0300000002000000 0700050000000000";

fn commands() -> Vec<(Command, String)> {
    let set = |schedule| {
        Command::SetSweep(SetSweep {
            request_id: text("id"),
            account: text("a"),
            to: text("b"),
            keep: Decimal::new(150, 2),
            schedule,
        })
    };
    let head = "27 026964 0161 0162 02960000000000000000000000";
    vec![
        (set(Schedule::Every { seconds: 258, from_ns: None }), format!("{head} 01 02010000 00")),
        (
            set(Schedule::Every { seconds: 258, from_ns: Some(259) }),
            format!("{head} 01 02010000 01 0301000000000000"),
        ),
        (
            set(Schedule::Above { amount: Decimal::new(2, 0) }),
            format!("{head} 02 00020000000000000000000000"),
        ),
        (set(Schedule::Daily), format!("{head} 03")),
        (Command::RemoveSweep { request_id: text("id"), account: text("a") }, text("28 026964 0161")),
        (
            Command::EndRun { account: text("a"), sweep: transaction_id(), run: 258 },
            format!("29 0161 {ID} 02010000"),
        ),
    ]
}

#[test]
fn commands_have_golden_bytes() {
    assert_golden_commands(&commands());
    let bytes = unhex("27 026964 0161 0162 00000000000000000000000000 04");
    assert_eq!(decode_command(&bytes), Err(DecodeError::OutOfRange { field: "schedule" }));
}

#[test]
fn outcomes_have_golden_bytes() {
    assert_golden_effects(
        [
            (RunEnd::Nothing, "16 01"),
            (RunEnd::Booked, "16 02"),
            (RunEnd::Refused(Rejection::AccountClosed { account: text("a") }), "16 03 0c00 0161"),
        ]
        .map(|(end, golden)| (Effect::Ran(end), text(golden))),
    );
    let bytes = unhex(&format!("{OUTCOME_HEAD} 16 04"));
    assert_eq!(decode_outcome(&bytes), Err(DecodeError::OutOfRange { field: "how a run has ended" }));
}

/// One of each schedule, the last one with a run that is open.
fn all() -> String {
    let keep = "96000000000000000000000000000000";
    let one = |account: &str, when: &str, open: &str| {
        format!("{account} {ID} 0162 {keep} {when} 05000000 0301000000000000 {open}")
    };
    let above = "02 02000000000000000000000000000000";
    [
        "03000000",
        &one("00000000", "01 02010000 0401000000000000", "00"),
        &one("01000000", above, "00"),
        &one("07000000", "03", &format!("01 {ID}")),
    ]
    .join(" ")
}

fn encoded_sweeps(sweeps: &Sweeps) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_sweeps(sweeps, &mut bytes);
    bytes
}

#[test]
fn the_sweeps_of_a_set_have_golden_bytes() {
    let bytes = unhex(&all());
    let sweeps = decode_sweeps(&bytes).expect("they are some");
    assert_eq!(hex(&encoded_sweeps(&sweeps)), hex(&bytes));
    let timings: Vec<Timing> = sweeps.iter().map(|sweep| sweep.timing).collect();
    let expected = [Timing::Every { seconds: 258, from_ns: 260 }, Timing::Above { minor: 2 }, Timing::Daily];
    assert_eq!(timings, expected);
    let last = sweeps.get(7).expect("it has one");
    assert_eq!((last.id, last.keep, last.runs, last.next_ns), (transaction_id(), 150, 5, 259));
    assert_eq!((last.open, &*last.to), (Some(transaction_id()), "b"));
    for len in 0..bytes.len() {
        assert_eq!(decode_sweeps(&bytes[..len]), Err(DecodeError::Truncated), "{len}");
    }
    let trailing = [&bytes[..], &[0]].concat();
    assert_eq!(decode_sweeps(&trailing), Err(DecodeError::Trailing { left: 1 }));
    assert_eq!(encoded_sweeps(&Sweeps::default()), [0; 4]);
}

#[test]
fn the_sweeps_of_a_set_have_one_form() {
    let refused = |text: &str| decode_sweeps(&unhex(text)).expect_err("refused");
    let one = |when: &str| {
        format!("00000000 {ID} 0162 96000000000000000000000000000000 {when} 05000000 0301000000000000 00")
    };
    let twice = format!("02000000 {} {}", one("03"), one("03"));
    assert_eq!(refused(&twice), DecodeError::OutOfRange { field: "order of sweeps" });
    assert_eq!(refused("11270000"), DecodeError::OutOfRange { field: "sweeps" });
    let never = format!("01000000 {}", one("01 00000000 0401000000000000"));
    assert_eq!(refused(&never), DecodeError::OutOfRange { field: "interval" });
    assert_eq!(refused(&format!("01000000 {}", one("04"))), DecodeError::OutOfRange { field: "schedule" });
}

#[test]
fn a_run_keeps_its_name_in_its_form() {
    let sweeps = decode_sweeps(&unhex(&all())).expect("they are some");
    let mut run = golden::transaction();
    run.request_id = run_id(sweeps.get(0).expect("it has one").id, 6);
    let bytes = encoded(&Command::Transaction(run.clone()));
    assert_eq!(decode_command(&bytes), Ok(Command::Transaction(run.clone())));
    run.request_id = run.request_id.replace("sweep", "swept");
    assert_eq!(decode_command(&encoded(&Command::Transaction(run))), Err(DecodeError::BadId));
}

fn config() -> ProptestConfig {
    let regressions = FileFailurePersistence::Direct("tests/codec_sweeps.regressions");
    ProptestConfig { failure_persistence: Some(Box::new(regressions)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn damaged_sweeps_never_panic(bytes in damaged(unhex(&all()))) {
        if let Ok(sweeps) = decode_sweeps(&bytes) {
            prop_assert_eq!(encoded_sweeps(&sweeps), bytes);
        }
    }

    #[test]
    fn damaged_commands_never_panic(
        bytes in prop::sample::select(commands()).prop_flat_map(|(command, _)| damaged(encoded(&command))),
    ) {
        if let Ok(command) = decode_command(&bytes) {
            prop_assert_eq!(encoded(&command), bytes);
        }
    }
}
