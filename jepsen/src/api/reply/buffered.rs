//! What replies say of buffered accounts: what is in transit to them, and what is in suspense.

use serde::Deserialize;
use twinset_ledger::date;

use super::{Position, cents, name, place, signed};
use crate::history::buffered::{InTransit, Suspended};
use crate::history::{Answer, AsOf, Recorder};

#[derive(Deserialize)]
struct FromSet<'a> {
    set: u32,
    credits: u64,
    amount: &'a str,
    #[serde(borrow)]
    as_of: Position<'a>,
    age_ms: u64,
}

/// What is on its way to an account.
#[derive(Deserialize)]
pub struct Transit<'a> {
    account: &'a str,
    amount: &'a str,
    #[serde(borrow)]
    from: Vec<FromSet<'a>>,
    silent: Vec<u32>,
}

#[derive(Deserialize)]
struct Credit<'a> {
    item: &'a str,
    account: &'a str,
    side: &'a str,
    amount: &'a str,
    transaction: &'a str,
    accounting_date: &'a str,
    reason: &'a str,
    #[serde(borrow)]
    position: Position<'a>,
}

/// A page of what is in suspense.
#[derive(Deserialize)]
pub struct Page<'a> {
    #[serde(borrow)]
    credits: Vec<Credit<'a>>,
    next: &'a str,
    #[serde(borrow)]
    as_of: Position<'a>,
    age_ms: u64,
}

/// What is on its way to the account that was asked for; its sum must be that of its parts.
pub fn transit(accounts: &Recorder, account: u32, reply: &Transit<'_>) -> Option<Answer> {
    let one = |from: &FromSet<'_>| {
        let as_of = AsOf { place: place(&from.as_of)?, age_ms: from.age_ms };
        let own = from.set == as_of.place.set;
        own.then_some(InTransit { as_of, credits: from.credits, cents: cents(from.amount)? })
    };
    let from = reply.from.iter().map(one).collect::<Option<Vec<_>>>()?;
    let is_whole = cents(reply.amount)? == from.iter().map(|one| one.cents).sum::<i64>()
        && *reply.account == *accounts.account_id(account);
    is_whole.then(|| Answer::Transit { from, silent: reply.silent.clone() })
}

/// A page of what is in suspense.
pub fn page(accounts: &Recorder, reply: &Page<'_>) -> Option<Answer> {
    let one = |credit: &Credit<'_>| {
        let (account, cents) = signed(accounts, credit.account, credit.side, credit.amount)?;
        Some(Suspended {
            item: name(credit.item)?,
            place: place(&credit.position)?,
            account,
            cents,
            of: name(credit.transaction)?,
            day: date::parse(credit.accounting_date)?,
            reason: credit.reason.to_owned(),
        })
    };
    Some(Answer::Suspense {
        as_of: AsOf { place: place(&reply.as_of)?, age_ms: reply.age_ms },
        found: reply.credits.iter().map(one).collect::<Option<_>>()?,
        next: if reply.next.is_empty() { None } else { Some(name(reply.next)?) },
    })
}
