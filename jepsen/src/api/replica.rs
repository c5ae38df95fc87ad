//! One replica, asked past the routers over the call that they use: a stale read of exactly that node. It is how the end of a
//! run sees what each node itself holds. Sends and reads; judges nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use futures::future::BoxFuture;
use tokio::time::Instant;
use tonic::transport::Channel;
use twinset_control::Catalogue;
use twinset_ledger::{Position, TransactionId, date};
use twinset_proto::cluster::v1::read_reply::Result as Read;
use twinset_proto::cluster::v1::read_request::Query;
use twinset_proto::cluster::v1::sets_client::SetsClient;
use twinset_proto::cluster::v1::{ListTransactions, ReadRequest, RequestKey};
use twinset_proto::ledger::v1 as wire;
use xxhash_rust::xxh3::Xxh3;

use super::cents;
use super::reply::marks;
use crate::history::holdings::{ABSENT, ACCOUNT, HOLD, Holdings, REJECTED, RESTRICTION, Taken};
use crate::history::holds::Capture;
use crate::history::{Figures, Found, Name, Part, Place, Recorder, label};

const DEADLINE_MS: u32 = 10_000;
/// A node that has just begun refuses for a moment.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);
const PAGE_SIZE: u32 = 1_000;
/// A page of transactions with all that belongs to them.
const MESSAGE_MAX: usize = 64 << 20;

/// A set's replica on one node.
pub struct Replica<'a> {
    client: SetsClient<Channel>,
    catalogue: &'a Catalogue,
    set: u32,
    node: &'a str,
}

impl<'a> Replica<'a> {
    /// The replica that is reached through `channel`.
    pub fn new(channel: Channel, catalogue: &'a Catalogue, set: u32, node: &'a str) -> Self {
        let client = SetsClient::new(channel).max_decoding_message_size(MESSAGE_MAX);
        Replica { client, catalogue, set, node }
    }

    /// What it holds: all transactions, those of `accounts` (numbers and ids) that it knows, and what became of `requests`. An error:
    /// it refuses, or says what cannot be read.
    pub fn holdings<'b>(
        &'b mut self,
        recorder: &'b Recorder,
        accounts: &'b [(u32, String)],
        requests: &'b [(u32, String)],
    ) -> BoxFuture<'b, anyhow::Result<Holdings>> {
        Box::pin(async move {
            let mut taken = Taken::of(self.set, self.node);
            self.pages(String::new(), u64::MAX, |one| {
                let read = transaction(recorder, one);
                taken.transaction(&read.with_context(|| format!("{one:?} cannot be read"))?);
                let currencies = one.legs.iter().map(|leg| &leg.currency).collect::<Vec<_>>();
                taken.rest(&format!("{currencies:?}"));
                Ok(())
            })
            .await?;
            for (number, id) in accounts {
                match self.read(Query::Account(id.clone())).await? {
                    Read::Account(reply) => {
                        let account =
                            reply.account.with_context(|| format!("{id} is found and not shown"))?;
                        let read =
                            figures(&account).with_context(|| format!("{account:?} cannot be read"))?;
                        taken.account(*number, &read);
                        taken.rest(&rest(&account));
                    }
                    Read::NotFound(_) => {}
                    other => bail!("account {id} is {other:?}"),
                }
            }
            for (scope, id) in requests {
                let scope_account = recorder.account_id(*scope).to_string();
                let key = RequestKey { scope_account, request_id: id.clone() };
                match self.read(Query::Request(key)).await? {
                    Read::Transaction(reply) => {
                        let found = reply.transaction.unwrap_or_default();
                        taken.request(*scope, id, &found.transaction);
                    }
                    Read::Account(_) => taken.request(*scope, id, ACCOUNT),
                    Read::Hold(_) => taken.request(*scope, id, HOLD),
                    Read::Restriction(_) => taken.request(*scope, id, RESTRICTION),
                    Read::Rejected(_) => taken.request(*scope, id, REJECTED),
                    Read::NotFound(_) => taken.request(*scope, id, ABSENT),
                    other => bail!("request {id} is {other:?}"),
                }
            }
            Ok(taken.whole())
        })
    }

    /// The transactions behind an index, `most` at most, as they were booked: how many there are, and a digest of them. What can
    /// change later, by what they are reversed, is not in it.
    pub fn booked(&mut self, behind: u64, most: u64) -> BoxFuture<'_, anyhow::Result<(u64, u64)>> {
        Box::pin(async move {
            let incarnation = self.catalogue.incarnation(self.set).unwrap_or_default();
            let position = Position::new(behind, 0);
            let after = TransactionId { set: self.set, incarnation, position }.to_string();
            let (mut count, mut digest) = (0, Xxh3::new());
            self.pages(after, most, |one| {
                let wire::Transaction { transaction, position, request_id, legs, .. } = one;
                digest.update(format!("{transaction} {position:?} {request_id} {legs:?}\n").as_bytes());
                count += 1;
                Ok(())
            })
            .await?;
            Ok((count, digest.digest()))
        })
    }

    /// Hands over the transactions behind `after`, page by page, `most` at most.
    async fn pages(
        &mut self,
        mut after: String,
        most: u64,
        mut each: impl FnMut(&wire::Transaction) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut left = most;
        while left > 0 {
            let list = ListTransactions { after: after.clone(), page_size: PAGE_SIZE };
            let Read::List(page) = self.read(Query::List(list)).await? else {
                bail!("no page behind {after:?}")
            };
            let wanted = usize::try_from(left).unwrap_or(usize::MAX);
            page.transactions.iter().take(wanted).try_for_each(&mut each)?;
            left = left.saturating_sub(page.transactions.len() as u64);
            if page.next.is_empty() {
                break;
            }
            after = page.next;
        }
        Ok(())
    }

    async fn read(&mut self, query: Query) -> anyhow::Result<Read> {
        let until = Instant::now() + PATIENCE;
        loop {
            let request = ReadRequest {
                cluster_id: self.catalogue.cluster_id.clone(),
                set: self.set,
                incarnation: self.catalogue.incarnation(self.set).unwrap_or_default(),
                consistency: wire::Consistency::Stale.into(),
                deadline_ms: DEADLINE_MS,
                query: Some(query.clone()),
            };
            let why = match self.client.read(request).await.map(|reply| reply.into_inner().result) {
                Ok(Some(Read::Refused(refusal))) => anyhow!("it refuses: {}", refusal.detail),
                Ok(Some(read)) => return Ok(read),
                Ok(None) => anyhow!("an empty reply"),
                Err(status) => anyhow!("{}: {}", status.code(), status.message()),
            };
            if Instant::now() >= until {
                return Err(why);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// What [`Figures`] leave out.
fn rest(account: &wire::Account) -> String {
    let wire::Account { account: id, subject, currency, normal_side, .. } = account;
    let wire::Account { restricted, withdrawable, metadata, .. } = account;
    let metadata: BTreeMap<_, _> = metadata.iter().collect();
    format!("{id} {subject} {currency} {normal_side} {restricted} {withdrawable} {metadata:?}")
}

fn figures(account: &wire::Account) -> Option<Figures> {
    let (available, restricted) = (cents(&account.available)?, cents(&account.restricted)?);
    if cents(&account.withdrawable)? != available - restricted {
        return None;
    }
    Some(Figures {
        posted: cents(&account.posted)?,
        available,
        restricted,
        held: cents(&account.held)?,
        incoming: cents(&account.incoming)?,
        debits: cents(&account.debits)?,
        credits: cents(&account.credits)?,
        limit: if account.limit == "none" { None } else { Some(cents(&account.limit)?) },
        frozen_debit: account.frozen_debit,
        frozen_credit: account.frozen_credit,
        closed: account.closed,
        version: account.version,
    })
}

fn transaction(recorder: &Recorder, one: &wire::Transaction) -> Option<Found> {
    let leg = |leg: &wire::Leg| {
        let amount = cents(&leg.amount)?;
        let signed = match leg.side() {
            wire::Side::Debit => amount,
            wire::Side::Credit => -amount,
            wire::Side::Unspecified => return None,
        };
        Some((recorder.account(&leg.account), signed))
    };
    let name = |text: &String| text.parse().ok().map(Name);
    let position = one.position.as_ref()?;
    let metadata = one.metadata.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    let part_of = match one.part_of.as_str() {
        "" => None,
        of => Some(Part { of: Name(of.parse().ok()?), day: date::parse(&one.accounting_date)? }),
    };
    let written = (one.kind, one.reason);
    let transaction = name(&one.transaction)?;
    Some(Found {
        transaction,
        place: Place { set: position.set, index: position.index, time_ns: position.time_unix_ns },
        id: one.request_id.clone(),
        scope: super::reply::scope(recorder, &one.scope_account),
        label: match part_of {
            Some(part) if part.of != transaction => label::of_part(written, &metadata)?,
            _ => {
                let time_ns = position.time_unix_ns;
                label::read(&one.request_id, written, &one.accounting_date, &metadata, time_ns)?
            }
        },
        legs: one.legs.iter().map(leg).collect::<Option<_>>()?,
        reverses: if one.reverses.is_empty() { None } else { Some(name(&one.reverses)?) },
        reversed_by: one.reversed_by.iter().map(name).collect::<Option<_>>()?,
        capture: match &one.capture {
            Some(capture) => Some(Capture { hold: name(&capture.hold)?, is_final: capture.r#final }),
            None => None,
        },
        marks: marks(one.legs.iter().map(|leg| {
            (leg.withdrawal, leg.restricted.as_ref().map(|restricted| restricted.until.as_str()))
        }))?,
        part_of,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Meta;

    #[test]
    fn a_transaction_is_read_with_all_that_it_says() {
        let recorder = Recorder::in_memory(Meta::default());
        let leg = |account: &str, side: wire::Side| wire::Leg {
            account: account.into(),
            side: side.into(),
            amount: "1.50".into(),
            ..Default::default()
        };
        let mut one = wire::Transaction {
            transaction: "1-1-9-0".into(),
            position: Some(wire::Position { set: 1, index: 9, time_unix_ns: 7 }),
            request_id: "x".into(),
            scope_account: "a".into(),
            legs: vec![leg("a", wire::Side::Debit), leg("b", wire::Side::Credit)],
            reverses: "1-1-8-0".into(),
            accounting_date: "1970-01-01".into(),
            ..Default::default()
        };
        let found = transaction(&recorder, &one).unwrap();
        assert_eq!(
            (found.legs, found.scope, found.place),
            (vec![(0, 150), (1, -150)], Some(0), (1, 9, 7).into())
        );
        assert_eq!(found.reverses, Some(Name("1-1-8-0".parse().unwrap())));
        let part = wire::Transaction {
            part_of: "2-1-7-0".into(),
            scope_account: String::new(),
            reverses: String::new(),
            accounting_date: "2026-01-01".into(),
            ..one.clone()
        };
        let found = transaction(&recorder, &part).unwrap();
        let of = Name("2-1-7-0".parse().unwrap());
        assert_eq!((found.scope, found.part_of), (None, Some(Part { of, day: 20_454 })));
        one.legs[0].side = 0;
        assert_eq!(transaction(&recorder, &one), None);
        let account = wire::Account { limit: "none".into(), ..Default::default() };
        assert_eq!(figures(&account), None, "no figures are no zeros");
    }
}
