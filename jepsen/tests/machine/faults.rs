//! Disks that fail, are full or slow, and clocks that jump, under one cluster with traffic.

use std::time::Duration;

use twinset_jepsen::nemesis::{Fault, clock, disk};
use twinset_jepsen::preload::layout::{FAIL_LIST, FAIL_NO_LOG, Word};

use crate::stage::{CHECKPOINTS, Stage};

#[tokio::test]
async fn bad_disks_stop_a_node_slow_ones_slow_it_and_clocks_order_nothing() {
    let mut stage = Stage::start().await;
    stage.configure(CHECKPOINTS).await;
    let traffic = stage.traffic().await;
    // Of a file that a checkpoint builds, then of the list of files when it takes that over; of any file otherwise.
    let of_files = [("a2", FAIL_NO_LOG), ("b2", FAIL_LIST), ("a1", FAIL_LIST)];
    let mut faults: Vec<(u64, Fault)> = of_files
        .map(|(victim, which)| (which, Fault::FsyncError { victim: victim.to_owned(), down_ms: 0 }))
        .into();
    let drawn = [
        Fault::FsyncError { victim: stage.leader(1).await, down_ms: 300 },
        Fault::DiskFull { victim: stage.leader(2).await, for_ms: 500 },
        Fault::FsyncError { victim: "b2".to_owned(), down_ms: 0 },
        Fault::SlowDisk { victim: stage.leader(1).await, by_ms: 60, for_ms: 1_500 },
    ];
    faults.extend(drawn.map(|fault| (0, fault)));
    faults.extend((0..4).map(|_| (0, disk::draw(&mut stage.random, stage.cluster.layout()))));
    for (which, fault) in &faults {
        println!("{fault:?} of {which}");
        if let Fault::FsyncError { victim, .. } = fault {
            stage.machines.of(victim).unwrap().control.set(Word::FailSyncsOf, *which).unwrap();
        }
        let acting = disk::inject(&stage.cluster, &stage.machines, fault).unwrap();
        tokio::time::sleep(fault.lasts()).await;
        let evidence = disk::heal(&mut stage.cluster, &stage.machines, acting).await.unwrap();
        stage.healed(&evidence).await;
        stage.machines.calm().unwrap();
    }
    let mut steps = Vec::new();
    for by_ms in [3_600_000, -3_600_000] {
        steps.push(Fault::ClockStep { victim: stage.leader(1).await, by_ms, for_ms: 700 });
    }
    steps.extend((0..3).map(|_| clock::draw(&mut stage.random, stage.cluster.layout())));
    for step in &steps {
        println!("{step:?}");
        let Fault::ClockStep { for_ms, .. } = step else { panic!("{step:?}") };
        let acting = clock::inject(&stage.machines, step).unwrap();
        tokio::time::sleep(Duration::from_millis(*for_ms)).await;
        let evidence = clock::heal(&stage.cluster, &stage.machines, &acting).unwrap();
        stage.healed(&evidence).await;
    }
    stage.account_for(traffic, &[disk::ALLOWED, clock::WRONG]).await;
}
