//! What the fault tests share: a cluster on free ports whose directory stays when a test fails, processes with a changed
//! config, traffic, a node that is run to its end by hand, and the last look at everything.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Child;

use crate::disk::Disk;
use twinset_control::{Command, Durability, Policy, Set};
use twinset_jepsen::api::Router;
use twinset_jepsen::history::{Answer, Ask, Recorder};
use twinset_jepsen::logs::{self, Allowed};
use twinset_jepsen::of_cluster;
use twinset_jepsen::traffic::{self, Stopped, Traffic};
use twinset_jepsen::wait;
use twinset_proto::cluster::v1::{SetDurabilityRequest, SwitchRequest};
use twinset_tools::cluster::admin;
use twinset_tools::cluster::admin::Survey;
use twinset_tools::cluster::control;
use twinset_tools::cluster::layout::Kind;
use twinset_tools::cluster::process::Pid;
use twinset_tools::cluster::{LocalCluster, LocalOptions};
use twinset_tools::cmd::switch;
use twinset_tools::load::plan::Shape;
use twinset_tools::load::random::Random;
use twinset_tools::load::{Load, LoadOptions, Protocol, Running, Until};
use twinset_tools::verify;

/// How long a node that cannot run may take to say so.
const END: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);
/// A process that was killed is gone by then.
const MOMENT: Duration = Duration::from_secs(3);
/// By then a planned switch of a cluster that is whole has succeeded, however often it was refused before.
const SWITCHED: Duration = Duration::from_secs(120);
/// What a client's call may wait: longer than anything that it is asked through, elections on a busy machine among it.
pub const LONG: Duration = Duration::from_secs(30);

/// What a node with `[faults]` says at its start.
pub const ARMED: Allowed = Allowed { part: "a fault is armed", why: "that is the fault of this test" };

/// A running cluster and its directory.
pub struct Stage {
    /// The processes.
    pub cluster: LocalCluster,
    /// Mounted in the directory: gone after the processes, before the directory.
    pub disks: Vec<Disk>,
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
        Stage::start_with(2).await
    }

    /// So many sets, home A and home B in turn.
    pub async fn start_with(sets: u32) -> Stage {
        Stage::start_as(|options| options.sets = sets).await
    }

    /// Two sets that never go on with one site by themselves.
    pub async fn start_protected() -> Stage {
        Stage::start_as(|options| options.durability = Policy::MaxProtection).await
    }

    /// Two sets that nobody recovers without an operator's word.
    pub async fn start_unrecovered() -> Stage {
        Stage::start_as(|options| options.node_config = "[recovery]\nautomatic = false\n".to_owned()).await
    }

    /// Two sets, of processes that drills may harm.
    pub async fn start_for_drills() -> Stage {
        Stage::start_as(|options| options.drill_faults = true).await
    }

    async fn start_as(change: impl FnOnce(&mut LocalOptions)) -> Stage {
        let dir = tempfile::tempdir().unwrap();
        let mut options = LocalOptions::fresh(&dir.path().join("cluster"));
        change(&mut options);
        let cluster = LocalCluster::start(&options, &mut |text| println!("{text}")).await.unwrap();
        wait::whole(cluster.layout()).await.unwrap();
        Stage { cluster, disks: Vec::new(), dir: Some(dir) }
    }

    /// A place beside the cluster.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.dir.as_ref().unwrap().path().join(name)
    }

    /// The router of that name.
    pub fn router(&self, name: &str) -> Router {
        Router::new(&self.cluster.layout().process(name).unwrap().http)
    }

    /// Opens a payer and a payee in `set`, without limits, and gives their numbers.
    pub async fn open_pair(&self, recorder: &Recorder, set: u32) -> (u32, u32) {
        let slots = self.whole().await.catalogue().unwrap().slot_table();
        let in_set = |tag: &String| slots[usize::from(twinset_ledger::slot_of(tag))] == set;
        let tag = (0..100).map(|n| format!("{{d{n}}}")).find(in_set).unwrap();
        let mut router = self.router("ra");
        let mut open = async |name: &str| {
            let account = recorder.account(&format!("{tag}:{name}"));
            let ask = Ask::Open {
                id: "open".into(),
                account,
                subject: "liability".into(),
                currency: "EUR".into(),
                limit: None,
            };
            let answer = traffic::recorded(recorder, (&mut router, 0), &ask, END).await;
            assert!(matches!(answer, Answer::Done { .. }), "{answer:?}");
            account
        };
        (open("payer").await, open("payee").await)
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

    /// Seeded clients whose every request is accounted for at the end; `rate` requests per second.
    pub async fn journal(&self, rate: u32) -> Traffic {
        let seed = Random::new().bits() >> 32;
        println!("traffic of seed {seed}");
        let options = traffic::Options {
            sites: traffic::here(&self.cluster),
            meta: of_cluster::meta(self.cluster.layout(), self.whole().await.catalogue().unwrap()),
            seed,
            clients: 8 + rate as usize / 50,
            rate,
            requests_max: 100_000,
        };
        Traffic::start(&self.cluster, &options).await.unwrap()
    }

    /// Every promise holds for what was asked and answered.
    pub async fn account_for(&self, stopped: Stopped) {
        let history = stopped.account_for(&self.cluster).await.unwrap();
        println!("{} operations", history.ops.len());
        let violations = traffic::violations(&history);
        assert!(violations.is_empty(), "{violations:#?}");
    }

    /// All events of a set, as a router lists them.
    pub async fn events(&self, set: u32) -> Vec<Value> {
        let mut router = self.router("rb");
        let (mut events, mut after) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/sets/{set}/events?page_size=1000&after={after}");
            let (status, body) = router.call(Method::GET, &path, String::new(), LONG.into()).await.unwrap();
            assert!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
            let page: Value = serde_json::from_slice(&body).unwrap();
            events.extend(page["events"].as_array().unwrap().iter().cloned());
            // A place may have a plus sign, which means a space in a query.
            after = page["next"].as_str().unwrap().replace('+', "%2B");
            if page["more"] != true {
                return events;
            }
        }
    }

    /// The names of the nodes of a site.
    pub fn nodes_of(&self, site: &str) -> Vec<String> {
        let nodes = self.cluster.layout().nodes().filter(|node| node.site == site && node.kind == Kind::Node);
        nodes.map(|node| node.name.clone()).collect()
    }

    /// Gives a node's config, for its next start, `extra` sections; true if that changes it.
    pub fn configure(&self, name: &str, extra: &str) -> bool {
        let layout = self.cluster.layout();
        let (path, base) = (layout.config_path(name), layout.config(layout.process(name).unwrap()));
        let wanted = format!("{base}\n{extra}");
        let changes = std::fs::read_to_string(&path).unwrap() != wanted;
        std::fs::write(&path, wanted).unwrap();
        changes
    }

    /// Lets a running node work with `extra` sections in its config, and waits until everything is whole.
    pub async fn reconfigure(&mut self, name: &str, extra: &str) {
        if self.configure(name, extra) {
            self.cluster.stop_process(name).await.unwrap();
            self.cluster.start_process(name).unwrap();
            self.whole().await;
        }
    }

    fn pid(&self, name: &str) -> Pid {
        self.cluster.layout().process(name).unwrap().pid.unwrap()
    }

    /// Whether a process has ended by itself.
    pub async fn has_ended(&self, name: &str) -> bool {
        self.pid(name).ended(Duration::ZERO).await
    }

    /// Waits until a process has ended by itself.
    pub async fn ended(&self, name: &str) {
        let pid = self.pid(name);
        assert!(pid.ended(wait::HEAL).await, "{name} goes on: {}", self.log(name, 0));
    }

    /// Whether a process has ended by itself by now, or does so in a moment.
    pub async fn ends_now(&self, name: &str) -> bool {
        self.pid(name).ended(MOMENT).await
    }

    /// Whether a process has frozen itself.
    pub fn is_frozen(&self, name: &str) -> bool {
        let stat = format!("/proc/{}/stat", self.pid(name).number);
        std::fs::read_to_string(&stat).unwrap().contains(") T ")
    }

    /// Waits until a process has frozen itself.
    pub async fn frozen(&self, name: &str) {
        let deadline = tokio::time::Instant::now() + wait::HEAL;
        while !self.is_frozen(name) {
            assert!(tokio::time::Instant::now() < deadline, "{name} goes on: {}", self.log(name, 0));
            tokio::time::sleep(POLL).await;
        }
    }

    /// An operator's word on the durability of a set, repeated until it is heard: the control set may be electing.
    pub async fn set_durability(&self, set: u32, degraded: bool) {
        let seeds = self.cluster.layout().node_addrs();
        let deadline = tokio::time::Instant::now() + END;
        loop {
            let survey = admin::survey(&seeds).await;
            let (who, why) = ("test".to_owned(), "a dark site".to_owned());
            let heard = match survey.leader(set) {
                Some((addr, _)) => {
                    let request = SetDurabilityRequest { set, degraded, who, why };
                    admin::client(&addr).unwrap().set_durability(request).await.map_err(|e| e.to_string())
                }
                None => Err(format!("set {set} has no leader")),
            };
            match heard {
                Ok(_) => return,
                Err(reason) => assert!(tokio::time::Instant::now() < deadline, "{reason}"),
            }
        }
    }

    /// An operator's word on whether a set may go on with one site by itself.
    pub async fn set_policy(&self, set: u32, policy: Policy) {
        self.propose(Command::SetPolicy { set, policy, who: "test".into(), why: "a dark site".into() }).await;
    }

    /// An operator's command for the control set.
    pub async fn propose(&self, command: Command) {
        let survey = admin::survey(&self.cluster.layout().node_addrs()).await;
        control::propose(&survey, survey.catalogue().unwrap(), &command, END).await.unwrap();
    }

    /// What the control set has of a set, as far as any node knows.
    pub async fn recorded(&self, set: u32) -> Set {
        let survey = admin::survey(&self.cluster.layout().node_addrs()).await;
        survey.catalogue().unwrap().sets[&set].clone()
    }

    /// Waits until `durability` is on record for a set, and gives what is.
    pub async fn becomes(&self, set: u32, durability: Durability) -> Set {
        let deadline = tokio::time::Instant::now() + wait::HEAL;
        loop {
            let recorded = self.recorded(set).await;
            if recorded.durability == durability {
                return recorded;
            }
            assert!(tokio::time::Instant::now() < deadline, "set {set} is not {durability}: {recorded:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Moves a set to its other site. It is asked for again when it was refused: a target may have been slow to answer.
    pub async fn switch(&self, set: u32, why: &str) {
        let deadline = tokio::time::Instant::now() + SWITCHED;
        let home = |survey: &Survey| survey.catalogue().unwrap().sets[&set].home.clone();
        let from = home(&self.whole().await);
        loop {
            let survey = self.whole().await;
            if home(&survey) != from {
                return;
            }
            let to_site = survey.catalogue().unwrap().other_site(&from).unwrap().to_owned();
            let (who, why) = ("test".to_owned(), why.to_owned());
            let request = SwitchRequest { set, to_site, who, why, dry_run: false, plan: 0 };
            if let Err(refused) = switch::switch(&survey, request, &mut |_| {}).await {
                assert!(tokio::time::Instant::now() < deadline, "{refused}");
                println!("set {set} stays where it is for now: {refused}");
            }
        }
    }

    /// Clients that pay each other through both routers until they are stopped.
    pub async fn traffic(&self) -> Running {
        let slots = self.whole().await.catalogue().unwrap().slot_table();
        let options = LoadOptions {
            protocol: Protocol::Http,
            routers: self.cluster.layout().router_urls(),
            connections: 4,
            shape: Shape {
                name: "t".to_owned(),
                accounts: 40,
                hot: false,
                into: None,
                across: 0,
                held: 0,
                batch: 1,
                slots,
            },
            deadline_ms: Some(LONG.as_millis() as u32),
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
