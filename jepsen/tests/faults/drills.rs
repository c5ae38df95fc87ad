//! Faults for drills that end or stop a real process: the process does it to itself, goes on by itself if it is to go
//! on, and remembers nothing of it when it is started anew. The others are tried on whole nodes
//! (`node/tests/nodes/drill_faults.rs`).

use std::time::Duration;

use crate::support::{LONG, Stage, no_failure};
use twinset_jepsen::logs::{self, Allowed};
use twinset_proto::cluster::v1 as wire;
use twinset_tools::cluster::admin;
use twinset_tools::cluster::faults::{Asker, At};
use wire::drill_faults_client::DrillFaultsClient;

const SAID: &[Allowed] = &[
    Allowed { part: "drill faults are enabled", why: "that is how this cluster was started" },
    Allowed { part: "a drill's fault", why: "that is what this test does" },
    Allowed { part: "the disk is full", why: "that is what this test does" },
    Allowed { part: "this node's clock is wrong", why: "that is what this test does" },
];

/// Begins a fault that takes no figures.
async fn begin(stage: &Stage, name: &str, kind: &str, deadline_ms: u32) -> Result<u64, tonic::Status> {
    let layout = stage.cluster.layout();
    let token = std::fs::read(layout.drill_token_path()).unwrap().into();
    let fault = Some(wire::DrillFault { kind: kind.to_owned(), ..wire::DrillFault::default() });
    let (who, why) = ("test".to_owned(), "a drill".to_owned());
    let request = wire::BeginFaultRequest { token, fault, deadline_ms, who, why };
    let channel = admin::channel(&layout.process(name).unwrap().api).unwrap();
    DrillFaultsClient::new(channel).begin_fault(request).await.map(|reply| reply.into_inner().id)
}

/// Its clock is so wrong from now on.
async fn step_clock(stage: &Stage, name: &str, by_ms: i64, deadline_ms: u32) {
    let layout = stage.cluster.layout();
    let addr = &layout.process(name).unwrap().api;
    let token = std::fs::read(layout.drill_token_path()).unwrap().into();
    let asker = Asker { token, who: "test".to_owned(), why: "a drill".to_owned() };
    let fault = wire::DrillFault { kind: "step-clock".into(), by_ms, ..wire::DrillFault::default() };
    let at = At { process: name, addr };
    at.begin(fault, Duration::from_millis(deadline_ms.into()), &asker).await.unwrap();
}

async fn acting(stage: &Stage, name: &str) -> usize {
    let channel = admin::channel(&stage.cluster.layout().process(name).unwrap().api).unwrap();
    let reply = DrillFaultsClient::new(channel).list_faults(wire::ListFaultsRequest {}).await;
    reply.unwrap().into_inner().faults.len()
}

#[tokio::test]
async fn a_node_that_a_drill_pauses_goes_on_by_itself() {
    let stage = Stage::start_for_drills().await;
    let traffic = stage.traffic().await;
    let leader = stage.leader(1).await;
    begin(&stage, &leader, "pause", 3_000).await.unwrap();
    stage.frozen(&leader).await;
    // Nobody wakes it.
    stage.whole().await;
    assert!(!stage.is_frozen(&leader));
    let log = stage.log(&leader, 0);
    assert!(log.contains("a drill's fault begins"), "{log}");
    no_failure(traffic).await;
    stage.end(&[logs::AFTER_KILLS, SAID].concat()).await;
}

/// Ahead, and then behind: each time another node of its home leads soon, and nobody's request fails.
#[tokio::test]
async fn a_leader_whose_clock_is_wrong_gives_up_leading() {
    let stage = Stage::start_for_drills().await;
    let traffic = stage.traffic().await;
    for by_ms in [5_000, -5_000] {
        let wrong = stage.leader(1).await;
        let heard = stage.log(&wrong, 0).len();
        step_clock(&stage, &wrong, by_ms, 60_000).await;
        let deadline = tokio::time::Instant::now() + LONG * 2;
        let heir = loop {
            let leader = stage.leader(1).await;
            if leader != wrong {
                break leader;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{wrong} leads with a clock that is {by_ms} ms ahead"
            );
        };
        let site = |name: &str| stage.cluster.layout().process(name).unwrap().site.clone();
        assert_eq!(site(&heir), site(&wrong), "it stays at home");
        assert!(stage.log(&wrong, heard).contains("this node's clock is wrong"));
        let layout = stage.cluster.layout();
        let at = At { process: &wrong, addr: &layout.process(&wrong).unwrap().api };
        let token = std::fs::read(layout.drill_token_path()).unwrap().into();
        for fault in at.list().await.unwrap() {
            at.end(fault.id, &token).await.unwrap();
        }
    }
    no_failure(traffic).await;
    stage.end(&[logs::AFTER_KILLS, SAID].concat()).await;
}

#[tokio::test]
async fn what_a_drill_kills_or_whose_disk_it_fills_ends_and_comes_back_sound() {
    let mut stage = Stage::start_for_drills().await;
    let traffic = stage.traffic().await;
    for (name, kind) in [("b1", "kill"), ("b2", "fill-disk"), ("c1", "kill")] {
        let heard = stage.log(name, 0).len();
        begin(&stage, name, kind, 60_000).await.unwrap();
        stage.ended(name).await;
        let said = stage.log(name, heard);
        assert!(said.contains("a drill's fault begins"), "{said}");
        assert_eq!(said.contains("the disk is full"), kind == "fill-disk", "{said}");
        stage.cluster.start_process(name).unwrap();
        stage.whole().await;
        assert_eq!(acting(&stage, name).await, 0, "nothing of it is left");
    }
    no_failure(traffic).await;
    // A router knows nothing but death.
    assert_eq!(begin(&stage, "ra", "pause", 1_000).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    assert_eq!(begin(&stage, "ra", "kill", 0).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    begin(&stage, "ra", "kill", 1_000).await.unwrap();
    stage.ended("ra").await;
    stage.cluster.start_process("ra").unwrap();
    stage.end(&[logs::AFTER_KILLS, SAID].concat()).await;
}
