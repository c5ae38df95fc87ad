//! Reads of restrictions.

use twinset_ledger::TransactionId;
use twinset_ledger::amount::to_decimal_string;
use twinset_ledger::date::timestamp;
use twinset_ledger::restriction::{Restriction, RestrictionEnd};
use twinset_proto::cluster::v1 as wire;
use twinset_proto::ledger::v1 as api;
use twinset_store::RestrictionRecord;
use wire::read_reply::Result as ReadResult;

use super::convert;
use super::sets::{after, as_of, not_found};
use crate::freshness::Basis;
use crate::set::Ledger;

/// Restrictions in one page at most.
const PAGE_MAX: u32 = 100;

/// The restriction of that name, as it is now.
pub async fn one(ledger: &Ledger, set: u32, account: String, id: TransactionId, basis: Basis) -> ReadResult {
    let asked = account.clone();
    let read = ledger.reader.read_at_disk(move |state| state.restriction(&asked, id)).await;
    let (as_of, age_ms) = as_of(ledger, &read, set, basis);
    let Some(record) = &read.value else { return not_found(as_of, age_ms) };
    let restriction = Some(shown(record, &account, set));
    ReadResult::Restriction(api::GetRestrictionReply { restriction, as_of, age_ms })
}

/// A page of an account's restrictions.
pub async fn list(
    ledger: &Ledger,
    set: u32,
    asked: wire::ListRestrictions,
    basis: Basis,
) -> Result<ReadResult, String> {
    let after = after(&asked.after)?;
    let state = api::RestrictionState::try_from(asked.state).map_err(|error| error.to_string())?;
    let size = asked.page_size.clamp(1, PAGE_MAX) as usize;
    let account = asked.account.clone();
    let read = ledger
        .reader
        .read_at_disk(move |replica| {
            let wanted = |restriction: &Restriction| {
                let ended = restriction.ended.map(|ended| ended.how);
                state == api::RestrictionState::Unspecified || state_of(ended) == state
            };
            replica.restrictions(&account, after, size, wanted)
        })
        .await;
    let (as_of, age_ms) = as_of(ledger, &read, set, basis);
    let Some(page) = &read.value else { return Ok(not_found(as_of, age_ms)) };
    Ok(ReadResult::Restrictions(api::ListRestrictionsReply {
        restrictions: page.restrictions.iter().map(|record| shown(record, &asked.account, set)).collect(),
        next: page.next.map(|next| next.to_string()).unwrap_or_default(),
        as_of,
        age_ms,
    }))
}

/// The state of one that has ended so, or not.
pub(super) fn state_of(ended: Option<RestrictionEnd>) -> api::RestrictionState {
    match ended {
        None => api::RestrictionState::RestrictionOpen,
        Some(RestrictionEnd::Released) => api::RestrictionState::RestrictionReleased,
        Some(RestrictionEnd::Expired) => api::RestrictionState::RestrictionExpired,
        Some(RestrictionEnd::Reversed) => api::RestrictionState::RestrictionReversed,
    }
}

fn shown(record: &RestrictionRecord, account: &str, set: u32) -> api::Restriction {
    let RestrictionRecord { restriction, currency, scale } = record;
    let money = |minor| to_decimal_string(minor, *scale);
    let ended = restriction.ended;
    api::Restriction {
        restriction: restriction.transaction.to_string(),
        account: account.to_owned(),
        currency: currency.clone(),
        state: state_of(ended.map(|ended| ended.how)).into(),
        amount: money(restriction.amount),
        left: money(restriction.left),
        until: restriction.until_ns.map(timestamp).unwrap_or_default(),
        made: Some(convert::position(set, restriction.made_at.index(), restriction.made_ns)),
        ended: ended.map(|ended| convert::position(set, ended.at.index(), ended.time_unix_ns)),
    }
}
