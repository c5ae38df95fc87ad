//! Restricted funds: the calls on restrictions, and what both spellings share. The HTTP spelling is [`http`] over
//! [`crate::json::restrictions`], the other one [`grpc`]; above them is what [`crate::api`] has above it.

pub mod grpc;
pub mod http;

use tokio::time::Instant;
use twinset_ledger::amount::to_decimal_string;
use twinset_ledger::outcome::Restricted;
use twinset_ledger::restriction::RestrictionEnd;
use twinset_ledger::{Command, Effect, LegKind, TransactionId, date};
use twinset_proto::cluster::v1::{ListRestrictions, ReadReply, RestrictionKey, read_reply, read_request};
use twinset_proto::ledger::v1 as wire;

use crate::api::{Api, at, missing, page_of, unexpected};
use crate::convert;
use crate::error::Error;
use crate::named;

/// Restrictions in one page at most, and as many as one has by default.
pub const PAGE_MAX: u32 = 100;

impl Api {
    /// Releases a restriction of that account, or a part of it.
    pub async fn restriction_command(
        &self,
        command: Command,
        deadline: Instant,
    ) -> Result<wire::RestrictionReply, Error> {
        let (set, outcome) = self.command(&command, deadline).await?;
        let position = Some(convert::position(at(set, &outcome)));
        let replayed = outcome.replayed;
        match outcome.result {
            Ok(Effect::Restricted(now)) => {
                let money = |minor| to_decimal_string(minor, now.scale);
                let (released, withdrawable) = (money(now.released), money(now.withdrawable));
                let restriction = Some(told(&now, command.accounts().next().unwrap_or_default()));
                Ok(wire::RestrictionReply { restriction, released, withdrawable, position, replayed })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// What a transaction restricts on an account.
    pub async fn restriction(
        &self,
        account: &str,
        restriction: &str,
        consistency: wire::Consistency,
        deadline: Instant,
    ) -> Result<wire::GetRestrictionReply, Error> {
        let set = self.set_of_single(account)?;
        let id = parse_restriction(restriction)?.to_string();
        let key = RestrictionKey { account: account.into(), restriction: id };
        let query = read_request::Query::Restriction(key);
        match self.reads.read(set, consistency, query, deadline).await? {
            ReadReply { result: Some(read_reply::Result::Restriction(reply)) } => Ok(reply),
            reply => Err(missing(
                &reply,
                &format!("{restriction} has restricted nothing on the account {account}"),
            )),
        }
    }

    /// The restrictions of an account in the order of their transactions' names, behind `after` (empty: from the first one).
    pub async fn restrictions(
        &self,
        asked: wire::ListRestrictionsRequest,
        deadline: Instant,
    ) -> Result<wire::ListRestrictionsReply, Error> {
        let consistency = convert::consistency(asked.consistency)?;
        let wire::ListRestrictionsRequest { account, state, mut after, page_size, .. } = asked;
        let set = self.set_of_single(&account)?;
        named::known::<wire::RestrictionState>(state)?;
        if !after.is_empty() {
            after = parse_restriction(&after)?.to_string();
        }
        let page_size = page_of(page_size, PAGE_MAX, PAGE_MAX)?;
        let none = format!("there is no account {account}");
        let query = read_request::Query::Restrictions(ListRestrictions { account, state, after, page_size });
        match self.reads.read(set, consistency, query, deadline).await? {
            ReadReply { result: Some(read_reply::Result::Restrictions(reply)) } => Ok(reply),
            reply => Err(missing(&reply, &none)),
        }
    }
}

/// What a command says of a restriction, which is not its account's currency.
fn told(now: &Restricted, account: &str) -> wire::Restriction {
    let state = match now.ended {
        None => wire::RestrictionState::RestrictionOpen,
        Some(RestrictionEnd::Released) => wire::RestrictionState::RestrictionReleased,
        Some(RestrictionEnd::Expired) => wire::RestrictionState::RestrictionExpired,
        Some(RestrictionEnd::Reversed) => wire::RestrictionState::RestrictionReversed,
    };
    wire::Restriction {
        restriction: now.restriction.to_string(),
        account: account.into(),
        state: state.into(),
        amount: to_decimal_string(now.amount, now.scale),
        left: to_decimal_string(now.left, now.scale),
        until: now.until_ns.map(date::timestamp).unwrap_or_default(),
        ..wire::Restriction::default()
    }
}

/// The kind of a leg. `until`: it is restricted, and this is when that ends. What is wrong, if it is both.
pub fn kind_of(withdrawal: bool, until: Option<Option<u64>>) -> Result<LegKind, &'static str> {
    match (withdrawal, until) {
        (false, None) => Ok(LegKind::Ordinary),
        (true, None) => Ok(LegKind::Withdrawal),
        (false, Some(until_ns)) => Ok(LegKind::Restricted { until_ns }),
        (true, Some(_)) => Err("a leg is a withdrawal or restricted, and not both"),
    }
}

/// Reads the name of a restriction.
pub fn parse_restriction(text: &str) -> Result<TransactionId, Error> {
    named::id(text, "restriction's id, which is its transaction's,")
}

impl named::State for wire::RestrictionState {
    const OF: &'static str = "restriction";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("open", Self::RestrictionOpen),
        ("released", Self::RestrictionReleased),
        ("expired", Self::RestrictionExpired),
        ("reversed", Self::RestrictionReversed),
    ];
}
