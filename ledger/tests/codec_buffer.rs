//! The forms of buffered credits: golden bytes that never change, and decoding of bytes that nobody vouches for.

#[path = "support/golden.rs"]
mod golden;

use golden::{
    assert_golden_commands, assert_golden_effects, damaged, encoded, hex, posted, text, transaction_id, unhex,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use twinset_ledger::buffer::{Announcement, Credit, InboxEnd, Sent, StreamEnd};
use twinset_ledger::codec::{DecodeError, decode_buffer, decode_command, encode_buffer};
use twinset_ledger::{Buffer, BufferStep, Command, Effect, Label, Position, PostingMode, Rejection, Side};

const ID: &str = "0300000002000000 0700050000000000";

fn announcement() -> Announcement {
    Announcement { account: text("a"), currency: text("E"), scale: 2, normal_side: Side::Credit }
}

fn commands() -> Vec<(Command, String)> {
    let say = |step| Command::BufferStep { by: transaction_id(), step };
    let end = StreamEnd { incarnation: 5, number: 6 };
    let credit = Credit {
        number: 258,
        leg: 1,
        account: text("a"),
        side: Side::Credit,
        amount: 3,
        currency: text("E"),
        scale: 2,
        accounting_date: -1,
        label: Label::default(),
    };
    let label = Label { kind: 258, reason: 0, metadata: [(text("k"), text("v"))].into() };
    let labelled = Credit { label, ..credit.clone() };
    let (request_id, account, item) = (text("id"), text("a"), transaction_id());
    vec![
        (
            Command::SetPostingMode {
                request_id: request_id.clone(),
                account: account.clone(),
                mode: PostingMode::Buffered,
            },
            text("20 026964 0161 02"),
        ),
        (Command::ResolveSuspense { request_id, item, account }, format!("21 026964 0161 {ID}")),
        (say(BufferStep::Announce(announcement())), format!("22 {ID} 0161 0145 02 02")),
        (say(BufferStep::Withdraw(announcement())), format!("23 {ID} 0161 0145 02 02")),
        (
            say(BufferStep::Drained { account: text("a"), ends: vec![InboxEnd { set: 4, end }] }),
            format!("24 {ID} 0161 0100 04000000 05000000 0600000000000000"),
        ),
        (say(BufferStep::Credit(credit)), format!("25 {ID} 8202 01 02 02 03 ffffffff 0161 0145")),
        (
            say(BufferStep::Credit(labelled)),
            format!("2b {ID} 8202 01 02 02 03 ffffffff 0161 0145 0201 0000 01016b010076"),
        ),
        (say(BufferStep::Acknowledge { to: 4, through: 6 }), format!("26 {ID} 04000000 0600000000000000")),
    ]
}

#[test]
fn commands_have_golden_bytes() {
    assert_golden_commands(&commands());
    let bytes = unhex("20 026964 0161 03");
    assert_eq!(decode_command(&bytes), Err(DecodeError::OutOfRange { field: "posting mode" }));
    // What says nothing has a form of its own.
    let bytes = unhex(&format!("2b {ID} 8202 01 02 02 03 ffffffff 0161 0145 0000 0000 00"));
    assert_eq!(decode_command(&bytes), Err(DecodeError::OutOfRange { field: "label" }));
}

#[test]
fn outcomes_have_golden_bytes() {
    let legs = "0100 01 02 01 01 04 0161";
    let sent = Sent { leg: 1, to: 4, number: 6, amount: 3, currency: text("E"), scale: 2 };
    let sent_bytes = "0100 01 04000000 06 03 0145 02";
    let reason = Rejection::AccountClosed { account: text("a") };
    assert_golden_effects([
        (Effect::Buffered { booked: vec![posted()], sent: vec![sent] }, format!("10 {legs} {sent_bytes}")),
        (Effect::Suspended { reason, booked: vec![posted()] }, format!("11 0c00 0161 {legs}")),
        (Effect::Taken, text("12")),
        (Effect::Announced, text("13")),
        (
            Effect::Withdrawn(vec![StreamEnd { incarnation: 5, number: 6 }]),
            text("14 0100 05000000 0600000000000000"),
        ),
        (Effect::Acknowledged, text("15")),
    ]);
}

/// One of each kind: an own account that is leaving, one of another set, two parcels to it, an inbox, a suspended credit.
const BUFFER: &str = "01 07000000 0300000002000000 0700050000000000 01 \
     01 0161 0145 02 02 0400000002000000 0700050000000000 01 \
     01 04000000 02000000 05 02 8704 01 00 ac02 10 02 00 01 \
     01 04000000 02000000 09 \
     02 8704 10";

fn encoded_buffer(buffer: &Buffer) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_buffer(buffer, &mut bytes);
    bytes
}

#[test]
fn a_buffer_has_golden_bytes() {
    let bytes = unhex(BUFFER);
    let buffer = decode_buffer(&bytes).expect("it is one");
    assert_eq!(hex(&encoded_buffer(&buffer)), hex(&bytes));
    let known = buffer.announced("a").expect("it is announced");
    assert_eq!((known.transit.parcels, known.transit.amount), (2, 301));
    let (_, stream) = buffer.streams().next().expect("there is one");
    assert_eq!((stream.acknowledged(), stream.last()), (5, 7));
    assert_eq!(stream.get(6).map(|parcel| parcel.position), Some(Position(519)));
    assert_eq!(stream.get(7).map(|parcel| parcel.position), Some(Position(535)));
    assert_eq!((stream.get(5), stream.get(8)), (None, None));
    assert_eq!(buffer.taken(4, 2), 9);
    assert_eq!(buffer.suspended().collect::<Vec<_>>(), [Position(519), Position(535)]);
    for len in 0..bytes.len() {
        assert_eq!(decode_buffer(&bytes[..len]), Err(DecodeError::Truncated), "{len}");
    }
    let trailing = [&bytes[..], &[0]].concat();
    assert_eq!(decode_buffer(&trailing), Err(DecodeError::Trailing { left: 1 }));
    assert_eq!(encoded_buffer(&Buffer::default()), [0; 5]);
    assert!(Buffer::default().is_empty() && !buffer.is_empty());
}

#[test]
fn a_buffer_has_one_form() {
    let refused = |text: &str| decode_buffer(&unhex(text)).expect_err("refused");
    assert_eq!(refused("8000"), DecodeError::OutOfRange { field: "varint" });
    let own = "07000000 0300000002000000 0700050000000000 01";
    assert_eq!(refused(&format!("02 {own} {own}")), DecodeError::OutOfRange { field: "buffered account" });
    let account = "0161 0145 02 02 0400000002000000 0700050000000000 01";
    let twice = format!("00 02 {account} {account}");
    assert_eq!(refused(&twice), DecodeError::OutOfRange { field: "announced account" });
    let stream = |parcel: &str| format!("00 01 {account} 01 04000000 02000000 05 01 {parcel}");
    assert_eq!(refused(&stream("01 01 01 01")), DecodeError::OutOfRange { field: "payee" });
    assert_eq!(refused(&stream("01 01 00 00")), DecodeError::OutOfRange { field: "parcel amount" });
    assert_eq!(refused("00 00 00 00 02 01 00"), DecodeError::OutOfRange { field: "suspended" });
}

fn config() -> ProptestConfig {
    let regressions = FileFailurePersistence::Direct("tests/codec_buffer.regressions");
    ProptestConfig { failure_persistence: Some(Box::new(regressions)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn damaged_buffers_never_panic(bytes in damaged(unhex(BUFFER))) {
        if let Ok(buffer) = decode_buffer(&bytes) {
            prop_assert_eq!(encoded_buffer(&buffer), bytes);
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
