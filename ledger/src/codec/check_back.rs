//! The forms of what check-back adds to commands and to a hold's record.

use super::DecodeError;
use super::command::{put_transaction_id, transaction_id};
use super::wire::{Reader, put_text};
use crate::check_back::{Asking, Came, CheckBack, CheckedBack, Failure, OnExpiry};

/// The leading byte of what came of a try. Numbers never change and are never reused.
mod came {
    pub const PENDING: u8 = 1;
    pub const FAILED: u8 = 2;
    pub const CANCELLED: u8 = 3;
    pub const RELEASED: u8 = 4;
    pub const KEPT: u8 = 5;
    pub const CONFIRMED: u8 = 6;
}

/// The leading byte of why a try has failed. Numbers never change and are never reused.
mod failure {
    pub const UNREACHABLE: u8 = 1;
    pub const TIMED_OUT: u8 = 2;
    pub const STATUS: u8 = 3;
    pub const ANSWER: u8 = 4;
    pub const REFUSED: u8 = 5;
}

pub(super) fn put_on_expiry(out: &mut Vec<u8>, on_expiry: &OnExpiry) {
    match on_expiry {
        OnExpiry::Release => out.push(0),
        OnExpiry::CheckBack(terms) => {
            out.push(1);
            put_terms(out, terms);
        }
    }
}

pub(super) fn on_expiry(r: &mut Reader<'_>) -> Result<OnExpiry, DecodeError> {
    Ok(if r.bool("check-back")? { OnExpiry::CheckBack(terms(r)?) } else { OnExpiry::Release })
}

fn put_terms(out: &mut Vec<u8>, CheckBack { initiator, to }: &CheckBack) {
    put_text(out, initiator);
    put_text(out, to);
}

fn terms(r: &mut Reader<'_>) -> Result<CheckBack, DecodeError> {
    Ok(CheckBack { initiator: r.id()?.to_owned(), to: r.id()?.to_owned() })
}

pub(super) fn put_checked_back(out: &mut Vec<u8>, CheckedBack { hold, no, came }: &CheckedBack) {
    put_transaction_id(out, *hold);
    put_try(out, *no, *came);
}

pub(super) fn checked_back(r: &mut Reader<'_>) -> Result<CheckedBack, DecodeError> {
    let hold = transaction_id(r)?;
    let (no, came) = a_try(r)?;
    Ok(CheckedBack { hold, no, came })
}

pub(super) fn put_try(out: &mut Vec<u8>, no: u32, came: Came) {
    out.extend_from_slice(&no.to_le_bytes());
    out.push(match came {
        Came::Pending { .. } => came::PENDING,
        Came::Failed { .. } => came::FAILED,
        Came::Cancelled => came::CANCELLED,
        Came::Released => came::RELEASED,
        Came::Kept => came::KEPT,
        Came::Confirmed => came::CONFIRMED,
    });
    if let Came::Failed { why, .. } = came {
        put_failure(out, why);
    }
    came.next_ns().iter().for_each(|next_ns| out.extend_from_slice(&next_ns.to_le_bytes()));
}

pub(super) fn a_try(r: &mut Reader<'_>) -> Result<(u32, Came), DecodeError> {
    let no = r.u32()?;
    let came = match r.u8()? {
        came::PENDING => Came::Pending { next_ns: r.u64()? },
        came::FAILED => Came::Failed { why: failure(r)?, next_ns: r.u64()? },
        came::CANCELLED => Came::Cancelled,
        came::RELEASED => Came::Released,
        came::KEPT => Came::Kept,
        came::CONFIRMED => Came::Confirmed,
        _ => return Err(DecodeError::OutOfRange { field: "what came of a try" }),
    };
    Ok((no, came))
}

fn put_failure(out: &mut Vec<u8>, why: Failure) {
    out.push(match why {
        Failure::Unreachable => failure::UNREACHABLE,
        Failure::TimedOut => failure::TIMED_OUT,
        Failure::Status => failure::STATUS,
        Failure::Answer => failure::ANSWER,
        Failure::Refused { .. } => failure::REFUSED,
    });
    if let Failure::Refused { number } = why {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

fn failure(r: &mut Reader<'_>) -> Result<Failure, DecodeError> {
    let why = match r.u8()? {
        failure::UNREACHABLE => Failure::Unreachable,
        failure::TIMED_OUT => Failure::TimedOut,
        failure::STATUS => Failure::Status,
        failure::ANSWER => Failure::Answer,
        failure::REFUSED => Failure::Refused { number: r.u16()? },
        _ => return Err(DecodeError::OutOfRange { field: "why a try has failed" }),
    };
    if why.is_sound() { Ok(why) } else { Err(DecodeError::OutOfRange { field: "rejection" }) }
}

pub(super) fn put_asking(out: &mut Vec<u8>, asking: Option<&Asking>) {
    out.push(u8::from(asking.is_some()));
    let Some(Asking { terms, tries, tries_before, next_ns, confirming, kept }) = asking else { return };
    put_terms(out, terms);
    out.extend_from_slice(&tries.to_le_bytes());
    out.extend_from_slice(&tries_before.to_le_bytes());
    out.extend_from_slice(&next_ns.to_le_bytes());
    out.extend([u8::from(*confirming), u8::from(*kept)]);
}

pub(super) fn asking(r: &mut Reader<'_>) -> Result<Option<Asking>, DecodeError> {
    if !r.bool("check-back")? {
        return Ok(None);
    }
    let asking = Asking {
        terms: terms(r)?,
        tries: r.u32()?,
        tries_before: r.u32()?,
        next_ns: r.u64()?,
        confirming: r.bool("confirming")?,
        kept: r.bool("kept")?,
    };
    if asking.tries_before > asking.tries {
        return Err(DecodeError::OutOfRange { field: "tries" });
    }
    Ok(Some(asking))
}
