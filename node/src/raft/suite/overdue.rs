//! Apply when checkpoints are overdue: it makes one itself, which takes long, and must not hold up its neighbours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use twinset_store::{Options, Store};

use super::{apply, business, ledger, membership, options};

/// One thread for all tasks: whoever works on it keeps everybody else waiting. The one thread for long work is taken until
/// the neighbour has had its turn, so apply can only be over then, unless it did the work where the tasks are.
#[test]
fn apply_lets_others_work_while_it_makes_a_checkpoint() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().max_blocking_threads(1).build().unwrap().block_on(play());
}

async fn play() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody else makes checkpoints, and one is due at each command.
    let options = Options { checkpoint_commands: 1, background_checkpoints: false, ..options() };
    let store = Store::open(dir.path(), options).unwrap();
    let (_, mut machine, _) = ledger(&store, 1);
    apply(&mut machine, vec![membership(1, 0, &[1])]).await.unwrap();
    let replica = store.ledger(1).unwrap();
    apply(&mut machine, vec![business(1, 1)]).await.unwrap();
    for index in 2..12 {
        assert!(replica.checkpoint_due());
        let worked = Arc::new(AtomicBool::new(false));
        let (turn, taken) = mpsc::channel();
        let long_work = tokio::task::spawn_blocking(move || taken.recv());
        let neighbour = worked.clone();
        tokio::spawn(async move {
            neighbour.store(true, Ordering::SeqCst);
            turn.send(()).unwrap();
        });
        apply(&mut machine, vec![business(1, index)]).await.unwrap();
        assert!(worked.load(Ordering::SeqCst), "entry {index} held up the thread");
        long_work.await.unwrap().unwrap();
    }
}
