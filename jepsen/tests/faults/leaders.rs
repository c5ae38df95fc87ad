//! Which node leads a set: one that the test has chosen, with what is wrong with it in its configuration.

use std::time::Duration;

use tokio::time::Instant;
use twinset_tools::cluster::admin;

use crate::support::Stage;

/// By then a node that was given the lead of a set has it.
const PATIENCE: Duration = Duration::from_secs(120);

/// Lets a node lead `set` that has these sections in its configuration.
pub async fn arm(stage: &mut Stage, set: u32, extra: &str) -> String {
    let home = stage.whole().await.catalogue().unwrap().sets[&set].home.clone();
    let leader = stage.leader(set).await;
    let next = stage.nodes_of(&home).into_iter().find(|node| *node != leader).unwrap();
    stage.reconfigure(&next, extra).await;
    lead(stage, set, &next).await;
    next
}

/// Waits until that node leads `set`, or has ended.
pub async fn lead(stage: &mut Stage, set: u32, node: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !stage.has_ended(node).await {
        let leader = stage.leader(set).await;
        if leader == node {
            return;
        }
        assert!(Instant::now() < deadline, "{node} does not lead set {set}");
        // Asked to stop, it hands over to its neighbour.
        stage.cluster.stop_process(&leader).await.unwrap();
        stage.cluster.start_process(&leader).unwrap();
    }
}

/// Gives the node its lead back if a busy machine has taken it away: what is wrong with it shows only there.
pub async fn keep_leading(stage: &mut Stage, set: u32, node: &str) {
    let survey = admin::survey(&stage.cluster.layout().node_addrs()).await;
    let replaced = survey.leader(set).is_some_and(|(_, reply)| reply.node != node);
    if replaced && !stage.has_ended(node).await {
        println!("{node} leads set {set} no more, and is given the lead again");
        lead(stage, set, node).await;
    }
}
