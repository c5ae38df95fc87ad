//! The calls of the public API, once, for both protocols: check, encode, route, submit, read the outcome. HTTP and gRPC
//! only translate to and from these. Holds no state but the count of calls in progress. Below it: dispatcher and reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use twinset_dispatch::dispatcher::{Answer, Dispatcher};
use twinset_dispatch::link::Links;
use twinset_dispatch::pending::Origin;
use twinset_dispatch::reads::Reads;
use twinset_dispatch::retry::Done;
use twinset_dispatch::topology::Views;
use twinset_dispatch::view::View;
use twinset_ledger::buffer::Sent;
use twinset_ledger::codec::{decode_outcome, encode_command};
use twinset_ledger::id::is_request_id;
use twinset_ledger::{
    Command, Effect, Malformed, Outcome, Posted, Rejection, Side, Transaction, TransactionId, amount,
};
use twinset_proto::cluster::v1::{ListTransactions, ReadReply, RequestKey, read_reply, read_request};
use twinset_proto::ledger::v1 as wire;

use crate::atomic;
use crate::batch::{self, Batch};
use crate::config::Limits;
use crate::error::{At, Code, Error, Rejected};
use crate::groups;
use crate::metrics::Metrics;
use crate::route;

/// Transactions in one page at most, and how many a page has by default.
pub const PAGE_MAX: u32 = 1_000;
pub(crate) const PAGE_DEFAULT: u32 = 100;

/// The public API.
pub struct Api {
    pub(crate) views: Views,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) reads: Reads,
    links: Arc<Links>,
    /// What the router measures.
    pub metrics: Arc<Metrics>,
    /// What it takes on at most.
    pub limits: Limits,
    in_flight: AtomicUsize,
    draining: AtomicBool,
    /// Streams of events that may yet be opened.
    pub(crate) streams: Arc<Semaphore>,
    /// Cancelled when streams are to end.
    pub(crate) stopping: CancellationToken,
}

/// An account was opened or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Where.
    pub at: At,
    /// Whether this is the first answer given again.
    pub replayed: bool,
}

/// A transaction was booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booked {
    /// Its name from now on.
    pub transaction: TransactionId,
    /// Where.
    pub at: At,
    /// Whether this is the first answer given again.
    pub replayed: bool,
    /// One per leg, in the order of the legs; None if they were not asked for.
    pub postings: Option<Vec<BookedLeg>>,
}

/// A leg as booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookedLeg {
    /// The account.
    pub account: String,
    /// The group that it is a part of.
    pub group: Option<String>,
    /// Debit or credit.
    pub side: Side,
    /// In major units.
    pub amount: String,
    /// The account's figures after the transaction; None: it is of another set, which has not booked its leg yet.
    pub after: Option<Figures>,
}

/// What an account has after a transaction, in major units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Its balance.
    pub posted: String,
    /// What is available of it.
    pub available: String,
}

/// What a request id stands for.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// A transaction or a reversal.
    Transaction(wire::GetTransactionReply),
    /// A command of an account.
    Account(wire::GetAccountReply),
    /// A command of a hold: the hold as it is now.
    Hold(wire::GetHoldReply),
    /// A command of a restriction: the restriction as it is now.
    Restriction(wire::GetRestrictionReply),
}

/// A call in progress; ends when it is dropped.
pub struct InFlight<'a>(&'a AtomicUsize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Api {
    /// The API over these parts.
    pub fn new(
        views: Views,
        dispatcher: Dispatcher,
        reads: Reads,
        links: Arc<Links>,
        metrics: Arc<Metrics>,
        limits: Limits,
    ) -> Self {
        let (in_flight, draining) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (streams, stopping) =
            (Arc::new(Semaphore::new(limits.event_streams_max)), CancellationToken::new());
        Api { views, dispatcher, reads, links, metrics, limits, in_flight, draining, streams, stopping }
    }

    /// A place among the calls in progress.
    pub fn admit(&self) -> Result<InFlight<'_>, Error> {
        let before = self.in_flight.fetch_add(1, Ordering::AcqRel);
        let place = InFlight(&self.in_flight);
        if before >= self.limits.in_flight_max {
            return Err(Error::new(Code::Overloaded, "too many calls in progress; nothing was applied"));
        }
        Ok(place)
    }

    /// Says in readiness that the router is going away. Calls in progress go on; streams, which have no end, end.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.stopping.cancel();
    }

    /// Why the router should get no traffic; None if it should: it holds a catalogue and at least one node that hosts
    /// sets answers. A set without a leader is no reason: its requests are held here as well as anywhere.
    pub fn not_ready_because(&self) -> Option<&'static str> {
        if self.draining.load(Ordering::Acquire) {
            return Some("shutting down");
        }
        if self.view().version == 0 {
            return Some("no node has told this router about the cluster yet");
        }
        (self.connected_nodes() == 0).then_some("no node that hosts sets answers")
    }

    /// How many of the nodes that host sets answer.
    pub fn connected_nodes(&self) -> usize {
        self.links.count()
    }

    /// All metrics in Prometheus' text format.
    pub fn render_metrics(&self) -> Vec<u8> {
        self.metrics.render(self.in_flight.load(Ordering::Relaxed), &self.view(), &self.dispatcher.fill())
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.views.borrow().clone()
    }

    /// A currency or a subject, for all sets: whether any of them did not have it. The lowest-numbered set decides
    /// first, so that of two different definitions one wins everywhere.
    pub async fn define(&self, command: Command, deadline: Instant) -> Result<bool, Error> {
        let bytes = encode(&command)?;
        let sets: Vec<u32> = self.view().sets.keys().copied().collect();
        let Some((first, others)) = sets.split_first() else {
            return Err(Error::new(Code::NoCatalogue, "no node has told this router about the cluster yet"));
        };
        let mut changed = self.define_in(*first, bytes.clone(), deadline).await?;
        for set in others {
            match self.define_in(*set, bytes.clone(), deadline).await {
                Ok(news) => changed |= news,
                Err(rejected @ Error::Rejected(_)) => return Err(rejected),
                Err(error) => {
                    return Err(Error::new(
                        Code::Unknown,
                        format!(
                            "defined in some sets, but not certainly in set {set}: {error}; repeat the call"
                        ),
                    ));
                }
            }
        }
        Ok(changed)
    }

    async fn define_in(&self, set: u32, bytes: Bytes, deadline: Instant) -> Result<bool, Error> {
        match self.decide(set, bytes, deadline).await?.result {
            Ok(Effect::Defined { changed }) => Ok(changed),
            other => Err(unexpected(&other)),
        }
    }

    /// Opens or changes an account.
    pub async fn account_command(&self, command: Command, deadline: Instant) -> Result<Receipt, Error> {
        let (set, outcome) = self.command(&command, deadline).await?;
        match &outcome.result {
            Ok(Effect::Account) => Ok(Receipt { at: at(set, &outcome), replayed: outcome.replayed }),
            other => Err(unexpected(other)),
        }
    }

    /// Books a transaction, or takes one back.
    pub async fn book(&self, mut command: Command, deadline: Instant) -> Result<Booked, Error> {
        let view = self.view();
        groups::expand(&view, &mut command)?;
        let bytes = encode(&command)?;
        let set = route::way_of(&view, &command)?.set;
        let outcome = self.decide(set, bytes, deadline).await?;
        let accounts = match command {
            Command::Transaction(transaction) => accounts_of(transaction),
            _ => Vec::new(),
        };
        Ok(groups::name(&view, booked(set, outcome, Some(accounts))?))
    }

    /// Books many transactions; one result for each, in their order.
    pub async fn batch(&self, batch: Batch, deadline: Instant) -> Result<Vec<Result<Booked, Error>>, Error> {
        let Batch { transactions, atomic, with_postings } = batch;
        batch::check_size(transactions.len(), self.limits.batch_max, "a batch")?;
        if atomic {
            return atomic::run(self, transactions, with_postings, deadline).await;
        }
        self.metrics.batch(transactions.len());
        Ok(batch::run(self, transactions, with_postings, deadline).await)
    }

    /// One command to the set of its accounts: which that is, and the outcome if it is not a rejection.
    pub(crate) async fn command(
        &self,
        command: &Command,
        deadline: Instant,
    ) -> Result<(u32, Outcome), Error> {
        let bytes = encode(command)?;
        let set = route::way_of(&self.view(), command)?.set;
        Ok((set, self.decide(set, bytes, deadline).await?))
    }

    /// One command to one set: its outcome if that is not a rejection.
    pub(crate) async fn decide(&self, set: u32, bytes: Bytes, deadline: Instant) -> Result<Outcome, Error> {
        let answer = self.dispatcher.submit(Origin::Client, set, vec![bytes], deadline)?;
        let done = wait(answer).await?;
        let outcome =
            done.outcomes.first().map_or_else(|| Err(unreadable("empty")), |bytes| read_outcome(bytes))?;
        not_rejected(set, outcome, done.indefinite)
    }

    /// An account: one that commands can name, the clearing or recovery account of a set, or a group.
    pub async fn account(
        &self,
        id: &str,
        consistency: wire::Consistency,
        deadline: Instant,
    ) -> Result<wire::GetAccountReply, Error> {
        let view = self.view();
        if let Some(group) = view.groups.get(id) {
            return groups::read::account(self, group, consistency, deadline).await;
        }
        let set = self.set_of_readable(id)?;
        match self.reads.read(set, consistency, read_request::Query::Account(id.into()), deadline).await? {
            ReadReply { result: Some(read_reply::Result::Account(mut reply)) } => {
                groups::read::not_heard_of(reply.account.as_ref())?;
                if let (Some(account), Some(group)) = (&mut reply.account, view.groups.of_part(id)) {
                    account.group = group.into();
                }
                Ok(reply)
            }
            reply => Err(missing(&reply, &no_account(id))),
        }
    }

    /// The set of an account that can be read: one that commands can name, or one of the set's own. A group has none.
    pub(crate) fn set_of_readable(&self, id: &str) -> Result<u32, Error> {
        match route::account_of_a_set(id) {
            Some((set, _)) => route::known_set(&self.view(), set),
            None => self.set_of_single(id),
        }
    }

    /// An account of a set's own in a currency: its clearing or its recovery account, as `named` calls it.
    pub async fn account_of_a_set(
        &self,
        named: fn(u32, &str) -> String,
        (set, currency): (u32, &str),
        consistency: wire::Consistency,
        deadline: Instant,
    ) -> Result<wire::GetAccountReply, Error> {
        if !twinset_ledger::id::is_valid(currency) {
            return Err(Malformed::Currency.into());
        }
        self.account(&named(set, currency), consistency, deadline).await
    }

    /// A transaction.
    pub async fn transaction(
        &self,
        id: &str,
        consistency: wire::Consistency,
        deadline: Instant,
    ) -> Result<wire::GetTransactionReply, Error> {
        let set = route::set_of_transaction(&self.view(), parse_transaction(id)?)?;
        match self.reads.read(set, consistency, read_request::Query::Transaction(id.into()), deadline).await?
        {
            ReadReply { result: Some(read_reply::Result::Transaction(reply)) } => Ok(reply),
            reply => Err(missing(&reply, &format!("there is no transaction {id}"))),
        }
    }

    /// Transactions of a set in the order of their positions, behind `after` (empty: from the first one).
    pub async fn list(
        &self,
        set: u32,
        after: &str,
        page_size: Option<u32>,
        consistency: wire::Consistency,
        deadline: Instant,
    ) -> Result<wire::ListTransactionsReply, Error> {
        let set = route::known_set(&self.view(), set)?;
        if !after.is_empty() && parse_transaction(after)?.set != set {
            return Err(Error::malformed(format!("after: {after} is no transaction of set {set}")));
        }
        let page_size = page_of(page_size, PAGE_DEFAULT, PAGE_MAX)?;
        let query = read_request::Query::List(ListTransactions { after: after.into(), page_size });
        match self.reads.read(set, consistency, query, deadline).await? {
            ReadReply { result: Some(read_reply::Result::List(reply)) } => Ok(reply),
            reply => Err(missing(&reply, "there is no such page")),
        }
    }

    /// What became of a request id, a client's or one that nodes give to their own transactions. Its scope is an account, or what
    /// [`TransactionId::scope`] gives for a reversal of a transaction that there is not.
    pub async fn request(
        &self,
        scope_account: &str,
        request_id: &str,
        consistency: wire::Consistency,
        deadline: Instant,
    ) -> Result<Found, Error> {
        let set = match TransactionId::of_scope(scope_account) {
            Some(transaction) => route::set_of_transaction(&self.view(), transaction)?,
            None => self.set_of_single(scope_account)?,
        };
        if !is_request_id(request_id) {
            valid(request_id)?;
        }
        let key = RequestKey { scope_account: scope_account.into(), request_id: request_id.into() };
        match self.reads.read(set, consistency, read_request::Query::Request(key), deadline).await? {
            ReadReply { result: Some(read_reply::Result::Transaction(reply)) } => {
                Ok(Found::Transaction(reply))
            }
            ReadReply { result: Some(read_reply::Result::Account(reply)) } => Ok(Found::Account(reply)),
            ReadReply { result: Some(read_reply::Result::Hold(reply)) } => Ok(Found::Hold(reply)),
            ReadReply { result: Some(read_reply::Result::Restriction(reply)) } => {
                Ok(Found::Restriction(reply))
            }
            ReadReply { result: Some(read_reply::Result::Rejected(bytes)) } => {
                let outcome = Outcome { replayed: true, ..read_outcome(&bytes)? };
                Err(not_rejected(set, outcome, false)
                    .err()
                    .unwrap_or_else(|| unreadable("a rejection that is none")))
            }
            reply => Err(missing(
                &reply,
                &format!("the request id {request_id} was not used in scope {scope_account}"),
            )),
        }
    }
}

/// Checks a command and puts it in its wire form.
pub(crate) fn encode(command: &Command) -> Result<Bytes, Error> {
    command.validate_of_client()?;
    let mut bytes = Vec::with_capacity(192);
    encode_command(command, &mut bytes);
    Ok(bytes.into())
}

/// Waits for an answer. A lane that ended without one proves nothing.
pub(crate) async fn wait(answer: Answer) -> Result<Done, Error> {
    match answer.await {
        Ok(answer) => Ok(answer?),
        Err(_) => {
            Err(Error::new(Code::Unknown, "the router is shutting down; ask again with the same request id"))
        }
    }
}

/// Reads an outcome from its wire form. One that cannot be read says nothing about what happened.
pub(crate) fn read_outcome(bytes: &[u8]) -> Result<Outcome, Error> {
    decode_outcome(bytes).map_err(|error| unreadable(&error.to_string()))
}

fn unreadable(why: &str) -> Error {
    Error::new(
        Code::Unknown,
        format!("the node's answer cannot be read ({why}); ask again with the same request id"),
    )
}

pub(crate) fn unexpected<T: std::fmt::Debug>(result: &T) -> Error {
    unreadable(&format!("{result:?} answers another command"))
}

pub(crate) fn at(set: u32, outcome: &Outcome) -> At {
    At { set, index: outcome.position.index(), time_unix_ns: outcome.time_unix_ns }
}

/// The outcome, if it is the end of the command and no rejection. `indefinite`: an earlier attempt to send the command
/// has no known end.
pub(crate) fn not_rejected(set: u32, mut outcome: Outcome, indefinite: bool) -> Result<Outcome, Error> {
    let at = at(set, &outcome);
    match outcome.result {
        // The one rejection that is not the last word: what was sent before may yet come, and is not refused.
        Err(rejection @ Rejection::SetUnavailable { .. }) if indefinite => Err(Error::new(
            Code::Unknown,
            format!(
                "{rejection} by this attempt; but an earlier one to send the request has no known end and may yet book \
                 it; ask again with the same request id"
            ),
        )),
        Err(rejection) => {
            Err(Error::Rejected(Box::new(Rejected { rejection, at, replayed: outcome.replayed })))
        }
        Ok(Effect::Begun) => Err(Error::new(
            Code::Unknown,
            "the transaction is under way, and what comes of it is not known yet; ask again with the same request id",
        )),
        Ok(effect) => {
            outcome.result = Ok(effect);
            Ok(outcome)
        }
    }
}

/// The accounts of the legs and their sides, in the order of the legs.
pub(crate) fn accounts_of(transaction: Transaction) -> Vec<(String, Side)> {
    transaction.legs.into_iter().map(|leg| (leg.account, leg.side)).collect()
}

/// What the client hears of a booking that was not rejected. `accounts` are those of the legs, in their order; None: no
/// postings wanted.
pub(crate) fn booked(
    set: u32,
    outcome: Outcome,
    accounts: Option<Vec<(String, Side)>>,
) -> Result<Booked, Error> {
    let at = at(set, &outcome);
    let transaction = TransactionId { set, incarnation: outcome.incarnation, position: outcome.position };
    let postings = match outcome.result {
        Ok(Effect::Posted(posted) | Effect::Settled(posted)) => accounts.map(|accounts| {
            let mut accounts = accounts.into_iter().map(|(account, _)| account);
            posted.into_iter().map(|leg| booked_leg(leg, accounts.next())).collect()
        }),
        Ok(Effect::Buffered { booked, sent }) => accounts.map(|accounts| in_order(accounts, booked, &sent)),
        other => return Err(unexpected(&other)),
    };
    Ok(Booked { transaction, at, replayed: outcome.replayed, postings })
}

/// The legs in the client's order, of which some are booked and the others sent.
fn in_order(accounts: Vec<(String, Side)>, booked: Vec<Posted>, sent: &[Sent]) -> Vec<BookedLeg> {
    let (mut booked, mut sent) = (booked.into_iter(), sent.iter().peekable());
    let legs = (0u8..).zip(accounts).filter_map(|(place, (account, side))| match sent.peek() {
        Some(next) if next.leg == place => {
            let amount = amount::to_decimal_string(next.amount, next.scale);
            sent.next();
            Some(BookedLeg { account, group: None, side, amount, after: None })
        }
        _ => booked.next().map(|leg| booked_leg(leg, Some(account))),
    });
    legs.collect()
}

fn booked_leg(leg: Posted, named: Option<String>) -> BookedLeg {
    let account = if leg.account.is_empty() { named.unwrap_or_default() } else { leg.account };
    let decimal = |minor| amount::to_decimal_string(minor, leg.scale);
    let (amount, posted, available) = (decimal(leg.amount), decimal(leg.posted), decimal(leg.available));
    BookedLeg { account, group: None, side: leg.side, amount, after: Some(Figures { posted, available }) }
}

pub(crate) fn valid(id: &str) -> Result<&str, Error> {
    match twinset_ledger::id::is_valid(id) {
        true => Ok(id),
        false => Err(Error::malformed(format!("{id:?} is not 1-64 of A-Za-z0-9._:-{{}}"))),
    }
}

/// How much one page has: what is asked for, or without that the default.
pub(crate) fn page_of(asked: Option<u32>, default: u32, max: u32) -> Result<u32, Error> {
    let page_size = asked.unwrap_or(default);
    match (1..=max).contains(&page_size) {
        true => Ok(page_size),
        false => Err(Error::malformed(format!("page_size {page_size} is not between 1 and {max}"))),
    }
}

/// Reads a transaction id.
pub fn parse_transaction(id: &str) -> Result<TransactionId, Error> {
    id.parse()
        .map_err(|error: twinset_ledger::id::ParseTransactionIdError| Error::malformed(error.to_string()))
}

/// What there is to say of an account that is not there.
pub(crate) fn no_account(id: &str) -> String {
    match route::account_of_a_set(id) {
        Some((set, currency)) => {
            format!("nothing over several sets was booked in {currency} in set {set} yet")
        }
        None => format!("there is no account {id}"),
    }
}

pub(crate) fn missing(reply: &ReadReply, detail: &str) -> Error {
    match &reply.result {
        Some(read_reply::Result::NotFound(not_found)) => {
            Error::not_found(detail, not_found.as_of.as_ref().map(position), not_found.age_ms)
        }
        _ => Error::new(Code::NoLeader, "the node answered another question"),
    }
}

pub(crate) fn position(position: &wire::Position) -> At {
    At { set: position.set, index: position.index, time_unix_ns: position.time_unix_ns }
}
