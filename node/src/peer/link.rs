//! The sending side: one link per other node, shared by all sets. A lane that breaks tells every session at once;
//! it connects again by itself, with a capped back-off. Nothing is kept across a break: openraft sends again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Response, Status, Streaming};
use tracing::{debug, info};
use twinset_control::Catalogue;
use twinset_proto::cluster::v1 as wire;
use wire::peer_client::PeerClient;

use crate::dial::{self, MESSAGE_BYTES_MAX};

/// Appends of one session that may be unanswered. Below openraft's own pipeline of 64, so that a reader never blocks.
pub const SESSION_WINDOW: usize = 48;
/// Messages of all sets waiting for one lane.
const LANE_QUEUE: usize = 256;
/// Heartbeats and votes that go in one frame at most.
const BEATS_PER_FRAME: usize = 256;
/// A snapshot of which the peer takes no chunk for so long is given up: another attempt begins anew.
const SNAPSHOT_STALL: Duration = Duration::from_secs(15);
const BACKOFF_MIN: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_millis(500);

/// The lane is not connected, or broke before the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no connection to the peer")]
pub struct LaneClosed;

enum AppendCommand {
    Open { key: (u32, u64), replies: mpsc::Sender<wire::AppendReplyFrame> },
    Send(Box<wire::AppendFrame>),
}

struct BeatCall {
    message: wire::BeatMessage,
    reply: oneshot::Sender<wire::BeatReply>,
}

type Sessions = Arc<Mutex<HashMap<(u32, u64), mpsc::Sender<wire::AppendReplyFrame>>>>;

/// All links of this node, made when first asked for.
#[derive(Clone)]
pub struct Links {
    catalogue: watch::Receiver<Option<Arc<Catalogue>>>,
    links: Arc<Mutex<HashMap<String, PeerLink>>>,
}

impl Links {
    /// Addresses come from the newest catalogue.
    pub fn new(catalogue: watch::Receiver<Option<Arc<Catalogue>>>) -> Self {
        Links { catalogue, links: Arc::default() }
    }

    /// The link to a node, by name.
    pub fn to(&self, node: &str) -> PeerLink {
        let mut links = self.links.lock();
        if let Some(link) = links.get(node) {
            return link.clone();
        }
        let link = PeerLink::start(node.to_owned(), self.catalogue.clone());
        links.insert(node.to_owned(), link.clone());
        link
    }
}

/// The lanes to one node. The tasks behind it end when the last clone is dropped.
#[derive(Clone)]
pub struct PeerLink {
    append: mpsc::Sender<AppendCommand>,
    beat: mpsc::Sender<BeatCall>,
    node: Arc<str>,
    catalogue: watch::Receiver<Option<Arc<Catalogue>>>,
}

/// One replication stream of one set over the append lane.
pub struct Session {
    append: mpsc::Sender<AppendCommand>,
    replies: mpsc::Receiver<wire::AppendReplyFrame>,
}

impl Session {
    /// Splits into the sending and the receiving side.
    pub fn split(self) -> (SessionSender, mpsc::Receiver<wire::AppendReplyFrame>) {
        (SessionSender { append: self.append }, self.replies)
    }
}

/// Sends the appends of one session, in order.
pub struct SessionSender {
    append: mpsc::Sender<AppendCommand>,
}

impl SessionSender {
    /// Queues a frame; waits while the lane is busy.
    pub async fn send(&self, frame: wire::AppendFrame) -> Result<(), LaneClosed> {
        self.append.send(AppendCommand::Send(Box::new(frame))).await.map_err(|_| LaneClosed)
    }
}

impl PeerLink {
    fn start(node: String, catalogue: watch::Receiver<Option<Arc<Catalogue>>>) -> Self {
        let (append, append_queue) = mpsc::channel(LANE_QUEUE);
        let (beat, beat_queue) = mpsc::channel(LANE_QUEUE);
        let node: Arc<str> = node.into();
        tokio::spawn(run_append_lane(node.clone(), catalogue.clone(), append_queue));
        tokio::spawn(run_beat_lane(node.clone(), catalogue.clone(), beat_queue));
        PeerLink { append, beat, node, catalogue }
    }

    /// Opens a session of `set`. If the lane is down its replies end at once.
    pub async fn open_session(&self, set: u32, session: u64) -> Result<Session, LaneClosed> {
        let (sender, replies) = mpsc::channel(SESSION_WINDOW + 1);
        let open = AppendCommand::Open { key: (set, session), replies: sender };
        self.append.send(open).await.map_err(|_| LaneClosed)?;
        Ok(Session { append: self.append.clone(), replies })
    }

    /// One heartbeat, vote or transfer; the caller sets the deadline.
    pub async fn beat(&self, message: wire::BeatMessage) -> Result<wire::BeatReply, LaneClosed> {
        let (reply, answer) = oneshot::channel();
        // A full lane is a dead lane: a late heartbeat is worth nothing.
        self.beat.try_send(BeatCall { message, reply }).map_err(|_| LaneClosed)?;
        answer.await.map_err(|_| LaneClosed)
    }

    /// Sends a snapshot over a connection of its own, within `patience`; given up earlier if the peer stops taking chunks.
    pub async fn snapshot(
        &self,
        chunks: mpsc::Receiver<wire::SnapshotChunk>,
        patience: Duration,
    ) -> Result<wire::SnapshotReply, Status> {
        let channel = connect(&self.node, &self.catalogue)
            .await
            .ok_or_else(|| Status::unavailable("no connection to the peer"))?;
        let (taken, progress) = watch::channel(());
        let chunks = ReceiverStream::new(chunks).inspect(move |_| taken.send_modify(|()| ()));
        let mut client = client(channel);
        let reply = tokio::select! {
            reply = tokio::time::timeout(patience, client.snapshot(chunks)) => reply,
            () = stalled(progress) => return Err(Status::deadline_exceeded("the peer takes no more chunks")),
        };
        let reply = reply.map_err(|_| Status::deadline_exceeded("the peer has not installed it in time"))?;
        Ok(reply?.into_inner())
    }
}

/// Returns when nothing was taken for too long; never, once everything is taken.
async fn stalled(mut progress: watch::Receiver<()>) {
    loop {
        match tokio::time::timeout(SNAPSHOT_STALL, progress.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => return,
        }
    }
}

fn client(channel: Channel) -> PeerClient<Channel> {
    PeerClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

async fn connect(node: &str, catalogue: &watch::Receiver<Option<Arc<Catalogue>>>) -> Option<Channel> {
    let address = catalogue.borrow().as_ref().and_then(|c| c.nodes.get(node).map(|n| n.peer_addr.clone()))?;
    dial::connect(&address).await.inspect_err(|error| debug!(node, %error, "no peer lanes")).ok()
}

/// Waits for a connection; commands that arrive meanwhile are dropped, which tells their senders. None: the link ended.
/// `backoff` is the pause before the next attempt, and zero after a lane that was up: a peer that accepts connections and
/// closes them must not be asked without a pause either.
async fn connect_while_dropping<T>(
    node: &str,
    catalogue: &watch::Receiver<Option<Arc<Catalogue>>>,
    queue: &mut mpsc::Receiver<T>,
    backoff: &mut Duration,
) -> Option<Channel> {
    loop {
        let pause = tokio::time::sleep(*backoff);
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                command = queue.recv() => drop(command?),
            }
        }
        *backoff = (*backoff * 2).clamp(BACKOFF_MIN, BACKOFF_MAX);
        let attempt = connect(node, catalogue);
        tokio::pin!(attempt);
        let channel = loop {
            tokio::select! {
                channel = &mut attempt => break channel,
                command = queue.recv() => drop(command?),
            }
        };
        if channel.is_some() {
            return channel;
        }
    }
}

/// The answers of a lane that is being opened.
async fn opened<T>(
    lane: &'static str,
    node: &str,
    opening: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
) -> Option<Streaming<T>> {
    dial::opened(opening).await.inspect_err(|error| debug!(node, lane, %error, "lane refused")).ok()
}

async fn run_append_lane(
    node: Arc<str>,
    catalogue: watch::Receiver<Option<Arc<Catalogue>>>,
    mut queue: mpsc::Receiver<AppendCommand>,
) {
    let mut backoff = Duration::ZERO;
    while let Some(channel) = connect_while_dropping(&node, &catalogue, &mut queue, &mut backoff).await {
        let (frames, outgoing) = mpsc::channel(LANE_QUEUE);
        let mut client = client(channel);
        let opening = client.append(ReceiverStream::new(outgoing));
        let Some(mut incoming) = opened("append", &node, opening).await else { continue };
        info!(node = &*node, "append lane up");
        backoff = Duration::ZERO;
        let sessions: Sessions = Arc::default();
        let readers = sessions.clone();
        let mut reader = tokio::spawn(async move {
            while let Ok(Some(reply)) = incoming.message().await {
                let key = (reply.set, reply.session);
                let mut sessions = readers.lock();
                // A session that does not take its replies is over; its window makes a full queue impossible.
                if sessions.get(&key).is_some_and(|replies| replies.try_send(reply).is_err()) {
                    sessions.remove(&key);
                }
            }
        });
        loop {
            tokio::select! {
                _ = &mut reader => break,
                command = queue.recv() => match command {
                    None => {
                        reader.abort();
                        return;
                    }
                    Some(AppendCommand::Open { key, replies }) => {
                        let mut sessions = sessions.lock();
                        sessions.retain(|_, replies| !replies.is_closed());
                        sessions.insert(key, replies);
                    }
                    Some(AppendCommand::Send(frame)) => {
                        if frames.send(*frame).await.is_err() {
                            break;
                        }
                    }
                },
            }
        }
        reader.abort();
        sessions.lock().clear();
        info!(node = &*node, "append lane down");
    }
}

async fn run_beat_lane(
    node: Arc<str>,
    catalogue: watch::Receiver<Option<Arc<Catalogue>>>,
    mut queue: mpsc::Receiver<BeatCall>,
) {
    let mut next_no = 0u64;
    let mut backoff = Duration::ZERO;
    while let Some(channel) = connect_while_dropping(&node, &catalogue, &mut queue, &mut backoff).await {
        let (frames, outgoing) = mpsc::channel(LANE_QUEUE);
        let mut client = client(channel);
        let opening = client.beat(ReceiverStream::new(outgoing));
        let Some(mut incoming) = opened("beat", &node, opening).await else { continue };
        backoff = Duration::ZERO;
        let waiting: Arc<Mutex<HashMap<u64, oneshot::Sender<wire::BeatReply>>>> = Arc::default();
        let answered = waiting.clone();
        let mut reader = tokio::spawn(async move {
            while let Ok(Some(frame)) = incoming.message().await {
                for reply in frame.replies {
                    if let Some(waiter) = answered.lock().remove(&reply.no) {
                        // The waiter may have given up at its deadline.
                        let _ = waiter.send(reply);
                    }
                }
            }
        });
        loop {
            let first = tokio::select! {
                _ = &mut reader => break,
                call = queue.recv() => call,
            };
            let Some(first) = first else {
                reader.abort();
                return;
            };
            let mut messages = Vec::new();
            let mut next = Some(first);
            while let Some(BeatCall { mut message, reply }) = next {
                next_no += 1;
                message.no = next_no;
                messages.push(message);
                let mut waiting = waiting.lock();
                waiting.retain(|_, waiter| !waiter.is_closed());
                waiting.insert(next_no, reply);
                next = if messages.len() < BEATS_PER_FRAME { queue.try_recv().ok() } else { None };
            }
            if frames.send(wire::BeatFrame { messages }).await.is_err() {
                break;
            }
        }
        reader.abort();
        waiting.lock().clear();
        debug!(node = &*node, "beat lane down");
    }
}
