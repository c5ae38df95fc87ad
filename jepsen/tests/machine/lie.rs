//! That a power cut can lose something: with disks that lie about their syncs, it must, and it must not go unnoticed.

use std::time::Duration;

use twinset_jepsen::nemesis::power;
use twinset_jepsen::preload::ending;
use twinset_jepsen::preload::image::Unsynced;
use twinset_jepsen::preload::layout::Word;

use crate::stage::Stage;

/// So many syncs that covered nothing: some of them were of acknowledged writes.
const LIES: u64 = 500;
const POLL: Duration = Duration::from_millis(50);

/// Who misses what was acknowledged.
const LOSS: [&str; 4] = ["exactly_once", "answers", "opaque_balances", "linearizable_reads"];

#[tokio::test]
async fn disks_that_lie_lose_acknowledged_writes_and_somebody_notices() {
    let mut stage = Stage::start().await;
    for (_, machine) in stage.machines.iter() {
        machine.control.set(Word::Lie, 1).unwrap();
    }
    let traffic = stage.traffic().await;
    let lied = |stage: &Stage| -> u64 {
        stage.machines.iter().map(|(_, machine)| machine.control.counts().unwrap().lied_syncs).sum()
    };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while lied(&stage) < LIES {
        assert!(tokio::time::Instant::now() < deadline, "only {} syncs lied", lied(&stage));
        tokio::time::sleep(POLL).await;
    }
    let victims: Vec<String> = stage.cluster.layout().nodes().map(|node| node.name.clone()).collect();
    let logs: Vec<u64> = victims.iter().map(|name| ending::log_end(&stage.cluster, name)).collect();
    // All that is not synced is lost: a cut that leaves most of it would, now and then, take nothing that both sites had.
    let seed = stage.random.bits();
    let acting =
        power::cut(&mut stage.cluster, &stage.machines, &victims, seed, Unsynced::Gone).await.unwrap();
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
        tokio::time::sleep(POLL).await;
    }
    if noticed.is_empty() {
        noticed = stage.violations(traffic).await;
    }
    println!("{noticed:#?}");
    let lost = |said: &String| {
        said.contains("acknowledged writes are lost")
            || said.contains("is damaged")
            || said.contains("cannot be read")
            || LOSS.iter().any(|checker| said.contains(&format!("checker: \"{checker}\"")))
    };
    assert!(noticed.iter().any(lost), "nobody noticed what was lost");
}
