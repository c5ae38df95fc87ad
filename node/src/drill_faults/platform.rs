//! The machine of a node that drills may harm: the connections that it opens can be cut, and its wall clock put ahead
//! or back. Those that it accepts go through [`crate::listen`]. All else is the machine's below.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Poll};

use futures::future::{BoxFuture, poll_fn};
use hyper::Uri;
use hyper_util::rt::TokioIo;
use tonic::codegen::Service;
use tonic::transport::{Channel, Endpoint};

use super::lines::Lines;
use super::stream::Harmable;
use crate::platform::{Dial, Listener, Platform, Stream};

/// A machine over another one.
pub(super) struct HarmableMachine {
    pub(super) below: Arc<dyn Platform>,
    pub(super) lines: Arc<Lines>,
    /// How far the wall clock is ahead, in nanoseconds.
    pub(super) ahead_ns: Arc<AtomicI64>,
    /// Who calls, for the other ends.
    pub(super) user_agent: String,
}

impl Platform for HarmableMachine {
    fn connect(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let opened = Connector { below: self.below.clone(), lines: self.lines.clone() }.open(host, port);
        Box::pin(async move { Ok(Box::new(opened.await?) as Box<dyn Stream>) })
    }

    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        self.below.listen(at)
    }

    fn now_unix_ns(&self) -> u64 {
        self.below.now_unix_ns().saturating_add_signed(self.ahead_ns.load(Ordering::Relaxed))
    }

    fn has_threads(&self) -> bool {
        self.below.has_threads()
    }

    fn end(&self, reason: &str) -> ! {
        self.below.end(reason)
    }
}

impl Dial for HarmableMachine {
    fn dial(&self, endpoint: Endpoint) -> BoxFuture<'static, Result<Channel, tonic::transport::Error>> {
        let connector = Connector { below: self.below.clone(), lines: self.lines.clone() };
        let endpoint = endpoint.user_agent(self.user_agent.clone());
        Box::pin(async move { endpoint?.connect_with_connector(connector).await })
    }
}

/// What tonic connects with.
struct Connector {
    below: Arc<dyn Platform>,
    lines: Arc<Lines>,
}

impl Connector {
    fn open(&self, host: &str, port: u16) -> impl Future<Output = io::Result<Harmable>> + Send + use<> {
        let line = self.lines.dialled(format!("{host}:{port}"));
        let (below, host) = (self.below.clone(), host.trim_matches(['[', ']']).to_owned());
        async move {
            // Nobody answers over a cut: whoever connects has a timeout.
            poll_fn(|cx| line.poll_open(cx)).await;
            let stream = below.connect(&host, port).await?;
            Ok(Harmable::new(stream, line))
        }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Harmable>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<Harmable>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (Some(host), Some(port)) = (to.host(), to.port_u16()) else {
            let wrong = io::Error::new(io::ErrorKind::InvalidInput, format!("{to} is no address"));
            return Box::pin(async move { Err(wrong) });
        };
        let opened = self.open(host, port);
        Box::pin(async move { opened.await.map(TokioIo::new) })
    }
}
