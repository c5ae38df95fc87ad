//! Two accounts of one set, and requests between them that a test sends itself, one by one. What was asked and answered
//! goes into the journal of the traffic, so that it is accounted for with everything else.

use std::time::{Duration, Instant};

use crate::support::Stage;
use twinset_jepsen::history::{Answer, Asked, Call, History, Wish};
use twinset_jepsen::traffic::{Traffic, micros};

/// How long a request waits that must succeed.
const LONG: Duration = Duration::from_secs(10);

/// Two accounts, and what was asked of them.
pub struct Probe {
    /// The payer and the payee.
    pub accounts: Vec<String>,
    clock: Instant,
    asked: Vec<Asked>,
}

impl Probe {
    /// Opens two accounts in `set`; the journal's clock is that of `traffic`.
    pub async fn open(stage: &Stage, set: u32, traffic: &Traffic) -> Probe {
        Probe { accounts: stage.open_pair(set).await, clock: traffic.began(), asked: Vec::new() }
    }

    /// Pays `cents`, or asks again under the same id, through the router of that name.
    pub async fn pay(
        &mut self,
        stage: &Stage,
        router: &str,
        id: &str,
        cents: u32,
        deadline: Duration,
    ) -> Answer {
        let wish = Wish { debit: 0, credit: 1, cents, doomed: false };
        let begin_us = micros(self.clock);
        let answer = stage.router(router).book(&self.accounts, id, &wish, deadline, None).await;
        let number = stage.cluster.layout().routers().position(|process| process.name == router).unwrap();
        let call = Call {
            router: number,
            other_body: false,
            begin_us,
            end_us: micros(self.clock),
            answer: answer.clone(),
        };
        match self.asked.iter_mut().find(|asked| asked.id == id) {
            Some(asked) => asked.calls.push(call),
            None => self.asked.push(Asked { id: id.to_owned(), wish, calls: vec![call] }),
        }
        answer
    }

    /// Pays, which must succeed: the set serves.
    pub async fn must_pay(&mut self, stage: &Stage, router: &str, id: &str, cents: u32) {
        let answer = self.pay(stage, router, id, cents, LONG).await;
        assert!(matches!(answer, Answer::Booked { .. }), "{id}: {answer:?}");
    }

    /// Tries to pay where that is impossible: the answer must promise nothing.
    pub async fn cannot_pay(
        &mut self,
        stage: &Stage,
        router: &str,
        id: &str,
        cents: u32,
        deadline: Duration,
    ) {
        let answer = self.pay(stage, router, id, cents, deadline).await;
        assert!(matches!(answer, Answer::Unknown | Answer::NotApplied { .. }), "{id}: {answer:?}");
    }

    /// What the payee has in the end.
    pub async fn balance(&self, stage: &Stage, router: &str) -> i128 {
        stage.router(router).balance(&self.accounts[1], "linearizable", LONG).await.unwrap()
    }

    /// Adds everything to a journal.
    pub fn into_history(self, history: &mut History) {
        let first = u32::try_from(history.accounts.len()).unwrap();
        history.accounts.extend(self.accounts);
        history.requests.extend(self.asked.into_iter().map(|mut asked| {
            asked.wish.debit += first;
            asked.wish.credit += first;
            asked
        }));
    }
}
