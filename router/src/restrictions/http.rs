//! The HTTP routes of restrictions. Decides nothing: see [`crate::handlers`].

use bytes::Bytes;
use tokio::time::Instant;
use twinset_ledger::Command;
use twinset_proto::ledger::v1 as wire;

use super::parse_restriction;
use crate::api::Api;
use crate::error::Error;
use crate::handlers::{parse, written};
use crate::json::restrictions as json;
use crate::named;
use crate::query::Query;
use crate::routes::Params;

/// A release.
pub async fn release(api: &Api, params: Params, body: Bytes, deadline: Instant) -> Result<Vec<u8>, Error> {
    let mut params = params.into_iter();
    let account = params.next().unwrap_or_default();
    let restriction = parse_restriction(&params.next().unwrap_or_default())?;
    let json::ReleaseRestriction { request_id, amount } = parse(body).await?;
    let amount = amount.map(|amount| amount.0);
    let command = Command::ReleaseRestriction { request_id, account, restriction, amount };
    Ok(written(&json::RestrictionChanged::from(api.restriction_command(command, deadline).await?)))
}

/// A read.
pub async fn read(api: &Api, params: Params, query: &Query, deadline: Instant) -> Result<Vec<u8>, Error> {
    let consistency = query.consistency()?;
    let mut params = params.into_iter();
    let account = params.next().unwrap_or_default();
    if let Some(restriction) = params.next() {
        let found = api.restriction(&account, &restriction, consistency, deadline).await?;
        return Ok(written(&json::RestrictionFound::from(found)));
    }
    let asked = wire::ListRestrictionsRequest {
        account,
        state: query
            .value("state")
            .map(named::state::<wire::RestrictionState>)
            .transpose()?
            .unwrap_or_default()
            .into(),
        after: query.after(),
        page_size: query.page_size()?,
        consistency: consistency.into(),
    };
    Ok(written(&json::RestrictionPage::from(api.restrictions(asked, deadline).await?)))
}
