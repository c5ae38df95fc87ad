//! The floor of simulations: a simulated disk in the place of the database, with the same meaning. Everything is under the
//! number of the life that opened it: after a crash on purpose it gives [`Fault::Closed`] and changes nothing. Below it
//! is [`crate::disk`].

use std::ops::Bound;
use std::sync::Arc;

use super::batch::{Batch, Kind};
use super::read::{Cursor, CursorKind, Value, View};
use super::{WRITTEN, refuse_loss, written};
use crate::disk::{Records, SimDisk, Tables};
use crate::fault::{Fault, OpenError};
use crate::table::Table;

/// The right to use a disk, from an open to a crash.
#[derive(Clone)]
struct Life {
    disk: SimDisk,
    number: u64,
}

/// An open simulated disk.
pub(super) struct Memory {
    life: Life,
}

impl Memory {
    /// Opens a disk; gives the number of the last write that it still has as well.
    pub(super) fn open(disk: &SimDisk) -> Result<(Memory, u64), OpenError> {
        let (number, synced) = disk.open()?;
        let memory = Memory { life: Life { disk: disk.clone(), number } };
        let found = memory.get(Table::Raft, WRITTEN).and_then(|stored| written(stored.as_deref()));
        let found = found.map_err(|fault| OpenError::Damaged {
            dir: disk.name().to_owned(),
            detail: format!("the number of the last write is unreadable: {fault}"),
        })?;
        refuse_loss(disk.name(), found, synced)?;
        disk.opened();
        Ok((memory, found))
    }

    pub(super) fn check(&self) -> Result<(), Fault> {
        self.life.disk.check(self.life.number)
    }

    pub(super) fn batch(&self) -> Batch<'_> {
        Batch { kind: Kind::Memory(Vec::new()) }
    }

    pub(super) fn write(&self, batch: Batch<'_>, number: u64) -> Result<(), Fault> {
        let Kind::Memory(changes) = batch.kind else {
            unreachable!("a batch is written by the engine that made it")
        };
        self.life.disk.write(self.life.number, number, changes)
    }

    /// Makes writes durable up to a number, and marks it.
    pub(super) fn sync(&self, through: u64) -> Result<(), Fault> {
        self.life.disk.sync(self.life.number, through)
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Value<'static>>, Fault> {
        Ok(self.life.disk.get(self.life.number, table, key)?.map(Value::Shared))
    }

    pub(super) fn cursor(&self, table: Table, to: &[u8]) -> Cursor<'static> {
        let cursor =
            MemoryView { life: self.life.clone(), tables: self.life.disk.tables() }.cursor(table, to);
        Cursor { table, kind: CursorKind::Memory(cursor) }
    }

    pub(super) fn view(&self) -> View<'static> {
        View::Memory(MemoryView { life: self.life.clone(), tables: self.life.disk.tables() })
    }

    pub(super) fn builder(&self) -> MemoryBuilder {
        MemoryBuilder { life: self.life.clone(), records: Records::new() }
    }

    pub(super) fn ingest(&self, table: Table, file: MemoryBuilder) -> Result<(), Fault> {
        if file.records.is_empty() {
            return Ok(());
        }
        self.life.disk.ingest(self.life.number, table, file.records)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.life.disk.close(self.life.number);
    }
}

/// The tables as they were.
pub(crate) struct MemoryView {
    life: Life,
    tables: Tables,
}

impl MemoryView {
    pub(super) fn cursor(&self, table: Table, to: &[u8]) -> MemoryCursor {
        MemoryCursor {
            life: self.life.clone(),
            table,
            records: Arc::clone(self.tables.of(table)),
            to: to.to_vec(),
            at: None,
            fault: None,
        }
    }
}

type Item = (Arc<[u8]>, Arc<[u8]>);

/// Goes over the records of a table as they were.
pub(crate) struct MemoryCursor {
    life: Life,
    table: Table,
    records: Arc<Records>,
    to: Vec<u8>,
    at: Option<Item>,
    fault: Option<Fault>,
}

impl MemoryCursor {
    pub(super) fn seek(&mut self, key: &[u8]) {
        self.fault = None;
        // A range that ends before it begins is an error of whoever asks for it.
        let found = if key < &self.to[..] { self.first(Bound::Included(key)) } else { None };
        self.stand_on(found);
    }

    pub(super) fn seek_to_last(&mut self) {
        self.fault = None;
        let found = self.last_below(&self.to);
        self.stand_on(found);
    }

    pub(super) fn next(&mut self) {
        let Some((key, _)) = self.at.take() else { return };
        let found = self.first(Bound::Excluded(&key));
        self.stand_on(found);
    }

    pub(super) fn prev(&mut self) {
        let Some((key, _)) = self.at.take() else { return };
        let found = self.last_below(&key);
        self.stand_on(found);
    }

    pub(super) fn item(&self) -> Option<(&[u8], &[u8])> {
        self.at.as_ref().map(|(key, value)| (&**key, &**value))
    }

    pub(super) fn ended(&self) -> Result<(), Fault> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    fn first(&self, from: Bound<&[u8]>) -> Option<Item> {
        let mut range = self.records.range::<[u8], _>((from, Bound::Excluded(&self.to[..])));
        range.next().map(|(key, value)| (Arc::clone(key), Arc::clone(value)))
    }

    fn last_below(&self, end: &[u8]) -> Option<Item> {
        let mut range = self.records.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(end)));
        range.next_back().map(|(key, value)| (Arc::clone(key), Arc::clone(value)))
    }

    fn stand_on(&mut self, found: Option<Item>) {
        let key = found.as_ref().map(|(key, _)| key);
        let moved = self.life.disk.moved(self.life.number, self.table, key);
        self.fault = moved.err();
        self.at = found.filter(|_| self.fault.is_none());
    }
}

/// A file that is being built, or was: gone with whoever holds it, like one that nobody takes over.
pub(crate) struct MemoryBuilder {
    life: Life,
    records: Records,
}

impl MemoryBuilder {
    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        self.life.disk.build(self.life.number)?;
        if self.records.last_key_value().is_some_and(|(last, _)| &**last >= key) {
            let detail = "keys must be added in strict ascending order".to_owned();
            return Err(Fault::Disk { operation: "build a file", detail });
        }
        self.records.insert(key.into(), value.into());
        Ok(())
    }
}
