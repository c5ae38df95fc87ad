//! What replies say of restricted funds.

use serde::Deserialize;
use twinset_ledger::date;

use super::{Position, cents, name, place};
use crate::history::marks::{Mark, Marks};
use crate::history::restrictions::{FoundRestriction, Restricted, RestrictionState};
use crate::history::{Answer, AsOf, Recorder};

/// That a leg is restricted.
#[derive(Deserialize)]
pub struct Until<'a> {
    /// Until when; empty: until it is released.
    #[serde(default)]
    pub until: &'a str,
}

/// The figures of a restriction.
#[derive(Deserialize)]
pub struct Figures<'a> {
    restriction: &'a str,
    account: &'a str,
    state: RestrictionState,
    amount: &'a str,
    left: &'a str,
    #[serde(default)]
    until: &'a str,
}

/// The reply to a release.
#[derive(Deserialize)]
pub struct Changed<'a> {
    #[serde(borrow)]
    restriction: Figures<'a>,
    released: &'a str,
    withdrawable: &'a str,
    #[serde(borrow)]
    position: Position<'a>,
    replayed: bool,
}

/// A restriction that was read.
#[derive(Deserialize)]
pub struct Restriction<'a> {
    #[serde(borrow, flatten)]
    figures: Figures<'a>,
    #[serde(borrow)]
    made: Position<'a>,
    #[serde(borrow, default)]
    ended: Option<Position<'a>>,
}

/// A page of restrictions.
#[derive(Deserialize)]
pub struct Page<'a> {
    #[serde(borrow)]
    restrictions: Vec<Restriction<'a>>,
    next: &'a str,
    #[serde(borrow)]
    as_of: Position<'a>,
    age_ms: u64,
}

/// What is said of legs beside accounts, sides and amounts, in their order: whether each is a withdrawal, and until when it is
/// restricted, if it is.
pub fn marks<'a>(legs: impl Iterator<Item = (bool, Option<&'a str>)>) -> Option<Marks> {
    let mut marks = Marks::new();
    for (number, (withdrawal, restricted)) in (0..).zip(legs) {
        if withdrawal {
            marks.push((number, Mark::Withdrawal));
        }
        if let Some(until) = restricted {
            marks.push((number, Mark::Restricted { until_ns: end(until)? }));
        }
    }
    Some(marks)
}

/// What a release has done.
pub fn changed(accounts: &Recorder, account: u32, reply: &Changed<'_>) -> Option<Answer> {
    let is_own = accounts.account(reply.restriction.account) == account;
    is_own.then_some(Answer::Released {
        place: place(&reply.position)?,
        replayed: reply.replayed,
        restricted: figures(&reply.restriction)?,
        cents: cents(reply.released)?,
        withdrawable: cents(reply.withdrawable)?,
    })
}

/// A page of an account's restrictions.
pub fn page(accounts: &Recorder, reply: &Page<'_>) -> Option<Answer> {
    Some(Answer::Restrictions {
        as_of: AsOf { place: place(&reply.as_of)?, age_ms: reply.age_ms },
        found: reply.restrictions.iter().map(|one| restriction(accounts, one)).collect::<Option<_>>()?,
        next: if reply.next.is_empty() { None } else { Some(name(reply.next)?) },
    })
}

/// One that was read.
pub fn restriction(accounts: &Recorder, one: &Restriction<'_>) -> Option<FoundRestriction> {
    Some(FoundRestriction {
        restricted: figures(&one.figures)?,
        account: accounts.account(one.figures.account),
        made: place(&one.made)?,
        ended: match &one.ended {
            Some(ended) => Some(place(ended)?),
            None => None,
        },
    })
}

fn figures(figures: &Figures<'_>) -> Option<Restricted> {
    Some(Restricted {
        restriction: name(figures.restriction)?,
        state: figures.state,
        amount: cents(figures.amount)?,
        left: cents(figures.left)?,
        until_ns: end(figures.until)?,
    })
}

/// Some(None): it has no end.
#[expect(clippy::option_option, reason = "no end is something else than one that cannot be read")]
fn end(text: &str) -> Option<Option<u64>> {
    if text.is_empty() { Some(None) } else { date::parse_timestamp(text).map(Some) }
}
