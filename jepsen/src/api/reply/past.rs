//! What replies say of the past: statements, balances, events.

use serde::Deserialize;

use super::{Position, Posting, Transaction, balances, cents, holds, name, place, signed, sweeps};
use crate::history::holds::{Line, Told};
use crate::history::{Answer, AsOf, Recorder};

#[derive(Deserialize)]
struct StatementLine<'a> {
    transaction: &'a str,
    #[serde(borrow)]
    position: Position<'a>,
    side: &'a str,
    amount: &'a str,
    posted: &'a str,
}

/// A page of a statement.
#[derive(Deserialize)]
pub struct Statement<'a> {
    account: &'a str,
    opening: &'a str,
    closing: &'a str,
    #[serde(borrow)]
    lines: Vec<StatementLine<'a>>,
    next: &'a str,
    #[serde(borrow)]
    as_of: Position<'a>,
    age_ms: u64,
}

/// A balance of the past.
#[derive(Deserialize)]
pub struct Balance<'a> {
    posted: &'a str,
    #[serde(borrow)]
    as_of: Position<'a>,
    age_ms: u64,
}

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(default)]
    request_id: &'a str,
    #[serde(default)]
    account: &'a str,
    #[serde(default)]
    sweep: Option<sweeps::Set>,
}

#[derive(Deserialize)]
struct Event<'a> {
    event: &'a str,
    previous: &'a str,
    #[serde(borrow)]
    position: Position<'a>,
    kind: &'a str,
    #[serde(borrow, default)]
    transaction: Option<Transaction<'a>>,
    #[serde(borrow, default)]
    postings: Vec<Posting<'a>>,
    #[serde(borrow, default)]
    hold: Option<holds::Figures<'a>>,
    #[serde(borrow, default)]
    change: Option<Change<'a>>,
    #[serde(default)]
    suspended: &'a str,
    #[serde(borrow, default)]
    sweep_refused: Option<sweeps::Refusal<'a>>,
}

/// A page of events.
#[derive(Deserialize)]
pub struct Events<'a> {
    #[serde(borrow)]
    events: Vec<Event<'a>>,
    next: &'a str,
    more: bool,
    #[serde(borrow)]
    as_of: Vec<Position<'a>>,
    age_ms: u64,
}

/// A page of a statement.
pub fn statement(accounts: &Recorder, reply: &Statement<'_>) -> Option<Answer> {
    let line = |line: &StatementLine<'_>| {
        Some(Line {
            transaction: name(line.transaction)?,
            place: place(&line.position)?,
            cents: signed(accounts, reply.account, line.side, line.amount)?.1,
            posted: cents(line.posted)?,
        })
    };
    Some(Answer::Statement {
        as_of: AsOf { place: place(&reply.as_of)?, age_ms: reply.age_ms },
        lines: reply.lines.iter().map(line).collect::<Option<_>>()?,
        ends: (cents(reply.opening)?, cents(reply.closing)?),
        next: reply.next.to_owned(),
    })
}

/// A balance.
pub fn balance(reply: &Balance<'_>) -> Option<Answer> {
    let as_of = AsOf { place: place(&reply.as_of)?, age_ms: reply.age_ms };
    Some(Answer::Balance { as_of, posted: cents(reply.posted)? })
}

/// A page of events.
pub fn events(accounts: &Recorder, reply: &Events<'_>) -> Option<Answer> {
    Some(Answer::Events {
        as_of: reply.as_of.iter().map(place).collect::<Option<_>>()?,
        age_ms: reply.age_ms,
        events: reply.events.iter().map(|event| told(accounts, event)).collect::<Option<_>>()?,
        more: reply.more,
        next: reply.next.to_owned(),
    })
}

fn told(accounts: &Recorder, event: &Event<'_>) -> Option<Told> {
    let legs = event.postings.iter().map(|leg| signed(accounts, leg.account, leg.side, leg.amount));
    let turned = match &event.change {
        Some(Change { account, sweep, .. }) if event.kind.starts_with("sweep_") => {
            Some(sweeps::turned(accounts, account, sweep.as_ref()))
        }
        _ => None,
    };
    let id = match (&event.transaction, &event.change) {
        (Some(transaction), _) => transaction.request_id,
        (None, Some(change)) => change.request_id,
        (None, None) => "",
    };
    Some(Told {
        event: name(event.event)?,
        previous: if event.previous.is_empty() { None } else { Some(name(event.previous)?) },
        place: place(&event.position)?,
        kind: event.kind.to_owned(),
        id: id.to_owned(),
        legs: legs.collect::<Option<_>>()?,
        balances: balances(&event.postings)?,
        held: match &event.hold {
            Some(hold) => Some(holds::held(hold)?),
            None => None,
        },
        suspended: event.suspended.to_owned(),
        turned,
        refused: match &event.sweep_refused {
            Some(refused) => Some(sweeps::refused(accounts, refused)?),
            None => None,
        },
    })
}
