//! A batch: puts and deletes that are written together or not at all, in the order they were added. Made by the engine
//! that writes it.

use std::sync::Arc;

use rocksdb::WriteBatch;

use super::rocks::Rocks;
use crate::table::Table;

/// Changes to be written at once.
pub(crate) struct Batch<'a> {
    pub(super) kind: Kind<'a>,
}

/// For which floor the changes are.
pub(super) enum Kind<'a> {
    /// The database.
    Rocks(&'a Rocks, WriteBatch),
    /// The simulated disk.
    Memory(Vec<Change>),
}

/// One change, for a floor that keeps changes as they are.
pub(crate) enum Change {
    /// A record is set.
    Put(Table, Arc<[u8]>, Arc<[u8]>),
    /// A record goes.
    Delete(Table, Box<[u8]>),
    /// All records from a key to below another one go.
    DeleteRange(Table, Box<[u8]>, Box<[u8]>),
}

impl Batch<'_> {
    /// Sets a record.
    pub(crate) fn put(&mut self, table: Table, key: &[u8], value: &[u8]) {
        match &mut self.kind {
            Kind::Rocks(rocks, batch) => batch.put_cf(rocks.family(table), key, value),
            Kind::Memory(changes) => changes.push(Change::Put(table, key.into(), value.into())),
        }
    }

    /// Removes a record, if it is there.
    pub(crate) fn delete(&mut self, table: Table, key: &[u8]) {
        match &mut self.kind {
            Kind::Rocks(rocks, batch) => batch.delete_cf(rocks.family(table), key),
            Kind::Memory(changes) => changes.push(Change::Delete(table, key.into())),
        }
    }

    /// Removes the records from `from` to below `to`.
    pub(crate) fn delete_range(&mut self, table: Table, from: &[u8], to: &[u8]) {
        match &mut self.kind {
            Kind::Rocks(rocks, batch) => batch.delete_range_cf(rocks.family(table), from, to),
            Kind::Memory(changes) => changes.push(Change::DeleteRange(table, from.into(), to.into())),
        }
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.kind {
            Kind::Rocks(_, batch) => batch.is_empty(),
            Kind::Memory(changes) => changes.is_empty(),
        }
    }
}
