//! The forms of what transactions over several sets are made of: votes, parts, and the attempts that a set keeps open. The
//! last has no version of its own: whoever stores it has one.

use super::DecodeError;
use super::command::{optional_id, put_optional_id, put_transaction_id, transaction_id};
use super::label::{label, put_label};
use super::leg::{kind_bits, leg_kind, legs, put_kind_end, put_legs};
use super::outcome::{posted_legs, put_posted_legs};
use super::rejection::{put_rejection, rejection};
use super::wire::{Reader, put_text, put_unsigned};
use crate::attempt::{Attempt, Attempts, Ballot, Capturing, Coordination, Part, Planned, Role, Sum, Vote};
use crate::id::{Position, TransactionId};
use crate::label::Label;
use crate::reversed::Taken;

/// The leading byte of a ballot, of what a vote says, of a role, and of what is taken back. Numbers never change and are never reused.
mod form {
    pub const GIVEN_UP: u8 = 0;
    pub const VOTES: u8 = 1;
    pub const BOOKED: u8 = 2;
    pub const REFUSED: u8 = 0;
    pub const PREPARED: u8 = 1;
    pub const PARTICIPANT: u8 = 0;
    pub const COORDINATOR: u8 = 1;
    pub const COORDINATOR_OF_LABELLED: u8 = 2;
    pub const NOTHING: u8 = 0;
    pub const EVENLY: u8 = 1;
    pub const BY_LEGS: u8 = 2;
}

pub(super) fn put_ballot(out: &mut Vec<u8>, ballot: &Ballot) {
    match ballot {
        Ballot::GivenUp { set } => {
            out.push(form::GIVEN_UP);
            out.extend_from_slice(&set.to_le_bytes());
        }
        Ballot::Booked { set, votes } => {
            out.push(form::BOOKED);
            out.extend_from_slice(&set.to_le_bytes());
            put_votes(out, votes);
        }
        Ballot::Votes(votes) => {
            out.push(form::VOTES);
            put_votes(out, votes);
        }
    }
}

pub(super) fn ballot(r: &mut Reader<'_>) -> Result<Ballot, DecodeError> {
    match r.u8()? {
        form::GIVEN_UP => Ok(Ballot::GivenUp { set: r.u32()? }),
        form::BOOKED => Ok(Ballot::Booked { set: r.u32()?, votes: votes(r)? }),
        form::VOTES => Ok(Ballot::Votes(votes(r)?)),
        _ => Err(DecodeError::OutOfRange { field: "ballot" }),
    }
}

pub(super) fn put_votes(out: &mut Vec<u8>, votes: &[Vote]) {
    put_count(out, votes.len());
    votes.iter().for_each(|vote| put_vote(out, vote));
}

pub(super) fn votes(r: &mut Reader<'_>) -> Result<Vec<Vote>, DecodeError> {
    many(r, vote)
}

fn put_vote(out: &mut Vec<u8>, vote: &Vote) {
    out.extend_from_slice(&vote.set.to_le_bytes());
    match &vote.said {
        Err(refusal) => {
            out.push(form::REFUSED);
            put_rejection(out, refusal);
        }
        Ok(sums) => {
            out.push(form::PREPARED);
            put_sums(out, sums);
        }
    }
}

fn vote(r: &mut Reader<'_>) -> Result<Vote, DecodeError> {
    let set = r.u32()?;
    let said = match r.u8()? {
        form::REFUSED => Err(rejection(r)?),
        form::PREPARED => Ok(sums(r)?),
        _ => return Err(DecodeError::OutOfRange { field: "vote" }),
    };
    Ok(Vote { set, said })
}

pub(super) fn put_sums(out: &mut Vec<u8>, sums: &[Sum]) {
    put_count(out, sums.len());
    for sum in sums {
        put_text(out, &sum.currency);
        out.push(sum.scale);
        put_unsigned(out, sum.debits);
        put_unsigned(out, sum.credits);
    }
}

pub(super) fn sums(r: &mut Reader<'_>) -> Result<Vec<Sum>, DecodeError> {
    many(r, |r| {
        let (currency, scale) = (r.id()?.to_owned(), r.u8()?);
        Ok(Sum { currency, scale, debits: r.unsigned("debits")?, credits: r.unsigned("credits")? })
    })
}

pub(super) fn put_parts(out: &mut Vec<u8>, parts: &[Part]) {
    put_count(out, parts.len());
    for part in parts {
        out.extend_from_slice(&part.set.to_le_bytes());
        out.extend_from_slice(&part.position.0.to_le_bytes());
        put_posted_legs(out, &part.legs);
    }
}

pub(super) fn parts(r: &mut Reader<'_>) -> Result<Vec<Part>, DecodeError> {
    many(r, |r| Ok(Part { set: r.u32()?, position: Position(r.u64()?), legs: posted_legs(r)? }))
}

/// Appends the form of a set's open attempts.
pub fn encode_attempts(attempts: &Attempts, out: &mut Vec<u8>) {
    let count = u32::try_from(attempts.len()).expect("each has a place in a log of its own");
    out.extend_from_slice(&count.to_le_bytes());
    for (id, attempt) in attempts.iter() {
        put_transaction_id(out, id);
        out.extend_from_slice(&attempt.accounting_date.to_le_bytes());
        out.extend_from_slice(&attempt.opened_ns.to_le_bytes());
        put_count(out, attempt.reserved.len());
        for planned in &attempt.reserved {
            out.extend_from_slice(&planned.no.to_le_bytes());
            out.push(planned.side as u8 | kind_bits(planned.kind));
            out.extend_from_slice(&planned.amount.to_le_bytes());
            put_kind_end(out, planned.kind);
        }
        match &attempt.role {
            Role::Participant { reverses } => {
                out.push(form::PARTICIPANT);
                put_optional_id(out, *reverses);
            }
            Role::Coordinator(coordination) => {
                let is_labelled = !coordination.label.is_empty();
                out.push(if is_labelled { form::COORDINATOR_OF_LABELLED } else { form::COORDINATOR });
                put_coordination(out, coordination);
                if is_labelled {
                    put_label(out, &coordination.label);
                }
            }
        }
    }
}

/// Reads the form of a set's open attempts, all of `bytes`. Never panics; what it accepts encodes to the same bytes again.
pub fn decode_attempts(bytes: &[u8]) -> Result<Attempts, DecodeError> {
    let mut r = Reader::new(bytes);
    let mut attempts = Attempts::default();
    for _ in 0..r.u32()? {
        let id = transaction_id(&mut r)?;
        // Names rise, so that one meaning has one form.
        if attempts.iter().next_back().is_some_and(|(last, _)| last >= id) {
            return Err(DecodeError::OutOfRange { field: "attempt order" });
        }
        let (accounting_date, opened_ns) = (r.i32()?, r.u64()?);
        let reserved = many(&mut r, planned)?;
        let role = match r.u8()? {
            form::PARTICIPANT => Role::Participant { reverses: optional_id(&mut r)? },
            form::COORDINATOR => Role::Coordinator(coordination(&mut r)?),
            form::COORDINATOR_OF_LABELLED => {
                let coordination = coordination(&mut r)?;
                Role::Coordinator(Coordination { label: label(&mut r)?, ..coordination })
            }
            _ => return Err(DecodeError::OutOfRange { field: "role" }),
        };
        attempts.open(id, Attempt { reserved, accounting_date, opened_ns, role });
    }
    r.end()?;
    Ok(attempts)
}

fn planned(r: &mut Reader<'_>) -> Result<Planned, DecodeError> {
    let (no, head, amount) = (r.u32()?, r.u8()?, r.i128()?);
    let (side, kind) = leg_kind(r, head)?;
    let planned = Planned { no, side, amount, kind };
    if planned.amount > 0 { Ok(planned) } else { Err(DecodeError::OutOfRange { field: "reserved amount" }) }
}

fn put_coordination(out: &mut Vec<u8>, coordination: &Coordination) {
    put_legs(out, &coordination.legs);
    put_sets(out, &coordination.sets, coordination.legs.len());
    put_reverses(out, coordination.reverses.as_ref());
    out.push(u8::from(coordination.captures.is_some()));
    if let Some(Capturing { hold, amount, is_final, confirms }) = coordination.captures {
        out.extend_from_slice(&hold.0.to_le_bytes());
        out.extend_from_slice(&amount.to_le_bytes());
        out.push(u8::from(is_final));
        out.push(u8::from(confirms.is_some()));
        confirms.iter().for_each(|no| out.extend_from_slice(&no.to_le_bytes()));
    }
    out.push(u8::from(coordination.decided.is_some()));
    if let Some(decided) = coordination.decided {
        out.extend_from_slice(&decided.0.to_le_bytes());
    }
}

fn coordination(r: &mut Reader<'_>) -> Result<Coordination, DecodeError> {
    let legs = legs(r)?;
    let sets = sets(r, legs.len())?;
    let reverses = reverses(r)?;
    let captures = if r.bool("captures present")? {
        Some(Capturing {
            hold: Position(r.u64()?),
            amount: r.i128()?,
            is_final: r.bool("final")?,
            confirms: if r.bool("confirms")? { Some(r.u32()?) } else { None },
        })
    } else {
        None
    };
    let decided = if r.bool("decided present")? { Some(Position(r.u64()?)) } else { None };
    Ok(Coordination { legs, sets, reverses, captures, decided, label: Label::default() })
}

fn put_reverses(out: &mut Vec<u8>, reverses: Option<&(TransactionId, Taken)>) {
    match reverses {
        None => out.push(form::NOTHING),
        Some((original, Taken::Evenly(amount))) => {
            out.push(form::EVENLY);
            put_transaction_id(out, *original);
            out.extend_from_slice(&amount.to_le_bytes());
        }
        Some((original, Taken::Legs(legs))) => {
            out.push(form::BY_LEGS);
            put_transaction_id(out, *original);
            put_count(out, legs.len());
            for (leg, amount) in legs {
                out.extend_from_slice(&leg.to_le_bytes());
                out.extend_from_slice(&amount.to_le_bytes());
            }
        }
    }
}

fn reverses(r: &mut Reader<'_>) -> Result<Option<(TransactionId, Taken)>, DecodeError> {
    Ok(match r.u8()? {
        form::NOTHING => None,
        form::EVENLY => Some((transaction_id(r)?, Taken::Evenly(r.i128()?))),
        form::BY_LEGS => {
            let original = transaction_id(r)?;
            let legs = many(r, |r| Ok((r.u16()?, r.i128()?)))?;
            let rise = legs.is_sorted_by(|(a, _), (b, _)| a < b);
            if legs.is_empty() || !rise || legs.iter().any(|(_, amount)| *amount <= 0) {
                return Err(DecodeError::OutOfRange { field: "legs taken back" });
            }
            Some((original, Taken::Legs(legs)))
        }
        _ => return Err(DecodeError::OutOfRange { field: "reverses present" }),
    })
}

/// The set of each leg. Their count is the legs', which stands before them.
pub(super) fn put_sets(out: &mut Vec<u8>, sets: &[u32], legs: usize) {
    assert_eq!(sets.len(), legs, "each leg has a set");
    sets.iter().for_each(|set| out.extend_from_slice(&set.to_le_bytes()));
}

pub(super) fn sets(r: &mut Reader<'_>, legs: usize) -> Result<Vec<u32>, DecodeError> {
    (0..legs).map(|_| r.u32()).collect()
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.push(u8::try_from(count).expect("bounded by SETS_MAX and twice LEGS_ACROSS_MAX"));
}

/// As many as the byte in front says.
fn many<'a, T>(
    r: &mut Reader<'a>,
    one: impl Fn(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    (0..r.u8()?).map(|_| one(r)).collect()
}
