//! One set's ledger on this node: applying entries, answering reads, checkpoints, snapshots. The rules are the
//! ledger's; here is where its state lives. Above is the node's state machine; below are the set's log and the engine.
//!
//! | file | subject |
//! |---|---|
//! | `state` | the state in memory and on disk, behind the ledger's seam |
//! | `lookup`, `rebuild` | where a request id was decided; what was decided there |
//! | `apply` | one entry in, outcomes out |
//! | `reads`, `list`, `totals` | questions: about one thing, about a part of the log, about all accounts |
//! | `between` | what is open with other sets, for who adds up the clearing accounts of all |
//! | `outbox` | what is sent to accounts of other sets, what is announced, what is suspended |
//! | `events` | what was decided and changed something, for those who follow the set |
//! | `statement`, `history`, `moments` | what was posted to an account; its postings, from memory and disk; positions of times |
//! | `holds`, `check_back` | holds on disk, and pages of them; which overdue ones wait for what |
//! | `sweeps` | sweeps, all and those that are due |
//! | `references` | which transactions have a reference; what was booked before the index was kept |
//! | `points` | how far the replica has come, for heartbeats |
//! | `checkpoint`, `load` | memory to disk and back |
//! | `snapshot`, `install` | disk to another node |
//! | `left` | what the log asks for beyond some index |
//! | `account`, `requests`, `postings`, `outcomes`, `links`, `set_state` | stored records, one each |
//! | `bloom`, `entry` | the filter of request ids; commands out of log records |
//! | `encoded` | the outcomes of an entry as they are hashed and sent |

mod account;
mod apply;
mod between;
mod bloom;
mod check_back;
mod checkpoint;
mod encoded;
mod entry;
mod events;
mod history;
mod holds;
mod install;
mod left;
mod links;
mod list;
mod load;
mod lookup;
mod moments;
mod outbox;
mod outcomes;
mod points;
mod postings;
mod reads;
mod rebuild;
mod recollect;
mod references;
mod requests;
mod restrictions;
#[cfg(test)]
mod sample;
mod set_state;
mod snapshot;
mod state;
mod statement;
mod sweeps;
mod totals;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};

use crate::engine::Engine;
use crate::fault::Fault;
use crate::log::Log;
use crate::record::LogId;
use crate::shared::Shared;
use points::Points;
use state::ReplicaState;

pub use between::{Between, Outbound, Share, Sums};
pub use check_back::{OverdueHolds, OverduePage};
pub use encoded::EncodedOutcomes;
pub use events::{About, Event, EventPage, EventPlace};
pub use holds::{HoldPage, HoldRecord};
pub use install::{SnapshotWriter, StagedSnapshot};
pub use left::LeftCommand;
pub use list::Page;
pub use outbox::{Outgoing, OwnBuffered, StreamStanding, Suspended};
pub use postings::Spot;
pub use reads::{Booked, Listed, Read, Said, Tried, Verdict};
pub use recollect::{ACKNOWLEDGED, GIVEN, Question, Recollection};
pub use references::Referred;
pub use restrictions::{RestrictionPage, RestrictionRecord};
pub use set_state::{Applied, Membership};
pub use snapshot::SnapshotReader;
pub use statement::{Balance, Moment, Statement, StatementFilter, StatementLine, StatementQuery};
pub use sweeps::{SweepPage, SweepRecord};
pub use totals::Totals;

/// The ledger replica of one set. Cheap to clone.
#[derive(Clone)]
pub struct LedgerReplica {
    cell: Arc<Cell>,
}

struct Cell {
    set: u32,
    log: Log,
    /// Before any lock of the log.
    state: RwLock<ReplicaState>,
    /// Last of all locks, and never for long.
    points: Mutex<Points>,
    /// Held by whoever reads all accounts; before `state`.
    surveying: Mutex<()>,
    /// Held by a checkpoint or an install; before `state`.
    writing: Mutex<()>,
    /// A checkpoint waits for the background thread.
    queued: AtomicBool,
    /// The next piece of the log waits for it, to be read for references.
    indexing: AtomicBool,
    /// What the disk holds.
    stored: RwLock<Option<SnapshotMeta>>,
    /// The fault that stopped this replica.
    failed: OnceLock<Fault>,
    shared: Arc<Shared>,
}

/// What a snapshot is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The last record it includes.
    pub last: Option<LogId>,
    /// The membership as of that record.
    pub membership: Option<Membership>,
    /// Names the snapshot.
    pub id: String,
}

impl SnapshotMeta {
    pub(crate) fn new(set: u32, applied: &Applied) -> SnapshotMeta {
        let id = match applied.log_id {
            Some(last) => format!("{set}-{}-{}-{}", last.term, last.leader, last.index),
            None => format!("{set}-empty"),
        };
        SnapshotMeta { last: applied.log_id, membership: applied.membership.clone(), id }
    }
}

impl LedgerReplica {
    pub(crate) fn open(shared: Arc<Shared>, set: u32, log: Log) -> Result<LedgerReplica, Fault> {
        let generation = log.generation();
        let about = load::load_about(&shared.engine, generation)?;
        let stored = about.applied.log_id.map(|_| SnapshotMeta::new(set, &about.applied));
        let points = Mutex::new(Points::of(&about));
        let state = ReplicaState::load(Arc::clone(&shared.engine), set, generation, log.clone(), about)?;
        let cell = Cell {
            set,
            log,
            state: RwLock::new(state),
            points,
            surveying: Mutex::new(()),
            writing: Mutex::new(()),
            queued: AtomicBool::new(false),
            indexing: AtomicBool::new(false),
            stored: RwLock::new(stored),
            failed: OnceLock::new(),
            shared,
        };
        let replica = LedgerReplica { cell: Arc::new(cell) };
        replica.offer_indexing();
        Ok(replica)
    }

    /// Whether a fault has stopped this replica or the store. What is in memory may be as of the middle of an entry then:
    /// who has read something asks this afterwards, and keeps it to himself.
    pub fn has_stopped(&self) -> bool {
        self.check().is_err()
    }

    /// Fails when an earlier fault stopped the replica or the store.
    fn check(&self) -> Result<(), Fault> {
        if let Some(fault) = self.cell.failed.get() {
            return Err(fault.as_stop());
        }
        self.engine().check()
    }

    fn engine(&self) -> &Arc<Engine> {
        &self.cell.shared.engine
    }
}
