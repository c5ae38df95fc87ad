//! A simulated disk: what a store writes on it stays in memory, and everything that chance decides on a real one is the
//! caller's choice: what a crash leaves, which operation fails, when a sync or a checkpoint happens. No thread, no clock,
//! no randomness. Made for simulations and tests; no configuration of the daemon leads here. Above it is
//! [`Store::open_simulated`](crate::Store::open_simulated); `contents` holds the records, `faults` counts,
//! `life` is what the engine does.
//!
//! One store at a time uses a disk. A store that is dropped leaves all that it has written, as a killed process does whose
//! writes had all reached the page cache; [`SimDisk::crash`], before or after, takes from that what it is told to, and
//! whoever still holds the store that was open finds it [closed](crate::Fault::Closed).

mod contents;
mod faults;
mod life;

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::steps::Steps;
use contents::Contents;
use faults::Plan;

pub(crate) use contents::{Records, Tables};
pub use faults::{Failure, Operation};

/// How much of what was written since the last sync is still there after a crash: always a run from its beginning, as of
/// a log. The real log is buffered in the process until a sync begins or its buffer is full, so a kill may leave any
/// such run as well as a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Only what was synced.
    Nothing,
    /// So many batches.
    Batches(u64),
    /// So many bytes; a batch that is cut through is gone.
    Bytes(u64),
    /// All of it.
    Everything,
}

/// What a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// Of what was written.
    pub kept: Kept,
    /// Whether the marker of what was synced stays as it was written last. It is never synced itself: after a kill it does;
    /// after a power cut it may as well be as the store found it.
    pub marker_kept: bool,
}

/// What is wrong with a record from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A bit flipped on the disk: the database's own checksum does not match, and the record cannot be read.
    Noticed,
    /// This bit flips where no checksum of the database sees it, as in memory that fails: what the store itself checks
    /// (log records, documents, the stream of a snapshot) it notices, the rest it believes.
    Unnoticed(u64),
}

/// Work of an open store that waits for [`SimDisk::run_syncs`] and [`SimDisk::run_job`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// Callbacks that wait for a sync.
    pub syncs: usize,
    /// Background jobs: checkpoints.
    pub jobs: usize,
}

/// A simulated disk. Cheap to clone: clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    cell: Arc<Cell>,
}

struct Cell {
    name: PathBuf,
    state: Mutex<State>,
    on_work: Mutex<Option<OnWork>>,
}

type OnWork = Arc<dyn Fn(&SimDisk) + Send + Sync>;

#[derive(Default)]
struct State {
    contents: Contents,
    /// The store that is open has this number; raised by every open and every crash.
    life: u64,
    open: bool,
    /// What the marker says, and what it surely says.
    marked: u64,
    marked_surely: u64,
    plan: Plan,
    lies: bool,
    full: bool,
    steps: Weak<Steps>,
    hasher: blake3::Hasher,
}

impl SimDisk {
    /// An empty disk. The name stands where errors name a directory.
    pub fn new(name: &str) -> SimDisk {
        let cell = Cell { name: PathBuf::from(name), state: Mutex::default(), on_work: Mutex::default() };
        SimDisk { cell: Arc::new(cell) }
    }

    /// The process that has the store open dies, now. What waited for a sync or in the background is never done and never
    /// called. Gives the number of batches that are gone.
    pub fn crash(&self, crash: Crash) -> u64 {
        let mut state = self.cell.state.lock();
        let (lost, steps) = state.crash(crash);
        drop(state);
        abandon(&steps);
        lost
    }

    /// Another disk, as a power cut of this moment leaves this one at worst: with what was synced, and nothing else.
    pub fn at_worst(&self) -> SimDisk {
        let copy = SimDisk::new(&self.cell.name.to_string_lossy());
        copy.cell.state.lock().contents = self.cell.state.lock().contents.at_worst();
        copy
    }

    /// Whether a store has it open. A crash at an operation ends that, too.
    pub fn is_open(&self) -> bool {
        self.cell.state.lock().open
    }

    /// Batches and bytes that no sync has covered: what a crash may take.
    pub fn unsynced(&self) -> (u64, u64) {
        self.cell.state.lock().contents.unsynced()
    }

    /// From now on, or no longer, a sync says that it succeeded and does nothing. After a crash that takes what was
    /// acknowledged so, the store does not open, if the marker is still there.
    pub fn lie(&self, lies: bool) {
        self.cell.state.lock().lies = lies;
    }

    /// From now on, or no longer, the disk is full: syncs of anything, built files and opening the store fail.
    pub fn fill(&self, full: bool) {
        self.cell.state.lock().full = full;
    }

    /// The `nth` operation of a kind from now on fails, the next one being the first; None counts operations of every
    /// kind. Only once, and whichever store does it.
    pub fn fail(&self, operation: Option<Operation>, nth: u64, failure: Failure) {
        self.cell.state.lock().plan.add(operation, nth, failure);
    }

    /// Takes back every fault that still waits for its operation.
    pub fn fail_no_more(&self) {
        self.cell.state.lock().plan.clear();
    }

    /// The number of records that there are.
    pub fn records(&self) -> u64 {
        self.cell.state.lock().contents.records()
    }

    /// Damages the `nth` record, counted from 0 in the order of tables and keys. Says which it was, for a trace; None if there
    /// is no such record.
    pub fn damage(&self, nth: u64, damage: Damage) -> Option<String> {
        let mut state = self.cell.state.lock();
        let (table, key) = state.contents.nth(nth)?;
        let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        match damage {
            Damage::Noticed => state.contents.rot(table, key),
            Damage::Unnoticed(bit) => state.contents.flip(table, &key, bit),
        }
        Some(format!("{} {hex}", table.name()))
    }

    /// A hash over everything that was written, synced and taken over on this disk, in order, crashes included: two runs that
    /// did the same have the same.
    pub fn digest(&self) -> [u8; 32] {
        *self.cell.state.lock().hasher.finalize().as_bytes()
    }

    /// Work that waits. None of it is done by itself.
    pub fn pending(&self) -> Pending {
        self.steps().map_or_else(Pending::default, |steps| steps.pending())
    }

    /// Makes durable what the first `limit` waiting callbacks are for, and calls them in their order. What was written after
    /// that stays unsynced. Gives the number of callbacks.
    pub fn run_syncs(&self, limit: usize) -> usize {
        self.steps().map_or(0, |steps| steps.run_syncs(limit))
    }

    /// Does the first background job that waits: a checkpoint. Whether there was one.
    pub fn run_job(&self) -> bool {
        self.steps().is_some_and(|steps| steps.run_job())
    }

    /// Does background jobs and syncs until none waits. Gives their number.
    pub fn run_pending(&self) -> usize {
        let mut count = 0;
        loop {
            let done = usize::from(self.run_job()) + self.run_syncs(usize::MAX);
            if done == 0 {
                return count;
            }
            count += done;
        }
    }

    /// Calls `told` whenever new work waits, from within the call that brought it and under no lock. It may do the work at
    /// once.
    pub fn on_work(&self, told: impl Fn(&SimDisk) + Send + Sync + 'static) {
        *self.cell.on_work.lock() = Some(Arc::new(told));
    }

    /// What [`SimDisk::on_work`] asked for.
    pub(crate) fn tell_of_work(&self) {
        let told = self.cell.on_work.lock().clone();
        if let Some(told) = told {
            told(self);
        }
    }

    /// The work of the store that is open now.
    pub(crate) fn attach(&self, steps: &Arc<Steps>) {
        self.cell.state.lock().steps = Arc::downgrade(steps);
    }

    fn steps(&self) -> Option<Arc<Steps>> {
        self.cell.state.lock().steps.upgrade()
    }
}

/// Not under the lock of the disk: what is dropped may be the last to hold the store.
fn abandon(steps: &Weak<Steps>) {
    if let Some(steps) = steps.upgrade() {
        steps.abandon();
    }
}
