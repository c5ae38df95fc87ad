//! The task that asks initiators about the overdue holds of one hosted replica's set, while that replica leads. Each initiator
//! has so many calls at a time, so that one that hangs holds up nobody else. It remembers nothing: which try is next, and when,
//! stands in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, error, info, warn};
use twinset_control::Catalogue;
use twinset_ledger::check_back::{Asking, Came, CheckedBack, Failure, TRIES_MAX, confirmation};
use twinset_ledger::hold::Hold;
use twinset_ledger::{Account, Command, Effect, Outcome, Rejection, Transaction, TransactionId, slot_of};
use twinset_store::LedgerReplica;

use super::answer::{self, Answer, Question};
use super::call::{Failed, call};
use super::config::{Initiator, Initiators, LastResort};
use super::metrics::CheckBackMetrics;
use crate::across::Across;
use crate::admission;
use crate::own_commands;
use crate::proposer::Proposer;
use crate::raft::{Group, Role};
use crate::set::Fence;

/// Between two looks at what is due.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What came to nothing in the log is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What the task of one hosted replica needs.
pub struct Asker {
    /// Whose set.
    pub fence: Arc<Fence>,
    /// Says who leads.
    pub group: Group,
    /// Says what is due.
    pub state: LedgerReplica,
    /// The way into the log.
    pub proposer: Proposer,
    /// Says how a confirmation over several sets has ended.
    pub across: Across,
    /// Says where payees live.
    pub catalogue: watch::Receiver<Option<Arc<Catalogue>>>,
    /// Who may be called.
    pub initiators: Initiators,
    /// Counters.
    pub metrics: CheckBackMetrics,
}

/// A hold that is due, and whom to ask.
struct Due<'a> {
    hold: Hold,
    account: Account,
    initiator: &'a Initiator,
}

impl Due<'_> {
    fn asking(&self) -> &Asking {
        self.hold.check_back.as_ref().expect("it is checked back")
    }

    fn no(&self) -> u32 {
        self.asking().tries + 1
    }

    /// Currency and scale of its amounts.
    fn money(&self) -> (&str, u8) {
        (&self.account.currency, self.account.scale)
    }

    fn name(&self) -> &str {
        &self.initiator.config.name
    }
}

/// One that came to its end: the log has it, or it is to be looked at again.
struct Done {
    initiator: String,
    hold: TransactionId,
}

impl Asker {
    /// Runs until the node ends.
    pub async fn run(self) {
        let mut view = self.group.view();
        while view.wait_for(|view| view.role == Role::Leader).await.is_ok() {
            self.lead().await;
        }
    }

    /// Asks until the replica leads no more; then all calls end.
    async fn lead(&self) {
        let mut view = self.group.view();
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut courses: FuturesUnordered<BoxFuture<'_, Done>> = FuturesUnordered::new();
        let mut running = BTreeMap::<String, BTreeSet<TransactionId>>::new();
        // Said once in each lead.
        let mut unknown = BTreeSet::new();
        loop {
            let mut done = None;
            tokio::select! {
                biased;
                changed = view.changed() => if changed.is_err() { return },
                _ = tick.tick() => {}
                Some(one) = courses.next() => done = Some(one),
            }
            if view.borrow_and_update().role != Role::Leader {
                return;
            }
            if let Some(Done { initiator, hold }) = done {
                running.entry(initiator).or_default().remove(&hold);
            }
            self.name_the_unknown(&mut unknown);
            self.start(&mut running, &courses);
        }
    }

    fn now(&self) -> u64 {
        // Where a leader's clock was ahead of ours, the ledger's time is.
        self.fence.platform.now_unix_ns().max(self.state.last_time())
    }

    fn name_the_unknown(&self, told: &mut BTreeSet<String>) {
        for name in self.state.initiators() {
            if self.initiators.get(&name).is_none() && told.insert(name.clone()) {
                let set = self.fence.set;
                error!(set, initiator = name, "holds name an initiator that is not configured here");
            }
        }
    }

    /// Begins what is due, as far as each initiator has room.
    fn start<'a>(
        &'a self,
        running: &mut BTreeMap<String, BTreeSet<TransactionId>>,
        courses: &FuturesUnordered<BoxFuture<'a, Done>>,
    ) {
        let now = self.now();
        for initiator in self.initiators.iter() {
            let name = &initiator.config.name;
            let room = initiator.config.concurrency;
            let running = running.entry(name.clone()).or_default();
            // Of so many at least as many as there is room for are not running.
            for hold in self.state.holds_to_ask(name, now, room + running.len()) {
                if running.len() < room && running.insert(hold) {
                    let done = Done { initiator: name.clone(), hold };
                    courses.push(
                        async move {
                            if !self.course(initiator, hold).await {
                                tokio::time::sleep(AGAIN_AFTER).await;
                            }
                            done
                        }
                        .boxed(),
                    );
                }
            }
        }
    }

    /// One try, or the last resort. Whether that has come to an end in the log; if not it is looked at again, a little later.
    async fn course(&self, initiator: &Initiator, hold: TransactionId) -> bool {
        let Some((hold, account)) = self.state.open_hold(hold) else { return false };
        let last = hold.journal.last().map_or(hold.id.position, |line| line.at);
        let told = last.index() <= self.fence.gate.horizon().open;
        // What is all in hand of captures over several sets may come back, and is not to be decided meanwhile.
        if hold.asked_from_ns().is_none() || hold.left() == 0 || !told {
            return false;
        }
        let due = Due { hold, account, initiator };
        if due.asking().tries_in_a_row() >= initiator.config.tries {
            return self.last_resort(&due).await;
        }
        match self.ask(&due).await {
            Ok(Answer::Pending) => self.write(&due, Came::Pending { next_ns: self.next_ns(&due) }).await,
            Ok(Answer::Cancel) => self.write(&due, Came::Cancelled).await,
            Ok(Answer::Confirm(minor)) => self.confirm(&due, minor).await,
            Err((why, detail)) => {
                let (set, no) = (self.fence.set, due.no());
                info!(set, hold = %due.hold.id, initiator = due.name(), no, why = why.name(), detail, "a try has failed");
                self.fail(&due, why).await
            }
        }
    }

    async fn ask(&self, due: &Due<'_>) -> Result<Answer, Failed> {
        let body = serde_json::to_vec(&Question::about(&due.hold, &due.account.id, due.money()))
            .expect("it is plain JSON");
        let key = format!("{}-{}", due.hold.id, due.no());
        let began = Instant::now();
        let body = call(&*self.fence.platform, due.initiator, &key, body).await;
        self.metrics.seconds.with_label_values(&[due.name()]).observe(began.elapsed().as_secs_f64());
        let answer = body.and_then(|body| {
            answer::parse(&body, &due.hold, due.money()).map_err(|detail| (Failure::Answer, detail))
        });
        self.count(
            due,
            match &answer {
                Ok(Answer::Confirm(_)) => "confirm",
                Ok(Answer::Cancel) => "cancel",
                Ok(Answer::Pending) => "pending",
                Err((why, _)) => why.name(),
            },
        );
        answer
    }

    fn count(&self, due: &Due<'_>, result: &str) {
        self.metrics.calls.with_label_values(&[due.name(), result]).inc();
    }

    /// When the next try is due if this one has settled nothing.
    fn next_ns(&self, due: &Due<'_>) -> u64 {
        let wait = due.initiator.config.back_off(due.asking().tries_in_a_row() + 1);
        self.now().saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX))
    }

    async fn fail(&self, due: &Due<'_>, why: Failure) -> bool {
        self.write(due, Came::Failed { why, next_ns: self.next_ns(due) }).await
    }

    async fn write(&self, due: &Due<'_>, came: Came) -> bool {
        let done = CheckedBack { hold: due.hold.id, no: due.no(), came };
        self.decide(Command::CheckedBack(done)).await.is_some_and(|outcome| outcome.result.is_ok())
    }

    /// None: it may come to the log yet.
    async fn decide(&self, command: Command) -> Option<Outcome> {
        own_commands::decide(&self.proposer, &[command]).await?.pop()
    }

    async fn last_resort(&self, due: &Due<'_>) -> bool {
        let (set, hold) = (self.fence.set, due.hold.id);
        let resort = due.initiator.config.last_resort;
        if due.asking().tries_in_a_row() == due.initiator.config.tries {
            warn!(set, %hold, initiator = due.name(), ?resort, "no try has brought an answer");
            self.metrics.exhausted.with_label_values(&[due.name()]).inc();
        }
        match resort {
            LastResort::Release => self.write(due, Came::Released).await,
            // What the ledger refuses for so long is a person's affair.
            LastResort::Confirm if due.asking().tries_in_a_row() < TRIES_MAX => {
                self.confirm(due, due.hold.left()).await
            }
            LastResort::Confirm | LastResort::Keep => self.write(due, Came::Kept).await,
        }
    }

    /// Captures so much for the payee. The transaction is remembered under the try, so that it is booked once however many
    /// leaders ask for it; what the ledger refuses is a failed try.
    async fn confirm(&self, due: &Due<'_>, minor: i128) -> bool {
        let refused = match self.booked(confirmation(&due.hold, &due.account, minor)).await {
            None => return false,
            Some(Ok(())) => return true,
            // Somebody has ended it, moved its expiry, or counted the try.
            Some(Err(Rejection::StepOutOfPlace { .. } | Rejection::HoldEnded { .. })) => return false,
            Some(Err(refused)) => refused,
        };
        let (set, no) = (self.fence.set, due.no());
        info!(set, hold = %due.hold.id, initiator = due.name(), no, %refused, "a confirmation is refused");
        self.count(due, "refused");
        self.fail(due, Failure::Refused { number: refused.number() }).await
    }

    /// What came of a transaction. None: nobody here can tell, and it may be under way.
    async fn booked(&self, transaction: Transaction) -> Option<Result<(), Rejection>> {
        let catalogue = self.catalogue.borrow().clone()?;
        let own = catalogue.sets.get(&self.fence.set)?;
        let is_own = transaction.legs.iter().all(|leg| own.owns(slot_of(&leg.account)));
        let command = match is_own {
            true => Command::Transaction(transaction),
            false => match admission::beginning(transaction, &catalogue) {
                Ok(begin) => Command::Begin(begin),
                Err((_, detail)) => {
                    debug!(set = self.fence.set, detail, "a confirmation cannot begin");
                    return None;
                }
            },
        };
        let outcome = self.decide(command).await?;
        let result = match outcome.result {
            Ok(Effect::Begun) => {
                let Outcome { incarnation, position, .. } = outcome;
                self.across.end_of(TransactionId { set: self.fence.set, incarnation, position }).await?
            }
            result => result,
        };
        Some(result.map(|_| ()))
    }
}
