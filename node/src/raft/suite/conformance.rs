//! openraft's own storage suite: over a set of accounts, over the control set, with neighbours in the same database, and
//! with two sets of one database at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use openraft::StorageError;
use openraft::storage::RaftLogStorage;
use openraft::testing::log::{StoreBuilder, Suite};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::Barrier;
use twinset_control::{CONTROL_SET, Catalogue};
use twinset_store::Store;

use super::super::log::{LogStore, make_vote};
use super::super::machine::Machine;
use super::super::types::{TypeConfig, from_record, store_id};
use super::{Suited, append, apply, business, id, ledger, membership, open};
use crate::catalogue::CatalogueCell;
use crate::control_set::ControlMachine;

type Built<G> = Result<(G, LogStore, Suited), StorageError<TypeConfig>>;

/// What outlives a test's log and machine.
type Guard = (Store, TempDir);

fn fresh() -> Guard {
    let dir = tempfile::tempdir().unwrap();
    (open(dir.path()), dir)
}

struct Alone;

impl StoreBuilder<TypeConfig, LogStore, Suited, Guard> for Alone {
    async fn build(&self) -> Built<Guard> {
        let guard = fresh();
        let (log, machine, _) = ledger(&guard.0, 7);
        Ok((guard, log, Suited(machine)))
    }
}

#[tokio::test]
async fn a_set_of_accounts() {
    Suite::test_all(Alone).await.unwrap();
}

struct Control(Catalogue);

impl StoreBuilder<TypeConfig, LogStore, Suited, Guard> for Control {
    async fn build(&self) -> Built<Guard> {
        let guard = fresh();
        let store = &guard.0;
        let cell = CatalogueCell::open(store.clone(), crate::platform::system()).unwrap();
        let machine = ControlMachine::open(store.document(CONTROL_SET).unwrap(), &self.0, cell).unwrap();
        let log = LogStore::new(store.log(CONTROL_SET).unwrap());
        Ok((guard, log, Suited(Machine::Control(machine))))
    }
}

#[tokio::test]
async fn the_control_set() {
    let topology = include_str!("../../../../deploy/examples/topology.toml");
    let topology: twinset_control::Topology = toml::from_str(topology).unwrap();
    Suite::test_all(Control(topology.place("suite").unwrap())).await.unwrap();
}

const BEFORE: u32 = 6;
const TESTED: u32 = 7;
const AFTER: u32 = 8;

/// A set in the middle of two that hold something, which must be what they were when the test is over.
struct Between;

struct Neighbours {
    was: Vec<String>,
    guard: Guard,
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(all(&self.guard.0), self.was, "the test has changed another set");
        }
    }
}

/// Everything that the neighbours hold.
fn all(store: &Store) -> Vec<String> {
    [BEFORE, AFTER].map(|set| all_of(store, set)).into()
}

fn all_of(store: &Store, set: u32) -> String {
    let (log, replica) = (store.log(set).unwrap(), store.ledger(set).unwrap());
    let records = log.read(0, u64::MAX, usize::MAX).unwrap();
    let entries: Vec<_> = records.iter().map(|record| from_record(record).unwrap()).collect();
    assert_eq!(entries.len(), 60);
    format!("{:?} {:?} {:?} {:?} {entries:?}", log.vote(), log.last(), log.purged(), replica.totals())
}

impl StoreBuilder<TypeConfig, LogStore, Suited, Neighbours> for Between {
    async fn build(&self) -> Built<Neighbours> {
        let guard = fresh();
        // In this order, so that the tested set's keys lie between the others'.
        for set in [BEFORE, TESTED, AFTER] {
            let (mut log, mut machine, _) = ledger(&guard.0, set);
            if set == TESTED {
                continue;
            }
            let mut entries = vec![membership(3, 0, &[1, 2, 3])];
            entries.extend((1..60).map(|index| business(3, index)));
            log.save_vote(&make_vote(5, set.into(), true)).await.unwrap();
            append(&mut log, entries.clone()).await;
            apply(&mut machine, entries.drain(..50).collect()).await.unwrap();
            log.purge(id(3, 20)).await.unwrap();
            assert_eq!(guard.0.log(set).unwrap().purged(), Some(store_id(&id(3, 20))));
        }
        let (log, machine, _) = ledger(&guard.0, TESTED);
        let was = all(&guard.0);
        Ok((Neighbours { was, guard }, log, Suited(machine)))
    }
}

#[tokio::test]
async fn a_set_between_others_that_hold_something() {
    Suite::test_all(Between).await.unwrap();
}

/// One of two sets that are tested at the same time. Test number n of both runs in database number n.
struct Side {
    set: u32,
    turn: AtomicUsize,
    meeting: Arc<Meeting>,
}

struct Meeting {
    both: Barrier,
    /// The database of the test that both are at.
    database: Mutex<(usize, Arc<Guard>)>,
}

impl StoreBuilder<TypeConfig, LogStore, Suited, Arc<Guard>> for Side {
    async fn build(&self) -> Built<Arc<Guard>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.meeting.both.wait().await;
        let guard = {
            let mut database = self.meeting.database.lock();
            if database.0 < turn {
                *database = (turn, Arc::new(fresh()));
            }
            assert_eq!(database.0, turn, "both are at the same test");
            database.1.clone()
        };
        let (log, machine, _) = ledger(&guard.0, self.set);
        Ok((guard, log, Suited(machine)))
    }
}

#[tokio::test]
async fn two_sets_of_one_database_at_the_same_time() {
    let meeting = Meeting { both: Barrier::new(2), database: Mutex::new((0, Arc::new(fresh()))) };
    let meeting = Arc::new(meeting);
    let side = |set| Side { set, turn: AtomicUsize::new(0), meeting: meeting.clone() };
    // In one task, so that a failure of either ends both.
    let (one, other) = tokio::join!(Suite::test_all(side(1)), Suite::test_all(side(2)));
    one.unwrap();
    other.unwrap();
}
