//! Clients that journal: seeded loops that book transfers through both routers, send many requests again (at once, later,
//! on the other router, with another body), break connections, and keep every answer. They judge nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use twinset_tools::load::plan::{Plan, Shape};
use twinset_tools::load::random::Random;

use crate::api::Router;
use crate::history::{Answer, Asked, Call, History, Read, Wish};

/// What traffic to make.
#[derive(Clone, Debug)]
pub struct Options {
    /// `ADDRESS:PORT` of each router.
    pub routers: Vec<String>,
    /// The owning set of every slot.
    pub slots: Vec<u32>,
    /// Where all choices come from.
    pub seed: u64,
    /// Loops.
    pub clients: usize,
    /// Accounts that pay each other.
    pub accounts: usize,
    /// New requests per second, all clients together; answers that are slow lower it.
    pub rate: u32,
    /// Request ids in all: what bounds the journal. Nothing new is sent beyond it.
    pub requests_max: usize,
}

/// Traffic that flows.
pub struct Traffic {
    accounts: Vec<String>,
    stop: Arc<AtomicBool>,
    began: Instant,
    workers: Vec<JoinHandle<(Vec<Asked>, Vec<Read>)>>,
}

/// How long most calls wait.
const PATIENT: Duration = Duration::from_secs(5);
const OPENERS: usize = 16;
/// How far back an old request may be sent again.
const RECENT: usize = 1_000;

impl Traffic {
    /// Opens the accounts and lets the traffic flow.
    pub async fn start(options: &Options) -> anyhow::Result<Self> {
        let shape = Shape {
            name: "k".to_owned(),
            accounts: options.accounts,
            hot: false,
            batch: 1,
            slots: options.slots.clone(),
        };
        let plan = Plan::new(&shape);
        let (accounts, empty) = account_ids(&plan);
        open_all(&accounts, &empty, &options.routers).await?;
        let numbers: BTreeMap<String, u32> =
            accounts.iter().enumerate().map(|(number, id)| (id.clone(), number as u32)).collect();
        let shared = Arc::new(Shared {
            plan,
            sets: options
                .slots
                .iter()
                .copied()
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect(),
            accounts: accounts.clone(),
            numbers,
            left: AtomicUsize::new(options.requests_max),
        });
        let (stop, began) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let period = Duration::from_secs(1) * options.clients as u32 / options.rate.max(1);
        let worker = |number: usize| {
            let client = Client {
                name: format!("{:x}-{number}", options.seed),
                shared: shared.clone(),
                routers: options.routers.iter().map(|addr| Router::new(addr)).collect(),
                random: Random::seeded(
                    options.seed ^ (number as u64 + 1).wrapping_mul(0xa076_1d64_78bd_642f),
                ),
                began,
                requests: Vec::new(),
                reads: Vec::new(),
            };
            tokio::spawn(client.run(stop.clone(), period))
        };
        let workers = (0..options.clients).map(worker).collect();
        Ok(Traffic { accounts, stop, began, workers })
    }

    /// Microseconds on the clock of the journal.
    pub fn now_us(&self) -> u64 {
        micros(self.began)
    }

    /// When the clock of the journal began.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Sends nothing new, waits for what is under way, and hands over the journal.
    pub async fn stop(self) -> anyhow::Result<History> {
        self.stop.store(true, Ordering::Relaxed);
        let mut history = History { accounts: self.accounts, ..History::default() };
        for worker in self.workers {
            let (requests, reads) = worker.await.context("a client was cut off")?;
            history.requests.extend(requests);
            history.reads.extend(reads);
        }
        Ok(history)
    }
}

/// Microseconds since `began`.
pub fn micros(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The accounts that pay each other, then for each tag one that stays empty; and how many of the first there are.
fn account_ids(plan: &Plan) -> (Vec<String>, usize) {
    let ids = plan.account_ids();
    let mut accounts: Vec<String> = ids.iter().map(|(_, id)| id.clone()).collect();
    let mut empty: Vec<String> = accounts.iter().map(|id| empty_of(id)).collect();
    empty.dedup();
    let paying = accounts.len();
    accounts.extend(empty);
    (accounts, paying)
}

/// The empty account that shares a tag with `account`.
fn empty_of(account: &str) -> String {
    let tag = account.rsplit_once(':').map_or(account, |(tag, _)| tag);
    format!("{tag}:empty")
}

async fn open_all(accounts: &[String], paying: &usize, routers: &[String]) -> anyhow::Result<()> {
    let chunk = accounts.len().div_ceil(OPENERS).max(1);
    let openers = accounts.chunks(chunk).enumerate().map(async |(opener, ids)| {
        let mut router = Router::new(&routers[opener % routers.len()]);
        for (at, id) in ids.iter().enumerate() {
            let limit = if opener * chunk + at < *paying { "none" } else { "0" };
            router.open_account(id, limit).await?;
        }
        anyhow::Ok(())
    });
    join_all(openers).await.into_iter().collect()
}

struct Shared {
    plan: Plan,
    sets: Vec<u32>,
    accounts: Vec<String>,
    numbers: BTreeMap<String, u32>,
    left: AtomicUsize,
}

struct Client {
    name: String,
    shared: Arc<Shared>,
    routers: Vec<Router>,
    random: Random,
    began: Instant,
    requests: Vec<Asked>,
    reads: Vec<Read>,
}

/// How one call is made.
#[derive(Clone, Copy)]
struct Manner {
    router: usize,
    other_body: bool,
    deadline: Duration,
    /// When the client hangs up; none: when the answer must have come.
    patience: Option<Duration>,
}

impl Client {
    async fn run(mut self, stop: Arc<AtomicBool>, period: Duration) -> (Vec<Asked>, Vec<Read>) {
        let mut pace = tokio::time::interval(period);
        // What a pause has held up is not made up for all at once.
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.load(Ordering::Relaxed) {
            pace.tick().await;
            let left = &self.shared.left;
            if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err() {
                break;
            }
            self.new_request().await;
            if self.chance(8) {
                self.old_request().await;
            }
            if self.chance(15) {
                self.read().await;
            }
        }
        (self.requests, self.reads)
    }

    /// A balance; a refused read proves nothing and is not kept.
    async fn read(&mut self) {
        let account = self.random.below(self.shared.accounts.len());
        let linearizable = self.chance(60);
        let router = self.random.below(self.routers.len());
        let consistency = if linearizable { "linearizable" } else { "stale" };
        let begin_us = micros(self.began);
        let id = &self.shared.accounts[account];
        if let Ok((balance, as_of)) = self.routers[router].balance_as_of(id, consistency, PATIENT).await {
            self.reads.push(Read { account: account as u32, linearizable, begin_us, as_of, balance });
        }
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.random.below(100) < percent
    }

    fn wish(&mut self) -> Wish {
        let set = self.shared.sets[self.random.below(self.shared.sets.len())];
        let transfer = self.shared.plan.draw(set, &mut self.random).remove(0);
        let doomed = self.chance(4);
        let numbers = &self.shared.numbers;
        let debit = if doomed { empty_of(&transfer.debit) } else { transfer.debit };
        Wish { debit: numbers[&debit], credit: numbers[&transfer.credit], cents: transfer.cents, doomed }
    }

    /// A new wish, and what a client under trouble makes of it.
    async fn new_request(&mut self) {
        let wish = self.wish();
        let id = format!("{}-{}", self.name, self.requests.len());
        let mut asked = Asked { id, wish, calls: Vec::new() };
        let router = self.random.below(self.routers.len());
        let mut manner = Manner { router, other_body: false, deadline: PATIENT, patience: None };
        match self.random.below(100) {
            // Hangs up before the answer can be there.
            0..3 => manner.patience = Some(Duration::from_micros(200 + self.random.below(5_000) as u64)),
            // Is in a hurry.
            3..13 => manner.deadline = Duration::from_millis(60 + self.random.below(400) as u64),
            _ => {}
        }
        if self.chance(4) {
            self.ask_everywhere(&mut asked).await;
        } else {
            self.ask(&mut asked, manner).await;
        }
        let again = match asked.calls.last().map(|call| &call.answer) {
            Some(Answer::Unknown) => self.chance(70),
            Some(Answer::NotApplied { .. }) => self.chance(50),
            _ => self.chance(30),
        };
        if again {
            self.ask_again(&mut asked).await;
        }
        self.requests.push(asked);
    }

    /// A request of some time ago, once more.
    async fn old_request(&mut self) {
        let back = self.random.below(self.requests.len().min(RECENT));
        let at = self.requests.len() - 1 - back;
        let mut asked = self.requests[at].clone();
        self.ask_again(&mut asked).await;
        self.requests[at] = asked;
    }

    /// The same id through another router; now and then, once it is decided, with another body.
    async fn ask_again(&mut self, asked: &mut Asked) {
        let last = asked.calls.last().map_or(0, |call| call.router);
        let router = (last + 1) % self.routers.len();
        let other_body = asked.decided().is_some() && self.chance(15);
        self.ask(asked, Manner { router, other_body, deadline: PATIENT, patience: None }).await;
    }

    async fn ask(&mut self, asked: &mut Asked, manner: Manner) {
        let mut wish = asked.wish;
        wish.cents += u32::from(manner.other_body);
        let begin_us = micros(self.began);
        let router = &mut self.routers[manner.router];
        let answer =
            router.book(&self.shared.accounts, &asked.id, &wish, manner.deadline, manner.patience).await;
        let (router, other_body) = (manner.router, manner.other_body);
        asked.calls.push(Call { router, other_body, begin_us, end_us: micros(self.began), answer });
    }

    /// The same request through all routers at the same time.
    async fn ask_everywhere(&mut self, asked: &mut Asked) {
        let (began, begin_us) = (self.began, micros(self.began));
        let (accounts, id, wish) = (&self.shared.accounts, &asked.id, asked.wish);
        let calls = self.routers.iter_mut().enumerate().map(async |(number, router)| {
            let answer = router.book(accounts, id, &wish, PATIENT, None).await;
            Call { router: number, other_body: false, begin_us, end_us: micros(began), answer }
        });
        let calls = join_all(calls).await;
        asked.calls.extend(calls);
    }
}
