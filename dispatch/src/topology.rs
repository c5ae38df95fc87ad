//! Follows the cluster: one watch stream to every known node, the seeds first, then those of the catalogue. Merges
//! what they say into one [`View`] and hands it on. Needs no control set: nodes repeat what
//! they know. Below it: [`crate::view`]; above it: lanes, links, reads, and whoever routes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use twinset_proto::cluster::v1::sets_client::SetsClient;
use twinset_proto::cluster::v1::{WatchRequest, WatchUpdate};

use crate::dial::Dial;
use crate::view::View;

const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(500);
const OPEN_TIMEOUT: Duration = Duration::from_secs(1);
/// Updates that wait to be merged; nodes wait when it is full.
const NEWS_MAX: usize = 64;

/// How connections to nodes are made: quick to notice that the other side is gone, patient with a busy one.
pub fn endpoint(address: &str) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(Duration::from_millis(500))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_millis(1_000))
        .keep_alive_timeout(Duration::from_millis(2_000))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20))
}

/// The task that follows the cluster.
pub struct Follower {
    dialer: Arc<dyn Dial>,
    seeds: Vec<String>,
    sender: watch::Sender<Arc<View>>,
    watched: BTreeMap<String, AbortHandle>,
    watches: JoinSet<()>,
}

/// The newest view, and every change of it.
pub type Views = watch::Receiver<Arc<View>>;

impl Follower {
    /// Follows the cluster that `seeds` belong to.
    pub fn new(dialer: Arc<dyn Dial>, seeds: Vec<String>) -> (Follower, Views) {
        let (sender, views) = watch::channel(Arc::new(View::default()));
        (Follower { dialer, seeds, sender, watched: BTreeMap::new(), watches: JoinSet::new() }, views)
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let (sender, mut news) = mpsc::channel(NEWS_MAX);
        self.watch_all(&sender);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some((address, update)) = news.recv() => self.heard(&address, &update, &sender),
            }
        }
        self.watches.shutdown().await;
    }

    fn heard(&mut self, address: &str, update: &WatchUpdate, sender: &mpsc::Sender<(String, WatchUpdate)>) {
        let mut view = View::clone(&self.sender.borrow());
        let version = view.version;
        match view.merge(update) {
            Ok(false) => return,
            Ok(true) => {}
            Err(error) => {
                tracing::warn!(address, %error, "news of the cluster refused");
                return;
            }
        }
        if view.version != version {
            tracing::info!(version = view.version, cluster = view.cluster_id, "following catalogue");
        }
        self.sender.send_replace(Arc::new(view));
        self.watch_all(sender);
    }

    /// Watches every node that is known, and none that is gone. Seeds stay: they are what a process restarts from.
    fn watch_all(&mut self, sender: &mpsc::Sender<(String, WatchUpdate)>) {
        let view = self.sender.borrow().clone();
        let known: Vec<&str> = self
            .seeds
            .iter()
            .map(String::as_str)
            .chain(view.nodes.values().map(|n| n.api_addr.as_str()))
            .collect();
        self.watched.retain(|address, task| {
            let stays = known.contains(&address.as_str());
            if !stays {
                task.abort();
            }
            stays
        });
        for address in known {
            if !self.watched.contains_key(address) {
                let (dialer, sender) = (self.dialer.clone(), sender.clone());
                let task = watch_node(dialer, address.to_string(), sender, self.sender.subscribe());
                self.watched.insert(address.to_string(), self.watches.spawn(task));
            }
        }
    }
}

/// Keeps one watch stream open.
async fn watch_node(
    dialer: Arc<dyn Dial>,
    address: String,
    news: mpsc::Sender<(String, WatchUpdate)>,
    views: Views,
) {
    let mut backoff = BACKOFF_MIN;
    loop {
        match watch_once(&*dialer, &address, &news, &views).await {
            Ok(true) => backoff = BACKOFF_MIN,
            Ok(false) => {}
            Err(error) => tracing::debug!(address, error = %error.message(), "watch ended"),
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// One stream to its end. Whether it said anything.
async fn watch_once(
    dialer: &dyn Dial,
    address: &str,
    news: &mpsc::Sender<(String, WatchUpdate)>,
    views: &Views,
) -> Result<bool, tonic::Status> {
    let unavailable = |error: tonic::transport::Error| tonic::Status::unavailable(error.to_string());
    let endpoint = endpoint(address).map_err(unavailable)?;
    let channel = dialer.dial(endpoint).await.map_err(unavailable)?;
    let cluster_id = views.borrow().cluster_id.clone();
    let mut client = SetsClient::new(channel).max_decoding_message_size(64 << 20);
    // A connection that breaks in this very moment may leave the call hanging for ever.
    let opened = tokio::time::timeout(OPEN_TIMEOUT, client.watch(WatchRequest { cluster_id })).await;
    let opened = opened.map_err(|_| tonic::Status::deadline_exceeded("the node does not answer"))?;
    let mut stream = opened?.into_inner();
    let mut any = false;
    while let Some(update) = stream.message().await? {
        any = true;
        if news.send((address.to_string(), update)).await.is_err() {
            break;
        }
    }
    Ok(any)
}
