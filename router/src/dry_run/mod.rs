//! Dry runs: what would come of transactions now, with nothing booked and nothing remembered. Every set that one of them
//! touches is asked, all at once, in the order of the call; what they say is put together by [`merge`]. Each set speaks of
//! one moment of its own, so over several sets the whole promises nothing. The two spellings are [`http`] and [`grpc`].

pub mod grpc;
pub mod http;
mod merge;

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::Instant;
use twinset_dispatch::view::View;
use twinset_ledger::attempt::Sum;
use twinset_ledger::{Command, Effect, Outcome, Side, TransactionId};
use twinset_proto::cluster::v1::{self as cluster, ReadReply, read_reply, read_request};
use twinset_proto::ledger::v1::Consistency;

use crate::api::{Api, Booked, BookedLeg, encode, position, read_outcome};
use crate::batch::{Batch, check_size};
use crate::error::{At, Code, Error};
use crate::{atomic, groups, route};
use merge::{Said, merge};

/// Transactions of one dry run: each set stands still while it tries them, as it does for an atomic batch.
pub const TRANSACTIONS_MAX: usize = atomic::TRANSACTIONS_MAX;

/// What a call would be told of one transaction that is not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreseen {
    /// Its name and place, if it was booked before: the real call would tell it again.
    pub before: Option<(TransactionId, At)>,
    /// Whether it would be a first answer given again: of what was booked before, or of one before it in the same call.
    pub replayed: bool,
    /// One per leg, in the order of the legs; None if they were not asked for.
    pub postings: Option<Vec<ForeseenLeg>>,
}

/// A leg as it would be booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeseenLeg {
    /// The account.
    pub account: String,
    /// The group that it is a part of.
    pub group: Option<String>,
    /// Debit or credit.
    pub side: Side,
    /// In major units.
    pub amount: String,
    /// The posted and the available balance after it; None over several sets, where no set knows when it would book.
    pub balances: Option<(String, String)>,
}

/// What a call would be told.
#[derive(Clone, Debug)]
pub struct DryRun {
    /// One per transaction, in their order.
    pub results: Vec<Result<Foreseen, Error>>,
    /// As of when each set was asked, in the order of their numbers.
    pub as_of: Vec<At>,
}

impl DryRun {
    /// What is told of the only transaction, and as of when.
    fn only(mut self) -> Result<(Foreseen, Vec<At>), Error> {
        Ok((self.results.remove(0)?, self.as_of))
    }
}

impl From<BookedLeg> for ForeseenLeg {
    fn from(leg: BookedLeg) -> ForeseenLeg {
        let BookedLeg { account, group, side, amount, after } = leg;
        let balances = after.map(|after| (after.posted, after.available));
        ForeseenLeg { account, group, side, amount, balances }
    }
}

impl From<Booked> for Foreseen {
    fn from(booked: Booked) -> Foreseen {
        let postings = booked.postings.map(|legs| legs.into_iter().map(ForeseenLeg::from).collect());
        Foreseen { before: Some((booked.transaction, booked.at)), replayed: booked.replayed, postings }
    }
}

/// What is asked: of each set, and where in it each transaction stands.
struct Asked {
    sets: BTreeMap<u32, Vec<Bytes>>,
    /// For each transaction, its place among the commands of each set that it touches: the one that decides it, and the
    /// others in the order of their numbers.
    places: Vec<Result<Vec<Place>, Error>>,
}

/// A set, and a command among those for it.
type Place = (u32, usize);

/// What one set answers to all that it was asked.
struct Answer {
    as_of: At,
    tried: Vec<Tried>,
}

struct Tried {
    outcome: Outcome,
    /// Of the set's own legs, where it would coordinate.
    sums: Vec<Sum>,
}

impl Api {
    /// What booking them would be told now. Nothing is booked, and nothing remembered.
    pub async fn dry_run(&self, batch: Batch, deadline: Instant) -> Result<DryRun, Error> {
        let Batch { transactions, atomic, with_postings } = batch;
        let max = self.limits.batch_max.min(TRANSACTIONS_MAX);
        check_size(transactions.len(), max, "a dry run")?;
        let view = self.view();
        let mut transactions: Vec<Command> = transactions.into_iter().map(Command::Transaction).collect();
        let Asked { sets, places } = match atomic {
            true => together(&view, &mut transactions)?,
            false => one_by_one(&view, &mut transactions),
        };
        let asked =
            sets.into_iter().map(async |(set, commands)| (set, ask(self, set, commands, deadline).await));
        let answers: BTreeMap<u32, Result<Answer, Error>> = join_all(asked).await.into_iter().collect();
        let as_of = answers.values().flatten().map(|answer| answer.as_of).collect();
        let results = put_together(&answers, places, transactions, with_postings).into_iter();
        let named = results.map(|result| result.map(|foreseen| groups::name_foreseen(&view, foreseen)));
        Ok(DryRun { results: named.collect(), as_of })
    }
}

/// An atomic batch: one set, and the announcement in front.
fn together(view: &View, transactions: &mut [Command]) -> Result<Asked, Error> {
    groups::expand_all(view, transactions)?;
    let (set, commands) = atomic::pack(view, transactions)?;
    let places = (1..commands.len()).map(|place| Ok(vec![(set, place)])).collect();
    Ok(Asked { sets: BTreeMap::from([(set, commands)]), places })
}

fn one_by_one(view: &View, transactions: &mut [Command]) -> Asked {
    let mut sets = BTreeMap::<u32, Vec<Bytes>>::new();
    let mut place = |transaction: &mut Command| {
        groups::expand(view, transaction)?;
        let bytes = encode(transaction)?;
        let way = route::way_of(view, transaction)?;
        let asked = [way.set].into_iter().chain(way.others).map(|set| {
            let commands = sets.entry(set).or_default();
            commands.push(bytes.clone());
            (set, commands.len() - 1)
        });
        Ok(asked.collect())
    };
    let places = transactions.iter_mut().map(&mut place).collect();
    Asked { sets, places }
}

async fn ask(api: &Api, set: u32, commands: Vec<Bytes>, deadline: Instant) -> Result<Answer, Error> {
    let count = commands.len();
    let query = read_request::Query::DryRun(cluster::DryRun { commands });
    let ReadReply { result: Some(read_reply::Result::DryRun(reply)) } =
        api.reads.read(set, Consistency::Linearizable, query, deadline).await?
    else {
        return Err(no_answer(set));
    };
    let tried = |one: &cluster::DryOutcome| {
        let unreadable = |_| no_answer(set);
        let outcome = read_outcome(&one.outcome).map_err(unreadable)?;
        let sums = match one.vote.is_empty() {
            true => Vec::new(),
            false => match read_outcome(&one.vote).map_err(unreadable)?.result {
                Ok(Effect::Prepared(sums)) => sums,
                _ => return Err(no_answer(set)),
            },
        };
        Ok(Tried { outcome, sums })
    };
    let tried: Vec<Tried> = reply.outcomes.iter().map(tried).collect::<Result<_, _>>()?;
    match reply.as_of.filter(|_| tried.len() == count) {
        Some(as_of) => Ok(Answer { as_of: position(&as_of), tried }),
        None => Err(no_answer(set)),
    }
}

/// A node that answers something else. Nothing was to be booked, so nothing is unknown.
fn no_answer(set: u32) -> Error {
    Error::new(Code::NoLeader, format!("the node that leads set {set} answered another question"))
}

fn put_together(
    answers: &BTreeMap<u32, Result<Answer, Error>>,
    places: Vec<Result<Vec<Place>, Error>>,
    transactions: Vec<Command>,
    with_postings: bool,
) -> Vec<Result<Foreseen, Error>> {
    // Who asked for what: a set tells a replay of what it has just tried by its place there.
    let mut tried = BTreeMap::<Place, usize>::new();
    let mut results: Vec<Result<Foreseen, Error>> = Vec::with_capacity(places.len());
    for (places, transaction) in places.into_iter().zip(transactions) {
        let result = places.and_then(|places| {
            let said = |(set, place): &Place| {
                let answer = answers[set].as_ref().map_err(Error::clone)?;
                let Tried { outcome, sums } = &answer.tried[*place];
                Ok(Said { set: *set, as_of: answer.as_of, outcome, sums })
            };
            let (own, others) = places.split_first().expect("the set that decides it is asked");
            tried.insert(*own, results.len());
            let own = said(own)?;
            if let Some(first) = own.again() {
                let known = tried.get(&(own.set, first)).and_then(|known| results.get(*known));
                return known.cloned().map_or_else(|| Err(no_answer(own.set)), again);
            }
            merge(&own, others.iter().map(said), transaction, with_postings)
        });
        results.push(result);
    }
    results
}

/// The same answer, given again.
fn again(first: Result<Foreseen, Error>) -> Result<Foreseen, Error> {
    match first {
        Ok(foreseen) => Ok(Foreseen { replayed: true, ..foreseen }),
        Err(Error::Rejected(mut rejected)) => {
            rejected.replayed = true;
            Err(Error::Rejected(rejected))
        }
        other => other,
    }
}
