//! The gRPC API over a real socket: the same meaning as over HTTP, with codes and outcomes in the metadata.

mod support;

use support::Cluster;
use tonic::Code;
use twinset_proto::ledger::v1 as wire;
use twinset_proto::ledger::v1::batch_item_reply::Result as Item;
use twinset_proto::ledger::v1::ledger_client::LedgerClient;

fn leg(account: &str, side: wire::Side, amount: &str) -> wire::Leg {
    wire::Leg { account: account.into(), side: side.into(), amount: amount.into(), currency: String::new() }
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
    let mut client = LedgerClient::connect(format!("http://{}", router.handle.grpc)).await.expect("connects");
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
        .get_account(wire::GetAccountRequest { account: "{t}:a".into(), consistency: 0 })
        .await
        .expect("read");
    assert_eq!(account.into_inner().account.expect("an account").posted, "0.00");

    let batch = wire::PostBatchRequest {
        transactions: vec![
            payment("p-2", "1"),
            payment("p-1", "7"),
            payment("p-3", "0.001"),
            payment("", "1"),
        ],
        with_postings: false,
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
    let mut client = LedgerClient::connect(format!("http://{}", router.handle.grpc)).await.expect("connects");
    let mut frozen = payment("p-1", "1");
    frozen.legs[0].side = 0;
    let table = [
        (payment("p-1", "1.001"), Code::FailedPrecondition, "excess_scale", "rejected"),
        (payment("p-2", "ten"), Code::InvalidArgument, "malformed", "not_applied"),
        (payment("p-3", "0"), Code::InvalidArgument, "amount_not_positive", "not_applied"),
        (frozen, Code::InvalidArgument, "malformed", "not_applied"),
    ];
    for (request, code, stable, outcome) in table {
        let status = client.post_transaction(request).await.expect_err("refused");
        assert_eq!(status.code(), code, "{status:?}");
        assert_eq!(
            (metadata(&status, "twinset-code"), metadata(&status, "twinset-outcome")),
            (stable.into(), outcome.into())
        );
    }
    cluster.node("a1").set_mode(support::node::Mode::Silent);
    let mut request = tonic::Request::new(payment("p-4", "1"));
    request.set_timeout(std::time::Duration::from_millis(400));
    let status = client.post_transaction(request).await.expect_err("nobody answers");
    assert_eq!(status.code(), Code::Unknown, "{status:?}");
    assert_eq!(metadata(&status, "twinset-outcome"), "unknown");
}
