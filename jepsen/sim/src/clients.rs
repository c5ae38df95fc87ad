//! The load: clients in each site, who move money within groups of accounts, ask again with the same request id, through the
//! same router or the other one, with the same body and sometimes with another, and read. They tell the history everything.

use std::sync::Arc;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tracing::trace;
use twinset_ledger::TransactionId;
use twinset_proto::ledger::v1 as api;
use twinset_proto::ledger::v1::ledger_client::LedgerClient;
use twinset_tools::load::random::Random;

use crate::cluster;
use crate::history::{Decided, Look, Shown, Transfer};
use crate::plan::{ROUTERS, in_site_a};
use crate::platform::{Simulated, dial};
use crate::run::{Phase, Shared};

/// Between two attempts of the same call.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// Attempts of a call without a definite answer; the rest is for the final look-up.
const ATTEMPTS: usize = 4;
/// For an answer that the router does not give.
const GRACE: Duration = Duration::from_secs(1);

/// The name of an account.
pub fn account(group: usize, n: usize) -> String {
    format!("{{g{group}}}:{n}")
}

/// The account that a group's money comes from: it has no limit.
pub fn bank(group: usize) -> String {
    format!("{{g{group}}}:bank")
}

/// Cents as the API has them.
pub fn to_text(cents: i64) -> String {
    let (sign, cents) = (if cents < 0 { "-" } else { "" }, cents.unsigned_abs());
    format!("{sign}{}.{:02}", cents / 100, cents % 100)
}

/// Cents from what the API says.
pub fn from_text(text: &str) -> Option<i64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let part: i64 = format!("{part:0<2}").parse().ok().filter(|_| part.len() <= 2)?;
    let cents = whole.parse::<i64>().ok()? * 100 + part;
    Some(if negative { -cents } else { cents })
}

/// What a call came to.
#[derive(Debug)]
pub enum Answer<T> {
    /// As asked.
    Ok(T),
    /// The ledger's no: its code, the set and the index of the entry, and whether it was said before.
    Rejected(String, u32, u64, bool),
    /// There is none.
    NotFound,
    /// Certainly nothing happened.
    NotApplied(String),
    /// It may have happened.
    Unknown(String),
}

/// A way to one router, made when it is needed.
pub struct Door {
    router: &'static str,
    platform: Simulated,
    client: Option<LedgerClient<Channel>>,
}

impl Door {
    /// To a router, from this machine.
    pub fn new(router: &'static str) -> Door {
        Door { router, platform: Simulated::sound(), client: None }
    }

    /// One call.
    pub async fn call<T, R>(
        &mut self,
        message: T,
        deadline: Duration,
        call: impl AsyncFnOnce(&mut LedgerClient<Channel>, Request<T>) -> Result<tonic::Response<R>, Status>,
    ) -> Answer<R> {
        if self.client.is_none() {
            let endpoint = Endpoint::from_shared(format!("http://{}", cluster::grpc(self.router)))
                .expect("an address")
                .connect_timeout(Duration::from_millis(500))
                .http2_keep_alive_interval(Duration::from_secs(1))
                .keep_alive_timeout(Duration::from_secs(1));
            match dial(&self.platform, &endpoint).await {
                Ok(channel) => self.client = Some(LedgerClient::new(channel)),
                Err(error) => return Answer::NotApplied(error.to_string()),
            }
        }
        let client = self.client.as_mut().expect("just made");
        let mut request = Request::new(message);
        request.set_timeout(deadline);
        match tokio::time::timeout(deadline + GRACE, call(client, request)).await {
            Ok(Ok(reply)) => Answer::Ok(reply.into_inner()),
            Ok(Err(status)) => self.refused(&status),
            Err(_) => {
                self.client = None;
                Answer::Unknown("no answer".to_owned())
            }
        }
    }

    fn refused<R>(&mut self, status: &Status) -> Answer<R> {
        let said = |key| status.metadata().get(key).and_then(|value| value.to_str().ok());
        let code = said("twinset-code").unwrap_or_default().to_owned();
        let position: Vec<u64> =
            said("twinset-position").unwrap_or_default().split('-').filter_map(|n| n.parse().ok()).collect();
        match (said("twinset-outcome"), &position[..]) {
            (Some("rejected"), [set, index, _]) => {
                let set = u32::try_from(*set).expect("a set");
                Answer::Rejected(code, set, *index, said("twinset-replayed") == Some("true"))
            }
            (Some("rejected"), _) => Answer::Unknown(format!("a rejection without a position: {code}")),
            (Some("not_applied"), _) if code == "not_found" => Answer::NotFound,
            (Some("not_applied"), _) => Answer::NotApplied(code),
            (outcome, _) => {
                if outcome.is_none() {
                    // Not the router's words: the connection is gone.
                    self.client = None;
                }
                Answer::Unknown(status.message().to_owned())
            }
        }
    }
}

/// The message for a transfer.
pub fn post(request_id: &str, transfer: &Transfer) -> api::PostTransactionRequest {
    let leg = |account: &str, side: api::Side| api::Leg {
        account: account.to_owned(),
        side: side.into(),
        amount: to_text(transfer.cents),
        currency: "EUR".to_owned(),
    };
    api::PostTransactionRequest {
        request_id: request_id.to_owned(),
        scope_account: transfer.from.clone(),
        legs: vec![leg(&transfer.from, api::Side::Debit), leg(&transfer.to, api::Side::Credit)],
        ..Default::default()
    }
}

/// A client's task.
pub struct Client {
    shared: Arc<Shared>,
    name: String,
    doors: Vec<Door>,
    random: Random,
    calls: u64,
}

impl Client {
    /// Number `n` of those on `machine`, which is in one of the sites.
    pub fn new(shared: Arc<Shared>, machine: &str, n: usize) -> Client {
        let near = usize::from(!in_site_a(machine));
        let doors = vec![Door::new(ROUTERS[near]), Door::new(ROUTERS[1 - near])];
        let name = format!("{machine}{n}");
        let salt = name.bytes().fold(0u64, |salt, byte| salt * 256 + u64::from(byte));
        let random = Random::seeded(shared.plan.seed ^ salt);
        Client { shared, name, doors, random, calls: 0 }
    }

    /// Calls until the load is over.
    pub async fn run(mut self) {
        while self.shared.phase() < Phase::Settling {
            let think = self.random.below(usize::try_from(self.shared.plan.think_ms).expect("short")) as u64;
            tokio::time::sleep(Duration::from_millis(1 + think)).await;
            if self.shared.phase() != Phase::Load {
                continue;
            }
            self.calls += 1;
            if self.random.below(4) == 0 {
                self.look().await;
            } else {
                self.transfer().await;
            }
        }
    }

    fn transfer_of(&mut self) -> Transfer {
        let plan = &self.shared.plan;
        let group = self.random.below(plan.groups);
        let to = self.random.below(plan.accounts);
        let from = match self.random.below(3) {
            0 => bank(group),
            _ => account(group, (to + 1 + self.random.below(plan.accounts - 1)) % plan.accounts),
        };
        let cents = 1 + self.random.below(10_000) as i64;
        Transfer { from, to: account(group, to), cents }
    }

    async fn transfer(&mut self) {
        let transfer = self.transfer_of();
        let request_id = format!("{}-{}", self.name, self.calls);
        self.shared.history.lock().begin(&request_id, &transfer);
        let mut definite = false;
        for attempt in 0..ATTEMPTS {
            let near = attempt == 0 || self.random.below(2) == 0;
            match self.attempt(&request_id, &transfer, usize::from(!near)).await {
                Some(_) => {
                    definite = true;
                    break;
                }
                None => tokio::time::sleep(AGAIN_AFTER).await,
            }
        }
        if definite && self.random.below(100) < self.shared.plan.repeats_percent {
            let door = self.random.below(2);
            if self.random.below(4) == 0 {
                self.other_body(&request_id, &transfer, door).await;
            } else {
                self.attempt(&request_id, &transfer, door).await;
            }
        }
    }

    /// One attempt; Some if the answer was definite.
    async fn attempt(&mut self, request_id: &str, transfer: &Transfer, door: usize) -> Option<()> {
        let deadline = Duration::from_millis(self.shared.plan.deadline_ms);
        let message = post(request_id, transfer);
        let answer = self.doors[door].call(message, deadline, async |c, m| c.post_transaction(m).await).await;
        trace!(request_id, ?transfer, ?answer, "answer");
        let mut history = self.shared.history.lock();
        let (decided, shown, replayed) = match answer {
            Answer::Ok(reply) => {
                let id: TransactionId = reply.transaction.parse().ok()?;
                let shown = reply.postings.iter().filter_map(|p| shown(&p.account, &p.posted, &p.available));
                (Decided::Booked(id), shown.collect(), reply.replayed)
            }
            Answer::Rejected(code, set, index, replayed) => {
                (Decided::Rejected { code, set, index }, Vec::new(), replayed)
            }
            Answer::NotFound | Answer::NotApplied(_) | Answer::Unknown(_) => {
                history.open();
                return None;
            }
        };
        history.decided(request_id, decided, shown, replayed);
        Some(())
    }

    /// The id is taken: another body must be refused.
    async fn other_body(&mut self, request_id: &str, transfer: &Transfer, door: usize) {
        let other = Transfer { cents: transfer.cents + 1, ..transfer.clone() };
        let deadline = Duration::from_millis(self.shared.plan.deadline_ms);
        let message = post(request_id, &other);
        let answer = self.doors[door].call(message, deadline, async |c, m| c.post_transaction(m).await).await;
        trace!(request_id, ?answer, "answer to another body");
        let mut history = self.shared.history.lock();
        match answer {
            Answer::NotApplied(_) | Answer::Unknown(_) => history.open(),
            Answer::Rejected(code, ..) if code == "request_mismatch" => history.answered += 1,
            answer => history.wrong_body_taken(request_id, &format!("{answer:?}")),
        }
    }

    async fn look(&mut self) {
        let plan = &self.shared.plan;
        let account = account(self.random.below(plan.groups), self.random.below(plan.accounts));
        let deadline = Duration::from_millis(plan.deadline_ms);
        let door = self.random.below(2);
        let floors = self.shared.history.lock().floors();
        let look = look(&mut self.doors[door], &account, deadline).await;
        trace!(account, ?look, "look");
        let mut history = self.shared.history.lock();
        match look {
            Answer::Ok(look) => history.looked(&floors, look),
            Answer::NotFound => history.lost(&account),
            _ => history.open(),
        }
    }
}

/// Reads an account.
pub async fn look(door: &mut Door, account: &str, deadline: Duration) -> Answer<Look> {
    let message = api::GetAccountRequest { account: account.to_owned(), ..Default::default() };
    match door.call(message, deadline, async |c, m| c.get_account(m).await).await {
        Answer::Ok(reply) => {
            let look = reply.account.zip(reply.as_of).and_then(|(found, as_of)| {
                let shown = shown(account, &found.posted, &found.available)?;
                Some(Look { set: as_of.set, index: as_of.index, shown })
            });
            look.map_or_else(|| Answer::Unknown("an incomplete reply".to_owned()), Answer::Ok)
        }
        Answer::Rejected(code, ..) => Answer::Unknown(format!("a read was rejected: {code}")),
        Answer::NotFound => Answer::NotFound,
        Answer::NotApplied(code) => Answer::NotApplied(code),
        Answer::Unknown(reason) => Answer::Unknown(reason),
    }
}

fn shown(account: &str, posted: &str, available: &str) -> Option<Shown> {
    Some(Shown { account: account.to_owned(), posted: from_text(posted)?, available: from_text(available)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cents_are_written_and_read() {
        for cents in [0, 1, 99, 100, 12_345, -1, -250] {
            assert_eq!(from_text(&to_text(cents)), Some(cents));
        }
        assert_eq!((from_text("7"), from_text("7.5"), from_text("1.234")), (Some(700), Some(750), None));
    }
}
