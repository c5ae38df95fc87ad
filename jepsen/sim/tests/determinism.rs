//! The same seed is the same run, to the last byte of its trace: in two processes, one after the other. Another seed is not.

use std::path::Path;
use std::process::Command;

/// The trace of a run with faults, and the hash that the program says it has.
fn run(seed: u64, trace: &Path) -> (Vec<u8>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_twinset-sim"))
        .args(["--seed", &seed.to_string(), "--time", "5", "--trace"])
        .arg(trace)
        .output()
        .expect("the simulator can be started");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let hash = said.split_once("trace ").expect("a hash").1[..64].to_owned();
    (std::fs::read(trace).expect("a trace"), hash)
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

#[test]
fn the_same_seed_twice_gives_the_same_trace_and_another_gives_another() {
    const SEED: u64 = 5;
    let dir = tempfile::tempdir().expect("a directory");
    let [(first, first_hash), (second, second_hash)] =
        ["first", "second"].map(|name| run(SEED, &dir.path().join(name)));
    assert!(first.len() > 1_000_000, "a run has a trace worth comparing: {} bytes", first.len());
    assert!(first == second, "repeat: twinset-sim --seed {SEED} --time 5\n{}", parting(&first, &second));
    assert_eq!(first_hash, second_hash);
    let (_, other_hash) = run(SEED + 1, &dir.path().join("other"));
    assert_ne!(first_hash, other_hash);
}
