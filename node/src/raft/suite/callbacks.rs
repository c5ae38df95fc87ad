//! When the callbacks of appends come: in the order of the appends, and only after the sync that covers them.

use std::fs;
use std::path::Path;

use futures::FutureExt;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use tokio::task::coop::unconstrained;

use super::super::log::{LogStore, make_vote};
use super::super::types::TypeConfig;
use super::{append, commands, open};

/// The number of the last write that the store has marked as synced. It writes the mark after each sync, into two slots
/// in turn.
fn synced(dir: &Path) -> u64 {
    let file = fs::read(dir.join("synced")).unwrap();
    let slot = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().unwrap());
    slot(0).max(slot(4096))
}

#[tokio::test]
async fn the_callback_comes_after_the_sync_of_its_own_append() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut logs = [1, 2].map(|set| LogStore::new(store.log(set).unwrap()));
    append(&mut logs[0], vec![commands(1, 0, vec![1; 10])]).await;
    for index in 0..200 {
        // Nothing is being written now: only the sync of what comes next can move the mark.
        let before = synced(dir.path());
        append(&mut logs[1], vec![commands(1, index, vec![1; 10])]).await;
        let after = synced(dir.path());
        assert!(after > before, "append {index}: told at mark {after}, which was there before it");
        logs[0].save_vote(&make_vote(index + 1, 1, false)).await.unwrap();
        assert!(synced(dir.path()) > after, "vote {index}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callbacks_come_in_the_order_of_the_appends() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut logs = [1, 2, 3].map(|set| LogStore::new(store.log(set).unwrap()));
    let mut told = [vec![], vec![], vec![]];
    let mut partly = 0;
    for index in 0.. {
        // On a busy machine it takes longer until a sync falls between two appends.
        if index >= 600 && partly > 0 || index == 20_000 {
            break;
        }
        for (log, told) in logs.iter_mut().zip(&mut told) {
            let (tell, when) = TypeConfig::oneshot();
            log.append(vec![commands(1, index, vec![1; 200])], IOFlushed::signal(tell)).await.unwrap();
            // It can be read at once, told or not.
            assert_eq!(log.try_get_log_entries(index..).await.unwrap().len(), 1);
            told.push(Some(when));
        }
        for told in &mut told {
            partly += u32::from(in_order(told));
        }
    }
    // A vote is in the same order: when it is on disk, so is everything before it.
    for (log, told) in logs.iter_mut().zip(&mut told) {
        log.save_vote(&make_vote(2, 1, true)).await.unwrap();
        in_order(told);
        assert!(told.iter().all(Option::is_none), "the vote was told before an append");
    }
    assert!(partly > 0, "some appends were told while later ones were not");
}

/// Looks from the newest to the oldest: one that comes later cannot be there before an older one. True if some are there
/// and some are not.
fn in_order<R>(told: &mut [Option<R>]) -> bool
where
    R: Future<Output: std::fmt::Debug> + Unpin,
{
    let waited = told.iter().filter(|when| when.is_some()).count();
    let mut newest = None;
    for (n, when) in told.iter_mut().enumerate().rev() {
        let Some(waiting) = when else { continue };
        // Without the runtime's budget, which would make some that are there look as if they were not.
        if unconstrained(waiting).now_or_never().is_some() {
            *when = None;
            newest = newest.max(Some(n));
        } else {
            assert!(newest.is_none(), "append {newest:?} was told before append {n}");
        }
    }
    let waiting = told.iter().filter(|when| when.is_some()).count();
    (1..waited).contains(&waiting)
}
