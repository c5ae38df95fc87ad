//! The load: clients in each site, who ask what the workloads of the plan draw, and send much of it again: at once or
//! later, through the other router, beside itself, after a failover, with another body. What they leave open is asked
//! again by the operator. They judge nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join;
use twinset_jepsen::api::Patience;
use twinset_jepsen::clients::Left;
use twinset_jepsen::clients::again::{BESIDE_PERCENT, HANG_UP_PERCENT, Recent};
use twinset_jepsen::history::Retry;
use twinset_jepsen::workload::{Generate, Hand};

use crate::asker::Asker;
use crate::plan::{ROUTERS, in_site_a};
use crate::run::{Phase, Shared};

/// A client's task.
pub struct Client {
    shared: Arc<Shared>,
    /// The second asks beside the first.
    askers: [Asker; 2],
    /// The router of its own site.
    near: usize,
    generator: Box<dyn Generate>,
    hand: Hand,
    recent: Recent,
    failovers_seen: u64,
    left: Left,
}

impl Client {
    /// Number `n` of those on `machine`, which is in one of the sites.
    pub fn new(shared: &Arc<Shared>, machine: &str, n: usize) -> Client {
        let near = usize::from(!in_site_a(machine));
        let kinds = &shared.kinds;
        let kind = kinds[(n * ROUTERS.len() + near) % kinds.len()];
        let name = format!("{machine}{n}");
        let salt = name.bytes().fold(0u64, |salt, byte| salt * 256 + u64::from(byte));
        Client {
            shared: shared.clone(),
            askers: [(); 2].map(|()| Asker::new(&shared.recorder, machine)),
            near,
            generator: (kind.make)(&shared.ground),
            hand: Hand::new(name, shared.plan.seed ^ salt),
            recent: Recent::default(),
            failovers_seen: 0,
            left: Left::default(),
        }
    }

    /// Asks until the load is over.
    pub async fn run(mut self) {
        while self.shared.phase() < Phase::Settling {
            let think = self.hand.random.below(usize::try_from(self.shared.plan.think_ms).expect("short"));
            tokio::time::sleep(Duration::from_millis(1 + think as u64)).await;
            if self.shared.phase() != Phase::Load {
                continue;
            }
            let failovers = self.shared.failovers.load(Ordering::Relaxed);
            if failovers > self.failovers_seen {
                self.failovers_seen = failovers;
                self.ask_again(Retry::AfterFailover).await;
            } else if !self.recent.is_empty() && self.hand.chance(self.shared.plan.repeats_percent) {
                self.ask_again(Retry::Again).await;
            } else {
                self.ask_new().await;
            }
        }
        self.shared.left.lock().append(self.left);
        self.shared.working.fetch_sub(1, Ordering::Relaxed);
    }

    fn patience(&mut self) -> Patience {
        let mut patience = Patience::from(Duration::from_millis(self.shared.plan.deadline_ms));
        if self.hand.chance(HANG_UP_PERCENT) {
            patience.hang_up = Some(Duration::from_millis(1 + self.hand.random.below(20) as u64));
        }
        patience
    }

    /// Mostly the near one.
    fn router(&mut self) -> usize {
        if self.hand.chance(70) { self.near } else { 1 - self.near }
    }

    async fn ask_new(&mut self) {
        let ask = self.generator.next(&mut self.hand);
        let (router, patience) = (self.router(), self.patience());
        let [first, second] = &mut self.askers;
        let answer = if ask.is_write() && self.hand.chance(BESIDE_PERCENT) {
            let beside = second.ask(&ask, 1 - router, Some(Retry::Beside), patience);
            let (answer, other) = join(first.ask(&ask, router, None, patience), beside).await;
            if other.is_open() {
                self.left.open.push(ask.clone());
            }
            answer
        } else {
            first.ask(&ask, router, None, patience).await
        };
        self.generator.heard(&ask, &answer);
        self.left.note(&ask);
        if ask.is_write() {
            self.left.keep(&ask, &answer, &mut self.hand.random);
            self.recent.push(ask, router, &answer);
        }
    }

    /// Something of before once more.
    async fn ask_again(&mut self, why: Retry) {
        let Some(again) = self.recent.again(why, &mut self.hand.random) else { return };
        let (router, patience) = (self.router(), self.patience());
        let answer = self.askers[0].ask(&again.ask, router, Some(again.why), patience).await;
        self.left.keep_again(&again, &answer, &mut self.hand.random);
    }
}
