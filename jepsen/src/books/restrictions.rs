//! The end of a run, continued: the restrictions of every account that may have got something restricted. First those are waited
//! for whose time will soon have come; then all are read, behind everything else, so that it is known where each was put away.

use std::time::Duration;

use crate::history::restrictions::{FoundRestriction, RestrictionState};
use crate::history::{Answer, Ask, Level};

/// How long restrictions with a time are waited for. Where a clock was once far ahead, one may have its time there.
pub const PATIENCE: Duration = Duration::from_secs(8);
const PAGE_SIZE: u32 = 100;

/// All restrictions of an account, page by page, for as long as `ask` is answered.
pub async fn list(account: u32, ask: impl AsyncFnMut(&Ask) -> Answer) {
    pages(account, None, ask).await;
}

async fn pages(
    account: u32,
    state: Option<RestrictionState>,
    mut ask: impl AsyncFnMut(&Ask) -> Answer,
) -> Vec<FoundRestriction> {
    let (mut all, mut after, level) = (Vec::new(), None, Level::Linearizable);
    loop {
        let page = Ask::ListRestrictions { account, state, after, page_size: PAGE_SIZE, level };
        let Answer::Restrictions { found, next, .. } = ask(&page).await else { return all };
        all.extend(found);
        match next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

/// Whether a set will put one of an account's restrictions away by itself.
pub async fn any_pending(account: u32, ask: impl AsyncFnMut(&Ask) -> Answer) -> bool {
    let open = pages(account, Some(RestrictionState::Open), ask).await;
    open.iter().any(|one| one.restricted.until_ns.is_some())
}
