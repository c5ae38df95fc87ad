//! Books a [`Plan`] through a router. Every request carries an id made from the journal, so that whatever is asked
//! twice - after an error, or because the import is run again - is booked once. Decides nothing about the journal.

use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use twinset_ledger::Command;

use super::api::{CallFailed, HttpApi, segment};
use super::bodies::body;
use super::plan::{Plan, Planned};
use super::problem::Place;

/// How hard to press.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Transactions in one call.
    pub batch: usize,
    /// Bytes of one call, unless a single transaction has more: well below what routers take.
    pub call_bytes: usize,
    /// Accounts opened at a time.
    pub openings: usize,
    /// How long one call is repeated while the cluster cannot take it.
    pub patience: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { batch: 500, call_bytes: 1 << 20, openings: 16, patience: Duration::from_secs(60) }
    }
}

/// The longest pause before a call is repeated.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sent {
    /// Accounts that stand in the ledger now.
    pub accounts: usize,
    /// Those that were there from an earlier import.
    pub accounts_replayed: usize,
    /// Transactions that stand in the ledger now.
    pub transactions: usize,
    /// Those that were there from an earlier import.
    pub transactions_replayed: usize,
    /// The set that holds the journal.
    pub set: u64,
}

/// Why an import stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The tag belongs to another journal; nothing was booked.
    #[error("the tag {tag} holds another journal, or another version of this one")]
    OtherJournal {
        /// The tag.
        tag: String,
    },
    /// A call failed for good.
    #[error("{what}: {failed}")]
    Call {
        /// What was asked for.
        what: String,
        /// The router's words.
        failed: CallFailed,
    },
    /// The ledger refused a transaction.
    #[error("{place}: {failed}")]
    Transaction {
        /// Where it stands in the journal.
        place: Place,
        /// The router's words.
        failed: CallFailed,
        /// Transactions that are booked nonetheless.
        booked: usize,
    },
    /// An answer that is not as the API describes it.
    #[error("the router's answer to {what} cannot be read")]
    Answer {
        /// What was asked for.
        what: String,
    },
}

/// How many steps [`send`] reports for a plan.
pub fn steps(plan: &Plan) -> u64 {
    (plan.accounts.len() + plan.transactions.len()) as u64
}

/// Books the plan; `progress` hears of steps done.
pub async fn send<A: HttpApi>(
    api: &A,
    plan: &Plan,
    pace: Pace,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Sent, Error> {
    let mut sent = Sent::default();
    for planned in plan.definitions() {
        let Command::DefineCurrency { code, scale } = &planned.command else { continue };
        let path = format!("/v1/currencies/{}", segment(code));
        let what = format!("currency {code} with {scale} decimal places");
        let defined = call(api, Method::PUT, &path, &body(&planned.command), pace).await;
        defined.map_err(|failed| Error::Call { what, failed })?;
    }
    let opened = call(api, Method::POST, "/v1/accounts", &body(&plan.journal.command), pace).await;
    let opened = opened.map_err(|failed| match failed.code.as_str() {
        "request_mismatch" | "account_exists" => Error::OtherJournal { tag: plan.tag.clone() },
        _ => Error::Call { what: "the journal's own account".to_owned(), failed },
    })?;
    let set = opened.pointer("/position/set").and_then(Value::as_u64);
    sent.set = set.ok_or(Error::Answer { what: "the opening of an account".to_owned() })?;
    let replayed: Vec<bool> = stream::iter(&plan.accounts)
        .map(|planned| open(api, &planned.command, pace, progress))
        .buffer_unordered(pace.openings)
        .try_collect()
        .await?;
    sent.accounts = replayed.len();
    sent.accounts_replayed = replayed.into_iter().filter(|replayed| *replayed).count();
    let mut rest = plan.transactions.as_slice();
    while !rest.is_empty() {
        let (batch, later) = rest.split_at(fitting(rest, pace));
        book(api, batch, pace, &mut sent, progress).await?;
        rest = later;
    }
    Ok(sent)
}

/// How many of these go into one call; at least one.
fn fitting(planned: &[Planned], pace: Pace) -> usize {
    let mut bytes = 0;
    let fits = |planned: &&Planned| {
        bytes += body(&planned.command).to_string().len();
        bytes <= pace.call_bytes
    };
    planned.iter().take(pace.batch).take_while(fits).count().max(1)
}

async fn open<A: HttpApi>(
    api: &A,
    command: &Command,
    pace: Pace,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<bool, Error> {
    let opened = call(api, Method::POST, "/v1/accounts", &body(command), pace).await;
    let what = || command.accounts().map(|account| format!("account {account}")).collect();
    let opened = opened.map_err(|failed| Error::Call { what: what(), failed })?;
    progress(1);
    Ok(was_replayed(&opened))
}

fn was_replayed(answer: &Value) -> bool {
    answer.get("replayed").and_then(Value::as_bool).unwrap_or(false)
}

/// Books transactions in one call; those that the cluster could not take just then are sent again.
async fn book<A: HttpApi>(
    api: &A,
    batch: &[Planned],
    pace: Pace,
    sent: &mut Sent,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(), Error> {
    let mut waiting: Vec<&Planned> = batch.iter().collect();
    let mut patience = Patience::new(pace);
    while let Some(first) = waiting.first() {
        let place = first.place.clone();
        let bodies: Vec<Value> = waiting.iter().map(|planned| body(&planned.command)).collect();
        let batch = json!({ "transactions": bodies, "with_postings": false });
        let answer = call(api, Method::POST, "/v1/batches", &batch, pace).await;
        let answer =
            answer.map_err(|failed| Error::Transaction { place, failed, booked: sent.transactions })?;
        let results = answer.get("results").and_then(Value::as_array).filter(|r| r.len() == waiting.len());
        let results = results.ok_or(Error::Answer { what: "a batch of transactions".to_owned() })?;
        let before = sent.transactions;
        let failures = tally(&waiting, results, sent);
        progress((sent.transactions - before) as u64);
        // What is refused for good is reported first, whatever else has to be repeated.
        let refused = failures.iter().find(|(_, failed)| !failed.passes());
        let given_up = match refused {
            None if !failures.is_empty() && !patience.pause().await => failures.first(),
            refused => refused,
        };
        if let Some((planned, failed)) = given_up {
            let (place, failed) = (planned.place.clone(), failed.clone());
            return Err(Error::Transaction { place, failed, booked: sent.transactions });
        }
        waiting = failures.into_iter().map(|(planned, _)| planned).collect();
    }
    Ok(())
}

/// Counts what was booked; gives what was not.
fn tally<'a>(waiting: &[&'a Planned], results: &[Value], sent: &mut Sent) -> Vec<(&'a Planned, CallFailed)> {
    let mut failures = Vec::new();
    for (planned, result) in waiting.iter().zip(results) {
        match result.get("ok") {
            Some(booked) => {
                sent.transactions += 1;
                sent.transactions_replayed += usize::from(was_replayed(booked));
            }
            None => failures.push((*planned, CallFailed::of_problem(&result["problem"]))),
        }
    }
    failures
}

/// A call, repeated while the trouble may pass.
pub(super) async fn call<A: HttpApi>(
    api: &A,
    method: Method,
    path: &str,
    body: &Value,
    pace: Pace,
) -> Result<Value, CallFailed> {
    let mut patience = Patience::new(pace);
    let body = Some(body).filter(|body| !body.is_null());
    loop {
        match api.call(method.clone(), path, body).await {
            Err(failed) if failed.passes() && patience.pause().await => {}
            answer => return answer,
        }
    }
}

/// Pauses between repetitions, and their end.
struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    fn new(pace: Pace) -> Self {
        Patience { until: Instant::now() + pace.patience, pause: Duration::from_millis(20) }
    }

    /// Waits before the next try; false if there should be none.
    async fn pause(&mut self) -> bool {
        if Instant::now() + self.pause > self.until {
            return false;
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }
}
