//! The composition root: opens the store, hosts the replicas, serves, drains, stops. It decides nothing about money.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tracing::{info, warn};
use twinset_control::{CONTROL_SET, Catalogue};
use twinset_proto::cluster::v1::{
    admin_server::AdminServer, peer_server::PeerServer, sets_server::SetsServer,
};
use twinset_store::{Identity, ReplicaRecord, Store};

use crate::api::{AdminService, SetsService};
use crate::catalogue::{self, CatalogueCell};
use crate::cluster_check;
use crate::config::Config;
use crate::control_client::ControlClient;
use crate::control_set::ControlMachine;
use crate::fatal;
use crate::gate::Gate;
use crate::handover;
use crate::http;
use crate::keeper::{Keeper, SwitchLock};
use crate::metrics::Metrics;
use crate::peer::{Links, PeerService};
use crate::proposer::Proposer;
use crate::raft::{Group, Machine};
use crate::reader::Reader;
use crate::set::{Fence, Kind, Ledger, Replica, Sets, replica_sites};

/// The catalogue that the cluster was made with: where the control set's history begins.
const FIRST_CATALOGUE: &str = "first-catalogue";
/// For handing over what this node leads, before it stops.
const DRAIN_MAX: Duration = Duration::from_secs(3);
const MESSAGE_BYTES_MAX: usize = 64 << 20;
const STREAM_WINDOW_BYTES: u32 = 16 << 20;

/// A running node.
pub struct Node {
    /// As read from the file.
    pub config: Config,
    /// The hosted replicas.
    pub sets: Arc<Sets>,
    /// The catalogue.
    pub cell: CatalogueCell,
    /// The way to the control set.
    pub control: ControlClient,
    /// Every metric.
    pub metrics: Metrics,
    store: Store,
    links: Links,
    draining: watch::Sender<bool>,
    switching: Mutex<HashMap<u32, SwitchLock>>,
    bootstrapping: tokio::sync::Mutex<()>,
}

/// Why a node cannot take its place in a cluster.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// It has one already.
    #[error("this node belongs to cluster {0} already")]
    OtherCluster(String),
    /// The catalogue does not know it, or knows it otherwise.
    #[error("{0}")]
    Mismatch(String),
    /// Something local failed.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

/// Ports that are open and not served yet.
pub struct Listeners {
    api: TcpListener,
    peer: TcpListener,
    http: TcpListener,
}

impl Listeners {
    /// Opens all ports of the configuration.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        let listen = &config.listen;
        Ok(Listeners {
            api: bind("listen.api", listen.api).await?,
            peer: bind("listen.peer", listen.peer).await?,
            http: bind("listen.http", listen.http).await?,
        })
    }
}

async fn bind(key: &str, addr: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(addr).await.with_context(|| format!("{key}: cannot listen on {addr}"))
}

impl Node {
    /// Opens the store and, if this node has a place in a cluster already, its replicas.
    pub async fn open(config: Config, metrics: Metrics) -> anyhow::Result<Arc<Self>> {
        let dir = &config.node.data_dir;
        std::fs::create_dir_all(dir)
            .with_context(|| format!("node.data_dir: cannot create {}", dir.display()))?;
        let options = twinset_store::Options {
            checkpoint_commands: config.store.checkpoint_commands,
            checkpoint_log_bytes: config.store.checkpoint_log_bytes,
            tail_cache_bytes: config.store.tail_cache_bytes,
            ..twinset_store::Options::default()
        };
        let store = Store::open(dir, options).with_context(|| format!("node.data_dir: {}", dir.display()))?;
        if let Some(identity) = store.identity()
            && identity.node != config.node.name
        {
            bail!(
                "node.data_dir: {} belongs to node {}, not {}",
                dir.display(),
                identity.node,
                config.node.name
            );
        }
        let cell = CatalogueCell::open(store.clone())?;
        let sets = Arc::new(Sets::default());
        let node = Arc::new(Node {
            control: ControlClient::new(sets.clone(), cell.clone(), config.node.name.clone()),
            links: Links::new(cell.watch()),
            sets,
            cell,
            metrics,
            store,
            draining: watch::Sender::new(false),
            switching: Mutex::default(),
            bootstrapping: tokio::sync::Mutex::default(),
            config,
        });
        if let Some(identity) = node.store.identity() {
            let catalogue = node.cell.get().context("the catalogue is missing from the data directory")?;
            if catalogue.cluster_id != identity.cluster_id {
                bail!(
                    "the data directory is of cluster {}, its catalogue of {}",
                    identity.cluster_id,
                    catalogue.cluster_id
                );
            }
            node.host_replicas(&catalogue).await?;
            tokio::spawn(cluster_check::run(catalogue, node.config.node.name.clone()));
        }
        tokio::spawn(catalogue::follow(node.cell.clone(), node.config.node.name.clone()));
        tokio::spawn(follow_catalogue(node.clone()));
        Ok(node)
    }

    /// Serves until `stop` comes true, then drains.
    pub async fn serve(
        self: Arc<Self>,
        listeners: Listeners,
        mut stop: watch::Receiver<bool>,
    ) -> anyhow::Result<()> {
        let sets_service = SetsService {
            sets: self.sets.clone(),
            cell: self.cell.clone(),
            draining: self.draining.subscribe(),
            metrics: self.metrics.clone(),
        };
        let api = server()
            .add_service(
                SetsServer::new(sets_service)
                    .max_decoding_message_size(MESSAGE_BYTES_MAX)
                    .max_encoding_message_size(MESSAGE_BYTES_MAX),
            )
            .add_service(AdminServer::new(AdminService { node: self.clone() }))
            .serve_with_incoming(incoming(listeners.api));
        let peer = server()
            .add_service(
                PeerServer::new(PeerService::new(self.sets.clone()))
                    .max_decoding_message_size(MESSAGE_BYTES_MAX)
                    .max_encoding_message_size(MESSAGE_BYTES_MAX),
            )
            .serve_with_incoming(incoming(listeners.peer));
        let http = axum::serve(listeners.http, http::routes(self.clone()));
        info!(node = self.config.node.name, site = self.config.node.site, "serving");
        tokio::select! {
            ended = api => ended.context("the api server ended")?,
            ended = peer => ended.context("the peer server ended")?,
            ended = http => ended.context("the http server ended")?,
            _ = stop.wait_for(|&stop| stop) => self.drain().await,
        }
        Ok(())
    }

    /// The catalogue, once this node has its place in the cluster.
    pub fn identified_catalogue(&self) -> Option<Arc<Catalogue>> {
        self.store.identity().and_then(|_| self.cell.get())
    }

    /// Why the node is not ready; None if it is.
    pub fn not_ready(&self) -> Option<String> {
        if *self.draining.borrow() {
            return Some("shutting down".into());
        }
        if self.store.identity().is_none() {
            return Some("waiting for the cluster's bootstrap".into());
        }
        let leaderless = |replica: &Arc<Replica>| replica.group.view().borrow().leader.is_none();
        let waiting: Vec<_> =
            self.sets.all().iter().filter(|r| leaderless(r)).map(|r| r.fence.set.to_string()).collect();
        if waiting.is_empty() {
            None
        } else {
            Some(format!("no leader known for set {}", waiting.join(", ")))
        }
    }

    /// Whoever moves a set holds its lock.
    pub fn switch_lock(&self, set: u32) -> SwitchLock {
        self.switching.lock().entry(set).or_default().clone()
    }

    /// Gives a blank node its cluster. True if it has exactly this one already.
    pub async fn bootstrap(&self, catalogue: Catalogue) -> Result<bool, BootstrapError> {
        let _one_at_a_time = self.bootstrapping.lock().await;
        if let Some(identity) = self.store.identity() {
            if identity.cluster_id == catalogue.cluster_id {
                return Ok(true);
            }
            return Err(BootstrapError::OtherCluster(identity.cluster_id));
        }
        let name = &self.config.node.name;
        let own = catalogue
            .nodes
            .get(name)
            .ok_or_else(|| BootstrapError::Mismatch(format!("node {name} is not in the topology")))?;
        if own.site != self.config.node.site || own.arbiter != self.config.node.arbiter {
            return Err(BootstrapError::Mismatch(format!(
                "the topology places node {name} in site {} (arbiter: {}), its configuration in site {} (arbiter: {})",
                own.site, own.arbiter, self.config.node.site, self.config.node.arbiter
            )));
        }
        // The identity comes last: without it the node is still blank, and all of this is done again.
        let first = catalogue.to_json();
        self.store.put_blob(FIRST_CATALOGUE, &first).map_err(anyhow::Error::from)?;
        self.cell.adopt(catalogue.clone()).map_err(anyhow::Error::from)?;
        let identity = Identity { cluster_id: catalogue.cluster_id.clone(), node: name.clone() };
        self.store.set_identity(&identity).map_err(anyhow::Error::from)?;
        info!(cluster_id = identity.cluster_id, "bootstrapped");
        self.host_replicas(&catalogue).await?;
        Ok(false)
    }

    /// Opens every replica that the catalogue places here, then lets them all take part.
    async fn host_replicas(&self, catalogue: &Catalogue) -> anyhow::Result<()> {
        let mut hosted = Vec::new();
        for (set, replica) in catalogue.replicas_on(&self.config.node.name) {
            hosted.push(
                self.open_replica(catalogue, set, replica.id).await.with_context(|| format!("set {set}"))?,
            );
        }
        for replica in &hosted {
            replica.group.run();
        }
        for replica in hosted {
            self.initialize_if_first(catalogue, &replica).await?;
            tokio::spawn(stop_on_fault(replica.clone(), self.draining.subscribe()));
            let keeper = Keeper {
                switching: self.switch_lock(replica.fence.set),
                cell: self.cell.clone(),
                control: self.control.clone(),
                replica,
            };
            tokio::spawn(keeper.run());
        }
        Ok(())
    }

    async fn open_replica(&self, catalogue: &Catalogue, set: u32, id: u64) -> anyhow::Result<Arc<Replica>> {
        let incarnation = catalogue.incarnation(set).context("not in the catalogue")?;
        self.store.put_replica(ReplicaRecord { set, replica_id: id, incarnation })?;
        let log = self.store.log(set)?;
        let state = if set == CONTROL_SET { None } else { Some(self.store.ledger(set)?) };
        let durability = state.as_ref().map(|state| state.durability()).unwrap_or_default();
        let gate = Arc::new(Gate::new(replica_sites(catalogue, set), durability));
        let fence = Arc::new(Fence {
            cluster_id: catalogue.cluster_id.clone(),
            set,
            incarnation,
            replica: id,
            gate: gate.clone(),
            state: state.clone(),
            pulse: self.sets.pulse.clone(),
        });
        let machine = match &state {
            Some(state) => Machine::Ledger(state.clone(), gate.clone()),
            None => {
                let first =
                    self.store.get_blob(FIRST_CATALOGUE)?.context("the first catalogue is missing")?;
                let first = Catalogue::from_json(&first)?;
                Machine::Control(ControlMachine::open(self.store.document(set)?, &first, self.cell.clone())?)
            }
        };
        let home = catalogue.sets.get(&set).map(|set| set.home.as_str());
        let preferred = home.is_none_or(|home| home == self.config.node.site);
        let group = Group::open(
            fence.clone(),
            self.links.clone(),
            log,
            machine.clone(),
            &self.config.raft,
            preferred,
        )
        .await?;
        let kind = match machine {
            Machine::Control(machine) => Kind::Control(machine),
            Machine::Ledger(state, gate) => {
                let cell = self.cell.clone();
                let leader_name = move |id| {
                    let catalogue = cell.get();
                    catalogue.and_then(|c| c.replica(set, id).map(|r| r.node.clone())).unwrap_or_default()
                };
                let proposer = Proposer::start(
                    group.clone(),
                    state.clone(),
                    gate.clone(),
                    incarnation,
                    &self.config.proposer,
                    leader_name,
                );
                let reader = Reader::start(group.clone(), state.clone(), gate);
                Kind::Ledger(Ledger { state, proposer, reader })
            }
        };
        Ok(self.sets.insert(Replica { fence, group, kind }))
    }

    /// The first replica of a blank set gives it its voters; the learner is added by the keeper.
    async fn initialize_if_first(&self, catalogue: &Catalogue, replica: &Replica) -> anyhow::Result<()> {
        let set = replica.fence.set;
        let replicas = catalogue.replicas(set);
        let first = replicas.first().is_some_and(|first| first.id == replica.fence.replica);
        if !first || replica.group.is_initialized().await? {
            return Ok(());
        }
        let voters: BTreeMap<u64, String> = replicas
            .iter()
            .filter(|r| r.role == twinset_control::Role::Voter)
            .map(|r| (r.id, r.node.clone()))
            .collect();
        info!(set, ?voters, "initializing");
        replica.group.initialize(voters).await
    }

    /// Refuses new commands, hands over what this node leads, and returns.
    async fn drain(&self) {
        info!("draining");
        self.draining.send_replace(true);
        let handed_over = async {
            let sets = self.sets.all();
            futures::future::join_all(sets.iter().map(|replica| hand_over(replica))).await;
        };
        if tokio::time::timeout(DRAIN_MAX, handed_over).await.is_err() {
            warn!("not everything was handed over in time; the others elect");
        }
        for replica in self.sets.all() {
            replica.group.shutdown().await;
        }
        self.store.clone().close();
        info!("drained");
    }
}

/// Gives the leadership to another voter, the one that holds most of the log first.
async fn hand_over(replica: &Replica) {
    if !replica.group.is_leader() {
        return;
    }
    let own = replica.group.replica();
    let voters = replica.group.view().borrow().voters.clone();
    let matched = replica.group.progress().matched;
    let mut targets: Vec<_> =
        matched.into_iter().filter(|(id, _)| *id != own && voters.contains(id)).collect();
    targets.sort_by_key(|(_, matched)| std::cmp::Reverse(*matched));
    let targets: Vec<u64> = targets.into_iter().map(|(id, _)| id).collect();
    let proposer = replica.ledger().map(|ledger| &ledger.proposer);
    if let Err(error) = handover::hand_over(&replica.group, proposer, &targets, &|_, _| {}).await {
        info!(set = replica.fence.set, %error, "not handed over; the others elect");
    }
}

/// A replica that its storage has failed must not leave a node behind that looks well.
async fn stop_on_fault(replica: Arc<Replica>, draining: watch::Receiver<bool>) {
    let mut view = replica.group.view();
    if let Ok(view) = view.wait_for(|view| view.fault.is_some()).await
        && !*draining.borrow()
    {
        let fault = view.fault.as_deref().unwrap_or_default();
        fatal::stop(&format!("set {}: {fault}", replica.fence.set));
    }
}

/// When the catalogue changes, tells the gates where replicas stand, and connects to nodes that are new: a replica that
/// begins to lead must not have to connect first.
async fn follow_catalogue(node: Arc<Node>) {
    let mut changes = node.cell.watch();
    loop {
        if let Some(catalogue) = changes.borrow_and_update().clone() {
            for name in catalogue.nodes.keys().filter(|name| **name != node.config.node.name) {
                node.links.to(name);
            }
            for replica in node.sets.all() {
                replica.fence.gate.set_sites(replica_sites(&catalogue, replica.fence.set));
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Small frames must not wait for the peer's delayed acknowledgement.
fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

fn server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(2)))
        .http2_keepalive_timeout(Some(Duration::from_secs(2)))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(STREAM_WINDOW_BYTES)
}
