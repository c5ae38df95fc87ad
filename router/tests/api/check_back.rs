//! Holds that are checked back, over HTTP and gRPC: how they are placed, read and listed.

use serde_json::{Value, json};
use twinset_ledger::{State, date};
use twinset_proto::ledger::v1 as wire;
use twinset_proto::ledger::v1::ledger_client::LedgerClient;

use crate::holds::{Ground, HOLDS};

fn place(ground: &Ground, request_id: &str, payee: &str) -> Value {
    json!({"request_id": request_id, "amount": "10.00", "expires_at": ground.time_after(2),
        "on_expiry": {"check_back": {"initiator": "shop", "to": payee}}})
}

#[tokio::test]
async fn a_hold_says_who_is_asked_and_becomes_overdue() {
    let ground = Ground::new().await;
    let body = place(&ground, "h1", "{t}:b");
    let placed = ground.post(HOLDS, body.clone()).await;
    assert_eq!(placed.status, 200, "{:?}", placed.body);
    let hold = placed.json()["hold"]["hold"].as_str().expect("a name").to_owned();
    let again = ground.post(HOLDS, body.clone()).await.json();
    assert_eq!(again["replayed"], true);
    let mut other = body;
    other["on_expiry"]["check_back"]["to"] = "{t}:cash".into();
    let mismatch = ground.post(HOLDS, other).await;
    assert_eq!((mismatch.status, mismatch.json()["field"].clone()), (409, json!("on_expiry")));

    // Its time is over, and it takes what an open one takes.
    let part = ground.act(&hold, "release", json!({"request_id": "r1", "amount": "1.00"})).await;
    assert_eq!(
        (part.status, part.json()["hold"]["state"].clone()),
        (200, json!("overdue")),
        "{:?}",
        part.body
    );
    let captured = ground.capture(&hold, "c1", "2.00", false).await;
    assert_eq!(captured.status, 200, "{:?}", captured.body);
    let found = ground.hold(&hold).await;
    assert_eq!((&found["state"], &found["left"]), (&json!("overdue"), &json!("7.00")));
    let asked = json!({"initiator": "shop", "to": "{t}:b", "tries": 0, "confirming": false, "kept": false});
    assert_eq!(found["on_expiry"], json!({"check_back": asked}));
    let listed = ground.get(&format!("{HOLDS}?state=overdue")).await;
    assert_eq!(listed["holds"][0]["hold"], json!(hold));
    assert_eq!(ground.get(&format!("{HOLDS}?state=open")).await["holds"], json!([]));
}

/// Two overdue holds in each of two sets, with the time of the first one's end: of set 1 those that end first and last.
async fn overdue(ground: &Ground) -> (u64, [String; 4]) {
    let accounts = [1, 2].map(|set| ground.cluster.account_in(set, "held"));
    for account in &accounts {
        let body = json!({"request_id": "open", "account": account, "subject": "liability",
            "currency": "EUR", "limit": "none"});
        assert_eq!(ground.post("/v1/accounts", body).await.status, 200);
    }
    let time =
        |set: u32| ground.cluster.shared.truth.lock().expect("no test panicked with it")[&set].0.last_time();
    let first = time(1).max(time(2)) + 9;
    let mut holds = Vec::new();
    for (no, (set, end)) in [(1, first), (2, first), (2, first + 1), (1, first + 2)].into_iter().enumerate() {
        let body = json!({"request_id": format!("h{no}"), "amount": "10.00", "expires_at": date::timestamp(end),
            "on_expiry": {"check_back": {"initiator": "shop", "to": "{t}:b"}}});
        let placed = ground.post(&format!("/v1/accounts/{}/holds", accounts[set - 1]), body).await;
        assert_eq!(placed.status, 200, "{:?}", placed.body);
        holds.push(placed.json()["hold"]["hold"].as_str().expect("a name").to_owned());
    }
    for (set, account) in [1, 2].into_iter().zip(&accounts) {
        for no in 0.. {
            if time(set) >= first + 2 {
                break;
            }
            let body = json!({"request_id": format!("later-{no}"), "limit": "none"});
            assert_eq!(ground.post(&format!("/v1/accounts/{account}/limit"), body).await.status, 200);
        }
    }
    (first, holds.try_into().expect("there are four"))
}

fn names(page: &Value) -> Vec<&str> {
    page["holds"]
        .as_array()
        .expect("a page")
        .iter()
        .map(|hold| hold["hold"].as_str().expect("a name"))
        .collect()
}

#[tokio::test]
async fn what_is_overdue_in_all_sets_is_listed_the_longest_first() {
    let ground = Ground::new().await;
    assert_eq!(ground.get("/v1/holds?state=overdue").await["holds"], json!([]));
    let (first, holds) = overdue(&ground).await;
    let whole = ground.get("/v1/holds?state=overdue").await;
    assert_eq!(names(&whole), holds);
    assert_eq!((&whole["next"], &whole["silent"], &whole["age_ms"]), (&json!(""), &json!([]), &json!(0)));
    assert_eq!([&whole["as_of"][0]["set"], &whole["as_of"][1]["set"]], [1, 2]);
    let hold = &whole["holds"][0];
    assert_eq!(
        (&hold["state"], &hold["left"], &hold["currency"]),
        (&json!("overdue"), &json!("10.00"), &json!("EUR"))
    );
    assert_eq!(hold["on_expiry"]["check_back"]["initiator"], "shop");
    assert_eq!(names(&ground.get("/v1/holds?state=overdue&set=2").await), holds[1..3]);
    assert_eq!(ground.get("/v1/holds?state=overdue&consistency=stale").await["age_ms"], 1);

    // The second ends between two pages, and its place is one all the same.
    let page = ground.get("/v1/holds?state=overdue&page_size=2").await;
    assert_eq!(
        (names(&page), &page["next"]),
        (holds[..2].iter().map(String::as_str).collect(), &json!(format!("{first}.{}", holds[1])))
    );
    let account = page["holds"][1]["account"].as_str().expect("an account");
    let path = format!("/v1/accounts/{account}/holds/{}/release", holds[1]);
    assert_eq!(ground.post(&path, json!({"request_id": "by-hand"})).await.status, 200);
    let path =
        format!("/v1/holds?state=overdue&page_size=2&after={}", page["next"].as_str().expect("a place"));
    let page = ground.get(&path).await;
    assert_eq!((names(&page), &page["next"]), (holds[2..].iter().map(String::as_str).collect(), &json!("")));

    for (query, code) in [
        ("", "malformed"),
        ("?state=open", "malformed"),
        ("?state=overdue&after=1-1-5-0", "malformed"),
        ("?state=overdue&page_size=101", "malformed"),
        ("?state=overdue&set=x", "malformed"),
        ("?state=overdue&set=3", "not_found"),
    ] {
        assert_eq!(ground.router.get(&format!("/v1/holds{query}")).await.problem().1, code, "{query}");
    }
}

#[tokio::test]
async fn a_set_that_is_silent_about_what_is_overdue_is_named() {
    let ground = Ground::new().await;
    let (_, holds) = overdue(&ground).await;
    ground.cluster.shared.withheld.lock().expect("no test panicked with it").insert(1);
    let ask = async |query: &str| {
        ground.router.call("GET", &format!("/v1/holds?state=overdue{query}"), "", Some(300)).await
    };
    let page = ask("").await;
    assert_eq!(page.status, 200, "{:?}", page.body);
    assert_eq!(
        (names(&page.json()), &page.json()["silent"]),
        (holds[1..3].iter().map(String::as_str).collect(), &json!([1]))
    );
    assert_eq!(ask("&set=1").await.problem().1, "no_leader");
    ground.cluster.shared.withheld.lock().expect("no test panicked with it").insert(2);
    assert_eq!(ask("").await.problem().1, "no_leader");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_it_is_sent() {
    let ground = Ground::new().await;
    let mut endless = place(&ground, "h1", "{t}:b");
    endless["expires_at"] = Value::Null;
    let mut nameless = place(&ground, "h2", "{t}:b");
    nameless["on_expiry"]["check_back"]["initiator"] = "a b".into();
    let mut wordy = place(&ground, "h3", "{t}:b");
    wordy["on_expiry"]["check_back"]["url"] = "http://anywhere/".into();
    let mut empty = place(&ground, "h4", "{t}:b");
    empty["on_expiry"] = json!({});
    for (body, code) in [
        (endless, "check_back_without_expiry"),
        (nameless, "malformed_initiator"),
        (place(&ground, "h5", "{t}:a"), "same_account"),
        (wordy, "malformed"),
        (empty, "malformed"),
    ] {
        let refused = ground.post(HOLDS, body).await;
        assert_eq!(
            (refused.status, refused.json()["code"].clone()),
            (400, json!(code)),
            "{:?}",
            refused.body
        );
    }
}

#[tokio::test]
async fn grpc_says_the_same() {
    let ground = Ground::new().await;
    let mut client =
        LedgerClient::connect(format!("http://{}", ground.router.handle.grpc)).await.expect("connects");
    let check_back = Some(wire::CheckBack { initiator: "shop".into(), to: "{t}:b".into() });
    let request = wire::PlaceHoldRequest {
        request_id: "h1".into(),
        account: "{t}:a".into(),
        amount: "10.00".into(),
        expires_at: ground.time_after(2),
        check_back,
        ..wire::PlaceHoldRequest::default()
    };
    let placed = client.place_hold(request).await.expect("it is placed").into_inner();
    let hold = placed.hold.expect("it is told").hold;
    assert_eq!(ground.capture(&hold, "c1", "2.00", false).await.status, 200);
    let get = wire::GetHoldRequest { account: "{t}:a".into(), hold, consistency: 0 };
    let found = client.get_hold(get).await.expect("it is found").into_inner().hold.expect("it is told");
    assert_eq!(found.state(), wire::HoldState::HoldOverdue);
    let asked = found.check_back.expect("it is checked back");
    assert_eq!((asked.initiator.as_str(), asked.to.as_str(), asked.tries), ("shop", "{t}:b", 0));
    let (_, holds) = overdue(&ground).await;
    let asked =
        wire::ListOverdueHoldsRequest { page_size: Some(3), ..wire::ListOverdueHoldsRequest::default() };
    let page = client.list_overdue_holds(asked.clone()).await.expect("it is told").into_inner();
    let names: Vec<&str> = page.holds.iter().map(|hold| hold.hold.as_str()).collect();
    assert_eq!((names.len(), &names[1..], page.as_of.len()), (3, &[holds[0].as_str(), &holds[1]][..], 2));
    let asked = wire::ListOverdueHoldsRequest { after: page.next, set: Some(2), ..asked };
    let page = client.list_overdue_holds(asked).await.expect("it is told").into_inner();
    assert_eq!(
        (page.holds.len(), page.holds[0].hold.as_str(), page.next.as_str()),
        (1, holds[2].as_str(), "")
    );
}
