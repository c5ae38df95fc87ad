//! A replica that is too late for the log: it gets a snapshot over the real lanes, and follows from there, through
//! restarts of its own and a death in the middle.

use twinset_control::Role;
use twinset_node::config::RaftConfig;

use crate::common::{Node, SET, alone, cluster, entry, listener, voters};

/// Raft purges no fewer entries at once than this.
const PURGED_AT_ONCE: u64 = 1_024;

/// So often that the leader's log is gone when it is asked for.
fn leader_raft() -> RaftConfig {
    RaftConfig { snapshot_entries: 50, keep_entries: 0, ..RaftConfig::default() }
}

fn propose(node: &Node, numbers: std::ops::Range<u64>) {
    node.runtime.block_on(async {
        let mut proposals = Vec::new();
        for n in numbers {
            proposals.push(node.group().propose(entry(n).into()).await.unwrap());
        }
        for proposal in proposals {
            proposal.result().await.unwrap();
        }
    });
}

fn has_all_of(node: &Node, leader: &Node) {
    let applied = |node: &Node| node.store.ledger(SET).unwrap().applied();
    let last = applied(leader).log_id.unwrap().index;
    node.until("everything is applied", |node| applied(node).log_id.is_some_and(|id| id.index >= last));
    assert_eq!(applied(node), applied(leader));
    let totals = |node: &Node| node.store.ledger(SET).unwrap().totals();
    assert_eq!(totals(node), totals(leader));
    let records = |node: &Node| node.store.log(SET).unwrap().read(0, last + 1, usize::MAX).unwrap();
    assert_eq!(records(node), records(leader), "the record of every transaction");
}

#[test]
fn a_replica_that_is_too_late_gets_a_snapshot_and_follows() {
    let _alone = alone();
    let dirs = ["near", "far"].map(|_| tempfile::tempdir().unwrap());
    let (catalogue, listeners) = cluster();
    let leader = Node::start("a1", dirs[0].path(), &catalogue, listener(&listeners, "a1"), &leader_raft());
    let mut alone = voters(&catalogue);
    alone.retain(|&id, _| id == leader.id());
    leader.runtime.block_on(leader.group().initialize(alone)).unwrap();
    leader.until("it leads", |node| node.group().is_leader());
    propose(&leader, 1..1_300);
    let purged = |node: &Node| node.store.log(SET).unwrap().purged().map_or(0, |id| id.index);
    leader.until("its log is purged", |node| purged(node) >= PURGED_AT_ONCE);

    // It makes no snapshot of its own: its purge pointer can only come from the leader's.
    let start =
        || Node::start("b2", dirs[1].path(), &catalogue, listener(&listeners, "b2"), &RaftConfig::default());
    let late = start();
    let role = catalogue.replicas(SET).iter().find(|replica| replica.id == late.id()).unwrap().role;
    assert_eq!(role, Role::Learner);
    leader.runtime.block_on(leader.group().add_learner(late.id(), "b2")).unwrap();
    has_all_of(&late, &leader);
    let installed = purged(&late);
    assert!(installed >= PURGED_AT_ONCE, "it came by snapshot, up to {installed}");
    propose(&leader, 1_300..1_350);
    has_all_of(&late, &leader);

    // It dies, misses some of the log that is still there, and dies again before it has caught up.
    late.die();
    propose(&leader, 1_350..1_370);
    let late = start();
    assert!(purged(&late) >= installed);
    late.die();
    let late = start();
    has_all_of(&late, &leader);

    // It dies and misses more than the log has: another snapshot, over a state of its own.
    late.die();
    propose(&leader, 1_370..2_700);
    leader.until("its log is purged further", |node| purged(node) > 1_370);
    let late = start();
    has_all_of(&late, &leader);
    assert!(purged(&late) > 1_370);

    // The leader dies, and is what it was.
    leader.die();
    let leader = Node::start("a1", dirs[0].path(), &catalogue, listener(&listeners, "a1"), &leader_raft());
    leader.until("it leads again", |node| node.group().is_leader());
    propose(&leader, 2_700..2_720);
    assert_eq!(leader.store.ledger(SET).unwrap().totals().value.accounts, 2_719);
    has_all_of(&late, &leader);
    late.die();
    leader.die();
}
