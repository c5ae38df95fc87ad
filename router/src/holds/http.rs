//! The HTTP routes of holds. Decides nothing: see [`crate::handlers`].

use bytes::Bytes;
use tokio::time::Instant;
use twinset_ledger::Command;
use twinset_proto::ledger::v1 as wire;

use super::parse_hold;
use crate::api::Api;
use crate::error::Error;
use crate::handlers::{book, parse, written};
use crate::json::holds as json;
use crate::named;
use crate::query::Query;
use crate::routes::{Params, Route};

/// A write.
pub async fn write(
    api: &Api,
    route: Route,
    params: Params,
    body: Bytes,
    deadline: Instant,
) -> Result<Vec<u8>, Error> {
    let mut params = params.into_iter();
    let account = params.next().unwrap_or_default();
    let hold = params.next().as_deref().map(parse_hold).transpose()?;
    let command = match (route, hold) {
        (Route::CaptureHold, Some(hold)) => {
            let transaction = parse::<json::CaptureHold>(body).await?.into_transaction(account, hold)?;
            return book(api, Command::Transaction(transaction), deadline).await;
        }
        (Route::ReleaseHold, Some(hold)) => {
            let json::ReleaseHold { request_id, amount } = parse(body).await?;
            Command::ReleaseHold { request_id, account, hold, amount: amount.map(|amount| amount.0) }
        }
        (Route::ExtendHold, Some(hold)) => {
            let json::ExtendHold { request_id, expires_at } = parse(body).await?;
            Command::ExtendHold { request_id, account, hold, expires_ns: expires_at.map(|time| time.0) }
        }
        _ => parse::<json::PlaceHold>(body).await?.into_command(account),
    };
    Ok(written(&json::HoldChanged::from(api.hold_command(command, deadline).await?)))
}

/// The overdue holds of all accounts. Only these are found without an account: they are few, and in memory.
pub async fn overdue(api: &Api, query: &Query, deadline: Instant) -> Result<Vec<u8>, Error> {
    if query.value("state") != Some(named::word(wire::HoldState::HoldOverdue)) {
        let detail = "state is \"overdue\" here; holds in other states are listed by account";
        return Err(Error::malformed(detail));
    }
    let asked = wire::ListOverdueHoldsRequest {
        set: query.number("set")?,
        after: query.after(),
        page_size: query.page_size()?,
        consistency: query.consistency()?.into(),
    };
    Ok(written(&json::OverdueHolds::from(api.overdue_holds(asked, deadline).await?)))
}

/// A read.
pub async fn read(api: &Api, params: Params, query: &Query, deadline: Instant) -> Result<Vec<u8>, Error> {
    let consistency = query.consistency()?;
    let mut params = params.into_iter();
    let account = params.next().unwrap_or_default();
    if let Some(hold) = params.next() {
        let found = api.hold(&account, &hold, consistency, deadline).await?;
        return Ok(written(&json::HoldFound::from(found)));
    }
    let asked = wire::ListHoldsRequest {
        account,
        state: query
            .value("state")
            .map(named::state::<wire::HoldState>)
            .transpose()?
            .unwrap_or_default()
            .into(),
        after: query.after(),
        page_size: query.page_size()?,
        consistency: consistency.into(),
    };
    Ok(written(&json::HoldPage::from(api.holds(asked, deadline).await?)))
}
