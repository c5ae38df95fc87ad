//! The traffic generator: opens accounts, sends two-leg transactions in closed loops over several routers, and records
//! what clients saw. `twinset bench`, the demo and the tests of the whole share it. It judges nothing.
//!
//! [`plan`] decides what is sent, [`client`] sends it, [`record`] keeps what came back; here they are put together.
//! Each connection keeps to the accounts of one set, so that a set that pauses holds up its own connections only.

pub mod client;
mod held;
pub mod plan;
pub mod random;
pub mod record;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::task::{JoinHandle, JoinSet};

use crate::error;
use client::Client;
use plan::{Plan, Shape};
use random::Random;
use record::{Class, LoadReport, Sample, Tally};

/// The subject of the traffic's accounts.
pub const SUBJECT: &str = "liability";
/// Their currency.
pub const CURRENCY: &str = "USD";

/// How requests travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1 and JSON.
    Http,
    /// gRPC.
    Grpc,
}

/// What traffic to make.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// How requests travel.
    pub protocol: Protocol,
    /// The routers' URLs for that protocol; connections are spread over them in turn.
    pub routers: Vec<String>,
    /// Closed loops, each with a connection of its own.
    pub connections: usize,
    /// Which accounts and transactions.
    pub shape: Shape,
    /// The deadline that each request names; none: the router's own.
    pub deadline_ms: Option<u32>,
    /// Keep at most this many samples for [`LoadReport::pause`].
    pub samples_max: usize,
}

/// When a run ends, if it is not stopped before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After this long.
    Elapsed(Duration),
    /// When this many requests were sent.
    Requests(u64),
    /// When it is stopped.
    Stopped,
}

/// Accounts are open; traffic can start, more than once.
pub struct Load {
    options: LoadOptions,
    plan: Arc<Plan>,
    began: Instant,
}

/// What all connections of a run share.
struct Shared {
    stop: AtomicBool,
    left: AtomicU64,
    requests: AtomicU64,
    failures: AtomicU64,
    began: Instant,
}

/// Traffic that flows.
pub struct Running {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<Tally>>,
    started: Instant,
}

const OPENERS: usize = 64;

impl Load {
    /// Opens the accounts (again and again is harmless). `progress` hears how many are open.
    pub async fn prepare(options: LoadOptions, progress: impl Fn(u64)) -> anyhow::Result<Self> {
        if options.routers.is_empty() {
            return Err(error::usage("no router is named", "give --routers http://ADDRESS:PORT,..."));
        }
        let mut plan = Plan::new(&options.shape);
        let ids = Arc::new(plan.account_ids());
        let next = Arc::new(AtomicU64::new(0));
        let opened = Arc::new(AtomicU64::new(0));
        let mut openers = JoinSet::new();
        for opener in 0..OPENERS.min(ids.len()) {
            let (ids, next, opened) = (ids.clone(), next.clone(), opened.clone());
            let mut client = Client::new(&options, opener)?;
            openers.spawn(async move {
                let mut sets = Vec::new();
                while let Some((group, id)) = ids.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    sets.push((*group, client.open_account(id).await?));
                    opened.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(sets)
            });
        }
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                done = openers.join_next() => match done {
                    Some(sets) => plan.learn_sets(sets.context("an opener was cut off")??),
                    None => break,
                },
                _ = tick.tick() => progress(opened.load(Ordering::Relaxed)),
            }
        }
        Ok(Load { options, plan: Arc::new(plan), began: Instant::now() })
    }

    /// The sets that the accounts are in.
    pub fn sets(&self) -> Vec<u32> {
        self.plan.sets()
    }

    /// Which accounts and transactions.
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.clone()
    }

    /// Lets the traffic flow.
    pub fn start(&self, until: Until) -> anyhow::Result<Running> {
        let left = match until {
            Until::Requests(requests) => requests,
            Until::Elapsed(_) | Until::Stopped => u64::MAX,
        };
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            left: AtomicU64::new(left),
            requests: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            began: self.began,
        });
        let started = Instant::now();
        let ends = match until {
            Until::Elapsed(time) => Some(started + time),
            Until::Requests(_) | Until::Stopped => None,
        };
        let sets = self.plan.sets();
        let mut workers = Vec::with_capacity(self.options.connections);
        for number in 0..self.options.connections {
            let worker = Worker {
                client: Client::new(&self.options, number)?,
                plan: self.plan.clone(),
                set: sets[number % sets.len()],
                random: Random::new(),
                shared: shared.clone(),
                tally: Tally::new(self.options.samples_max / self.options.connections.max(1)),
                ends,
            };
            workers.push(tokio::spawn(worker.run()));
        }
        Ok(Running { shared, workers, started })
    }
}

/// The counts of a run while it flows.
#[derive(Clone)]
pub struct Watch(Arc<Shared>);

impl Watch {
    /// Requests answered and requests failed until now.
    pub fn counts(&self) -> (u64, u64) {
        (self.0.requests.load(Ordering::Relaxed), self.0.failures.load(Ordering::Relaxed))
    }
}

impl Running {
    /// Microseconds on the clock that samples are kept by.
    pub fn now_us(&self) -> u64 {
        micros(self.shared.began.elapsed())
    }

    /// A look at the counts that outlives the handle.
    pub fn watch(&self) -> Watch {
        Watch(self.shared.clone())
    }

    /// Sends nothing new, and waits for what is under way.
    pub async fn stop(self) -> anyhow::Result<LoadReport> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.finish().await
    }

    /// Waits for the end that the run was given.
    pub async fn finish(self) -> anyhow::Result<LoadReport> {
        let mut all = Tally::new(usize::MAX);
        for worker in self.workers {
            all.add(worker.await.context("a connection's loop was cut off")?);
        }
        Ok(all.report(self.started.elapsed()))
    }
}

struct Worker {
    client: Client,
    plan: Arc<Plan>,
    set: u32,
    random: Random,
    shared: Arc<Shared>,
    tally: Tally,
    ends: Option<Instant>,
}

impl Worker {
    async fn run(mut self) -> Tally {
        while self.may_send() {
            let transfers = self.plan.draw(self.set, &mut self.random);
            let start = Instant::now();
            let answers = self.client.post(&transfers, &mut self.random).await;
            let end = Instant::now();
            let class = answers.worst();
            let sample = Sample {
                start_us: micros(start - self.shared.began),
                end_us: micros(end - self.shared.began),
                set: self.set,
                class,
            };
            self.tally.record(sample, &transfers, &answers);
            self.shared.requests.fetch_add(1, Ordering::Relaxed);
            if class != Class::Done {
                self.shared.failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.tally
    }

    fn may_send(&self) -> bool {
        if self.shared.stop.load(Ordering::Relaxed) || self.ends.is_some_and(|end| Instant::now() >= end) {
            return false;
        }
        let take = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(1) };
        self.shared.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
