//! What a replica makes of itself before it has heard from anybody: it applies what it knew to be committed when it
//! ended, and nothing more.

use openraft::storage::{RaftLogStorage, RaftStateMachine, StorageHelper};

use super::{append, apply, business, id, ledger, open};

const SET: u32 = 7;
const LAST: u64 = 30;
const COMMITTED: u64 = 24;

#[tokio::test]
async fn what_was_known_to_be_committed_is_applied_at_once() {
    let dir = tempfile::tempdir().unwrap();
    {
        let store = open(dir.path());
        let (mut log, mut machine, _) = ledger(&store, SET);
        append(&mut log, (0..LAST).map(|index| business(1, index)).collect()).await;
        apply(&mut machine, (0..5).map(|index| business(1, index)).collect()).await.unwrap();
        log.save_committed(Some(id(1, COMMITTED))).await.unwrap();
        append(&mut log, vec![business(1, LAST)]).await;
    }
    let store = open(dir.path());
    let (mut log, mut machine, gate) = ledger(&store, SET);
    let before = machine.applied_state().await.unwrap().0;
    assert!(before.is_none_or(|applied| applied.index < COMMITTED), "the checkpoint is older");
    StorageHelper::new(&mut log, &mut machine).with_id(1).get_initial_state().await.unwrap();
    assert_eq!(machine.applied_state().await.unwrap().0, Some(id(1, COMMITTED)));
    assert_eq!(gate.horizon().safe, 0, "that it is safe is for others to say");
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(id(1, LAST)));
}
