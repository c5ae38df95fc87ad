//! Puts holds and restrictions away whose time is over, in the log of a set that this node leads. Nothing depends on when: from
//! its expiry on a hold takes no command, and what is late is only that its account has the rest again; a restriction counts
//! until it is put away, and what is late is only that its money can be withdrawn.

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use tokio::time::MissedTickBehavior;
use tracing::debug;
use twinset_ledger::canary::{self, Canary};
use twinset_ledger::{Command, Effect};
use twinset_store::LedgerReplica;

use crate::own_commands;
use crate::proposer::Proposer;
use crate::raft::{Group, Role};
use crate::set::Fence;

/// Between two looks at what is due.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Holds that are put away together, and restrictions.
const EACH_PER_ITEM: usize = 1_000;

/// What the task of one hosted replica needs.
pub struct Expiry {
    /// Whose set.
    pub fence: Arc<Fence>,
    /// Says who leads.
    pub group: Group,
    /// Says what is due.
    pub state: LedgerReplica,
    /// The way into the log.
    pub proposer: Proposer,
    /// Counts the holds that were put away.
    pub holds_expired: IntCounter,
    /// Counts the restrictions that were put away.
    pub restrictions_expired: IntCounter,
}

impl Expiry {
    /// Runs until the node ends.
    pub async fn run(self) {
        let mut view = self.group.view();
        let mut tick = tokio::time::interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut more = false;
        loop {
            if view.wait_for(|view| view.role == Role::Leader).await.is_err() {
                return;
            }
            if !more {
                tick.tick().await;
            }
            // Where a leader's clock was ahead of ours, holds take no command any more that our clock would keep.
            let now = self.fence.platform.now_unix_ns().max(self.state.last_time());
            let holds = self.state.due_holds(now, EACH_PER_ITEM);
            let restrictions = self.state.due_restrictions(now, EACH_PER_ITEM);
            let is_more = holds.len().max(restrictions.len()) == EACH_PER_ITEM;
            let holds = holds.into_iter().map(|hold| Command::ExpireHold { hold });
            let due: Vec<Command> = holds.chain(restrictions).collect();
            more = self.put_away(&due).await && is_more;
        }
    }

    /// Whether the log has taken them in.
    async fn put_away(&self, due: &[Command]) -> bool {
        if due.is_empty() || canary::on(Canary::HoldsAreKept) {
            return false;
        }
        let Some(outcomes) = own_commands::decide(&self.proposer, due).await else {
            debug!(set = self.fence.set, "what is due was not put away, and is tried again");
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
