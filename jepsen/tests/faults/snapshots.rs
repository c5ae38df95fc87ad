//! Snapshots that are cut down: a node that lacks what its leaders have purged is killed at every moment of its catching
//! up, and its leader in the middle of sending. In the end it holds what the others hold.

use std::time::Duration;

use crate::support::{ARMED, Stage};
use twinset_jepsen::logs::{self, Allowed};
use twinset_jepsen::{death, wait};
use twinset_tools::cluster::process::Signal;
use twinset_tools::load::random::Random;

/// The node that falls behind: a voter of one set, the learner of the other.
const NODE: &str = "b2";
const SETS: [u32; 2] = [1, 2];
/// Frequent snapshots, after which nothing is kept for the late.
const SMALL: &str = "[raft]\nsnapshot_entries = 200\nkeep_entries = 0\n";
/// More than a leader leaves unpurged: a batch of purging and the entries between two snapshots.
const BEHIND: u64 = 1_500;
/// For that many entries under the load of this test.
const FILL: Duration = Duration::from_secs(180);

const CUT_OFF: &[Allowed] =
    &[ARMED, Allowed { part: "snapshot refused", why: "its sender sent an older one" }];

#[tokio::test]
async fn a_node_killed_in_the_middle_of_snapshots_holds_everything_in_the_end() {
    let mut stage = Stage::start().await;
    for node in ["a1", "a2", "b1", "b2"] {
        stage.reconfigure(node, SMALL).await;
    }
    let seed = Random::new().bits() >> 32;
    println!("kills of seed {seed}");
    let mut random = Random::seeded(seed);
    let traffic = stage.journal(500).await;

    fall_behind(&mut stage).await;
    let said = stage.log(NODE, 0).len();
    // No install ends before the third death: these happen. Whether there is a snapshot left for those after them
    // depends on which of the two sets was faster.
    let mut deaths = vec![("snapshot.receiving", 0), ("snapshot.received", 0), ("snapshot.installed", 0)];
    deaths.extend((0..3).map(|_| ("snapshot.received", 200 + random.below(4_000))));
    for (number, (point, after_us)) in deaths.into_iter().enumerate() {
        let death = format!("die_at = \"{point}\"\nafter_us = {after_us}\n");
        stage.configure(NODE, &format!("{SMALL}[faults]\n{death}"));
        stage.cluster.start_process(NODE).unwrap();
        tokio::select! {
            () = stage.ended(NODE) => println!("{NODE} died {after_us} us after {point}"),
            _ = stage.whole(), if number >= 3 => {
                println!("{NODE} had caught up before {point}");
                stage.cluster.stop_process(NODE).await.unwrap();
                break;
            }
        }
    }
    stage.configure(NODE, SMALL);
    stage.cluster.start_process(NODE).unwrap();
    stage.whole().await;
    let installed = stage.log(NODE, said).matches("snapshot installed").count();
    assert!(installed >= 1, "it has caught up without a snapshot: {}", stage.log(NODE, said));

    fall_behind(&mut stage).await;
    stage.configure(NODE, &format!("{SMALL}[faults]\nfreeze_at = \"snapshot.receiving\"\n"));
    stage.cluster.start_process(NODE).unwrap();
    stage.frozen(NODE).await;
    let seeds = stage.cluster.layout().node_addrs();
    let led = wait::until(&seeds, wait::HEAL, |survey| {
        survey.leader(1).map(|_| ()).ok_or("set 1 has no leader".to_owned())
    });
    let sender = led.await.unwrap().leader(1).unwrap().1.node.clone();
    death::end(&mut stage.cluster, &sender).await.unwrap();
    stage.cluster.signal(NODE, Signal::Cont).await.unwrap();
    println!("the sender {sender} died");
    stage.cluster.start_process(&sender).unwrap();
    for _ in 0..3 {
        // A moment of the catching up, drawn from the seed.
        tokio::time::sleep(Duration::from_micros(random.below(400_000) as u64)).await;
        death::end(&mut stage.cluster, NODE).await.unwrap();
        stage.configure(NODE, SMALL);
        stage.cluster.start_process(NODE).unwrap();
    }
    stage.whole().await;

    let stopped = traffic.stop().await.unwrap();
    stage.account_for(stopped).await;
    stage.end(&[logs::AFTER_KILLS, CUT_OFF].concat()).await;
}

/// Kills the node, and keeps it down until every set has purged what it lacks.
async fn fall_behind(stage: &mut Stage) {
    let survey = stage.whole().await;
    let committed = |survey: &twinset_tools::cluster::admin::Survey, set| {
        wait::leader(survey, set).map_or(0, |leader| leader.committed_index)
    };
    death::end(&mut stage.cluster, NODE).await.unwrap();
    let wanted = SETS.map(|set| (set, committed(&survey, set) + BEHIND));
    let seeds = stage.cluster.layout().node_addrs();
    let purged = wait::until(&seeds, FILL, |survey| {
        match wanted.iter().find(|(set, index)| committed(survey, *set) < *index) {
            Some((set, index)) => Err(format!("set {set} is not at {index} yet")),
            None => Ok(()),
        }
    });
    purged.await.unwrap();
}
