//! What reading gives: a value, a cursor over the records of a table, a view that later writes do not change. The same
//! for whoever reads, whichever floor is below.

use std::ops::Deref;
use std::sync::Arc;

use rocksdb::{DBPinnableSlice, DBRawIterator};

use super::memory::{MemoryCursor, MemoryView};
use super::rocks::{self, Rocks};
use crate::fault::Fault;
use crate::table::Table;

/// The value of a record.
pub(crate) enum Value<'a> {
    /// Where the database has it.
    Pinned(DBPinnableSlice<'a>),
    /// Shared with the simulated disk.
    Shared(Arc<[u8]>),
}

impl Deref for Value<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Value::Pinned(value) => value,
            Value::Shared(value) => value,
        }
    }
}

/// Goes over the records of a table in the order of keys. It sees the table as it was when the cursor was made. It stands
/// nowhere until it is told where; an error ends it as the end does, and [`Cursor::ended`] tells which it was.
pub(crate) struct Cursor<'a> {
    pub(super) table: Table,
    pub(super) kind: CursorKind<'a>,
}

/// The floor that a cursor goes over.
pub(super) enum CursorKind<'a> {
    /// The database.
    Rocks(DBRawIterator<'a>),
    /// The simulated disk.
    Memory(MemoryCursor),
}

impl Cursor<'_> {
    /// Goes to the first record at or after `key`.
    pub(crate) fn seek(&mut self, key: &[u8]) {
        match &mut self.kind {
            CursorKind::Rocks(iterator) => iterator.seek(key),
            CursorKind::Memory(cursor) => cursor.seek(key),
        }
    }

    /// Goes to the last record below the cursor's end.
    pub(crate) fn seek_to_last(&mut self) {
        match &mut self.kind {
            CursorKind::Rocks(iterator) => iterator.seek_to_last(),
            CursorKind::Memory(cursor) => cursor.seek_to_last(),
        }
    }

    /// One record on.
    pub(crate) fn next(&mut self) {
        match &mut self.kind {
            CursorKind::Rocks(iterator) => iterator.next(),
            CursorKind::Memory(cursor) => cursor.next(),
        }
    }

    /// One record back.
    pub(crate) fn prev(&mut self) {
        match &mut self.kind {
            CursorKind::Rocks(iterator) => iterator.prev(),
            CursorKind::Memory(cursor) => cursor.prev(),
        }
    }

    /// Whether it stands on a record.
    pub(crate) fn valid(&self) -> bool {
        match &self.kind {
            CursorKind::Rocks(iterator) => iterator.valid(),
            CursorKind::Memory(cursor) => cursor.item().is_some(),
        }
    }

    /// The key of the record it stands on.
    pub(crate) fn key(&self) -> Option<&[u8]> {
        match &self.kind {
            CursorKind::Rocks(iterator) => iterator.key(),
            CursorKind::Memory(cursor) => cursor.item().map(|(key, _)| key),
        }
    }

    /// Key and value of the record it stands on.
    pub(crate) fn item(&self) -> Option<(&[u8], &[u8])> {
        match &self.kind {
            CursorKind::Rocks(iterator) => iterator.item(),
            CursorKind::Memory(cursor) => cursor.item(),
        }
    }

    /// Whether it stopped at its end or at an error.
    pub(crate) fn ended(&self) -> Result<(), Fault> {
        match &self.kind {
            CursorKind::Rocks(iterator) => {
                iterator.status().map_err(|error| rocks::fault(self.table.name(), &error))
            }
            CursorKind::Memory(cursor) => cursor.ended(),
        }
    }
}

/// A view that later writes do not change.
pub(crate) enum View<'a> {
    /// Of the database, for one thread's stack.
    Rocks(&'a Rocks, rocksdb::Snapshot<'a>),
    /// Of the simulated disk.
    Memory(MemoryView),
}

impl View<'_> {
    /// A cursor over the records below `to`; the caller seeks.
    pub(crate) fn cursor(&self, table: Table, to: &[u8]) -> Cursor<'_> {
        let kind = match self {
            View::Rocks(rocks, snapshot) => {
                CursorKind::Rocks(snapshot.raw_iterator_cf_opt(rocks.family(table), rocks::bounded(to)))
            }
            View::Memory(view) => CursorKind::Memory(view.cursor(table, to)),
        };
        Cursor { table, kind }
    }
}
