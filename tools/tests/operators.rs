//! Operators' acts against nodes that speak the real wire contract: bootstrap, status, switch, verify.

#![allow(clippy::unwrap_used, reason = "a test may panic anywhere, in its helpers too")]

mod fakes;

use std::time::Duration;

use fakes::node::{FakeNode, five};
use twinset_proto::cluster::v1::{CurrencyTotal, SwitchProgress, SwitchRequest, VerifyReply};
use twinset_tools::cluster::{admin, bootstrap};
use twinset_tools::cmd::switch;
use twinset_tools::{verify, view};

const PATIENCE: Duration = Duration::from_secs(10);

fn seeds(nodes: &[FakeNode]) -> Vec<String> {
    nodes.iter().map(|node| node.addr.clone()).collect()
}

#[tokio::test]
async fn blank_nodes_become_one_cluster_though_one_is_busy_at_first() {
    let (nodes, topology) = five().await;
    nodes[3].with(|script| script.busy = 2);
    let done = bootstrap::bootstrap(&topology, PATIENCE).await.unwrap();
    assert_eq!(done.given.len(), 5);
    for node in &nodes {
        assert_eq!(node.with(|script| script.cluster_id.clone()), done.cluster_id);
    }
}

#[tokio::test]
async fn a_second_bootstrap_changes_nothing_and_finishes_what_was_left() {
    let (nodes, topology) = five().await;
    let first = bootstrap::bootstrap(&topology, PATIENCE).await.unwrap();
    nodes[1].with(|script| {
        script.cluster_id.clear();
        script.catalogue = None;
    });
    let second = bootstrap::bootstrap(&topology, PATIENCE).await.unwrap();
    assert_eq!((second.cluster_id, second.given), (first.cluster_id.clone(), vec!["a2".to_owned()]));
    let third = bootstrap::bootstrap(&topology, PATIENCE).await.unwrap();
    assert_eq!((third.cluster_id, third.given.len()), (first.cluster_id, 0));
}

#[tokio::test]
async fn nothing_is_sent_while_a_node_is_silent() {
    let (nodes, mut topology) = five().await;
    // Nobody listens there, and no other test is given it meanwhile.
    topology.nodes[4].api = "127.0.0.1:1".to_owned();
    let error = bootstrap::bootstrap(&topology, Duration::from_secs(2)).await.unwrap_err();
    assert!(error.to_string().contains("nothing was sent: c1"), "{error}");
    assert!(nodes.iter().all(|node| node.with(|script| script.cluster_id.is_empty())));
}

#[tokio::test]
async fn one_seed_is_enough_to_see_the_whole_cluster() {
    let (nodes, topology) = five().await;
    bootstrap::bootstrap(&topology, PATIENCE).await.unwrap();
    let survey = admin::survey(&seeds(&nodes[..1])).await;
    let view = view::view(&survey).unwrap();
    assert_eq!(view.nodes.iter().filter(|node| node.up).count(), 5);
    assert!(view.sets.iter().all(|set| set.leader.is_some()));
    assert_eq!(view.sets[0].rpo.to_string(), "RPO 0 proven");
}

#[tokio::test]
async fn blank_nodes_are_told_apart_from_silent_ones() {
    let (nodes, _) = five().await;
    let survey = admin::survey(&seeds(&nodes[..1])).await;
    let text = survey.catalogue().unwrap_err().to_string();
    assert!(text.contains("blank, waits for its cluster"), "{text}");
}

fn request() -> SwitchRequest {
    SwitchRequest { set: 1, to_site: "B".into(), ..Default::default() }
}

fn phase(phase: &str, pause_us: u64, failed: bool) -> SwitchProgress {
    SwitchProgress { phase: phase.into(), detail: "why".into(), pause_us, failed, ..Default::default() }
}

#[tokio::test]
async fn a_switch_is_asked_of_the_leader_and_reports_its_pause() {
    let (nodes, topology) = five().await;
    let done = bootstrap::bootstrap(&topology, PATIENCE).await.unwrap();
    let (leader, _) = done.survey.leader(1).unwrap();
    let leader = nodes.iter().find(|node| node.addr == leader).unwrap();
    leader.with(|script| script.tidying = 2);
    leader.with(|script| script.phases = vec![phase("check", 0, false), phase("done", 1500, false)]);
    let mut heard = Vec::new();
    let outcome =
        switch::switch(&done.survey, request(), &mut |phase| heard.push(phase.phase.clone())).await.unwrap();
    assert_eq!((outcome.pause_us(), heard), (1500, vec!["check".to_owned(), "done".to_owned()]));
    assert_eq!(leader.with(|script| script.switches.len()), 1);
}

#[tokio::test]
async fn a_switch_that_is_undone_or_falls_silent_is_a_failure() {
    let (nodes, topology) = five().await;
    let done = bootstrap::bootstrap(&topology, PATIENCE).await.unwrap();
    for (phases, words) in [
        (vec![phase("aborted", 0, true)], "stays where it was: why"),
        (vec![phase("open", 0, true)], "it is not known yet where set 1 ends: why"),
        (vec![phase("pause", 0, false)], "fell silent"),
        (Vec::new(), "fell silent"),
    ] {
        nodes.iter().for_each(|node| node.with(|script| script.phases = phases.clone()));
        let error = switch::switch(&done.survey, request(), &mut |_| {}).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

fn figures(index: u64, hash: &str) -> VerifyReply {
    let total = CurrencyTotal { currency: "EUR".into(), debits: "2.00".into(), credits: "2.00".into() };
    VerifyReply { applied_index: index, state_hash: hash.into(), totals: vec![total], ..Default::default() }
}

#[tokio::test]
async fn replicas_that_are_behind_are_asked_again_at_the_furthest_index() {
    let (nodes, topology) = five().await;
    let done = bootstrap::bootstrap(&topology, PATIENCE).await.unwrap();
    for (number, node) in nodes.iter().enumerate() {
        node.with(|script| script.figures = figures(5 + number as u64, "h"));
    }
    let report = verify::verify(&done.survey, done.survey.catalogue().unwrap(), PATIENCE).await;
    assert!(report.clean, "{report:?}");
}

#[tokio::test]
async fn a_replica_that_differs_is_named() {
    let (nodes, topology) = five().await;
    let done = bootstrap::bootstrap(&topology, PATIENCE).await.unwrap();
    nodes.iter().for_each(|node| node.with(|script| script.figures = figures(5, "h")));
    nodes[2].with(|script| script.figures = figures(5, "other"));
    let report = verify::verify(&done.survey, done.survey.catalogue().unwrap(), PATIENCE).await;
    assert!(!report.clean);
    assert!(report.lines.iter().any(|line| line.detail.contains("b1")), "{report:?}");
}
