//! Transactions over several sets: the set of the scope account is asked, what it says is told as it is, and what is
//! not certain is told as unknown.

use serde_json::{Value, json};
use tonic::Code;
use tonic::transport::Channel;
use twinset_proto::ledger::v1 as wire;
use twinset_proto::ledger::v1::ledger_client::LedgerClient;

use crate::support::node::Mode;
use crate::support::{Answer, Cluster, Router, eventually, payment};

/// A cluster, a router, and two accounts in each of two sets.
struct Ground {
    cluster: Cluster,
    router: Router,
    /// Of set 1.
    one: [String; 2],
    /// Of set 2; their ids are greater.
    two: [String; 2],
}

impl Ground {
    async fn new() -> Ground {
        let cluster = Cluster::start().await;
        let router = cluster.router().await;
        let account = |set, tag| cluster.account_in(set, tag);
        let (one, two) = ([account(1, "a"), account(1, "b")], [account(2, "c"), account(2, "d")]);
        for account in one.iter().chain(&two) {
            router.open(account).await;
        }
        Ground { cluster, router, one, two }
    }

    /// 1 EUR from set 1 to set 2, which set 1 coordinates.
    fn payment(&self, request_id: &str) -> Value {
        transaction(request_id, &[(&self.one[0], "debit", "1"), (&self.two[0], "credit", "1.00")])
    }

    async fn post(&self, body: &Value) -> Answer {
        self.router.post("/v1/transactions", &body.to_string()).await
    }

    async fn batch(&self, transactions: &[Value]) -> Vec<Value> {
        let body = json!({"transactions": transactions, "with_postings": true});
        let answer = self.router.post("/v1/batches", &body.to_string()).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        answer.json()["results"].as_array().expect("results").clone()
    }

    async fn grpc(&self) -> LedgerClient<Channel> {
        LedgerClient::connect(format!("http://{}", self.router.handle.grpc)).await.expect("connects")
    }

    /// What is said when the stream breaks that the call was sent on, and the next leader gives it up. `term` is new.
    async fn given_up_after_a_break<T>(&self, term: u64, call: impl Future<Output = T>) -> T {
        self.cluster.lead("a1", term);
        let id = format!("warm-{term}");
        let warm = async || self.post(&self.payment(&id)).await.status == 200;
        eventually("a1 answers", warm).await;
        let seen = self.cluster.node("a1").items_seen();
        self.cluster.node("a1").set_mode(Mode::Break);
        let lead = async {
            eventually("a1 had it", async || self.cluster.node("a1").items_seen() > seen).await;
            self.cluster.node("b1").set_mode(Mode::GiveUp);
            self.cluster.announce("b1", term + 1);
        };
        tokio::join!(call, lead).0
    }
}

/// Account, side and amount.
type Leg<'a> = (&'a str, &'a str, &'a str);

fn transaction(request_id: &str, legs: &[Leg<'_>]) -> Value {
    let legs = legs
        .iter()
        .map(|(account, side, amount)| json!({"account": account, "side": side, "amount": amount}));
    json!({"request_id": request_id, "legs": legs.collect::<Value>()})
}

fn accounts(postings: &Value) -> Vec<&str> {
    let postings = postings.as_array().expect("postings").iter();
    postings.map(|posting| posting["account"].as_str().expect("an account")).collect()
}

#[tokio::test]
async fn it_is_told_in_the_clients_order_replayed_and_reversed() {
    let ground = Ground::new().await;
    let ([a, b], [c, d]) = (&ground.one, &ground.two);
    let legs: &[Leg<'_>] = &[(d, "credit", "4"), (a, "debit", "3.00"), (c, "debit", "2"), (b, "credit", "1")];
    let answer = ground.post(&transaction("p-1", legs)).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let booked = answer.json();
    let expected = json!([
        {"account": d, "side": "credit", "amount": "4.00", "posted": "-4.00", "available": "-4.00"},
        {"account": a, "side": "debit", "amount": "3.00", "posted": "3.00", "available": "3.00"},
        {"account": c, "side": "debit", "amount": "2.00", "posted": "2.00", "available": "2.00"},
        {"account": b, "side": "credit", "amount": "1.00", "posted": "-1.00", "available": "-1.00"},
    ]);
    assert_eq!((&booked["postings"], &booked["replayed"]), (&expected, &json!(false)));
    let id = booked["transaction"].as_str().expect("an id");
    assert!(id.starts_with("1-"), "{id}: the set of {a}, the smallest that is debited");
    let again = ground.post(&transaction("p-1", legs)).await.json();
    assert_eq!((&again["replayed"], &again["transaction"]), (&json!(true), &booked["transaction"]));
    assert_eq!(again["postings"], expected);
    let other: Vec<_> = legs.iter().map(|(account, side, _)| (*account, *side, "1")).collect();
    let mismatch = ground.post(&transaction("p-1", &other)).await;
    assert_eq!(mismatch.problem(), (409, "request_mismatch".into(), "rejected".into()));

    let reversals = format!("/v1/transactions/{id}/reversals");
    let body = r#"{"request_id":"r-0","legs":[{"leg":3,"amount":"1"},{"leg":1,"amount":"1.00"}]}"#;
    let of_one_set = ground.router.post(&reversals, body).await;
    assert_eq!(accounts(&of_one_set.json()["postings"]), [a, b], "{:?}", of_one_set.body);
    assert_eq!(ground.cluster.settled(), 1, "the other set is not asked");
    let body = r#"{"request_id":"r-00","legs":[{"leg":0,"amount":"1"},{"leg":2,"amount":"1.01"}]}"#;
    let uneven = ground.router.post(&reversals, body).await;
    assert_eq!(uneven.problem(), (422, "unbalanced".into(), "rejected".into()));
    let reversed = ground.router.post(&reversals, r#"{"request_id":"r-1"}"#).await;
    assert_eq!(reversed.status, 200, "{:?}", reversed.body);
    assert_eq!(accounts(&reversed.json()["postings"]), [d, a, c]);
    assert_eq!(ground.cluster.settled(), 2);
    let more = ground.router.post(&reversals, r#"{"request_id":"r-2"}"#).await;
    assert_eq!(more.problem(), (422, "reversal_exceeds".into(), "rejected".into()));
}

#[tokio::test]
async fn the_scope_account_decides_who_coordinates_and_where_the_id_is_looked_up() {
    let ground = Ground::new().await;
    let ([a, _], [c, _]) = (&ground.one, &ground.two);
    let towards_two: &[Leg<'_>] = &[(a, "debit", "1"), (c, "credit", "1")];
    let towards_one: &[Leg<'_>] = &[(a, "credit", "1"), (c, "debit", "1")];
    let table = [
        ("s-1", towards_two, None, 1, a),
        ("s-2", towards_one, None, 2, c),
        ("s-3", towards_two, Some(c), 2, c),
        ("s-4", towards_one, Some(a), 1, a),
    ];
    for (id, legs, named, set, scope) in table {
        let mut body = transaction(id, legs);
        if let Some(scope) = named {
            body["scope_account"] = json!(scope);
        }
        let booked = ground.post(&body).await;
        assert_eq!((booked.status, &booked.json()["position"]["set"]), (200, &json!(set)), "{id}");
        let found = ground.router.get(&format!("/v1/requests/{scope}/{id}")).await;
        assert_eq!(found.json()["transaction"]["transaction"], booked.json()["transaction"], "{id}");
        let elsewhere = if scope == a { c } else { a };
        let missing = ground.router.get(&format!("/v1/requests/{elsewhere}/{id}")).await;
        assert_eq!(missing.problem().1, "not_found", "{id}");
    }
}

#[tokio::test]
async fn what_a_set_refuses_is_told_as_its_refusal() {
    let ground = Ground::new().await;
    let ([a, _], [c, _]) = (&ground.one, &ground.two);
    let nobody = ground.cluster.account_in(2, "nobody");
    let table: [(&str, [Leg<'_>; 2], u16, &str, &str); 4] = [
        ("unbalanced", [(a, "debit", "1"), (c, "credit", "2")], 422, "unbalanced", "rejected"),
        ("coordinator", [(a, "debit", "1.001"), (c, "credit", "1")], 422, "excess_scale", "rejected"),
        ("other", [(a, "debit", "1"), (&nobody, "credit", "1")], 422, "account_not_found", "rejected"),
        ("none", [(a, "debit", "0"), (c, "credit", "1")], 400, "amount_not_positive", "not_applied"),
    ];
    for (id, legs, status, code, outcome) in table {
        let refused = ground.post(&transaction(id, &legs)).await;
        assert_eq!(refused.problem(), (status, code.into(), outcome.into()), "{id}");
    }
    let legs = |count: usize| {
        let mut legs = vec![(c.as_str(), "credit", "1"); count];
        legs[0] = (a, "debit", "63");
        legs
    };
    let sent = || ground.cluster.node("a1").items_seen();
    let before = sent();
    let refused = ground.post(&transaction("many", &legs(65))).await;
    assert_eq!(refused.problem(), (400, "too_many_legs_across_sets".into(), "not_applied".into()));
    assert_eq!(sent(), before, "nothing was sent");
    assert_eq!(ground.cluster.settled(), 0);
    assert_eq!(ground.post(&transaction("many", &legs(64))).await.status, 200);
}

#[tokio::test]
async fn what_was_given_up_may_be_tried_again() {
    let ground = Ground::new().await;
    ground.cluster.node("a1").set_mode(Mode::GiveUp);
    let refused = ground.post(&ground.payment("p-1")).await;
    assert_eq!(refused.problem(), (503, "set_unavailable".into(), "not_applied".into()));
    assert_eq!(
        (&refused.json()["set"], &refused.headers["retry-after"]),
        (&json!("2"), &"1".parse().expect("text"))
    );
    let looked_up = ground.router.get(&format!("/v1/requests/{}/p-1", ground.one[0])).await;
    assert_eq!(looked_up.problem().1, "set_unavailable");
    let within = transaction("w-1", &[(&ground.one[0], "debit", "1"), (&ground.one[1], "credit", "1")]);
    let results = ground.batch(&[within, ground.payment("p-2")]).await;
    assert!(results[0]["ok"].is_object(), "{}", results[0]);
    let problem = &results[1]["problem"];
    assert_eq!((&problem["code"], &problem["outcome"]), (&json!("set_unavailable"), &json!("not_applied")));

    ground.cluster.node("a1").set_mode(Mode::Lead);
    for id in ["p-1", "p-2"] {
        let booked = ground.post(&ground.payment(id)).await;
        assert_eq!((booked.status, &booked.json()["replayed"]), (200, &json!(false)), "{:?}", booked.body);
    }
    assert_eq!(ground.cluster.settled(), 2);
}

#[tokio::test]
async fn given_up_after_a_send_without_an_end_is_unknown() {
    let ground = Ground::new().await;
    let unknown = |problem: &Value| {
        assert_eq!(
            (&problem["code"], &problem["outcome"]),
            (&json!("unknown"), &json!("unknown")),
            "{problem}"
        );
        let detail = problem["detail"].as_str().expect("a detail");
        assert!(detail.starts_with("set 2 did not answer") && detail.contains("earlier"), "{detail}");
    };
    let payment = ground.payment("p-1");
    let single = ground.given_up_after_a_break(2, ground.post(&payment)).await;
    assert_eq!(single.status, 504);
    unknown(&single.json());

    // In one item: the other transaction's refusal is the last word, whatever becomes of what was sent before.
    let nobody = ground.cluster.account_in(1, "nobody");
    let refused = transaction("p-3", &[(&nobody, "debit", "1"), (&ground.two[0], "credit", "1")]);
    let transactions = [ground.payment("p-2"), refused];
    let results = ground.given_up_after_a_break(4, ground.batch(&transactions)).await;
    unknown(&results[0]["problem"]);
    assert_eq!(results[1]["problem"]["code"], "account_not_found", "{}", results[1]);

    let mut client = ground.grpc().await;
    let leg = |account: &str, side: wire::Side| wire::Leg {
        account: account.into(),
        side: side.into(),
        amount: "1".into(),
        ..wire::Leg::default()
    };
    let request = wire::PostTransactionRequest {
        request_id: "p-4".into(),
        legs: vec![leg(&ground.one[0], wire::Side::Debit), leg(&ground.two[0], wire::Side::Credit)],
        ..wire::PostTransactionRequest::default()
    };
    let status =
        ground.given_up_after_a_break(6, client.post_transaction(request)).await.expect_err("given up");
    assert_eq!(status.code(), Code::Unknown, "{status:?}");
    assert_eq!(status.metadata().get("twinset-outcome").expect("an outcome"), "unknown");

    ground.cluster.lead("a1", 9);
    for id in ["p-1", "p-2", "p-4"] {
        assert_eq!(ground.post(&ground.payment(id)).await.status, 200, "{id}");
    }
}

#[tokio::test]
async fn an_answer_before_the_end_is_none() {
    let ground = Ground::new().await;
    ground.cluster.node("a1").set_mode(Mode::Begin);
    let unknown = (504, "unknown".into(), "unknown".into());
    assert_eq!(ground.post(&ground.payment("p-1")).await.problem(), unknown);
    let results = ground.batch(&[ground.payment("p-1")]).await;
    assert_eq!(results[0]["problem"]["code"], "unknown", "{}", results[0]);
    let looked_up = ground.router.get(&format!("/v1/requests/{}/p-1", ground.one[0])).await;
    assert_eq!(looked_up.problem(), unknown);
    assert!(looked_up.json()["detail"].as_str().expect("a detail").contains("under way"));
    ground.cluster.node("a1").set_mode(Mode::Lead);
    let booked = ground.post(&ground.payment("p-1")).await;
    assert_eq!((booked.status, &booked.json()["replayed"]), (200, &json!(true)), "{:?}", booked.body);
    assert_eq!(ground.cluster.settled(), 1);
}

#[tokio::test]
async fn clearing_accounts_are_read_by_their_names() {
    let ground = Ground::new().await;
    let path = |set: u32| format!("/v1/sets/{set}/clearing/EUR");
    let nothing = ground.router.get(&path(1)).await;
    assert_eq!(nothing.problem(), (404, "not_found".into(), "not_applied".into()));
    let body = nothing.json();
    let detail = body["detail"].as_str().expect("a detail");
    assert!(detail.starts_with("nothing over several sets was booked in EUR in set 1"), "{detail}");
    assert!(body["position"]["index"].is_u64(), "{body}");

    assert_eq!(ground.post(&ground.payment("p-1")).await.status, 200);
    for (set, posted) in [(1, "-1.00"), (2, "1.00")] {
        let id = format!("@clearing-{set}:EUR");
        for path in [path(set), format!("/v1/accounts/{id}")] {
            for consistency in ["", "?consistency=stale"] {
                let read = ground.router.get(&format!("{path}{consistency}")).await;
                assert_eq!(read.status, 200, "{path}{consistency}: {:?}", read.body);
                let account = &read.json()["account"];
                assert_eq!((&account["account"], &account["posted"]), (&json!(id), &json!(posted)));
            }
        }
    }
    let mut client = ground.grpc().await;
    let account = |account: &str| wire::GetAccountRequest {
        account: account.into(),
        consistency: 0,
        ..Default::default()
    };
    let read = client.get_account(account("@clearing-2:EUR")).await.expect("read").into_inner();
    assert_eq!(read.account.expect("an account").posted, "1.00");
    let status = client.get_account(account("@clearing-02:EUR")).await.expect_err("no such spelling");
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");

    let to_clearing = transaction("x", &[(&ground.one[0], "debit", "1"), ("@clearing-1:EUR", "credit", "1")]);
    assert_eq!(ground.post(&to_clearing).await.problem().1, "malformed_account_id");
}

#[tokio::test]
async fn in_a_batch_nobody_waits_for_a_set_that_others_touch() {
    let ground = Ground::new().await;
    let ([a, b], [c, d]) = (&ground.one, &ground.two);
    let transactions = [
        transaction("1", &[(a, "debit", "1"), (c, "credit", "1")]),
        transaction("2", &[(a, "debit", "1"), (b, "credit", "1")]),
        transaction("3", &[(c, "debit", "1"), (a, "credit", "1")]),
        transaction("4", &[(c, "debit", "1"), (d, "credit", "1")]),
        transaction("5", &[(d, "credit", "1"), (b, "debit", "1")]),
        serde_json::from_str(&payment("6")).expect("JSON"),
    ];
    ground.router.open_accounts().await;
    let seen = || ground.cluster.node("a1").items_seen();
    let before = seen();
    let results = ground.batch(&transactions).await;
    for (result, transaction) in results.iter().zip(&transactions) {
        let legs = transaction["legs"].as_array().expect("legs").iter();
        let asked: Vec<_> = legs.filter_map(|leg| leg["account"].as_str()).collect();
        assert_eq!(accounts(&result["ok"]["postings"]), asked, "{result}");
    }
    assert_eq!(seen() - before, 4, "one item for each set alone, and one for each way over both");
    assert_eq!(ground.cluster.settled(), 3);
}

#[tokio::test]
async fn eight_thousand_in_one_batch_have_a_result_each() {
    let ground = Ground::new().await;
    let ([a, b], [c, _]) = (&ground.one, &ground.two);
    let to = |n: usize| if n.is_multiple_of(2) { b } else { c };
    let pay = |n| transaction(&format!("m-{n}"), &[(a, "debit", "1"), (to(n), "credit", "1")]);
    let results = ground.batch(&(0..8_000).map(pay).collect::<Vec<_>>()).await;
    assert_eq!(results.len(), 8_000);
    for (n, result) in results.iter().enumerate() {
        assert_eq!(accounts(&result["ok"]["postings"]), [a.as_str(), to(n).as_str()], "{n}: {result}");
    }
    assert_eq!(ground.cluster.settled(), 4_000);
}
