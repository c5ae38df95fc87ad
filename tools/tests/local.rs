//! The local cluster's handling of processes that misbehave: nothing is left running, and the reason is said.

#![allow(clippy::unwrap_used, reason = "a test may panic anywhere, in its helpers too")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use twinset_tools::cluster::layout::{DEV_JSON, Layout};
use twinset_tools::cluster::process::Pid;
use twinset_tools::cluster::{LocalCluster, LocalOptions};

fn binaries(dir: &Path, script: &str) {
    for name in ["twinset-node", "twinset-router"] {
        let path = dir.join(name);
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }
}

async fn start(data: &Path, bin: &Path, patience: Duration) -> anyhow::Error {
    let options = LocalOptions {
        bin_dir: Some(bin.to_owned()),
        patience,
        ..LocalOptions::fresh(&data.join("cluster"))
    };
    LocalCluster::start(&options, &mut |_| {}).await.err().unwrap()
}

fn nothing_runs(data: &Path) {
    let layout = Layout::load(&data.join("cluster")).unwrap();
    assert!(layout.processes.iter().all(|process| !process.pid.is_some_and(Pid::alive)));
}

#[tokio::test]
async fn a_node_that_ends_at_once_is_named_with_its_last_words() {
    let (data, bin) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    binaries(bin.path(), "#!/bin/sh\necho 'no such disk' >&2\nexit 1\n");
    let error = start(data.path(), bin.path(), Duration::from_secs(30)).await;
    assert!(error.to_string().contains("ended right after its start: no such disk"), "{error}");
    nothing_runs(data.path());
}

#[tokio::test]
async fn nodes_that_stay_silent_are_stopped_when_the_patience_is_over() {
    let (data, bin) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    binaries(bin.path(), "#!/bin/sh\nexec sleep 600\n");
    let error = start(data.path(), bin.path(), Duration::from_millis(300)).await;
    assert!(error.to_string().contains("not all nodes answer"), "{error}");
    nothing_runs(data.path());
}

#[tokio::test]
async fn a_directory_that_is_no_cluster_is_left_alone() {
    let (data, bin) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = data.path().join("cluster");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("precious"), "x").unwrap();
    let error = start(data.path(), bin.path(), Duration::from_secs(1)).await;
    assert!(error.to_string().contains("is no local cluster"), "{error}");
    assert!(dir.join("precious").exists() && !dir.join(DEV_JSON).exists());
}

#[tokio::test]
async fn a_missing_binary_starts_nothing() {
    let (data, bin) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let error = start(data.path(), bin.path(), Duration::from_secs(1)).await;
    assert!(error.to_string().contains("cannot be started"), "{error}");
    nothing_runs(data.path());
}

#[tokio::test]
async fn an_earlier_cluster_keeps_its_ports_and_sets() {
    use twinset_tools::cluster::Ports;
    let (data, bin) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = data.path().join("cluster");
    std::fs::create_dir(&dir).unwrap();
    Layout::new(&dir, bin.path(), 2, 20_000).save().unwrap();
    let kept =
        LocalOptions { fresh: false, bin_dir: Some(bin.path().to_owned()), ..LocalOptions::fresh(&dir) };
    for (options, words) in [
        (LocalOptions { ports: Ports::Base(21_000), ..kept.clone() }, "on ports from 20000, not 21000"),
        (LocalOptions { sets: 3, ..kept.clone() }, "a cluster of 2 sets, not 3"),
    ] {
        let error = LocalCluster::start(&options, &mut |_| {}).await.err().unwrap();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn two_handles_see_the_same_processes() {
    use twinset_tools::cluster::local::Stopped;
    let (data, bin) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    binaries(bin.path(), "#!/bin/sh\nexec sleep 600\n");
    let layout = Layout::new(data.path(), bin.path(), 2, 20_000);
    layout.write_files("", false).unwrap();
    layout.save().unwrap();
    let mut one = LocalCluster::attach(data.path()).unwrap();
    one.start_process("a1").unwrap();
    assert!(one.start_process("a1").unwrap_err().to_string().contains("runs already"));

    let mut two = LocalCluster::attach(data.path()).unwrap();
    two.kill("a1").await.unwrap();
    assert!(!one.alive("a1").unwrap());
    assert!(two.kill("a1").await.unwrap_err().to_string().contains("does not run"));
    two.start_process("a1").unwrap();
    assert!(one.start_process("a1").unwrap_err().to_string().contains("runs already"));
    assert_eq!(one.stop_process("a1").await.unwrap(), Stopped::Cleanly);
    two.start_process("ra").unwrap();
    assert!(one.stop().await.unwrap().is_empty());
    assert!(!two.alive("ra").unwrap());
}
