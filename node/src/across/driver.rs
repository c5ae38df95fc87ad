//! The task that carries on what a set has open with others, for one hosted replica. It works while that replica leads and
//! owns what it knows of each attempt; everything of it could be read in the logs again. Steps for the same log travel
//! together: while some are on their way, the next ones gather.
//!
//! It looks through the open attempts now and then, so that nothing hangs on a message: what another leader began, what a
//! call gave up on, and what this set only takes part in. Of these it asks the coordinator when they are old.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, info, warn};
use twinset_ledger::attempt::{Attempt, Ballot, Role};
use twinset_ledger::{Command, Outcome, Step, TransactionId, codec};
use twinset_proto::cluster::v1 as wire;
use twinset_store::{LedgerReplica, Verdict};
use wire::item_reply::Result as ItemResult;

use super::course::{Course, Order, Phase, Stale, Target};
use super::{AcrossConfig, Ended, Inbox, Registration, Ways};
use crate::admission::Origin;
use crate::faults::{self, Point};
use crate::metrics::AttemptMetrics;
use crate::proposer::{Proposer, Submission};
use crate::raft::{Group, Role as RaftRole};
use crate::set::Fence;

/// Between two looks at timers.
const TICK: Duration = Duration::from_millis(20);
/// Between two looks through the open attempts.
const SCAN_EVERY: Duration = Duration::from_millis(250);
/// What a log did not take is offered again after this.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// How long one log may take to answer before it is asked again.
const STEP_WAIT: Duration = Duration::from_secs(2);
/// Loads on their way to one log; further steps gather.
const LOADS_MAX: usize = 4;
/// Replies of the own proposer that wait.
const OWN_REPLIES_MAX: usize = 2 * LOADS_MAX;
/// Steps in one load.
const STEPS_PER_LOAD: usize = 4_096;
/// Bytes of them; the last step may go beyond.
const LOAD_BYTES: usize = 512 << 10;
/// Questions to coordinators at the same time.
const INQUIRIES_MAX: usize = 64;
/// Attempts that one look takes up.
const SCAN_MAX: usize = 4_096;

/// What a driver needs.
pub struct Driver {
    /// Whose set.
    pub fence: Arc<Fence>,
    /// Says who leads.
    pub group: Group,
    /// Says what is open.
    pub state: LedgerReplica,
    /// The way into the own log.
    pub proposer: Proposer,
    /// The way to other sets.
    pub ways: Arc<dyn Ways>,
    /// Timers.
    pub config: AcrossConfig,
    /// Counters.
    pub metrics: AttemptMetrics,
}

/// An attempt under way.
struct Running {
    course: Course,
    waiters: Vec<oneshot::Sender<Ended>>,
    give_up_at: Instant,
}

/// Steps that went to one log together, and what it said to each.
struct Load {
    to: Target,
    attempts: Vec<TransactionId>,
    answers: Result<Vec<Bytes>, String>,
}

/// What a coordinator said.
struct Inquired {
    attempt: TransactionId,
    verdict: Result<Option<Verdict>, String>,
}

/// What a driver knows while its replica leads.
struct Lead {
    driver: Driver,
    running: BTreeMap<TransactionId, Running>,
    /// Those who wait for what is in the log and not safe yet.
    early: Vec<Registration>,
    /// Steps that wait to be sent, by log, in order.
    waiting: BTreeMap<Target, VecDeque<(TransactionId, Step)>>,
    /// Loads on their way, by log.
    loads: BTreeMap<Target, usize>,
    on_their_way: FuturesUnordered<BoxFuture<'static, Load>>,
    own_replies: mpsc::Sender<wire::ItemReply>,
    own_loads: BTreeMap<u64, oneshot::Sender<Result<Vec<Bytes>, String>>>,
    next_no: u64,
    again: Vec<(Instant, TransactionId, Target)>,
    /// Since when this leader knows of attempts that its set only takes part in; when it asks next.
    ask_at: BTreeMap<TransactionId, Instant>,
    inquiries: FuturesUnordered<BoxFuture<'static, Inquired>>,
    inquiring: BTreeSet<TransactionId>,
}

impl Driver {
    /// Runs until the node ends.
    pub async fn run(self, mut inbox: Inbox) {
        let mut view = self.group.view();
        let (own_replies, mut own_answers) = mpsc::channel(OWN_REPLIES_MAX);
        let mut lead = Lead::new(self, own_replies);
        loop {
            tokio::select! {
                led = view.wait_for(|view| view.role == RaftRole::Leader) => if led.is_err() { return },
                // Who asks a replica that does not lead hears so at once.
                asked = inbox.registrations.recv() => if asked.is_some() { continue } else { return },
                // Of what it led before.
                late = own_answers.recv() => if late.is_some() { continue } else { return },
            }
            lead.carry_on(&mut inbox, &mut own_answers).await;
            inbox.open.store(0, Ordering::Relaxed);
            lead.forget();
        }
    }
}

impl Lead {
    fn new(driver: Driver, own_replies: mpsc::Sender<wire::ItemReply>) -> Self {
        Lead {
            driver,
            running: BTreeMap::new(),
            early: Vec::new(),
            waiting: BTreeMap::new(),
            loads: BTreeMap::new(),
            on_their_way: FuturesUnordered::new(),
            own_replies,
            own_loads: BTreeMap::new(),
            next_no: 0,
            again: Vec::new(),
            ask_at: BTreeMap::new(),
            inquiries: FuturesUnordered::new(),
            inquiring: BTreeSet::new(),
        }
    }

    /// Another replica leads: whoever waits here hears so, and what was known here is read again by whoever leads next.
    fn forget(&mut self) {
        self.running.clear();
        self.early.clear();
        self.waiting.clear();
        self.loads.clear();
        self.on_their_way.clear();
        self.own_loads.clear();
        self.again.clear();
        self.ask_at.clear();
        self.inquiries.clear();
        self.inquiring.clear();
    }

    /// Works until the replica leads no more.
    async fn carry_on(&mut self, inbox: &mut Inbox, own_answers: &mut mpsc::Receiver<wire::ItemReply>) {
        let mut view = self.driver.group.view();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut scan_at = Instant::now();
        let mut registered = Vec::new();
        let mut replies = Vec::new();
        loop {
            let mut ticked = false;
            tokio::select! {
                biased;
                changed = view.changed() => if changed.is_err() { return },
                _ = tick.tick() => ticked = true,
                count = own_answers.recv_many(&mut replies, OWN_REPLIES_MAX) => if count == 0 { return },
                Some(load) = self.on_their_way.next() => self.on_load(load),
                count = inbox.registrations.recv_many(&mut registered, 64) => if count == 0 { return },
                Some(inquired) = self.inquiries.next() => self.on_inquired(inquired),
            }
            if view.borrow_and_update().role != RaftRole::Leader {
                return;
            }
            replies.drain(..).for_each(|reply| self.on_own_reply(reply));
            registered.drain(..).flatten().for_each(|registration| self.on_registration(registration));
            // What has come in meanwhile shares the next loads.
            while let Some(Some(load)) = self.on_their_way.next().now_or_never() {
                self.on_load(load);
            }
            let now = Instant::now();
            if ticked {
                self.on_timers(now);
                if scan_at <= now {
                    scan_at = now + SCAN_EVERY;
                    self.scan(now);
                }
            }
            inbox.open.store(self.running.len(), Ordering::Relaxed);
            self.send_all(now);
        }
    }

    /// Somebody waits for an attempt that has begun, safely.
    fn on_registration(&mut self, Registration { attempt, ended }: Registration) {
        if let Some(running) = self.running.get_mut(&attempt) {
            running.waiters.push(ended);
            return;
        }
        // If it has ended meanwhile, its answer is in the log: whoever waits asks again.
        let Some(open) = self.driver.state.attempt(attempt) else { return };
        let Some(course) = Course::of(self.driver.fence.set, &open) else { return };
        if !self.is_safe(attempt, &open) {
            return self.early.push(Registration { attempt, ended });
        }
        faults::reached(Point::AcrossBegun);
        self.start(attempt, course, vec![ended]);
    }

    /// Whether what the log says of an attempt that this set coordinates may be told to others.
    fn is_safe(&self, id: TransactionId, attempt: &Attempt) -> bool {
        let Role::Coordinator(coordination) = &attempt.role else { return false };
        coordination.decided.unwrap_or(id.position).index() <= self.driver.fence.gate.horizon().open
    }

    fn start(&mut self, attempt: TransactionId, course: Course, waiters: Vec<oneshot::Sender<Ended>>) {
        let give_up_at = Instant::now() + Duration::from_millis(self.driver.config.give_up_ms);
        let orders = course.orders();
        self.running.insert(attempt, Running { course, waiters, give_up_at });
        self.order(attempt, orders);
    }

    fn order(&mut self, attempt: TransactionId, orders: Vec<Order>) {
        for Order { to, step } in orders {
            self.waiting.entry(to).or_default().push_back((attempt, step));
        }
    }

    /// A log has answered, or has not.
    fn on_load(&mut self, Load { to, attempts, answers }: Load) {
        if let Some(loads) = self.loads.get_mut(&to) {
            *loads -= 1;
        }
        let answers = match answers {
            Ok(answers) if answers.len() == attempts.len() => answers,
            Ok(_) => return self.again_later(to, attempts, "other answers than steps"),
            Err(why) => return self.again_later(to, attempts, &why),
        };
        for (attempt, answer) in attempts.into_iter().zip(answers) {
            match codec::decode_outcome(&answer) {
                Ok(outcome) => self.on_answer(attempt, to, outcome),
                Err(error) => self.again_later(to, vec![attempt], &error.to_string()),
            }
        }
    }

    fn again_later(&mut self, to: Target, attempts: Vec<TransactionId>, why: &str) {
        debug!(set = self.driver.fence.set, ?to, steps = attempts.len(), why, "to be asked again");
        let at = Instant::now() + AGAIN_AFTER;
        for attempt in attempts {
            let undone = |running: &Running| matches!(running.course.phase(), Phase::Undoing(_));
            if self.running.get(&attempt).is_some_and(undone) {
                // Nobody waits for it here, and a set that has its part aside asks when it is back.
                self.running.remove(&attempt);
            } else {
                self.again.push((at, attempt, to));
            }
        }
    }

    fn on_answer(&mut self, attempt: TransactionId, from: Target, outcome: Outcome) {
        // What ended a part that this set had waited for is nobody's course here.
        let Entry::Occupied(mut entry) = self.running.entry(attempt) else { return };
        let running = entry.get_mut();
        let before = std::mem::discriminant(running.course.phase());
        let next = match running.course.heard(from, outcome) {
            Ok(next) => next,
            Err(Stale) => {
                // Whoever waits asks again; the next look takes it up as the log has it.
                warn!(%attempt, ?from, "another leader has gone on with it; read again");
                entry.remove();
                return;
            }
        };
        reached(running.course.phase(), before, from);
        if let Some(result) = next.result {
            for waiter in running.waiters.drain(..) {
                // The call may have given up.
                let _ = waiter.send(result.clone());
            }
            self.driver.metrics.ended(&result);
        }
        if running.course.is_over() {
            entry.remove();
        }
        self.order(attempt, next.orders);
    }

    fn on_own_reply(&mut self, reply: wire::ItemReply) {
        let Some(answered) = self.own_loads.remove(&reply.no) else { return };
        let answers = match reply.result {
            Some(ItemResult::Done(done)) => Ok(done.outcomes),
            Some(ItemResult::Refused(refusal)) => Err(refusal.detail),
            Some(ItemResult::Unknown(why)) => Err(why),
            None => Err("an empty reply".to_owned()),
        };
        // Its load is on its way until then.
        let _ = answered.send(answers);
    }

    fn on_timers(&mut self, now: Instant) {
        let early = std::mem::take(&mut self.early);
        early.into_iter().for_each(|registration| self.on_registration(registration));
        let (due, later) = std::mem::take(&mut self.again).into_iter().partition(|(at, ..)| *at <= now);
        self.again = later;
        let due: Vec<(Instant, TransactionId, Target)> = due;
        for (_, attempt, to) in due {
            let wanted = self.running.get(&attempt).and_then(|running| running.course.wants(to));
            self.order(attempt, wanted.map(|step| Order { to, step }).into_iter().collect());
        }
        let late: Vec<TransactionId> = self
            .running
            .iter()
            .filter(|(_, running)| {
                running.give_up_at <= now && matches!(running.course.phase(), Phase::Asking(_))
            })
            .map(|(attempt, _)| *attempt)
            .collect();
        for attempt in late {
            faults::reached(Point::AcrossGivingUp);
            let running = self.running.get_mut(&attempt).expect("just found");
            let orders = running.course.give_up();
            self.order(attempt, orders);
        }
    }

    /// Takes up what is open and not under way here.
    fn scan(&mut self, now: Instant) {
        let found = self.driver.state.attempts_where(SCAN_MAX, |id, attempt| {
            self.is_safe(id, attempt) && !self.running.contains_key(&id)
        });
        for (attempt, open) in found {
            if let Some(course) = Course::of(self.driver.fence.set, &open) {
                faults::reached(Point::AcrossResumed);
                self.driver.metrics.resumed.inc();
                self.start(attempt, course, Vec::new());
            }
        }
        let taken_part =
            self.driver.state.attempts_where(SCAN_MAX, |_, attempt| attempt.role == Role::Participant);
        let patience = Duration::from_millis(self.driver.config.inquire_ms);
        let known = std::mem::take(&mut self.ask_at);
        for (attempt, _) in taken_part {
            let at = known.get(&attempt).copied().unwrap_or(now + patience);
            self.ask_at.insert(attempt, at);
            if at <= now && self.inquiries.len() < INQUIRIES_MAX && self.inquiring.insert(attempt) {
                faults::reached(Point::AcrossInquiring);
                self.driver.metrics.inquiries.inc();
                self.ask_at.insert(attempt, now + patience);
                let verdict = self.driver.ways.verdict(attempt, now + STEP_WAIT);
                self.inquiries.push(async move { Inquired { attempt, verdict: verdict.await } }.boxed());
            }
        }
    }

    /// Only the coordinator ends what it has begun; it was asked what it has decided.
    fn on_inquired(&mut self, Inquired { attempt, verdict }: Inquired) {
        faults::reached(Point::AcrossInquired);
        self.inquiring.remove(&attempt);
        let set = self.driver.fence.set;
        let step = match verdict {
            Ok(Some(Verdict::Booked)) => Step::Commit,
            Ok(Some(Verdict::NotBooked)) => Step::Abort,
            Ok(Some(Verdict::Undecided)) => return,
            Ok(None) => return warn!(set, %attempt, "its coordinator does not know it; it stays open"),
            Err(why) => return info!(set, %attempt, why, "its coordinator does not say what became of it"),
        };
        info!(set, %attempt, step = ?step, "ended as its coordinator has decided");
        self.order(attempt, vec![Order { to: Target::Own, step }]);
    }

    fn send_all(&mut self, now: Instant) {
        let waiting = std::mem::take(&mut self.waiting);
        for (to, mut steps) in waiting {
            while !steps.is_empty() && self.loads.get(&to).copied().unwrap_or(0) < LOADS_MAX {
                self.send(to, &mut steps, now);
            }
            if !steps.is_empty() {
                self.waiting.insert(to, steps);
            }
        }
    }

    /// Sends the first of the steps, as many as one load may have.
    fn send(&mut self, to: Target, steps: &mut VecDeque<(TransactionId, Step)>, now: Instant) {
        let mut attempts = Vec::with_capacity(steps.len());
        let mut commands = Vec::with_capacity(steps.len());
        let mut size = 0;
        let mut after = None;
        while attempts.len() < STEPS_PER_LOAD
            && size < LOAD_BYTES
            && let Some((attempt, step)) = steps.pop_front()
        {
            after = after.or(on_its_way(&step));
            let command = Command::Step { attempt, step };
            if let Err(error) = command.validate() {
                // It would stop every replica of that set.
                warn!(%attempt, ?to, %error, "a step that does not fit together is not proposed");
                continue;
            }
            let mut bytes = Vec::new();
            codec::encode_command(&command, &mut bytes);
            size += bytes.len();
            attempts.push(attempt);
            commands.push(Bytes::from(bytes));
        }
        if attempts.is_empty() {
            return;
        }
        let deadline = now + STEP_WAIT;
        let answers = match to {
            Target::Own => self.propose(commands, deadline),
            Target::Set(set) => {
                let from = (self.driver.fence.set, self.driver.fence.incarnation);
                self.driver.ways.ask(set, from, commands, deadline)
            }
        };
        *self.loads.entry(to).or_default() += 1;
        self.on_their_way.push(async move { Load { to, attempts, answers: answers.await } }.boxed());
        if let Some(point) = after {
            faults::reached(point);
        }
    }

    fn propose(
        &mut self,
        commands: Vec<Bytes>,
        deadline: Instant,
    ) -> BoxFuture<'static, Result<Vec<Bytes>, String>> {
        let no = self.next_no;
        self.next_no += 1;
        let (answered, answer) = oneshot::channel();
        let reply = self.own_replies.clone();
        let submission = Submission { no, origin: Origin::Own, commands, deadline, reply };
        match self.driver.proposer.submit(submission) {
            Some(refused) => {
                self.own_loads.insert(no, answered);
                self.on_own_reply(refused);
            }
            None => drop(self.own_loads.insert(no, answered)),
        }
        async move { answer.await.unwrap_or_else(|_| Err("nobody answers any more".to_owned())) }.boxed()
    }
}

/// The point that a step's departure is.
fn on_its_way(step: &Step) -> Option<Point> {
    Some(match step {
        Step::Prepare { .. } => Point::AcrossAsked,
        Step::Decide(_) => Point::AcrossDecideProposed,
        Step::Commit => Point::AcrossTelling,
        Step::Abort => Point::AcrossUndoing,
        Step::Settle { .. } => Point::AcrossSettleProposed,
    })
}

/// The points that an answer brings an attempt to.
fn reached(phase: &Phase, before: std::mem::Discriminant<Phase>, from: Target) {
    let entered = std::mem::discriminant(phase) != before;
    match phase {
        Phase::Asking(votes) if votes.len() == 1 => faults::reached(Point::AcrossFirstVote),
        Phase::Deciding(Ballot::Votes(_)) if entered => faults::reached(Point::AcrossVoted),
        Phase::Booking(_) if entered => faults::reached(Point::AcrossDecided),
        Phase::Booking(parts) if parts.len() == 1 => faults::reached(Point::AcrossFirstBooked),
        Phase::Settling(_) if entered => faults::reached(Point::AcrossBooked),
        Phase::Undoing(_) if entered => faults::reached(Point::AcrossRefused),
        Phase::Over if entered && from == Target::Own => faults::reached(Point::AcrossSettled),
        _ => {}
    }
}
