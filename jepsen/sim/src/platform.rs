//! One simulated machine, as the node or the router on it sees it: turmoil's network, a clock that may be wrong, no threads,
//! and a process that can end without ending the simulation. Above it: `cluster.rs`.

use std::io;
use std::net::SocketAddr;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use http::Uri;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint};
use tracing::trace;
use turmoil::net::{TcpListener, TcpStream};
use twinset_node::platform as node;
use twinset_router::platform as router;

use crate::chance;

/// A process's life. After its end nothing of it is heard any more, although its tasks are dropped only at the end of the
/// simulation's step.
#[derive(Default)]
pub struct Life {
    ended: AtomicBool,
    reason: Mutex<Option<String>>,
}

impl Life {
    /// Why the process has ended by itself.
    pub fn reason(&self) -> Option<String> {
        self.reason.lock().clone()
    }

    fn end(&self, reason: &str) {
        self.reason.lock().get_or_insert_with(|| reason.to_owned());
        self.ended.store(true, Ordering::Relaxed);
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// How far a machine's wall clock is off, in milliseconds. It survives its processes.
#[derive(Clone, Default)]
pub struct Skew(Arc<SkewCell>);

#[derive(Default)]
struct SkewCell {
    ms: AtomicI64,
    reads: AtomicU64,
}

impl Skew {
    /// The clock jumps, or is put right with 0.
    pub fn set(&self, ms: i64) {
        self.0.ms.store(ms, Ordering::Relaxed);
    }

    /// How often a process has read a wrong time.
    pub fn reads(&self) -> u64 {
        self.0.reads.load(Ordering::Relaxed)
    }

    fn read(&self) -> i64 {
        let ms = self.0.ms.load(Ordering::Relaxed);
        if ms != 0 {
            self.0.reads.fetch_add(1, Ordering::Relaxed);
        }
        ms
    }
}

/// A simulated machine with one process.
pub struct Simulated {
    life: Arc<Life>,
    skew: Skew,
}

impl Simulated {
    /// For one start of a process.
    pub fn new(life: Arc<Life>, skew: Skew) -> Simulated {
        Simulated { life, skew }
    }

    /// A machine that nothing happens to.
    pub fn sound() -> Simulated {
        Simulated::new(Arc::default(), Skew::default())
    }

    async fn open(&self, at: SocketAddr) -> io::Result<Port> {
        // Loopback of a simulated machine is its own; its peers come in by its name.
        let listener = TcpListener::bind(("0.0.0.0", at.port())).await?;
        Ok(Port { listener, at, life: self.life.clone() })
    }

    /// A connection to `MACHINE:PORT`.
    pub async fn stream_to(&self, to: &str) -> io::Result<Connection> {
        Ok(Connection { stream: TcpStream::connect(to).await?, life: self.life.clone() })
    }

    fn connect(&self, endpoint: &Endpoint) -> BoxFuture<'static, Result<Channel, tonic::transport::Error>> {
        let connector = Connector { life: self.life.clone() };
        let endpoint = endpoint.clone();
        Box::pin(async move { endpoint.connect_with_connector(connector).await })
    }
}

/// Connects from a machine that runs neither node nor router.
pub async fn dial(from: &Simulated, endpoint: &Endpoint) -> Result<Channel, tonic::transport::Error> {
    from.connect(endpoint).await
}

impl node::Platform for Simulated {
    fn connect(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Box<dyn node::Stream>>> {
        let (to, life) = (format!("{host}:{port}"), self.life.clone());
        Box::pin(async move {
            let stream = TcpStream::connect(to).await?;
            Ok(Box::new(Connection { stream, life }) as Box<dyn node::Stream>)
        })
    }

    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn node::Listener>>> {
        Box::pin(async move { Ok(Box::new(self.open(at).await?) as Box<dyn node::Listener>) })
    }

    fn now_unix_ns(&self) -> u64 {
        let right = chance::EPOCH + turmoil::sim_elapsed().expect("a node runs on a simulated machine");
        let ms = self.skew.read();
        let skew = Duration::from_millis(ms.unsigned_abs());
        let told = if ms < 0 { right.saturating_sub(skew) } else { right + skew };
        u64::try_from(told.as_nanos()).expect("the clock is before 2554")
    }

    fn has_threads(&self) -> bool {
        false
    }

    fn end(&self, reason: &str) -> ! {
        self.life.end(reason);
        // Ends the task that has called, without the noise of a panic; the others end with the step.
        resume_unwind(Box::new("this simulated process has ended"))
    }
}

impl router::Platform for Simulated {
    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn router::Listener>>> {
        Box::pin(async move { Ok(Box::new(self.open(at).await?) as Box<dyn router::Listener>) })
    }
}

impl router::Dial for Simulated {
    fn dial(&self, endpoint: Endpoint) -> BoxFuture<'static, Result<Channel, tonic::transport::Error>> {
        self.connect(&endpoint)
    }
}

struct Port {
    listener: TcpListener,
    at: SocketAddr,
    life: Arc<Life>,
}

impl Port {
    async fn next(&self) -> io::Result<(Connection, SocketAddr)> {
        let (stream, from) = self.listener.accept().await?;
        Ok((Connection { stream, life: self.life.clone() }, from))
    }
}

impl node::Listener for Port {
    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn node::Stream>, SocketAddr)>> {
        Box::pin(async move {
            let (connection, from) = self.next().await?;
            Ok((Box::new(connection) as Box<dyn node::Stream>, from))
        })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.at)
    }
}

impl router::Listener for Port {
    fn accept(&self) -> BoxFuture<'_, io::Result<Box<dyn router::Stream>>> {
        Box::pin(async move { Ok(Box::new(self.next().await?.0) as Box<dyn router::Stream>) })
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.at)
    }
}

/// What tonic connects with.
struct Connector {
    life: Arc<Life>,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Connection>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<Connection>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let life = self.life.clone();
        Box::pin(async move {
            let (Some(host), Some(port)) = (to.host(), to.port_u16()) else {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{to} is no address")));
            };
            let stream = TcpStream::connect((host, port)).await?;
            Ok(TokioIo::new(Connection { stream, life }))
        })
    }
}

/// A connection of a process: silent from its end on.
pub struct Connection {
    stream: TcpStream,
    life: Arc<Life>,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.life.has_ended() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.life.has_ended() {
            return Poll::Pending;
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let (Poll::Ready(Ok(count)), Ok(to)) = (&written, self.stream.peer_addr()) {
            trace!(%to, bytes = &bytes[..*count], "sent");
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
