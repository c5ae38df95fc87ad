//! One arm per HTTP route: body and parameters in, the core's call, the reply's bytes out. Decides nothing else.

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use twinset_ledger::Command;
use twinset_ledger::apply::{clearing_account, recovery_account};

use crate::api::{Api, parse_transaction};
use crate::buffered;
use crate::dry_run;
use crate::error::Error;
use crate::events;
use crate::holds;
use crate::http::{Reply, json, typed};
use crate::json::{reply, request, statement};
use crate::openapi;
use crate::query::Query;
use crate::references;
use crate::restrictions;
use crate::routes::{Params, Route};
use crate::status;
use crate::sweeps;

/// The longest body that is read where it came in; a longer one would keep other calls of the same thread waiting.
const READ_HERE_BYTES_MAX: usize = 256 << 10;

/// A call of the ledger's API.
pub async fn ledger(
    api: &Api,
    route: Route,
    params: Params,
    query: &str,
    body: Bytes,
    deadline: Instant,
) -> Result<Vec<u8>, Error> {
    let query = &Query::parse(query, parameters(route))?;
    match route {
        Route::PostTransaction | Route::PostBatch if dry_run::http::is_wanted(query)? => {
            dry_run::http::answer(api, route, body, deadline).await
        }
        Route::PostTransaction => {
            let request: request::PostTransaction = parse(body).await?;
            book(api, Command::Transaction(request.into_transaction()?), deadline).await
        }
        Route::Reverse => {
            let request: request::Reverse = parse(body).await?;
            book(api, request.into_command(parse_transaction(&first(params))?), deadline).await
        }
        Route::PostBatch => batch(api, body, deadline).await,
        Route::DefineCurrency | Route::DefineSubject => {
            let changed = api.define(definition(route, first(params), body).await?, deadline).await?;
            Ok(written(&reply::Defined { changed }))
        }
        Route::OpenAccount | Route::SetLimit | Route::Freeze | Route::Unfreeze | Route::CloseAccount => {
            let command = account_command(route, first(params), body).await?;
            let receipt = api.account_command(command, deadline).await?;
            Ok(written(&reply::AccountChanged::from(receipt)))
        }
        Route::PlaceHold | Route::CaptureHold | Route::ReleaseHold | Route::ExtendHold => {
            holds::http::write(api, route, params, body, deadline).await
        }
        Route::SetPostingMode | Route::ResolveSuspense => {
            buffered::http::write(api, route, params, body, deadline).await
        }
        Route::GetInTransit | Route::ListSuspense => {
            buffered::http::read(api, route, params, query, deadline).await
        }
        Route::FindTransactions => references::find(api, query, deadline).await,
        Route::ListOverdueHolds => holds::http::overdue(api, query, deadline).await,
        Route::GetHold | Route::ListHolds => holds::http::read(api, params, query, deadline).await,
        Route::ReleaseRestriction => restrictions::http::release(api, params, body, deadline).await,
        Route::GetRestriction | Route::ListRestrictions => {
            restrictions::http::read(api, params, query, deadline).await
        }
        Route::SetSweep | Route::RemoveSweep => sweeps::http::write(api, route, params, body, deadline).await,
        Route::GetSweep | Route::ListSweeps => sweeps::http::read(api, route, params, query, deadline).await,
        Route::ListEvents | Route::ListAllEvents => events::http::page(api, params, query, deadline).await,
        _ => read(api, route, params, query, deadline).await,
    }
}

/// The query parameters that a route knows.
fn parameters(route: Route) -> &'static [&'static str] {
    match route {
        Route::PostTransaction | Route::PostBatch => &[dry_run::http::PARAMETER],
        Route::ListTransactions
        | Route::ListSuspense
        | Route::ListSweeps
        | Route::ListEvents
        | Route::ListAllEvents => &["consistency", "after", "page_size"],
        Route::FindTransactions => &["consistency", "after", "page_size", "reference", "set"],
        Route::ListOverdueHolds => &["consistency", "after", "page_size", "state", "set"],
        Route::ListHolds | Route::ListRestrictions => &["consistency", "after", "page_size", "state"],
        Route::GetStatement => &statement::STATEMENT_PARAMETERS,
        Route::GetBalance => &statement::BALANCE_PARAMETERS,
        Route::GetAccount => &["consistency", buffered::http::PARAMETER],
        Route::GetTransaction
        | Route::GetClearing
        | Route::GetRecovery
        | Route::GetRequest
        | Route::GetInTransit
        | Route::GetHold
        | Route::GetRestriction
        | Route::GetSweep => &["consistency"],
        _ => &[],
    }
}

async fn read(
    api: &Api,
    route: Route,
    params: Params,
    query: &Query,
    deadline: Instant,
) -> Result<Vec<u8>, Error> {
    let consistency = query.consistency()?;
    let mut params = params.into_iter();
    let id = params.next().unwrap_or_default();
    match route {
        Route::GetAccount => {
            let found = match query.flag(buffered::http::PARAMETER)? {
                true => api.account_with_in_transit(&id, consistency, deadline).await?,
                false => api.account(&id, consistency, deadline).await?,
            };
            Ok(written(&reply::AccountFound::from(found)))
        }
        Route::GetStatement => {
            let asked = statement::statement(id, query)?;
            Ok(written(&statement::Statement::from(api.statement(asked, deadline).await?)))
        }
        Route::GetBalance => {
            let asked = statement::balance(id, query)?;
            Ok(written(&statement::Balance::from(api.balance(asked, deadline).await?)))
        }
        Route::GetTransaction => {
            Ok(written(&reply::TransactionFound::from(api.transaction(&id, consistency, deadline).await?)))
        }
        Route::GetRequest => {
            let request_id = params.next().unwrap_or_default();
            let found = api.request(&id, &request_id, consistency, deadline).await?;
            Ok(written(&reply::RequestFound::from(found)))
        }
        Route::GetClearing | Route::GetRecovery => {
            let named: fn(u32, &str) -> String =
                if route == Route::GetClearing { clearing_account } else { recovery_account };
            let currency = params.next().unwrap_or_default();
            let of = (number_of_set(&id)?, currency.as_str());
            let reply = api.account_of_a_set(named, of, consistency, deadline).await?;
            Ok(written(&reply::AccountFound::from(reply)))
        }
        _ => {
            let set = number_of_set(&id)?;
            let page = api.list(set, &query.after(), query.page_size()?, consistency, deadline).await?;
            Ok(written(&reply::TransactionPage::from(page)))
        }
    }
}

pub(crate) fn number_of_set(text: &str) -> Result<u32, Error> {
    text.parse().map_err(|_| Error::malformed(format!("{text:?} is not the number of a set")))
}

pub(crate) async fn book(api: &Api, command: Command, deadline: Instant) -> Result<Vec<u8>, Error> {
    Ok(written(&reply::TransactionBooked::from(api.book(command, deadline).await?)))
}

async fn batch(api: &Api, body: Bytes, deadline: Instant) -> Result<Vec<u8>, Error> {
    let request: request::PostBatch = parse(body).await?;
    let results = api.batch(request.into_batch()?, deadline).await?;
    let item = |result| match result {
        Ok(booked) => reply::BatchItem::Ok(reply::TransactionBooked::from(booked)),
        Err(error) => reply::BatchItem::Problem(status::problem(&error)),
    };
    Ok(written(&reply::BatchDone { results: results.into_iter().map(item).collect() }))
}

async fn definition(route: Route, code: String, body: Bytes) -> Result<Command, Error> {
    if route == Route::DefineCurrency {
        let request: request::DefineCurrency = parse(body).await?;
        return Ok(Command::DefineCurrency { code, scale: request.scale });
    }
    let request: request::DefineSubject = parse(body).await?;
    Ok(Command::DefineSubject { code, name: request.name, normal_side: request.normal_side.into() })
}

async fn account_command(route: Route, account: String, body: Bytes) -> Result<Command, Error> {
    Ok(match route {
        Route::OpenAccount => parse::<request::OpenAccount>(body).await?.into_command(),
        Route::SetLimit => {
            let request: request::SetLimit = parse(body).await?;
            Command::SetLimit { request_id: request.request_id, account, limit: request.limit.0 }
        }
        Route::CloseAccount => {
            let request: request::CloseAccount = parse(body).await?;
            Command::CloseAccount { request_id: request.request_id, account }
        }
        _ => parse::<request::Freeze>(body).await?.into_command(account, route == Route::Freeze),
    })
}

/// What the router says about itself.
pub fn of_the_router(api: &Api, route: Route) -> Reply {
    match route {
        Route::OpenApi => json(StatusCode::OK, openapi::document().as_bytes().to_vec()),
        Route::Metrics => typed(StatusCode::OK, "text/plain; version=0.0.4", api.render_metrics()),
        Route::Ready => match api.not_ready_because() {
            None => typed(StatusCode::OK, "text/plain", "ready\n"),
            Some(why) => typed(StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("not ready: {why}\n")),
        },
        _ => typed(StatusCode::OK, "text/plain", "ok\n"),
    }
}

fn first(params: Params) -> String {
    params.into_iter().next().unwrap_or_default()
}

pub(crate) async fn parse<T: DeserializeOwned + Send + 'static>(body: Bytes) -> Result<T, Error> {
    let parsed = if body.len() <= READ_HERE_BYTES_MAX {
        request::parse(&body)
    } else {
        let read = tokio::task::spawn_blocking(move || request::parse(&body));
        read.await.expect("reading a body does not panic, and the runtime outlives its calls")
    };
    parsed.map_err(|error| Error::malformed(error.to_string()))
}

pub(crate) fn written(reply: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    serde_json::to_writer(&mut bytes, reply).expect("replies are plain JSON");
    bytes
}
