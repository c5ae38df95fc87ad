//! Damaged files under a cluster with traffic: the node refuses, stops, or serves rightly, and comes back.

use twinset_jepsen::nemesis::corrupt::{self, Judged};
use twinset_jepsen::nemesis::{Damage, Fault, FileKind};

use crate::stage::{CHECKPOINTS, Stage};

#[tokio::test]
async fn a_damaged_file_is_refused_or_does_no_harm() {
    let mut stage = Stage::start().await;
    stage.configure(CHECKPOINTS).await;
    let traffic = stage.traffic().await;
    let mut kinds = Vec::new();
    for file in [FileKind::Log, FileKind::Marker, FileKind::Table, FileKind::Manifest] {
        kinds.extend([Damage::BitFlip, Damage::CopiedChunk, Damage::Truncated].map(|damage| (file, damage)));
    }
    // A log that is cut short is always noticed; the others as the seed has it.
    let mut faults = vec![of(&mut stage, FileKind::Log, Damage::Truncated)];
    for _ in 0..6 {
        let (file, damage) = kinds.swap_remove(stage.random.below(kinds.len()));
        faults.push(of(&mut stage, file, damage));
    }
    let mut refused = 0;
    for fault in &faults {
        println!("{fault:?}");
        let (judged, evidence) = corrupt::play(&mut stage.cluster, &stage.machines, fault).await.unwrap();
        refused += u32::from(matches!(judged, Judged::Refused(_)));
        // A node need not have a table yet.
        if evidence.acted || !matches!(fault, Fault::Corrupt { file: FileKind::Table, .. }) {
            stage.healed(&evidence).await;
        }
    }
    assert!(refused > 0, "no damage was ever noticed");
    stage.account_for(traffic, &[corrupt::ALLOWED]).await;
}

fn of(stage: &mut Stage, file: FileKind, damage: Damage) -> Fault {
    let nodes = ["a1", "a2", "b1", "b2"];
    let victim = nodes[stage.random.below(nodes.len())].to_owned();
    Fault::Corrupt { victim, file, damage, seed: stage.random.bits() >> 32 }
}
