//! The connections of one port, for both protocols: at most so many at a time, the next one told so and closed, and at
//! the end those that are open may finish what they were asked. Knows nothing of what is said on them; above it:
//! [`crate::http`] and [`crate::grpc_server`].

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::platform::{Listener, Stream};

/// How many connections a port has at most, and what the next one hears before it is closed.
#[derive(Clone, Copy, Debug)]
pub struct Bound {
    /// Open connections.
    pub connections_max: usize,
    /// Written without waiting: a courtesy, since the connection is closed either way.
    pub full: &'static [u8],
}

/// Serves each connection with `serve` until `stop`, then lets what is in progress end.
pub async fn serve<C>(
    listener: Box<dyn Listener>,
    bound: Bound,
    metrics: &Metrics,
    stop: CancellationToken,
    serve: impl Fn(Box<dyn Stream>) -> C,
) where
    C: GracefulConnection + Send + 'static,
{
    let places = Arc::new(Semaphore::new(bound.connections_max));
    let graceful = GracefulShutdown::new();
    let tasks = TaskTracker::new();
    loop {
        let mut stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    // Usually out of file descriptors: give those in use a moment to be closed.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            metrics.connection_refused();
            let _ = stream.write(bound.full).now_or_never();
            continue;
        };
        let connection = graceful.watch(serve(stream));
        tasks.spawn(async move {
            // Clients break connections all the time; there is nobody to tell.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
    tasks.close();
    tasks.wait().await;
}
