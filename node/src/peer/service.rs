//! The receiving side of the lanes. Every message is checked against the fence of the set it names before anything else:
//! another cluster, set, incarnation or replica is refused.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};
use twinset_proto::cluster::v1 as wire;
use twinset_store::JournalRecord;
use wire::append_reply_frame::Result as AppendResult;
use wire::beat_message::Body;
use wire::beat_reply::Body as ReplyBody;
use wire::peer_server::Peer;

use crate::control_set::ControlSnapshot;
use crate::faults::{self, Point};
use crate::platform;
use crate::raft::{Group, SnapshotData};
use crate::set::{Kind, Replica, Sets};

/// Appends of one session that wait for the replica; above the sender's window, so that it is never full.
const SESSION_QUEUE: usize = 64;
/// Replies of all sessions waiting for the stream.
const REPLY_QUEUE: usize = 1024;
/// The control set's document is refused above this.
const DOCUMENT_BYTES_MAX: usize = 64 << 20;

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Serves the lanes for all replicas of this node.
pub struct PeerService {
    sets: Arc<Sets>,
}

impl PeerService {
    /// Over the replicas of this node.
    pub fn new(sets: Arc<Sets>) -> Self {
        PeerService { sets }
    }
}

/// One session on the receiving side.
struct Session {
    requests: mpsc::Sender<crate::raft::DecodedAppend>,
    /// The number of each request, and how far the leader was when it was sent.
    numbers: mpsc::Sender<(u64, wire::Horizon)>,
}

#[tonic::async_trait]
impl Peer for PeerService {
    type AppendStream = Out<wire::AppendReplyFrame>;
    type BeatStream = Out<wire::BeatReplyFrame>;

    async fn append(
        &self,
        request: Request<Streaming<wire::AppendFrame>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let (replies, out) = mpsc::channel(REPLY_QUEUE);
        let lane = AppendLane { sets: self.sets.clone(), replies, sessions: BTreeMap::new() };
        tokio::spawn(lane.run(request.into_inner()));
        Ok(Response::new(Box::pin(ReceiverStream::new(out).map(Ok))))
    }

    async fn beat(
        &self,
        request: Request<Streaming<wire::BeatFrame>>,
    ) -> Result<Response<Self::BeatStream>, Status> {
        let (replies, mut out) = mpsc::channel::<wire::BeatReply>(REPLY_QUEUE);
        let sets = self.sets.clone();
        let mut frames = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(frame)) = frames.message().await {
                for message in frame.messages {
                    let (sets, replies) = (sets.clone(), replies.clone());
                    // A vote waits for the disk; a heartbeat of another set must not wait for it.
                    tokio::spawn(async move {
                        let no = message.no;
                        let body = answer(&sets, message).await.unwrap_or_else(ReplyBody::Refused);
                        // The lane may be gone; the sender asks again.
                        let _ = replies.send(wire::BeatReply { no, body: Some(body) }).await;
                    });
                }
            }
        });
        let out = async_stream(move |frames| async move {
            while let Some(first) = out.recv().await {
                let mut batch = vec![first];
                while let Ok(next) = out.try_recv() {
                    batch.push(next);
                }
                if frames.send(Ok(wire::BeatReplyFrame { replies: batch })).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(out)))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<wire::SnapshotChunk>>,
    ) -> Result<Response<wire::SnapshotReply>, Status> {
        let reply = match receive_snapshot(&self.sets, request.into_inner()).await {
            Ok(vote) => wire::SnapshotReply { vote: Some(vote), refused: String::new() },
            Err(failed) => {
                match &failed {
                    Failed::Refused(reason) => warn!(reason, "snapshot refused"),
                    Failed::CutOff(reason) => info!(reason, "snapshot cut off"),
                }
                let (Failed::Refused(refused) | Failed::CutOff(refused)) = failed;
                wire::SnapshotReply { vote: None, refused }
            }
        };
        Ok(Response::new(reply))
    }
}

fn async_stream<T, F, Fut>(run: F) -> impl Stream<Item = T> + Send
where
    T: Send + 'static,
    F: FnOnce(mpsc::Sender<T>) -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(run(sender));
    ReceiverStream::new(receiver)
}

struct AppendLane {
    sets: Arc<Sets>,
    replies: mpsc::Sender<wire::AppendReplyFrame>,
    sessions: BTreeMap<(u32, u64), Session>,
}

impl AppendLane {
    async fn run(mut self, mut frames: Streaming<wire::AppendFrame>) {
        while let Ok(Some(frame)) = frames.message().await {
            let (session, no) = (frame.session, frame.no);
            let leader = frame.horizon.unwrap_or_default();
            let set = frame.to.as_ref().map_or(0, |to| to.set);
            if let Err(reason) = self.take(frame, (set, session), no, leader).await {
                self.sessions.remove(&(set, session));
                let result = Some(AppendResult::Closed(reason));
                if self.replies.send(wire::AppendReplyFrame { set, session, no, result }).await.is_err() {
                    return;
                }
            }
        }
    }

    async fn take(
        &mut self,
        frame: wire::AppendFrame,
        key: (u32, u64),
        no: u64,
        leader: wire::Horizon,
    ) -> Result<(), String> {
        let to = frame.to.as_ref().ok_or("no address")?;
        let replica = self.sets.addressed(to)?;
        replica.fence.gate.spoken();
        if faults::is_deaf_to(to.set) {
            return Ok(());
        }
        if !self.sessions.contains_key(&key) {
            self.sessions.retain(|_, session| !session.numbers.is_closed());
            self.sessions.insert(key, self.open(replica, key));
        }
        let session = self.sessions.get(&key).expect("just opened");
        let append = Group::decode_append(frame.append.ok_or("no append")?).map_err(|e| e.to_string())?;
        session.numbers.send((no, leader)).await.map_err(|_| "the session is over")?;
        session.requests.send(append).await.map_err(|_| "the session is over")?;
        Ok(())
    }

    fn open(&self, replica: Arc<Replica>, key: (u32, u64)) -> Session {
        let (requests, request_queue) = mpsc::channel(SESSION_QUEUE);
        let (numbers, mut number_queue) = mpsc::channel::<(u64, wire::Horizon)>(SESSION_QUEUE);
        let mut results = Box::pin(replica.group.append_session(request_queue));
        let replies = self.replies.clone();
        tokio::spawn(async move {
            while let Some(result) = results.next().await {
                let Some((no, leader)) = number_queue.recv().await else { return };
                let over = !matches!(result, AppendResult::Ok(_));
                if !over {
                    replica.fence.gate.follow(leader.into(), leader.at_unix_ns);
                }
                let reply = wire::AppendReplyFrame { set: key.0, session: key.1, no, result: Some(result) };
                if replies.send(reply).await.is_err() || over {
                    return;
                }
            }
        });
        Session { requests, numbers }
    }
}

async fn answer(sets: &Sets, message: wire::BeatMessage) -> Result<ReplyBody, String> {
    let to = message.to.as_ref().ok_or("no address")?;
    let replica = sets.addressed(to)?;
    let fault = |error: crate::raft::PeerError| error.to_string();
    match message.body.ok_or("no body")? {
        Body::Heartbeat(append) => {
            let set = to.set;
            replica.fence.gate.spoken();
            let result = replica.group.heartbeat(append).await.map_err(fault)?;
            if matches!(result, AppendResult::Ok(_)) {
                let leader = message.horizon.unwrap_or_default();
                replica.fence.gate.follow(leader.into(), leader.at_unix_ns);
                replica.compare_hash(message.hash_index, &message.hash);
            }
            Ok(ReplyBody::Heartbeat(wire::AppendReplyFrame {
                set,
                session: 0,
                no: message.no,
                result: Some(result),
            }))
        }
        Body::Vote(request) => replica.group.vote(request, false).await.map(ReplyBody::Vote).map_err(fault),
        Body::PreVote(request) => replica.group.vote(request, true).await.map(ReplyBody::Vote).map_err(fault),
        Body::Transfer(request) => {
            replica.group.accept_transfer(request).await.map(|()| ReplyBody::Transferred(true)).map_err(fault)
        }
    }
}

/// Why a snapshot was not taken.
enum Failed {
    /// Its sender died, or nothing reaches this node any more: another one will come.
    CutOff(String),
    /// It is not for this replica, or not whole, or cannot be kept.
    Refused(String),
}

impl From<String> for Failed {
    fn from(reason: String) -> Failed {
        Failed::Refused(reason)
    }
}

fn stored(records: Vec<wire::JournalRecord>) -> Vec<JournalRecord> {
    let stored = |wire::JournalRecord { number, bytes }| JournalRecord { number, bytes: bytes.into() };
    records.into_iter().map(stored).collect()
}

async fn receive_snapshot(
    sets: &Sets,
    mut chunks: Streaming<wire::SnapshotChunk>,
) -> Result<wire::Vote, Failed> {
    let mut next = async || match chunks.message().await {
        Ok(Some(chunk)) => Ok(chunk),
        Ok(None) => Err(Failed::CutOff("it has no end".to_owned())),
        Err(status) => Err(Failed::CutOff(status.to_string())),
    };
    let mut chunk = next().await?;
    let replica = sets.addressed(chunk.to.as_ref().ok_or("no address".to_owned())?)?;
    let id = |id: wire::LogId| twinset_store::LogId { term: id.term, leader: 0, index: id.index };
    let meta = twinset_store::SnapshotMeta {
        last: chunk.last.map(id),
        membership: Some((chunk.membership_log_id.map(id), chunk.membership.to_vec())),
        id: String::new(),
    };
    let vote = chunk.vote;
    let data = match &replica.kind {
        Kind::Control(machine) => {
            let platform = &*replica.fence.platform;
            let mut document = Vec::new();
            loop {
                if !chunk.records.is_empty() {
                    let (machine, records) = (machine.clone(), std::mem::take(&mut chunk.records));
                    platform::blocking(platform, move || machine.take_history(&stored(records)))
                        .await
                        .map_err(|e| e.to_string())?
                        .map_err(|e| e.to_string())?;
                }
                document.extend_from_slice(&chunk.data);
                if document.len() > DOCUMENT_BYTES_MAX {
                    return Err("the control set's document is too large".to_owned().into());
                }
                if chunk.finished {
                    break SnapshotData::Document(ControlSnapshot::arrived(document));
                }
                chunk = next().await?;
            }
        }
        Kind::Ledger(ledger) => {
            let state = ledger.state.clone();
            let platform = &*replica.fence.platform;
            let mut writer = state.begin_install().map_err(|e| e.to_string())?;
            loop {
                let (data, finished) = (chunk.data, chunk.finished);
                writer = platform::blocking(platform, move || writer.write_chunk(&data).map(|()| writer))
                    .await
                    .map_err(|e| e.to_string())?
                    .map_err(|e| e.to_string())?;
                faults::reached(Point::SnapshotReceiving);
                if finished {
                    break;
                }
                chunk = next().await?;
            }
            let meta = meta.clone();
            let staged = platform::blocking(platform, move || writer.finish(&meta))
                .await
                .map_err(|e| e.to_string())?
                .map_err(|e| e.to_string())?;
            faults::reached(Point::SnapshotReceived);
            SnapshotData::Staged(Box::new(staged))
        }
    };
    let last = meta.last.map_or(0, |id| id.index);
    let vote = replica.group.install_snapshot(vote, meta, data).await.map_err(|e| e.to_string())?;
    info!(set = replica.fence.set, last, "snapshot installed");
    if replica.ledger().is_some() {
        faults::reached(Point::SnapshotInstalled);
    }
    Ok(vote)
}
