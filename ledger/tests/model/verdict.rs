//! Outcomes in the words of those who see less of them: codes instead of whole rejections, and no times.

use twinset_ledger::outcome::{Held, Restricted};
use twinset_ledger::{Command, Effect, Outcome, Position, Posted, Rejection, Side};

/// A leg as booked: account, side, amount, posted and available after the transaction.
pub type Booked = (String, Side, i128, i128, i128);

/// What a command did, or the code of its rejection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An account was opened or changed, or the durability marked.
    Done,
    /// A definition; false if it was there already.
    Defined(bool),
    /// Legs were booked in this set.
    Booked(Vec<Booked>),
    /// A transaction over several sets is under way.
    Begun,
    /// A part of one is set aside.
    Prepared,
    /// It is given back.
    Aborted,
    /// Legs were booked in several sets.
    Settled(Vec<Booked>),
    /// A hold was placed or changed, and stood so then.
    Held(Held),
    /// Own legs were booked, and the others are on their way.
    Buffered(Vec<Booked>),
    /// What came from another set stands on the suspense account.
    Suspended(Vec<Booked>),
    /// What nodes say about buffered accounts was taken in.
    Heard,
    /// A restriction was released, and stood so then.
    Restricted(Restricted),
    /// It was rejected, with this code.
    No(&'static str),
}

/// The answer with the position of its decision and whether it was given before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Where it was first decided.
    pub position: Position,
    /// Whether this is the first answer given again.
    pub replayed: bool,
    /// What came of it.
    pub answer: Answer,
}

impl Verdict {
    /// Of the outcome of a command.
    pub fn of(outcome: &Outcome, command: &Command) -> Self {
        let Outcome { position, replayed, .. } = *outcome;
        Verdict { position, replayed, answer: Answer::of(&outcome.result, command) }
    }
}

impl Answer {
    /// Of what came of a command.
    pub fn of(result: &Result<Effect, Rejection>, command: &Command) -> Self {
        match result {
            Err(rejection) => Answer::No(rejection.code()),
            Ok(Effect::Defined { changed }) => Answer::Defined(*changed),
            Ok(Effect::Account | Effect::Marked | Effect::Grouped | Effect::Ran(_)) => Answer::Done,
            Ok(Effect::Posted(legs)) => Answer::Booked(named(legs, command)),
            Ok(Effect::Begun) => Answer::Begun,
            Ok(Effect::Prepared(_)) => Answer::Prepared,
            Ok(Effect::Aborted) => Answer::Aborted,
            Ok(Effect::Settled(legs)) => Answer::Settled(named(legs, command)),
            Ok(Effect::Held(held)) => Answer::Held(held.clone()),
            Ok(Effect::Buffered { booked, .. }) => Answer::Buffered(own_names(booked)),
            Ok(Effect::Suspended { booked, .. }) => Answer::Suspended(own_names(booked)),
            Ok(Effect::Taken | Effect::Announced | Effect::Withdrawn(_) | Effect::Acknowledged) => {
                Answer::Heard
            }
            Ok(Effect::Restricted(now)) => Answer::Restricted(now.clone()),
        }
    }
}

/// Legs that name their accounts themselves.
fn own_names(legs: &[Posted]) -> Vec<Booked> {
    let booked = |leg: &Posted| (leg.account.clone(), leg.side, leg.amount, leg.posted, leg.available);
    legs.iter().map(booked).collect()
}

/// Legs with the names of their accounts: those of a transaction are where it was asked.
fn named(legs: &[Posted], command: &Command) -> Vec<Booked> {
    let names: Vec<&str> = command.accounts().collect();
    let name =
        |(at, leg): (usize, &Posted)| names.get(at).map_or(leg.account.clone(), |name| (*name).to_owned());
    let booked =
        |(at, leg): (usize, &Posted)| (name((at, leg)), leg.side, leg.amount, leg.posted, leg.available);
    legs.iter().enumerate().map(booked).collect()
}
