//! A set that this node begins anew: nothing of the old replica is left, whenever the node stops, and the other sets do not notice.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Ground, Load, append, catch_up};
use twinset_store::ReplicaRecord;

#[test]
fn a_set_that_begins_anew_is_blank_for_good_and_leaves_the_others_alone() {
    for ground in Ground::both() {
        let (lost, other) = (Load { seed: 1, set: 1 }, Load { seed: 2, set: 2 });
        let record = |set, replica_id, incarnation| ReplicaRecord { set, replica_id, incarnation };
        let store = ground.open();
        for (load, id) in [(lost, 4), (other, 5)] {
            store.put_replica(record(load.set, id, 1)).unwrap();
            let (log, replica) = (store.log(load.set).unwrap(), store.ledger(load.set).unwrap());
            append(&log, (0..30).map(|index| load.record(index)).collect());
            catch_up(&log, &replica);
            replica.checkpoint().unwrap();
            log.save_vote(b"a vote", Box::new(drop)).unwrap();
            log.sync().unwrap();
        }
        store.begin_anew(record(1, 9, 2)).unwrap();
        let blank = |store: &twinset_store::Store| {
            let (log, replica) = (store.log(1).unwrap(), store.ledger(1).unwrap());
            assert_eq!((log.last(), log.vote(), log.committed()), (None, None, None));
            assert_eq!((replica.applied().log_id, replica.account_count()), (None, 0));
            assert_eq!(store.replicas().unwrap(), [record(1, 9, 2), record(2, 5, 1)]);
            assert_eq!(store.log(2).unwrap().last(), Some(other.id(29)));
            assert_eq!(store.log(2).unwrap().vote().unwrap(), b"a vote");
            assert!(store.ledger(2).unwrap().account_count() > 0);
        };
        blank(&store);
        store.close();
        let store = ground.open();
        blank(&store);
        let (log, replica) = (store.log(1).unwrap(), store.ledger(1).unwrap());
        append(&log, (0..10).map(|index| lost.record(index)).collect());
        catch_up(&log, &replica);
        assert_eq!(replica.applied().log_id, Some(lost.id(9)), "the new one works");
        drop((log, replica));
        store.close();
        let store = ground.open();
        assert_eq!(store.log(1).unwrap().last(), Some(lost.id(9)));
        store.close();
    }
}
