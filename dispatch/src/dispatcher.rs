//! The lanes of all sets: one bounded queue and one task per set, made when the set is first used. A full queue
//! answers at once; nothing waits in front of it. Above it: the process that asks; below it: [`crate::lane`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::failure::{Failure, Kind};
use crate::lane::{Fill, Lane, Permit, Room};
use crate::link::Links;
use crate::metrics::Metrics;
use crate::pending::{Item, Origin};
use crate::retry::Done;
use crate::topology::Views;

/// Events of one lane that wait; links wait when it is full.
const EVENTS_MAX: usize = 1_024;

/// The bounds of each set's queue. Sets that wait, for an operator perhaps, must leave room for those that serve.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Requests without an answer yet.
    pub requests: usize,
    /// Bytes of their commands.
    pub bytes: usize,
    /// Requests without an answer over all sets, from which on each set may have only its share of so many.
    pub crowded: usize,
}

struct Handle {
    items: mpsc::Sender<Item<Permit>>,
    fill: Arc<Fill>,
}

/// All lanes.
pub struct Dispatcher {
    lanes: RwLock<BTreeMap<u32, Handle>>,
    links: Arc<Links>,
    views: Views,
    limits: QueueLimits,
    /// Requests without an answer, for all sets.
    all: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
    tasks: TaskTracker,
}

/// Where an answer will come.
pub type Answer = oneshot::Receiver<Result<Done, Failure>>;

impl Dispatcher {
    /// No lanes yet; their tasks will be awaited through `tasks`.
    pub fn new(
        links: Arc<Links>,
        views: Views,
        limits: QueueLimits,
        metrics: Arc<Metrics>,
        tasks: TaskTracker,
    ) -> Self {
        Dispatcher { lanes: RwLock::default(), links, views, limits, all: Arc::default(), metrics, tasks }
    }

    /// Queues commands of one origin for a set. The answer comes by the deadline, even if the caller does not wait for
    /// it.
    pub fn submit(
        &self,
        origin: Origin,
        set: u32,
        commands: Vec<Bytes>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let lanes = self.lanes.read();
        if let Some(handle) = lanes.get(&set) {
            return self.enqueue(origin, set, (handle, lanes.len()), commands, deadline);
        }
        drop(lanes);
        let mut lanes = self.lanes.write();
        let sets = lanes.len() + 1;
        let handle = match lanes.entry(set) {
            std::collections::btree_map::Entry::Occupied(occupied) => occupied.into_mut(),
            std::collections::btree_map::Entry::Vacant(vacant) => vacant.insert(self.start(set)?),
        };
        self.enqueue(origin, set, (handle, sets), commands, deadline)
    }

    fn enqueue(
        &self,
        origin: Origin,
        set: u32,
        (handle, sets): (&Handle, usize),
        commands: Vec<Bytes>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let bytes = commands.iter().map(Bytes::len).sum();
        let full = || {
            self.metrics.queue_full();
            Failure::new(
                Kind::QueueFull,
                format!("too many requests wait for set {set}; nothing was applied"),
            )
        };
        let QueueLimits { requests, bytes: bytes_max, crowded } = self.limits;
        let room = Room { requests, bytes: bytes_max, crowded, share: (crowded / sets).max(1) };
        let permit = Permit::take(&handle.fill, &self.all, bytes, room).ok_or_else(full)?;
        let (reply, answer) = oneshot::channel();
        handle.items.try_send(Item { origin, commands, deadline, reply, permit }).map_err(|_| full())?;
        Ok(answer)
    }

    fn start(&self, set: u32) -> Result<Handle, Failure> {
        let (events, incoming) = mpsc::channel(EVENTS_MAX);
        let number = self.links.add_lane(events).ok_or_else(|| {
            Failure::new(Kind::QueueFull, "no more sets can be served from here; nothing was applied")
        })?;
        let (items, queue) = mpsc::channel(self.limits.requests);
        let lane = Lane::new(set, number, self.links.clone(), self.views.clone(), self.metrics.clone());
        self.tasks.spawn(lane.run(queue, incoming));
        Ok(Handle { items, fill: Arc::default() })
    }

    /// Requests and bytes that have no answer yet, per set.
    pub fn fill(&self) -> Vec<(u32, usize, usize)> {
        let lanes = self.lanes.read();
        let fill = |handle: &Handle| {
            (handle.fill.requests.load(Ordering::Relaxed), handle.fill.bytes.load(Ordering::Relaxed))
        };
        lanes.iter().map(|(set, handle)| (*set, fill(handle).0, fill(handle).1)).collect()
    }
}
