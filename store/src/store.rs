//! The store of a node: opens the database, keeps the node's own small records, and hands out the log and the replica
//! of each set. Everything durable of a node goes through here. Above it is the node; below it are the logs, the
//! replicas and the engine.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::brake::Brake;
use crate::disk::SimDisk;
use crate::document::DocumentReplica;
use crate::fault::{Fault, OpenError};
use crate::generation;
use crate::keys;
use crate::log::Log;
use crate::options::Options;
use crate::replica::LedgerReplica;
use crate::shared::Shared;
use crate::table::Table;

const IDENTITY: &[u8] = b"identity";
const REPLICA: &str = "replica";
const BLOB: &str = "blob/";

/// Whose data this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The cluster.
    pub cluster_id: String,
    /// The node's name in it.
    pub node: String,
}

/// A replica that this node hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaRecord {
    /// The set.
    pub set: u32,
    /// The replica's own Raft id, never reused.
    pub replica_id: u64,
    /// The set's incarnation, as far as this replica knows: the fence.
    pub incarnation: u32,
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    sets: Mutex<BTreeMap<u32, Handles>>,
    /// One write of a small record at a time.
    small: Mutex<()>,
    shared: Arc<Shared>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A checkpoint under way holds the replica, and with it the directory: who drops the store may open it again.
        self.shared.background.leave();
        self.shared.brake.release_all();
    }
}

#[derive(Default)]
struct Handles {
    log: Option<Log>,
    ledger: Option<LedgerReplica>,
    document: Option<DocumentReplica>,
}

impl Store {
    /// Opens the store in `dir`, or makes a new one there. The directory is locked until every handle is dropped.
    pub fn open(dir: &Path, options: Options) -> Result<Store, OpenError> {
        Ok(Store::over(Shared::open(dir, &options)?))
    }

    /// Opens the store on a simulated disk, or makes a new one there. Nothing happens in the background: syncs and
    /// checkpoints wait for the disk's owner. What the options say of files and caches means nothing here.
    pub fn open_simulated(disk: &SimDisk, options: Options) -> Result<Store, OpenError> {
        Ok(Store::over(Shared::simulated(disk, &options)?))
    }

    fn over(shared: Shared) -> Store {
        let inner = Inner { sets: Mutex::default(), small: Mutex::default(), shared: Arc::new(shared) };
        Store { inner: Arc::new(inner) }
    }

    /// Whose data this is; None in a new store, or when the record cannot be read (then every write fails as well).
    pub fn identity(&self) -> Option<Identity> {
        self.get_json(IDENTITY).ok().flatten()
    }

    /// Says whose data this is, once and for ever. The same again changes nothing. Synced.
    pub fn set_identity(&self, identity: &Identity) -> Result<(), Fault> {
        let guard = self.inner.small.lock();
        if let Some(known) = self.get_json::<Identity>(IDENTITY)? {
            if known == *identity {
                return Ok(());
            }
            return Err(Fault::OtherIdentity { cluster_id: known.cluster_id, node: known.node });
        }
        self.put_json(IDENTITY, identity)?;
        drop(guard);
        self.inner.shared.syncer.wait()
    }

    /// What drills do to the disk below this store. It means nothing on a simulated one.
    pub fn brake(&self) -> Brake {
        self.inner.shared.brake.clone()
    }

    /// The replicas that this node hosts, by set.
    pub fn replicas(&self) -> Result<Vec<ReplicaRecord>, Fault> {
        let engine = &self.inner.shared.engine;
        let mut out = Vec::new();
        // A zero byte follows the slash in the order of bytes: this is the end of the records.
        let mut cursor = engine.cursor(Table::Meta, b"replica0")?;
        cursor.seek(b"replica/");
        while let Some((_, value)) = cursor.item() {
            out.push(from_json(value)?);
            cursor.next();
        }
        cursor.ended()?;
        Ok(out)
    }

    /// Adds or changes the record of a replica. Synced.
    pub fn put_replica(&self, record: ReplicaRecord) -> Result<(), Fault> {
        self.put_json(&keys::named(REPLICA, record.set), &record)?;
        self.inner.shared.syncer.wait()
    }

    /// Throws away all that this node holds of a set, and holds a blank replica of it instead: one or the other, whenever it
    /// crashes. Nobody may use the set's old handles any more. Synced.
    pub fn begin_anew(&self, record: ReplicaRecord) -> Result<(), Fault> {
        let mut sets = self.inner.sets.lock();
        let shared = &self.inner.shared;
        let old = shared.generations.of(&shared.engine, record.set)?;
        let begun = shared.generations.begin(&shared.engine, record.set)?;
        let mut batch = shared.engine.batch();
        generation::point(&mut batch, record.set, begun.generation());
        batch.delete(Table::Raft, &keys::named(keys::VOTE, record.set));
        let replica = serde_json::to_vec(&record).expect("records of plain fields have a JSON form");
        batch.put(Table::Meta, &keys::named(REPLICA, record.set), &replica);
        shared.engine.write(batch)?;
        begun.keep();
        sets.remove(&record.set);
        shared.syncer.wait()?;
        generation::delete(&shared.engine, old)
    }

    /// Keeps bytes under a name. Synced.
    pub fn put_blob(&self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        self.put(&blob(name), bytes)?;
        self.inner.shared.syncer.wait()
    }

    /// The bytes kept under a name.
    pub fn get_blob(&self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        let value = self.inner.shared.engine.get(Table::Meta, &blob(name))?;
        Ok(value.map(|value| value.to_vec()))
    }

    /// The log of a set; always the same one.
    pub fn log(&self, set: u32) -> Result<Log, Fault> {
        let mut sets = self.inner.sets.lock();
        self.open_log(sets.entry(set).or_default(), set)
    }

    /// The ledger replica of a set; always the same one. Its state is as of the last checkpoint: the log above
    /// `applied` is to be applied again.
    pub fn ledger(&self, set: u32) -> Result<LedgerReplica, Fault> {
        let mut sets = self.inner.sets.lock();
        let handles = sets.entry(set).or_default();
        if let Some(ledger) = &handles.ledger {
            return Ok(ledger.clone());
        }
        let log = self.open_log(handles, set)?;
        let ledger = LedgerReplica::open(Arc::clone(&self.inner.shared), set, log)?;
        handles.ledger = Some(ledger.clone());
        Ok(ledger)
    }

    /// The document replica of a set (the control set); always the same one.
    pub fn document(&self, set: u32) -> Result<DocumentReplica, Fault> {
        let mut sets = self.inner.sets.lock();
        let handles = sets.entry(set).or_default();
        if let Some(document) = &handles.document {
            return Ok(document.clone());
        }
        let log = self.open_log(handles, set)?;
        let document = DocumentReplica::open(Arc::clone(&self.inner.shared), set, &log)?;
        handles.document = Some(document.clone());
        Ok(document)
    }

    /// Makes everything written so far durable and ends the threads. Handles that are still around fail from now on.
    pub fn close(self) {
        for log in self.inner.sets.lock().values().filter_map(|handles| handles.log.as_ref()) {
            // Only a hint for the next start; a store that has stopped said so already.
            if let Err(fault) = log.write_committed() {
                tracing::debug!(%fault, "what is committed was not noted");
            }
        }
        self.inner.shared.stop();
        // The last word: what was written after the syncer's last round.
        if let Err(fault) = self.inner.shared.engine.sync() {
            tracing::error!(%fault, "the last sync failed");
        }
    }

    fn open_log(&self, handles: &mut Handles, set: u32) -> Result<Log, Fault> {
        if let Some(log) = &handles.log {
            return Ok(log.clone());
        }
        let log = Log::open(Arc::clone(&self.inner.shared), set)?;
        handles.log = Some(log.clone());
        Ok(log)
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), Fault> {
        let engine = &self.inner.shared.engine;
        let mut batch = engine.batch();
        batch.put(Table::Meta, key, value);
        engine.write(batch)
    }

    fn put_json<T: Serialize>(&self, key: &[u8], record: &T) -> Result<(), Fault> {
        self.put(key, &serde_json::to_vec(record).expect("records of plain fields have a JSON form"))
    }

    fn get_json<T: for<'a> Deserialize<'a>>(&self, key: &[u8]) -> Result<Option<T>, Fault> {
        let value = self.inner.shared.engine.get(Table::Meta, key)?;
        value.map(|value| from_json(&value)).transpose()
    }
}

fn from_json<T: for<'a> Deserialize<'a>>(value: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(value).map_err(|error| Fault::damaged("a record of the node", error.to_string()))
}

fn blob(name: &str) -> Vec<u8> {
    [BLOB.as_bytes(), name.as_bytes()].concat()
}
