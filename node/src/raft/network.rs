//! openraft's network over the peer lanes: appends are pipelined on the shared append lane, heartbeats and votes go on
//! the beat lane, snapshots over a connection of their own. Every message carries the cluster, the set and the
//! incarnation; openraft's own messages carry none of these.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt, future::BoxFuture, stream};
use openraft::OptionalSend;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tokio::sync::mpsc;
use tokio::time::Instant;
use twinset_dispatch::time::sleep_until;
use twinset_proto::cluster::v1 as wire;
use twinset_store::JournalRecord;
use wire::beat_message::Body;
use wire::beat_reply::Body as ReplyBody;

use super::convert;
use super::machine::{SnapshotData, store_meta};
use super::types::{CommittedLeader, LogId, TypeConfig, Vote};
use crate::peer::{LaneClosed, Links, PeerLink, SESSION_WINDOW};
use crate::platform::{self, Platform};
use crate::set::Fence;

/// An append without an answer for this long breaks its session; a half-open stream must not wedge replication.
const APPEND_TIMEOUT: Duration = Duration::from_secs(2);
/// How long word of what is committed waits for entries to go with. Nobody who is answered waits for a follower to apply, and
/// under load the next entry leaves sooner: then this saves a message to each follower, and its answer, for every entry.
const COMMITTED_WAITS: Duration = Duration::from_millis(3);
const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;
/// Chunks of a snapshot in memory on the sending side.
const SNAPSHOT_QUEUE: usize = 4;

static NEXT_SESSION: AtomicU64 = AtomicU64::new(1);

type Rpc<T> = Result<T, RPCError<TypeConfig>>;
type SnapshotOf = openraft::storage::Snapshot<CommittedLeader, u64, openraft::impls::BasicNode, SnapshotData>;

/// Makes the clients of one group.
pub struct Network {
    pub(super) fence: Arc<Fence>,
    pub(super) links: Links,
}

/// Which lane a client's appends take.
#[derive(Clone, Copy, PartialEq)]
enum Lane {
    Append,
    Beat,
}

/// One group's client to one other replica.
pub struct Client {
    fence: Arc<Fence>,
    link: PeerLink,
    target: u64,
    lane: Lane,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, node: &openraft::impls::BasicNode) -> Client {
        Client { fence: self.fence.clone(), link: self.links.to(&node.addr), target, lane: Lane::Append }
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &openraft::impls::BasicNode) -> Client {
        Client { fence: self.fence.clone(), link: self.links.to(&node.addr), target, lane: Lane::Beat }
    }
}

fn unreachable() -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::new(&LaneClosed))
}

fn broken(reason: impl ToString) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::from_string(reason))
}

impl Client {
    async fn beat(&self, body: Body, ttl: Duration) -> Rpc<ReplyBody> {
        let (hash_index, hash) = self.fence.hash_point();
        let horizon = convert::horizon_out(&self.fence);
        let message = wire::BeatMessage {
            no: 0,
            to: Some(self.fence.address(self.target)),
            body: Some(body),
            horizon: Some(horizon),
            hash_index,
            hash,
        };
        let reply = tokio::time::timeout(ttl, self.link.beat(message)).await;
        let reply = reply.map_err(|_| broken("no answer in time"))?.map_err(|_| unreachable())?;
        match reply.body {
            Some(ReplyBody::Refused(reason)) => Err(broken(reason)),
            Some(body) => Ok(body),
            None => Err(broken("an empty reply")),
        }
    }

    async fn heartbeat(
        &self,
        request: AppendEntriesRequest<TypeConfig>,
        ttl: Duration,
    ) -> Rpc<StreamAppendResult<TypeConfig>> {
        let (term, sent_at) = (request.vote.leader_id().term, Instant::now());
        let prev = request.prev_log_id;
        let body = self.beat(Body::Heartbeat(convert::append_out(&request)), ttl).await?;
        let ReplyBody::Heartbeat(frame) = body else { return Err(broken("another kind of reply")) };
        let result = convert::append_result_in(frame.result, prev).map_err(broken)?;
        if result.is_ok() {
            self.fence.gate.contact(term, self.target, sent_at);
        }
        Ok(result)
    }

    async fn vote_on(&self, body: Body, ttl: Duration) -> Rpc<VoteResponse<TypeConfig>> {
        match self.beat(body, ttl).await? {
            ReplyBody::Vote(reply) => convert::vote_reply_in(reply).map_err(broken),
            _ => Err(broken("another kind of reply")),
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Client {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<AppendEntriesResponse<TypeConfig>> {
        self.heartbeat(request, option.hard_ttl()).await.map(AppendEntriesResponse::from)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Rpc<BoxStream<'s, Rpc<StreamAppendResult<TypeConfig>>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        if self.lane == Lane::Beat {
            let ttl = option.hard_ttl();
            let this = &*self;
            let output = input.then(move |request| this.heartbeat(request, ttl));
            return Box::pin(async move { Ok(output.boxed()) });
        }
        Box::pin(async move { self.open_append(input).await })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        self.vote_on(Body::Vote(convert::vote_request_out(&request)), option.hard_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<VoteResponse<TypeConfig>> {
        self.vote_on(Body::PreVote(convert::vote_request_out(&request)), option.hard_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let (chunks, queue) = mpsc::channel(SNAPSHOT_QUEUE);
        let to = self.fence.address(self.target);
        let platform = self.fence.platform.clone();
        let feed = tokio::spawn(async move { feed_snapshot(&*platform, to, &vote, snapshot, &chunks).await });
        let reply = tokio::select! {
            closed = cancel => return Err(StreamingError::Closed(closed)),
            reply = self.link.snapshot(queue, option.hard_ttl()) => reply,
        };
        let reply = reply.map_err(|status| StreamingError::Network(NetworkError::new(&status)))?;
        feed.await
            .map_err(|error| StreamingError::Network(NetworkError::new(&error)))?
            .map_err(|reason| StreamingError::Network(NetworkError::from_string(reason)))?;
        if !reply.refused.is_empty() {
            return Err(StreamingError::Network(NetworkError::from_string(reply.refused)));
        }
        let vote =
            convert::vote_in(reply.vote).map_err(|e| StreamingError::Network(NetworkError::new(&e)))?;
        Ok(SnapshotResponse { vote })
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Rpc<TransferLeaderResponse<TypeConfig>> {
        let body = Body::Transfer(wire::TransferLeader {
            vote: Some(convert::vote_out(request.from_leader())),
            to: *request.to_node_id(),
            last: request.last_log_id().map(convert::id_out),
        });
        match self.beat(body, option.hard_ttl()).await? {
            ReplyBody::Transferred(_) => Ok(Ok(())),
            _ => Err(broken("another kind of reply")),
        }
    }
}

/// A request that was sent and not yet answered.
struct Pending {
    no: u64,
    prev: Option<LogId>,
    term: u64,
    sent_at: Instant,
}

/// The appends of a session on their way out. One without entries says only what is committed: it waits for a moment, and goes
/// no more if entries follow, which say it as well, and whose answer says all that its own would. The first one of a session may
/// ask how far the follower's log is, and goes at once.
struct Outgoing<S> {
    input: S,
    started: bool,
    ended: bool,
    held: Option<(Instant, AppendEntriesRequest<TypeConfig>)>,
}

impl<S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin> Outgoing<S> {
    fn new(input: S) -> Self {
        Outgoing { input, started: false, ended: false, held: None }
    }

    /// The next one to be sent; None after the last. May be dropped while it waits.
    async fn next(&mut self) -> Option<AppendEntriesRequest<TypeConfig>> {
        loop {
            if self.ended {
                return self.held.take().map(|(_, request)| request);
            }
            let due = self.held.as_ref().map(|(due, _)| *due);
            let request = tokio::select! {
                biased;
                request = self.input.next() => request,
                () = sleep_until(due) => return self.held.take().map(|(_, request)| request),
            };
            match request {
                None => self.ended = true,
                Some(request) if request.entries.is_empty() && self.started => {
                    let due = due.unwrap_or_else(|| Instant::now() + COMMITTED_WAITS);
                    self.held = Some((due, request));
                }
                Some(request) => {
                    self.started = true;
                    self.held = None;
                    return Some(request);
                }
            }
        }
    }
}

impl Client {
    async fn open_append<'s, S>(&'s self, input: S) -> Rpc<BoxStream<'s, Rpc<StreamAppendResult<TypeConfig>>>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let session = NEXT_SESSION.fetch_add(1, Ordering::Relaxed);
        let opened = self.link.open_session(self.fence.set, session).await.map_err(|_| unreachable())?;
        let (sender, replies) = opened.split();
        let (pending, sent) = mpsc::channel::<Pending>(SESSION_WINDOW);
        let (fence, target) = (self.fence.clone(), self.target);
        // The feeder ends with the input, or when the output below is dropped.
        tokio::spawn(async move {
            let mut no = 0;
            let mut outgoing = Outgoing::new(input);
            loop {
                let request = tokio::select! {
                    request = outgoing.next() => request,
                    () = pending.closed() => None,
                };
                let Some(request) = request else { break };
                no += 1;
                let (term, prev) = (request.vote.leader_id().term, request.prev_log_id);
                let waiting = Pending { no, prev, term, sent_at: Instant::now() };
                if pending.send(waiting).await.is_err() {
                    break;
                }
                let horizon = convert::horizon_out(&fence);
                let frame = wire::AppendFrame {
                    to: Some(fence.address(target)),
                    session,
                    no,
                    append: Some(convert::append_out(&request)),
                    horizon: Some(horizon),
                };
                if sender.send(frame).await.is_err() {
                    break;
                }
            }
        });
        let gate = &self.fence.gate;
        let output = stream::unfold(Some((sent, replies)), move |state| async move {
            let (mut sent, mut replies) = state?;
            let pending = sent.recv().await?;
            let result = match tokio::time::timeout(APPEND_TIMEOUT, replies.recv()).await {
                Err(_) => Err(broken("an append was not answered in time")),
                Ok(None) => Err(unreachable()),
                Ok(Some(reply)) if reply.no != pending.no => Err(broken("replies out of order")),
                Ok(Some(reply)) => convert::append_result_in(reply.result, pending.prev).map_err(broken),
            };
            let next = matches!(result, Ok(Ok(_))).then_some((sent, replies));
            if next.is_some() {
                gate.contact(pending.term, target, pending.sent_at);
            }
            Some((result, next))
        });
        Ok(output.boxed())
    }
}

async fn feed_snapshot(
    platform: &dyn Platform,
    to: wire::Address,
    vote: &Vote,
    snapshot: SnapshotOf,
    chunks: &mpsc::Sender<wire::SnapshotChunk>,
) -> Result<(), String> {
    let meta = store_meta(&snapshot.meta);
    let (membership_log_id, membership) = meta.membership.unwrap_or_default();
    let wire_id = |id: twinset_store::LogId| wire::LogId { term: id.term, index: id.index };
    let mut head = wire::SnapshotChunk {
        to: Some(to),
        vote: Some(convert::vote_out(vote)),
        last: meta.last.map(wire_id),
        membership: membership.into(),
        membership_log_id: membership_log_id.map(wire_id),
        ..Default::default()
    };
    let mut send = async |data: Vec<u8>, records: Vec<wire::JournalRecord>, finished: bool| {
        let mut chunk = std::mem::take(&mut head);
        chunk.data = data.into();
        chunk.records = records;
        chunk.finished = finished;
        // The receiver hung up: its answer, or the lack of one, says why.
        chunks.send(chunk).await.map_err(|_| "the peer ended the snapshot".to_owned())
    };
    match snapshot.snapshot {
        SnapshotData::Document(mut snapshot) => {
            send(std::mem::take(&mut snapshot.document), Vec::new(), false).await?;
            loop {
                let read = platform::blocking(platform, move || {
                    let records = snapshot.next_records(SNAPSHOT_CHUNK_BYTES);
                    (snapshot, records)
                });
                let (back, records) = read.await.map_err(|e| e.to_string())?;
                snapshot = back;
                let records = records.map_err(|e| e.to_string())?;
                let finished = records.is_empty();
                let wire = |record: JournalRecord| wire::JournalRecord {
                    number: record.number,
                    bytes: record.bytes.into(),
                };
                send(Vec::new(), records.into_iter().map(wire).collect(), finished).await?;
                if finished {
                    break Ok(());
                }
            }
        }
        SnapshotData::Reader(mut reader) => loop {
            let read = platform::blocking(platform, move || {
                let chunk = reader.next_chunk(SNAPSHOT_CHUNK_BYTES);
                (reader, chunk)
            });
            let (back, chunk) = read.await.map_err(|e| e.to_string())?;
            reader = back;
            match chunk.map_err(|e| e.to_string())? {
                Some(chunk) => send(chunk, Vec::new(), false).await?,
                None => break send(Vec::new(), Vec::new(), true).await,
            }
        },
        SnapshotData::Staged(_) => Err("a staged snapshot cannot be sent".into()),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio_stream::wrappers::ReceiverStream;

    use super::super::log::make_vote;
    use super::super::types::Entries;
    use super::*;

    fn request(committed: u64, entries: u64) -> AppendEntriesRequest<TypeConfig> {
        let id = |index| LogId::new_term_index(1, index);
        let entry = |index| Entries { log_id: id(index), payload: openraft::EntryPayload::Blank };
        AppendEntriesRequest {
            vote: make_vote(1, 1, true),
            prev_log_id: Some(id(9)),
            entries: (10..10 + entries).map(entry).collect(),
            leader_commit: Some(id(committed)),
        }
    }

    /// What comes next: the committed index and the count of entries.
    fn told(request: Option<AppendEntriesRequest<TypeConfig>>) -> Option<(u64, usize)> {
        request.map(|request| (request.leader_commit.expect("it was given").index, request.entries.len()))
    }

    #[tokio::test]
    async fn word_of_what_is_committed_goes_with_entries_or_after_a_moment() {
        let (input, requests) = mpsc::channel(8);
        let mut outgoing = Outgoing::new(ReceiverStream::new(requests));
        let put = |committed, entries| input.try_send(request(committed, entries)).unwrap();
        put(1, 0);
        assert_eq!(told(outgoing.next().await), Some((1, 0)), "the first one asks how far the follower is");
        put(2, 0);
        assert!(outgoing.next().now_or_never().is_none());
        put(3, 2);
        assert_eq!(told(outgoing.next().await), Some((3, 2)));
        assert!(outgoing.next().now_or_never().is_none(), "the entries have said it");
        put(4, 0);
        put(5, 0);
        assert_eq!(told(outgoing.next().await), Some((5, 0)), "nothing else came: the newest word goes");
        put(6, 0);
        drop(input);
        assert_eq!(told(outgoing.next().await), Some((6, 0)), "nothing is left behind");
        assert_eq!(told(outgoing.next().await), None);
    }
}
