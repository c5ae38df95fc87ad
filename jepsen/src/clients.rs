//! The clients of a run: at each site some loops that ask what their workload draws, through the routers, and send much of
//! it again: at once and later, through another router, beside itself, after a failover, with another body. They hang up,
//! are in a hurry, and never use a process again whose last call has an open end. They judge nothing.

pub mod again;
mod left;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use futures::future::join_all;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use self::again::{AGAIN_PERCENT, BESIDE_PERCENT, HANG_UP_PERCENT, Recent};
pub use self::left::Left;
use crate::api::{Patience, Router};
use crate::history::{Answer, Ask, Recorder, Retry};
use crate::workload::{Generate, Ground, Hand, Kind};

/// A site as its clients see it.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// Where they reach the routers, in the same order at each site.
    pub routers: Vec<String>,
}

/// What traffic to make.
pub struct Flow {
    /// Where clients are.
    pub sites: Vec<Site>,
    /// The accounts.
    pub ground: Arc<Ground>,
    /// What they ask for: each client one of these.
    pub kinds: Vec<&'static Kind>,
    /// Where all choices come from.
    pub seed: u64,
    /// Loops, all sites together.
    pub clients: usize,
    /// Operations per second, all clients together; answers that are slow lower it.
    pub rate: u32,
    /// Operations in all: nothing new is sent beyond it.
    pub ops_max: u64,
}

/// Clients at work.
pub struct Clients {
    stop: Arc<AtomicBool>,
    /// Raised when a set got another leader.
    pub failovers: Arc<AtomicU64>,
    workers: Vec<JoinHandle<Left>>,
}

/// How long most calls wait.
const PATIENT: Duration = Duration::from_secs(5);
/// Of a hundred new calls, so many are in a hurry.
const HURRY_PERCENT: usize = 8;
const OPENERS: usize = 16;

/// Opens the ground's accounts, each until it is open for certain.
pub async fn open(recorder: &Arc<Recorder>, ground: &Ground, routers: &[String]) -> anyhow::Result<()> {
    let opens = ground.opens();
    let chunk = opens.len().div_ceil(OPENERS).max(1);
    let openers = opens.chunks(chunk).enumerate().map(async |(opener, asks)| {
        let at = opener % routers.len();
        let (mut router, mut process) = (Router::new(&routers[at]), recorder.process());
        for ask in asks {
            for attempt in 0.. {
                let op = recorder.invoke(process, 0, at as u8, (attempt > 0).then_some(Retry::Again), ask);
                let answer = router.ask(recorder, ask, PATIENT.into()).await;
                recorder.end(op, &answer);
                if answer.is_open() {
                    process = recorder.process();
                }
                match answer {
                    Answer::Done { .. } => break,
                    answer => {
                        anyhow::ensure!(attempt < 5, "an account cannot be opened: {ask:?}: {answer:?}")
                    }
                }
            }
        }
        anyhow::Ok(())
    });
    join_all(openers).await.into_iter().collect()
}

impl Clients {
    /// Lets the clients work.
    pub fn start(recorder: &Arc<Recorder>, flow: &Flow) -> Self {
        let (stop, failovers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let period = Duration::from_secs(1) * flow.clients as u32 / flow.rate.max(1);
        let worker = |number: usize| {
            let site = number % flow.sites.len();
            let kind = flow.kinds[number / flow.sites.len() % flow.kinds.len()];
            let seed = flow.seed ^ (number as u64 + 1).wrapping_mul(0xa076_1d64_78bd_642f);
            let client = Client {
                recorder: recorder.clone(),
                site: site as u8,
                routers: flow.sites[site].routers.iter().map(|addr| Router::new(addr)).collect(),
                processes: [recorder.process(), recorder.process()],
                generator: (kind.make)(&flow.ground),
                hand: Hand::new(format!("{:x}-{number}", flow.seed), seed),
                recent: Recent::default(),
                failovers: failovers.clone(),
                left: Left::default(),
                ops_max: flow.ops_max,
            };
            tokio::spawn(client.run(stop.clone(), period))
        };
        Clients { workers: (0..flow.clients).map(worker).collect(), stop, failovers }
    }

    /// Sends nothing new, waits for what is under way, and hands over what was left open.
    pub async fn stop(self) -> anyhow::Result<Left> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Left::default();
        for worker in self.workers {
            let left = worker.await.context("a client was cut off")?;
            all.append(left);
        }
        Ok(all)
    }
}

struct Client {
    recorder: Arc<Recorder>,
    site: u8,
    routers: Vec<Router>,
    /// The second one asks beside the first.
    processes: [u32; 2],
    generator: Box<dyn Generate>,
    hand: Hand,
    recent: Recent,
    failovers: Arc<AtomicU64>,
    left: Left,
    ops_max: u64,
}

impl Client {
    async fn run(mut self, stop: Arc<AtomicBool>, period: Duration) -> Left {
        let mut pace = tokio::time::interval(period);
        // What a pause has held up is not made up for all at once.
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failovers_seen = 0;
        while !stop.load(Ordering::Relaxed) && self.recorder.ops() < self.ops_max {
            pace.tick().await;
            let failovers = self.failovers.load(Ordering::Relaxed);
            if failovers > failovers_seen {
                failovers_seen = failovers;
                self.ask_again(Retry::AfterFailover).await;
            } else if self.hand.chance(AGAIN_PERCENT) && !self.recent.is_empty() {
                self.ask_again(Retry::Again).await;
            } else {
                self.ask_new().await;
            }
        }
        self.left
    }

    /// A new call, and what a client under trouble makes of it.
    async fn ask_new(&mut self) {
        let ask = self.generator.next(&mut self.hand);
        let router = self.hand.random.below(self.routers.len());
        let mut patience = Patience::from(PATIENT);
        let mood = self.hand.random.below(100);
        if mood < HANG_UP_PERCENT {
            patience.hang_up = Some(Duration::from_micros(200 + self.hand.random.below(5_000) as u64));
        } else if mood < HANG_UP_PERCENT + HURRY_PERCENT {
            patience.deadline = Duration::from_millis(60 + self.hand.random.below(400) as u64);
        }
        let beside = ask.is_write() && self.routers.len() > 1 && self.hand.chance(BESIDE_PERCENT);
        let answer = if beside {
            self.ask_beside(&ask, router).await
        } else {
            self.ask(&ask, router, None, patience).await
        };
        self.generator.heard(&ask, &answer);
        self.left.note(&ask);
        if ask.is_write() {
            self.left.keep(&ask, &answer, &mut self.hand.random);
            self.recent.push(ask, router, &answer);
        }
    }

    /// Something of before once more, through the next router.
    async fn ask_again(&mut self, why: Retry) {
        let Some(again) = self.recent.again(why, &mut self.hand.random) else { return };
        let router = (again.router + 1) % self.routers.len();
        let answer = self.ask(&again.ask, router, Some(again.why), PATIENT.into()).await;
        self.left.keep_again(&again, &answer, &mut self.hand.random);
    }

    async fn ask(&mut self, ask: &Ask, router: usize, retry: Option<Retry>, patience: Patience) -> Answer {
        let process = self.processes[0];
        let op = self.recorder.invoke(process, self.site, router as u8, retry, ask);
        let answer = self.routers[router].ask(&self.recorder, ask, patience).await;
        self.recorder.end(op, &answer);
        if answer.is_open() {
            self.processes[0] = self.recorder.process();
        }
        answer
    }

    /// The same through two routers at the same time; gives what the first was answered.
    async fn ask_beside(&mut self, ask: &Ask, router: usize) -> Answer {
        let other = (router + 1) % self.routers.len();
        let (recorder, site) = (&self.recorder, self.site);
        let numbers = [(router, None), (other, Some(Retry::Beside))];
        let calls = self.routers.iter_mut().enumerate().filter_map(|(number, connection)| {
            let at = numbers.iter().position(|(wanted, _)| *wanted == number)?;
            let process = self.processes[at];
            Some(async move {
                let op = recorder.invoke(process, site, number as u8, numbers[at].1, ask);
                let answer = connection.ask(recorder, ask, PATIENT.into()).await;
                recorder.end(op, &answer);
                (at, answer)
            })
        });
        let answers = join_all(calls).await;
        for (at, answer) in &answers {
            if answer.is_open() {
                self.processes[*at] = self.recorder.process();
            }
        }
        let open = answers.iter().any(|(_, answer)| answer.is_open());
        let first = answers.into_iter().find(|(at, _)| *at == 0).map(|(_, answer)| answer);
        if open {
            self.left.open.push(ask.clone());
        }
        first.expect("the first of the two was asked")
    }
}
