//! The HTTP API over a real socket: every call's good reply, and a table of requests that say nothing that could be
//! done. Each of those gets a clear, documented error, and nothing is applied.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use support::{Cluster, Router, eventually, payment};
use twinset_router::status::{MALFORMED, REJECTIONS, ROUTER};

async fn ready() -> (Cluster, Router) {
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    router.open_accounts().await;
    (cluster, router)
}

/// A payment with an id of its own and one field replaced.
fn with(path: &str, value: Value) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let request_id = format!("w-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let mut body: Value = serde_json::from_str(&payment(&request_id)).expect("JSON");
    let (parent, key) = path.rsplit_once('/').expect("a path starts with a slash");
    body.pointer_mut(parent).expect("the parent is there")[key] = value;
    body.to_string()
}

#[tokio::test]
async fn a_transaction_is_booked_replayed_and_reversed() {
    let (_cluster, router) = ready().await;
    let answer = router.post("/v1/transactions", &payment("p-1")).await;
    assert_eq!(
        (answer.status, &answer.headers["content-type"]),
        (200, &"application/json".parse().expect("text"))
    );
    let body = answer.json();
    let transaction = body["transaction"].as_str().expect("an id");
    assert_eq!(body["replayed"], false);
    assert!(body["position"]["time"].as_str().expect("a time").starts_with("1970-01-01T00:00:01"));
    let expected = json!([
        {"account": "{t}:a", "side": "debit", "amount": "1.00", "posted": "1.00", "available": "1.00"},
        {"account": "{t}:b", "side": "credit", "amount": "1.00", "posted": "-1.00", "available": "-1.00"},
    ]);
    assert_eq!(body["postings"], expected);
    let again = router.post("/v1/transactions", &payment("p-1")).await.json();
    assert_eq!((&again["replayed"], &again["transaction"]), (&json!(true), &body["transaction"]));

    let reversals = format!("/v1/transactions/{transaction}/reversals");
    let reversed = router.post(&reversals, r#"{"request_id":"r-1","amount":"0.40"}"#).await;
    assert_eq!(reversed.status, 200, "{:?}", reversed.body);
    assert_eq!(reversed.json()["postings"][0]["account"], "{t}:a");
    let too_much = router.post(&reversals, r#"{"request_id":"r-2"  ,"amount":"0.61"}"#).await;
    assert_eq!(too_much.problem(), (422, "reversal_exceeds".into(), "rejected".into()));
    assert_eq!(too_much.json()["left"], "0.60");
}

#[tokio::test]
async fn rejections_carry_their_fields_and_their_place() {
    let (_cluster, router) = ready().await;
    let answer = router.post("/v1/transactions", &with("/legs/0/account", json!("{t}:nobody"))).await;
    assert_eq!(answer.problem(), (422, "account_not_found".into(), "rejected".into()));
    let body = answer.json();
    assert_eq!((&body["account"], &body["replayed"]), (&json!("{t}:nobody"), &json!(false)));
    assert!(body["position"]["index"].is_u64());
    assert_eq!(router.post("/v1/transactions", &payment("q")).await.status, 200);
    let other = payment("q").replace("\"1.00\"", "\"2.00\"").replace("\"1\"", "\"2\"");
    let mismatch = router.post("/v1/transactions", &other).await;
    assert_eq!(mismatch.problem(), (409, "request_mismatch".into(), "rejected".into()));
    assert_eq!(mismatch.json()["field"], "legs[0].amount");
}

#[tokio::test]
async fn accounts_are_changed_and_closed() {
    let (_cluster, router) = ready().await;
    let calls = [
        ("freeze", r#"{"request_id":"1","mode":"debit"}"#, 200),
        ("unfreeze", r#"{"request_id":"2","mode":"both"}"#, 200),
        ("limit", r#"{"request_id":"3","limit":"-100.00"}"#, 200),
        ("limit", r#"{"request_id":"4","limit":"none"}"#, 200),
        ("limit", r#"{"request_id":"5","limit":"none of it"}"#, 400),
        ("close", r#"{"request_id":"6"}"#, 200),
        ("close", r#"{"request_id":"7"}"#, 422),
    ];
    for (what, body, status) in calls {
        let answer = router.post(&format!("/v1/accounts/{{t}}:a/{what}"), body).await;
        assert_eq!(answer.status, status, "{what} {body}: {:?}", answer.body);
    }
}

#[tokio::test]
async fn definitions_reach_every_set() {
    let (cluster, router) = ready().await;
    let answer = router.call("PUT", "/v1/currencies/PTS", r#"{"scale":3}"#, None).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"changed": true})));
    let again = router.call("PUT", "/v1/currencies/PTS", r#"{"scale":3}"#, None).await;
    assert_eq!(again.json(), json!({"changed": false}));
    let other = router.call("PUT", "/v1/currencies/PTS", r#"{"scale":4}"#, None).await;
    assert_eq!(other.problem(), (422, "currency_conflict".into(), "rejected".into()));
    let subject = r#"{"name":"Fees","normal_side":"credit"}"#;
    assert_eq!(router.call("PUT", "/v1/subjects/fees", subject, None).await.status, 200);
    let truth = cluster.shared.truth.lock().expect("no test panicked with it");
    for (state, _) in truth.values() {
        assert_eq!(twinset_ledger::State::currency_scale(state, "PTS"), Some(3));
    }
}

#[tokio::test]
async fn a_batch_answers_one_by_one_in_order() {
    let (_cluster, router) = ready().await;
    let mut transactions: Vec<Value> =
        (0..50).map(|n| serde_json::from_str(&payment(&format!("b-{n}"))).expect("JSON")).collect();
    transactions[3]["legs"][0]["account"] = json!("{t}:nobody");
    transactions[4]["legs"][0]["amount"] = json!("0");
    transactions[5]["legs"][0]["account"] = json!("elsewhere");
    transactions[6]["legs"][0]["account"] = json!("somewhere.else");
    let body = json!({"transactions": transactions, "with_postings": true}).to_string();
    let answer = router.post("/v1/batches", &body).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let results = answer.json()["results"].as_array().expect("results").clone();
    assert_eq!(results.len(), 50);
    for (n, result) in results.iter().enumerate() {
        match n {
            3 => assert_eq!(result["problem"]["code"], "account_not_found"),
            4 => assert_eq!(result["problem"]["code"], "amount_not_positive"),
            5 | 6 => assert!(
                ["account_not_found", "cross_set_not_supported"]
                    .contains(&result["problem"]["code"].as_str().expect("a code"))
            ),
            _ => assert_eq!(result["ok"]["postings"][1]["account"], "{t}:b", "{n}: {result}"),
        }
    }
    let body =
        json!({"transactions": [serde_json::from_str::<Value>(&payment("b-0")).expect("JSON")]}).to_string();
    let again = router.post("/v1/batches", &body).await.json();
    assert_eq!(again["results"][0]["ok"]["replayed"], true);
    assert!(again["results"][0]["ok"].get("postings").is_none(), "they were not asked for");
}

#[tokio::test]
async fn a_large_batch_travels_in_pieces_and_comes_back_whole() {
    let (_cluster, router) = ready().await;
    let padding = "x".repeat(400);
    let transaction = |n: usize| {
        let mut body: Value = serde_json::from_str(&payment(&format!("b-{n}"))).expect("JSON");
        body["metadata"] = json!({"note": format!("{n} {padding}")});
        body
    };
    let transactions: Vec<Value> = (0..3_000).map(transaction).collect();
    let answer = router.post("/v1/batches", &json!({"transactions": transactions}).to_string()).await;
    assert_eq!(answer.status, 200);
    let results = answer.json()["results"].as_array().expect("results").clone();
    let position = |result: &Value| {
        let id = result["ok"]["transaction"].as_str().unwrap_or_else(|| panic!("{result}"));
        id.parse::<twinset_ledger::TransactionId>().expect("an id").position
    };
    let positions: Vec<_> = results.iter().map(position).collect();
    assert_eq!(positions.len(), 3_000);
    assert!(positions.is_sorted(), "one set books a batch in its order");
}

#[tokio::test]
async fn bad_input_gets_a_clear_error_and_nothing_is_applied() {
    let (cluster, router) = ready().await;
    let before = cluster.booked();
    let leg = json!({"account": "{t}:a", "side": "debit", "amount": "1"});
    let too_many = json!({"transactions": vec![json!({"request_id": "x", "legs": []}); 9_000]}).to_string();
    let table: Vec<(&str, &str, String, u16, &str, &str)> = vec![
        ("POST", "/v1/transactions", "".into(), 400, "malformed", "empty"),
        ("POST", "/v1/transactions", "{".into(), 400, "malformed", "EOF"),
        ("POST", "/v1/transactions", "[]".into(), 400, "malformed", ""),
        ("POST", "/v1/transactions", "\u{0}".into(), 400, "malformed", ""),
        ("POST", "/v1/transactions", format!("{} x", payment("p")), 400, "malformed", "trailing"),
        ("POST", "/v1/transactions", with("/extra", json!(1)), 400, "malformed", "unknown field `extra`"),
        ("POST", "/v1/transactions", with("/legs/0/amount", json!(1)), 400, "malformed", "JSON string"),
        (
            "POST",
            "/v1/transactions",
            with("/legs/0/amount", json!(1.5)),
            400,
            "malformed",
            "JSON number is refused",
        ),
        ("POST", "/v1/transactions", with("/legs/0/amount", json!("1e3")), 400, "malformed", "digits"),
        ("POST", "/v1/transactions", with("/legs/0/amount", json!("+1")), 400, "malformed", "digits"),
        ("POST", "/v1/transactions", with("/legs/0/amount", json!("1_0")), 400, "malformed", "digits"),
        ("POST", "/v1/transactions", with("/legs/0/amount", json!("NaN")), 400, "malformed", "digits"),
        (
            "POST",
            "/v1/transactions",
            with("/legs/0/amount", json!("9".repeat(40))),
            400,
            "malformed",
            "28 digits",
        ),
        ("POST", "/v1/transactions", with("/legs/0/amount", json!("-1")), 400, "amount_not_positive", ""),
        (
            "POST",
            "/v1/transactions",
            with("/legs/0/amount", json!("1.001")),
            422,
            "excess_scale",
            "2 decimal places",
        ),
        ("POST", "/v1/transactions", with("/legs/0/amount", json!("2")), 422, "unbalanced", "2.00"),
        ("POST", "/v1/transactions", with("/legs/0/side", json!("left")), 400, "malformed", "`debit`"),
        ("POST", "/v1/transactions", with("/legs/0/account", json!("a b")), 400, "malformed_account_id", ""),
        ("POST", "/v1/transactions", with("/legs/0/account", json!("{t}:b")), 400, "same_account", ""),
        ("POST", "/v1/transactions", with("/legs/0/currency", json!("USD")), 422, "currency_mismatch", "EUR"),
        ("POST", "/v1/transactions", with("/legs", json!([leg])), 400, "too_few_legs", ""),
        ("POST", "/v1/transactions", with("/legs", json!(vec![leg.clone(); 257])), 400, "too_many_legs", ""),
        ("POST", "/v1/transactions", with("/request_id", json!("")), 400, "malformed_request_id", ""),
        (
            "POST",
            "/v1/transactions",
            with("/request_id", json!("x".repeat(65))),
            400,
            "malformed_request_id",
            "",
        ),
        (
            "POST",
            "/v1/transactions",
            with("/scope_account", json!("c")),
            400,
            "scope_account_without_leg",
            "",
        ),
        (
            "POST",
            "/v1/transactions",
            with("/accounting_date", json!("2026-02-30")),
            400,
            "malformed",
            "YYYY-MM-DD",
        ),
        ("POST", "/v1/transactions", with("/kind", json!(65_536)), 400, "malformed", "65536"),
        ("POST", "/v1/transactions", with("/metadata", json!({"k": 1})), 400, "malformed", ""),
        (
            "POST",
            "/v1/transactions/1-1-x-0/reversals",
            r#"{"request_id":"r"}"#.into(),
            400,
            "malformed",
            "four",
        ),
        (
            "POST",
            "/v1/transactions/9-1-1-0/reversals",
            r#"{"request_id":"r"}"#.into(),
            404,
            "not_found",
            "set 9",
        ),
        (
            "POST",
            "/v1/transactions/1-1-99-0/reversals",
            r#"{"request_id":"r"}"#.into(),
            422,
            "transaction_not_found",
            "",
        ),
        ("POST", "/v1/batches", too_many, 413, "batch_too_large", "9000"),
        ("POST", "/v1/transactions", " ".repeat((8 << 20) + 1), 413, "body_too_large", "8388608"),
        ("PUT", "/v1/currencies/X", r#"{"scale":300}"#.into(), 400, "malformed", "300"),
        ("PUT", "/v1/currencies/X", r#"{"scale":29}"#.into(), 400, "scale_too_large", ""),
        ("PUT", "/v1/currencies/a%20b", r#"{"scale":2}"#.into(), 400, "malformed_currency", ""),
        ("GET", "/v1/accounts/a%20b", "".into(), 400, "malformed", "a b"),
        ("GET", "/v1/accounts/a?consistency=maybe", "".into(), 400, "malformed", "maybe"),
        ("GET", "/v1/accounts/a?consistncy=stale", "".into(), 400, "malformed", "consistncy"),
        ("GET", "/v1/sets/x/transactions", "".into(), 400, "malformed", "number of a set"),
        ("GET", "/v1/sets/9/transactions", "".into(), 404, "not_found", "set 9"),
        ("GET", "/v1/sets/1/transactions?page_size=-1", "".into(), 400, "malformed", "page_size"),
        ("GET", "/v1/sets/1/transactions?after=7", "".into(), 400, "malformed", "four"),
        ("GET", "/v2/accounts/a", "".into(), 404, "route_not_found", "/v2"),
        ("DELETE", "/v1/accounts/a", "".into(), 405, "method_not_allowed", "DELETE"),
    ];
    for (method, path, body, status, code, says) in table {
        let what = format!("{method} {path} {:.120}", body);
        let answer = router.call(method, path, &body, None).await;
        assert_eq!((answer.status, answer.problem().1.as_str()), (status, code), "{what}: {:?}", answer.body);
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_string();
        assert!(detail.contains(says), "{what}: {detail:?} does not say {says:?}");
        let documented = ROUTER.iter().chain(&MALFORMED).chain(&REJECTIONS).any(|entry| entry.code == code);
        assert!(documented, "{code} is documented");
    }
    for bad in ["0", "60001", "-1", "soon", ""] {
        let request = http::Request::post(format!("http://{}/v1/transactions", router.http))
            .header("Twinset-Deadline-Ms", bad)
            .body(http_body_util::Full::from(payment("p")))
            .expect("a request");
        let answer = support::client().request(request).await.expect("an answer");
        assert_eq!(answer.status(), 400, "deadline {bad:?}");
    }
    assert_eq!(cluster.booked(), before, "nothing was applied");
}

#[tokio::test]
async fn the_router_tells_about_itself() {
    let cluster = Cluster::start_silent(true).await;
    let router = cluster.router().await;
    assert_eq!(router.get("/healthz").await.status, 200);
    let waiting = router.get("/readyz").await;
    let text = String::from_utf8_lossy(&waiting.body).into_owned();
    assert_eq!((waiting.status, text.trim()), (503, "not ready: no leader was ever known of set 1, 2"));
    cluster.lead("a1", 1);
    eventually("it is ready", async || router.get("/readyz").await.status == 200).await;
    let document = router.get("/openapi.json").await.json();
    assert!(document["paths"]["/v1/transactions"]["post"].is_object());
    let metrics = router.get("/metrics").await;
    assert!(String::from_utf8_lossy(&metrics.body).contains("twinset_router_set_has_leader{set=\"1\"} 1"));
}

#[tokio::test]
async fn more_connections_than_allowed_are_refused_at_once() {
    use tokio::io::AsyncReadExt;
    let cluster = Cluster::start().await;
    let mut config = cluster.config();
    config.limits.connections_max = 2;
    let router = cluster.router_with(config).await;
    // One connection is the router client's own.
    let _held = tokio::net::TcpStream::connect(&router.http).await.expect("connected");
    let mut refused = tokio::net::TcpStream::connect(&router.http).await.expect("connected");
    let mut text = String::new();
    refused.read_to_string(&mut text).await.expect("a reply and the end");
    assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("\"not_applied\""), "{text}");
    assert_eq!(router.get("/healthz").await.status, 200, "the others are served");
}
