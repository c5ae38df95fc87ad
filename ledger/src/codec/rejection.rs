//! The form of a rejection: its number, then its fields in the order of their declaration.

use super::DecodeError;
use super::command::{put_transaction_id, transaction_id};
use super::wire::{Reader, put_text};
use crate::id::Position;
use crate::rejection::Rejection;

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
        | Rejection::AccountNotEmpty { account } => put_text(out, account),
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
        Rejection::TransactionNotFound { transaction }
        | Rejection::NotReversible { transaction }
        | Rejection::PartialReversalOfManyLegs { transaction } => put_transaction_id(out, *transaction),
        Rejection::ReversalExceeds { left, scale } => put_minors(out, &[*left], *scale),
        Rejection::StepOutOfPlace { attempt } => put_transaction_id(out, *attempt),
        Rejection::SetUnavailable { set } => out.extend_from_slice(&set.to_le_bytes()),
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
        18 => Rejection::ReversalExceeds { left: r.i128()?, scale: r.u8()? },
        19 => Rejection::PartialReversalOfManyLegs { transaction: transaction_id(r)? },
        20 => Rejection::StepOutOfPlace { attempt: transaction_id(r)? },
        21 => Rejection::SetUnavailable { set: r.u32()? },
        found => return Err(DecodeError::Unknown { what: "rejection", found }),
    })
}
