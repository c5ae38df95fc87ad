//! The end of a run, continued: what is on its way to buffered accounts is waited for, as it is booked only when it has arrived; and
//! what is in suspense is read.

use std::time::Duration;

use crate::history::{Answer, Ask, Level};

/// How long what is on its way is waited for. A set that did not answer is left alone for two seconds at most.
pub const PATIENCE: Duration = Duration::from_secs(20);
const PAGE_SIZE: u32 = 100;

/// Whether anything is on its way to an account, or may be.
pub async fn is_in_transit(account: u32, mut ask: impl AsyncFnMut(&Ask) -> Answer) -> bool {
    match ask(&Ask::ReadTransit { account, level: Level::Linearizable }).await {
        Answer::Transit { from, silent } => !silent.is_empty() || from.iter().any(|one| one.credits != 0),
        _ => true,
    }
}

/// What is in suspense in a set, page by page, for as long as `ask` is answered.
pub async fn list(set: u32, mut ask: impl AsyncFnMut(&Ask) -> Answer) {
    let mut after = None;
    loop {
        let page = Ask::ListSuspense { set, after, page_size: PAGE_SIZE, level: Level::Linearizable };
        match ask(&page).await {
            Answer::Suspense { next: Some(next), .. } => after = Some(next),
            _ => return,
        }
    }
}
