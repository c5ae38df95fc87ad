//! The items of one set that have no answer yet, in the order of their arrival: waiting, or sent on some stream. Pure
//! bookkeeping, owned by one lane; it sends nothing and reads no clock. What may be said to a caller is
//! [`crate::retry`]'s; an item's answer goes to its caller from here, exactly once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;
use twinset_ledger::canary::{self, Canary};
use twinset_proto::cluster::v1::{Item as WireItem, item_reply};

use crate::failure::Failure;
use crate::retry::{Cause, Done, History, Next, on_reply};

/// An item that certainly has not happened is not sent again when its caller waits for less than this: the answer
/// would come too late, and "not applied" would become "unknown".
pub const LAST_CALL: Duration = Duration::from_millis(50);

/// One connection to one node, of all there ever were: a stream is never mistaken for its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u64);

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client.
    Client,
    /// A set, whose leader takes an attempt a step on.
    Set {
        /// Its number.
        set: u32,
        /// Its incarnation when it asks: one that was left behind is refused.
        incarnation: u32,
    },
}

impl Origin {
    /// The set and the incarnation as they are on the wire.
    fn on_wire(self) -> (u32, u32) {
        match self {
            Origin::Client => (0, 0),
            Origin::Set { set, incarnation } => (set, incarnation),
        }
    }

    /// Who asks for an item.
    pub fn of(item: &WireItem) -> Origin {
        match (item.from_set, item.from_incarnation) {
            (0, _) => Origin::Client,
            (set, incarnation) => Origin::Set { set, incarnation },
        }
    }
}

/// What one call asks of one set.
#[derive(Debug)]
pub struct Item<P> {
    /// Who asks.
    pub origin: Origin,
    /// In the ledger's wire form.
    pub commands: Vec<Bytes>,
    /// How long the caller waits.
    pub deadline: Instant,
    /// Where the answer goes; the caller may be gone.
    pub reply: oneshot::Sender<Result<Done, Failure>>,
    /// Its place in the queue: given back when the item is dropped.
    pub permit: P,
}

struct Held<P> {
    item: Item<P>,
    history: History,
    sent: Option<(u64, StreamId)>,
}

/// What a reply meant, for whoever chooses the next node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The caller has its answer.
    Answered,
    /// It waits again.
    Retry(Cause),
    /// The attempt was given up before.
    Stale,
}

/// The items of one set.
pub struct Pending<P> {
    set: u32,
    /// The lane's number, in the upper 16 bits of every item number on the wire.
    lane: u16,
    items: BTreeMap<u64, Held<P>>,
    waiting: BTreeSet<u64>,
    by_no: HashMap<u64, u64>,
    deadlines: BTreeSet<(Instant, u64)>,
    next_arrival: u64,
    next_no: u64,
}

/// Which lane an item number belongs to.
pub fn lane_of(no: u64) -> u16 {
    (no >> 48) as u16
}

impl<P> Pending<P> {
    /// Nothing yet.
    pub fn new(set: u32, lane: u16) -> Self {
        Pending {
            set,
            lane,
            items: BTreeMap::new(),
            waiting: BTreeSet::new(),
            by_no: HashMap::new(),
            deadlines: BTreeSet::new(),
            next_arrival: 0,
            next_no: 0,
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether something could be sent.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// When the next caller stops waiting.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Adds an item behind all others.
    pub fn add(&mut self, item: Item<P>) {
        let arrival = self.next_arrival;
        self.next_arrival += 1;
        self.deadlines.insert((item.deadline, arrival));
        self.waiting.insert(arrival);
        self.items.insert(arrival, Held { item, history: History::default(), sent: None });
    }

    /// The waiting items in order, as one frame for `stream`: at least one, then as many as fit in `bytes_max` and
    /// `items_max`. An item whose caller has gone is dropped instead of being sent. Empty: nothing can be sent now.
    pub fn take(
        &mut self,
        now: Instant,
        stream: StreamId,
        incarnation: u32,
        items_max: usize,
        bytes_max: usize,
    ) -> Vec<WireItem> {
        let mut frame = Vec::new();
        let mut bytes = 0;
        let mut from = 0;
        while frame.len() < items_max {
            let Some(&arrival) = self.waiting.range(from..).next() else { break };
            from = arrival + 1;
            let held = self.items.get_mut(&arrival).expect("a waiting item is held");
            if held.item.reply.is_closed() {
                self.remove(arrival);
                continue;
            }
            let left = held.item.deadline.saturating_duration_since(now);
            if left < LAST_CALL && held.history.last.is_some() && !held.history.indefinite {
                continue;
            }
            let size: usize = held.item.commands.iter().map(Bytes::len).sum();
            if !frame.is_empty() && bytes + size > bytes_max {
                break;
            }
            bytes += size;
            self.waiting.remove(&arrival);
            let no = u64::from(self.lane) << 48 | self.next_no & ((1 << 48) - 1);
            self.next_no += 1;
            held.history.sent();
            held.sent = Some((no, stream));
            self.by_no.insert(no, arrival);
            let deadline_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1);
            let (set, commands) = (self.set, held.item.commands.clone());
            let (from_set, from_incarnation) = held.item.origin.on_wire();
            frame.push(WireItem { no, set, commands, deadline_ms, incarnation, from_set, from_incarnation });
        }
        frame
    }

    /// Takes in the reply to the attempt `no`.
    pub fn settle(&mut self, no: u64, result: Option<item_reply::Result>) -> Settled {
        if canary::on(Canary::LostReplies) && self.next_no > 1000 && no.is_multiple_of(2) {
            return Settled::Stale;
        }
        let Some(&arrival) = self.by_no.get(&no) else { return Settled::Stale };
        let held = self.items.get(&arrival).expect("a sent item is held");
        match on_reply(&held.history, held.item.commands.len(), result) {
            Next::Answer(answer) => {
                self.answer(arrival, answer);
                Settled::Answered
            }
            Next::Retry(cause) => {
                self.requeue(arrival, cause);
                Settled::Retry(cause)
            }
        }
    }

    /// Everything sent on another stream than `keep` waits again: those attempts have no known end. How many.
    pub fn give_up_all_but(&mut self, keep: Option<StreamId>, cause: Cause) -> usize {
        self.give_up(|stream| Some(stream) != keep, cause)
    }

    /// Everything sent on `stream` waits again: those attempts have no known end. How many.
    pub fn broken(&mut self, stream: StreamId) -> usize {
        self.give_up(|sent| sent == stream, Cause::Broken)
    }

    /// Whether something is on its way on another stream than `keep`.
    pub fn any_sent_but(&self, keep: Option<StreamId>) -> bool {
        self.items.values().any(|held| held.sent.is_some_and(|(_, stream)| Some(stream) != keep))
    }

    /// Answers those whose deadline has passed. How many.
    pub fn expire(&mut self, now: Instant) -> usize {
        let mut count = 0;
        while let Some(&(deadline, arrival)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            let error =
                self.items.get(&arrival).expect("an item with a deadline is held").history.at_deadline();
            self.answer(arrival, Err(error));
            count += 1;
        }
        count
    }

    fn give_up(&mut self, which: impl Fn(StreamId) -> bool, cause: Cause) -> usize {
        let given_up: Vec<u64> = self
            .items
            .iter()
            .filter(|(_, held)| held.sent.is_some_and(|(_, stream)| which(stream)))
            .map(|(arrival, _)| *arrival)
            .collect();
        for arrival in &given_up {
            self.requeue(*arrival, cause);
        }
        given_up.len()
    }

    fn requeue(&mut self, arrival: u64, cause: Cause) {
        let held = self.items.get_mut(&arrival).expect("a sent item is held");
        let (no, _) = held.sent.take().expect("only what was sent is sent again");
        held.history.ended(cause);
        self.by_no.remove(&no);
        self.waiting.insert(arrival);
    }

    fn answer(&mut self, arrival: u64, answer: Result<Done, Failure>) {
        if let Some(item) = self.remove(arrival) {
            // A caller that has gone wants no answer.
            let _ = item.reply.send(answer);
        }
    }

    fn remove(&mut self, arrival: u64) -> Option<Item<P>> {
        let held = self.items.remove(&arrival)?;
        self.waiting.remove(&arrival);
        self.deadlines.remove(&(held.item.deadline, arrival));
        if let Some((no, _)) = held.sent {
            self.by_no.remove(&no);
        }
        Some(held.item)
    }
}

#[cfg(test)]
#[path = "pending_tests.rs"]
mod tests;
