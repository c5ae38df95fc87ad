//! The composition root: opens the store, hosts the replicas, serves, drains, stops. It decides nothing about money.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::interceptor::InterceptedService;
use tracing::{info, warn};
use twinset_control::{CONTROL_SET, Catalogue};
use twinset_proto::cluster::v1::{
    admin_server::AdminServer, drill_faults_server::DrillFaultsServer, peer_server::PeerServer,
    sets_server::SetsServer,
};
use twinset_store::{Fault, Identity, Store};

use crate::api::{AdminService, DrillFaultsService, SetsService};
use crate::birth::{self, Joined};
use crate::catalogue::{self, CatalogueCell};
use crate::check_back::Initiators;
use crate::cluster_check;
use crate::config::Config;
use crate::control_client::ControlClient;
use crate::dial::MESSAGE_BYTES_MAX;
use crate::drain;
use crate::drill_faults::DrillFaults;
use crate::drill_faults::lines::Door;
use crate::fatal;
use crate::hosting::Hosting;
use crate::http;
use crate::keeper::SwitchLock;
use crate::listen::{self, Listeners};
use crate::metrics::Metrics;
use crate::moves::Moves;
use crate::operators::{self, Operators};
use crate::peer::{Links, PeerService};
use crate::platform::{self, Platform};
use crate::recovery;
use crate::resources::Resources;
use crate::set::{Replica, Sets, tell_sites};
use crate::vigil::Vigil;

/// The catalogue that the cluster was made with: where the control set's history begins.
pub(crate) const FIRST_CATALOGUE: &str = "first-catalogue";

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
    /// Who is alive, and who may answer in DEGRADED.
    pub vigil: Arc<Vigil>,
    /// The last moves that it has carried out.
    pub moves: Moves,
    /// Every metric.
    pub metrics: Metrics,
    /// What this process uses of its machine.
    pub resources: Arc<Resources>,
    pub(crate) store: Store,
    pub(crate) platform: Arc<dyn Platform>,
    /// None unless the configuration enables them.
    drill_faults: Option<Arc<DrillFaults>>,
    pub(crate) links: Links,
    /// Who may be called about overdue holds.
    pub initiators: Initiators,
    /// Whose administrative acts are proven.
    pub operators: Operators,
    pub(crate) draining: watch::Sender<bool>,
    /// What runs beside the replicas, and its end.
    pub(crate) tasks: TaskTracker,
    pub(crate) ending: CancellationToken,
    /// The replicas that are open here.
    pub(crate) hosting: Hosting,
    /// Whether its replicas are open.
    pub(crate) takes_part: AtomicBool,
    switching: Mutex<BTreeMap<u32, SwitchLock>>,
    bootstrapping: tokio::sync::Mutex<()>,
    /// Held by whoever recovers the control set on an operator's word.
    pub(crate) recovering_control: tokio::sync::Mutex<()>,
}

/// Why a node cannot take its place in a cluster.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// It has one already.
    #[error("this node belongs to cluster {0} already")]
    OtherCluster(String),
    /// It may have lost its data.
    #[error(transparent)]
    Refused(#[from] birth::Refused),
    /// The catalogue does not know it, or knows it otherwise.
    #[error("{0}")]
    Mismatch(String),
    /// Something local failed.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl Node {
    /// Opens the store and, if this node has a place in a cluster already, its replicas.
    pub fn open(config: Config, metrics: Metrics) -> BoxFuture<'static, anyhow::Result<Arc<Self>>> {
        Box::pin(async move {
            let dir = &config.node.data_dir;
            std::fs::create_dir_all(dir)
                .with_context(|| format!("node.data_dir: cannot create {}", dir.display()))?;
            let store = Store::open(dir, store_options(&config))
                .with_context(|| format!("node.data_dir: {}", dir.display()))?;
            Node::open_on(platform::system(), store, config, metrics).await
        })
    }

    /// The same on another platform, with the store of its data directory.
    pub fn open_on(
        platform: Arc<dyn Platform>,
        store: Store,
        config: Config,
        metrics: Metrics,
    ) -> BoxFuture<'static, anyhow::Result<Arc<Self>>> {
        Box::pin(async move {
            let operators = Operators::load(&config.operators)?;
            let initiators = Initiators::load(&config.initiators)?;
            metrics.check_back.present(&initiators);
            let gauge = metrics.drill_faults.clone();
            let drill_faults = DrillFaults::load(&config, platform.clone(), store.brake(), gauge)?;
            let platform = drill_faults.as_ref().map_or(platform, |faults| faults.machine());
            let cell = CatalogueCell::open(store.clone(), platform.clone())?;
            if let Some(faults) = &drill_faults {
                faults.follow(cell.watch());
            }
            let identity = store.identity();
            if let Some(identity) = &identity {
                cluster_check::check_own(&config, identity, &cell).await?;
            }
            let sets = Arc::new(Sets::default());
            sets.follow(cell.watch());
            let control = ControlClient::new(sets.clone(), cell.clone(), config.node.name.clone());
            let me = config.node.name.clone();
            let node = Arc::new(Node {
                vigil: Arc::new(Vigil::new(
                    sets.clone(),
                    cell.clone(),
                    control.clone(),
                    me,
                    config.clock.clone(),
                )),
                control,
                links: Links::new(platform.clone(), cell.watch()),
                sets,
                cell,
                initiators,
                operators,
                moves: Moves::default(),
                metrics,
                resources: Resources::new(platform.clone(), config.node.data_dir.clone()),
                store,
                platform,
                drill_faults,
                draining: watch::Sender::new(false),
                tasks: TaskTracker::new(),
                ending: CancellationToken::new(),
                takes_part: AtomicBool::new(false),
                hosting: Hosting::default(),
                switching: Mutex::default(),
                bootstrapping: tokio::sync::Mutex::default(),
                recovering_control: tokio::sync::Mutex::default(),
                config,
            });
            if identity.is_some() {
                let catalogue = node.cell.get().expect("it was checked");
                // A replica's record is older than its first word to others.
                // Whoever was left behind by a recovery of the control set must not lead it, or be led, before it hears of that.
                if node.store.replicas()?.iter().any(|record| record.set == CONTROL_SET) {
                    cluster_check::hear_news(&node.cell, &node.config.node.name).await;
                }
                let catalogue = node.cell.get().unwrap_or(catalogue);
                let began = !node.store.replicas()?.is_empty() || Joined::of(&node.store)?.is_some();
                if began || catalogue.replicas_on(&node.config.node.name).next().is_none() {
                    node.host_replicas(&catalogue).await?;
                } else {
                    node.spawn(node.clone().begin(false));
                }
                let name = node.config.node.name.clone();
                node.spawn(cluster_check::run(node.platform.clone(), catalogue, name));
            }
            if let Some(faults) = node.drill_faults.clone() {
                node.spawn(faults.run());
            }
            node.tasks.spawn(node.cell.clone().keep(node.ending.clone()));
            node.spawn(catalogue::follow(node.cell.clone(), node.config.node.name.clone()));
            node.spawn(follow_catalogue(node.clone()));
            node.spawn(node.clone().follow_placement());
            node.spawn(node.vigil.clone().beat());
            node.spawn(node.vigil.clone().lease());
            node.spawn(recovery::recoverer(&node).run());
            node.spawn(node.resources.clone().sample());
            Ok(node)
        })
    }

    /// Runs a task until it ends, or this node does.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let ending = self.ending.clone();
        self.tasks.spawn(async move { ending.run_until_cancelled(task).await });
    }

    /// Ends the tasks that run beside the replicas.
    pub(crate) async fn end_tasks(&self) {
        self.ending.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Serves until `stop` comes true and the drain that follows is over.
    pub fn serve(
        self: Arc<Self>,
        listeners: Listeners,
        mut stop: watch::Receiver<bool>,
    ) -> BoxFuture<'static, anyhow::Result<()>> {
        Box::pin(async move {
            let sets_service = SetsService {
                sets: self.sets.clone(),
                cell: self.cell.clone(),
                draining: self.draining.subscribe(),
                metrics: self.metrics.clone(),
            };
            let sets = SetsServer::new(sets_service)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            let admin = || AdminServer::new(AdminService { node: self.clone() });
            let peers = PeerServer::new(PeerService::new(self.sets.clone()))
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            let drill_faults = DrillFaultsService { faults: self.drill_faults.clone(), node: self.clone() };
            let lines = self.drill_faults.as_ref().map(|faults| faults.lines());
            let api = listen::server()
                .add_service(InterceptedService::new(sets, listen::heard))
                .add_service(InterceptedService::new(admin(), listen::heard))
                .add_service(DrillFaultsServer::new(drill_faults))
                .serve_with_incoming(listeners.api.harmable(lines, Door::Api).incoming());
            let peer = listen::server()
                .add_service(InterceptedService::new(peers, listen::heard))
                .add_service(InterceptedService::new(admin(), operators::heard_from_node))
                .serve_with_incoming(listeners.peer.harmable(lines, Door::Other).incoming());
            let http = axum::serve(listeners.http.harmable(lines, Door::Other), http::routes(self.clone()));
            let drained = async {
                // The sender must not have to wait for the drain to look at its own value; without one, nothing goes on either.
                drop(stop.wait_for(|&stop| stop).await);
                self.draining.send_replace(true);
                if let Some(faults) = &self.drill_faults {
                    faults.end_all();
                }
                drain::run(&self).await;
            };
            info!(node = self.config.node.name, site = self.config.node.site, "serving");
            tokio::select! {
                ended = api => ended.context("the api server ended")?,
                ended = peer => ended.context("the peer server ended")?,
                ended = http => ended.context("the http server ended")?,
                () = drained => {}
            }
            self.store.clone().close();
            info!("drained");
            Ok(())
        })
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
        if self.cell.get().is_some_and(|known| !known.nodes.contains_key(&self.config.node.name)) {
            return Some("this node was taken out of its cluster".into());
        }
        if !self.takes_part.load(Ordering::Relaxed) {
            return Some("waiting for the other nodes to become members".into());
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

    /// Gives a blank node its cluster, in which it takes part as soon as all others are members. True if it has exactly
    /// this one already.
    pub fn bootstrap(self: &Arc<Self>, catalogue: Catalogue) -> BoxFuture<'_, Result<bool, BootstrapError>> {
        Box::pin(async move {
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
            let joins = match birth::may_begin(&*self.platform, &catalogue, name).await {
                Ok(()) => false,
                // What it is given may be old: whether it is new is asked below.
                Err(birth::Refused::Lost { .. }) if catalogue.replicas_on(name).next().is_none() => true,
                Err(refused) => return Err(refused.into()),
            };
            if let Some((key, here, there)) = cluster_check::elsewhere(&self.config, &catalogue) {
                return Err(BootstrapError::Mismatch(format!(
                    "the topology has node {name} at {there}, its configuration has {key} = {here}"
                )));
            }
            let identity = Identity { cluster_id: catalogue.cluster_id.clone(), node: name.clone() };
            // The identity comes last: without it the node is still blank, and all of this is done again.
            let first = if joins {
                self.join(catalogue).await?
            } else {
                let first = catalogue.to_json();
                self.cell.adopt(catalogue).map_err(anyhow::Error::from)?;
                first
            };
            self.store.put_blob(FIRST_CATALOGUE, &first).map_err(anyhow::Error::from)?;
            self.store.set_identity(&identity).map_err(anyhow::Error::from)?;
            info!(cluster_id = identity.cluster_id, joins, "bootstrapped");
            self.spawn(self.clone().begin(joins));
            Ok(false)
        })
    }

    /// Makes sure that nothing was ever placed on this blank node of a cluster that takes part, and remembers what is older than
    /// its data; gives the catalogue that the cluster was made with.
    async fn join(&self, catalogue: Catalogue) -> Result<Vec<u8>, BootstrapError> {
        let name = &self.config.node.name;
        // With it the node reaches the others; without an identity it is none of theirs.
        self.cell.adopt(catalogue).map_err(anyhow::Error::from)?;
        let newest = birth::newest_without(&self.cell, &self.control, name).await?;
        if let Some((key, here, there)) = cluster_check::elsewhere(&self.config, &newest) {
            return Err(BootstrapError::Mismatch(format!(
                "the cluster has node {name} at {there} by now, its configuration has {key} = {here}"
            )));
        }
        let first = birth::first_catalogue(&*self.platform, &newest, name).await?;
        let joined = Joined { next_replica_id: newest.next_replica_id };
        joined.keep(&self.store).map_err(anyhow::Error::from)?;
        Ok(first.to_json())
    }

    /// The catalogue that the cluster was made with.
    pub fn first_catalogue(&self) -> Result<Option<Vec<u8>>, Fault> {
        self.store.get_blob(FIRST_CATALOGUE)
    }

    /// Takes part for the first time: when all are members, or at once if they take part already.
    async fn begin(self: Arc<Self>, joins: bool) {
        let catalogue = self.cell.get().expect("a node with an identity has a catalogue");
        if !joins {
            birth::all_belong(&*self.platform, &catalogue, &self.config.node.name).await;
        }
        if let Err(error) = self.host_replicas(&catalogue).await {
            fatal::stop(&*self.platform, &format!("{error:#}"));
        }
    }
}

/// What the configuration asks of the store.
pub fn store_options(config: &Config) -> twinset_store::Options {
    twinset_store::Options {
        checkpoint_commands: config.store.checkpoint_commands,
        checkpoint_log_bytes: config.store.checkpoint_log_bytes,
        tail_cache_bytes: config.store.tail_cache_bytes,
        ..twinset_store::Options::default()
    }
}

/// When the catalogue changes, tells the gates where replicas stand, and connects to nodes that are new: a replica that
/// begins to lead must not have to connect first.
async fn follow_catalogue(node: Arc<Node>) {
    let mut changes = node.cell.watch();
    let mut taken_out = false;
    loop {
        if let Some(catalogue) = changes.borrow_and_update().clone() {
            node.links.retain(|name| catalogue.nodes.contains_key(name));
            let (was, me) = (taken_out, &node.config.node.name);
            taken_out = !catalogue.nodes.contains_key(me) && node.store.identity().is_some();
            if taken_out && !was {
                warn!(
                    node = me,
                    "this node was taken out of its cluster: it hosts nothing any more, stop it"
                );
            }
            for name in catalogue.nodes.keys().filter(|name| **name != node.config.node.name) {
                node.links.to(name);
            }
            for replica in node.sets.all() {
                tell_sites(&replica.fence.gate, &catalogue, replica.fence.set);
                let home = catalogue.sets.get(&replica.fence.set).map(|set| &set.home);
                replica.group.prefer(home.is_none_or(|home| *home == node.config.node.site));
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}
