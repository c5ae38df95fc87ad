//! What the engine does to a simulated disk. Every call names the life that it belongs to, which an open begins and a crash
//! ends: a life that is over changes nothing and is told nothing. Above it is the memory floor of [`crate::engine`].

use std::path::Path;
use std::sync::{Arc, Weak};

use super::contents::{Records, Tables};
use super::faults::{self, Failure, Operation};
use super::{Crash, SimDisk, State, abandon};
use crate::engine::Change;
use crate::fault::{Fault, OpenError};
use crate::steps::Steps;
use crate::table::Table;

impl SimDisk {
    pub(crate) fn name(&self) -> &Path {
        &self.cell.name
    }

    /// Begins a life; gives its number and what the marker says.
    pub(crate) fn open(&self) -> Result<(u64, u64), OpenError> {
        let mut state = self.cell.state.lock();
        if state.open {
            return Err(OpenError::Locked { dir: self.cell.name.clone() });
        }
        if state.full {
            let detail = "No space left on device".to_owned();
            return Err(OpenError::Io { dir: self.cell.name.clone(), detail });
        }
        state.open = true;
        state.life += 1;
        state.steps = Weak::new();
        state.contents.settle();
        let marked = state.marked;
        state.note(b"open", &[&marked.to_le_bytes()]);
        Ok((state.life, marked))
    }

    /// The life goes on: the marker is as it is found, for sure.
    pub(crate) fn opened(&self) {
        let mut state = self.cell.state.lock();
        state.marked_surely = state.marked;
    }

    /// Ends a life in peace.
    pub(crate) fn close(&self, life: u64) {
        let mut state = self.cell.state.lock();
        if state.life == life {
            state.open = false;
        }
    }

    /// Fails if the life is over.
    pub(crate) fn check(&self, life: u64) -> Result<(), Fault> {
        let state = self.cell.state.lock();
        if state.open && state.life == life { Ok(()) } else { Err(Fault::Closed) }
    }

    pub(crate) fn write(&self, life: u64, number: u64, changes: Vec<Change>) -> Result<(), Fault> {
        self.operate(life, Operation::Write, "write", |state| {
            state.note_changes(number, &changes);
            state.contents.write(number, changes);
            Ok(())
        })
    }

    pub(crate) fn sync(&self, life: u64, through: u64) -> Result<(), Fault> {
        self.operate(life, Operation::Sync, "sync", |state| {
            if state.full && state.contents.unsynced().0 > 0 {
                return Err(Fault::DiskFull { operation: "sync" });
            }
            state.note(b"sync", &[&through.to_le_bytes()]);
            if !state.lies {
                state.contents.sync(through);
            }
            state.marked = state.marked.max(through);
            Ok(())
        })
    }

    pub(crate) fn get(&self, life: u64, table: Table, key: &[u8]) -> Result<Option<Arc<[u8]>>, Fault> {
        self.operate(life, Operation::Read, table.name(), |state| {
            let Some((key, value)) = state.contents.live().of(table).get_key_value(key) else {
                return Ok(None);
            };
            state.readable(table, key).map(|()| Some(Arc::clone(value)))
        })
    }

    /// A cursor moved to a record, or to its end.
    pub(crate) fn moved(&self, life: u64, table: Table, to: Option<&Arc<[u8]>>) -> Result<(), Fault> {
        self.operate(life, Operation::Read, table.name(), |state| {
            to.map_or(Ok(()), |key| state.readable(table, key))
        })
    }

    pub(crate) fn tables(&self) -> Tables {
        self.cell.state.lock().contents.live().clone()
    }

    pub(crate) fn build(&self, life: u64) -> Result<(), Fault> {
        self.operate(life, Operation::Build, "build a file", |state| match state.full {
            true => Err(Fault::DiskFull { operation: "build a file" }),
            false => Ok(()),
        })
    }

    pub(crate) fn ingest(&self, life: u64, table: Table, records: Records) -> Result<(), Fault> {
        self.operate(life, Operation::Ingest, "ingest", |state| {
            state.note(b"ingest", &[&[table as u8]]);
            for (key, value) in &records {
                state.note(b"record", &[key, value]);
            }
            state.contents.ingest(table, records);
            Ok(())
        })
    }

    /// Does an operation of a life, unless it is over or the operation is to fail.
    fn operate<T>(
        &self,
        life: u64,
        operation: Operation,
        what: &'static str,
        work: impl FnOnce(&mut State) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut state = self.cell.state.lock();
        if !state.open || state.life != life {
            return Err(Fault::Closed);
        }
        let Some(failure) = state.plan.count(operation) else { return work(&mut state) };
        if let Failure::Crash(crash) = failure {
            let (_, steps) = state.crash(crash);
            drop(state);
            abandon(&steps);
        }
        Err(faults::refused(what, failure))
    }
}

impl State {
    pub(super) fn crash(&mut self, crash: Crash) -> (u64, Weak<Steps>) {
        let lost = self.contents.crash(crash.kept);
        if !crash.marker_kept {
            self.marked = self.marked_surely;
        }
        self.open = false;
        self.life += 1;
        self.note(b"crash", &[&lost.to_le_bytes(), &self.marked.to_le_bytes()]);
        (lost, std::mem::take(&mut self.steps))
    }

    fn readable(&self, table: Table, key: &Arc<[u8]>) -> Result<(), Fault> {
        if self.contents.is_rotten(table, key) {
            return Err(Fault::damaged(table.name(), "block checksum mismatch, on purpose"));
        }
        Ok(())
    }

    fn note_changes(&mut self, number: u64, changes: &[Change]) {
        self.note(b"write", &[&number.to_le_bytes()]);
        for change in changes {
            match change {
                Change::Put(table, key, value) => self.note(b"put", &[&[*table as u8], key, value]),
                Change::Delete(table, key) => self.note(b"delete", &[&[*table as u8], key]),
                Change::DeleteRange(table, from, to) => self.note(b"range", &[&[*table as u8], from, to]),
            }
        }
    }

    /// Adds to the hash of everything that happened.
    fn note(&mut self, what: &[u8], parts: &[&[u8]]) {
        self.hasher.update(what);
        for part in parts {
            self.hasher.update(&(part.len() as u64).to_le_bytes());
            self.hasher.update(part);
        }
    }
}
