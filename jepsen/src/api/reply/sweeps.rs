//! What replies and events say of sweeps.

use serde::Deserialize;

use super::{Position, cents, name, place, time_ns};
use crate::history::sweeps::{Refused, Swept, Terms, Turned, When};
use crate::history::{Answer, AsOf, Recorder};

#[derive(Deserialize)]
struct Every {
    seconds: u32,
}

#[derive(Deserialize)]
struct Sweep<'a> {
    sweep: &'a str,
    account: &'a str,
    to: &'a str,
    keep: &'a str,
    #[serde(default)]
    every: Option<Every>,
    #[serde(default)]
    above: Option<&'a str>,
    #[serde(default)]
    daily: bool,
    runs: u32,
    next_at: &'a str,
    #[serde(default)]
    open: &'a str,
}

/// The sweep of an account.
#[derive(Deserialize)]
pub struct Found<'a> {
    #[serde(borrow)]
    sweep: Sweep<'a>,
    #[serde(borrow)]
    as_of: Position<'a>,
    age_ms: u64,
}

/// The sweeps of a set.
#[derive(Deserialize)]
pub struct Page<'a> {
    #[serde(borrow)]
    sweeps: Vec<Sweep<'a>>,
    next: &'a str,
    #[serde(borrow)]
    as_of: Position<'a>,
    age_ms: u64,
}

/// Of an event: what was asked for.
#[derive(Deserialize)]
pub struct Set {
    #[serde(default)]
    every: Option<Every>,
}

/// Of an event: a run that was refused.
#[derive(Deserialize)]
pub struct Refusal<'a> {
    sweep: &'a str,
    account: &'a str,
    run: u32,
    reason: &'a str,
}

/// The sweep of an account.
pub fn found(accounts: &Recorder, reply: &Found<'_>) -> Option<Answer> {
    let as_of = AsOf { place: place(&reply.as_of)?, age_ms: reply.age_ms };
    Some(Answer::Swept { as_of, found: vec![sweep(accounts, &reply.sweep)?] })
}

/// Those of a set, all on one page.
pub fn page(accounts: &Recorder, reply: &Page<'_>) -> Option<Answer> {
    let as_of = AsOf { place: place(&reply.as_of)?, age_ms: reply.age_ms };
    let found = reply.sweeps.iter().map(|one| sweep(accounts, one)).collect::<Option<_>>()?;
    reply.next.is_empty().then_some(Answer::Swept { as_of, found })
}

/// A sweep that was set, or removed.
pub fn turned(accounts: &Recorder, account: &str, set: Option<&Set>) -> Turned {
    let every = set.and_then(|set| set.every.as_ref()).map(|every| every.seconds);
    Turned { account: accounts.account(account), every }
}

/// A run that was refused.
pub fn refused(accounts: &Recorder, told: &Refusal<'_>) -> Option<Refused> {
    let (sweep, account) = (name(told.sweep)?, accounts.account(told.account));
    Some(Refused { sweep, account, run: told.run, code: told.reason.to_owned() })
}

fn sweep(accounts: &Recorder, told: &Sweep<'_>) -> Option<Swept> {
    let when = match (&told.every, told.above, told.daily) {
        (Some(every), None, false) => When::Every(every.seconds),
        (None, Some(above), false) => When::Above(cents(above)?),
        (None, None, true) => When::Daily,
        _ => return None,
    };
    Some(Swept {
        sweep: name(told.sweep)?,
        account: accounts.account(told.account),
        terms: Terms { to: accounts.account(told.to), keep: cents(told.keep)?, when },
        runs: told.runs,
        next_ns: time_ns(told.next_at)?,
        open: if told.open.is_empty() { None } else { Some(name(told.open)?) },
    })
}
