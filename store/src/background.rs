//! The background thread of a store: one thread for work that is too slow for whoever noticed that it is due. Bounded;
//! when the queue is full, the work is not taken and will be noticed again. On a simulated disk there is no thread: jobs
//! wait for [`crate::steps`].

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::steps::Steps;

/// Jobs that may wait.
pub(crate) const QUEUE: usize = 256;

pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// The handle.
pub(crate) enum Background {
    /// Of the thread.
    Thread(Thread),
    /// Of the queue on a simulated disk.
    Steps(Arc<Steps>),
}

/// The thread and its queue.
pub(crate) struct Thread {
    queue: Mutex<Option<SyncSender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Background {
    /// Whether the job was taken.
    pub(crate) fn offer(&self, job: Job) -> bool {
        match self {
            Background::Thread(thread) => thread.offer(job),
            Background::Steps(steps) => steps.offer(job),
        }
    }

    /// Finishes what is queued, and ends.
    pub(crate) fn stop(&self) {
        match self {
            Background::Thread(thread) => thread.stop(),
            Background::Steps(steps) => steps.end_jobs(),
        }
    }

    /// The store was dropped, not closed: a thread finishes what is queued; on a simulated disk that is the end of the process.
    pub(crate) fn leave(&self) {
        match self {
            Background::Thread(thread) => thread.stop(),
            Background::Steps(steps) => steps.drop_jobs(),
        }
    }
}

impl Thread {
    pub(crate) fn start() -> std::io::Result<Thread> {
        let (queue, jobs) = sync_channel(QUEUE);
        let thread =
            std::thread::Builder::new().name("store-background".to_owned()).spawn(move || run(&jobs))?;
        Ok(Thread { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)) })
    }

    fn offer(&self, job: Job) -> bool {
        let queue = self.queue.lock();
        match queue.as_ref().map(|queue| queue.try_send(job)) {
            Some(Ok(())) => true,
            Some(Err(TrySendError::Full(_) | TrySendError::Disconnected(_))) | None => false,
        }
    }

    /// Lets the thread finish what is queued, and waits for it.
    fn stop(&self) {
        drop(self.queue.lock().take());
        let Some(thread) = self.thread.lock().take() else { return };
        // The last handle of a store may be dropped by a job; a thread cannot wait for itself.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the background thread of the store panicked");
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(jobs: &Receiver<Job>) {
    while let Ok(job) = jobs.recv() {
        job();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn queued_jobs_are_done_before_the_end() {
        let done = Arc::new(AtomicUsize::new(0));
        let background = Thread::start().unwrap();
        for _ in 0..10 {
            let done = Arc::clone(&done);
            let job = move || {
                done.fetch_add(1, Ordering::SeqCst);
            };
            assert!(background.offer(Box::new(job)));
        }
        background.stop();
        assert_eq!(done.load(Ordering::SeqCst), 10);
        assert!(!background.offer(Box::new(|| {})));
    }
}
