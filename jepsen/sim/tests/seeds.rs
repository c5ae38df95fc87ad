//! A handful of seeds: birth, load under faults, healing, liveness, and the checkers' verdict. `make sim` runs more.

use std::process::Command;

#[test]
fn a_handful_of_seeds_holds_every_promise() {
    let arguments = ["--seeds", "0..6", "--time", "5"];
    let output = Command::new(env!("CARGO_BIN_EXE_twinset-sim")).args(arguments).output();
    let output = output.expect("the simulator can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().filter(|line| line.contains(" ok trace ")).count(), 6, "{said}");
}
