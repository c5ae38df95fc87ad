//! What a router takes from the machine that it runs on: ports and connections. It is given at composition, so that
//! many routers can run in one simulated world. Monotonic time is tokio's; the router reads no other clock.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use hyper::header::HeaderValue;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::{Channel, Endpoint};
pub use twinset_dispatch::dial::Dial;

/// Bytes to and from another process.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open port.
pub trait Listener: Send + Sync {
    /// The next connection.
    fn accept(&self) -> BoxFuture<'_, io::Result<Box<dyn Stream>>>;

    /// Where it listens.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// A machine, as one process sees it.
pub trait Platform: Dial {
    /// Opens a port.
    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>>;
}

/// The machine itself.
pub struct System {
    /// Who calls, for the nodes, if that is to be said.
    user_agent: Option<HeaderValue>,
}

impl Platform for System {
    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = tokio::net::TcpListener::bind(at).await?;
            Ok(Box::new(listener) as Box<dyn Listener>)
        })
    }
}

impl Dial for System {
    fn dial(&self, endpoint: Endpoint) -> BoxFuture<'static, Result<Channel, tonic::transport::Error>> {
        let endpoint = match &self.user_agent {
            Some(user_agent) => endpoint.user_agent(user_agent.clone()),
            None => Ok(endpoint),
        };
        Box::pin(async move { endpoint?.connect().await })
    }
}

impl Listener for tokio::net::TcpListener {
    fn accept(&self) -> BoxFuture<'_, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let (stream, _) = tokio::net::TcpListener::accept(self).await?;
            // Without it small replies wait for the client's acknowledgement; an error only costs that.
            let _ = stream.set_nodelay(true);
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        tokio::net::TcpListener::local_addr(self)
    }
}

/// The machine itself, to be handed around; with who calls, for the nodes, if that is to be said.
pub fn system(user_agent: Option<HeaderValue>) -> Arc<dyn Platform> {
    Arc::new(System { user_agent })
}
