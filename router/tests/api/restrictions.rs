//! Restricted funds, over HTTP and gRPC: how legs say it, what is read, released and refused, also over several sets.

use serde_json::{Value, json};
use twinset_proto::ledger::v1 as wire;
use twinset_proto::ledger::v1::get_request_reply::Found;
use twinset_proto::ledger::v1::ledger_client::LedgerClient;

use crate::holds::{Ground, leg};
use crate::support::Cluster;

const PATH: &str = "/v1/accounts/{t}:a/restrictions";

/// `{t}:a` gets so much restricted; the name of that.
async fn restrict(ground: &Ground, request_id: &str, amount: &str, restricted: Value) -> String {
    let mut gets = leg("{t}:a", "credit", amount);
    gets["restricted"] = restricted;
    let legs = json!([leg("{t}:cash", "debit", amount), gets]);
    let booked = ground.post("/v1/transactions", json!({"request_id": request_id, "legs": legs})).await;
    assert_eq!(booked.status, 200, "{:?}", booked.body);
    booked.json()["transaction"].as_str().expect("a name").to_string()
}

/// Status and body of a withdrawal from `{t}:a`.
async fn withdraw(ground: &Ground, request_id: &str, amount: &str) -> (u16, Value) {
    let mut takes = leg("{t}:a", "debit", amount);
    takes["withdrawal"] = json!(true);
    let legs = json!([takes, leg("{t}:cash", "credit", amount)]);
    let answer = ground.post("/v1/transactions", json!({"request_id": request_id, "legs": legs})).await;
    (answer.status, answer.json())
}

#[tokio::test]
async fn a_restriction_is_made_read_and_released() {
    let ground = Ground::new().await;
    let name = restrict(&ground, "r-1", "50", json!({"until": "2026-12-24T18:00:00.5Z"})).await;
    let other = restrict(&ground, "r-2", "5", json!({})).await;
    let found = ground.get(&format!("{PATH}/{name}")).await;
    let restriction = &found["restriction"];
    for (field, expected) in [
        ("restriction", name.as_str()),
        ("account", "{t}:a"),
        ("currency", "EUR"),
        ("state", "open"),
        ("amount", "50.00"),
        ("left", "50.00"),
        ("until", "2026-12-24T18:00:00.5Z"),
    ] {
        assert_eq!(restriction[field], expected, "{field}");
    }
    assert!(restriction["made"]["index"].is_u64() && restriction.get("ended").is_none(), "{restriction}");

    let (status, refused) = withdraw(&ground, "w-1", "100.01").await;
    assert_eq!((status, &refused["code"]), (422, &json!("withdrawable_exceeded")), "{refused}");
    for (field, expected) in
        [("account", "{t}:a"), ("withdrawable", "100.00"), ("limit", "0.00"), ("needed", "100.01")]
    {
        assert_eq!(refused[field], expected, "{field}");
    }
    assert_eq!(withdraw(&ground, "w-2", "100").await.0, 200);

    let release = |id: &str, amount: Option<&str>| json!({"request_id": id, "amount": amount});
    let path = format!("{PATH}/{name}/release");
    let part = ground.post(&path, release("u-1", Some("20"))).await;
    assert_eq!(part.status, 200, "{:?}", part.body);
    let part = part.json();
    let expected = json!({"restriction": name, "account": "{t}:a", "state": "open", "amount": "50.00",
        "left": "30.00", "until": "2026-12-24T18:00:00.5Z"});
    assert_eq!(part["restriction"], expected);
    assert_eq!((&part["released"], &part["withdrawable"]), (&json!("20.00"), &json!("20.00")));
    let again = ground.post(&path, release("u-1", Some("20"))).await.json();
    assert_eq!((&again["replayed"], &again["released"]), (&json!(true), &json!("20.00")));

    let much = ground.post(&path, release("u-2", Some("30.01"))).await;
    assert_eq!(much.status, 422);
    let much = much.json();
    assert_eq!((&much["code"], &much["left"]), (&json!("restriction_exceeded"), &json!("30.00")));
    assert_eq!(much["restriction"], name.as_str());
    assert_eq!(ground.post(&path, release("u-3", None)).await.status, 200);
    let gone = ground.post(&path, release("u-4", None)).await;
    assert_eq!((gone.status, &gone.json()["left"]), (422, &json!("0.00")));
    let by_request = ground.get("/v1/requests/%7Bt%7D:a/u-3").await;
    assert_eq!(by_request["restriction"]["state"], "released");

    let names = |page: &Value| -> Vec<String> {
        let all = page["restrictions"].as_array().expect("a page").iter();
        all.map(|one| one["restriction"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(names(&ground.get(PATH).await), [name.clone(), other.clone()]);
    assert_eq!(names(&ground.get(&format!("{PATH}?state=open")).await), std::slice::from_ref(&other));
    let first = ground.get(&format!("{PATH}?page_size=1")).await;
    assert_eq!((names(&first), &first["next"]), (vec![name.clone()], &json!(name)));
    let second = ground.get(&format!("{PATH}?page_size=1&after={name}")).await;
    assert_eq!((names(&second), &second["next"]), (vec![other], &json!("")));
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let ground = Ground::new().await;
    let name = restrict(&ground, "r-1", "5", json!({})).await;
    let legs = |more: Value| {
        let mut gets = leg("{t}:a", "credit", "5");
        gets.as_object_mut().expect("a leg").extend(more.as_object().expect("fields").clone());
        json!([leg("{t}:cash", "debit", "5"), gets])
    };
    for (legs, code, detail) in [
        (legs(json!({"withdrawal": true, "restricted": {}})), "malformed", "not both"),
        (legs(json!({"restricted": {"until": "tomorrow"}})), "malformed", "is not a time in UTC"),
        (legs(json!({"restricted": true})), "malformed", ""),
        (legs(json!({"restricted": {"untill": "x"}})), "malformed", "untill"),
        (
            json!([
                leg("{t}:cash", "debit", "6"),
                legs(json!({"restricted": {}}))[1],
                leg("{t}:a", "credit", "1")
            ]),
            "restricted_leg_not_alone",
            "",
        ),
    ] {
        let answer = ground.post("/v1/transactions", json!({"request_id": "x", "legs": legs})).await;
        let body = answer.json();
        assert_eq!((answer.status, &body["code"]), (400, &json!(code)), "{legs}: {body}");
        assert!(body["detail"].as_str().expect("text").contains(detail), "{body}");
    }
    let mut takes = leg("{t}:a", "debit", "5");
    takes["restricted"] = json!({});
    let legs = json!([takes, leg("{t}:cash", "credit", "5")]);
    let outflow = ground.post("/v1/transactions", json!({"request_id": "o", "legs": legs})).await;
    assert_eq!((outflow.status, &outflow.json()["code"]), (422, &json!("restricted_outflow")));

    for (path, status) in [
        (format!("{PATH}/{name}"), 200),
        (format!("{PATH}/x"), 400),
        (format!("{PATH}/1-1-9999-0"), 404),
        (format!("/v1/accounts/%7Bt%7D:b/restrictions/{name}"), 404),
        ("/v1/accounts/%7Bt%7D:nobody/restrictions".to_owned(), 404),
        (format!("{PATH}?state=closed"), 400),
        (format!("{PATH}?page_size=0"), 400),
        (format!("{PATH}?after=x"), 400),
    ] {
        assert_eq!(ground.router.get(&path).await.status, status, "{path}");
    }
    let unnamed = ground.post(&format!("{PATH}/x/release"), json!({"request_id": "u"})).await;
    assert_eq!((unnamed.status, &unnamed.json()["code"]), (400, &json!("malformed")));
}

#[tokio::test]
async fn it_means_the_same_over_grpc() {
    let ground = Ground::new().await;
    let mut client =
        LedgerClient::connect(format!("http://{}", ground.router.handle.grpc)).await.expect("connects");
    let leg = |account: &str, side: wire::Side, amount: &str| wire::Leg {
        account: account.into(),
        side: side.into(),
        amount: amount.into(),
        ..wire::Leg::default()
    };
    let post = |id: &str, legs: Vec<wire::Leg>| wire::PostTransactionRequest {
        request_id: id.into(),
        legs,
        ..wire::PostTransactionRequest::default()
    };
    let until = "2026-12-24T18:00:00Z";
    let gets = |until: &str| wire::Leg {
        restricted: Some(wire::Restricted { until: until.into() }),
        ..leg("{t}:a", wire::Side::Credit, "30")
    };
    let pays = leg("{t}:cash", wire::Side::Debit, "30");
    let booked = client.post_transaction(post("r", vec![pays.clone(), gets(until)])).await.expect("booked");
    let name = booked.into_inner().transaction;
    let takes = |amount| wire::Leg { withdrawal: true, ..leg("{t}:a", wire::Side::Debit, amount) };
    let to = |amount| leg("{t}:cash", wire::Side::Credit, amount);
    let refused = client.post_transaction(post("w", vec![takes("101"), to("101")])).await.expect_err("much");
    let metadata = |key| refused.metadata().get(key).map(|value| value.to_str().expect("text"));
    assert_eq!(metadata("twinset-code"), Some("withdrawable_exceeded"), "{refused:?}");
    let both = wire::Leg { restricted: Some(wire::Restricted::default()), ..takes("1") };
    let both = client.post_transaction(post("b", vec![both, to("1")])).await.expect_err("both");
    assert!(both.message().contains("not both"), "{both:?}");
    let timeless = client.post_transaction(post("t", vec![pays, gets("x")])).await.expect_err("no time");
    assert!(timeless.message().contains("until \"x\""), "{timeless:?}");

    let account: String = "{t}:a".into();
    let key =
        wire::GetRestrictionRequest { account: account.clone(), restriction: name.clone(), consistency: 0 };
    let found = client.get_restriction(key).await.expect("found").into_inner().restriction.expect("one");
    assert_eq!(
        (found.left.as_str(), found.until.as_str(), found.state()),
        ("30.00", until, wire::RestrictionState::RestrictionOpen)
    );
    let release = wire::ReleaseRestrictionRequest {
        request_id: "u".into(),
        account: account.clone(),
        restriction: name.clone(),
        amount: String::new(),
    };
    let released = client.release_restriction(release.clone()).await.expect("released").into_inner();
    assert_eq!((released.released.as_str(), released.withdrawable.as_str()), ("30.00", "130.00"));
    let wrong = wire::ReleaseRestrictionRequest { restriction: "x".into(), ..release };
    assert!(client.release_restriction(wrong).await.is_err());
    let list = wire::ListRestrictionsRequest {
        account: account.clone(),
        state: wire::RestrictionState::RestrictionReleased.into(),
        ..wire::ListRestrictionsRequest::default()
    };
    let listed = client.list_restrictions(list).await.expect("a page").into_inner().restrictions;
    assert_eq!(listed.iter().map(|one| one.restriction.as_str()).collect::<Vec<_>>(), [name.as_str()]);
    let request = wire::GetRequestRequest { scope_account: account, request_id: "u".into(), consistency: 0 };
    let found = client.get_request(request).await.expect("found").into_inner().found;
    assert!(matches!(found, Some(Found::Restriction(_))), "{found:?}");
}

#[tokio::test]
async fn over_several_sets_it_has_the_name_of_the_whole() {
    let cluster = Cluster::start().await;
    let router = cluster.router().await;
    let (near, far) = (cluster.account_in(1, "near"), cluster.account_in(2, "far"));
    for (account, limit) in [(&near, "none"), (&far, "0")] {
        let body = json!({"request_id": "open", "account": account, "subject": "liability",
            "currency": "EUR", "limit": limit});
        assert_eq!(router.post("/v1/accounts", &body.to_string()).await.status, 200);
    }
    let mut gets = leg(&far, "credit", "20");
    gets["restricted"] = json!({});
    let legs = json!([leg(&near, "debit", "20"), gets]);
    let body = json!({"request_id": "r", "scope_account": near, "legs": legs}).to_string();
    let booked = router.post("/v1/transactions", &body).await;
    assert_eq!(booked.status, 200, "{:?}", booked.body);
    let name = booked.json()["transaction"].as_str().expect("a name").to_owned();
    let path = format!("/v1/accounts/{far}/restrictions/{name}");
    let left = async |router: &crate::support::Router| {
        router.get(&path).await.json()["restriction"]["left"].as_str().map(str::to_owned)
    };
    assert_eq!(left(&router).await.as_deref(), Some("20.00"));

    let reverse = json!({"request_id": "v", "amount": "5"}).to_string();
    let reversed = router.post(&format!("/v1/transactions/{name}/reversals"), &reverse).await;
    assert_eq!(reversed.status, 200, "{:?}", reversed.body);
    assert_eq!(left(&router).await.as_deref(), Some("15.00"), "what went back is restricted no more");
}
