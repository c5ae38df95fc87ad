//! A whole life of a site under traffic: evacuated while the plan's conductor dies and the operator stops and resumes
//! it, isolated, proved ready, powered off, and brought back. No request fails.

use std::time::Duration;

use clap::Parser;
use tokio::time::Instant;
use twinset_control::plan::{Plan, State, StepState};
use twinset_control::{CONTROL_SET, Catalogue, Durability};
use twinset_jepsen::logs::{self, Allowed};
use twinset_jepsen::nemesis::GIVEN_UP;
use twinset_jepsen::wait;
use twinset_tools::cli::Cli;
use twinset_tools::cluster::admin::{self, Survey};
use twinset_tools::cmd;

use crate::support::{Stage, no_failure};

/// A plan's motion has halted so soon after the operator's word, a switch that is under way on a busy machine among it.
const HALTED: Duration = Duration::from_secs(20);

/// What nodes may say of a plan whose conductor dies and whose site goes dark.
fn allowed() -> Vec<Allowed> {
    [logs::AFTER_KILLS, GIVEN_UP].concat()
}

/// Runs a command as an operator does.
async fn twinset(stage: &Stage, line: &str) -> anyhow::Result<()> {
    let nodes = stage.cluster.layout().node_addrs().join(",");
    let words = ["twinset", "--nodes", &nodes].into_iter().chain(line.split(' '));
    println!("twinset {line}");
    cmd::run(Cli::try_parse_from(words)?).await
}

async fn survey(stage: &Stage) -> Survey {
    admin::survey(&stage.cluster.layout().node_addrs()).await
}

fn newest(catalogue: &Catalogue) -> Option<&Plan> {
    catalogue.plans.values().next_back()
}

/// Waits until the newest plan is so.
async fn plan_is(stage: &Stage, what: &str, is: impl Fn(&Plan) -> bool) -> Survey {
    let seeds = stage.cluster.layout().node_addrs();
    let found = wait::until(&seeds, wait::HEAL, |survey| {
        let plan = survey.catalogue.as_ref().and_then(newest).ok_or("there is no plan")?;
        if is(plan) { Ok(()) } else { Err(format!("a plan that {what}: {plan:?}")) }
    });
    found.await.unwrap()
}

fn homes(survey: &Survey, site: &str) -> usize {
    survey.catalogue().unwrap().sets.values().filter(|set| set.home == site).count()
}

#[tokio::test]
async fn a_site_is_evacuated_powered_off_and_brought_back_and_no_request_fails() {
    let mut stage = Stage::start_with(8).await;
    let traffic = stage.traffic().await;

    twinset(&stage, "evacuate A --dry-run").await.unwrap();
    twinset(&stage, "evacuate A --why nothing").await.unwrap_err();
    assert!(newest(survey(&stage).await.catalogue().unwrap()).is_none(), "only looked");

    twinset(&stage, "evacuate A --stages 25,50,100 --soak 1s --concurrency 1 --yes --detach --why drill")
        .await
        .unwrap();
    plan_is(&stage, "has moved a set", |plan| plan.done() > 0).await;
    let asked = Instant::now();
    twinset(&stage, "stop --why test").await.unwrap();
    assert!(asked.elapsed() < HALTED, "it took {:?}", asked.elapsed());
    let stopped = survey(&stage).await;
    let plan = newest(stopped.catalogue().unwrap()).unwrap().clone();
    assert_eq!(plan.state, State::Stopped);
    assert!(plan.done() < 4, "nothing is left to be moved: {plan:?}");
    let moved = homes(&stopped, "B") - 4;
    assert_eq!(plan.done(), moved, "{plan:?}");

    twinset(&stage, &format!("plan resume {} --detach", plan.id)).await.unwrap();
    let under_way = plan_is(&stage, "goes on", |plan| plan.done() > moved).await;
    assert_eq!(newest(under_way.catalogue().unwrap()).unwrap().state, State::Running);
    // Whoever carries the plan out dies.
    let conductor = under_way.leader(CONTROL_SET).expect("it carries the plan out").1.node.clone();
    stage.cluster.kill(&conductor).await.unwrap();
    stage.cluster.start_process(&conductor).unwrap();
    let done = plan_is(&stage, "is done", |plan| plan.state == State::Done).await;
    let plan = newest(done.catalogue().unwrap()).unwrap();
    assert!(plan.steps.iter().all(|step| step.state == StepState::Done), "{plan:?}");
    assert_eq!(homes(&done, "A"), 0);

    twinset(&stage, "isolate-ready A").await.unwrap_err();
    twinset(&stage, "isolate A --yes --why test").await.unwrap();
    let isolated = survey(&stage).await;
    let catalogue = isolated.catalogue().unwrap();
    assert!(catalogue.sets.values().all(|set| set.durability == Durability::Degraded));
    let deadline = Instant::now() + wait::HEAL;
    while let Err(not_yet) = twinset(&stage, "isolate-ready A").await {
        assert!(Instant::now() < deadline, "{not_yet}");
    }

    for node in stage.nodes_of("A") {
        stage.cluster.kill(&node).await.unwrap();
    }
    let mut payers = stage.router("rb");
    let (status, _) = payers
        .call(http::Method::GET, "/v1/sets/1/events?page_size=1", String::new(), crate::support::LONG.into())
        .await
        .unwrap();
    assert!(status.is_success(), "the other site serves: {status}");
    for node in stage.nodes_of("A") {
        stage.cluster.start_process(&node).unwrap();
    }
    stage.whole().await;

    twinset(&stage, "return A --soak 100ms --yes --why test").await.unwrap();
    let back = survey(&stage).await;
    let catalogue = back.catalogue().unwrap();
    for set in catalogue.sets.values() {
        assert_eq!((&set.home, set.durability), (&set.configured_home, Durability::Sync), "{set:?}");
    }
    assert!(catalogue.sites.values().all(|site| !site.isolated));
    no_failure(traffic).await;
    stage.end(&allowed()).await;
}

#[tokio::test]
async fn an_emergency_moves_all_sets_at_once_and_no_request_fails() {
    let stage = Stage::start_with(8).await;
    let traffic = stage.traffic().await;
    twinset(&stage, "evacuate B --emergency --yes --why fire").await.unwrap();
    assert_eq!(homes(&survey(&stage).await, "B"), 0);
    twinset(&stage, "return --stages 100 --soak 100ms --yes --why over").await.unwrap();
    assert_eq!(homes(&survey(&stage).await, "B"), 4);
    no_failure(traffic).await;
    stage.end(&allowed()).await;
}
