//! What the storage side of a group promises: openraft's own suite, durability, the order of callbacks, snapshots and
//! stored forms, each over a real store in a directory of its own. Tests only; beside them is what they test, below is
//! the store. Groups that talk to each other are tested from outside, in `node/tests/`.

mod callbacks;
mod conformance;
mod durability;
mod forms;
mod overdue;
mod restart;
mod snapshot;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, TryStreamExt, stream};
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::{SnapshotMetaOf, SnapshotOf};
use openraft::{EntryPayload, Membership, OptionalSend};
use twinset_ledger::RULES_VERSION;
use twinset_ledger::codec::{EntryBuilder, PackedId, Short, ShortScope, encode_command};
use twinset_ledger::command::{Command, Metadata};
use twinset_store::{LedgerReplica, Options, SnapshotReader, StagedSnapshot, Store};

use super::log::LogStore;
use super::machine::{Machine, SnapshotData, store_meta};
use super::types::{Commands, Entries, LogId, StoredMembership, TypeConfig};
use crate::gate::Gate;

type Meta = SnapshotMetaOf<TypeConfig>;
type NodeSnapshot = SnapshotOf<TypeConfig, SnapshotData>;

/// Small caches and early checkpoints: most of what is read comes from the database.
fn options() -> Options {
    Options {
        checkpoint_commands: 40,
        tail_cache_bytes: 4_000,
        block_cache_bytes: 1 << 20,
        log_write_buffer_bytes: 1 << 20,
        ..Options::default()
    }
}

fn open(dir: &Path) -> Store {
    Store::open(dir, options()).unwrap()
}

/// Log and machine of a set of accounts, with a gate that waits for one site more than there is.
fn ledger(store: &Store, set: u32) -> (LogStore, Machine, Arc<Gate>) {
    let sites = [(1, "A".to_owned()), (2, "B".to_owned())].into();
    let replica = store.ledger(set).unwrap();
    let gate = Arc::new(Gate::new(1, sites, replica.durability()));
    (
        LogStore::new(store.log(set).unwrap()),
        Machine::Ledger(replica, gate.clone(), crate::platform::system()),
        gate,
    )
}

fn id(term: u64, index: u64) -> LogId {
    LogId::new_term_index(term, index)
}

fn commands(term: u64, index: u64, payload: Vec<u8>) -> Entries {
    Entries { log_id: id(term, index), payload: EntryPayload::Normal(Commands(Bytes::from(payload))) }
}

fn membership(term: u64, index: u64, voters: &[u64]) -> Entries {
    let config = vec![voters.iter().copied().collect()];
    Entries::new_membership(id(term, index), Membership::new_with_defaults(config, []))
}

/// An entry that a ledger can apply: it opens an account and pays from it to the first one ever opened.
fn business(term: u64, index: u64) -> Entries {
    let mut entry = EntryBuilder::new(RULES_VERSION, 1, 1_700_000_000_000_000_000 + index);
    let mut command = Vec::new();
    let open = Command::OpenAccount {
        request_id: "open".to_owned(),
        account: account(index),
        subject: "liability".to_owned(),
        currency: "EUR".to_owned(),
        normal_side: None,
        limit: None,
        metadata: Metadata::from([("why".to_owned(), "x".repeat(300))]),
    };
    encode_command(&open, &mut command);
    entry.push_command_bytes(&command);
    if index > 1 {
        entry.push_short(&Short {
            request_id: PackedId::pack(&format!("pay-{index}")).unwrap(),
            debit: 1,
            credit: 0,
            amount: index,
            kind: 0,
            reason: 0,
            accounting_date: None,
            scope: ShortScope::Default,
            credit_first: false,
        });
    }
    commands(term, index, entry.finish())
}

fn account(index: u64) -> String {
    format!("account-{index}")
}

/// Appends and waits for the callback.
async fn append(log: &mut LogStore, entries: Vec<Entries>) {
    let (tell, told) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(tell)).await.unwrap();
    told.await.unwrap().unwrap();
}

async fn apply<M>(machine: &mut M, entries: Vec<Entries>) -> io::Result<()>
where
    M: RaftStateMachine<TypeConfig>,
{
    machine.apply(stream::iter(entries.into_iter().map(|entry| Ok((entry, None))))).await
}

/// Takes a snapshot to another replica as the peers do: in chunks, and with the metadata that Raft has.
fn carry(to: &LedgerReplica, meta: &Meta, mut reader: SnapshotReader) -> StagedSnapshot {
    let mut writer = to.begin_install().unwrap();
    while let Some(chunk) = reader.next_chunk(1_000).unwrap() {
        writer.write_chunk(&chunk).unwrap();
    }
    writer.finish(&store_meta(meta)).unwrap()
}

/// Copies what is on disk. Nobody may be writing.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A machine as openraft's suite expects one. The suite hands a snapshot straight from one machine to the other, and it
/// leaves out indices, which no Raft log does; this carries the one and fills the other with blanks.
struct Suited(Machine);

impl RaftStateMachine<TypeConfig> for Suited {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Machine;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        self.0.applied_state().await
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let index = entry.log_id.index;
            let next = self.0.applied_state().await?.0.map_or(index, |last| last.index + 1);
            let term = entry.log_id.committed_leader_id().term;
            let left_out = (next..index).map(|index| Entries::new_blank(id(term, index))).collect();
            apply(&mut self.0, left_out).await?;
            self.0.apply(stream::iter([Ok((entry, responder))])).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.0.clone()
    }

    async fn install_snapshot(&mut self, meta: &Meta, snapshot: SnapshotData) -> io::Result<()> {
        let data = match (&self.0, snapshot) {
            (Machine::Ledger(replica, ..), SnapshotData::Reader(reader)) => {
                SnapshotData::Staged(Box::new(carry(replica, meta, *reader)))
            }
            (_, other) => other,
        };
        self.0.install_snapshot(meta, data).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<NodeSnapshot>> {
        self.0.get_current_snapshot().await
    }
}
