//! This node's copy of the catalogue: the newest one heard of, kept on disk, so that the node starts and works without
//! the control set. A node that hosts no voter of the control set follows those that do. Several hear of news at once, the
//! apply of the control set among them: taking news never waits for the disk, which is written behind, and neither the copy
//! in memory nor the one on disk ever goes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};
use twinset_control::Catalogue;
use twinset_proto::cluster::v1 as wire;
use twinset_store::{Fault, Store};
use wire::sets_client::SetsClient;

use crate::dial::{self, MESSAGE_BYTES_MAX};
use crate::fatal;
use crate::platform::{self, Platform};

const BLOB: &str = "catalogue";
const RETRY: Duration = Duration::from_millis(250);

/// The newest catalogue, and where it is kept.
#[derive(Clone)]
pub struct CatalogueCell {
    store: Store,
    platform: Arc<dyn Platform>,
    newest: Arc<watch::Sender<Option<Arc<Catalogue>>>>,
    /// What is on disk. Held while that is written: one writer at a time, and each writes the newest.
    saved: Arc<Mutex<Option<Arc<Catalogue>>>>,
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
    pub fn open(store: Store, platform: Arc<dyn Platform>) -> Result<Self, Error> {
        let stored = store.get_blob(BLOB)?;
        let catalogue = stored.map(|bytes| Catalogue::from_json(&bytes)).transpose()?.map(Arc::new);
        let saved = Arc::new(Mutex::new(catalogue.clone()));
        Ok(CatalogueCell { store, platform, newest: Arc::new(watch::Sender::new(catalogue)), saved })
    }

    /// The machine that the node runs on.
    pub fn platform(&self) -> &dyn Platform {
        &*self.platform
    }

    /// The newest catalogue; changes can be awaited.
    pub fn watch(&self) -> watch::Receiver<Option<Arc<Catalogue>>> {
        self.newest.subscribe()
    }

    /// The newest catalogue.
    pub fn get(&self) -> Option<Arc<Catalogue>> {
        self.newest.borrow().clone()
    }

    /// Takes the first catalogue of a node that has no place in a cluster yet, whatever an earlier attempt has left. It is on
    /// disk when this returns.
    pub fn adopt(&self, catalogue: Catalogue) -> Result<(), Fault> {
        let mut saved = self.saved.lock();
        self.store.put_blob(BLOB, &catalogue.to_json())?;
        let catalogue = Arc::new(catalogue);
        *saved = Some(catalogue.clone());
        self.newest.send_replace(Some(catalogue));
        Ok(())
    }

    /// Takes a catalogue if it is newer than ours and of the same cluster; it is written down by [`CatalogueCell::keep`].
    pub fn offer(&self, catalogue: Catalogue) {
        let version = catalogue.version;
        let taken = self.newest.send_if_modified(|newest| {
            let news = newest
                .as_ref()
                .is_none_or(|own| own.cluster_id == catalogue.cluster_id && own.version < catalogue.version);
            if news {
                *newest = Some(Arc::new(catalogue));
            }
            news
        });
        if taken {
            info!(version, "catalogue");
        }
    }

    /// Writes the newest catalogue down, if that is not done. Waits for the disk.
    fn save(&self) -> Result<(), Fault> {
        let mut saved = self.saved.lock();
        let Some(newest) = self.get() else { return Ok(()) };
        if saved.as_ref().is_none_or(|saved| !Arc::ptr_eq(saved, &newest)) {
            self.store.put_blob(BLOB, &newest.to_json())?;
            *saved = Some(newest);
        }
        Ok(())
    }

    /// Writes down every news, the newest alone if there are several, until `stop`; what has come until then is on disk
    /// when this returns.
    pub async fn keep(self, stop: CancellationToken) {
        let mut changes = self.watch();
        loop {
            let over = stop.is_cancelled();
            let cell = self.clone();
            match platform::blocking(self.platform(), move || cell.save()).await {
                Ok(Ok(())) => {}
                Ok(Err(fault)) => fatal::stop(self.platform(), &format!("the catalogue's copy: {fault}")),
                // The runtime ends, or the panic hook has reported it.
                Err(_) => return,
            }
            if over {
                return;
            }
            tokio::select! {
                // The cell holds the sender.
                _ = changes.changed() => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

/// Follows the nodes that host the control set. Runs until it is dropped, and everything that it has begun with it.
pub async fn follow(cell: CatalogueCell, me: String) {
    let mut following = JoinSet::new();
    let mut followed: BTreeMap<String, AbortHandle> = BTreeMap::new();
    let mut changes = cell.watch();
    loop {
        if let Some(catalogue) = changes.borrow_and_update().clone() {
            let voters = catalogue.control.replicas.iter().map(|r| r.node.clone());
            let sources: Vec<String> = voters.filter(|node| *node != me).collect();
            followed.retain(|node, task| {
                let stays = sources.contains(node);
                if !stays {
                    task.abort();
                }
                stays
            });
            for node in sources {
                followed
                    .entry(node.clone())
                    .or_insert_with(|| following.spawn(follow_node(cell.clone(), node)));
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
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
    let channel = dial::connect(cell.platform(), address).await.map_err(|e| e.to_string())?;
    let mut client = SetsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let request = wire::WatchRequest { cluster_id: catalogue.cluster_id.clone() };
    let mut updates = dial::opened(client.watch(request)).await.map_err(|status| status.to_string())?;
    while let Some(update) = updates.message().await.map_err(|status| status.to_string())? {
        if !update.catalogue_json.is_empty() {
            let news = Catalogue::from_json(&update.catalogue_json).map_err(|e| e.to_string())?;
            cell.offer(news);
        }
    }
    Err("closed".into())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use twinset_control::Topology;
    use twinset_store::Options;

    use super::*;

    fn catalogue(version: u64) -> Catalogue {
        let mut text = "[cluster]\nname = \"test\"\n".to_owned();
        for (n, name) in ["a1", "a2", "b1", "b2"].into_iter().enumerate() {
            let (site, port) = (name[..1].to_uppercase(), 10 * (n + 1));
            let [api, peer, http] = [1, 2, 3].map(|lane| format!("127.0.0.1:{}", port + lane));
            text += &format!(
                "[[node]]\nname = {name:?}\nsite = {site:?}\napi = {api:?}\npeer = {peer:?}\nhttp = {http:?}\n"
            );
        }
        let topology: Topology = toml::from_str(&text).unwrap();
        Catalogue { version, ..topology.place("cluster-of-the-test").unwrap() }
    }

    fn on_disk(store: &Store) -> u64 {
        Catalogue::from_json(&store.get_blob(BLOB).unwrap().unwrap()).unwrap().version
    }

    #[test]
    fn neither_memory_nor_disk_goes_back_whoever_brings_the_news() {
        const SOURCES: u64 = 4;
        const ROUNDS: u64 = 40;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::default()).unwrap();
        let cell = CatalogueCell::open(store.clone(), platform::system()).unwrap();
        cell.offer(catalogue(1));
        cell.save().unwrap();
        let together = Barrier::new(SOURCES as usize);
        std::thread::scope(|scope| {
            for source in 0..SOURCES {
                let (cell, store, together) = (&cell, &store, &together);
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        // In each round, all bring news of different age at once.
                        let version = 2 + round * SOURCES + (source + round) % SOURCES;
                        together.wait();
                        cell.offer(catalogue(version));
                        assert!(cell.get().unwrap().version >= version, "memory went back");
                        cell.save().unwrap();
                        assert!(on_disk(store) >= version, "the disk went back");
                    }
                });
            }
        });
        let last = 1 + SOURCES * ROUNDS;
        assert_eq!((cell.get().unwrap().version, on_disk(&store)), (last, last));
        let other = Catalogue { cluster_id: "another".to_owned(), ..catalogue(last + 1) };
        cell.offer(other);
        assert_eq!(cell.get().unwrap().version, last, "of another cluster");
    }

    #[tokio::test]
    async fn what_came_before_the_stop_is_on_disk_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::default()).unwrap();
        let cell = CatalogueCell::open(store.clone(), platform::system()).unwrap();
        cell.adopt(catalogue(1)).unwrap();
        assert_eq!(on_disk(&store), 1);
        let stop = CancellationToken::new();
        let keeping = tokio::spawn(cell.clone().keep(stop.clone()));
        cell.offer(catalogue(3));
        cell.offer(catalogue(2));
        stop.cancel();
        keeping.await.unwrap();
        assert_eq!(on_disk(&store), 3);
    }
}
