//! The node's open ports: opened before the store is touched, so that a second process on the same ports stops at once, and
//! bounded in connections, so that a peer that leaks them cannot take the last file descriptor. What is served on them is
//! `node.rs`'s; the sending side is [`crate::dial`].

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use futures::{Stream, stream};
use hyper::header::USER_AGENT;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Status};
use tracing::{debug, warn};

use crate::config::Config;
use crate::dial::STREAM_WINDOW_BYTES;
use crate::drill_faults::lines::{Door, Line, Lines};
use crate::drill_faults::stream::Harmable;
use crate::platform::{self, Listener, Platform, System};

/// Open connections of one port. Nodes, routers and operators need a few each; one more is closed at once.
const CONNECTIONS_MAX: usize = 1024;
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// After a failed accept: usually the process is out of file descriptors, and some are about to be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Ports that are open and not served yet.
pub struct Listeners {
    pub(crate) api: Port,
    pub(crate) peer: Port,
    pub(crate) http: Port,
}

impl Listeners {
    /// Opens all ports of the configuration.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        Listeners::open_on(&System, config).await
    }

    /// The same on another platform.
    pub async fn open_on(platform: &dyn Platform, config: &Config) -> anyhow::Result<Self> {
        let listen = &config.listen;
        Ok(Listeners {
            api: Port::open(platform, "listen.api", listen.api).await?,
            peer: Port::open(platform, "listen.peer", listen.peer).await?,
            http: Port::open(platform, "listen.http", listen.http).await?,
        })
    }
}

/// A gRPC server with the settings of this node; services are added by the caller.
pub(crate) fn server() -> Server {
    Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(STREAM_WINDOW_BYTES)
}

/// An open port with a place for each connection.
pub(crate) struct Port {
    listener: Box<dyn Listener>,
    places: Arc<Semaphore>,
    /// Where connections are added that drills may cut; as what kind.
    harmable: Option<(Arc<Lines>, Door)>,
}

impl Port {
    async fn open(platform: &dyn Platform, key: &str, addr: SocketAddr) -> anyhow::Result<Self> {
        let listener =
            platform.listen(addr).await.with_context(|| format!("{key}: cannot listen on {addr}"))?;
        Ok(Port { listener, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)), harmable: None })
    }

    /// The same, with connections that drills may cut, if there are such lines.
    pub(crate) fn harmable(self, lines: Option<&Arc<Lines>>, door: Door) -> Port {
        Port { harmable: lines.map(|lines| (lines.clone(), door)), ..self }
    }

    /// The next connection that there is a place for.
    async fn next(&self) -> (Connection, SocketAddr) {
        loop {
            let (stream, from) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(place) = self.places.clone().try_acquire_owned() else {
                debug!(%from, "too many connections, one more is closed");
                continue;
            };
            let line = self.harmable.as_ref().map(|(lines, door)| lines.accepted(*door));
            let stream: Box<dyn platform::Stream> = match &line {
                Some(line) => Box::new(Harmable::new(stream, line.clone())),
                None => stream,
            };
            return (Connection { stream, line, _place: place }, from);
        }
    }

    /// The connections, for a gRPC server.
    pub(crate) fn incoming(self) -> impl Stream<Item = io::Result<Connection>> {
        stream::unfold(self, |port| async move {
            let (connection, _) = port.next().await;
            Some((Ok(connection), port))
        })
    }
}

impl axum::serve::Listener for Port {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        self.next().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection, which holds its place until it is closed.
pub(crate) struct Connection {
    stream: Box<dyn platform::Stream>,
    line: Option<Arc<Line>>,
    _place: OwnedSemaphorePermit,
}

/// The connection that a call came in by, if drills may cut it.
#[derive(Clone)]
pub(crate) struct CameBy(Option<Arc<Line>>);

impl Connected for Connection {
    type ConnectInfo = CameBy;

    fn connect_info(&self) -> CameBy {
        CameBy(self.line.clone())
    }
}

/// Before each call but those about faults: has its connection know who calls, and lets no call in over a cut.
pub(crate) fn heard(call: Request<()>) -> Result<Request<()>, Status> {
    let Some(CameBy(Some(line))) = call.extensions().get::<CameBy>() else { return Ok(call) };
    let user_agent = call.metadata().get(USER_AGENT.as_str()).and_then(|text| text.to_str().ok());
    // The refusal does not arrive before the cut ends.
    if line.called(user_agent) { Ok(call) } else { Err(Status::unavailable("a drill cuts this connection")) }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn one_connection_too_many_is_closed_and_a_closed_one_gives_its_place_back() {
        let mut port = Port::open(&System, "test", "127.0.0.1:0".parse().unwrap()).await.unwrap();
        port.places = Arc::new(Semaphore::new(1));
        let addr = port.listener.local_addr().unwrap();
        let mut first = TcpStream::connect(addr).await.unwrap();
        let (mut served, _) = port.next().await;
        let mut second = TcpStream::connect(addr).await.unwrap();
        let accepting = tokio::spawn(async move { port.next().await });
        assert_eq!(second.read(&mut [0; 1]).await.unwrap(), 0, "closed without a word");
        served.write_all(b"x").await.unwrap();
        assert_eq!(first.read(&mut [0; 1]).await.unwrap(), 1, "the first one works");
        drop(served);
        let _third = TcpStream::connect(addr).await.unwrap();
        tokio::time::timeout(Duration::from_secs(20), accepting).await.unwrap().unwrap();
    }
}
