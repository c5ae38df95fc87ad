//! The work of a store on a simulated disk that its callers do not wait for: callbacks that wait for a sync, and background
//! jobs. It waits here until the disk's owner says that it happens, one step at a time and on the owner's thread, so
//! that the moment of a sync or a checkpoint is a choice like any other. In the place of the threads of
//! [`crate::syncer`] and [`crate::background`], which are above.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::background::{Job, QUEUE};
use crate::disk::{Pending, SimDisk};
use crate::engine::Engine;
use crate::fault::Fault;
use crate::syncer::Done;

/// The queues of one open store.
pub(crate) struct Steps {
    disk: SimDisk,
    engine: Arc<Engine>,
    calls_max: usize,
    queues: Mutex<Queues>,
}

#[derive(Default)]
struct Queues {
    /// Callbacks, each with the number of the last write before it.
    calls: VecDeque<(u64, Done)>,
    jobs: VecDeque<Job>,
    calls_ended: bool,
    jobs_ended: bool,
}

impl Steps {
    pub(crate) fn start(disk: &SimDisk, engine: Arc<Engine>) -> Arc<Steps> {
        let calls_max = engine.options.sync_queue.max(1);
        let steps = Arc::new(Steps { disk: disk.clone(), engine, calls_max, queues: Mutex::default() });
        disk.attach(&steps);
        steps
    }

    /// Queues a callback behind what the caller has just written. A full queue makes the caller wait, that is, do the sync.
    pub(crate) fn push(&self, done: Done) -> Result<(), Fault> {
        let covers = self.engine.written();
        let full = {
            let mut queues = self.queues.lock();
            if queues.calls_ended {
                return Err(Fault::Closed);
            }
            queues.calls.push_back((covers, done));
            queues.calls.len() > self.calls_max
        };
        if full {
            self.run_syncs(usize::MAX);
        }
        self.disk.tell_of_work();
        Ok(())
    }

    /// Makes everything durable that was written before. The callbacks that wait go on waiting: nobody can tell a late one
    /// from a slow thread, and the caller may hold what they need.
    pub(crate) fn wait(&self) -> Result<(), Fault> {
        if self.queues.lock().calls_ended {
            return Err(Fault::Closed);
        }
        self.engine.sync()
    }

    /// Whether the job was taken.
    pub(crate) fn offer(&self, job: Job) -> bool {
        {
            let mut queues = self.queues.lock();
            if queues.jobs_ended || queues.jobs.len() == QUEUE {
                return false;
            }
            queues.jobs.push_back(job);
        }
        self.disk.tell_of_work();
        true
    }

    pub(crate) fn pending(&self) -> Pending {
        let queues = self.queues.lock();
        Pending { syncs: queues.calls.len(), jobs: queues.jobs.len() }
    }

    /// One sync for the first `limit` callbacks at most, which are then called; gives their number.
    pub(crate) fn run_syncs(&self, limit: usize) -> usize {
        let calls: Vec<(u64, Done)> = {
            let mut queues = self.queues.lock();
            let count = queues.calls.len().min(limit);
            queues.calls.drain(..count).collect()
        };
        let Some(covers) = calls.iter().map(|(covers, _)| *covers).max() else { return 0 };
        let result = self.engine.sync_through(covers);
        if result == Err(Fault::Closed) {
            // The process died with this sync: nobody is told anything any more.
            return 0;
        }
        if let Err(fault) = &result {
            tracing::error!(%fault, "sync failed");
        }
        let count = calls.len();
        for (_, done) in calls {
            done(result.clone());
        }
        count
    }

    /// Does the first job; whether there was one.
    pub(crate) fn run_job(&self) -> bool {
        let job = self.queues.lock().jobs.pop_front();
        job.map(|job| job()).is_some()
    }

    /// Does all jobs, and takes no more.
    pub(crate) fn end_jobs(&self) {
        while self.run_job() {}
        self.queues.lock().jobs_ended = true;
    }

    /// Calls all callbacks, and takes no more.
    pub(crate) fn end_calls(&self) {
        while self.run_syncs(usize::MAX) > 0 {}
        self.queues.lock().calls_ended = true;
    }

    /// Forgets all jobs, and takes no more: whoever held the store is gone.
    pub(crate) fn drop_jobs(&self) {
        let mut queues = self.queues.lock();
        queues.jobs_ended = true;
        let jobs = std::mem::take(&mut queues.jobs);
        drop(queues);
        // Not under the lock: a job may be the last to hold a replica.
        drop(jobs);
    }

    /// Forgets everything, as a process that dies does.
    pub(crate) fn abandon(&self) {
        self.drop_jobs();
        let mut queues = self.queues.lock();
        queues.calls_ended = true;
        let calls = std::mem::take(&mut queues.calls);
        drop(queues);
        drop(calls);
    }
}
