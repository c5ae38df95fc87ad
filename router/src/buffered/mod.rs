//! Buffered accounts: their mode, what is on its way to them, and what could not be booked where it should be. Both spellings
//! are here ([`http`], [`grpc`]); above them is what [`crate::api`] has above it.

pub mod grpc;
pub mod http;

use futures::future::join_all;
use rust_decimal::Decimal;
use tokio::time::Instant;
use twinset_ledger::{Command, TransactionId, amount};
use twinset_proto::cluster::v1::{ListSuspense, ReadReply, read_reply, read_request};
use twinset_proto::ledger::v1 as wire;

use crate::api::{Api, Booked, booked, encode, missing, page_of};
use crate::convert;
use crate::error::{Code, Error};
use crate::groups;
use crate::named;
use crate::route;

/// Suspended credits in one page at most, and as many as one has by default.
pub const PAGE_MAX: u32 = 100;

impl Api {
    /// Books a suspended credit on.
    pub async fn resolve_suspense(
        &self,
        request_id: String,
        item: &str,
        account: String,
        deadline: Instant,
    ) -> Result<Booked, Error> {
        let item = parse_item(item)?;
        let view = self.view();
        let set = route::known_set(&view, item.set)?;
        groups::single(&view.groups, &account, "the account is")?;
        let bytes = encode(&Command::ResolveSuspense { request_id, item, account })?;
        booked(set, self.decide(set, bytes, deadline).await?, Some(Vec::new()))
    }

    /// What is on its way to an account: all sets are asked, and those that do not answer are named.
    pub async fn in_transit(
        &self,
        account: &str,
        consistency: wire::Consistency,
        deadline: Instant,
    ) -> Result<wire::GetInTransitReply, Error> {
        let view = self.view();
        let own = self.set_of_single(account)?;
        let sets: Vec<u32> = view.sets.keys().copied().filter(|set| *set != own).collect();
        let ask = |set: &u32| {
            let query = read_request::Query::InTransit(account.to_owned());
            self.reads.read(*set, consistency, query, deadline)
        };
        let answers = join_all(sets.iter().map(ask)).await;
        let mut reply = wire::GetInTransitReply { account: account.into(), ..Default::default() };
        let mut sum = Decimal::ZERO;
        for (set, answer) in sets.into_iter().zip(answers) {
            match answer.map(|answer| answer.result) {
                Ok(Some(read_reply::Result::InTransit(wire::GetInTransitReply {
                    currency, from, ..
                }))) => {
                    for part in &from {
                        let more = amount::parse(&part.amount).ok().and_then(|more| sum.checked_add(more));
                        sum = more.ok_or_else(|| Error::new(Code::NoLeader, "no sum of these amounts"))?;
                    }
                    reply.currency = currency;
                    reply.from.extend(from);
                }
                Ok(Some(read_reply::Result::NotFound(_))) => {}
                Ok(_) | Err(_) => reply.silent.push(set),
            }
        }
        reply.amount = sum.to_string();
        Ok(reply)
    }

    /// An account, and what is on its way to it. What is on its way is read first: what arrives in between is then in both, and
    /// what was answered before this began is never in neither. Sets that stay silent take no more than half of the time, so
    /// that some is left for the account itself.
    pub async fn account_with_in_transit(
        &self,
        account: &str,
        consistency: wire::Consistency,
        deadline: Instant,
    ) -> Result<wire::GetAccountReply, Error> {
        let now = Instant::now();
        let half = now + deadline.saturating_duration_since(now) / 2;
        let in_transit = self.in_transit(account, consistency, half).await?;
        let found = self.account(account, consistency, deadline).await?;
        Ok(wire::GetAccountReply { in_transit: Some(in_transit), ..found })
    }

    /// Credits that stand on the suspense accounts of a set, behind `after` (empty: from the first one).
    pub async fn suspense(
        &self,
        asked: wire::ListSuspenseRequest,
        deadline: Instant,
    ) -> Result<wire::ListSuspenseReply, Error> {
        let consistency = convert::consistency(asked.consistency)?;
        let set = route::known_set(&self.view(), asked.set)?;
        let after = match asked.after.as_str() {
            "" => String::new(),
            text => parse_item(text)?.to_string(),
        };
        let page_size = page_of(asked.page_size, PAGE_MAX, PAGE_MAX)?;
        let query = read_request::Query::Suspense(ListSuspense { after, page_size });
        match self.reads.read(set, consistency, query, deadline).await? {
            ReadReply { result: Some(read_reply::Result::Suspense(page)) } => Ok(page),
            reply => Err(missing(&reply, "nothing is in suspense")),
        }
    }
}

fn parse_item(text: &str) -> Result<TransactionId, Error> {
    named::id(text, "suspended credit's id, which is")
}
