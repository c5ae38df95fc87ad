//! The public HTTP API as a client sees it: sends one call to one router and reads the answer's meaning. It retries
//! nothing: what to do about an open end is for callers.

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, StatusCode, Uri};
use serde_json::Value;
use twinset_ledger::TransactionId;
use twinset_tools::http1::{self, Connection};

use crate::history::{Answer, Place, Wish};

/// More than the deadline: a router that answers at the last moment is still heard.
const GRACE: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(2);

/// One router, with a connection that is opened when it is needed.
pub struct Router {
    addr: String,
    open: Option<Connection>,
}

/// What is held under a request id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// A transaction.
    Found(Found),
    /// A rejection, by its stable code.
    Rejected(String),
    /// Nothing.
    Nothing,
}

/// A transaction as the ledger holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name.
    pub transaction: TransactionId,
    /// Where it was booked.
    pub place: Place,
    /// Its request id.
    pub request_id: String,
    /// The debited account.
    pub debit: String,
    /// The credited account.
    pub credit: String,
    /// In cents.
    pub cents: i128,
}

impl Router {
    /// The router at `ADDRESS:PORT`.
    pub fn new(addr: &str) -> Self {
        Router { addr: addr.to_owned(), open: None }
    }

    /// One call. The connection is given up after any failure.
    pub fn call<'a>(
        &'a mut self,
        method: Method,
        path: &'a str,
        body: String,
        deadline: Duration,
        patience: Duration,
    ) -> BoxFuture<'a, Result<(StatusCode, Bytes), http1::Error>> {
        Box::pin(async move {
            let bad = |_| http1::Error::Url { url: path.to_owned() };
            let uri: Uri = path.parse().map_err(bad)?;
            let mut request = http1::request(method, &self.addr, &uri, body.into());
            let deadline_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
            request.headers_mut().insert("twinset-deadline-ms", HeaderValue::from(deadline_ms));
            if self.open.as_ref().is_none_or(|open| !open.is_open()) {
                self.open = Some(Connection::open(&self.addr, CONNECT).await?);
            }
            let connection = self.open.as_mut().expect("it was opened above");
            let answer = connection.call(request, patience).await;
            if answer.is_err() {
                self.open = None;
            }
            answer
        })
    }

    /// Asks to book a wish; hangs up after `patience`.
    pub async fn book(
        &mut self,
        accounts: &[String],
        id: &str,
        wish: &Wish,
        deadline: Duration,
        patience: Option<Duration>,
    ) -> Answer {
        let body = body(&accounts[wish.debit as usize], &accounts[wish.credit as usize], id, wish.cents);
        let patience = patience.unwrap_or(deadline + GRACE);
        match self.call(Method::POST, "/v1/transactions", body, deadline, patience).await {
            Ok((status, body)) => answer(status, &body),
            Err(error) if error.unsent() => Answer::NotApplied { code: "unsent".to_owned() },
            Err(_) => Answer::Unknown,
        }
    }

    /// Opens a liability account in USD; repeating it is harmless.
    pub async fn open_account(&mut self, account: &str, limit: &str) -> anyhow::Result<()> {
        let body = serde_json::json!({
            "request_id": "open", "account": account, "subject": "liability", "currency": "USD", "limit": limit,
        });
        let deadline = Duration::from_secs(10);
        let (status, reply) =
            self.call(Method::POST, "/v1/accounts", body.to_string(), deadline, deadline + GRACE).await?;
        anyhow::ensure!(status.is_success(), "account {account}: {}", String::from_utf8_lossy(&reply));
        Ok(())
    }

    /// A read; the router's own words when it is refused.
    pub async fn get(&mut self, path: &str, deadline: Duration) -> anyhow::Result<(StatusCode, Value)> {
        let (status, body) = self.call(Method::GET, path, String::new(), deadline, deadline + GRACE).await?;
        Ok((status, serde_json::from_slice(&body)?))
    }

    /// What is held under a request id, by a linearizable read.
    pub async fn lookup(&mut self, scope: &str, id: &str, deadline: Duration) -> anyhow::Result<Lookup> {
        let path = format!("/v1/requests/{}/{}", escaped(scope), escaped(id));
        let (status, reply) = self.get(&path, deadline).await?;
        if status == StatusCode::NOT_FOUND && reply["code"] == "not_found" {
            return Ok(Lookup::Nothing);
        }
        if reply["outcome"] == "rejected" {
            return Ok(Lookup::Rejected(reply["code"].as_str().unwrap_or_default().to_owned()));
        }
        anyhow::ensure!(status.is_success(), "{path}: {reply}");
        let found = found(&reply["transaction"]);
        found.map(Lookup::Found).ok_or_else(|| anyhow::anyhow!("{path}: cannot be read: {reply}"))
    }

    /// An account's balance in cents; `consistency` is `linearizable` or `stale`.
    pub async fn balance(
        &mut self,
        account: &str,
        consistency: &str,
        deadline: Duration,
    ) -> anyhow::Result<i128> {
        Ok(self.balance_as_of(account, consistency, deadline).await?.0)
    }

    /// The same, with the position that the balance is as of.
    pub async fn balance_as_of(
        &mut self,
        account: &str,
        consistency: &str,
        deadline: Duration,
    ) -> anyhow::Result<(i128, Place)> {
        let reply = self.account(account, consistency, deadline).await?;
        let posted = reply["account"]["posted"].as_str().and_then(cents);
        posted.zip(place(&reply["as_of"])).ok_or_else(|| anyhow::anyhow!("{account}: no balance in {reply}"))
    }

    /// A stale balance in cents, and how old it may be in milliseconds.
    pub async fn stale(&mut self, account: &str, deadline: Duration) -> anyhow::Result<(i128, u64)> {
        let reply = self.account(account, "stale", deadline).await?;
        let posted = reply["account"]["posted"].as_str().and_then(cents);
        let stale = posted.zip(reply["age_ms"].as_u64());
        stale.ok_or_else(|| anyhow::anyhow!("{account}: no balance or no age in {reply}"))
    }

    async fn account(
        &mut self,
        account: &str,
        consistency: &str,
        deadline: Duration,
    ) -> anyhow::Result<Value> {
        let path = format!("/v1/accounts/{}?consistency={consistency}", escaped(account));
        let (status, reply) = self.get(&path, deadline).await?;
        anyhow::ensure!(status.is_success(), "{path}: {reply}");
        Ok(reply)
    }

    /// A page of a set's transactions behind `after`, and where the next begins.
    pub async fn page(
        &mut self,
        set: u32,
        after: &str,
        deadline: Duration,
    ) -> anyhow::Result<(Vec<Found>, String)> {
        let path = format!("/v1/sets/{set}/transactions?page_size=1000&after={after}");
        let (status, reply) = self.get(&path, deadline).await?;
        anyhow::ensure!(status.is_success(), "{path}: {reply}");
        let items = reply["transactions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let found: Option<Vec<Found>> = items.iter().map(found).collect();
        let found = found.ok_or_else(|| anyhow::anyhow!("{path}: a transaction cannot be read"))?;
        Ok((found, reply["next"].as_str().unwrap_or_default().to_owned()))
    }
}

/// The body of a two-leg transaction.
fn body(debit: &str, credit: &str, id: &str, cents: u32) -> String {
    let amount = format!("{}.{:02}", cents / 100, cents % 100);
    serde_json::json!({
        "request_id": id,
        "legs": [
            { "account": debit, "side": "debit", "amount": amount },
            { "account": credit, "side": "credit", "amount": amount },
        ],
    })
    .to_string()
}

/// What a reply to a booking says. What cannot be read promises nothing.
pub fn answer(status: StatusCode, body: &[u8]) -> Answer {
    let Ok(reply) = serde_json::from_slice::<Value>(body) else { return Answer::Unknown };
    let replayed = reply["replayed"] == true;
    if status.is_success() {
        return match (transaction(&reply), place(&reply["position"])) {
            (Some(transaction), Some(place)) => Answer::Booked { transaction, place, replayed },
            _ => Answer::Unknown,
        };
    }
    let code = reply["code"].as_str().unwrap_or_default().to_owned();
    match reply["outcome"].as_str() {
        Some("rejected") => Answer::Rejected { code, place: place(&reply["position"]), replayed },
        Some("not_applied") => Answer::NotApplied { code },
        _ => Answer::Unknown,
    }
}

fn transaction(reply: &Value) -> Option<TransactionId> {
    reply["transaction"].as_str()?.parse().ok()
}

fn place(position: &Value) -> Option<Place> {
    let set = u32::try_from(position["set"].as_u64()?).ok()?;
    Some(Place { set, index: position["index"].as_u64()?, time: time(position["time"].as_str()?)? })
}

fn found(value: &Value) -> Option<Found> {
    let leg = |side: &str| {
        let legs = value["legs"].as_array()?;
        let leg = legs.iter().find(|leg| leg["side"] == side).filter(|_| legs.len() == 2)?;
        Some((leg["account"].as_str()?.to_owned(), cents(leg["amount"].as_str()?)?))
    };
    let ((debit, out), (credit, into)) = (leg("debit")?, leg("credit")?);
    Some(Found {
        transaction: transaction(value)?,
        place: place(&value["position"])?,
        request_id: value["request_id"].as_str()?.to_owned(),
        debit,
        credit,
        cents: (out == into).then_some(out)?,
    })
}

/// The digits of an RFC 3339 time in UTC, the fraction filled up to nine.
fn time(text: &str) -> Option<u128> {
    let text = text.strip_suffix('Z')?;
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits: String = clock.chars().filter(char::is_ascii_digit).collect();
    (digits.len() == 14 && fraction.len() <= 9).then(|| format!("{digits}{fraction:0<9}").parse().ok())?
}

/// Cents of a decimal text with at most two places.
pub fn cents(text: &str) -> Option<i128> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || fraction.len() > 2 {
        return None;
    }
    let value: i128 = format!("{whole}{fraction:0<2}").parse().ok()?;
    Some(if negative { -value } else { value })
}

fn escaped(text: &str) -> String {
    text.replace('{', "%7B").replace('}', "%7D")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_and_time_are_read_exactly() {
        assert_eq!(cents("-12.5"), Some(-1250));
        assert_eq!(cents("7"), Some(700));
        for bad in ["", ".5", "1.234", "x", "1.-1"] {
            assert_eq!(cents(bad), None, "{bad}");
        }
        assert_eq!(time("2026-01-31T12:00:00Z"), Some(20_260_131_120_000_000_000_000));
        assert!(time("2026-01-31T12:00:00.000000002Z") > time("2026-01-31T12:00:00.000000001Z"));
        assert!(time("2026-01-31T12:00:00.5Z") > time("2026-01-31T12:00:00.49Z"));
        assert_eq!(time("yesterday"), None);
    }

    #[test]
    fn each_kind_of_reply_is_told_apart() {
        let booked = br#"{"transaction":"1-1-9-0","position":{"set":1,"index":9,"time":"2026-01-31T12:00:00Z"},"replayed":true}"#;
        assert!(matches!(answer(StatusCode::OK, booked), Answer::Booked { replayed: true, .. }));
        let problem = |outcome: &str| format!(r#"{{"outcome":"{outcome}","code":"c"}}"#);
        let of = |outcome: &str| answer(StatusCode::BAD_GATEWAY, problem(outcome).as_bytes());
        assert!(matches!(of("rejected"), Answer::Rejected { .. }));
        assert!(matches!(of("not_applied"), Answer::NotApplied { .. }));
        assert_eq!(of("unknown"), Answer::Unknown);
        assert_eq!(answer(StatusCode::OK, b"{}"), Answer::Unknown);
        assert_eq!(answer(StatusCode::BAD_GATEWAY, b"<html>"), Answer::Unknown);
    }
}
