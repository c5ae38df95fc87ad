//! The types that openraft is instantiated with, and their plain counterparts in the store and on the wire.
//! Everything of openraft's that the node needs is named here or in the files beside this one, nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use openraft::impls::BasicNode;
use openraft::{Entry, EntryPayload, Membership, RaftTypeConfig};
use serde::{Deserialize, Serialize};
use twinset_store::{EncodedOutcomes, Record, RecordKind};

openraft::declare_raft_types!(
    /// One Raft group: opaque entries, one leader per term.
    pub TypeConfig:
        D = Commands,
        R = Applied,
        NodeId = u64,
        Node = BasicNode,
        LeaderId = openraft::impls::leader_id_std::LeaderId<u64, u64>,
);

pub(super) type Entries = Entry<CommittedLeader, EntryPayload<Commands, u64, BasicNode>>;
pub(super) type CommittedLeader = openraft::type_config::alias::CommittedLeaderIdOf<TypeConfig>;
pub(super) type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
pub(super) type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
pub(super) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;

/// The bytes of one entry: a batch of ledger commands, or a command of the control set.
#[derive(Clone, PartialEq, Eq)]
pub struct Commands(pub Bytes);

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What applying an entry gave.
#[derive(Debug)]
pub enum Applied {
    /// A blank or a membership entry.
    Nothing,
    /// One outcome per command, in the ledger's wire form.
    Outcomes(EncodedOutcomes),
    /// The control set's reply, as JSON.
    Control(Vec<u8>),
}

pub(super) fn log_id(id: twinset_store::LogId) -> LogId {
    LogId::new_term_index(id.term, id.index)
}

pub(super) fn store_id(id: &LogId) -> twinset_store::LogId {
    twinset_store::LogId { term: id.committed_leader_id().term, leader: 0, index: id.index }
}

/// Membership as it is stored in the log and in snapshots: joint configurations and the node of every replica.
#[derive(Serialize, Deserialize)]
struct StoredForm {
    configs: Vec<BTreeSet<u64>>,
    nodes: BTreeMap<u64, String>,
}

pub(super) fn encode_membership(membership: &Membership<u64, BasicNode>) -> Vec<u8> {
    let form = StoredForm {
        configs: membership.get_joint_config().clone(),
        nodes: membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect(),
    };
    serde_json::to_vec(&form).expect("maps of integers and strings serialise")
}

pub(super) fn decode_membership(bytes: &[u8]) -> Result<Membership<u64, BasicNode>, std::io::Error> {
    let form: StoredForm = serde_json::from_slice(bytes).map_err(std::io::Error::other)?;
    let nodes: BTreeMap<u64, BasicNode> =
        form.nodes.into_iter().map(|(id, addr)| (id, BasicNode { addr })).collect();
    Membership::new(form.configs, nodes).map_err(std::io::Error::other)
}

pub(super) fn to_record(entry: &<TypeConfig as RaftTypeConfig>::Entry) -> Record {
    let (kind, payload) = match &entry.payload {
        EntryPayload::Blank => (RecordKind::Blank, Bytes::new()),
        EntryPayload::Normal(commands) => (RecordKind::Commands, commands.0.clone()),
        EntryPayload::Membership(m) => (RecordKind::Membership, Bytes::from(encode_membership(m))),
    };
    Record { id: store_id(&entry.log_id), kind, payload }
}

pub(super) fn from_record(record: &Record) -> Result<Entries, std::io::Error> {
    let payload = match record.kind {
        RecordKind::Blank => EntryPayload::Blank,
        RecordKind::Commands => EntryPayload::Normal(Commands(record.payload.clone())),
        RecordKind::Membership => EntryPayload::Membership(decode_membership(&record.payload)?),
    };
    Ok(Entries { log_id: log_id(record.id), payload })
}
