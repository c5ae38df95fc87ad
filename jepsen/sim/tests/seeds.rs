//! A handful of seeds: birth, load under faults, healing, liveness, and the checkers' verdict. `make sim` runs more.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_twinset-sim")).args(arguments).output();
    let output = output.expect("the simulator can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn a_handful_of_seeds_holds_every_promise() {
    let said = run(&["--seeds", "0..6", "--time", "5"]).stdout;
    let said = String::from_utf8_lossy(&said);
    assert_eq!(said.lines().filter(|line| line.contains(" ok trace ")).count(), 6, "{said}");
}

#[test]
fn clients_ask_again_in_every_way_that_those_of_real_processes_have() {
    let dir = tempfile::tempdir().expect("a directory");
    run(&["--seed", "9", "--time", "10", "--dir", dir.path().to_str().expect("text")]);
    let history = std::fs::read_to_string(dir.path().join("history.jsonl")).expect("a history");
    for retry in ["again", "beside", "after_failover", "other_body"] {
        let word = format!("\"retry\":\"{retry}\"");
        assert!(history.contains(&word), "choose another seed: nobody asked {retry}");
    }
}
