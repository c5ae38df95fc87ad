//! Power cuts under a cluster with traffic: one node, a few, a site, everything; what was acknowledged is there.

use std::time::Duration;

use twinset_jepsen::logs;
use twinset_jepsen::nemesis::{Evidence, Fault, power};

use crate::stage::{CHECKPOINTS, Stage};

#[tokio::test]
async fn power_cuts_of_nodes_sites_and_everything_lose_nothing_acknowledged() {
    let mut stage = Stage::start().await;
    stage.configure(CHECKPOINTS).await;
    let traffic = stage.traffic().await;
    let layout = stage.cluster.layout().clone();
    let all: Vec<String> = layout.nodes().map(|node| node.name.clone()).collect();
    let mut cut = |victims: &[&str]| {
        let victims = victims.iter().map(|&name| name.to_owned()).collect();
        Fault::PowerLoss { victims, down_ms: 200, seed: stage.random.bits() >> 32 }
    };
    let mut cuts = vec![cut(&["a1"]), cut(&["a1", "a2"]), cut(&["b1", "b2"])];
    cuts.push(cut(&all.iter().map(String::as_str).collect::<Vec<_>>()));
    cuts.extend((0..6).map(|_| power::draw(&mut stage.random, &layout)));
    for fault in &cuts {
        println!("{fault:?}");
        let mut evidence = lose_power(&mut stage, fault).await;
        if let Fault::PowerLoss { victims, .. } = fault
            && stage.random.below(2) == 0
        {
            // Once more, somewhere in the middle of the recovery.
            let moment = Duration::from_millis(stage.random.below(500) as u64);
            tokio::time::sleep(moment).await;
            let seed = stage.random.bits() >> 32;
            let again = Fault::PowerLoss { victims: victims.clone(), down_ms: 0, seed };
            println!("{}; again after {moment:?}", evidence.detail);
            evidence.detail = lose_power(&mut stage, &again).await.detail;
        }
        stage.healed(&evidence).await;
    }
    // A site that is dark for long enough is gone on without.
    stage.account_for(traffic, &[logs::AFTER_LOST_SITES]).await;
}

async fn lose_power(stage: &mut Stage, fault: &Fault) -> Evidence {
    let acting = power::inject(&mut stage.cluster, &stage.machines, fault).await.unwrap();
    tokio::time::sleep(fault.lasts()).await;
    power::heal(&mut stage.cluster, &acting).unwrap()
}
