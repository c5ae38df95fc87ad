//! Whole nodes, each in a runtime of its own: dropping one is how its process would die. They are given their cluster as
//! an operator would, and asked over their open ports or, where that is shorter, directly.
#![allow(clippy::unwrap_used, dead_code)]

pub mod clock;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use twinset_control::{Catalogue, Topology};
use twinset_node::birth::Refused;
use twinset_node::config::Config;
use twinset_node::listen::Listeners;
use twinset_node::metrics::Metrics;
use twinset_node::node::{BootstrapError, Node, store_options};
use twinset_node::platform::{self, Platform};
use twinset_node::set::Replica;
use twinset_store::Store;

/// One test at a time: each has a cluster of its own, and together they would keep each other waiting.
pub fn alone() -> parking_lot::MutexGuard<'static, ()> {
    static ONE: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
    ONE.lock()
}

pub const CLUSTER: &str = "cluster-of-the-test";
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Where a node listens: api, peer, http.
pub type Ports = [SocketAddr; 3];

/// Blocks of ports, one for a process. Below those that clusters of real processes take, and far below those that the system
/// gives to outgoing connections: a dead node's port is free when it returns.
const BLOCKS_FROM: u16 = 10_000;
const BLOCKS: u16 = 12;
const BLOCK: u16 = 500;

/// Free ones, never the same twice, and none that an outgoing connection or another process of tests may get meanwhile.
pub fn ports() -> Ports {
    static OWN: OnceLock<(TcpListener, u16)> = OnceLock::new();
    static NEXT: AtomicU16 = AtomicU16::new(1);
    // Whoever has its first port has the block.
    let (_, block) = OWN.get_or_init(|| {
        let own = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap();
        let mut blocks = (0..BLOCKS).map(|n| BLOCKS_FROM + (own + n) % BLOCKS * BLOCK);
        let claim = |block| Some((TcpListener::bind(("127.0.0.1", block)).ok()?, block));
        blocks.find_map(claim).expect("few processes at a time")
    });
    let mut free = std::iter::repeat_with(|| {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(n < BLOCK, "a block has ports for all tests of a process");
        SocketAddr::from(([127, 0, 0, 1], block + n))
    })
    .filter(|address| TcpListener::bind(address).is_ok());
    [(); 3].map(|()| free.next().unwrap())
}

/// The site is the first letter of the name; C is the third place.
fn site(name: &str) -> String {
    name[..1].to_uppercase()
}

/// A busy machine lets a leader be silent for a while without another one, and does not let replicas outside the home site win.
/// Nor does a set that is slow to answer end an attempt.
pub fn config(name: &str, [api, peer, http]: Ports, dir: &Path) -> Config {
    let (site, arbiter) = (site(name), name.starts_with('c'));
    toml::from_str(&format!(
        "[node]\nname = {name:?}\nsite = {site:?}\narbiter = {arbiter}\ndata_dir = {dir:?}\n\
         [listen]\napi = \"{api}\"\npeer = \"{peer}\"\nhttp = \"{http}\"\n\
         [raft]\nelection_timeout_min_ms = 400\nelection_timeout_away_min_ms = 1600\nelection_timeout_max_ms = 800\n\
         [durability]\ndegrade_after_ms = 3000\n[recovery]\nsilent_ms = 3000\n\
         [across]\ngive_up_ms = 20000\n"
    ))
    .unwrap()
}

pub fn catalogue(nodes: &[(&str, Ports)]) -> Catalogue {
    let mut text = "[cluster]\nname = \"test\"\n".to_owned();
    for (name, [api, peer, http]) in nodes {
        let (site, arbiter) = (site(name), name.starts_with('c'));
        text += &format!(
            "[[node]]\nname = {name:?}\nsite = {site:?}\narbiter = {arbiter}\n\
             api = \"{api}\"\npeer = \"{peer}\"\nhttp = \"{http}\"\n"
        );
    }
    let topology: Topology = toml::from_str(&text).unwrap();
    topology.place(CLUSTER).unwrap()
}

/// A running node.
pub struct Running {
    pub node: Arc<Node>,
    pub ports: Ports,
    stop: watch::Sender<bool>,
    served: Option<JoinHandle<anyhow::Result<()>>>,
    // After what lives in it.
    pub runtime: Runtime,
}

impl Running {
    pub fn start(name: &str, ports: Ports, dir: &Path) -> Running {
        Running::open(name, ports, dir).unwrap()
    }

    /// The error is why the process would have ended.
    pub fn open(name: &str, ports: Ports, dir: &Path) -> anyhow::Result<Running> {
        Running::configured(config(name, ports, dir), ports)
    }

    /// The same with a configuration of its own.
    pub fn configured(config: Config, ports: Ports) -> anyhow::Result<Running> {
        Running::on(platform::system(), config, ports)
    }

    /// The same on another platform.
    pub fn on(platform: Arc<dyn Platform>, config: Config, ports: Ports) -> anyhow::Result<Running> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (stop, stopped) = watch::channel(false);
        let opened = runtime.block_on(async {
            let listeners = Listeners::open(&config).await?;
            let metrics = Metrics::new(prometheus::Registry::new())?;
            let store = Store::open(&config.node.data_dir, store_options(&config))?;
            let node = Node::open_on(platform, store, config, metrics).await?;
            let served = tokio::spawn(node.clone().serve(listeners, stopped));
            anyhow::Ok((node, served))
        });
        let (node, served) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                runtime.shutdown_timeout(DEADLINE);
                return Err(error);
            }
        };
        Ok(Running { node, ports, stop, served: Some(served), runtime })
    }

    pub fn bootstrap(&self, catalogue: &Catalogue) -> Result<bool, BootstrapError> {
        self.runtime.block_on(self.node.bootstrap(catalogue.clone()))
    }

    /// The same when all others run: asked again while one of them is slow to answer. Whether it was given before.
    pub fn until_given(&self, catalogue: &Catalogue) -> bool {
        until("it is given its cluster", || match self.bootstrap(catalogue) {
            Err(silent @ BootstrapError::Refused(Refused::Silent { .. })) => Err(silent.to_string()),
            other => Ok(other.unwrap()),
        })
    }

    pub fn until_ready(&self) {
        let name = &self.node.config.node.name;
        until(&format!("{name} is ready"), || self.node.not_ready().map_or(Ok(()), Err));
    }

    /// The replica here of a set, if it leads.
    pub fn leads(&self, set: u32) -> Option<Arc<Replica>> {
        self.node.sets.get(set).filter(|replica| replica.group.is_leader())
    }

    /// As SIGTERM does.
    pub fn ask_to_stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits for the end that was asked for, and gives the result of the process.
    pub fn ended(mut self) -> anyhow::Result<()> {
        let served = self.served.take().unwrap();
        let ended = self.runtime.block_on(async { tokio::time::timeout(DEADLINE, served).await });
        self.die();
        ended.expect("it ends in time").unwrap()
    }

    /// Ends the process, so to speak: nothing is closed and nothing is waited for.
    pub fn die(self) {
        let Running { node, runtime, .. } = self;
        drop(node);
        runtime.shutdown_timeout(DEADLINE);
    }

    /// Status and text of `/readyz`.
    pub fn readyz(&self) -> (u16, String) {
        let (status, _, body) = self.get("/readyz");
        (status, body)
    }

    /// A metric as it is served.
    pub fn metric(&self, line: &str) -> u64 {
        let (_, _, text) = self.get("/metrics");
        let found = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {line} in {text}")).parse().unwrap()
    }

    /// Status, head in small letters and body of an answer of its HTTP listener.
    pub fn get(&self, path: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.ports[2]).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }
}

/// Polls, with a deadline, until there is something; the error is what is in the way.
#[expect(clippy::disallowed_methods, reason = "it polls, with a deadline: what it looks at is of many nodes")]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(reason) => assert!(began.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}: {reason}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Where in `nodes` the leader of a set is, once there is one.
pub fn leader(nodes: &[Running], set: u32) -> usize {
    led(nodes, set).0
}

/// The same with its replica, which has just been seen to lead.
pub fn led(nodes: &[Running], set: u32) -> (usize, Arc<Replica>) {
    until(&format!("set {set} is led"), || {
        let led = nodes.iter().enumerate().find_map(|(at, running)| Some((at, running.leads(set)?)));
        led.ok_or_else(|| "nobody".to_owned())
    })
}

/// A counter, added up over the nodes: whoever has led has counted.
pub fn counted(nodes: &[Running], line: &str) -> u64 {
    nodes.iter().map(|running| running.metric(line)).sum()
}

/// A cluster that takes part, in the order of `names`.
pub struct Cluster {
    pub catalogue: Catalogue,
    pub nodes: Vec<Running>,
    pub dirs: Vec<TempDir>,
}

impl Cluster {
    pub fn start(names: &[&str]) -> Cluster {
        Cluster::configured(names, |_| {})
    }

    /// The same, each node with its configuration changed.
    pub fn configured(names: &[&str], change: impl Fn(&mut Config)) -> Cluster {
        Cluster::on(names, platform::system(), change)
    }

    /// The same on another platform.
    pub fn on(names: &[&str], platform: Arc<dyn Platform>, change: impl Fn(&mut Config)) -> Cluster {
        let places: Vec<_> = names.iter().map(|name| (*name, ports())).collect();
        let catalogue = catalogue(&places);
        let dirs: Vec<_> = names.iter().map(|_| tempfile::tempdir().unwrap()).collect();
        let nodes: Vec<_> = places
            .iter()
            .zip(&dirs)
            .map(|((name, ports), dir)| {
                let mut config = config(name, *ports, dir.path());
                change(&mut config);
                Running::on(platform.clone(), config, *ports).unwrap()
            })
            .collect();
        for running in &nodes {
            assert!(!running.until_given(&catalogue), "it was blank");
        }
        let cluster = Cluster { catalogue, nodes, dirs };
        cluster.until_ready();
        cluster.until_home();
        cluster
    }

    /// Each set is led at home: later nobody has a reason to hand over.
    fn until_home(&self) {
        for (set, known) in &self.catalogue.sets {
            until(&format!("set {set} is led at home"), || {
                let site = &self.nodes[leader(&self.nodes, *set)].node.config.node.site;
                if *site == known.home { Ok(()) } else { Err(format!("it is led in {site}")) }
            });
        }
    }

    pub fn until_ready(&self) {
        self.nodes.iter().for_each(Running::until_ready);
    }

    /// Ends all at once.
    pub fn stop(self) {
        self.nodes.iter().for_each(Running::ask_to_stop);
        for running in self.nodes {
            running.ended().unwrap();
        }
    }
}
