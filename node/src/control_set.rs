//! The control set's state machine: the pure rules of `twinset_control` over one stored document.

use std::sync::Arc;

use parking_lot::Mutex;
use twinset_control::{Catalogue, Envelope, encode_answer};
use twinset_store::{Applied, DocumentReplica, Fault, Record, RecordKind, SnapshotMeta};

use crate::catalogue::CatalogueCell;

/// The control set's replica on this node.
#[derive(Clone)]
pub struct ControlMachine {
    replica: DocumentReplica,
    catalogue: Arc<Mutex<Catalogue>>,
    cell: CatalogueCell,
}

/// What stops the control set's replica.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// An entry that this build cannot apply.
    #[error(transparent)]
    Envelope(#[from] twinset_control::envelope::Error),
    /// A stored or received document that this build cannot read.
    #[error(transparent)]
    Document(#[from] twinset_control::document::Error),
}

impl ControlMachine {
    /// Opens the replica; `first` is the catalogue that the cluster was made with, for a replica that is still blank.
    pub fn open(replica: DocumentReplica, first: &Catalogue, cell: CatalogueCell) -> Result<Self, Error> {
        let bytes = replica.bytes();
        let catalogue = if bytes.is_empty() { first.clone() } else { Catalogue::from_json(&bytes)? };
        cell.offer(catalogue.clone());
        Ok(ControlMachine { replica, catalogue: Arc::new(Mutex::new(catalogue)), cell })
    }

    /// What is applied.
    pub fn applied(&self) -> Applied {
        self.replica.applied()
    }

    /// Applies one entry; a command gives the reply's bytes.
    pub fn apply(&self, record: &Record) -> Result<Option<Vec<u8>>, Error> {
        let mut membership = self.replica.applied().membership;
        let mut catalogue = self.catalogue.lock();
        let reply = match record.kind {
            RecordKind::Blank => None,
            RecordKind::Membership => {
                membership = Some((Some(record.id), record.payload.to_vec()));
                None
            }
            RecordKind::Commands => {
                let envelope = Envelope::decode(&record.payload)?;
                let index = record.id.index;
                let answer =
                    twinset_control::apply(&mut catalogue, index, envelope.time_unix_ns, envelope.command);
                Some(encode_answer(&answer))
            }
        };
        self.replica.commit(record.id, membership, catalogue.to_json())?;
        self.cell.offer(catalogue.clone());
        Ok(reply)
    }

    /// The document and what it stands for.
    pub fn snapshot(&self) -> (SnapshotMeta, Vec<u8>) {
        // The lock keeps the document and the applied index together.
        let catalogue = self.catalogue.lock();
        let applied = self.replica.applied();
        (
            SnapshotMeta { last: applied.log_id, membership: applied.membership, id: String::new() },
            catalogue.to_json(),
        )
    }

    /// Replaces the document.
    pub fn install(&self, meta: &SnapshotMeta, bytes: &[u8]) -> Result<(), Error> {
        let news = Catalogue::from_json(bytes)?;
        let mut catalogue = self.catalogue.lock();
        self.replica.install(meta, bytes.to_vec())?;
        self.cell.offer(news.clone());
        *catalogue = news;
        Ok(())
    }
}
