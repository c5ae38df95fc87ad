//! Puts holds and restrictions away whose time is over, in the log of a set that this node leads. Nothing depends on when: from
//! its expiry on a hold takes no command, and what is late is only that its account has the rest again; a restriction counts
//! until it is put away, and what is late is only that its money can be withdrawn.

use std::future::ready;

use prometheus::IntCounter;
use tracing::debug;
use twinset_ledger::canary::{self, Canary};
use twinset_ledger::{Command, Effect};

use crate::duty::Duty;
use crate::faults::{self, Point};

/// Holds that are put away together, and restrictions.
const EACH_PER_ITEM: usize = 1_000;

/// What the task of one hosted replica needs.
pub struct Expiry {
    /// Of its set's leader.
    pub duty: Duty,
    /// Counts the holds that were put away.
    pub holds_expired: IntCounter,
    /// Counts the restrictions that were put away.
    pub restrictions_expired: IntCounter,
}

impl Expiry {
    /// Runs until the node ends.
    pub async fn run(self) {
        let mut leads = self.duty.leads();
        while leads.begin().await {
            let mut more = None;
            while leads.look(ready(more)).await.is_some() {
                more = self.look().await.then_some(());
            }
        }
    }

    /// Puts away what is due, as much as goes together. Whether there is more.
    async fn look(&self) -> bool {
        let (now, state) = (self.duty.now(), &self.duty.state);
        let holds = state.due_holds(now, EACH_PER_ITEM);
        let restrictions = state.due_restrictions(now, EACH_PER_ITEM);
        let is_more = holds.len().max(restrictions.len()) == EACH_PER_ITEM;
        let holds = holds.into_iter().map(|hold| Command::ExpireHold { hold });
        let due: Vec<Command> = holds.chain(restrictions).collect();
        self.put_away(&due).await && is_more
    }

    /// Whether the log has taken them in.
    async fn put_away(&self, due: &[Command]) -> bool {
        if due.is_empty() || canary::on(Canary::HoldsAreKept) {
            return false;
        }
        faults::reached(Point::ExpiryDue);
        let outcomes = self.duty.decide_all(due).await;
        faults::reached(Point::ExpiryPutAway);
        let Some(outcomes) = outcomes else {
            debug!(set = self.duty.fence.set, "what is due was not put away, and is tried again");
            return false;
        };
        for outcome in outcomes {
            match outcome.result {
                Ok(Effect::Held(_)) => self.holds_expired.inc(),
                Ok(Effect::Restricted(_)) => self.restrictions_expired.inc(),
                // The leader before this one was faster.
                _ => {}
            }
        }
        true
    }
}
