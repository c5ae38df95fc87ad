//! What a node takes from the machine that it runs on: the network, the wall clock, threads for what waits for a disk, and
//! the end of its process. It is given at composition, so that many nodes can run in one simulated world. Nothing else in
//! this crate opens a port, connects, reads the wall clock, starts a thread or exits. Monotonic time is tokio's.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinError;
use tonic::transport::{Channel, Endpoint};
pub use twinset_dispatch::dial::Dial;

use crate::{clock, fatal};

/// Bytes to and from another process.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open port.
pub trait Listener: Send + Sync {
    /// The next connection, and where it comes from.
    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>>;

    /// Where it listens.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A machine, as one process sees it.
pub trait Platform: Dial {
    /// Connects to a machine, by its name or address, and a port: where nodes do not speak gRPC, and below [`Dial`].
    fn connect(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Box<dyn Stream>>>;

    /// Opens a port.
    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>>;

    /// The wall clock, in nanoseconds since the Unix epoch.
    fn now_unix_ns(&self) -> u64;

    /// Whether there are threads beside the one that calls; without, what waits for a disk holds everything else up.
    fn has_threads(&self) -> bool;

    /// Ends this process because of a fault, which was logged: nothing of it is answered after that.
    fn end(&self, reason: &str) -> !;
}

/// The machine itself.
pub struct System;

impl Platform for System {
    fn connect(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let host = host.to_owned();
        Box::pin(async move {
            let stream = tokio::net::TcpStream::connect((host, port)).await?;
            // Small frames must not wait for the peer's delayed acknowledgement; an error only costs that.
            let _ = stream.set_nodelay(true);
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }

    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = tokio::net::TcpListener::bind(at).await?;
            Ok(Box::new(listener) as Box<dyn Listener>)
        })
    }

    fn now_unix_ns(&self) -> u64 {
        clock::now_unix_ns()
    }

    fn has_threads(&self) -> bool {
        true
    }

    #[allow(unsafe_code)]
    fn end(&self, _: &str) -> ! {
        // Not `exit`, which runs what C++ wants to destroy, for a second, while other threads go on.
        // SAFETY: it only ends the process; the log is written line by line.
        unsafe { libc::_exit(fatal::EXIT_FAULT) }
    }
}

impl Dial for System {
    fn dial(&self, endpoint: Endpoint) -> BoxFuture<'static, Result<Channel, tonic::transport::Error>> {
        Box::pin(async move { endpoint.connect().await })
    }
}

impl Listener for tokio::net::TcpListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
        Box::pin(async move {
            let (stream, from) = tokio::net::TcpListener::accept(self).await?;
            // Small frames must not wait for the peer's delayed acknowledgement; an error only costs that.
            let _ = stream.set_nodelay(true);
            Ok((Box::new(stream) as Box<dyn Stream>, from))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        tokio::net::TcpListener::local_addr(self)
    }
}

/// The machine itself, to be handed around.
pub fn system() -> Arc<dyn Platform> {
    Arc::new(System)
}

/// Does what waits for a disk: on a thread that nothing else needs, if there is one.
pub async fn blocking<T: Send + 'static>(
    platform: &dyn Platform,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    if platform.has_threads() { tokio::task::spawn_blocking(job).await } else { Ok(job()) }
}
