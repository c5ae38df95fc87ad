//! The form of a leg: its side with what else there is of it, then the fields in a fixed order. And of its kind alone, which
//! what is set aside has as well.

use super::DecodeError;
use super::wire::{Reader, put_amount, put_text, side_of};
use crate::LEGS_MAX;
use crate::account::Side;
use crate::command::{Expected, Leg, LegKind, LegPart, Precondition};

/// Set beside a leg's side when it names its currency.
pub(super) const HAS_CURRENCY: u8 = 0x80;
/// Set beside a leg's side when it has preconditions.
const HAS_PRECONDITIONS: u8 = 0x40;
/// Set beside a leg's side when it is a withdrawal.
const IS_WITHDRAWAL: u8 = 0x20;
/// Set beside a leg's side when it is restricted.
const IS_RESTRICTED: u8 = 0x10;
/// Set beside that when it is released at a time.
const HAS_UNTIL: u8 = 0x08;
/// Both of them.
const RESTRICTED_UNTIL: u8 = IS_RESTRICTED | HAS_UNTIL;

pub(super) fn put_legs(out: &mut Vec<u8>, legs: &[Leg]) {
    let count = u16::try_from(legs.len()).expect("validated transactions have few legs");
    out.extend_from_slice(&count.to_le_bytes());
    for leg in legs {
        let expects = if leg.preconditions.is_empty() { 0 } else { HAS_PRECONDITIONS };
        let named = leg.currency.as_ref().map_or(0, |_| HAS_CURRENCY);
        out.push(leg.side as u8 | named | expects | kind_bits(leg.kind));
        put_text(out, &leg.account);
        put_amount(out, leg.amount);
        if let Some(currency) = &leg.currency {
            put_text(out, currency);
        }
        if !leg.preconditions.is_empty() {
            out.push(u8::try_from(leg.preconditions.len()).expect("each is there once"));
            for Precondition { expected, value } in &leg.preconditions {
                out.push(*expected as u8);
                put_amount(out, *value);
            }
        }
        put_kind_end(out, leg.kind);
    }
}

/// What stands beside a leg's side of its kind; the rest of that is [`put_kind_end`]'s.
pub(super) fn kind_bits(kind: LegKind) -> u8 {
    match kind {
        LegKind::Ordinary => 0,
        LegKind::Withdrawal => IS_WITHDRAWAL,
        LegKind::Restricted { until_ns } => IS_RESTRICTED | until_ns.map_or(0, |_| HAS_UNTIL),
    }
}

pub(super) fn put_kind_end(out: &mut Vec<u8>, kind: LegKind) {
    if let LegKind::Restricted { until_ns: Some(until) } = kind {
        out.extend_from_slice(&until.to_le_bytes());
    }
}

/// A leg's side and kind: `head` without all else that stands beside the side, and the reader where the kind ends.
pub(super) fn leg_kind(r: &mut Reader<'_>, head: u8) -> Result<(Side, LegKind), DecodeError> {
    let bits = head & (IS_WITHDRAWAL | IS_RESTRICTED | HAS_UNTIL);
    let side = side_of(head & !bits)?;
    let kind = match bits {
        0 => LegKind::Ordinary,
        IS_WITHDRAWAL => LegKind::Withdrawal,
        IS_RESTRICTED => LegKind::Restricted { until_ns: None },
        RESTRICTED_UNTIL => LegKind::Restricted { until_ns: Some(r.u64()?) },
        _ => return Err(DecodeError::OutOfRange { field: "leg kind" }),
    };
    Ok((side, kind))
}

pub(super) fn legs(r: &mut Reader<'_>) -> Result<Vec<Leg>, DecodeError> {
    let count = usize::from(r.u16()?);
    if count > LEGS_MAX {
        return Err(DecodeError::OutOfRange { field: "legs" });
    }
    (0..count).map(|_| leg(r)).collect()
}

/// Parts of legs of an earlier transaction: which leg, and how much.
pub(super) fn put_parts_of_legs(out: &mut Vec<u8>, parts: &[LegPart]) {
    let count = u16::try_from(parts.len()).expect("validated reversals name few legs");
    out.extend_from_slice(&count.to_le_bytes());
    for LegPart { leg, amount } in parts {
        out.extend_from_slice(&leg.to_le_bytes());
        put_amount(out, *amount);
    }
}

/// At least one; the legs rise strictly, so that one meaning has one form.
pub(super) fn parts_of_legs(r: &mut Reader<'_>) -> Result<Vec<LegPart>, DecodeError> {
    let mut parts: Vec<LegPart> = Vec::new();
    for _ in 0..r.u16()? {
        let part = LegPart { leg: r.u16()?, amount: r.amount()? };
        if parts.last().is_some_and(|last| last.leg >= part.leg) || usize::from(part.leg) >= LEGS_MAX {
            return Err(DecodeError::OutOfRange { field: "leg order" });
        }
        parts.push(part);
    }
    if parts.is_empty() { Err(DecodeError::OutOfRange { field: "legs" }) } else { Ok(parts) }
}

fn leg(r: &mut Reader<'_>) -> Result<Leg, DecodeError> {
    let head = r.u8()?;
    let account = r.id()?.to_owned();
    let amount = r.amount()?;
    let currency = if head & HAS_CURRENCY != 0 { Some(r.id()?.to_owned()) } else { None };
    let preconditions = if head & HAS_PRECONDITIONS != 0 { preconditions(r)? } else { Vec::new() };
    let (side, kind) = leg_kind(r, head & !(HAS_CURRENCY | HAS_PRECONDITIONS))?;
    Ok(Leg { account, side, amount, currency, preconditions, kind })
}

pub(super) fn expected(r: &mut Reader<'_>) -> Result<Expected, DecodeError> {
    let found = r.u8()?;
    let expected = Expected::ALL.into_iter().find(|expected| *expected as u8 == found);
    expected.ok_or(DecodeError::OutOfRange { field: "precondition" })
}

/// At least one; they rise strictly, so that one meaning has one form.
fn preconditions(r: &mut Reader<'_>) -> Result<Vec<Precondition>, DecodeError> {
    let mut all: Vec<Precondition> = Vec::new();
    let count = r.u8()?;
    for _ in 0..count {
        let expected = expected(r)?;
        if all.last().is_some_and(|last| last.expected >= expected) {
            return Err(DecodeError::OutOfRange { field: "precondition order" });
        }
        all.push(Precondition { expected, value: r.amount()? });
    }
    if all.is_empty() { Err(DecodeError::OutOfRange { field: "preconditions" }) } else { Ok(all) }
}
