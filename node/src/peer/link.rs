//! The sending side: one link per other node, shared by all sets. A lane that breaks tells every session at once;
//! it connects again by itself, with a capped back-off. Nothing is kept across a break: openraft sends again.

use std::collections::BTreeMap;
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
use crate::platform::Platform;

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

type Sessions = Arc<Mutex<BTreeMap<(u32, u64), mpsc::Sender<wire::AppendReplyFrame>>>>;

/// All links of this node, made when first asked for.
#[derive(Clone)]
pub struct Links {
    platform: Arc<dyn Platform>,
    catalogue: watch::Receiver<Option<Arc<Catalogue>>>,
    links: Arc<Mutex<BTreeMap<String, PeerLink>>>,
}

impl Links {
    /// Addresses come from the newest catalogue.
    pub fn new(platform: Arc<dyn Platform>, catalogue: watch::Receiver<Option<Arc<Catalogue>>>) -> Self {
        Links { platform, catalogue, links: Arc::default() }
    }

    /// The link to a node, by name.
    pub fn to(&self, node: &str) -> PeerLink {
        let mut links = self.links.lock();
        if let Some(link) = links.get(node) {
            return link.clone();
        }
        let link = PeerLink::start(self.way_to(node));
        links.insert(node.to_owned(), link.clone());
        link
    }

    /// Forgets the links to nodes that are none of the cluster any more.
    pub fn retain(&self, belongs: impl Fn(&str) -> bool) {
        self.links.lock().retain(|node, _| belongs(node));
    }

    fn way_to(&self, node: &str) -> Way {
        Way { platform: self.platform.clone(), node: node.into(), catalogue: self.catalogue.clone() }
    }
}

/// The lanes to one node. The tasks behind it end when the last clone is dropped.
#[derive(Clone)]
pub struct PeerLink {
    append: mpsc::Sender<AppendCommand>,
    beat: mpsc::Sender<BeatCall>,
    way: Way,
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
    fn start(way: Way) -> Self {
        let (append, append_queue) = mpsc::channel(LANE_QUEUE);
        let (beat, beat_queue) = mpsc::channel(LANE_QUEUE);
        tokio::spawn(run_append_lane(way.clone(), append_queue));
        tokio::spawn(run_beat_lane(way.clone(), beat_queue));
        PeerLink { append, beat, way }
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
        let channel =
            self.way.connect().await.ok_or_else(|| Status::unavailable("no connection to the peer"))?;
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

/// Where a node is: its address may change with the catalogue.
#[derive(Clone)]
struct Way {
    platform: Arc<dyn Platform>,
    node: Arc<str>,
    catalogue: watch::Receiver<Option<Arc<Catalogue>>>,
}

impl Way {
    async fn connect(&self) -> Option<Channel> {
        let node = &*self.node;
        let address = {
            let catalogue = self.catalogue.borrow();
            catalogue.as_ref()?.nodes.get(node)?.peer_addr.clone()
        };
        let channel = dial::connect(&*self.platform, &address).await;
        channel.inspect_err(|error| debug!(node, %error, "no peer lanes")).ok()
    }
}

/// Waits for a connection; commands that arrive meanwhile are dropped, which tells their senders. None: the link ended.
/// `backoff` is the pause before the next attempt, and zero after a lane that was up: a peer that accepts connections and
/// closes them must not be asked without a pause either.
async fn connect_while_dropping<T>(
    way: &Way,
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
        let attempt = way.connect();
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

async fn run_append_lane(way: Way, mut queue: mpsc::Receiver<AppendCommand>) {
    let mut backoff = Duration::ZERO;
    while let Some(channel) = connect_while_dropping(&way, &mut queue, &mut backoff).await {
        let (frames, outgoing) = mpsc::channel(LANE_QUEUE);
        let mut client = client(channel);
        let opening = client.append(ReceiverStream::new(outgoing));
        let Some(mut incoming) = opened("append", &way.node, opening).await else { continue };
        info!(node = &*way.node, "append lane up");
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
        info!(node = &*way.node, "append lane down");
    }
}

async fn run_beat_lane(way: Way, mut queue: mpsc::Receiver<BeatCall>) {
    let mut next_no = 0u64;
    let mut backoff = Duration::ZERO;
    while let Some(channel) = connect_while_dropping(&way, &mut queue, &mut backoff).await {
        let (frames, outgoing) = mpsc::channel(LANE_QUEUE);
        let mut client = client(channel);
        let opening = client.beat(ReceiverStream::new(outgoing));
        let Some(mut incoming) = opened("beat", &way.node, opening).await else { continue };
        backoff = Duration::ZERO;
        let waiting: Arc<Mutex<BTreeMap<u64, oneshot::Sender<wire::BeatReply>>>> = Arc::default();
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
        debug!(node = &*way.node, "beat lane down");
    }
}
