//! One store on a real directory or on a simulated disk, and the ways in which it ends and comes back: closed, dropped,
//! without power, or with a part of what no sync had covered. What is done to it is the script's business.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use tempfile::TempDir;
use twinset_store::{
    Crash, DocumentReplica, Fault, Kept, LedgerReplica, Log, Options, Record, SimDisk, Store,
};

use crate::power;

/// The sets of accounts; the document is of another one.
pub const SETS: [u32; 2] = [1, 2];
const DOCUMENT: u32 = 9;

/// A store that comes back after whatever happens to it.
pub struct Home {
    floor: Floor,
    options: Options,
    open: Option<Opened>,
    loose: Option<Loose>,
}

enum Floor {
    Dir(TempDir),
    /// The flag: syncs are done at once.
    Sim(SimDisk, Arc<AtomicBool>),
}

/// The handles of an open store.
pub struct Opened {
    pub store: Store,
    pub logs: [Log; 2],
    pub replicas: [LedgerReplica; 2],
    pub document: DocumentReplica,
}

/// A time in which nobody was told that anything is on disk, and after which any beginning of it may be what is left.
struct Loose {
    /// How long the log was after each operation: in bytes on a real disk, in batches on a simulated one.
    points: Vec<u64>,
    /// The real marker, as of before, and the real log.
    real: Option<(Vec<u8>, PathBuf)>,
}

/// How a store ends before it is opened again.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// As it should.
    Close,
    /// Without a word, and the disk has everything.
    Drop,
    /// The disk has what was synced. The flag: the simulated crash comes before the handles go, not after.
    Power(bool),
    /// Of the loose operations the disk has so many, and on a real one some bytes more.
    Cut {
        /// So many.
        point: usize,
        /// Thousandths of the next one.
        torn: u64,
    },
}

impl Home {
    pub fn real(options: Options) -> Home {
        let dir = tempfile::tempdir().unwrap();
        Home { floor: Floor::Dir(dir), options, open: None, loose: None }.opened()
    }

    pub fn sim(options: Options) -> Home {
        let (disk, eager) = (SimDisk::new("a1"), Arc::new(AtomicBool::new(true)));
        let at_once = Arc::clone(&eager);
        disk.on_work(move |disk| {
            if at_once.load(Ordering::SeqCst) {
                disk.run_pending();
            }
        });
        Home { floor: Floor::Sim(disk, eager), options, open: None, loose: None }.opened()
    }

    fn opened(mut self) -> Home {
        self.reopen();
        self
    }

    pub fn now(&self) -> &Opened {
        self.open.as_ref().expect("it is open between restarts")
    }

    /// Appends, and waits until it is on disk, except in a loose time.
    pub fn append(&self, at: usize, records: Vec<Record>) -> Result<(), Fault> {
        let log = &self.now().logs[at];
        if self.loose.is_some() {
            return log.append(records, Box::new(|_| {}));
        }
        let (tell, told) = channel();
        log.append(records, Box::new(move |result| tell.send(result).unwrap()))?;
        told.recv().unwrap()
    }

    /// From now on nobody waits for the disk.
    pub fn loosen(&mut self) {
        self.now().logs[0].sync().unwrap();
        let real = match &self.floor {
            Floor::Dir(dir) => Some((fs::read(dir.path().join("synced")).unwrap(), newest_log(dir.path()))),
            Floor::Sim(_, eager) => {
                eager.store(false, Ordering::SeqCst);
                None
            }
        };
        self.loose = Some(Loose { points: Vec::new(), real });
        self.point();
    }

    /// An operation of a loose time is done.
    pub fn point(&mut self) {
        let length = match &self.floor {
            Floor::Dir(dir) => {
                // So that it is in the file, and the file's length says where it ends.
                self.now().logs[0].sync().unwrap();
                fs::metadata(newest_log(dir.path())).unwrap().len()
            }
            Floor::Sim(disk, _) => disk.unsynced().0,
        };
        self.loose.as_mut().expect("it is a loose time").points.push(length);
    }

    pub fn restart(&mut self, end: End) {
        let Opened { store, logs, replicas, document } = self.open.take().expect("it is open");
        if let (Floor::Sim(disk, _), End::Power(true)) = (&self.floor, end) {
            disk.crash(Crash { kept: Kept::Nothing, marker_kept: true });
        }
        let left = match (&self.floor, end) {
            (Floor::Dir(dir), End::Power(_)) => {
                let left = tempfile::tempdir().unwrap();
                power::cut(dir.path(), left.path());
                sync_all(left.path());
                Some(left)
            }
            _ => None,
        };
        drop((logs, replicas, document));
        match end {
            End::Close => store.close(),
            _ => drop(store),
        }
        let loose = self.loose.take();
        match (&mut self.floor, end) {
            (Floor::Dir(dir), End::Power(_)) => *dir = left.expect("it was cut"),
            (Floor::Sim(disk, _), End::Power(false)) => {
                disk.crash(Crash { kept: Kept::Nothing, marker_kept: true });
            }
            (Floor::Dir(dir), End::Cut { point, torn }) => loose.expect("it was loose").cut(dir, point, torn),
            (Floor::Sim(disk, eager), End::Cut { point, .. }) => {
                let kept = Kept::Batches(loose.expect("it was loose").points[point]);
                disk.crash(Crash { kept, marker_kept: true });
                eager.store(true, Ordering::SeqCst);
            }
            _ => {}
        }
        self.reopen();
    }

    fn reopen(&mut self) {
        let store = match &self.floor {
            Floor::Dir(dir) => Store::open(dir.path(), self.options.clone()),
            Floor::Sim(disk, _) => Store::open_simulated(disk, self.options.clone()),
        };
        let store = store.unwrap();
        let logs = SETS.map(|set| store.log(set).unwrap());
        let replicas = SETS.map(|set| store.ledger(set).unwrap());
        let document = store.document(DOCUMENT).unwrap();
        self.open = Some(Opened { store, logs, replicas, document });
    }
}

impl Loose {
    /// Cuts the real log in the middle of what comes after a point. The marker is of before: nobody was told.
    fn cut(self, dir: &TempDir, point: usize, torn: u64) {
        let (marker, log) = self.real.expect("it is real");
        assert_eq!(newest_log(dir.path()), log, "the log was not changed for a new one meanwhile");
        let length = self.points[point];
        let next = self.points.get(point + 1).copied().unwrap_or(length);
        let file = fs::File::options().write(true).open(log).unwrap();
        file.set_len(length + (next - length) * torn / 1000).unwrap();
        fs::write(dir.path().join("synced"), marker).unwrap();
    }
}

/// What a power cut has left is on disk: the next cut must leave it alone.
fn sync_all(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { sync_all(&path) } else { fs::File::open(path).unwrap().sync_all().unwrap() }
    }
}

fn newest_log(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().path());
    let logs = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
    logs.max().expect("an open database has a log")
}
