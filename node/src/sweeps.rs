//! Runs the sweeps of a set that this node leads (ADR 18). What is due, and with which number, stands in the state; what this task
//! knows beside that is only which runs it has under way. Two leaders that run the same one meet in the log, which takes one.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use prometheus::{IntCounter, Opts, Registry, register_int_counter_vec_with_registry};
use tokio::sync::watch;
use tracing::{debug, info};
use twinset_control::Catalogue;
use twinset_ledger::canary::{self, Canary};
use twinset_ledger::sweep::{RunEnd, Sweep, transaction};
use twinset_ledger::{AccountNo, Command, Effect, Outcome, Rejection, Transaction};
use twinset_store::SweepRecord;

use crate::across::Across;
use crate::duty::{AGAIN_AFTER, Duty, Leads};
use crate::faults::{self, Point};
use crate::reconciliation;

/// Runs of a set that are under way at a time.
const RUNS_AT_A_TIME: usize = 64;
/// How often a run asks for less because the balance has fallen meanwhile, each time for half.
const HALVINGS: u32 = 8;

/// What the sweepers of all sets count, by how a run has ended, as the leader that has heard of it.
#[derive(Clone)]
pub struct SweepMetrics {
    moved: IntCounter,
    nothing: IntCounter,
    refused: IntCounter,
    unavailable: IntCounter,
}

impl SweepMetrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let ends = register_int_counter_vec_with_registry!(
            Opts::new("twinset_node_sweep_runs_total", "Runs of sweeps by how they ended."),
            &["end"],
            registry
        )?;
        let end = |end: &str| ends.with_label_values(&[end]);
        Ok(SweepMetrics {
            moved: end("moved"),
            nothing: end("nothing"),
            refused: end("refused"),
            unavailable: end("unavailable"),
        })
    }

    fn ended(&self, end: &RunEnd) {
        match end {
            RunEnd::Booked => self.moved.inc(),
            RunEnd::Nothing => self.nothing.inc(),
            RunEnd::Refused(Rejection::SetUnavailable { .. }) => self.unavailable.inc(),
            RunEnd::Refused(_) => self.refused.inc(),
        }
    }
}

/// What the task of one hosted replica needs.
pub struct Sweeper {
    /// Of its set's leader.
    pub duty: Duty,
    /// Says how a run over several sets has ended.
    pub across: Across,
    /// Says where payees live.
    pub catalogue: watch::Receiver<Option<Arc<Catalogue>>>,
    /// Counters.
    pub metrics: SweepMetrics,
}

impl Sweeper {
    /// Runs until the node ends.
    pub async fn run(self) {
        let mut leads = self.duty.leads();
        while leads.begin().await {
            self.lead(&mut leads).await;
        }
    }

    /// Runs what is due until the replica leads no more.
    async fn lead(&self, leads: &mut Leads) {
        let mut courses: FuturesUnordered<BoxFuture<'_, AccountNo>> = FuturesUnordered::new();
        let mut running = BTreeSet::new();
        let mut last = AccountNo::MAX;
        while let Some(done) = leads.look(courses.next()).await {
            if let Some(account) = done {
                running.remove(&account);
            }
            let is_closed = reconciliation::is_closed(&self.catalogue, self.duty.fence.set);
            let room = if is_closed { 0 } else { RUNS_AT_A_TIME - running.len() };
            let is_forgotten = |sweep: &Sweep| sweep.runs >= 2 && canary::on(Canary::ForgottenSweep);
            let free = |sweep: &Sweep| !running.contains(&sweep.account) && !is_forgotten(sweep);
            // In turn, so that those which come to nothing do not keep the others from theirs.
            for record in self.duty.state.sweeps_to_run(self.duty.now(), last, room, free) {
                last = record.sweep.account;
                running.insert(last);
                courses.push(self.course(record).boxed());
            }
        }
    }

    async fn course(&self, record: SweepRecord) -> AccountNo {
        let account = record.sweep.account;
        if !self.carry_on(record).await {
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        account
    }

    /// One run, or the end of one. Whether it came to something in the log.
    async fn carry_on(&self, mut record: SweepRecord) -> bool {
        for halvings in 0..HALVINGS {
            let SweepRecord { sweep, account } = &record;
            if let Some(open) = sweep.open {
                if self.duty.state.attempt(open).is_some() {
                    // If nobody here can tell, the log does not take its end in.
                    let _ = self.across.end_of(open).await;
                }
                return self.end(&record, sweep.runs).await;
            }
            let Some(next) = sweep.runs.checked_add(1) else { return false };
            let movable = sweep.movable(account);
            if movable <= 0 {
                return self.end(&record, next).await;
            }
            let minor = (movable >> halvings).max(1);
            let Some(outcome) = self.moved(transaction(sweep, account, minor)).await else { return false };
            match outcome.result {
                Ok(Effect::Begun) => {}
                Ok(_) => {
                    if !outcome.replayed {
                        self.metrics.moved.inc();
                    }
                    return true;
                }
                // Less can be moved by now, or another leader has run it.
                Err(Rejection::StepOutOfPlace { .. } | Rejection::RequestMismatch { .. }) => {}
                Err(refused) => {
                    let (set, sweep, account) = (self.duty.fence.set, sweep.id, &account.id);
                    info!(set, %sweep, account, run = next, %refused, "a sweep's run is refused");
                }
            }
            let again = self.duty.state.sweep(&account.id).ok().and_then(|read| read.value);
            let again = again.filter(|again| again.sweep.id == sweep.id);
            let is_due = |again: &SweepRecord| {
                again.sweep.open.is_some() || again.sweep.is_due(&again.account, self.duty.now())
            };
            match again.filter(is_due) {
                Some(again) => record = again,
                None => return true,
            }
        }
        false
    }

    /// Writes down how a run has ended.
    async fn end(&self, record: &SweepRecord, run: u32) -> bool {
        let (account, sweep) = (record.account.id.clone(), record.sweep.id);
        let ended = Command::EndRun { account, sweep, run };
        let Some(outcome) = self.duty.decide(ended).await else { return false };
        match outcome.result {
            Ok(Effect::Ran(end)) => {
                self.metrics.ended(&end);
                true
            }
            _ => false,
        }
    }

    /// Puts the transaction of a run into the log. None: it may come to the log yet.
    async fn moved(&self, transaction: Transaction) -> Option<Outcome> {
        let catalogue = self.catalogue.borrow().clone();
        let command = match self.duty.booking(transaction, catalogue.as_deref()) {
            Ok(command) => command,
            Err(detail) => {
                debug!(set = self.duty.fence.set, detail, "a sweep's run cannot begin");
                return None;
            }
        };
        faults::reached(Point::SweepDue);
        let outcome = self.duty.decide(command).await;
        faults::reached(Point::SweepRan);
        outcome
    }
}
