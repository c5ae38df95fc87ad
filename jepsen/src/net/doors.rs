//! Doors from our own network into the others: a listener on the host's 127.0.0.1, and behind it a connection made inside a
//! namespace. What the harness asks nodes goes in at their own end, past every fault; what clients ask goes in at the
//! clients' end, and crosses the links from there.
//!
//! A door accepts before it knows whether anybody listens behind it: where nobody does, the connection is closed at once.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::namespace::Namespace;

/// What may pass one door at once; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 1_024;
/// Large enough that a batch passes in a few steps, small enough for many connections.
const BUFFER_BYTES: usize = 64 << 10;
/// After a failure to accept, as when descriptors run out.
const BREATH: Duration = Duration::from_millis(50);

/// Open doors; they close when this is dropped.
#[derive(Default)]
pub struct Doors {
    tasks: JoinSet<()>,
}

impl Doors {
    /// Opens a door at `at` (port 0: any) to `dial` as `inside` knows it; gives the address to use. Wants a runtime.
    pub fn open(
        &mut self,
        at: SocketAddr,
        inside: Arc<Namespace>,
        dial: SocketAddr,
    ) -> anyhow::Result<SocketAddr> {
        let listener = StdListener::bind(at).with_context(|| format!("no door at {at}"))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let at = listener.local_addr()?;
        self.tasks.spawn(serve(listener, inside, dial));
        Ok(at)
    }

    /// Closes all doors and waits until nothing passes any more.
    pub async fn close(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn serve(listener: TcpListener, inside: Arc<Namespace>, dial: SocketAddr) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if open.len() < CONNECTIONS_MAX => match accepted {
                Ok((outer, _)) => {
                    open.spawn(pass(outer, inside.clone(), dial));
                }
                Err(_) => tokio::time::sleep(BREATH).await,
            },
            // How a connection ended is for its two ends, who have seen it.
            Some(_) = open.join_next() => {}
        }
    }
}

async fn pass(mut outer: TcpStream, inside: Arc<Namespace>, dial: SocketAddr) -> io::Result<()> {
    let made = tokio::task::spawn_blocking(move || inside.run(TcpSocket::new_v4)).await;
    let socket = made.map_err(io::Error::other)???;
    socket.set_nodelay(true)?;
    outer.set_nodelay(true)?;
    let mut inner = socket.connect(dial).await?;
    tokio::io::copy_bidirectional_with_sizes(&mut outer, &mut inner, BUFFER_BYTES, BUFFER_BYTES).await?;
    Ok(())
}
