//! Transactions as large as they may be: 64 legs over 16 sets, each of which pays and is paid, while leaders are killed. All legs
//! of every one are booked, and visible to whoever has its answer.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;
use twinset_jepsen::logs;
use twinset_tools::cmd::router::{CallError, Router};

use crate::support::Stage;

const SETS: u32 = 16;
/// Accounts, and so legs, in each set.
const OF_A_SET: usize = 4;
const TRANSACTIONS: usize = 24;
/// By then a transaction has its answer.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn as_many_legs_over_as_many_sets_as_there_may_be() {
    let mut stage = Stage::start_with(SETS).await;
    let slots = stage.whole().await.catalogue().unwrap().slot_table();
    let accounts: Vec<Vec<String>> = (1..=SETS)
        .map(|set| {
            let ids = (0..).map(|n| format!("m{n}"));
            let own = ids.filter(|id| slots[usize::from(twinset_ledger::slot_of(id))] == set);
            own.take(OF_A_SET).collect()
        })
        .collect();
    let mut routers: Vec<Router> =
        stage.cluster.layout().router_urls().iter().map(|url| Router::new(url).unwrap()).collect();
    for account in accounts.iter().flatten() {
        let body = json!({
            "request_id": "open", "account": account, "subject": "liability", "currency": "EUR", "limit": "none",
        });
        routers[0].call(Method::POST, "/v1/accounts", Some(&body)).await.unwrap();
    }

    let legs = legs(&accounts);
    assert_eq!(legs.len(), 64);
    for number in 0..TRANSACTIONS {
        if number % 8 == 4 {
            let leader = stage.leader(1 + number as u32 % SETS).await;
            stage.cluster.kill(&leader).await.unwrap();
            stage.cluster.start_process(&leader).unwrap();
        }
        let request = json!({ "request_id": format!("t{number}"), "legs": legs });
        let booked = booked(&mut routers, number, &request).await;
        assert_eq!(booked["postings"].as_array().unwrap().len(), legs.len(), "{booked}");
        assert_all_moved(&mut routers, &legs, number + 1).await;
    }
    stage.whole().await;
    let again = json!({ "request_id": "t0", "legs": legs });
    assert_eq!(booked(&mut routers, 0, &again).await["replayed"], true);
    assert_all_moved(&mut routers, &legs, TRANSACTIONS).await;
    stage.end(logs::AFTER_KILLS).await;
}

/// Each set pays the next one its number, and the one after that 2 EUR.
fn legs(accounts: &[Vec<String>]) -> Vec<Value> {
    let leg = |account: &str, side: &str, euros: usize| json!({ "account": account, "side": side, "amount": format!("{euros}.00") });
    let other = |at: usize| &accounts[at % accounts.len()];
    let of_set = |at: usize| {
        [
            leg(&other(at)[0], "debit", at + 1),
            leg(&other(at + 1)[1], "credit", at + 1),
            leg(&other(at)[2], "debit", 2),
            leg(&other(at + 2)[3], "credit", 2),
        ]
    };
    (0..accounts.len()).flat_map(of_set).collect()
}

/// Asks until there is an answer, at one router and the other in turn. A rejection is none that may be.
async fn booked(routers: &mut [Router], turn: usize, request: &Value) -> Value {
    let deadline = Instant::now() + PATIENCE;
    for turn in turn.. {
        let router = turn % routers.len();
        match routers[router].call(Method::POST, "/v1/transactions", Some(request)).await {
            Ok(booked) => return booked,
            Err(CallError::Problem(problem)) if problem.outcome == "rejected" => panic!("{problem:?}"),
            Err(error) => {
                assert!(Instant::now() < deadline, "{} has no answer: {error}", request["request_id"])
            }
        }
    }
    unreachable!("it has an answer, or is late")
}

async fn assert_all_moved(routers: &mut [Router], legs: &[Value], times: usize) {
    for (number, leg) in legs.iter().enumerate() {
        let router = number % routers.len();
        let path = format!("/v1/accounts/{}", leg["account"].as_str().unwrap());
        let deadline = Instant::now() + PATIENCE;
        let read = loop {
            match routers[router].call(Method::GET, &path, None).await {
                Ok(read) => break read,
                Err(error) => assert!(Instant::now() < deadline, "{path} cannot be read: {error}"),
            }
        };
        let euros: i64 = leg["amount"].as_str().unwrap().strip_suffix(".00").unwrap().parse().unwrap();
        let moved = euros * times as i64 * if leg["side"] == "debit" { -1 } else { 1 };
        assert_eq!(read["account"]["posted"], format!("{moved}.00"), "{read} after {times}");
    }
}
