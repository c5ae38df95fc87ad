//! A run that fails says how it is repeated, whatever the failure is.

use std::process::Command;

/// What it says on stderr; it must fail.
fn fails(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_twinset-sim")).args(arguments).output();
    let output = output.expect("the simulator can be started");
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn so_does_one_whose_trace_cannot_be_written() {
    // It begins well, and has no room.
    let said = fails(&["--seed", "1", "--time", "1", "--trace", "/dev/full"]);
    assert!(said.contains("seed 1: --trace: "), "{said}");
    assert!(said.ends_with("repeat: twinset-sim --seed 1 --time 1 --trace seed-1.trace\n"), "{said}");
}

#[test]
fn so_do_those_of_many_that_take_too_long() {
    let said = fails(&["--seeds", "3..5", "--time", "1", "--within", "0"]);
    for seed in [3, 4] {
        assert!(said.contains(&format!("seed {seed} hung: ")), "{said}");
        assert!(said.contains(&format!("\nrepeat: twinset-sim --seed {seed} --time 1\n")), "{said}");
    }
}
