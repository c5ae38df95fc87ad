//! The whole router: ports, tasks, and how they end. Options come from the configuration; `start` opens the ports and
//! gives a handle; everything that was started is awaited when it stops. Above it: `main` and the tests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hyper::header::HeaderValue;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinset_dispatch::dispatcher::{Dispatcher, QueueLimits};
use twinset_dispatch::drill::{self, Caller, Token};
use twinset_dispatch::link::Links;
use twinset_dispatch::reads::Reads;
use twinset_dispatch::topology::Follower;

use crate::api::Api;
use crate::config::{Config, Identity};
use crate::drill_faults;
use crate::grpc_server;
use crate::http;
use crate::metrics::Metrics;
use crate::platform::{self, Listener, Platform};

/// With so few calls in progress no set is told to leave room for the others.
const CROWDED_MIN: usize = 32;

/// The router cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port cannot be opened.
    #[error("cannot listen on {address} ({key})")]
    Listen {
        /// The key in the configuration.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no token for drills, and there should be one.
    #[error(transparent)]
    Token(#[from] drill::Error),
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

async fn listen(
    platform: &dyn Platform,
    key: &'static str,
    address: SocketAddr,
) -> Result<(Box<dyn Listener>, SocketAddr), Error> {
    let failed = |source| Error::Listen { key, address, source };
    let listener = platform.listen(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Opens the ports and starts to serve. The configuration has been checked.
pub fn start(config: &Config, registry: Registry) -> BoxFuture<'_, Result<Handle, Error>> {
    start_on(platform::system(caller(config)), config, registry)
}

/// Who calls, if drills may cut what a node has with this router. A name that is no header's is left out.
fn caller(config: &Config) -> Option<HeaderValue> {
    let Identity { name, site } = config.router.clone();
    let caller = config.drill_faults.enabled.then_some(Caller { name, site, router: true })?;
    HeaderValue::from_str(&caller.user_agent()).ok()
}

/// The same on another platform.
pub fn start_on(
    platform: Arc<dyn Platform>,
    config: &Config,
    registry: Registry,
) -> BoxFuture<'_, Result<Handle, Error>> {
    Box::pin(async move {
        let token = Token::load(&config.drill_faults)?;
        if token.is_some() {
            tracing::warn!("drill faults are enabled: whoever has the token can kill this router");
        }
        let (http_listener, http) = listen(&*platform, "listen.http", config.listen.http).await?;
        let (grpc_listener, grpc) = listen(&*platform, "listen.grpc", config.listen.grpc).await?;
        let (stop_serving, stop_following) = (CancellationToken::new(), CancellationToken::new());
        let (servers, lanes, followers) = (TaskTracker::new(), TaskTracker::new(), TaskTracker::new());

        let metrics = Arc::new(Metrics::new(registry));
        let (follower, views) = Follower::new(platform.clone(), config.seeds.clone());
        followers.spawn(follower.run(stop_following.clone()));
        let links = Arc::new(Links::new(platform, metrics.dispatch.clone()));
        followers.spawn(links.clone().run(views.clone(), stop_following.clone()));

        let limits = &config.limits;
        let queues = QueueLimits {
            requests: limits.queue_per_set_requests,
            bytes: limits.queue_per_set_bytes,
            crowded: (limits.in_flight_max / 2).max(CROWDED_MIN),
        };
        let dispatcher =
            Dispatcher::new(links.clone(), views.clone(), queues, metrics.dispatch.clone(), lanes.clone());
        let reads = Reads::new(links.clone(), views.clone(), config.router.site.clone());
        let api = Arc::new(Api::new(views, dispatcher, reads, links, metrics, limits.clone()));

        servers.spawn(http::serve(http_listener, api.clone(), stop_serving.clone()));
        let drills = drill_faults::Service::new(token);
        servers.spawn(grpc_server::serve(grpc_listener, api.clone(), drills, stop_serving.clone()));
        servers.close();
        let drain = Duration::from_millis(limits.drain_ms);
        Ok(Handle { http, grpc, api, stop_serving, stop_following, servers, lanes, followers, drain })
    })
}

impl Handle {
    /// The API that is served, for what wants no socket.
    pub fn api(&self) -> &Arc<Api> {
        &self.api
    }

    /// Takes no new connections, lets calls in progress end, then lets go of the nodes. Whether all calls had ended
    /// when the time allowed for it was over.
    pub fn stop(self) -> BoxFuture<'static, bool> {
        Box::pin(async move {
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
        })
    }
}
