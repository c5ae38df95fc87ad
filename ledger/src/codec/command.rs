//! The general form of a command: a kind byte, then its fields in a fixed order. The kind byte is also the version: a
//! changed form gets a new number. Says nothing about whether the command may succeed.

use super::DecodeError;
use super::attempt::{ballot, parts, put_ballot, put_parts, put_sets, sets};
use super::wire::{Reader, put_amount, put_long_text, put_text, side_of};
use crate::LEGS_MAX;
use crate::account::{FreezeMode, Side};
use crate::attempt::{Begin, Step};
use crate::command::{Command, Leg, Metadata, Reversal, Transaction};
use crate::id::{Position, TransactionId};
use crate::state::Durability;

/// The leading byte of each form. Numbers never change and are never reused.
pub(super) mod kind {
    pub const DEFINE_CURRENCY: u8 = 1;
    pub const DEFINE_SUBJECT: u8 = 2;
    pub const OPEN_ACCOUNT: u8 = 3;
    pub const SET_LIMIT: u8 = 4;
    pub const FREEZE: u8 = 5;
    pub const UNFREEZE: u8 = 6;
    pub const CLOSE_ACCOUNT: u8 = 7;
    pub const TRANSACTION: u8 = 8;
    pub const REVERSAL: u8 = 9;
    pub const MARK_DURABILITY: u8 = 10;
    pub const BEGIN: u8 = 11;
    pub const PREPARE: u8 = 12;
    pub const DECIDE: u8 = 13;
    pub const COMMIT: u8 = 14;
    pub const ABORT: u8 = 15;
    pub const SETTLE: u8 = 16;
}

/// Set in a transaction's flags when a scope account is named.
pub(super) const HAS_SCOPE: u8 = 1;
/// Set in a transaction's flags when an accounting date is given.
pub(super) const HAS_DATE: u8 = 2;
/// Set beside a leg's side when it names its currency.
pub(super) const HAS_CURRENCY: u8 = 0x80;

/// Appends the wire form. The command must be valid (`Command::validate`); what no limit allows panics.
pub fn encode_command(command: &Command, out: &mut Vec<u8>) {
    match command {
        Command::DefineCurrency { code, scale } => {
            out.push(kind::DEFINE_CURRENCY);
            put_text(out, code);
            out.push(*scale);
        }
        Command::DefineSubject { code, name, normal_side } => {
            out.push(kind::DEFINE_SUBJECT);
            put_text(out, code);
            put_text(out, name);
            out.push(*normal_side as u8);
        }
        Command::OpenAccount { request_id, account, subject, currency, normal_side, limit, metadata } => {
            out.push(kind::OPEN_ACCOUNT);
            for text in [request_id, account, subject, currency] {
                put_text(out, text);
            }
            out.push(normal_side.map_or(0, |side| side as u8));
            put_optional_amount(out, *limit);
            put_metadata(out, metadata);
        }
        Command::SetLimit { request_id, account, limit } => {
            put_account_command(out, kind::SET_LIMIT, request_id, account);
            put_optional_amount(out, *limit);
        }
        Command::Freeze { request_id, account, mode } => {
            put_account_command(out, kind::FREEZE, request_id, account);
            out.push(*mode as u8);
        }
        Command::Unfreeze { request_id, account, mode } => {
            put_account_command(out, kind::UNFREEZE, request_id, account);
            out.push(*mode as u8);
        }
        Command::CloseAccount { request_id, account } => {
            put_account_command(out, kind::CLOSE_ACCOUNT, request_id, account);
        }
        Command::Transaction(transaction) => {
            out.push(kind::TRANSACTION);
            put_transaction(out, transaction);
        }
        Command::Reversal(reversal) => put_reversal(out, reversal),
        Command::MarkDurability { durability } => out.extend([kind::MARK_DURABILITY, *durability as u8]),
        Command::Begin(begin) => {
            out.push(kind::BEGIN);
            put_transaction(out, &begin.transaction);
            put_sets(out, &begin.sets, begin.transaction.legs.len());
        }
        Command::Step { attempt, step } => put_step(out, *attempt, step),
    }
}

/// Reads the wire form, all of `bytes`. Never panics; what it accepts encodes to the same bytes again.
pub fn decode_command(bytes: &[u8]) -> Result<Command, DecodeError> {
    let mut reader = Reader::new(bytes);
    let command = command(&mut reader)?;
    reader.end()?;
    Ok(command)
}

fn command(r: &mut Reader<'_>) -> Result<Command, DecodeError> {
    Ok(match r.u8()? {
        kind::DEFINE_CURRENCY => Command::DefineCurrency { code: r.id()?.to_owned(), scale: r.u8()? },
        kind::DEFINE_SUBJECT => Command::DefineSubject {
            code: r.id()?.to_owned(),
            name: r.text()?.to_owned(),
            normal_side: r.side()?,
        },
        kind::OPEN_ACCOUNT => Command::OpenAccount {
            request_id: r.id()?.to_owned(),
            account: r.id()?.to_owned(),
            subject: r.id()?.to_owned(),
            currency: r.id()?.to_owned(),
            normal_side: optional_side(r)?,
            limit: optional_amount(r)?,
            metadata: metadata(r)?,
        },
        kind::SET_LIMIT => Command::SetLimit {
            request_id: r.id()?.to_owned(),
            account: r.id()?.to_owned(),
            limit: optional_amount(r)?,
        },
        kind::FREEZE => Command::Freeze {
            request_id: r.id()?.to_owned(),
            account: r.id()?.to_owned(),
            mode: freeze_mode(r)?,
        },
        kind::UNFREEZE => Command::Unfreeze {
            request_id: r.id()?.to_owned(),
            account: r.id()?.to_owned(),
            mode: freeze_mode(r)?,
        },
        kind::CLOSE_ACCOUNT => {
            Command::CloseAccount { request_id: r.id()?.to_owned(), account: r.id()?.to_owned() }
        }
        kind::TRANSACTION => Command::Transaction(transaction(r)?),
        kind::REVERSAL => Command::Reversal(reversal(r)?),
        kind::MARK_DURABILITY => Command::MarkDurability { durability: durability(r)? },
        kind::BEGIN => {
            let transaction = transaction(r)?;
            let sets = sets(r, transaction.legs.len())?;
            Command::Begin(Begin { transaction, sets })
        }
        step @ (kind::PREPARE | kind::DECIDE | kind::COMMIT | kind::ABORT | kind::SETTLE) => {
            Command::Step { attempt: transaction_id(r)?, step: self::step(r, step)? }
        }
        found => return Err(DecodeError::Unknown { what: "command kind", found: u16::from(found) }),
    })
}

fn put_account_command(out: &mut Vec<u8>, kind: u8, request_id: &str, account: &str) {
    out.push(kind);
    put_text(out, request_id);
    put_text(out, account);
}

fn put_transaction(out: &mut Vec<u8>, transaction: &Transaction) {
    let scope = transaction.scope_account.as_deref();
    let flags = scope.map_or(0, |_| HAS_SCOPE) | transaction.accounting_date.map_or(0, |_| HAS_DATE);
    out.push(flags);
    out.extend_from_slice(&transaction.kind.to_le_bytes());
    out.extend_from_slice(&transaction.reason.to_le_bytes());
    if let Some(date) = transaction.accounting_date {
        out.extend_from_slice(&date.to_le_bytes());
    }
    put_text(out, &transaction.request_id);
    if let Some(scope) = scope {
        put_text(out, scope);
    }
    put_legs(out, &transaction.legs);
    put_metadata(out, &transaction.metadata);
}

pub(super) fn put_legs(out: &mut Vec<u8>, legs: &[Leg]) {
    let count = u16::try_from(legs.len()).expect("validated transactions have few legs");
    out.extend_from_slice(&count.to_le_bytes());
    for leg in legs {
        out.push(leg.side as u8 | leg.currency.as_ref().map_or(0, |_| HAS_CURRENCY));
        put_text(out, &leg.account);
        put_amount(out, leg.amount);
        if let Some(currency) = &leg.currency {
            put_text(out, currency);
        }
    }
}

fn transaction(r: &mut Reader<'_>) -> Result<Transaction, DecodeError> {
    let flags = r.u8()?;
    if flags & !(HAS_SCOPE | HAS_DATE) != 0 {
        return Err(DecodeError::OutOfRange { field: "flags" });
    }
    let kind = r.u16()?;
    let reason = r.u16()?;
    let accounting_date = if flags & HAS_DATE != 0 { Some(r.i32()?) } else { None };
    let request_id = r.id()?.to_owned();
    let scope_account = if flags & HAS_SCOPE != 0 { Some(r.id()?.to_owned()) } else { None };
    let legs = legs(r)?;
    let metadata = metadata(r)?;
    Ok(Transaction { request_id, scope_account, legs, kind, reason, accounting_date, metadata })
}

pub(super) fn legs(r: &mut Reader<'_>) -> Result<Vec<Leg>, DecodeError> {
    let count = usize::from(r.u16()?);
    if count > LEGS_MAX {
        return Err(DecodeError::OutOfRange { field: "legs" });
    }
    (0..count).map(|_| leg(r)).collect()
}

fn leg(r: &mut Reader<'_>) -> Result<Leg, DecodeError> {
    let head = r.u8()?;
    let side = side_of(head & !HAS_CURRENCY)?;
    let account = r.id()?.to_owned();
    let amount = r.amount()?;
    let currency = if head & HAS_CURRENCY != 0 { Some(r.id()?.to_owned()) } else { None };
    Ok(Leg { account, side, amount, currency })
}

fn put_reversal(out: &mut Vec<u8>, reversal: &Reversal) {
    out.push(kind::REVERSAL);
    put_text(out, &reversal.request_id);
    put_transaction_id(out, reversal.transaction);
    put_optional_amount(out, reversal.amount);
    out.extend_from_slice(&reversal.reason.to_le_bytes());
    put_metadata(out, &reversal.metadata);
}

fn reversal(r: &mut Reader<'_>) -> Result<Reversal, DecodeError> {
    Ok(Reversal {
        request_id: r.id()?.to_owned(),
        transaction: transaction_id(r)?,
        amount: optional_amount(r)?,
        reason: r.u16()?,
        metadata: metadata(r)?,
    })
}

fn put_step(out: &mut Vec<u8>, attempt: TransactionId, step: &Step) {
    out.push(match step {
        Step::Prepare { .. } => kind::PREPARE,
        Step::Decide(_) => kind::DECIDE,
        Step::Commit => kind::COMMIT,
        Step::Abort => kind::ABORT,
        Step::Settle { .. } => kind::SETTLE,
    });
    put_transaction_id(out, attempt);
    match step {
        Step::Prepare { legs, accounting_date } => {
            out.extend_from_slice(&accounting_date.to_le_bytes());
            put_legs(out, legs);
        }
        Step::Decide(ballot) => put_ballot(out, ballot),
        Step::Commit | Step::Abort => {}
        Step::Settle { parts } => put_parts(out, parts),
    }
}

fn step(r: &mut Reader<'_>, kind: u8) -> Result<Step, DecodeError> {
    Ok(match kind {
        kind::PREPARE => {
            let accounting_date = r.i32()?;
            Step::Prepare { legs: legs(r)?, accounting_date }
        }
        kind::DECIDE => Step::Decide(ballot(r)?),
        kind::COMMIT => Step::Commit,
        kind::ABORT => Step::Abort,
        kind::SETTLE => Step::Settle { parts: parts(r)? },
        found => return Err(DecodeError::Unknown { what: "command kind", found: u16::from(found) }),
    })
}

pub(super) fn put_transaction_id(out: &mut Vec<u8>, id: TransactionId) {
    out.extend_from_slice(&id.set.to_le_bytes());
    out.extend_from_slice(&id.incarnation.to_le_bytes());
    out.extend_from_slice(&id.position.0.to_le_bytes());
}

pub(super) fn transaction_id(r: &mut Reader<'_>) -> Result<TransactionId, DecodeError> {
    Ok(TransactionId { set: r.u32()?, incarnation: r.u32()?, position: Position(r.u64()?) })
}

fn put_optional_amount(out: &mut Vec<u8>, amount: Option<rust_decimal::Decimal>) {
    out.push(u8::from(amount.is_some()));
    if let Some(amount) = amount {
        put_amount(out, amount);
    }
}

fn optional_amount(r: &mut Reader<'_>) -> Result<Option<rust_decimal::Decimal>, DecodeError> {
    if r.bool("amount present")? { r.amount().map(Some) } else { Ok(None) }
}

fn put_metadata(out: &mut Vec<u8>, metadata: &Metadata) {
    out.push(u8::try_from(metadata.len()).expect("validated metadata has few pairs"));
    for (key, value) in metadata {
        put_text(out, key);
        put_long_text(out, value);
    }
}

/// Keys must rise strictly, so that one meaning has one form.
fn metadata(r: &mut Reader<'_>) -> Result<Metadata, DecodeError> {
    let mut metadata = Metadata::new();
    for _ in 0..r.u8()? {
        let key = r.text()?.to_owned();
        if metadata.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(DecodeError::OutOfRange { field: "metadata order" });
        }
        metadata.insert(key, r.long_text()?.to_owned());
    }
    Ok(metadata)
}

fn optional_side(r: &mut Reader<'_>) -> Result<Option<Side>, DecodeError> {
    match r.u8()? {
        0 => Ok(None),
        byte => side_of(byte).map(Some),
    }
}

fn freeze_mode(r: &mut Reader<'_>) -> Result<FreezeMode, DecodeError> {
    match r.u8()? {
        1 => Ok(FreezeMode::Debit),
        2 => Ok(FreezeMode::Credit),
        3 => Ok(FreezeMode::Both),
        _ => Err(DecodeError::OutOfRange { field: "freeze mode" }),
    }
}

fn durability(r: &mut Reader<'_>) -> Result<Durability, DecodeError> {
    match r.u8()? {
        0 => Ok(Durability::Sync),
        1 => Ok(Durability::Degraded),
        _ => Err(DecodeError::OutOfRange { field: "durability" }),
    }
}
