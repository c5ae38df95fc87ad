//! The general form of a command: a kind byte, then its fields in a fixed order. The kind byte is also the version: a
//! changed form gets a new number. Says nothing about whether the command may succeed.

use super::DecodeError;
use super::attempt::{
    ballot, parts, put_ballot, put_parts, put_sets, put_sums, put_votes, sets, sums, votes,
};
use super::buffer::{buffer_step, posting_mode, put_buffer_step};
use super::check_back::{checked_back, on_expiry, put_checked_back, put_on_expiry};
use super::label::{label, put_label};
use super::leg::{legs, parts_of_legs, put_legs, put_parts_of_legs};
use super::sweep::{put_set_sweep, set_sweep};
use super::wire::{Reader, put_amount, put_long_text, put_text, side_of};
use crate::account::{FreezeMode, Side};
use crate::attempt::{Begin, Restore, Step};
use crate::command::{Command, Metadata, Reversal, Transaction};
use crate::hold::{Capture, PlaceHold};
use crate::id::{Position, TransactionId, is_request_id};
use crate::label::Label;
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
    pub const PLACE_HOLD: u8 = 17;
    pub const RELEASE_HOLD: u8 = 18;
    pub const EXTEND_HOLD: u8 = 19;
    pub const EXPIRE_HOLD: u8 = 20;
    pub const TOGETHER: u8 = 21;
    pub const SET_POSTING_MODE: u8 = 32;
    pub const RESOLVE_SUSPENSE: u8 = 33;
    pub const ANNOUNCE: u8 = 34;
    pub const WITHDRAW: u8 = 35;
    pub const DRAINED: u8 = 36;
    pub const CREDIT: u8 = 37;
    pub const ACKNOWLEDGE: u8 = 38;
    pub const RELEASE_RESTRICTION: u8 = 22;
    pub const EXPIRE_RESTRICTION: u8 = 23;
    pub const CHECKED_BACK: u8 = 30;
    pub const SET_SWEEP: u8 = 39;
    pub const REMOVE_SWEEP: u8 = 40;
    pub const END_RUN: u8 = 41;
    pub const PREPARE_LABELLED: u8 = 42;
    pub const CREDIT_LABELLED: u8 = 43;
    pub const DEFINE_GROUP: u8 = 44;
    pub const REVERSAL_OF_LEGS: u8 = 45;
    pub const LOST: u8 = 50;
    pub const RESTORE: u8 = 51;
    pub const LOST_PARCELS: u8 = 52;
    pub const SEND_AGAIN: u8 = 53;
}

/// Set in a transaction's flags when a scope account is named.
pub(super) const HAS_SCOPE: u8 = 1;
/// Set in a transaction's flags when an accounting date is given.
pub(super) const HAS_DATE: u8 = 2;
/// Set in a transaction's flags when it captures a hold.
const HAS_CAPTURE: u8 = 4;
/// Set beside that when the capture is the final one.
const IS_FINAL: u8 = 8;
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
        Command::DefineGroup { group } => {
            out.push(kind::DEFINE_GROUP);
            put_text(out, group);
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
        Command::SetPostingMode { request_id, account, mode } => {
            put_account_command(out, kind::SET_POSTING_MODE, request_id, account);
            out.push(*mode as u8);
        }
        Command::ResolveSuspense { request_id, item, account } => {
            put_account_command(out, kind::RESOLVE_SUSPENSE, request_id, account);
            put_transaction_id(out, *item);
        }
        Command::BufferStep { by, step } => put_buffer_step(out, *by, step),
        Command::SetSweep(set) => {
            out.push(kind::SET_SWEEP);
            put_set_sweep(out, set);
        }
        Command::RemoveSweep { request_id, account } => {
            put_account_command(out, kind::REMOVE_SWEEP, request_id, account);
        }
        Command::EndRun { account, sweep, run } => {
            out.push(kind::END_RUN);
            put_text(out, account);
            put_transaction_id(out, *sweep);
            out.extend_from_slice(&run.to_le_bytes());
        }
        Command::Transaction(transaction) => {
            out.push(kind::TRANSACTION);
            put_transaction(out, transaction);
        }
        Command::Reversal(reversal) => put_reversal(out, reversal),
        Command::PlaceHold(place) => {
            put_account_command(out, kind::PLACE_HOLD, &place.request_id, &place.account);
            put_amount(out, place.amount);
            out.push(u8::from(place.currency.is_some()));
            place.currency.iter().for_each(|currency| put_text(out, currency));
            put_optional_time(out, place.expires_ns);
            put_on_expiry(out, &place.on_expiry);
            out.extend_from_slice(&place.reason.to_le_bytes());
            put_metadata(out, &place.metadata);
        }
        Command::ReleaseHold { request_id, account, hold, amount } => {
            put_account_command(out, kind::RELEASE_HOLD, request_id, account);
            put_transaction_id(out, *hold);
            put_optional_amount(out, *amount);
        }
        Command::ExtendHold { request_id, account, hold, expires_ns } => {
            put_account_command(out, kind::EXTEND_HOLD, request_id, account);
            put_transaction_id(out, *hold);
            put_optional_time(out, *expires_ns);
        }
        Command::ReleaseRestriction { request_id, account, restriction, amount } => {
            put_account_command(out, kind::RELEASE_RESTRICTION, request_id, account);
            put_transaction_id(out, *restriction);
            put_optional_amount(out, *amount);
        }
        Command::ExpireRestriction { account, restriction } => {
            out.push(kind::EXPIRE_RESTRICTION);
            put_text(out, account);
            put_transaction_id(out, *restriction);
        }
        Command::Together { count } => {
            out.push(kind::TOGETHER);
            out.extend_from_slice(&count.to_le_bytes());
        }
        Command::ExpireHold { hold } => {
            out.push(kind::EXPIRE_HOLD);
            put_transaction_id(out, *hold);
        }
        Command::CheckedBack(done) => {
            out.push(kind::CHECKED_BACK);
            put_checked_back(out, done);
        }
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
        kind::DEFINE_GROUP => Command::DefineGroup { group: r.id()?.to_owned() },
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
        kind::SET_POSTING_MODE => Command::SetPostingMode {
            request_id: r.id()?.to_owned(),
            account: r.id()?.to_owned(),
            mode: posting_mode(r)?,
        },
        kind::RESOLVE_SUSPENSE => {
            let (request_id, account) = (r.id()?.to_owned(), r.id()?.to_owned());
            Command::ResolveSuspense { request_id, item: transaction_id(r)?, account }
        }
        step @ (kind::ANNOUNCE
        | kind::WITHDRAW
        | kind::DRAINED
        | kind::CREDIT
        | kind::CREDIT_LABELLED
        | kind::ACKNOWLEDGE
        | kind::LOST_PARCELS
        | kind::SEND_AGAIN) => Command::BufferStep { by: transaction_id(r)?, step: buffer_step(r, step)? },
        kind::SET_SWEEP => Command::SetSweep(set_sweep(r)?),
        kind::REMOVE_SWEEP => {
            Command::RemoveSweep { request_id: r.id()?.to_owned(), account: r.id()?.to_owned() }
        }
        kind::END_RUN => {
            Command::EndRun { account: r.id()?.to_owned(), sweep: transaction_id(r)?, run: r.u32()? }
        }
        kind::TRANSACTION => Command::Transaction(transaction(r)?),
        of @ (kind::REVERSAL | kind::REVERSAL_OF_LEGS) => Command::Reversal(reversal(r, of)?),
        kind::PLACE_HOLD => Command::PlaceHold(PlaceHold {
            request_id: r.id()?.to_owned(),
            account: r.id()?.to_owned(),
            amount: r.amount()?,
            currency: if r.bool("currency present")? { Some(r.id()?.to_owned()) } else { None },
            expires_ns: optional_time(r)?,
            on_expiry: on_expiry(r)?,
            reason: r.u16()?,
            metadata: metadata(r)?,
        }),
        kind::RELEASE_HOLD => Command::ReleaseHold {
            request_id: r.id()?.to_owned(),
            account: r.id()?.to_owned(),
            hold: transaction_id(r)?,
            amount: optional_amount(r)?,
        },
        kind::EXTEND_HOLD => Command::ExtendHold {
            request_id: r.id()?.to_owned(),
            account: r.id()?.to_owned(),
            hold: transaction_id(r)?,
            expires_ns: optional_time(r)?,
        },
        kind::RELEASE_RESTRICTION => Command::ReleaseRestriction {
            request_id: r.id()?.to_owned(),
            account: r.id()?.to_owned(),
            restriction: transaction_id(r)?,
            amount: optional_amount(r)?,
        },
        kind::EXPIRE_RESTRICTION => {
            Command::ExpireRestriction { account: r.id()?.to_owned(), restriction: transaction_id(r)? }
        }
        kind::TOGETHER => Command::Together { count: r.u16()? },
        kind::EXPIRE_HOLD => Command::ExpireHold { hold: transaction_id(r)? },
        kind::CHECKED_BACK => Command::CheckedBack(checked_back(r)?),
        kind::MARK_DURABILITY => Command::MarkDurability { durability: durability(r)? },
        kind::BEGIN => {
            let transaction = transaction(r)?;
            let sets = sets(r, transaction.legs.len())?;
            Command::Begin(Begin { transaction, sets })
        }
        step @ (kind::PREPARE
        | kind::PREPARE_LABELLED
        | kind::DECIDE
        | kind::COMMIT
        | kind::ABORT
        | kind::SETTLE
        | kind::LOST
        | kind::RESTORE) => Command::Step { attempt: transaction_id(r)?, step: self::step(r, step)? },
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
    let flags = scope.map_or(0, |_| HAS_SCOPE)
        | transaction.accounting_date.map_or(0, |_| HAS_DATE)
        | transaction.capture.map_or(0, |capture| HAS_CAPTURE | if capture.is_final { IS_FINAL } else { 0 });
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
    if let Some(capture) = transaction.capture {
        put_transaction_id(out, capture.hold);
    }
    put_legs(out, &transaction.legs);
    put_metadata(out, &transaction.metadata);
}

fn transaction(r: &mut Reader<'_>) -> Result<Transaction, DecodeError> {
    let flags = r.u8()?;
    if flags & !(HAS_SCOPE | HAS_DATE | HAS_CAPTURE | IS_FINAL) != 0
        || flags & (HAS_CAPTURE | IS_FINAL) == IS_FINAL
    {
        return Err(DecodeError::OutOfRange { field: "flags" });
    }
    let kind = r.u16()?;
    let reason = r.u16()?;
    let accounting_date = if flags & HAS_DATE != 0 { Some(r.i32()?) } else { None };
    let request_id = transaction_request_id(r)?;
    let scope_account = if flags & HAS_SCOPE != 0 { Some(r.id()?.to_owned()) } else { None };
    let is_final = flags & IS_FINAL != 0;
    let capture =
        if flags & HAS_CAPTURE != 0 { Some(Capture { hold: transaction_id(r)?, is_final }) } else { None };
    let legs = legs(r)?;
    let metadata = metadata(r)?;
    Ok(Transaction { request_id, scope_account, legs, kind, reason, accounting_date, capture, metadata })
}

/// An id in its alphabet, or what confirms a hold or is a sweep's run.
fn transaction_request_id(r: &mut Reader<'_>) -> Result<String, DecodeError> {
    let text = r.id_text()?;
    if is_request_id(text) { Ok(text.to_owned()) } else { Err(DecodeError::BadId) }
}

fn put_reversal(out: &mut Vec<u8>, reversal: &Reversal) {
    out.push(if reversal.legs.is_some() { kind::REVERSAL_OF_LEGS } else { kind::REVERSAL });
    put_text(out, &reversal.request_id);
    put_transaction_id(out, reversal.transaction);
    match &reversal.legs {
        Some(parts) => put_parts_of_legs(out, parts),
        None => put_optional_amount(out, reversal.amount),
    }
    out.extend_from_slice(&reversal.reason.to_le_bytes());
    put_metadata(out, &reversal.metadata);
}

fn reversal(r: &mut Reader<'_>, kind: u8) -> Result<Reversal, DecodeError> {
    let (request_id, transaction) = (r.id()?.to_owned(), transaction_id(r)?);
    let (amount, legs) = match kind {
        kind::REVERSAL_OF_LEGS => (None, Some(parts_of_legs(r)?)),
        _ => (optional_amount(r)?, None),
    };
    Ok(Reversal { request_id, transaction, amount, legs, reason: r.u16()?, metadata: metadata(r)? })
}

fn put_step(out: &mut Vec<u8>, attempt: TransactionId, step: &Step) {
    out.push(match step {
        Step::Prepare { label, .. } if label.is_empty() => kind::PREPARE,
        Step::Prepare { .. } => kind::PREPARE_LABELLED,
        Step::Decide(_) => kind::DECIDE,
        Step::Commit => kind::COMMIT,
        Step::Abort => kind::ABORT,
        Step::Settle { .. } => kind::SETTLE,
        Step::Lost { .. } => kind::LOST,
        Step::Restore(_) => kind::RESTORE,
    });
    put_transaction_id(out, attempt);
    match step {
        Step::Prepare { legs, accounting_date, reverses, label } => {
            out.extend_from_slice(&accounting_date.to_le_bytes());
            put_optional_id(out, *reverses);
            put_legs(out, legs);
            if !label.is_empty() {
                put_label(out, label);
            }
        }
        Step::Decide(ballot) => put_ballot(out, ballot),
        Step::Commit | Step::Abort => {}
        Step::Settle { parts } => put_parts(out, parts),
        Step::Lost { votes } => {
            out.push(u8::from(votes.is_some()));
            votes.iter().for_each(|votes| put_votes(out, votes));
        }
        Step::Restore(Restore { legs, sums, accounting_date, reverses, label }) => {
            out.extend_from_slice(&accounting_date.to_le_bytes());
            put_optional_id(out, *reverses);
            put_legs(out, legs);
            out.push(u8::from(sums.is_some()));
            sums.iter().for_each(|sums| put_sums(out, sums));
            out.push(u8::from(!label.is_empty()));
            if !label.is_empty() {
                put_label(out, label);
            }
        }
    }
}

fn step(r: &mut Reader<'_>, kind: u8) -> Result<Step, DecodeError> {
    Ok(match kind {
        kind::PREPARE | kind::PREPARE_LABELLED => {
            let (accounting_date, reverses, legs) = (r.i32()?, optional_id(r)?, legs(r)?);
            let label = if kind == kind::PREPARE { Label::default() } else { label(r)? };
            Step::Prepare { legs, accounting_date, reverses, label }
        }
        kind::DECIDE => Step::Decide(ballot(r)?),
        kind::COMMIT => Step::Commit,
        kind::ABORT => Step::Abort,
        kind::SETTLE => Step::Settle { parts: parts(r)? },
        kind::LOST => {
            let votes = if r.bool("votes present")? { Some(votes(r)?) } else { None };
            Step::Lost { votes }
        }
        kind::RESTORE => {
            let (accounting_date, reverses) = (r.i32()?, optional_id(r)?);
            let legs = legs(r)?;
            let sums = if r.bool("sums present")? { Some(sums(r)?) } else { None };
            let label = if r.bool("label present")? { label(r)? } else { Label::default() };
            Step::Restore(Restore { legs, sums, accounting_date, reverses, label })
        }
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

pub(super) fn put_optional_id(out: &mut Vec<u8>, id: Option<TransactionId>) {
    out.push(u8::from(id.is_some()));
    id.iter().for_each(|id| put_transaction_id(out, *id));
}

pub(super) fn optional_id(r: &mut Reader<'_>) -> Result<Option<TransactionId>, DecodeError> {
    if r.bool("transaction present")? { transaction_id(r).map(Some) } else { Ok(None) }
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

pub(super) fn put_optional_time(out: &mut Vec<u8>, unix_ns: Option<u64>) {
    out.push(u8::from(unix_ns.is_some()));
    unix_ns.iter().for_each(|ns| out.extend_from_slice(&ns.to_le_bytes()));
}

pub(super) fn optional_time(r: &mut Reader<'_>) -> Result<Option<u64>, DecodeError> {
    if r.bool("time present")? { r.u64().map(Some) } else { Ok(None) }
}

pub(super) fn put_metadata(out: &mut Vec<u8>, metadata: &Metadata) {
    out.push(u8::try_from(metadata.len()).expect("validated metadata has few pairs"));
    for (key, value) in metadata {
        put_text(out, key);
        put_long_text(out, value);
    }
}

/// Keys must rise strictly, so that one meaning has one form.
pub(super) fn metadata(r: &mut Reader<'_>) -> Result<Metadata, DecodeError> {
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
