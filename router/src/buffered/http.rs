//! The HTTP routes of buffered accounts. Decides nothing: see [`crate::handlers`].

use bytes::Bytes;
use tokio::time::Instant;
use twinset_ledger::Command;
use twinset_proto::ledger::v1 as wire;

use crate::api::Api;
use crate::error::Error;
use crate::handlers::{number_of_set, parse, written};
use crate::json::buffered as json;
use crate::json::reply;
use crate::query::Query;
use crate::routes::{Params, Route};

/// The query parameter of an account that asks for what is on its way to it as well.
pub const PARAMETER: &str = "in_transit";

/// A write.
pub async fn write(
    api: &Api,
    route: Route,
    params: Params,
    body: Bytes,
    deadline: Instant,
) -> Result<Vec<u8>, Error> {
    let name = params.into_iter().next().unwrap_or_default();
    if route == Route::ResolveSuspense {
        let json::ResolveSuspense { request_id, account } = parse(body).await?;
        let booked = api.resolve_suspense(request_id, &name, account, deadline).await?;
        return Ok(written(&reply::TransactionBooked::from(booked)));
    }
    let json::SetPostingMode { request_id, mode } = parse(body).await?;
    let command = Command::SetPostingMode { request_id, account: name, mode: mode.into() };
    Ok(written(&reply::AccountChanged::from(api.account_command(command, deadline).await?)))
}

/// A read.
pub async fn read(
    api: &Api,
    route: Route,
    params: Params,
    query: &Query,
    deadline: Instant,
) -> Result<Vec<u8>, Error> {
    let consistency = query.consistency()?;
    let name = params.into_iter().next().unwrap_or_default();
    if route == Route::GetInTransit {
        return Ok(written(&json::InTransit::from(api.in_transit(&name, consistency, deadline).await?)));
    }
    let asked = wire::ListSuspenseRequest {
        set: number_of_set(&name)?,
        after: query.after(),
        page_size: query.page_size()?,
        consistency: consistency.into(),
    };
    Ok(written(&json::SuspensePage::from(api.suspense(asked, deadline).await?)))
}
