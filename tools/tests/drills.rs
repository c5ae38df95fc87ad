//! The scenarios that ship, and the example of a schedule: all can be read, and say what they prove.

#![allow(clippy::unwrap_used, reason = "a test may panic anywhere, in its helpers too")]

use std::path::{Path, PathBuf};

use twinset_tools::drill::calendar::Schedule;
use twinset_tools::drill::scenario::{Act, FaultKind, Scenario, word};
use twinset_tools::drill::shelf;

fn shipped() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

fn scenarios() -> Vec<Scenario> {
    shelf::scenarios(&shipped().join("drills")).unwrap()
}

#[test]
fn at_least_two_dozen_scenarios_ship_and_no_two_prove_the_same_with_the_same_acts() {
    let all = scenarios();
    assert!(all.len() >= 24, "{}", all.len());
    for (at, one) in all.iter().enumerate() {
        let same = |other: &&Scenario| other.stages == one.stages;
        assert_eq!(all[at + 1..].iter().find(same), None, "{} is played twice", one.name);
    }
}

/// Planned moves, faults, and both together; and every kind of fault that processes know.
#[test]
fn every_kind_of_fault_and_every_move_is_drilled() {
    let all = scenarios();
    let acts: Vec<&Act> = all.iter().flat_map(Scenario::acts).collect();
    for kind in [
        FaultKind::Kill,
        FaultKind::Pause,
        FaultKind::StallDisk,
        FaultKind::SlowDisk,
        FaultKind::FillDisk,
        FaultKind::Drop,
        FaultKind::Delay,
        FaultKind::StepClock,
        FaultKind::Silence,
    ] {
        let drilled = acts.iter().any(|act| matches!(act, Act::Fault { kind: used, .. } if *used == kind));
        assert!(drilled, "no scenario has {}", word(&kind));
    }
    let moves: [fn(&Act) -> bool; 6] = [
        |act| matches!(act, Act::Switch {}),
        |act| matches!(act, Act::Evacuate { emergency: false, .. }),
        |act| matches!(act, Act::Evacuate { emergency: true, .. }),
        |act| matches!(act, Act::Isolate { .. }),
        |act| matches!(act, Act::IsolateReady { .. }),
        |act| matches!(act, Act::Stop {}),
    ];
    for (number, is_it) in moves.iter().enumerate() {
        assert!(acts.iter().any(|act| is_it(act)), "move {number}");
    }
    let mixed =
        |one: &&Scenario| one.has_faults() && one.acts().any(|act| matches!(act, Act::Evacuate { .. }));
    assert!(all.iter().filter(mixed).count() >= 3);
}

/// A fault must not outlive the stage that mends it: what kills is mended by `start`, what lasts is waited for or ended.
#[test]
fn every_scenario_mends_what_it_breaks() {
    for one in scenarios() {
        let killed = one
            .acts()
            .any(|act| matches!(act, Act::Fault { kind: FaultKind::Kill | FaultKind::FillDisk, .. }));
        let started = one.acts().any(|act| matches!(act, Act::Start {}));
        assert_eq!(killed, started, "{}", one.name);
        assert!(!one.proves.is_empty() && one.proves.ends_with('.'), "{}", one.name);
    }
}

#[test]
fn the_example_of_a_schedule_names_scenarios_that_there_are() {
    let schedule = Schedule::load(&shipped().join("examples/drills.toml")).unwrap();
    for name in &schedule.scenarios {
        shelf::scenario(&shipped().join("drills"), name).unwrap();
    }
}
