//! Buffered credits whose leaders die in the middle: the payer's and the payee's set's, at every edge of their way. A payment is
//! asked for until it has an answer, and asked for once more when everything is whole: in the end each is booked once, on both sides,
//! and nothing is on its way any more.

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;
use twinset_jepsen::api::spell::escaped;
use twinset_jepsen::logs;

use crate::clients::{self, PATIENCE, POLL, answered, call};
use crate::leaders::{arm, keep_leading};
use crate::support::{ARMED, Stage};

const PAYERS: u32 = 1;
const PAYEES: u32 = 2;

#[tokio::test]
async fn a_leader_that_dies_on_a_credits_way_loses_and_repeats_nothing() {
    let mut stage = Stage::start().await;
    let mut books = Books::open(&stage).await;
    books.until_announced(&stage).await;
    for (set, point) in [
        (PAYERS, "parcel_sent"),
        (PAYERS, "acknowledge_proposed"),
        (PAYEES, "credit_received"),
        (PAYEES, "credit_proposed"),
        (PAYEES, "credited"),
    ] {
        let victim = arm(&mut stage, set, &faults(point)).await;
        let mut asked = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while !stage.has_ended(&victim).await && Instant::now() < deadline {
            let id = format!("{point}-{}", asked.len());
            books.pay(&stage, &id).await;
            asked.push(id);
            keep_leading(&mut stage, set, &victim).await;
        }
        println!("{point}: {victim} died after {} payments", asked.len());
        books.restart(&mut stage, &victim, point).await;
        for id in &asked {
            books.pay(&stage, id).await;
        }
        books.settle(&stage, point).await;
    }
    books.end(stage).await;
}

#[tokio::test]
async fn a_leader_that_dies_while_an_account_changes_its_mode_leaves_it_where_it_was_going() {
    let mut stage = Stage::start().await;
    let mut books = Books::open(&stage).await;
    books.until_announced(&stage).await;
    for (set, point, mode) in
        [(PAYERS, "withdrawn", "strict"), (PAYERS, "announced", "buffered"), (PAYEES, "drained", "strict")]
    {
        let victim = arm(&mut stage, set, &faults(point)).await;
        books.set_mode(&stage, mode, point).await;
        let deadline = Instant::now() + PATIENCE;
        while !stage.has_ended(&victim).await {
            assert!(Instant::now() < deadline, "{victim} never got to {point}");
            books.pay(&stage, &format!("{point}-{}", books.told.len())).await;
            keep_leading(&mut stage, set, &victim).await;
        }
        println!("{point}: {victim} died");
        books.restart(&mut stage, &victim, point).await;
        books.settle(&stage, point).await;
        books.until_mode(&stage, mode).await;
    }
    books.end(stage).await;
}

fn faults(point: &str) -> String {
    format!("[faults]\ndie_at = \"buffered.{point}\"\n")
}

/// A payer in the one set, a buffered payee in the other, and what was answered so far.
struct Books {
    payer: String,
    payee: String,
    told: BTreeMap<String, String>,
}

impl Books {
    async fn open(stage: &Stage) -> Books {
        let [payer, payee] = clients::in_sets(stage, [("payer", PAYERS), ("payee", PAYEES)]).await;
        let books = Books { payer, payee, told: BTreeMap::new() };
        for account in [&books.payer, &books.payee] {
            clients::open(stage, account).await;
        }
        books.set_mode(stage, "buffered", "first").await;
        books
    }

    /// Asks until it is answered.
    async fn set_mode(&self, stage: &Stage, mode: &str, id: &str) {
        let path = format!("/v1/accounts/{}/posting-mode", escaped(&self.payee));
        let body = json!({ "request_id": format!("mode-{id}"), "mode": mode });
        answered(stage, Method::POST, &path, body).await;
    }

    async fn until_mode(&self, stage: &Stage, mode: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let account = clients::account(stage, &self.payee).await;
            if account["posting_mode"] == mode {
                return;
            }
            assert!(Instant::now() < deadline, "not {mode}: {account}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Pays until a payment does not wait for the payee: its leg has no balance in the answer.
    async fn until_announced(&mut self, stage: &Stage) {
        let deadline = Instant::now() + PATIENCE;
        for number in 0.. {
            if self.pay(stage, &format!("announced-{number}")).await {
                return self.settle(stage, "announced").await;
            }
            assert!(Instant::now() < deadline, "the payee is asked each time");
        }
    }

    /// Pays one unit, and asks again until there is an answer; whether the payee was not asked.
    async fn pay(&mut self, stage: &Stage, id: &str) -> bool {
        let leg = |account: &str, side: &str| json!({ "account": account, "side": side, "amount": "1.00" });
        let body = json!({
            "request_id": id, "legs": [leg(&self.payer, "debit"), leg(&self.payee, "credit")],
        });
        let deadline = Instant::now() + PATIENCE;
        for router in ["ra", "rb"].into_iter().cycle() {
            let said = call(stage, router, Method::POST, "/v1/transactions", body.clone()).await;
            if let Ok((StatusCode::OK, booked)) = &said {
                let transaction = booked["transaction"].as_str().unwrap().to_owned();
                let before = self.told.entry(id.to_owned()).or_insert_with(|| transaction.clone());
                assert_eq!(*before, transaction, "{id}");
                return booked["postings"][1]["posted"].as_str().unwrap_or_default().is_empty();
            }
            assert!(Instant::now() < deadline, "{id} has no answer: {said:?}");
        }
        unreachable!("the routers never end")
    }

    async fn restart(&mut self, stage: &mut Stage, victim: &str, point: &str) {
        assert!(stage.has_ended(victim).await, "{victim} never got to {point}: {}", stage.log(victim, 0));
        // The dead node is not needed for others.
        self.pay(stage, &format!("{point}-without")).await;
        stage.configure(victim, "");
        stage.cluster.start_process(victim).unwrap();
        stage.whole().await;
    }

    /// What was paid arrives, and no more; and its senders hear so.
    async fn settle(&self, stage: &Stage, point: &str) {
        let expected = format!("{}.00", self.told.len());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let payer = clients::account(stage, &self.payer).await["posted"].clone();
            let payee = clients::account(stage, &self.payee).await["posted"].clone();
            let on_its_way = self.on_its_way(stage).await;
            if payer == format!("-{expected}") && payee == *expected && on_its_way == Some(0) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{point}: {payer} and {payee} of {expected}, {on_its_way:?} on their way"
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Credits that no sender has forgotten yet; None: a set does not say.
    async fn on_its_way(&self, stage: &Stage) -> Option<u64> {
        let path = format!("/v1/accounts/{}/in-transit", escaped(&self.payee));
        let said = answered(stage, Method::GET, &path, Value::Null).await;
        let told = said["silent"].as_array().unwrap().is_empty();
        told.then(|| {
            said["from"].as_array().unwrap().iter().map(|from| from["credits"].as_u64().unwrap()).sum()
        })
    }

    async fn end(self, stage: Stage) {
        let allowed = [logs::AFTER_KILLS, &[ARMED]].concat();
        stage.end(&allowed).await;
    }
}
