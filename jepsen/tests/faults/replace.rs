//! Nodes that are lost for good. Under payments another one takes over all that they host, and no request fails; what the old one
//! still has on its disk harms nothing when it comes back.

use clap::Parser;
use twinset_control::{CONTROL_SET, Catalogue, Command, Durability, Role};
use twinset_jepsen::logs::{self, Allowed};
use twinset_jepsen::wait;
use twinset_tools::cli::Cli;
use twinset_tools::cluster::admin::{self, Survey};
use twinset_tools::cluster::control;
use twinset_tools::cluster::process::Signal;
use twinset_tools::cmd;

use crate::support::{LONG, Stage, no_failure};

/// What nodes may say while replicas are replaced.
const REPLACED: &[Allowed] = &[
    Allowed { part: "this replica belongs to its set no more", why: "its node is back, or was alive" },
    Allowed { part: "this node was taken out of its cluster", why: "it is back" },
    Allowed { part: "learner not added yet", why: "the lead has just gone over" },
    Allowed { part: "the replica has not left the group yet", why: "the lead has just gone over" },
    Allowed { part: "the end of the replacement is not recorded yet", why: "the control set was electing" },
];

fn allowed() -> Vec<Allowed> {
    [logs::AFTER_KILLS, REPLACED].concat()
}

/// Runs a command as an operator does, by way of the nodes that are no trouble.
async fn twinset(stage: &Stage, line: &str) -> anyhow::Result<()> {
    let nodes = ["b1", "b2"].map(|name| stage.cluster.layout().process(name).unwrap().api.clone());
    let nodes = nodes.join(",");
    let words = ["twinset", "--nodes", &nodes].into_iter().chain(line.split(' '));
    println!("twinset {line}");
    cmd::run(Cli::try_parse_from(words)?).await
}

/// Starts a node that is new and lets it join.
async fn add(stage: &mut Stage, name: &str, site: &str) {
    stage.cluster.start_new_node(name, site, "").unwrap();
    let node = stage.cluster.layout().process(name).unwrap();
    let (api, peer, http) = (&node.api, node.peer.clone().unwrap(), &node.http);
    let line =
        format!("node add {name} --site {site} --api {api} --peer {peer} --http {http} --yes --why test");
    wait_until_it_answers(stage, name).await;
    twinset(stage, &line).await.unwrap();
}

async fn wait_until_it_answers(stage: &Stage, name: &str) {
    let api = stage.cluster.layout().process(name).unwrap().api.clone();
    let answers =
        wait::until(std::slice::from_ref(&api), wait::HEAL, |survey| match survey.answers.get(&api) {
            Some(Ok(_)) => Ok(()),
            other => Err(format!("{name} does not answer: {other:?}")),
        });
    answers.await.unwrap();
}

async fn survey(stage: &Stage) -> Survey {
    admin::survey(&stage.cluster.layout().node_addrs()).await
}

fn hosted(catalogue: &Catalogue, node: &str) -> Vec<(u32, u64, Role)> {
    catalogue.replicas_on(node).map(|(set, replica)| (set, replica.id, replica.role)).collect()
}

#[tokio::test]
async fn a_lost_node_is_replaced_and_harms_nothing_when_it_comes_back() {
    const LOST: &str = "a1";
    let mut stage = Stage::start().await;
    let traffic = stage.traffic().await;
    let before = stage.whole().await;
    let before = before.catalogue().unwrap();
    let had = hosted(before, LOST);
    assert_eq!(had[0].0, CONTROL_SET, "it votes in the control set too: {had:?}");

    stage.cluster.kill(LOST).await.unwrap();
    let (data, kept) = (stage.cluster.layout().data_path(LOST), stage.scratch("old-disk"));
    std::fs::rename(&data, &kept).unwrap();
    add(&mut stage, "a3", "A").await;
    twinset(&stage, "node replace a1 --by b1 --dry-run").await.unwrap_err();
    twinset(&stage, "node replace a1 --by a2 --dry-run").await.unwrap_err();
    twinset(&stage, "node replace a1 --by a3 --dry-run").await.unwrap();
    twinset(&stage, "node replace a1 --by a3").await.unwrap_err();
    assert_eq!(hosted(survey(&stage).await.catalogue().unwrap(), LOST), had, "only looked");
    twinset(&stage, "node replace a1 --by a3 --yes --why test").await.unwrap();

    let after = stage.whole().await;
    let after = after.catalogue().unwrap();
    let has = hosted(after, "a3");
    let roles = |of: &[(u32, u64, Role)]| of.iter().map(|(set, _, role)| (*set, *role)).collect::<Vec<_>>();
    assert_eq!(roles(&has), roles(&had), "each has its place");
    assert!(has.iter().all(|(_, id, _)| *id >= before.next_replica_id), "under new ids: {has:?}");
    assert!(after.sets.values().all(|set| set.durability == Durability::Sync && set.replicas.len() == 4));
    assert!(after.removed_nodes.contains(LOST) && !after.nodes.contains_key(LOST));

    // A blank process of that name is nobody's node.
    stage.cluster.start_process(LOST).unwrap();
    wait_until_it_answers(&stage, LOST).await;
    let node = stage.cluster.layout().process(LOST).unwrap().clone();
    let line = format!(
        "node add a1 --site A --api {} --peer {} --http {} --yes --why test",
        node.api,
        node.peer.as_deref().unwrap(),
        node.http
    );
    let refused = twinset(&stage, &line).await.unwrap_err().to_string();
    assert!(refused.contains("was taken out of the cluster"), "{refused}");
    stage.cluster.stop_process(LOST).await.unwrap();

    // The old disk is found again: whatever is on it counts no more.
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&kept, &data).unwrap();
    let said = stage.log(LOST, 0).len();
    stage.cluster.start_process(LOST).unwrap();
    let api = node.api.clone();
    let closed =
        wait::until(std::slice::from_ref(&api), wait::HEAL, |survey| match survey.answers.get(&api) {
            Some(Ok(reply)) if reply.replicas.is_empty() && reply.not_ready_because.contains("taken out") => {
                Ok(())
            }
            other => Err(format!("it goes on: {other:?}")),
        });
    closed.await.unwrap();
    let log = stage.log(LOST, said);
    // It asks its peers before it opens anything; where nobody answers in time it opens its copies, and closes them all.
    let closed = log.matches("this replica belongs to its set no more").count();
    assert!(closed == 0 || closed == had.len(), "{log}");
    let (status, said) = {
        stage.cluster.stop_process(LOST).await.unwrap();
        stage.run_to_end(&stage.cluster.layout().config_path(LOST)).await
    };
    assert!(!status.success() && said.contains("was taken out of cluster"), "{status}: {said}");

    stage.switch(1, "it moves like any other").await;
    no_failure(traffic).await;
    stage.end(&allowed()).await;
}

/// A successor that is lost itself is given up; then the node is replaced by another one while it runs and leads.
#[tokio::test]
async fn a_replacement_is_given_up_and_a_living_leader_is_replaced() {
    const SET: u32 = 1;
    let mut stage = Stage::start().await;
    let traffic = stage.journal(100).await;

    let leaves = if stage.leader(SET).await == "a2" { "a2" } else { "a1" };
    let had = hosted(stage.whole().await.catalogue().unwrap(), leaves);
    add(&mut stage, "a3", "A").await;
    twinset(&stage, &format!("node replace {leaves} --by a3 --dry-run")).await.unwrap_err();

    stage.cluster.signal("a3", Signal::Stop).await.unwrap();
    let begin = had.iter().map(|(set, replica, _)| Command::BeginReplacement {
        set: *set,
        replica: *replica,
        node: "a3".into(),
        who: "test".into(),
        why: "test".into(),
    });
    for command in begin {
        let survey = survey(&stage).await;
        let catalogue = survey.catalogue().unwrap();
        control::propose(&survey, catalogue, &command, LONG).await.unwrap();
    }
    twinset(&stage, &format!("node replace {leaves} --by a3 --give-up --yes --why test")).await.unwrap();
    let undone = survey(&stage).await;
    let undone = undone.catalogue().unwrap();
    assert_eq!(hosted(undone, leaves), had, "all is as it was");
    assert!(hosted(undone, "a3").is_empty());
    stage.cluster.signal("a3", Signal::Cont).await.unwrap();

    add(&mut stage, "a4", "A").await;
    stage.whole().await;
    twinset(&stage, &format!("node replace {leaves} --by a4 --even-if-alive --keep --yes --why test"))
        .await
        .unwrap();
    let after = stage.whole().await;
    let roles = |of: &[(u32, u64, Role)]| of.iter().map(|(set, _, role)| (*set, *role)).collect::<Vec<_>>();
    assert_eq!(roles(&hosted(after.catalogue().unwrap(), "a4")), roles(&had));
    assert!(after.reply_of(leaves).unwrap().replicas.is_empty(), "it runs, and hosts nothing");
    // It is a node like any other, and starts clean.
    twinset(&stage, &format!("node replace a4 --by {leaves} --even-if-alive --keep --yes --why test"))
        .await
        .unwrap();
    let back = stage.whole().await;
    assert_eq!(roles(&hosted(back.catalogue().unwrap(), leaves)), roles(&had));
    let stopped = traffic.stop().await.unwrap();
    stage.account_for(stopped).await;
    stage.end(&allowed()).await;
}
