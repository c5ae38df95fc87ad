//! Atomic batches over HTTP and gRPC: all or none in one item, a result for each, and what is refused before it is sent.

use serde_json::{Value, json};
use tonic::Code;
use twinset_proto::ledger::v1 as wire;
use twinset_proto::ledger::v1::batch_item_reply::Result as Item;
use twinset_proto::ledger::v1::ledger_client::LedgerClient;

use crate::holds::Ground;
use crate::support::node::Mode;
use crate::support::{Answer, eventually};

fn leg(account: &str, side: &str, amount: &str) -> Value {
    json!({"account": account, "side": side, "amount": amount})
}

fn pay(request_id: &str, from: &str, to: &str, amount: &str) -> Value {
    json!({"request_id": request_id, "legs": [leg(from, "debit", amount), leg(to, "credit", amount)]})
}

fn atomic(transactions: &[Value]) -> Value {
    json!({"transactions": transactions, "atomic": true, "with_postings": true})
}

async fn results(ground: &Ground, transactions: &[Value]) -> Vec<Value> {
    let answer = ground.post("/v1/batches", atomic(transactions)).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    answer.json()["results"].as_array().expect("results").clone()
}

async fn posted(ground: &Ground, account: &str) -> Value {
    ground.get(&format!("/v1/accounts/{account}")).await["account"]["posted"].take()
}

fn says(answer: &Answer, status: u16, code: &str, detail: &str) {
    assert_eq!(answer.problem(), (status, code.into(), "not_applied".into()));
    let said = answer.json()["detail"].to_string();
    assert!(said.contains(detail), "{said}");
}

#[tokio::test]
async fn all_are_booked_in_one_entry_and_the_same_batch_is_told_the_same() {
    let ground = Ground::new().await;
    let seen = || ground.cluster.node("a1").items_seen();
    let before = seen();
    // The second is covered by the first alone.
    let batch = [pay("b-1", "{t}:a", "{t}:b", "100"), pay("b-2", "{t}:b", "{t}:a", "60")];
    let booked = results(&ground, &batch).await;
    assert_eq!(seen(), before + 1, "one item");
    let balances = |n: usize| booked[n]["ok"]["postings"][0]["posted"].clone();
    assert_eq!((balances(0), balances(1)), (json!("0.00"), json!("40.00")));
    let index = |n: usize| booked[n]["ok"]["position"]["index"].clone();
    assert_eq!(index(0), index(1));
    let again = results(&ground, &batch).await;
    for (first, second) in booked.iter().zip(&again) {
        assert_eq!((&first["ok"]["replayed"], &second["ok"]["replayed"]), (&json!(false), &json!(true)));
        assert_eq!(first["ok"]["transaction"], second["ok"]["transaction"]);
    }
    assert_eq!(posted(&ground, "{t}:a").await, "60.00");
    let alone = ground.post("/v1/transactions", batch[1].clone()).await.json();
    assert_eq!(alone["transaction"], booked[1]["ok"]["transaction"]);
}

#[tokio::test]
async fn one_refusal_refuses_all_for_good() {
    let ground = Ground::new().await;
    let batch = [
        pay("b-1", "{t}:a", "{t}:b", "70"),
        pay("b-2", "{t}:a", "{t}:b", "31"),
        pay("b-3", "{t}:a", "{t}:b", "1"),
    ];
    for replayed in [false, true] {
        let refused = results(&ground, &batch).await;
        for (n, result) in refused.iter().enumerate() {
            let problem = &result["problem"];
            let code = if n == 1 { "limit_exceeded" } else { "batch_refused" };
            assert_eq!(
                (&problem["code"], &problem["outcome"]),
                (&json!(code), &json!("rejected")),
                "{problem}"
            );
            assert_eq!(problem["replayed"], replayed);
            if n != 1 {
                assert_eq!(problem["item"], "1");
            }
        }
        assert_eq!(refused[1]["problem"]["available"], "30.00");
    }
    assert_eq!(posted(&ground, "{t}:a").await, "100.00");
    let alone = ground.post("/v1/transactions", batch[0].clone()).await;
    assert_eq!(alone.problem().1, "batch_refused", "it is remembered");
}

#[tokio::test]
async fn captures_and_preconditions_work_inside() {
    let ground = Ground::new().await;
    let hold = ground.place("h-1", "30").await;
    let capture = |id: &str, amount: &str| {
        let mut body = pay(id, "{t}:a", "{t}:b", amount);
        body["scope_account"] = json!("{t}:a");
        body["capture"] = json!({"hold": hold, "final": false});
        body
    };
    let refused = results(&ground, &[capture("c-1", "20"), capture("c-2", "11")]).await;
    assert_eq!(refused[1]["problem"]["code"], "hold_exceeded");
    let mut second = capture("c-4", "10");
    second["legs"][0]["preconditions"] = json!({"posted_min": "80", "posted_max": "80"});
    let booked = results(&ground, &[capture("c-3", "20"), second]).await;
    assert!(booked.iter().all(|result| result["ok"].is_object()), "{booked:?}");
    assert_eq!(ground.get(&format!("/v1/accounts/{{t}}:a/holds/{hold}")).await["hold"]["state"], "captured");
}

#[tokio::test]
async fn what_it_may_not_be_is_refused_before_it_is_sent() {
    let ground = Ground::new().await;
    let seen = || ground.cluster.node("a1").items_seen();
    let before = seen();
    let set = twinset_ledger::slot_of("{t}:a");
    let set = ground.cluster.shared.catalogue.slot_table()[usize::from(set)];
    let far = ground.cluster.account_in(3 - set, "far");
    let good = pay("b-1", "{t}:a", "{t}:b", "1");
    let over =
        |count: usize| (0..count).map(|n| pay(&format!("m-{n}"), "{t}:a", "{t}:b", "1")).collect::<Vec<_>>();
    let table = [
        (vec![good.clone(), pay("b-2", "{t}:a", &far, "1")], 400, "batch_across_sets", "transaction 1"),
        (vec![good.clone(), pay("b-2", "{t}:a", "{t}:a", "1")], 400, "same_account", "transaction 1"),
        (vec![], 400, "empty_batch", ""),
        (over(8_001), 413, "batch_too_large", "8000"),
    ];
    for (transactions, status, code, detail) in table {
        says(&ground.post("/v1/batches", atomic(&transactions)).await, status, code, detail);
    }
    assert_eq!(seen(), before, "nothing was sent");
    let many = ground.post("/v1/batches", json!({"transactions": over(8_000), "atomic": true})).await.json();
    let many = many["results"].as_array().expect("results");
    assert_eq!((many.len(), &many[0]["problem"]["item"]), (8_000, &json!("100")), "100 EUR were there");
}

#[tokio::test]
async fn all_share_what_is_not_known_of_one() {
    let ground = Ground::new().await;
    let batch = [pay("b-1", "{t}:a", "{t}:b", "1"), pay("b-2", "{t}:a", "{t}:b", "1")];
    let told = async |mode| {
        ground.cluster.node("a1").set_mode(mode);
        let answer =
            ground.router.call("POST", "/v1/batches", &atomic(&batch).to_string(), Some(1_000)).await;
        answer.json()["results"].as_array().expect("results").clone()
    };
    for (mode, outcome) in [(Mode::NotLeader(String::new()), "not_applied"), (Mode::Silent, "unknown")] {
        let results = told(mode).await;
        assert_eq!(results.len(), 2);
        for result in results {
            assert_eq!(result["problem"]["outcome"], outcome, "{result}");
        }
    }
}

#[tokio::test]
async fn it_is_sent_again_when_its_stream_breaks_and_books_once() {
    let ground = Ground::new().await;
    let batch = atomic(&[pay("b-1", "{t}:a", "{t}:b", "1"), pay("b-2", "{t}:a", "{t}:b", "1")]);
    let seen = ground.cluster.node("a1").items_seen();
    ground.cluster.node("a1").set_mode(Mode::BookAndBreak);
    let lead = async {
        eventually("a1 had it", async || ground.cluster.node("a1").items_seen() > seen).await;
        ground.cluster.node("b1").set_mode(Mode::Lead);
        ground.cluster.announce("b1", 2);
    };
    let (answer, ()) = tokio::join!(ground.post("/v1/batches", batch), lead);
    let results = answer.json()["results"].take();
    assert!((0..2).all(|n| results[n]["ok"]["replayed"] == true), "{results}");
    assert_eq!(posted(&ground, "{t}:a").await, "98.00");
}

#[tokio::test]
async fn the_same_over_grpc() {
    let ground = Ground::new().await;
    let mut client =
        LedgerClient::connect(format!("http://{}", ground.router.handle.grpc)).await.expect("connects");
    let pay = |request_id: &str, to: &str, amount: &str| {
        let leg = |account: &str, side: wire::Side| wire::Leg {
            account: account.into(),
            side: side.into(),
            amount: amount.into(),
            ..wire::Leg::default()
        };
        wire::PostTransactionRequest {
            request_id: request_id.into(),
            legs: vec![leg("{t}:a", wire::Side::Debit), leg(to, wire::Side::Credit)],
            ..wire::PostTransactionRequest::default()
        }
    };
    let batch = |transactions| wire::PostBatchRequest {
        transactions,
        atomic: true,
        ..wire::PostBatchRequest::default()
    };
    let refused = batch(vec![pay("g-1", "{t}:b", "70"), pay("g-2", "{t}:b", "40")]);
    let refused = client.post_batch(refused).await.expect("answered").into_inner();
    let problem = |item: &wire::BatchItemReply| match &item.result {
        Some(Item::Problem(problem)) => (problem.code.clone(), problem.fields.get("item").cloned()),
        other => panic!("{other:?}"),
    };
    assert_eq!(problem(&refused.results[0]), ("batch_refused".into(), Some("1".into())));
    assert_eq!(problem(&refused.results[1]), ("limit_exceeded".into(), None));
    let booked = batch(vec![pay("g-3", "{t}:b", "70"), pay("g-4", "{t}:b", "30")]);
    let booked = client.post_batch(booked).await.expect("answered").into_inner();
    assert!(!booked.dry_run && booked.as_of.is_empty());
    assert!(booked.results.iter().all(|item| matches!(item.result, Some(Item::Ok(_)))), "{booked:?}");

    let sets = [1, 2].map(|set| ground.cluster.account_in(set, "far"));
    let across = batch(sets.iter().map(|far| pay(&format!("g-{far}"), far, "1")).collect());
    let status = client.post_batch(across).await.expect_err("over two sets");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(status.metadata().get("twinset-code").expect("a code"), "batch_across_sets");
}
