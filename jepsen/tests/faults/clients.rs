//! What a test itself asks of a router, call by call.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;
use twinset_jepsen::api::Router;
use twinset_jepsen::api::spell::escaped;

use crate::support::Stage;

/// For one call; an election and its end fit in.
const CALL: Duration = Duration::from_secs(15);
/// By then whatever is asked has its answer.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at something that is to change.
pub const POLL: Duration = Duration::from_millis(20);

/// Asks a router.
pub async fn call(
    stage: &Stage,
    router: &str,
    method: Method,
    path: &str,
    body: Value,
) -> Result<(StatusCode, Value), String> {
    let mut router: Router = stage.router(router);
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, bytes) =
        router.call(method, path, body, CALL.into()).await.map_err(|error| error.to_string())?;
    Ok((status, serde_json::from_slice(&bytes).map_err(|error| error.to_string())?))
}

/// Asks one router and the other for what must succeed in the end, a rejection being none that may be.
pub async fn answered(stage: &Stage, method: Method, path: &str, body: Value) -> Value {
    let deadline = Instant::now() + PATIENCE;
    for router in ["ra", "rb"].into_iter().cycle() {
        let said = call(stage, router, method.clone(), path, body.clone()).await;
        match said {
            Ok((StatusCode::OK, said)) => return said,
            Ok((_, problem)) if problem["outcome"] == "rejected" => panic!("{path}: {problem}"),
            said => assert!(Instant::now() < deadline, "{path} has no answer: {said:?}"),
        }
        tokio::time::sleep(POLL).await;
    }
    unreachable!("the routers never end")
}

/// An account as it is, by a read that both sites have confirmed.
pub async fn account(stage: &Stage, account: &str) -> Value {
    let path = format!("/v1/accounts/{}", escaped(account));
    answered(stage, Method::GET, &path, Value::Null).await["account"].take()
}

/// All lines of an account's statement; `filter`, if there is one, begins with `&`.
pub async fn statement(stage: &Stage, account: &str, filter: &str) -> Vec<Value> {
    let first = format!("/v1/accounts/{}/statement?page_size=1000{filter}", escaped(account));
    let (mut lines, mut path) = (Vec::new(), first.clone());
    loop {
        let page = answered(stage, Method::GET, &path, Value::Null).await;
        lines.extend(page["lines"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) if !next.is_empty() => path = format!("{first}&cursor={next}"),
            _ => return lines,
        }
    }
}

/// Opens an account of euros without a floor.
pub async fn open(stage: &Stage, account: &str) {
    let body = json!({
        "request_id": "open", "account": account, "subject": "liability", "currency": "EUR", "limit": "none",
    });
    answered(stage, Method::POST, "/v1/accounts", body).await;
}

/// Ids of accounts that live in the sets, by the beginnings that are given with them.
pub async fn in_sets<const N: usize>(stage: &Stage, wanted: [(&str, u32); N]) -> [String; N] {
    let slots = stage.whole().await.catalogue().unwrap().slot_table();
    wanted.map(|(name, set)| {
        let mut ids = (0..).map(|n| format!("{{{name}{n}}}"));
        ids.find(|id| slots[usize::from(twinset_ledger::slot_of(id))] == set).unwrap()
    })
}
