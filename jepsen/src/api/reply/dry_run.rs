//! What a dry run is told: what the real call would be, and as of when.

use serde::Deserialize;

use super::{Position, Posting, Problem, balances, name, place, problem, signed};
use crate::history::{Answer, AsOf, Recorder, Transfer};

/// It would be booked, or was booked before.
#[derive(Deserialize)]
pub struct DryRun<'a> {
    dry_run: bool,
    #[serde(default)]
    transaction: Option<&'a str>,
    #[serde(borrow, default)]
    position: Option<Position<'a>>,
    replayed: bool,
    #[serde(borrow)]
    postings: Vec<Posting<'a>>,
    #[serde(borrow)]
    as_of: Vec<Position<'a>>,
}

/// One of one set, with the legs that were asked for.
pub fn foreseen(accounts: &Recorder, reply: &DryRun<'_>, asked: &Transfer) -> Option<Answer> {
    let legs =
        reply.postings.iter().map(|posting| signed(accounts, posting.account, posting.side, posting.amount));
    let [as_of] = reply.as_of.as_slice() else { return None };
    if !reply.dry_run || legs.collect::<Option<Vec<_>>>()? != asked.legs {
        return None;
    }
    let before = match (reply.transaction, &reply.position) {
        (Some(transaction), Some(position)) => Some((name(transaction)?, place(position)?)),
        (None, None) => None,
        _ => return None,
    };
    Some(Answer::Foreseen {
        as_of: AsOf { place: place(as_of)?, age_ms: 0 },
        before,
        replayed: reply.replayed,
        balances: balances(&reply.postings)?,
    })
}

/// It would be refused: as of when it was tried. Or it was refused before, and is told where.
pub fn refusal(reply: &Problem<'_>) -> Option<Answer> {
    match problem(reply)? {
        Answer::Rejected { code, place, replayed: false } => {
            Some(Answer::ForeseenRefusal { as_of: AsOf { place, age_ms: 0 }, code })
        }
        answer => Some(answer),
    }
}
