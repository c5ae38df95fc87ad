//! Gives blank nodes their cluster. What is decided, and from which facts, is [`decide`], pure; around it the asking and
//! the sending. Repeating it is harmless: a bootstrap that was cut short is finished, a running cluster is left as it is.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;
use twinset_control::{Catalogue, Topology};
use twinset_proto::cluster::v1::{BootstrapRequest, IdentifyReply};

use super::admin::{self, Survey};
use super::ready;
use crate::error;

const POLL: Duration = Duration::from_millis(50);

/// What a bootstrap did.
#[derive(Debug)]
pub struct Done {
    /// The cluster's name for ever.
    pub cluster_id: String,
    /// Nodes that were blank before.
    pub given: Vec<String>,
    /// The nodes, all sets led.
    pub survey: Survey,
}

/// Reads and checks a topology file.
pub fn read_topology(path: &Path) -> anyhow::Result<Topology> {
    let next = "compare it with deploy/examples/topology.toml";
    let text = std::fs::read_to_string(path)
        .map_err(|cause| error::usage(format!("{} cannot be read: {cause}", path.display()), next))?;
    let topology: Topology = toml::from_str(&text)
        .map_err(|cause| error::usage(format!("{} is no topology: {cause}", path.display()), next))?;
    topology.validate().map_err(|cause| error::usage(format!("{}: {cause}", path.display()), next))?;
    Ok(topology)
}

/// What to send to whom.
#[derive(Debug, PartialEq, Eq)]
pub struct Decision {
    /// The cluster's name.
    pub cluster_id: String,
    /// The catalogue that blank nodes get.
    pub catalogue: Catalogue,
    /// Names of the blank nodes.
    pub blank: Vec<String>,
}

/// Decides from who answered (by node name of the topology) and what the running ones know.
pub fn decide(
    topology: &Topology,
    identities: &BTreeMap<String, IdentifyReply>,
    survey: &Survey,
    fresh_id: &str,
) -> anyhow::Result<Decision> {
    for node in &topology.nodes {
        let Some(found) = identities.get(&node.name) else { continue };
        if found.node != node.name || found.site != node.site {
            return Err(error::failure(
                format!(
                    "at {} the topology expects node {} of site {}, but {} of site {} answers",
                    node.api, node.name, node.site, found.node, found.site
                ),
                "correct the topology, or the config of that node",
            ));
        }
    }
    let of = |wanted: &dyn Fn(&IdentifyReply) -> bool| -> Vec<String> {
        identities.iter().filter(|(_, found)| wanted(found)).map(|(name, _)| name.clone()).collect()
    };
    let blank = of(&|found| found.cluster_id.is_empty());
    let mut ids: Vec<&str> =
        identities.values().map(|f| f.cluster_id.as_str()).filter(|id| !id.is_empty()).collect();
    ids.sort_unstable();
    ids.dedup();
    match ids[..] {
        [] => {
            let catalogue = topology.place(fresh_id)?;
            Ok(Decision { cluster_id: fresh_id.to_owned(), catalogue, blank })
        }
        [id] => {
            let catalogue = survey.catalogue()?.clone();
            refuse_wiped(&catalogue, survey, &blank)?;
            Ok(Decision { cluster_id: id.to_owned(), catalogue, blank })
        }
        _ => Err(error::failure(
            format!("the nodes belong to different clusters: {}", ids.join(", ")),
            "give each cluster its own nodes; to reuse a node, empty its data directory first",
        )),
    }
}

/// A blank node whose replicas a leader has already seen with data has lost it: giving it the same replica ids again
/// would let it vote as if it had never acknowledged anything.
fn refuse_wiped(catalogue: &Catalogue, survey: &Survey, blank: &[String]) -> anyhow::Result<()> {
    for node in blank {
        for (set, replica) in catalogue.replicas_on(node) {
            let Some((_, leader)) = survey.leader(set) else { continue };
            let matched =
                leader.replicas.iter().find(|r| r.set == set).and_then(|r| r.matched.get(&replica.id));
            if matched.is_some_and(|&index| index > 0) {
                return Err(error::failure(
                    format!(
                        "node {node} is blank, but held data of set {set} before: its disk was lost or emptied"
                    ),
                    "do not bring it back under its old replica ids: restore its data directory, or run without it",
                ));
            }
        }
    }
    Ok(())
}

/// Gives every blank node of the topology its cluster, and waits until every set has a leader.
pub async fn bootstrap(topology: &Topology, patience: Duration) -> anyhow::Result<Done> {
    let deadline = Instant::now() + patience;
    let identities = identify_all(topology, deadline).await?;
    let addrs: Vec<String> = topology.nodes.iter().map(|node| node.api.clone()).collect();
    let running = identities.values().any(|found| !found.cluster_id.is_empty());
    let survey = if running { admin::survey(&addrs).await } else { Survey::default() };
    let fresh_id = uuid::Uuid::new_v4().to_string();
    let decision = decide(topology, &identities, &survey, &fresh_id)?;
    let json = bytes::Bytes::from(decision.catalogue.to_json());
    let sends = topology.nodes.iter().filter(|node| decision.blank.contains(&node.name)).map(|node| {
        let request =
            BootstrapRequest { cluster_id: decision.cluster_id.clone(), catalogue_json: json.clone() };
        send(&node.name, &node.api, request, deadline)
    });
    for sent in join_all(sends).await {
        sent?;
    }
    let survey = ready::leaders(&addrs, deadline.saturating_duration_since(Instant::now())).await?;
    Ok(Done { cluster_id: decision.cluster_id, given: decision.blank, survey })
}

/// Every node must answer: one that is missed now would stay blank while the others begin.
async fn identify_all(
    topology: &Topology,
    deadline: Instant,
) -> anyhow::Result<BTreeMap<String, IdentifyReply>> {
    loop {
        let answers = join_all(topology.nodes.iter().map(|node| admin::identify(&node.api))).await;
        let mut silent = Vec::new();
        let mut identities = BTreeMap::new();
        for (node, answer) in topology.nodes.iter().zip(answers) {
            match answer {
                Ok(found) => drop(identities.insert(node.name.clone(), found)),
                Err(reason) => silent.push(format!("{} at {}: {reason}", node.name, node.api)),
            }
        }
        if silent.is_empty() {
            return Ok(identities);
        }
        if Instant::now() >= deadline {
            return Err(error::failure(
                format!("not all nodes answer, nothing was sent: {}", silent.join("; ")),
                "start those nodes, then run the same command again",
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Gives a blank node its cluster, and asks again while it cannot take it yet.
pub(crate) async fn send(
    name: &str,
    addr: &str,
    request: BootstrapRequest,
    deadline: Instant,
) -> anyhow::Result<()> {
    let mut client = admin::client(addr)?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let reason = match tokio::time::timeout(left, client.bootstrap(request.clone())).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(status)) if status.code() == tonic::Code::Unavailable => admin::explain(&status),
            Ok(Err(status)) => {
                return Err(error::failure(
                    format!("node {name} refuses its cluster: {}", admin::explain(&status)),
                    "the node's log says more; what was given to the other nodes stays, and the command can be repeated",
                ));
            }
            Err(_) => "no answer".to_owned(),
        };
        if Instant::now() >= deadline {
            return Err(error::failure(
                format!("node {name} at {addr} did not take its cluster: {reason}"),
                "run the same command again: it finishes what is left",
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Layout;
    use twinset_proto::cluster::v1::{ReplicaStatus, StatusReply};

    fn topology() -> Topology {
        toml::from_str(&Layout::new("d".as_ref(), "b".as_ref(), 2, 7100).topology()).unwrap()
    }

    fn identities(cluster_of: impl Fn(&str) -> &'static str) -> BTreeMap<String, IdentifyReply> {
        let identity = |node: &twinset_control::topology::TopologyNode| IdentifyReply {
            node: node.name.clone(),
            site: node.site.clone(),
            cluster_id: cluster_of(&node.name).to_owned(),
            ..Default::default()
        };
        topology().nodes.iter().map(|node| (node.name.clone(), identity(node))).collect()
    }

    fn known(cluster_id: &str, leader_matched: &[(u64, u64)]) -> Survey {
        let catalogue = topology().place(cluster_id).unwrap();
        let leader = ReplicaStatus {
            set: 1,
            incarnation: 1,
            role: "leader".into(),
            term: 1,
            matched: leader_matched.iter().copied().collect(),
            ..Default::default()
        };
        let reply = StatusReply {
            node: "a1".into(),
            catalogue_json: catalogue.to_json().into(),
            replicas: vec![leader],
            ..Default::default()
        };
        let mut survey = Survey::default();
        survey.add("127.0.0.1:7101".into(), Ok(reply));
        survey
    }

    #[test]
    fn blank_nodes_get_a_new_cluster() {
        let decision = decide(&topology(), &identities(|_| ""), &Survey::default(), "new").unwrap();
        assert_eq!(decision.cluster_id, "new");
        assert_eq!(decision.blank.len(), 5);
        assert_eq!(decision.catalogue.cluster_id, "new");
    }

    #[test]
    fn an_interrupted_bootstrap_is_finished_under_the_first_id() {
        let found = identities(|name| if name == "b2" { "" } else { "old" });
        let decision = decide(&topology(), &found, &known("old", &[]), "new").unwrap();
        assert_eq!((decision.cluster_id.as_str(), decision.blank), ("old", vec!["b2".to_owned()]));
        assert_eq!(decision.catalogue.cluster_id, "old");
    }

    #[test]
    fn a_wiped_node_is_not_given_its_old_replicas() {
        let found = identities(|name| if name == "b2" { "" } else { "old" });
        let catalogue = topology().place("old").unwrap();
        let (_, replica) = catalogue.replicas_on("b2").find(|(set, _)| *set == 1).unwrap();
        let error = decide(&topology(), &found, &known("old", &[(replica.id, 7)]), "new").unwrap_err();
        assert!(error.to_string().contains("held data of set 1 before"), "{error}");
    }

    #[test]
    fn nodes_of_two_clusters_are_refused() {
        let found = identities(|name| if name.starts_with('a') { "one" } else { "two" });
        let error = decide(&topology(), &found, &known("one", &[]), "new").unwrap_err();
        assert!(error.to_string().contains("different clusters: one, two"), "{error}");
    }

    #[test]
    fn another_node_at_an_address_is_refused() {
        let mut found = identities(|_| "");
        found.get_mut("a1").unwrap().node = "z9".into();
        let error = decide(&topology(), &found, &Survey::default(), "new").unwrap_err();
        assert!(error.to_string().contains("but z9 of site A answers"), "{error}");
    }
}
