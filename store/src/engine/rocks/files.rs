//! Files of sorted records for the real database.

use std::path::PathBuf;
use std::sync::OnceLock;

use rocksdb::{Options as Rocksdb, SstFileWriter};

use super::{Rocks, fault, tables};
use crate::fault::Fault;
use crate::options::Options;
use crate::table::Table;

/// A file is ended at this size.
const FILE_BYTES: u64 = 64 << 20;

/// Builds the files of one table.
pub(crate) struct RocksBuilder {
    table: Table,
    writer: Option<SstFileWriter<'static>>,
    files: RocksFiles,
    puts: u32,
}

/// Built files. Removed if nobody takes them over.
#[derive(Default)]
pub(crate) struct RocksFiles {
    paths: Vec<PathBuf>,
}

impl RocksBuilder {
    pub(crate) fn new(table: Table) -> RocksBuilder {
        RocksBuilder { table, writer: None, files: RocksFiles::default(), puts: 0 }
    }

    /// Adds a record; its key is above all earlier ones.
    pub(crate) fn put(&mut self, rocks: &Rocks, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                let path = rocks.new_file(self.table, key);
                let writer = SstFileWriter::create(options(self.table));
                writer.open(&path).map_err(|error| fault("build a file", &error))?;
                self.files.paths.push(path);
                self.writer.insert(writer)
            }
        };
        writer.put(key, value).map_err(|error| fault("build a file", &error))?;
        self.puts += 1;
        // The size is asked for now and then only: the call costs as much as a put.
        if self.puts.is_multiple_of(1024) && writer.file_size() >= FILE_BYTES {
            self.end_file()?;
        }
        Ok(())
    }

    /// The files, complete.
    pub(crate) fn finish(mut self) -> Result<RocksFiles, Fault> {
        self.end_file()?;
        Ok(std::mem::take(&mut self.files))
    }

    fn end_file(&mut self) -> Result<(), Fault> {
        match self.writer.take() {
            Some(mut writer) => writer.finish().map_err(|error| fault("build a file", &error)),
            None => Ok(()),
        }
    }
}

impl RocksFiles {
    /// Whoever asks takes them over.
    pub(crate) fn take(mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.paths)
    }
}

impl Drop for RocksFiles {
    fn drop(&mut self) {
        for path in &self.paths {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::warn!(path = %path.display(), %error, "a file that is not needed stays behind");
            }
        }
    }
}

/// A writer borrows its options: they live as long as the process.
fn options(table: Table) -> &'static Rocksdb {
    static OPTIONS: OnceLock<Vec<Rocksdb>> = OnceLock::new();
    let all = OPTIONS.get_or_init(|| {
        let options = Options::default();
        Table::ALL.into_iter().map(|table| tables::options(table, &options, None)).collect()
    });
    &all[table.place()]
}
