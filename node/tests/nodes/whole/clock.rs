//! The machine itself with its clock put forward: what has its time is over when the test says so, however busy the machine is.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tonic::transport::{Channel, Endpoint};
use twinset_node::platform::{Dial, Listener, Platform, Stream, System};

/// That machine, shared by the nodes of a cluster.
#[derive(Default)]
pub struct Clock {
    ahead_ns: AtomicU64,
}

impl Clock {
    /// One that is right so far.
    pub fn new() -> Arc<Clock> {
        Arc::default()
    }

    /// It is later by so much.
    pub fn forward(&self, by: Duration) {
        self.ahead_ns.fetch_add(u64::try_from(by.as_nanos()).unwrap(), Ordering::SeqCst);
    }

    /// So much later than now, in nanoseconds since the Unix epoch.
    pub fn after(&self, time: Duration) -> u64 {
        self.now_unix_ns() + u64::try_from(time.as_nanos()).unwrap()
    }
}

impl Platform for Clock {
    fn connect(&self, host: &str, port: u16) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        System.connect(host, port)
    }

    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        System.listen(at)
    }

    fn now_unix_ns(&self) -> u64 {
        System.now_unix_ns() + self.ahead_ns.load(Ordering::SeqCst)
    }

    fn has_threads(&self) -> bool {
        true
    }

    fn end(&self, reason: &str) -> ! {
        System.end(reason)
    }
}

impl Dial for Clock {
    fn dial(&self, endpoint: Endpoint) -> BoxFuture<'static, Result<Channel, tonic::transport::Error>> {
        System.dial(endpoint)
    }
}
