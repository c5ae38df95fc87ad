//! The load: clients in each site, who ask what the workloads of the plan draw, and send much of it again: at once or later,
//! through the other router, beside itself, with another body. What they leave open is asked again by the operator. They judge
//! nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::join;
use twinset_jepsen::api::Patience;
use twinset_jepsen::clients::Left;
use twinset_jepsen::clients::again::{Recent, other_body};
use twinset_jepsen::history::Retry;
use twinset_jepsen::workload::{Generate, Hand};

use crate::asker::Asker;
use crate::plan::{ROUTERS, in_site_a};
use crate::run::{Phase, Shared};

/// Of a hundred new questions, in how many the client hangs up early, and how many writes go through both routers at once.
const HANG_UP_PERCENT: usize = 2;
const BESIDE_PERCENT: usize = 4;
/// Of a hundred that are asked again although they are decided, how many have another body.
const OTHER_BODY_PERCENT: usize = 20;

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
            if !self.recent.is_empty() && self.hand.chance(self.shared.plan.repeats_percent) {
                self.ask_again().await;
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
        if ask.is_write() {
            self.left.keep(&ask, &answer, &mut self.hand.random);
            self.recent.push(ask, router, &answer);
        }
    }

    /// Something of before once more; now and then, if it is decided, with another body.
    async fn ask_again(&mut self) {
        let Some((ask, _, decided)) = self.recent.draw(&mut self.hand.random) else { return };
        let (router, patience) = (self.router(), self.patience());
        let other = if decided && self.hand.chance(OTHER_BODY_PERCENT) { other_body(&ask) } else { None };
        let why = if other.is_some() { Retry::OtherBody } else { Retry::Again };
        let ask = other.unwrap_or(ask);
        let answer = self.askers[0].ask(&ask, router, Some(why), patience).await;
        if why == Retry::Again {
            self.left.keep(&ask, &answer, &mut self.hand.random);
        } else if answer.is_open() {
            self.left.open.push(ask);
        }
    }
}
