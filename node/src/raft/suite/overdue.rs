//! Apply when checkpoints are overdue: it makes one itself, which takes long, and must not hold up its neighbours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use twinset_store::{Options, Store};

use super::{apply, business, ledger, membership, options};

/// One thread for all: whoever works on it keeps everybody else waiting.
#[tokio::test(flavor = "current_thread")]
async fn apply_lets_others_work_while_it_makes_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody else makes checkpoints, and one is due at each command.
    let options = Options { checkpoint_commands: 1, background_checkpoints: false, ..options() };
    let store = Store::open(dir.path(), options).unwrap();
    let (_, mut machine, _) = ledger(&store, 1);
    apply(&mut machine, vec![membership(1, 0, &[1])]).await.unwrap();
    let mut index = 0;
    let replica = store.ledger(1).unwrap();
    while !replica.checkpoint_due() {
        index += 1;
        apply(&mut machine, vec![business(1, index)]).await.unwrap();
    }
    for _ in 0..10 {
        let worked = Arc::new(AtomicBool::new(false));
        let neighbour = worked.clone();
        tokio::spawn(async move { neighbour.store(true, Ordering::SeqCst) });
        index += 1;
        apply(&mut machine, vec![business(1, index)]).await.unwrap();
        assert!(worked.load(Ordering::SeqCst), "entry {index} held up the thread");
    }
}
