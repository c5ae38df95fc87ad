//! What the cluster tests share: a cluster whose nodes have the library before them, seeded traffic, and the last account.
//! The directory stays when a test fails.

use tempfile::TempDir;
use twinset_jepsen::logs::{self, Allowed};
use twinset_jepsen::nemesis::Evidence;
use twinset_jepsen::of_cluster;
use twinset_jepsen::preload::Machines;
use twinset_jepsen::traffic::{self, Traffic};
use twinset_jepsen::wait;
use twinset_tools::cluster::{LocalCluster, LocalOptions};
use twinset_tools::load::random::Random;

/// Checkpoints all the time: files are built, linked, taken over and removed.
pub const CHECKPOINTS: &str = "[store]\ncheckpoint_commands = 200\n";

/// A running cluster.
pub struct Stage {
    /// Its processes.
    pub cluster: LocalCluster,
    /// What stands below its nodes.
    pub machines: Machines,
    /// Where all choices of the test come from.
    pub random: Random,
    seed: u64,
    dir: Option<TempDir>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(dir) = self.dir.take()
        {
            println!("seed {}; the cluster's directory stays: {}", self.seed, dir.keep().display());
        }
    }
}

impl Stage {
    /// Two sets, home A and home B. `TWINSET_SEED` repeats the choices of an earlier run.
    pub async fn start() -> Stage {
        let seed = std::env::var("TWINSET_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| Random::new().bits() >> 32);
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        println!(
            "seed {seed}; repeat with: TWINSET_SEED={seed} cargo test --release --workspace --test machine {name}"
        );
        let dir = tempfile::tempdir().unwrap();
        let mut options = LocalOptions::fresh(&dir.path().join("cluster"));
        let machines = Machines::around(&mut options).unwrap();
        let cluster = LocalCluster::start(&options, &mut |text| println!("{text}")).await.unwrap();
        wait::whole(cluster.layout()).await.unwrap();
        Stage { cluster, machines, random: Random::seeded(seed), seed, dir: Some(dir) }
    }

    /// Gives every node `extra` sections in its config, and waits until everything is whole.
    pub async fn configure(&mut self, extra: &str) {
        let layout = self.cluster.layout().clone();
        for node in layout.nodes() {
            self.cluster.stop_process(&node.name).await.unwrap();
            let config = format!("{}\n{extra}", layout.config(node));
            std::fs::write(layout.config_path(&node.name), config).unwrap();
            self.cluster.start_process(&node.name).unwrap();
        }
        wait::whole(self.cluster.layout()).await.unwrap();
    }

    /// Clients whose every request is accounted for at the end.
    pub async fn traffic(&self) -> Traffic {
        let survey = wait::whole(self.cluster.layout()).await.unwrap();
        let options = traffic::Options {
            sites: traffic::here(&self.cluster),
            meta: of_cluster::meta(self.cluster.layout(), survey.catalogue().unwrap()),
            seed: self.seed,
            clients: 12,
            rate: 300,
            requests_max: 100_000,
        };
        Traffic::start(&self.cluster, &options).await.unwrap()
    }

    /// Waits until everything is whole again after a fault, which must have acted.
    pub async fn healed(&self, evidence: &Evidence) {
        println!("{}", evidence.detail);
        assert!(evidence.acted, "nobody saw it act: {}", evidence.detail);
        let whole = wait::whole(self.cluster.layout()).await;
        whole.unwrap_or_else(|error| panic!("after {}: {error:#}", evidence.detail));
    }

    /// Every request has one result, which is in the books exactly once, and nothing else is; no log says anything that is
    /// not on a list.
    pub async fn account_for(self, traffic: Traffic, allowed: &[&[Allowed]]) {
        let violations = self.violations(traffic).await;
        let first = &violations[..violations.len().min(5)];
        assert!(violations.is_empty(), "{} violations, the first: {first:#?}", violations.len());
        let allowed = [logs::AFTER_KILLS, &allowed.concat()].concat();
        let unlisted = logs::read(&self.cluster.layout().dir.join("log"), &allowed).unwrap();
        assert!(unlisted.is_empty(), "unexpected in the logs: {unlisted:#?}");
        let forced = self.cluster_stop().await;
        assert!(forced.is_empty(), "these did not stop when they were asked to: {forced:?}");
    }

    /// What is wrong with the answers and the books.
    pub async fn violations(&self, traffic: Traffic) -> Vec<String> {
        match traffic.stop().await.unwrap().account_for(&self.cluster).await {
            Ok(history) => traffic::violations(&history).iter().map(|wrong| format!("{wrong:?}")).collect(),
            Err(error) => vec![format!("cannot be judged: {error:#}")],
        }
    }

    /// Stops everything and waits for it; gives the names of those that had to be killed.
    async fn cluster_stop(mut self) -> Vec<String> {
        let names: Vec<String> =
            self.cluster.layout().processes.iter().map(|process| process.name.clone()).collect();
        let mut forced = Vec::new();
        for name in names.into_iter().rev() {
            let stopped = self.cluster.stop_process(&name).await.unwrap();
            if stopped == twinset_tools::cluster::local::Stopped::ByForce {
                forced.push(name);
            }
        }
        forced
    }

    /// Who leads `set` now.
    pub async fn leader(&self, set: u32) -> String {
        let survey = wait::whole(self.cluster.layout()).await.unwrap();
        survey.leader(set).unwrap().1.node.clone()
    }
}
