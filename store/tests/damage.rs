//! Damage on disk: what was synced and is gone stops the store; a torn tail that nobody was told of does not.
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Dice, Load, append, catch_up, compare, model, open, options};
use twinset_store::{Fault, LogId, OpenError, Options, Record, RecordKind, Store};

fn record(index: u64) -> Record {
    let id = LogId { term: 1, leader: 1, index };
    Record { id, kind: RecordKind::Commands, payload: vec![index as u8; 3000].into() }
}

/// The newest write-ahead log that holds anything.
fn wal(dir: &Path) -> PathBuf {
    wals(dir).pop().unwrap()
}

/// A store of ten synced records, and where its log and its marker stood after each.
fn ten(dir: &Path) -> Vec<(u64, Vec<u8>)> {
    let store = open(dir);
    let log = store.log(1).unwrap();
    let mut steps = Vec::new();
    for index in 0..10 {
        append(&log, vec![record(index)]);
        steps.push((fs::metadata(wal(dir)).unwrap().len(), fs::read(dir.join("synced")).unwrap()));
    }
    steps
}

#[test]
fn a_log_cut_below_what_was_synced_is_refused_every_time() {
    for (index, cut) in [(9, 1), (9, 100), (5, 0), (0, 10)] {
        let dir = tempfile::tempdir().unwrap();
        let steps = ten(dir.path());
        let file = fs::File::options().write(true).open(wal(dir.path())).unwrap();
        file.set_len(steps[index].0 - cut).unwrap();
        drop(file);
        for _ in 0..2 {
            let refused = Store::open(dir.path(), options()).err().unwrap();
            assert!(matches!(refused, OpenError::Damaged { .. }), "{index} {cut}: {refused}");
        }
    }
}

#[test]
fn a_flipped_bit_below_what_was_synced_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let steps = ten(dir.path());
    let mut bytes = fs::read(wal(dir.path())).unwrap();
    bytes[steps[4].0 as usize + 500] ^= 4;
    fs::write(wal(dir.path()), bytes).unwrap();
    let refused = Store::open(dir.path(), options()).err().unwrap();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
}

#[test]
fn a_torn_tail_above_what_was_synced_is_cut() {
    for (cut, zeros) in [(1, 0), (700, 0), (700, 500), (0, 300), (0, 100_000)] {
        let dir = tempfile::tempdir().unwrap();
        let steps = ten(dir.path());
        // As if the last two had been written and not synced: the marker is of before.
        fs::write(dir.path().join("synced"), &steps[7].1).unwrap();
        let mut bytes = fs::read(wal(dir.path())).unwrap();
        bytes.truncate((steps[8].0 - cut) as usize);
        bytes.resize(bytes.len() + zeros, 0);
        fs::write(wal(dir.path()), bytes).unwrap();
        let store = open(dir.path());
        let log = store.log(1).unwrap();
        let last = if cut == 0 { 8 } else { 7 };
        assert_eq!(log.last(), Some(record(last).id), "{cut} {zeros}");
        append(&log, vec![record(last + 1)]);
        drop(log);
        store.close();
        assert_eq!(open(dir.path()).log(1).unwrap().last(), Some(record(last + 1).id));
    }
}

#[test]
fn no_flipped_bit_of_the_log_hangs_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let steps = ten(dir.path());
    let path = wal(dir.path());
    let bytes = fs::read(&path).unwrap();
    // The header of a record stands where the one before it ends: its type is the seventh byte.
    for bit in 0..8 {
        let mut changed = bytes.clone();
        changed[steps[2].0 as usize + 6] ^= 1 << bit;
        fs::write(&path, changed).unwrap();
        let copy = tempfile::tempdir().unwrap();
        copy_all(dir.path(), copy.path());
        let refused = Store::open(copy.path(), options()).err().unwrap();
        assert!(matches!(refused, OpenError::Damaged { .. }), "bit {bit}: {refused}");
    }
}

/// The write-ahead logs that hold anything, oldest first.
fn wals(dir: &Path) -> Vec<PathBuf> {
    let logs = fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> = logs.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    logs.retain(|path| fs::metadata(path).unwrap().len() > 0);
    logs.sort();
    logs
}

/// A store whose write-ahead log was changed for a new one several times, because the table of records was full, and that
/// table went to disk each time. The older logs stay, because other tables still wait. Gives the number of records.
fn rotated(dir: &Path) -> u64 {
    let small = Options { log_write_buffer_bytes: 64 << 10, ..options() };
    let store = Store::open(dir, small).unwrap();
    let log = store.log(1).unwrap();
    let is_table = |file: &fs::DirEntry| file.path().extension().is_some_and(|end| end == "sst");
    let flushed = || fs::read_dir(dir.join("db")).unwrap().map(Result::unwrap).any(|file| is_table(&file));
    let deadline = Instant::now() + Duration::from_secs(60);
    let mut count = 0;
    while wals(dir).len() < 4 || !flushed() {
        assert!(Instant::now() < deadline, "{} logs after {count} records", wals(dir).len());
        append(&log, vec![record(count)]);
        count += 1;
    }
    count
}

#[test]
fn damage_in_an_older_log_is_refused_though_tables_have_gone_on() {
    let dir = tempfile::tempdir().unwrap();
    let count = rotated(dir.path());
    let refused = |name: &Path, what: &str, change: &dyn Fn(&Path)| {
        let copy = tempfile::tempdir().unwrap();
        copy_all(dir.path(), copy.path());
        change(&copy.path().join(name));
        for _ in 0..2 {
            let refused = Store::open(copy.path(), options()).err();
            assert!(matches!(refused, Some(OpenError::Damaged { .. })), "{what} of {name:?}: {refused:?}");
        }
    };
    let logs = wals(dir.path());
    for path in &logs[..logs.len() - 1] {
        let name = path.strip_prefix(dir.path()).unwrap();
        let bytes = fs::metadata(path).unwrap().len();
        for at in [10, bytes / 3, bytes - 200] {
            refused(name, &format!("a bit at {at}"), &|path| {
                let mut damaged = fs::read(path).unwrap();
                damaged[at as usize] ^= 4;
                fs::write(path, damaged).unwrap();
            });
        }
        refused(name, "half", &|path| {
            fs::File::options().write(true).open(path).unwrap().set_len(bytes / 2).unwrap();
        });
        refused(name, "all", &|path| fs::remove_file(path).unwrap());
    }
    // Untouched, it opens, and everything is there.
    let store = open(dir.path());
    let log = store.log(1).unwrap();
    assert_eq!(log.read(0, u64::MAX, usize::MAX).unwrap().len() as u64, count);
}

#[test]
fn a_list_of_files_that_lost_its_end_is_refused_or_nothing_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let load = Load { seed: 5, set: 1 };
    {
        let store = open(dir.path());
        let (log, replica) = (store.log(1).unwrap(), store.ledger(1).unwrap());
        for index in 0..60 {
            append(&log, vec![load.record(index)]);
            catch_up(&log, &replica);
            if index % 10 == 9 {
                replica.checkpoint().unwrap();
            }
        }
        store.close();
    }
    let manifest = manifest(dir.path());
    let length = fs::metadata(&manifest).unwrap().len();
    let whole = model(load, Some(59));
    let mut refused = 0;
    for part in 0..32 {
        let copy = tempfile::tempdir().unwrap();
        copy_all(dir.path(), copy.path());
        let cut = copy.path().join(manifest.strip_prefix(dir.path()).unwrap());
        fs::File::options().write(true).open(cut).unwrap().set_len(length * part / 32).unwrap();
        // More than once: the first try must not make the second one succeed.
        let tries = [(); 2].map(|()| match Store::open(copy.path(), options()) {
            Err(error) => matches!(error, OpenError::Damaged { .. } | OpenError::Io { .. }),
            Ok(store) => match store.ledger(1) {
                Err(fault) => matches!(fault, Fault::Damaged { .. }),
                Ok(replica) => {
                    catch_up(&store.log(1).unwrap(), &replica);
                    compare(&replica, &whole, &mut Dice::new(part));
                    false
                }
            },
        });
        assert_eq!(tries[0], tries[1], "cut to {part} of 32 parts");
        refused += usize::from(tries[0]);
    }
    assert!(refused >= 16, "only {refused} of 32 cuts were refused");
}

/// The database's list of its files.
fn manifest(dir: &Path) -> PathBuf {
    let name = fs::read_to_string(dir.join("db/CURRENT")).unwrap();
    dir.join("db").join(name.trim())
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_all(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn missing_pieces_are_refused() {
    for piece in ["synced", "db/CURRENT"] {
        let dir = tempfile::tempdir().unwrap();
        ten(dir.path());
        fs::remove_file(dir.path().join(piece)).unwrap();
        let refused = Store::open(dir.path(), options()).err().unwrap();
        assert!(matches!(refused, OpenError::Damaged { .. }), "{piece}: {refused}");
        // Neither a blank node nor an old copy may take its place: the operator is not sent that way.
        let said = refused.to_string();
        assert!(said.contains("keep the directory") && said.contains("lost-node.md"), "{said}");
    }
}

#[test]
fn a_damaged_table_file_is_a_fault_and_never_a_wrong_answer() {
    let dir = tempfile::tempdir().unwrap();
    ten(dir.path());
    // Opening and closing once more moves the records from the log into a table file.
    open(dir.path()).close();
    let files = fs::read_dir(dir.path().join("db")).unwrap().map(|entry| entry.unwrap().path());
    let tables = files.filter(|path| path.extension().is_some_and(|end| end == "sst"));
    let largest = tables.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&largest).unwrap();
    bytes[4000] ^= 1;
    fs::write(&largest, bytes).unwrap();
    match Store::open(dir.path(), options()) {
        Err(refused) => assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}"),
        Ok(store) => {
            let read = store.log(1).and_then(|log| log.read(0, 10, usize::MAX));
            assert!(matches!(read, Err(Fault::Damaged { .. })), "{read:?}");
        }
    }
}
