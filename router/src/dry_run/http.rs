//! The HTTP spelling of dry runs. Decides nothing: see [`crate::handlers`].

use bytes::Bytes;
use tokio::time::Instant;
use twinset_ledger::canary::{self, Canary};

use crate::api::Api;
use crate::batch::Batch;
use crate::error::Error;
use crate::handlers::{parse, written};
use crate::json::{dry_run as json, request};
use crate::query::Query;
use crate::routes::Route;

/// The query parameter that asks for one.
pub const PARAMETER: &str = "dry_run";

/// Whether a route is asked for one: what the call is counted as.
pub fn is_asked(query: Option<&str>) -> bool {
    query.is_some_and(|query| {
        Query::parse(query, &[PARAMETER]).is_ok_and(|query| is_wanted(&query) == Ok(true))
    })
}

/// What the parameter says.
pub fn is_wanted(query: &Query) -> Result<bool, Error> {
    Ok(query.flag(PARAMETER)? && !canary::on(Canary::DryRunBooks))
}

/// The answer to one.
pub async fn answer(api: &Api, route: Route, body: Bytes, deadline: Instant) -> Result<Vec<u8>, Error> {
    let answered = match route {
        Route::PostBatch => batch(api, body, deadline).await,
        _ => transaction(api, body, deadline).await,
    };
    answered.map_err(Error::of_dry_run)
}

async fn transaction(api: &Api, body: Bytes, deadline: Instant) -> Result<Vec<u8>, Error> {
    let request: request::PostTransaction = parse(body).await?;
    let (foreseen, as_of) = api.dry_run(Batch::of(request.into_transaction()?), deadline).await?.only()?;
    Ok(written(&json::TransactionDryRun::new(foreseen, as_of)))
}

async fn batch(api: &Api, body: Bytes, deadline: Instant) -> Result<Vec<u8>, Error> {
    let request: request::PostBatch = parse(body).await?;
    Ok(written(&json::BatchDryRun::from(api.dry_run(request.into_batch()?, deadline).await?)))
}
