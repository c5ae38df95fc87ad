//! Runs the sweeps of a set that this node leads (ADR 18). What is due, and with which number, stands in the state; what this task
//! knows beside that is only which runs it has under way. Two leaders that run the same one meet in the log, which takes one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use prometheus::{IntCounter, Opts, Registry, register_int_counter_vec_with_registry};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::{debug, info};
use twinset_control::Catalogue;
use twinset_ledger::sweep::{RunEnd, Sweep, transaction};
use twinset_ledger::{AccountNo, Command, Effect, Outcome, Rejection, Transaction, slot_of};
use twinset_store::{LedgerReplica, SweepRecord};

use crate::across::Across;
use crate::admission;
use crate::faults::{self, Point};
use crate::own_commands;
use crate::proposer::Proposer;
use crate::raft::{Group, Role};
use crate::set::Fence;

/// Between two looks at what is due.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What came to nothing in the log is tried again after this.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
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
    /// Whose set.
    pub fence: Arc<Fence>,
    /// Says who leads.
    pub group: Group,
    /// Says what is due.
    pub state: LedgerReplica,
    /// The way into the log.
    pub proposer: Proposer,
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
        let mut view = self.group.view();
        while view.wait_for(|view| view.role == Role::Leader).await.is_ok() {
            self.lead().await;
        }
    }

    /// Runs what is due until the replica leads no more.
    async fn lead(&self) {
        let mut view = self.group.view();
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut courses: FuturesUnordered<BoxFuture<'_, AccountNo>> = FuturesUnordered::new();
        let mut running = BTreeSet::new();
        let mut last = AccountNo::MAX;
        loop {
            let mut done = None;
            tokio::select! {
                biased;
                changed = view.changed() => if changed.is_err() { return },
                _ = tick.tick() => {}
                Some(account) = courses.next() => done = Some(account),
            }
            if view.borrow_and_update().role != Role::Leader {
                return;
            }
            if let Some(account) = done {
                running.remove(&account);
            }
            let room = RUNS_AT_A_TIME - running.len();
            let free = |sweep: &Sweep| !running.contains(&sweep.account);
            // In turn, so that those which come to nothing do not keep the others from theirs.
            for record in self.state.sweeps_to_run(self.now(), last, room, free) {
                last = record.sweep.account;
                running.insert(last);
                courses.push(self.course(record).boxed());
            }
        }
    }

    fn now(&self) -> u64 {
        // Where a leader's clock was ahead of ours, the ledger's time is.
        self.fence.platform.now_unix_ns().max(self.state.last_time())
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
                if self.state.attempt(open).is_some() {
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
                    let (set, sweep, account) = (self.fence.set, sweep.id, &account.id);
                    info!(set, %sweep, account, run = next, %refused, "a sweep's run is refused");
                }
            }
            let again = self.state.sweep(&account.id).ok().and_then(|read| read.value);
            let again = again.filter(|again| again.sweep.id == sweep.id);
            let is_due = |again: &SweepRecord| {
                again.sweep.open.is_some() || again.sweep.is_due(&again.account, self.now())
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
        let Some(outcome) = self.decide(Command::EndRun { account, sweep, run }).await else { return false };
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
        let catalogue = self.catalogue.borrow().clone()?;
        let own = catalogue.sets.get(&self.fence.set)?;
        let command = match transaction.legs.iter().all(|leg| own.owns(slot_of(&leg.account))) {
            true => Command::Transaction(transaction),
            false => match admission::beginning(transaction, &catalogue) {
                Ok(begin) => Command::Begin(begin),
                Err((_, detail)) => {
                    debug!(set = self.fence.set, detail, "a sweep's run cannot begin");
                    return None;
                }
            },
        };
        faults::reached(Point::SweepDue);
        let outcome = self.decide(command).await;
        faults::reached(Point::SweepRan);
        outcome
    }

    async fn decide(&self, command: Command) -> Option<Outcome> {
        own_commands::decide(&self.proposer, &[command]).await?.pop()
    }
}
