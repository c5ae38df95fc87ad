//! The forms of a restriction's record, as it is stored, and of its figures in an outcome. Neither has a version of its own:
//! whoever stores it has one.

use super::DecodeError;
use super::command::{optional_time, put_optional_time, put_transaction_id, transaction_id};
use super::wire::Reader;
use crate::id::Position;
use crate::outcome::Restricted;
use crate::restriction::{Restriction, RestrictionEnd, RestrictionEnded};

/// Appends the form of a restriction.
pub fn encode_restriction(restriction: &Restriction, out: &mut Vec<u8>) {
    put_transaction_id(out, restriction.transaction);
    out.extend_from_slice(&restriction.account.to_le_bytes());
    out.extend_from_slice(&restriction.made_at.0.to_le_bytes());
    out.extend_from_slice(&restriction.made_ns.to_le_bytes());
    for minor in [restriction.amount, restriction.left] {
        out.extend_from_slice(&minor.to_le_bytes());
    }
    put_optional_time(out, restriction.until_ns);
    put_end(out, restriction.ended.map(|ended| ended.how));
    if let Some(ended) = restriction.ended {
        out.extend_from_slice(&ended.at.0.to_le_bytes());
        out.extend_from_slice(&ended.time_unix_ns.to_le_bytes());
    }
}

/// Reads the form of a restriction, all of `bytes`. Never panics; what it accepts encodes to the same bytes again.
pub fn decode_restriction(bytes: &[u8]) -> Result<Restriction, DecodeError> {
    let mut r = Reader::new(bytes);
    let restriction = Restriction {
        transaction: transaction_id(&mut r)?,
        account: r.u32()?,
        made_at: Position(r.u64()?),
        made_ns: r.u64()?,
        amount: r.i128()?,
        left: r.i128()?,
        until_ns: optional_time(&mut r)?,
        ended: match end(&mut r)? {
            None => None,
            Some(how) => Some(RestrictionEnded { how, at: Position(r.u64()?), time_unix_ns: r.u64()? }),
        },
    };
    r.end()?;
    let Restriction { amount, left, ended, .. } = restriction;
    if left < 0 || left > amount || (left == 0) != ended.is_some() {
        return Err(DecodeError::OutOfRange { field: "restriction" });
    }
    Ok(restriction)
}

pub(super) fn put_restricted(out: &mut Vec<u8>, now: &Restricted) {
    put_transaction_id(out, now.restriction);
    out.push(now.scale);
    for minor in [now.amount, now.released, now.left, now.withdrawable] {
        out.extend_from_slice(&minor.to_le_bytes());
    }
    put_optional_time(out, now.until_ns);
    put_end(out, now.ended);
}

pub(super) fn restricted(r: &mut Reader<'_>) -> Result<Restricted, DecodeError> {
    let (restriction, scale) = (transaction_id(r)?, r.u8()?);
    let (amount, released, left, withdrawable) = (r.i128()?, r.i128()?, r.i128()?, r.i128()?);
    let (until_ns, ended) = (optional_time(r)?, end(r)?);
    Ok(Restricted { restriction, scale, amount, released, left, until_ns, ended, withdrawable })
}

fn put_end(out: &mut Vec<u8>, end: Option<RestrictionEnd>) {
    out.push(end.map_or(0, |end| end as u8));
}

fn end(r: &mut Reader<'_>) -> Result<Option<RestrictionEnd>, DecodeError> {
    match r.u8()? {
        0 => Ok(None),
        1 => Ok(Some(RestrictionEnd::Released)),
        2 => Ok(Some(RestrictionEnd::Expired)),
        3 => Ok(Some(RestrictionEnd::Reversed)),
        _ => Err(DecodeError::OutOfRange { field: "restriction end" }),
    }
}
