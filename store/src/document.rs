//! A small replicated document, the control set's state, kept whole; and its journal: numbered records that are only
//! ever added, and stay out of the document because they are many. One write holds the document's bytes, what was
//! added to the journal and how far they have been applied, so that a crash leaves a state that the log completes.
//! Knows nothing of what the bytes mean.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::engine::{Batch, Engine};
use crate::fault::Fault;
use crate::keys::{self, Generation};
use crate::log::Log;
use crate::record::LogId;
use crate::replica::{Applied, Membership, SnapshotMeta};
use crate::shared::Shared;
use crate::table::Table;
use crate::wire::{BadRecord, Fields};

const VERSION: u8 = 1;
const JOURNAL_VERSION: u8 = 1;

/// The document of one set. Cheap to clone.
#[derive(Clone)]
pub struct DocumentReplica {
    cell: Arc<Cell>,
}

struct Cell {
    set: u32,
    generation: Generation,
    key: Vec<u8>,
    shared: Arc<Shared>,
    state: RwLock<Document>,
}

/// One record of a document's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRecord {
    /// Its number; a record under the same number takes its place.
    pub number: u64,
    /// What it says.
    pub bytes: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Document {
    applied: Applied,
    bytes: Vec<u8>,
}

impl DocumentReplica {
    pub(crate) fn open(shared: Arc<Shared>, set: u32, log: &Log) -> Result<DocumentReplica, Fault> {
        let generation = log.generation();
        let key = keys::named(keys::DOCUMENT, generation);
        let stored = shared.engine.get(Table::Meta, &key)?;
        let state = stored.map_or(Ok(Document::default()), |bytes| Document::decode(&bytes));
        let state = state.map_err(|error| Fault::damaged("a document", error.to_string()))?;
        Ok(DocumentReplica {
            cell: Arc::new(Cell { set, generation, key, shared, state: RwLock::new(state) }),
        })
    }

    /// How far the document has come.
    pub fn applied(&self) -> Applied {
        self.cell.state.read().applied.clone()
    }

    /// The document; empty before the first commit.
    pub fn bytes(&self) -> Vec<u8> {
        self.cell.state.read().bytes.clone()
    }

    /// Replaces the document, adds `records` to the journal, and says how far they have come, in one write. Unsynced:
    /// the log brings it back. `membership` None keeps the last one.
    pub fn commit(
        &self,
        log_id: LogId,
        membership: Option<Membership>,
        bytes: Vec<u8>,
        records: &[JournalRecord],
    ) -> Result<(), Fault> {
        let mut state = self.cell.state.write();
        let membership = membership.or_else(|| state.applied.membership.clone());
        let next = Document { applied: Applied { log_id: Some(log_id), membership }, bytes };
        self.write(&next, records)?;
        *state = next;
        Ok(())
    }

    /// Adds records to the journal that an install is to follow: what is not of the document that stands is not of the
    /// journal either, and nobody reads it before. Unsynced.
    pub fn journal_ahead(&self, records: &[JournalRecord]) -> Result<(), Fault> {
        let mut batch = self.engine().batch();
        self.put_journal(&mut batch, records);
        self.engine().write(batch)
    }

    /// The records of the journal from number `from` to `to`, both included, in that order or, if `from` is the
    /// greater, in the other; up to `bytes_max` of them, but at least one. There may be none under a number.
    pub fn journal(&self, from: u64, to: u64, bytes_max: usize) -> Result<Vec<JournalRecord>, Fault> {
        let (generation, backward) = (self.cell.generation, from > to);
        let end = keys::generation_end(generation);
        let mut cursor = self.engine().cursor(Table::Journal, &end)?;
        cursor.seek(&keys::journal(generation, from));
        if backward {
            // To the last one at or below `from`.
            let found = cursor.item().map(|(key, _)| number_of(key)).transpose()?;
            match found {
                None => cursor.seek_to_last(),
                Some(number) if number > from => cursor.prev(),
                Some(_) => {}
            }
        }
        let (least, greatest) = (from.min(to), from.max(to));
        let (mut found, mut bytes) = (Vec::new(), 0);
        while let Some((key, value)) = cursor.item() {
            // Below this generation, another one's records end before it.
            if !key.starts_with(&keys::generation(generation)) {
                break;
            }
            let number = number_of(key)?;
            if !(least..=greatest).contains(&number) || !found.is_empty() && bytes >= bytes_max {
                break;
            }
            let record = decode_journal(value).map_err(|error| damaged(number, &error))?;
            bytes += record.len();
            found.push(JournalRecord { number, bytes: record });
            if backward {
                cursor.prev();
            } else {
                cursor.next();
            }
        }
        cursor.ended()?;
        Ok(found)
    }

    /// The document as it is now, as a snapshot.
    pub fn snapshot(&self) -> (SnapshotMeta, Vec<u8>) {
        let state = self.cell.state.read();
        (SnapshotMeta::new(self.cell.set, &state.applied), state.bytes.clone())
    }

    /// Takes over a snapshot, and with it what [`DocumentReplica::journal_ahead`] was given. Atomic, and on disk
    /// before it returns.
    pub fn install(&self, meta: &SnapshotMeta, bytes: Vec<u8>) -> Result<(), Fault> {
        let mut state = self.cell.state.write();
        let applied = Applied { log_id: meta.last, membership: meta.membership.clone() };
        let next = Document { applied, bytes };
        self.write(&next, &[])?;
        self.engine().sync()?;
        *state = next;
        Ok(())
    }

    fn write(&self, document: &Document, records: &[JournalRecord]) -> Result<(), Fault> {
        let mut batch = self.engine().batch();
        batch.put(Table::Meta, &self.cell.key, &document.encode());
        self.put_journal(&mut batch, records);
        self.engine().write(batch)
    }

    fn put_journal(&self, batch: &mut Batch<'_>, records: &[JournalRecord]) {
        for JournalRecord { number, bytes } in records {
            let key = keys::journal(self.cell.generation, *number);
            batch.put(Table::Journal, &key, &encode_journal(bytes));
        }
    }

    fn engine(&self) -> &Engine {
        &self.cell.shared.engine
    }
}

impl Document {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        self.applied.encode(&mut out);
        out.extend_from_slice(&crc32c::crc32c(&self.bytes).to_le_bytes());
        out.extend_from_slice(&self.bytes);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Document, BadRecord> {
        let mut fields = Fields::new(bytes);
        let version = fields.u8()?;
        if version != VERSION {
            return Err(BadRecord::Value { field: "version", value: version.into() });
        }
        let applied = Applied::decode(&mut fields)?;
        let crc = fields.u32()?;
        let bytes = fields.rest().to_vec();
        if crc32c::crc32c(&bytes) != crc {
            return Err(BadRecord::Checksum);
        }
        Ok(Document { applied, bytes })
    }
}

fn encode_journal(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![JOURNAL_VERSION];
    out.extend_from_slice(&crc32c::crc32c(bytes).to_le_bytes());
    out.extend_from_slice(bytes);
    out
}

fn decode_journal(stored: &[u8]) -> Result<Vec<u8>, BadRecord> {
    let mut fields = Fields::new(stored);
    let version = fields.u8()?;
    if version != JOURNAL_VERSION {
        return Err(BadRecord::Value { field: "version", value: version.into() });
    }
    let crc = fields.u32()?;
    let bytes = fields.rest().to_vec();
    if crc32c::crc32c(&bytes) != crc { Err(BadRecord::Checksum) } else { Ok(bytes) }
}

fn number_of(key: &[u8]) -> Result<u64, Fault> {
    keys::parse_journal(key).map_err(|error| Fault::damaged("a journal's key", error.to_string()))
}

fn damaged(number: u64, error: &BadRecord) -> Fault {
    Fault::damaged("a document's journal", format!("record {number}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use crate::store::Store;

    fn records(numbers: impl IntoIterator<Item = u64>) -> Vec<JournalRecord> {
        let record = |number| JournalRecord { number, bytes: format!("record {number}").into() };
        numbers.into_iter().map(record).collect()
    }

    #[test]
    fn a_journal_is_read_both_ways_in_pages_and_is_there_again_after_the_next_open() {
        let dir = tempfile::tempdir().unwrap();
        let id = |index| LogId { term: 1, leader: 2, index };
        let store = Store::open(dir.path(), Options::default()).unwrap();
        // Of another replica of this node, before and after it: neither is ever read.
        store.document(7).unwrap().commit(id(1), None, b"x".to_vec(), &records([1, 300, 999])).unwrap();
        let document = store.document(0).unwrap();
        store.document(8).unwrap().commit(id(1), None, b"x".to_vec(), &records([1, 300, 999])).unwrap();
        assert_eq!(document.journal(1, u64::MAX, 100).unwrap(), []);
        assert_eq!(document.journal(u64::MAX, 1, 100).unwrap(), []);
        for number in [255, 256, 257, 259] {
            document.commit(id(number), None, b"d".to_vec(), &records([number])).unwrap();
        }
        document.journal_ahead(&records([258])).unwrap();
        document.install(&SnapshotMeta::new(0, &document.applied()), b"e".to_vec()).unwrap();
        let check = |document: &DocumentReplica| {
            let read = |from, to, bytes| document.journal(from, to, bytes).unwrap();
            assert_eq!(read(0, u64::MAX, 1000), records(255..=259));
            assert_eq!(read(u64::MAX, 0, 1000), records((255..=259).rev()));
            assert_eq!(read(256, 258, 1000), records(256..=258));
            assert_eq!(read(258, 256, 1000), records((256..=258).rev()));
            assert_eq!(read(300, 257, 1000), records((257..=259).rev()));
            assert_eq!(
                read(256, u64::MAX, 11),
                records(256..=257),
                "a page ends with the record that fills it"
            );
            assert_eq!(read(256, 256, 0), records([256]), "it has one at least");
            assert_eq!(read(100, 101, 1000), []);
            assert_eq!(document.bytes(), b"e");
        };
        check(&document);
        drop(document);
        store.close();
        check(&Store::open(dir.path(), Options::default()).unwrap().document(0).unwrap());
    }

    #[test]
    fn a_journals_records_come_back_and_damage_is_noticed() {
        let stored = encode_journal(b"{}");
        assert_eq!(decode_journal(&stored), Ok(b"{}".to_vec()));
        for cut in 0..stored.len() {
            assert!(decode_journal(&stored[..cut]).is_err(), "cut at {cut}");
        }
        assert!(decode_journal(&[&stored[..], &[0]].concat()).is_err());
        assert_eq!(stored[0], 1);
        assert!(matches!(decode_journal(&[2, 0, 0, 0, 0]), Err(BadRecord::Value { value: 2, .. })));
    }

    #[test]
    fn records_come_back_and_damage_is_noticed() {
        let id = LogId { term: 1, leader: 2, index: 3 };
        let applied = Applied { log_id: Some(id), membership: Some((None, b"m".to_vec())) };
        let document = Document { applied, bytes: b"catalogue".to_vec() };
        let bytes = document.encode();
        assert_eq!(Document::decode(&bytes), Ok(document));
        for cut in 0..bytes.len() {
            assert!(Document::decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(Document::decode(&[&bytes[..], &[0]].concat()).is_err());
        assert_eq!(Document::decode(&Document::default().encode()), Ok(Document::default()));
        assert_eq!(Document::default().encode(), [1, 0, 0, 0, 0, 0, 0]);
    }
}
