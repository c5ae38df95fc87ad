//! What fake nodes tell of sweeps.

use twinset_ledger::amount::to_decimal_string;
use twinset_ledger::date::timestamp;
use twinset_ledger::memory::MemoryState;
use twinset_ledger::sweep::{Sweep, Timing};
use twinset_ledger::{AccountNo, State};
use twinset_proto::cluster::v1::{ListSweeps, NotFound, read_reply};
use twinset_proto::ledger::v1 as wire;
use wire::sweep::Schedule;

type AsOf = Option<wire::Position>;

/// The sweep of an account.
pub fn one(state: &MemoryState, account: &str, as_of: AsOf, age_ms: u64) -> read_reply::Result {
    match state.account_no(account).and_then(|no| state.sweeps().get(no)) {
        Some(sweep) => {
            let sweep = Some(shown(state, sweep));
            read_reply::Result::Sweep(wire::GetSweepReply { sweep, as_of, age_ms })
        }
        None => read_reply::Result::NotFound(NotFound { as_of, age_ms }),
    }
}

/// A page of the set's.
pub fn page(state: &MemoryState, asked: &ListSweeps, as_of: AsOf, age_ms: u64) -> read_reply::Result {
    let after: Option<AccountNo> = match asked.after.as_str() {
        "" => None,
        account => match state.account_no(account) {
            None => return read_reply::Result::NotFound(NotFound { as_of, age_ms }),
            found => found,
        },
    };
    let mut all = state.sweeps().behind(after).map(|sweep| shown(state, sweep));
    let sweeps: Vec<wire::Sweep> = all.by_ref().take(asked.page_size as usize).collect();
    let last = sweeps.last().filter(|_| all.next().is_some());
    let next = last.map(|last| last.account.clone()).unwrap_or_default();
    read_reply::Result::Sweeps(wire::ListSweepsReply { sweeps, next, as_of, age_ms })
}

fn shown(state: &MemoryState, sweep: &Sweep) -> wire::Sweep {
    let account = state.account(sweep.account);
    let money = |minor| to_decimal_string(minor, account.scale);
    wire::Sweep {
        sweep: sweep.id.to_string(),
        account: account.id.clone(),
        to: sweep.to.clone(),
        currency: account.currency.clone(),
        keep: money(sweep.keep),
        schedule: Some(match sweep.timing {
            Timing::Every { seconds, from_ns } => {
                Schedule::Every(wire::SweepInterval { seconds, from: timestamp(from_ns) })
            }
            Timing::Above { minor } => Schedule::Above(money(minor)),
            Timing::Daily => Schedule::Daily(wire::SweepDaily {}),
        }),
        runs: sweep.runs,
        next_at: timestamp(sweep.next_ns),
        open: sweep.open.map(|open| open.to_string()).unwrap_or_default(),
    }
}
