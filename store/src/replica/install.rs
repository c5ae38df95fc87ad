//! Receiving a replica. What arrives is checked and built into files under a fresh generation, which nobody reads;
//! installing gives the files to the database and flips the set's pointer in one synced write, together with the state
//! record and the log's pointers. A crash at any point leaves the old replica or the new one.

use std::sync::Arc;

use super::points::Points;
use super::references::Coverage;
use super::set_state::{SetState, Witness};
use super::snapshot::{BLOCK_HEADER_BYTES, END, FORMAT, HEAD, WITH_REFERENCES};
use super::state::ReplicaState;
use super::{LedgerReplica, SnapshotMeta};
use crate::engine::Engine;
use crate::engine::files::{Builder, Files};
use crate::fault::Fault;
use crate::generation::{self, Begun};
use crate::keys::{self, Generation};
use crate::record::LogId;
use crate::table::Table;
use crate::wire::{BadRecord, Fields};

/// No honest block is larger: the largest record is the outcomes of one entry.
const BLOCK_BYTES_MAX: usize = 128 << 20;

/// A snapshot being received. Dropping it forgets it.
pub struct SnapshotWriter {
    engine: Arc<Engine>,
    set: u32,
    begun: Begun,
    buffer: Vec<u8>,
    blocks: u64,
    head: Option<(String, SetState)>,
    builder: Option<Builder>,
    built: Vec<(Table, Files)>,
    witnesses: Vec<Witness>,
    with_references: bool,
    ended: bool,
}

/// A snapshot that has arrived whole. Dropping it forgets it.
pub struct StagedSnapshot {
    set: u32,
    begun: Begun,
    meta: SnapshotMeta,
    last: LogId,
    about: SetState,
    built: Vec<(Table, Files)>,
    with_references: bool,
}

impl LedgerReplica {
    /// Begins to receive a snapshot. The replica goes on as it is until the install.
    pub fn begin_install(&self) -> Result<SnapshotWriter, Fault> {
        self.engine().check()?;
        let begun = self.cell.shared.generations.begin(self.engine(), self.cell.set)?;
        // Files under this generation may outlive a crash: so must the record that gets them deleted.
        self.engine().sync()?;
        Ok(SnapshotWriter {
            engine: Arc::clone(self.engine()),
            set: self.cell.set,
            begun,
            buffer: Vec::new(),
            blocks: 0,
            head: None,
            builder: None,
            built: Vec::new(),
            witnesses: Vec::new(),
            with_references: false,
            ended: false,
        })
    }

    /// Replaces state and log by the snapshot; log records above it stay if they follow on it. Atomic, and on disk
    /// before it returns. A snapshot that is not newer than the replica changes nothing.
    pub fn install(&self, staged: StagedSnapshot) -> Result<(), Fault> {
        let StagedSnapshot { set, begun, last, about, built, with_references, .. } = staged;
        if set != self.cell.set {
            return Err(refused(format!("it is of set {set}, this is set {}", self.cell.set)));
        }
        let writing = self.cell.writing.lock();
        self.check()?;
        let applied = self.applied().log_id;
        if applied.is_some_and(|applied| applied.index >= last.index) {
            return Ok(());
        }
        let generation = begun.generation();
        for (table, files) in built {
            files.ingest(self.engine(), table)?;
        }
        let coverage = if with_references { Coverage::default() } else { Coverage::after(last.index) };
        let mut batch = self.engine().batch();
        coverage.put(&mut batch, generation);
        self.engine().write(batch)?;
        let stored = SnapshotMeta::new(set, &about.applied);
        let about_bytes = about.encode();
        let log = self.cell.log.clone();
        let next = ReplicaState::load(Arc::clone(self.engine()), set, generation, log, about)?;
        let old = self.flip(generation, last, &about_bytes, next)?;
        begun.keep();
        *self.cell.stored.write() = Some(stored);
        drop(writing);
        self.offer_indexing();
        generation::delete(self.engine(), old)
    }

    /// The moment of change, under the locks of state and log; what takes longer is done before. Gives the old
    /// generation.
    fn flip(
        &self,
        to: Generation,
        upto: LogId,
        about: &[u8],
        next: ReplicaState,
    ) -> Result<Generation, Fault> {
        let engine = self.engine();
        let carried = self.cell.log.carry_over(to, upto)?;
        let mut state = self.cell.state.write();
        let mut log = self.cell.log.freeze();
        let old = log.generation();
        let mut batch = engine.batch();
        let last = log.finish_carry(engine, to, upto, &carried, &mut batch)?;
        batch.put(Table::Meta, &keys::named(keys::STATE, to), about);
        generation::point(&mut batch, self.cell.set, to);
        engine.write(batch)?;
        engine.sync()?;
        log.replace(to, upto, last);
        let before = std::mem::replace(&mut *state, next);
        *self.cell.points.lock() = Points::of(&state.about);
        drop(log);
        drop(state);
        drop(before);
        Ok(old)
    }
}

impl SnapshotWriter {
    /// Takes the next bytes.
    pub fn write_chunk(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.engine.check()?;
        self.buffer.extend_from_slice(bytes);
        let mut at = 0;
        while let Some((kind, range)) = block(&self.buffer[at..])? {
            let body = self.buffer[at + range.start..at + range.end].to_vec();
            self.take_block(kind, &body)?;
            at += range.end;
        }
        self.buffer.drain(..at);
        Ok(())
    }

    /// Ends the snapshot: everything must have arrived, and be of the record that `meta` names.
    pub fn finish(mut self, meta: &SnapshotMeta) -> Result<StagedSnapshot, Fault> {
        if !self.ended || !self.buffer.is_empty() {
            return Err(refused("it is not complete"));
        }
        self.end_table()?;
        let (id, mut about) = self.head.take().expect("the end is only taken after the head");
        // The sender's files are not ours.
        about.witnesses = std::mem::take(&mut self.witnesses);
        let last = about.applied.log_id.ok_or_else(|| refused("it is of an empty replica"))?;
        let found = SnapshotMeta { id, ..SnapshotMeta::new(self.set, &about.applied) };
        if found.last != meta.last {
            return Err(refused(format!("it is {}, not of {:?}", found.id, meta.last)));
        }
        let built = std::mem::take(&mut self.built);
        let (begun, with_references) = (self.begun, self.with_references);
        Ok(StagedSnapshot { set: self.set, begun, meta: found, last, about, built, with_references })
    }

    fn take_block(&mut self, kind: u8, body: &[u8]) -> Result<(), Fault> {
        if self.ended {
            return Err(refused("it goes on after its end"));
        }
        match kind {
            HEAD if self.head.is_none() => self.take_head(body)?,
            WITH_REFERENCES if self.head.is_some() && !self.with_references && body.is_empty() => {
                self.with_references = true;
            }
            END if self.head.is_some() => {
                if body != self.blocks.to_le_bytes() {
                    return Err(refused("blocks are missing"));
                }
                self.ended = true;
            }
            kind => {
                let table = Table::from_number(kind).filter(|table| Table::OF_REPLICA.contains(table));
                let table = table.filter(|_| self.head.is_some());
                let table =
                    table.ok_or_else(|| refused(format!("a block of kind {kind} is out of place")))?;
                self.take_records(table, body)?;
            }
        }
        self.blocks += 1;
        Ok(())
    }

    fn take_head(&mut self, body: &[u8]) -> Result<(), Fault> {
        let mut fields = Fields::new(body);
        let format = fields.u8().map_err(bad)?;
        if format != FORMAT {
            return Err(refused(format!("its format is {format}, this build knows {FORMAT}")));
        }
        let set = fields.u32().map_err(bad)?;
        if set != self.set {
            return Err(refused(format!("it is of set {set}, this is set {}", self.set)));
        }
        let id = fields.text("id").map_err(bad)?.to_owned();
        let about = SetState::decode(fields.rest()).map_err(bad)?;
        self.head = Some((id, about));
        Ok(())
    }

    fn take_records(&mut self, table: Table, body: &[u8]) -> Result<(), Fault> {
        if self.builder.as_ref().is_none_or(|builder| builder.table() != table) {
            self.end_table()?;
            if self.built.iter().any(|(done, _)| *done == table) {
                return Err(refused("a table comes twice"));
            }
            self.builder = Some(Builder::new(&self.engine, table));
        }
        let builder = self.builder.as_mut().expect("it was just made");
        let mut fields = Fields::new(body);
        while !fields.rest().is_empty() {
            let key_length = fields.u16().map_err(bad)?;
            let length = fields.u32().map_err(bad)?;
            let mut key = keys::generation(self.begun.generation()).to_vec();
            key.extend_from_slice(fields.take(key_length.into()).map_err(bad)?);
            builder.put(&key, fields.take(length as usize).map_err(bad)?)?;
        }
        Ok(())
    }

    fn end_table(&mut self) -> Result<(), Fault> {
        if let Some(builder) = self.builder.take() {
            let table = builder.table();
            self.witnesses.extend(builder.last());
            self.built.push((table, builder.finish()?));
        }
        Ok(())
    }
}

impl StagedSnapshot {
    /// What it is a snapshot of.
    pub fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }
}

/// The first block of `bytes`, if it is there whole: its kind and where its body lies.
fn block(bytes: &[u8]) -> Result<Option<(u8, std::ops::Range<usize>)>, Fault> {
    let mut fields = Fields::new(bytes);
    let (Ok(kind), Ok(length), Ok(crc)) = (fields.u8(), fields.u32(), fields.u32()) else {
        return Ok(None);
    };
    let length = length as usize;
    if length > BLOCK_BYTES_MAX {
        return Err(refused(format!("a block of {length} bytes")));
    }
    let Ok(body) = fields.take(length) else { return Ok(None) };
    if crc32c::crc32c(body) != crc {
        return Err(bad(BadRecord::Checksum));
    }
    Ok(Some((kind, BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + length)))
}

fn bad(error: BadRecord) -> Fault {
    refused(error.to_string())
}

fn refused(detail: impl Into<String>) -> Fault {
    Fault::BadSnapshot { detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{Fed, open};
    use super::*;
    use crate::options::Options;
    use crate::store::Store;

    #[test]
    fn a_snapshot_that_does_not_arrive_leaves_nothing() {
        let (near, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Store::open(near.path(), Options::default()).unwrap();
        let replica = store.ledger(1).unwrap();
        let id = LogId { term: 1, leader: 1, index: 0 };
        let blank =
            crate::record::Record { id, kind: crate::record::RecordKind::Blank, payload: Vec::new().into() };
        store.log(1).unwrap().append(vec![blank.clone()], Box::new(|result| result.unwrap())).unwrap();
        replica.apply(&blank).unwrap();
        let mut reader = replica.snapshot().unwrap();
        let mut bytes = Vec::new();
        while let Some(chunk) = reader.next_chunk(1 << 20).unwrap() {
            bytes.extend(chunk);
        }
        let store = Store::open(far.path(), Options::default()).unwrap();
        let replica = store.ledger(1).unwrap();
        let engine = Arc::clone(replica.engine());
        let made = || {
            let mut cursor = engine.cursor(Table::Meta, b"made0").unwrap();
            cursor.seek(b"made/");
            let mut count = 0;
            while cursor.valid() {
                count += 1;
                cursor.next();
            }
            count
        };
        let built = || std::fs::read_dir(far.path().join("built")).unwrap().count();
        for (cut, staged) in [(bytes.len() - 1, false), (bytes.len(), false), (bytes.len(), true)] {
            let mut writer = replica.begin_install().unwrap();
            assert_eq!(made(), 2, "the set's own and the one begun");
            writer.write_chunk(&bytes[..cut]).unwrap();
            if staged {
                let staged = writer.finish(reader.meta()).unwrap();
                assert_eq!((made(), built()), (2, 1));
                drop(staged);
            } else {
                drop(writer);
            }
            assert_eq!((made(), built()), (1, 0));
        }
        let mut writer = replica.begin_install().unwrap();
        writer.write_chunk(&bytes).unwrap();
        replica.install(writer.finish(reader.meta()).unwrap()).unwrap();
        assert_eq!((made(), built()), (1, 0), "the new one took the old one's place");
        assert_eq!(replica.applied().log_id, Some(id));
    }

    #[test]
    fn a_record_that_cannot_be_read_stops_the_install_and_drops_no_tail() {
        let (near, far) = (Fed::new(), Fed::new());
        near.feed(&[open("a")]);
        let upto = near.feed(&[open("b")]);
        // What the receiver acknowledged and has not applied goes on from the snapshot.
        let names = ["a", "b", "c", "d"];
        far.append((0..).zip(names).map(|(index, name)| far.record(index, &[open(name)])).collect());
        let before = (far.log.generation(), far.log.last());
        let staged = || {
            let mut reader = near.replica.snapshot().unwrap();
            let mut writer = far.replica.begin_install().unwrap();
            while let Some(chunk) = reader.next_chunk(1 << 20).unwrap() {
                writer.write_chunk(&chunk).unwrap();
            }
            writer.finish(reader.meta()).unwrap()
        };
        far.log.damage(upto);
        let installed = far.replica.install(staged());
        assert!(matches!(installed, Err(Fault::Damaged { .. })), "{installed:?}");
        assert_eq!((far.log.generation(), far.log.last()), before);
        assert_eq!((far.log.purged(), far.replica.applied().log_id), (None, None));
        far.log.damage(upto);
        assert_eq!(far.log.read(0, u64::MAX, usize::MAX).unwrap().len(), names.len(), "all is there");
        far.replica.install(staged()).unwrap();
        assert_eq!(far.log.last(), before.1, "the tail came along");
        assert_eq!(far.replica.applied().log_id.map(|applied| applied.index), Some(upto));
    }
}
