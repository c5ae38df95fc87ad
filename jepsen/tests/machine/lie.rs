//! That a power cut can lose something: with disks that lie about their syncs, it must, and it must not go unnoticed.

use std::time::Duration;

use twinset_jepsen::nemesis::{Fault, power};
use twinset_jepsen::preload::ending;
use twinset_jepsen::preload::layout::Word;

use crate::stage::Stage;

#[tokio::test]
async fn disks_that_lie_lose_acknowledged_writes_and_somebody_notices() {
    let mut stage = Stage::start().await;
    for (_, machine) in stage.machines.iter() {
        machine.control.set(Word::Lie, 1).unwrap();
    }
    let traffic = stage.traffic().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let victims: Vec<String> = stage.cluster.layout().nodes().map(|node| node.name.clone()).collect();
    let logs: Vec<u64> = victims.iter().map(|name| ending::log_end(&stage.cluster, name)).collect();
    let fault = Fault::PowerLoss { victims: victims.clone(), down_ms: 0, seed: stage.random.bits() >> 32 };
    let acting = power::inject(&mut stage.cluster, &stage.machines, &fault).await.unwrap();
    let mut lied = 0;
    for (_, machine) in stage.machines.iter() {
        lied += machine.control.counts().unwrap().lied_syncs;
    }
    assert!(lied > 0, "nobody lied");
    stage.machines.calm().unwrap();
    println!("{}", power::heal(&mut stage.cluster, &acting).unwrap().detail);
    // Either the stores see it when they open, or the books are wrong.
    let mut noticed = Vec::new();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while noticed.is_empty() && tokio::time::Instant::now() < deadline {
        for (name, from) in victims.iter().zip(&logs) {
            let log = stage.cluster.layout().log_path(name);
            noticed.extend(ending::first_error(&log, *from).unwrap());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if noticed.is_empty() {
        noticed = stage.violations(traffic).await;
    }
    println!("{noticed:#?}");
    let lost = |said: &String| {
        said.contains("acknowledged writes are lost")
            || said.contains("is damaged")
            || said.contains("cannot be read")
            || !said.contains(" ERROR ")
    };
    assert!(noticed.iter().any(lost), "nobody noticed what was lost");
}
