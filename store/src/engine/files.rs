//! Files of sorted records, built beside the database and taken over by it whole. Records come in the order of keys.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rocksdb::{Options as Rocks, SstFileWriter};

use crate::engine::Engine;
use crate::fault::Fault;
use crate::options::Options;
use crate::table::Table;

/// A file is ended at this size.
const FILE_BYTES: u64 = 64 << 20;

/// Builds the files of one table.
pub(crate) struct Builder {
    engine: Arc<Engine>,
    table: Table,
    writer: Option<SstFileWriter<'static>>,
    files: Files,
    puts: u32,
}

/// Built files. Removed if nobody takes them over.
#[derive(Default)]
pub(crate) struct Files {
    paths: Vec<PathBuf>,
}

impl Builder {
    pub(crate) fn new(engine: &Arc<Engine>, table: Table) -> Builder {
        Builder { engine: Arc::clone(engine), table, writer: None, files: Files::default(), puts: 0 }
    }

    pub(crate) fn table(&self) -> Table {
        self.table
    }

    /// Adds a record; its key is above all earlier ones.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                let path = self.engine.new_file(self.table);
                let writer = SstFileWriter::create(options(self.table));
                writer.open(&path).map_err(|error| Fault::rocks("build a file", &error))?;
                self.files.paths.push(path);
                self.writer.insert(writer)
            }
        };
        writer.put(key, value).map_err(|error| Fault::rocks("build a file", &error))?;
        self.puts += 1;
        // The size is asked for now and then only: the call costs as much as a put.
        if self.puts.is_multiple_of(1024) && writer.file_size() >= FILE_BYTES {
            self.end_file()?;
        }
        Ok(())
    }

    /// The files, complete.
    pub(crate) fn finish(mut self) -> Result<Files, Fault> {
        self.end_file()?;
        Ok(std::mem::take(&mut self.files))
    }

    fn end_file(&mut self) -> Result<(), Fault> {
        match self.writer.take() {
            Some(mut writer) => writer.finish().map_err(|error| Fault::rocks("build a file", &error)),
            None => Ok(()),
        }
    }
}

impl Files {
    /// Gives the files to the database.
    pub(crate) fn ingest(mut self, engine: &Engine, table: Table) -> Result<(), Fault> {
        engine.ingest(table, std::mem::take(&mut self.paths))
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for path in &self.paths {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::warn!(path = %path.display(), %error, "a file that is not needed stays behind");
            }
        }
    }
}

/// A writer borrows its options: they live as long as the process.
fn options(table: Table) -> &'static Rocks {
    static OPTIONS: OnceLock<Vec<Rocks>> = OnceLock::new();
    let all = OPTIONS.get_or_init(|| {
        let options = Options::default();
        Table::ALL.into_iter().map(|table| table.options(&options, None)).collect()
    });
    let at = Table::ALL.into_iter().position(|other| other == table);
    &all[at.expect("all tables are listed")]
}
