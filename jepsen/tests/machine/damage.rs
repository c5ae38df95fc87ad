//! Damaged files under a cluster with traffic: the node refuses, stops, or serves rightly, and comes back.

use twinset_jepsen::nemesis::corrupt::{self, Judged};
use twinset_jepsen::nemesis::{Damage, Fault, FileKind};

use crate::stage::{CHECKPOINTS, Stage};

#[tokio::test]
async fn a_damaged_file_is_refused_or_does_no_harm() {
    let mut stage = Stage::start().await;
    stage.configure(CHECKPOINTS).await;
    let traffic = stage.traffic().await;
    const DAMAGES: [Damage; 3] = [Damage::BitFlip, Damage::CopiedChunk, Damage::Truncated];
    let mut kinds = Vec::new();
    for file in [FileKind::Marker, FileKind::Table, FileKind::Manifest] {
        kinds.extend(DAMAGES.map(|damage| (file, damage)));
    }
    // Each damage of a log; of the others as the seed has it.
    let mut faults = DAMAGES.map(|damage| of(&mut stage, FileKind::Log, damage)).to_vec();
    for _ in 0..4 {
        let (file, damage) = kinds.swap_remove(stage.random.below(kinds.len()));
        faults.push(of(&mut stage, file, damage));
    }
    let mut noticed = 0;
    for fault in &faults {
        println!("{fault:?}");
        let (judged, evidence) = corrupt::play(&mut stage.cluster, &stage.machines, fault).await.unwrap();
        let of_log = matches!(fault, Fault::Corrupt { file: FileKind::Log, .. });
        noticed += usize::from(of_log && judged != Judged::Serves);
        // A node need not have a table yet.
        if evidence.acted || !matches!(fault, Fault::Corrupt { file: FileKind::Table, .. }) {
            stage.healed(&evidence).await;
        }
    }
    // What a log has on disk was acknowledged, but for an end that no sync has covered: one of the three may have hit
    // only that.
    assert!(noticed + 1 >= DAMAGES.len(), "of {} damaged logs only {noticed} were noticed", DAMAGES.len());
    stage.account_for(traffic, &[corrupt::ALLOWED]).await;
}

fn of(stage: &mut Stage, file: FileKind, damage: Damage) -> Fault {
    let nodes = ["a1", "a2", "b1", "b2"];
    let victim = nodes[stage.random.below(nodes.len())].to_owned();
    Fault::Corrupt { victim, file, damage, seed: stage.random.bits() >> 32 }
}
