//! The HTTP API over a real socket: every call's good reply, and a table of requests that say nothing that could be
//! done. Each of those gets a clear, documented error, and nothing is applied.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use twinset_router::status::{MALFORMED, REJECTIONS, ROUTER};

use crate::support::{Cluster, Router, eventually, payment};

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
    let (cluster, router) = ready().await;
    let mut transactions: Vec<Value> =
        (0..50).map(|n| serde_json::from_str(&payment(&format!("b-{n}"))).expect("JSON")).collect();
    transactions[3]["legs"][0]["account"] = json!("{t}:nobody");
    transactions[4]["legs"][0]["amount"] = json!("0");
    // Nobody in either set: one of the two is over both.
    transactions[5]["legs"][0]["account"] = json!(cluster.account_in(1, "nobody"));
    transactions[6]["legs"][0]["account"] = json!(cluster.account_in(2, "nobody"));
    let body = json!({"transactions": transactions, "with_postings": true}).to_string();
    let answer = router.post("/v1/batches", &body).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let results = answer.json()["results"].as_array().expect("results").clone();
    assert_eq!(results.len(), 50);
    for (n, result) in results.iter().enumerate() {
        match n {
            3 | 5 | 6 => assert_eq!(result["problem"]["code"], "account_not_found", "{n}"),
            4 => assert_eq!(result["problem"]["code"], "amount_not_positive"),
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
async fn a_name_that_only_nodes_give_is_refused_alone() {
    let (cluster, router) = ready().await;
    for (sent, named) in [payment("~sweep-1-1-5-0-1"), confirmation()].into_iter().enumerate() {
        let first: Value = serde_json::from_str(&payment(&format!("first-{sent}"))).expect("JSON");
        let last: Value = serde_json::from_str(&payment(&format!("last-{sent}"))).expect("JSON");
        let named: Value = serde_json::from_str(&named).expect("JSON");
        let batch = |atomic: bool| {
            json!({"transactions": [first.clone(), named.clone(), last.clone()], "atomic": atomic})
                .to_string()
        };
        let before = cluster.booked();
        for path in ["/v1/batches", "/v1/batches?dry_run=true"] {
            let whole = router.post(path, &batch(true)).await;
            assert_eq!(whole.problem(), (400, "malformed_request_id".into(), "not_applied".into()), "{path}");
        }
        assert_eq!(cluster.booked(), before, "all of them or none");
        let single = router.post("/v1/transactions?dry_run=true", &named.to_string()).await;
        assert_eq!(single.problem(), (400, "malformed_request_id".into(), "not_applied".into()));
        for path in ["/v1/batches?dry_run=true", "/v1/batches"] {
            let results = router.post(path, &batch(false)).await.json()["results"].clone();
            assert!(results[0]["ok"].is_object() && results[2]["ok"].is_object(), "{path}: {results}");
            let problem = &results[1]["problem"];
            let said = (&problem["code"], &problem["outcome"]);
            assert_eq!(said, (&json!("malformed_request_id"), &json!("not_applied")), "{path}");
        }
    }
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

/// A request that is not taken: method, path and body; status, code, and what the detail says.
type Bad = (&'static str, &'static str, String, u16, &'static str, &'static str);

fn transaction(body: impl Into<String>, status: u16, code: &'static str, says: &'static str) -> Bad {
    ("POST", "/v1/transactions", body.into(), status, code, says)
}

fn get(path: &'static str, status: u16, code: &'static str, says: &'static str) -> Bad {
    ("GET", path, String::new(), status, code, says)
}

/// Bodies that are not the JSON that is expected.
fn bad_json() -> Vec<Bad> {
    let listed = r#"["l",null,[["{t}:a","debit","1.00",null],["{t}:b","credit","1.00",null]],0,0,null,{}]"#;
    let leg = json!(["{t}:a", "debit", "1.00", null]);
    let twice = |more: &str| payment("d").replacen('{', &format!("{{{more},"), 1);
    vec![
        transaction("", 400, "malformed", "empty"),
        transaction("{", 400, "malformed", "EOF"),
        transaction("[]", 400, "malformed", "invalid type: sequence"),
        transaction("\u{0}", 400, "malformed", ""),
        transaction(format!("{} x", payment("p")), 400, "malformed", "trailing"),
        transaction(listed, 400, "malformed", "invalid type: sequence"),
        transaction(with("/legs", json!([leg, leg])), 400, "malformed", "invalid type: sequence"),
        transaction(with("/legs/0/side", json!({"debit": null})), 400, "malformed", "invalid type: map"),
        transaction(twice(r#""request_id":"d""#), 400, "malformed", "duplicate field `request_id`"),
        transaction(twice(r#""metadata":{"a":"1","a":"2"}"#), 400, "malformed", "duplicate key `a`"),
        transaction(with("/extra", json!(1)), 400, "malformed", "unknown field `extra`"),
        transaction(with("/metadata", json!({"k": 1})), 400, "malformed", ""),
        transaction(" ".repeat((8 << 20) + 1), 413, "body_too_large", "8388608"),
        transaction(" ".repeat(1 << 20), 400, "malformed", "EOF"),
        ("POST", "/v1/batches", format!("[[{listed}],false]"), 400, "malformed", "invalid type: sequence"),
        (
            "POST",
            "/v1/batches",
            format!(r#"{{"transactions":[{listed}]}}"#),
            400,
            "malformed",
            "invalid type: sequence",
        ),
    ]
}

/// A payment named as nodes name the one that confirms an overdue hold.
fn confirmation() -> String {
    let mut body: Value = serde_json::from_str(&payment("~confirm-1-1-5-0-1")).expect("JSON");
    body["scope_account"] = json!("{t}:a");
    body["capture"] = json!({"hold": "1-1-5-0", "final": true});
    body.to_string()
}

/// Transactions that are well-formed JSON and make no sense.
fn bad_transactions() -> Vec<Bad> {
    let leg = json!({"account": "{t}:a", "side": "debit", "amount": "1"});
    let amount = |value| with("/legs/0/amount", value);
    let many = json!({"transactions": vec![json!({"request_id": "x", "legs": []}); 9_000]}).to_string();
    vec![
        transaction(amount(json!(1)), 400, "malformed", "JSON string"),
        transaction(amount(json!(1.5)), 400, "malformed", "JSON number is refused"),
        transaction(amount(json!("1e3")), 400, "malformed", "digits"),
        transaction(amount(json!("+1")), 400, "malformed", "digits"),
        transaction(amount(json!("1_0")), 400, "malformed", "digits"),
        transaction(amount(json!("NaN")), 400, "malformed", "digits"),
        transaction(amount(json!("9".repeat(40))), 400, "malformed", "28 digits"),
        transaction(amount(json!("-1")), 400, "amount_not_positive", ""),
        transaction(amount(json!("1.001")), 422, "excess_scale", "2 decimal places"),
        transaction(amount(json!("2")), 422, "unbalanced", "2.00"),
        transaction(with("/legs/0/side", json!("left")), 400, "malformed", "`debit`"),
        transaction(with("/legs/0/account", json!("a b")), 400, "malformed_account_id", ""),
        transaction(with("/legs/0/account", json!("{t}:b")), 400, "same_account", ""),
        transaction(with("/legs/0/currency", json!("USD")), 422, "currency_mismatch", "EUR"),
        transaction(with("/legs", json!([leg])), 400, "too_few_legs", ""),
        transaction(with("/legs", json!(vec![leg; 257])), 400, "too_many_legs", ""),
        transaction(with("/request_id", json!("")), 400, "malformed_request_id", ""),
        transaction(with("/request_id", json!("x".repeat(65))), 400, "malformed_request_id", ""),
        transaction(with("/request_id", json!("~sweep-1-1-5-0-1")), 400, "malformed_request_id", "A-Za-z0-9"),
        transaction(confirmation(), 400, "malformed_request_id", "A-Za-z0-9"),
        transaction(with("/scope_account", json!("c")), 400, "scope_account_without_leg", ""),
        transaction(with("/accounting_date", json!("2026-02-30")), 400, "malformed", "YYYY-MM-DD"),
        transaction(with("/kind", json!(65_536)), 400, "malformed", "65536"),
        ("POST", "/v1/batches", many, 413, "batch_too_large", "9000"),
    ]
}

/// Paths, parameters and the calls beside transactions.
fn bad_paths() -> Vec<Bad> {
    let reversal =
        |path, status, code, says| ("POST", path, r#"{"request_id":"r"}"#.into(), status, code, says);
    let currency =
        |path, scale: u16, code, says| ("PUT", path, json!({"scale": scale}).to_string(), 400, code, says);
    vec![
        reversal("/v1/transactions/1-1-x-0/reversals", 400, "malformed", "four"),
        reversal("/v1/transactions/9-1-1-0/reversals", 404, "not_found", "set 9"),
        reversal("/v1/transactions/1-1-99-0/reversals", 422, "transaction_not_found", ""),
        reversal("/v1/transactions/1-1-1-0/reversals?dry=1", 400, "malformed", "dry"),
        currency("/v1/currencies/X", 300, "malformed", "300"),
        currency("/v1/currencies/X", 29, "scale_too_large", ""),
        currency("/v1/currencies/a%20b", 2, "malformed_currency", ""),
        get("/v1/accounts/a%20b", 400, "malformed", "a b"),
        get("/v1/accounts/a?consistency=maybe", 400, "malformed", "maybe"),
        get("/v1/accounts/a?consistncy=stale", 400, "malformed", "consistncy"),
        get("/v1/accounts/a?consistency=stale&consistency=stale", 400, "malformed", "twice"),
        get("/v1/sets/x/transactions", 400, "malformed", "number of a set"),
        get("/v1/sets/9/transactions", 404, "not_found", "set 9"),
        get("/v1/sets/1/transactions?page_size=-1", 400, "malformed", "page_size"),
        get("/v1/sets/1/transactions?page_size=0", 400, "malformed", "between 1 and 1000"),
        get("/v1/sets/1/transactions?page_size=1001", 400, "malformed", "between 1 and 1000"),
        get("/v1/sets/1/transactions?page_size=2&page_size=3", 400, "malformed", "twice"),
        get("/v1/sets/1/transactions?after=7", 400, "malformed", "four"),
        get("/v1/sets/1/transactions?after=1-1-281474976710656-0", 400, "malformed", "four"),
        get("/v1/sets/1/transactions?after=2-1-1-0", 400, "malformed", "no transaction of set 1"),
        get("/v1/accounts/@clearing-01:EUR", 400, "malformed", "@clearing-01:EUR"),
        get("/v1/accounts/@clearing-9:EUR", 404, "not_found", "set 9"),
        get("/v1/sets/x/clearing/EUR", 400, "malformed", "number of a set"),
        get("/v1/sets/9/clearing/EUR", 404, "not_found", "set 9"),
        get("/v1/sets/1/clearing/a%20b", 400, "malformed_currency", ""),
        get("/v1/sets/1/clearing/EUR?after=1-1-1-0", 400, "malformed", "after"),
        get("/v2/accounts/a", 404, "route_not_found", "/v2"),
        ("DELETE", "/v1/accounts/a", String::new(), 405, "method_not_allowed", "DELETE"),
    ]
}

#[tokio::test]
async fn bad_input_gets_a_clear_error_and_nothing_is_applied() {
    let (cluster, router) = ready().await;
    let before = cluster.booked();
    let table = bad_json().into_iter().chain(bad_transactions()).chain(bad_paths());
    for (method, path, body, status, code, says) in table {
        let what = format!("{method} {path} {body:.120}");
        let headers = [("Content-Type", "application/json")];
        let answer = router.call_with(method, path, &headers, &body).await;
        assert_eq!((answer.status, answer.problem().1.as_str()), (status, code), "{what}: {:?}", answer.body);
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_string();
        assert!(detail.contains(says), "{what}: {detail:?} does not say {says:?}");
        let documented = ROUTER.iter().chain(&MALFORMED).chain(&REJECTIONS).find(|entry| entry.code == code);
        let entry = documented.unwrap_or_else(|| panic!("{code} is not documented"));
        let problem = answer.json();
        let told = (&problem["number"], &problem["outcome"], &problem["retryable"]);
        assert_eq!(told, (&json!(entry.number), &json!(entry.outcome), &json!(entry.retryable())), "{what}");
    }
    for bad in ["0", "60001", "-1", "soon", ""] {
        let headers = [("Content-Type", "application/json"), ("Twinset-Deadline-Ms", bad)];
        let answer = router.call_with("POST", "/v1/transactions", &headers, &payment("p")).await;
        assert_eq!(answer.status, 400, "deadline {bad:?}");
    }
    assert_eq!(cluster.booked(), before, "nothing was applied");
}

type Headers<'a> = &'a [(&'a str, &'a str)];

#[tokio::test]
async fn a_web_page_of_another_host_books_nothing() {
    let (cluster, router) = ready().await;
    let before = cluster.booked();
    let json = ("Content-Type", "application/json");
    let port = router.http.rsplit(':').next().expect("a port").to_string();
    let (rebound, named) = (format!("evil.example:{port}"), format!("localhost:{port}"));
    let (media, host) = ((415, "unsupported_media_type"), (403, "not_loopback"));
    let refused: &[(Headers<'_>, (u16, &str))] = &[
        (&[("Content-Type", "text/plain")], media),
        (&[("Content-Type", "application/x-www-form-urlencoded")], media),
        (&[("Content-Type", "multipart/form-data; boundary=x")], media),
        (&[], media),
        (&[("Content-Type", "application/json; charset=latin1")], media),
        (&[json, ("Content-Encoding", "gzip")], media),
        (&[json, ("Origin", "https://evil.example")], host),
        (&[json, ("Origin", "null")], host),
        (&[json, ("Host", &rebound)], host),
        (&[json, ("Host", "10.0.0.1")], host),
    ];
    for (headers, (status, code)) in refused {
        let answer = router.call_with("POST", "/v1/transactions", headers, &payment("w")).await;
        assert_eq!(answer.problem(), (*status, (*code).into(), "not_applied".into()), "{headers:?}");
        if code == &host.1 {
            let read = router.call_with("GET", "/metrics", headers, "").await;
            assert_eq!(read.problem().1, *code, "{headers:?}: nothing is told either");
        }
    }
    assert_eq!(cluster.booked(), before, "nothing was applied");
    let taken: &[Headers<'_>] = &[
        &[("Content-Type", "application/json; charset=utf-8"), ("Content-Encoding", "identity")],
        &[json, ("Origin", "http://localhost:3000"), ("Host", &named)],
        &[json, ("Origin", "http://[::1]:3000"), ("Host", "[::1]")],
    ];
    for (n, headers) in taken.iter().enumerate() {
        let answer = router.call_with("POST", "/v1/transactions", headers, &payment(&format!("t-{n}"))).await;
        assert_eq!(answer.status, 200, "{headers:?}: {:?}", answer.body);
    }
}

#[tokio::test]
async fn methods_are_told_and_head_is_get_without_its_body() {
    let (_cluster, router) = ready().await;
    for (method, path, allow) in [
        ("PUT", "/v1/transactions", "POST, GET, HEAD"),
        ("OPTIONS", "/v1/accounts/a", "GET, HEAD"),
        ("HEAD", "/v1/batches", "POST"),
    ] {
        let answer = router.call(method, path, "", None).await;
        assert_eq!(
            (answer.status, &answer.headers["allow"]),
            (405, &allow.parse().expect("text")),
            "{method} {path}"
        );
    }
    for path in
        ["/v1/accounts/%7Bt%7D:a", "/v1/accounts/nobody", "/openapi.json", "/healthz", "/readyz", "/v2"]
    {
        let (get, head) = (router.get(path).await, router.call("HEAD", path, "", None).await);
        assert_eq!((head.status, head.body.len()), (get.status, 0), "{path}");
        for name in ["content-type", "content-length"] {
            assert_eq!(head.headers.get(name), get.headers.get(name), "{name} of {path}");
        }
    }
}

/// Sends bytes as they are; the whole answer, up to the end of the connection.
async fn raw(router: &Router, request: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(&router.http).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer and the end");
    answer
}

#[tokio::test]
async fn what_is_no_request_gets_a_problem_too() {
    let (_cluster, router) = ready().await;
    let host = "Host: localhost\r\nConnection: close\r\n";
    let (long, many) = ("x".repeat(70_000), "A: b\r\n".repeat(150));
    let table = [
        ("GET / HTTP/7.0\r\n\r\n".to_string(), "HTTP/1.1 400 ", "malformed"),
        (format!("GET /{long} HTTP/1.1\r\n{host}\r\n"), "HTTP/1.1 414 ", "url_too_long"),
        (format!("GET / HTTP/1.1\r\n{host}{many}\r\n"), "HTTP/1.1 431 ", "headers_too_large"),
        ("GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_string(), "HTTP/1.1 400 ", "malformed"),
    ];
    for (request, status, code) in table {
        let answer = raw(&router, &request).await;
        assert!(answer.starts_with(status), "{request:.60}: {answer:.300}");
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        assert!(head.contains("content-type: application/problem+json"), "{head}");
        let body: Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["code"], code, "{request:.60}");
    }
}

#[tokio::test]
async fn the_router_tells_about_itself() {
    let cluster = Cluster::start_silent(true).await;
    let router = cluster.router().await;
    assert_eq!(router.get("/healthz").await.status, 200);
    cluster.lead("a1", 1);
    let document = router.get("/openapi.json").await.json();
    assert!(document["paths"]["/v1/transactions"]["post"].is_object());
    eventually("the leader is known", async || {
        let metrics = router.get("/metrics").await;
        String::from_utf8_lossy(&metrics.body).contains("twinset_router_set_has_leader{set=\"1\"} 1")
    })
    .await;
}

#[tokio::test]
async fn a_router_is_ready_while_a_node_answers() {
    let cluster = Cluster::start_silent(true).await;
    let router = cluster.router().await;
    let said = async || {
        let answer = router.get("/readyz").await;
        (answer.status, String::from_utf8_lossy(&answer.body).trim().to_string())
    };
    eventually("it is ready, whoever leads", async || said().await == (200, "ready".into())).await;
    let (last, others) = cluster.nodes.split_last().expect("nodes");
    others.iter().for_each(|node| node.die());
    let connected = async || router.handle.api().connected_nodes();
    eventually("one node is left", async || connected().await == 1).await;
    assert_eq!(said().await.0, 200, "one node is enough");
    last.die();
    let none = (503, "not ready: no node that hosts sets answers".to_string());
    eventually("it is not ready", async || said().await == none).await;
    let unknown = Cluster::start().await;
    let mut config = unknown.config();
    config.seeds = vec!["127.0.0.1:1".into()];
    let lost = unknown.router_that_may_be_lost(config).await;
    let answer = lost.get("/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(String::from_utf8_lossy(&answer.body).contains("about the cluster yet"), "{:?}", answer.body);
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
    assert!(text.starts_with("HTTP/1.1 429 ") && text.contains("\"overloaded\""), "{text}");
    assert_eq!(router.get("/healthz").await.status, 200, "the others are served");
}
