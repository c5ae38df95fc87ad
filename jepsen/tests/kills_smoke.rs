//! A short run over a whole cluster of real processes: kills under the mixed workload. Every promise holds, and the history
//! shows that something was asked of it.

#![allow(clippy::unwrap_used, reason = "a test may panic anywhere, in its helpers too")]

use twinset_jepsen::check::Case;
use twinset_jepsen::kills::{self, Kills};
use twinset_jepsen::{history, results, run};
use twinset_tools::load::random::Random;

#[tokio::test]
async fn eight_kills_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let seed = Random::new().bits() >> 32;
    let arguments = Kills {
        kills: 8,
        seed: Some(seed),
        dir: dir.path().to_owned(),
        base_port: None,
        rate: 400,
        json: false,
    };
    let results = kills::play(&arguments, seed, &mut |text| println!("{text}")).await;
    let valid = results.as_ref().is_ok_and(|results| results.is_valid());
    let path = dir.path().to_owned();
    if !valid {
        println!("seed {seed}; the run's directory stays: {}", dir.keep().display());
    }
    let results = results.unwrap();
    let red: Vec<_> = results.checkers.iter().filter(|one| one.verdict.is_red()).collect();
    assert!(valid, "seed {seed}: {red:#?}");
    assert_eq!(results.faults.len(), 8);
    let counts = &results.counts;
    assert!(counts.retries * 10 >= counts.writes * 3, "too few requests were sent again: {counts:?}");
    assert!(counts.retries_by_kind.len() >= 4, "{counts:?}");
    assert!(counts.rejections.len() >= 5, "the traffic proves little: {counts:?}");
    // A kill never parts the sites, and takes no set its majority.
    let idle = ["harness", "both_sites", "lives"];
    for one in results.checkers.iter().filter(|one| !idle.contains(&one.checker)) {
        assert!(one.checked > 0, "{} had nothing to look at", one.checker);
    }
    let again = history::read(&path.join(run::HISTORY_JSONL)).unwrap();
    let again = results::Results::of(&Case::of(&again), String::new());
    assert_eq!(again.verdict, results.verdict, "the stored history gives the same verdict");
}
