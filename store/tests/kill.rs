//! kill -9 at any moment: a child process appends, applies, checkpoints all the time and installs snapshots into a
//! second store; the test kills it again and again and looks at what is left. And a power cut, which leaves less.
#![allow(clippy::unwrap_used)]

mod common;
mod power;

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Dice, Load, append, catch_up, compare, model, open, options};
use twinset_store::{LedgerReplica, LogId, Options, ReplicaRecord, Store};

const DIR: &str = "TWINSET_STORE_KILL_TEST_DIR";
const FULL_DIR: &str = "TWINSET_STORE_FULL_TEST_DIR";
const LOADS: [Load; 2] = [Load { seed: 21, set: 1 }, Load { seed: 22, set: 2 }];

/// Not a test of its own: what the kill loop runs in another process.
#[test]
fn child() {
    let Some(dir) = env::var_os(DIR) else { return };
    let dir = Path::new(&dir);
    let often = Options { checkpoint_commands: 40, ..options() };
    let near = Store::open(&dir.join("near"), often.clone()).unwrap();
    let far = Store::open(&dir.join("far"), often).unwrap();
    let handles = LOADS.map(|load| (load, near.log(load.set).unwrap(), near.ledger(load.set).unwrap()));
    let (far_log, far_replica) = (far.log(1).unwrap(), far.ledger(1).unwrap());
    for step in 0u64.. {
        for (load, log, replica) in &handles {
            let index = log.last().map_or(0, |last| last.index + 1);
            if let Some(last) = log.last() {
                log.save_committed(last);
            }
            let set = load.set;
            let told = Box::new(move |result: Result<(), twinset_store::Fault>| {
                result.unwrap();
                say(&format!("synced {set} {index}\n"));
            });
            log.append(vec![load.record(index)], told).unwrap();
            catch_up(log, replica);
        }
        if step % 8 == 7 {
            let last = transfer(&handles[0].2, &far_replica);
            say(&format!("installed {}\n", last.index));
            assert_eq!(far_log.last(), Some(last));
        }
    }
}

/// One write for each line: the reader never sees half of an acknowledgement.
fn say(line: &str) {
    std::io::stdout().write_all(line.as_bytes()).unwrap();
}

/// Installs a snapshot of one replica in another.
fn transfer(from: &LedgerReplica, to: &LedgerReplica) -> LogId {
    let mut reader = from.snapshot().unwrap();
    let mut writer = to.begin_install().unwrap();
    while let Some(chunk) = reader.next_chunk(30_000).unwrap() {
        writer.write_chunk(&chunk).unwrap();
    }
    to.install(writer.finish(reader.meta()).unwrap()).unwrap();
    reader.meta().last.unwrap()
}

/// Not a test of its own: fills the disk, or what it may use of it, until the store says so.
#[test]
fn child_on_a_full_disk() {
    let Some(dir) = env::var_os(FULL_DIR) else { return };
    let store = Store::open(Path::new(&dir), Options { checkpoint_commands: 400, ..options() }).unwrap();
    let load = LOADS[0];
    let (log, replica) = (store.log(1).unwrap(), store.ledger(1).unwrap());
    let fault = loop {
        let index = log.last().map_or(0, |last| last.index + 1);
        let (tell, told) = std::sync::mpsc::channel();
        let done = Box::new(move |result| tell.send(result).unwrap());
        let result = log.append(vec![load.record(index)], done).and_then(|()| told.recv().unwrap());
        if let Err(fault) = result.and_then(|()| replica.apply(&load.record(index)).map(drop)) {
            break fault;
        }
        println!("synced 1 {index}");
    };
    println!("fault {fault}");
    // From now on nothing is answered.
    assert!(log.append(vec![load.record(log.last().unwrap().index + 1)], Box::new(|_| {})).is_err());
    assert!(log.read(0, 1, 1).is_err() && replica.apply(&load.record(0)).is_err());
    store.close();
    println!("closed");
}

#[test]
fn a_full_disk_is_a_fault_and_nothing_synced_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    // The limit on the size of a file stands for the end of the disk; its signal is ignored, so that writes fail.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 1500; exec \"$0\" child_on_a_full_disk --exact --nocapture"])
        .arg(env::current_exe().unwrap())
        .env(FULL_DIR, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains("fault") && text.contains("closed"), "{text}");
    let synced = text.lines().filter_map(|line| line.strip_prefix("synced 1 ")).next_back().unwrap();
    let synced: u64 = synced.parse().unwrap();
    let store = open(dir.path());
    let (log, replica) = (store.log(1).unwrap(), store.ledger(1).unwrap());
    let last = log.last().map(|last| last.index);
    assert!(last >= Some(synced), "{synced} was synced, {last:?} is there");
    catch_up(&log, &replica);
    compare(&replica, &model(LOADS[0], last), &mut Dice::new(1));
}

#[test]
fn nothing_synced_is_lost_and_state_and_log_agree() {
    let dir = tempfile::tempdir().unwrap();
    let mut dice = Dice::new(u64::from(std::process::id()));
    println!("seed {}", std::process::id());
    let (mut synced, mut installed) = ([None; 2], None);
    for _ in 0..12 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut note = |line: &str| {
            if let Some(index) = line.strip_prefix("installed ") {
                installed = Some(index.parse::<u64>().unwrap());
            }
            let Some(numbers) = line.strip_prefix("synced ") else { return false };
            let (set, index) = numbers.split_once(' ').unwrap();
            synced[set.parse::<usize>().unwrap() - 1] = Some(index.parse::<u64>().unwrap());
            true
        };
        let mut left = 1 + dice.roll(80);
        while left > 0 {
            let line = lines.next().expect("the child runs until it is killed").unwrap();
            left -= u64::from(note(&line));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines {
            note(&line.unwrap());
        }
        let near = open(&dir.path().join("near"));
        for (load, synced) in LOADS.into_iter().zip(synced) {
            let (log, replica) = (near.log(load.set).unwrap(), near.ledger(load.set).unwrap());
            let last = log.last().map(|last| last.index);
            assert!(last >= synced, "set {}: {synced:?} was synced, {last:?} is there", load.set);
            assert!(replica.applied().log_id.map(|applied| applied.index) <= last);
            // Noted with the next record: one behind what was synced at most.
            let committed = log.committed().map(|committed| committed.index);
            assert!(committed <= last && committed >= synced.and_then(|synced| synced.checked_sub(1)));
            catch_up(&log, &replica);
            compare(&replica, &model(load, last), &mut dice);
        }
        let far = open(&dir.path().join("far"));
        let (log, replica) = (far.log(1).unwrap(), far.ledger(1).unwrap());
        let last = log.last().map(|last| last.index);
        assert!(last >= installed, "{installed:?} was installed, {last:?} is there");
        assert_eq!(replica.applied().log_id, log.last());
        compare(&replica, &model(LOADS[0], last), &mut dice);
        near.close();
        far.close();
    }
    assert!(installed.is_some(), "no install was answered: this proves nothing of installs");
}

/// The store that a power cut at this moment would leave.
fn after_power_cut(dir: &Path) -> (tempfile::TempDir, Store) {
    let left = tempfile::tempdir().unwrap();
    power::cut(dir, left.path());
    let store = open(left.path());
    (left, store)
}

/// Fails if the write-ahead log is only flushed before somebody is told that it is on disk: then the page cache has it, which
/// every kill leaves alone, and no power cut does.
#[test]
fn what_is_synced_survives_a_power_cut() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let log = store.log(1).unwrap();
    for index in 0..4 {
        append(&log, vec![LOADS[0].record(index)]);
        let (_left, store) = after_power_cut(dir.path());
        assert_eq!(store.log(1).unwrap().last(), Some(LOADS[0].id(index)));
    }
    let (tell, told) = std::sync::mpsc::channel();
    log.save_vote(b"for seven", Box::new(move |result| tell.send(result).unwrap())).unwrap();
    told.recv().unwrap().unwrap();
    let (_left, left) = after_power_cut(dir.path());
    assert_eq!(left.log(1).unwrap().vote(), Some(b"for seven".to_vec()));

    store.put_blob("name", b"bytes").unwrap();
    let (_left, left) = after_power_cut(dir.path());
    assert_eq!(left.get_blob("name").unwrap(), Some(b"bytes".to_vec()));

    let record = ReplicaRecord { set: 1, replica_id: 7, incarnation: 1 };
    store.put_replica(record).unwrap();
    let (_left, left) = after_power_cut(dir.path());
    assert_eq!(left.replicas().unwrap(), [record]);
}

/// Fails if an install is answered before it is on disk: a leader that believes the answer never sends that part again.
#[test]
fn an_installed_snapshot_survives_a_power_cut() {
    let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (sender, receiver) = (open(near.path()), open(far.path()));
    let (log, replica) = (sender.log(1).unwrap(), sender.ledger(1).unwrap());
    let mut dice = Dice::new(1);
    for to in [20, 40] {
        append(&log, (to - 20..to).map(|index| LOADS[0].record(index)).collect());
        catch_up(&log, &replica);
        let last = transfer(&replica, &receiver.ledger(1).unwrap());
        let (_left, left) = after_power_cut(far.path());
        let (log, replica) = (left.log(1).unwrap(), left.ledger(1).unwrap());
        assert_eq!((log.last(), replica.applied().log_id), (Some(last), Some(last)));
        compare(&replica, &model(LOADS[0], Some(last.index)), &mut dice);
    }

    let document = sender.document(3).unwrap();
    document.commit(LOADS[0].id(5), None, b"all of it".to_vec(), &[]).unwrap();
    let (meta, bytes) = document.snapshot();
    receiver.document(3).unwrap().install(&meta, bytes).unwrap();
    let (_left, left) = after_power_cut(far.path());
    let document = left.document(3).unwrap();
    assert_eq!((document.applied().log_id, document.bytes()), (meta.last, b"all of it".to_vec()));
}
