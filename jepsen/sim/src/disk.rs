//! The disks of the simulated machines: one [`SimDisk`] each, which outlives the processes on it. Nothing reaches a disk by
//! itself: when a sync or a checkpoint happens is drawn from the seed, so that answers of a disk come later than what was
//! written, as they do on a real machine, and a process can die in between. Which faults there are is `world.rs`'s to say.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::trace;
use twinset_store::{Crash, Failure, Kept, OpenError, Operation, Options, Pending, SimDisk, Store};
use twinset_tools::load::random::Random;

/// Of so many syncs one is slow.
const SELDOM: usize = 50;
/// The slow one takes up to so long, in milliseconds.
const SELDOM_MS: usize = 50;
/// A checkpoint takes up to so long, in milliseconds.
const JOB_MS: usize = 20;

/// How a process left its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// It was killed, or ended itself.
    Killed,
    /// The power was cut: the marker of what was synced may be an old one.
    PowerLoss,
}

/// The disks of all machines.
pub struct Disks {
    machines: Mutex<BTreeMap<&'static str, Machine>>,
}

struct Machine {
    disk: SimDisk,
    random: Random,
    /// A sync takes up to so long, in milliseconds.
    sync_ms: usize,
    /// Each takes so much longer, in milliseconds.
    slower_ms: u64,
    /// The sync under way: when it is over, and how many callbacks it is for.
    sync: Option<(Duration, usize)>,
    /// When the checkpoint under way is over.
    job: Option<Duration>,
    /// Syncs that a slow disk has held up.
    slowed: u64,
    /// The store of the process that has opened it and did not die.
    store: Option<Store>,
}

impl Machine {
    /// What is due now, if anything: a number of callbacks, a checkpoint.
    fn due(&mut self, now: Duration) -> (Option<usize>, bool) {
        let Pending { syncs, jobs } = self.disk.pending();
        if syncs > 0 && self.sync.is_none() {
            let most = if self.random.below(SELDOM) == 0 { SELDOM_MS } else { self.sync_ms };
            let ms = self.random.below(most + 1) as u64 + self.slower_ms;
            self.slowed += u64::from(self.slower_ms > 0);
            self.sync = Some((now + Duration::from_millis(ms), syncs));
        }
        if jobs > 0 && self.job.is_none() {
            let ms = self.random.below(JOB_MS) as u64 + self.slower_ms;
            self.job = Some(now + Duration::from_millis(ms));
        }
        let sync = self.sync.take_if(|(due, _)| *due <= now).map(|(_, callbacks)| callbacks);
        (sync, self.job.take_if(|due| *due <= now).is_some())
    }
}

impl Disks {
    /// An empty one for each machine, on which a sync takes up to `sync_ms` milliseconds, now and then longer.
    pub fn new(machines: &[&'static str], seed: u64, sync_ms: u64) -> Disks {
        let machine = |(n, name): (usize, &&'static str)| {
            let machine = Machine {
                disk: SimDisk::new(name),
                random: Random::seeded(seed ^ (n as u64 + 1).wrapping_mul(0xa076_1d64_78bd_642f)),
                sync_ms: usize::try_from(sync_ms).expect("a sync is short"),
                slower_ms: 0,
                sync: None,
                job: None,
                slowed: 0,
                store: None,
            };
            (*name, machine)
        };
        Disks { machines: Mutex::new(machines.iter().enumerate().map(machine).collect()) }
    }

    fn with<T>(&self, machine: &str, work: impl FnOnce(&mut Machine) -> T) -> T {
        work(self.machines.lock().get_mut(machine).expect("every machine with a store has a disk"))
    }

    fn disk(&self, machine: &str) -> SimDisk {
        self.with(machine, |machine| machine.disk.clone())
    }

    /// The store of a machine. Whoever had it open has died.
    pub fn open(&self, machine: &str, options: Options) -> Result<Store, OpenError> {
        let opened = Store::open_simulated(&self.disk(machine), options);
        self.with(machine, |machine| machine.store = opened.as_ref().ok().cloned());
        opened
    }

    /// Syncs and makes checkpoints where that is due, and calls back.
    pub fn advance(&self, now: Duration) {
        let due: Vec<_> = {
            let mut machines = self.machines.lock();
            machines
                .iter_mut()
                .map(|(name, machine)| (*name, machine.disk.clone(), machine.due(now)))
                .collect()
        };
        // Not under the lock: whoever is called back may use a disk.
        for (name, disk, (sync, job)) in due {
            if let Some(callbacks) = sync {
                let called = disk.run_syncs(callbacks);
                trace!(name, called, "synced");
            }
            if job {
                disk.run_job();
                trace!(name, "checkpoint");
            }
        }
    }

    /// The process on a machine dies: what no sync has covered is there up to a point that is drawn.
    pub fn die(&self, name: &str, death: Death) {
        let store = self.with(name, |machine| {
            let (batches, bytes) = machine.disk.unsynced();
            let below = |random: &mut Random, count: u64| random.below(count as usize + 1) as u64;
            let kept = match machine.random.below(4) {
                0 => Kept::Nothing,
                1 => Kept::Everything,
                2 => Kept::Batches(below(&mut machine.random, batches)),
                _ => Kept::Bytes(below(&mut machine.random, bytes)),
            };
            let marker_kept = death == Death::Killed || machine.random.below(2) == 0;
            let lost = machine.disk.crash(Crash { kept, marker_kept });
            (machine.sync, machine.job) = (None, None);
            trace!(name, ?death, ?kept, marker_kept, lost, batches, "died");
            machine.store.take()
        });
        // Not under the lock: it may be the last handle.
        drop(store);
    }

    /// Whether the process on a machine has died at an operation of its disk, and nobody knows yet.
    pub fn has_died(&self, machine: &str) -> bool {
        self.with(machine, |machine| machine.store.is_some() && !machine.disk.is_open())
    }

    /// The last entries in the logs of `sets` that the next process on a machine would find if the power were cut now. None while
    /// no process runs on it.
    pub fn synced(&self, machine: &str, sets: RangeInclusive<u32>) -> Option<BTreeMap<u32, u64>> {
        let disk = self.with(machine, |machine| machine.store.is_some().then(|| machine.disk.at_worst()))?;
        let store = Store::open_simulated(&disk, Options::default());
        let store = store.expect("a disk that was synced can be opened");
        let last = |set| Some((set, store.log(set).ok()?.last().map_or(0, |last| last.index)));
        Some(sets.filter_map(last).collect())
    }

    /// From now on each sync and checkpoint takes so much longer.
    pub fn slow(&self, machine: &str, by_ms: u64) {
        self.with(machine, |machine| machine.slower_ms = by_ms);
    }

    /// How many syncs a slow disk has held up.
    pub fn slowed(&self, machine: &str) -> u64 {
        self.with(machine, |machine| machine.slowed)
    }

    /// From now on, or no longer, a disk is full.
    pub fn fill(&self, machine: &str, full: bool) {
        self.disk(machine).fill(full);
    }

    /// The next sync fails.
    pub fn fail_sync(&self, machine: &str) {
        self.disk(machine).fail(Some(Operation::Sync), 1, Failure::Error);
    }

    /// The process dies before the `nth` thing that it does to its disk from now on.
    pub fn die_at(&self, machine: &str, nth: u64) {
        self.with(machine, |machine| {
            let kept = if machine.random.below(2) == 0 { Kept::Nothing } else { Kept::Everything };
            machine.disk.fail(None, nth, Failure::Crash(Crash { kept, marker_kept: true }));
        });
    }

    /// What has not failed yet does not fail any more.
    pub fn fail_no_more(&self, machine: &str) {
        self.disk(machine).fail_no_more();
    }

    /// Puts into the trace what was written on each disk.
    pub fn trace(&self) {
        for (name, machine) in &*self.machines.lock() {
            trace!(name, digest = ?machine.disk.digest(), "disk");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const NAMES: [&str; 2] = ["a1", "a2"];

    /// When what was written at the beginning was told to be on the disk, in milliseconds.
    fn told_after(disks: &Disks, machine: &str) -> u32 {
        let store = disks.open(machine, Options::default()).unwrap();
        let told = Arc::new(AtomicU32::new(0));
        let tell = told.clone();
        let done = Box::new(move |_| tell.store(1, Ordering::Relaxed));
        store.log(1).unwrap().save_vote(b"vote", done).unwrap();
        let late = (0..1_000).find(|ms| {
            disks.advance(Duration::from_millis(u64::from(*ms)));
            told.load(Ordering::Relaxed) == 1
        });
        late.expect("it was told")
    }

    #[test]
    fn a_sync_takes_its_time_and_a_slow_disk_more() {
        let disks = Disks::new(&NAMES, 1, 5);
        assert!(told_after(&disks, "a1") <= 50);
        disks.slow("a2", 300);
        assert!((300..=350).contains(&told_after(&disks, "a2")));
        assert_eq!((disks.slowed("a1"), disks.slowed("a2")), (0, 1));
    }

    #[test]
    fn what_dies_with_its_disk_is_noticed_and_the_next_process_finds_what_was_synced() {
        let disks = Disks::new(&NAMES, 1, 0);
        let store = disks.open("a1", Options::default()).unwrap();
        store.put_blob("name", b"kept").unwrap();
        disks.die_at("a1", 1);
        assert!(!disks.has_died("a1"));
        store.put_blob("name", b"too late").unwrap_err();
        assert!(disks.has_died("a1") && !disks.has_died("a2"));
        disks.die("a1", Death::Killed);
        assert!(!disks.has_died("a1"));
        let store = disks.open("a1", Options::default()).unwrap();
        assert_eq!(store.get_blob("name").unwrap().as_deref(), Some(b"kept".as_slice()));
    }
}
