//! What the golden bytes are of, and how they are spelled.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::fmt::Write as _;

use proptest::collection::vec;
use proptest::prelude::*;
use rust_decimal::Decimal;
use twinset_ledger::attempt::Sum;
use twinset_ledger::command::Metadata;
use twinset_ledger::{Leg, LegKind, Position, Posted, Side, Transaction, TransactionId};

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
