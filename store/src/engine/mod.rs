//! The engine below all sets: numbered unsynced writes, the sync, reads, ingestion of built files, and the poison that a
//! failed write leaves. It knows tables and bytes, no records. Below it is one of two floors with the same meaning: the
//! database of the daemon, or a simulated disk. Above it are the syncer, the logs and the replicas, which know neither.

#[cfg(test)]
mod alike;
mod batch;
pub(crate) mod files;
mod memory;
mod read;
mod rocks;
mod turns;

use std::path::Path;

use twinset_ledger::canary::{self, Canary};

use crate::disk::SimDisk;
use crate::fault::{Fault, OpenError};
use crate::options::Options;
use crate::table::Table;
use files::Files;
use memory::Memory;
use rocks::Rocks;
use turns::Turns;

pub(crate) use batch::{Batch, Change};
pub(crate) use read::{Cursor, Value, View};
pub use rocks::FORMAT;

/// The key, in the table `raft`, of the number of the last batch.
pub(crate) const WRITTEN: &[u8] = b"written";

/// The open database of a node.
pub(crate) struct Engine {
    floor: Floor,
    /// Numbers the batches. Every batch carries its number, so that the one found at the next open says how far the
    /// write-ahead log was readable; the database's own sequence numbers also move without the log.
    turns: Turns,
    pub(crate) options: Options,
}

/// What the records stand on.
enum Floor {
    Rocks(Box<Rocks>),
    Memory(Memory),
}

impl Engine {
    /// Over the database in `dir`.
    pub(crate) fn open(dir: &Path, options: &Options) -> Result<Engine, OpenError> {
        let (rocks, written) = Rocks::open(dir, options)?;
        Ok(Engine::over(Floor::Rocks(Box::new(rocks)), written, options))
    }

    /// Over a simulated disk.
    pub(crate) fn simulated(disk: &SimDisk, options: &Options) -> Result<Engine, OpenError> {
        let (memory, written) = Memory::open(disk)?;
        Ok(Engine::over(Floor::Memory(memory), written, options))
    }

    fn over(floor: Floor, written: u64, options: &Options) -> Engine {
        Engine { floor, turns: Turns::after(written), options: options.clone() }
    }

    /// Fails when an earlier write failed.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        if let Floor::Memory(memory) = &self.floor {
            memory.check()?;
        }
        self.turns.check()
    }

    /// Stops everything: from now on every call fails. What comes after the first fault is only its consequence.
    pub(crate) fn poison(&self, fault: Fault) -> Fault {
        self.turns.poison(fault)
    }

    /// An empty batch.
    pub(crate) fn batch(&self) -> Batch<'_> {
        match &self.floor {
            Floor::Rocks(rocks) => rocks.batch(),
            Floor::Memory(memory) => memory.batch(),
        }
    }

    /// Writes a batch to the log and the memory of the database. On disk only after the next sync.
    pub(crate) fn write(&self, mut batch: Batch<'_>) -> Result<(), Fault> {
        self.check()?;
        self.turns.write(|number| {
            batch.put(Table::Raft, WRITTEN, &number.to_le_bytes());
            match &self.floor {
                Floor::Rocks(rocks) => rocks.write(batch),
                Floor::Memory(memory) => memory.write(batch, number),
            }
        })
    }

    /// The number of the last batch written.
    pub(crate) fn written(&self) -> u64 {
        self.turns.written()
    }

    /// Makes everything written so far durable, and marks it.
    pub(crate) fn sync(&self) -> Result<(), Fault> {
        self.sync_through(self.written())
    }

    /// Makes everything up to a numbered write durable, and marks it. More than that may be durable afterwards.
    pub(crate) fn sync_through(&self, written: u64) -> Result<(), Fault> {
        self.check()?;
        if canary::on(Canary::NoSync) {
            return Ok(());
        }
        self.turns.sync(|| match &self.floor {
            Floor::Rocks(rocks) => rocks.sync().and_then(|()| rocks.mark(written)),
            Floor::Memory(memory) => memory.sync(written),
        })
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Value<'_>>, Fault> {
        self.check()?;
        match &self.floor {
            Floor::Rocks(rocks) => rocks.get(table, key),
            Floor::Memory(memory) => memory.get(table, key),
        }
    }

    /// A cursor over the keys below `to`; the caller seeks.
    pub(crate) fn cursor(&self, table: Table, to: &[u8]) -> Result<Cursor<'_>, Fault> {
        self.check()?;
        Ok(match &self.floor {
            Floor::Rocks(rocks) => rocks.cursor(table, to),
            Floor::Memory(memory) => memory.cursor(table, to),
        })
    }

    /// A view of the database as it is now, for one thread's stack.
    pub(crate) fn view(&self) -> View<'_> {
        match &self.floor {
            Floor::Rocks(rocks) => rocks.view(),
            Floor::Memory(memory) => memory.view(),
        }
    }

    /// The same for whoever keeps it. Only a simulated disk has one, and there nothing may be done by a thread.
    pub(crate) fn lasting_view(&self) -> Option<View<'static>> {
        match &self.floor {
            Floor::Rocks(_) => None,
            Floor::Memory(memory) => Some(memory.view()),
        }
    }

    /// Takes built files over into a table. On disk when it returns.
    fn ingest(&self, table: Table, files: Files) -> Result<(), Fault> {
        self.check()?;
        let result = match (&self.floor, files) {
            (Floor::Rocks(rocks), Files::Rocks(files)) => rocks.ingest(table, files.take()),
            (Floor::Memory(memory), Files::Memory(file)) => memory.ingest(table, file),
            _ => unreachable!("files are ingested by the engine that they were built for"),
        };
        result.map_err(|fault| self.poison(fault))
    }
}

/// The number of the last batch, from its record.
fn written(stored: Option<&[u8]>) -> Result<u64, Fault> {
    stored.map_or(Ok(0), |value| {
        let value: Result<[u8; 8], _> = value.try_into();
        value.map(u64::from_le_bytes).map_err(|_| Fault::damaged("the write counter", "wrong length"))
    })
}

/// Refuses a log that can be read up to write `found` although `synced` were synced.
fn refuse_loss(dir: &Path, found: u64, synced: u64) -> Result<(), OpenError> {
    if found >= synced {
        return Ok(());
    }
    let detail = format!(
        "the write-ahead log can be read up to write {found}, but {synced} had been synced: {} acknowledged \
         writes are lost",
        synced - found
    );
    Err(OpenError::Damaged { dir: dir.to_owned(), detail })
}
