//! Checkpoints: what has gathered in memory becomes sorted files. Freezing is quick and under the lock; building,
//! ingesting and the last write are not, and apply goes on meanwhile. The state record is written last, in one batch
//! with the touched accounts: until it is on disk, the files before it do not count and replay makes them again. In that
//! batch are outcomes, reversals, holds and restrictions, too: the keys of outcomes rise with the log, so that files of them would overlap no
//! others, and the database would never put one together with the next; reversals are few, and holds and restrictions change.

use std::sync::Arc;

use parking_lot::MutexGuard;

use super::account::{FIGURES, WHO, encode_figures, encode_who};
use super::holds;
use super::references::Coverage;
use super::requests;
use super::restrictions;
use super::set_state::{SetState, Witness};
use super::state::{Fresh, ReplicaState};
use super::{LedgerReplica, SnapshotMeta};
use crate::engine::Engine;
use crate::engine::files::Builder;
use crate::fault::Fault;
use crate::keys::{self, Generation};
use crate::table::Table;

/// What a freeze took out of the state.
struct Frozen {
    generation: Generation,
    fresh: Arc<Fresh>,
    about: SetState,
    coverage: Coverage,
    /// New accounts and figures, encoded.
    accounts: Vec<([u8; 11], Vec<u8>)>,
    /// Holds that are new or have changed, encoded.
    holds: Vec<([u8; 18], Vec<u8>)>,
    /// The same of restrictions.
    restrictions: Vec<([u8; 26], Vec<u8>)>,
}

impl LedgerReplica {
    /// Makes the disk hold everything applied so far, and gives what that is. One at a time; apply goes on meanwhile.
    pub fn checkpoint(&self) -> Result<SnapshotMeta, Fault> {
        self.checkpoint_and_hold().map(|(meta, _)| meta)
    }

    /// What the disk holds since the last checkpoint.
    pub fn last_snapshot(&self) -> Option<SnapshotMeta> {
        self.cell.stored.read().clone()
    }

    /// The same, and no other checkpoint until the guard is dropped.
    pub(super) fn checkpoint_and_hold(&self) -> Result<(SnapshotMeta, MutexGuard<'_, ()>), Fault> {
        let guard = self.cell.writing.lock();
        self.check()?;
        let Some(frozen) = self.cell.state.write().freeze()? else {
            let stored = self.cell.stored.read().clone();
            let empty = || SnapshotMeta::new(self.cell.set, &super::Applied::default());
            return Ok((stored.unwrap_or_else(empty), guard));
        };
        // Whatever fails here leaves the state with what the checkpoint was to write: nothing may go on.
        let witnesses = self.store(&frozen).map_err(|fault| self.engine().poison(fault))?;
        let meta = SnapshotMeta::new(self.cell.set, &frozen.about.applied);
        *self.cell.stored.write() = Some(meta.clone());
        let mut state = self.cell.state.write();
        state.stored_end = frozen.about.applied.log_id.map_or(0, |last| last.index + 1);
        state.about.witnesses = witnesses;
        let written = state.frozen.take();
        drop(state);
        drop(frozen);
        // Emptying it takes a while: not under the lock.
        let spare = written.and_then(Arc::into_inner).map(Fresh::emptied);
        self.cell.state.write().spare = spare;
        Ok((meta, guard))
    }

    /// Gives a record of each table that the disk must have from now on: the last that was written.
    fn store(&self, frozen: &Frozen) -> Result<Vec<Witness>, Fault> {
        let engine = self.engine();
        let Frozen { generation, fresh, .. } = frozen;
        let mut witnesses = Vec::new();
        ingest(store_requests(engine, *generation, fresh)?, &mut witnesses)?;
        let mut postings = Builder::new(engine, Table::Posting);
        fresh.journal.chunks(|slot, account, first, value| {
            postings.put(&keys::posting(*generation, slot, account, first), value)
        })?;
        ingest(postings, &mut witnesses)?;
        let mut references = Builder::new(engine, Table::Reference);
        for (hash, position) in &fresh.references {
            references.put(&keys::reference(*generation, *hash, *position), &[])?;
        }
        ingest(references, &mut witnesses)?;
        let mut batch = engine.batch();
        for (key, value) in &frozen.accounts {
            batch.put(Table::Account, key, value);
        }
        for (index, record) in &fresh.outcomes {
            batch.put(Table::Outcome, &keys::outcome(*generation, *index), record);
        }
        witnesses.extend(fresh.outcomes.last().map(|(index, _)| {
            let key = keys::outcome(*generation, *index);
            (Table::Outcome, key.to_vec())
        }));
        for (original, by) in &fresh.links {
            for link in by {
                batch.put(Table::Link, &keys::link(*generation, *original, link.at.0), &link.encode());
            }
        }
        for (key, value) in &frozen.holds {
            batch.put(Table::Hold, key, value);
        }
        witnesses.extend(frozen.holds.last().map(|(key, _)| (Table::Hold, key.to_vec())));
        for (key, value) in &frozen.restrictions {
            batch.put(Table::Restriction, key, value);
        }
        witnesses.extend(frozen.restrictions.last().map(|(key, _)| (Table::Restriction, key.to_vec())));
        witnesses.extend(fresh.links.iter().next_back().and_then(|(original, by)| {
            let key = keys::link(*generation, *original, by.last()?.at.0);
            Some((Table::Link, key.to_vec()))
        }));
        let mut about = frozen.about.clone();
        about.witnesses.retain(|(table, _)| witnesses.iter().all(|(newer, _)| newer != table));
        about.witnesses.append(&mut witnesses);
        let key = keys::named(keys::STATE, *generation);
        batch.put(Table::Meta, &key, &about.encode());
        frozen.coverage.put(&mut batch, *generation);
        engine.write(batch)?;
        engine.sync()?;
        Ok(about.witnesses)
    }
}

/// Gives a file to the database; its last record is to witness that it has it.
fn ingest(builder: Builder, witnesses: &mut Vec<Witness>) -> Result<(), Fault> {
    witnesses.extend(builder.last());
    builder.ingest()
}

fn store_requests(engine: &Arc<Engine>, generation: Generation, fresh: &Fresh) -> Result<Builder, Fault> {
    let mut builder = Builder::new(engine, Table::Request);
    let mut value = Vec::with_capacity(16);
    for (key, position, scope) in fresh.requests.sorted() {
        value.clear();
        requests::encode(position, &scope, &mut value);
        builder.put(&keys::request(generation, key), &value)?;
    }
    Ok(builder)
}

impl ReplicaState {
    /// Takes out what has gathered since the last freeze; None if nothing was applied since.
    fn freeze(&mut self) -> Result<Option<Frozen>, Fault> {
        let end = self.about.applied.log_id.map_or(0, |last| last.index + 1);
        if end == self.stored_end {
            return Ok(None);
        }
        self.touched.sort_unstable();
        let mut accounts = Vec::with_capacity(self.touched.len());
        for &no in &self.touched {
            let account = &self.accounts[no as usize];
            let aside = &self.sides[no as usize];
            if account.posted() != aside.posted {
                let detail = format!("account {} is not the sum of its postings", account.id);
                return Err(Fault::damaged("the state in memory", detail));
            }
            if account.opened_at.index() >= self.stored_end {
                accounts.push((keys::account(self.generation, aside.slot, no, WHO), encode_who(account)));
            }
            let key = keys::account(self.generation, aside.slot, no, FIGURES);
            accounts.push((key, encode_figures(account)));
        }
        self.touched.clear();
        self.stamp = self.stamp.wrapping_add(1);
        self.fresh.holds = self.holds.take_changed();
        let holds = self.fresh.holds.iter().map(|hold| (self.hold_key(hold), holds::encode(hold))).collect();
        self.fresh.restrictions = self.restrictions.take_changed();
        let encoded = |restriction| (self.restriction_key(restriction), restrictions::encode(restriction));
        let restrictions = self.fresh.restrictions.iter().map(encoded).collect();
        let next = Fresh::after(&self.fresh, self.spare.take());
        let fresh = Arc::new(std::mem::replace(&mut self.fresh, next));
        self.frozen = Some(Arc::clone(&fresh));
        let (generation, about, coverage) = (self.generation, self.about.clone(), self.coverage);
        Ok(Some(Frozen { generation, fresh, about, coverage, accounts, holds, restrictions }))
    }
}
