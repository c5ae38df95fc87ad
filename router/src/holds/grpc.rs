//! gRPC messages about holds to commands, captures and preconditions included: as [`crate::convert`].

use rust_decimal::Decimal;
use twinset_ledger::check_back::{CheckBack, OnExpiry};
use twinset_ledger::command::{Expected, Precondition};
use twinset_ledger::hold::{Capture, PlaceHold};
use twinset_ledger::{Command, amount, date};
use twinset_proto::ledger::v1 as wire;

use super::parse_hold;
use crate::convert::{narrow, some};
use crate::error::Error;

/// An amount.
pub(crate) fn decimal(text: &str, field: &str) -> Result<Decimal, Error> {
    amount::parse(text).map_err(|error| Error::malformed(format!("{field}: {error}")))
}

/// A time, or none where the text is empty.
pub(crate) fn time(text: &str, field: &str) -> Result<Option<u64>, Error> {
    let not =
        || Error::malformed(format!("{field} {text:?} is no time in UTC, such as \"2026-12-24T18:00:00Z\""));
    if text.is_empty() { Ok(None) } else { date::parse_timestamp(text).map(Some).ok_or_else(not) }
}

/// A new hold.
pub fn place(request: wire::PlaceHoldRequest) -> Result<Command, Error> {
    Ok(Command::PlaceHold(PlaceHold {
        amount: decimal(&request.amount, "amount")?,
        expires_ns: time(&request.expires_at, "expires_at")?,
        on_expiry: match request.check_back {
            None => OnExpiry::Release,
            Some(wire::CheckBack { initiator, to }) => OnExpiry::CheckBack(CheckBack { initiator, to }),
        },
        reason: narrow(request.reason, "reason")?,
        request_id: request.request_id,
        account: request.account,
        currency: some(request.currency),
        metadata: request.metadata.into_iter().collect(),
    }))
}

/// The end of a hold, or a part of it.
pub fn release(request: wire::ReleaseHoldRequest) -> Result<Command, Error> {
    let amount = some(request.amount).map(|text| decimal(&text, "amount")).transpose()?;
    let (request_id, account) = (request.request_id, request.account);
    Ok(Command::ReleaseHold { request_id, account, hold: parse_hold(&request.hold)?, amount })
}

/// A later end of a hold.
pub fn extend(request: wire::ExtendHoldRequest) -> Result<Command, Error> {
    let expires_ns = time(&request.expires_at, "expires_at")?;
    let (request_id, account) = (request.request_id, request.account);
    Ok(Command::ExtendHold { request_id, account, hold: parse_hold(&request.hold)?, expires_ns })
}

/// What makes a transaction a capture.
pub fn capture(capture: &wire::Capture) -> Result<Capture, Error> {
    Ok(Capture { hold: parse_hold(&capture.hold)?, is_final: capture.r#final })
}

/// What a leg expects.
pub fn preconditions(asked: &wire::Preconditions) -> Result<Vec<Precondition>, Error> {
    let figures = [
        (Expected::AvailableMin, &asked.available_min),
        (Expected::AvailableMax, &asked.available_max),
        (Expected::PostedMin, &asked.posted_min),
        (Expected::PostedMax, &asked.posted_max),
    ];
    let mut expected = Vec::new();
    for (figure, text) in figures {
        if let Some(text) = text {
            expected.push(Precondition { expected: figure, value: decimal(text, figure.name())? });
        }
    }
    let version = asked.version.map(Decimal::from);
    expected.extend(version.map(|value| Precondition { expected: Expected::Version, value }));
    Ok(expected)
}
