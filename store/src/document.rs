//! A small replicated document: the control set's state, kept whole. One write holds the bytes and how far they have
//! been applied, so that a crash leaves a state that the log completes. Knows nothing of what the bytes mean.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::engine::Engine;
use crate::fault::Fault;
use crate::keys;
use crate::log::Log;
use crate::record::LogId;
use crate::replica::{Applied, Membership, SnapshotMeta};
use crate::shared::Shared;
use crate::table::Table;
use crate::wire::{BadRecord, Fields};

const VERSION: u8 = 1;

/// The document of one set. Cheap to clone.
#[derive(Clone)]
pub struct DocumentReplica {
    cell: Arc<Cell>,
}

struct Cell {
    set: u32,
    key: Vec<u8>,
    shared: Arc<Shared>,
    state: RwLock<Document>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Document {
    applied: Applied,
    bytes: Vec<u8>,
}

impl DocumentReplica {
    pub(crate) fn open(shared: Arc<Shared>, set: u32, log: &Log) -> Result<DocumentReplica, Fault> {
        let key = keys::named(keys::DOCUMENT, log.generation());
        let stored = shared.engine.get(Table::Meta, &key)?;
        let state = stored.map_or(Ok(Document::default()), |bytes| Document::decode(&bytes));
        let state = state.map_err(|error| Fault::damaged("a document", error.to_string()))?;
        Ok(DocumentReplica { cell: Arc::new(Cell { set, key, shared, state: RwLock::new(state) }) })
    }

    /// How far the document has come.
    pub fn applied(&self) -> Applied {
        self.cell.state.read().applied.clone()
    }

    /// The document; empty before the first commit.
    pub fn bytes(&self) -> Vec<u8> {
        self.cell.state.read().bytes.clone()
    }

    /// Replaces the document and says how far it has come, in one write. Unsynced: the log brings it back. `membership`
    /// None keeps the last one.
    pub fn commit(&self, log_id: LogId, membership: Option<Membership>, bytes: Vec<u8>) -> Result<(), Fault> {
        let mut state = self.cell.state.write();
        let membership = membership.or_else(|| state.applied.membership.clone());
        let next = Document { applied: Applied { log_id: Some(log_id), membership }, bytes };
        self.write(&next)?;
        *state = next;
        Ok(())
    }

    /// The document as it is now, as a snapshot.
    pub fn snapshot(&self) -> (SnapshotMeta, Vec<u8>) {
        let state = self.cell.state.read();
        (SnapshotMeta::new(self.cell.set, &state.applied), state.bytes.clone())
    }

    /// Takes over a snapshot. Atomic, and on disk before it returns.
    pub fn install(&self, meta: &SnapshotMeta, bytes: Vec<u8>) -> Result<(), Fault> {
        let mut state = self.cell.state.write();
        let applied = Applied { log_id: meta.last, membership: meta.membership.clone() };
        let next = Document { applied, bytes };
        self.write(&next)?;
        self.engine().sync()?;
        *state = next;
        Ok(())
    }

    fn write(&self, document: &Document) -> Result<(), Fault> {
        let mut batch = self.engine().batch();
        batch.put(Table::Meta, &self.cell.key, &document.encode());
        self.engine().write(batch)
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

#[cfg(test)]
mod tests {
    use super::*;

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
