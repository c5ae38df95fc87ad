//! Transactions by a reference of the client's own, over HTTP and gRPC: of all sets, without an account.

use serde_json::{Value, json};
use tonic::Code;
use twinset_proto::ledger::v1 as wire;
use twinset_proto::ledger::v1::ledger_client::LedgerClient;

use crate::support::{Answer, Cluster, Router};

const ORDER: &str = "ORDER 12/34";
const ASKED: &str = "/v1/transactions?reference=ORDER%2012/34";

/// A cluster of two sets, a router, and what was booked with one reference: in each set by itself, and over both.
struct Ground {
    cluster: Cluster,
    router: Router,
    /// In the order of sets and positions.
    booked: Vec<String>,
}

impl Ground {
    async fn new() -> Ground {
        let cluster = Cluster::start().await;
        let router = cluster.router().await;
        let accounts = [1, 2].map(|set| ["a", "b"].map(|tag| cluster.account_in(set, tag)));
        for account in accounts.iter().flatten() {
            router.open(account).await;
        }
        let [[a, b], [c, d]] = &accounts;
        let mut ground = Ground { cluster, router, booked: Vec::new() };
        let second = ground.pay("p-1", [c, d], ORDER).await;
        let first = ground.pay("p-2", [a, b], ORDER).await;
        let both = ground.pay("p-3", [b, c], ORDER).await;
        ground.pay("p-4", [a, b], "another").await;
        ground.booked = vec![first, both, second];
        ground
    }

    async fn pay(&self, request_id: &str, [from, to]: [&String; 2], reference: &str) -> String {
        let leg = |account: &str, side: &str| json!({"account": account, "side": side, "amount": "1.00"});
        let body = json!({"request_id": request_id, "scope_account": from,
            "legs": [leg(from, "debit"), leg(to, "credit")], "metadata": {"reference": reference}});
        let answer = self.router.post("/v1/transactions", &body.to_string()).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        answer.json()["transaction"].as_str().expect("an id").to_owned()
    }

    async fn ask(&self, query: &str) -> Answer {
        self.router.call("GET", &format!("{ASKED}{query}"), "", Some(300)).await
    }

    fn withhold(&self, set: u32) {
        self.cluster.shared.withheld.lock().expect("no test panicked with it").insert(set);
    }
}

fn names(page: &Value) -> Vec<&str> {
    let found = page["transactions"].as_array().expect("a page").iter();
    found.map(|found| found["transaction"].as_str().expect("a name")).collect()
}

#[tokio::test]
async fn a_reference_alone_finds_what_was_booked_in_any_set() {
    let ground = Ground::new().await;
    let whole = ground.ask("").await.json();
    assert_eq!(names(&whole), ground.booked);
    assert_eq!((&whole["next"], &whole["silent"], &whole["age_ms"]), (&json!(""), &json!([]), &json!(0)));
    assert_eq!([&whole["as_of"][0]["set"], &whole["as_of"][1]["set"]], [1, 2]);
    assert_eq!(names(&ground.ask("&set=2").await.json()), ground.booked[2..]);
    assert_eq!(ground.ask("&consistency=stale").await.json()["age_ms"], 1);
    let none = ground.router.get("/v1/transactions?reference=ORDER").await;
    assert_eq!((none.status, names(&none.json())), (200, vec![]));

    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = ground.ask(&format!("&page_size=1&after={after}")).await.json();
        found.extend(names(&page).into_iter().map(str::to_owned));
        after = page["next"].as_str().expect("a place").to_owned();
        if after.is_empty() {
            break;
        }
    }
    assert_eq!(found, ground.booked);
}

#[tokio::test]
async fn a_set_that_is_silent_is_named_and_nothing_found_is_no_answer_then() {
    let ground = Ground::new().await;
    ground.withhold(1);
    let page = ground.ask("").await.json();
    assert_eq!((names(&page), &page["silent"]), (vec![ground.booked[2].as_str()], &json!([1])));
    // It may be booked where nobody answers.
    let elsewhere = "/v1/transactions?reference=another";
    let refused = ground.router.call("GET", elsewhere, "", Some(300)).await;
    assert_eq!(refused.problem(), (503, "no_leader".into(), "not_applied".into()));
    assert!(refused.json()["detail"].as_str().expect("a text").starts_with("set 1 does not answer"));
    let told = format!("{elsewhere}&set=2");
    assert_eq!(names(&ground.router.get(&told).await.json()), Vec::<&str>::new());
}

#[tokio::test]
async fn a_set_whose_index_is_being_built_says_so() {
    let ground = Ground::new().await;
    ground.cluster.shared.unbuilt.lock().expect("no test panicked with it").extend([1, 2]);
    let refused = ground.ask("").await;
    assert_eq!(refused.problem(), (503, "index_building".into(), "not_applied".into()));
    let detail = refused.json()["detail"].as_str().expect("a text").to_owned();
    assert!(detail.contains("set 1") && detail.ends_with("3 of 9"), "{detail}");
    let mut client =
        LedgerClient::connect(format!("http://{}", ground.router.handle.grpc)).await.expect("connects");
    let asked = wire::FindTransactionsRequest { reference: ORDER.into(), ..Default::default() };
    let refused = client.find_transactions(asked).await.expect_err("it is refused");
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(refused.metadata().get("twinset-code").expect("a code"), "index_building");
    ground.cluster.shared.unbuilt.lock().expect("no test panicked with it").remove(&2);
    let page = ground.ask("").await.json();
    assert_eq!((names(&page), &page["silent"]), (vec![ground.booked[2].as_str()], &json!([1])));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let ground = Ground::new().await;
    let long = format!("?reference={}", "x".repeat(513));
    for (query, code) in [
        ("", "malformed"),
        ("?reference=", "malformed"),
        (long.as_str(), "malformed"),
        ("?reference=x&after=7", "malformed"),
        ("?reference=x&page_size=101", "malformed"),
        ("?reference=x&set=x", "malformed"),
        ("?reference=x&order=newest_first", "malformed"),
        ("?reference=x&set=3", "not_found"),
    ] {
        assert_eq!(ground.router.get(&format!("/v1/transactions{query}")).await.problem().1, code, "{query}");
    }
}

#[tokio::test]
async fn grpc_says_the_same() {
    let ground = Ground::new().await;
    let mut client =
        LedgerClient::connect(format!("http://{}", ground.router.handle.grpc)).await.expect("connects");
    let asked = wire::FindTransactionsRequest {
        reference: ORDER.into(),
        page_size: Some(2),
        ..wire::FindTransactionsRequest::default()
    };
    let page = client.find_transactions(asked.clone()).await.expect("it is told").into_inner();
    let names = |page: &wire::FindTransactionsReply| {
        page.transactions.iter().map(|found| found.transaction.clone()).collect::<Vec<_>>()
    };
    assert_eq!((names(&page), &page.next), (ground.booked[..2].to_vec(), &ground.booked[1]));
    let rest = wire::FindTransactionsRequest { after: page.next, ..asked };
    let page = client.find_transactions(rest).await.expect("it is told").into_inner();
    assert_eq!((names(&page), page.next.as_str()), (ground.booked[2..].to_vec(), ""));
    let none = wire::FindTransactionsRequest::default();
    assert_eq!(
        client.find_transactions(none).await.expect_err("nothing is asked").code(),
        Code::InvalidArgument
    );
}
