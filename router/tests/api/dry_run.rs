//! Dry runs over HTTP and gRPC: what the real call would be told, and that nothing is booked or remembered.

use serde_json::{Value, json};
use tonic::Code;
use twinset_proto::ledger::v1 as wire;
use twinset_proto::ledger::v1::batch_item_reply::Result as Item;
use twinset_proto::ledger::v1::ledger_client::LedgerClient;

use crate::support::node::Mode;
use crate::support::{Answer, Cluster, Router};

const ONE: &str = "/v1/transactions?dry_run=true";
const MANY: &str = "/v1/batches?dry_run=true";

/// A cluster, a router, and two sets with an account of 100 EUR that may not be overdrawn and one without floor in each.
struct Ground {
    cluster: Cluster,
    router: Router,
    /// Of set 1, and smaller than those of set 2; the first has the 100 EUR.
    one: [String; 2],
    two: [String; 2],
}

impl Ground {
    async fn new() -> Ground {
        let cluster = Cluster::start().await;
        let router = cluster.router().await;
        let account = |set, tag| cluster.account_in(set, tag);
        let (one, two) = ([account(1, "a"), account(1, "b")], [account(2, "c"), account(2, "d")]);
        let ground = Ground { cluster, router, one, two };
        for [held, free] in [&ground.one, &ground.two] {
            ground.router.open(free).await;
            let body =
                json!({"request_id": "open", "account": held, "subject": "liability", "currency": "EUR"});
            assert_eq!(ground.post("/v1/accounts", body).await.status, 200);
            let funded =
                ground.post("/v1/transactions", pay(&format!("fund-{held}"), free, held, "100")).await;
            assert_eq!(funded.status, 200, "{:?}", funded.body);
        }
        ground
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.router.post(path, &body.to_string()).await
    }

    /// Of one transaction.
    async fn dry(&self, body: &Value) -> Value {
        let answer = self.post(ONE, body.clone()).await;
        assert_eq!((answer.status, &answer.json()["dry_run"]), (200, &json!(true)), "{:?}", answer.body);
        answer.json()
    }

    async fn refused(&self, body: &Value) -> Value {
        let answer = self.post(ONE, body.clone()).await;
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{:?}", answer.body);
        assert_eq!(answer.json()["dry_run"], true);
        answer.json()
    }

    async fn batch(&self, transactions: &[Value], atomic: bool) -> Vec<Value> {
        let body = json!({"transactions": transactions, "atomic": atomic, "with_postings": true});
        let answer = self.post(MANY, body).await;
        assert_eq!((answer.status, &answer.json()["dry_run"]), (200, &json!(true)), "{:?}", answer.body);
        answer.json()["results"].as_array().expect("results").clone()
    }

    /// What the sets have: the index of the last entry of each, and all that was ever decided.
    fn decided(&self) -> Vec<(u64, usize)> {
        let truth = self.cluster.shared.truth.lock().expect("no test panicked with it");
        truth.values().map(|(state, next)| (*next, state.history().count())).collect()
    }

    async fn grpc(&self) -> LedgerClient<tonic::transport::Channel> {
        LedgerClient::connect(format!("http://{}", self.router.handle.grpc)).await.expect("connects")
    }
}

fn pay(request_id: &str, from: &str, to: &str, amount: &str) -> Value {
    let leg = |account: &str, side: &str| json!({"account": account, "side": side, "amount": amount});
    json!({"request_id": request_id, "legs": [leg(from, "debit"), leg(to, "credit")]})
}

/// The same fields as the real answer, but for where and when.
fn without_place(mut problem: Value) -> Value {
    let fields = problem.as_object_mut().expect("a problem");
    fields.remove("position").expect("a position");
    fields.remove("dry_run");
    problem
}

#[tokio::test]
async fn what_would_be_booked_is_told_and_is_not() {
    let ground = Ground::new().await;
    let [a, b] = &ground.one;
    let before = ground.decided();
    let body = pay("p-1", a, b, "30");
    for _ in 0..2 {
        let told = ground.dry(&body).await;
        assert_eq!(told["replayed"], false);
        assert!(told.get("transaction").is_none() && told.get("position").is_none(), "{told}");
        assert_eq!(told["as_of"][0]["set"], 1);
        let posting = json!({"account": a, "side": "debit", "amount": "30.00", "posted": "70.00", "available": "70.00"});
        assert_eq!(told["postings"][0], posting);
    }
    assert_eq!(ground.decided(), before, "nothing was booked or remembered");
    let booked = ground.post("/v1/transactions?dry_run=false", body.clone()).await.json();
    assert_eq!(booked["replayed"], false);
    let told = ground.dry(&body).await;
    assert_eq!((&told["replayed"], &told["transaction"]), (&json!(true), &booked["transaction"]));
    assert_eq!((&told["postings"], &told["position"]), (&booked["postings"], &booked["position"]));
    let metrics = String::from_utf8(ground.router.get("/metrics").await.body.to_vec()).expect("text");
    let line = r#"twinset_router_calls_total{call="dry_run",end="ok",protocol="http"} 3"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn a_refusal_is_the_real_one_and_is_not_remembered() {
    let ground = Ground::new().await;
    let ([a, b], [c, d]) = (&ground.one, &ground.two);
    let nobody = ground.cluster.account_in(2, "nobody");
    let mut unbalanced = pay("r-4", a, d, "1");
    unbalanced["legs"][1]["amount"] = json!("2");
    let mut crowded = pay("r-6", &nobody, a, "1000");
    crowded["scope_account"] = json!(a);
    let table = [
        (pay("r-1", a, b, "101"), "limit_exceeded", 1),
        (pay("r-2", a, d, "101"), "limit_exceeded", 1),
        (pay("r-3", b, &nobody, "1"), "account_not_found", 2),
        (unbalanced, "unbalanced", 1),
        // The limit of the other set.
        (
            json!({"scope_account": b, "request_id": "r-5", "legs": pay("", c, b, "100.01")["legs"]}),
            "limit_exceeded",
            2,
        ),
        (crowded, "account_not_found", 2),
    ];
    let before = ground.decided();
    let mut told = Vec::new();
    for (body, code, set) in &table {
        let problem = ground.refused(body).await;
        assert_eq!((&problem["code"], &problem["replayed"]), (&json!(code), &json!(false)), "{body}");
        assert_eq!(problem["position"]["set"], *set, "{problem}");
        told.push(problem);
    }
    assert_eq!(ground.decided(), before, "nothing was booked or remembered");
    for ((body, ..), told) in table.iter().zip(told) {
        let real = ground.post("/v1/transactions", body.clone()).await.json();
        assert_eq!(without_place(told), without_place(real.clone()));
        let again = ground.refused(body).await;
        assert_eq!((&again["replayed"], &again["position"]), (&json!(true), &real["position"]));
    }
    let mut malformed = pay("r-7", a, a, "1");
    assert_eq!(ground.refused(&malformed).await["code"], "same_account");
    malformed["legs"][0]["amount"] = json!(1);
    assert_eq!(ground.refused(&malformed).await["code"], "malformed");
    let nonsense = ground.post("/v1/transactions?dry_run=yes", pay("r-8", a, b, "1")).await;
    assert_eq!(nonsense.problem(), (400, "malformed".into(), "not_applied".into()));
}

#[tokio::test]
async fn over_two_sets_the_parts_make_a_whole() {
    let ground = Ground::new().await;
    let ([a, _], [_, d]) = (&ground.one, &ground.two);
    let before = ground.decided();
    let body = pay("x-1", a, d, "30");
    let told = ground.dry(&body).await;
    assert!(told.get("transaction").is_none() && told["replayed"] == false, "{told}");
    let leg = |account, side| json!({"account": account, "side": side, "amount": "30"});
    assert_eq!(told["postings"], json!([leg(a, "debit"), leg(d, "credit")]));
    let sets = told["as_of"].as_array().expect("positions").iter().map(|at| at["set"].clone());
    assert_eq!(sets.collect::<Vec<_>>(), [1, 2]);
    assert_eq!(ground.decided(), before, "nothing was booked, set aside or remembered");
    let booked = ground.post("/v1/transactions", body.clone()).await.json();
    let told = ground.dry(&body).await;
    assert_eq!((&told["replayed"], &told["transaction"]), (&json!(true), &booked["transaction"]));
    assert_eq!(told["postings"], booked["postings"]);
    let other = ground.refused(&pay("x-1", a, d, "31")).await;
    assert_eq!((&other["code"], &other["field"]), (&json!("request_mismatch"), &json!("legs[0].amount")));

    ground.cluster.node("a1").set_mode(Mode::Begin);
    assert_eq!(ground.post("/v1/transactions", pay("x-2", a, d, "1")).await.status, 504);
    assert_eq!(ground.refused(&pay("x-2", a, d, "1")).await["code"], "unknown", "it is under way");
    ground.cluster.node("a1").set_mode(Mode::NotLeader(String::new()));
    let late = ground.router.call("POST", ONE, &body.to_string(), Some(1_000)).await;
    assert_eq!(late.problem(), (503, "no_leader".into(), "not_applied".into()));
}

#[tokio::test]
async fn a_batch_sees_what_came_before_in_it() {
    let ground = Ground::new().await;
    let ([a, b], [c, d]) = (&ground.one, &ground.two);
    let batch = [
        pay("b-1", a, b, "60"),
        pay("b-2", c, d, "60"),
        pay("b-3", a, b, "41"),
        pay("b-4", b, a, "1"),
        pay("b-1", a, b, "60"),
        pay("b-5", a, d, "40"),
        pay("b-5", a, d, "40"),
        pay("b-6", a, d, "2"),
        pay("b-7", a, a, "2"),
    ];
    let before = ground.decided();
    let told = ground.batch(&batch, false).await;
    let postings = |n: usize| told[n]["ok"]["postings"][0]["posted"].clone();
    let code = |n: usize| told[n]["problem"]["code"].clone();
    assert_eq!(
        (postings(0), postings(1), code(2)),
        (json!("40.00"), json!("40.00"), json!("limit_exceeded"))
    );
    assert_eq!(told[4]["ok"]["replayed"], true);
    assert!(told[4]["ok"].get("transaction").is_none() && postings(4) == "40.00", "{}", told[4]);
    assert_eq!((&told[5]["ok"]["replayed"], &told[6]["ok"]["replayed"]), (&json!(false), &json!(true)));
    assert_eq!((code(7), code(8)), (json!("limit_exceeded"), json!("same_account")));
    assert!(told.iter().all(|one| one["ok"].is_object() || one["problem"]["dry_run"] == true), "{told:?}");
    assert_eq!(ground.decided(), before);
}

#[tokio::test]
async fn an_atomic_one_stands_or_falls() {
    let ground = Ground::new().await;
    let ([a, b], [_, d]) = (&ground.one, &ground.two);
    let before = ground.decided();
    let told = ground.batch(&[pay("b-1", a, b, "60"), pay("b-2", a, b, "40")], true).await;
    assert_eq!(told[1]["ok"]["postings"][0]["posted"], "0.00");
    let told = ground.batch(&[pay("b-1", a, b, "60"), pay("b-2", a, b, "41")], true).await;
    assert_eq!(
        (&told[0]["problem"]["code"], &told[0]["problem"]["item"]),
        (&json!("batch_refused"), &json!("1"))
    );
    assert_eq!(told[1]["problem"]["code"], "limit_exceeded");
    let across = json!({"transactions": [pay("b-1", a, b, "1"), pay("b-2", a, d, "1")], "atomic": true});
    let refused = ground.post(MANY, across).await;
    assert_eq!(refused.problem(), (400, "batch_across_sets".into(), "not_applied".into()));
    assert_eq!(refused.json()["dry_run"], true);
    let many: Vec<Value> = (0..8_001).map(|n| pay(&format!("m-{n}"), b, a, "1")).collect();
    let refused = ground.post(MANY, json!({"transactions": many})).await;
    assert_eq!(refused.problem(), (413, "batch_too_large".into(), "not_applied".into()));
    assert_eq!(ground.batch(&many[1..], true).await.len(), 8_000);
    assert_eq!(ground.batch(&[], false).await.len(), 0);
    assert_eq!(ground.decided(), before);
}

#[tokio::test]
async fn the_same_over_grpc() {
    let ground = Ground::new().await;
    let ([a, b], [_, d]) = (&ground.one, &ground.two);
    let before = ground.decided();
    let mut client = ground.grpc().await;
    let pay = |request_id: &str, to: &str, amount: &str| {
        let leg = |account: &str, side: wire::Side| wire::Leg {
            account: account.into(),
            side: side.into(),
            amount: amount.into(),
            ..wire::Leg::default()
        };
        wire::PostTransactionRequest {
            request_id: request_id.into(),
            legs: vec![leg(a, wire::Side::Debit), leg(to, wire::Side::Credit)],
            ..wire::PostTransactionRequest::default()
        }
    };
    let told = client.dry_run_transaction(pay("g-1", b, "30")).await.expect("told").into_inner();
    assert!(told.dry_run && !told.replayed && told.transaction.is_empty() && told.position.is_none());
    assert_eq!((told.postings[0].posted.as_str(), told.as_of.len()), ("70.00", 1));
    let told = client.dry_run_transaction(pay("g-1", d, "30")).await.expect("told").into_inner();
    assert_eq!((told.postings[0].posted.as_str(), told.as_of.len()), ("", 2));
    let status = client.dry_run_transaction(pay("g-1", d, "101")).await.expect_err("over the limit");
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    let said =
        ["code", "dry-run", "needed"].map(|name| status.metadata().get(format!("twinset-{name}")).cloned());
    let said = said.map(|value| value.expect("it is said").to_str().expect("text").to_string());
    assert_eq!(said, ["limit_exceeded", "true", "101.00"]);
    for atomic in [false, true] {
        let transactions = vec![pay("g-2", b, "60"), pay("g-3", b, "41")];
        let batch = wire::PostBatchRequest { transactions, atomic, with_postings: true };
        let told = client.dry_run_batch(batch).await.expect("told").into_inner();
        assert!(told.dry_run && told.as_of.len() == 1, "{told:?}");
        match (&told.results[0].result, &told.results[1].result) {
            (Some(Item::Ok(ok)), Some(Item::Problem(no))) if !atomic => assert!(ok.dry_run && no.dry_run),
            (Some(Item::Problem(first)), Some(Item::Problem(_))) if atomic => {
                assert_eq!((first.code.as_str(), first.dry_run), ("batch_refused", true));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ground.decided(), before);
}
