//! `twinset node` against nodes that speak the real wire contract: a node joins, takes over what a lost one hosts, and the lost
//! one is taken out.

use std::time::Duration;

use twinset_control::{Command, apply};
use twinset_tools::cluster::bootstrap;

use super::fakes::node::{FakeNode, five};
use super::{beside, stderr};

/// A bootstrapped cluster of which a2 is silent, a blank a3, and whoever ends replacements.
struct World {
    nodes: Vec<FakeNode>,
    new: FakeNode,
}

impl World {
    async fn start() -> World {
        let (nodes, topology) = five().await;
        bootstrap::bootstrap(&topology, Duration::from_secs(10)).await.unwrap();
        let new = FakeNode::start("a3", "A").await;
        let world = World { nodes, new };
        world.tell(Command::UpsertNodeAddress {
            node: "a2".into(),
            site: "A".into(),
            // Nobody listens there.
            api_addr: "127.0.0.1:9".into(),
            peer_addr: "127.0.0.1:50001".into(),
            http_addr: "127.0.0.1:50002".into(),
            who: "ops".into(),
            why: "test".into(),
        });
        world
    }

    /// Applies a command where the control set leads, and lets everybody know.
    fn tell(&self, command: Command) {
        self.nodes[0].with(|script| {
            let catalogue = script.catalogue.as_mut().unwrap();
            let index = 100 + catalogue.version;
            apply(catalogue, index, index, command).unwrap();
        });
        self.spread();
    }

    fn spread(&self) {
        let newest = self.nodes[0].with(|script| script.catalogue.clone());
        for node in self.nodes.iter().skip(1).chain([&self.new]) {
            node.with(|script| {
                if script.catalogue.is_some() {
                    script.catalogue.clone_from(&newest);
                }
            });
        }
    }

    /// Ends what is open as leaders do, until it is dropped.
    async fn lead(&self) {
        loop {
            self.spread();
            let open = self.nodes[0].with(|script| {
                let catalogue = script.catalogue.as_ref().unwrap();
                let open = catalogue.sets.values().find_map(|set| Some((set.id, set.replacement.clone()?)));
                open.map(|(set, open)| (set, open.id, !open.given_up))
            });
            if let Some((set, id, replaced)) = open {
                self.tell(Command::EndReplacement { set, id, replaced });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Runs the command against node a1 while sets are led.
    async fn twinset(&self, line: &str) -> std::process::Output {
        let nodes = format!("--nodes {}", self.nodes[0].addr);
        let arguments = line.split(' ').chain(nodes.split(' ')).map(str::to_owned).collect();
        tokio::select! {
            output = beside(arguments) => output,
            () = self.lead() => unreachable!("it goes on for ever"),
        }
    }

    async fn add(&self) -> std::process::Output {
        let api = &self.new.addr;
        let rest = "--peer 127.0.0.1:50003 --http 127.0.0.1:50004 --yes --why test";
        self.twinset(&format!("node add a3 --site A --api {api} {rest}")).await
    }
}

fn stdout(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_node_is_replaced_by_one_that_has_joined() {
    let world = World::start().await;
    let refused = world.twinset("node replace a2 --by a3 --yes").await;
    assert!(stderr(&refused).contains("there is no node a3"), "{}", stderr(&refused));
    let added = world.add().await;
    assert!(added.status.success(), "{}", stderr(&added));
    let again = world.add().await;
    assert!(again.status.success(), "it is harmless: {}", stderr(&again));

    let plan = world.twinset("node replace a2 --by a3 --dry-run --json").await;
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    assert_eq!(plan["steps"].as_array().unwrap().len(), 2, "{plan}");
    let looked = world.twinset("node replace a2 --by a3").await;
    assert_eq!(looked.status.code(), Some(64));
    assert!(stderr(&looked).contains("a3 takes the place of node a2"), "{}", stderr(&looked));
    let done = world.twinset("node replace a2 --by a3 --yes --why burnt --at-once 1 --json").await;
    assert!(done.status.success(), "{}", stderr(&done));
    assert!(stderr(&done).contains("set 2: a3 has the place of replica"), "{}", stderr(&done));
    let done: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&done["removed"], done["sets"].as_array().unwrap().len()), (&true.into(), 2), "{done}");
    assert!(done["sets"][0]["new"].as_u64() > done["sets"][0]["old"].as_u64(), "{done}");

    let listed = stdout(&world.twinset("node list").await);
    assert!(listed.contains("taken out: a2") && !listed.contains("\na2 "), "{listed}");
    let over = world.twinset("node replace a2 --by a3 --yes").await;
    assert!(stderr(&over).contains("was taken out of the cluster already"), "{}", stderr(&over));
    let busy = world.twinset("node remove a3 --yes --why test").await;
    assert!(stderr(&busy).contains("hosts replica"), "{}", stderr(&busy));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_is_given_up() {
    let world = World::start().await;
    assert!(world.add().await.status.success());
    let old = world.nodes[0].with(|script| {
        let catalogue = script.catalogue.as_ref().unwrap();
        catalogue.replicas(1).iter().find(|replica| replica.node == "a2").unwrap().id
    });
    let (who, why) = ("ops".into(), "test".into());
    world.tell(Command::BeginReplacement { set: 1, replica: old, node: "a3".into(), who, why });
    let given_up =
        world.nodes[0].with(|script| script.catalogue.as_ref().unwrap().replacement(1).unwrap().id);
    let (who, why) = ("ops".into(), "test".into());
    world.tell(Command::GiveUpReplacement { set: 1, id: given_up, who, why });
    let over = world.twinset("node replace a2 --by a3 --give-up --yes").await;
    assert!(over.status.success(), "{}", stderr(&over));
    let catalogue = world.nodes[0].with(|script| script.catalogue.clone()).unwrap();
    assert!(catalogue.replica(1, old).is_some() && catalogue.replicas_on("a3").next().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_what_it_is_said_to_be_is_not_added() {
    let world = World::start().await;
    let api = world.new.addr.clone();
    let rest = "--peer h:1 --http h:2 --yes --why test";
    for (line, words) in [
        (format!("node add a4 --site A --api {api} {rest}"), "node a3 of site A answers, not a4"),
        (format!("node add a3 --site A --api 127.0.0.1:1 {rest}"), "nothing answers"),
    ] {
        let output = world.twinset(&line).await;
        assert!(stderr(&output).contains(words), "{}", stderr(&output));
    }
    world.new.with(|script| script.cluster_id = "another".into());
    let output = world.twinset(&format!("node add a3 --site A --api {api} {rest}")).await;
    assert!(stderr(&output).contains("belongs to cluster another already"), "{}", stderr(&output));
}
