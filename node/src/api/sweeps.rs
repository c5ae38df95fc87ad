//! Reads of sweeps, and how an event tells what was asked of one.

use twinset_ledger::amount::to_decimal_string;
use twinset_ledger::date::timestamp;
use twinset_ledger::sweep::{Schedule, SetSweep, Sweep, Timing};
use twinset_proto::cluster::v1 as wire;
use twinset_proto::ledger::v1 as api;
use twinset_store::SweepRecord;
use wire::read_reply::Result as ReadResult;

use super::sets::{as_of, not_found};
use crate::freshness::Basis;
use crate::set::Ledger;

/// Sweeps in one page at most.
const PAGE_MAX: u32 = 100;

/// The sweep of an account.
pub async fn one(ledger: &Ledger, account: String, set: u32, basis: Basis) -> ReadResult {
    let read = ledger.reader.read_at_disk(move |state| state.sweep(&account)).await;
    let (as_of, age_ms) = as_of(ledger, &read, set, basis);
    let Some(record) = &read.value else { return not_found(as_of, age_ms) };
    ReadResult::Sweep(api::GetSweepReply { sweep: Some(shown(record)), as_of, age_ms })
}

/// A page of the set's sweeps.
pub async fn list(ledger: &Ledger, asked: wire::ListSweeps, set: u32, basis: Basis) -> ReadResult {
    let size = asked.page_size.clamp(1, PAGE_MAX) as usize;
    let after = Some(asked.after).filter(|after| !after.is_empty());
    let read = ledger.reader.read_at_disk(move |state| state.sweeps(after.as_deref(), size)).await;
    let (as_of, age_ms) = as_of(ledger, &read, set, basis);
    let Some(page) = &read.value else { return not_found(as_of, age_ms) };
    let last = page.sweeps.last().filter(|_| page.more);
    ReadResult::Sweeps(api::ListSweepsReply {
        sweeps: page.sweeps.iter().map(shown).collect(),
        next: last.map(|last| last.account.id.clone()).unwrap_or_default(),
        as_of,
        age_ms,
    })
}

fn shown(SweepRecord { sweep, account }: &SweepRecord) -> api::Sweep {
    use api::sweep::Schedule;
    let money = |minor| to_decimal_string(minor, account.scale);
    let Sweep { id, to, keep, timing, runs, next_ns, open, .. } = sweep;
    api::Sweep {
        sweep: id.to_string(),
        account: account.id.clone(),
        to: to.clone(),
        currency: account.currency.clone(),
        keep: money(*keep),
        schedule: Some(match timing {
            Timing::Every { seconds, from_ns } => {
                Schedule::Every(api::SweepInterval { seconds: *seconds, from: timestamp(*from_ns) })
            }
            Timing::Above { minor } => Schedule::Above(money(*minor)),
            Timing::Daily => Schedule::Daily(api::SweepDaily {}),
        }),
        runs: *runs,
        next_at: timestamp(*next_ns),
        open: open.map(|open| open.to_string()).unwrap_or_default(),
    }
}

/// What a client has asked for.
pub(super) fn asked(set: &SetSweep) -> api::SetSweepRequest {
    use api::set_sweep_request::Schedule as Wanted;
    api::SetSweepRequest {
        request_id: set.request_id.clone(),
        account: set.account.clone(),
        to: set.to.clone(),
        keep: set.keep.to_string(),
        schedule: Some(match &set.schedule {
            Schedule::Every { seconds, from_ns } => Wanted::Every(api::SweepInterval {
                seconds: *seconds,
                from: from_ns.map(timestamp).unwrap_or_default(),
            }),
            Schedule::Above { amount } => Wanted::Above(amount.to_string()),
            Schedule::Daily => Wanted::Daily(api::SweepDaily {}),
        }),
    }
}
