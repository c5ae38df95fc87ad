//! The gRPC API over a real socket: the same meaning as over HTTP, with codes and outcomes in the metadata.

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tonic::Code;
use tonic::transport::Channel;
use twinset_proto::cluster::v1::ReadRequest;
use twinset_proto::cluster::v1::sets_client::SetsClient;
use twinset_proto::ledger::v1 as wire;
use twinset_proto::ledger::v1::batch_item_reply::Result as Item;
use twinset_proto::ledger::v1::get_request_reply::Found;
use twinset_proto::ledger::v1::ledger_client::LedgerClient;

use crate::support::node::Mode;
use crate::support::{Cluster, Router, eventually};

pub(crate) async fn connect(router: &Router) -> LedgerClient<Channel> {
    LedgerClient::connect(format!("http://{}", router.handle.grpc)).await.expect("connects")
}

/// Code and outcome of an error.
pub(crate) fn said(status: &tonic::Status) -> (String, String) {
    (metadata(status, "twinset-code"), metadata(status, "twinset-outcome"))
}

fn leg(account: &str, side: wire::Side, amount: &str) -> wire::Leg {
    let (account, side, amount) = (account.into(), side.into(), amount.into());
    wire::Leg { account, side, amount, ..wire::Leg::default() }
}

fn payment(request_id: &str, amount: &str) -> wire::PostTransactionRequest {
    wire::PostTransactionRequest {
        request_id: request_id.into(),
        legs: vec![leg("{t}:a", wire::Side::Debit, amount), leg("{t}:b", wire::Side::Credit, amount)],
        ..wire::PostTransactionRequest::default()
    }
}

fn metadata(status: &tonic::Status, key: &str) -> String {
    let value = status.metadata().get(key).unwrap_or_else(|| panic!("{key} is missing in {status:?}"));
    value.to_str().expect("text").to_string()
}

#[tokio::test]
async fn the_same_calls_in_their_other_spelling() {
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    let mut client = connect(&router).await;
    for account in ["{t}:a", "{t}:b"] {
        let request = wire::OpenAccountRequest {
            request_id: "open".into(),
            account: account.into(),
            subject: "asset".into(),
            currency: "EUR".into(),
            limit: Some("none".into()),
            ..wire::OpenAccountRequest::default()
        };
        let reply = client.open_account(request).await.expect("opened").into_inner();
        assert!(!reply.replayed && reply.position.is_some());
    }
    let booked = client.post_transaction(payment("p-1", "1.50")).await.expect("booked").into_inner();
    assert_eq!((booked.postings.len(), booked.postings[1].posted.as_str()), (2, "-1.50"));
    let reversals = format!("/v1/transactions/{}/reversals", booked.transaction);
    assert_eq!(router.post(&reversals, r#"{"request_id":"r"}"#).await.status, 200);
    let account = client
        .get_account(wire::GetAccountRequest {
            account: "{t}:a".into(),
            consistency: 0,
            ..Default::default()
        })
        .await
        .expect("read");
    assert_eq!(account.into_inner().account.expect("an account").posted, "0.00");

    let batch = wire::PostBatchRequest {
        transactions: vec![
            payment("p-2", "1"),
            payment("p-1", "7"),
            payment("p-3", "0.001"),
            payment("~sweep-1-1-5-0-1", "1"),
        ],
        with_postings: false,
        ..wire::PostBatchRequest::default()
    };
    let results = client.post_batch(batch).await.expect("answered").into_inner().results;
    let summary: Vec<String> = results
        .into_iter()
        .map(|item| match item.result.expect("a result") {
            Item::Ok(reply) => format!("ok {}", reply.postings.len()),
            Item::Problem(problem) => format!("{} {}", problem.outcome, problem.code),
        })
        .collect();
    let expected =
        ["ok 0", "rejected request_mismatch", "rejected excess_scale", "not_applied malformed_request_id"];
    assert_eq!(summary, expected);
}

#[tokio::test]
async fn errors_carry_their_code_and_outcome() {
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    router.open_accounts().await;
    let mut client = connect(&router).await;
    let mut frozen = payment("p-1", "1");
    frozen.legs[0].side = 0;
    let table = [
        (payment("p-1", "1.001"), Code::FailedPrecondition, "excess_scale", "rejected"),
        (payment("p-2", "ten"), Code::InvalidArgument, "malformed", "not_applied"),
        (payment("p-3", "0"), Code::InvalidArgument, "amount_not_positive", "not_applied"),
        (payment("~sweep-1-1-5-0-1", "1"), Code::InvalidArgument, "malformed_request_id", "not_applied"),
        (frozen, Code::InvalidArgument, "malformed", "not_applied"),
    ];
    for (request, code, stable, outcome) in table {
        let status = client.post_transaction(request).await.expect_err("refused");
        assert_eq!(status.code(), code, "{status:?}");
        assert_eq!(said(&status), (stable.into(), outcome.into()));
    }
    cluster.node("a1").set_mode(Mode::Silent);
    let mut request = tonic::Request::new(payment("p-4", "1"));
    request.set_timeout(std::time::Duration::from_secs(1));
    let status = client.post_transaction(request).await.expect_err("nobody answers");
    assert_eq!(status.code(), Code::Unknown, "{status:?}");
    assert_eq!(metadata(&status, "twinset-outcome"), "unknown");
}

#[tokio::test]
async fn rejections_carry_their_fields() {
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    router.open_accounts().await;
    let mut client = connect(&router).await;
    client.post_transaction(payment("p-1", "1")).await.expect("booked");
    let status = client.post_transaction(payment("p-1", "2")).await.expect_err("the id is used");
    assert_eq!((status.code(), said(&status).0.as_str()), (Code::AlreadyExists, "request_mismatch"));
    assert_eq!(metadata(&status, "twinset-field"), "legs[0].amount");
    let index = metadata(&status, "twinset-original-index");
    assert!(index.parse::<u64>().is_ok_and(|index| index > 0), "{index}");
    assert_eq!(metadata(&status, "twinset-original-offset"), "0");

    let transactions = vec![payment("p-1", "2"), payment("p-2", "0.001")];
    let batch =
        wire::PostBatchRequest { transactions, with_postings: false, ..wire::PostBatchRequest::default() };
    let results = client.post_batch(batch).await.expect("answered").into_inner().results;
    let fields = results.into_iter().map(|item| match item.result.expect("a result") {
        Item::Ok(reply) => panic!("booked: {reply:?}"),
        Item::Problem(problem) => problem.fields,
    });
    let fields: Vec<_> = fields.collect();
    assert_eq!((fields[0]["field"].as_str(), &fields[0]["original_index"]), ("legs[0].amount", &index));
    assert_eq!((fields[1]["account"].as_str(), fields[1]["scale"].as_str()), ("{t}:a", "2"));
}

#[tokio::test]
async fn a_request_id_tells_what_became_of_it() {
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    router.open_accounts().await;
    let mut client = connect(&router).await;
    let booked = client.post_transaction(payment("p-1", "1")).await.expect("booked").into_inner();
    client.post_transaction(payment("p-2", "0.001")).await.expect_err("too fine");
    let ask = |request_id: &str| wire::GetRequestRequest {
        scope_account: "{t}:b".into(),
        request_id: request_id.into(),
        consistency: 0,
    };
    match client.get_request(ask("p-1")).await.expect("found").into_inner().found {
        Some(Found::Transaction(reply)) => {
            let transaction = reply.transaction.expect("a transaction");
            assert_eq!((transaction.transaction, transaction.request_id), (booked.transaction, "p-1".into()));
            assert!(reply.as_of.is_some());
        }
        other => panic!("{other:?}"),
    }
    match client.get_request(ask("open-{t}:b")).await.expect("found").into_inner().found {
        Some(Found::Account(reply)) => assert_eq!(reply.account.expect("an account").account, "{t}:b"),
        other => panic!("{other:?}"),
    }
    let table = [
        ("p-2", Code::FailedPrecondition, "excess_scale", "rejected"),
        ("p-3", Code::NotFound, "not_found", "not_applied"),
        ("p 4", Code::InvalidArgument, "malformed", "not_applied"),
    ];
    for (id, code, stable, outcome) in table {
        let status = client.get_request(ask(id)).await.expect_err(id);
        assert_eq!((status.code(), said(&status)), (code, (stable.into(), outcome.into())), "{status:?}");
        let over_http = router.get(&format!("/v1/requests/%7Bt%7D:b/{}", id.replace(' ', "%20"))).await;
        assert_eq!(over_http.problem().1, stable);
    }
    let reversal = wire::ReverseTransactionRequest {
        request_id: "r-1".into(),
        transaction: "1-1-99-0".into(),
        ..wire::ReverseTransactionRequest::default()
    };
    client.reverse_transaction(reversal).await.expect_err("nothing to reverse");
    let of_nothing = wire::GetRequestRequest { scope_account: "@1-1-99-0".into(), ..ask("r-1") };
    let status = client.get_request(of_nothing).await.expect_err("rejected");
    assert_eq!(said(&status), ("transaction_not_found".into(), "rejected".into()), "{status:?}");
    let rejected = client.get_request(ask("p-2")).await.expect_err("rejected");
    assert_eq!(metadata(&rejected, "twinset-replayed"), "true");
}

#[tokio::test]
async fn reads_are_as_strict_as_over_http() {
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    let mut client = connect(&router).await;
    let malformed = |status: tonic::Status| {
        assert_eq!(said(&status), ("malformed".into(), "not_applied".into()), "{status:?}");
        status.message().to_string()
    };
    let account = wire::GetAccountRequest { account: "a".into(), consistency: 7, ..Default::default() };
    assert!(malformed(client.get_account(account).await.expect_err("7")).contains("consistency 7"));
    let transaction = wire::GetTransactionRequest { transaction: "1-1-1-0".into(), consistency: -1 };
    malformed(client.get_transaction(transaction).await.expect_err("-1"));
    let (after, size) = (String::new(), Some(10));
    let page = wire::ListTransactionsRequest { set: 1, after, page_size: size, consistency: 0 };
    let table = [
        (wire::ListTransactionsRequest { page_size: Some(0), ..page.clone() }, "between 1 and 1000"),
        (wire::ListTransactionsRequest { page_size: Some(1_001), ..page.clone() }, "between 1 and 1000"),
        (
            wire::ListTransactionsRequest { after: "2-1-1-0".into(), ..page.clone() },
            "no transaction of set 1",
        ),
        (wire::ListTransactionsRequest { after: "7".into(), ..page.clone() }, "four"),
        (wire::ListTransactionsRequest { consistency: 7, ..page }, "consistency 7"),
    ];
    for (request, says) in table {
        let message = malformed(client.list_transactions(request).await.expect_err(says));
        assert!(message.contains(says), "{message}");
    }
    let freeze = wire::FreezeRequest { request_id: "f".into(), account: "a".into(), mode: 9 };
    assert!(malformed(client.freeze(freeze).await.expect_err("9")).contains("mode 9"));
}

/// Sends a message as it is and gives the status that comes back in the head.
async fn raw(router: &Router, headers: &[(&str, &str)], message: &[u8]) -> tonic::Status {
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    let body: Vec<u8> = [&[0][..], &length, message].concat();
    let start = http::Request::post(format!(
        "http://{}/twinset.ledger.v1.Ledger/PostTransaction",
        router.handle.grpc
    ));
    let request = headers.iter().fold(start, |request, (name, value)| request.header(*name, *value));
    let response =
        client.request(request.body(Full::from(body)).expect("a request")).await.expect("an answer");
    tonic::Status::from_header_map(response.headers()).expect("a status in the head")
}

#[tokio::test]
async fn what_is_refused_before_the_call_speaks_of_the_same_codes() {
    let cluster = Cluster::start().await;
    let mut config = cluster.config();
    config.limits.body_bytes_max = 4_096;
    let router = cluster.router_with(config).await;
    router.open_accounts().await;
    let before = cluster.booked();
    let mut long = payment("long", "1");
    long.metadata.insert("note".into(), "x".repeat(5_000));
    let too_large = connect(&router).await.post_transaction(long).await.expect_err("too large");
    let mut nodes = SetsClient::connect(format!("http://{}", router.handle.grpc)).await.expect("connects");
    let no_call = nodes.read(ReadRequest::default()).await.expect_err("no such call");

    let good = short_message();
    let grpc = ("content-type", "application/grpc");
    let table = [
        (too_large, Code::ResourceExhausted, "body_too_large"),
        (no_call, Code::Unimplemented, "route_not_found"),
        (raw(&router, &[grpc], b"\xff\xff no protobuf").await, Code::InvalidArgument, "malformed"),
        (raw(&router, &[], &good).await, Code::InvalidArgument, "unsupported_media_type"),
        (
            raw(&router, &[("content-type", "text/plain")], &good).await,
            Code::InvalidArgument,
            "unsupported_media_type",
        ),
        (
            raw(&router, &[grpc, ("grpc-encoding", "gzip")], &good).await,
            Code::InvalidArgument,
            "unsupported_media_type",
        ),
        (raw(&router, &[grpc, ("grpc-timeout", "soon")], &good).await, Code::InvalidArgument, "malformed"),
    ];
    for (status, code, stable) in table {
        assert_eq!(status.code(), code, "{status:?}");
        assert_eq!(said(&status), (stable.into(), "not_applied".into()), "{status:?}");
    }
    assert_eq!(cluster.booked(), before, "nothing was applied");
}

/// A message that is well-formed protobuf: the field request_id alone.
fn short_message() -> Vec<u8> {
    b"\x0a\x01p".to_vec()
}

#[tokio::test]
async fn more_connections_than_allowed_are_sent_away() {
    use tokio::io::AsyncReadExt;
    let cluster = Cluster::start().await;
    let mut config = cluster.config();
    config.limits.connections_max = 1;
    let router = cluster.router_with(config).await;
    router.open_accounts().await;
    let mut client = connect(&router).await;
    client.post_transaction(payment("p-1", "1")).await.expect("booked");
    let mut refused = tokio::net::TcpStream::connect(router.handle.grpc).await.expect("connected");
    let mut bytes = Vec::new();
    refused.read_to_end(&mut bytes).await.expect("go away, and the end");
    assert!(bytes.ends_with(b"too many connections"), "{bytes:?}");
    client.post_transaction(payment("p-2", "1")).await.expect("the others are served");
    drop(client);
    eventually("the place is free again", async || {
        let Ok(mut next) = LedgerClient::connect(format!("http://{}", router.handle.grpc)).await else {
            return false;
        };
        next.post_transaction(payment("p-3", "1")).await.is_ok()
    })
    .await;
}
