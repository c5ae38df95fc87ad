//! The same seed is the same run, to the last byte of its trace: in two processes, one after the other. Another seed is not.

use std::path::Path;
use std::process::Command;

/// What a run left: its trace, the hash of it that the program names, and the faults that acted.
struct Ran {
    trace: Vec<u8>,
    hash: String,
    faults: String,
}

fn run(seed: u64, trace: &Path) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_twinset-sim"))
        .args(["--seed", &seed.to_string(), "--time", "5", "--trace"])
        .arg(trace)
        .output()
        .expect("the simulator can be started");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let (hash, faults) =
        said.split_once("trace ").and_then(|(_, said)| said.split_once(' ')).expect("a hash");
    Ran { trace: std::fs::read(trace).expect("a trace"), hash: hash.to_owned(), faults: faults.to_owned() }
}

/// Where two traces part, for people.
fn parting(one: &[u8], other: &[u8]) -> String {
    let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect::<Vec<_>>();
    let (one, other) = (lines(one), lines(other));
    let at = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
    let line =
        |lines: &[String]| lines.get(at).map_or_else(String::new, |line| line.chars().take(300).collect());
    format!("line {}:\n{}\n{}", at + 1, line(&one), line(&other))
}

/// Runs a seed twice, and gives what both runs were.
fn twice(seed: u64) -> Ran {
    let dir = tempfile::tempdir().expect("a directory");
    let [first, second] = ["first", "second"].map(|name| run(seed, &dir.path().join(name)));
    assert!(first.trace.len() > 1_000_000, "a trace worth comparing: {} bytes", first.trace.len());
    let same = first.trace == second.trace;
    assert!(same, "repeat: twinset-sim --seed {seed} --time 5\n{}", parting(&first.trace, &second.trace));
    assert_eq!(first.hash, second.hash, "what only the hash has: the bytes of messages");
    first
}

#[test]
fn the_same_seed_twice_gives_the_same_trace_and_another_gives_another() {
    let dir = tempfile::tempdir().expect("a directory");
    assert_ne!(twice(5).hash, run(6, &dir.path().join("other")).hash);
}

/// What real disks, and a store with threads, left to chance.
#[test]
fn so_it_does_with_power_losses_and_snapshots() {
    const SEED: u64 = 36;
    let ran = twice(SEED);
    let plan = String::from_utf8_lossy(&ran.trace).lines().next().expect("a line").to_owned();
    assert!(plan.contains("snapshot_entries: 50"), "choose another seed: {plan}");
    assert!(ran.faults.contains("power-loss=1/1"), "choose another seed: {}", ran.faults);
}
