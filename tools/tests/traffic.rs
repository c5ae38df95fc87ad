//! The traffic generator against routers that answer as scripted: what is sent is valid, and each end is counted as
//! what it is.

#![allow(clippy::unwrap_used, reason = "a test may panic anywhere, in its helpers too")]

mod fakes;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use fakes::router::{self, Answer};
use serde_json::Value;
use twinset_tools::load::plan::Shape;
use twinset_tools::load::record::LoadReport;
use twinset_tools::load::{Load, LoadOptions, Protocol, Until};

fn options(routers: Vec<String>, batch: usize) -> LoadOptions {
    let shape = Shape {
        name: "t".into(),
        accounts: 40,
        hot: false,
        into: None,
        across: 0,
        held: 0,
        batch,
        slots: Vec::new(),
    };
    LoadOptions {
        protocol: Protocol::Http,
        routers,
        connections: 4,
        shape,
        deadline_ms: Some(2_000),
        samples_max: 10_000,
    }
}

fn opened() -> Answer {
    Some((200, r#"{"position":{"set":2,"index":1,"time":"2026-01-01T00:00:00Z"},"replayed":false}"#.into()))
}

/// Sends `requests` to a router that opens every account and answers transactions as scripted.
async fn traffic(
    requests: u64,
    batch: usize,
    answer: impl Fn(u64, &str, &[u8]) -> Answer + Send + Sync + 'static,
) -> LoadReport {
    let count = AtomicU64::new(0);
    let url = router::start(move |_, path, body| match path {
        "/v1/accounts" => opened(),
        _ => answer(count.fetch_add(1, Ordering::Relaxed), path, body),
    })
    .await;
    let load = Load::prepare(options(vec![url], batch), |_| {}).await.unwrap();
    assert_eq!(load.sets(), [2]);
    load.start(Until::Requests(requests)).unwrap().finish().await.unwrap()
}

#[tokio::test]
async fn every_request_has_an_id_of_its_own_and_is_counted() {
    let ids = Arc::new(Mutex::new(HashSet::new()));
    let seen = ids.clone();
    let report = traffic(200, 1, move |_, path, body| {
        assert_eq!(path, "/v1/transactions");
        let value: Value = serde_json::from_slice(body).unwrap();
        seen.lock().unwrap().insert(value["request_id"].as_str().unwrap().to_owned());
        Some((200, r#"{"transaction":"2-1-5-0"}"#.into()))
    })
    .await;
    assert_eq!(ids.lock().unwrap().len(), 200);
    assert_eq!((report.requests, report.failed_requests, report.transfers), (200, 0, 200));
    assert_eq!(report.samples.len(), 200);
    assert!(report.samples.iter().all(|sample| sample.set == 2));
}

#[tokio::test]
async fn each_kind_of_failure_is_counted_as_what_it_is() {
    let report = traffic(40, 1, |number, _, _| match number % 4 {
        0 => Some((200, "{}".into())),
        1 => Some((422, r#"{"outcome":"rejected","code":"limit_exceeded"}"#.into())),
        2 => Some((503, r#"{"outcome":"not_applied","code":"no_leader"}"#.into())),
        _ => Some((504, r#"{"outcome":"unknown","code":"deadline_exceeded"}"#.into())),
    })
    .await;
    assert_eq!((report.requests, report.failed_requests), (40, 30));
    assert_eq!((report.transfers, report.rejected, report.not_applied, report.unknown), (10, 10, 10, 10));
}

#[tokio::test]
async fn a_broken_connection_is_unknown_and_the_next_request_goes_on() {
    let report = traffic(40, 1, |number, _, _| match number {
        7 => None,
        _ => Some((200, "{}".into())),
    })
    .await;
    assert_eq!((report.requests, report.unknown, report.transfers), (40, 1, 39));
}

#[tokio::test]
async fn a_batch_is_one_request_of_many_transactions() {
    let report = traffic(5, 10, |_, path, body| {
        assert_eq!(path, "/v1/batches");
        let value: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(value["with_postings"], false);
        let transactions = value["transactions"].as_array().unwrap().len();
        let ok = r#"{"ok":{"transaction":"2-1-5-0"}}"#;
        let no = r#"{"problem":{"outcome":"rejected","code":"account_frozen"}}"#;
        let results = [vec![ok; transactions - 1], vec![no]].concat().join(",");
        Some((200, format!(r#"{{"results":[{results}]}}"#)))
    })
    .await;
    assert_eq!((report.requests, report.transfers, report.rejected), (5, 45, 5));
}

#[tokio::test]
async fn an_account_that_cannot_be_opened_stops_the_load_with_the_reason() {
    let url = router::start(|_, _, _| Some((503, r#"{"code":"no_leader"}"#.into()))).await;
    let error = Load::prepare(options(vec![url], 1), |_| {}).await.err().unwrap();
    assert!(error.to_string().contains("no_leader"), "{error}");
}

#[tokio::test]
async fn grpc_traffic_is_counted_like_http_traffic() {
    for (batch, requests) in [(1, 100), (20, 5)] {
        let url = fakes::ledger::FakeLedger { refuse: ":3" }.start().await;
        let options = LoadOptions { protocol: Protocol::Grpc, ..options(vec![url], batch) };
        let load = Load::prepare(options, |_| {}).await.unwrap();
        assert_eq!(load.sets(), [3]);
        let report = load.start(Until::Requests(requests)).unwrap().finish().await.unwrap();
        assert_eq!((report.requests, report.not_applied, report.unknown), (requests, 0, 0));
        assert_eq!(report.transfers + report.rejected, 100);
        assert!(report.transfers > report.rejected, "{report:?}");
    }
}
