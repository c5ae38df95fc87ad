//! The form of an outcome, in replies, in storage and under the running hash: position u64, incarnation u32, time u64, replayed u8,
//! a result byte, then what the result carries. It has no version of its own: whoever stores or sends it has one.

use super::DecodeError;
use super::attempt::{put_sums, sums};
use super::buffer::{put_sent, put_stream_ends, sent, stream_ends};
use super::command::{optional_time, put_optional_time, put_transaction_id, transaction_id};
use super::hold::{ended, put_ended};
use super::rejection::{put_rejection, rejection};
use super::restriction::{put_restricted, restricted};
use super::sweep::{put_run_end, run_end};
use super::wire::{Reader, put_signed, put_text, put_unsigned, side_of};
use crate::LEGS_MAX;
use crate::id::Position;
use crate::outcome::{Effect, Held, Outcome, Posted};

mod result {
    pub const REJECTED: u8 = 0;
    pub const DEFINED_BEFORE: u8 = 1;
    pub const DEFINED: u8 = 2;
    pub const ACCOUNT: u8 = 3;
    pub const POSTED: u8 = 4;
    pub const MARKED: u8 = 5;
    pub const BEGUN: u8 = 6;
    pub const PREPARED: u8 = 7;
    pub const ABORTED: u8 = 8;
    pub const SETTLED: u8 = 9;
    pub const HELD: u8 = 10;
    pub const GROUPED: u8 = 11;
    pub const BUFFERED: u8 = 16;
    pub const SUSPENDED: u8 = 17;
    pub const TAKEN: u8 = 18;
    pub const ANNOUNCED: u8 = 19;
    pub const WITHDRAWN: u8 = 20;
    pub const ACKNOWLEDGED: u8 = 21;
    pub const RESTRICTED: u8 = 12;
    pub const RAN: u8 = 22;
}

/// Set beside a posted leg's side when nothing is held: the available balance is the posted one, and only that is written.
const NOTHING_HELD: u8 = 0x80;
/// A posted leg as most are, without its account's name: side, scale, amount, balance, a length byte.
const POSTED_BYTES: usize = 16;

/// Appends the outcome's bytes.
pub fn encode_outcome(outcome: &Outcome, out: &mut Vec<u8>) {
    let mut head = [0; 22];
    head[..8].copy_from_slice(&outcome.position.0.to_le_bytes());
    head[8..12].copy_from_slice(&outcome.incarnation.to_le_bytes());
    head[12..20].copy_from_slice(&outcome.time_unix_ns.to_le_bytes());
    head[20] = u8::from(outcome.replayed);
    head[21] = match &outcome.result {
        Err(_) => result::REJECTED,
        Ok(Effect::Defined { changed: false }) => result::DEFINED_BEFORE,
        Ok(Effect::Defined { changed: true }) => result::DEFINED,
        Ok(Effect::Account) => result::ACCOUNT,
        Ok(Effect::Posted(_)) => result::POSTED,
        Ok(Effect::Marked) => result::MARKED,
        Ok(Effect::Begun) => result::BEGUN,
        Ok(Effect::Prepared(_)) => result::PREPARED,
        Ok(Effect::Aborted) => result::ABORTED,
        Ok(Effect::Settled(_)) => result::SETTLED,
        Ok(Effect::Held(_)) => result::HELD,
        Ok(Effect::Grouped) => result::GROUPED,
        Ok(Effect::Buffered { .. }) => result::BUFFERED,
        Ok(Effect::Suspended { .. }) => result::SUSPENDED,
        Ok(Effect::Taken) => result::TAKEN,
        Ok(Effect::Announced) => result::ANNOUNCED,
        Ok(Effect::Withdrawn(_)) => result::WITHDRAWN,
        Ok(Effect::Acknowledged) => result::ACKNOWLEDGED,
        Ok(Effect::Restricted(_)) => result::RESTRICTED,
        Ok(Effect::Ran(_)) => result::RAN,
    };
    out.extend_from_slice(&head);
    match &outcome.result {
        Err(rejection) => put_rejection(out, rejection),
        Ok(Effect::Posted(legs) | Effect::Settled(legs)) => put_posted_legs(out, legs),
        Ok(Effect::Prepared(sums)) => put_sums(out, sums),
        Ok(Effect::Held(held)) => put_held(out, held),
        Ok(Effect::Buffered { booked, sent }) => {
            put_posted_legs(out, booked);
            put_sent(out, sent);
        }
        Ok(Effect::Suspended { reason, booked }) => {
            put_rejection(out, reason);
            put_posted_legs(out, booked);
        }
        Ok(Effect::Withdrawn(ends)) => put_stream_ends(out, ends),
        Ok(Effect::Restricted(now)) => put_restricted(out, now),
        Ok(Effect::Ran(end)) => put_run_end(out, end),
        Ok(_) => {}
    }
}

pub(super) fn put_posted_legs(out: &mut Vec<u8>, legs: &[Posted]) {
    let count = u16::try_from(legs.len()).expect("bounded by LEGS_MAX");
    out.reserve(2 + legs.len() * POSTED_BYTES);
    out.extend_from_slice(&count.to_le_bytes());
    legs.iter().for_each(|leg| put_posted(out, leg));
}

fn put_posted(out: &mut Vec<u8>, leg: &Posted) {
    let free = leg.posted == leg.available;
    out.extend([leg.side as u8 | if free { NOTHING_HELD } else { 0 }, leg.scale]);
    put_unsigned(out, leg.amount);
    put_signed(out, leg.posted);
    if !free {
        put_signed(out, leg.available);
    }
    put_text(out, &leg.account);
}

/// Reads an outcome, all of `bytes`. Never panics.
pub fn decode_outcome(bytes: &[u8]) -> Result<Outcome, DecodeError> {
    let mut r = Reader::new(bytes);
    let position = Position(r.u64()?);
    let incarnation = r.u32()?;
    let time_unix_ns = r.u64()?;
    let replayed = r.bool("replayed")?;
    let result = match r.u8()? {
        result::REJECTED => Err(rejection(&mut r)?),
        result::DEFINED_BEFORE => Ok(Effect::Defined { changed: false }),
        result::DEFINED => Ok(Effect::Defined { changed: true }),
        result::ACCOUNT => Ok(Effect::Account),
        result::POSTED => Ok(Effect::Posted(posted_legs(&mut r)?)),
        result::MARKED => Ok(Effect::Marked),
        result::BEGUN => Ok(Effect::Begun),
        result::PREPARED => Ok(Effect::Prepared(sums(&mut r)?)),
        result::ABORTED => Ok(Effect::Aborted),
        result::SETTLED => Ok(Effect::Settled(posted_legs(&mut r)?)),
        result::GROUPED => Ok(Effect::Grouped),
        result::HELD => Ok(Effect::Held(held(&mut r)?)),
        result::BUFFERED => Ok(Effect::Buffered { booked: posted_legs(&mut r)?, sent: sent(&mut r)? }),
        result::SUSPENDED => {
            Ok(Effect::Suspended { reason: rejection(&mut r)?, booked: posted_legs(&mut r)? })
        }
        result::TAKEN => Ok(Effect::Taken),
        result::ANNOUNCED => Ok(Effect::Announced),
        result::WITHDRAWN => Ok(Effect::Withdrawn(stream_ends(&mut r)?)),
        result::ACKNOWLEDGED => Ok(Effect::Acknowledged),
        result::RESTRICTED => Ok(Effect::Restricted(restricted(&mut r)?)),
        result::RAN => Ok(Effect::Ran(run_end(&mut r)?)),
        found => return Err(DecodeError::Unknown { what: "result", found: u16::from(found) }),
    };
    r.end()?;
    Ok(Outcome { position, incarnation, time_unix_ns, replayed, result })
}

pub(super) fn posted_legs(r: &mut Reader<'_>) -> Result<Vec<Posted>, DecodeError> {
    let count = usize::from(r.u16()?);
    if count > LEGS_MAX {
        return Err(DecodeError::OutOfRange { field: "legs" });
    }
    (0..count).map(|_| posted(r)).collect()
}

fn posted(r: &mut Reader<'_>) -> Result<Posted, DecodeError> {
    let (head, scale) = (r.u8()?, r.u8()?);
    let side = side_of(head & !NOTHING_HELD)?;
    let (amount, posted) = (r.unsigned("posted amount")?, r.signed()?);
    let available = if head & NOTHING_HELD == 0 { r.signed()? } else { posted };
    if head & NOTHING_HELD == 0 && available == posted {
        return Err(DecodeError::OutOfRange { field: "available" });
    }
    Ok(Posted { account: r.text()?.to_owned(), side, amount, scale, posted, available })
}

fn put_held(out: &mut Vec<u8>, held: &Held) {
    put_transaction_id(out, held.hold);
    out.push(held.scale);
    for minor in [held.amount, held.captured, held.capturing, held.released, held.available] {
        out.extend_from_slice(&minor.to_le_bytes());
    }
    put_optional_time(out, held.expires_ns);
    put_ended(out, held.ended);
}

fn held(r: &mut Reader<'_>) -> Result<Held, DecodeError> {
    let (hold, scale) = (transaction_id(r)?, r.u8()?);
    let (amount, captured, capturing, released) = (r.i128()?, r.i128()?, r.i128()?, r.i128()?);
    let available = r.i128()?;
    let (expires_ns, ended) = (optional_time(r)?, ended(r)?);
    Ok(Held { hold, scale, amount, captured, capturing, released, expires_ns, ended, available })
}
