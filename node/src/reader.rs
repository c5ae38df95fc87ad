//! The one way out for reads: barrier -> state -> gate. A linearizable read is confirmed by a majority and, in SYNC, by
//! the away site, after it began; one confirmation serves all reads that were waiting for it. A stale read skips the
//! confirmation, never the gate.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use twinset_ledger::canary::{self, Canary};
use twinset_store::{Fault, LedgerReplica, Read};

use crate::fatal;
use crate::freshness::Basis;
use crate::gate::Gate;
use crate::platform::{self, Platform};
use crate::raft::{Group, ProposeError};

/// Reads that wait for the same confirmation.
const QUEUE: usize = 4096;
/// Reads of one set that may be at the disk at the same time; the others wait for their turn or their deadline.
const AT_DISK: usize = 16;
/// Commands that the dry runs of one set may try at the same time; the others wait for their turn or their deadline. A dry run
/// keeps what it has changed in memory until it is told.
const TRIED: usize = 16_016;
/// Reads of one set that may wait for something to happen.
const FOLLOWING: usize = 1024;
/// A confirmation that takes longer than this is given up; the router asks again.
const CONFIRM_TIMEOUT: Duration = Duration::from_millis(1000);

/// Handle to the reader of one set replica.
#[derive(Clone)]
pub struct Reader {
    queue: mpsc::Sender<oneshot::Sender<Result<(), ReadError>>>,
    group: Group,
    state: LedgerReplica,
    gate: Arc<Gate>,
    at_disk: Arc<Semaphore>,
    tried: Arc<Semaphore>,
    following: Arc<Semaphore>,
    platform: Arc<dyn Platform>,
}

/// Why a read got no answer. All are safe to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Ask the leader, if it is known.
    #[error("this replica does not lead the set")]
    NotLeader {
        /// A replica of the set.
        leader: Option<u64>,
    },
    /// The leadership could not be confirmed in time, by a majority or by the away site.
    #[error("the read was not confirmed in time")]
    NotConfirmed,
    /// Too many reads wait.
    #[error("too many reads are waiting")]
    Overloaded,
}

impl Reader {
    /// Starts the reader of a replica.
    pub fn start(group: Group, state: LedgerReplica, gate: Arc<Gate>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(confirm_all(group.clone(), gate.clone(), waiting));
        let platform = group.platform();
        let [at_disk, tried, following] =
            [AT_DISK, TRIED, FOLLOWING].map(|permits| Arc::new(Semaphore::new(permits)));
        Reader { queue, group, state, gate, at_disk, tried, following, platform }
    }

    /// Confirms that what is read from now on is not older than now.
    pub async fn barrier(&self) -> Result<(), ReadError> {
        let (sender, confirmed) = oneshot::channel();
        self.queue.try_send(sender).map_err(|_| ReadError::Overloaded)?;
        confirmed.await.map_err(|_| ReadError::NotConfirmed)?
    }

    /// What an unconfirmed answer could be based on. Taken before the state is read. None: nobody can say yet how old it is.
    pub fn basis(&self) -> Option<Basis> {
        self.gate.basis(self.group.is_leader())
    }

    /// How old an answer of now is, on that basis.
    pub fn age_ms(&self, basis: Basis, time_unix_ns: u64) -> u64 {
        basis.age_ms(time_unix_ns, self.platform.now_unix_ns())
    }

    /// Reads the applied state and waits until the gate is open for all of it. The caller brings the deadline.
    pub async fn read<T>(&self, query: impl FnOnce(&LedgerReplica) -> Read<T>) -> Read<T> {
        let read = query(&self.state);
        self.gated(read.index).await;
        read
    }

    /// The same for a query that may wait for the disk: it does so on a thread that nothing else needs. A fault ends the node,
    /// even if the caller has given up.
    pub async fn read_at_disk<T: Send + 'static>(
        &self,
        query: impl FnOnce(&LedgerReplica) -> Result<Read<T>, Fault> + Send + 'static,
    ) -> Read<T> {
        let turn = self.at_disk.clone().acquire_owned().await.expect("it is never closed");
        let state = self.state.clone();
        let machine = self.platform.clone();
        let reading = platform::blocking(&*self.platform, move || {
            let read = query(&state).unwrap_or_else(|fault| fatal::stop(&*machine, &fault.to_string()));
            drop(turn);
            read
        });
        let read = match reading.await {
            Ok(read) => read,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime shuts down, and whoever waits here with it.
            Err(_) => std::future::pending().await,
        };
        self.gated(read.index).await;
        read
    }

    /// A turn to try so many commands, which are far fewer than may be tried at the same time.
    pub async fn turn_to_try(&self, commands: u32) -> OwnedSemaphorePermit {
        self.tried.clone().acquire_many_owned(commands).await.expect("it is never closed")
    }

    /// Up to where entries are applied here and may leave.
    pub fn settled(&self) -> watch::Receiver<u64> {
        self.gate.settled()
    }

    /// A place among those that wait for something to happen; None: there are too many.
    pub fn follow(&self) -> Option<OwnedSemaphorePermit> {
        self.following.clone().try_acquire_owned().ok()
    }

    async fn gated(&self, index: u64) {
        if !canary::on(Canary::UngatedRead) {
            self.gate.wait(index).await;
        }
        if self.state.has_stopped() {
            // It may have read the middle of an entry, and the process is about to end.
            std::future::pending().await
        }
    }
}

async fn confirm_all(
    group: Group,
    gate: Arc<Gate>,
    mut waiting: mpsc::Receiver<oneshot::Sender<Result<(), ReadError>>>,
) {
    while let Some(first) = waiting.recv().await {
        let mut readers = vec![first];
        while let Ok(next) = waiting.try_recv() {
            readers.push(next);
        }
        let began = Instant::now();
        let confirmation = async {
            if canary::on(Canary::StaleLeaderRead) && group.is_leader() {
                return Ok(());
            }
            group.read_barrier().await.map_err(|error| match error {
                ProposeError::NotLeader { leader } => ReadError::NotLeader { leader },
                ProposeError::Unknown | ProposeError::Refused(_) => ReadError::NotConfirmed,
            })?;
            if !canary::on(Canary::ReadWithoutAwaySite) {
                gate.wait_for_away_site(began).await;
            }
            Ok(())
        };
        let result = tokio::time::timeout(CONFIRM_TIMEOUT, confirmation).await;
        let result = result.unwrap_or(Err(ReadError::NotConfirmed));
        for reader in readers {
            // The reader may have given up at its deadline.
            let _ = reader.send(result);
        }
    }
}
