//! Groups of accounts: a credit goes to the part beside its payer, the same one however often and wherever it is sent; what
//! is read is all parts or nothing.

use serde_json::{Value, json};
use tonic::transport::Channel;
use twinset_control::groups::{MARK, Side};
use twinset_control::{Catalogue, Group};
use twinset_ledger::{Command, Effect};
use twinset_proto::ledger::v1 as wire;
use twinset_proto::ledger::v1::ledger_client::LedgerClient;

use crate::support::across::enter;
use crate::support::{Answer, Cluster, Router, account_in, eventually};

/// Parts of "pot", which takes credits: two in each set.
fn pot(catalogue: &Catalogue) -> [String; 4] {
    [(1, "pot.a"), (2, "pot.b"), (1, "pot.c"), (2, "pot.d")].map(|(set, tag)| account_in(catalogue, set, tag))
}

/// Parts of "till", which takes debits: one in each set.
fn till(catalogue: &Catalogue) -> [String; 2] {
    [(1, "till.a"), (2, "till.b")].map(|(set, tag)| account_in(catalogue, set, tag))
}

fn group(id: &str, normal_side: Side, parts: &[String]) -> Group {
    Group { id: id.into(), currency: "EUR".into(), normal_side, parts: parts.to_vec() }
}

/// A cluster with groups, two routers, and a payer in each set.
struct Ground {
    cluster: Cluster,
    routers: [Router; 2],
    /// Of set 1 and of set 2; assets without floor.
    payers: [String; 2],
    pot: [String; 4],
    till: [String; 2],
    /// The one part of "far", in set 2.
    far: String,
}

impl Ground {
    async fn new() -> Ground {
        let cluster = Cluster::start_with(|catalogue| {
            let far = account_in(catalogue, 2, "far.");
            vec![
                group("pot", Side::Credit, &pot(catalogue)),
                group("till", Side::Debit, &till(catalogue)),
                group("far", Side::Credit, &[far]),
            ]
        })
        .await;
        let routers = [cluster.router().await, cluster.router().await];
        let catalogue = &cluster.shared.catalogue;
        let payers = [1, 2].map(|set| account_in(catalogue, set, "payer"));
        let (pot, till, far) = (pot(catalogue), till(catalogue), account_in(catalogue, 2, "far."));
        for account in payers.iter().chain(&till) {
            open(&routers[0], account, "asset").await;
        }
        for account in pot.iter().chain([&far]) {
            open(&routers[0], account, "liability").await;
        }
        Ground { cluster, routers, payers, pot, till, far }
    }

    async fn post(&self, body: &Value) -> Answer {
        self.routers[0].post("/v1/transactions", &body.to_string()).await
    }

    async fn posted(&self, body: &Value) -> Value {
        let answer = self.post(body).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        answer.json()
    }

    async fn read(&self, path: &str) -> Value {
        let answer = self.routers[0].get(path).await;
        assert_eq!(answer.status, 200, "{path}: {:?}", answer.body);
        answer.json()
    }

    async fn grpc(&self) -> LedgerClient<Channel> {
        LedgerClient::connect(format!("http://{}", self.routers[1].handle.grpc)).await.expect("connects")
    }

    /// The parts of "pot" in a set.
    fn pot_in(&self, set: usize) -> [&str; 2] {
        [&self.pot[set - 1], &self.pot[set + 1]]
    }
}

async fn open(router: &Router, account: &str, subject: &str) {
    let body = json!({"request_id": "open", "account": account, "subject": subject, "currency": "EUR", "limit": "none"});
    let answer = router.post("/v1/accounts", &body.to_string()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
}

fn transaction(request_id: &str, legs: &[(&str, &str, &str)]) -> Value {
    let leg = |(account, side, amount): &(&str, &str, &str)| json!({"account": account, "side": side, "amount": amount});
    json!({"request_id": request_id, "legs": legs.iter().map(leg).collect::<Value>()})
}

/// The account of each posting.
fn accounts(booked: &Value) -> Vec<&str> {
    let postings = booked["postings"].as_array().expect("postings").iter();
    postings.map(|posting| posting["account"].as_str().expect("an account")).collect()
}

#[tokio::test]
async fn a_credit_stays_in_the_payers_set_and_the_sum_is_read() {
    let ground = Ground::new().await;
    for (set, payer) in (1..).zip(&ground.payers) {
        let credit = transaction(&format!("p-{set}"), &[("pot", "credit", "2.50"), (payer, "debit", "2.50")]);
        let booked = ground.posted(&credit).await;
        let [part, other] = accounts(&booked)[..] else { panic!("{booked}") };
        assert!(ground.pot_in(set).contains(&part) && other == payer, "{booked}");
        assert_eq!(
            (&booked["postings"][0]["group"], &booked["postings"][1]["group"]),
            (&json!("pot"), &Value::Null)
        );
        assert_eq!(booked["position"]["set"], set);
    }
    assert_eq!(ground.cluster.settled(), 0, "nothing went over several sets");

    let read = ground.read("/v1/accounts/pot").await;
    let figure = |name: &str| read["account"][name].as_str().expect("a figure").to_owned();
    assert_eq!(["posted", "available", "credits", "debits"].map(figure), ["5.00", "5.00", "5.00", "0.00"]);
    assert_eq!((&read["account"]["account"], &read["account"]["version"]), (&json!("pot"), &json!(2)));
    assert_eq!(
        (&read["account"]["currency"], &read["account"]["normal_side"]),
        (&json!("EUR"), &json!("credit"))
    );
    assert_eq!((&read["as_of"], &read["age_ms"]), (&Value::Null, &json!(0)));
    let parts = read["parts"].as_array().expect("parts");
    let named: Vec<&str> = parts.iter().filter_map(|part| part["account"]["account"].as_str()).collect();
    assert_eq!(named, ground.pot, "in the order of the definition");
    assert!(
        parts.iter().all(|part| part["account"]["group"] == "pot" && part["as_of"]["index"].is_u64()),
        "{read}"
    );

    let part = ground.read(&format!("/v1/accounts/{}", ground.pot[0])).await;
    assert_eq!((&part["account"]["group"], part.get("parts")), (&json!("pot"), None));
    let stale = ground.read("/v1/accounts/pot?consistency=stale").await;
    assert_eq!(stale["age_ms"], 2, "the oldest");
}

#[tokio::test]
async fn a_request_means_the_same_parts_at_every_router_and_for_ever() {
    let ground = Ground::new().await;
    let mut grpc = ground.grpc().await;
    let mut used = std::collections::BTreeSet::new();
    for n in 0..24 {
        let payer = &ground.payers[n % 2];
        let body = transaction(&format!("order-{n}"), &[(payer, "debit", "1"), ("pot", "credit", "1")]);
        let first = ground.posted(&body).await;
        used.insert(accounts(&first)[1].to_owned());
        let again = ground.routers[1].post("/v1/transactions", &body.to_string()).await;
        assert_eq!((again.status, &again.json()["replayed"]), (200, &json!(true)), "{:?}", again.body);
        assert_eq!(
            (&again.json()["transaction"], accounts(&again.json())),
            (&first["transaction"], accounts(&first))
        );
        let leg = |account: &str, side: wire::Side| wire::Leg {
            account: account.into(),
            side: side.into(),
            amount: "1".into(),
            ..wire::Leg::default()
        };
        let request = wire::PostTransactionRequest {
            request_id: format!("order-{n}"),
            legs: vec![leg(payer, wire::Side::Debit), leg("pot", wire::Side::Credit)],
            ..wire::PostTransactionRequest::default()
        };
        let told = grpc.post_transaction(request).await.expect("booked").into_inner();
        assert!(
            told.replayed && told.postings[1].group == "pot" && told.postings[0].group.is_empty(),
            "{told:?}"
        );
        assert_eq!(told.postings[1].account, accounts(&first)[1]);
    }
    assert_eq!(used.len(), 4, "every part had its share: {used:?}");
    let request = wire::GetAccountRequest { account: "pot".into(), ..wire::GetAccountRequest::default() };
    let read = grpc.get_account(request).await.expect("read").into_inner();
    assert_eq!((read.account.expect("an account").posted.as_str(), read.parts.len()), ("24.00", 4));
}

#[tokio::test]
async fn several_groups_and_other_legs_in_one_transaction() {
    let ground = Ground::new().await;
    let payer = ground.payers[1].as_str();
    let legs =
        [("pot", "credit", "3"), ("till", "debit", "2"), (payer, "debit", "4"), ("pot", "credit", "3")];
    let booked = ground.posted(&transaction("m-1", &legs)).await;
    let [one, till, other, two] = accounts(&booked)[..] else { panic!("{booked}") };
    assert!(one == two && ground.pot_in(2).contains(&one), "{booked}");
    assert_eq!((till, other), (ground.till[1].as_str(), payer));
    let groups: Vec<&Value> = (0..4).map(|n| &booked["postings"][n]["group"]).collect();
    assert_eq!(groups, [&json!("pot"), &json!("till"), &Value::Null, &json!("pot")]);

    // Nobody pays but groups: the parts hang on the request id alone.
    let both = transaction("m-2", &[("till", "debit", "1"), ("pot", "credit", "1")]);
    let first = ground.posted(&both).await;
    assert_eq!(accounts(&ground.posted(&both).await), accounts(&first));

    // No part beside the payer: it goes over two sets.
    let far = ground
        .posted(&transaction("m-3", &[(&ground.payers[0], "debit", "1"), ("far", "credit", "1")]))
        .await;
    assert_eq!(accounts(&far), [&ground.payers[0], &ground.far]);
    assert_eq!((&far["postings"][1]["group"], &far["position"]["set"]), (&json!("far"), &json!(1)));

    // The scope account is the payer, also where the ledger's own default would be another, and can be asked for.
    let scope = ground.posted(&transaction("m-4", &[(payer, "credit", "1"), ("till", "debit", "1")])).await;
    assert_eq!(accounts(&scope)[1], ground.till[1]);
    let found = ground.read(&format!("/v1/requests/{payer}/m-4")).await;
    assert_eq!(found["transaction"]["transaction"], scope["transaction"]);

    // Taken back, the booked part is.
    let path = format!("/v1/transactions/{}/reversals", scope["transaction"].as_str().expect("an id"));
    let answer = ground.routers[1].post(&path, r#"{"request_id":"back"}"#).await;
    assert_eq!(
        (answer.status, &answer.json()["postings"][1]["group"]),
        (200, &json!("till")),
        "{:?}",
        answer.body
    );
}

#[tokio::test]
async fn batches_and_dry_runs_mean_the_same_parts() {
    let ground = Ground::new().await;
    let payer = ground.payers[0].as_str();
    let credit = |n: usize| transaction(&format!("b-{n}"), &[(payer, "debit", "1"), ("pot", "credit", "1")]);
    let many: Vec<Value> = (0..12).map(credit).collect();
    let bad = transaction("bad", &[(payer, "credit", "1"), ("pot", "debit", "1")]);

    let dry = ground.routers[1].post("/v1/transactions?dry_run=true", &credit(3).to_string()).await.json();
    let batch = |transactions: &[Value], atomic: bool| {
        json!({"transactions": transactions, "with_postings": true, "atomic": atomic}).to_string()
    };
    let with_bad: Vec<Value> = many.iter().cloned().chain([bad.clone()]).collect();
    let dry_batch = ground.routers[1].post("/v1/batches?dry_run=true", &batch(&with_bad, false)).await.json();
    let dry_atomic = ground.routers[1].post("/v1/batches?dry_run=true", &batch(&many, true)).await.json();
    assert_eq!(ground.cluster.booked(), 9, "only the accounts were opened");
    let booked = ground.routers[0].post("/v1/batches", &batch(&with_bad, false)).await.json();
    assert_eq!(booked["results"][12]["problem"]["code"], "malformed", "{booked}");
    assert_eq!(dry_batch["results"][12]["problem"]["code"], "malformed", "{dry_batch}");
    for n in 0..12 {
        let real = &booked["results"][n]["ok"];
        assert_eq!(accounts(&dry_batch["results"][n]["ok"]), accounts(real));
        assert_eq!(accounts(&dry_atomic["results"][n]["ok"]), accounts(real));
        let named = [real, &dry_batch["results"][n]["ok"], &dry_atomic["results"][n]["ok"]];
        assert!(named.iter().all(|told| told["postings"][1]["group"] == "pot"), "{named:?}");
    }
    assert_eq!(
        (accounts(&dry), &dry["postings"][1]["group"]),
        (accounts(&booked["results"][3]["ok"]), &json!("pot"))
    );

    // Again, all or none: each is known already, as it was booked.
    let atomic = ground.routers[1].post("/v1/batches", &batch(&many, true)).await.json();
    for n in 0..12 {
        let (again, first) = (&atomic["results"][n]["ok"], &booked["results"][n]["ok"]);
        assert_eq!((&again["replayed"], &again["transaction"]), (&json!(true), &first["transaction"]));
    }
    let refused = ground.routers[0].post("/v1/batches", &batch(&with_bad, true)).await;
    assert_eq!(refused.problem(), (400, "malformed".into(), "not_applied".into()));
    assert!(
        refused.json()["detail"].as_str().is_some_and(|text| text.contains("transaction 12")),
        "{:?}",
        refused.body
    );
}

#[tokio::test]
async fn what_means_one_account_is_refused_with_a_word_on_what_to_do() {
    let ground = Ground::new().await;
    let payer = ground.payers[0].as_str();
    let booked = ground.cluster.booked();
    let with = |key: &str, value: Value| {
        let mut body = transaction("x", &[(payer, "debit", "1"), ("pot", "credit", "1")]);
        match key {
            "preconditions" => body["legs"][1][key] = value,
            _ => body[key] = value,
        }
        body
    };
    let [payers_sweep, payers_holds] = ["sweep", "holds"].map(|what| format!("/v1/accounts/{payer}/{what}"));
    let check_back = json!({"check_back": {"initiator": "shop", "to": "pot"}});
    let table = [
        (
            "/v1/transactions",
            transaction("x", &[(payer, "credit", "1"), ("pot", "debit", "1")]),
            "inflows only",
        ),
        (
            "/v1/transactions",
            transaction("x", &[(payer, "debit", "1"), ("till", "credit", "1")]),
            "inflows only",
        ),
        ("/v1/transactions", with("preconditions", json!({"version": 0})), "preconditions"),
        ("/v1/transactions", with("scope_account", json!("pot")), "name one of its 4 parts"),
        (
            "/v1/accounts",
            json!({"request_id": "x", "account": "pot", "subject": "asset", "currency": "EUR"}),
            "a group",
        ),
        ("/v1/accounts/pot/limit", json!({"request_id": "x", "limit": "0"}), "name one of its 4 parts"),
        ("/v1/accounts/pot/freeze", json!({"request_id": "x", "mode": "both"}), "name one of its 4 parts"),
        ("/v1/accounts/pot/close", json!({"request_id": "x"}), "name one of its 4 parts"),
        ("/v1/accounts/pot/holds", json!({"request_id": "x", "amount": "1"}), "name one of its 4 parts"),
        (
            "/v1/accounts/pot/sweep",
            json!({"request_id": "x", "to": payer, "daily": true}),
            "name one of its 4 parts",
        ),
        (
            payers_sweep.as_str(),
            json!({"request_id": "x", "to": "pot", "daily": true}),
            "the sweep is to pot, which is a group",
        ),
        (
            payers_holds.as_str(),
            json!({"request_id": "x", "amount": "1", "expires_at": "2030-01-01T00:00:00Z", "on_expiry": check_back}),
            "who is paid on_expiry is pot, which is a group",
        ),
        (
            "/v1/accounts/pot/posting-mode",
            json!({"request_id": "x", "mode": "buffered"}),
            "name one of its 4 parts",
        ),
        (
            "/v1/accounts/pot/restrictions/1-1-1-0/release",
            json!({"request_id": "x"}),
            "name one of its 4 parts",
        ),
    ];
    for (path, body, hint) in table {
        let answer = ground.routers[0].post(path, &body.to_string()).await;
        assert_eq!(answer.problem(), (400, "malformed".into(), "not_applied".into()), "{path} {body}");
        let detail = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
        assert!(detail.contains(hint), "{path} {body}: {detail}");
    }
    for path in [
        "accounts/pot/statement",
        "accounts/pot/holds",
        "accounts/pot/in-transit",
        "accounts/pot?in_transit=true",
        "accounts/pot/restrictions",
        "accounts/pot/restrictions/1-1-1-0",
        "requests/pot/x",
        "accounts/pot/balance?position=1",
    ] {
        let answer = ground.routers[0].get(&format!("/v1/{path}")).await;
        assert_eq!(answer.problem(), (400, "malformed".into(), "not_applied".into()), "{path}");
    }
    assert_eq!(ground.cluster.booked(), booked);
}

#[tokio::test]
async fn a_part_that_does_not_answer_leaves_no_sum() {
    let ground = Ground::new().await;
    for (set, payer) in (1..).zip(&ground.payers) {
        ground
            .posted(&transaction(&format!("p-{set}"), &[("pot", "credit", "2"), (payer, "debit", "2")]))
            .await;
    }
    let withhold = |sets: &[u32]| {
        *ground.cluster.shared.withheld.lock().expect("no test panicked with it") =
            sets.iter().copied().collect();
    };
    withhold(&[2]);
    for path in ["/v1/accounts/pot", "/v1/accounts/pot/balance?time=2030-01-01T00:00:00Z"] {
        let answer = ground.routers[0].call("GET", path, "", Some(1_000)).await;
        assert_eq!(answer.problem(), (503, "no_leader".into(), "not_applied".into()), "{path}");
    }
    // It answers late, with all of it, once the set does.
    let asked =
        || ground.cluster.nodes.iter().map(|node| node.seen.lock().expect("unbroken").reads).sum::<usize>();
    let before = asked();
    let (read, ()) = tokio::join!(ground.read("/v1/accounts/pot"), async {
        eventually("set 2 was asked and has refused", async || asked() > before + 4).await;
        withhold(&[]);
    });
    assert_eq!(read["account"]["posted"], "4.00");
}

#[tokio::test]
async fn a_balance_at_a_time_is_the_sum_of_the_parts() {
    let ground = Ground::new().await;
    for (set, payer) in (1..).zip(&ground.payers) {
        ground
            .posted(&transaction(&format!("p-{set}"), &[("pot", "credit", "2"), (payer, "debit", "2")]))
            .await;
    }
    let balance = ground.read("/v1/accounts/pot/balance?time=2030-01-01T00:00:00Z").await;
    assert_eq!(
        (&balance["account"], &balance["posted"], &balance["currency"]),
        (&json!("pot"), &json!("4.00"), &json!("EUR"))
    );
    let parts = balance["parts"].as_array().expect("parts");
    let named: Vec<&str> = parts.iter().filter_map(|part| part["account"].as_str()).collect();
    assert_eq!(named, ground.pot);
    assert!(parts.iter().all(|part| part["position"]["index"] == 1), "{balance}");
    assert!(balance.get("position").is_none() && balance["as_of"].is_null(), "{balance}");
}

/// The account that keeps a group's id, at a router that has not heard of the group: the group may have had money since.
#[tokio::test]
async fn a_router_that_does_not_know_a_group_says_so() {
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    let open = async |account: &str, mark: &str| {
        let metadata = json!({MARK: mark});
        let body = json!({"request_id": "o", "account": account, "subject": "asset", "currency": "EUR", "metadata": metadata});
        assert_eq!(router.post("/v1/accounts", &body.to_string()).await.status, 200);
    };
    open("later", "later").await;
    assert_eq!(router.get("/v1/accounts/later").await.status, 200, "it is not closed yet");
    let close = async |account: &str| {
        let path = format!("/v1/accounts/{account}/close");
        assert_eq!(router.post(&path, r#"{"request_id":"c"}"#).await.status, 200);
    };
    close("later").await;
    for path in ["", "/balance", "/balance?time=2030-01-01T00:00:00Z", "/statement"] {
        let answer = router.get(&format!("/v1/accounts/later{path}")).await;
        assert_eq!(answer.problem(), (503, "group_unknown".into(), "not_applied".into()), "{path}");
    }
    // The mark of another id means nothing.
    open("other", "later").await;
    close("other").await;
    for path in ["", "/balance", "/statement"] {
        assert_eq!(router.get(&format!("/v1/accounts/other{path}")).await.status, 200, "{path}");
    }
}

/// Whatever that router is asked to book on the group, it is told to ask again: also where another router, which knows the group,
/// has booked the request.
#[tokio::test]
async fn a_router_that_does_not_know_a_group_gives_no_last_word_on_a_credit() {
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    let (payer, part) = (cluster.account_in(1, "payer"), cluster.account_in(1, "later.1"));
    open(&router, &payer, "asset").await;
    open(&router, &part, "liability").await;
    let near = cluster.account_in(1, "near");
    let groups = ["later", &near].map(|group| Command::DefineGroup { group: group.to_owned() });
    for set in [1, 2] {
        let mut truth = cluster.shared.truth.lock().expect("no test panicked with it");
        let (_, outcomes) = enter(&mut truth, set, &groups);
        assert!(outcomes.iter().all(|outcome| outcome.result == Ok(Effect::Defined { changed: true })));
    }
    let mut elsewhere = transaction("p", &[(&payer, "debit", "2"), (&part, "credit", "2")]);
    elsewhere["scope_account"] = json!(payer);
    let booked = router.post("/v1/transactions", &elsewhere.to_string()).await;
    assert_eq!(booked.status, 200, "{:?}", booked.body);

    let refused = (503, "leg_on_group".to_owned(), "not_applied".to_owned());
    for id in ["p", "q"] {
        let credit = transaction(id, &[(&payer, "debit", "2"), ("later", "credit", "2")]);
        for path in ["/v1/transactions", "/v1/transactions?dry_run=true"] {
            let answer = router.post(path, &credit.to_string()).await;
            assert_eq!(answer.problem(), refused, "{id}");
            assert_eq!(answer.json()["group"], "later");
        }
        let batch = json!({"transactions": [&credit]});
        let answer = router.post("/v1/batches", &batch.to_string()).await;
        let item = &answer.json()["results"][0]["problem"];
        assert_eq!((&item["code"], &item["outcome"]), (&json!(refused.1), &json!(refused.2)), "{item}");
        // What is atomic stays in one set.
        let near = transaction(id, &[(&payer, "debit", "2"), (&near, "credit", "2")]);
        let batch = json!({"transactions": [&near], "atomic": true});
        let answer = router.post("/v1/batches", &batch.to_string()).await;
        assert_eq!(answer.json()["results"][0]["problem"]["code"], refused.1, "{:?}", answer.body);
    }
    let read = router.get(&format!("/v1/accounts/{payer}")).await.json();
    assert_eq!(read["account"]["posted"], "2.00", "nothing else was booked");
}
