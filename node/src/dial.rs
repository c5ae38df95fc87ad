//! How this node opens gRPC connections to other nodes, and the limits that both ends of one keep: one place, so that all
//! of them notice a dead peer equally soon. What is said over a connection, and when to try again, is for the callers.

use std::time::Duration;

use futures::future::BoxFuture;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status, Streaming};

use crate::platform::Platform;

/// Entries are cut at 1 MiB and catalogues are small; one entry or one call may be larger.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// What may be under way without an acknowledgement: enough for a long line between the sites.
pub const STREAM_WINDOW_BYTES: u32 = 16 << 20;

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const OPEN_TIMEOUT: Duration = Duration::from_secs(1);
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// There is no connection.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {address}: {cause}")]
pub struct Error {
    address: String,
    cause: String,
}

/// Connects to a node at `address`, or says soon why not. A connection that falls silent is broken within two seconds,
/// idle or not.
pub fn connect<'a>(platform: &'a dyn Platform, address: &'a str) -> BoxFuture<'a, Result<Channel, Error>> {
    Box::pin(async move {
        let failed = |error| Error { address: address.to_owned(), cause: cause(&error) };
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(failed)?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            // Small frames must not wait for the peer's delayed acknowledgement.
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(STREAM_WINDOW_BYTES);
        platform.dial(endpoint).await.map_err(failed)
    })
}

/// The answers of a stream that is being opened. A node answers that at once; a connection that breaks in this very moment may
/// leave the call hanging for ever, however lively the node is, so it is given up soon.
pub(crate) async fn opened<T>(
    opening: impl Future<Output = Result<Response<Streaming<T>>, Status>>,
) -> Result<Streaming<T>, Status> {
    match tokio::time::timeout(OPEN_TIMEOUT, opening).await {
        Ok(response) => Ok(response?.into_inner()),
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}

/// The innermost reason: the outer ones only say that it is about a connection.
fn cause(error: &tonic::transport::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::connect;
    use crate::platform::System;

    #[tokio::test]
    async fn a_failure_names_the_address_and_the_cause() {
        // Bound and closed again: nobody listens there.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let error = connect(&System, &address).await.unwrap_err().to_string();
        assert!(error.contains(&address) && error.contains("refused"), "{error}");
        let error = connect(&System, "no address").await.unwrap_err().to_string();
        assert!(error.starts_with("cannot connect to no address: "), "{error}");
    }
}
