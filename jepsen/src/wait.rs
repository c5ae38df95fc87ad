//! Waiting until a cluster is whole again: conditions polled with a deadline. The judging of one survey is pure.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;
use twinset_control::{CONTROL_SET, Catalogue, Durability};
use twinset_proto::cluster::v1::ReplicaStatus;
use twinset_tools::cluster::Layout;
use twinset_tools::cluster::admin::{self, Survey};
use twinset_tools::cluster::ready;

/// How long a cluster may take to heal.
pub const HEAL: Duration = Duration::from_secs(60);
/// How long a site that was lost may take until every set has its copies there again and is SYNC.
const BACK: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(50);

/// Waits until `holds` of a survey; its words say what is still missing.
pub async fn until(
    seeds: &[String],
    patience: Duration,
    mut holds: impl FnMut(&Survey) -> Result<(), String>,
) -> anyhow::Result<Survey> {
    let deadline = Instant::now() + patience;
    loop {
        let survey = admin::survey(seeds).await;
        let Err(missing) = holds(&survey) else { return Ok(survey) };
        anyhow::ensure!(Instant::now() < deadline, "after {patience:?} still: {missing}");
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until every node answers, every set has its four copies and is led, every replica holds what was committed when all were led, and no
/// switch is open that somebody has to settle: then no set loses its quorum by one more death, and none refuses to move.
pub fn whole(layout: &Layout) -> BoxFuture<'_, anyhow::Result<Survey>> {
    Box::pin(async move {
        let mut targets = BTreeMap::new();
        let survey = until(&layout.node_addrs(), HEAL, |survey| is_whole(survey, &mut targets)).await?;
        let routers: Vec<String> = layout.routers().map(|router| router.http.clone()).collect();
        ready::routers(&routers, HEAL).await?;
        Ok(survey)
    })
}

/// Waits until everything is whole and every set is on record as SYNC.
pub fn in_sync(layout: &Layout) -> BoxFuture<'_, anyhow::Result<Survey>> {
    Box::pin(async move {
        let seeds = layout.node_addrs();
        until(&seeds, BACK, |survey| {
            let catalogue = survey.catalogue.as_ref().ok_or("no node knows the catalogue")?;
            let degraded = catalogue.sets.values().find(|set| set.durability != Durability::Sync);
            degraded.map_or(Ok(()), |set| Err(format!("set {} is not SYNC: {:?}", set.id, set.replicas)))
        })
        .await?;
        whole(layout).await
    })
}

/// What the leader of `set` says of itself.
pub fn leader(survey: &Survey, set: u32) -> Option<&ReplicaStatus> {
    let (_, reply) = survey.leader(set)?;
    reply.replicas.iter().find(|replica| replica.set == set)
}

/// `targets` are the indexes that all replicas must reach; kept between surveys of one wait.
fn is_whole(survey: &Survey, targets: &mut BTreeMap<u32, u64>) -> Result<(), String> {
    let catalogue = survey.catalogue.as_ref().ok_or("no node knows the catalogue")?;
    for (name, node) in &catalogue.nodes {
        match survey.answers.get(&node.api_addr) {
            Some(Ok(reply)) if reply.ready => {}
            Some(Ok(reply)) => return Err(format!("{name} is not ready: {}", reply.not_ready_because)),
            Some(Err(reason)) => return Err(format!("{name} does not answer: {reason}")),
            None => return Err(format!("{name} was not asked")),
        }
    }
    if let Some((set, _)) = catalogue.sets.iter().find(|(_, set)| set.switch.is_some()) {
        return Err(format!("a switch of set {set} is open"));
    }
    let lacking = |set: &&twinset_control::Set| set.recovery.is_some() || set.replicas.len() < 4;
    if let Some(set) = catalogue.sets.values().find(lacking) {
        return Err(format!("set {} is being recovered, or lacks copies: {:?}", set.id, set.replicas));
    }
    for set in sets(catalogue) {
        let leader = leader(survey, set).ok_or(format!("set {set} has no leader"))?;
        let target = *targets.entry(set).or_insert(leader.committed_index);
        for replica in catalogue.replicas(set) {
            let matched = leader.matched.get(&replica.id).copied().unwrap_or(0);
            if matched < target {
                return Err(format!("{} holds set {set} up to {matched}, not yet {target}", replica.node));
            }
        }
        if leader.committed_index < target
            || leader.safe_index.min(leader.applied_index) < target && set != CONTROL_SET
        {
            return Err(format!("set {set} is not safe up to {target} yet"));
        }
    }
    Ok(())
}

fn sets(catalogue: &Catalogue) -> impl Iterator<Item = u32> {
    std::iter::once(CONTROL_SET).chain(catalogue.sets.keys().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinset_control::{Proof, SwitchIntent};
    use twinset_proto::cluster::v1::StatusReply;

    fn survey(matched: u64) -> Survey {
        let layout = Layout::new("d".as_ref(), "b".as_ref(), 2, 7100);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("topology.toml");
        std::fs::write(&path, layout.topology()).unwrap();
        let topology = twinset_tools::cluster::bootstrap::read_topology(&path).unwrap();
        let catalogue = topology.place("c").unwrap();
        let replica = |set: u32| ReplicaStatus {
            set,
            incarnation: 1,
            role: "leader".into(),
            committed_index: 9,
            applied_index: 9,
            safe_index: 9,
            matched: catalogue.replicas(set).iter().map(|replica| (replica.id, matched)).collect(),
            ..Default::default()
        };
        let mut survey = Survey::default();
        for (name, node) in &catalogue.nodes {
            let replicas = if name == "a1" { sets(&catalogue).map(replica).collect() } else { Vec::new() };
            let reply = StatusReply { node: name.clone(), ready: true, replicas, ..Default::default() };
            survey.add(node.api_addr.clone(), Ok(reply));
        }
        survey.catalogue = Some(catalogue);
        survey
    }

    #[test]
    fn a_cluster_with_a_lagging_replica_or_a_silent_node_is_not_whole() {
        assert_eq!(is_whole(&survey(9), &mut BTreeMap::new()), Ok(()));
        assert!(is_whole(&survey(8), &mut BTreeMap::new()).unwrap_err().contains("not yet 9"));
        let mut silent = survey(9);
        let addr = silent.answers.keys().next().unwrap().clone();
        silent.add(addr, Err("gone".into()));
        assert!(is_whole(&silent, &mut BTreeMap::new()).is_err());
    }

    #[test]
    fn a_set_with_an_open_switch_is_not_whole() {
        let mut survey = survey(9);
        let (from, to) = ("A".to_owned(), "B".to_owned());
        let (owner, who, why) = ("a1".to_owned(), "a test".to_owned(), "to see".to_owned());
        let proof = Proof::Declared;
        let intent = SwitchIntent { id: 2, from, to, owner, keep: 1, who, proof, why };
        let sets = &mut survey.catalogue.as_mut().unwrap().sets;
        sets.get_mut(&1).unwrap().switch = Some(intent);
        assert!(is_whole(&survey, &mut BTreeMap::new()).unwrap_err().contains("switch of set 1"));
    }

    #[test]
    fn a_set_without_leader_is_not_whole() {
        let mut survey = survey(9);
        for answer in survey.answers.values_mut().flatten() {
            answer.replicas.clear();
        }
        assert!(is_whole(&survey, &mut BTreeMap::new()).unwrap_err().contains("no leader"));
    }
}
