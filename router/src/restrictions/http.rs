//! The HTTP routes of restrictions. Decides nothing: see [`crate::handlers`].

use bytes::Bytes;
use tokio::time::Instant;
use twinset_ledger::Command;
use twinset_proto::ledger::v1 as wire;

use super::{parse_restriction, parse_state};
use crate::api::Api;
use crate::error::Error;
use crate::handlers::{consistency, page_size, parse, written};
use crate::json::restrictions as json;
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
pub async fn read(
    api: &Api,
    params: Params,
    pairs: &[(String, String)],
    deadline: Instant,
) -> Result<Vec<u8>, Error> {
    let value = |key: &str| pairs.iter().find(|(other, _)| other == key).map(|(_, value)| value.as_str());
    let consistency = consistency(value("consistency"))?;
    let mut params = params.into_iter();
    let account = params.next().unwrap_or_default();
    if let Some(restriction) = params.next() {
        let found = api.restriction(&account, &restriction, consistency, deadline).await?;
        return Ok(written(&json::RestrictionFound::from(found)));
    }
    let page_size = page_size(value("page_size"))?;
    let asked = wire::ListRestrictionsRequest {
        account,
        state: value("state").map(parse_state).transpose()?.unwrap_or_default().into(),
        after: value("after").unwrap_or_default().into(),
        page_size,
        consistency: consistency.into(),
    };
    Ok(written(&json::RestrictionPage::from(api.restrictions(asked, deadline).await?)))
}
