//! A short kill -9 loop over a whole cluster of real processes: nothing acknowledged is lost, nothing is booked twice.

#![allow(clippy::unwrap_used, reason = "a test may panic anywhere, in its helpers too")]

use twinset_jepsen::kills::{self, Kills};
use twinset_tools::load::random::Random;

#[tokio::test]
async fn eight_kills_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = dir.path().join("cluster");
    let seed = Random::new().bits() >> 32;
    let arguments =
        Kills { kills: 8, seed: Some(seed), dir: cluster, base_port: None, rate: 300, json: false };
    let report = kills::play(&arguments, seed, &mut |text| println!("{text}")).await;
    let clean = report.as_ref().is_ok_and(|report| report.clean);
    if !clean {
        println!("seed {seed}; the cluster's directory stays: {}", dir.keep().display());
    }
    let report = report.unwrap();
    let first = &report.violations[..report.violations.len().min(5)];
    assert!(report.clean, "seed {seed}: {} violations, the first: {first:#?}", report.violations.len());
    let seen = &report.seen;
    assert!(seen.repeated * 10 >= seen.requests * 3, "too few requests were sent again: {seen:?}");
    assert!(
        seen.booked > 0 && seen.rejected > 0 && seen.other_bodies > 0,
        "the traffic proves little: {seen:?}"
    );
}
