//! Connections between nodes that a test can cut and mend, both ways at once.
#![allow(clippy::unwrap_used, dead_code)]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;

const DEADLINE: Duration = Duration::from_secs(30);

/// Cables that are cut together.
pub struct Cables {
    cut: watch::Sender<bool>,
    /// Connections that are open.
    open: watch::Sender<usize>,
    runtime: Runtime,
}

impl Cables {
    pub fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Cables { cut: watch::Sender::new(false), open: watch::Sender::new(0), runtime }
    }

    /// The near end of a new cable to `far`.
    pub fn to(&self, far: &str) -> SocketAddr {
        let far: SocketAddr = far.parse().unwrap();
        let listener = self.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let near = listener.local_addr().unwrap();
        self.runtime.spawn(carry(listener, far, self.cut.subscribe(), self.open.clone()));
        near
    }

    /// Breaks all connections, and those to come. Nothing gets through when this returns.
    pub fn cut(&self) {
        self.cut.send_replace(true);
        let mut open = self.open.subscribe();
        let broken =
            async { tokio::time::timeout(DEADLINE, open.wait_for(|&open| open == 0)).await.map(drop) };
        self.runtime.block_on(broken).expect("all connections break");
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.cut.send_replace(false);
    }
}

async fn carry(
    listener: TcpListener,
    far: SocketAddr,
    cut: watch::Receiver<bool>,
    open: watch::Sender<usize>,
) {
    while let Ok((mut near, _)) = listener.accept().await {
        // Counted before it is looked at: whoever cuts waits for it, or it sees the cut.
        open.send_modify(|open| *open += 1);
        let (mut cut, open) = (cut.clone(), open.clone());
        tokio::spawn(async move {
            let carried = async {
                let Ok(mut far) = TcpStream::connect(far).await else { return };
                // Either end may hang up.
                let _ = copy_bidirectional(&mut near, &mut far).await;
            };
            tokio::select! {
                biased;
                _ = cut.wait_for(|&cut| cut) => {}
                () = carried => {}
            }
            open.send_modify(|open| *open -= 1);
        });
    }
}
