//! Buffered credits, as the leader of a set carries them on (ADR 16): it sends the parcels of its outboxes to the payees' sets in
//! order, tells its own log what has been taken in, and tells all other sets which of its accounts they need not ask. One task
//! for each hosted replica; it works while that leads. It writes nothing down beside the log: a new leader sends again what is
//! not acknowledged, and says again what it has to say.
//!
//! A parcel leaves when the gate is open for its transaction; what is answered has passed the other set's gate. It is woken by
//! the gate, by answers and by the catalogue, and when a load has gathered; a slow tick is the net below, and the time of those who
//! back off.

mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, error, info};
use twinset_control::Catalogue;
use twinset_dispatch::pending::Origin;
use twinset_dispatch::time::sleep_until;
use twinset_ledger::buffer::{BufferStep, InboxEnd, StreamEnd, StreamName};
use twinset_ledger::canary::{self, Canary};
use twinset_ledger::{Command, Effect, Outcome, TransactionId, codec};
use twinset_proto::cluster::v1 as wire;
use twinset_store::{Fault, LedgerReplica, Outgoing, OwnBuffered, StreamStanding};
use wire::item_reply::Result as ItemResult;

use crate::across::Ways;
use crate::faults::{self, Point};
use crate::metrics::OutboxMetrics;
use crate::platform;
use crate::proposer::{Proposer, Submission};
use crate::raft::{Group, Role};
use crate::set::Fence;
use stream::{Course, Numbers, PARCELS_PER_LOAD, is_full};

/// Between two looks that nothing else has caused.
const TICK: Duration = Duration::from_millis(250);
/// How long one log may take to answer before it is asked again.
const WAIT: Duration = Duration::from_secs(5);
/// A set that did not answer, or took nothing in, is left alone for so long at first, and twice as long each time after.
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
/// And no longer than this.
const BACK_OFF_MAX: Duration = Duration::from_secs(2);
/// Answers of the own log that may wait to be heard.
const OWN_ANSWERS: usize = 64;

/// What the task of one hosted replica needs.
pub struct Outbox {
    /// Whose set.
    pub fence: Arc<Fence>,
    /// Says who leads.
    pub group: Group,
    /// Says what is to be sent and said.
    pub state: LedgerReplica,
    /// The way into the own log.
    pub proposer: Proposer,
    /// The way to other sets.
    pub ways: Arc<Ways>,
    /// Says which sets there are.
    pub catalogue: watch::Receiver<Option<Arc<Catalogue>>>,
    /// Counters.
    pub metrics: OutboxMetrics,
}

/// What was asked for is there; mostly what another set has answered.
enum Answer {
    /// To a load of parcels.
    Parcels { name: StreamName, incarnation: Option<u32>, numbers: Numbers, outcomes: Option<Vec<Outcome>> },
    /// To what it was told about accounts.
    Words { to: u32, incarnation: Option<u32>, about: Vec<TransactionId>, outcomes: Option<Vec<Outcome>> },
    /// Of the own disk: what a stream goes on with behind a number, as far as the gate was open.
    Read { name: StreamName, from: Span, parcels: Result<Vec<Outgoing>, Fault> },
}

/// Behind which number parcels are read, and of entries up to which index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    after: u64,
    upto: u64,
}

/// What the own log was asked to take in.
#[derive(Clone, Copy, Debug)]
enum Own {
    /// That parcels are taken in.
    Acknowledge(StreamName),
    /// That an account is strict again.
    Drained(TransactionId),
}

/// Patience with one other set.
#[derive(Default)]
struct Patience {
    back_off: Option<Duration>,
    until: Option<Instant>,
}

impl Patience {
    fn lost(&mut self, now: Instant) {
        let next = self.back_off.map_or(BACK_OFF_MIN, |before| (before * 2).min(BACK_OFF_MAX));
        self.back_off = Some(next);
        self.until = Some(now + next);
    }

    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }
}

/// What the task knows while its replica leads.
struct Lead<'a> {
    outbox: &'a Outbox,
    courses: BTreeMap<StreamName, Course>,
    patience: BTreeMap<u32, Patience>,
    answers: FuturesUnordered<BoxFuture<'static, Answer>>,
    /// Streams whose next parcels are being read.
    reading: BTreeSet<StreamName>,
    /// Where there was nothing to be read of a stream.
    nothing: BTreeMap<StreamName, Span>,
    /// Sets that are being told something.
    telling: BTreeSet<u32>,
    /// By mode change and set: it has heard of it; if it has withdrawn the account, the ends of its streams.
    heard: BTreeMap<(TransactionId, u32), Vec<StreamEnd>>,
    /// In which incarnation each set is.
    incarnations: BTreeMap<u32, u32>,
    /// How far each stream was acknowledged when it was looked at last.
    acknowledged: BTreeMap<StreamName, u64>,
    /// Accounts that the own log is being told of.
    draining: BTreeSet<TransactionId>,
    own: BTreeMap<u64, Own>,
    next_no: u64,
    own_replies: mpsc::Sender<wire::ItemReply>,
    own_answers: mpsc::Receiver<wire::ItemReply>,
    /// The own log takes nothing in until then.
    own_again: Option<Instant>,
    /// When the first of the loads that gather is to leave.
    leaves_at: Option<Instant>,
}

impl Outbox {
    /// Runs until the node ends.
    pub async fn run(self) {
        let mut view = self.group.view();
        loop {
            if view.wait_for(|view| view.role == Role::Leader).await.is_err() {
                return;
            }
            if !Lead::new(&self).carry_on(self.catalogue.clone()).await {
                return;
            }
        }
    }
}

impl<'a> Lead<'a> {
    fn new(outbox: &'a Outbox) -> Self {
        let (own_replies, own_answers) = mpsc::channel(OWN_ANSWERS);
        Lead {
            outbox,
            courses: BTreeMap::new(),
            patience: BTreeMap::new(),
            answers: FuturesUnordered::new(),
            reading: BTreeSet::new(),
            nothing: BTreeMap::new(),
            telling: BTreeSet::new(),
            heard: BTreeMap::new(),
            incarnations: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            draining: BTreeSet::new(),
            own: BTreeMap::new(),
            next_no: 0,
            own_replies,
            own_answers,
            own_again: None,
            leaves_at: None,
        }
    }

    /// Works until the replica leads no more. False: the node ends.
    async fn carry_on(mut self, mut catalogue: watch::Receiver<Option<Arc<Catalogue>>>) -> bool {
        let mut view = self.outbox.group.view();
        let mut opened = self.outbox.fence.gate.opened();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if view.borrow_and_update().role != Role::Leader {
                return true;
            }
            self.look(&catalogue);
            tokio::select! {
                changed = view.changed() => if changed.is_err() { return false },
                changed = opened.changed() => if changed.is_err() { return false },
                changed = catalogue.changed() => if changed.is_err() { return false },
                Some(answer) = self.answers.next() => self.on_answer(answer),
                Some(reply) = self.own_answers.recv() => self.on_own_reply(&reply),
                () = sleep_until(self.leaves_at) => {}
                _ = tick.tick() => {}
            }
        }
    }

    /// Does what is to be done now.
    fn look(&mut self, catalogue: &watch::Receiver<Option<Arc<Catalogue>>>) {
        let now = Instant::now();
        let open = self.outbox.fence.gate.horizon().open;
        self.leaves_at = None;
        let streams = self.outbox.state.streams();
        self.forget(&streams);
        for standing in &streams {
            if stream::is_next(standing, &streams) {
                self.send(*standing, open, now);
            }
            self.acknowledge(*standing, now);
        }
        let own = self.outbox.state.own_buffered();
        let own: Vec<OwnBuffered> =
            own.into_iter().filter(|own| own.standing.since.position.index() <= open).collect();
        self.heard.retain(|(since, _), _| own.iter().any(|own| own.standing.since == *since));
        if own.is_empty() {
            return;
        }
        let Some(catalogue) = catalogue.borrow().clone() else { return };
        let others: Vec<u32> =
            catalogue.sets.keys().copied().filter(|set| *set != self.outbox.fence.set).collect();
        others.iter().for_each(|to| self.tell(*to, &own, now));
        own.iter().filter(|own| own.standing.draining).for_each(|own| self.end(own, &others, now));
    }

    /// Sends what waits in a stream, as much as may be on its way.
    fn send(&mut self, standing: StreamStanding, open: u64, now: Instant) {
        let name = standing.name;
        while !self.reading.contains(&name) && self.patience.entry(name.to).or_default().is_over(now) {
            let course = self.courses.entry(name).or_default();
            let Some(after) = course.next_load(standing.acknowledged) else { return };
            if after >= standing.last {
                return;
            }
            if let Some(until) = course.gathers(standing.last - after, now) {
                let first = self.leaves_at.map_or(until, |at| at.min(until));
                return self.leaves_at = Some(first);
            }
            let from = Span { after, upto: open };
            if self.nothing.get(&name) == Some(&from) {
                return;
            }
            let state = self.outbox.state.clone();
            let read = move || state.parcels(name, after, open, PARCELS_PER_LOAD);
            if standing.last - after < PARCELS_PER_LOAD as u64 {
                // Just booked, and in memory still.
                if !self.ship(name, read(), now) {
                    return;
                }
                continue;
            }
            // What fills a load has waited, and may have to come from disk; nobody waits for it.
            self.reading.insert(name);
            let platform = self.outbox.fence.platform.clone();
            let reading = async move {
                match platform::blocking(&*platform, read).await {
                    Ok(parcels) => Answer::Read { name, from, parcels },
                    Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    // The runtime shuts down, and whoever waits here with it.
                    Err(_) => std::future::pending().await,
                }
            };
            self.answers.push(reading.boxed());
        }
    }

    /// Sends a load. Whether there was one.
    fn ship(&mut self, name: StreamName, parcels: Result<Vec<Outgoing>, Fault>, now: Instant) -> bool {
        let Outbox { fence, ways, .. } = self.outbox;
        let parcels = match parcels {
            Ok(parcels) => parcels,
            Err(fault) => {
                // The replica has stopped, and says so itself.
                debug!(set = fence.set, %fault, "parcels cannot be read");
                return false;
            }
        };
        let Some(last) = parcels.last().map(|one| one.credit.number) else { return false };
        let numbers: Numbers = parcels.iter().map(|one| (one.credit.number, one.by)).collect();
        let steps = parcels.into_iter().map(|Outgoing { by, credit }| (by, BufferStep::Credit(credit)));
        let commands: Vec<Bytes> = steps.map(|(by, step)| encoded(by, step)).collect();
        self.courses.entry(name).or_default().left(last, now);
        let ask = |commands| ways.ask(name.to, self.origin(), commands, now + WAIT);
        let again = canary::on(Canary::OutboxReplayed).then(|| ask(commands.clone()));
        let answers = ask(commands);
        let incarnation = self.incarnation_of(name.to);
        self.answers.push(
            async move {
                let outcomes = decoded(answers.await);
                if let Some(again) = again {
                    let _ = again.await;
                }
                Answer::Parcels { name, incarnation, numbers, outcomes }
            }
            .boxed(),
        );
        faults::reached(Point::BufferedParcelSent);
        true
    }

    fn incarnation_of(&self, set: u32) -> Option<u32> {
        self.outbox.catalogue.borrow().as_ref()?.incarnation(set)
    }

    /// What sets have said in an incarnation that is over counts no more. Neither does what is known of a stream that has since
    /// been put back.
    fn forget(&mut self, streams: &[StreamStanding]) {
        let catalogue = self.outbox.catalogue.borrow().clone();
        let Some(catalogue) = catalogue else { return };
        for set in catalogue.sets.values() {
            let before = self.incarnations.insert(set.id, set.incarnation);
            if before.is_some_and(|before| before != set.incarnation) {
                self.courses
                    .iter_mut()
                    .filter(|(name, _)| name.to == set.id)
                    .for_each(|(_, one)| one.forget());
                self.heard.retain(|(_, to), _| *to != set.id);
            }
        }
        for StreamStanding { name, acknowledged, .. } in streams {
            let before = self.acknowledged.insert(*name, *acknowledged).unwrap_or(0);
            if *acknowledged < before
                && let Some(course) = self.courses.get_mut(name)
            {
                course.forget();
            }
        }
    }

    fn origin(&self) -> Origin {
        let fence = &self.outbox.fence;
        Origin::Set { set: fence.set, incarnation: fence.incarnation }
    }

    /// Tells the own log what has been taken in.
    fn acknowledge(&mut self, standing: StreamStanding, now: Instant) {
        let name = standing.name;
        let Some(course) = self.courses.get_mut(&name) else { return };
        let Some((through, by)) = course.acknowledgement(standing.acknowledged) else { return };
        if self.own_again.is_some_and(|again| again > now) || self.own.len() == OWN_ANSWERS {
            return;
        }
        course.acknowledging(true);
        let step = BufferStep::Acknowledge { to: name.to, through };
        self.propose(Own::Acknowledge(name), by, step, now);
        faults::reached(Point::BufferedAcknowledgeProposed);
    }

    /// Tells another set what it has not heard yet.
    fn tell(&mut self, to: u32, own: &[OwnBuffered], now: Instant) {
        if self.telling.contains(&to) || !self.patience.entry(to).or_default().is_over(now) {
            return;
        }
        let unheard = own.iter().filter(|own| !self.heard.contains_key(&(own.standing.since, to)));
        let mut about = Vec::new();
        let mut commands = Vec::new();
        for OwnBuffered { account, standing } in unheard.take(PARCELS_PER_LOAD) {
            let account = account.clone();
            let step = match standing.draining {
                false => BufferStep::Announce(account),
                true => BufferStep::Withdraw(account),
            };
            about.push(standing.since);
            commands.push(encoded(standing.since, step));
        }
        if about.is_empty() {
            return;
        }
        self.telling.insert(to);
        let answers = self.outbox.ways.ask(to, self.origin(), commands, now + WAIT);
        let incarnation = self.incarnation_of(to);
        let heard = async move { Answer::Words { to, incarnation, about, outcomes: decoded(answers.await) } };
        self.answers.push(heard.boxed());
    }

    /// Ends the leaving of an account, if all others have withdrawn it and all that they had sent is here.
    fn end(&mut self, own: &OwnBuffered, others: &[u32], now: Instant) {
        let since = own.standing.since;
        if self.draining.contains(&since)
            || self.own_again.is_some_and(|again| again > now)
            || self.own.len() == OWN_ANSWERS
        {
            return;
        }
        let mut ends = Vec::new();
        for other in others {
            let Some(said) = self.heard.get(&(since, *other)) else { return };
            ends.extend(said.iter().map(|end| InboxEnd { set: *other, end: *end }));
        }
        let is_here =
            |inbox: &InboxEnd| self.outbox.state.taken(inbox.set, inbox.end.incarnation) >= inbox.end.number;
        if !ends.iter().all(is_here) {
            return;
        }
        self.draining.insert(since);
        let account = own.account.account.clone();
        self.propose(Own::Drained(since), since, BufferStep::Drained { account, ends }, now);
    }

    fn propose(&mut self, own: Own, by: TransactionId, step: BufferStep, now: Instant) {
        let no = self.next_no;
        self.next_no += 1;
        self.own.insert(no, own);
        let (commands, deadline) = (vec![encoded(by, step)], now + WAIT);
        let reply = self.own_replies.clone();
        let submission = Submission { no, origin: None, commands, deadline, reply };
        if let Some(refused) = self.outbox.proposer.submit(submission) {
            // In its turn, like all others.
            self.own_replies.try_send(refused).expect("there is room for a reply to each submission");
        }
    }

    fn on_answer(&mut self, answer: Answer) {
        let now = Instant::now();
        let (to, whole) = match answer {
            Answer::Read { name, from, parcels } => {
                self.reading.remove(&name);
                // Something may have been lost meanwhile, so that the stream goes on elsewhere.
                let goes_on = self.courses.entry(name).or_default().next_load(0) == Some(from.after);
                if goes_on && !self.ship(name, parcels, now) {
                    self.nothing.insert(name, from);
                }
                return;
            }
            Answer::Parcels { name, incarnation, numbers, outcomes } => {
                // What an incarnation has taken in that is over, the next one may have lost.
                let outcomes = outcomes.filter(|_| self.incarnation_of(name.to) == incarnation);
                if outcomes.iter().flatten().any(is_full) {
                    error!(
                        set = self.outbox.fence.set,
                        to = name.to,
                        "a credit cannot be taken in: the clearing or suspense account there is full"
                    );
                }
                let course = self.courses.get_mut(&name).expect("it has sent the load");
                let heard = course.heard(numbers, outcomes);
                self.outbox.metrics.credited.inc_by(heard.credited);
                self.outbox.metrics.suspended.inc_by(heard.suspended);
                (name.to, heard.whole)
            }
            Answer::Words { to, incarnation, about, outcomes } => {
                let outcomes = outcomes.filter(|_| self.incarnation_of(to) == incarnation);
                self.telling.remove(&to);
                let mut whole = outcomes.is_some();
                for (since, outcome) in about.into_iter().zip(outcomes.unwrap_or_default()) {
                    let ends = match outcome.result {
                        Ok(Effect::Announced) => Vec::new(),
                        Ok(Effect::Withdrawn(ends)) => ends,
                        _ => {
                            whole = false;
                            continue;
                        }
                    };
                    self.heard.insert((since, to), ends);
                }
                (to, whole)
            }
        };
        let patience = self.patience.entry(to).or_default();
        match whole {
            true => *patience = Patience::default(),
            false => patience.lost(now),
        }
    }

    fn on_own_reply(&mut self, reply: &wire::ItemReply) {
        let Some(own) = self.own.remove(&reply.no) else { return };
        let done = match &reply.result {
            Some(ItemResult::Done(done)) => {
                done.outcomes.first().map(outcome_of).filter(|outcome| outcome.result.is_ok())
            }
            _ => None,
        };
        if done.is_none() {
            self.own_again = Some(Instant::now() + BACK_OFF_MIN);
        }
        match own {
            Own::Acknowledge(name) => {
                self.courses.entry(name).or_default().acknowledging(false);
            }
            Own::Drained(since) => {
                self.draining.remove(&since);
                if done.is_some() {
                    info!(set = self.outbox.fence.set, %since, "a buffered account is strict again");
                    faults::reached(Point::BufferedDrained);
                }
            }
        }
    }
}

fn encoded(by: TransactionId, step: BufferStep) -> Bytes {
    let mut bytes = Vec::with_capacity(128);
    codec::encode_command(&Command::BufferStep { by, step }, &mut bytes);
    bytes.into()
}

fn outcome_of(bytes: &Bytes) -> Outcome {
    codec::decode_outcome(bytes).expect("this replica has just encoded it")
}

/// What another set has answered; None: nothing that can be understood.
fn decoded(answers: Result<Vec<Bytes>, String>) -> Option<Vec<Outcome>> {
    match answers {
        Ok(answers) => answers.iter().map(|bytes| codec::decode_outcome(bytes).ok()).collect(),
        Err(why) => {
            debug!(why, "another set does not answer; it is asked again");
            None
        }
    }
}
