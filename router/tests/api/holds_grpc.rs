//! Holds over gRPC: the same meaning as over HTTP.

use serde_json::json;
use tonic::transport::Channel;
use tonic::{Code, Status};
use twinset_proto::ledger::v1 as wire;
use twinset_proto::ledger::v1::batch_item_reply::Result as Item;
use twinset_proto::ledger::v1::get_request_reply::Found;
use twinset_proto::ledger::v1::hold_event::Change;
use twinset_proto::ledger::v1::ledger_client::LedgerClient;

use crate::holds::{Ground, HOLDS};

async fn connect(ground: &Ground) -> LedgerClient<Channel> {
    LedgerClient::connect(format!("http://{}", ground.router.handle.grpc)).await.expect("connects")
}

fn metadata<'a>(status: &'a Status, key: &str) -> &'a str {
    let value = status.metadata().get(key).unwrap_or_else(|| panic!("{key} is missing in {status:?}"));
    value.to_str().expect("text")
}

fn place(request_id: &str, amount: &str) -> wire::PlaceHoldRequest {
    let (request_id, amount, account) = (request_id.into(), amount.into(), "{t}:a".into());
    wire::PlaceHoldRequest { request_id, account, amount, ..wire::PlaceHoldRequest::default() }
}

fn release(request_id: &str, hold: &str, amount: &str) -> wire::ReleaseHoldRequest {
    let (request_id, account, hold, amount) = (request_id.into(), "{t}:a".into(), hold.into(), amount.into());
    wire::ReleaseHoldRequest { request_id, account, hold, amount }
}

fn extend(request_id: &str, hold: &str, expires_at: &str) -> wire::ExtendHoldRequest {
    let (request_id, account, hold, expires_at) =
        (request_id.into(), "{t}:a".into(), hold.into(), expires_at.into());
    wire::ExtendHoldRequest { request_id, account, hold, expires_at }
}

fn capture(request_id: &str, hold: &str, amount: &str) -> wire::PostTransactionRequest {
    let leg = |account: &str, side: wire::Side| wire::Leg {
        account: account.into(),
        side: side.into(),
        amount: amount.into(),
        ..wire::Leg::default()
    };
    wire::PostTransactionRequest {
        request_id: request_id.into(),
        scope_account: "{t}:a".into(),
        legs: vec![leg("{t}:a", wire::Side::Debit), leg("{t}:b", wire::Side::Credit)],
        capture: Some(wire::Capture { hold: hold.into(), r#final: false }),
        ..wire::PostTransactionRequest::default()
    }
}

fn get(hold: &str) -> wire::GetHoldRequest {
    wire::GetHoldRequest { account: "{t}:a".into(), hold: hold.into(), consistency: 0 }
}

fn list() -> wire::ListHoldsRequest {
    wire::ListHoldsRequest { account: "{t}:a".into(), ..wire::ListHoldsRequest::default() }
}

#[tokio::test]
async fn the_life_of_a_hold() {
    let ground = Ground::new().await;
    let mut client = connect(&ground).await;
    let first = wire::PlaceHoldRequest { expires_at: "2026-12-24T18:00:00.50Z".into(), ..place("h", "30") };
    let placed = client.place_hold(first.clone()).await.expect("placed").into_inner();
    let hold = placed.hold.clone().expect("a hold");
    let said = (hold.state(), hold.left.as_str(), hold.expires_at.as_str(), placed.available.as_str());
    assert_eq!(said, (wire::HoldState::HoldOpen, "30.00", "2026-12-24T18:00:00.5Z", "70.00"));
    assert!(hold.currency.is_empty() && hold.journal.is_empty() && placed.position.is_some(), "{hold:?}");
    let again = client.place_hold(first).await.expect("the first answer").into_inner();
    assert_eq!((again.replayed, again.hold.as_ref()), (true, Some(&hold)));
    let id = hold.hold;

    let extended = client.extend_hold(extend("e", &id, "")).await.expect("extended").into_inner();
    assert_eq!(extended.hold.expect("a hold").expires_at, "");
    let part = client.release_hold(release("r", &id, "5")).await.expect("released").into_inner();
    assert_eq!(part.hold.expect("a hold").released, "5.00");
    let booked = client.post_transaction(capture("c", &id, "10")).await.expect("booked").into_inner();
    let rest = client.release_hold(release("rest", &id, "")).await.expect("released").into_inner();
    assert_eq!(
        (rest.hold.expect("a hold").state(), rest.available.as_str()),
        (wire::HoldState::HoldReleased, "90.00")
    );

    let found = client.get_hold(get(&id)).await.expect("found").into_inner();
    assert!(found.as_of.is_some());
    let hold = found.hold.expect("a hold");
    assert_eq!(
        (hold.currency.as_str(), hold.request_id.as_str(), hold.account.as_str()),
        ("EUR", "h", "{t}:a")
    );
    assert_eq!(hold.placed, placed.position);
    let changes: Vec<_> = hold.journal.iter().filter_map(|event| event.change.clone()).collect();
    let captured = wire::HoldCaptured { amount: "10.00".into(), transaction: booked.transaction.clone() };
    let expected = [
        Change::Extended(String::new()),
        Change::Released("5.00".into()),
        Change::Captured(captured),
        Change::Released("15.00".into()),
    ];
    assert_eq!(changes, expected);
    let read = wire::GetTransactionRequest { transaction: booked.transaction, consistency: 1 };
    let read = client.get_transaction(read).await.expect("read").into_inner().transaction;
    assert_eq!(read.and_then(|read| read.capture), Some(wire::Capture { hold: id.clone(), r#final: false }));
    for request_id in ["h", "e", "r", "rest"] {
        let asked = wire::GetRequestRequest {
            scope_account: "{t}:a".into(),
            request_id: request_id.into(),
            consistency: 0,
        };
        match client.get_request(asked).await.expect("found").into_inner().found {
            Some(Found::Hold(reply)) => assert_eq!(reply.hold.as_ref(), Some(&hold), "{request_id}"),
            other => panic!("{request_id}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn holds_are_listed() {
    let ground = Ground::new().await;
    let mut client = connect(&ground).await;
    let (first, second) = (ground.place("1", "1").await, ground.place("2", "2").await);
    client.release_hold(release("r", &first, "")).await.expect("released");
    let mut listed = async |request: wire::ListHoldsRequest| {
        let page = client.list_holds(request).await.expect("listed").into_inner();
        assert!(page.as_of.is_some());
        (page.holds.into_iter().map(|hold| hold.hold).collect::<Vec<_>>(), page.next)
    };
    let state = |state: wire::HoldState| wire::ListHoldsRequest { state: state.into(), ..list() };
    assert_eq!(listed(list()).await, (vec![first.clone(), second.clone()], String::new()));
    assert_eq!(listed(state(wire::HoldState::HoldOpen)).await.0, std::slice::from_ref(&second));
    assert_eq!(listed(state(wire::HoldState::HoldReleased)).await.0, std::slice::from_ref(&first));
    let page = wire::ListHoldsRequest { page_size: Some(1), ..list() };
    assert_eq!(listed(page.clone()).await, (vec![first.clone()], first.clone()));
    assert_eq!(listed(wire::ListHoldsRequest { after: first, ..page }).await, (vec![second], String::new()));
}

#[tokio::test]
async fn errors_are_those_of_http() {
    let ground = Ground::new().await;
    let mut client = connect(&ground).await;
    let id = ground.place("h", "10").await;
    let expiring = |text: &str| wire::PlaceHoldRequest { expires_at: text.into(), ..place("x", "1") };
    let mut preconditions = capture("x", &id, "1");
    preconditions.legs[0].preconditions =
        Some(wire::Preconditions { posted_min: Some("ten".into()), ..wire::Preconditions::default() });
    let unscoped = wire::PostTransactionRequest { scope_account: String::new(), ..capture("x", &id, "1") };
    let refused = [
        (client.place_hold(place("x", "ten")).await.expect_err("no amount"), "malformed", "amount: "),
        (client.place_hold(place("x", "0")).await.expect_err("zero"), "amount_not_positive", ""),
        (client.place_hold(expiring("tomorrow")).await.expect_err("no time"), "malformed", "expires_at"),
        (
            client
                .place_hold(wire::PlaceHoldRequest { reason: 70_000, ..place("x", "1") })
                .await
                .expect_err("reason"),
            "malformed",
            "reason 70000",
        ),
        (client.release_hold(release("x", "7", "")).await.expect_err("no hold"), "malformed", "four decimal"),
        (client.release_hold(release("x", &id, "x")).await.expect_err("no amount"), "malformed", "amount: "),
        (client.extend_hold(extend("x", "", "")).await.expect_err("no hold"), "malformed", "four decimal"),
        (
            client.extend_hold(extend("x", &id, "24:00")).await.expect_err("no time"),
            "malformed",
            "expires_at",
        ),
        (client.post_transaction(capture("x", "7", "1")).await.expect_err("no hold"), "malformed", "four"),
        (client.post_transaction(preconditions).await.expect_err("no amount"), "malformed", "posted_min: "),
        (client.post_transaction(unscoped).await.expect_err("no scope"), "capture_without_scope_account", ""),
        (client.get_hold(get("7")).await.expect_err("no hold"), "malformed", "four decimal"),
        (
            client.get_hold(wire::GetHoldRequest { consistency: 7, ..get(&id) }).await.expect_err("7"),
            "malformed",
            "consistency 7",
        ),
        (
            client.list_holds(wire::ListHoldsRequest { state: 9, ..list() }).await.expect_err("9"),
            "malformed",
            "state 9",
        ),
        (
            client
                .list_holds(wire::ListHoldsRequest { page_size: Some(101), ..list() })
                .await
                .expect_err("101"),
            "malformed",
            "between 1 and 100",
        ),
        (
            client
                .list_holds(wire::ListHoldsRequest { after: "9-1-1-0".into(), ..list() })
                .await
                .expect_err("set 9"),
            "malformed",
            "no hold of {t}:a",
        ),
    ];
    for (status, code, says) in refused {
        assert_eq!(
            (status.code(), metadata(&status, "twinset-code")),
            (Code::InvalidArgument, code),
            "{status:?}"
        );
        assert!(status.message().contains(says), "{status:?}");
        assert_eq!(metadata(&status, "twinset-outcome"), "not_applied");
    }
    let missing = client.get_hold(get("1-1-999-0")).await.expect_err("nothing there");
    assert_eq!((missing.code(), metadata(&missing, "twinset-number")), (Code::NotFound, "2004"));

    let exceeded = client.release_hold(release("much", &id, "11")).await.expect_err("too much");
    assert_eq!(exceeded.code(), Code::FailedPrecondition);
    let said = ["code", "number", "outcome", "retryable", "hold", "left", "needed", "replayed"]
        .map(|name| metadata(&exceeded, &format!("twinset-{name}")).to_string());
    assert_eq!(said, ["hold_exceeded", "24", "rejected", "false", &id, "10.00", "11.00", "false"]);
    let path = format!("{HOLDS}/{id}/release");
    let over_http = ground.router.post(&path, r#"{"request_id":"much","amount":"11"}"#).await.json();
    let same = ["code", "hold", "left", "needed"].map(|name| over_http[name].clone());
    assert_eq!(same, [json!("hold_exceeded"), json!(id), json!("10.00"), json!("11.00")]);
    assert_eq!(over_http["replayed"], true, "one request in both spellings");

    let mut version = capture("v", &id, "1");
    version.legs[0].preconditions = Some(wire::Preconditions {
        available_min: Some("-1".into()),
        version: Some(9),
        ..wire::Preconditions::default()
    });
    let failed = client.post_transaction(version.clone()).await.expect_err("another version");
    let said = ["code", "precondition", "found", "wanted"]
        .map(|name| metadata(&failed, &format!("twinset-{name}")).to_string());
    assert_eq!(said, ["precondition_failed", "version", "1", "9"]);
    let transactions = vec![version, capture("late", "1-1-999-0", "1"), capture("good", &id, "1")];
    let batch =
        wire::PostBatchRequest { transactions, with_postings: true, ..wire::PostBatchRequest::default() };
    let results = client.post_batch(batch).await.expect("answered").into_inner().results;
    let results: Vec<_> = results.into_iter().map(|item| item.result.expect("a result")).collect();
    match results.as_slice() {
        [Item::Problem(version), Item::Problem(late), Item::Ok(good)] => {
            let said = (version.code.as_str(), version.number, version.retryable, version.replayed);
            assert_eq!(said, ("precondition_failed", 27, false, true));
            assert_eq!((late.code.as_str(), late.number), ("hold_not_found", 22));
            assert_eq!(good.postings[0].available, "90.00");
        }
        other => panic!("{other:?}"),
    }
}
