//! Each fault of the library and its counter, under the tiny program.

use std::time::SystemTime;

use twinset_jepsen::preload::Counts;
use twinset_jepsen::preload::layout::Word;

use crate::program::Bench;

const EIO: &str = "error 5";
const ENOSPC: &str = "error 28";

#[test]
fn so_many_syncs_fail_and_only_in_the_directory() {
    let bench = Bench::new();
    bench.machine.control.set(Word::FailSyncs, 2).unwrap();
    let acts = "open a; write a hello; sync a; datasync a; sync a; syncdir .";
    assert_eq!(bench.run_in(&bench.elsewhere(), acts, &[]), ["done"; 6]);
    assert_eq!(bench.machine.control.counts().unwrap(), Counts::default());
    assert_eq!(bench.run(acts), ["done", "done", EIO, EIO, "done", "done"]);
    let counts = bench.machine.control.counts().unwrap();
    assert_eq!(counts, Counts { syncs: 4, failed_syncs: 2, ..Counts::default() });
    assert_eq!(bench.machine.control.read(Word::FailSyncs).unwrap(), 0);
}

#[test]
fn a_full_disk_refuses_what_needs_room_and_nothing_else() {
    let bench = Bench::new();
    assert_eq!(bench.run("open a; write a hello"), ["done"; 2]);
    bench.machine.control.set(Word::DiskFull, 1).unwrap();
    let acts = "open a; pwrite a 0 J; write a HELL; write a oh; pwrite a 4 xy; cut a 9; cut a 4; open b; mkdir c; sync a";
    let said = bench.run(acts);
    assert_eq!(said, ["done", "done", "done", ENOSPC, ENOSPC, ENOSPC, "done", ENOSPC, ENOSPC, "done"]);
    assert_eq!(bench.read("a").unwrap(), b"HELL");
    assert_eq!(bench.machine.control.counts().unwrap().refused_writes, 5);
    assert_eq!(bench.run_in(&bench.elsewhere(), "open a; write a hello; mkdir c", &[]), ["done"; 3]);
    bench.machine.control.calm().unwrap();
    assert_eq!(bench.run("open b; write b hello"), ["done"; 2]);
}

#[test]
fn so_many_writes_fail() {
    let bench = Bench::new();
    bench.machine.control.set(Word::FailWrites, 1).unwrap();
    assert_eq!(bench.run("open a; write a x; write a y"), ["done", EIO, "done"]);
    assert_eq!(bench.read("a").unwrap(), b"y");
    assert_eq!(bench.machine.control.counts().unwrap().refused_writes, 1);
}

#[test]
fn slow_syncs_and_lies_are_counted() {
    let bench = Bench::new();
    bench.machine.control.set(Word::SyncDelayUs, 1_000).unwrap();
    bench.machine.control.set(Word::Lie, 1).unwrap();
    assert_eq!(bench.run("open a; write a x; sync a; datasync a"), ["done"; 4]);
    let counts = bench.machine.control.counts().unwrap();
    assert_eq!((counts.syncs, counts.delayed_syncs, counts.lied_syncs), (2, 2, 2));
}

#[test]
fn the_wall_clock_jumps_forth_and_back() {
    const HOUR: i64 = 3_600;
    let bench = Bench::new();
    for hours in [1, -1, 0] {
        bench.machine.control.shift_clock(hours * HOUR * 1_000).unwrap();
        let before = bench.machine.control.counts().unwrap().shifted_reads;
        let said: i64 = bench.run("now")[0].parse().unwrap();
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs().cast_signed();
        assert!((now + hours * HOUR - said).abs() < HOUR / 2, "{said} is not {hours} hours after {now}");
        let read = bench.machine.control.counts().unwrap().shifted_reads - before;
        assert_eq!(read > 0, hours != 0);
    }
}

#[test]
fn random_bytes_come_from_the_seed_if_there_is_one() {
    let bench = Bench::new();
    let of = |seed: &str| bench.run_in(&bench.machine.data, "random", &[("TWINSET_PRELOAD_RANDOM", seed)]);
    assert_eq!(of("7"), of("7"));
    assert_ne!(of("7"), of("8"));
    assert!(bench.machine.control.counts().unwrap().seeded_randoms > 0);
    assert_ne!(bench.run("random"), bench.run("random"));
}
