//! A set whose away copies have stood still is lost with its site, on an operator's word, and another set has seen the end of its
//! log: payments both ways, asked for and unasked. Its new life books what the other one has booked, before it answers anybody, and the
//! books of both are at one; what only the lost site knew is on no account.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;
use twinset_control::{Command, Durability, Set};
use twinset_jepsen::api::spell::escaped;
use twinset_jepsen::logs::{self, Allowed};

use crate::clients::{self, PATIENCE, POLL, account, answered, call};
use crate::sites::kill_site;
use crate::support::Stage;

const LOST: u32 = 1;
const OTHER: u32 = 2;
/// Payments of each kind whose end one side loses.
const PAYMENTS: u32 = 8;

const STANDS_STILL: &[Allowed] = &[Allowed {
    part: "a fault is armed: this node will harm itself",
    why: "copies of the lost set take in nothing more",
}];

#[tokio::test]
async fn what_another_set_has_seen_of_a_lost_end_is_booked_before_the_set_answers() {
    let mut stage = Stage::start_unrecovered().await;
    let [alice, kiosk, carol] =
        clients::in_sets(&stage, [("alice", LOST), ("kiosk", LOST), ("carol", LOST)]).await;
    let [bob, shop] = clients::in_sets(&stage, [("bob", OTHER), ("shop", OTHER)]).await;
    for id in [&alice, &bob, &shop, &kiosk] {
        clients::open(&stage, id).await;
    }
    for id in [&shop, &kiosk] {
        let path = format!("/v1/accounts/{}/posting-mode", escaped(id));
        answered(&stage, Method::POST, &path, json!({ "request_id": "mode", "mode": "buffered" })).await;
    }
    until_unasked(&stage, (&alice, &shop)).await;
    until_unasked(&stage, (&bob, &kiosk)).await;
    for (from, to) in [(&alice, &bob), (&bob, &alice)] {
        pay(&stage, "safe", (from, to), 100).await;
    }
    stage.whole().await;
    let safe = [cents(&stage, &alice).await, cents(&stage, &kiosk).await];

    for name in ["b1", "b2"] {
        stage.configure(name, &format!("[faults]\ndeaf_to = {LOST}\n"));
        stage.cluster.stop_process(name).await.unwrap();
        stage.cluster.start_process(name).unwrap();
    }
    stage.becomes(LOST, Durability::Degraded).await;
    clients::open(&stage, &carol).await;
    for number in 0..PAYMENTS {
        let id = format!("end-{number}");
        pay(&stage, &id, (&alice, &bob), 100).await;
        pay(&stage, &id, (&bob, &alice), 50).await;
        pay(&stage, &id, (&alice, &shop), 30).await;
        pay(&stage, &id, (&bob, &kiosk), 20).await;
    }
    pay(&stage, "new", (&bob, &carol), 7).await;
    let n = i64::from(PAYMENTS);
    for (id, more) in [(&kiosk, 20 * n), (&shop, 0)] {
        if more > 0 {
            until_has(&stage, id, safe[1] + more).await;
        }
        until_arrived(&stage, id).await;
    }
    let others = [cents(&stage, &bob).await, cents(&stage, &shop).await];

    let victims = kill_site(&stage, "A").await;
    for name in ["b1", "b2"] {
        stage.configure(name, "");
        stage.cluster.kill(name).await.unwrap();
        stage.cluster.start_process(name).unwrap();
    }
    let (who, why) = ("test".to_owned(), "site A is gone".to_owned());
    let (site, set) = ("B".to_owned(), LOST);
    stage
        .propose(Command::BeginRecovery {
            set,
            site,
            expected_incarnation: 1,
            accept_loss: true,
            without_replaced: false,
            who,
            why,
        })
        .await;
    let recovered = until_reconciled(&stage).await;
    assert_eq!((recovered.incarnation, recovered.home.as_str()), (2, "B"), "{recovered:?}");

    // What the other set has booked is what it was.
    assert_eq!([cents(&stage, &bob).await, cents(&stage, &shop).await], others);
    // Its payments are on their accounts again, and whom nobody knows any more is on the recovery account; so is what was paid to it, which
    // nobody knows the payer of.
    assert_eq!(cents(&stage, &alice).await, safe[0] + 50 * n, "paid by the other set");
    until_has(&stage, &kiosk, safe[1] + 20 * n).await;
    let path = format!("/v1/sets/{LOST}/recovery/EUR");
    let recovery = answered(&stage, Method::GET, &path, Value::Null).await;
    assert_eq!(recovery["account"]["posted"], money((100 + 30) * n - 7), "{recovery}");
    let (status, _) = call(&stage, "rb", Method::GET, &read(&carol), Value::Null).await.unwrap();
    assert_eq!(status, StatusCode::NOT_FOUND);

    for name in victims {
        stage.cluster.start_process(&name).unwrap();
    }
    for lost in recovered.recovered.unwrap().lost {
        let (replica, who, why) = (lost.id, "test".to_owned(), "it was seen".to_owned());
        stage.propose(Command::ReleaseReplica { set: LOST, replica, who, why }).await;
    }
    stage.becomes(LOST, Durability::Sync).await;
    pay(&stage, "after", (&alice, &bob), 1).await;
    pay(&stage, "after", (&alice, &shop), 1).await;
    pay(&stage, "after", (&bob, &kiosk), 1).await;
    until_has(&stage, &kiosk, safe[1] + 20 * n + 1).await;
    stage.end(&[logs::AFTER_KILLS, logs::AFTER_LOST_SITES, STANDS_STILL].concat()).await;
}

fn read(account: &str) -> String {
    format!("/v1/accounts/{}", escaped(account))
}

fn money(cents: i64) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
}

/// Pays, asking again until it is answered; the answer.
async fn pay(stage: &Stage, id: &str, (from, to): (&str, &str), cents: i64) -> Value {
    let amount = money(cents);
    let leg = |account: &str, side: &str| json!({ "account": account, "side": side, "amount": amount });
    let legs = [leg(from, "debit"), leg(to, "credit")];
    answered(
        stage,
        Method::POST,
        "/v1/transactions",
        json!({ "request_id": format!("{id}-{to}"), "legs": legs }),
    )
    .await
}

/// Pays until the payee is not asked any more.
async fn until_unasked(stage: &Stage, (from, to): (&str, &str)) {
    let deadline = Instant::now() + PATIENCE;
    for number in 0.. {
        let told = pay(stage, &format!("first-{number}"), (from, to), 1).await;
        if told["postings"][1]["in_transit"] == true {
            return until_arrived(stage, to).await;
        }
        assert!(Instant::now() < deadline, "{to} is asked each time: {told}");
    }
}

async fn cents(stage: &Stage, id: &str) -> i64 {
    let posted = account(stage, id).await["posted"].as_str().unwrap().replace('.', "");
    posted.parse().unwrap()
}

async fn until_has(stage: &Stage, id: &str, wanted: i64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = cents(stage, id).await;
        if found == wanted {
            return;
        }
        assert!(Instant::now() < deadline, "{id} has {found} instead of {wanted}");
        tokio::time::sleep(POLL).await;
    }
}

/// Nothing is on its way to the account, as its payers know.
async fn until_arrived(stage: &Stage, id: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let there = answered(stage, Method::GET, &format!("{}/in-transit", read(id)), Value::Null).await;
        if there["amount"] == "0.00" && there["silent"].as_array().is_none_or(Vec::is_empty) {
            return;
        }
        assert!(Instant::now() < deadline, "{id} waits for {there}");
        tokio::time::sleep(POLL).await;
    }
}

async fn until_reconciled(stage: &Stage) -> Set {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let recorded = stage.recorded(LOST).await;
        if recorded.recovered.as_ref().is_some_and(|recovered| !recovered.unreconciled) {
            return recorded;
        }
        assert!(Instant::now() < deadline, "not brought together: {recorded:?}");
        tokio::time::sleep(POLL).await;
    }
}
