//! What survives a process on a simulated machine: the directory of its store. A new process on the machine opens the same
//! one. The only place that knows how a store is opened, so that another kind of disk changes this file alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use tempfile::TempDir;
use twinset_store::{OpenError, Options, Store};

/// Where directories are made: in memory, since every sync of every node is waited for by the one thread.
const IN_MEMORY: &str = "/dev/shm";
/// By the real clock, which the simulation cannot read: the store's own threads end soon after their process.
const LOCKED_FOR: Duration = Duration::from_millis(5);
const LOCKED_MAX: u32 = 4_000;

/// The disks of all machines. They are removed when this is dropped.
pub struct Disks {
    dirs: BTreeMap<String, TempDir>,
}

impl Disks {
    /// An empty one for each machine.
    pub fn new(machines: &[&str]) -> anyhow::Result<Disks> {
        let mut made = tempfile::Builder::new();
        let made = made.prefix("twinset-sim-");
        let dir = || match Path::new(IN_MEMORY).is_dir() {
            true => made.tempdir_in(IN_MEMORY),
            false => made.tempdir(),
        };
        let dirs = machines.iter().map(|machine| Ok(((*machine).to_owned(), dir()?)));
        Ok(Disks { dirs: dirs.collect::<anyhow::Result<_>>().context("no room for the disks")? })
    }

    /// The directory of a machine.
    pub fn dir(&self, machine: &str) -> &Path {
        self.dirs.get(machine).expect("every machine with a store has a disk").path()
    }

    /// The store of a machine. Whoever had it open has died.
    #[expect(
        clippy::disallowed_methods,
        reason = "nothing tells when a directory is free; simulated time stands still"
    )]
    pub fn open(&self, machine: &str, options: &Options) -> Result<Store, OpenError> {
        let dir = self.dir(machine);
        // Whoever applies makes the checkpoint: when a thread would come to it is no part of the simulation.
        let options = Options { background_checkpoints: false, ..options.clone() };
        let mut tries = 0;
        loop {
            match Store::open(dir, options.clone()) {
                Err(OpenError::Locked { .. }) if tries < LOCKED_MAX => {
                    tries += 1;
                    std::thread::sleep(LOCKED_FOR);
                }
                opened => return opened,
            }
        }
    }
}
