//! Buffered accounts over HTTP and gRPC: the mode, legs that are on their way, and what could not be booked.

use serde_json::{Value, json};
use twinset_proto::cluster::v1::read_request;
use twinset_proto::ledger::v1 as wire;
use twinset_proto::ledger::v1::ledger_client::LedgerClient;

use crate::support::node::Mode;
use crate::support::{Answer, Cluster, Router, buffered};

/// `payer` in set 1, without a floor, and `shop` in set 2, which need not be asked.
struct Ground {
    cluster: Cluster,
    router: Router,
    payer: String,
    shop: String,
}

impl Ground {
    async fn new() -> Ground {
        let cluster = Cluster::start().await;
        let router = cluster.router().await;
        let (payer, shop) = (cluster.account_in(1, "payer"), cluster.account_in(2, "shop"));
        let ground = Ground { cluster, router, payer, shop };
        for account in [&ground.payer, &ground.shop] {
            let body = json!({"request_id": "open", "account": account, "subject": "liability",
                "currency": "EUR", "limit": "none"});
            assert_eq!(ground.post("/v1/accounts", body).await.status, 200);
        }
        let set = ground.mode("m1", "buffered").await;
        assert_eq!(set.status, 200, "{:?}", set.body);
        buffered::announce(
            &mut ground.cluster.shared.truth.lock().expect("no test panicked with it"),
            2,
            &ground.shop,
        );
        ground
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.router.post(path, &body.to_string()).await
    }

    async fn mode(&self, request_id: &str, mode: &str) -> Answer {
        let path = format!("/v1/accounts/{}/posting-mode", self.shop);
        self.post(&path, json!({"request_id": request_id, "mode": mode})).await
    }

    async fn pay(&self, request_id: &str, amount: &str) -> Value {
        let legs = json!([
            {"account": self.shop, "side": "credit", "amount": amount},
            {"account": self.payer, "side": "debit", "amount": amount},
        ]);
        let paid = self.post("/v1/transactions", json!({"request_id": request_id, "legs": legs})).await;
        assert_eq!(paid.status, 200, "{:?}", paid.body);
        paid.json()
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.router.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {:?}", answer.body);
        answer.json()
    }

    async fn in_transit(&self) -> Value {
        self.get(&format!("/v1/accounts/{}/in-transit", self.shop)).await
    }

    fn ship(&self) {
        buffered::ship(&mut self.cluster.shared.truth.lock().expect("no test panicked with it"), 1, 2);
    }
}

#[tokio::test]
async fn a_leg_on_its_way_has_no_balance_and_stands_in_its_place() {
    let ground = Ground::new().await;
    let paid = ground.pay("p1", "2.50").await;
    let expected = json!([
        {"account": ground.shop, "side": "credit", "amount": "2.50", "in_transit": true},
        {"account": ground.payer, "side": "debit", "amount": "2.50", "posted": "-2.50", "available": "-2.50"},
    ]);
    assert_eq!(paid["postings"], expected);
    assert_eq!(ground.pay("p1", "2.50").await["replayed"], true);
    ground.pay("p2", "1.00").await;
    let on_its_way = ground.in_transit().await;
    assert_eq!((&on_its_way["amount"], &on_its_way["currency"]), (&json!("3.50"), &json!("EUR")));
    assert_eq!((&on_its_way["from"][0]["set"], &on_its_way["from"][0]["credits"]), (&json!(1), &json!(2)));
    assert_eq!(on_its_way["silent"], json!([]));
    ground.ship();
    assert_eq!(ground.in_transit().await["amount"], "0.00");
    let shop = ground.get(&format!("/v1/accounts/{}", ground.shop)).await;
    assert_eq!(shop["account"]["posted"], "3.50");
}

#[tokio::test]
async fn an_account_is_read_with_what_is_on_its_way_to_it() {
    let ground = Ground::new().await;
    ground.pay("p1", "2.50").await;
    ground.pay("p2", "1.00").await;
    let plain = format!("/v1/accounts/{}", ground.shop);
    let path = format!("{plain}?in_transit=true");
    let found = ground.get(&path).await;
    assert_eq!(found["account"]["posted"], "0.00");
    let from = &found["in_transit"]["from"];
    assert_eq!(
        (&from[0]["set"], &from[0]["credits"], &from[0]["amount"]),
        (&json!(1), &json!(2), &json!("3.50"))
    );
    assert_eq!(
        (&found["in_transit"]["amount"], &found["in_transit"]["silent"]),
        (&json!("3.50"), &json!([]))
    );
    // The account itself is read last, so that no credit is in neither.
    let last = ground.cluster.node("a1").seen.lock().unwrap().query.clone();
    assert_eq!(last, Some(read_request::Query::Account(ground.shop.clone())));
    for same in [plain.clone(), format!("{plain}?in_transit=false")] {
        assert!(ground.get(&same).await.get("in_transit").is_none(), "{same}");
    }
    ground.ship();
    let found = ground.get(&path).await;
    assert_eq!(
        (&found["account"]["posted"], &found["in_transit"]["amount"]),
        (&json!("3.50"), &json!("0.00"))
    );
    for (path, code) in [
        (format!("{plain}?in_transit=yes"), "malformed"),
        ("/v1/accounts/@clearing-1:EUR?in_transit=true".to_owned(), "malformed"),
        (format!("/v1/accounts/{}?in_transit=true", ground.cluster.account_in(2, "nobody")), "not_found"),
    ] {
        assert_eq!(ground.router.get(&path).await.problem().1, code, "{path}");
    }
}

#[tokio::test]
async fn an_account_whose_set_has_no_leader_is_told_with_its_age_or_not_at_all() {
    let ground = Ground::new().await;
    ground.pay("p1", "2.00").await;
    let path = format!("/v1/accounts/{}?in_transit=true", ground.shop);
    for node in ["a1", "a2", "b1", "b2"] {
        ground.cluster.node(node).set_mode(Mode::NotLeader(String::new()));
    }
    let refused = ground.router.call("GET", &path, "", Some(500)).await;
    assert_eq!((refused.status, refused.problem().1.as_str()), (503, "no_leader"));
    let stale = ground.get(&format!("{path}&consistency=stale")).await;
    assert_eq!((&stale["account"]["posted"], &stale["age_ms"]), (&json!("0.00"), &json!(2)));
    let from = &stale["in_transit"]["from"][0];
    assert_eq!((&from["amount"], &from["age_ms"]), (&json!("2.00"), &json!(1)));
}

#[tokio::test]
async fn a_payers_set_that_does_not_answer_costs_the_account_half_the_time() {
    let ground = Ground::new().await;
    ground.pay("p1", "2.00").await;
    ground.cluster.shared.withheld.lock().unwrap().insert(1);
    let path = format!("/v1/accounts/{}?in_transit=true", ground.shop);
    let answer = ground.router.call("GET", &path, "", Some(2_000)).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let found = answer.json();
    assert_eq!((&found["account"]["posted"], &found["in_transit"]["silent"]), (&json!("0.00"), &json!([1])));
}

#[tokio::test]
async fn grpc_says_the_same() {
    let ground = Ground::new().await;
    let mut client = LedgerClient::connect(format!("http://{}", ground.router.handle.grpc)).await.unwrap();
    let leg = |account: &str, side: wire::Side| wire::Leg {
        account: account.into(),
        side: side.into(),
        amount: "4".into(),
        ..wire::Leg::default()
    };
    let legs = vec![leg(&ground.payer, wire::Side::Debit), leg(&ground.shop, wire::Side::Credit)];
    let asked = wire::PostTransactionRequest { request_id: "g1".into(), legs, ..Default::default() };
    let paid = client.post_transaction(asked).await.unwrap().into_inner();
    assert_eq!(paid.postings.iter().map(|leg| leg.in_transit).collect::<Vec<_>>(), [false, true]);
    assert_eq!((paid.postings[1].amount.as_str(), paid.postings[1].posted.as_str()), ("4.00", ""));
    let asked = wire::GetInTransitRequest { account: ground.shop.clone(), consistency: 0 };
    let on_its_way = client.get_in_transit(asked).await.unwrap().into_inner();
    assert_eq!(on_its_way.amount, "4.00");
    let asked =
        |in_transit| wire::GetAccountRequest { account: ground.shop.clone(), consistency: 0, in_transit };
    let found = client.get_account(asked(true)).await.unwrap().into_inner();
    assert_eq!((found.account.unwrap().posted.as_str(), found.in_transit), ("0.00", Some(on_its_way)));
    assert_eq!(client.get_account(asked(false)).await.unwrap().into_inner().in_transit, None);
    let mode = |mode: wire::PostingMode| wire::SetPostingModeRequest {
        request_id: "g2".into(),
        account: ground.shop.clone(),
        mode: mode.into(),
    };
    for refused in [wire::PostingMode::PostingUnspecified, wire::PostingMode::PostingDraining] {
        let refused = client.set_posting_mode(mode(refused)).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    }
    client.set_posting_mode(mode(wire::PostingMode::PostingStrict)).await.unwrap();
}

#[tokio::test]
async fn what_is_not_strict_is_not_closed_and_other_modes_are_none() {
    let ground = Ground::new().await;
    let path = format!("/v1/accounts/{}/close", ground.shop);
    let closed = ground.post(&path, json!({"request_id": "c1"})).await;
    assert_eq!(closed.problem().1, "account_buffered");
    assert_eq!(ground.mode("m2", "draining").await.problem().1, "malformed");
    assert_eq!(ground.mode("m1", "strict").await.problem().1, "request_mismatch");
}

#[tokio::test]
async fn a_set_that_does_not_answer_is_named_and_the_others_are_told() {
    let ground = Ground::new().await;
    ground.pay("p1", "2.00").await;
    for node in ["a1", "a2", "b1", "b2"] {
        ground.cluster.node(node).set_mode(Mode::NotLeader(String::new()));
    }
    let path = format!("/v1/accounts/{}/in-transit", ground.shop);
    let answer = ground.router.call("GET", &path, "", Some(1_000)).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    assert_eq!((&answer.json()["silent"], &answer.json()["from"]), (&json!([1]), &json!([])));
}

#[tokio::test]
async fn what_could_not_be_booked_is_listed_with_its_reason_and_booked_on_once() {
    let ground = Ground::new().await;
    let path = format!("/v1/accounts/{}/freeze", ground.shop);
    assert_eq!(ground.post(&path, json!({"request_id": "f1", "mode": "credit"})).await.status, 200);
    let paid = ground.pay("p1", "7.00").await;
    ground.ship();
    let page = ground.get("/v1/sets/2/suspense?page_size=5").await;
    let [credit] = page["credits"].as_array().unwrap().as_slice() else { panic!("{page}") };
    assert_eq!((&credit["account"], &credit["amount"]), (&json!(ground.shop), &json!("7.00")));
    assert_eq!((&credit["reason"], &credit["transaction"]), (&json!("account_frozen"), &paid["transaction"]));
    let item = credit["item"].as_str().unwrap();
    let resolve = async |request_id: &str, item: &str| {
        let body = json!({"request_id": request_id, "account": ground.shop});
        ground.post(&format!("/v1/suspense/{item}/resolve"), body).await
    };
    assert_eq!(resolve("v1", item).await.problem().1, "account_frozen");
    let path = format!("/v1/accounts/{}/unfreeze", ground.shop);
    assert_eq!(ground.post(&path, json!({"request_id": "f2", "mode": "credit"})).await.status, 200);
    let resolved = resolve("v2", item).await;
    assert_eq!(resolved.status, 200, "{:?}", resolved.body);
    assert_eq!(resolved.json()["postings"][1]["posted"], "7.00");
    assert_eq!(resolve("v2", item).await.json()["replayed"], true);
    assert_eq!(resolve("v3", item).await.problem().1, "suspense_resolved");
    assert_eq!(resolve("v4", "2-1-9999-0").await.problem().1, "suspense_not_found");
    assert_eq!(resolve("v5", "nonsense").await.problem().1, "malformed");
    assert_eq!(ground.get("/v1/sets/2/suspense").await["credits"], json!([]));
}
