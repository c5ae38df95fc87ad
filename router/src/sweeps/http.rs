//! The HTTP routes of sweeps. Decides nothing: see [`crate::handlers`].

use bytes::Bytes;
use rust_decimal::Decimal;
use tokio::time::Instant;
use twinset_ledger::{Command, Schedule, SetSweep};
use twinset_proto::ledger::v1 as wire;

use super::schedule_of;
use crate::api::Api;
use crate::error::Error;
use crate::handlers::{number_of_set, parse, written};
use crate::json::{reply, sweeps as json};
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
    let account = params.into_iter().next().unwrap_or_default();
    let receipt = if route == Route::RemoveSweep {
        let json::RemoveSweep { request_id } = parse(body).await?;
        api.account_command(Command::RemoveSweep { request_id, account }, deadline).await?
    } else {
        api.set_sweep(asked(account, parse(body).await?)?, deadline).await?
    };
    Ok(written(&reply::AccountChanged::from(receipt)))
}

fn asked(account: String, body: json::SetSweep) -> Result<SetSweep, Error> {
    let json::SetSweep { request_id, to, keep, every, above, daily } = body;
    let every =
        every.map(|every| Schedule::Every { seconds: every.seconds, from_ns: every.from.map(|from| from.0) });
    let above = above.map(|amount| Schedule::Above { amount: amount.0 });
    let daily = daily.then_some(Schedule::Daily);
    let keep = keep.map_or(Decimal::ZERO, |keep| keep.0);
    Ok(SetSweep { request_id, account, to, keep, schedule: schedule_of([every, above, daily])? })
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
    if route == Route::GetSweep {
        return Ok(written(&json::SweepFound::from(api.sweep(&name, consistency, deadline).await?)));
    }
    let asked = wire::ListSweepsRequest {
        set: number_of_set(&name)?,
        after: query.after(),
        page_size: query.page_size()?,
        consistency: consistency.into(),
    };
    Ok(written(&json::SweepPage::from(api.sweeps(asked, deadline).await?)))
}
