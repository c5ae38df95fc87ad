//! What the fault tests share: a cluster on free ports whose directory stays when a test fails, traffic, a node that is
//! run to its end by hand, and the last look at everything.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Child;
use twinset_jepsen::api::Router;
use twinset_jepsen::logs::{self, Allowed};
use twinset_jepsen::wait;
use twinset_tools::cluster::admin::Survey;
use twinset_tools::cluster::{LocalCluster, LocalOptions};
use twinset_tools::load::plan::Shape;
use twinset_tools::load::{Load, LoadOptions, Protocol, Running, Until};
use twinset_tools::verify;

/// How long a node that cannot run may take to say so.
const END: Duration = Duration::from_secs(20);

/// A running cluster and its directory.
pub struct Stage {
    /// The processes.
    pub cluster: LocalCluster,
    dir: Option<TempDir>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(dir) = self.dir.take()
        {
            println!("the cluster's directory stays: {}", dir.keep().display());
        }
    }
}

impl Stage {
    /// Two sets, home A and home B.
    pub async fn start() -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let options = LocalOptions::fresh(&dir.path().join("cluster"));
        let cluster = LocalCluster::start(&options, &mut |text| println!("{text}")).await.unwrap();
        wait::whole(cluster.layout()).await.unwrap();
        Stage { cluster, dir: Some(dir) }
    }

    /// A place beside the cluster.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.dir.as_ref().unwrap().path().join(name)
    }

    /// The router of that name.
    pub fn router(&self, name: &str) -> Router {
        Router::new(&self.cluster.layout().process(name).unwrap().http)
    }

    /// Waits until everything is whole.
    pub async fn whole(&self) -> Survey {
        wait::whole(self.cluster.layout()).await.unwrap()
    }

    /// Who leads `set` now.
    pub async fn leader(&self, set: u32) -> String {
        let survey = self.whole().await;
        survey.leader(set).unwrap().1.node.clone()
    }

    /// Clients that pay each other through both routers until they are stopped.
    pub async fn traffic(&self) -> Running {
        let slots = self.whole().await.catalogue().unwrap().slot_table();
        let options = LoadOptions {
            protocol: Protocol::Http,
            routers: self.cluster.layout().router_urls(),
            connections: 4,
            shape: Shape { name: "t".to_owned(), accounts: 40, hot: false, batch: 1, slots },
            deadline_ms: Some(10_000),
            samples_max: 0,
        };
        Load::prepare(options, |_| {}).await.unwrap().start(Until::Stopped).unwrap()
    }

    /// Starts a node beside the cluster's own processes; it dies with the handle.
    pub fn run_by_hand(&self, config: &Path) -> Child {
        tokio::process::Command::new(self.cluster.layout().bin_dir.join("twinset-node"))
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Runs a node that is expected to end by itself; gives how it ended and what it said.
    pub async fn run_to_end(&self, config: &Path) -> (ExitStatus, String) {
        let output = tokio::time::timeout(END, self.run_by_hand(config).wait_with_output()).await;
        let output =
            output.unwrap_or_else(|_| panic!("{} still runs after {END:?}", config.display())).unwrap();
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The config of a process with a part replaced, in a file of its own.
    pub fn changed_config(&self, name: &str, from: &str, to: &str) -> PathBuf {
        let text = std::fs::read_to_string(self.cluster.layout().config_path(name)).unwrap();
        assert!(text.contains(from), "{from} is not in {text}");
        let path = self.scratch("changed.toml");
        std::fs::write(&path, text.replace(from, to)).unwrap();
        path
    }

    /// The log of a process, from byte `from` on.
    pub fn log(&self, name: &str, from: usize) -> String {
        let bytes = std::fs::read(self.cluster.layout().log_path(name)).unwrap();
        String::from_utf8_lossy(&bytes[from.min(bytes.len())..]).into_owned()
    }

    /// Everything is whole, the books are right, and no log says anything unexpected.
    pub async fn end(self, allowed: &[Allowed]) {
        let survey = self.whole().await;
        let report = verify::verify(&survey, survey.catalogue().unwrap(), Duration::from_secs(30)).await;
        assert!(report.clean, "{report:#?}");
        let unlisted = logs::read(&self.cluster.layout().dir.join("log"), allowed).unwrap();
        assert!(unlisted.is_empty(), "unexpected in the logs: {unlisted:#?}");
    }
}

/// Stops the traffic; every request must have been booked.
pub async fn no_failure(traffic: Running) {
    let report = traffic.stop().await.unwrap();
    assert!(report.requests > 0, "the traffic proves nothing");
    assert_eq!(report.failed_requests, 0, "{report:?}");
}
