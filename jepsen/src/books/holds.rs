//! The end of a run, continued: the holds of every account on which one may have been placed. First those are waited for whose
//! time will soon be over; then all are read, behind everything else, so that the journals know of all that was put away before.

use std::time::Duration;

use crate::history::holds::{FoundHold, HoldState};
use crate::history::{Answer, Ask, Level};

/// How long holds with an end are waited for. Where a clock was once far ahead, one may have its end there.
pub const PATIENCE: Duration = Duration::from_secs(8);
const PAGE_SIZE: u32 = 100;

/// All holds of an account, page by page, for as long as `ask` is answered.
pub async fn list(account: u32, mut ask: impl AsyncFnMut(&Ask) -> Answer) -> Vec<FoundHold> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = Ask::ListHolds { account, after, page_size: PAGE_SIZE, level: Level::Linearizable };
        let Answer::Holds { found, next, .. } = ask(&page).await else { return all };
        all.extend(found);
        match next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

/// Whether a set will put a hold away by itself.
pub fn is_pending(hold: &FoundHold) -> bool {
    let has_end = hold.held.expires_ns.is_some();
    match hold.held.state {
        HoldState::Open => has_end,
        HoldState::Expired => hold.held.left != 0,
        HoldState::Captured | HoldState::Released => false,
    }
}

/// Whether any of an account's holds is.
pub async fn any_pending(account: u32, ask: impl AsyncFnMut(&Ask) -> Answer) -> bool {
    list(account, ask).await.iter().any(is_pending)
}
