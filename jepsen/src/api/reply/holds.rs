//! What replies say of holds.

use serde::Deserialize;
use twinset_ledger::date;

use super::{Position, cents, name, place};
use crate::history::holds::{FoundHold, Held, HoldChange, HoldLine, HoldState};
use crate::history::{Answer, AsOf, Recorder};

/// The figures of a hold.
#[derive(Deserialize)]
pub struct Figures<'a> {
    hold: &'a str,
    state: HoldState,
    amount: &'a str,
    captured: &'a str,
    capturing: &'a str,
    released: &'a str,
    left: &'a str,
    #[serde(default)]
    expires_at: &'a str,
}

/// The reply to a command on a hold.
#[derive(Deserialize)]
pub struct Changed<'a> {
    #[serde(borrow)]
    hold: Figures<'a>,
    available: &'a str,
    #[serde(borrow)]
    position: Position<'a>,
    replayed: bool,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    position: Position<'a>,
    change: &'a str,
    #[serde(default)]
    amount: &'a str,
    #[serde(default)]
    transaction: &'a str,
    #[serde(default)]
    expires_at: &'a str,
}

/// A hold that was read.
#[derive(Deserialize)]
pub struct Hold<'a> {
    #[serde(borrow, flatten)]
    figures: Figures<'a>,
    account: &'a str,
    #[serde(borrow)]
    placed: Position<'a>,
    request_id: &'a str,
    #[serde(borrow)]
    journal: Vec<Line<'a>>,
}

/// A page of holds.
#[derive(Deserialize)]
pub struct Page<'a> {
    #[serde(borrow)]
    holds: Vec<Hold<'a>>,
    next: &'a str,
    #[serde(borrow)]
    as_of: Position<'a>,
    age_ms: u64,
}

/// What a command on a hold has done.
pub fn changed(reply: &Changed<'_>) -> Option<Answer> {
    Some(Answer::Held {
        place: place(&reply.position)?,
        replayed: reply.replayed,
        held: held(&reply.hold)?,
        available: cents(reply.available)?,
    })
}

/// A page of an account's holds.
pub fn page(accounts: &Recorder, reply: &Page<'_>) -> Option<Answer> {
    Some(Answer::Holds {
        as_of: AsOf { place: place(&reply.as_of)?, age_ms: reply.age_ms },
        found: reply.holds.iter().map(|one| hold(accounts, one)).collect::<Option<_>>()?,
        next: if reply.next.is_empty() { None } else { Some(name(reply.next)?) },
    })
}

/// One that was read.
pub fn hold(accounts: &Recorder, one: &Hold<'_>) -> Option<FoundHold> {
    Some(FoundHold {
        held: held(&one.figures)?,
        account: accounts.account(one.account),
        placed: place(&one.placed)?,
        id: one.request_id.to_owned(),
        journal: one.journal.iter().map(line).collect::<Option<_>>()?,
    })
}

/// Its figures.
pub fn held(figures: &Figures<'_>) -> Option<Held> {
    Some(Held {
        hold: name(figures.hold)?,
        state: figures.state,
        amount: cents(figures.amount)?,
        captured: cents(figures.captured)?,
        capturing: cents(figures.capturing)?,
        released: cents(figures.released)?,
        left: cents(figures.left)?,
        expires_ns: end(figures.expires_at)?,
    })
}

fn line(line: &Line<'_>) -> Option<HoldLine> {
    let change = match line.change {
        "captured" => HoldChange::Captured { cents: cents(line.amount)?, by: name(line.transaction)? },
        "released" => HoldChange::Released { cents: cents(line.amount)? },
        "expired" => HoldChange::Expired { cents: cents(line.amount)? },
        "extended" => HoldChange::Extended { expires_ns: end(line.expires_at)? },
        _ => return None,
    };
    Some(HoldLine { place: place(&line.position)?, change })
}

/// Some(None): it has no end.
#[expect(clippy::option_option, reason = "no end is something else than one that cannot be read")]
fn end(text: &str) -> Option<Option<u64>> {
    if text.is_empty() { Some(None) } else { date::parse_timestamp(text).map(Some) }
}
