//! A snapshot from one replica to another, in the chunks and with the metadata that the peers send: what is applied, what
//! the log shows, and the gate are the same afterwards, and after a restart.

use openraft::storage::{RaftLogReader, RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine};
use twinset_ledger::Durability;
use twinset_store::{LedgerReplica, Store};

use crate::control_set::ControlSnapshot;

use super::super::log::{LogStore, make_vote};
use super::super::machine::{Machine, SnapshotData, raft_meta, store_meta};
use super::{account, append, apply, business, carry, commands, id, ledger, membership, open};

const SET: u32 = 5;
const LAST: u64 = 120;

fn replica(machine: &Machine) -> &LedgerReplica {
    let Machine::Ledger(replica, ..) = machine else { unreachable!("a set of accounts") };
    replica
}

/// A replica whose log goes ten entries beyond what it has applied.
async fn source(store: &Store) -> (LogStore, Machine) {
    let (mut log, mut machine, _) = ledger(store, SET);
    let mut entries = vec![membership(1, 0, &[1, 2, 3])];
    entries.extend((1..=LAST + 10).map(|index| business(1 + index / 50, index)));
    append(&mut log, entries.clone()).await;
    apply(&mut machine, entries.drain(..=LAST as usize).collect()).await.unwrap();
    (log, machine)
}

async fn same(machine: &mut Machine, other: &mut Machine) {
    assert_eq!(machine.applied_state().await.unwrap(), other.applied_state().await.unwrap());
    let (one, other) = (replica(machine), replica(other));
    assert_eq!(one.totals(), other.totals());
    assert_eq!(one.list(None, 1_000).unwrap(), other.list(None, 1_000).unwrap());
    for index in 1..=LAST {
        assert_eq!(one.account(&account(index)), other.account(&account(index)));
    }
}

#[tokio::test]
async fn a_snapshot_makes_the_receiver_what_the_sender_was() {
    let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let near_store = open(near.path());
    let (mut near_log, mut sender) = source(&near_store).await;
    let snapshot = sender.build_snapshot().await.unwrap();
    let meta = snapshot.meta.clone();
    assert_eq!(meta.last_log_id, Some(id(1 + LAST / 50, LAST)));
    assert_eq!(meta.last_membership.log_id(), &Some(id(1, 0)));
    assert_eq!(raft_meta(store_meta(&meta)).unwrap(), meta, "the metadata survives the way over the wire");

    let far_store = open(far.path());
    // The receiver has a past of its own: a shorter log that disagrees, a vote, and another set.
    let (mut far_log, mut receiver, gate) = ledger(&far_store, SET);
    gate.matched(1, &[(1, u64::MAX), (2, u64::MAX)].into());
    far_log.save_vote(&make_vote(9, 2, true)).await.unwrap();
    append(&mut far_log, (0..8).map(|index| commands(7, index, vec![3; 50])).collect()).await;
    let (mut other_log, mut other, _) = ledger(&far_store, SET + 1);
    append(&mut other_log, (0..8).map(|index| business(7, index)).collect()).await;
    apply(&mut other, (0..8).map(|index| business(7, index)).collect()).await.unwrap();
    let other_was = replica(&other).totals();

    let SnapshotData::Reader(reader) = snapshot.snapshot else { panic!("a sender reads") };
    let staged = carry(replica(&receiver), &meta, *reader);
    assert_eq!(receiver.applied_state().await.unwrap().0, None, "staged is not installed");
    receiver.install_snapshot(&meta, SnapshotData::Staged(Box::new(staged))).await.unwrap();
    assert_eq!(gate.horizon().safe, LAST);
    assert_eq!(replica(&receiver).durability(), Durability::Sync);

    // The sender is a little further in its log, not in what it has applied.
    same(&mut sender, &mut receiver).await;
    for round in 0..2 {
        let state = far_log.get_log_state().await.unwrap();
        assert_eq!((state.last_purged_log_id, state.last_log_id), (meta.last_log_id, meta.last_log_id));
        assert_eq!(far_log.read_vote().await.unwrap(), Some(make_vote(9, 2, true)));
        assert!(far_log.try_get_log_entries(..).await.unwrap().is_empty(), "all of it is before the pointer");
        // The lasting record of every transaction has come along.
        let records = |store: &Store| store.log(SET).unwrap().read(0, LAST + 1, usize::MAX).unwrap();
        assert_eq!(records(&far_store), records(&near_store), "round {round}");
        assert_eq!(replica(&other).totals(), other_was);
        // Again, and nothing changes.
        let again = sender.build_snapshot().await.unwrap();
        let SnapshotData::Reader(reader) = again.snapshot else { panic!("a sender reads") };
        let staged = carry(replica(&receiver), &again.meta, *reader);
        receiver.install_snapshot(&again.meta, SnapshotData::Staged(Box::new(staged))).await.unwrap();
        same(&mut sender, &mut receiver).await;
    }

    let rest = near_log.try_get_log_entries(LAST + 1..).await.unwrap();
    assert_eq!(rest.len(), 10);
    append(&mut far_log, rest.clone()).await;
    drop((far_log, receiver, other_log, other));
    far_store.close();

    let far_store = open(far.path());
    let (mut far_log, mut receiver, _) = ledger(&far_store, SET);
    same(&mut sender, &mut receiver).await;
    assert_eq!(far_log.read_vote().await.unwrap(), Some(make_vote(9, 2, true)));
    assert_eq!(far_log.try_get_log_entries(..).await.unwrap(), rest, "the log goes on after the snapshot");
    apply(&mut sender, rest.clone()).await.unwrap();
    apply(&mut receiver, rest).await.unwrap();
    same(&mut sender, &mut receiver).await;
    assert_eq!(replica(&receiver).totals().value.accounts, LAST + 10);
    assert_eq!(
        replica(&ledger(&far_store, SET + 1).1).applied().log_id,
        None,
        "it had no checkpoint; its log is there"
    );
    assert_eq!(far_store.log(SET + 1).unwrap().read(0, 99, usize::MAX).unwrap().len(), 8);
}

#[tokio::test]
async fn entries_that_follow_on_a_snapshot_stay() {
    let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (near_store, far_store) = (open(near.path()), open(far.path()));
    let (mut near_log, mut sender) = source(&near_store).await;
    let (mut far_log, mut receiver, _) = ledger(&far_store, SET);
    // The receiver has the whole log, and has applied nothing of it.
    append(&mut far_log, near_log.try_get_log_entries(..).await.unwrap()).await;
    let snapshot = sender.build_snapshot().await.unwrap();
    let SnapshotData::Reader(reader) = snapshot.snapshot else { panic!("a sender reads") };
    let staged = carry(replica(&receiver), &snapshot.meta, *reader);
    receiver.install_snapshot(&snapshot.meta, SnapshotData::Staged(Box::new(staged))).await.unwrap();
    let rest = far_log.try_get_log_entries(..).await.unwrap();
    assert_eq!(rest, near_log.try_get_log_entries(LAST + 1..).await.unwrap());
    drop((far_log, receiver));
    far_store.close();
    let far_store = open(far.path());
    let (mut far_log, mut receiver, _) = ledger(&far_store, SET);
    assert_eq!(far_log.try_get_log_entries(..).await.unwrap(), rest);
    apply(&mut receiver, rest.clone()).await.unwrap();
    apply(&mut sender, rest).await.unwrap();
    same(&mut sender, &mut receiver).await;
}

#[tokio::test]
async fn what_is_no_snapshot_of_this_set_changes_nothing() {
    let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (near_store, far_store) = (open(near.path()), open(far.path()));
    let (_, mut sender) = source(&near_store).await;
    let (_, mut receiver, _) = ledger(&far_store, SET);
    let (_, stranger, _) = ledger(&far_store, SET + 1);
    let mut bytes = Vec::new();
    let meta = {
        let snapshot = sender.build_snapshot().await.unwrap();
        let SnapshotData::Reader(mut reader) = snapshot.snapshot else { panic!("a sender reads") };
        while let Some(chunk) = reader.next_chunk(usize::MAX).unwrap() {
            bytes.extend(chunk);
        }
        snapshot.meta
    };
    let take = |to: &Machine, bytes: &[u8], meta| {
        let mut writer = replica(to).begin_install().unwrap();
        writer.write_chunk(bytes).map_err(|fault| fault.to_string())?;
        writer.finish(&store_meta(meta)).map_err(|fault| fault.to_string())
    };
    assert!(take(&stranger, &bytes, &meta).is_err(), "of another set");
    for cut in [0, 1, 9, bytes.len() / 2, bytes.len() - 1] {
        assert!(take(&receiver, &bytes[..cut], &meta).is_err(), "cut at {cut}");
    }
    for flip in [0, 5, 20, bytes.len() / 2, bytes.len() - 1] {
        let mut bytes = bytes.clone();
        bytes[flip] ^= 1;
        assert!(take(&receiver, &bytes, &meta).is_err(), "a bit of byte {flip} turned");
    }
    let mut other = meta.clone();
    other.last_log_id = Some(id(1 + LAST / 50, LAST - 1));
    assert!(take(&receiver, &bytes, &other).is_err(), "of another entry than it says");
    let unsent = sender.get_current_snapshot().await.unwrap().unwrap().snapshot;
    assert!(
        receiver.install_snapshot(&meta, unsent).await.is_err(),
        "a reader is not a snapshot that has arrived"
    );
    let document = SnapshotData::Document(ControlSnapshot::arrived(b"{}".to_vec()));
    assert!(receiver.install_snapshot(&meta, document).await.is_err(), "a document is no ledger");
    assert_eq!(receiver.applied_state().await.unwrap().0, None);
    let staged = take(&receiver, &bytes, &meta).unwrap();
    receiver.install_snapshot(&meta, SnapshotData::Staged(Box::new(staged))).await.unwrap();
    same(&mut sender, &mut receiver).await;
}

#[tokio::test]
async fn an_entry_out_of_its_turn_is_refused_and_the_next_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (_, mut machine, _) = ledger(&store, SET);
    apply(&mut machine, vec![business(1, 0), business(1, 1)]).await.unwrap();
    for index in [0, 1, 3] {
        assert!(apply(&mut machine, vec![business(1, index)]).await.is_err(), "entry {index} after entry 1");
    }
    apply(&mut machine, vec![business(1, 2)]).await.unwrap();
    assert_eq!(machine.applied_state().await.unwrap().0, Some(id(1, 2)));
}
