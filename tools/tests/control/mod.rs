//! `twinset recover control` against nodes that speak the real wire contract: one copy of three is left, on b1.

use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use twinset_control::CONTROL_SET;
use twinset_proto::cluster::v1::{ControlPromise, InspectControlReply};
use twinset_tools::cluster::bootstrap;

use super::fakes::node::{FakeNode, five};
use super::{beside, stderr};

/// A bootstrapped cluster of which b1 alone is there.
struct World {
    b1: FakeNode,
}

impl World {
    async fn start() -> World {
        let (mut nodes, topology) = five().await;
        bootstrap::bootstrap(&topology, Duration::from_secs(10)).await.unwrap();
        let b1 = nodes.remove(2);
        b1.with(|script| {
            let catalogue = script.catalogue.as_mut().unwrap();
            for node in catalogue.nodes.values_mut().filter(|node| node.name != "b1") {
                // Nobody listens there.
                node.api_addr = "127.0.0.1:9".into();
            }
            let copies = &catalogue.control.replicas;
            script.control = InspectControlReply {
                node: "b1".into(),
                site: "B".into(),
                cluster_id: catalogue.cluster_id.clone(),
                replica: copies.iter().find(|copy| copy.node == "b1").unwrap().id,
                incarnation: 1,
                last_term: 3,
                last_index: 7,
                version: catalogue.version,
                open: true,
                voters: copies.iter().map(|copy| copy.id).collect(),
                ..InspectControlReply::default()
            };
        });
        World { b1 }
    }

    async fn twinset(&self, line: &str) -> Output {
        let nodes = format!("--nodes {}", self.b1.addr);
        beside(line.split(' ').chain(nodes.split(' ')).map(str::to_owned).collect()).await
    }

    async fn plan(&self) -> Value {
        let plan = self.twinset("recover control plan --json").await;
        assert!(plan.status.success(), "{}", stderr(&plan));
        serde_json::from_slice(&plan.stdout).unwrap()
    }

    async fn apply(&self, plan: &str, rest: &str) -> Output {
        self.twinset(&format!("recover control apply --plan {plan} --why fire {rest}")).await
    }

    fn promise(&self) -> Option<ControlPromise> {
        self.b1.with(|script| script.control.promise.clone())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_copy_goes_on_when_the_others_are_said_to_be_off() {
    let world = World::start().await;
    let plan = world.plan().await;
    assert_eq!((&plan["incarnation"], plan["missing"].as_array().unwrap().len()), (&2.into(), 2), "{plan}");
    let id = plan["id"].as_str().unwrap();
    for (plan, rest, said) in [
        (id, "--yes --other-site-is-off A", "nobody has said that it is off"),
        (id, "--other-site-is-off A,C", "nothing was done"),
        ("0123", "--yes --other-site-is-off A,C", "by now"),
    ] {
        let refused = world.apply(plan, rest).await;
        assert!(!refused.status.success() && stderr(&refused).contains(said), "{}", stderr(&refused));
        assert_eq!(world.promise(), None, "{rest}");
    }
    let done = world.apply(id, "--yes --other-site-is-off A,c1 --json").await;
    assert!(done.status.success(), "{}", stderr(&done));
    let done: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&done["incarnation"], &done["leader"]), (&2.into(), &"b1".into()), "{done}");
    assert!(done["sets"].as_array().unwrap().iter().all(|set| set["unproven"] == true), "{done}");
    assert_eq!(done["left_behind"].as_array().unwrap().len(), 2, "{done}");
    let verified = world.twinset("recover control verify").await;
    assert!(verified.status.success(), "{}", stderr(&verified));
    let status = world.twinset("status").await;
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("unknown since"), "{status}");
    // The sets come next, the one with its majority here among them. One of their copies does not answer, which is said.
    let sets = world.twinset("recover plan --site B --json").await;
    let sets: Value = serde_json::from_slice(&sets.stdout).unwrap();
    let others = sets["others"].as_array().unwrap();
    assert!(others.iter().all(|set| set["why"].as_str().unwrap().contains("b2 does not answer")), "{sets}");
    assert_eq!(others.len(), 2, "{sets}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_interrupted_is_gone_on_with_and_another_plan_is_refused() {
    let world = World::start().await;
    let id = world.plan().await["id"].as_str().unwrap().to_owned();
    // The command died after the first step.
    world.b1.with(|script| {
        let survivors = [(script.control.replica, "b1".to_owned())].into();
        let promise =
            ControlPromise { plan: id.clone(), incarnation: 2, survivors, who: "ann".into(), revived: false };
        (script.control.promise, script.control.incarnation) = (Some(promise), 2);
        (script.control.open, script.control.voters) = (false, Vec::new());
    });
    let begun = world.plan().await;
    assert_eq!((&begun["id"], &begun["begun_by"]), (&id.as_str().into(), &"ann".into()), "{begun}");
    let other = world.apply("0123456789abcdef", "--yes --other-site-is-off A,C").await;
    assert!(stderr(&other).contains(&format!("the plan is {id}")), "{}", stderr(&other));
    let done = world.apply(&id, "--yes --other-site-is-off A,C").await;
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(world.promise().unwrap().revived);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_recovered_that_is_led_and_disagreement_is_found() {
    let world = World::start().await;
    world.b1.with(|script| script.control.leader_node = "a1".into());
    let refused = world.twinset("recover control plan").await;
    assert!(stderr(&refused).contains("hears that a1 leads"), "{}", stderr(&refused));
    let unled = world.twinset("recover control verify").await;
    assert!(stderr(&unled).contains("the control set has no leader"), "{}", stderr(&unled));
    assert_eq!(unled.status.code(), Some(1));
    let replica = world.b1.with(|script| script.catalogue.as_ref().unwrap().replicas(CONTROL_SET)[1].clone());
    assert_eq!(replica.node, "b1", "the one that does not lead by itself");
}
