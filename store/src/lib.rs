//! The store: everything a node keeps on disk, for all the sets it hosts, in one database. The only crate that names
//! rocksdb; it knows no openraft, no network and no async runtime. Below it is [`twinset_ledger`], whose state it
//! implements; above it is the node.
//!
//! - [`Log`]: one set's Raft log. Appends are unsynced writes; one [syncer](Done) makes them durable for all sets at
//!   once. The log is the lasting record of every transaction and is never thrown away.
//! - [`LedgerReplica`]: one set's ledger. Accounts and everything since the last checkpoint live in memory; a checkpoint
//!   turns it into sorted files, off the apply path, and writes what was applied last of all. After a crash the log
//!   above it is applied again.
//! - [`DocumentReplica`]: one set's small document, kept whole, and its journal.
//! - [`SimDisk`]: a disk in memory in the place of the database, for simulations: the same store over it, in one thread, with
//!   every sync, crash and fault a choice of the caller.
//!
//! Invariant: a crash at any instant leaves a state that the log completes; what was acknowledged is there, or the store
//! does not open.

mod background;
mod brake;
mod disk;
mod document;
mod engine;
mod fault;
mod generation;
mod keys;
mod log;
mod options;
mod record;
mod replica;
mod shared;
mod steps;
mod store;
mod syncer;
mod table;
mod tail;
mod wire;

pub use brake::{Brake, Strain};
pub use disk::{Crash, Damage, Failure, Kept, Operation, Pending, SimDisk};
pub use document::{DocumentReplica, JournalRecord};
pub use engine::FORMAT;
pub use fault::{Fault, OpenError};
pub use log::Log;
pub use options::Options;
pub use record::{LogId, Record, RecordKind};
pub use replica::{
    ACKNOWLEDGED, About, Applied, Balance, Between, Booked, EncodedOutcomes, Event, EventPage, EventPlace,
    GIVEN, HoldPage, HoldRecord, LedgerReplica, LeftCommand, Listed, Membership, Moment, Outbound, Outgoing,
    OverdueHolds, OverduePage, OwnBuffered, Page, Question, Read, Recollection, Referred, RestrictionPage,
    RestrictionRecord, Said, Share, SnapshotMeta, SnapshotReader, SnapshotWriter, Spot, StagedSnapshot,
    Statement, StatementFilter, StatementLine, StatementQuery, StreamStanding, Sums, Suspended, SweepPage,
    SweepRecord, Totals, Tried, Verdict,
};
pub use store::{Identity, ReplicaRecord, Store};
pub use syncer::Done;
