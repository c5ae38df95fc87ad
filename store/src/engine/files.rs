//! Files of sorted records, built beside the database and taken over by it whole. Records come in the order of keys.

use std::sync::Arc;

use super::memory::MemoryBuilder;
use super::rocks::files::{RocksBuilder, RocksFiles};
use super::{Engine, Floor};
use crate::fault::Fault;
use crate::table::Table;

/// Builds the files of one table.
pub(crate) struct Builder {
    engine: Arc<Engine>,
    table: Table,
    last: Vec<u8>,
    kind: BuilderKind,
}

enum BuilderKind {
    Rocks(RocksBuilder),
    Memory(MemoryBuilder),
}

/// Built files. Removed if nobody takes them over.
pub(crate) enum Files {
    /// Beside the database.
    Rocks(RocksFiles),
    /// Beside the simulated disk's records.
    Memory(MemoryBuilder),
}

impl Builder {
    pub(crate) fn new(engine: &Arc<Engine>, table: Table) -> Builder {
        let kind = match &engine.floor {
            Floor::Rocks(_) => BuilderKind::Rocks(RocksBuilder::new(table)),
            Floor::Memory(memory) => BuilderKind::Memory(memory.builder()),
        };
        Builder { engine: Arc::clone(engine), table, last: Vec::new(), kind }
    }

    pub(crate) fn table(&self) -> Table {
        self.table
    }

    /// Table and key of the last record; None if there is none.
    pub(crate) fn last(&self) -> Option<(Table, Vec<u8>)> {
        (!self.last.is_empty()).then(|| (self.table, self.last.clone()))
    }

    /// Adds a record; its key is above all earlier ones.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.last.clear();
        self.last.extend_from_slice(key);
        match (&mut self.kind, &self.engine.floor) {
            (BuilderKind::Rocks(builder), Floor::Rocks(rocks)) => builder.put(rocks, key, value),
            (BuilderKind::Memory(builder), _) => builder.put(key, value),
            (BuilderKind::Rocks(_), Floor::Memory(_)) => unreachable!("it was made for this engine"),
        }
    }

    /// Ends the files and gives them to the database. On disk when it returns.
    pub(crate) fn ingest(self) -> Result<(), Fault> {
        let (engine, table) = (Arc::clone(&self.engine), self.table);
        self.finish()?.ingest(&engine, table)
    }

    /// The files, complete.
    pub(crate) fn finish(self) -> Result<Files, Fault> {
        Ok(match self.kind {
            BuilderKind::Rocks(builder) => Files::Rocks(builder.finish()?),
            BuilderKind::Memory(builder) => Files::Memory(builder),
        })
    }
}

impl Files {
    /// Gives the files to the database. On disk when it returns.
    pub(crate) fn ingest(self, engine: &Engine, table: Table) -> Result<(), Fault> {
        engine.ingest(table, self)
    }
}
