//! The form of an outcome, in replies, in storage and under the running hash: position u64, incarnation u32, time u64, replayed u8,
//! a result byte, then what the result carries. It has no version of its own: whoever stores or sends it has one.

use super::DecodeError;
use super::attempt::{put_sums, sums};
use super::rejection::{put_rejection, rejection};
use super::wire::{Reader, put_text};
use crate::LEGS_MAX;
use crate::id::Position;
use crate::outcome::{Effect, Outcome, Posted};

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
}

/// A leg without its account's name: side, scale, three amounts, a length byte.
const POSTED_BYTES: usize = 2 + 3 * 16 + 1;

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
    };
    out.extend_from_slice(&head);
    match &outcome.result {
        Err(rejection) => put_rejection(out, rejection),
        Ok(Effect::Posted(legs) | Effect::Settled(legs)) => put_posted_legs(out, legs),
        Ok(Effect::Prepared(sums)) => put_sums(out, sums),
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
    let mut fixed = [0; POSTED_BYTES - 1];
    fixed[0] = leg.side as u8;
    fixed[1] = leg.scale;
    fixed[2..18].copy_from_slice(&leg.amount.to_le_bytes());
    fixed[18..34].copy_from_slice(&leg.posted.to_le_bytes());
    fixed[34..50].copy_from_slice(&leg.available.to_le_bytes());
    out.extend_from_slice(&fixed);
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
    Ok(Posted {
        side: r.side()?,
        scale: r.u8()?,
        amount: r.i128()?,
        posted: r.i128()?,
        available: r.i128()?,
        account: r.text()?.to_owned(),
    })
}
