//! Reversals: the original's legs with the sides swapped, whole or in part, never more than the original in total.
//! The scope is the original's scope account; where there is no such original, the refusal is remembered in a scope of
//! the transaction that was named ([`TransactionId::scope`]), and reversals of it look there too: a mistyped id takes the
//! request id from no account.
//!
//! What was booked in several sets is taken back in all of them: the reversal opens an attempt, which the set of the
//! original coordinates, so that reversals never exceed it together. What open ones may yet take back is not left for
//! another.

use rust_decimal::Decimal;

use super::account::reject_amount;
use super::attempt::{Met, last_word};
use super::booking::book;
use super::idempotency::{Recalled, scope_account};
use super::{ApplyError, Decision, Turn};
use crate::account::Side;
use crate::amount::to_minor;
use crate::attempt::{Begin, Coordination, Planned, scope_across};
use crate::canary::{self, Canary};
use crate::command::{Command, Leg, Reversal, Transaction};
use crate::id::{Position, TransactionId};
use crate::outcome::{Effect, Outcome, Posted};
use crate::rejection::Rejection;
use crate::state::State;

/// A booked transaction: as asked, as booked, its scope account, and the set of each leg if there are several.
struct Original {
    transaction: Transaction,
    posted: Vec<Posted>,
    scope: String,
    sets: Option<Vec<u32>>,
}

impl<S: State> Turn<'_, S> {
    /// Decides a reversal; `command` is the same, as it is compared and remembered.
    pub(super) fn reversal(
        &mut self,
        reversal: &Reversal,
        command: &Command,
    ) -> Result<Outcome, ApplyError<S::Fault>> {
        let request_id = &reversal.request_id;
        let original = self.find_reversible(reversal.transaction)?;
        let refused = reversal.transaction.scope();
        let refused = refused.as_str();
        let account = original.as_ref().map_or(refused, |original| &original.scope);
        let mut scope = account.to_owned();
        // An answer from before the original was there stands in the scope of its refusals, and is never overruled.
        for (looked, elsewhere) in [(account, [refused].as_slice()), (refused, &[])] {
            if let Recalled::Known(outcome) = self.recall(&[looked], elsewhere, request_id, command)? {
                match self.newest(outcome, request_id)? {
                    Met::Answer(outcome) => return Ok(outcome),
                    Met::Free(next) => scope = next,
                }
            }
        }
        let decision = match &original {
            Ok(original) => self.take_back(reversal, original)?,
            Err(rejection) => Err(rejection.clone()),
        };
        self.remember(&scope, request_id)?;
        Ok(self.outcome(decision))
    }

    /// The transaction of that id, if it is this set's and was booked, and is no reversal.
    fn find_reversible(
        &self,
        id: TransactionId,
    ) -> Result<Result<Original, Rejection>, ApplyError<S::Fault>> {
        let not_found = Rejection::TransactionNotFound { transaction: id };
        if id.set != self.state.set() || id.position >= self.position {
            return Ok(Err(not_found));
        }
        // Another incarnation than the one that booked there: what it names was lost in a recovery, or never was.
        let original = self.original(id.position)?;
        Ok(match original.filter(|(_, outcome)| outcome.incarnation == id.incarnation) {
            Some((Command::Transaction(transaction), Outcome { result: Ok(Effect::Posted(posted)), .. })) => {
                let scope =
                    scope_account(self.state, &transaction).expect("all accounts are known").to_owned();
                Ok(Original { transaction, posted, scope, sets: None })
            }
            Some((Command::Begin(begin), outcome)) => match last_word(self, outcome)?.result {
                Ok(Effect::Settled(posted)) => {
                    let Begin { transaction, sets } = begin;
                    let scope = scope_across(&transaction).to_owned();
                    Ok(Original { transaction, posted, scope, sets: Some(sets) })
                }
                // Under way: there is no such transaction yet, and perhaps never.
                Ok(_) => Err(not_found),
                Err(_) => Err(Rejection::NotReversible { transaction: id }),
            },
            // Whether a state keeps definitions and marks is its own affair; nobody may see the difference.
            None
            | Some((
                Command::DefineCurrency { .. }
                | Command::DefineSubject { .. }
                | Command::MarkDurability { .. },
                _,
            )) => Err(not_found),
            Some(_) => Err(Rejection::NotReversible { transaction: id }),
        })
    }

    fn take_back(
        &mut self,
        reversal: &Reversal,
        original: &Original,
    ) -> Result<Decision, ApplyError<S::Fault>> {
        let position = reversal.transaction.position;
        let reversed = match canary::on(Canary::EndlessReversal) {
            true => 0,
            false => self.state.reversed(position).map_err(ApplyError::Fault)?.amount,
        };
        let left = original.posted[0].amount - reversed - self.state.attempts().reversing(position);
        let part = match part_of(reversal, original, left) {
            Ok(part) => part,
            Err(rejection) => return Ok(Err(rejection)),
        };
        Ok(match &original.sets {
            None => self.book_reversal(position, original, part),
            Some(sets) => self.begin_reversal(position, original, sets, part),
        })
    }

    /// Books it in this set.
    fn book_reversal(&mut self, position: Position, original: &Original, part: Option<i128>) -> Decision {
        let legs = original.transaction.legs.iter().zip(&original.posted).map(|(leg, posted)| Planned {
            no: self.state.account_no(&leg.account).expect("it was booked on"),
            side: opposite(posted.side),
            amount: part.unwrap_or(posted.amount),
        });
        let legs: Vec<Planned> = legs.collect();
        let posted = book(self.state, self.position, &legs, true)?;
        let by = self.here();
        self.state.add_reversal(position, by, self.position, legs[0].amount);
        Ok(Effect::Posted(posted))
    }

    /// Begins to take it back in the sets that booked it, on the day of this command.
    fn begin_reversal(
        &mut self,
        position: Position,
        original: &Original,
        sets: &[u32],
        part: Option<i128>,
    ) -> Decision {
        // The part is in minor units of the first leg.
        let scale = u32::from(original.posted[0].scale);
        let legs = original.transaction.legs.iter().map(|leg| Leg {
            side: opposite(leg.side),
            amount: part.map_or(leg.amount, |part| Decimal::from_i128_with_scale(part, scale)),
            ..leg.clone()
        });
        let coordination = Coordination {
            legs: legs.collect(),
            sets: sets.to_vec(),
            reverses: Some((position, part.unwrap_or(original.posted[0].amount))),
            decided: None,
        };
        let day = self.day();
        self.open_attempt(coordination, day)
    }
}

/// How much of each leg is to be taken back, of a transaction of two legs, which have the same amount; None: of every leg,
/// all.
fn part_of(reversal: &Reversal, original: &Original, left: i128) -> Result<Option<i128>, Rejection> {
    let first = &original.posted[0];
    let two_legs = original.posted.len() == 2;
    let part = match reversal.amount {
        None => None,
        Some(_) if !two_legs => {
            return Err(Rejection::PartialReversalOfManyLegs { transaction: reversal.transaction });
        }
        Some(amount) => Some(minor_part(amount, first.scale, &original.transaction.legs[0].account)?),
    };
    if left == 0 || part.is_some_and(|part| part > left) {
        return Err(Rejection::ReversalExceeds { left, scale: first.scale });
    }
    Ok(two_legs.then_some(part.unwrap_or(left)))
}

fn minor_part(amount: Decimal, scale: u8, account: &str) -> Result<i128, Rejection> {
    to_minor(amount, scale).map_err(|error| reject_amount(error, account))
}

fn opposite(side: Side) -> Side {
    match side {
        Side::Debit => Side::Credit,
        Side::Credit => Side::Debit,
    }
}
