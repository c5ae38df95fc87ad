//! Damaged files under a cluster with traffic: the node refuses, stops, or serves rightly, and comes back.

use twinset_jepsen::nemesis::corrupt::{self, Judged};
use twinset_jepsen::nemesis::{Damage, Fault, FileKind};

use crate::stage::Stage;

#[tokio::test]
async fn a_damaged_file_is_refused_or_does_no_harm() {
    let mut stage = Stage::start().await;
    let traffic = stage.traffic().await;
    let mut faults = Vec::new();
    for (file, damage) in [
        (FileKind::Log, Damage::Truncated),
        (FileKind::Marker, Damage::Truncated),
        (FileKind::Manifest, Damage::BitFlip),
        (FileKind::Log, Damage::BitFlip),
        (FileKind::Table, Damage::BitFlip),
    ] {
        let seed = stage.random.bits() >> 32;
        faults.push(Fault::Corrupt { victim: "a2".to_owned(), file, damage, seed });
    }
    faults.extend((0..3).map(|_| corrupt::draw(&mut stage.random, stage.cluster.layout())));
    let mut refused = 0;
    for fault in &faults {
        println!("{fault:?}");
        let (judged, evidence) = corrupt::play(&mut stage.cluster, &stage.machines, fault).await.unwrap();
        refused += u32::from(matches!(judged, Judged::Refused(_)));
        if evidence.acted || !matches!(fault, Fault::Corrupt { file: FileKind::Table, .. }) {
            stage.healed(&evidence).await;
        }
    }
    assert!(refused > 0, "no damage was ever noticed");
    stage.account_for(traffic, &[corrupt::ALLOWED]).await;
}
