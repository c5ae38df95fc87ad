//! gRPC messages about restricted funds to commands and kinds of legs: as [`crate::convert`].

use twinset_ledger::{Command, LegKind};
use twinset_proto::ledger::v1 as wire;

use super::{kind_of, parse_restriction};
use crate::convert::some;
use crate::error::Error;
use crate::holds::grpc::{decimal, time};

/// The release of a restriction, or of a part of it.
pub fn release(request: wire::ReleaseRestrictionRequest) -> Result<Command, Error> {
    let amount = some(request.amount).map(|text| decimal(&text, "amount")).transpose()?;
    let restriction = parse_restriction(&request.restriction)?;
    let (request_id, account) = (request.request_id, request.account);
    Ok(Command::ReleaseRestriction { request_id, account, restriction, amount })
}

/// What a leg means for restricted funds.
pub fn kind(leg: &wire::Leg) -> Result<LegKind, Error> {
    let until = leg.restricted.as_ref().map(|restricted| time(&restricted.until, "until")).transpose()?;
    kind_of(leg.withdrawal, until).map_err(Error::malformed)
}
