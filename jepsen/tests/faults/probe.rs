//! Two accounts of one set, and requests between them that a test sends itself, one by one. What was asked and answered
//! goes into the history of the traffic, so that it is accounted for with everything else.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{LONG, Stage};
use twinset_jepsen::api::payment;
use twinset_jepsen::history::{Answer, Ask, Level, Recorder};
use twinset_jepsen::traffic::{self, Stopped, Traffic};

/// Two accounts, and what was asked of them.
pub struct Probe {
    /// The payer and the payee.
    pub accounts: (u32, u32),
    recorder: Arc<Recorder>,
    open: Vec<Ask>,
}

impl Probe {
    /// Opens two accounts in `set`; what is asked stands in the history of `traffic`.
    pub async fn open(stage: &Stage, set: u32, traffic: &Traffic) -> Probe {
        let accounts = stage.open_pair(&traffic.recorder, set).await;
        Probe { accounts, recorder: traffic.recorder.clone(), open: Vec::new() }
    }

    async fn ask(&self, stage: &Stage, router: &str, ask: &Ask, deadline: Duration) -> Answer {
        let number = stage.cluster.layout().routers().position(|process| process.name == router).unwrap();
        traffic::recorded(&self.recorder, (&mut stage.router(router), number), ask, deadline).await
    }

    /// Pays `cents`, or asks again under the same id, through the router of that name.
    pub async fn pay(
        &mut self,
        stage: &Stage,
        router: &str,
        id: &str,
        cents: i64,
        deadline: Duration,
    ) -> Answer {
        let ask = payment(self.accounts, id, cents);
        let answer = self.ask(stage, router, &ask, deadline).await;
        if answer.is_open() {
            self.open.push(ask);
        }
        answer
    }

    /// Pays, which must succeed: the set serves.
    pub async fn must_pay(&mut self, stage: &Stage, router: &str, id: &str, cents: i64) {
        let answer = self.pay(stage, router, id, cents, LONG).await;
        assert!(matches!(answer, Answer::Booked { .. }), "{id}: {answer:?}");
    }

    /// Tries to pay where that is impossible: the answer must promise nothing.
    pub async fn cannot_pay(
        &mut self,
        stage: &Stage,
        router: &str,
        id: &str,
        cents: i64,
        deadline: Duration,
    ) {
        let answer = self.pay(stage, router, id, cents, deadline).await;
        assert!(answer.is_open() || matches!(answer, Answer::NotApplied { .. }), "{id}: {answer:?}");
    }

    /// What the payee has in cents, and how old that may be in milliseconds.
    pub async fn read(
        &self,
        stage: &Stage,
        router: &str,
        level: Level,
        deadline: Duration,
    ) -> Result<(i64, u64), Answer> {
        let ask = Ask::ReadAccount { account: self.accounts.1, level };
        match self.ask(stage, router, &ask, deadline).await {
            Answer::Account { as_of, figures } => Ok((figures.posted, as_of.age_ms)),
            other => Err(other),
        }
    }

    /// What the payee has in the end.
    pub async fn balance(&self, stage: &Stage, router: &str) -> i64 {
        self.read(stage, router, Level::Linearizable, LONG).await.unwrap().0
    }

    /// Leaves what has an open end to be resolved with everything else.
    pub fn leave(self, stopped: &mut Stopped) {
        stopped.left.open.extend(self.open);
    }
}
