//! Commands and reads for the sets hosted here, and the news that routers live by.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use twinset_control::Catalogue;
use twinset_dispatch::pending::Origin;
use twinset_ledger::id::{ParseTransactionIdError, is_request_id, is_valid};
use twinset_ledger::{COMMANDS_PER_ENTRY_MAX, Command, Effect, Outcome, TransactionId, codec};
use twinset_proto::cluster::v1 as wire;
use twinset_proto::ledger::v1 as api;
use twinset_store::{Booked, Read, Verdict};
use wire::RefusalReason as Reason;
use wire::read_reply::Result as ReadResult;
use wire::read_request::Query;
use wire::sets_server::Sets as SetsApi;

use super::{buffered, convert, dry_run, events, holds, references, restrictions, statement, sweeps};
use crate::catalogue::CatalogueCell;
use crate::freshness::Basis;
use crate::metrics::Metrics;
use crate::proposer::{Submission, refusal};
use crate::reader::ReadError;
use crate::reconciliation::{UNRECONCILED, form};
use crate::set::{Ledger, Replica, Sets};

/// Replies of all sets that wait for one router's stream.
const REPLY_QUEUE: usize = 4096;
const REPLIES_PER_FRAME: usize = 1024;
const PAGE_MAX: u32 = 1000;
const DEADLINE_MAX: Duration = Duration::from_secs(60);

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service.
pub struct SetsService {
    /// The replicas of this node.
    pub sets: Arc<Sets>,
    /// The catalogue.
    pub cell: CatalogueCell,
    /// True once the node drains.
    pub draining: watch::Receiver<bool>,
    /// Counters.
    pub metrics: Metrics,
}

#[tonic::async_trait]
impl SetsApi for SetsService {
    type SubmitStream = Out<wire::ReplyFrame>;
    type WatchStream = Out<wire::WatchUpdate>;

    async fn submit(
        &self,
        request: Request<Streaming<wire::SubmitFrame>>,
    ) -> Result<Response<Self::SubmitStream>, Status> {
        let (replies, mut answered) = mpsc::channel::<wire::ItemReply>(REPLY_QUEUE);
        let (frames, out) = mpsc::channel(4);
        let intake = Intake {
            sets: self.sets.clone(),
            draining: self.draining.clone(),
            metrics: self.metrics.clone(),
            replies,
        };
        tokio::spawn(intake.run(request.into_inner()));
        tokio::spawn(async move {
            let mut batch = Vec::new();
            while answered.recv_many(&mut batch, REPLIES_PER_FRAME).await > 0 {
                if frames.send(Ok(wire::ReplyFrame { replies: std::mem::take(&mut batch) })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(out))))
    }

    async fn read(&self, request: Request<wire::ReadRequest>) -> Result<Response<wire::ReadReply>, Status> {
        let request = request.into_inner();
        self.metrics.reads.inc();
        let deadline = Duration::from_millis(request.deadline_ms.into()).min(DEADLINE_MAX);
        let answer = tokio::time::timeout(deadline, self.answer(request)).await;
        let result = answer
            .unwrap_or_else(|_| refused(Reason::Deadline, String::new(), "not safe before the deadline"));
        Ok(Response::new(wire::ReadReply { result: Some(result) }))
    }

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let asked = request.into_inner().cluster_id;
        if let Some(catalogue) = self.cell.get()
            && !asked.is_empty()
            && asked != catalogue.cluster_id
        {
            return Err(Status::failed_precondition(format!("this is cluster {}", catalogue.cluster_id)));
        }
        let (updates, out) = mpsc::channel(4);
        tokio::spawn(publish(self.sets.clone(), self.cell.clone(), updates));
        Ok(Response::new(Box::pin(ReceiverStream::new(out))))
    }
}

/// Sends everything once, then what changes, until the watcher goes away.
async fn publish(
    sets: Arc<Sets>,
    cell: CatalogueCell,
    updates: mpsc::Sender<Result<wire::WatchUpdate, Status>>,
) {
    let mut pulse = sets.pulse.subscribe();
    let mut catalogues = cell.watch();
    let mut sent_version = 0;
    let mut sent_views = Vec::new();
    loop {
        pulse.mark_unchanged();
        let catalogue = catalogues.borrow_and_update().clone();
        let mut update = wire::WatchUpdate::default();
        if let Some(catalogue) = &catalogue {
            if catalogue.version > sent_version {
                sent_version = catalogue.version;
                update.catalogue_json = catalogue.to_json().into();
            }
            let views: Vec<_> = sets.all().iter().map(|replica| set_view(replica, catalogue)).collect();
            if views != sent_views {
                sent_views.clone_from(&views);
                update.sets = views;
            }
        }
        let news = !update.catalogue_json.is_empty() || !update.sets.is_empty();
        if news && updates.send(Ok(update)).await.is_err() {
            return;
        }
        tokio::select! {
            changed = pulse.changed() => if changed.is_err() { return },
            changed = catalogues.changed() => if changed.is_err() { return },
            () = updates.closed() => return,
        }
    }
}

fn set_view(replica: &Replica, catalogue: &Catalogue) -> wire::SetView {
    let view = replica.group.view().borrow().clone();
    let leader = view.leader.and_then(|id| catalogue.replica(replica.fence.set, id)).map(|r| r.node.clone());
    wire::SetView { set: replica.fence.set, leader: leader.unwrap_or_default(), term: view.term }
}

pub(super) fn refused(reason: Reason, leader: String, detail: &str) -> ReadResult {
    ReadResult::Refused(wire::Refusal { reason: reason.into(), leader, detail: detail.to_owned() })
}

impl SetsService {
    async fn answer(&self, request: wire::ReadRequest) -> ReadResult {
        let replica = match self.sets.asked(&request.cluster_id, request.set, request.incarnation) {
            Ok(replica) => replica,
            Err(reason) => return refused(Reason::NotHosted, String::new(), &reason),
        };
        let Some(ledger) = replica.ledger() else {
            return refused(Reason::Malformed, String::new(), "the control set has no accounts");
        };
        let stale = request.consistency == i32::from(api::Consistency::Stale);
        if !stale && let Err(error) = ledger.reader.barrier().await {
            return self.refuse_read(&replica, error);
        }
        let Some(query) = request.query else {
            return refused(Reason::Malformed, String::new(), "the read asks for nothing");
        };
        let is_of_a_set = matches!(query, Query::Attempt(_) | Query::Recollect(_));
        if !stale && !is_of_a_set && self.is_unreconciled(request.set) {
            return refused(Reason::NotLeader, String::new(), UNRECONCILED);
        }
        if stale && ledger.state.applied().log_id.is_none() {
            return refused(Reason::NotLeader, String::new(), "this replica holds nothing of the set yet");
        }
        let basis = if stale { ledger.reader.basis() } else { Some(Basis::Confirmed) };
        let Some(basis) = basis else {
            let why = "this replica has not caught up with its leader since it began";
            return refused(Reason::NotLeader, String::new(), why);
        };
        match run_query(&replica, ledger, &self.cell, query, basis, &self.draining).await {
            Ok(result) => result,
            Err(detail) => refused(Reason::Malformed, String::new(), &detail),
        }
    }

    fn is_unreconciled(&self, set: u32) -> bool {
        self.cell.get().is_some_and(|all| all.is_unreconciled(set))
    }

    fn refuse_read(&self, replica: &Replica, error: ReadError) -> ReadResult {
        let (reason, leader) = match error {
            ReadError::NotLeader { leader } => (Reason::NotLeader, leader),
            ReadError::NotConfirmed => (Reason::NotLeader, None),
            ReadError::Overloaded => (Reason::Overloaded, None),
        };
        let catalogue = self.cell.get();
        let node = leader.and_then(|id| Some(catalogue?.replica(replica.fence.set, id)?.node.clone()));
        refused(reason, node.unwrap_or_default(), &error.to_string())
    }
}

async fn run_query(
    replica: &Replica,
    ledger: &Ledger,
    cell: &CatalogueCell,
    query: Query,
    basis: Basis,
    draining: &watch::Receiver<bool>,
) -> Result<ReadResult, String> {
    let set = replica.fence.set;
    match query {
        Query::Account(id) => Ok(account(ledger, &id, set, basis).await),
        Query::Transaction(text) => {
            let id = transaction_of(&text, set)?;
            let mut read = ledger.reader.read_at_disk(move |state| state.transaction(id.position)).await;
            read.value = read.value.filter(|booked| booked.id == id);
            if read.value.as_ref().is_some_and(is_begun) {
                return Ok(under_way(ledger, id).await);
            }
            Ok(one_transaction(ledger, read, set, basis))
        }
        Query::Request(key) => {
            // A router is not trusted to have looked: what nobody can have used is no key.
            if !is_request_id(&key.request_id)
                || !is_valid(&key.scope_account) && TransactionId::of_scope(&key.scope_account).is_none()
            {
                return Err("no such scope or request id is possible".into());
            }
            let read = ledger
                .reader
                .read_at_disk(move |state| state.request(&key.scope_account, &key.request_id))
                .await;
            if let Some(booked) = read.value.as_ref().filter(|booked| is_begun(booked)) {
                return Ok(under_way(ledger, booked.id).await);
            }
            Ok(decided(ledger, read, set, basis).await)
        }
        Query::Statement(asked) => statement::statement(ledger, asked, set, basis).await,
        Query::Balance(asked) => statement::balance(ledger, asked, set, basis).await,
        Query::DryRun(asked) => {
            let catalogue = cell.get().ok_or("this node has no catalogue yet")?;
            dry_run::dry_run(ledger, &replica.fence, &catalogue, asked).await
        }
        Query::Attempt(text) => {
            let id = transaction_of(&text, set)?;
            let read = ledger.reader.read_at_disk(move |state| state.verdict(id)).await;
            let decision = |verdict| match verdict {
                Verdict::Undecided => wire::Decision::Undecided,
                Verdict::Booked => wire::Decision::Booked,
                Verdict::NotBooked => wire::Decision::NotBooked,
            };
            let (as_of, age_ms) = as_of(ledger, &read, set, basis);
            let Some(verdict) = read.value else { return Ok(not_found(as_of, age_ms)) };
            Ok(ReadResult::Attempt(decision(verdict).into()))
        }
        Query::Recollect(asked) => {
            let (question, from) = form::decode(asked)?;
            let read = ledger.reader.read_at_disk(move |state| state.recollect(&question, from)).await;
            let encoded = |command: &Command| {
                let mut bytes = Vec::new();
                codec::encode_command(command, &mut bytes);
                bytes.into()
            };
            let statements = read.value.statements.iter().map(encoded).collect();
            let next = read.value.next.map(|next| next.0);
            Ok(ReadResult::Recollected(wire::Recollected { statements, next }))
        }
        Query::InTransit(account) => Ok(buffered::in_transit(ledger, account, set, basis).await),
        Query::Suspense(asked) => buffered::suspense(ledger, asked, set, basis).await,
        Query::Hold(key) => Ok(holds::one(ledger, set, key.account, named(&key.hold)?, basis).await),
        Query::Events(asked) => events::page(replica, ledger, asked, basis, draining.clone()).await,
        Query::Holds(asked) => holds::list(ledger, set, replica.fence.incarnation, asked, basis).await,
        Query::Overdue(asked) => Ok(holds::overdue(ledger, &replica.fence, asked, basis).await),
        Query::Restriction(key) => {
            Ok(restrictions::one(ledger, set, key.account, named(&key.restriction)?, basis).await)
        }
        Query::Restrictions(asked) => restrictions::list(ledger, set, asked, basis).await,
        Query::Sweep(account) => Ok(sweeps::one(ledger, account, set, basis).await),
        Query::Sweeps(asked) => Ok(sweeps::list(ledger, asked, set, basis).await),
        Query::Find(asked) => references::find(ledger, &replica.fence, asked, basis).await,
        Query::List(page) => {
            let after = after(&page.after)?.map(|after| after.position);
            let size = page.page_size.clamp(1, PAGE_MAX) as usize;
            let read = ledger.reader.read_at_disk(move |state| state.list(after, size)).await;
            // It names a place in the log; whether anything was booked there, and in which incarnation, says nothing.
            let incarnation = replica.fence.incarnation;
            let next = read.value.next.map(|position| TransactionId { set, incarnation, position });
            let (as_of, age_ms) = as_of(ledger, &read, set, basis);
            Ok(ReadResult::List(api::ListTransactionsReply {
                transactions: read.value.iter().filter_map(convert::part).collect(),
                next: next.map_or_else(String::new, |next| next.to_string()),
                as_of,
                age_ms,
            }))
        }
    }
}

/// The name of a transaction, or of an attempt.
pub(super) fn named(text: &str) -> Result<TransactionId, String> {
    text.parse().map_err(|error: ParseTransactionIdError| error.to_string())
}

/// What a page begins behind, and None where it is the first one.
pub(super) fn after(text: &str) -> Result<Option<TransactionId>, String> {
    if text.is_empty() { Ok(None) } else { named(text).map(Some) }
}

/// One of that set.
fn transaction_of(text: &str, set: u32) -> Result<TransactionId, String> {
    let id = named(text)?;
    if id.set == set { Ok(id) } else { Err(format!("transaction {id} is not of set {set}")) }
}

/// As of when an answer is, and how old it may be.
pub(super) fn as_of<T>(
    ledger: &Ledger,
    read: &Read<T>,
    set: u32,
    basis: Basis,
) -> (Option<api::Position>, u64) {
    let as_of = convert::position(set, read.index, read.time_unix_ns);
    (Some(as_of), ledger.reader.age_ms(basis, read.time_unix_ns))
}

/// Nothing there.
pub(super) fn not_found(as_of: Option<api::Position>, age_ms: u64) -> ReadResult {
    ReadResult::NotFound(wire::NotFound { as_of, age_ms })
}

fn is_begun(booked: &Booked) -> bool {
    booked.outcome.result == Ok(Effect::Begun)
}

/// A request whose end is not known yet: there is no answer to give before that. Whoever asks hears to ask again, and not
/// before it has ended here, if this is the replica that carries it on.
pub(super) async fn under_way(ledger: &Ledger, attempt: TransactionId) -> ReadResult {
    // Whatever it is, it is read from the log.
    let _ = ledger.across.end_of(attempt).await;
    refused(Reason::NotLeader, String::new(), &format!("transaction {attempt} is under way"))
}

/// What a request id stands for: a transaction, an account, a hold or a restriction as it is now, or the rejection that was its answer.
async fn decided(ledger: &Ledger, read: Read<Option<Booked>>, set: u32, basis: Basis) -> ReadResult {
    match &read.value {
        Some(Booked { outcome, .. }) if outcome.result.is_err() => {
            let mut bytes = Vec::new();
            codec::encode_outcome(outcome, &mut bytes);
            ReadResult::Rejected(bytes.into())
        }
        Some(Booked { outcome, command, .. }) if outcome.result == Ok(Effect::Account) => {
            let id = command.accounts().next().expect("a command of an account names it").to_owned();
            account(ledger, &id, set, basis).await
        }
        Some(Booked { outcome: Outcome { result: Ok(Effect::Held(held)), .. }, command, .. }) => {
            let account =
                command.accounts().next().expect("a command on a hold names its account").to_owned();
            holds::one(ledger, set, account, held.hold, basis).await
        }
        Some(Booked { outcome: Outcome { result: Ok(Effect::Restricted(now)), .. }, command, .. }) => {
            let account = command.accounts().next().expect("a release names its account").to_owned();
            restrictions::one(ledger, set, account, now.restriction, basis).await
        }
        _ => one_transaction(ledger, read, set, basis),
    }
}

async fn account(ledger: &Ledger, id: &str, set: u32, basis: Basis) -> ReadResult {
    let read = ledger.reader.read(|state| state.account_and_mode(id)).await;
    let (as_of, age_ms) = as_of(ledger, &read, set, basis);
    let Some((account, mode)) = &read.value else { return not_found(as_of, age_ms) };
    let account = Some(convert::account(account, *mode));
    ReadResult::Account(api::GetAccountReply { account, as_of, age_ms, ..api::GetAccountReply::default() })
}

fn one_transaction(ledger: &Ledger, read: Read<Option<Booked>>, set: u32, basis: Basis) -> ReadResult {
    let (as_of, age_ms) = as_of(ledger, &read, set, basis);
    let listed = read.value.and_then(Booked::listed);
    match listed.as_ref().and_then(convert::transaction) {
        None => not_found(as_of, age_ms),
        transaction => ReadResult::Transaction(api::GetTransactionReply { transaction, as_of, age_ms }),
    }
}

/// One router's stream of commands.
struct Intake {
    sets: Arc<Sets>,
    draining: watch::Receiver<bool>,
    metrics: Metrics,
    replies: mpsc::Sender<wire::ItemReply>,
}

impl Intake {
    async fn run(self, mut frames: Streaming<wire::SubmitFrame>) {
        while let Ok(Some(frame)) = frames.message().await {
            for item in frame.items {
                self.metrics.items.inc();
                self.metrics.commands.inc_by(item.commands.len() as u64);
                if let Some(reply) = self.take(&frame.cluster_id, item)
                    && self.replies.send(reply).await.is_err()
                {
                    return;
                }
            }
        }
    }

    /// Hands the item to its proposer; Some: the answer at once.
    fn take(&self, cluster_id: &str, item: wire::Item) -> Option<wire::ItemReply> {
        let no = item.no;
        let refuse = |reason, detail: &str| Some(refusal(no, reason, String::new(), detail));
        if *self.draining.borrow() {
            return refuse(Reason::Draining, "the node is shutting down");
        }
        let replica = match self.sets.asked(cluster_id, item.set, item.incarnation) {
            Ok(replica) => replica,
            Err(reason) => return refuse(Reason::NotHosted, &reason),
        };
        let Some(ledger) = replica.ledger() else {
            return refuse(Reason::NotHosted, "no set of accounts");
        };
        if item.commands.is_empty() || item.commands.len() > COMMANDS_PER_ENTRY_MAX {
            return refuse(Reason::Malformed, "an item has between 1 and 65535 commands");
        }
        let deadline = Instant::now() + Duration::from_millis(item.deadline_ms.into()).min(DEADLINE_MAX);
        ledger.proposer.submit(Submission {
            no,
            origin: Some(Origin::of(&item)),
            commands: item.commands,
            deadline,
            reply: self.replies.clone(),
        })
    }
}
