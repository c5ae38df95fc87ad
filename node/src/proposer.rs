//! The one way in for commands: everything that is waiting becomes one Raft entry. While entries are in flight the next
//! one gathers; there is no artificial delay. Replies leave through the gate. A pause holds new entries back without
//! refusing anybody: a planned switch lives in it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, watch};
use tracing::info;
use twinset_ledger::codec::{EntryBuilder, encode_outcome};
use twinset_ledger::{Outcome, RULES_VERSION};
use twinset_proto::cluster::v1 as wire;
use twinset_store::LedgerReplica;
use wire::item_reply::Result as ItemResult;

use crate::clock;
use crate::config::ProposerConfig;
use crate::gate::Gate;
use crate::raft::{Applied, Group, Proposal, ProposeError, Role};

/// What one client call asks of the set.
pub struct Submission {
    /// The router's number for it.
    pub no: u64,
    /// In the ledger's wire form, validated by the caller.
    pub commands: Vec<Bytes>,
    /// When the router gives up.
    pub deadline: Instant,
    /// Where the answer goes.
    pub reply: mpsc::Sender<wire::ItemReply>,
}

/// Handle to the proposer of one set replica.
#[derive(Clone)]
pub struct Proposer {
    queue: mpsc::Sender<Waiting>,
    bytes: Arc<Semaphore>,
    in_flight: Arc<Semaphore>,
    in_flight_max: u32,
    paused: Arc<watch::Sender<bool>>,
}

struct Waiting {
    submission: Submission,
    bytes: usize,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

/// Holds new entries back until it is dropped.
pub struct Pause {
    paused: Arc<watch::Sender<bool>>,
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.paused.send_replace(false);
    }
}

/// The answer to an item that was not proposed.
pub fn refusal(no: u64, reason: wire::RefusalReason, leader: String, detail: &str) -> wire::ItemReply {
    let refusal = wire::Refusal { reason: reason.into(), leader, detail: detail.to_owned() };
    wire::ItemReply { no, result: Some(ItemResult::Refused(refusal)) }
}

impl Proposer {
    /// Starts the proposer of a replica. `leader_name` gives the name of the node that hosts a replica.
    pub fn start(
        group: Group,
        state: LedgerReplica,
        gate: Arc<Gate>,
        incarnation: u32,
        config: &ProposerConfig,
        leader_name: impl Fn(u64) -> String + Send + Sync + 'static,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(config.queue_items);
        let in_flight = Arc::new(Semaphore::new(config.in_flight));
        let paused = Arc::new(watch::Sender::new(false));
        let worker = Worker {
            group,
            state,
            gate,
            incarnation,
            config: config.clone(),
            in_flight: in_flight.clone(),
            paused: paused.subscribe(),
            leader_name: Box::new(leader_name),
            carried: None,
        };
        tokio::spawn(worker.run(waiting));
        Proposer {
            queue,
            bytes: Arc::new(Semaphore::new(config.queue_bytes)),
            in_flight,
            in_flight_max: u32::try_from(config.in_flight).expect("checked by the configuration"),
            paused,
        }
    }

    /// Queues a submission; answers at once if the queue is full.
    pub fn submit(&self, submission: Submission) -> Option<wire::ItemReply> {
        let no = submission.no;
        let overloaded = |detail| Some(refusal(no, wire::RefusalReason::Overloaded, String::new(), detail));
        let bytes: usize = submission.commands.iter().map(Bytes::len).sum();
        let Ok(permits) = u32::try_from(bytes.max(1)) else { return overloaded("the call is too large") };
        let Ok(permit) = self.bytes.clone().try_acquire_many_owned(permits) else {
            return overloaded("the leader's queue is full");
        };
        match self.queue.try_send(Waiting { submission, bytes, _permit: permit }) {
            Ok(()) => None,
            Err(_) => overloaded("the leader's queue is full"),
        }
    }

    /// Holds new entries back; returns when all entries in flight are answered.
    pub async fn pause(&self) -> Pause {
        self.paused.send_replace(true);
        let pause = Pause { paused: self.paused.clone() };
        // The semaphore is never closed.
        let _ = self.in_flight.acquire_many(self.in_flight_max).await;
        pause
    }
}

struct Worker {
    group: Group,
    state: LedgerReplica,
    gate: Arc<Gate>,
    incarnation: u32,
    config: ProposerConfig,
    in_flight: Arc<Semaphore>,
    paused: watch::Receiver<bool>,
    leader_name: Box<dyn Fn(u64) -> String + Send + Sync>,
    /// Taken from the queue, but too much for the last entry.
    carried: Option<Waiting>,
}

impl Worker {
    async fn run(mut self, mut queue: mpsc::Receiver<Waiting>) {
        loop {
            let first = match self.carried.take() {
                Some(waiting) => waiting,
                None => match queue.recv().await {
                    Some(waiting) => waiting,
                    None => return,
                },
            };
            if !self.may_propose().await {
                self.refuse(first).await;
                continue;
            }
            let permit = self.in_flight.clone().acquire_owned().await.expect("the semaphore is never closed");
            // A pause may have begun while this entry waited for its turn.
            if *self.paused.borrow() {
                self.carried = Some(first);
                drop(permit);
                continue;
            }
            let batch = self.gather(first, &mut queue);
            let Some((entry, batch)) = self.build(batch).await else { continue };
            match self.group.propose(entry).await {
                Ok(proposal) => {
                    let (gate, incarnation) = (self.gate.clone(), self.incarnation);
                    tokio::spawn(async move {
                        finish(proposal, batch, incarnation, &gate).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    let reason = format!("{error:?}");
                    for waiting in batch {
                        unknown(waiting, &reason).await;
                    }
                }
            }
        }
    }

    /// Waits out a pause. False if this replica does not lead.
    async fn may_propose(&mut self) -> bool {
        let mut view = self.group.view();
        loop {
            if view.borrow_and_update().role != Role::Leader {
                return false;
            }
            if !*self.paused.borrow_and_update() {
                return true;
            }
            tokio::select! {
                _ = self.paused.changed() => {}
                changed = view.changed() => if changed.is_err() { return false },
            }
        }
    }

    async fn refuse(&self, waiting: Waiting) {
        let leader = self.group.view().borrow().leader;
        let leader = leader.filter(|&id| id != self.group.replica()).map(|id| (self.leader_name)(id));
        let submission = waiting.submission;
        let reply = refusal(
            submission.no,
            wire::RefusalReason::NotLeader,
            leader.unwrap_or_default(),
            "this replica does not lead the set",
        );
        // The router's stream may be gone; it will ask elsewhere.
        let _ = submission.reply.send(reply).await;
    }

    fn gather(&mut self, first: Waiting, queue: &mut mpsc::Receiver<Waiting>) -> Vec<Waiting> {
        let mut commands = first.submission.commands.len();
        let mut bytes = first.bytes;
        let mut batch = vec![first];
        while let Ok(next) = queue.try_recv() {
            commands += next.submission.commands.len();
            bytes += next.bytes;
            if commands > self.config.entry_commands || bytes > self.config.entry_bytes {
                self.carried = Some(next);
                break;
            }
            batch.push(next);
        }
        batch
    }

    /// Drops what is past its deadline and packs the rest; None if nothing is left.
    async fn build(&self, batch: Vec<Waiting>) -> Option<(Bytes, Vec<Waiting>)> {
        let now = Instant::now();
        let (live, late): (Vec<_>, Vec<_>) = batch.into_iter().partition(|w| w.submission.deadline > now);
        for waiting in late {
            let no = waiting.submission.no;
            let reply = refusal(no, wire::RefusalReason::Deadline, String::new(), "the deadline has passed");
            let _ = waiting.submission.reply.send(reply).await;
        }
        if live.is_empty() {
            return None;
        }
        let mut entry = EntryBuilder::new(RULES_VERSION, self.incarnation, clock::now_unix_ns());
        let commands = || live.iter().flat_map(|waiting| &waiting.submission.commands);
        let shorts = self.state.shorten_all(commands().map(|command| &command[..]));
        for (command, short) in commands().zip(&shorts) {
            match short {
                Some(short) => entry.push_short(short),
                None => entry.push_command_bytes(command),
            }
        }
        Some((Bytes::from(entry.finish()), live))
    }
}

async fn unknown(waiting: Waiting, reason: &str) {
    let submission = waiting.submission;
    let result = Some(ItemResult::Unknown(reason.to_owned()));
    let _ = submission.reply.send(wire::ItemReply { no: submission.no, result }).await;
}

/// Waits for the entry and the gate, then answers everybody who had a part in the entry.
async fn finish(proposal: Proposal, batch: Vec<Waiting>, incarnation: u32, gate: &Gate) {
    let last_deadline = batch.iter().map(|w| w.submission.deadline).max().expect("a batch is never empty");
    let deadline = tokio::time::Instant::from_std(last_deadline) + Duration::from_millis(10);
    let applied = tokio::time::timeout_at(deadline, async {
        let (index, applied) = proposal.result().await?;
        gate.wait(index).await;
        Ok::<_, ProposeError>((index, applied))
    });
    let reason = match applied.await {
        Ok(Ok((index, Applied::Outcomes(outcomes)))) => {
            return answer(index, &outcomes, incarnation, batch).await;
        }
        Ok(Ok(_)) => unreachable!("an entry of commands gives outcomes"),
        // Whatever the error promises: the entry was handed over, so only the request id can tell.
        Ok(Err(error)) => format!("{error:?}"),
        Err(_) => "not safe before the deadline".to_owned(),
    };
    info!(items = batch.len(), reason, "entry without a definite answer");
    for waiting in batch {
        unknown(waiting, &reason).await;
    }
}

async fn answer(index: u64, outcomes: &[Outcome], incarnation: u32, batch: Vec<Waiting>) {
    let mut encoded = Vec::with_capacity(outcomes.len() * 112);
    let mut ends = Vec::with_capacity(outcomes.len());
    for outcome in outcomes {
        encode_outcome(outcome, &mut encoded);
        ends.push(encoded.len());
    }
    let encoded = Bytes::from(encoded);
    let mut start = 0;
    let mut ends = ends.into_iter();
    for waiting in batch {
        let count = waiting.submission.commands.len();
        let outcomes = ends
            .by_ref()
            .take(count)
            .map(|end| encoded.slice(std::mem::replace(&mut start, end)..end))
            .collect::<Vec<_>>();
        assert_eq!(outcomes.len(), count, "one outcome per command");
        let submission = waiting.submission;
        let done = wire::Outcomes { index, outcomes, incarnation };
        // The router's stream may be gone; the client asks again with the same ids.
        let _ = submission
            .reply
            .send(wire::ItemReply { no: submission.no, result: Some(ItemResult::Done(done)) })
            .await;
    }
}
