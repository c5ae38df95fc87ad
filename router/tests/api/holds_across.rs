//! Captures over several sets: the held account's set coordinates, and the hold tells what is under way.

use serde_json::{Value, json};

use crate::holds::leg;
use crate::support::node::Mode;
use crate::support::{Answer, Cluster, Router};

/// A held account in set 2 and a payee in each set, all without floor; set 1 has the smaller ids.
struct Ground {
    cluster: Cluster,
    router: Router,
    held: String,
    near: String,
    far: String,
}

impl Ground {
    async fn new() -> Ground {
        let cluster = Cluster::start().await;
        let router = cluster.router().await;
        let (held, near, far) =
            (cluster.account_in(2, "held"), cluster.account_in(2, "near"), cluster.account_in(1, "far"));
        for account in [&held, &near, &far] {
            router.open(account).await;
        }
        Ground { cluster, router, held, near, far }
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.router.post(path, &body.to_string()).await
    }

    fn holds(&self) -> String {
        format!("/v1/accounts/{}/holds", self.held)
    }

    async fn place(&self, amount: &str) -> String {
        let placed = self.post(&self.holds(), json!({"request_id": "h", "amount": amount})).await;
        assert_eq!(placed.status, 200, "{:?}", placed.body);
        placed.json()["hold"]["hold"].as_str().expect("a name").to_string()
    }

    /// 3 to the payee of the same set, 2 to the one of the other.
    fn legs(&self) -> Value {
        json!([leg(&self.far, "debit", "2"), leg(&self.near, "debit", "3"), leg(&self.held, "credit", "5")])
    }

    async fn capture(&self, hold: &str, request_id: &str, legs: Value, last: bool) -> Answer {
        let body = json!({"request_id": request_id, "legs": legs, "final": last});
        self.post(&format!("{}/{hold}/captures", self.holds()), body).await
    }

    /// State, captured, capturing, released and left.
    async fn figures(&self, hold: &str) -> [String; 5] {
        let read = self.router.get(&format!("{}/{hold}", self.holds())).await.json();
        ["state", "captured", "capturing", "released", "left"]
            .map(|name| read["hold"][name].as_str().expect("text").to_string())
    }
}

#[tokio::test]
async fn payees_of_two_sets_are_paid_at_once() {
    let ground = Ground::new().await;
    let hold = ground.place("12").await;
    assert!(hold.starts_with("2-"), "{hold}");
    let captured = ground.capture(&hold, "c-1", ground.legs(), false).await;
    assert_eq!(captured.status, 200, "{:?}", captured.body);
    let captured = captured.json();
    assert_eq!(
        captured["position"]["set"], 2,
        "the held account's set coordinates, whoever has the smallest id"
    );
    let accounts = [0, 1, 2].map(|n| captured["postings"][n]["account"].clone());
    assert_eq!(
        accounts,
        [json!(ground.far), json!(ground.near), json!(ground.held)],
        "in the request's order"
    );
    assert_eq!(ground.figures(&hold).await, ["open", "5.00", "0.00", "0.00", "7.00"]);
    let again = ground.capture(&hold, "c-1", ground.legs(), false).await.json();
    assert_eq!((&again["replayed"], &again["transaction"]), (&json!(true), &captured["transaction"]));
    let found = ground.router.get(&format!("/v1/requests/{}/c-1", ground.held)).await.json();
    assert_eq!(found["transaction"]["transaction"], captured["transaction"]);
    let path = format!("/v1/transactions/{}", captured["transaction"].as_str().expect("a name"));
    let read = ground.router.get(&path).await.json();
    assert_eq!(read["transaction"]["capture"], json!({"hold": hold, "final": false}));

    let too_much = json!([leg(&ground.far, "debit", "7.01"), leg(&ground.held, "credit", "7.01")]);
    let refused = ground.capture(&hold, "c-2", too_much, false).await;
    assert_eq!(refused.problem(), (422, "hold_exceeded".into(), "rejected".into()));
    let batch = json!({"transactions": [{"request_id": "c-3", "scope_account": ground.held, "legs": ground.legs(),
        "capture": {"hold": hold, "final": true}}]});
    let results = ground.post("/v1/batches", batch).await.json()["results"].take();
    assert!(results[0]["ok"].is_object(), "{results}");
    assert_eq!(ground.figures(&hold).await, ["captured", "10.00", "0.00", "2.00", "0.00"]);
    assert_eq!(ground.cluster.settled(), 2);
}

#[tokio::test]
async fn what_another_set_refuses_or_does_not_say_is_left_in_the_hold() {
    let ground = Ground::new().await;
    let hold = ground.place("12").await;
    let untouched = ["open", "0.00", "0.00", "0.00", "12.00"];
    let mut legs = ground.legs();
    legs[0]["preconditions"] = json!({"version": 7});
    let refused = ground.capture(&hold, "c-1", legs, true).await;
    assert_eq!(refused.problem(), (422, "precondition_failed".into(), "rejected".into()));
    assert_eq!((&refused.json()["account"], &refused.json()["found"]), (&json!(ground.far), &json!("0")));
    assert_eq!(ground.figures(&hold).await, untouched);

    ground.cluster.node("a1").set_mode(Mode::GiveUp);
    let given_up = ground.capture(&hold, "c-2", ground.legs(), true).await;
    assert_eq!(given_up.problem(), (503, "set_unavailable".into(), "not_applied".into()));
    assert_eq!((&given_up.json()["number"], &given_up.json()["retryable"]), (&json!(21), &json!(true)));
    assert_eq!(ground.figures(&hold).await, untouched);
    ground.cluster.node("a1").set_mode(Mode::Lead);
    assert_eq!(ground.capture(&hold, "c-2", ground.legs(), true).await.status, 200, "the same request");
    assert_eq!(ground.figures(&hold).await, ["captured", "5.00", "0.00", "7.00", "0.00"]);
}

#[tokio::test]
async fn what_is_under_way_is_neither_left_nor_captured() {
    let ground = Ground::new().await;
    let hold = ground.place("12").await;
    ground.cluster.node("a1").set_mode(Mode::Begin);
    let open = ground.capture(&hold, "c-1", ground.legs(), false).await;
    assert_eq!(open.problem(), (504, "unknown".into(), "unknown".into()));
    assert_eq!(ground.figures(&hold).await, ["open", "0.00", "5.00", "0.00", "7.00"]);
    let body = json!({"request_id": "r", "amount": "7.01"});
    let release = format!("{}/{hold}/release", ground.holds());
    assert_eq!(ground.post(&release, body).await.problem().1, "hold_exceeded");
    let rest = ground.post(&release, json!({"request_id": "rest"})).await.json();
    assert_eq!((&rest["hold"]["state"], &rest["hold"]["capturing"]), (&json!("released"), &json!("5.00")));
    ground.cluster.node("a1").set_mode(Mode::Lead);
    let again = ground.capture(&hold, "c-1", ground.legs(), false).await;
    assert_eq!(again.status, 200, "it began before the hold ended: {:?}", again.body);
    assert_eq!(ground.figures(&hold).await, ["released", "5.00", "0.00", "7.00", "0.00"]);
}
