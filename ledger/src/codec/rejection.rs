//! The form of a rejection: its number, then its fields in the order of their declaration.

use super::DecodeError;
use super::command::{put_transaction_id, transaction_id};
use super::leg::expected;
use super::wire::{Reader, put_text};
use crate::id::Position;
use crate::rejection::Rejection;

/// Set beside the scale of what is left to reverse when it is of a leg that was named. No scale is so large.
const HAS_LEG: u8 = 0x80;

pub(super) fn put_rejection(out: &mut Vec<u8>, rejection: &Rejection) {
    out.extend_from_slice(&rejection.number().to_le_bytes());
    match rejection {
        Rejection::RequestMismatch { field, original } => {
            put_text(out, field);
            out.extend_from_slice(&original.0.to_le_bytes());
        }
        Rejection::AccountNotFound { account }
        | Rejection::AccountExists { account }
        | Rejection::AmountOverflow { account }
        | Rejection::AccountClosed { account }
        | Rejection::AccountNotEmpty { account }
        | Rejection::AccountBuffered { account }
        | Rejection::SweepNotFound { account } => put_text(out, account),
        Rejection::LegOnGroup { group } => put_text(out, group),
        Rejection::TooManySweeps { most } => out.extend_from_slice(&most.to_le_bytes()),
        Rejection::SubjectUnknown { subject } | Rejection::SubjectConflict { subject } => {
            put_text(out, subject)
        }
        Rejection::CurrencyUnknown { currency } | Rejection::CurrencyConflict { currency } => {
            put_text(out, currency);
        }
        Rejection::CurrencyMismatch { account, expected } => {
            put_text(out, account);
            put_text(out, expected);
        }
        Rejection::ExcessScale { account, scale } => {
            put_text(out, account);
            out.push(*scale);
        }
        Rejection::Unbalanced { currency, debits, credits, scale } => {
            put_text(out, currency);
            put_minors(out, &[*debits, *credits], *scale);
        }
        Rejection::AccountFrozen { account, side } => {
            put_text(out, account);
            out.push(*side as u8);
        }
        Rejection::LimitExceeded { account, available, limit, needed, scale } => {
            put_text(out, account);
            put_minors(out, &[*available, *limit, *needed], *scale);
        }
        Rejection::WithdrawableExceeded { account, withdrawable, limit, needed, scale } => {
            put_text(out, account);
            put_minors(out, &[*withdrawable, *limit, *needed], *scale);
        }
        Rejection::RestrictionExceeded { account, restriction, left, scale } => {
            put_text(out, account);
            put_transaction_id(out, *restriction);
            put_minors(out, &[*left], *scale);
        }
        Rejection::TransactionNotFound { transaction }
        | Rejection::NotReversible { transaction }
        | Rejection::PartialReversalOfManyLegs { transaction } => put_transaction_id(out, *transaction),
        Rejection::ReversalExceeds { left, scale, leg } => {
            put_minors(out, &[*left], *scale | leg.map_or(0, |_| HAS_LEG));
            leg.iter().for_each(|leg| out.extend_from_slice(&leg.to_le_bytes()));
        }
        Rejection::LegNotFound { transaction, leg } => {
            put_transaction_id(out, *transaction);
            out.extend_from_slice(&leg.to_le_bytes());
        }
        Rejection::StepOutOfPlace { attempt } => put_transaction_id(out, *attempt),
        Rejection::SuspenseNotFound { item } | Rejection::SuspenseResolved { item } => {
            put_transaction_id(out, *item);
        }
        Rejection::SetUnavailable { set } => out.extend_from_slice(&set.to_le_bytes()),
        Rejection::HoldNotFound { account, hold } => {
            put_text(out, account);
            put_transaction_id(out, *hold);
        }
        Rejection::HoldEnded { hold } | Rejection::HoldJournalFull { hold } => put_transaction_id(out, *hold),
        Rejection::HoldExceeded { hold, left, needed, scale } => {
            put_transaction_id(out, *hold);
            put_minors(out, &[*left, *needed], *scale);
        }
        Rejection::BatchRefused { item } => out.extend_from_slice(&item.to_le_bytes()),
        Rejection::CaptureWithoutOutflow { account } | Rejection::RestrictedOutflow { account } => {
            put_text(out, account)
        }
        Rejection::ExpiryTooEarly { after_ns } => out.extend_from_slice(&after_ns.to_le_bytes()),
        Rejection::PreconditionFailed { account, expected, found, wanted, scale } => {
            put_text(out, account);
            out.push(*expected as u8);
            put_minors(out, &[*found, *wanted], *scale);
        }
    }
}

fn put_minors(out: &mut Vec<u8>, minors: &[i128], scale: u8) {
    for minor in minors {
        out.extend_from_slice(&minor.to_le_bytes());
    }
    out.push(scale);
}

pub(super) fn rejection(r: &mut Reader<'_>) -> Result<Rejection, DecodeError> {
    let number = r.u16()?;
    let mut text = || r.text().map(str::to_owned);
    Ok(match number {
        1 => Rejection::RequestMismatch { field: text()?, original: Position(r.u64()?) },
        2 => Rejection::AccountNotFound { account: text()? },
        3 => Rejection::AccountExists { account: text()? },
        4 => Rejection::SubjectUnknown { subject: text()? },
        5 => Rejection::SubjectConflict { subject: text()? },
        6 => Rejection::CurrencyUnknown { currency: text()? },
        7 => Rejection::CurrencyConflict { currency: text()? },
        8 => Rejection::CurrencyMismatch { account: text()?, expected: text()? },
        9 => Rejection::ExcessScale { account: text()?, scale: r.u8()? },
        10 => Rejection::AmountOverflow { account: text()? },
        11 => {
            Rejection::Unbalanced { currency: text()?, debits: r.i128()?, credits: r.i128()?, scale: r.u8()? }
        }
        12 => Rejection::AccountClosed { account: text()? },
        13 => Rejection::AccountFrozen { account: text()?, side: r.side()? },
        14 => Rejection::LimitExceeded {
            account: text()?,
            available: r.i128()?,
            limit: r.i128()?,
            needed: r.i128()?,
            scale: r.u8()?,
        },
        15 => Rejection::AccountNotEmpty { account: text()? },
        16 => Rejection::TransactionNotFound { transaction: transaction_id(r)? },
        17 => Rejection::NotReversible { transaction: transaction_id(r)? },
        18 => {
            let (left, scale) = (r.i128()?, r.u8()?);
            let leg = if scale & HAS_LEG != 0 { Some(r.u16()?) } else { None };
            Rejection::ReversalExceeds { left, scale: scale & !HAS_LEG, leg }
        }
        19 => Rejection::PartialReversalOfManyLegs { transaction: transaction_id(r)? },
        20 => Rejection::StepOutOfPlace { attempt: transaction_id(r)? },
        21 => Rejection::SetUnavailable { set: r.u32()? },
        22 => Rejection::HoldNotFound { account: text()?, hold: transaction_id(r)? },
        23 => Rejection::HoldEnded { hold: transaction_id(r)? },
        24 => Rejection::HoldExceeded {
            hold: transaction_id(r)?,
            left: r.i128()?,
            needed: r.i128()?,
            scale: r.u8()?,
        },
        25 => Rejection::CaptureWithoutOutflow { account: text()? },
        26 => Rejection::ExpiryTooEarly { after_ns: r.u64()? },
        27 => Rejection::PreconditionFailed {
            account: text()?,
            expected: expected(r)?,
            found: r.i128()?,
            wanted: r.i128()?,
            scale: r.u8()?,
        },
        28 => Rejection::BatchRefused { item: r.u16()? },
        29 => Rejection::HoldJournalFull { hold: transaction_id(r)? },
        33 => Rejection::AccountBuffered { account: text()? },
        34 => Rejection::SuspenseNotFound { item: transaction_id(r)? },
        35 => Rejection::SuspenseResolved { item: transaction_id(r)? },
        36 => Rejection::SweepNotFound { account: text()? },
        37 => Rejection::TooManySweeps { most: r.u32()? },
        38 => Rejection::LegOnGroup { group: text()? },
        39 => Rejection::LegNotFound { transaction: transaction_id(r)?, leg: r.u16()? },
        30 => Rejection::RestrictedOutflow { account: text()? },
        31 => Rejection::WithdrawableExceeded {
            account: text()?,
            withdrawable: r.i128()?,
            limit: r.i128()?,
            needed: r.i128()?,
            scale: r.u8()?,
        },
        32 => Rejection::RestrictionExceeded {
            account: text()?,
            restriction: transaction_id(r)?,
            left: r.i128()?,
            scale: r.u8()?,
        },
        found => return Err(DecodeError::Unknown { what: "rejection", found }),
    })
}
