//! Reversals: the original's legs with the sides swapped, whole or in part, never more than the original in total.
//! The scope is the original's scope account; where there is no such original, the refusal is remembered in a scope of
//! the transaction that was named ([`TransactionId::scope`]), and reversals of it look there too: a mistyped id takes the
//! request id from no account.
//!
//! What was booked in several sets is taken back in all of them: the reversal opens an attempt, which the set of the
//! original coordinates, so that reversals never exceed it together. What open ones may yet take back is not left for
//! another. What was paid without asking can be taken back when all of it has been taken in.

use rust_decimal::Decimal;

use super::account::reject_amount;
use super::attempt::{Met, last_word};
use super::booking::{Terms, book};
use super::idempotency::{Recalled, scope_account};
use super::{ApplyError, Decision, Stop, Turn, decided};
use crate::amount::to_minor;
use crate::attempt::{Begin, Coordination, Planned, scope_across};
use crate::buffer::Sent;
use crate::canary::{self, Canary};
use crate::command::{Command, Leg, LegKind, Reversal, Transaction};
use crate::id::TransactionId;
use crate::outcome::{Effect, Outcome, Posted};
use crate::rejection::Rejection;
use crate::state::State;

/// A booked transaction: as asked, its scope account, the set of each leg if there are several, and as booked.
struct Original {
    transaction: Transaction,
    scope: String,
    sets: Option<Vec<u32>>,
    booked: Booked,
}

/// How far a transaction is that is decided to be booked.
enum Booked {
    /// Everywhere: all its legs.
    Everywhere(Vec<Posted>),
    /// It is answered, and a part of it is still on its way to this set.
    InTransit(Vec<Posted>, u32),
    /// The coordinator does not know yet what the other sets have booked.
    NotSettled,
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
                Ok(Original { transaction, scope, sets: None, booked: Booked::Everywhere(posted) })
            }
            Some((Command::Begin(begin), Outcome { result: Ok(Effect::Buffered { booked, sent }), .. })) => {
                let scope = scope_across(&begin.transaction).to_owned();
                let buffer = self.state.buffer();
                let in_transit = sent.iter().find(|sent| buffer.is_in_transit(sent, id.incarnation));
                let in_transit = in_transit.map(|sent| sent.to);
                let Begin { transaction, sets } = begin;
                let posted = all_legs(&transaction, booked, sent);
                let booked = match in_transit {
                    Some(set) => Booked::InTransit(posted, set),
                    None => Booked::Everywhere(posted),
                };
                Ok(Original { transaction, scope, sets: Some(sets), booked })
            }
            Some((Command::Begin(begin), outcome)) => match last_word(self, outcome)?.result {
                Ok(Effect::Settled(posted)) => {
                    let Begin { transaction, sets } = begin;
                    let scope = scope_across(&transaction).to_owned();
                    let booked = Booked::Everywhere(posted);
                    Ok(Original { transaction, scope, sets: Some(sets), booked })
                }
                // Booked, and perhaps answered, but not settled here: whoever asks again will find it.
                Ok(_) if self.is_decided(id) => {
                    let Begin { transaction, sets } = begin;
                    let scope = scope_across(&transaction).to_owned();
                    Ok(Original { transaction, scope, sets: Some(sets), booked: Booked::NotSettled })
                }
                // Under way: there is no such transaction yet, and perhaps never.
                Ok(_) => Err(not_found),
                Err(_) => Err(Rejection::NotReversible { transaction: id }),
            },
            // Whether a state keeps definitions, expiries and marks is its own affair; nobody may see the difference.
            None
            | Some((
                Command::DefineCurrency { .. }
                | Command::DefineSubject { .. }
                | Command::DefineGroup { .. }
                | Command::ExpireHold { .. }
                | Command::ExpireRestriction { .. }
                | Command::CheckedBack(_)
                | Command::EndRun { .. }
                | Command::Together { .. }
                | Command::BufferStep { .. }
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
        let posted = match &original.booked {
            Booked::Everywhere(posted) | Booked::InTransit(posted, _) => posted,
            Booked::NotSettled => {
                return Ok(Err(Rejection::SetUnavailable { set: self.state.set() }));
            }
        };
        let position = reversal.transaction.position;
        let reversed = match canary::on(Canary::EndlessReversal) {
            true => 0,
            false => self.state.reversed(position).map_err(ApplyError::Fault)?.amount,
        };
        let reversing = match canary::on(Canary::OpenReversalsDoNotCount) {
            true => 0,
            false => self.state.attempts().reversing(position),
        };
        let left = posted[0].amount - reversed - reversing;
        let part = match part_of(reversal, &original.transaction, posted, left) {
            Ok(part) => part,
            Err(rejection) => return Ok(Err(rejection)),
        };
        if let Booked::InTransit(_, set) = original.booked {
            return Ok(Err(Rejection::SetUnavailable { set }));
        }
        let (id, transaction) = (reversal.transaction, &original.transaction);
        match &original.sets {
            None => Ok(self.book_reversal(id, transaction, posted, part)),
            Some(sets) => decided(self.begin_reversal(reversal, transaction, posted, sets, part)),
        }
    }

    /// Books it in this set.
    fn book_reversal(
        &mut self,
        id: TransactionId,
        original: &Transaction,
        posted: &[Posted],
        part: Option<i128>,
    ) -> Decision {
        let legs = original.legs.iter().zip(posted).map(|(leg, posted)| Planned {
            no: self.state.account_no(&leg.account).expect("it was booked on"),
            side: posted.side.opposite(),
            amount: part.unwrap_or(posted.amount),
            kind: LegKind::Ordinary,
        });
        let legs: Vec<Planned> = legs.collect();
        let posted = book(self.state, self.position, &legs, Terms::default(), true)?;
        if canary::on(Canary::ReversalIntoTheHold) && original.capture.is_some() {
            self.state.account_mut(legs[0].no).held += legs[0].amount;
        }
        let by = self.here();
        self.state.add_reversal(id.position, by, self.position, legs[0].amount);
        self.unrestrict(id, &legs);
        Ok(Effect::Posted(posted))
    }

    /// Begins to take it back in the sets that booked it, on the day of this command.
    fn begin_reversal(
        &mut self,
        reversal: &Reversal,
        original: &Transaction,
        posted: &[Posted],
        sets: &[u32],
        part: Option<i128>,
    ) -> Result<Effect, Stop<S::Fault>> {
        // The part is in minor units of the first leg.
        let scale = u32::from(posted[0].scale);
        let legs = original.legs.iter().map(|leg| Leg {
            side: leg.side.opposite(),
            amount: part.map_or(leg.amount, |part| Decimal::from_i128_with_scale(part, scale)),
            preconditions: Vec::new(),
            kind: LegKind::Ordinary,
            ..leg.clone()
        });
        let coordination = Coordination {
            legs: legs.collect(),
            sets: sets.to_vec(),
            reverses: Some((reversal.transaction, part.unwrap_or(posted[0].amount))),
            captures: None,
            decided: None,
            label: reversal.into(),
        };
        let day = self.day();
        self.open_attempt(coordination, None, day)
    }
}

/// The legs of a transaction that was paid without asking, in the client's order. The balances of those of other sets are not
/// known.
fn all_legs(transaction: &Transaction, booked: Vec<Posted>, sent: Vec<Sent>) -> Vec<Posted> {
    let (mut booked, mut sent) = (booked.into_iter(), sent.into_iter().peekable());
    let leg = |(at, leg): (usize, &Leg)| match sent.next_if(|sent| usize::from(sent.leg) == at) {
        Some(Sent { amount, scale, .. }) => {
            Posted { account: leg.account.clone(), side: leg.side, amount, scale, posted: 0, available: 0 }
        }
        None => booked.next().expect("what was not sent was booked"),
    };
    transaction.legs.iter().enumerate().map(leg).collect()
}

/// How much of each leg is to be taken back, of a transaction of two legs, which have the same amount; None: of every leg,
/// all.
fn part_of(
    reversal: &Reversal,
    original: &Transaction,
    posted: &[Posted],
    left: i128,
) -> Result<Option<i128>, Rejection> {
    let first = &posted[0];
    let two_legs = posted.len() == 2;
    let part = match reversal.amount {
        None => None,
        Some(_) if !two_legs => {
            return Err(Rejection::PartialReversalOfManyLegs { transaction: reversal.transaction });
        }
        Some(amount) => Some(minor_part(amount, first.scale, &original.legs[0].account)?),
    };
    if left == 0 || part.is_some_and(|part| part > left) {
        return Err(Rejection::ReversalExceeds { left, scale: first.scale });
    }
    Ok(two_legs.then_some(part.unwrap_or(left)))
}

fn minor_part(amount: Decimal, scale: u8, account: &str) -> Result<i128, Rejection> {
    to_minor(amount, scale).map_err(|error| reject_amount(error, account))
}
