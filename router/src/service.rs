//! The whole router: ports, tasks, and how they end. Options come from the configuration; `start` opens the ports and
//! gives a handle; everything that was started is awaited when it stops. Above it: `main` and the tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinset_proto::ledger::v1::ledger_server::LedgerServer;

use crate::api::Api;
use crate::config::Config;
use crate::dispatch::{Dispatcher, QueueLimits};
use crate::grpc;
use crate::http;
use crate::link::Links;
use crate::metrics::Metrics;
use crate::reads::Reads;
use crate::topology::Follower;

/// The router cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port cannot be opened.
    #[error("cannot listen on {address} ({key}): {source}")]
    Listen {
        /// The key in the configuration.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A running router.
pub struct Handle {
    /// Where HTTP is served.
    pub http: SocketAddr,
    /// Where gRPC is served.
    pub grpc: SocketAddr,
    api: Arc<Api>,
    stop_serving: CancellationToken,
    stop_following: CancellationToken,
    servers: TaskTracker,
    lanes: TaskTracker,
    followers: TaskTracker,
    drain: Duration,
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Listen { key, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Opens the ports and starts to serve. The configuration has been checked.
pub async fn start(config: &Config, registry: Registry) -> Result<Handle, Error> {
    let (http_listener, http) = listen("listen.http", config.listen.http).await?;
    let (grpc_listener, grpc) = listen("listen.grpc", config.listen.grpc).await?;
    let (stop_serving, stop_following) = (CancellationToken::new(), CancellationToken::new());
    let (servers, lanes, followers) = (TaskTracker::new(), TaskTracker::new(), TaskTracker::new());

    let metrics = Arc::new(Metrics::new(registry));
    let (follower, views) = Follower::new(config.seeds.clone());
    followers.spawn(follower.run(stop_following.clone()));
    let links = Arc::new(Links::new(metrics.clone()));
    followers.spawn(links.clone().run(views.clone(), stop_following.clone()));

    let limits = &config.limits;
    let queues = QueueLimits { requests: limits.queue_per_set_requests, bytes: limits.queue_per_set_bytes };
    let dispatcher = Dispatcher::new(links.clone(), views.clone(), queues, metrics.clone(), lanes.clone());
    let reads = Reads::new(links, views.clone(), config.router.site.clone());
    let api = Arc::new(Api::new(views, dispatcher, reads, metrics, limits.clone()));

    servers.spawn(http::serve(http_listener, api.clone(), stop_serving.clone()));
    servers.spawn(serve_grpc(grpc_listener, api.clone(), stop_serving.clone()));
    servers.close();
    let drain = Duration::from_millis(limits.drain_ms);
    Ok(Handle { http, grpc, api, stop_serving, stop_following, servers, lanes, followers, drain })
}

async fn serve_grpc(listener: TcpListener, api: Arc<Api>, stop: CancellationToken) {
    let limits = &api.limits;
    let service = LedgerServer::new(grpc::Service::new(api.clone()))
        .max_decoding_message_size(limits.body_bytes_max)
        .max_encoding_message_size(usize::MAX);
    let streams = u32::try_from(limits.connections_max).unwrap_or(u32::MAX);
    let served = tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .max_concurrent_streams(streams)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .add_service(service)
        .serve_with_incoming_shutdown(nodelay(listener), stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the grpc server has ended");
    }
}

/// Connections whose small replies do not wait for the client's acknowledgement.
fn nodelay(
    listener: TcpListener,
) -> impl tokio_stream::Stream<Item = Result<tokio::net::TcpStream, std::io::Error>> {
    use tokio_stream::StreamExt;
    TcpListenerStream::new(listener).map(|accepted| {
        accepted.inspect(|stream| {
            // An error only costs latency.
            let _ = stream.set_nodelay(true);
        })
    })
}

impl Handle {
    /// The API that is served, for what wants no socket.
    pub fn api(&self) -> &Arc<Api> {
        &self.api
    }

    /// Takes no new connections, lets calls in progress end, then lets go of the nodes. Whether all calls had ended
    /// when the time allowed for it was over.
    pub async fn stop(self) -> bool {
        self.api.drain();
        self.stop_serving.cancel();
        let served = tokio::time::timeout(self.drain, self.servers.wait()).await.is_ok();
        self.lanes.close();
        // The lanes end when nobody can give them items any more and the last one is answered.
        drop(self.api);
        let drained = served && tokio::time::timeout(self.drain, self.lanes.wait()).await.is_ok();
        self.stop_following.cancel();
        self.followers.close();
        self.followers.wait().await;
        drained
    }
}
