//! Sweeps over HTTP and gRPC: set, removed, read and listed, and what is refused.

use serde_json::{Value, json};
use twinset_ledger::{Command, State, sweep};
use twinset_proto::ledger::v1 as wire;
use twinset_proto::ledger::v1::ledger_client::LedgerClient;
use wire::set_sweep_request::Schedule;

use crate::support::across::enter;
use crate::support::{Answer, Cluster, Router};

/// `till` and `fees` in set 1, `vault` in set 2.
struct Ground {
    cluster: Cluster,
    router: Router,
    till: String,
    fees: String,
    vault: String,
}

impl Ground {
    async fn new() -> Ground {
        let cluster = Cluster::start().await;
        let router = cluster.router().await;
        let [till, fees] = ["till", "fees"].map(|tag| cluster.account_in(1, tag));
        let vault = cluster.account_in(2, "vault");
        let ground = Ground { cluster, router, till, fees, vault };
        for account in [&ground.till, &ground.fees, &ground.vault] {
            let body = json!({"request_id": "open", "account": account, "subject": "liability",
                "currency": "EUR", "limit": "none"});
            assert_eq!(ground.post("/v1/accounts", body).await.status, 200);
        }
        ground
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.router.post(path, &body.to_string()).await
    }

    async fn set(&self, account: &str, body: Value) -> Answer {
        self.post(&format!("/v1/accounts/{account}/sweep"), body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.router.get(path).await
    }

    async fn sweep(&self, account: &str) -> Value {
        let answer = self.get(&format!("/v1/accounts/{account}/sweep")).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        answer.json()["sweep"].clone()
    }

    async fn client(&self) -> LedgerClient<tonic::transport::Channel> {
        LedgerClient::connect(format!("http://{}", self.router.handle.grpc))
            .await
            .expect("the router serves gRPC")
    }
}

#[tokio::test]
async fn a_sweep_is_set_replaced_read_and_removed() {
    let ground = Ground::new().await;
    let every = json!({"seconds": 3600, "from": "2026-12-24T18:00:00Z"});
    let body = json!({"request_id": "s1", "to": ground.vault, "keep": "5.00", "every": every});
    let set = ground.set(&ground.till, body.clone()).await;
    assert_eq!((set.status, &set.json()["replayed"]), (200, &json!(false)), "{:?}", set.body);
    assert_eq!(ground.set(&ground.till, body).await.json()["replayed"], true);
    let found = ground.sweep(&ground.till).await;
    assert_eq!(found["every"], every);
    for (field, expected) in
        [("to", json!(ground.vault)), ("keep", json!("5.00")), ("runs", json!(0)), ("currency", json!("EUR"))]
    {
        assert_eq!(found[field], expected, "{field}");
    }
    assert_eq!((found.get("above"), found.get("daily"), found.get("open")), (None, None, None));

    let other = json!({"request_id": "s1", "to": ground.vault, "keep": "6.00", "every": every});
    let mismatch = ground.set(&ground.till, other).await;
    assert_eq!((mismatch.status, &mismatch.json()["field"]), (409, &json!("keep")));
    let above = json!({"request_id": "s2", "to": ground.fees, "above": "20"});
    assert_eq!(ground.set(&ground.till, above).await.status, 200);
    let replaced = ground.sweep(&ground.till).await;
    assert_eq!((&replaced["above"], &replaced["keep"]), (&json!("20.00"), &json!("0.00")));
    assert_ne!(replaced["sweep"], found["sweep"], "it is another one");

    let path = format!("/v1/accounts/{}/sweep/remove", ground.till);
    assert_eq!(ground.post(&path, json!({"request_id": "s3"})).await.status, 200);
    let gone = ground.get(&format!("/v1/accounts/{}/sweep", ground.till)).await;
    assert_eq!((gone.status, &gone.json()["code"]), (404, &json!("not_found")));
    let again = ground.post(&path, json!({"request_id": "s4"})).await;
    let refused = (again.status, again.json());
    assert_eq!((refused.0, &refused.1["code"]), (422, &json!("sweep_not_found")));
    assert_eq!((&refused.1["number"], &refused.1["account"]), (&json!(36), &json!(ground.till)));
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let ground = Ground::new().await;
    let to = &ground.vault;
    for (body, code) in [
        (json!({"request_id": "m", "to": to}), "malformed"),
        (json!({"request_id": "m", "to": to, "daily": true, "above": "1"}), "malformed"),
        (json!({"request_id": "m", "to": to, "daily": false}), "malformed"),
        (json!({"request_id": "m", "to": to, "daily": true, "when": "now"}), "malformed"),
        (json!({"request_id": "m", "to": to, "above": 20}), "malformed"),
        (json!({"request_id": "m", "to": to, "every": {"seconds": 60, "from": "noon"}}), "malformed"),
        (json!({"request_id": "m", "to": to, "every": {"seconds": 0}}), "malformed_sweep"),
        (json!({"request_id": "m", "to": to, "keep": "-1", "daily": true}), "malformed_sweep"),
        (json!({"request_id": "m", "to": to, "keep": "2", "above": "1"}), "malformed_sweep"),
        (json!({"request_id": "m", "to": ground.till, "daily": true}), "same_account"),
        (json!({"request_id": "m", "to": "not an id", "daily": true}), "malformed_account_id"),
    ] {
        let refused = ground.set(&ground.till, body.clone()).await;
        assert_eq!((refused.status, &refused.json()["code"]), (400, &json!(code)), "{body}");
        assert_eq!(refused.json()["outcome"], "not_applied");
    }
    let body = json!({"request_id": "m", "to": to, "keep": "0.001", "daily": true});
    let refused = ground.set(&ground.till, body).await;
    assert_eq!((refused.status, &refused.json()["code"]), (422, &json!("excess_scale")));
}

#[tokio::test]
async fn a_run_is_found_by_the_request_id_that_nodes_give_it() {
    let ground = Ground::new().await;
    let legs = [(&ground.fees, "debit"), (&ground.till, "credit")];
    let legs = legs.map(|(account, side)| json!({"account": account, "side": side, "amount": "30"}));
    assert_eq!(ground.post("/v1/transactions", json!({"request_id": "p", "legs": legs})).await.status, 200);
    let above = json!({"request_id": "s", "to": ground.fees, "keep": "5", "above": "20"});
    assert_eq!(ground.set(&ground.till, above).await.status, 200);
    let name = ground.sweep(&ground.till).await["sweep"].as_str().unwrap().to_owned();
    let request = async |id: &str| ground.get(&format!("/v1/requests/{}/{id}", ground.till)).await;
    let run = format!("~sweep-{name}-1");
    assert_eq!(request(&run).await.problem().1, "not_found", "it has not run");

    // What the set's leader does.
    {
        let mut truth = ground.cluster.shared.truth.lock().unwrap();
        let state = &truth[&1].0;
        let no = state.account_no(&ground.till).unwrap();
        let (sweep, account) = (state.sweeps().get(no).unwrap(), state.account(no));
        let command = Command::Transaction(sweep::transaction(sweep, account, sweep.movable(account)));
        enter(&mut truth, 1, &[command]);
    }
    let found = request(&run).await;
    assert_eq!((found.status, &found.json()["transaction"]["request_id"]), (200, &json!(run)));
    let asked =
        wire::GetRequestRequest { scope_account: ground.till.clone(), request_id: run, ..Default::default() };
    let same = ground.client().await.get_request(asked).await.unwrap().into_inner().found;
    assert!(matches!(same, Some(wire::get_request_reply::Found::Transaction(_))), "{same:?}");
    for (id, code) in [
        (format!("~sweep-{name}-2"), "not_found"),
        (format!("~confirm-{name}-1"), "not_found"),
        (format!("~sweep-{name}-01"), "malformed"),
        (format!("~sweep-{name}"), "malformed"),
        ("~end".to_owned(), "malformed"),
    ] {
        assert_eq!(request(&id).await.problem().1, code, "{id}");
    }
}

#[tokio::test]
async fn the_sweeps_of_a_set_are_listed_in_pages() {
    let ground = Ground::new().await;
    for account in [&ground.fees, &ground.till] {
        let body = json!({"request_id": "s", "to": ground.vault, "daily": true});
        assert_eq!(ground.set(account, body).await.status, 200);
    }
    let page = async |query: &str| ground.get(&format!("/v1/sets/1/sweeps{query}")).await;
    let whole = page("").await.json();
    let accounts: Vec<&Value> =
        whole["sweeps"].as_array().unwrap().iter().map(|sweep| &sweep["account"]).collect();
    // In the order in which they were opened.
    assert_eq!((accounts, &whole["next"]), (vec![&json!(ground.till), &json!(ground.fees)], &json!("")));
    let first = page("?page_size=1").await.json();
    assert_eq!(first["next"], json!(ground.till));
    let second = page(&format!("?page_size=1&after={}&consistency=stale", ground.till)).await.json();
    assert_eq!((&second["sweeps"][0]["account"], &second["next"]), (&json!(ground.fees), &json!("")));
    assert_eq!(second["sweeps"][0]["daily"], true);
    for (query, status) in
        [("?page_size=0", 400), ("?page_size=101", 400), ("?after=not%20an%20id", 400), ("?state=open", 400)]
    {
        assert_eq!(page(query).await.status, status, "{query}");
    }
    assert_eq!(page("?after=nobody").await.status, 404);
    assert_eq!(ground.get("/v1/sets/9/sweeps").await.status, 404);
}

#[tokio::test]
async fn grpc_says_the_same() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    let asked = |request_id: &str, schedule| wire::SetSweepRequest {
        request_id: request_id.into(),
        account: ground.till.clone(),
        to: ground.vault.clone(),
        keep: "5".into(),
        schedule,
    };
    let every = wire::SweepInterval { seconds: 60, from: String::new() };
    for (no, schedule) in
        [Schedule::Every(every), Schedule::Above("20".into()), Schedule::Daily(wire::SweepDaily {})]
            .into_iter()
            .enumerate()
    {
        let set = client.set_sweep(asked(&format!("s{no}"), Some(schedule))).await.unwrap().into_inner();
        assert!(!set.replayed && set.position.is_some());
    }
    let account = ground.till.clone();
    let read = wire::GetSweepRequest { account: account.clone(), consistency: 0 };
    let found = client.get_sweep(read.clone()).await.unwrap().into_inner().sweep.unwrap();
    assert_eq!((found.keep.as_str(), found.to.as_str()), ("5.00", ground.vault.as_str()));
    assert_eq!(found.schedule, Some(wire::sweep::Schedule::Daily(wire::SweepDaily {})));
    let list = wire::ListSweepsRequest { set: 1, ..Default::default() };
    assert_eq!(client.list_sweeps(list).await.unwrap().into_inner().sweeps, [found]);

    let none = client.set_sweep(asked("s9", None)).await.unwrap_err();
    assert_eq!(none.metadata().get("twinset-code").unwrap(), "malformed");
    let wrong = client.set_sweep(asked("s9", Some(Schedule::Above("much".into())))).await.unwrap_err();
    assert_eq!(wrong.code(), tonic::Code::InvalidArgument);
    let remove = |request_id: &str| wire::RemoveSweepRequest {
        request_id: request_id.into(),
        account: account.clone(),
    };
    client.remove_sweep(remove("r1")).await.unwrap();
    assert_eq!(client.get_sweep(read).await.unwrap_err().code(), tonic::Code::NotFound);
    let refused = client.remove_sweep(remove("r2")).await.unwrap_err();
    assert_eq!(refused.metadata().get("twinset-number").unwrap(), "36");
}
