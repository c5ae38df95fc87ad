//! The task that asks initiators about the overdue holds of one hosted replica's set, while that replica leads. Each initiator
//! has so many calls at a time, so that one that hangs holds up nobody else. It remembers nothing: which try is next, and when,
//! stands in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};
use twinset_control::Catalogue;
use twinset_ledger::check_back::{Asking, Came, CheckedBack, Failure, TRIES_MAX, confirmation};
use twinset_ledger::hold::Hold;
use twinset_ledger::{Account, Command, Effect, Outcome, Rejection, Transaction, TransactionId};

use super::answer::{self, Answer, Question};
use super::call::{Failed, call};
use super::config::{Initiator, Initiators, LastResort};
use super::metrics::CheckBackMetrics;
use crate::across::Across;
use crate::duty::{AGAIN_AFTER, Duty, Leads};
use crate::faults::{self, Point};
use crate::reconciliation;

/// What the task of one hosted replica needs.
pub struct Asker {
    /// Of its set's leader.
    pub duty: Duty,
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

/// Holds with which the last resort was taken by this leader, and which it has not ended: the ledger refuses it so far.
type Exhausted = Mutex<BTreeSet<TransactionId>>;

/// One that came to its end: the log has it, or it is to be looked at again.
struct Done {
    initiator: String,
    hold: TransactionId,
}

impl Asker {
    /// Runs until the node ends.
    pub async fn run(self) {
        let mut leads = self.duty.leads();
        while leads.begin().await {
            self.lead(&mut leads).await;
        }
    }

    /// Asks until the replica leads no more; then all calls end.
    async fn lead(&self, leads: &mut Leads) {
        let exhausted = Exhausted::default();
        let mut courses: FuturesUnordered<BoxFuture<'_, Done>> = FuturesUnordered::new();
        let mut running = BTreeMap::<String, BTreeSet<TransactionId>>::new();
        // Said once in each lead.
        let mut unknown = BTreeSet::new();
        while let Some(done) = leads.look(courses.next()).await {
            if let Some(Done { initiator, hold }) = done {
                running.entry(initiator).or_default().remove(&hold);
            }
            self.name_the_unknown(&mut unknown);
            if reconciliation::is_closed(&self.catalogue, self.duty.fence.set) {
                continue;
            }
            self.start(&mut running, &courses, &exhausted);
        }
    }

    fn name_the_unknown(&self, told: &mut BTreeSet<String>) {
        for name in self.duty.state.initiators() {
            if self.initiators.get(&name).is_none() && told.insert(name.clone()) {
                let set = self.duty.fence.set;
                error!(set, initiator = name, "holds name an initiator that is not configured here");
            }
        }
    }

    /// Begins what is due, as far as each initiator has room.
    fn start<'a>(
        &'a self,
        running: &mut BTreeMap<String, BTreeSet<TransactionId>>,
        courses: &FuturesUnordered<BoxFuture<'a, Done>>,
        exhausted: &'a Exhausted,
    ) {
        let now = self.duty.now();
        for initiator in self.initiators.iter() {
            let name = &initiator.config.name;
            let room = initiator.config.concurrency;
            let running = running.entry(name.clone()).or_default();
            // Of so many at least as many as there is room for are not running.
            for hold in self.duty.state.holds_to_ask(name, now, room + running.len()) {
                if running.len() < room && running.insert(hold) {
                    let done = Done { initiator: name.clone(), hold };
                    courses.push(
                        async move {
                            if !self.course(initiator, hold, exhausted).await {
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
    async fn course(&self, initiator: &Initiator, hold: TransactionId, exhausted: &Exhausted) -> bool {
        let Some((hold, account)) = self.duty.state.open_hold(hold) else { return false };
        let last = hold.journal.last().map_or(hold.id.position, |line| line.at);
        let told = last.index() <= self.duty.fence.gate.horizon().open;
        // What is all in hand of captures over several sets may come back, and is not to be decided meanwhile.
        if hold.asked_from_ns().is_none() || hold.left() == 0 || !told {
            return false;
        }
        let due = Due { hold, account, initiator };
        if due.asking().tries_in_a_row() >= initiator.config.tries {
            let id = due.hold.id;
            // Once for each hold, however often the ledger refuses it, and however few tries it comes after.
            if exhausted.lock().insert(id) {
                self.exhausted(&due);
            }
            let taken = self.last_resort(&due).await;
            if !self.is_asked(id) {
                exhausted.lock().remove(&id);
            }
            return taken;
        }
        // Its expiry was moved meanwhile, perhaps, or more tries are allowed.
        exhausted.lock().remove(&due.hold.id);
        match self.ask(&due).await {
            Ok(Answer::Pending) => self.write(&due, Came::Pending { next_ns: self.next_ns(&due) }).await,
            Ok(Answer::Cancel) => self.write(&due, Came::Cancelled).await,
            Ok(Answer::Confirm(minor)) => self.confirm(&due, minor).await,
            Err((why, detail)) => {
                let (set, no) = (self.duty.fence.set, due.no());
                info!(set, hold = %due.hold.id, initiator = due.name(), no, why = why.name(), detail, "a try has failed");
                self.fail(&due, why).await
            }
        }
    }

    async fn ask(&self, due: &Due<'_>) -> Result<Answer, Failed> {
        let body = serde_json::to_vec(&Question::about(&due.hold, &due.account.id, due.money()))
            .expect("it is plain JSON");
        let key = format!("{}-{}", due.hold.id, due.no());
        faults::reached(Point::CheckBackAsking);
        let began = Instant::now();
        let body = call(&*self.duty.fence.platform, due.initiator, &key, body).await;
        faults::reached(Point::CheckBackAnswered);
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
        self.duty.now().saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX))
    }

    async fn fail(&self, due: &Due<'_>, why: Failure) -> bool {
        self.write(due, Came::Failed { why, next_ns: self.next_ns(due) }).await
    }

    async fn write(&self, due: &Due<'_>, came: Came) -> bool {
        let done = CheckedBack { hold: due.hold.id, no: due.no(), came };
        let outcome = self.duty.decide(Command::CheckedBack(done)).await;
        faults::reached(Point::CheckBackCounted);
        outcome.is_some_and(|outcome| outcome.result.is_ok())
    }

    /// Whether the hold still waits for a try or for the last resort.
    fn is_asked(&self, hold: TransactionId) -> bool {
        self.duty.state.open_hold(hold).is_some_and(|(hold, _)| hold.asked_from_ns().is_some())
    }

    fn exhausted(&self, due: &Due<'_>) {
        let (set, hold) = (self.duty.fence.set, due.hold.id);
        let (tries, resort) = (due.asking().tries_in_a_row(), due.initiator.config.last_resort);
        warn!(set, %hold, initiator = due.name(), tries, ?resort, "no try has brought an answer");
        self.metrics.exhausted.with_label_values(&[due.name()]).inc();
    }

    async fn last_resort(&self, due: &Due<'_>) -> bool {
        match due.initiator.config.last_resort {
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
        let booked = self.booked(confirmation(&due.hold, &due.account, minor)).await;
        faults::reached(Point::CheckBackConfirmed);
        let refused = match booked {
            None => return false,
            Some(Ok(())) => return true,
            // Somebody has ended it, moved its expiry, or counted the try.
            Some(Err(Rejection::StepOutOfPlace { .. } | Rejection::HoldEnded { .. })) => return false,
            Some(Err(refused)) => refused,
        };
        let (set, no) = (self.duty.fence.set, due.no());
        info!(set, hold = %due.hold.id, initiator = due.name(), no, %refused, "a confirmation is refused");
        self.count(due, "refused");
        self.fail(due, Failure::Refused { number: refused.number() }).await
    }

    /// What came of a transaction. None: nobody here can tell, and it may be under way.
    async fn booked(&self, transaction: Transaction) -> Option<Result<(), Rejection>> {
        let catalogue = self.catalogue.borrow().clone();
        let command = match self.duty.booking(transaction, catalogue.as_deref()) {
            Ok(command) => command,
            Err(detail) => {
                debug!(set = self.duty.fence.set, detail, "a confirmation cannot begin");
                return None;
            }
        };
        let outcome = self.duty.decide(command).await?;
        let result = match outcome.result {
            Ok(Effect::Begun) => {
                let Outcome { incarnation, position, .. } = outcome;
                self.across.end_of(TransactionId { set: self.duty.fence.set, incarnation, position }).await?
            }
            result => result,
        };
        Some(result.map(|_| ()))
    }
}
