//! A replica that loses its links and gets them back does not disturb its set: it asks before it campaigns, so the term
//! does not rise and the leader goes on.

use std::time::Duration;

use twinset_control::Catalogue;
use twinset_node::config::RaftConfig;

use crate::common::cables::Cables;
use crate::common::{Node, alone, cluster, entry, listener, voters};

const ISOLATED: &str = "a2";

/// Slow enough for a busy machine: no election but one that is provoked.
fn raft() -> RaftConfig {
    RaftConfig {
        heartbeat_ms: 50,
        election_timeout_min_ms: 1_000,
        election_timeout_away_min_ms: 1_400,
        election_timeout_max_ms: 1_800,
        ..RaftConfig::default()
    }
}

/// What leads from the isolated node to the others, and back.
struct Between {
    outward: Cables,
    inward: Cables,
}

/// The catalogue as `name` has it: between the isolated node and the others, all goes by cable.
fn seen_by(name: &str, catalogue: &Catalogue, between: &Between) -> Catalogue {
    let mut seen = catalogue.clone();
    for node in seen.nodes.values_mut().filter(|node| node.name != name) {
        if name == ISOLATED {
            node.peer_addr = between.outward.to(&node.peer_addr).to_string();
        } else if node.name == ISOLATED {
            node.peer_addr = between.inward.to(&node.peer_addr).to_string();
        }
    }
    seen
}

/// Proposes until the leader takes it: a new one does not before a majority has heard from it.
fn propose(node: &Node, n: u64) -> u64 {
    let mut index = None;
    node.until("the entry is applied", |node| {
        let proposed = async { node.group().propose(entry(n).into()).await.unwrap().result().await };
        index = node.runtime.block_on(proposed).ok().map(|(index, _)| index);
        index.is_some()
    });
    index.unwrap()
}

#[test]
fn an_isolated_follower_does_not_raise_the_term() {
    let _alone = alone();
    let (catalogue, listeners) = cluster();
    let between = Between { outward: Cables::new(), inward: Cables::new() };
    let names: Vec<String> = voters(&catalogue).into_values().collect();
    assert!(names.len() == 3 && names.iter().any(|name| name == ISOLATED), "{names:?}");
    let dirs: Vec<_> = names.iter().map(|_| tempfile::tempdir().unwrap()).collect();
    let nodes: Vec<Node> = names
        .iter()
        .zip(&dirs)
        .map(|(name, dir)| {
            let catalogue = seen_by(name, &catalogue, &between);
            Node::start(name, dir.path(), &catalogue, listener(&listeners, name), &raft())
        })
        .collect();
    let isolated = names.iter().position(|name| name == ISOLATED).unwrap();
    let first = (isolated + 1) % names.len();
    // Who is given the voters campaigns at once.
    nodes[first].runtime.block_on(nodes[first].group().initialize(voters(&catalogue))).unwrap();
    nodes[first].until("it leads", |node| node.group().is_leader());
    let (leader, isolated) = (&nodes[first], &nodes[isolated]);
    let index = propose(leader, 1);
    isolated.until("it follows", |node| node.group().progress().applied >= index);
    let before = leader.group().view().borrow().clone();

    // All links; then only those to it, so that the others hear it ask.
    for (round, cut) in [vec![&between.outward, &between.inward], vec![&between.inward]].iter().enumerate() {
        cut.iter().for_each(|cables| cables.cut());
        let n = 2 * round as u64 + 2;
        let missed = propose(leader, n);
        // Time is what is tested here: five election timeouts at least.
        let timeouts = Duration::from_millis(raft().election_timeout_max_ms * 5);
        isolated.runtime.block_on(async { tokio::time::sleep(timeouts).await });
        assert!(isolated.group().progress().last_log < missed, "it is isolated");
        cut.iter().for_each(|cables| cables.mend());
        isolated.until("it is back", |node| node.group().progress().applied >= missed);
        let index = propose(leader, n + 1);
        isolated.until("it follows again", |node| node.group().progress().applied >= index);
    }
    for node in &nodes {
        let view = node.group().view().borrow().clone();
        assert_eq!((view.term, view.leader), (before.term, before.leader), "{view:?}");
    }
    nodes.into_iter().for_each(Node::die);
}
