//! The end of a node that was asked to stop: it refuses new commands, hands over what it leads, answers what it has taken,
//! and lets its tasks end. The node serves meanwhile: peers need it to take over, routers to hear where to go. Every step
//! has a bound; what is missed costs an election or a retry, nothing else.

use std::time::Duration;

use futures::future::join_all;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};
use twinset_control::Catalogue;

use crate::handover;
use crate::node::Node;
use crate::set::Replica;

/// For handing over what this node leads. A switch that runs here comes first.
const HAND_OVER_MAX: Duration = Duration::from_secs(3);
/// For the answers to what was taken, and for tasks to end.
const END_MAX: Duration = Duration::from_secs(1);

/// Returns when nothing of this node leads or runs any more. The store is still open.
pub(crate) async fn run(node: &Node) {
    info!("draining");
    let replicas = node.sets.all();
    let deadline = Instant::now() + HAND_OVER_MAX;
    // Nobody moves a set from here on: the guards are held to the end.
    let handed_over = join_all(replicas.iter().map(async |replica| {
        let guard = node.switch_lock(replica.fence.set).lock_owned();
        let handed_over = async {
            let guard = guard.await;
            hand_over(replica, node.cell.get().as_deref()).await;
            guard
        };
        timeout_at(deadline, handed_over).await
    }));
    let guards: Vec<Result<OwnedMutexGuard<()>, _>> = handed_over.await;
    if guards.iter().any(Result::is_err) {
        warn!("not everything was handed over in time; the others elect");
    }
    let answered = join_all(replicas.iter().filter_map(|r| r.ledger()).map(|ledger| ledger.proposer.close()));
    if timeout(END_MAX, answered).await.is_err() {
        info!("some clients have to ask again");
    }
    if timeout(END_MAX, node.end_tasks()).await.is_err() {
        info!("some tasks do not end in time");
    }
    if timeout(END_MAX, join_all(replicas.iter().map(|replica| replica.group.shutdown()))).await.is_err() {
        info!("some replicas do not end in time");
    }
    drop(guards);
}

/// Gives the leadership to another voter.
async fn hand_over(replica: &Replica, catalogue: Option<&Catalogue>) {
    if !replica.group.is_leader() {
        return;
    }
    let own = replica.group.replica();
    let voters = replica.group.view().borrow().voters.clone();
    let matched = replica.group.progress().matched;
    let set = replica.fence.set;
    let outside = |id: u64| {
        catalogue.is_some_and(|catalogue| {
            let home = catalogue.sets.get(&set).map(|set| &set.home);
            home.is_some_and(|home| catalogue.site_of_replica(set, id) != Some(home))
        })
    };
    let others = matched.into_iter().filter(|(id, _)| *id != own && voters.contains(id));
    let targets = best_first(others, outside);
    let proposer = replica.ledger().map(|ledger| &ledger.proposer);
    if let Err(error) = handover::hand_over(&replica.group, proposer, &targets, &|_, _| {}).await {
        info!(set = replica.fence.set, %error, "not handed over; the others elect");
    }
}

/// Replicas with what they hold of the log, in the order in which they are asked to lead: those in the home site first, and
/// then those that hold most. One that does not answer soon is passed over.
fn best_first(replicas: impl Iterator<Item = (u64, u64)>, outside: impl Fn(u64) -> bool) -> Vec<u64> {
    let mut replicas: Vec<_> = replicas.collect();
    replicas.sort_by_key(|(id, matched)| (outside(*id), std::cmp::Reverse(*matched)));
    replicas.into_iter().map(|(id, _)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::best_first;

    #[test]
    fn the_home_site_comes_first_and_then_who_holds_most() {
        let replicas = [(1, 7), (2, 9), (3, 9), (4, 8)];
        assert_eq!(best_first(replicas.into_iter(), |id| id > 2), [2, 1, 3, 4]);
        assert_eq!(best_first(replicas.into_iter(), |id| id <= 2), [3, 4, 2, 1]);
        assert_eq!(
            best_first(replicas.into_iter(), |_| false),
            [2, 3, 4, 1],
            "who knows no home asks them all"
        );
    }
}
