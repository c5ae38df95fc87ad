//! Sweeps whose leader dies, or stands still while another one leads, at each edge of a run, within a set and over two. Whatever
//! happens each run takes the money once, of all that is beyond what stays, and is found by its name.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;
use twinset_jepsen::api::spell::escaped;
use twinset_jepsen::logs;
use twinset_tools::cluster::process::Signal;

use crate::clients::{self, POLL, answered};
use crate::leaders::{arm, keep_leading};
use crate::support::{ARMED, Stage};

/// Where the accounts live that are swept, and the other set.
const OWN: u32 = 1;
const OTHER: u32 = 2;
/// What stays, what has to be there, and what is paid in: enough for a run each time.
const KEEP: i64 = 10;
const ABOVE: i64 = 50;
const PAID_IN: i64 = 60;
/// By then what is due was run, also if a set that did not answer has put it off for a minute.
const PATIENCE: Duration = Duration::from_secs(150);

const POINTS: [&str; 2] = ["sweep.due", "sweep.ran"];

#[tokio::test]
async fn a_run_within_a_set_takes_the_money_once_whoever_dies_or_stands_still() {
    play(OWN).await;
}

#[tokio::test]
async fn a_run_over_two_sets_takes_the_money_once_whoever_dies_or_stands_still() {
    play(OTHER).await;
}

async fn play(payee_set: u32) {
    let mut stage = Stage::start().await;
    let mut books = Books::open(&stage, payee_set).await;
    for point in POINTS {
        let victim = arm(&mut stage, OWN, &format!("[faults]\ndie_at = \"{point}\"\n")).await;
        let until = Instant::now() + PATIENCE;
        while !stage.has_ended(&victim).await {
            assert!(Instant::now() < until, "{victim} never got to {point}: {}", stage.log(&victim, 0));
            books.pay_in(&stage).await;
            // Also without the one that has died.
            books.until_swept(&stage, point).await;
            keep_leading(&mut stage, OWN, &victim).await;
        }
        println!("{point}: {victim} died; {} runs", books.moved.len());
        stage.configure(&victim, "");
        stage.cluster.start_process(&victim).unwrap();
        stage.whole().await;
        books.check(&stage, point).await;

        let victim = arm(&mut stage, OWN, &format!("[faults]\nfreeze_at = \"{point}\"\n")).await;
        let until = Instant::now() + PATIENCE;
        while !stage.is_frozen(&victim) {
            assert!(Instant::now() < until, "{victim} never got to {point}: {}", stage.log(&victim, 0));
            books.pay_in(&stage).await;
            books.until_swept(&stage, point).await;
            if !stage.is_frozen(&victim) {
                keep_leading(&mut stage, OWN, &victim).await;
            }
        }
        println!("{point}: {victim} stood still; {} runs", books.moved.len());
        // It goes on with the run, which another one has run.
        stage.cluster.signal(&victim, Signal::Cont).await.unwrap();
        stage.whole().await;
        books.pay_in(&stage).await;
        books.until_swept(&stage, point).await;
        books.check(&stage, point).await;
        stage.reconfigure(&victim, "").await;
    }
    let allowed = [logs::AFTER_KILLS, &[ARMED]].concat();
    stage.end(&allowed).await;
}

/// Who pays in, who is swept, who gets it, and what each run has moved so far.
struct Books {
    bank: String,
    till: String,
    payee: String,
    sweep: String,
    moved: Vec<i64>,
}

impl Books {
    async fn open(stage: &Stage, payee_set: u32) -> Books {
        let wanted = [("bank", OWN), ("till", OWN), ("payee", payee_set)];
        let [bank, till, payee] = clients::in_sets(stage, wanted).await;
        for account in [&bank, &till, &payee] {
            clients::open(stage, account).await;
        }
        let body = json!({
            "request_id": "sweep", "to": payee, "keep": major(KEEP), "above": major(ABOVE),
        });
        answered(stage, Method::POST, &format!("/v1/accounts/{}/sweep", escaped(&till)), body).await;
        let mut books = Books { bank, till, payee, sweep: String::new(), moved: Vec::new() };
        books.sweep = books.sweep(stage).await["sweep"].as_str().unwrap().to_owned();
        books
    }

    async fn sweep(&self, stage: &Stage) -> Value {
        let path = format!("/v1/accounts/{}/sweep", escaped(&self.till));
        answered(stage, Method::GET, &path, Value::Null).await["sweep"].take()
    }

    /// Pays in what has to be there, and notes what the run is to move.
    async fn pay_in(&mut self, stage: &Stage) {
        let leg =
            |account: &str, side: &str| json!({ "account": account, "side": side, "amount": major(PAID_IN) });
        let id = format!("pay-{}", self.moved.len());
        let body = json!({ "request_id": id, "legs": [leg(&self.bank, "debit"), leg(&self.till, "credit")] });
        answered(stage, Method::POST, "/v1/transactions", body).await;
        self.moved.push(if self.moved.is_empty() { PAID_IN - KEEP } else { PAID_IN });
    }

    /// Waits until the money is where the rule says, and the end of the run is written down.
    async fn until_swept(&self, stage: &Stage, point: &str) {
        let wanted = [major(KEEP), major(self.moved.iter().sum())];
        let until = Instant::now() + PATIENCE;
        loop {
            let till = clients::account(stage, &self.till).await;
            let payee = clients::account(stage, &self.payee).await;
            let found = [&till, &payee].map(|account| account["posted"].as_str().unwrap().to_owned());
            let sweep = self.sweep(stage).await;
            if found == wanted && till["held"] == "0.00" && sweep.get("open").is_none() {
                return;
            }
            assert!(
                Instant::now() < until,
                "{point}: till and payee have {found:?}, not {wanted:?}: {till}, {sweep}"
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Each run stands once in the statements of both accounts, under its own name, with what it was to move; and nothing else was
    /// taken of the one, or given to the other.
    async fn check(&self, stage: &Stage, point: &str) {
        self.until_swept(stage, point).await;
        let expected: Vec<String> = self.moved.iter().map(|moved| major(*moved)).collect();
        let taken = clients::statement(stage, &self.till, "&metadata_key=twinset.sweep").await;
        let given = clients::statement(stage, &self.payee, "").await;
        let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
        let all =
            |lines: &[Value], field: &str| lines.iter().map(|line| text(line, field)).collect::<Vec<_>>();
        for lines in [&taken, &given] {
            assert_eq!(all(lines, "amount"), expected, "{point}: {lines:#?}");
        }
        let whole = |line: &Value| {
            let part_of = text(line, "part_of");
            if part_of.is_empty() { text(line, "transaction") } else { part_of }
        };
        let mut last = 0;
        for (taken, given) in taken.iter().zip(&given) {
            let name = text(taken, "request_id");
            let number = name.strip_prefix(&format!("~sweep-{}-", self.sweep)).and_then(|no| no.parse().ok());
            let number: u64 = number.unwrap_or_else(|| panic!("{point}: {name} is no run of {}", self.sweep));
            assert!(number > last, "{point}: run {number} after run {last}");
            last = number;
            assert_eq!(whole(taken), whole(given), "{point}: {name} is one transaction");
            let path = format!("/v1/requests/{}/{name}", escaped(&self.till));
            let found = answered(stage, Method::GET, &path, Value::Null).await;
            assert_eq!(found["transaction"]["transaction"], json!(whole(taken)), "{point}: {found}");
        }
        assert_eq!(self.sweep(stage).await["runs"], last, "{point}: none is counted that was not run");
        let bank = clients::account(stage, &self.bank).await;
        let paid_in = PAID_IN * self.moved.len() as i64;
        assert_eq!(bank["posted"], format!("-{}", major(paid_in)), "{point}");
    }
}

fn major(units: i64) -> String {
    format!("{units}.00")
}
