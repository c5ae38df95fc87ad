//! The database below all sets: opening it and refusing what is damaged, unsynced writes, the sync, ingestion of built
//! files, and the poison that a failed write leaves. It knows tables and bytes, no records. The only user of what is in
//! `rocks`; above it are the syncer, the logs and the replicas.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBPinnableSlice, DBRawIterator,
    DBRecoveryMode, IngestExternalFileOptions, Options as Rocks, ReadOptions, WriteBatch,
};

use parking_lot::Mutex;

use crate::fault::{Fault, OpenError};
use crate::options::Options;
use crate::table::Table;
use rocks::format::{self, Found};
use rocks::marker::{self, Marked, Marker};
use rocks::wal;

pub(crate) mod files;
mod rocks;

pub use rocks::format::FORMAT;

/// The key, in the table `raft`, of the number of the last batch.
const WRITTEN: &[u8] = b"written";

/// The open database of a node.
pub(crate) struct Engine {
    rocks: DB,
    marker: Marker,
    poison: OnceLock<Fault>,
    /// Number of the last batch written. Every batch carries its own, so that the number found at the next open says
    /// how far the write-ahead log was readable; the database's own sequence numbers also move without the log.
    written: Mutex<u64>,
    next_file: AtomicU64,
    built: PathBuf,
    pub(crate) options: Options,
    /// Held for as long as the database is open.
    _lock: File,
}

impl Engine {
    pub(crate) fn open(dir: &Path, options: &Options) -> Result<Engine, OpenError> {
        let io = |error: std::io::Error| OpenError::Io { dir: dir.to_owned(), detail: error.to_string() };
        fs::create_dir_all(dir).map_err(io)?;
        let lock = lock(dir)?;
        let synced = check(dir)?;
        // Files that were built and never ingested belong to nobody.
        let built = dir.join("built");
        if built.exists() {
            fs::remove_dir_all(&built).map_err(io)?;
        }
        fs::create_dir(&built).map_err(io)?;
        if let Some(wal::Unreadable { file, offset }) = wal::check(&dir.join("db")).map_err(io)? {
            let detail = format!("the write-ahead log {file} has an impossible record at byte {offset}");
            return Err(OpenError::Damaged { dir: dir.to_owned(), detail });
        }
        let rocks = open_rocks(dir, options)?;
        let found = written(&rocks).map_err(|fault| OpenError::Damaged {
            dir: dir.to_owned(),
            detail: format!("the number of the last write is unreadable: {fault}"),
        })?;
        if found < synced {
            return Err(OpenError::Damaged {
                dir: dir.to_owned(),
                detail: format!(
                    "the write-ahead log can be read up to write {found}, but {synced} had been synced: \
                     {} acknowledged writes are lost",
                    synced - found
                ),
            });
        }
        let marker = Marker::open(dir, synced).map_err(io)?;
        Ok(Engine {
            rocks,
            marker,
            poison: OnceLock::new(),
            written: Mutex::new(found),
            next_file: AtomicU64::new(0),
            built,
            options: options.clone(),
            _lock: lock,
        })
    }

    /// Fails when an earlier write failed.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        self.poison.get().map_or(Ok(()), |fault| Err(fault.as_stop()))
    }

    /// Stops everything: from now on every call fails. What comes after the first fault is only its consequence.
    pub(crate) fn poison(&self, fault: Fault) -> Fault {
        if self.poison.set(fault.clone()).is_ok() {
            tracing::error!(%fault, "the store stops");
            return fault;
        }
        self.poison.get().expect("set by an earlier fault").as_stop()
    }

    fn family(&self, table: Table) -> &ColumnFamily {
        self.rocks.cf_handle(table.name()).expect("all tables are opened or created at open")
    }

    pub(crate) fn put(&self, batch: &mut WriteBatch, table: Table, key: &[u8], value: &[u8]) {
        batch.put_cf(self.family(table), key, value);
    }

    pub(crate) fn delete(&self, batch: &mut WriteBatch, table: Table, key: &[u8]) {
        batch.delete_cf(self.family(table), key);
    }

    pub(crate) fn delete_range(&self, batch: &mut WriteBatch, table: Table, from: &[u8], to: &[u8]) {
        batch.delete_range_cf(self.family(table), from, to);
    }

    /// Writes a batch to the log and the memory of the database. On disk only after the next sync.
    pub(crate) fn write(&self, mut batch: WriteBatch) -> Result<(), Fault> {
        let mut written = self.written.lock();
        self.check()?;
        self.put(&mut batch, Table::Raft, WRITTEN, &(*written + 1).to_le_bytes());
        self.rocks.write(batch).map_err(|error| self.poison(Fault::rocks("write", &error)))?;
        *written += 1;
        Ok(())
    }

    /// Makes everything written so far durable, and marks it.
    pub(crate) fn sync(&self) -> Result<(), Fault> {
        self.check()?;
        let written = *self.written.lock();
        self.rocks.flush_wal(true).map_err(|error| self.poison(Fault::rocks("sync", &error)))?;
        self.marker.advance(written).map_err(|error| self.poison(Fault::io("mark what is synced", &error)))
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<DBPinnableSlice<'_>>, Fault> {
        self.check()?;
        self.rocks.get_pinned_cf(self.family(table), key).map_err(|error| Fault::rocks(table.name(), &error))
    }

    /// An iterator over the keys below `to`; the caller seeks.
    pub(crate) fn iterator(&self, table: Table, to: &[u8]) -> Result<DBRawIterator<'_>, Fault> {
        self.check()?;
        Ok(self.rocks.raw_iterator_cf_opt(self.family(table), bounded(to)))
    }

    /// A view of the database as it is now, for one thread's stack.
    pub(crate) fn view(&self) -> View<'_> {
        View { engine: self, snapshot: self.rocks.snapshot() }
    }

    /// A path for a file to be built. Files left there are removed at the next open.
    pub(crate) fn new_file(&self, table: Table) -> PathBuf {
        let number = self.next_file.fetch_add(1, Ordering::Relaxed);
        self.built.join(format!("{}-{number}.sst", table.name()))
    }

    /// Takes built files over into a table. On disk when it returns.
    pub(crate) fn ingest(&self, table: Table, files: Vec<PathBuf>) -> Result<(), Fault> {
        if files.is_empty() {
            return Ok(());
        }
        self.check()?;
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        // Readers of views skip what is above their position by themselves.
        options.set_snapshot_consistency(false);
        self.rocks
            .ingest_external_file_cf_opts(self.family(table), &options, files)
            .map_err(|error| self.poison(Fault::rocks("ingest", &error)))
    }
}

/// A view of the database that later writes do not change.
pub(crate) struct View<'a> {
    engine: &'a Engine,
    snapshot: rocksdb::Snapshot<'a>,
}

impl View<'_> {
    pub(crate) fn iterator(&self, table: Table, to: &[u8]) -> DBRawIterator<'_> {
        self.snapshot.raw_iterator_cf_opt(self.engine.family(table), bounded(to))
    }
}

fn bounded(to: &[u8]) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_upper_bound(to);
    options
}

/// The number of the last batch that the database still has.
fn written(rocks: &DB) -> Result<u64, Fault> {
    let family = rocks.cf_handle(Table::Raft.name()).expect("all tables are opened or created at open");
    let value = rocks.get_cf(family, WRITTEN).map_err(|error| Fault::rocks("raft", &error))?;
    value.map_or(Ok(0), |value| {
        let value: Result<[u8; 8], _> = value.as_slice().try_into();
        value.map(u64::from_le_bytes).map_err(|_| Fault::damaged("the write counter", "wrong length"))
    })
}

/// Whether an iterator stopped at its end or at an error.
pub(crate) fn ended(iterator: &DBRawIterator<'_>, table: Table) -> Result<(), Fault> {
    iterator.status().map_err(|error| Fault::rocks(table.name(), &error))
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let io = |error: std::io::Error| OpenError::Io { dir: dir.to_owned(), detail: error.to_string() };
    let path = dir.join("lock");
    let file = File::options().write(true).create(true).truncate(false).open(path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

/// Checks format and marker before the database is touched; gives what had been synced.
fn check(dir: &Path) -> Result<u64, OpenError> {
    let io = |error: std::io::Error| OpenError::Io { dir: dir.to_owned(), detail: error.to_string() };
    let damaged = |detail: &str| OpenError::Damaged { dir: dir.to_owned(), detail: detail.to_owned() };
    let database = dir.join("db").join("CURRENT").exists();
    match format::read(dir).map_err(io)? {
        Found::Known => {}
        Found::Other(found) => {
            return Err(OpenError::WrongFormat { dir: dir.to_owned(), found, known: format::FORMAT });
        }
        Found::Nothing if database => return Err(damaged("there is a database but no format file")),
        Found::Nothing => format::write(dir).map_err(io)?,
    }
    match marker::read(dir).map_err(io)? {
        Marked::Synced(0) => Ok(0),
        Marked::Synced(_) if !database => Err(damaged("there is a marker of synced writes but no database")),
        Marked::Synced(synced) => Ok(synced),
        Marked::Missing | Marked::Unreadable if database => {
            Err(damaged("there is a database but no readable marker of what was synced"))
        }
        // Died while it was first made. The marker stands before the database does.
        Marked::Missing | Marked::Unreadable => Marker::open(dir, 0).map(|_| 0).map_err(io),
    }
}

fn open_rocks(dir: &Path, options: &Options) -> Result<DB, OpenError> {
    let mut rocks = Rocks::default();
    rocks.create_if_missing(true);
    rocks.create_missing_column_families(true);
    // The log is buffered until the syncer flushes and syncs it for all sets at once.
    rocks.set_manual_wal_flush(true);
    // A torn, unsynced tail is cut; whether the cut went too deep is the marker's business.
    rocks.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // A whole older file of the log that is gone would go unnoticed: the number of the last write stands in the newest.
    rocks.set_track_and_verify_wals_in_manifest(true);
    rocks.set_max_total_wal_size(512 << 20);
    rocks.set_max_background_jobs(2);
    rocks.set_bytes_per_sync(1 << 20);
    rocks.set_keep_log_file_num(4);
    rocks.set_max_open_files(512);
    let cache = Cache::new_lru_cache(options.block_cache_bytes);
    let mut default_family = Rocks::default();
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&cache);
    default_family.set_block_based_table_factory(&blocks);
    let mut families = vec![ColumnFamilyDescriptor::new("default", default_family)];
    for table in Table::ALL {
        families.push(ColumnFamilyDescriptor::new(table.name(), table.options(options, Some(&cache))));
    }
    DB::open_cf_descriptors(&rocks, dir.join("db"), families).map_err(|error| {
        let detail = error.to_string();
        match error.kind() {
            rocksdb::ErrorKind::Corruption => OpenError::Damaged { dir: dir.to_owned(), detail },
            _ => OpenError::Io { dir: dir.to_owned(), detail },
        }
    })
}
