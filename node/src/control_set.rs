//! The control set's state machine: the pure rules of `twinset_control` over one stored document, the catalogue, and
//! the audit log's whole history in the journal beside it.

use std::sync::Arc;

use parking_lot::Mutex;
use twinset_control::chain::{Head, Link};
use twinset_control::{Catalogue, Envelope, encode_answer};
use twinset_store::{Applied, DocumentReplica, Fault, JournalRecord, Record, RecordKind, SnapshotMeta};

use crate::catalogue::CatalogueCell;

/// The control set's replica on this node.
#[derive(Clone)]
pub struct ControlMachine {
    replica: DocumentReplica,
    catalogue: Arc<Mutex<Catalogue>>,
    cell: CatalogueCell,
}

/// The control set at one index, on its way to a replica that is far behind.
pub struct ControlSnapshot {
    /// The catalogue.
    pub document: Vec<u8>,
    /// On the sender's side: the history that goes before it. The receiver has stored it when the document comes.
    history: Option<History>,
}

/// The history up to a record, which never changes: it is read while it is sent.
struct History {
    replica: DocumentReplica,
    next: u64,
    last: u64,
}

impl ControlSnapshot {
    /// As it has arrived.
    pub fn arrived(document: Vec<u8>) -> Self {
        ControlSnapshot { document, history: None }
    }

    /// The next records of its history, about so many bytes; none when all were given. Waits for the disk.
    pub fn next_records(&mut self, bytes_max: usize) -> Result<Vec<JournalRecord>, Fault> {
        let Some(History { replica, next, last }) = &mut self.history else { return Ok(Vec::new()) };
        if next > last {
            return Ok(Vec::new());
        }
        let records = replica.journal(*next, *last, bytes_max)?;
        *next = records.last().map_or(*last, |record| record.number) + 1;
        Ok(records)
    }
}

/// Some of the audit log.
#[derive(Debug)]
pub struct AuditPage {
    /// Whose.
    pub cluster_id: String,
    /// The number of the first record that is chained.
    pub first: u64,
    /// How far it goes.
    pub head: Head,
    /// In the order asked for.
    pub links: Vec<Link>,
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
    /// What is stored under a record's number is none.
    #[error("record {0} of the audit log is too short to be one")]
    History(u64),
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
        let before = catalogue.audit.mark();
        let reply = match record.kind {
            RecordKind::Blank => None,
            RecordKind::Membership => {
                membership = Some((Some(record.id), record.payload.to_vec()));
                None
            }
            RecordKind::Commands => {
                let envelope = Envelope::decode(&record.payload)?;
                let index = record.id.index;
                let answer = twinset_control::apply_entry(&mut catalogue, index, envelope);
                Some(encode_answer(&answer))
            }
        };
        let links = catalogue.audit.since(before, &catalogue.cluster_id);
        let stored = |link: &Link| JournalRecord { number: link.number, bytes: link.to_bytes() };
        let records: Vec<JournalRecord> = links.iter().map(stored).collect();
        self.replica.commit(record.id, membership, catalogue.to_json(), &records)?;
        self.cell.offer(catalogue.clone());
        Ok(reply)
    }

    /// The document, with the history behind it, and what it stands for.
    pub fn snapshot(&self) -> (SnapshotMeta, ControlSnapshot) {
        // The lock keeps the document and the applied index together.
        let catalogue = self.catalogue.lock();
        let applied = self.replica.applied();
        let (next, last) = (catalogue.audit.first(), catalogue.audit.head(&catalogue.cluster_id).number);
        let history = Some(History { replica: self.replica.clone(), next, last });
        (
            SnapshotMeta { last: applied.log_id, membership: applied.membership, id: String::new() },
            ControlSnapshot { document: catalogue.to_json(), history },
        )
    }

    /// Keeps records of the history of a snapshot that is arriving. What a committed command has put on record is the
    /// same on every voter, so they may stand here before the document that they belong to. Waits for the disk.
    pub fn take_history(&self, records: &[JournalRecord]) -> Result<(), Error> {
        Ok(self.replica.journal_ahead(records)?)
    }

    /// Records of the audit log from number `from` on (0: from the oldest or, backwards, from the newest), at most
    /// `limit` and about so many bytes. Waits for the disk.
    pub fn audit(
        &self,
        from: u64,
        backwards: bool,
        limit: u64,
        bytes_max: usize,
    ) -> Result<AuditPage, Error> {
        let (cluster_id, first, head) = {
            let catalogue = self.catalogue.lock();
            let audit = &catalogue.audit;
            (catalogue.cluster_id.clone(), audit.first(), audit.head(&catalogue.cluster_id))
        };
        // What stands beyond the head is of a snapshot that has not arrived.
        let (from, to) = if backwards {
            let from = if from == 0 { head.number } else { from.min(head.number) };
            (from, first.max((from + 1).saturating_sub(limit)))
        } else {
            let from = from.max(first);
            (from, head.number.min(from.saturating_add(limit) - 1))
        };
        let none = limit == 0 || if backwards { from < to } else { from > to };
        let records = if none { Vec::new() } else { self.replica.journal(from, to, bytes_max)? };
        let link = |record: JournalRecord| {
            Link::from_bytes(record.number, &record.bytes).ok_or(Error::History(record.number))
        };
        let links = records.into_iter().map(link).collect::<Result<_, _>>()?;
        Ok(AuditPage { cluster_id, first, head, links })
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use twinset_control::chain::Walk;
    use twinset_control::{CONTROL_SET, Command, Policy, Proof, Topology};
    use twinset_store::{LogId, Options, Store};

    use super::*;

    const CLUSTER: &str = "cluster-of-the-test";

    fn open(dir: &Path) -> (Store, ControlMachine) {
        let topology = include_str!("../../deploy/examples/topology.toml");
        let topology: Topology = toml::from_str(topology).unwrap();
        let store = Store::open(dir, Options::default()).unwrap();
        let cell = CatalogueCell::open(store.clone(), crate::platform::system()).unwrap();
        let first = topology.place(CLUSTER).unwrap();
        let machine = ControlMachine::open(store.document(CONTROL_SET).unwrap(), &first, cell).unwrap();
        (store, machine)
    }

    /// An act whose record has a number of its own.
    fn act(machine: &ControlMachine, index: u64) {
        let policy = if index.is_multiple_of(2) { Policy::MaxAvailability } else { Policy::MaxProtection };
        let command = Command::SetPolicy { set: 1, policy, who: "ops".into(), why: "x".repeat(200) };
        let payload = Envelope::new(index, Proof::Token, command).encode().into();
        let id = LogId { term: 1, leader: 0, index };
        machine.apply(&Record { id, kind: RecordKind::Commands, payload }).unwrap();
    }

    /// Reads all of it in pages and checks each record.
    fn walk(machine: &ControlMachine, limit: u64, bytes_max: usize) -> Head {
        let mut walk = Walk::new(CLUSTER, 1);
        loop {
            let page = machine.audit(walk.head().number + 1, false, limit, bytes_max).unwrap();
            assert!(page.links.len() as u64 <= limit);
            if page.links.is_empty() {
                assert_eq!(walk.head(), page.head);
                return page.head;
            }
            page.links.iter().try_for_each(|link| walk.step(link)).unwrap();
        }
    }

    fn numbers(machine: &ControlMachine, from: u64, backwards: bool, limit: u64) -> Vec<u64> {
        let page = machine.audit(from, backwards, limit, usize::MAX).unwrap();
        page.links.iter().map(|link| link.number).collect()
    }

    #[test]
    fn the_whole_history_is_read_in_pages_and_survives_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let (store, machine) = open(dir.path());
        assert_eq!(walk(&machine, 10, 1000).number, 0);
        assert_eq!((numbers(&machine, 0, true, 9), numbers(&machine, 7, true, 9)), (vec![], vec![]));
        (1..=400).for_each(|index| act(&machine, index));
        let head = walk(&machine, 7, usize::MAX);
        assert_eq!(head.number, 400, "more than the catalogue has");
        assert_eq!(walk(&machine, 1000, 1000), head);
        assert_eq!(numbers(&machine, 0, true, 3), [400, 399, 398]);
        assert_eq!(numbers(&machine, 2, true, 3), [2, 1]);
        assert_eq!(numbers(&machine, 900, true, 1), [400]);
        assert_eq!(numbers(&machine, 399, false, 9), [399, 400]);
        assert!(numbers(&machine, 401, false, 9).is_empty());
        assert!(numbers(&machine, 5, false, 0).is_empty());
        // Nothing is closed; what the log would bring back, it brings again.
        drop((store, machine));
        let (_store, machine) = open(dir.path());
        let applied = machine.applied().log_id.map_or(0, |id| id.index);
        (applied + 1..=400).for_each(|index| act(&machine, index));
        assert_eq!(walk(&machine, 1000, usize::MAX), head);
    }

    #[test]
    fn a_snapshot_brings_the_history_with_it() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (_store, machine) = open(dir.path());
        (1..=400).for_each(|index| act(&machine, index));
        let (meta, mut snapshot) = machine.snapshot();
        let head = walk(&machine, 1000, usize::MAX);
        // What comes later is not of the snapshot.
        act(&machine, 401);
        let (store, late) = open(other.path());
        (1..=3).for_each(|index| act(&late, index));
        let mut pages = 0;
        loop {
            let records = snapshot.next_records(1000).unwrap();
            if records.is_empty() {
                break;
            }
            late.take_history(&records).unwrap();
            pages += 1;
            assert_eq!(walk(&late, 1000, usize::MAX).number, 3, "it has not arrived");
        }
        assert!(pages > 10, "{pages}");
        late.install(&meta, &snapshot.document).unwrap();
        assert_eq!(walk(&late, 1000, usize::MAX), head);
        drop((store, late));
        let (_store, late) = open(other.path());
        assert_eq!(walk(&late, 1000, usize::MAX), head, "it is on disk");
        act(&late, 401);
        assert_eq!(walk(&late, 1000, usize::MAX), walk(&machine, 1000, usize::MAX));
    }
}
