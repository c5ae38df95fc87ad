//! Holds: the calls on them, and what both spellings share. A capture is a transaction, and goes the way of one. The HTTP
//! spelling is [`http`] over [`crate::json::holds`], the other one [`grpc`]; above them is what [`crate::api`] has above it.

pub mod grpc;
pub mod http;
mod overdue;

use tokio::time::Instant;
use twinset_ledger::amount::to_decimal_string;
use twinset_ledger::check_back::OnExpiry;
use twinset_ledger::hold::{Ended, PlaceHold};
use twinset_ledger::outcome::Held;
use twinset_ledger::{Command, Effect, TransactionId, date};
use twinset_proto::cluster::v1::{HoldKey, ListHolds, ReadReply, read_reply, read_request};
use twinset_proto::ledger::v1 as wire;

use crate::api::{Api, at, missing, page_of, unexpected};
use crate::convert;
use crate::error::Error;
use crate::{groups, named};

/// Holds in one page at most, and as many as one has by default.
pub const PAGE_MAX: u32 = 100;

impl Api {
    /// Places, releases or extends a hold of that account.
    pub async fn hold_command(&self, command: Command, deadline: Instant) -> Result<wire::HoldReply, Error> {
        if let Command::PlaceHold(PlaceHold { on_expiry: OnExpiry::CheckBack(terms), .. }) = &command {
            // What confirms it is a transaction of the nodes, which know accounts alone.
            groups::single(&self.view().groups, &terms.to, "who is paid on_expiry is")?;
        }
        let (set, outcome) = self.command(&command, deadline).await?;
        let position = Some(convert::position(at(set, &outcome)));
        let replayed = outcome.replayed;
        match outcome.result {
            Ok(Effect::Held(held)) => {
                let account = command.accounts().next().unwrap_or_default();
                let (hold, available) = told(&held, account, outcome.time_unix_ns);
                Ok(wire::HoldReply { hold: Some(hold), available, position, replayed })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// A hold of an account.
    pub async fn hold(
        &self,
        account: &str,
        hold: &str,
        consistency: wire::Consistency,
        deadline: Instant,
    ) -> Result<wire::GetHoldReply, Error> {
        let set = self.set_of_single(account)?;
        let id = parse_hold(hold)?.to_string();
        let query = read_request::Query::Hold(HoldKey { account: account.into(), hold: id });
        match self.reads.read(set, consistency, query, deadline).await? {
            ReadReply { result: Some(read_reply::Result::Hold(reply)) } => Ok(reply),
            reply => Err(missing(&reply, &format!("the account {account} has no hold {hold}"))),
        }
    }

    /// The holds of an account in the order in which they were placed, behind `after` (empty: from the first one).
    pub async fn holds(
        &self,
        asked: wire::ListHoldsRequest,
        deadline: Instant,
    ) -> Result<wire::ListHoldsReply, Error> {
        let consistency = convert::consistency(asked.consistency)?;
        let wire::ListHoldsRequest { account, state, mut after, page_size, .. } = asked;
        let set = self.set_of_single(&account)?;
        named::known::<wire::HoldState>(state)?;
        if !after.is_empty() {
            let id = parse_hold(&after)?;
            if id.set != set {
                return Err(Error::malformed(format!("after: {after} is no hold of {account}")));
            }
            after = id.to_string();
        }
        let page_size = page_of(page_size, PAGE_MAX, PAGE_MAX)?;
        let none = format!("there is no account {account}");
        let query = read_request::Query::Holds(ListHolds { account, state, after, page_size });
        match self.reads.read(set, consistency, query, deadline).await? {
            ReadReply { result: Some(read_reply::Result::Holds(reply)) } => Ok(reply),
            reply => Err(missing(&reply, &none)),
        }
    }
}

/// What a command says of a hold, which is not its account's currency; and the account's available balance.
fn told(held: &Held, account: &str, time_unix_ns: u64) -> (wire::Hold, String) {
    let money = |minor| to_decimal_string(minor, held.scale);
    let left = held.amount - held.captured - held.capturing - held.released;
    let state = match held.ended {
        // At its end, any other would have ended.
        None if held.expires_ns.is_some_and(|end| end <= time_unix_ns) => wire::HoldState::HoldOverdue,
        None => wire::HoldState::HoldOpen,
        Some(Ended::Captured) => wire::HoldState::HoldCaptured,
        Some(Ended::Released) => wire::HoldState::HoldReleased,
        Some(Ended::Expired) => wire::HoldState::HoldExpired,
    };
    let hold = wire::Hold {
        hold: held.hold.to_string(),
        account: account.into(),
        state: state.into(),
        amount: money(held.amount),
        captured: money(held.captured),
        capturing: money(held.capturing),
        released: money(held.released),
        left: money(left),
        expires_at: held.expires_ns.map(date::timestamp).unwrap_or_default(),
        ..wire::Hold::default()
    };
    (hold, money(held.available))
}

/// Reads the name of a hold.
pub fn parse_hold(text: &str) -> Result<TransactionId, Error> {
    named::id(text, "hold's id, which is")
}

impl named::State for wire::HoldState {
    const OF: &'static str = "hold";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("open", Self::HoldOpen),
        ("overdue", Self::HoldOverdue),
        ("captured", Self::HoldCaptured),
        ("released", Self::HoldReleased),
        ("expired", Self::HoldExpired),
    ];
}
