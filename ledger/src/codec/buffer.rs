//! The forms of what buffered credits are made of: the steps of nodes, what was sent, and what a set keeps. The last has no
//! version of its own: whoever stores it has one. There may be very many parcels: of each stands only what differs from the
//! one before it, in varints.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::DecodeError;
use super::attempt::{put_sums, sums};
use super::command::kind;
use super::command::{put_transaction_id, transaction_id};
use super::label::{label, put_label};
use super::wire::{Reader, put_text, put_unsigned, put_varint};
use crate::buffer::{
    Announced, Announcement, Buffer, BufferStep, Buffered, Credit, InboxEnd, Parcel, ParcelName, PostingMode,
    Sent, Stream, StreamEnd, StreamName, Transit,
};
use crate::id::{Position, TransactionId};
use crate::label::Label;

pub(super) fn posting_mode(r: &mut Reader<'_>) -> Result<PostingMode, DecodeError> {
    match r.u8()? {
        1 => Ok(PostingMode::Strict),
        2 => Ok(PostingMode::Buffered),
        _ => Err(DecodeError::OutOfRange { field: "posting mode" }),
    }
}

pub(super) fn put_buffer_step(out: &mut Vec<u8>, by: TransactionId, step: &BufferStep) {
    out.push(match step {
        BufferStep::Announce(_) => kind::ANNOUNCE,
        BufferStep::Withdraw(_) => kind::WITHDRAW,
        BufferStep::Drained { .. } => kind::DRAINED,
        BufferStep::Credit(credit) if credit.label.is_empty() => kind::CREDIT,
        BufferStep::Credit(_) => kind::CREDIT_LABELLED,
        BufferStep::Acknowledge { .. } => kind::ACKNOWLEDGE,
        BufferStep::Lost { .. } => kind::LOST_PARCELS,
        BufferStep::SendAgain { .. } => kind::SEND_AGAIN,
    });
    put_transaction_id(out, by);
    match step {
        BufferStep::Announce(account) | BufferStep::Withdraw(account) => put_announcement(out, account),
        BufferStep::Drained { account, ends } => {
            put_text(out, account);
            put_count(out, ends.len());
            for InboxEnd { set, end } in ends {
                out.extend_from_slice(&set.to_le_bytes());
                put_stream_end(out, *end);
            }
        }
        BufferStep::Credit(credit) => put_credit(out, credit),
        BufferStep::Acknowledge { to, through } => {
            out.extend_from_slice(&to.to_le_bytes());
            out.extend_from_slice(&through.to_le_bytes());
        }
        BufferStep::Lost { to, through, sums } => {
            out.extend_from_slice(&to.to_le_bytes());
            out.extend_from_slice(&through.to_le_bytes());
            put_sums(out, sums);
        }
        BufferStep::SendAgain { to, parcels } => {
            out.extend_from_slice(&to.to_le_bytes());
            put_count(out, parcels.len());
            for ParcelName { position, leg } in parcels {
                out.extend_from_slice(&position.0.to_le_bytes());
                out.push(*leg);
            }
        }
    }
}

pub(super) fn buffer_step(r: &mut Reader<'_>, kind: u8) -> Result<BufferStep, DecodeError> {
    Ok(match kind {
        kind::ANNOUNCE => BufferStep::Announce(announcement(r)?),
        kind::WITHDRAW => BufferStep::Withdraw(announcement(r)?),
        kind::DRAINED => {
            let account = r.id()?.to_owned();
            let one = |r: &mut Reader<'_>| Ok(InboxEnd { set: r.u32()?, end: stream_end(r)? });
            let ends = (0..r.u16()?).map(|_| one(r)).collect::<Result<_, _>>()?;
            BufferStep::Drained { account, ends }
        }
        kind::CREDIT => BufferStep::Credit(credit(r, false)?),
        kind::CREDIT_LABELLED => BufferStep::Credit(credit(r, true)?),
        kind::ACKNOWLEDGE => BufferStep::Acknowledge { to: r.u32()?, through: r.u64()? },
        kind::LOST_PARCELS => BufferStep::Lost { to: r.u32()?, through: r.u64()?, sums: sums(r)? },
        kind::SEND_AGAIN => {
            let to = r.u32()?;
            let one = |r: &mut Reader<'_>| Ok(ParcelName { position: Position(r.u64()?), leg: r.u8()? });
            BufferStep::SendAgain { to, parcels: (0..r.u16()?).map(|_| one(r)).collect::<Result<_, _>>()? }
        }
        found => return Err(DecodeError::Unknown { what: "command kind", found: u16::from(found) }),
    })
}

fn put_announcement(out: &mut Vec<u8>, account: &Announcement) {
    put_text(out, &account.account);
    put_text(out, &account.currency);
    out.extend([account.scale, account.normal_side as u8]);
}

fn announcement(r: &mut Reader<'_>) -> Result<Announcement, DecodeError> {
    let (account, currency) = (r.id()?.to_owned(), r.id()?.to_owned());
    Ok(Announcement { account, currency, scale: r.u8()?, normal_side: r.side()? })
}

fn put_credit(out: &mut Vec<u8>, credit: &Credit) {
    put_varint(out, credit.number.into());
    out.extend([credit.leg, credit.side as u8, credit.scale]);
    put_unsigned(out, credit.amount);
    out.extend_from_slice(&credit.accounting_date.to_le_bytes());
    put_text(out, &credit.account);
    put_text(out, &credit.currency);
    if !credit.label.is_empty() {
        put_label(out, &credit.label);
    }
}

fn credit(r: &mut Reader<'_>, is_labelled: bool) -> Result<Credit, DecodeError> {
    let (number, leg, side, scale) = (r.varint_u64()?, r.u8()?, r.side()?, r.u8()?);
    let (amount, accounting_date) = (r.unsigned("credit amount")?, r.i32()?);
    let (account, currency) = (r.id()?.to_owned(), r.id()?.to_owned());
    let label = if is_labelled { label(r)? } else { Label::default() };
    Ok(Credit { number, leg, account, side, amount, currency, scale, accounting_date, label })
}

pub(super) fn put_sent(out: &mut Vec<u8>, sent: &[Sent]) {
    put_count(out, sent.len());
    for one in sent {
        out.push(one.leg);
        out.extend_from_slice(&one.to.to_le_bytes());
        put_varint(out, one.number.into());
        put_unsigned(out, one.amount);
        put_text(out, &one.currency);
        out.push(one.scale);
    }
}

pub(super) fn sent(r: &mut Reader<'_>) -> Result<Vec<Sent>, DecodeError> {
    let one = |r: &mut Reader<'_>| {
        let (leg, to, number) = (r.u8()?, r.u32()?, r.varint_u64()?);
        let amount = r.unsigned("sent amount")?;
        Ok(Sent { leg, to, number, amount, currency: r.id()?.to_owned(), scale: r.u8()? })
    };
    (0..r.u16()?).map(|_| one(r)).collect()
}

pub(super) fn put_stream_ends(out: &mut Vec<u8>, ends: &[StreamEnd]) {
    put_count(out, ends.len());
    ends.iter().for_each(|end| put_stream_end(out, *end));
}

pub(super) fn stream_ends(r: &mut Reader<'_>) -> Result<Vec<StreamEnd>, DecodeError> {
    (0..r.u16()?).map(|_| stream_end(r)).collect()
}

fn put_stream_end(out: &mut Vec<u8>, end: StreamEnd) {
    out.extend_from_slice(&end.incarnation.to_le_bytes());
    out.extend_from_slice(&end.number.to_le_bytes());
}

fn stream_end(r: &mut Reader<'_>) -> Result<StreamEnd, DecodeError> {
    Ok(StreamEnd { incarnation: r.u32()?, number: r.u64()? })
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u16::try_from(count).expect("one for each leg, or incarnation of a set, or of a few parcels");
    out.extend_from_slice(&count.to_le_bytes());
}

/// Appends the form of what a set keeps.
pub fn encode_buffer(buffer: &Buffer, out: &mut Vec<u8>) {
    put_varint(out, buffer.own.len() as u128);
    for (no, own) in &buffer.own {
        out.extend_from_slice(&no.to_le_bytes());
        put_transaction_id(out, own.since);
        out.push(u8::from(own.draining));
    }
    put_varint(out, buffer.announced.len() as u128);
    for known in &buffer.announced {
        put_announcement(out, &known.account);
        put_transaction_id(out, known.version);
        out.push(u8::from(known.is_open));
    }
    put_varint(out, buffer.streams.len() as u128);
    for (name, stream) in &buffer.streams {
        out.extend_from_slice(&name.to.to_le_bytes());
        out.extend_from_slice(&name.incarnation.to_le_bytes());
        put_varint(out, stream.acknowledged().into());
        put_varint(out, stream.waiting().into());
        let mut before = 0;
        for (_, parcel) in stream.after(stream.acknowledged()) {
            put_varint(out, (parcel.position.0 - before).into());
            out.push(parcel.leg);
            put_varint(out, parcel.payee.into());
            put_varint(out, parcel.amount.unsigned_abs());
            before = parcel.position.0;
        }
    }
    put_varint(out, buffer.inboxes.len() as u128);
    for ((set, incarnation), taken) in &buffer.inboxes {
        out.extend_from_slice(&set.to_le_bytes());
        out.extend_from_slice(&incarnation.to_le_bytes());
        put_varint(out, (*taken).into());
    }
    put_varint(out, buffer.suspended.len() as u128);
    let mut before = 0;
    for position in &buffer.suspended {
        put_varint(out, (position.0 - before).into());
        before = position.0;
    }
}

/// Reads the form of what a set keeps, all of `bytes`. Never panics; what it accepts encodes to the same bytes again.
pub fn decode_buffer(bytes: &[u8]) -> Result<Buffer, DecodeError> {
    let mut r = Reader::new(bytes);
    let own = rising(&mut r, "buffered account", |r| {
        Ok((r.u32()?, Buffered { since: transaction_id(r)?, draining: r.bool("draining")? }))
    })?;
    let mut buffer = Buffer { own, ..Buffer::default() };
    for place in 0..r.varint()? {
        let account = announcement(&mut r)?;
        let place = u32::try_from(place).map_err(|_| DecodeError::OutOfRange { field: "announced" })?;
        if buffer.places.insert(account.account.clone(), place).is_some() {
            return Err(DecodeError::OutOfRange { field: "announced account" });
        }
        let (version, is_open) = (transaction_id(&mut r)?, r.bool("open")?);
        buffer.announced.push(Announced { account, version, is_open, transit: Transit::default() });
    }
    let announced = &mut buffer.announced;
    buffer.streams = rising(&mut r, "stream order", |r| {
        let name = StreamName { to: r.u32()?, incarnation: r.u32()? };
        Ok((name, stream(r, announced)?))
    })?;
    buffer.inboxes = rising(&mut r, "inbox order", |r| Ok(((r.u32()?, r.u32()?), r.varint_u64()?)))?;
    buffer.suspended = suspended(&mut r)?;
    r.end()?;
    Ok(buffer)
}

/// Pairs whose keys rise strictly, so that one meaning has one form.
fn rising<K: Ord, V>(
    r: &mut Reader<'_>,
    field: &'static str,
    mut pair: impl FnMut(&mut Reader<'_>) -> Result<(K, V), DecodeError>,
) -> Result<BTreeMap<K, V>, DecodeError> {
    let mut all = BTreeMap::new();
    for _ in 0..r.varint()? {
        let (key, value) = pair(r)?;
        if all.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(DecodeError::OutOfRange { field });
        }
        all.insert(key, value);
    }
    Ok(all)
}

/// A stream; what is in transit follows from its parcels.
fn stream(r: &mut Reader<'_>, announced: &mut [Announced]) -> Result<Stream, DecodeError> {
    let out_of_range = |field| DecodeError::OutOfRange { field };
    let (acknowledged, waiting) = (r.varint_u64()?, r.varint_u64()?);
    let mut parcels = VecDeque::new();
    let mut before = 0u64;
    for _ in 0..waiting {
        let position = before.checked_add(r.varint_u64()?).ok_or(out_of_range("parcel position"))?;
        let leg = r.u8()?;
        let payee = u32::try_from(r.varint()?).map_err(|_| out_of_range("payee"))?;
        let amount = i128::try_from(r.varint()?).ok().filter(|amount| *amount > 0);
        let amount = amount.ok_or(out_of_range("parcel amount"))?;
        let known = announced.get_mut(payee as usize).ok_or(out_of_range("payee"))?;
        known.transit.parcels += 1;
        let sum = known.transit.amount.checked_add(amount);
        known.transit.amount = sum.ok_or(out_of_range("parcel amount"))?;
        parcels.push_back(Parcel { position: Position(position), leg, payee, amount });
        before = position;
    }
    Stream::from_parts(acknowledged, parcels).ok_or(out_of_range("parcel number"))
}

fn suspended(r: &mut Reader<'_>) -> Result<BTreeSet<Position>, DecodeError> {
    let out_of_range = || DecodeError::OutOfRange { field: "suspended" };
    let mut all = BTreeSet::new();
    let mut before = 0u64;
    for _ in 0..r.varint()? {
        let position = before.checked_add(r.varint_u64()?).ok_or_else(out_of_range)?;
        if !all.insert(Position(position)) {
            return Err(out_of_range());
        }
        before = position;
    }
    Ok(all)
}
