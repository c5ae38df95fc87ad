//! What replies say of groups of accounts.

use serde::Deserialize;

use super::{Account, Position, figures, place};
use crate::history::groups::{FoundGroup, FoundPart};
use crate::history::{Answer, AsOf, Recorder};

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    account: Account<'a>,
    #[serde(borrow)]
    as_of: Position<'a>,
    age_ms: u64,
}

/// A group that was read.
#[derive(Deserialize)]
pub struct Group<'a> {
    #[serde(borrow)]
    account: Account<'a>,
    #[serde(borrow)]
    parts: Vec<Part<'a>>,
    age_ms: u64,
}

/// It is the one that was asked for, and so are its parts.
pub fn group(accounts: &Recorder, asked: u32, reply: &Group<'_>) -> Option<Answer> {
    let id = accounts.account_id(asked);
    let is_own = |part: &Part<'_>| *part.account.group == *id;
    if *reply.account.account != *id || !reply.parts.iter().all(is_own) {
        return None;
    }
    let part = |part: &Part<'_>| {
        Some(FoundPart {
            account: accounts.account(part.account.account),
            as_of: AsOf { place: place(&part.as_of)?, age_ms: part.age_ms },
            figures: figures(&part.account)?,
        })
    };
    Some(Answer::Group(Box::new(FoundGroup {
        figures: figures(&reply.account)?,
        age_ms: reply.age_ms,
        parts: reply.parts.iter().map(part).collect::<Option<_>>()?,
    })))
}
