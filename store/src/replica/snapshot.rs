//! Sending a replica: a stream of bytes that carries the state as of a checkpoint and every log record up to it. A
//! thread reads a view of the database and stays a few blocks ahead; on a simulated disk each block is read when it is
//! asked for. Memory is bounded whatever the size of the set.
//!
//! The stream is a run of blocks: kind (1), length (4), crc32c of the body (4), body. Kinds are table numbers, whose
//! bodies are records (key length 2, value length 4, key without its generation, value) in the order of keys; 240, the
//! head: format (1), set (4), snapshot id, state record; 241, behind all records and with no body: the table of references was among them,
//! whole; without it that is not there at all; 255, the end: number of blocks before it (8).

use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use twinset_ledger::canary::{self, Canary};

use super::restrictions;
use super::set_state::SetState;
use super::{LedgerReplica, SnapshotMeta};
use crate::engine::{Engine, View};
use crate::fault::Fault;
use crate::keys::{self, Generation};
use crate::table::Table;
use crate::wire::{BadRecord, Fields, put_block};

pub(super) const FORMAT: u8 = 1;
pub(super) const HEAD: u8 = 240;
pub(super) const WITH_REFERENCES: u8 = 241;
pub(super) const END: u8 = 255;
pub(super) const BLOCK_HEADER_BYTES: usize = 9;
/// A block is ended at this size.
const BLOCK_BYTES: usize = 256 << 10;
/// Blocks that may wait to be taken.
const BLOCKS_AHEAD: usize = 4;

/// A snapshot being read. Dropping it ends it.
pub struct SnapshotReader {
    meta: SnapshotMeta,
    blocks: Blocks,
    block: Vec<u8>,
    taken: usize,
    ended: bool,
}

/// Where blocks come from.
enum Blocks {
    /// From the thread.
    Ahead(Receiver<Result<Vec<u8>, Fault>>),
    /// From here.
    Here(Box<(Source, View<'static>, Place)>),
}

/// What is sent.
struct Source {
    engine: Arc<Engine>,
    set: u32,
    generation: Generation,
    about: SetState,
    meta: SnapshotMeta,
    /// The index of references covers all of it, and goes along. One that does not is made anew by the receiver.
    with_references: bool,
}

/// How far the stream has come.
#[derive(Default)]
struct Place {
    /// Blocks before this one.
    count: u64,
    /// The table, in the order in which they are sent.
    table: usize,
    /// The first key of it that has not been looked at; None: from its beginning.
    next: Option<Vec<u8>>,
    /// That references are there has been said.
    told: bool,
    ended: bool,
}

impl LedgerReplica {
    /// Makes a checkpoint and opens a snapshot of it. Nothing applied later changes what it gives.
    pub fn snapshot(&self) -> Result<SnapshotReader, Fault> {
        let (meta, guard) = self.checkpoint_and_hold()?;
        let generation = self.cell.log.generation();
        let about = super::load::load_about(self.engine(), generation)?;
        if about.applied.log_id != meta.last {
            return Err(Fault::damaged("the state record", "it is not of the last checkpoint"));
        }
        let engine = Arc::clone(self.engine());
        let with_references = self.cell.state.read().coverage.is_whole();
        let source =
            Source { engine, set: self.cell.set, generation, about, meta: meta.clone(), with_references };
        let blocks = match self.engine().lasting_view() {
            Some(view) => Blocks::Here(Box::new((source, view, Place::default()))),
            None => Blocks::Ahead(read_ahead(source)?),
        };
        // The view is open: later checkpoints cannot change it.
        drop(guard);
        Ok(SnapshotReader { meta, blocks, block: Vec::new(), taken: 0, ended: false })
    }
}

/// Starts a thread that reads the blocks. It ends with the last of them, or when nobody takes them any more.
fn read_ahead(source: Source) -> Result<Receiver<Result<Vec<u8>, Fault>>, Fault> {
    let (sender, blocks) = sync_channel(BLOCKS_AHEAD);
    let (tell, opened) = sync_channel(1);
    std::thread::Builder::new()
        .name("store-snapshot".to_owned())
        .spawn(move || {
            let view = source.engine.view();
            // Nobody listens any more: then nobody reads either.
            if tell.send(()).is_err() {
                return;
            }
            let mut place = Place::default();
            while let Some(block) = source.next_block(&view, &mut place).transpose() {
                let failed = block.is_err();
                if sender.send(block).is_err() || failed {
                    return;
                }
            }
        })
        .map_err(|error| Fault::io("start a thread", &error))?;
    opened.recv().map_err(|_| Fault::Closed)?;
    Ok(blocks)
}

impl SnapshotReader {
    /// What it is a snapshot of.
    pub fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// The next bytes, `bytes_max` at most; None at the end. Chunks may be cut anywhere.
    pub fn next_chunk(&mut self, bytes_max: usize) -> Result<Option<Vec<u8>>, Fault> {
        while self.taken == self.block.len() {
            if self.ended {
                return Ok(None);
            }
            let cut_off = || Fault::damaged("a snapshot", "its reader ended early");
            self.block = match &mut self.blocks {
                Blocks::Ahead(blocks) => blocks.recv().map_err(|_| cut_off())??,
                Blocks::Here(here) => {
                    let (source, view, place) = &mut **here;
                    source.next_block(view, place)?.ok_or_else(cut_off)?
                }
            };
            self.taken = 0;
            self.ended = self.block[0] == END;
        }
        let end = self.block.len().min(self.taken + bytes_max.max(1));
        let chunk = self.block[self.taken..end].to_vec();
        self.taken = end;
        Ok(Some(chunk))
    }
}

impl Source {
    /// The next block, and the place after it; None after the last one.
    fn next_block(&self, view: &View<'_>, place: &mut Place) -> Result<Option<Vec<u8>>, Fault> {
        if place.ended {
            return Ok(None);
        }
        let (kind, body) = match place.count {
            0 => (HEAD, self.head()),
            count => match self.next_records(view, place)? {
                Some((table, body)) => (table as u8, body),
                None if self.with_references && !place.told => {
                    place.told = true;
                    (WITH_REFERENCES, Vec::new())
                }
                None => {
                    place.ended = true;
                    (END, count.to_le_bytes().to_vec())
                }
            },
        };
        place.count += 1;
        Ok(Some(framed(kind, &body)))
    }

    fn head(&self) -> Vec<u8> {
        let mut head = vec![FORMAT];
        head.extend_from_slice(&self.set.to_le_bytes());
        put_block(&mut head, self.meta.id.as_bytes());
        head.extend_from_slice(&self.about.encode());
        head
    }

    /// The next records, of one table; None if there are no more.
    fn next_records(&self, view: &View<'_>, place: &mut Place) -> Result<Option<(Table, Vec<u8>)>, Fault> {
        let begin = keys::generation(self.generation);
        let left_out = |table| match table {
            Table::Request => canary::on(Canary::SnapshotWithoutRequests),
            Table::Reference => !self.with_references,
            _ => false,
        };
        while let Some(&table) = Table::OF_REPLICA.get(place.table) {
            let mut cursor = view.cursor(table, &keys::generation_end(self.generation));
            cursor.seek(place.next.as_deref().unwrap_or(&begin));
            let mut body = Vec::with_capacity(BLOCK_BYTES);
            while let Some((key, value)) = cursor.item() {
                if body.len() >= BLOCK_BYTES {
                    place.next = Some(key.to_vec());
                    return Ok(Some((table, body)));
                }
                let bad = |error: BadRecord| Fault::damaged(table.name(), error.to_string());
                if self.counts(table, key, value).map_err(bad)? && !left_out(table) {
                    put_record(&mut body, &key[begin.len()..], value);
                }
                cursor.next();
            }
            cursor.ended()?;
            (place.table, place.next) = (place.table + 1, None);
            if !body.is_empty() {
                return Ok(Some((table, body)));
            }
        }
        Ok(None)
    }

    /// Whether a record belongs to the snapshot: not what a crashed checkpoint, a later one or the log left above it.
    fn counts(&self, table: Table, key: &[u8], value: &[u8]) -> Result<bool, BadRecord> {
        let Some(last) = self.about.applied.log_id else { return Ok(false) };
        let mut fields = Fields::new(key);
        fields.take(4)?;
        let position = match table {
            Table::Account => return Ok(keys::parse_account(key)?.1 < self.about.accounts),
            Table::Log | Table::Outcome => return Ok(u64::from_be_bytes(fields.array()?) <= last.index),
            Table::Request => Fields::new(value).u64()?,
            Table::Posting => keys::parse_posting(key)?,
            Table::Link => keys::parse_link(key)?.1,
            Table::Reference => keys::parse_reference(key)?.1,
            Table::Hold => keys::parse_hold(key)?,
            Table::Restriction => restrictions::made_at(value)?,
            Table::Raft | Table::Meta | Table::Journal => return Ok(false),
        };
        Ok(twinset_ledger::Position(position).index() <= last.index)
    }
}

fn put_record(body: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let key_length = u16::try_from(key.len()).expect("keys are short");
    body.extend_from_slice(&key_length.to_le_bytes());
    let length = u32::try_from(value.len()).expect("records are below 4 GiB");
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(key);
    body.extend_from_slice(value);
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(BLOCK_HEADER_BYTES + body.len());
    block.push(kind);
    let length = u32::try_from(body.len()).expect("blocks are far below 4 GiB");
    block.extend_from_slice(&length.to_le_bytes());
    block.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
    block.extend_from_slice(body);
    block
}
