//! The public HTTP API as a client sees it: sends one call to one router and reads the answer's meaning. It retries
//! nothing and judges nothing: what to do about an open end is for callers. The spelling of calls is in [`spell`], the
//! reading of replies in [`reply`].

pub mod replica;
mod reply;
pub mod spell;

use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderValue, Method, StatusCode, Uri};
use twinset_tools::http1::{self, Connection};

pub use reply::{UNREADABLE, answer, cents};

use crate::history::{Answer, Ask, Level, Recorder, Transfer};

/// More than the deadline: a router that answers at the last moment is still heard.
const GRACE: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(2);

/// One router, with a connection that is opened when it is needed and kept.
pub struct Router {
    addr: String,
    open: Option<Connection>,
}

/// How long one call may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// What the router is told.
    pub deadline: Duration,
    /// When the client hangs up; none: when the answer must have come.
    pub hang_up: Option<Duration>,
}

impl From<Duration> for Patience {
    fn from(deadline: Duration) -> Self {
        Patience { deadline, hang_up: None }
    }
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
        patience: Patience,
    ) -> BoxFuture<'a, Result<(StatusCode, Bytes), http1::Error>> {
        Box::pin(async move {
            let bad = |_| http1::Error::Url { url: path.to_owned() };
            let uri: Uri = path.parse().map_err(bad)?;
            let mut request = http1::request(method, &self.addr, &uri, body.into());
            let deadline_ms = u32::try_from(patience.deadline.as_millis()).unwrap_or(u32::MAX);
            request.headers_mut().insert("twinset-deadline-ms", HeaderValue::from(deadline_ms));
            if self.open.as_ref().is_none_or(|open| !open.is_open()) {
                self.open = Some(Connection::open(&self.addr, CONNECT).await?);
            }
            let connection = self.open.as_mut().expect("it was opened above");
            let answer =
                connection.call(request, patience.hang_up.unwrap_or(patience.deadline + GRACE)).await;
            if answer.is_err() {
                self.open = None;
            }
            answer
        })
    }

    /// Asks, and reads the answer. `accounts` knows the accounts' ids, and takes in those that a reply names.
    pub async fn ask(&mut self, accounts: &Recorder, ask: &Ask, patience: Patience) -> Answer {
        let (method, path, body) = spell::call(accounts, ask);
        match self.call(method, &path, body, patience).await {
            Ok((status, body)) => answer(accounts, ask, status, &body),
            Err(error) if error.unsent() => Answer::NotApplied { code: "unsent".to_owned() },
            Err(error) => Answer::Unknown { why: error.to_string() },
        }
    }

    /// An account's balance in cents, and how old it may be in milliseconds.
    pub async fn balance(
        &mut self,
        accounts: &Recorder,
        account: u32,
        level: Level,
        deadline: Duration,
    ) -> anyhow::Result<(i64, u64)> {
        match self.ask(accounts, &Ask::ReadAccount { account, level }, deadline.into()).await {
            Answer::Account { as_of, figures } => Ok((figures.posted, as_of.age_ms)),
            other => anyhow::bail!("{}: {other:?}", accounts.account_id(account)),
        }
    }

    /// Pays `cents` from one account to another, both liabilities.
    pub async fn pay(
        &mut self,
        accounts: &Recorder,
        (from, to): (u32, u32),
        id: &str,
        cents: i64,
        deadline: Duration,
    ) -> Answer {
        self.ask(accounts, &payment((from, to), id, cents), deadline.into()).await
    }
}

/// One account pays another: the first is debited.
pub fn payment((from, to): (u32, u32), id: &str, cents: i64) -> Ask {
    Ask::Transfer(Transfer {
        id: id.to_owned(),
        scope: None,
        label: None,
        capture: None,
        marks: vec![],
        legs: vec![(from, cents), (to, -cents)],
    })
}
