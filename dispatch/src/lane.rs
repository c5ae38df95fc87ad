//! One set's way to its leader: takes items from the calls, sends them in frames to whichever node leads, and holds
//! and retries what comes back without an answer, until each item's deadline. The only owner of its items; what it
//! does with them is decided by [`crate::pending`], [`crate::retry`] and [`crate::target`]. Below it: [`crate::link`].

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use twinset_proto::cluster::v1::{ItemReply, SubmitFrame, item_reply};

use crate::link::{LaneEvent, Links};
use crate::metrics::Metrics;
use crate::pending::{Item, Pending, Settled, StreamId};
use crate::place::{NoPlace, Place};
use crate::retry::Cause;
use crate::target::{Choice, Node, Target};
use crate::time::sleep_until;
use crate::topology::Views;

/// Bytes of the commands in one frame, unless one item alone has more.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Items in one frame.
const FRAME_ITEMS_MAX: usize = 4_096;
/// How long a former leader may still answer for what it was sent, once another node leads.
const SUPERSEDED_AFTER: Duration = Duration::from_millis(150);

/// How full a set's queue is: requests and bytes that have no answer yet.
#[derive(Debug, Default)]
pub struct Fill {
    /// Requests.
    pub requests: AtomicUsize,
    /// Bytes of their commands.
    pub bytes: AtomicUsize,
}

/// A place in the queue of a set, and among the requests for all of them; given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    fill: Arc<Fill>,
    all: Arc<AtomicUsize>,
    bytes: usize,
}

/// What the queue of one set may take in.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Requests.
    pub requests: usize,
    /// Bytes of their commands.
    pub bytes: usize,
    /// Requests for all sets from which on each keeps to its share.
    pub crowded: usize,
    /// That share, in requests.
    pub share: usize,
}

impl Permit {
    /// A place for `bytes`, unless the queue is full, or it is crowded and the set has its share. `all` counts the requests for all sets.
    pub fn take(fill: &Arc<Fill>, all: &Arc<AtomicUsize>, bytes: usize, room: Room) -> Option<Permit> {
        let crowded = all.fetch_add(1, Ordering::AcqRel) >= room.crowded;
        let requests = fill.requests.fetch_add(1, Ordering::AcqRel);
        let used = fill.bytes.fetch_add(bytes, Ordering::AcqRel);
        // Made first and dropped if there was no room: the counts stay right either way.
        let permit = Permit { fill: fill.clone(), all: all.clone(), bytes };
        let most = if crowded { room.requests.min(room.share) } else { room.requests };
        (requests < most && used + bytes <= room.bytes).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::AcqRel);
        self.fill.requests.fetch_sub(1, Ordering::AcqRel);
        self.fill.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// The task of one set.
pub struct Lane {
    set: u32,
    pending: Pending<Permit>,
    target: Target,
    /// The (term, leader) that the topology named last.
    heard: (u64, Option<Node>),
    links: Arc<Links>,
    views: Views,
    metrics: Arc<Metrics>,
    superseded_at: Option<Instant>,
    place: Place<SubmitFrame>,
}

impl Lane {
    /// The lane of `set`, which is number `number` of the links' lanes.
    pub fn new(set: u32, number: u16, links: Arc<Links>, views: Views, metrics: Arc<Metrics>) -> Self {
        let target = Target::new(None, Arc::new([]));
        let pending = Pending::new(set, number);
        let (heard, superseded_at, place) = ((0, None), None, Place::new());
        Lane { set, pending, target, heard, links, views, metrics, superseded_at, place }
    }

    /// Runs until the last caller is gone and the last item is answered.
    pub async fn run(
        mut self,
        mut items: mpsc::Receiver<Item<Permit>>,
        mut events: mpsc::Receiver<LaneEvent>,
    ) {
        let mut arrived = Vec::with_capacity(256);
        let (mut open, mut following) = (true, true);
        self.look_around();
        while open || !self.pending.is_empty() {
            let until = self.pump();
            let wake = [until, self.pending.next_deadline(), self.superseded_at].into_iter().flatten().min();
            tokio::select! {
                biased;
                Some(event) = events.recv() => {
                    self.on_event(event);
                    while let Ok(event) = events.try_recv() {
                        self.on_event(event);
                    }
                }
                count = items.recv_many(&mut arrived, 256), if open => {
                    open = count > 0;
                    arrived.drain(..).for_each(|item| self.pending.add(item));
                }
                changed = self.views.changed(), if following => {
                    following = changed.is_ok();
                    self.look_around();
                }
                () = sleep_until(wake) => {}
                () = self.place.wait() => {}
            }
            self.tick(Instant::now());
        }
    }

    /// Answers those whose time is up, and stops waiting for a former leader.
    fn tick(&mut self, now: Instant) {
        self.pending.expire(now);
        if self.superseded_at.is_some_and(|at| at <= now) {
            self.superseded_at = None;
            let keep = self.stream_of_leader();
            let count = self.pending.give_up_all_but(keep, Cause::Superseded);
            self.metrics.retried(Cause::Superseded, count);
        }
    }

    /// Sends what can be sent. Gives when to go on with the rest, if that is not for events, or a place in the stream, to say.
    fn pump(&mut self) -> Option<Instant> {
        let now = Instant::now();
        while self.pending.has_waiting() {
            let (node, items_max) = match self.target.choose(now, |node| self.links.is_up(node)) {
                Choice::Send(node) => (node, FRAME_ITEMS_MAX),
                Choice::Probe(node) => (node, 1),
                Choice::WaitUntil(until) => {
                    self.place.release();
                    return Some(until);
                }
            };
            let Some(stream) = self.links.stream(&node) else {
                self.target.lost(&node, now);
                continue;
            };
            let permit = match self.place.take(stream.id, &stream.frames) {
                Ok(permit) => permit,
                Err(NoPlace::Full) => return None,
                Err(NoPlace::Closed) => return Some(now + crate::target::PAUSE_MIN),
            };
            let (cluster_id, incarnation) = self.addressee();
            let items = self.pending.take(now, stream.id, incarnation, items_max, FRAME_BYTES_MAX);
            if items.is_empty() {
                return None;
            }
            self.metrics.frame(items.len());
            permit.send(SubmitFrame { items, cluster_id });
            if items_max == 1 {
                self.target.probed(node, now);
            }
        }
        self.place.release();
        None
    }

    fn on_event(&mut self, event: LaneEvent) {
        match event {
            LaneEvent::Replies { node, stream, replies } => {
                for reply in replies {
                    self.on_reply(&node, stream, reply);
                }
            }
            LaneEvent::Broken { node, stream } => {
                let count = self.pending.broken(stream);
                self.metrics.retried(Cause::Broken, count);
                self.target.lost(&node, Instant::now());
            }
        }
    }

    fn on_reply(&mut self, node: &Node, stream: StreamId, reply: ItemReply) {
        let hint = match &reply.result {
            Some(item_reply::Result::Refused(refusal)) if !refusal.leader.is_empty() => {
                Some(Node::from(refusal.leader.as_str()))
            }
            _ => None,
        };
        let led = matches!(reply.result, Some(item_reply::Result::Done(_)));
        match self.pending.settle(reply.no, reply.result) {
            Settled::Stale => {}
            Settled::Answered => {
                if led {
                    self.follow(node, stream);
                }
            }
            Settled::Retry(cause) => {
                self.metrics.retried(cause, 1);
                let now = Instant::now();
                match cause {
                    Cause::Overloaded | Cause::Late => self.target.overloaded(node, now),
                    Cause::NotLeader | Cause::Draining => self.target.refused(node, hint, now),
                    Cause::Unknown | Cause::Broken | Cause::Superseded => self.target.lost(node, now),
                }
            }
        }
    }

    /// The node has answered as a leader does.
    fn follow(&mut self, node: &Node, stream: StreamId) {
        let found = self.target.leader().is_none();
        self.target.succeeded(node);
        if found && self.pending.any_sent_but(Some(stream)) {
            self.superseded_at = Some(Instant::now() + SUPERSEDED_AFTER);
        }
    }

    /// Takes in what the topology says of the set, if that is new.
    fn look_around(&mut self) {
        let view = self.views.borrow_and_update().clone();
        let Some(set) = view.sets.get(&self.set) else { return };
        self.target.placed(set.replicas.clone());
        let heard = (set.term, set.leader.clone());
        if heard == self.heard {
            return;
        }
        self.heard = heard;
        self.target.learned(set.leader.clone());
        if set.leader.is_some() && self.pending.any_sent_but(self.stream_of_leader()) {
            self.superseded_at = Some(Instant::now() + SUPERSEDED_AFTER);
        }
    }

    /// The cluster and the set's incarnation.
    fn addressee(&self) -> (String, u32) {
        let view = self.views.borrow();
        (view.cluster_id.clone(), view.sets.get(&self.set).map_or(0, |set| set.incarnation))
    }

    fn stream_of_leader(&self) -> Option<StreamId> {
        self.target.leader().and_then(|leader| self.links.stream(leader)).map(|stream| stream.id)
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
