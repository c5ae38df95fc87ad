//! Reversals: the original's legs with the sides swapped, whole or in part, never more than the original in total.
//! The scope is the original's scope account; where there is no such original, the refusal is remembered in a scope of
//! the transaction that was named ([`TransactionId::scope`]), and reversals of it look there too: a mistyped id takes the
//! request id from no account.

use rust_decimal::Decimal;

use super::account::reject_amount;
use super::booking::{Planned, book};
use super::idempotency::{Recalled, scope_account};
use super::{ApplyError, Decision, Turn};
use crate::account::Side;
use crate::amount::to_minor;
use crate::canary::{self, Canary};
use crate::command::{Command, Reversal, Transaction};
use crate::id::TransactionId;
use crate::outcome::{Effect, Outcome, Posted};
use crate::rejection::Rejection;
use crate::state::State;

/// A booked transaction: as asked, as booked, and its scope account.
struct Original {
    transaction: Transaction,
    posted: Vec<Posted>,
    scope: String,
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
        let scope = original.as_ref().map_or(refused, |original| &original.scope);
        // An answer from before the original was there stands in the scope of its refusals, and is never overruled.
        for (scope, elsewhere) in [(scope, [refused].as_slice()), (refused, &[])] {
            if let Recalled::Known(outcome) = self.recall(&[scope], elsewhere, request_id, command)? {
                return Ok(outcome);
            }
        }
        let decision = match &original {
            Ok(original) => self.book_reversal(reversal, original)?,
            Err(rejection) => Err(rejection.clone()),
        };
        self.remember(scope, request_id)?;
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
                Ok(Original { transaction, posted, scope })
            }
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

    fn book_reversal(
        &mut self,
        reversal: &Reversal,
        original: &Original,
    ) -> Result<Decision, ApplyError<S::Fault>> {
        let position = reversal.transaction.position;
        let reversed = match canary::on(Canary::EndlessReversal) {
            true => 0,
            false => self.state.reversed(position).map_err(ApplyError::Fault)?.amount,
        };
        let legs = match self.plan_reversal(reversal, original, reversed) {
            Ok(legs) => legs,
            Err(rejection) => return Ok(Err(rejection)),
        };
        let (set, incarnation) = (reversal.transaction.set, self.entry.incarnation());
        let by = TransactionId { set, incarnation, position: self.position };
        Ok(book(self.state, self.position, &legs, true).map(|posted| {
            self.state.add_reversal(position, by, legs[0].amount);
            Effect::Posted(posted)
        }))
    }

    fn plan_reversal(
        &self,
        reversal: &Reversal,
        original: &Original,
        reversed: i128,
    ) -> Result<Vec<Planned>, Rejection> {
        let first = &original.posted[0];
        let left = first.amount - reversed;
        let part = match reversal.amount {
            None => None,
            Some(_) if original.posted.len() > 2 => {
                return Err(Rejection::PartialReversalOfManyLegs { transaction: reversal.transaction });
            }
            Some(amount) => Some(minor_part(amount, first.scale, &original.transaction.legs[0].account)?),
        };
        if left == 0 || part.is_some_and(|part| part > left) {
            return Err(Rejection::ReversalExceeds { left, scale: first.scale });
        }
        // Only two-leg transactions are reversed in part, and both their legs have the same amount.
        let two_legs = original.posted.len() == 2;
        let legs = original.transaction.legs.iter().zip(&original.posted).map(|(leg, posted)| Planned {
            no: self.state.account_no(&leg.account).expect("it was booked on"),
            side: opposite(posted.side),
            amount: if two_legs { part.unwrap_or(left) } else { posted.amount },
        });
        Ok(legs.collect())
    }
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
