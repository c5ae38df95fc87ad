//! One set's Raft log over the shared database. Appends are readable at once and durable when the syncer says so; votes
//! go the same way, so that their order holds. Purging moves a pointer: the records stay, because they are the lasting
//! record of every transaction. Knows nothing of what the payloads mean. Above it is the node's Raft storage; the set's
//! replica reads entries from it.

mod carry;
mod stored;

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use crate::engine::{Batch, Engine};
use crate::fault::Fault;
use crate::keys::{self, Generation};
use crate::record::{self, LogId, PART_BYTES, Record};
use crate::shared::Shared;
use crate::syncer::Done;
use crate::table::Table;
use crate::tail::Tail;
use stored::{bad, last_stored, newest, read_stored};

/// The log of one set. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    cell: Arc<Cell>,
}

struct Cell {
    set: u32,
    shared: Arc<Shared>,
    state: Mutex<State>,
}

/// What the log keeps in memory.
pub(crate) struct State {
    generation: Generation,
    vote: Option<Vec<u8>>,
    last: Option<LogId>,
    purged: Option<LogId>,
    committed: Option<LogId>,
    /// Whether `committed` is to be written with the next batch.
    committed_waits: bool,
    /// How often records were removed: who copies the log notices that what it copied is gone.
    truncations: u64,
    tail: Tail,
}

impl Log {
    /// Reads pointers and the last record.
    pub(crate) fn open(shared: Arc<Shared>, set: u32) -> Result<Log, Fault> {
        let generation = shared.generations.of(&shared.engine, set)?;
        let state = State::load(&shared.engine, set, generation)?;
        Ok(Log { cell: Arc::new(Cell { set, shared, state: Mutex::new(state) }) })
    }

    /// Appends records, in turn after the last one. They are readable on return; `done` is called when they are on
    /// disk, or with the fault that prevented it.
    pub fn append(&self, records: Vec<Record>, done: Done) -> Result<(), Fault> {
        if !records.is_empty() {
            let mut state = self.cell.state.lock();
            let mut batch = self.engine().batch();
            let mut due = state.last.map(|last| last.index + 1);
            for record in &records {
                let found = record.id.index;
                if let Some(expected) = due.filter(|&due| due != found) {
                    return Err(Fault::OutOfTurn { what: "log", expected, found });
                }
                due = Some(found + 1);
                record.store(state.generation, |key, value| {
                    batch.put(Table::Log, key, value);
                });
            }
            state.put_committed(&mut batch);
            self.engine().write(batch)?;
            state.committed_waits = false;
            state.last = records.last().map(|record| record.id);
            for record in records {
                state.tail.push(Arc::new(record));
            }
        }
        // Not under the lock: a full queue must not stop readers.
        self.cell.shared.syncer.push(done)
    }

    /// Saves the vote, in the same order as appends.
    pub fn save_vote(&self, vote: &[u8], done: Done) -> Result<(), Fault> {
        let mut state = self.cell.state.lock();
        let mut batch = self.engine().batch();
        batch.put(Table::Raft, &keys::named(keys::VOTE, self.cell.set), vote);
        state.put_committed(&mut batch);
        self.engine().write(batch)?;
        state.committed_waits = false;
        state.vote = Some(vote.to_vec());
        drop(state);
        self.cell.shared.syncer.push(done)
    }

    /// The vote saved last.
    pub fn vote(&self) -> Option<Vec<u8>> {
        self.cell.state.lock().vote.clone()
    }

    /// The records `[from, to_exclusive)` that exist, up to `bytes_max` of payload but at least one. Records at or
    /// below the purge pointer are given too.
    pub fn read(&self, from: u64, to_exclusive: u64, bytes_max: usize) -> Result<Vec<Arc<Record>>, Fault> {
        loop {
            let state = self.cell.state.lock();
            self.engine().check()?;
            let end = state.last.map_or(0, |last| last.index + 1);
            let to = to_exclusive.min(end);
            let mut out = Vec::new();
            if from >= to {
                return Ok(out);
            }
            let cached = state.tail.first().unwrap_or(end);
            if from >= cached {
                state.tail.read(from, to, bytes_max, &mut out);
                return Ok(out);
            }
            let generation = state.generation;
            drop(state);
            out = read_stored(self.engine(), generation, from, to.min(cached), bytes_max)?;
            let state = self.cell.state.lock();
            if state.generation != generation {
                continue;
            }
            // The cache goes on where the disk part ended, if that is still there.
            let next = out.last().map_or(cached, |record| record.id.index + 1);
            if next == cached && next < to && state.tail.first() == Some(cached) {
                state.tail.read(next, to, bytes_max, &mut out);
            }
            return Ok(out);
        }
    }

    /// The record at `index`.
    pub(crate) fn record(&self, index: u64) -> Result<Option<Arc<Record>>, Fault> {
        Ok(self.read(index, index + 1, usize::MAX)?.pop())
    }

    /// Bytes `[from, to)` of the payload of the record at `index`, without reading the rest of it, and so without its
    /// checksum: the database's own covers what is read. None if they are not there.
    pub(crate) fn slice(&self, index: u64, from: usize, to: usize) -> Result<Option<Vec<u8>>, Fault> {
        let state = self.cell.state.lock();
        let generation = state.generation;
        if state.tail.first().is_some_and(|first| index >= first) {
            let mut found = Vec::new();
            state.tail.read(index, index + 1, usize::MAX, &mut found);
            let bytes = found.first().and_then(|record| record.payload.get(from..to));
            return Ok(bytes.map(<[u8]>::to_vec));
        }
        drop(state);
        let mut out = Vec::with_capacity(to - from);
        while from + out.len() < to {
            let at = from + out.len();
            let Ok(part) = u16::try_from(at / PART_BYTES) else { return Ok(None) };
            let stored = self.engine().get(Table::Log, &keys::log(generation, index, part))?;
            let Some(stored) = stored else { return Ok(None) };
            let payload = record::payload_of_part(part, &stored).map_err(bad)?;
            let begin = at % PART_BYTES;
            let end = payload.len().min(begin + to - at);
            match payload.get(begin..end) {
                Some(bytes) if !bytes.is_empty() => out.extend_from_slice(bytes),
                _ => return Ok(None),
            }
        }
        Ok(Some(out))
    }

    /// The last record's name; the purge pointer if there is none after it.
    pub fn last(&self) -> Option<LogId> {
        self.cell.state.lock().last
    }

    /// Up to where the log was purged.
    pub fn purged(&self) -> Option<LogId> {
        self.cell.state.lock().purged
    }

    /// Removes all records after `index`, or all. Unsynced: what is appended next is later in the same write-ahead log.
    pub fn truncate_after(&self, index: Option<u64>) -> Result<(), Fault> {
        let mut state = self.cell.state.lock();
        let from = index.map_or(0, |index| index + 1);
        let Some(last) = state.last.filter(|last| last.index >= from) else { return Ok(()) };
        let engine = self.engine();
        let mut batch = engine.batch();
        let generation = state.generation;
        batch.delete_range(
            Table::Log,
            &keys::log(generation, from, 0),
            &keys::log(generation, last.index + 1, 0),
        );
        // What is committed is never truncated by Raft; whoever does it all the same makes the pointer a lie.
        let holds = state.committed.is_none_or(|committed| committed.index < from);
        if !holds {
            batch.delete(Table::Raft, &keys::named(keys::COMMITTED, generation));
        }
        engine.write(batch)?;
        if !holds {
            state.committed = None;
            state.committed_waits = false;
        }
        state.truncations += 1;
        state.tail.truncate_from(from);
        state.last = newest(last_stored(engine, generation)?, state.purged);
        Ok(())
    }

    /// Moves the purge pointer. If it passes the last record, the log goes on after the pointer.
    pub fn purge(&self, upto: LogId) -> Result<(), Fault> {
        let mut state = self.cell.state.lock();
        if state.purged.is_some_and(|purged| purged.index >= upto.index) {
            return Ok(());
        }
        self.put(Table::Raft, &keys::named(keys::PURGED, state.generation), &upto.to_bytes())?;
        state.purged = Some(upto);
        if state.last.is_none_or(|last| last.index < upto.index) {
            state.last = Some(upto);
            state.tail.clear();
        }
        Ok(())
    }

    /// Notes what is known to be committed, so that a restart can apply it without waiting for a leader. It is written with
    /// the next records or vote: alone it would not reach the disk any sooner, for only they ask for a sync.
    pub fn save_committed(&self, committed: LogId) {
        let mut state = self.cell.state.lock();
        if state.committed != Some(committed) {
            state.committed = Some(committed);
            state.committed_waits = true;
        }
    }

    /// What was noted as committed, if the log reaches that far.
    pub fn committed(&self) -> Option<LogId> {
        let state = self.cell.state.lock();
        state.committed.filter(|committed| state.last.is_some_and(|last| last.index >= committed.index))
    }

    /// Writes what was noted and still waits. For the end, when no more records follow.
    pub(crate) fn write_committed(&self) -> Result<(), Fault> {
        let mut state = self.cell.state.lock();
        let mut batch = self.engine().batch();
        state.put_committed(&mut batch);
        if batch.is_empty() {
            return Ok(());
        }
        self.engine().write(batch)?;
        state.committed_waits = false;
        Ok(())
    }

    /// Waits until everything that was written before is on disk.
    pub fn sync(&self) -> Result<(), Fault> {
        self.cell.shared.syncer.wait()
    }

    /// Stops the log while a snapshot takes its place.
    pub(crate) fn freeze(&self) -> MutexGuard<'_, State> {
        self.cell.state.lock()
    }

    pub(crate) fn generation(&self) -> Generation {
        self.cell.state.lock().generation
    }

    /// Flips the last bit of a stored record.
    #[cfg(test)]
    pub(crate) fn damage(&self, index: u64) {
        let key = keys::log(self.generation(), index, 0);
        let mut stored = self.engine().get(Table::Log, &key).unwrap().expect("it is there").to_vec();
        *stored.last_mut().expect("a record has bytes") ^= 1;
        self.put(Table::Log, &key, &stored).unwrap();
    }

    fn engine(&self) -> &Engine {
        &self.cell.shared.engine
    }

    fn put(&self, table: Table, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        let mut batch = self.engine().batch();
        batch.put(table, key, value);
        self.engine().write(batch)
    }
}

impl State {
    fn load(engine: &Engine, set: u32, generation: Generation) -> Result<State, Fault> {
        let pointer = |name| {
            let value = engine.get(Table::Raft, &keys::named(name, generation))?;
            value.map(|value| LogId::from_bytes(&value).map_err(bad)).transpose()
        };
        let purged = pointer(keys::PURGED)?;
        let committed = pointer(keys::COMMITTED)?;
        let last = newest(last_stored(engine, generation)?, purged);
        let vote = engine.get(Table::Raft, &keys::named(keys::VOTE, set))?.map(|value| value.to_vec());
        Ok(State {
            generation,
            vote,
            last,
            purged,
            committed,
            committed_waits: false,
            truncations: 0,
            tail: Tail::new(engine.options.tail_cache_bytes),
        })
    }

    pub(crate) fn generation(&self) -> Generation {
        self.generation
    }

    fn put_committed(&self, batch: &mut Batch<'_>) {
        if let Some(committed) = self.committed.filter(|_| self.committed_waits) {
            let key = keys::named(keys::COMMITTED, self.generation);
            batch.put(Table::Raft, &key, &committed.to_bytes());
        }
    }
}
