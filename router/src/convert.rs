//! gRPC messages to commands, and results to gRPC messages. Pure translation: what is missing or unreadable is
//! malformed, everything else is for the core to judge.

use twinset_ledger::{
    Command, FreezeMode, Leg, LegPart, Reversal, Side, Transaction, TransactionId, amount, date,
};
use twinset_proto::ledger::v1 as wire;

use crate::api::{Booked, BookedLeg, Receipt};
use crate::batch::Batch;
use crate::error::{At, Error};
use crate::holds;
use crate::json::request::{in_their_order, parse_limit};
use crate::restrictions;
use crate::status;

pub(crate) fn narrow<T: TryFrom<u32>>(value: u32, field: &str) -> Result<T, Error> {
    T::try_from(value).map_err(|_| Error::malformed(format!("{field} {value} is too large")))
}

fn side(side: i32, field: &str) -> Result<Option<Side>, Error> {
    match wire::Side::try_from(side) {
        Ok(wire::Side::Debit) => Ok(Some(Side::Debit)),
        Ok(wire::Side::Credit) => Ok(Some(Side::Credit)),
        Ok(wire::Side::Unspecified) => Ok(None),
        Err(_) => Err(Error::malformed(format!("{field} {side} is no side"))),
    }
}

/// How fresh a read must be.
pub fn consistency(consistency: i32) -> Result<wire::Consistency, Error> {
    wire::Consistency::try_from(consistency)
        .map_err(|_| Error::malformed(format!("consistency {consistency} is neither linearizable nor stale")))
}

fn given<T>(value: Option<T>, field: &str) -> Result<T, Error> {
    value.ok_or_else(|| Error::malformed(format!("{field} is missing")))
}

pub(crate) fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn limit(text: &str) -> Result<Option<rust_decimal::Decimal>, Error> {
    parse_limit(text).map_err(|error| Error::malformed(format!("limit: {error}")))
}

/// A currency.
pub fn define_currency(request: wire::DefineCurrencyRequest) -> Result<Command, Error> {
    Ok(Command::DefineCurrency { code: request.code, scale: narrow(request.scale, "scale")? })
}

/// A subject.
pub fn define_subject(request: wire::DefineSubjectRequest) -> Result<Command, Error> {
    let normal_side = given(side(request.normal_side, "normal_side")?, "normal_side")?;
    Ok(Command::DefineSubject { code: request.code, name: request.name, normal_side })
}

/// A new account.
pub fn open_account(request: wire::OpenAccountRequest) -> Result<Command, Error> {
    Ok(Command::OpenAccount {
        normal_side: side(request.normal_side, "normal_side")?,
        limit: limit(request.limit.as_deref().unwrap_or("0"))?,
        request_id: request.request_id,
        account: request.account,
        subject: request.subject,
        currency: request.currency,
        metadata: request.metadata.into_iter().collect(),
    })
}

/// A new floor.
pub fn set_limit(request: wire::SetLimitRequest) -> Result<Command, Error> {
    let limit = limit(&request.limit)?;
    Ok(Command::SetLimit { request_id: request.request_id, account: request.account, limit })
}

/// A freeze, or its end.
pub fn freeze(request: wire::FreezeRequest, freeze: bool) -> Result<Command, Error> {
    let mode = match wire::FreezeMode::try_from(request.mode) {
        Ok(wire::FreezeMode::FreezeDebit) => FreezeMode::Debit,
        Ok(wire::FreezeMode::FreezeCredit) => FreezeMode::Credit,
        Ok(wire::FreezeMode::FreezeBoth) => FreezeMode::Both,
        Ok(wire::FreezeMode::FreezeUnspecified) => return Err(Error::malformed("mode is missing")),
        Err(_) => return Err(Error::malformed(format!("mode {} is no mode", request.mode))),
    };
    let (request_id, account) = (request.request_id, request.account);
    Ok(match freeze {
        true => Command::Freeze { request_id, account, mode },
        false => Command::Unfreeze { request_id, account, mode },
    })
}

/// A transaction.
pub fn transaction(request: wire::PostTransactionRequest) -> Result<Transaction, Error> {
    let date = match request.accounting_date.as_str() {
        "" => None,
        text => Some(
            date::parse(text)
                .ok_or_else(|| Error::malformed(format!("accounting_date {text:?} is not \"YYYY-MM-DD\"")))?,
        ),
    };
    Ok(Transaction {
        request_id: request.request_id,
        scope_account: some(request.scope_account),
        legs: request.legs.into_iter().map(leg).collect::<Result<_, _>>()?,
        kind: narrow(request.kind, "kind")?,
        reason: narrow(request.reason, "reason")?,
        accounting_date: date,
        capture: request.capture.as_ref().map(holds::grpc::capture).transpose()?,
        metadata: request.metadata.into_iter().collect(),
    })
}

/// Transactions that come in one call.
pub fn batch(request: wire::PostBatchRequest) -> Result<Batch, Error> {
    let transactions = request.transactions.into_iter().map(transaction).collect::<Result<_, _>>()?;
    Ok(Batch { transactions, atomic: request.atomic, with_postings: request.with_postings })
}

fn parse_amount(text: &str) -> Result<rust_decimal::Decimal, Error> {
    amount::parse(text).map_err(|error| Error::malformed(format!("amount: {error}")))
}

fn leg(leg: wire::Leg) -> Result<Leg, Error> {
    let amount = parse_amount(&leg.amount)?;
    let side = given(side(leg.side, "side")?, "side")?;
    let preconditions = leg.preconditions.as_ref().map(holds::grpc::preconditions).transpose()?;
    let kind = restrictions::grpc::kind(&leg)?;
    Ok(Leg {
        account: leg.account,
        side,
        amount,
        currency: some(leg.currency),
        preconditions: preconditions.unwrap_or_default(),
        kind,
    })
}

/// A reversal.
pub fn reversal(
    request: wire::ReverseTransactionRequest,
    transaction: TransactionId,
) -> Result<Command, Error> {
    let amount = match request.amount.as_str() {
        "" => None,
        text => Some(parse_amount(text)?),
    };
    let part = |part: wire::LegPart| {
        Ok(LegPart { leg: narrow(part.leg, "leg")?, amount: parse_amount(&part.amount)? })
    };
    let parts = |legs: wire::LegParts| legs.parts.into_iter().map(part).collect::<Result<Vec<_>, Error>>();
    Ok(Command::Reversal(Reversal {
        request_id: request.request_id,
        transaction,
        amount,
        legs: request.legs.map(parts).transpose()?.map(in_their_order),
        reason: narrow(request.reason, "reason")?,
        metadata: request.metadata.into_iter().collect(),
    }))
}

/// Where something was decided.
pub fn position(at: At) -> wire::Position {
    wire::Position { set: at.set, index: at.index, time_unix_ns: at.time_unix_ns }
}

pub(crate) fn side_on_wire(side: Side) -> wire::Side {
    match side {
        Side::Debit => wire::Side::Debit,
        Side::Credit => wire::Side::Credit,
    }
}

fn posting(leg: BookedLeg) -> wire::Posting {
    let in_transit = leg.after.is_none();
    let (posted, available) = leg.after.map(|after| (after.posted, after.available)).unwrap_or_default();
    let (side, group) = (side_on_wire(leg.side).into(), leg.group.unwrap_or_default());
    wire::Posting { account: leg.account, group, side, amount: leg.amount, posted, available, in_transit }
}

/// The answer to a command of an account.
pub fn receipt(receipt: Receipt) -> wire::AccountReply {
    wire::AccountReply { position: Some(position(receipt.at)), replayed: receipt.replayed }
}

/// A booking.
pub fn booked(booked: Booked) -> wire::TransactionReply {
    wire::TransactionReply {
        transaction: booked.transaction.to_string(),
        position: Some(position(booked.at)),
        replayed: booked.replayed,
        dry_run: false,
        as_of: Vec::new(),
        postings: booked.postings.unwrap_or_default().into_iter().map(posting).collect(),
    }
}

/// The result of one transaction of a batch.
pub fn batch_item(result: Result<Booked, Error>) -> wire::BatchItemReply {
    use wire::batch_item_reply::Result as Item;
    let result = match result {
        Ok(transaction) => Item::Ok(booked(transaction)),
        Err(error) => Item::Problem(problem(&error)),
    };
    wire::BatchItemReply { result: Some(result) }
}

pub(crate) fn problem(error: &Error) -> wire::Problem {
    let place = error.position();
    wire::Problem {
        outcome: error.outcome().as_str().into(),
        code: error.code().into(),
        detail: error.to_string(),
        position: place.map(|(at, _)| position(at)),
        replayed: place.is_some_and(|(_, replayed)| replayed),
        number: status::of(error).number.into(),
        retryable: status::of(error).retryable(),
        dry_run: error.is_of_dry_run(),
        fields: status::error_fields(error)
            .into_iter()
            .map(|(name, value)| (name.to_string(), value))
            .collect(),
    }
}
