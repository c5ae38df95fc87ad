//! The connections to the nodes: one per node, with one submit stream that all sets share, opened again with capped
//! back-off whenever it ends. Carries frames and replies; understands neither. Above it: lanes and reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;
use twinset_proto::cluster::v1::sets_client::SetsClient;
use twinset_proto::cluster::v1::{ItemReply, ReplyFrame, SubmitFrame};

use crate::dial::Dial;
use crate::metrics::Metrics;
use crate::pending::{StreamId, lane_of};
use crate::target::Node;
use crate::topology::{Views, endpoint};

const BACKOFF_MIN: Duration = Duration::from_millis(10);
const BACKOFF_MAX: Duration = Duration::from_millis(250);
/// How long a node may take to open the stream.
const OPEN_WAIT: Duration = Duration::from_millis(2_000);
/// Frames that wait to be written to one node; lanes wait when it is full.
const FRAMES_MAX: usize = 8;
/// One message from a node at most.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// An open connection to a node.
#[derive(Clone, Debug)]
pub struct Stream {
    /// Which of all streams it is.
    pub id: StreamId,
    /// Frames go in here; closed when the stream has ended.
    pub frames: mpsc::Sender<SubmitFrame>,
    /// For reads beside the stream.
    pub channel: Channel,
}

/// What a lane hears of its items.
#[derive(Debug)]
pub enum LaneEvent {
    /// Replies that came over one stream, in order.
    Replies {
        /// Who answered.
        node: Node,
        /// Over which stream.
        stream: StreamId,
        /// The answers.
        replies: Vec<ItemReply>,
    },
    /// The stream has ended: no reply will come over it any more.
    Broken {
        /// The node it led to.
        node: Node,
        /// Which one.
        stream: StreamId,
    },
}

/// All connections, and the way back to the lanes.
pub struct Links {
    dialer: Arc<dyn Dial>,
    streams: RwLock<BTreeMap<Node, Stream>>,
    lanes: RwLock<Vec<mpsc::Sender<LaneEvent>>>,
    next_id: AtomicU64,
    metrics: Arc<Metrics>,
}

impl Links {
    /// No connections yet.
    pub fn new(dialer: Arc<dyn Dial>, metrics: Arc<Metrics>) -> Self {
        Links {
            dialer,
            streams: RwLock::default(),
            lanes: RwLock::default(),
            next_id: AtomicU64::new(1),
            metrics,
        }
    }

    /// The open stream to a node, if there is one.
    pub fn stream(&self, node: &Node) -> Option<Stream> {
        self.streams.read().get(node).cloned()
    }

    /// Has an open stream to a node.
    #[cfg(test)]
    pub(crate) fn opened(&self, node: Node, stream: Stream) {
        self.streams.write().insert(node, stream);
    }

    /// Whether the node can be reached.
    pub fn is_up(&self, node: &Node) -> bool {
        self.streams.read().contains_key(node)
    }

    /// How many nodes can be reached. One that has been silent for longer than the pings of its connection allow (see
    /// [`endpoint`]) cannot.
    pub fn count(&self) -> usize {
        self.streams.read().len()
    }

    /// Adds a lane; gives its number. None: there are as many lanes as numbers.
    pub fn add_lane(&self, events: mpsc::Sender<LaneEvent>) -> Option<u16> {
        let mut lanes = self.lanes.write();
        let number = u16::try_from(lanes.len()).ok()?;
        lanes.push(events);
        Some(number)
    }

    /// Keeps a connection to every node of the catalogue that hosts sets, until `stop`.
    pub async fn run(self: Arc<Self>, mut views: Views, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let mut links: BTreeMap<Node, (String, CancellationToken)> = BTreeMap::new();
        loop {
            let nodes = views.borrow_and_update().nodes.clone();
            links.retain(|node, (address, cancel)| {
                let stays = nodes.get(node).is_some_and(|view| view.hosts_sets && view.api_addr == *address);
                if !stays {
                    cancel.cancel();
                }
                stays
            });
            for (node, view) in nodes.iter().filter(|(_, view)| view.hosts_sets) {
                if !links.contains_key(node) {
                    let cancel = stop.child_token();
                    links.insert(node.clone(), (view.api_addr.clone(), cancel.clone()));
                    tasks.spawn(self.clone().keep(node.clone(), view.api_addr.clone(), cancel));
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                changed = views.changed() => if changed.is_err() { break },
            }
        }
        links.values().for_each(|(_, cancel)| cancel.cancel());
        tasks.close();
        tasks.wait().await;
    }

    async fn keep(self: Arc<Self>, node: Node, address: String, cancel: CancellationToken) {
        let mut backoff = BACKOFF_MIN;
        while !cancel.is_cancelled() {
            match self.open(&node, &address, &cancel).await {
                Ok(()) => backoff = BACKOFF_MIN,
                Err(error) => {
                    tracing::debug!(%node, address, error = %error.message(), "no connection");
                    backoff = (backoff * 2).min(BACKOFF_MAX);
                }
            }
            tokio::select! {
                () = cancel.cancelled() => break,
                () = tokio::time::sleep(backoff) => {}
            }
        }
    }

    /// One connection, from its opening to its end. An error means that it never opened.
    async fn open(
        &self,
        node: &Node,
        address: &str,
        cancel: &CancellationToken,
    ) -> Result<(), tonic::Status> {
        let unavailable = |error: tonic::transport::Error| tonic::Status::unavailable(error.to_string());
        let endpoint = endpoint(address).map_err(unavailable)?;
        let channel = self.dialer.dial(endpoint).await.map_err(unavailable)?;
        let mut client = SetsClient::new(channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let (frames, outgoing) = mpsc::channel(FRAMES_MAX);
        let opening = tokio::time::timeout(OPEN_WAIT, client.submit(ReceiverStream::new(outgoing)));
        let mut incoming = opening
            .await
            .map_err(|_| tonic::Status::deadline_exceeded("the node did not open the stream"))??
            .into_inner();
        let id = StreamId(self.next_id.fetch_add(1, Ordering::Relaxed));
        self.streams.write().insert(node.clone(), Stream { id, frames, channel });
        self.metrics.connected();
        tracing::info!(%node, address, "connected");
        let ended = loop {
            tokio::select! {
                () = cancel.cancelled() => break None,
                message = incoming.message() => match message {
                    Ok(Some(frame)) => self.deliver(node, id, frame).await,
                    Ok(None) => break None,
                    Err(status) => break Some(status),
                },
            }
        };
        // First nobody may send on it any more, then the lanes hear that it has ended: so no item can slip between.
        self.streams.write().remove(node);
        let reason = ended
            .map_or_else(|| "the node closed the stream".to_string(), |status| status.message().to_string());
        tracing::info!(%node, address, reason, "disconnected");
        self.broadcast(node, id).await;
        Ok(())
    }

    async fn deliver(&self, node: &Node, stream: StreamId, frame: ReplyFrame) {
        let mut by_lane: Vec<(u16, Vec<ItemReply>)> = Vec::with_capacity(2);
        for reply in frame.replies {
            let lane = lane_of(reply.no);
            match by_lane.iter_mut().find(|(number, _)| *number == lane) {
                Some((_, replies)) => replies.push(reply),
                None => by_lane.push((lane, vec![reply])),
            }
        }
        for (lane, replies) in by_lane {
            let events = self.lanes.read().get(usize::from(lane)).cloned();
            if let Some(events) = events {
                // A lane that has ended has no items left.
                let _ = events.send(LaneEvent::Replies { node: node.clone(), stream, replies }).await;
            }
        }
    }

    async fn broadcast(&self, node: &Node, stream: StreamId) {
        let lanes = self.lanes.read().clone();
        for events in lanes {
            let _ = events.send(LaneEvent::Broken { node: node.clone(), stream }).await;
        }
    }
}
