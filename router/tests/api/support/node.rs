//! A node that does as it is told: leads, refuses, stays silent, breaks the stream at the worst moment. Behind all of
//! them stands one in-memory ledger per set, so that what is booked twice would be seen.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::Stream;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use twinset_ledger::apply::{came_of, newest_attempt};
use twinset_ledger::codec::encode_outcome;
use twinset_ledger::memory::MemoryState;
use twinset_ledger::{Effect, Position, State, TransactionId};
use twinset_proto::cluster::v1::sets_server::{Sets, SetsServer};
use twinset_proto::cluster::v1::{
    Item, ItemReply, NotFound, Outcomes, ReadReply, ReadRequest, Refusal, RefusalReason, ReplyFrame,
    RequestKey, SubmitFrame, WatchRequest, WatchUpdate, item_reply, read_reply, read_request,
};
use twinset_proto::ledger::v1 as wire;

use super::across::{self, Coordinator};
use super::{Shared, buffered, dry_run, events, holds, references, restrictions, statement, sweeps};

/// What a node does with items.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// Books them and answers.
    Lead,
    /// Refuses, naming a leader or nobody.
    NotLeader(String),
    /// Refuses for another reason.
    Refuse(RefusalReason),
    /// Says that it does not know what became of them, without booking.
    Unknown,
    /// Takes them and says nothing.
    Silent,
    /// Books them and ends the stream without an answer; then goes on as `NotLeader`.
    BookAndBreak,
    /// Ends the stream without booking; then goes on as `NotLeader`.
    Break,
    /// Books what one set can, and gives up what needs others.
    GiveUp,
    /// Books what one set can, and answers what needs others before its end is known.
    Begin,
}

/// What a node has seen.
#[derive(Default)]
pub struct Seen {
    /// The first command of each item, in order of arrival.
    pub items: Vec<Bytes>,
    /// How many items each frame had.
    pub frames: Vec<usize>,
    /// How many reads.
    pub reads: usize,
    /// What the last one asked.
    pub query: Option<read_request::Query>,
}

pub struct FakeNode {
    pub name: String,
    pub mode: Mutex<Mode>,
    pub seen: Mutex<Seen>,
    shared: Arc<Shared>,
    dead: CancellationToken,
}

impl FakeNode {
    pub fn start(name: &str, listener: TcpListener, shared: Arc<Shared>) -> Arc<FakeNode> {
        let mode = Mutex::new(Mode::NotLeader(String::new()));
        let dead = CancellationToken::new();
        let node = Arc::new(FakeNode { name: name.into(), mode, seen: Mutex::default(), shared, dead });
        let server = SetsServer::new(Serve(node.clone())).max_decoding_message_size(64 << 20);
        let served = tonic::transport::Server::builder()
            .add_service(server)
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(served);
        node
    }

    /// Ends all streams and opens no more.
    pub fn die(&self) {
        self.dead.cancel();
    }

    fn alive(&self) -> Result<(), Status> {
        if self.dead.is_cancelled() { Err(Status::unavailable("dead as told")) } else { Ok(()) }
    }

    pub fn set_mode(&self, mode: Mode) {
        *self.mode.lock().expect("no test panicked with it") = mode;
    }

    pub fn items_seen(&self) -> usize {
        self.seen.lock().expect("no test panicked with it").items.len()
    }

    fn book(&self, item: &Item, coordinator: Coordinator) -> item_reply::Result {
        let mut truth = self.shared.truth.lock().expect("no test panicked with it");
        let slots = self.shared.catalogue.slot_table();
        let (index, outcomes) = across::book(&mut truth, &slots, item.set, &item.commands, coordinator);
        let outcomes = outcomes.iter().map(|outcome| {
            let mut bytes = Vec::new();
            encode_outcome(outcome, &mut bytes);
            Bytes::from(bytes)
        });
        item_reply::Result::Done(Outcomes { index, outcomes: outcomes.collect() })
    }

    /// The replies to a frame; None in place of them if the stream breaks instead.
    fn on_frame(&self, frame: SubmitFrame) -> Option<Vec<ItemReply>> {
        let mut seen = self.seen.lock().expect("no test panicked with it");
        seen.frames.push(frame.items.len());
        seen.items.extend(frame.items.iter().map(|item| item.commands[0].clone()));
        drop(seen);
        let mode = self.mode.lock().expect("no test panicked with it").clone();
        let mut replies = Vec::new();
        for item in &frame.items {
            let result = match &mode {
                Mode::Lead => self.book(item, Coordinator::Asks),
                Mode::GiveUp => self.book(item, Coordinator::GivesUp),
                Mode::Begin => self.book(item, Coordinator::Begins),
                Mode::NotLeader(hint) => refusal(RefusalReason::NotLeader, hint),
                Mode::Refuse(reason) => refusal(*reason, ""),
                Mode::Unknown => item_reply::Result::Unknown("lost track".into()),
                Mode::Silent => continue,
                Mode::BookAndBreak => {
                    self.book(item, Coordinator::Asks);
                    continue;
                }
                Mode::Break => continue,
            };
            replies.push(ItemReply { no: item.no, result: Some(result) });
        }
        if matches!(mode, Mode::BookAndBreak | Mode::Break) {
            self.set_mode(Mode::NotLeader(String::new()));
            return None;
        }
        Some(replies)
    }

    fn is_unbuilt(&self, set: u32) -> bool {
        self.shared.unbuilt.lock().expect("no test panicked with it").contains(&set)
    }

    fn on_read(&self, request: &ReadRequest) -> read_reply::Result {
        let mut seen = self.seen.lock().expect("no test panicked with it");
        seen.reads += 1;
        seen.query.clone_from(&request.query);
        drop(seen);
        let mode = self.mode.lock().expect("no test panicked with it").clone();
        let stale = request.consistency() == wire::Consistency::Stale;
        if self.shared.withheld.lock().expect("no test panicked with it").contains(&request.set) {
            return read_reply::Result::Refused(Refusal {
                reason: RefusalReason::NotLeader.into(),
                detail: "withheld".into(),
                ..Refusal::default()
            });
        }
        if let (Mode::NotLeader(hint), false) = (&mode, stale) {
            let refusal = Refusal {
                reason: RefusalReason::NotLeader.into(),
                leader: hint.clone(),
                detail: String::new(),
            };
            return read_reply::Result::Refused(refusal);
        }
        let truth = self.shared.truth.lock().expect("no test panicked with it");
        let (state, next) = &truth[&request.set];
        let as_of = Some(wire::Position { set: request.set, index: next - 1, time_unix_ns: 1_000_000_000 });
        let found = match &request.query {
            Some(read_request::Query::Account(id)) => state.account_by_id(id),
            Some(read_request::Query::Request(key)) => return decided(state, key, as_of),
            Some(read_request::Query::Hold(key)) => {
                return holds::one(state, &key.account, &key.hold, as_of, u64::from(stale));
            }
            Some(read_request::Query::Holds(asked)) => {
                return holds::page(state, asked, as_of, u64::from(stale));
            }
            Some(read_request::Query::Overdue(asked)) => {
                return holds::overdue(state, asked, as_of, u64::from(stale));
            }
            Some(read_request::Query::Restriction(key)) => {
                return restrictions::one(state, &key.account, &key.restriction, as_of, u64::from(stale));
            }
            Some(read_request::Query::Restrictions(asked)) => {
                return restrictions::page(state, asked, as_of, u64::from(stale));
            }
            Some(read_request::Query::Transaction(id)) => {
                return holds::transaction(state, id, as_of, u64::from(stale));
            }
            Some(read_request::Query::Find(_)) if self.is_unbuilt(request.set) => {
                return read_reply::Result::Refused(Refusal {
                    reason: RefusalReason::IndexBuilding.into(),
                    detail: "3 of 9".into(),
                    ..Refusal::default()
                });
            }
            Some(read_request::Query::Find(asked)) => {
                return references::page(state, asked, as_of, u64::from(stale));
            }
            Some(read_request::Query::Statement(asked)) => return statement::statement(state, asked, as_of),
            Some(read_request::Query::Events(asked)) => {
                return events::page(state, asked, as_of, u64::from(stale));
            }
            Some(read_request::Query::InTransit(account)) => {
                return buffered::in_transit(state, account, as_of, u64::from(stale));
            }
            Some(read_request::Query::Suspense(asked)) => {
                return buffered::suspense(state, asked, as_of, u64::from(stale));
            }
            Some(read_request::Query::Sweep(account)) => {
                return sweeps::one(state, account, as_of, u64::from(stale));
            }
            Some(read_request::Query::Sweeps(asked)) => {
                return sweeps::page(state, asked, as_of, u64::from(stale));
            }
            Some(read_request::Query::Balance(asked)) => return statement::balance(state, asked, as_of),
            Some(read_request::Query::DryRun(asked)) => {
                return dry_run::answer(state, &self.shared.catalogue.slot_table(), asked, as_of);
            }
            _ => None,
        };
        let Some(account) = found else {
            return read_reply::Result::NotFound(NotFound { as_of, ..NotFound::default() });
        };
        let decimal = |minor| twinset_ledger::amount::to_decimal_string(minor, account.scale);
        let account = wire::Account {
            account: account.id.clone(),
            subject: self.name.clone(),
            limit: "none".into(),
            closed: account.closed,
            posted: decimal(account.posted()),
            held: decimal(account.held),
            incoming: decimal(account.incoming),
            restricted: decimal(account.restricted),
            available: decimal(account.available()),
            withdrawable: decimal(account.withdrawable()),
            debits: decimal(account.debits),
            credits: decimal(account.credits),
            version: account.version,
            metadata: account.metadata.clone().into_iter().collect(),
            ..wire::Account::default()
        };
        read_reply::Result::Account(wire::GetAccountReply {
            account: Some(account),
            as_of,
            // Another age in each set.
            age_ms: if stale { u64::from(request.set) } else { 0 },
            ..wire::GetAccountReply::default()
        })
    }
}

/// What became of a request id.
fn decided(state: &MemoryState, key: &RequestKey, as_of: Option<wire::Position>) -> read_reply::Result {
    let Ok(used) = state.request(&key.scope_account, &key.request_id, Position(u64::MAX));
    let Some(first) = used else {
        return read_reply::Result::NotFound(NotFound { as_of, ..NotFound::default() });
    };
    let Ok(position) = newest_attempt(state, first, &key.request_id);
    let Ok(original) = state.original(position);
    let Ok(outcome) = came_of(state, original.expect("what is remembered is kept").1);
    match outcome.result {
        Ok(Effect::Posted(_) | Effect::Settled(_)) => {
            let (set, incarnation) = (state.set(), outcome.incarnation);
            let transaction = wire::Transaction {
                transaction: TransactionId { set, incarnation, position }.to_string(),
                request_id: key.request_id.clone(),
                ..wire::Transaction::default()
            };
            let transaction = Some(transaction);
            read_reply::Result::Transaction(wire::GetTransactionReply { transaction, as_of, age_ms: 0 })
        }
        Ok(Effect::Account) => {
            let account = wire::Account { account: key.scope_account.clone(), ..wire::Account::default() };
            let account = Some(account);
            read_reply::Result::Account(wire::GetAccountReply {
                account,
                as_of,
                ..wire::GetAccountReply::default()
            })
        }
        Ok(Effect::Held(held)) => holds::of_command(state, held.hold, as_of),
        Ok(Effect::Restricted(now)) => {
            restrictions::one(state, &key.scope_account, &now.restriction.to_string(), as_of, 0)
        }
        _ => {
            let mut bytes = Vec::new();
            encode_outcome(&outcome, &mut bytes);
            read_reply::Result::Rejected(bytes.into())
        }
    }
}

fn refusal(reason: RefusalReason, leader: &str) -> item_reply::Result {
    item_reply::Result::Refused(Refusal {
        reason: reason.into(),
        leader: leader.into(),
        detail: "told to".into(),
    })
}

struct Serve(Arc<FakeNode>);

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl Sets for Serve {
    type SubmitStream = Replies<ReplyFrame>;
    type WatchStream = Replies<WatchUpdate>;

    async fn submit(
        &self,
        request: Request<Streaming<SubmitFrame>>,
    ) -> Result<Response<Self::SubmitStream>, Status> {
        self.0.alive()?;
        let node = self.0.clone();
        let mut frames = request.into_inner();
        let (replies, outgoing) = mpsc::channel(16);
        tokio::spawn(async move {
            loop {
                let frame = tokio::select! {
                    () = node.dead.cancelled() => return,
                    frame = frames.message() => frame,
                };
                let Ok(Some(frame)) = frame else { return };
                let sent = match node.on_frame(frame) {
                    Some(found) => replies.send(Ok(ReplyFrame { replies: found })).await.is_ok(),
                    None => {
                        let _ = replies.send(Err(Status::unavailable("broken as told"))).await;
                        false
                    }
                };
                if !sent {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }

    async fn read(&self, request: Request<ReadRequest>) -> Result<Response<ReadReply>, Status> {
        let request = request.into_inner();
        let mut result = self.0.on_read(&request);
        // Whoever follows a set is answered when there is something, or at the end of a while.
        if let Some(read_request::Query::Events(asked)) = &request.query {
            self.0.alive()?;
            let end = Instant::now() + Duration::from_millis(asked.wait_ms.into());
            while events::is_empty(&result) && Instant::now() < end {
                tokio::time::sleep(events::LOOK_EVERY).await;
                self.0.alive()?;
                result = self.0.on_read(&request);
            }
        }
        Ok(Response::new(ReadReply { result: Some(result) }))
    }

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.0.alive()?;
        let (shared, dead) = (self.0.shared.clone(), self.0.dead.clone());
        let (updates, outgoing) = mpsc::channel(16);
        tokio::spawn(async move {
            let mut leaders = shared.leaders.subscribe();
            let mut catalogue_json = Bytes::from(shared.catalogue.to_json());
            loop {
                let sets = if shared.announce { leaders.borrow_and_update().clone() } else { Vec::new() };
                let update = WatchUpdate { catalogue_json: std::mem::take(&mut catalogue_json), sets };
                if updates.send(Ok(update)).await.is_err() {
                    return;
                }
                tokio::select! {
                    () = dead.cancelled() => return,
                    changed = leaders.changed() => if changed.is_err() { return },
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}
