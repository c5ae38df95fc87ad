//! The simulated disk by itself: nothing happens before its owner says so, a crash leaves what it was told to leave, faults
//! come at the operation they were asked for, and whatever happens at any operation, the log completes the state.
#![allow(clippy::unwrap_used)]

mod common;

use std::sync::{Arc, Mutex};

use common::{Dice, Load, catch_up, compare, model, options};
use twinset_store::{
    Crash, Damage, Failure, Fault, Kept, LedgerReplica, Log, OpenError, Operation, Options, Pending, SimDisk,
    Store,
};

const LOAD: Load = Load { seed: 31, set: 1 };
const NOTHING: Crash = Crash { kept: Kept::Nothing, marker_kept: true };

fn open(disk: &SimDisk) -> Store {
    Store::open_simulated(disk, options()).unwrap()
}

type Answers = Vec<(u64, Result<(), Fault>)>;

/// Who was told that it is on disk, or that it never will be.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Answers>>);

impl Told {
    fn append(&self, log: &Log, index: u64) -> Result<(), Fault> {
        let told = self.clone();
        let done = Box::new(move |result| told.0.lock().unwrap().push((index, result)));
        log.append(vec![LOAD.record(index)], done)
    }

    fn all(&self) -> Answers {
        self.0.lock().unwrap().clone()
    }

    /// The last one that was told of success.
    fn last(&self) -> Option<u64> {
        self.all().iter().filter(|(_, result)| result.is_ok()).map(|(index, _)| *index).max()
    }
}

#[test]
fn nobody_is_told_before_the_owner_says_so_and_a_sync_covers_what_it_was_for() {
    let disk = SimDisk::new("a1");
    let store = open(&disk);
    let (log, told) = (store.log(1).unwrap(), Told::default());
    log.sync().unwrap();
    for index in 0..3 {
        told.append(&log, index).unwrap();
    }
    assert_eq!((disk.pending(), told.all(), disk.unsynced().0), (Pending { syncs: 3, jobs: 0 }, vec![], 3));
    assert_eq!(disk.run_syncs(2), 2);
    assert_eq!((told.all(), disk.unsynced().0), (vec![(0, Ok(())), (1, Ok(()))], 1));
    // Who waits has the disk at once; the callback comes late.
    log.sync().unwrap();
    assert_eq!((told.last(), disk.unsynced().0), (Some(1), 0));
    assert_eq!(disk.run_pending(), 1);
    assert_eq!(told.last(), Some(2));
}

#[test]
fn a_checkpoint_waits_for_the_owner_and_a_store_that_closes_leaves_nothing_undone() {
    for closed in [true, false] {
        let disk = SimDisk::new("a1");
        let store = open(&disk);
        let (log, replica, told) = (store.log(1).unwrap(), store.ledger(1).unwrap(), Told::default());
        let mut next = 0;
        while !replica.checkpoint_due() {
            told.append(&log, next).unwrap();
            catch_up(&log, &replica);
            next += 1;
        }
        assert_eq!((disk.pending().jobs, replica.last_snapshot()), (1, None));
        assert!(disk.run_job() && !disk.run_job());
        assert_eq!(replica.last_snapshot().unwrap().last, log.last());
        while !replica.checkpoint_due() {
            told.append(&log, next).unwrap();
            catch_up(&log, &replica);
            next += 1;
        }
        let (last, applied) = (log.last(), replica.last_snapshot().unwrap().last);
        drop((log, replica));
        if closed {
            store.close()
        } else {
            drop(store)
        }
        assert_eq!(told.last(), closed.then_some(next - 1), "who drops a store is told nothing any more");
        let store = open(&disk);
        assert_eq!(store.log(1).unwrap().last(), last);
        let found = store.ledger(1).unwrap().applied().log_id;
        assert_eq!(found, if closed { last } else { applied }, "the second checkpoint");
    }
}

#[test]
fn a_full_queue_makes_the_caller_do_the_sync() {
    let disk = SimDisk::new("a1");
    let store = Store::open_simulated(&disk, Options { sync_queue: 2, ..options() }).unwrap();
    let (log, told) = (store.log(1).unwrap(), Told::default());
    for (index, heard) in [(0, None), (1, None), (2, Some(2)), (3, Some(2))] {
        told.append(&log, index).unwrap();
        assert_eq!(told.last(), heard, "after {index}");
    }
}

#[test]
fn a_crash_leaves_any_beginning_of_what_no_sync_has_covered() {
    // The bytes of the records, as the simulated log counts them.
    let sizes = {
        let disk = SimDisk::new("a1");
        let (store, told) = (open(&disk), Told::default());
        let log = store.log(1).unwrap();
        let size = |index| {
            log.sync().unwrap();
            told.append(&log, index).unwrap();
            disk.unsynced().1
        };
        (0..8).map(size).collect::<Vec<_>>()
    };
    let bytes = |from: usize, to: usize| sizes[from..to].iter().sum::<u64>();
    let cases = [
        (Kept::Nothing, 3),
        (Kept::Batches(0), 3),
        (Kept::Batches(2), 5),
        (Kept::Bytes(bytes(4, 6)), 5),
        (Kept::Bytes(bytes(4, 6) - 1), 4),
        (Kept::Bytes(bytes(4, 7) + 1), 6),
        (Kept::Batches(99), 7),
        (Kept::Everything, 7),
    ];
    for (kept, last) in cases {
        let disk = SimDisk::new("a1");
        let (store, told) = (open(&disk), Told::default());
        let log = store.log(1).unwrap();
        for index in 0..8 {
            told.append(&log, index).unwrap();
            if index == 3 {
                disk.run_syncs(4);
            }
        }
        assert_eq!(disk.crash(Crash { kept, marker_kept: true }), 7 - last, "{kept:?}");
        assert_eq!(told.last(), Some(3));
        assert_eq!(open(&disk).log(1).unwrap().last(), Some(LOAD.id(last)), "{kept:?}");
    }
}

#[test]
fn a_crash_is_the_end_of_every_handle_and_the_next_life_has_the_disk() {
    let disk = SimDisk::new("a1");
    let store = open(&disk);
    let refused = Store::open_simulated(&disk, options()).err();
    assert_eq!(refused, Some(OpenError::Locked { dir: "a1".into() }));
    let (log, replica, told) = (store.log(1).unwrap(), store.ledger(1).unwrap(), Told::default());
    for index in 0..5 {
        told.append(&log, index).unwrap();
    }
    catch_up(&log, &replica);
    disk.run_syncs(2);
    let mut reader = replica.snapshot().unwrap();
    told.append(&log, 5).unwrap();
    disk.crash(NOTHING);
    assert_eq!(disk.pending(), Pending::default());
    let after = open(&disk);
    let digest = disk.digest();
    // What is left of the old life changes nothing and hears nothing.
    assert_eq!(told.append(&log, 6), Err(Fault::Closed));
    assert_eq!(log.read(0, 1, 1).err(), Some(Fault::Closed));
    assert_eq!(replica.apply(&LOAD.record(5)).err(), Some(Fault::Closed));
    assert_eq!(replica.checkpoint().err(), Some(Fault::Closed));
    assert_eq!(reader.next_chunk(usize::MAX).map(drop), Ok(()), "the head was made before");
    assert_eq!(reader.next_chunk(usize::MAX).err(), Some(Fault::Closed));
    assert_eq!(store.put_blob("name", b"bytes"), Err(Fault::Closed));
    drop((log, replica, reader));
    store.close();
    assert_eq!((told.last(), disk.digest()), (Some(1), digest));
    assert_eq!(after.log(1).unwrap().last(), Some(LOAD.id(4)), "the checkpoint was a sync");
}

#[test]
fn a_lie_is_found_out_by_the_marker_and_by_nothing_else() {
    for marker_kept in [true, false] {
        let disk = SimDisk::new("a1");
        let store = open(&disk);
        let (log, told) = (store.log(1).unwrap(), Told::default());
        told.append(&log, 0).unwrap();
        disk.run_syncs(1);
        disk.lie(true);
        told.append(&log, 1).unwrap();
        disk.run_syncs(1);
        assert_eq!(told.last(), Some(1), "it was acknowledged");
        disk.crash(Crash { kept: Kept::Nothing, marker_kept });
        disk.lie(false);
        if !marker_kept {
            // A marker that was lost as well proves nothing: no single disk can tell.
            assert_eq!(open(&disk).log(1).unwrap().last(), Some(LOAD.id(0)));
            continue;
        }
        for _ in 0..2 {
            let refused = Store::open_simulated(&disk, options()).err().unwrap();
            assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
            assert!(refused.to_string().contains("1 acknowledged writes are lost"), "{refused}");
        }
    }
}

#[test]
fn a_failed_sync_or_write_stops_the_store_for_good() {
    for (operation, failure) in [
        (Operation::Sync, Failure::Error),
        (Operation::Sync, Failure::Full),
        (Operation::Write, Failure::Error),
        (Operation::Write, Failure::Full),
    ] {
        let disk = SimDisk::new("a1");
        let store = open(&disk);
        let (log, told) = (store.log(1).unwrap(), Told::default());
        told.append(&log, 0).unwrap();
        disk.run_syncs(1);
        disk.fail(Some(operation), 1, failure);
        let written = told.append(&log, 1);
        disk.run_syncs(9);
        let fault = match operation {
            Operation::Sync => told.all()[1].1.clone().unwrap_err(),
            _ => written.unwrap_err(),
        };
        match failure {
            Failure::Full => assert!(matches!(fault, Fault::DiskFull { .. }), "{fault}"),
            _ => assert!(matches!(fault, Fault::Disk { .. }), "{fault}"),
        }
        let next = log.last().unwrap().index + 1;
        assert!(matches!(told.append(&log, next), Err(Fault::Stopped { .. })));
        assert!(matches!(log.read(0, 1, 1), Err(Fault::Stopped { .. })));
        drop(log);
        store.close();
        let last = open(&disk).log(1).unwrap().last();
        assert_eq!(last, Some(LOAD.id(u64::from(operation == Operation::Sync))), "written, if not synced");
    }
}

#[test]
fn a_replica_that_stopped_in_the_middle_of_an_entry_says_so_to_whoever_reads() {
    let halves = (1..20).filter(|&nth| {
        let disk = SimDisk::new("a1");
        let store = open(&disk);
        let (log, replica, told) = (store.log(1).unwrap(), store.ledger(1).unwrap(), Told::default());
        (0..40).for_each(|index| told.append(&log, index).unwrap());
        catch_up(&log, &replica);
        replica.checkpoint().unwrap();
        disk.fail(Some(Operation::Read), nth, Failure::Error);
        (40..400).any(|index| {
            let before = replica.totals();
            assert!(!replica.has_stopped());
            let Err(fault) = replica.apply(&LOAD.record(index)) else { return false };
            assert!(matches!(fault, Fault::Disk { .. }), "{fault}");
            assert!(replica.has_stopped());
            let after = replica.totals();
            after.index == before.index && after.value.state_hash != before.value.state_hash
        })
    });
    assert!(halves.count() > 0, "no fault came in the middle of an entry");
}

#[test]
fn a_full_disk_takes_no_sync_no_file_and_no_open() {
    let disk = SimDisk::new("a1");
    let store = open(&disk);
    let (log, replica, told) = (store.log(1).unwrap(), store.ledger(1).unwrap(), Told::default());
    (0..5).for_each(|index| told.append(&log, index).unwrap());
    catch_up(&log, &replica);
    disk.run_syncs(9);
    disk.fill(true);
    assert!(matches!(replica.checkpoint(), Err(Fault::DiskFull { operation: "build a file" })));
    assert!(matches!(told.append(&log, 5), Err(Fault::Stopped { .. })));
    drop((log, replica, store));
    assert!(matches!(Store::open_simulated(&disk, options()), Err(OpenError::Io { .. })));
    disk.fill(false);
    let store = open(&disk);
    let log = store.log(1).unwrap();
    assert_eq!(log.last(), Some(LOAD.id(4)));
    disk.fill(true);
    told.append(&log, 5).unwrap();
    disk.run_syncs(1);
    assert!(matches!(told.all()[5].1, Err(Fault::DiskFull { operation: "sync" })), "{:?}", told.all());
}

#[test]
fn a_read_that_fails_or_finds_rot_is_a_fault_and_what_is_written_anew_is_well() {
    let disk = SimDisk::new("a1");
    let told = Told::default();
    let store = open(&disk);
    let document = store.document(9).unwrap();
    document.commit(LOAD.id(1), None, b"all of it".to_vec(), &[]).unwrap();
    store.put_blob("name", b"bytes").unwrap();
    (0..4).for_each(|index| told.append(&store.log(1).unwrap(), index).unwrap());
    drop((store, document));
    let store = open(&disk);
    let log = store.log(1).unwrap();
    disk.fail(Some(Operation::Read), 2, Failure::Error);
    assert!(matches!(log.read(0, 4, usize::MAX), Err(Fault::Disk { operation: "log", .. })));
    assert_eq!(log.read(0, 4, usize::MAX).unwrap().len(), 4, "once");
    drop((store, log));
    // The first record of all is a part of the log.
    assert!(disk.damage(0, Damage::Noticed).unwrap().starts_with("log "));
    let store = open(&disk);
    let log = store.log(1).unwrap();
    let read = log.read(0, 4, usize::MAX);
    assert!(matches!(read, Err(Fault::Damaged { what: "log", .. })), "{read:?}");
    log.truncate_after(None).unwrap();
    (0..4).for_each(|index| told.append(&log, index).unwrap());
    drop((store, log));
    let store = open(&disk);
    assert_eq!(store.log(1).unwrap().read(0, 4, usize::MAX).unwrap().len(), 4);
    drop(store);
    // Behind the database's back: the log notices by its own checksum.
    disk.damage(0, Damage::Unnoticed(200)).unwrap();
    let read = open(&disk).log(1).and_then(|log| log.read(0, 4, usize::MAX));
    assert!(matches!(read, Err(Fault::Damaged { what: "a log record", .. })), "{read:?}");
}

/// Appends, applies, checkpoints and sends a snapshot on; stops at the first fault.
fn work(near: &SimDisk, far: &SimDisk, told: &Told) -> Result<(), Fault> {
    let open = |disk: &SimDisk| Store::open_simulated(disk, options()).map_err(|_| Fault::Closed);
    let (store, receiver) = (open(near)?, open(far)?);
    let (log, replica) = (store.log(1)?, store.ledger(1)?);
    for index in 0..12 {
        told.append(&log, index)?;
        if index % 3 == 2 {
            near.run_syncs(2);
        }
        replica.apply(&LOAD.record(index))?;
        if index % 5 == 4 {
            replica.checkpoint()?;
        }
    }
    let mut reader = replica.snapshot()?;
    let far = receiver.ledger(1)?;
    let mut writer = far.begin_install()?;
    while let Some(chunk) = reader.next_chunk(10_000)? {
        writer.write_chunk(&chunk)?;
    }
    far.install(writer.finish(reader.meta())?)
}

/// What a store has after a crash: at least what was acknowledged, and all of it in order.
fn whole(disk: &SimDisk, acknowledged: Option<u64>, about: &str) -> (Log, LedgerReplica) {
    let store = open(disk);
    let (log, replica) = (store.log(1).unwrap(), store.ledger(1).unwrap());
    let last = log.last().map(|last| last.index);
    assert!(last >= acknowledged, "{about}: {acknowledged:?} was acknowledged, {last:?} is there");
    assert!(replica.applied().log_id <= log.last(), "{about}");
    catch_up(&log, &replica);
    compare(&replica, &model(LOAD, last), &mut Dice::new(1));
    (log, replica)
}

#[test]
fn a_crash_at_any_operation_leaves_a_state_that_the_log_completes() {
    let mut crashes = 0;
    for which in 0..2 {
        for nth in 1.. {
            let (near, far, told) = (SimDisk::new("a1"), SimDisk::new("b1"), Told::default());
            let disk = [&near, &far][which];
            let kept = [Kept::Nothing, Kept::Batches(nth % 3), Kept::Everything][nth as usize % 3];
            let crash = Crash { kept, marker_kept: true };
            // Reads change nothing: only what does is counted.
            for operation in [Operation::Write, Operation::Sync, Operation::Build, Operation::Ingest] {
                let stride = if operation == Operation::Build { nth * 13 } else { nth };
                disk.fail(Some(operation), stride, Failure::Crash(crash));
            }
            let result = work(&near, &far, &told);
            let about = format!("disk {which}, operation {nth}");
            let crashed = disk.pending() == Pending::default() && result == Err(Fault::Closed);
            disk.fail_no_more();
            drop(whole(&near, told.last(), &about));
            let (log, replica) = whole(&far, None, &about);
            if result.is_ok() {
                assert_eq!((log.last(), replica.applied().log_id), (Some(LOAD.id(11)), Some(LOAD.id(11))));
                break;
            }
            assert!(crashed, "{about}: {result:?}");
            crashes += 1;
        }
    }
    assert!(crashes > 20, "{crashes}");
}

/// A run that depends on its seed alone: what it writes, and when its disk does what.
fn digest_of(seed: u64) -> [u8; 32] {
    let disk = SimDisk::new("a1");
    let (mut dice, told) = (Dice::new(seed), Told::default());
    for _ in 0..4 {
        let store = open(&disk);
        let (log, replica) = (store.log(1).unwrap(), store.ledger(1).unwrap());
        for _ in 0..30 {
            let next = log.last().map_or(0, |last| last.index + 1);
            told.append(&log, next).unwrap();
            catch_up(&log, &replica);
            if dice.roll(3) == 0 {
                disk.run_syncs(dice.roll(4) as usize);
            }
            if dice.roll(5) == 0 {
                disk.run_job();
            }
        }
        let unsynced = disk.unsynced().0;
        disk.crash(Crash { kept: Kept::Batches(dice.roll(unsynced + 1)), marker_kept: true });
    }
    disk.digest()
}

/// The maps in memory are seeded afresh each time they are made: no order of theirs may reach the disk.
#[test]
fn the_same_run_twice_writes_the_same_bytes_in_the_same_order() {
    let first = digest_of(1);
    for _ in 0..3 {
        assert_eq!(digest_of(1), first);
    }
    assert_ne!(digest_of(2), first);
}
