//! The forms of what is said of what was lost in a recovery: golden bytes that never change, and decoding of bytes that nobody
//! vouches for.

#[path = "support/golden.rs"]
mod golden;

use golden::{assert_golden_commands, sum, text, transaction_id, unhex};
use rust_decimal::Decimal;
use twinset_ledger::attempt::{Ballot, Restore, Sum, Vote};
use twinset_ledger::buffer::{ParcelName, SENT_AGAIN_MAX};
use twinset_ledger::codec::{DecodeError, decode_command};
use twinset_ledger::{BufferStep, Command, Label, Leg, Malformed, Position, Rejection, Side, Step};

const ID: &str = "0300000002000000 0700050000000000";
const SUM: &str = "0145 02 01 02";

fn restore() -> Restore {
    Restore {
        legs: vec![Leg::new("a", Side::Debit, Decimal::new(150, 2))],
        sums: Some(vec![sum()]),
        accounting_date: -1,
        reverses: None,
        label: Label::default(),
    }
}

fn commands() -> Vec<(Command, String)> {
    let step = |step| Command::Step { attempt: transaction_id(), step };
    let buffer = |step| Command::BufferStep { by: transaction_id(), step };
    let votes = || vec![Vote { set: 4, said: Ok(vec![sum()]) }];
    let label = Label { kind: 258, reason: 0, metadata: [(text("k"), text("v"))].into() };
    let lost_legs = Restore { legs: Vec::new(), reverses: Some(transaction_id()), label, ..restore() };
    let parcel = ParcelName { position: Position::new(5, 7), leg: 2 };
    vec![
        (
            step(Step::Decide(Ballot::Booked { set: 4, votes: votes() })),
            format!("0d {ID} 02 04000000 01 04000000 01 01 {SUM}"),
        ),
        (step(Step::Lost { votes: None }), format!("32 {ID} 00")),
        (step(Step::Lost { votes: Some(votes()) }), format!("32 {ID} 01 01 04000000 01 01 {SUM}")),
        (
            step(Step::Restore(restore())),
            format!("33 {ID} ffffffff 00 0100 01 0161 02960000000000000000000000 01 01 {SUM} 00"),
        ),
        (
            step(Step::Restore(lost_legs)),
            format!("33 {ID} ffffffff 01 {ID} 0000 01 01 {SUM} 01 0201 0000 01016b010076"),
        ),
        (
            step(Step::Restore(Restore { sums: None, ..restore() })),
            format!("33 {ID} ffffffff 00 0100 01 0161 02960000000000000000000000 00 00"),
        ),
        (
            buffer(BufferStep::Lost { to: 4, through: 6, sums: vec![sum()] }),
            format!("34 {ID} 04000000 0600000000000000 01 {SUM}"),
        ),
        (
            buffer(BufferStep::SendAgain { to: 4, parcels: vec![parcel] }),
            format!("35 {ID} 04000000 0100 0700050000000000 02"),
        ),
    ]
}

#[test]
fn commands_have_golden_bytes() {
    assert_golden_commands(&commands());
    let bytes = unhex(&format!("32 {ID} 02"));
    assert_eq!(decode_command(&bytes), Err(DecodeError::OutOfRange { field: "votes present" }));
}

#[test]
fn what_does_not_fit_together_is_malformed() {
    let refused = Vote { set: 4, said: Err(Rejection::AccountClosed { account: text("a") }) };
    let twice = vec![Vote { set: 4, said: Ok(Vec::new()) }; 2];
    let unordered = vec![sum(), sum()];
    let below_zero = vec![Sum { debits: -1, ..sum() }];
    let parcel = ParcelName { position: Position::new(5, 7), leg: 2 };
    let restored = |restore| Command::Step { attempt: transaction_id(), step: Step::Restore(restore) };
    let step = |step| Command::Step { attempt: transaction_id(), step };
    let buffer = |step| Command::BufferStep { by: transaction_id(), step };
    for command in [
        step(Step::Lost { votes: Some(vec![refused.clone()]) }),
        step(Step::Lost { votes: Some(twice.clone()) }),
        step(Step::Decide(Ballot::Booked { set: 4, votes: twice })),
        step(Step::Decide(Ballot::Booked { set: 4, votes: vec![refused] })),
        restored(Restore { legs: Vec::new(), sums: None, ..restore() }),
        restored(Restore { sums: Some(unordered.clone()), ..restore() }),
        restored(Restore { sums: Some(below_zero.clone()), ..restore() }),
        buffer(BufferStep::Lost { to: 4, through: 6, sums: below_zero }),
        buffer(BufferStep::Lost { to: 4, through: 6, sums: unordered }),
        buffer(BufferStep::SendAgain { to: 4, parcels: Vec::new() }),
        buffer(BufferStep::SendAgain { to: 4, parcels: vec![parcel; SENT_AGAIN_MAX + 1] }),
    ] {
        assert_eq!(command.validate(), Err(Malformed::Step), "{command:?}");
    }
}
