//! openraft's state machine over the store: a set's ledger, or the control set's catalogue. Apply is the only writer of
//! either. It tells the gate what is applied before anybody can be answered.

use std::io;
use std::sync::Arc;

use futures::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot, SnapshotMeta};
use openraft::{EntryPayload, OptionalSend};
use tracing::trace;
use twinset_store::{EncodedOutcomes, LedgerReplica, Record, RecordKind, SnapshotReader, StagedSnapshot};

use super::types::{
    Applied, CommittedLeader, LogId, StoredMembership, TypeConfig, decode_membership, encode_membership,
    log_id, store_id, to_record,
};
use crate::control_set::{ControlMachine, ControlSnapshot};
use crate::gate::Gate;
use crate::platform::{self, Platform};

type NodeSnapshot = Snapshot<CommittedLeader, u64, openraft::impls::BasicNode, SnapshotData>;
type Meta = SnapshotMeta<CommittedLeader, u64, openraft::impls::BasicNode>;

/// What a snapshot is made of on its way between nodes.
pub enum SnapshotData {
    /// The sender's side of a ledger: read in chunks.
    Reader(Box<SnapshotReader>),
    /// The receiver's side of a ledger: on disk, verified, not yet visible.
    Staged(Box<StagedSnapshot>),
    /// The control set: one small document, and the history beside it.
    Document(ControlSnapshot),
}

/// The state machine of one replica.
#[derive(Clone)]
pub enum Machine {
    /// A set of accounts, its durability gate, and the machine that the node runs on.
    Ledger(LedgerReplica, Arc<Gate>, Arc<dyn Platform>),
    /// The catalogue.
    Control(ControlMachine),
}

impl Machine {
    fn applied(&self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let applied = match self {
            Machine::Ledger(replica, ..) => replica.applied(),
            Machine::Control(machine) => machine.applied(),
        };
        let membership = stored_membership(applied.membership)?;
        Ok((applied.log_id.map(log_id), membership))
    }

    async fn snapshot(&self) -> io::Result<NodeSnapshot> {
        let (meta, data) = match self {
            Machine::Ledger(replica, _, platform) => {
                let replica = replica.clone();
                let reader = platform::blocking(&**platform, move || replica.snapshot())
                    .await
                    .map_err(io::Error::other)?
                    .map_err(io::Error::other)?;
                (reader.meta().clone(), SnapshotData::Reader(Box::new(reader)))
            }
            Machine::Control(machine) => {
                let (meta, snapshot) = machine.snapshot();
                (meta, SnapshotData::Document(snapshot))
            }
        };
        let last_membership = stored_membership(meta.membership)?;
        Ok(Snapshot { meta: Meta { last_log_id: meta.last.map(log_id), last_membership }, snapshot: data })
    }
}

/// Applies a record to a ledger. While a checkpoint is due, apply may have to wait for one, or to make it itself: that must
/// not hold up the other sets, whose tasks share this one's thread.
async fn apply_to(
    platform: &dyn Platform,
    replica: &LedgerReplica,
    record: Record,
) -> io::Result<EncodedOutcomes> {
    let outcomes = if replica.checkpoint_due() {
        let replica = replica.clone();
        platform::blocking(platform, move || replica.apply(&record)).await.map_err(io::Error::other)?
    } else {
        replica.apply(&record)
    };
    outcomes.map_err(io::Error::other)
}

fn stored_membership(
    stored: Option<(Option<twinset_store::LogId>, Vec<u8>)>,
) -> io::Result<StoredMembership> {
    match stored {
        None => Ok(StoredMembership::default()),
        Some((id, bytes)) => Ok(StoredMembership::new(id.map(log_id), decode_membership(&bytes)?)),
    }
}

pub(super) fn store_meta(meta: &Meta) -> twinset_store::SnapshotMeta {
    twinset_store::SnapshotMeta {
        last: meta.last_log_id.as_ref().map(store_id),
        membership: Some((
            meta.last_membership.log_id().as_ref().map(store_id),
            encode_membership(meta.last_membership.membership()),
        )),
        id: String::new(),
    }
}

pub(super) fn raft_meta(meta: twinset_store::SnapshotMeta) -> io::Result<Meta> {
    Ok(Meta { last_log_id: meta.last.map(log_id), last_membership: stored_membership(meta.membership)? })
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<NodeSnapshot> {
        self.snapshot().await
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Machine;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        self.applied()
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let record = to_record(&entry);
            let applied = match self {
                Machine::Ledger(replica, gate, platform) => {
                    let (term, index, kind) = (record.id.term, record.id.index, record.kind);
                    gate.reached(term, index);
                    let outcomes = apply_to(&**platform, replica, record).await?;
                    gate.applied(index, replica.durability());
                    trace!(term, index, ?kind, "applied");
                    if kind == RecordKind::Commands { Applied::Outcomes(outcomes) } else { Applied::Nothing }
                }
                Machine::Control(machine) => match machine.apply(&record).map_err(io::Error::other)? {
                    Some(reply) => Applied::Control(reply),
                    None => Applied::Nothing,
                },
            };
            debug_assert!(
                matches!(entry.payload, EntryPayload::Normal(_)) || matches!(applied, Applied::Nothing)
            );
            if let Some(responder) = responder {
                responder.send(applied);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Machine {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &Meta, snapshot: SnapshotData) -> io::Result<()> {
        match (&*self, snapshot) {
            (Machine::Ledger(replica, gate, platform), SnapshotData::Staged(staged)) => {
                gate.membership(meta.last_membership.log_id().as_ref().map_or(0, |id| id.index));
                let installing = replica.clone();
                platform::blocking(&**platform, move || installing.install(*staged))
                    .await
                    .map_err(io::Error::other)?
                    .map_err(io::Error::other)?;
                gate.applied(meta.last_log_id.map_or(0, |id| id.index), replica.durability());
                Ok(())
            }
            (Machine::Control(machine), SnapshotData::Document(snapshot)) => {
                machine.install(&store_meta(meta), &snapshot.document).map_err(io::Error::other)
            }
            _ => Err(io::Error::other("a snapshot of another kind of set")),
        }
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<NodeSnapshot>> {
        if self.applied()?.0.is_none() { Ok(None) } else { self.snapshot().await.map(Some) }
    }
}
