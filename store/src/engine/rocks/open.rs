//! Opening the real database, and refusing what is damaged before and after: format, marker, write-ahead log, and how far
//! that could be read.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::sync::atomic::AtomicU64;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBRecoveryMode, ErrorKind, Options as Rocksdb,
};

use super::Rocks;
use super::fault;
use super::format::{self, Found};
use super::marker::{self, Marked, Marker};
use super::{restore, tables, wal};
use crate::engine::{WRITTEN, refuse_loss, written};
use crate::fault::{Fault, OpenError};
use crate::options::Options;
use crate::table::Table;

impl Rocks {
    /// Opens the database in `dir`, or makes a new one; gives the number of the last write that it still has as well.
    pub(crate) fn open(dir: &Path, options: &Options) -> Result<(Rocks, u64), OpenError> {
        let io = |error: std::io::Error| OpenError::Io { dir: dir.to_owned(), detail: error.to_string() };
        fs::create_dir_all(dir).map_err(io)?;
        let lock = lock(dir)?;
        let synced = check(dir)?;
        if let Some(wal::Unreadable { file, offset }) = wal::check(&dir.join("db")).map_err(io)? {
            let detail = format!("the write-ahead log {file} has an impossible record at byte {offset}");
            return Err(OpenError::Damaged { dir: dir.to_owned(), detail });
        }
        let built = dir.join("built");
        let database = dir.join("db");
        if built.exists() {
            restore::put_back(&database, &built, || {
                let (mut rocks, mut families) = laid_out(options);
                // An older build has left it without the tables that came later, and nothing is made here.
                let there = DB::list_cf(&rocks, &database)?;
                families.retain(|family| there.iter().any(|name| name == family.name()));
                // Without them it opens although a file is missing.
                rocks.set_paranoid_checks(false);
                DB::open_cf_descriptors_read_only(&rocks, &database, families, false)
            })
            .map_err(io)?;
        }
        let db = open_db(dir, options)?;
        if let Some(file) = restore::missing(&database, &db) {
            let detail = format!("the database lacks {}", file.display());
            return Err(OpenError::Damaged { dir: dir.to_owned(), detail });
        }
        // Files that were built and that the database does not have belong to nobody.
        if built.exists() {
            fs::remove_dir_all(&built).map_err(io)?;
        }
        fs::create_dir(&built).map_err(io)?;
        let found = last_written(&db).map_err(|fault| OpenError::Damaged {
            dir: dir.to_owned(),
            detail: format!("the number of the last write is unreadable: {fault}"),
        })?;
        refuse_loss(dir, found, synced)?;
        let marker = Marker::open(dir, synced).map_err(io)?;
        Ok((Rocks { db, marker, next_file: AtomicU64::new(0), built, _lock: lock }, found))
    }
}

/// The number of the last batch that the database still has.
fn last_written(db: &DB) -> Result<u64, Fault> {
    let family = db.cf_handle(Table::Raft.name()).expect("all tables are opened or created at open");
    let value = db.get_cf(family, WRITTEN).map_err(|error| fault("raft", &error))?;
    written(value.as_deref())
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

/// The options of the database and of its tables.
fn laid_out(options: &Options) -> (Rocksdb, Vec<ColumnFamilyDescriptor>) {
    let mut rocks = Rocksdb::default();
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
    let mut default_family = Rocksdb::default();
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&cache);
    default_family.set_block_based_table_factory(&blocks);
    let mut families = vec![ColumnFamilyDescriptor::new("default", default_family)];
    for table in Table::ALL {
        let laid_out = tables::options(table, options, Some(&cache));
        families.push(ColumnFamilyDescriptor::new(table.name(), laid_out));
    }
    (rocks, families)
}

fn open_db(dir: &Path, options: &Options) -> Result<DB, OpenError> {
    let (rocks, families) = laid_out(options);
    DB::open_cf_descriptors(&rocks, dir.join("db"), families).map_err(|error| {
        let detail = error.to_string();
        match error.kind() {
            ErrorKind::Corruption => OpenError::Damaged { dir: dir.to_owned(), detail },
            _ => OpenError::Io { dir: dir.to_owned(), detail },
        }
    })
}
