//! Holds that are checked back, over HTTP and gRPC: how they are placed, read and listed.

use serde_json::{Value, json};
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
}
