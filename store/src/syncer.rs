//! The syncer: one thread of the store that makes unsynced writes durable for all sets at once. It takes every callback
//! that is waiting, syncs the write-ahead log once, and calls them in the order they came. It knows nothing of what
//! the callbacks are for. Above it are the logs; below it is [`crate::engine`]. On a simulated disk there is no thread:
//! callbacks wait for [`crate::steps`].

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::fault::Fault;
use crate::steps::Steps;

/// Called once, by the syncer's thread, when what was written before it is on disk, or never will be.
pub type Done = Box<dyn FnOnce(Result<(), Fault>) + Send>;

enum Work {
    Call(Done),
    Stop,
}

/// The handle that logs push their callbacks to.
pub(crate) enum Syncer {
    /// To the thread.
    Thread(Thread),
    /// To the owner of a simulated disk.
    Steps(Arc<Steps>),
}

/// The thread and its queue.
pub(crate) struct Thread {
    queue: SyncSender<Work>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Syncer {
    /// Queues a callback behind what the caller has just written. Waits while the queue is full.
    pub(crate) fn push(&self, done: Done) -> Result<(), Fault> {
        match self {
            Syncer::Thread(thread) => thread.push(done),
            Syncer::Steps(steps) => steps.push(done),
        }
    }

    /// Returns when everything that was written before is on disk. Not for the syncer's own thread.
    pub(crate) fn wait(&self) -> Result<(), Fault> {
        match self {
            Syncer::Thread(thread) => thread.wait(),
            Syncer::Steps(steps) => steps.wait(),
        }
    }

    /// Serves what is queued, then ends. Later pushes fail.
    pub(crate) fn stop(&self) {
        match self {
            Syncer::Thread(thread) => thread.stop(),
            Syncer::Steps(steps) => steps.end_calls(),
        }
    }
}

impl Thread {
    /// Starts the thread. `sync` makes everything written so far durable.
    pub(crate) fn start(
        queue_max: usize,
        sync: impl FnMut() -> Result<(), Fault> + Send + 'static,
    ) -> std::io::Result<Thread> {
        let (queue, waiting) = sync_channel(queue_max);
        let thread =
            std::thread::Builder::new().name("store-sync".to_owned()).spawn(move || run(&waiting, sync))?;
        Ok(Thread { queue, thread: Mutex::new(Some(thread)) })
    }

    fn push(&self, done: Done) -> Result<(), Fault> {
        self.queue.send(Work::Call(done)).map_err(|_| Fault::Closed)
    }

    fn wait(&self) -> Result<(), Fault> {
        let (tell, told) = sync_channel(1);
        self.push(Box::new(move |result| drop(tell.send(result))))?;
        told.recv().unwrap_or(Err(Fault::Closed))
    }

    fn stop(&self) {
        let Some(thread) = self.thread.lock().take() else { return };
        // A failed send means that the thread has ended by itself.
        drop(self.queue.send(Work::Stop));
        // The last handle of a store may be dropped by a callback; a thread cannot wait for itself.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the sync thread panicked");
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(waiting: &Receiver<Work>, mut sync: impl FnMut() -> Result<(), Fault>) {
    let mut stop = false;
    let mut calls = Vec::new();
    while !stop {
        let Ok(first) = waiting.recv() else { return };
        let mut next = Some(first);
        while let Some(work) = next {
            match work {
                Work::Call(done) => calls.push(done),
                Work::Stop => {
                    stop = true;
                    break;
                }
            }
            next = waiting.try_recv().ok();
        }
        let result = sync();
        if let Err(fault) = &result {
            tracing::error!(%fault, "sync failed");
        }
        for done in calls.drain(..) {
            done(result.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn callbacks_come_in_order_and_share_syncs() {
        let syncs = Arc::new(AtomicUsize::new(0));
        let (open, gate) = sync_channel::<()>(0);
        let count = Arc::clone(&syncs);
        let syncer = Thread::start(64, move || {
            if count.fetch_add(1, Ordering::SeqCst) == 0 {
                gate.recv().unwrap();
            }
            Ok(())
        })
        .unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        for number in 0..50 {
            let seen = Arc::clone(&seen);
            syncer.push(Box::new(move |result| seen.lock().push((number, result)))).unwrap();
        }
        open.send(()).unwrap();
        syncer.stop();
        let seen = seen.lock();
        assert_eq!(*seen, (0..50).map(|number| (number, Ok(()))).collect::<Vec<_>>());
        assert!(syncs.load(Ordering::SeqCst) <= 3);
    }

    #[test]
    fn a_failed_sync_reaches_every_callback() {
        let fault = Fault::DiskFull { operation: "sync" };
        let answer = fault.clone();
        let syncer = Thread::start(4, move || Err(answer.clone())).unwrap();
        assert_eq!(syncer.wait(), Err(fault.clone()));
        assert_eq!(syncer.wait(), Err(fault));
        syncer.stop();
        assert_eq!(syncer.wait(), Err(Fault::Closed));
    }
}
