//! The floor of the daemon: RocksDB, and the files beside it that say what it is and how far it was synced. It knows
//! tables and bytes. The only part of the code that names rocksdb's database; above it is [`crate::engine`], with the
//! values, cursors and batches that it shares with the simulated disk.

pub(crate) mod files;
mod format;
mod marker;
mod open;
mod restore;
mod tables;
mod wal;

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use rocksdb::{ColumnFamily, DB, IngestExternalFileOptions, ReadOptions, WriteBatch};

use super::batch::{Batch, Kind};
use super::read::{Cursor, CursorKind, Value, View};
use crate::fault::Fault;
use crate::table::Table;
use marker::Marker;

pub use format::FORMAT;

/// The open database of a node.
pub(crate) struct Rocks {
    db: DB,
    marker: Marker,
    next_file: AtomicU64,
    built: PathBuf,
    /// Held for as long as the database is open.
    _lock: File,
}

impl Rocks {
    pub(super) fn family(&self, table: Table) -> &ColumnFamily {
        self.db.cf_handle(table.name()).expect("all tables are opened or created at open")
    }

    pub(super) fn batch(&self) -> Batch<'_> {
        Batch { kind: Kind::Rocks(self, WriteBatch::default()) }
    }

    /// Writes a batch to the log and the memory of the database.
    pub(super) fn write(&self, batch: Batch<'_>) -> Result<(), Fault> {
        let Kind::Rocks(_, batch) = batch.kind else {
            unreachable!("a batch is written by the engine that made it")
        };
        self.db.write(batch).map_err(|error| fault("write", &error))
    }

    /// Makes everything written so far durable.
    pub(super) fn sync(&self) -> Result<(), Fault> {
        self.db.flush_wal(true).map_err(|error| fault("sync", &error))
    }

    /// Notes that everything up to a numbered write is durable.
    pub(super) fn mark(&self, written: u64) -> Result<(), Fault> {
        self.marker.advance(written).map_err(|error| Fault::io("mark what is synced", &error))
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Value<'_>>, Fault> {
        let value = self.db.get_pinned_cf(self.family(table), key);
        Ok(value.map_err(|error| fault(table.name(), &error))?.map(Value::Pinned))
    }

    pub(super) fn cursor(&self, table: Table, to: &[u8]) -> Cursor<'_> {
        let iterator = self.db.raw_iterator_cf_opt(self.family(table), bounded(to));
        Cursor { table, kind: CursorKind::Rocks(iterator) }
    }

    pub(super) fn view(&self) -> View<'_> {
        View::Rocks(self, self.db.snapshot())
    }

    /// A path for a file to be built, by its first key. Files left there are removed at the next open.
    pub(super) fn new_file(&self, table: Table, first: &[u8]) -> PathBuf {
        let number = self.next_file.fetch_add(1, Ordering::Relaxed);
        self.built.join(restore::name(table, number, first))
    }

    pub(super) fn ingest(&self, table: Table, files: Vec<PathBuf>) -> Result<(), Fault> {
        if files.is_empty() {
            return Ok(());
        }
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        // Readers of views skip what is above their position by themselves.
        options.set_snapshot_consistency(false);
        self.db
            .ingest_external_file_cf_opts(self.family(table), &options, files)
            .map_err(|error| fault("ingest", &error))
    }
}

/// An error of the database.
pub(super) fn fault(operation: &'static str, error: &rocksdb::Error) -> Fault {
    let detail = error.to_string();
    if detail.contains("No space left") {
        return Fault::DiskFull { operation };
    }
    // What it says of a file that an earlier call failed on.
    if ["Seen error", "previous error"].iter().any(|words| detail.contains(words)) {
        return Fault::Aftermath { operation };
    }
    if error.kind() == rocksdb::ErrorKind::Corruption {
        return Fault::Damaged { what: operation, detail };
    }
    Fault::Disk { operation, detail }
}

pub(super) fn bounded(to: &[u8]) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_upper_bound(to);
    options
}
