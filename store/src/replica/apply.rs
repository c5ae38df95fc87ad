//! Applying log records: one at a time, in order, under the lock of the state. Beside the ledger's own work: the
//! running hash over entries and outcomes, the outcome records, and noticing when a checkpoint is due.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use twinset_ledger::RULES_VERSION;
use twinset_ledger::apply::{ApplyError, apply_entry};
use twinset_ledger::codec::Entry;
use twinset_ledger::outcome::{Effect, Outcome};

use super::LedgerReplica;
use super::encoded::EncodedOutcomes;
use super::entry::Opened;
use super::outcomes;
use super::references;
use super::state::ReplicaState;
use crate::fault::Fault;
use crate::record::{Record, RecordKind};

/// Apply makes the checkpoint itself when this many are due at once: memory is bounded even if the disk is slow.
const CHECKPOINTS_BEHIND_MAX: u64 = 4;

impl LedgerReplica {
    /// Applies the next record and gives one outcome for each of its commands, in the bytes that were hashed. Any fault
    /// but a record out of its turn stops the replica for good.
    pub fn apply(&self, record: &Record) -> Result<EncodedOutcomes, Fault> {
        self.check()?;
        if self.dues() >= CHECKPOINTS_BEHIND_MAX {
            self.checkpoint()?;
        }
        let mut state = self.cell.state.write();
        let result = state.apply(record);
        match &result {
            Ok(_) => self.cell.points.lock().advance(&state.about),
            Err(Fault::OutOfTurn { .. }) => {}
            Err(fault) => {
                // Known before anyone can read what may be half an entry.
                if self.cell.failed.set(fault.clone()).is_ok() {
                    tracing::error!(set = self.cell.set, %fault, "the replica stops");
                }
            }
        }
        drop(state);
        if result.is_ok() {
            self.offer_checkpoint();
        }
        result
    }

    /// Whether a checkpoint is due.
    pub fn checkpoint_due(&self) -> bool {
        self.dues() > 0
    }

    /// How many checkpoints are due.
    fn dues(&self) -> u64 {
        let options = &self.engine().options;
        let state = self.cell.state.read();
        let by_commands = state.fresh.commands / options.checkpoint_commands.max(1);
        by_commands.max(state.fresh.log_bytes / options.checkpoint_log_bytes.max(1))
    }

    fn offer_checkpoint(&self) {
        if !self.engine().options.background_checkpoints || !self.checkpoint_due() {
            return;
        }
        if self.cell.queued.swap(true, Ordering::SeqCst) {
            return;
        }
        let weak = Arc::downgrade(&self.cell);
        let taken = self.cell.shared.background.offer(Box::new(move || {
            let Some(cell) = weak.upgrade() else { return };
            let replica = LedgerReplica { cell };
            replica.cell.queued.store(false, Ordering::SeqCst);
            // A fault stops the store by itself; the next call says so.
            if let Err(fault) = replica.checkpoint() {
                tracing::error!(set = replica.cell.set, %fault, "a checkpoint failed");
            }
        }));
        if !taken {
            self.cell.queued.store(false, Ordering::SeqCst);
        }
    }
}

impl ReplicaState {
    fn apply(&mut self, record: &Record) -> Result<EncodedOutcomes, Fault> {
        let found = record.id.index;
        let due = self.about.applied.log_id.map(|last| last.index + 1);
        if let Some(expected) = due.filter(|&due| due != found) {
            return Err(Fault::OutOfTurn { what: "replica", expected, found });
        }
        let outcomes = match record.kind {
            RecordKind::Blank => EncodedOutcomes::default(),
            RecordKind::Membership => {
                self.about.applied.membership = Some((Some(record.id), record.payload.to_vec()));
                EncodedOutcomes::default()
            }
            RecordKind::Commands => self.apply_commands(record)?,
        };
        self.about.applied.log_id = Some(record.id);
        self.fresh.log_bytes += record.payload.len() as u64;
        self.extend_hash(record, &outcomes);
        Ok(outcomes)
    }

    fn apply_commands(&mut self, record: &Record) -> Result<EncodedOutcomes, Fault> {
        let index = record.id.index;
        let bad =
            |error: &dyn std::fmt::Display| Fault::damaged("a log entry", format!("entry {index}: {error}"));
        let entry = Entry::parse(&record.payload).map_err(|error| bad(&error))?;
        self.current = Some(Opened::of(index, &record.payload, &entry));
        let mut out = Vec::new();
        let result = apply_entry(self, index, &entry, &mut out);
        self.current = None;
        match result {
            Ok(()) => {}
            Err(ApplyError::Fault(fault)) => return Err(fault),
            Err(ApplyError::UnknownRules { found }) => {
                return Err(Fault::UnknownRules { version: found, known: RULES_VERSION });
            }
            Err(error) => return Err(bad(&error)),
        }
        let booked =
            |outcome: &&Outcome| !outcome.replayed && outcome.result.as_ref().is_ok_and(Effect::books);
        self.about.transactions += out.iter().filter(booked).count() as u64;
        self.fresh.commands += out.len() as u64;
        references::of_entry(index, &entry, &mut self.fresh.references, |offset| {
            Ok(out.get(usize::from(offset)).is_some_and(references::is_to_be_found))
        })?;
        let encoded = EncodedOutcomes::of(&out);
        if let Some(last) = (out.len() as u64).checked_sub(1) {
            let start = self.about.last_time - last;
            let stored = outcomes::encode(&out, &encoded, start, entry.is_all_short());
            self.fresh.outcomes.push((index, stored));
        }
        Ok(encoded)
    }

    /// Hashes the record and its outcomes on top of what was hashed before: replicas that disagree show it.
    fn extend_hash(&mut self, record: &Record, outcomes: &EncodedOutcomes) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.about.hash);
        hasher.update(&record.id.to_bytes());
        hasher.update(&[record.kind as u8]);
        hasher.update(&(record.payload.len() as u64).to_le_bytes());
        hasher.update(&record.payload);
        hasher.update(outcomes.bytes());
        self.about.hash = *hasher.finalize().as_bytes();
    }
}
