//! The end of a run, continued: sweeps are left alone until nothing is due, then removed, so that the books stand still; and every
//! run is looked up, by the events of the sets. Nobody was answered when it ran.

use std::collections::BTreeMap;
use std::time::Duration;

use twinset_ledger::sweep::run_id;

use crate::history::holds::Told;
use crate::history::sweeps::{Swept, When};
use crate::history::{Answer, Ask, Level, Name};

/// How long what is due is waited for: leaders look several times a second.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// Runs of one sweep that are looked for beyond a gap, at most: a clock that leaps makes room for many that there are not.
const RUNS_MAX: u32 = 2_000;

/// Whether a sweep with a threshold will run by itself, or what it came to is still to be written down.
pub async fn is_pending(account: u32, mut ask: impl AsyncFnMut(&Ask) -> Answer) -> bool {
    let level = Level::Linearizable;
    let (sweep, place) = match ask(&Ask::ReadSweep { account, level }).await {
        Answer::Swept { found, as_of } => (found.into_iter().next(), as_of.place),
        Answer::Absent { .. } => return false,
        _ => return true,
    };
    let Some(Swept { terms, open, next_ns, .. }) = sweep else { return false };
    let When::Above(above) = terms.when else { return open.is_some() };
    let available = match ask(&Ask::ReadAccount { account, level }).await {
        Answer::Account { figures, .. } => figures.available,
        _ => return true,
    };
    open.is_some() || next_ns <= place.time_ns && available > above.max(terms.keep)
}

/// The request id of what removes a sweep when nobody works any more, and nothing should be due.
pub const THE_END: &str = "the-end";

/// What removes the sweep of an account, if it has one.
pub fn removal(account: u32) -> Ask {
    Ask::RemoveSweep { id: THE_END.to_owned(), account }
}

/// A sweep, with all that bounds how often it can have run.
struct Stood {
    sweep: Name,
    account: u32,
    /// None: each of its runs has a transaction.
    runs_max: Option<u32>,
}

/// Looks up every run of the sweeps that events tell of, for as long as `ask` is answered.
pub async fn look_up(events: &[Told], mut ask: impl AsyncFnMut(&Ask) -> Answer) {
    for Stood { sweep, account, runs_max } in stood(events) {
        for run in 1.. {
            let id = run_id(sweep.0, run);
            let lookup = Ask::ReadRequest { scope: account, id, level: Level::Linearizable };
            let is_absent = matches!(ask(&lookup).await, Answer::Absent { .. });
            if is_absent && runs_max.is_none_or(|most| run >= most) {
                break;
            }
        }
    }
}

/// The sweeps of one set, by its events in order.
fn stood(events: &[Told]) -> Vec<Stood> {
    const SECOND_NS: u64 = 1_000_000_000;
    let last_ns = events.last().map_or(0, |told| told.place.time_ns);
    let mut ends: BTreeMap<u32, u64> = BTreeMap::new();
    let mut all = Vec::new();
    for told in events.iter().rev() {
        let Some(turned) = told.turned else { continue };
        let end_ns = ends.insert(turned.account, told.place.time_ns).unwrap_or(last_ns);
        let stood_ns = end_ns.saturating_sub(told.place.time_ns);
        let runs = |seconds: u32| stood_ns / (u64::from(seconds) * SECOND_NS) + 2;
        let runs_max = turned
            .every
            .map(|seconds| u32::try_from(runs(seconds)).map_or(RUNS_MAX, |runs| runs.min(RUNS_MAX)));
        if told.kind == "sweep_set" {
            all.push(Stood { sweep: told.event, account: turned.account, runs_max });
        }
    }
    all
}
