//! Reversals that name legs, over HTTP and gRPC: in any order, never beyond what is left of a leg, and each way in which they say
//! nothing that could be done.

use serde_json::{Value, json};
use twinset_proto::ledger::v1 as wire;

use crate::grpc::{connect, said};
use crate::support::{Cluster, Router};

async fn ready() -> (Cluster, Router, String) {
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    router.open_accounts().await;
    let leg =
        |account: &str, side: &str, amount: &str| json!({"account": account, "side": side, "amount": amount});
    let legs = [leg("{t}:a", "debit", "3"), leg("{t}:b", "credit", "2"), leg("{t}:b", "credit", "1")];
    let body = json!({"request_id": "p", "legs": legs}).to_string();
    let answer = router.post("/v1/transactions", &body).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let transaction = answer.json()["transaction"].as_str().expect("an id").to_owned();
    (cluster, router, transaction)
}

/// The sides and amounts of postings.
fn booked(reply: &Value) -> Vec<String> {
    let one = |posting: &Value| {
        let text = |name: &str| posting[name].as_str().expect("a text").to_owned();
        format!("{} {}", text("side"), text("amount"))
    };
    reply["postings"].as_array().expect("postings").iter().map(one).collect()
}

#[tokio::test]
async fn parts_of_legs_are_taken_back_over_http() {
    let (cluster, router, transaction) = ready().await;
    let path = format!("/v1/transactions/{transaction}/reversals");
    // Whatever order they come in: the same request is the same.
    for (body, replayed) in [
        (r#"{"request_id":"r-1","legs":[{"leg":2,"amount":"0.40"},{"leg":0,"amount":"0.4"}]}"#, false),
        (r#"{"request_id":"r-1","legs":[{"leg":0,"amount":"0.40"},{"leg":2,"amount":"0.40"}]}"#, true),
    ] {
        let answer = router.post(&path, body).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        assert_eq!(booked(&answer.json()), ["credit 0.40", "debit 0.40"]);
        assert_eq!(answer.json()["replayed"], replayed);
    }
    let before = cluster.booked();
    let legs = |legs: &str| format!(r#"{{"request_id":"r-2","legs":{legs}}}"#);
    for (body, code) in [
        (legs("[]"), "malformed_reversal_legs"),
        (legs(r#"[{"leg":0,"amount":"1"},{"leg":0,"amount":"1"}]"#), "malformed_reversal_legs"),
        (legs(r#"[{"leg":256,"amount":"1"}]"#), "malformed_reversal_legs"),
        (legs(r#"[{"leg":0,"amount":"1"}],"amount":"1""#), "malformed_reversal_legs"),
        (legs(r#"[{"leg":0,"amount":"0"}]"#), "amount_not_positive"),
        (legs(r#"[{"leg":-1,"amount":"1"}]"#), "malformed"),
        (legs(r#"[{"leg":0}]"#), "malformed"),
        (legs(r#"[{"leg":0,"amount":"1","account":"a"}]"#), "malformed"),
        (legs(r#"[{"leg":0,"leg":0,"amount":"1"}]"#), "malformed"),
        (legs(r#"[[0,"1"]]"#), "malformed"),
        (legs(r#"{"0":"1"}"#), "malformed"),
    ] {
        let answer = router.post(&path, &body).await;
        assert_eq!(answer.problem(), (400, code.into(), "not_applied".into()), "{body}");
    }
    assert_eq!(cluster.booked(), before, "nothing was applied");
    let refused = async |id: &str, legs: &str| {
        let answer = router.post(&path, &format!(r#"{{"request_id":"{id}","legs":{legs}}}"#)).await;
        let (status, code, outcome) = answer.problem();
        assert_eq!((status, outcome.as_str()), (422, "rejected"), "{:?}", answer.body);
        (code, answer.json())
    };
    let (code, body) = refused("r-3", r#"[{"leg":0,"amount":"0.61"},{"leg":2,"amount":"0.61"}]"#).await;
    assert_eq!(
        (code.as_str(), &body["left"], &body["leg"]),
        ("reversal_exceeds", &json!("0.60"), &json!("2"))
    );
    let (code, body) = refused("r-4", r#"[{"leg":0,"amount":"1"},{"leg":3,"amount":"1"}]"#).await;
    assert_eq!((code.as_str(), &body["leg"]), ("leg_not_found", &json!("3")));
    assert_eq!(body["transaction"], transaction);
    let (code, body) = refused("r-5", r#"[{"leg":0,"amount":"1"},{"leg":1,"amount":"0.90"}]"#).await;
    assert_eq!(
        (code.as_str(), &body["debits"], &body["credits"]),
        ("unbalanced", &json!("0.90"), &json!("1.00"))
    );
    let mismatch = r#"{"request_id":"r-1","legs":[{"leg":0,"amount":"0.40"},{"leg":1,"amount":"0.40"}]}"#;
    let mismatch = router.post(&path, mismatch).await;
    assert_eq!((mismatch.status, &mismatch.json()["field"]), (409, &json!("legs[1].leg")));
    let amount = router.post(&path, r#"{"request_id":"r-6","amount":"1"}"#).await;
    assert_eq!(amount.problem().1, "partial_reversal_of_many_legs");
    // All that is left, and no leg of which nothing is.
    let rest = router.post(&path, r#"{"request_id":"r-7","legs":null}"#).await;
    assert_eq!(booked(&rest.json()), ["credit 2.60", "debit 2.00", "debit 0.60"]);
}

#[tokio::test]
async fn parts_of_legs_are_taken_back_over_grpc() {
    let (_cluster, router, transaction) = ready().await;
    let mut client = connect(&router).await;
    let ask = |id: &str, parts: &[(u32, &str)]| {
        let part = |(leg, amount): &(u32, &str)| wire::LegPart { leg: *leg, amount: (*amount).into() };
        wire::ReverseTransactionRequest {
            request_id: id.into(),
            transaction: transaction.clone(),
            legs: Some(wire::LegParts { parts: parts.iter().map(part).collect() }),
            ..wire::ReverseTransactionRequest::default()
        }
    };
    let reply = client.reverse_transaction(ask("r-1", &[(1, "0.5"), (0, "0.50")])).await.expect("booked");
    let amounts: Vec<String> = reply.into_inner().postings.into_iter().map(|one| one.amount).collect();
    assert_eq!(amounts, ["0.50", "0.50"]);
    for (request, code) in [
        // None is not all.
        (ask("r-2", &[]), "malformed_reversal_legs"),
        (ask("r-2", &[(0, "1"), (0, "1")]), "malformed_reversal_legs"),
        (
            wire::ReverseTransactionRequest { amount: "1".into(), ..ask("r-2", &[(0, "1")]) },
            "malformed_reversal_legs",
        ),
        (ask("r-2", &[(70_000, "1")]), "malformed"),
        (ask("r-2", &[(0, "")]), "malformed"),
        (ask("r-3", &[(0, "1.51"), (1, "1.51")]), "reversal_exceeds"),
        (ask("r-4", &[(9, "1")]), "leg_not_found"),
    ] {
        let status = client.reverse_transaction(request).await.expect_err(code);
        assert_eq!(said(&status).0, code, "{status:?}");
    }
    let all = wire::ReverseTransactionRequest { legs: None, ..ask("r-5", &[]) };
    let reply = client.reverse_transaction(all).await.expect("booked");
    let amounts: Vec<String> = reply.into_inner().postings.into_iter().map(|one| one.amount).collect();
    assert_eq!(amounts, ["2.50", "1.50", "1.00"]);
}
