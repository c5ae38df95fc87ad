//! What the golden bytes are of, and how they are spelled.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::fmt::{Debug, Write as _};

use proptest::collection::vec;
use proptest::prelude::*;
use rust_decimal::Decimal;
use twinset_ledger::attempt::Sum;
use twinset_ledger::codec::{DecodeError, decode_command, decode_outcome, encode_command, encode_outcome};
use twinset_ledger::command::Metadata;
use twinset_ledger::{
    Command, Effect, Leg, LegKind, Outcome, Position, Posted, Side, Transaction, TransactionId,
};

/// As the golden texts spell it.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all");
        text
    })
}

/// Owned.
pub fn text(text: &str) -> String {
    text.to_owned()
}

/// Any.
pub fn transaction_id() -> TransactionId {
    TransactionId { set: 3, incarnation: 2, position: Position::new(5, 7) }
}

/// With everything that a plain one can have.
pub fn transaction() -> Transaction {
    Transaction {
        request_id: text("id"),
        scope_account: Some(text("b")),
        legs: vec![
            Leg::new("a", Side::Debit, Decimal::new(150, 2)),
            Leg {
                account: text("b"),
                side: Side::Credit,
                amount: Decimal::new(15, 1),
                currency: Some(text("E")),
                preconditions: Vec::new(),
                kind: LegKind::Ordinary,
            },
        ],
        kind: 0x0102,
        reason: 0x0304,
        accounting_date: Some(-1),
        capture: None,
        metadata: Metadata::from([(text("k"), text("v"))]),
    }
}

/// Any.
pub fn sum() -> Sum {
    Sum { currency: text("E"), scale: 2, debits: 1, credits: 2 }
}

/// Any.
pub fn posted() -> Posted {
    Posted { account: text("a"), side: Side::Debit, amount: 1, scale: 2, posted: -1, available: 2 }
}

/// Back from its spelling; spaces do not count.
pub fn unhex(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    let digits = hex.as_bytes().chunks_exact(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    digits.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect()
}

/// Holds a form to its golden bytes: it is encoded as these, they are decoded as it, and neither a part of them nor more is.
#[track_caller]
pub fn assert_golden<T: Debug + PartialEq>(
    value: &T,
    golden: &str,
    encode: impl Fn(&T) -> Vec<u8>,
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
) {
    let mut bytes = encode(value);
    assert_eq!(hex(&bytes), hex(&unhex(golden)), "{value:?}");
    assert_eq!(decode(&bytes).as_ref(), Ok(value));
    for len in 0..bytes.len() {
        assert_eq!(decode(&bytes[..len]), Err(DecodeError::Truncated), "{value:?} cut to {len}");
    }
    bytes.push(0);
    assert_eq!(decode(&bytes), Err(DecodeError::Trailing { left: 1 }), "{value:?}");
}

/// A command in its general form.
pub fn encoded(command: &Command) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_command(command, &mut bytes);
    bytes
}

/// An outcome as it is answered.
pub fn encoded_outcome(outcome: &Outcome) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_outcome(outcome, &mut bytes);
    bytes
}

/// Holds each command to its golden bytes.
#[track_caller]
pub fn assert_golden_commands(commands: &[(Command, impl AsRef<str>)]) {
    for (command, golden) in commands {
        assert_golden(command, golden.as_ref(), encoded, decode_command);
    }
}

/// What stands before each of the effects below, in an outcome.
pub const OUTCOME_HEAD: &str = "0200010000000000 04000000 0300000000000000 00";

/// Holds an outcome with each of these effects to its golden bytes.
#[track_caller]
pub fn assert_golden_effects(effects: impl IntoIterator<Item = (Effect, String)>) {
    for (effect, golden) in effects {
        let (position, result) = (Position::new(1, 2), Ok(effect));
        let outcome = Outcome { position, incarnation: 4, time_unix_ns: 3, replayed: false, result };
        assert_golden(&outcome, &format!("{OUTCOME_HEAD} {golden}"), encoded_outcome, decode_outcome);
    }
}

/// Bytes with a few of them changed, or cut.
pub fn damaged(bytes: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let len = bytes.len();
    (Just(bytes), vec((0..len, any::<u8>()), 0..3), 0..=len).prop_map(|(mut bytes, changes, keep)| {
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes.truncate(if keep < 3 { keep } else { bytes.len() });
        bytes
    })
}
