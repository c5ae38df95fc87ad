//! The one way in for commands: everything that is waiting and admitted ([`crate::admission`]) becomes one Raft entry. While
//! entries are in flight the next one gathers; there is no artificial delay. Replies leave through the gate. A pause holds
//! new entries back without refusing anybody: a planned switch lives in it. It ends when everybody has an answer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::trace;
use twinset_control::Catalogue;
use twinset_dispatch::pending::Origin;
use twinset_ledger::canary::{self, Canary};
use twinset_ledger::codec::{EntryBuilder, Short};
use twinset_ledger::{BufferStep, Command, RULES_PROPOSED, Step};
use twinset_proto::cluster::v1 as wire;
use twinset_store::{EncodedOutcomes, LedgerReplica};
use wire::item_reply::Result as ItemResult;

use crate::across::{Across, Awaited};
use crate::admission::{self, Entering, Refused};
use crate::answers::Answers;
use crate::check_back::Initiators;
use crate::config::ProposerConfig;
use crate::faults::{self, Point};
use crate::raft::{Applied, Group, Proposal, ProposeError, Role};
use crate::reconciliation::UNRECONCILED;
use crate::set::Fence;

const DRAINING: &str = "the node is shutting down";
const LATE: &str = "not safe before the deadline";
/// Who gives up sooner has not waited long enough to blame the set.
const PATIENCE: Duration = Duration::from_millis(500);

/// What one client call asks of the set.
pub struct Submission {
    /// The asker's number for it.
    pub no: u64,
    /// Who asks; None: this set's own leader.
    pub origin: Option<Origin>,
    /// In the ledger's wire form, not decoded yet.
    pub commands: Vec<Bytes>,
    /// When the asker gives up.
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
    pauses: Pauses,
    closing: CancellationToken,
    tasks: TaskTracker,
}

struct Waiting {
    submission: Submission,
    bytes: usize,
    parts: Parts,
    _permit: tokio::sync::OwnedSemaphorePermit,
}

/// What a call has to do with transactions over several sets.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    /// It may begin one: answers may come later than its entry's.
    begins: bool,
    /// It has steps of one that another set coordinates.
    prepares: bool,
    commits: bool,
    aborts: bool,
    /// It has what another set says about buffered accounts, or sends to them.
    credits: bool,
    announces: bool,
    withdraws: bool,
}

impl Parts {
    fn of(asked: &Command) -> Parts {
        let mut parts = Parts::default();
        match asked {
            Command::Step { step: Step::Prepare { .. }, .. } => parts.prepares = true,
            Command::Step { step: Step::Commit, .. } => parts.commits = true,
            Command::Step { step: Step::Abort, .. } => parts.aborts = true,
            Command::BufferStep { step: BufferStep::Credit(_), .. } => parts.credits = true,
            Command::BufferStep { step: BufferStep::Announce(_), .. } => parts.announces = true,
            Command::BufferStep { step: BufferStep::Withdraw(_), .. } => parts.withdraws = true,
            _ => {}
        }
        parts
    }

    fn add(&mut self, other: Parts) {
        self.begins |= other.begins;
        self.prepares |= other.prepares;
        self.commits |= other.commits;
        self.aborts |= other.aborts;
        self.credits |= other.credits;
        self.announces |= other.announces;
        self.withdraws |= other.withdraws;
    }

    /// All of a batch.
    fn of_all(batch: &[Waiting]) -> Parts {
        let mut all = Parts::default();
        batch.iter().for_each(|waiting| all.add(waiting.parts));
        all
    }

    fn received(self) {
        self.reach(Point::AcrossPrepareReceived, Point::AcrossCommitReceived, Point::AcrossAbortReceived);
        reach_if(self.credits, Point::BufferedCreditReceived);
    }

    fn proposed(self) {
        if self.begins {
            faults::reached(Point::AcrossBeginProposed);
        }
        self.reach(Point::AcrossPrepareProposed, Point::AcrossCommitProposed, Point::AcrossAbortProposed);
        reach_if(self.credits, Point::BufferedCreditProposed);
    }

    fn done(self) {
        self.reach(Point::AcrossPrepared, Point::AcrossCommitted, Point::AcrossAborted);
        reach_if(self.credits, Point::BufferedCredited);
        reach_if(self.announces, Point::BufferedAnnounced);
        reach_if(self.withdraws, Point::BufferedWithdrawn);
    }

    fn reach(self, prepare: Point, commit: Point, abort: Point) {
        for (has, point) in [(self.prepares, prepare), (self.commits, commit), (self.aborts, abort)] {
            reach_if(has, point);
        }
    }
}

fn reach_if(has: bool, point: Point) {
    if has {
        faults::reached(point);
    }
}

/// How many hold new entries back.
#[derive(Clone, Default)]
struct Pauses(Arc<watch::Sender<u32>>);

impl Pauses {
    fn begin(&self) -> Pause {
        self.0.send_modify(|pauses| *pauses += 1);
        Pause { pauses: self.clone() }
    }
}

/// Holds new entries back until it is dropped; whoever else does so goes on.
pub struct Pause {
    pauses: Pauses,
}

impl Drop for Pause {
    fn drop(&mut self) {
        if canary::on(Canary::EndlessPause) {
            return;
        }
        self.pauses.0.send_modify(|pauses| *pauses -= 1);
    }
}

/// The answer to an item that was not proposed.
pub fn refusal(no: u64, reason: wire::RefusalReason, leader: String, detail: &str) -> wire::ItemReply {
    let refusal = wire::Refusal { reason: reason.into(), leader, detail: detail.to_owned() };
    wire::ItemReply { no, result: Some(ItemResult::Refused(refusal)) }
}

impl Proposer {
    /// Starts the proposer of a replica. The newest catalogue says what the set owns and where its replicas are.
    pub fn start(
        group: Group,
        state: LedgerReplica,
        fence: Arc<Fence>,
        config: &ProposerConfig,
        catalogue: watch::Receiver<Option<Arc<Catalogue>>>,
        across: Across,
        initiators: Initiators,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(config.queue_items);
        let in_flight = Arc::new(Semaphore::new(config.in_flight));
        let pauses = Pauses::default();
        let closing = CancellationToken::new();
        let tasks = TaskTracker::new();
        let worker = Worker {
            group,
            state,
            answers: Arc::new(Answers::new(fence.set)),
            fence,
            config: config.clone(),
            in_flight: in_flight.clone(),
            pauses: pauses.0.subscribe(),
            catalogue,
            across,
            initiators,
            closing: closing.clone(),
            tasks: tasks.clone(),
            carried: None,
        };
        tasks.spawn(worker.run(waiting));
        Proposer {
            queue,
            bytes: Arc::new(Semaphore::new(config.queue_bytes)),
            in_flight,
            in_flight_max: u32::try_from(config.in_flight).expect("checked by the configuration"),
            pauses,
            closing,
            tasks,
        }
    }

    /// Queues a submission; answers at once if the queue is full.
    pub fn submit(&self, submission: Submission) -> Option<wire::ItemReply> {
        let no = submission.no;
        if self.closing.is_cancelled() {
            return Some(refusal(no, wire::RefusalReason::Draining, String::new(), DRAINING));
        }
        let overloaded = |detail| Some(refusal(no, wire::RefusalReason::Overloaded, String::new(), detail));
        let bytes: usize = submission.commands.iter().map(Bytes::len).sum();
        let Ok(permits) = u32::try_from(bytes.max(1)) else { return overloaded("the call is too large") };
        let Ok(permit) = self.bytes.clone().try_acquire_many_owned(permits) else {
            return overloaded("the leader's queue is full");
        };
        match self.queue.try_send(Waiting { submission, bytes, parts: Parts::default(), _permit: permit }) {
            Ok(()) => None,
            Err(_) => overloaded("the leader's queue is full"),
        }
    }

    /// Holds new entries back; returns when all entries in flight are answered.
    pub async fn pause(&self) -> Pause {
        let pause = self.pauses.begin();
        // The semaphore is never closed.
        let _ = self.in_flight.acquire_many(self.in_flight_max).await;
        pause
    }

    /// Takes nothing more, refuses what waits, and returns when the entries in flight are answered and nothing runs any
    /// more. The caller brings the deadline.
    pub async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

struct Worker {
    group: Group,
    state: LedgerReplica,
    fence: Arc<Fence>,
    config: ProposerConfig,
    in_flight: Arc<Semaphore>,
    pauses: watch::Receiver<u32>,
    answers: Arc<Answers>,
    catalogue: watch::Receiver<Option<Arc<Catalogue>>>,
    /// Where answers of transactions over several sets come from.
    across: Across,
    /// Whom holds may name.
    initiators: Initiators,
    closing: CancellationToken,
    tasks: TaskTracker,
    /// Taken from the queue, but too much for the last entry.
    carried: Option<Waiting>,
}

impl Worker {
    async fn run(mut self, mut queue: mpsc::Receiver<Waiting>) {
        while let Some(first) = self.next(&mut queue).await {
            if !self.may_propose().await {
                self.refuse(first).await;
                continue;
            }
            let permit = self.in_flight.clone().acquire_owned().await.expect("the semaphore is never closed");
            // A pause may have begun while this entry waited for its turn.
            if *self.pauses.borrow() > 0 {
                self.carried = Some(first);
                drop(permit);
                continue;
            }
            let batch = self.gather(first, &mut queue);
            let Some((entry, batch)) = self.build(batch).await else { continue };
            trace!(set = self.fence.set, bytes = entry.len(), items = batch.len(), "proposed");
            match self.group.propose(entry).await {
                Ok(proposal) => {
                    Parts::of_all(&batch).proposed();
                    let (fence, answers) = (self.fence.clone(), self.answers.clone());
                    let (across, tasks) = (self.across.clone(), self.tasks.clone());
                    self.tasks.spawn(async move {
                        let later = finish(proposal, batch, &fence, &answers).await;
                        // What comes later comes by other entries, which want their turn.
                        drop(permit);
                        for (waiting, outcomes) in later {
                            let awaited = across.awaited(outcomes).await;
                            tasks.spawn(answer_later(waiting.submission, awaited));
                        }
                    });
                }
                Err(error) => {
                    let reason = format!("{error:?}");
                    self.answers.unknown(batch.len(), &reason);
                    unknown(batch, &reason).await;
                }
            }
        }
    }

    /// What has waited longest; None when nothing waits and nothing more is taken.
    async fn next(&mut self, queue: &mut mpsc::Receiver<Waiting>) -> Option<Waiting> {
        if let Some(waiting) = self.carried.take() {
            return Some(waiting);
        }
        tokio::select! {
            waiting = queue.recv() => return waiting,
            () = self.closing.cancelled() => {}
        }
        // What came before is still in the queue.
        queue.close();
        queue.recv().await
    }

    /// Waits out all pauses. False if this replica does not lead, or takes nothing more.
    async fn may_propose(&mut self) -> bool {
        let mut view = self.group.view();
        loop {
            if view.borrow_and_update().role != Role::Leader || self.closing.is_cancelled() {
                return false;
            }
            if *self.pauses.borrow_and_update() == 0 {
                return true;
            }
            tokio::select! {
                _ = self.pauses.changed() => {}
                changed = view.changed() => if changed.is_err() { return false },
                () = self.closing.cancelled() => {}
            }
        }
    }

    async fn refuse(&self, waiting: Waiting) {
        let view = self.group.view().borrow().clone();
        if view.role != Role::Leader {
            self.answers.not_leading();
        } else if self.closing.is_cancelled() {
            return refuse(waiting, wire::RefusalReason::Draining, String::new(), DRAINING).await;
        }
        let other = view.leader.filter(|&id| id != self.group.replica());
        let catalogue = self.catalogue.borrow().clone();
        let node = other.and_then(|id| Some(catalogue?.replica(self.fence.set, id)?.node.clone()));
        let reason = wire::RefusalReason::NotLeader;
        refuse(waiting, reason, node.unwrap_or_default(), "this replica does not lead the set").await;
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

    /// Drops what is past its deadline or not admitted, and packs the rest; None if nothing is left.
    async fn build(&self, batch: Vec<Waiting>) -> Option<(Bytes, Vec<Waiting>)> {
        let now = Instant::now();
        let (live, late): (Vec<_>, Vec<_>) = batch.into_iter().partition(|w| w.submission.deadline > now);
        for waiting in late {
            let reason = wire::RefusalReason::Deadline;
            refuse(waiting, reason, String::new(), "the deadline has passed").await;
        }
        let commands = live.iter().flat_map(|waiting| &waiting.submission.commands);
        let shorts = self.state.shorten_all(commands.map(|command| &command[..]));
        let mut shorts = &shorts[..];
        let now_unix_ns = self.fence.platform.now_unix_ns();
        let mut entry = EntryBuilder::new(RULES_PROPOSED, self.fence.incarnation, now_unix_ns);
        let mut admitted = Vec::with_capacity(live.len());
        for mut waiting in live {
            let (own, others) = shorts.split_at(waiting.submission.commands.len());
            shorts = others;
            if let Err((reason, detail)) = self.admit(&mut waiting, own) {
                refuse(waiting, reason, String::new(), &detail).await;
                continue;
            }
            for (command, short) in waiting.submission.commands.iter().zip(own) {
                match short {
                    Some(short) => entry.push_short(short),
                    None => entry.push_command_bytes(command),
                }
            }
            admitted.push(waiting);
        }
        if admitted.is_empty() { None } else { Some((Bytes::from(entry.finish()), admitted)) }
    }

    fn is_unreconciled(&self) -> bool {
        self.catalogue.borrow().as_ref().is_some_and(|all| all.is_unreconciled(self.fence.set))
    }

    /// Whether all commands of a call may enter the log; what begins an attempt takes its form for the log. A command that has
    /// a short form is well-formed and between accounts that the set has; only the others are decoded.
    fn admit(&self, waiting: &mut Waiting, shorts: &[Option<Short>]) -> Result<(), Refused> {
        let Waiting { submission, parts, .. } = waiting;
        if submission.origin == Some(Origin::Client) && self.is_unreconciled() {
            return Err((wire::RefusalReason::NotLeader, UNRECONCILED.to_owned()));
        }
        // The own leader's commands were checked when they were made.
        let Some(origin) = submission.origin.filter(|_| shorts.iter().any(Option::is_none)) else {
            return Ok(());
        };
        let catalogue = self.catalogue.borrow().clone();
        let found = catalogue.as_deref().and_then(|all| Some((all, all.sets.get(&self.fence.set)?)));
        let Some((catalogue, set)) = found else {
            return Err((wire::RefusalReason::NotHosted, "the set is not in the catalogue".into()));
        };
        let has_room = self.across.has_room();
        // Whether something would begin that there is no room for. What need not ask is booked at once, and opens nothing.
        let mut asks = false;
        match origin {
            Origin::Set { set: from, incarnation } => {
                for command in &submission.commands {
                    let asked = admission::check_step(command, (from, incarnation), set, catalogue)?;
                    parts.add(Parts::of(&asked));
                }
            }
            Origin::Client => {
                let check = |(command, short): (&Bytes, &Option<Short>)| {
                    short
                        .is_none()
                        .then(|| admission::check(command, set, catalogue, &self.initiators))
                        .transpose()
                };
                let entering = submission.commands.iter().zip(shorts).map(check);
                let entering = entering.collect::<Result<Vec<_>, _>>()?;
                admission::check_together(entering.iter().map(Option::as_ref))?;
                for (command, entering) in submission.commands.iter_mut().zip(entering) {
                    match entering {
                        None | Some(Entering::AsItIs | Entering::Transaction | Entering::Together(_)) => {}
                        Some(Entering::Reversal) => {
                            parts.begins = true;
                            asks |= !has_room;
                        }
                        Some(Entering::Begin { begin, encoded }) => {
                            *command = encoded;
                            parts.begins = true;
                            asks |= !has_room && !self.state.pays_unasked(&begin);
                        }
                    }
                }
            }
        }
        parts.received();
        if asks {
            let detail = "too many transactions over several sets are under way".to_owned();
            return Err((wire::RefusalReason::Overloaded, detail));
        }
        Ok(())
    }
}

/// Answers that nothing of it was proposed.
async fn refuse(waiting: Waiting, reason: wire::RefusalReason, leader: String, detail: &str) {
    let submission = waiting.submission;
    // The router's stream may be gone; it will ask elsewhere.
    let _ = submission.reply.send(refusal(submission.no, reason, leader, detail)).await;
}

/// Answers that nobody knows.
async fn unknown(batch: Vec<Waiting>, reason: &str) {
    for Waiting { submission, .. } in batch {
        let result = Some(ItemResult::Unknown(reason.to_owned()));
        let _ = submission.reply.send(wire::ItemReply { no: submission.no, result }).await;
    }
}

/// Waits for the entry and the gate, then answers everybody who had a part in the entry and whose answer that is. Gives
/// those who have begun something that goes on, with their outcomes so far.
async fn finish(
    proposal: Proposal,
    batch: Vec<Waiting>,
    fence: &Fence,
    answers: &Answers,
) -> Vec<(Waiting, wire::Outcomes)> {
    let began = Instant::now();
    let last_deadline = batch.iter().map(|w| w.submission.deadline).max().expect("a batch is never empty");
    let deadline = last_deadline + Duration::from_millis(10);
    let applied = tokio::time::timeout_at(deadline, async {
        let (index, applied) = proposal.result().await?;
        fence.gate.wait(index).await;
        Ok::<_, ProposeError>((index, applied))
    });
    let reason = match applied.await {
        Ok(Ok((index, Applied::Outcomes(outcomes)))) => {
            answers.definite();
            Parts::of_all(&batch).done();
            return answer(index, &outcomes, batch).await;
        }
        Ok(Ok(_)) => unreachable!("an entry of commands gives outcomes"),
        // Whatever the error promises: the entry was handed over, so only the request id can tell.
        Ok(Err(error)) => format!("{error:?}"),
        Err(_) => LATE.to_owned(),
    };
    // That somebody does not wait long says nothing about the set.
    if reason != LATE || began.elapsed() >= PATIENCE {
        answers.unknown(batch.len(), &reason);
    }
    unknown(batch, &reason).await;
    Vec::new()
}

async fn answer(
    index: u64,
    encoded: &EncodedOutcomes,
    batch: Vec<Waiting>,
) -> Vec<(Waiting, wire::Outcomes)> {
    let mut encoded = encoded.iter();
    let mut later = Vec::new();
    for waiting in batch {
        let count = waiting.submission.commands.len();
        let outcomes: Vec<Bytes> = encoded.by_ref().take(count).collect();
        assert_eq!(outcomes.len(), count, "one outcome per command");
        let done = wire::Outcomes { index, outcomes };
        if waiting.parts.begins {
            later.push((waiting, done));
            continue;
        }
        let submission = waiting.submission;
        // The router's stream may be gone; the client asks again with the same ids.
        let _ = submission
            .reply
            .send(wire::ItemReply { no: submission.no, result: Some(ItemResult::Done(done)) })
            .await;
    }
    later
}

/// Answers when all that a call has begun has come to its end.
async fn answer_later(submission: Submission, awaited: Awaited) {
    let result = match tokio::time::timeout_at(submission.deadline, awaited.all()).await {
        Ok(Some(outcomes)) => ItemResult::Done(outcomes),
        Ok(None) => ItemResult::Unknown("this replica leads no more".to_owned()),
        Err(_) => ItemResult::Unknown(LATE.to_owned()),
    };
    // As above.
    let _ = submission.reply.send(wire::ItemReply { no: submission.no, result: Some(result) }).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_that_ends_leaves_the_others() {
        let pauses = Pauses::default();
        let [switch, drain] = [pauses.begin(), pauses.begin()];
        drop(switch);
        assert_eq!(*pauses.0.borrow(), 1, "the other one still holds");
        drop(drain);
        assert_eq!(*pauses.0.borrow(), 0);
    }
}
