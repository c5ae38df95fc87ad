//! The cluster on simulated machines: five nodes, two routers, and where clients and the operator work. A machine keeps its
//! disk and its clock; each start of its process has a life of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use turmoil::Sim;
use twinset_control::{Catalogue, Policy, Topology};
use twinset_node::config::Config;
use twinset_node::listen::Listeners;
use twinset_node::metrics::Metrics;
use twinset_node::node::{Node, store_options};
use twinset_router::service;

use crate::disk::Disks;
use crate::plan::{NODES, Plan, ROUTERS, in_site_a};
use crate::platform::{Life, Simulated, Skew};

/// Ports of a node: routers and operators, the other nodes, health.
const NODE_PORTS: [u16; 3] = [7101, 7201, 7301];
/// Ports of a router: HTTP and gRPC.
const ROUTER_PORTS: [u16; 2] = [8080, 9090];
/// The cluster's name for ever.
pub const CLUSTER_ID: &str = "cluster-of-the-simulation";

/// What is known of the processes from outside.
#[derive(Default)]
pub struct Processes {
    nodes: Mutex<BTreeMap<&'static str, Arc<Node>>>,
    lives: Mutex<BTreeMap<&'static str, Arc<Life>>>,
    failures: Mutex<BTreeMap<&'static str, String>>,
}

impl Processes {
    /// The nodes that are open.
    pub fn nodes(&self) -> BTreeMap<&'static str, Arc<Node>> {
        self.nodes.lock().clone()
    }

    /// Forgets a process that is about to be killed: its store has to be closed when its tasks are.
    pub fn forget(&self, machine: &str) {
        self.nodes.lock().remove(machine);
        self.lives.lock().remove(machine);
    }

    /// The processes that have ended by themselves or could not be started, and why.
    pub fn ended(&self) -> Vec<(&'static str, String)> {
        let mut failures = self.failures.lock();
        if failures.is_empty() && self.lives.lock().values().all(|life| !life.has_ended()) {
            return Vec::new();
        }
        let mut ended = std::mem::take(&mut *failures);
        let lives = self.lives.lock();
        ended.extend(lives.iter().filter_map(|(machine, life)| Some((*machine, life.reason()?))));
        ended.into_iter().collect()
    }

    /// Whether a process runs on a machine.
    pub fn run_on(&self, machine: &str) -> bool {
        self.lives.lock().contains_key(machine)
    }

    fn born(&self, machine: &'static str) -> Arc<Life> {
        let life = Arc::new(Life::default());
        self.lives.lock().insert(machine, life.clone());
        life
    }
}

/// The machines.
pub struct Cluster {
    /// Their processes.
    pub processes: Arc<Processes>,
    /// Their clocks.
    pub skews: BTreeMap<&'static str, Skew>,
    /// Their disks.
    pub disks: Arc<Disks>,
    plan: Arc<Plan>,
}

/// The address of a node's API.
pub fn api(node: &str) -> String {
    format!("{node}:{}", NODE_PORTS[0])
}

/// The address of a router's HTTP.
pub fn http(router: &str) -> String {
    format!("{router}:{}", ROUTER_PORTS[0])
}

/// The first catalogue.
pub fn catalogue(sets: u32) -> Catalogue {
    let mut text = format!(
        "[cluster]\nname = \"simulated\"\nsets = {sets}\ndurability = \"{}\"\n",
        Policy::MaxProtection
    );
    for node in NODES {
        let [api, peer, http] = NODE_PORTS;
        text += &format!(
            "[[node]]\nname = \"{node}\"\nsite = \"{}\"\narbiter = {}\n\
             api = \"{node}:{api}\"\npeer = \"{node}:{peer}\"\nhttp = \"{node}:{http}\"\n",
            site(node),
            is_arbiter(node)
        );
    }
    let topology: Topology = toml::from_str(&text).expect("a topology");
    topology.place(CLUSTER_ID).expect("two sites and an arbiter")
}

/// The site of a machine.
pub fn site(machine: &str) -> &'static str {
    match machine {
        _ if is_arbiter(machine) => "C",
        _ if in_site_a(machine) => "A",
        _ => "B",
    }
}

/// Whether a machine's node holds no accounts.
pub fn is_arbiter(machine: &str) -> bool {
    machine == "c1"
}

impl Cluster {
    /// Blank disks and right clocks.
    pub fn new(plan: Arc<Plan>) -> Cluster {
        let disks = Arc::new(Disks::new(&NODES, plan.seed, plan.sync_ms));
        let skews = NODES.into_iter().map(|node| (node, Skew::default())).collect();
        Cluster { processes: Arc::default(), skews, disks, plan }
    }

    /// Puts nodes and routers on their machines.
    pub fn build(&self, sim: &mut Sim<'_>) {
        for name in NODES {
            let start = Arc::new(NodeStart {
                name,
                config: self.node_config(name),
                processes: self.processes.clone(),
                disks: self.disks.clone(),
                skew: self.skews[name].clone(),
            });
            sim.host(name, move || {
                let start = start.clone();
                async move {
                    if let Err(error) = start.run().await {
                        start.processes.failures.lock().insert(start.name, format!("{error:#}"));
                    }
                    Ok(())
                }
            });
        }
        for name in ROUTERS {
            let config = Arc::new(router_config(name));
            let processes = self.processes.clone();
            sim.host(name, move || {
                let (config, processes) = (config.clone(), processes.clone());
                async move {
                    let platform = Arc::new(Simulated::new(processes.born(name), Skew::default()));
                    match service::start_on(platform, &config, prometheus::Registry::new()).await {
                        Ok(_running) => std::future::pending().await,
                        Err(error) => processes.failures.lock().insert(name, error.to_string()),
                    };
                    Ok(())
                }
            });
        }
    }

    fn node_config(&self, name: &str) -> Config {
        let plan = &self.plan;
        let [api, peer, http] = NODE_PORTS;
        let text = format!(
            "[node]\nname = \"{name}\"\nsite = \"{}\"\narbiter = {}\ndata_dir = \"{name}\"\n\
             [listen]\napi = \"127.0.0.1:{api}\"\npeer = \"127.0.0.1:{peer}\"\nhttp = \"127.0.0.1:{http}\"\n\
             [raft]\nsnapshot_entries = {}\nkeep_entries = {}\n\
             [proposer]\nentry_commands = {}\nin_flight = {}\n\
             [store]\ncheckpoint_commands = {}\n[recovery]\nautomatic = false\n",
            site(name),
            is_arbiter(name),
            plan.snapshot_entries,
            plan.snapshot_entries,
            plan.entry_commands,
            plan.in_flight,
            plan.checkpoint_commands,
        );
        toml::from_str(&text).expect("a configuration")
    }
}

fn router_config(name: &str) -> twinset_router::config::Config {
    let [http, grpc] = ROUTER_PORTS;
    let seeds: Vec<String> = NODES.iter().map(|node| api(node)).collect();
    let text = format!(
        "seeds = {seeds:?}\n[router]\nname = \"{name}\"\nsite = \"{}\"\n\
         [listen]\nhttp = \"127.0.0.1:{http}\"\ngrpc = \"127.0.0.1:{grpc}\"\n",
        site(name)
    );
    toml::from_str(&text).expect("a configuration")
}

/// What a node's process is started with, each time.
struct NodeStart {
    name: &'static str,
    config: Config,
    processes: Arc<Processes>,
    disks: Arc<Disks>,
    skew: Skew,
}

impl NodeStart {
    async fn run(&self) -> anyhow::Result<()> {
        let platform = Arc::new(Simulated::new(self.processes.born(self.name), self.skew.clone()));
        let listeners = Listeners::open_on(&*platform, &self.config).await?;
        let store = self.disks.open(self.name, store_options(&self.config))?;
        let metrics = Metrics::new(prometheus::Registry::new())?;
        let node = Node::open_on(platform, store, self.config.clone(), metrics).await?;
        self.processes.nodes.lock().insert(self.name, node.clone());
        // Nobody asks it to stop: it is killed.
        let (_stop, stopped) = watch::channel(false);
        node.serve(listeners, stopped).await
    }
}
