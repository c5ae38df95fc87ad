//! Nodes that must not run: each says why and ends with an error, and the cluster goes on without it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Stage, no_failure};
use tokio::time::Instant;
use twinset_control::Catalogue;
use twinset_jepsen::logs::Allowed;
use twinset_jepsen::{death, logs, wait};

use twinset_proto::cluster::v1::BootstrapRequest;
use twinset_tools::cluster::admin;

/// The node that is wounded in these tests.
const NODE: &str = "b2";

#[tokio::test]
async fn a_node_that_cannot_run_rightly_says_why_and_ends() {
    let mut stage = Stage::start().await;
    let traffic = stage.traffic().await;
    let layout = stage.cluster.layout().clone();
    let (config, data) = (layout.config_path(NODE), layout.data_path(NODE));
    stage.cluster.stop_process(NODE).await.unwrap();

    let peer = layout.process(NODE).unwrap().peer.clone().unwrap();
    let held = std::net::TcpListener::bind(&peer).unwrap();
    refused(&stage, &config, &format!("listen.peer: cannot listen on {peer}")).await;
    drop(held);

    let typo = stage.changed_config(NODE, "[listen]", "[raft]\nheartbeat_msec = 50\n[listen]");
    refused(&stage, &typo, "unknown field `heartbeat_msec`").await;

    let name = format!("name = \"{NODE}\"");
    let stranger = stage.changed_config(NODE, &name, "name = \"b9\"");
    refused(&stage, &stranger, "belongs to node b2, not b9").await;

    let taken = stage.changed_config(NODE, &format!("data/{NODE}\""), "data/a1\"");
    refused(&stage, &taken, "in use by another process").await;

    let format = data.join("FORMAT");
    let known = std::fs::read(&format).unwrap();
    std::fs::write(&format, "twinset-store 99\n").unwrap();
    refused(&stage, &config, "has format \\\"99\\\"").await;
    std::fs::write(&format, known).unwrap();

    stage.cluster.start_process(NODE).unwrap();
    stage.whole().await;
    death::end(&mut stage.cluster, NODE).await.unwrap();
    let backup = stage.scratch("backup");
    copy(&data, &backup);
    let log = newest_log(&data.join("db"));
    let mut bytes = std::fs::read(&log).unwrap();
    let middle = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 2;
    bytes[middle..middle + 16].iter_mut().for_each(|byte| *byte ^= 0xff);
    std::fs::write(&log, bytes).unwrap();
    refused(&stage, &config, "is damaged").await;
    // Still: a second start must not take what the first has left for the whole.
    refused(&stage, &config, "is damaged").await;
    std::fs::remove_dir_all(&data).unwrap();
    copy(&backup, &data);

    stage.cluster.start_process(NODE).unwrap();
    stage.whole().await;
    no_failure(traffic).await;
    stage.end(logs::AFTER_KILLS).await;
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// Runs the node by hand: it must end with an error that contains `words`.
async fn refused(stage: &Stage, config: &Path, words: &str) {
    let (status, said) = stage.run_to_end(config).await;
    assert!(!status.success(), "it ended as if all was well: {said}");
    assert!(said.contains(words), "{words:?} is not in what it said ({status}): {said}");
}

/// The newest write-ahead log of a database.
fn newest_log(db: &Path) -> PathBuf {
    let entries = std::fs::read_dir(db).unwrap().map(|entry| entry.unwrap().path());
    let logs = entries.filter(|path| {
        path.extension().is_some_and(|extension| extension == "log") && path.metadata().unwrap().len() > 1_000
    });
    logs.max_by_key(|path| path.metadata().unwrap().modified().unwrap()).unwrap()
}

#[tokio::test]
async fn a_data_directory_of_another_cluster_is_refused() {
    let mut stage = Stage::start().await;
    let traffic = stage.traffic().await;
    let layout = stage.cluster.layout().clone();
    let survey = stage.whole().await;
    stage.cluster.stop_process(NODE).await.unwrap();

    let elsewhere = stage.scratch("elsewhere");
    let own = layout.data_path(NODE).display().to_string();
    let config = stage.changed_config(NODE, &own, &elsewhere.display().to_string());
    let catalogue = Catalogue { cluster_id: "another".to_owned(), ..survey.catalogue().unwrap().clone() };
    let addr = layout.process(NODE).unwrap().api.clone();
    let mut stray = stage.run_by_hand(&config);
    wait::until(std::slice::from_ref(&addr), wait::HEAL, |survey| match survey.answers.get(&addr) {
        Some(Ok(_)) => Ok(()),
        _ => Err(format!("{NODE} does not answer")),
    })
    .await
    .unwrap();
    let request = BootstrapRequest {
        cluster_id: catalogue.cluster_id.clone(),
        catalogue_json: catalogue.to_json().into(),
    };
    // It is refused while a peer that it asks is slow to answer.
    let deadline = Instant::now() + wait::HEAL;
    while let Err(refused) = admin::client(&addr).unwrap().bootstrap(request.clone()).await {
        assert!(Instant::now() < deadline, "{refused}");
    }
    stray.kill().await.unwrap();
    let words = "belongs to cluster another, but the nodes at its peers' addresses do not";
    refused(&stage, &config, words).await;

    stage.cluster.start_process(NODE).unwrap();
    stage.whole().await;
    no_failure(traffic).await;
    let stray_seen = Allowed {
        part: "news of the cluster refused",
        why: "the routers saw the stray's catalogue before it stopped",
    };
    stage.end(&[logs::AFTER_KILLS, &[stray_seen]].concat()).await;
}
