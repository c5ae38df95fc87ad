//! References of the client's own: which transactions have one in their metadata, so that they are found without an account.
//! The index has the hash of a reference and the position where its transaction, or its reversal, was taken in: no more, so
//! that what it finds is a candidate whose metadata are read and compared. In memory since the last checkpoint, in sorted files
//! before it. Nothing that the ledger decides looks at it, and replicas may have it at different times: [`Coverage`] says how
//! much of the log it covers, and until that is all of it, nothing is answered.
//!
//! What was applied by a build that kept no index, or came with a snapshot without one, is read again from the log, a piece at
//! a time, by the background thread.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use memchr::memmem::Finder;
use twinset_ledger::codec::{self, Entry, decode_outcome};
use twinset_ledger::command::REFERENCE;
use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::outcome::{Effect, Outcome};
use xxhash_rust::xxh3::xxh3_64;

use super::LedgerReplica;
use super::list::{Page, READS_PER_LOCK};
use super::outcomes::Kept;
use super::reads::Read;
use super::rebuild::{Became, Decided, bad, missing};
use super::state::ReplicaState;
use crate::engine::{Batch, Engine};
use crate::fault::Fault;
use crate::keys::{self, Generation};
use crate::record::RecordKind;
use crate::table::Table;
use crate::wire::{BadRecord, Fields};

const VERSION: u8 = 1;
/// Entries that are read again in one piece, at most, and so many bytes of them.
const ENTRIES_PER_PIECE: u64 = 512;
const BYTES_PER_PIECE: usize = 4 << 20;

/// What a question for a reference is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Referred {
    /// Transactions and reversals that were booked, each as a whole.
    Page(Page),
    /// One of them has been begun over several sets, and its end is not known yet.
    Begun(TransactionId),
    /// What was booked before the index was kept is still being read.
    Building {
        /// Entries of the log that have been read.
        done: u64,
        /// How many there are to read.
        of: u64,
    },
}

/// How much of the log the index covers: every entry from `from` on, because the index was kept when it was applied, and those
/// below `read`, which were read again. What lies between is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Coverage {
    from: u64,
    read: u64,
}

impl Coverage {
    /// Of an index that begins behind an entry.
    pub(super) fn after(index: u64) -> Coverage {
        Coverage { from: index + 1, read: 0 }
    }

    /// Whether nothing is missing.
    pub(super) fn is_whole(self) -> bool {
        self.read >= self.from
    }

    /// Of a generation of which entries below `stored_end` have been applied. Where nothing is on record, they were applied
    /// by a build that kept no index.
    pub(super) fn load(engine: &Engine, generation: Generation, stored_end: u64) -> Result<Coverage, Fault> {
        let stored = engine.get(Table::Meta, &keys::named(keys::REFERENCES, generation))?;
        stored.map_or(Ok(Coverage { from: stored_end, read: 0 }), |bytes| {
            Coverage::decode(&bytes).map_err(bad("the record of the index of references"))
        })
    }

    pub(super) fn put(self, batch: &mut Batch<'_>, generation: Generation) {
        batch.put(Table::Meta, &keys::named(keys::REFERENCES, generation), &self.encode());
    }

    fn encode(self) -> Vec<u8> {
        [&[VERSION][..], &self.from.to_le_bytes(), &self.read.to_le_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Result<Coverage, BadRecord> {
        let mut fields = Fields::new(bytes);
        let version = fields.u8()?;
        if version != VERSION {
            return Err(BadRecord::Value { field: "version", value: version.into() });
        }
        let coverage = Coverage { from: fields.u64()?, read: fields.u64()? };
        fields.end()?;
        Ok(coverage)
    }
}

fn hash(reference: &str) -> u64 {
    xxh3_64(reference.as_bytes())
}

/// Whether a command may have a reference, from its bytes alone: most have none, and are not decoded for it.
fn may_have_reference(command: &[u8]) -> bool {
    static KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(REFERENCE));
    KEY.find(command).is_some()
}

/// Whether an outcome is of something that is found by its reference, if it has one: a first answer that something is booked,
/// or may be by now.
pub(super) fn is_to_be_found(outcome: &Outcome) -> bool {
    let books = |effect: &Effect| {
        matches!(
            effect,
            Effect::Posted(_) | Effect::Buffered { .. } | Effect::Suspended { .. } | Effect::Begun
        )
    };
    !outcome.replayed && outcome.result.as_ref().is_ok_and(books)
}

/// Adds the references of an entry's commands. `stands` is asked only about those that have one, by their offsets: whether
/// [`is_to_be_found`] is so of the outcome.
pub(super) fn of_entry(
    index: u64,
    entry: &Entry<'_>,
    found: &mut BTreeSet<(u64, u64)>,
    mut stands: impl FnMut(u16) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    if entry.is_all_short() {
        return Ok(());
    }
    for (offset, record) in (0u16..).zip(entry.records()) {
        let codec::Record::General(bytes) = record else { continue };
        if !may_have_reference(bytes) {
            continue;
        }
        let command = codec::decode_command(bytes)
            .map_err(|error| Fault::damaged("a log entry", format!("entry {index}: {error}")))?;
        let Some(reference) = command.reference() else { continue };
        if stands(offset)? {
            found.insert((hash(reference), Position::new(index, offset).0));
        }
    }
    Ok(())
}

impl LedgerReplica {
    /// What was booked with a reference, in the order of positions and behind `after`: `limit` at most, and never more than are
    /// read under one lock, so that all of it is as of one index. A transaction over several sets is found where it began, as a
    /// whole; one that came to nothing is not. There may be none though more follow: another reference may have the same hash.
    pub fn referred(
        &self,
        reference: &str,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Read<Referred>, Fault> {
        self.check()?;
        let state = self.cell.state.read();
        let Coverage { from, read } = state.coverage;
        if !state.coverage.is_whole() {
            let answer = state.answer(Referred::Building { done: read, of: from });
            drop(state);
            // The queue of the background thread may have been full.
            self.offer_indexing();
            return Ok(answer);
        }
        let first = after.map_or(Some(0), |after| after.0.checked_add(1));
        let value = first.map_or(Ok(Referred::Page(Page::default())), |first| {
            state.page_of(reference, Position(first), limit.clamp(1, READS_PER_LOCK))
        })?;
        Ok(state.answer(value))
    }

    /// Entries of the log that the index does not cover yet; until there are none, [`LedgerReplica::referred`] has no answer.
    pub fn references_unread(&self) -> u64 {
        let Coverage { from, read } = self.cell.state.read().coverage;
        from.saturating_sub(read)
    }

    /// Reads another piece of the part of the log that the index does not cover. Whether there is more to read.
    pub fn index_references(&self) -> Result<bool, Fault> {
        // Neither a checkpoint nor an install may write the same record meanwhile.
        let _writing = self.cell.writing.lock();
        self.check()?;
        let (generation, Coverage { from, read }) = {
            let state = self.cell.state.read();
            (state.generation, state.coverage)
        };
        if read >= from {
            return Ok(false);
        }
        let end = from.min(read + ENTRIES_PER_PIECE);
        let records = self.cell.log.read(read, end, BYTES_PER_PIECE)?;
        let mut found = BTreeSet::new();
        let mut next = read;
        for record in &records {
            let index = record.id.index;
            self.expect_nothing(next, index)?;
            if record.kind == RecordKind::Commands {
                let entry = Entry::parse(&record.payload)
                    .map_err(|error| Fault::damaged("a log entry", format!("entry {index}: {error}")))?;
                of_entry(index, &entry, &mut found, |offset| {
                    self.cell.state.read().stands(Position::new(index, offset))
                })?;
            }
            next = index + 1;
        }
        if records.is_empty() {
            self.expect_nothing(next, end)?;
            next = end;
        }
        let coverage = Coverage { from, read: next };
        let mut batch = self.engine().batch();
        for (hash, position) in &found {
            batch.put(Table::Reference, &keys::reference(generation, *hash, *position), &[]);
        }
        coverage.put(&mut batch, generation);
        self.engine().write(batch)?;
        self.cell.state.write().coverage = coverage;
        Ok(!coverage.is_whole())
    }

    /// Entries that the log does not have must have had no commands.
    fn expect_nothing(&self, begin: u64, end: u64) -> Result<(), Fault> {
        for index in begin..end {
            if self.cell.state.read().with_outcomes(index, |_| Ok(()))?.is_some() {
                return Err(missing(Position::new(index, 0)));
            }
        }
        Ok(())
    }

    /// Has the background thread read what the index does not cover, a piece at a time: others want it as well.
    pub(super) fn offer_indexing(&self) {
        if !self.engine().options.background_checkpoints || self.cell.state.read().coverage.is_whole() {
            return;
        }
        if self.cell.indexing.swap(true, Ordering::SeqCst) {
            return;
        }
        let weak = std::sync::Arc::downgrade(&self.cell);
        let taken = self.cell.shared.background.offer(Box::new(move || {
            let Some(cell) = weak.upgrade() else { return };
            let replica = LedgerReplica { cell };
            replica.cell.indexing.store(false, Ordering::SeqCst);
            match replica.index_references() {
                Ok(true) => replica.offer_indexing(),
                Ok(false) => tracing::info!(set = replica.cell.set, "the index of references is built"),
                // The store was closed or had stopped, and said so.
                Err(Fault::Closed | Fault::Stopped { .. }) => {}
                Err(fault) => {
                    if replica.cell.failed.set(fault.clone()).is_ok() {
                        tracing::error!(set = replica.cell.set, %fault, "the replica stops");
                    }
                }
            }
        }));
        if !taken {
            self.cell.indexing.store(false, Ordering::SeqCst);
        }
    }
}

impl ReplicaState {
    /// What has that reference from a position on.
    fn page_of(&self, reference: &str, first: Position, limit: usize) -> Result<Referred, Fault> {
        let mut page = Page::default();
        let mut looked_at = None;
        for (at, position) in self.candidates(hash(reference), first, limit + 1)?.into_iter().enumerate() {
            if at == limit {
                page.next = looked_at;
                break;
            }
            looked_at = Some(position);
            let Decided { command, became, .. } = self.decided(position)?.ok_or_else(|| missing(position))?;
            if command.reference() != Some(reference) {
                continue;
            }
            if !matches!(became, Became::Other(Outcome { result: Ok(Effect::Begun), .. })) {
                page.booked.extend(self.listed(position.index(), &[position.offset()], u64::MAX)?);
                continue;
            }
            let booked = self.booked(position, u64::MAX)?.ok_or_else(|| missing(position))?;
            if booked.outcome.result == Ok(Effect::Begun) {
                return Ok(Referred::Begun(booked.id));
            }
            page.booked.extend(booked.listed());
        }
        Ok(Referred::Page(page))
    }

    /// Where what has a reference of that hash was taken in, in order, `limit` at most.
    fn candidates(&self, hash: u64, first: Position, limit: usize) -> Result<Vec<Position>, Fault> {
        let mut found = Vec::new();
        // What a checkpoint that crashed has left above that is in memory again.
        let end = keys::reference(self.generation, hash, Position::new(self.stored_end, 0).0);
        let begin = keys::reference(self.generation, hash, first.0);
        if begin < end {
            let mut cursor = self.engine.cursor(Table::Reference, &end)?;
            cursor.seek(&begin);
            while let Some(key) = cursor.key().filter(|_| found.len() < limit) {
                found.push(Position(keys::parse_reference(key).map_err(bad("a reference's key"))?.1));
                cursor.next();
            }
            cursor.ended()?;
        }
        for memory in self.frozen.as_deref().into_iter().chain([&self.fresh]) {
            let room = limit - found.len();
            let range = memory.references.range((hash, first.0)..=(hash, u64::MAX));
            found.extend(range.take(room).map(|(_, position)| Position(*position)));
        }
        Ok(found)
    }

    /// Whether what was decided at a position is to be found by its reference.
    fn stands(&self, position: Position) -> Result<bool, Fault> {
        let stands = self.with_outcomes(position.index(), |outcomes| {
            Ok(match outcomes.get(position.offset()) {
                Some(Kept::Booked { .. }) => true,
                Some(Kept::Nothing) => false,
                Some(Kept::Outcome(bytes)) => {
                    let outcome = decode_outcome(bytes)
                        .map_err(|error| Fault::damaged("an outcome", error.to_string()))?;
                    is_to_be_found(&outcome)
                }
                None => return Err(missing(position)),
            })
        })?;
        stands.ok_or_else(|| missing(position))
    }
}

#[cfg(test)]
mod tests;
