//! A batch on its way: its transactions are sorted by the sets that they need, packed into items of bounded size, sent
//! all at once, and their results put back in the client's order. Each transaction stands for itself, and waits for no
//! set that it does not touch: an item is answered as a whole. Used by [`crate::api`] alone.

use std::collections::BTreeMap;

use bytes::Bytes;
use tokio::time::Instant;
use twinset_dispatch::dispatcher::Answer;
use twinset_dispatch::failure::Failure;
use twinset_dispatch::lane::FRAME_BYTES_MAX;
use twinset_dispatch::pending::Origin;
use twinset_dispatch::view::View;
use twinset_ledger::canary::{self, Canary};
use twinset_ledger::codec::encode_command;
use twinset_ledger::{Command, Side, Transaction};

use crate::api::{Api, Booked, accounts_of, booked, not_rejected, read_outcome, wait};
use crate::error::{Code, Error};
use crate::groups;
use crate::route::{Way, way_of};

/// Bytes of one item: two fit in a frame.
const ITEM_BYTES_MAX: usize = FRAME_BYTES_MAX / 2;

/// Transactions that come in one call.
#[derive(Clone, Debug)]
pub struct Batch {
    /// In the client's order.
    pub transactions: Vec<Transaction>,
    /// Whether all are booked or none; otherwise each stands for itself.
    pub atomic: bool,
    /// Whether the results name the postings.
    pub with_postings: bool,
}

impl Batch {
    /// Of one transaction.
    pub fn of(transaction: Transaction) -> Batch {
        Batch { transactions: vec![transaction], atomic: false, with_postings: true }
    }
}

/// Refuses more transactions than `what` may have.
pub(crate) fn check_size(count: usize, max: usize, what: &str) -> Result<(), Error> {
    match count > max {
        true => {
            Err(Error::new(Code::BatchTooLarge, format!("{count} transactions; {what} has at most {max}")))
        }
        false => Ok(()),
    }
}

/// Commands of one way that travel as one item.
#[derive(Default)]
struct Group {
    bytes: Vec<u8>,
    /// Where each command ends in `bytes`.
    ends: Vec<usize>,
    /// The place of each in the batch, and the accounts of its legs if its postings are wanted.
    members: Vec<Member>,
}

struct Member {
    place: usize,
    accounts: Option<Vec<(String, Side)>>,
}

struct Sent {
    set: u32,
    members: Vec<Member>,
    answer: Result<Answer, Failure>,
}

impl Group {
    /// The commands, all in one piece of memory.
    fn commands(&mut self) -> Vec<Bytes> {
        let whole = Bytes::from(std::mem::take(&mut self.bytes));
        let mut start = 0;
        let slice = |end: usize| {
            let command = whole.slice(start..end);
            start = end;
            command
        };
        std::mem::take(&mut self.ends).into_iter().map(slice).collect()
    }
}

/// Books the transactions; one result for each, in their order.
pub(crate) async fn run(
    api: &Api,
    transactions: Vec<Transaction>,
    with_postings: bool,
    deadline: Instant,
) -> Vec<Result<Booked, Error>> {
    let view = api.view();
    let mut results: Vec<Option<Result<Booked, Error>>> = Vec::new();
    results.resize_with(transactions.len(), || None);
    let mut groups: BTreeMap<Way, Group> = BTreeMap::new();
    let mut sent = Vec::new();
    for (place, transaction) in transactions.into_iter().enumerate() {
        match add(&view, &mut groups, place, transaction, with_postings) {
            Ok((set, group)) if group.bytes.len() >= ITEM_BYTES_MAX => {
                sent.push(send(api, set, group, deadline))
            }
            Ok(_) => {}
            Err(error) => results[place] = Some(Err(error)),
        }
    }
    sent.extend(
        groups
            .iter_mut()
            .filter(|(_, group)| !group.ends.is_empty())
            .map(|(way, group)| send(api, way.set, group, deadline)),
    );
    for item in sent {
        collect(item, &mut results).await;
    }
    if canary::on(Canary::ExchangedResults) && results.len() > 1 {
        results.swap(0, 1);
    }
    let named = |result: Result<Booked, Error>| result.map(|booked| groups::name(&view, booked));
    let missing = || {
        Err(Error::new(Code::Unknown, "no answer for this transaction; ask again with the same request id"))
    };
    results.into_iter().map(|result| named(result.unwrap_or_else(missing))).collect()
}

fn add<'a>(
    view: &View,
    groups: &'a mut BTreeMap<Way, Group>,
    place: usize,
    transaction: Transaction,
    with_postings: bool,
) -> Result<(u32, &'a mut Group), Error> {
    let mut command = Command::Transaction(transaction);
    groups::expand(view, &mut command)?;
    command.validate_of_client()?;
    let way = way_of(view, &command)?;
    let set = way.set;
    let group = groups.entry(way).or_default();
    encode_command(&command, &mut group.bytes);
    group.ends.push(group.bytes.len());
    let accounts = match command {
        Command::Transaction(transaction) if with_postings => Some(accounts_of(transaction)),
        _ => None,
    };
    group.members.push(Member { place, accounts });
    Ok((set, group))
}

fn send(api: &Api, set: u32, group: &mut Group, deadline: Instant) -> Sent {
    let members = std::mem::take(&mut group.members);
    let answer = api.dispatcher.submit(Origin::Client, set, group.commands(), deadline);
    Sent { set, members, answer }
}

async fn collect(sent: Sent, results: &mut [Option<Result<Booked, Error>>]) {
    let done = match sent.answer {
        Ok(answer) => wait(answer).await,
        Err(failure) => Err(failure.into()),
    };
    match done {
        Ok(done) => {
            for (member, outcome) in sent.members.into_iter().zip(done.outcomes) {
                let result = read_outcome(&outcome)
                    .and_then(|outcome| not_rejected(sent.set, outcome, done.indefinite))
                    .and_then(|outcome| booked(sent.set, outcome, member.accounts));
                results[member.place] = Some(result);
            }
        }
        Err(error) => sent.members.iter().for_each(|member| results[member.place] = Some(Err(error.clone()))),
    }
}
