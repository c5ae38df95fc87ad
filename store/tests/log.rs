//! A set's log and the node's small records: order, truncation, purging, restarts, neighbours, and what is refused.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use common::{Ground, append, open, options};
use twinset_store::{
    FORMAT, Fault, Identity, Log, LogId, OpenError, Record, RecordKind, ReplicaRecord, SnapshotMeta, Store,
};

fn id(term: u64, index: u64) -> LogId {
    LogId { term, leader: 1, index }
}

fn record(term: u64, index: u64, bytes: usize) -> Record {
    let payload: Vec<u8> = (0..bytes).map(|n| (n as u64 * 31 + index * 7 + term) as u8).collect();
    Record { id: id(term, index), kind: RecordKind::Commands, payload: payload.into() }
}

fn records(term: u64, from: u64, to: u64) -> Vec<Record> {
    (from..to).map(|index| record(term, index, (index as usize * 1777) % 30_000)).collect()
}

fn read(log: &Log, from: u64, to: u64) -> Vec<Record> {
    let mut out: Vec<Record> = Vec::new();
    let mut next = from;
    while next < to {
        let some = log.read(next, to, 50_000).unwrap();
        if some.is_empty() {
            break;
        }
        out.extend(some.iter().map(|record| (**record).clone()));
        next = out.last().unwrap().id.index + 1;
    }
    out
}

#[test]
fn appended_records_are_read_back_before_and_after_a_restart() {
    for ground in Ground::both() {
        let expected = records(1, 0, 60);
        {
            let store = ground.open();
            let (log, neighbour) = (store.log(1).unwrap(), store.log(2).unwrap());
            append(&neighbour, records(9, 0, 10));
            for chunk in expected.chunks(7) {
                append(&log, chunk.to_vec());
            }
            assert_eq!(read(&log, 0, 99), expected);
            assert_eq!(read(&log, 59, 60), expected[59..]);
            assert_eq!(log.read(10, 60, 0).unwrap().len(), 1);
            assert!(log.read(60, 99, 10).unwrap().is_empty());
        }
        let store = ground.open();
        let log = store.log(1).unwrap();
        assert_eq!(log.last(), Some(id(1, 59)));
        assert_eq!(read(&log, 0, 99), expected);
        // The cache begins in the middle now.
        append(&log, records(2, 60, 65));
        assert_eq!(read(&log, 0, 99), [expected, records(2, 60, 65)].concat());
        assert_eq!(read(&store.log(2).unwrap(), 0, 99), records(9, 0, 10));
    }
}

#[test]
fn a_truncated_tail_is_replaced() {
    for ground in Ground::both() {
        for restart in [false, true] {
            let set = 1 + u32::from(restart);
            let mut store = ground.open();
            let mut log = store.log(set).unwrap();
            append(&log, records(1, 0, 40));
            if restart {
                drop(log);
                store.close();
                store = ground.open();
                log = store.log(set).unwrap();
            }
            log.truncate_after(Some(24)).unwrap();
            assert_eq!(log.last(), Some(id(1, 24)));
            append(&log, records(2, 25, 30));
            let expected = [records(1, 0, 25), records(2, 25, 30)].concat();
            assert_eq!(read(&log, 0, 99), expected);
            drop(log);
            store.close();
            let store = ground.open();
            let log = store.log(set).unwrap();
            assert_eq!((read(&log, 0, 99), log.last()), (expected, Some(id(2, 29))));
            log.truncate_after(None).unwrap();
            assert_eq!((log.last(), read(&log, 0, 99).len()), (None, 0));
            append(&log, records(3, 5, 7));
            assert_eq!(read(&log, 0, 99), records(3, 5, 7), "a log may begin anywhere");
        }
    }
}

#[test]
fn purging_moves_a_pointer() {
    for ground in Ground::both() {
        {
            let store = ground.open();
            let log = store.log(1).unwrap();
            append(&log, records(1, 0, 20));
            log.purge(id(1, 9)).unwrap();
            log.purge(id(1, 4)).unwrap();
            assert_eq!((log.purged(), log.last()), (Some(id(1, 9)), Some(id(1, 19))));
            assert_eq!(read(&log, 0, 99).len(), 20, "the records stay");
        }
        let store = ground.open();
        let log = store.log(1).unwrap();
        assert_eq!((log.purged(), log.last()), (Some(id(1, 9)), Some(id(1, 19))));
        // Past the end: the log goes on behind the pointer.
        log.purge(id(2, 30)).unwrap();
        assert_eq!(log.last(), Some(id(2, 30)));
        append(&log, records(2, 31, 33));
        assert_eq!(read(&log, 31, 99), records(2, 31, 33));
        drop(log);
        store.close();
        let log = ground.open().log(1).unwrap();
        assert_eq!((log.purged(), log.last()), (Some(id(2, 30)), Some(id(2, 32))));
    }
}

#[test]
fn what_is_committed_is_known_after_a_restart() {
    for ground in Ground::both() {
        let reopened = |expected: Option<LogId>| {
            let store = ground.open();
            let log = store.log(1).unwrap();
            assert_eq!(log.committed(), expected);
            (store, log)
        };
        let (store, log) = reopened(None);
        append(&log, records(1, 0, 10));
        log.save_committed(id(1, 4));
        assert_eq!(log.committed(), Some(id(1, 4)));
        // It reaches the disk with the next records or the next vote,
        append(&log, records(1, 10, 12));
        drop((store, log));
        let (store, log) = reopened(Some(id(1, 4)));
        log.save_committed(id(1, 6));
        let (tell, told) = channel();
        log.save_vote(b"vote", Box::new(move |result| tell.send(result).unwrap())).unwrap();
        told.recv().unwrap().unwrap();
        drop((store, log));
        // or when the store is closed.
        let (store, log) = reopened(Some(id(1, 6)));
        log.save_committed(id(1, 8));
        drop(log);
        store.close();
        let (store, log) = reopened(Some(id(1, 8)));
        // What the log does not hold is not committed here, and a truncated log has to learn it again.
        log.save_committed(id(1, 12));
        assert_eq!(log.committed(), None);
        log.save_committed(id(1, 8));
        log.truncate_after(Some(8)).unwrap();
        assert_eq!(log.committed(), Some(id(1, 8)));
        log.truncate_after(Some(7)).unwrap();
        assert_eq!(log.committed(), None);
        append(&log, records(2, 8, 10));
        drop((store, log));
        reopened(None);
    }
}

#[test]
fn records_out_of_turn_are_refused_whole() {
    for ground in Ground::both() {
        let store = ground.open();
        let log = store.log(1).unwrap();
        append(&log, records(1, 0, 3));
        let hole = vec![record(1, 3, 10), record(1, 5, 10)];
        let refused = log.append(hole, Box::new(|_| panic!("it was refused")));
        assert_eq!(refused, Err(Fault::OutOfTurn { what: "log", expected: 4, found: 5 }));
        assert_eq!(log.last(), Some(id(1, 2)));
    }
}

#[test]
fn votes_and_appends_of_all_sets_call_back_in_order() {
    for ground in Ground::both() {
        let order = Arc::new(Mutex::new(Vec::new()));
        let (tell, told) = channel();
        {
            let store = ground.open();
            let logs = [store.log(1).unwrap(), store.log(2).unwrap()];
            for step in 0..200u64 {
                let (order, tell) = (Arc::clone(&order), tell.clone());
                let done = Box::new(move |result: Result<(), Fault>| {
                    order.lock().unwrap().push((step, result));
                    tell.send(()).unwrap();
                });
                let log = &logs[(step % 2) as usize];
                match step % 4 {
                    0 | 1 => log.save_vote(&step.to_le_bytes(), done).unwrap(),
                    _ => log.append(vec![record(1, step / 4, 100)], done).unwrap(),
                }
            }
            for _ in 0..200 {
                told.recv().unwrap();
            }
        }
        let expected: Vec<_> = (0..200).map(|step| (step, Ok(()))).collect();
        assert_eq!(*order.lock().unwrap(), expected);
        let store = ground.open();
        assert_eq!(store.log(1).unwrap().vote(), Some(196u64.to_le_bytes().to_vec()));
        assert_eq!(store.log(2).unwrap().vote(), Some(197u64.to_le_bytes().to_vec()));
        assert_eq!(store.log(3).unwrap().vote(), None);
    }
}

#[test]
fn small_records_are_kept() {
    for ground in Ground::both() {
        let identity = Identity { cluster_id: "c-1".to_owned(), node: "a1".to_owned() };
        let replica = |set, incarnation| ReplicaRecord { set, replica_id: 10 + u64::from(set), incarnation };
        {
            let store = ground.open();
            assert_eq!((store.identity(), store.replicas().unwrap()), (None, vec![]));
            store.set_identity(&identity).unwrap();
            store.set_identity(&identity).unwrap();
            for record in [replica(300, 1), replica(0, 1), replica(300, 2)] {
                store.put_replica(record).unwrap();
            }
            store.put_blob("catalogue", b"bytes").unwrap();
        }
        let store = ground.open();
        assert_eq!(store.identity(), Some(identity.clone()));
        let other = Identity { node: "b1".to_owned(), ..identity };
        assert!(matches!(store.set_identity(&other), Err(Fault::OtherIdentity { .. })));
        assert_eq!(store.replicas().unwrap(), [replica(0, 1), replica(300, 2)]);
        assert_eq!(store.get_blob("catalogue").unwrap().as_deref(), Some(&b"bytes"[..]));
        assert_eq!(store.get_blob("other").unwrap(), None);
    }
}

#[test]
fn a_document_comes_back_as_of_its_last_commit() {
    for ground in Ground::both() {
        let members = Some((Some(id(1, 1)), b"members".to_vec()));
        {
            let store = ground.open();
            let document = store.document(0).unwrap();
            assert!(document.bytes().is_empty());
            document.commit(id(1, 1), members.clone(), b"one".to_vec(), &[]).unwrap();
            document.commit(id(1, 2), None, b"two".to_vec(), &[]).unwrap();
            store.close();
        }
        let store = ground.open();
        let document = store.document(0).unwrap();
        assert_eq!(document.applied().log_id, Some(id(1, 2)));
        let (meta, bytes) = document.snapshot();
        assert_eq!(
            meta,
            SnapshotMeta { last: Some(id(1, 2)), membership: members, id: "0-1-1-2".to_owned() }
        );
        assert_eq!(bytes, b"two");
        let far = store.document(5).unwrap();
        far.install(&meta, bytes).unwrap();
        drop((document, far));
        store.close();
        let store = ground.open();
        assert_eq!(store.document(5).unwrap().bytes(), b"two");
    }
}

#[test]
fn a_directory_is_opened_by_one_at_a_time_and_only_in_the_known_format() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = store.log(1).unwrap();
    let refused = Store::open(dir.path(), options()).err();
    assert_eq!(refused, Some(OpenError::Locked { dir: dir.path().to_owned() }));
    store.close();
    assert_eq!(log.append(records(1, 0, 1), Box::new(|_| {})), Err(Fault::Closed));
    drop(log);
    std::fs::write(dir.path().join("FORMAT"), "twinset-store 99\n").unwrap();
    let refused = Store::open(dir.path(), options()).err().unwrap();
    assert!(
        matches!(&refused, OpenError::WrongFormat { found, known: FORMAT, .. } if found == "99"),
        "{refused}"
    );
    std::fs::remove_file(dir.path().join("FORMAT")).unwrap();
    assert!(matches!(Store::open(dir.path(), options()), Err(OpenError::Damaged { .. })));
}
