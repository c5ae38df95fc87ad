//! Holds over HTTP: every call, what it says, and what it refuses.

use serde_json::{Value, json};
use twinset_ledger::{State, date};

use crate::support::node::Mode;
use crate::support::{Answer, Cluster, Router, eventually};

/// A cluster, a router, and `{t}:a`, a liability of 100 EUR that may not be overdrawn, with payees beside it.
pub struct Ground {
    pub cluster: Cluster,
    pub router: Router,
}

impl Ground {
    pub async fn new() -> Ground {
        let cluster = Cluster::start().await;
        let router = cluster.router().await;
        for (account, subject, limit) in
            [("{t}:a", "liability", "0"), ("{t}:b", "liability", "0"), ("{t}:cash", "asset", "none")]
        {
            let body = json!({"request_id": "open", "account": account, "subject": subject,
                "currency": "EUR", "limit": limit});
            assert_eq!(router.post("/v1/accounts", &body.to_string()).await.status, 200);
        }
        let ground = Ground { cluster, router };
        let legs = json!([leg("{t}:cash", "debit", "100"), leg("{t}:a", "credit", "100")]);
        let funded = ground.post("/v1/transactions", json!({"request_id": "fund", "legs": legs})).await;
        assert_eq!(funded.status, 200, "{:?}", funded.body);
        ground
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.router.post(path, &body.to_string()).await
    }

    pub async fn get(&self, path: &str) -> Value {
        let answer = self.router.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {:?}", answer.body);
        answer.json()
    }

    /// Places a hold that has no end on `{t}:a`, and gives its name.
    pub async fn place(&self, request_id: &str, amount: &str) -> String {
        self.place_until(request_id, amount, None).await
    }

    pub async fn place_until(&self, request_id: &str, amount: &str, expires_at: Option<&str>) -> String {
        let body = json!({"request_id": request_id, "amount": amount, "expires_at": expires_at});
        let placed = self.post(HOLDS, body).await;
        assert_eq!(placed.status, 200, "{:?}", placed.body);
        placed.json()["hold"]["hold"].as_str().expect("a name").to_string()
    }

    /// A ledger time; the next `entries` entries of the set of `{t}:a` are before it, or at it.
    pub fn time_after(&self, entries: u64) -> String {
        let truth = self.cluster.shared.truth.lock().expect("no test panicked with it");
        let lives = truth.values().find(|(state, _)| state.account_by_id("{t}:a").is_some());
        date::timestamp(lives.expect("it is open").0.last_time() + entries)
    }

    pub async fn act(&self, hold: &str, act: &str, body: Value) -> Answer {
        self.post(&format!("{HOLDS}/{hold}/{act}"), body).await
    }

    /// Captures for `{t}:b`.
    pub async fn capture(&self, hold: &str, request_id: &str, amount: &str, last: bool) -> Answer {
        let legs = [leg("{t}:a", "debit", amount), leg("{t}:b", "credit", amount)];
        self.act(hold, "captures", json!({"request_id": request_id, "legs": legs, "final": last})).await
    }

    pub async fn hold(&self, hold: &str) -> Value {
        self.get(&format!("{HOLDS}/{hold}")).await["hold"].take()
    }
}

pub const HOLDS: &str = "/v1/accounts/{t}:a/holds";

pub fn leg(account: &str, side: &str, amount: &str) -> Value {
    json!({"account": account, "side": side, "amount": amount})
}

/// State, captured, released and left.
fn figures(hold: &Value) -> [&str; 4] {
    ["state", "captured", "released", "left"].map(|name| hold[name].as_str().unwrap_or("absent"))
}

#[tokio::test]
async fn a_hold_is_placed_captured_and_read() {
    let ground = Ground::new().await;
    let body = json!({"request_id": "h-1", "amount": "30", "currency": "EUR", "reason": 7,
        "expires_at": "2026-12-24T18:00:00.5Z", "metadata": {"order": "4711"}});
    let placed = ground.post(HOLDS, body.clone()).await;
    assert_eq!(placed.status, 200, "{:?}", placed.body);
    let placed = placed.json();
    let id = placed["hold"]["hold"].as_str().expect("a name");
    let expected = json!({"hold": id, "account": "{t}:a", "state": "open", "amount": "30.00",
        "captured": "0.00", "capturing": "0.00", "released": "0.00", "left": "30.00",
        "expires_at": "2026-12-24T18:00:00.5Z"});
    assert_eq!(
        (&placed["hold"], &placed["available"], &placed["replayed"]),
        (&expected, &json!("70.00"), &json!(false))
    );
    assert_eq!(placed["position"]["set"].as_u64(), id.split('-').next().and_then(|set| set.parse().ok()));
    let again = ground.post(HOLDS, body).await.json();
    assert_eq!(
        (&again["hold"], &again["position"], &again["replayed"]),
        (&expected, &placed["position"], &json!(true))
    );

    let captured = ground.capture(id, "c-1", "12.50", false).await;
    assert_eq!(captured.status, 200, "{:?}", captured.body);
    let captured = captured.json();
    assert_eq!(captured["postings"][0]["available"], "70.00", "what is captured was not available before");
    assert_eq!(captured["postings"][1]["posted"], "12.50");
    assert_eq!(ground.capture(id, "c-1", "12.50", false).await.json()["replayed"], true);
    let transaction = captured["transaction"].as_str().expect("a name");
    let read = ground.get(&format!("/v1/transactions/{transaction}")).await;
    assert_eq!(read["transaction"]["capture"], json!({"hold": id, "final": false}));

    let found = ground.get(&format!("{HOLDS}/{id}")).await;
    let hold = &found["hold"];
    assert_eq!(figures(hold), ["open", "12.50", "0.00", "17.50"]);
    assert_eq!(
        (&hold["currency"], &hold["request_id"], &hold["reason"]),
        (&json!("EUR"), &json!("h-1"), &json!(7))
    );
    assert_eq!((&hold["placed"], &hold["metadata"]), (&placed["position"], &json!({"order": "4711"})));
    let event = json!({"position": captured["position"], "change": "captured", "amount": "12.50", "transaction": transaction});
    assert_eq!(hold["journal"], json!([event]));
    assert!(found["as_of"]["index"].is_u64() && found["age_ms"] == 0, "{found}");
    assert_eq!(ground.get(&format!("{HOLDS}/{id}?consistency=stale")).await["age_ms"], 1);
}

#[tokio::test]
async fn a_hold_ends_in_one_of_four_ways() {
    let ground = Ground::new().await;
    let release = async |hold: &str, body: Value| ground.act(hold, "release", body).await;

    let id = ground.place("released", "10").await;
    let part = release(&id, json!({"request_id": "r-1", "amount": "4"})).await.json();
    assert_eq!(
        (figures(&part["hold"]), &part["available"]),
        (["open", "0.00", "4.00", "6.00"], &json!("94.00"))
    );
    let rest = release(&id, json!({"request_id": "r-2"})).await.json();
    assert_eq!(
        (figures(&rest["hold"]), &rest["available"]),
        (["released", "0.00", "10.00", "0.00"], &json!("100.00"))
    );
    let again = release(&id, json!({"request_id": "r-1", "amount": "4.00"})).await.json();
    assert_eq!((&again["replayed"], &again["hold"]), (&json!(true), &part["hold"]), "as it was then");
    let changes = [json!("released"), json!("released")];
    let journal = ground.hold(&id).await["journal"].take();
    assert_eq!([0, 1].map(|n| journal[n]["change"].clone()), changes);
    assert_eq!([0, 1].map(|n| journal[n]["amount"].clone()), [json!("4.00"), json!("6.00")]);

    let id = ground.place("captured", "10").await;
    assert_eq!(ground.capture(&id, "c-1", "10", false).await.status, 200, "all that is left");
    assert_eq!(figures(&ground.hold(&id).await), ["captured", "10.00", "0.00", "0.00"]);

    let id = ground.place("final", "10").await;
    let last = ground.capture(&id, "c-2", "3", true).await.json();
    assert_eq!(last["postings"][0]["available"], "87.00", "the rest is given back");
    assert_eq!(figures(&ground.hold(&id).await), ["captured", "3.00", "7.00", "0.00"]);
    let read =
        ground.get(&format!("/v1/transactions/{}", last["transaction"].as_str().expect("a name"))).await;
    assert_eq!(read["transaction"]["capture"], json!({"hold": id, "final": true}));

    let id = ground.place_until("expired", "10", Some(&ground.time_after(2))).await;
    assert_eq!(ground.hold(&id).await["state"], "open");
    ground.place("time-passes", "1").await;
    assert_eq!(
        figures(&ground.hold(&id).await),
        ["expired", "0.00", "0.00", "10.00"],
        "though nobody has put it away"
    );
    for (n, act) in ["captures", "release", "extend"].into_iter().enumerate() {
        let request_id = format!("late-{n}");
        let answer = match act {
            "captures" => ground.capture(&id, &request_id, "1", false).await,
            "release" => ground.act(&id, act, json!({"request_id": request_id})).await,
            _ => ground.act(&id, act, json!({"request_id": request_id, "expires_at": null})).await,
        };
        assert_eq!(answer.problem(), (422, "hold_ended".into(), "rejected".into()), "{act}");
        assert_eq!(answer.json()["hold"], json!(id));
    }
}

#[tokio::test]
async fn an_end_moves_later_or_away_and_never_earlier() {
    let ground = Ground::new().await;
    let id = ground.place_until("h", "10", Some("2026-12-24T18:00:00Z")).await;
    let extend = async |request_id: &str, body: Value| {
        let mut body = body;
        body["request_id"] = json!(request_id);
        ground.act(&id, "extend", body).await
    };
    let later = extend("e-1", json!({"expires_at": "2026-12-31T18:00:00.25Z"})).await.json();
    assert_eq!(later["hold"]["expires_at"], "2026-12-31T18:00:00.25Z");
    let early = extend("e-2", json!({"expires_at": "2026-12-31T18:00:00.25Z"})).await;
    assert_eq!(early.problem(), (422, "expiry_too_early".into(), "rejected".into()));
    assert_eq!(early.json()["after"], "2026-12-31T18:00:00.25Z");
    let away = extend("e-3", json!({"expires_at": null})).await.json();
    assert!(away["hold"].get("expires_at").is_none(), "{away}");
    let other = extend("e-3", json!({"expires_at": "2027-01-01T00:00:00Z"})).await;
    assert_eq!(other.problem().1, "request_mismatch");
    let journal = ground.hold(&id).await["journal"].take();
    let told = |n: usize| (journal[n]["change"].clone(), journal[n].get("expires_at").cloned());
    assert_eq!(told(0), (json!("extended"), Some(json!("2026-12-31T18:00:00.25Z"))));
    assert_eq!(told(1), (json!("extended"), None));
    let past = json!({"request_id": "p", "amount": "1", "expires_at": "1970-01-01T00:00:01Z"});
    let past = ground.post(HOLDS, past).await;
    assert_eq!(past.problem().1, "expiry_too_early");
    assert!(
        past.json()["after"].as_str().expect("a time").starts_with("1970-01-01T00:00:01.0"),
        "{:?}",
        past.body
    );
}

#[tokio::test]
async fn what_the_ledger_refuses_says_why() {
    let ground = Ground::new().await;
    let id = ground.place("h", "10").await;
    let on_b = format!("/v1/accounts/{{t}}:b/holds/{id}/release");
    let elsewhere = ground.post(&on_b, json!({"request_id": "x"})).await;
    assert_eq!(elsewhere.problem(), (422, "hold_not_found".into(), "rejected".into()));
    let problem = elsewhere.json();
    assert_eq!((&problem["account"], &problem["hold"]), (&json!("{t}:b"), &json!(id)));
    assert_eq!((&problem["number"], &problem["retryable"]), (&json!(22), &json!(false)));

    let set = id.split('-').next().expect("a set");
    let never = ground.act(&format!("{set}-1-999-0"), "release", json!({"request_id": "never"})).await;
    assert_eq!(never.problem().1, "hold_not_found");
    let too_much = ground.act(&id, "release", json!({"request_id": "much", "amount": "10.01"})).await.json();
    let said = ["code", "hold", "left", "needed"].map(|name| too_much[name].clone());
    assert_eq!(said, [json!("hold_exceeded"), json!(id), json!("10.00"), json!("10.01")]);
    let captured = ground.capture(&id, "much-2", "11", false).await;
    assert_eq!(
        (captured.problem().1.as_str(), &captured.json()["needed"]),
        ("hold_exceeded", &json!("11.00"))
    );
    let inwards = [leg("{t}:a", "credit", "1"), leg("{t}:b", "debit", "1")];
    let inwards = ground.act(&id, "captures", json!({"request_id": "in", "legs": inwards})).await;
    assert_eq!(inwards.problem(), (422, "capture_without_outflow".into(), "rejected".into()));
    assert_eq!(inwards.json()["account"], "{t}:a");
    let table = [
        (json!({"request_id": "p-1", "amount": "90.01"}), "limit_exceeded"),
        (json!({"request_id": "p-2", "amount": "1.001"}), "excess_scale"),
        (json!({"request_id": "p-3", "amount": "1", "currency": "USD"}), "currency_mismatch"),
        (json!({"request_id": "h", "amount": "11"}), "request_mismatch"),
    ];
    for (body, code) in table {
        assert_eq!(ground.post(HOLDS, body).await.problem().1, code);
    }
    let nobody =
        ground.post("/v1/accounts/{t}:nobody/holds", json!({"request_id": "n", "amount": "1"})).await;
    assert_eq!(nobody.problem().1, "account_not_found");
    let frozen = ground.post("/v1/accounts/{t}:a/freeze", json!({"request_id": "f", "mode": "debit"})).await;
    assert_eq!(frozen.status, 200);
    assert_eq!(
        ground.post(HOLDS, json!({"request_id": "p-4", "amount": "1"})).await.problem().1,
        "account_frozen"
    );
    let released = ground.act(&id, "release", json!({"request_id": "all"})).await;
    assert_eq!(released.status, 200, "it moves no money");
    assert_eq!(ground.capture(&id, "late", "1", false).await.problem().1, "hold_ended");
}

#[tokio::test]
async fn what_says_nothing_is_refused_and_nothing_is_applied() {
    let ground = Ground::new().await;
    let id = ground.place("h", "10").await;
    let before = ground.cluster.booked();
    let on = |act: &str| format!("{HOLDS}/{id}/{act}");
    let place = |name: &str, value: Value| {
        let mut body = json!({"request_id": "r", "amount": "1"});
        body[name] = value;
        body
    };
    let legs = |preconditions: Value| {
        let mut first = leg("{t}:a", "debit", "1");
        first["preconditions"] = preconditions;
        json!({"request_id": "r", "legs": [first, leg("{t}:b", "credit", "1")]})
    };
    let with_capture = |capture: Value, scope: Option<&str>| {
        let mut body = legs(Value::Null);
        body["capture"] = capture;
        body["scope_account"] = json!(scope);
        body
    };
    let elsewhere =
        json!({"request_id": "r", "legs": [leg("{t}:cash", "debit", "1"), leg("{t}:b", "credit", "1")]});
    let transactions = "/v1/transactions".to_string();
    let (holds, captures) = (HOLDS.to_string(), on("captures"));
    let table = [
        (&holds, place("amount", json!(1)), "malformed", "JSON string"),
        (&holds, place("amount", json!("0")), "amount_not_positive", ""),
        (&holds, place("expires_at", json!("2026-12-24")), "malformed", "2026-12-24T18:00:00Z"),
        (&holds, place("expires_at", json!("2026-12-24T18:00:00+01:00")), "malformed", "in UTC"),
        (&holds, place("expires_at", json!(1_798_135_200)), "malformed", "in UTC"),
        (&holds, place("currency", json!("a b")), "malformed_currency", ""),
        (&holds, place("request_id", json!("")), "malformed_request_id", ""),
        (&holds, place("account", json!("{t}:a")), "malformed", "unknown field `account`"),
        (&holds, place("reason", json!(65_536)), "malformed", "65536"),
        (&holds, json!(["r", "1"]), "malformed", "invalid type: sequence"),
        (&holds, json!({"request_id": "r"}), "malformed", "missing field `amount`"),
        (&on("release"), json!({"request_id": "r", "amount": "-1"}), "amount_not_positive", ""),
        (&on("release"), json!({"request_id": "r", "final": true}), "malformed", "unknown field `final`"),
        (&on("extend"), json!({"request_id": "r", "expires_at": ""}), "malformed", "in UTC"),
        (&on("extend"), json!({}), "malformed", "missing field `request_id`"),
        (&on("extend"), json!({"request_id": "r"}), "malformed", "missing field `expires_at`"),
        (&captures, elsewhere, "scope_account_without_leg", ""),
        (&captures, json!({"request_id": "r", "legs": []}), "too_few_legs", ""),
        (&captures, with_capture(json!({"hold": id}), None), "malformed", "unknown field"),
        (&captures, legs(json!({"available_min": 10})), "malformed", "JSON string"),
        (&captures, legs(json!({"posted_max": "ten"})), "malformed", "digits"),
        (&captures, legs(json!({"version": "5"})), "malformed", "u64"),
        (&captures, legs(json!({"version": -5})), "malformed", "u64"),
        (&captures, legs(json!({"version": 5.5})), "malformed", "u64"),
        (&captures, legs(json!({"held_min": "1"})), "malformed", "unknown field `held_min`"),
        (&captures, legs(json!(["1"])), "malformed", "invalid type: sequence"),
        (&transactions, with_capture(json!({"hold": id}), None), "capture_without_scope_account", ""),
        (
            &transactions,
            with_capture(json!({"hold": "7"}), Some("{t}:a")),
            "malformed",
            "four decimal numbers",
        ),
        (
            &transactions,
            with_capture(json!({"final": true}), Some("{t}:a")),
            "malformed",
            "missing field `hold`",
        ),
        (
            &transactions,
            with_capture(json!([id, true]), Some("{t}:a")),
            "malformed",
            "invalid type: sequence",
        ),
        (&format!("{HOLDS}/7/release"), json!({"request_id": "r"}), "malformed", "four decimal numbers"),
        (&on("release?dry=1"), json!({"request_id": "r"}), "malformed", "dry"),
        (&"/v1/accounts/a%20b/holds".to_string(), place("reason", json!(0)), "malformed_account_id", ""),
    ]
    .map(|(path, body, code, says)| (path.to_string(), body, code, says));
    for (path, body, code, says) in table {
        let answer = ground.post(&path, body.clone()).await;
        assert_eq!(answer.problem(), (400, code.into(), "not_applied".into()), "{path} {body}");
        let detail = answer.json()["detail"].as_str().expect("a detail").to_string();
        assert!(detail.contains(says), "{path} {body}: {detail}");
    }
    let twice = r#"{"request_id":"r","amount":"1","amount":"2"}"#;
    assert_eq!(ground.router.post(HOLDS, twice).await.problem().1, "malformed");
    assert_eq!(ground.cluster.booked(), before, "nothing was applied");
}

#[tokio::test]
async fn holds_are_listed_by_state_and_in_pages() {
    let ground = Ground::new().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(ground.place(&format!("h-{n}"), "10").await);
    }
    ground.act(&ids[1], "release", json!({"request_id": "r"})).await;
    ground.capture(&ids[3], "c", "1", true).await;
    let listed = async |query: &str| {
        let page = ground.get(&format!("{HOLDS}{query}")).await;
        let holds = page["holds"].as_array().expect("holds").iter();
        let places =
            holds.map(|hold| ids.iter().position(|id| hold["hold"] == json!(id)).expect("one of them"));
        (places.collect::<Vec<_>>(), page["next"].as_str().expect("text").to_string())
    };
    let end = String::new();
    assert_eq!(listed("").await, (vec![0, 1, 2, 3, 4], end.clone()));
    assert_eq!(listed("?state=open").await, (vec![0, 2, 4], end.clone()));
    assert_eq!(listed("?state=released").await, (vec![1], end.clone()));
    assert_eq!(listed("?state=captured&consistency=stale").await, (vec![3], end.clone()));
    assert_eq!(listed("?state=expired").await, (vec![], end.clone()));
    assert_eq!(listed("?page_size=2").await, (vec![0, 1], ids[1].clone()));
    assert_eq!(listed(&format!("?page_size=2&after={}", ids[1])).await, (vec![2, 3], ids[3].clone()));
    assert_eq!(listed(&format!("?page_size=2&after={}", ids[3])).await, (vec![4], end.clone()));
    let one = ground.get(&format!("{HOLDS}?page_size=1")).await;
    assert_eq!(one["holds"][0], ground.hold(&ids[0]).await, "as it is read alone");
    assert!(one["as_of"]["index"].is_u64() && one["age_ms"] == 0, "{one}");
    let none = ground.get("/v1/accounts/{t}:b/holds").await;
    assert_eq!((&none["holds"], &none["next"]), (&json!([]), &json!("")));
    let table = [
        ("?state=closed", 400, "malformed", "\"open\""),
        ("?state=", 400, "malformed", "\"open\""),
        ("?page_size=0", 400, "malformed", "between 1 and 100"),
        ("?page_size=101", 400, "malformed", "between 1 and 100"),
        ("?page_size=x", 400, "malformed", "page_size"),
        ("?after=7", 400, "malformed", "four decimal numbers"),
        ("?after=9-1-1-0", 400, "malformed", "no hold of {t}:a"),
        ("?status=open", 400, "malformed", "status"),
        ("?consistency=maybe", 400, "malformed", "maybe"),
        ("/7", 400, "malformed", "four decimal numbers"),
        ("/1-1-999-0", 404, "not_found", "has no hold 1-1-999-0"),
        ("/1-1-999-0?state=open", 400, "malformed", "state"),
    ];
    for (query, status, code, says) in table {
        let answer = ground.router.get(&format!("{HOLDS}{query}")).await;
        assert_eq!(answer.problem(), (status, code.into(), "not_applied".into()), "{query}");
        assert!(answer.json()["detail"].as_str().expect("a detail").contains(says), "{:?}", answer.body);
    }
    for path in
        ["/v1/accounts/{t}:nobody/holds".to_string(), format!("/v1/accounts/{{t}}:b/holds/{}", ids[0])]
    {
        let missing = ground.router.get(&path).await;
        assert_eq!(missing.problem().1, "not_found", "{path}");
        assert!(missing.json()["position"]["index"].is_u64());
    }
    let head = ground.router.call("HEAD", &format!("{HOLDS}/{}", ids[0]), "", None).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test]
async fn a_request_id_tells_of_its_hold() {
    let ground = Ground::new().await;
    let id = ground.place_until("h", "10", Some("2026-12-24T18:00:00Z")).await;
    ground.act(&id, "extend", json!({"request_id": "e", "expires_at": "2027-01-01T00:00:00Z"})).await;
    ground.act(&id, "release", json!({"request_id": "r", "amount": "1"})).await;
    let captured = ground.capture(&id, "c", "2", false).await.json();
    let now = ground.hold(&id).await;
    for request_id in ["h", "e", "r"] {
        let found = ground.get(&format!("/v1/requests/{{t}}:a/{request_id}")).await;
        assert_eq!(found["hold"], now, "{request_id}");
        assert!(found["as_of"]["index"].is_u64(), "{found}");
    }
    let found = ground.get("/v1/requests/{t}:a/c").await;
    assert_eq!(found["transaction"]["transaction"], captured["transaction"]);
    ground.act(&id, "release", json!({"request_id": "much", "amount": "100"})).await;
    let refused = ground.router.get("/v1/requests/{t}:a/much").await;
    assert_eq!(refused.problem(), (422, "hold_exceeded".into(), "rejected".into()));
    assert_eq!(ground.router.get("/v1/requests/{t}:b/h").await.problem().1, "not_found");
}

#[tokio::test]
async fn what_was_sent_twice_happens_once() {
    let ground = Ground::new().await;
    let term = std::cell::Cell::new(1);
    let next_term = || term.replace(term.get() + 1) + 1;
    let id = ground.place("h", "10").await;
    let legs = json!([leg("{t}:a", "debit", "3"), leg("{t}:b", "credit", "3")]);
    let table = [
        (HOLDS.to_string(), json!({"request_id": "1", "amount": "5"})),
        (format!("{HOLDS}/{id}/release"), json!({"request_id": "2", "amount": "1"})),
        (format!("{HOLDS}/{id}/extend"), json!({"request_id": "3", "expires_at": null})),
        (format!("{HOLDS}/{id}/captures"), json!({"request_id": "4", "legs": legs})),
    ];
    for (path, body) in table {
        let before = ground.cluster.booked();
        ground.cluster.node("a1").set_mode(Mode::BookAndBreak);
        let lead = async {
            eventually("it is booked", async || ground.cluster.booked() > before).await;
            ground.cluster.lead("b1", next_term());
        };
        let (answer, ()) = tokio::join!(ground.post(&path, body.clone()), lead);
        assert_eq!(
            (answer.status, &answer.json()["replayed"]),
            (200, &json!(true)),
            "{path}: {:?}",
            answer.body
        );
        assert_eq!(ground.cluster.booked(), before + 1, "{path}");
        ground.cluster.lead("a1", next_term());

        ground.cluster.node("a1").set_mode(Mode::Silent);
        let mut other = body;
        other["request_id"] = json!(format!("silent-{}", other["request_id"].as_str().expect("text")));
        let silent = ground.router.call("POST", &path, &other.to_string(), Some(1_000)).await;
        assert_eq!(silent.problem(), (504, "unknown".into(), "unknown".into()), "{path}");
        assert_eq!((&silent.json()["number"], &silent.json()["retryable"]), (&json!(2_017), &json!(true)));
        ground.cluster.lead("a1", next_term());
    }
    let metrics = ground.router.get("/metrics").await;
    let text = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(text.contains(r#"twinset_router_calls_total{call="hold",end="ok",protocol="http"} 4"#), "{text}");
}

#[tokio::test]
async fn a_capture_is_a_transaction_wherever_it_comes_from() {
    let ground = Ground::new().await;
    let id = ground.place("h", "50").await;
    let transaction = |request_id: &str, amount: &str, last: bool| {
        json!({"request_id": request_id, "scope_account": "{t}:a", "capture": {"hold": id, "final": last},
            "legs": [leg("{t}:a", "debit", amount), leg("{t}:b", "credit", amount)]})
    };
    let one = ground.post("/v1/transactions", transaction("c-1", "1", false)).await;
    assert_eq!(one.status, 200, "{:?}", one.body);
    let same = ground.capture(&id, "c-1", "1", false).await.json();
    assert_eq!(same["replayed"], true, "both spellings are one request");
    assert_eq!(ground.capture(&id, "c-1", "1", true).await.problem().1, "request_mismatch");
    let batch = json!({"transactions": [transaction("c-2", "2", false), transaction("c-3", "48", false),
        transaction("c-4", "4", true), transaction("c-5", "1", false)]});
    let results = ground.post("/v1/batches", batch).await.json()["results"].take();
    let codes = [0, 1, 2, 3].map(|n| results[n]["problem"]["code"].clone());
    assert_eq!(codes, [Value::Null, json!("hold_exceeded"), Value::Null, json!("hold_ended")]);
    assert_eq!(
        (&results[1]["problem"]["number"], &results[1]["problem"]["left"]),
        (&json!(24), &json!("47.00"))
    );
    assert_eq!(figures(&ground.hold(&id).await), ["captured", "7.00", "43.00", "0.00"]);

    let path = format!("/v1/transactions/{}/reversals", one.json()["transaction"].as_str().expect("a name"));
    let reversed = ground.post(&path, json!({"request_id": "back"})).await;
    assert_eq!(reversed.json()["postings"][0]["available"], "94.00", "what comes back is available");
    assert_eq!(figures(&ground.hold(&id).await), ["captured", "7.00", "43.00", "0.00"]);
}
