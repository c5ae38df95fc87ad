//! The form of a hold's record, as it is stored. It has no version of its own: whoever stores it has one.

use super::DecodeError;
use super::check_back::{a_try, asking, put_asking, put_try};
use super::command::{optional_time, put_optional_time, put_transaction_id, transaction_id};
use super::wire::Reader;
use crate::hold::{Ended, Hold, HoldChange, HoldEvent};
use crate::id::Position;

/// The leading byte of a change. Numbers never change and are never reused.
mod change {
    pub const CAPTURED: u8 = 1;
    pub const RELEASED: u8 = 2;
    pub const EXPIRED: u8 = 3;
    pub const EXTENDED: u8 = 4;
    pub const CHECKED_BACK: u8 = 5;
}

/// Appends the form of a hold.
pub fn encode_hold(hold: &Hold, out: &mut Vec<u8>) {
    put_transaction_id(out, hold.id);
    out.extend_from_slice(&hold.account.to_le_bytes());
    for minor in [hold.amount, hold.captured, hold.capturing, hold.released] {
        out.extend_from_slice(&minor.to_le_bytes());
    }
    put_optional_time(out, hold.expires_ns);
    put_asking(out, hold.check_back.as_ref());
    put_ended(out, hold.ended);
    let count = u32::try_from(hold.journal.len()).expect("each line has a command of its own");
    out.extend_from_slice(&count.to_le_bytes());
    for HoldEvent { at, time_unix_ns, change } in &hold.journal {
        out.extend_from_slice(&at.0.to_le_bytes());
        out.extend_from_slice(&time_unix_ns.to_le_bytes());
        put_change(out, change);
    }
}

/// Reads a hold, all of `bytes`. Never panics; what it accepts encodes to the same bytes again.
pub fn decode_hold(bytes: &[u8]) -> Result<Hold, DecodeError> {
    let mut r = Reader::new(bytes);
    let mut hold = Hold {
        id: transaction_id(&mut r)?,
        account: r.u32()?,
        amount: r.i128()?,
        captured: r.i128()?,
        capturing: r.i128()?,
        released: r.i128()?,
        expires_ns: optional_time(&mut r)?,
        check_back: asking(&mut r)?,
        ended: ended(&mut r)?,
        journal: Vec::new(),
    };
    let parts = [hold.captured, hold.capturing, hold.released];
    let used = parts.iter().try_fold(0i128, |sum, part| sum.checked_add(*part));
    if parts.iter().any(|part| *part < 0) || used.is_none_or(|used| used > hold.amount) {
        return Err(DecodeError::OutOfRange { field: "hold" });
    }
    for _ in 0..r.u32()? {
        hold.journal.push(HoldEvent {
            at: Position(r.u64()?),
            time_unix_ns: r.u64()?,
            change: self::change(&mut r)?,
        });
    }
    r.end()?;
    Ok(hold)
}

fn put_change(out: &mut Vec<u8>, change: &HoldChange) {
    let (number, amount) = match change {
        HoldChange::Captured { amount, .. } => (change::CAPTURED, Some(amount)),
        HoldChange::Released { amount } => (change::RELEASED, Some(amount)),
        HoldChange::Expired { amount } => (change::EXPIRED, Some(amount)),
        HoldChange::Extended { .. } => (change::EXTENDED, None),
        HoldChange::CheckedBack { .. } => (change::CHECKED_BACK, None),
    };
    out.push(number);
    amount.iter().for_each(|amount| out.extend_from_slice(&amount.to_le_bytes()));
    match change {
        HoldChange::Captured { by, .. } => put_transaction_id(out, *by),
        HoldChange::Extended { expires_ns } => put_optional_time(out, *expires_ns),
        HoldChange::CheckedBack { no, came } => put_try(out, *no, *came),
        HoldChange::Released { .. } | HoldChange::Expired { .. } => {}
    }
}

fn change(r: &mut Reader<'_>) -> Result<HoldChange, DecodeError> {
    Ok(match r.u8()? {
        change::CAPTURED => HoldChange::Captured { amount: r.i128()?, by: transaction_id(r)? },
        change::RELEASED => HoldChange::Released { amount: r.i128()? },
        change::EXPIRED => HoldChange::Expired { amount: r.i128()? },
        change::EXTENDED => HoldChange::Extended { expires_ns: optional_time(r)? },
        change::CHECKED_BACK => {
            let (no, came) = a_try(r)?;
            HoldChange::CheckedBack { no, came }
        }
        _ => return Err(DecodeError::OutOfRange { field: "hold change" }),
    })
}

pub(super) fn put_ended(out: &mut Vec<u8>, ended: Option<Ended>) {
    out.push(ended.map_or(0, |ended| ended as u8));
}

pub(super) fn ended(r: &mut Reader<'_>) -> Result<Option<Ended>, DecodeError> {
    match r.u8()? {
        0 => Ok(None),
        1 => Ok(Some(Ended::Captured)),
        2 => Ok(Some(Ended::Released)),
        3 => Ok(Some(Ended::Expired)),
        _ => Err(DecodeError::OutOfRange { field: "hold end" }),
    }
}
