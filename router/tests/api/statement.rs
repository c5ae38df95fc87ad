//! Statements and balances of the past, over HTTP and gRPC: how parameters arrive at the node, how its answer is spelled, and
//! what is refused before any node is asked.

use serde_json::json;
use twinset_proto::cluster::v1::read_request::Query;
use twinset_proto::ledger::v1 as wire;
use twinset_proto::ledger::v1::get_balance_request::At;
use twinset_proto::ledger::v1::ledger_client::LedgerClient;

use crate::support::{Cluster, Router};

async fn ready() -> (Cluster, Router) {
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    router.open_accounts().await;
    for n in 0..3 {
        assert_eq!(router.pay(&format!("p-{n}"), 10_000).await.status, 200);
    }
    (cluster, router)
}

fn last_query(cluster: &Cluster) -> Query {
    let seen = cluster.node("a1").seen.lock().expect("no test panicked with it");
    seen.query.clone().expect("a read")
}

#[tokio::test]
async fn a_statement_is_read_page_by_page() {
    let (_cluster, router) = ready().await;
    let path = "/v1/accounts/{t}:b/statement";
    let first = router.get(path).await;
    assert_eq!(first.status, 200, "{:?}", first.body);
    let first = first.json();
    assert_eq!((&first["account"], &first["currency"]), (&json!("{t}:b"), &json!("EUR")));
    assert_eq!((&first["opening"], &first["closing"]), (&json!("0.00"), &json!("-3.00")));
    assert_eq!((&first["normal_side"], &first["age_ms"]), (&json!("debit"), &json!(0)));
    assert_eq!(first["as_of"]["time"], "1970-01-01T00:00:01Z");
    let line = &first["lines"][1];
    assert_eq!(line["side"], "credit");
    assert_eq!((&line["amount"], &line["posted"]), (&json!("1.00"), &json!("-2.00")));
    assert_eq!((&line["kind"], &line["metadata"]), (&json!(0), &json!({})));
    assert!(line["position"]["time"].as_str().expect("a time").starts_with("1970-01-01T00:00:01"));
    assert!(line.get("part_of").is_none() && line.get("reverses").is_none(), "{line}");
    let second = router.get(&format!("{path}?cursor={}", first["next"].as_str().expect("more"))).await.json();
    assert_eq!(second["lines"].as_array().map(Vec::len), Some(1));
    assert_eq!(second["next"], "");
    let days = router.get(&format!("{path}?from_date=2026-01-01")).await.json();
    assert!(days.get("opening").is_none() && days.get("closing").is_none(), "{days}");
}

#[tokio::test]
async fn what_is_asked_arrives_at_the_node() {
    let (cluster, router) = ready().await;
    let path = "/v1/accounts/{t}:a/statement?from=2026-01-01T00:00:00Z&until=2026-01-01T01:00:00%2B00:30\
                &from_date=2026-01-01&until_date=2026-01-31&kind=7&reason=65535&min_amount=1.5&max_amount=20\
                &metadata_key=order&metadata_value=&order=newest_first&cursor=1.2.3.4&page_size=7";
    assert_eq!(router.get(path).await.status, 200);
    let from = 1_767_225_600_000_000_000;
    let expected = wire::GetStatementRequest {
        account: "{t}:a".into(),
        from_unix_ns: Some(from),
        until_unix_ns: Some(from + 1_800_000_000_000),
        from_date: "2026-01-01".into(),
        until_date: "2026-01-31".into(),
        kind: Some(7),
        reason: Some(65_535),
        min_amount: "1.5".into(),
        max_amount: "20".into(),
        metadata_key: "order".into(),
        metadata_value: Some(String::new()),
        newest_first: true,
        cursor: "1.2.3.4".into(),
        page_size: Some(7),
        consistency: 0,
    };
    assert_eq!(last_query(&cluster), Query::Statement(expected.clone()));
    let mut client = LedgerClient::connect(format!("http://{}", router.handle.grpc)).await.expect("connects");
    client.get_statement(expected.clone()).await.expect("read");
    assert_eq!(last_query(&cluster), Query::Statement(expected));
    assert_eq!(router.get("/v1/accounts/{t}:a/statement?order=oldest_first").await.status, 200);
    let plain = wire::GetStatementRequest {
        account: "{t}:a".into(),
        page_size: Some(100),
        ..wire::GetStatementRequest::default()
    };
    assert_eq!(last_query(&cluster), Query::Statement(plain));
}

#[tokio::test]
async fn a_balance_is_of_a_time_a_position_or_now() {
    let (cluster, router) = ready().await;
    let asked =
        |at| Query::Balance(wire::GetBalanceRequest { account: "{t}:a".into(), at, ..Default::default() });
    let now = router.get("/v1/accounts/{t}:a/balance").await.json();
    assert_eq!((&now["posted"], &now["currency"]), (&json!("3.00"), &json!("EUR")));
    assert!(now.get("position").is_none(), "{now}");
    assert_eq!(last_query(&cluster), asked(None));
    let then = router.get("/v1/accounts/{t}:a/balance?time=1970-01-01T00:00:01.000000005Z").await.json();
    assert_eq!(
        then["position"],
        json!({"set": now["as_of"]["set"], "index": 1, "time": "1970-01-01T00:00:00.000000001Z"})
    );
    assert_eq!(last_query(&cluster), asked(Some(At::TimeUnixNs(1_000_000_005))));
    assert_eq!(router.get("/v1/accounts/{t}:a/balance?position=2").await.status, 200);
    assert_eq!(last_query(&cluster), asked(Some(At::Index(2))));
    let mut client = LedgerClient::connect(format!("http://{}", router.handle.grpc)).await.expect("connects");
    let at = Some(At::Index(2));
    let request = wire::GetBalanceRequest { account: "{t}:a".into(), at, consistency: 0 };
    assert_eq!(client.get_balance(request).await.expect("read").into_inner().posted, "3.00");
}

#[tokio::test]
async fn what_is_not_there_says_so() {
    let (_cluster, router) = ready().await;
    let table = [
        ("/v1/accounts/nobody/statement", "there is no account nobody"),
        ("/v1/accounts/nobody/balance", "there is no account nobody"),
        ("/v1/accounts/{t}:a/balance?position=99", "and not to 99 yet"),
        ("/v1/accounts/nobody/balance?position=0", "there is no account nobody"),
        (
            "/v1/accounts/@clearing-1:EUR/statement",
            "nothing over several sets was booked in EUR in set 1 yet",
        ),
        ("/v1/accounts/@clearing-1:EUR/balance", "nothing over several sets was booked in EUR in set 1 yet"),
        ("/v1/accounts/@clearing-9:EUR/statement", "there is no set 9"),
    ];
    for (path, says) in table {
        let answer = router.get(path).await;
        assert_eq!(answer.problem(), (404, "not_found".into(), "not_applied".into()), "{path}");
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_string();
        assert!(detail.contains(says), "{path}: {detail}");
    }
}

#[tokio::test]
async fn bad_questions_are_refused_before_a_node_is_asked() {
    let (cluster, router) = ready().await;
    let reads = || cluster.node("a1").seen.lock().expect("no test panicked with it").reads;
    let before = reads();
    let statement = [
        ("from=yesterday", "from \"yesterday\" is no RFC 3339 time"),
        ("until=2026-01-01", "until \"2026-01-01\" is no RFC 3339 time"),
        ("from=2026-01-01T00:00:00Z&until=2026-01-01T00:00:00Z", "from is not before until"),
        ("from=", "from is empty"),
        ("from_date=2026-02-30", "YYYY-MM-DD"),
        ("until_date=1.1.2026", "YYYY-MM-DD"),
        ("from_date=2026-01-02&until_date=2026-01-01", "from_date is after until_date"),
        ("kind=-1", "kind \"-1\""),
        ("kind=65536", "kind 65536 is too large"),
        ("reason=x", "reason \"x\""),
        ("min_amount=1,50", "min_amount: "),
        ("max_amount=1e3", "max_amount: "),
        ("min_amount=2&max_amount=1.99", "min_amount is more than max_amount"),
        ("metadata_value=1234", "metadata_value is given without metadata_key"),
        ("metadata_key=", "metadata_key is empty"),
        ("order=random", "order is \"oldest_first\" or \"newest_first\", not \"random\""),
        ("page_size=0", "between 1 and 1000"),
        ("page_size=1001", "between 1 and 1000"),
        ("page_size=ten", "page_size \"ten\""),
        ("cursor=", "cursor is empty"),
        ("kind=1&kind=2", "twice"),
        ("after=1-1-1-0", "known here: consistency, from, until"),
        ("consistency=maybe", "maybe"),
    ];
    let balance = [
        ("time=now", "time \"now\" is no RFC 3339 time"),
        ("position=-1", "position \"-1\""),
        ("position=1-1-1-0", "position \"1-1-1-0\""),
        ("time=2026-01-01T00:00:00Z&position=1", "one is enough"),
        ("from=2026-01-01T00:00:00Z", "known here: consistency, time, position"),
    ];
    let table = statement.map(|(query, says)| (format!("/v1/accounts/{{t}}:a/statement?{query}"), says));
    let more = balance.map(|(query, says)| (format!("/v1/accounts/{{t}}:a/balance?{query}"), says));
    let paths = [
        ("/v1/accounts/a%20b/statement".to_owned(), "a b"),
        ("/v1/accounts/@clearing-01:EUR/balance".to_owned(), "@clearing-01:EUR"),
    ];
    for (path, says) in table.into_iter().chain(more).chain(paths) {
        let answer = router.get(&path).await;
        assert_eq!(answer.problem(), (400, "malformed".into(), "not_applied".into()), "{path}");
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_string();
        assert!(detail.contains(says), "{path}: {detail}");
    }
    let answer = router.post("/v1/accounts/{t}:a/statement", "{}").await;
    assert_eq!(answer.problem().1, "method_not_allowed");
    let mut client = LedgerClient::connect(format!("http://{}", router.handle.grpc)).await.expect("connects");
    let asked = wire::GetStatementRequest { account: "{t}:a".into(), ..wire::GetStatementRequest::default() };
    let table = [
        wire::GetStatementRequest { consistency: 7, ..asked.clone() },
        wire::GetStatementRequest { page_size: Some(0), ..asked.clone() },
        wire::GetStatementRequest { kind: Some(70_000), ..asked.clone() },
        wire::GetStatementRequest { from_date: "x".into(), ..asked },
    ];
    for request in table {
        let status = client.get_statement(request.clone()).await.expect_err("refused");
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{request:?}");
    }
    assert_eq!(reads(), before, "no node was asked");
}
