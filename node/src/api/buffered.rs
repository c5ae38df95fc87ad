//! Reads about buffered accounts: what is on its way to them, and what could not be booked where it should be.

use twinset_ledger::amount::to_decimal_string;
use twinset_ledger::date;
use twinset_proto::cluster::v1 as wire;
use twinset_proto::ledger::v1 as api;
use twinset_store::Suspended;
use wire::read_reply::Result as ReadResult;

use super::convert;
use super::sets::{after, as_of, not_found};
use crate::freshness::Basis;
use crate::set::Ledger;

/// Suspended credits in one page at most.
const PAGE_MAX: u32 = 100;

/// What this set has on its way to an account of another set.
pub async fn in_transit(ledger: &Ledger, account: String, set: u32, basis: Basis) -> ReadResult {
    let read = ledger.reader.read(|state| state.in_transit(&account)).await;
    let (as_of, age_ms) = as_of(ledger, &read, set, basis);
    let Some(known) = &read.value else { return not_found(as_of, age_ms) };
    let amount = to_decimal_string(known.transit.amount, known.account.scale);
    ReadResult::InTransit(api::GetInTransitReply {
        account,
        currency: known.account.currency.clone(),
        from: vec![api::InTransit {
            set,
            credits: known.transit.parcels,
            amount: amount.clone(),
            as_of,
            age_ms,
        }],
        amount,
        silent: Vec::new(),
    })
}

/// A page of what stands on the set's suspense accounts.
pub async fn suspense(
    ledger: &Ledger,
    asked: wire::ListSuspense,
    set: u32,
    basis: Basis,
) -> Result<ReadResult, String> {
    let after = after(&asked.after)?.map(|after| after.position);
    let size = asked.page_size.clamp(1, PAGE_MAX) as usize;
    // One more than is shown tells whether there are more.
    let mut read = ledger.reader.read_at_disk(move |state| state.suspended(after, size + 1)).await;
    let more = read.value.len() > size;
    read.value.truncate(size);
    let last = read.value.last().filter(|_| more).map(|last| last.item.to_string());
    let (as_of, age_ms) = as_of(ledger, &read, set, basis);
    Ok(ReadResult::Suspense(api::ListSuspenseReply {
        credits: read.value.iter().map(shown).collect(),
        next: last.unwrap_or_default(),
        as_of,
        age_ms,
    }))
}

fn shown(suspended: &Suspended) -> api::SuspendedCredit {
    let Suspended { item, by, credit, reason, time_unix_ns, .. } = suspended;
    api::SuspendedCredit {
        item: item.to_string(),
        account: credit.account.clone(),
        side: convert::side(credit.side),
        amount: to_decimal_string(credit.amount, credit.scale),
        currency: credit.currency.clone(),
        transaction: by.to_string(),
        accounting_date: date::format(credit.accounting_date),
        reason: reason.code().into(),
        detail: reason.to_string(),
        position: Some(convert::position(item.set, item.position.index(), *time_unix_ns)),
    }
}
