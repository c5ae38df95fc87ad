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
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, info, warn};
use twinset_control::Catalogue;
use twinset_dispatch::pending::Origin;
use twinset_ledger::attempt::{Attempt, Ballot, Role};
use twinset_ledger::canary::{self, Canary};
use twinset_ledger::{Command, Outcome, Step, TransactionId, codec};
use twinset_proto::cluster::v1 as wire;
use twinset_store::{LedgerReplica, Verdict};
use wire::item_reply::Result as ItemResult;

use super::course::{Course, Order, Phase, Stale, Target};
use super::inquiries::Inquiries;
use super::{AcrossConfig, Ended, Inbox, Registration, Ways};
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
/// Steps in one load.
const STEPS_PER_LOAD: usize = 4_096;
/// Bytes of them; the last step may go beyond.
const LOAD_BYTES: usize = 512 << 10;
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
    pub ways: Arc<Ways>,
    /// Says in which incarnation each set is, and whether it may go on.
    pub catalogue: watch::Receiver<Option<Arc<Catalogue>>>,
    /// Timers.
    pub config: AcrossConfig,
    /// Counters.
    pub metrics: AttemptMetrics,
}

/// An attempt under way.
struct Running {
    course: Course,
    waiters: Vec<oneshot::Sender<Ended>>,
    /// What they are told as soon as the entry that settles it is in the queue of the own log: a reversal comes behind that.
    answer: Option<Ended>,
    give_up_at: Instant,
}

/// Steps that went to one log together, and what it said to each.
struct Load {
    to: Target,
    /// Of the other set, when it was asked.
    incarnation: Option<u32>,
    attempts: Vec<TransactionId>,
    answers: Result<Vec<Bytes>, String>,
}

/// What a coordinator said.
struct Inquired {
    attempt: TransactionId,
    /// Of its coordinator, when that was asked.
    incarnation: Option<u32>,
    verdict: Result<Option<Verdict>, String>,
}

/// What a driver knows while its replica leads.
struct Lead<'a> {
    driver: &'a Driver,
    running: BTreeMap<TransactionId, Running>,
    /// Those who wait for what is in the log and not safe yet.
    early: Vec<Registration>,
    /// Steps that wait to be sent, by log, in order.
    waiting: BTreeMap<Target, VecDeque<(TransactionId, Step)>>,
    /// Of the catalogue that was looked at last; 0: none.
    seen_version: u64,
    /// In which incarnation each set is.
    incarnations: BTreeMap<u32, u32>,
    /// The own set has not lost what others know of its attempts, or has been told.
    may_decide: bool,
    /// Loads on their way, by log.
    loads: BTreeMap<Target, usize>,
    /// Those of them to other sets.
    on_their_way: FuturesUnordered<BoxFuture<'static, Load>>,
    /// Those to the own log, by the number of the submission.
    own_loads: BTreeMap<u64, Vec<TransactionId>>,
    next_no: u64,
    /// Where their replies come in. Those of an earlier lead find nobody there.
    own_replies: mpsc::Sender<wire::ItemReply>,
    own_answers: mpsc::Receiver<wire::ItemReply>,
    again: Vec<(Instant, TransactionId, Target)>,
    /// Of attempts that its set only takes part in: whose coordinator is asked when.
    inquiries: Inquiries,
    inquiring: FuturesUnordered<BoxFuture<'static, Inquired>>,
}

impl Driver {
    /// Runs until the node ends.
    pub async fn run(self, mut inbox: Inbox) {
        let mut view = self.group.view();
        loop {
            tokio::select! {
                led = view.wait_for(|view| view.role == RaftRole::Leader) => if led.is_err() { return },
                // Who asks a replica that does not lead hears so at once.
                asked = inbox.registrations.recv() => if asked.is_some() { continue } else { return },
            }
            // When another replica leads, whoever waits here hears so, and what was known here is read again by whoever
            // leads next.
            Lead::new(&self).carry_on(&mut inbox).await;
            inbox.open.store(0, Ordering::Relaxed);
        }
    }
}

impl<'a> Lead<'a> {
    fn new(driver: &'a Driver) -> Self {
        let (own_replies, own_answers) = mpsc::channel(LOADS_MAX);
        Lead {
            driver,
            running: BTreeMap::new(),
            early: Vec::new(),
            waiting: BTreeMap::new(),
            seen_version: 0,
            incarnations: BTreeMap::new(),
            may_decide: false,
            loads: BTreeMap::new(),
            on_their_way: FuturesUnordered::new(),
            own_loads: BTreeMap::new(),
            next_no: 0,
            own_replies,
            own_answers,
            again: Vec::new(),
            inquiries: Inquiries::new(Duration::from_millis(driver.config.inquire_ms)),
            inquiring: FuturesUnordered::new(),
        }
    }

    /// Works until the replica leads no more.
    async fn carry_on(mut self, inbox: &mut Inbox) {
        let mut view = self.driver.group.view();
        let mut catalogue = self.driver.catalogue.clone();
        self.on_catalogue();
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
                changed = catalogue.changed() => if changed.is_err() { return },
                _ = tick.tick() => ticked = true,
                _ = self.own_answers.recv_many(&mut replies, LOADS_MAX) => {}
                Some(load) = self.on_their_way.next() => self.on_load(load),
                count = inbox.registrations.recv_many(&mut registered, 64) => if count == 0 { return },
                Some(inquired) = self.inquiring.next() => self.on_inquired(inquired),
            }
            if view.borrow_and_update().role != RaftRole::Leader {
                return;
            }
            // What is known of sets comes before what they say.
            self.on_catalogue();
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
        let Some(course) = self.course_of(attempt, &open) else { return };
        if !self.may_decide || !self.is_safe(attempt, &open) {
            return self.early.push(Registration { attempt, ended });
        }
        faults::reached(Point::AcrossBegun);
        self.start(attempt, course, vec![ended]);
    }

    fn course_of(&self, id: TransactionId, attempt: &Attempt) -> Option<Course> {
        let Fence { set, incarnation, .. } = *self.driver.fence;
        Course::of(set, attempt, id.incarnation < incarnation)
    }

    /// Whether what the log says of an attempt that this set coordinates may be told to others.
    fn is_safe(&self, id: TransactionId, attempt: &Attempt) -> bool {
        let Role::Coordinator(coordination) = &attempt.role else { return false };
        coordination.decided.unwrap_or(id.position).index() <= self.driver.fence.gate.horizon().open
    }

    fn start(&mut self, attempt: TransactionId, course: Course, waiters: Vec<oneshot::Sender<Ended>>) {
        let give_up_at = Instant::now() + Duration::from_millis(self.driver.config.give_up_ms);
        let orders = course.orders();
        self.running.insert(attempt, Running { course, waiters, answer: None, give_up_at });
        self.order(attempt, orders);
    }

    fn order(&mut self, attempt: TransactionId, orders: Vec<Order>) {
        for Order { to, step } in orders {
            self.waiting.entry(to).or_default().push_back((attempt, step));
        }
    }

    /// A log has answered, or has not.
    fn on_load(&mut self, Load { to, incarnation, attempts, answers }: Load) {
        if let Some(loads) = self.loads.get_mut(&to) {
            *loads -= 1;
        }
        if self.incarnation_of(to) != incarnation {
            return self.again_later(to, attempts, "the set was recovered meanwhile");
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

    fn incarnation_of(&self, to: Target) -> Option<u32> {
        let Target::Set(set) = to else { return None };
        self.driver.catalogue.borrow().as_ref()?.incarnation(set)
    }

    /// What sets have said in an incarnation that is over counts no more: what waits for them is read again.
    fn on_catalogue(&mut self) {
        // Called in every turn of the loop, and mostly for nothing.
        let seen = self.seen_version;
        let newer = self.driver.catalogue.borrow().as_ref().filter(|all| all.version != seen).cloned();
        let Some(catalogue) = newer else { return };
        self.seen_version = catalogue.version;
        let now: BTreeMap<u32, u32> = catalogue.sets.values().map(|set| (set.id, set.incarnation)).collect();
        let reborn: BTreeSet<u32> = self
            .incarnations
            .iter()
            .filter(|(set, at)| now.get(set) != Some(at))
            .map(|(set, _)| *set)
            .collect();
        self.incarnations = now;
        if !reborn.is_empty() {
            self.running.retain(|_, running| running.course.others().is_disjoint(&reborn));
            for steps in self.waiting.values_mut() {
                steps.retain(|(attempt, _)| !reborn.contains(&attempt.set));
            }
        }
        let own = catalogue.sets.get(&self.driver.fence.set);
        self.may_decide = own.is_some_and(|set| !set.is_unreconciled());
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
                match running.course.phase() {
                    // Decided before this leader led, by an entry that it has not applied yet; or by one that leads instead.
                    Phase::Asking(_) => debug!(%attempt, ?from, "decided elsewhere; read again"),
                    phase => warn!(%attempt, ?from, ?phase, "an answer contradicts the own log; read again"),
                }
                // Whoever waits asks again; the next look takes it up as the log has it.
                entry.remove();
                return;
            }
        };
        reached(running.course.phase(), before, from);
        if let Some(result) = next.result {
            self.driver.metrics.ended(&result);
            running.answer = Some(result);
        }
        if !matches!(running.course.phase(), Phase::Settling(_)) {
            running.tell();
        }
        if running.course.is_over() {
            entry.remove();
        }
        self.order(attempt, next.orders);
    }

    fn on_own_reply(&mut self, reply: wire::ItemReply) {
        let attempts = self.own_loads.remove(&reply.no).expect("each load is answered once");
        let answers = match reply.result {
            Some(ItemResult::Done(done)) => Ok(done.outcomes),
            Some(ItemResult::Refused(refusal)) => Err(refusal.detail),
            Some(ItemResult::Unknown(why)) => Err(why),
            None => Err("an empty reply".to_owned()),
        };
        self.on_load(Load { to: Target::Own, incarnation: None, attempts, answers });
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
        let state = &self.driver.state;
        let found = state.attempts_as(SCAN_MAX, |id, attempt| {
            if !self.may_decide || self.running.contains_key(&id) || !self.is_safe(id, attempt) {
                return None;
            }
            Some((id, self.course_of(id, attempt)?))
        });
        for (attempt, course) in found {
            faults::reached(Point::AcrossResumed);
            self.driver.metrics.resumed.inc();
            self.start(attempt, course, Vec::new());
        }
        let new_part = |id, attempt: &Attempt| {
            let is_part = matches!(attempt.role, Role::Participant { .. });
            (is_part && !self.inquiries.knows(id)).then_some(id)
        };
        for attempt in state.attempts_as(SCAN_MAX, new_part) {
            self.inquiries.found(attempt, now);
        }
        for attempt in self.inquiries.next(now, |attempt| state.attempt(attempt).is_some()) {
            if canary::on(Canary::AbortsByItself) {
                self.order(attempt, vec![Order { to: Target::Own, step: Step::Abort }]);
            }
            faults::reached(Point::AcrossInquiring);
            self.driver.metrics.inquiries.inc();
            let verdict = self.driver.ways.verdict(attempt, now + STEP_WAIT);
            let incarnation = self.incarnation_of(Target::Set(attempt.set));
            let inquired = async move { Inquired { attempt, incarnation, verdict: verdict.await } };
            self.inquiring.push(inquired.boxed());
        }
    }

    /// Only the coordinator ends what it has begun; it was asked what it has decided.
    fn on_inquired(&mut self, Inquired { attempt, incarnation, verdict }: Inquired) {
        let is_stale = self.incarnation_of(Target::Set(attempt.set)) != incarnation;
        let verdict = if is_stale { Err("it was recovered meanwhile".to_owned()) } else { verdict };
        faults::reached(Point::AcrossInquired);
        self.inquiries.asked(attempt, verdict.is_ok());
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
        *self.loads.entry(to).or_default() += 1;
        let deadline = now + STEP_WAIT;
        match to {
            Target::Own => self.propose(attempts, commands, deadline),
            Target::Set(set) => {
                let fence = &self.driver.fence;
                let from = Origin::Set { set: fence.set, incarnation: fence.incarnation };
                let answers = self.driver.ways.ask(set, from, commands, deadline);
                let incarnation = self.incarnation_of(to);
                let load = async move { Load { to, incarnation, attempts, answers: answers.await } };
                self.on_their_way.push(load.boxed());
            }
        }
        if let Some(point) = after {
            faults::reached(point);
        }
    }

    fn propose(&mut self, attempts: Vec<TransactionId>, commands: Vec<Bytes>, deadline: Instant) {
        let no = self.next_no;
        self.next_no += 1;
        self.own_loads.insert(no, attempts);
        let reply = self.own_replies.clone();
        let submission = Submission { no, origin: None, commands, deadline, reply };
        if let Some(refused) = self.driver.proposer.submit(submission) {
            // In its turn, like all others.
            self.own_replies.try_send(refused).expect("there is room for a reply to each load");
            return;
        }
        for attempt in &self.own_loads[&no] {
            if let Some(running) = self.running.get_mut(attempt) {
                running.tell();
            }
        }
    }
}

impl Running {
    /// Tells whoever waits the answer, if there is one.
    fn tell(&mut self) {
        let Some(answer) = &self.answer else { return };
        for waiter in self.waiters.drain(..) {
            // The call may have given up.
            let _ = waiter.send(answer.clone());
        }
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
        Step::Lost { .. } | Step::Restore(_) => return None,
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
