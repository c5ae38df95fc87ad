//! This node's copy of the catalogue: the newest one heard of, kept on disk, so that the node starts and works without
//! the control set. A node that hosts no voter of the control set follows those that do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{debug, info};
use twinset_control::Catalogue;
use twinset_proto::cluster::v1 as wire;
use twinset_store::{Fault, Store};
use wire::sets_client::SetsClient;

const BLOB: &str = "catalogue";
const RETRY: Duration = Duration::from_millis(250);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// The newest catalogue, and where it is kept.
#[derive(Clone)]
pub struct CatalogueCell {
    store: Store,
    newest: Arc<watch::Sender<Option<Arc<Catalogue>>>>,
}

/// The stored copy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// The document.
    #[error("the stored catalogue: {0}")]
    Document(#[from] twinset_control::document::Error),
}

impl CatalogueCell {
    /// With the stored copy, if there is one.
    pub fn open(store: Store) -> Result<Self, Error> {
        let stored = store.get_blob(BLOB)?;
        let catalogue = stored.map(|bytes| Catalogue::from_json(&bytes)).transpose()?.map(Arc::new);
        Ok(CatalogueCell { store, newest: Arc::new(watch::Sender::new(catalogue)) })
    }

    /// The newest catalogue; changes can be awaited.
    pub fn watch(&self) -> watch::Receiver<Option<Arc<Catalogue>>> {
        self.newest.subscribe()
    }

    /// The newest catalogue.
    pub fn get(&self) -> Option<Arc<Catalogue>> {
        self.newest.borrow().clone()
    }

    /// Takes the first catalogue of a node that has no place in a cluster yet, whatever an earlier attempt has left.
    pub fn adopt(&self, catalogue: Catalogue) -> Result<(), Fault> {
        self.store.put_blob(BLOB, &catalogue.to_json())?;
        self.newest.send_replace(Some(Arc::new(catalogue)));
        Ok(())
    }

    /// Takes a catalogue if it is newer than ours and of the same cluster.
    pub fn offer(&self, catalogue: Catalogue) -> Result<(), Fault> {
        let current = self.get();
        let news =
            current.is_none_or(|c| c.cluster_id == catalogue.cluster_id && c.version < catalogue.version);
        if news {
            info!(version = catalogue.version, "catalogue");
            self.store.put_blob(BLOB, &catalogue.to_json())?;
            self.newest.send_replace(Some(Arc::new(catalogue)));
        }
        Ok(())
    }
}

/// Follows the nodes that host the control set. Runs until the node stops.
pub async fn follow(cell: CatalogueCell, me: String) {
    let mut followed: BTreeMap<String, JoinHandle<()>> = BTreeMap::new();
    let mut changes = cell.watch();
    loop {
        if let Some(catalogue) = changes.borrow_and_update().clone() {
            let sources =
                catalogue.control.replicas.iter().map(|r| r.node.clone()).filter(|node| *node != me);
            for node in sources {
                followed.entry(node.clone()).or_insert_with(|| tokio::spawn(follow_node(cell.clone(), node)));
            }
        }
        if changes.changed().await.is_err() {
            break;
        }
    }
    for task in followed.into_values() {
        task.abort();
    }
}

async fn follow_node(cell: CatalogueCell, node: String) {
    loop {
        if let Err(reason) = follow_stream(&cell, &node).await {
            debug!(node, reason, "catalogue stream");
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn follow_stream(cell: &CatalogueCell, node: &str) -> Result<(), String> {
    let catalogue = cell.get().ok_or("no catalogue")?;
    let address = &catalogue.nodes.get(node).ok_or("unknown node")?.api_addr;
    let endpoint =
        tonic::transport::Endpoint::from_shared(format!("http://{address}")).map_err(|e| e.to_string())?;
    let endpoint = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(Duration::from_secs(1))
        .keep_alive_timeout(Duration::from_secs(2))
        .keep_alive_while_idle(true);
    let channel = endpoint.connect().await.map_err(|e| e.to_string())?;
    let request = wire::WatchRequest { cluster_id: catalogue.cluster_id.clone() };
    let mut updates =
        SetsClient::new(channel).watch(request).await.map_err(|status| status.to_string())?.into_inner();
    while let Some(update) = updates.message().await.map_err(|status| status.to_string())? {
        if !update.catalogue_json.is_empty() {
            let news = Catalogue::from_json(&update.catalogue_json).map_err(|e| e.to_string())?;
            if let Err(fault) = cell.offer(news) {
                crate::fatal::stop(&fault.to_string());
            }
        }
    }
    Err("closed".into())
}
