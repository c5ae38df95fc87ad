//! Handing the leadership of a group to a chosen replica: pause, catch-up, transfer. openraft's transfer is fire and forget:
//! it checks nothing, reports nothing and cannot be taken back, so it is sent only when a target holds the whole log, and
//! sent again to the next one when a target stays silent. Used by a switch, by the leader's return home and by a drain.

use std::time::Duration;

use tokio::time::Instant;

use crate::proposer::Proposer;
use crate::raft::{Group, Role};

/// New writes are never held back longer before the transfer, whatever happens to whoever asked for it.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// Without a new leader after this, the next target is asked.
const RETARGET_AFTER: Duration = Duration::from_millis(80);
/// Without a new leader after this the transfer has failed; an election settles it.
const TRANSFER_MAX: Duration = Duration::from_millis(1700);
const POLL: Duration = Duration::from_millis(1);

/// Which step did not succeed. Writes go on at whoever leads.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {reason}")]
pub struct Error {
    /// "pause", "catch-up" or "transfer".
    pub step: &'static str,
    /// What happened.
    pub reason: &'static str,
}

/// How far a handover has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// New writes wait.
    Paused,
    /// A target holds the whole log.
    CaughtUp,
    /// A target is asked to lead.
    Asked,
}

/// Hands the leadership to one of `targets`, best first, and gives the new leader and how long new writes were held back.
/// The new leader may be another replica, if an election came in between.
pub async fn hand_over(
    group: &Group,
    proposer: Option<&Proposer>,
    targets: &[u64],
    say: &(dyn Fn(Step, String) + Sync),
) -> Result<(u64, Duration), Error> {
    let paused_at = Instant::now();
    let _pause = match proposer {
        None => None,
        Some(proposer) => {
            let pause = tokio::time::timeout(PAUSE_MAX, proposer.pause()).await;
            let reason = "entries in flight were not answered in time";
            Some(pause.map_err(|_| Error { step: "pause", reason })?)
        }
    };
    say(Step::Paused, "new writes wait".into());
    let target = catch_up(group, targets, paused_at + PAUSE_MAX).await?;
    say(Step::CaughtUp, format!("replica {target} holds everything"));
    let leader = transfer(group, targets, target, say).await?;
    Ok((leader, paused_at.elapsed()))
}

/// Waits until one of the targets holds the whole log.
async fn catch_up(group: &Group, targets: &[u64], deadline: Instant) -> Result<u64, Error> {
    loop {
        let progress = group.progress();
        let holds_all = |id: &&u64| progress.matched.get(id).is_some_and(|&m| m >= progress.last_log);
        if let Some(&target) = targets.iter().find(holds_all) {
            return Ok(target);
        }
        if Instant::now() >= deadline {
            return Err(Error { step: "catch-up", reason: "no target holds everything in time" });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Asks the targets in turn until somebody else leads.
async fn transfer(
    group: &Group,
    targets: &[u64],
    first: u64,
    say: &(dyn Fn(Step, String) + Sync),
) -> Result<u64, Error> {
    let mut view = group.view();
    let deadline = Instant::now() + TRANSFER_MAX;
    let others = targets.iter().copied().filter(|&id| id != first);
    for target in std::iter::once(first).chain(others).cycle() {
        group.transfer_leader(target).await;
        say(Step::Asked, format!("replica {target} is asked to lead"));
        let moved = view.wait_for(|view| {
            view.role != Role::Leader && view.leader.is_some_and(|leader| leader != group.replica())
        });
        let patience = (Instant::now() + RETARGET_AFTER).min(deadline);
        match tokio::time::timeout_at(patience, moved).await {
            Ok(Ok(view)) => return Ok(view.leader.expect("just seen")),
            Ok(Err(_)) => return Err(Error { step: "transfer", reason: "this replica has ended" }),
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    Err(Error { step: "transfer", reason: "no new leader in time; an election settles it" })
}
