//! What the fake nodes answer to reads of restrictions, from the ledger in memory.

use twinset_ledger::amount::to_decimal_string;
use twinset_ledger::memory::MemoryState;
use twinset_ledger::restriction::{Restriction, RestrictionEnd};
use twinset_ledger::{Position, State, TransactionId, date};
use twinset_proto::cluster::v1::{ListRestrictions, NotFound, read_reply};
use twinset_proto::ledger::v1 as wire;

use super::holds::AsOf;

/// What that transaction restricts on that account.
pub fn one(state: &MemoryState, account: &str, name: &str, as_of: AsOf, age_ms: u64) -> read_reply::Result {
    let id: TransactionId = name.parse().expect("a router asks for restrictions");
    let found = state.account_no(account).and_then(|no| state.restrictions().get((no, id)));
    match found.map(|found| told(state, found)) {
        Some(restriction) => read_reply::Result::Restriction(wire::GetRestrictionReply {
            restriction: Some(restriction),
            as_of,
            age_ms,
        }),
        None => read_reply::Result::NotFound(NotFound { as_of, ..NotFound::default() }),
    }
}

/// Some restrictions of an account.
pub fn page(state: &MemoryState, asked: &ListRestrictions, as_of: AsOf, age_ms: u64) -> read_reply::Result {
    let Some(account) = state.account_no(&asked.account) else {
        return read_reply::Result::NotFound(NotFound { as_of, ..NotFound::default() });
    };
    let after: Option<TransactionId> = asked.after.parse().ok();
    let wanted = asked.state();
    let of_account = state.restrictions().iter().filter(|one| one.account == account);
    let mut restrictions: Vec<wire::Restriction> = of_account
        .filter(|one| after.is_none_or(|after| one.transaction > after))
        .map(|one| told(state, one))
        .filter(|one| wanted == wire::RestrictionState::Unspecified || one.state() == wanted)
        .collect();
    let more = restrictions.len() > asked.page_size as usize;
    restrictions.truncate(asked.page_size as usize);
    let next = restrictions.last().filter(|_| more).map(|last| last.restriction.clone()).unwrap_or_default();
    read_reply::Result::Restrictions(wire::ListRestrictionsReply { restrictions, next, as_of, age_ms })
}

fn told(state: &MemoryState, restriction: &Restriction) -> wire::Restriction {
    let account = state.account(restriction.account);
    let money = |minor| to_decimal_string(minor, account.scale);
    let position =
        |at: Position, time_unix_ns| wire::Position { set: state.set(), index: at.index(), time_unix_ns };
    let stands = match restriction.ended.map(|ended| ended.how) {
        None => wire::RestrictionState::RestrictionOpen,
        Some(RestrictionEnd::Released) => wire::RestrictionState::RestrictionReleased,
        Some(RestrictionEnd::Expired) => wire::RestrictionState::RestrictionExpired,
        Some(RestrictionEnd::Reversed) => wire::RestrictionState::RestrictionReversed,
    };
    wire::Restriction {
        restriction: restriction.transaction.to_string(),
        account: account.id.clone(),
        currency: account.currency.clone(),
        state: stands.into(),
        amount: money(restriction.amount),
        left: money(restriction.left),
        until: restriction.until_ns.map(date::timestamp).unwrap_or_default(),
        made: Some(position(restriction.made_at, restriction.made_ns)),
        ended: restriction.ended.map(|ended| position(ended.at, ended.time_unix_ns)),
    }
}
