//! One arm per HTTP route: body and parameters in, the core's call, the reply's bytes out. Decides nothing else.

use std::time::Instant;

use http::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use twinset_ledger::{Command, Transaction};
use twinset_proto::ledger::v1::Consistency;

use crate::api::{Api, Found, parse_transaction};
use crate::error::Error;
use crate::http::{Reply, json, typed};
use crate::json::{reply, request};
use crate::openapi;
use crate::routes::{Params, Route, query};
use crate::status;

/// A call of the ledger's API.
pub async fn ledger(
    api: &Api,
    route: Route,
    params: Params,
    query: &str,
    body: &[u8],
    deadline: Instant,
) -> Result<Vec<u8>, Error> {
    match route {
        Route::PostTransaction => {
            let request: request::PostTransaction = parse(body)?;
            book(api, Command::Transaction(request.into_transaction()), deadline).await
        }
        Route::Reverse => {
            let request: request::Reverse = parse(body)?;
            book(api, request.into_command(parse_transaction(&first(params))?), deadline).await
        }
        Route::PostBatch => batch(api, body, deadline).await,
        Route::DefineCurrency | Route::DefineSubject => {
            let changed = api.define(definition(route, first(params), body)?, deadline).await?;
            Ok(written(&reply::Defined { changed }))
        }
        Route::OpenAccount | Route::SetLimit | Route::Freeze | Route::Unfreeze | Route::CloseAccount => {
            let receipt = api.account_command(account_command(route, first(params), body)?, deadline).await?;
            Ok(written(&reply::AccountChanged::from(receipt)))
        }
        _ => read(api, route, params, query, deadline).await,
    }
}

async fn read(
    api: &Api,
    route: Route,
    params: Params,
    text: &str,
    deadline: Instant,
) -> Result<Vec<u8>, Error> {
    let known: &[&str] = match route {
        Route::ListTransactions => &["consistency", "after", "page_size"],
        _ => &["consistency"],
    };
    let pairs = query(text, known)?;
    let value =
        |key: &str| pairs.iter().rev().find(|(other, _)| other == key).map(|(_, value)| value.as_str());
    let consistency = consistency(value("consistency"))?;
    let mut params = params.into_iter();
    let id = params.next().unwrap_or_default();
    match route {
        Route::GetAccount => {
            Ok(written(&reply::AccountFound::from(api.account(&id, consistency, deadline).await?)))
        }
        Route::GetTransaction => {
            Ok(written(&reply::TransactionFound::from(api.transaction(&id, consistency, deadline).await?)))
        }
        Route::GetRequest => {
            let request_id = params.next().unwrap_or_default();
            match api.request(&id, &request_id, consistency, deadline).await? {
                Found::Transaction(found) => Ok(written(&reply::TransactionFound::from(found))),
                Found::Account(found) => Ok(written(&reply::AccountFound::from(found))),
            }
        }
        _ => {
            let set =
                id.parse().map_err(|_| Error::malformed(format!("{id:?} is not the number of a set")))?;
            let page_size = match value("page_size") {
                Some(text) => text.parse().map_err(|_| Error::malformed("page_size is a number"))?,
                None => 0,
            };
            let page = api.list(set, value("after").unwrap_or(""), page_size, consistency, deadline).await?;
            Ok(written(&reply::TransactionPage::from(page)))
        }
    }
}

fn consistency(text: Option<&str>) -> Result<Consistency, Error> {
    match text {
        None | Some("linearizable") => Ok(Consistency::Linearizable),
        Some("stale") => Ok(Consistency::Stale),
        Some(other) => {
            Err(Error::malformed(format!("consistency is \"linearizable\" or \"stale\", not {other:?}")))
        }
    }
}

async fn book(api: &Api, command: Command, deadline: Instant) -> Result<Vec<u8>, Error> {
    Ok(written(&reply::TransactionBooked::from(api.book(command, deadline).await?)))
}

async fn batch(api: &Api, body: &[u8], deadline: Instant) -> Result<Vec<u8>, Error> {
    let request: request::PostBatch = parse(body)?;
    let transactions: Vec<Transaction> =
        request.transactions.into_iter().map(request::PostTransaction::into_transaction).collect();
    let results = api.batch(transactions, request.with_postings, deadline).await?;
    let item = |result| match result {
        Ok(booked) => reply::BatchItem::Ok(reply::TransactionBooked::from(booked)),
        Err(error) => reply::BatchItem::Problem(status::problem(&error)),
    };
    Ok(written(&reply::BatchDone { results: results.into_iter().map(item).collect() }))
}

fn definition(route: Route, code: String, body: &[u8]) -> Result<Command, Error> {
    if route == Route::DefineCurrency {
        let request: request::DefineCurrency = parse(body)?;
        return Ok(Command::DefineCurrency { code, scale: request.scale });
    }
    let request: request::DefineSubject = parse(body)?;
    Ok(Command::DefineSubject { code, name: request.name, normal_side: request.normal_side.into() })
}

fn account_command(route: Route, account: String, body: &[u8]) -> Result<Command, Error> {
    Ok(match route {
        Route::OpenAccount => parse::<request::OpenAccount>(body)?.into_command(),
        Route::SetLimit => {
            let request: request::SetLimit = parse(body)?;
            Command::SetLimit { request_id: request.request_id, account, limit: request.limit.0 }
        }
        Route::CloseAccount => {
            let request: request::CloseAccount = parse(body)?;
            Command::CloseAccount { request_id: request.request_id, account }
        }
        _ => parse::<request::Freeze>(body)?.into_command(account, route == Route::Freeze),
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

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    request::parse(body).map_err(|error| Error::malformed(error.to_string()))
}

fn written(reply: &impl Serialize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    serde_json::to_writer(&mut bytes, reply).expect("replies are plain JSON");
    bytes
}
