//! Reversals: the original's legs with the sides swapped, whole or in part, never more than the original in total.
//! The scope is the original's scope account; where there is no such original, the refusal is remembered in a scope of
//! the transaction that was named ([`TransactionId::scope`]), and reversals of it look there too: a mistyped id takes the
//! request id from no account.
//!
//! A part of a transaction of two legs is one amount; of more, it is an amount of each leg that is named, which balance, and
//! never more of a leg than what is left of that one.
//!
//! What was booked in several sets is taken back in those that have a part in it: the reversal opens an attempt, which the set
//! of the original coordinates, so that reversals never exceed it together, also where that set has no leg in it. What open
//! ones may yet take back is not left for another. What was paid without asking can be taken back when all of it has been
//! taken in.

use rust_decimal::Decimal;

use super::account::reject_amount;
use super::attempt::{Met, last_word};
use super::booking::{Terms, book};
use super::idempotency::{Recalled, scope_account};
use super::transaction::{check_balance, sums};
use super::{ApplyError, Decision, Stop, Turn, decided};
use crate::account::Side;
use crate::amount::to_minor;
use crate::attempt::{Begin, Coordination, Planned, Sum, scope_across};
use crate::buffer::Sent;
use crate::canary::{self, Canary};
use crate::command::{Command, Leg, LegKind, LegPart, Reversal, Transaction};
use crate::id::{Position, TransactionId};
use crate::outcome::{Effect, Outcome, Posted};
use crate::rejection::Rejection;
use crate::reversed::{Taken, TakenBack};
use crate::state::State;

/// A booked transaction: as asked, its scope account, the set of each leg if there are several, and as booked.
struct Original {
    transaction: Transaction,
    scope: String,
    sets: Option<Vec<u32>>,
    booked: Booked,
}

/// What is left of a transaction, and is neither taken back nor may be by what is under way.
struct Left {
    /// Of each leg.
    of_legs: Vec<i128>,
    /// Whether nothing of it was ever taken back, or is about to be.
    is_whole: bool,
    /// Whether parts of legs are about to be taken back.
    is_open: bool,
}

/// What a reversal takes back.
struct Part {
    /// Which legs, rising, and how much of each, above zero.
    legs: Vec<(u16, i128)>,
    /// The same, as it is summed.
    taken: Taken,
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
        let left = self.left_of(reversal.transaction.position, posted)?;
        let part = match self.part_of(reversal, original, posted, &left) {
            Ok(part) => part,
            Err(rejection) => return Ok(Err(rejection)),
        };
        if let Booked::InTransit(_, set) = original.booked {
            return Ok(Err(Rejection::SetUnavailable { set }));
        }
        match &original.sets {
            // Nobody else is to be asked where all of it was booked here.
            Some(sets) if !self.is_all_here(original, &part.legs) => {
                decided(self.begin_reversal(reversal, &original.transaction, posted, sets, part))
            }
            _ => Ok(self.book_reversal(reversal.transaction, &original.transaction, posted, part)),
        }
    }

    /// What of each leg is left to take back.
    fn left_of(&self, original: Position, posted: &[Posted]) -> Result<Left, ApplyError<S::Fault>> {
        let mut taken = match canary::on(Canary::EndlessReversal) {
            true => TakenBack::default(),
            false => self.state.reversed(original).map_err(ApplyError::Fault)?.taken,
        };
        if canary::on(Canary::LegSumsForgotten) {
            taken.legs.clear();
        }
        let taking = match canary::on(Canary::OpenReversalsDoNotCount) {
            true => TakenBack::default(),
            false => self.state.attempts().reversing(original),
        };
        let amounts: Vec<i128> = posted.iter().map(|posted| posted.amount).collect();
        let of_leg = |leg: usize| amounts[leg] - taken.of(leg, &amounts) - taking.of(leg, &amounts);
        let of_legs = (0..amounts.len()).map(of_leg).collect();
        let is_whole = taken == TakenBack::default() && taking == TakenBack::default();
        Ok(Left { of_legs, is_whole, is_open: !taking.legs.is_empty() })
    }

    /// How much is to be taken back of which legs.
    fn part_of(
        &self,
        reversal: &Reversal,
        original: &Original,
        posted: &[Posted],
        left: &Left,
    ) -> Result<Part, Rejection> {
        let two_legs = posted.len() == 2;
        let first = (left.of_legs[0], posted[0].scale);
        let exceeds = |(left, scale), leg| Err(Rejection::ReversalExceeds { left, scale, leg });
        let all_legs = |amount: i128| {
            (0..).zip(posted).map(move |(at, leg)| match two_legs {
                true => (at, amount),
                false => (at, leg.amount),
            })
        };
        let evenly = |amount| Part { legs: all_legs(amount).collect(), taken: Taken::Evenly(amount) };
        match (reversal.amount, &reversal.legs) {
            (Some(_), _) if !two_legs => {
                Err(Rejection::PartialReversalOfManyLegs { transaction: reversal.transaction })
            }
            (Some(amount), _) => {
                let part = minor_part(amount, first.1, &original.transaction.legs[0].account)?;
                if part > first.0 { exceeds(first, None) } else { Ok(evenly(part)) }
            }
            (None, Some(named)) => {
                let parts = named_parts(reversal.transaction, named, original, posted)?;
                self.check_parts_balance(original, posted, &parts)?;
                let too_much = |(leg, amount): &&(u16, i128)| *amount > left.of_legs[usize::from(*leg)];
                match (parts.iter().find(too_much), parts.as_slice()) {
                    (Some(&(leg, _)), _) => {
                        let at = usize::from(leg);
                        exceeds((left.of_legs[at], posted[at].scale), Some(leg))
                    }
                    (None, &[(_, amount), _]) if two_legs => Ok(evenly(amount)),
                    (None, _) => Ok(Part { taken: Taken::Legs(parts.clone()), legs: parts }),
                }
            }
            (None, None) if two_legs && first.0 > 0 => Ok(evenly(first.0)),
            (None, None) if two_legs => exceeds(first, None),
            (None, None) if left.is_whole => Ok(evenly(posted[0].amount)),
            // Whether parts of legs under way balance is known only when all sets have been asked, and so whether the rest does.
            (None, None) if left.is_open => Err(Rejection::SetUnavailable { set: self.state.set() }),
            (None, None) if left.of_legs.iter().all(|left| *left <= 0) => exceeds(first, None),
            (None, None) => {
                let parts: Vec<_> =
                    (0..).zip(left.of_legs.iter().copied()).filter(|(_, left)| *left > 0).collect();
                Ok(Part { taken: Taken::Legs(parts.clone()), legs: parts })
            }
        }
    }

    /// Whether parts of legs balance, as far as this set knows their currencies: where other sets have a part in it, that is
    /// seen when they have been asked. Two legs are in the same currency, and one of them is here.
    fn check_parts_balance(
        &self,
        original: &Original,
        posted: &[Posted],
        parts: &[(u16, i128)],
    ) -> Result<(), Rejection> {
        if self.is_all_here(original, parts) {
            return check_balance(sums(self.state, &self.planned(&original.transaction, posted, parts))?);
        }
        if posted.len() > 2 {
            return Ok(());
        }
        let own =
            self.state.account_no(&original.scope).expect("the scope account is this set's, and has a leg");
        let account = self.state.account(own);
        let (currency, scale) = (account.currency.clone(), account.scale);
        let of_side = |side| {
            let of_side = |(leg, _): &&(u16, i128)| posted[usize::from(*leg)].side.opposite() == side;
            parts.iter().filter(of_side).map(|(_, amount)| *amount).sum()
        };
        check_balance([Sum { currency, scale, debits: of_side(Side::Debit), credits: of_side(Side::Credit) }])
    }

    /// Whether this set has booked all of these legs.
    fn is_all_here(&self, original: &Original, parts: &[(u16, i128)]) -> bool {
        let own = self.state.set();
        let sets = original.sets.as_ref();
        sets.is_none_or(|sets| parts.iter().all(|(leg, _)| sets[usize::from(*leg)] == own))
    }

    /// The legs that take parts back of legs of this set.
    fn planned(&self, original: &Transaction, posted: &[Posted], parts: &[(u16, i128)]) -> Vec<Planned> {
        let back = |&(leg, amount): &(u16, i128)| {
            let at = usize::from(leg);
            let no = self.state.account_no(&original.legs[at].account).expect("it was booked on");
            Planned { no, side: posted[at].side.opposite(), amount, kind: LegKind::Ordinary }
        };
        parts.iter().map(back).collect()
    }

    /// Books it in this set.
    fn book_reversal(
        &mut self,
        id: TransactionId,
        original: &Transaction,
        booked: &[Posted],
        part: Part,
    ) -> Decision {
        let legs = self.planned(original, booked, &part.legs);
        let posted = book(self.state, self.position, &legs, Terms::default(), true)?;
        if canary::on(Canary::ReversalIntoTheHold) && original.capture.is_some() {
            self.state.account_mut(legs[0].no).held += legs[0].amount;
        }
        let by = self.here();
        self.state.add_reversal(id.position, by, self.position, part.taken);
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
        part: Part,
    ) -> Result<Effect, Stop<S::Fault>> {
        let two_legs = posted.len() == 2;
        let is_whole = !two_legs && matches!(part.taken, Taken::Evenly(_));
        let back = |&(leg, amount): &(u16, i128)| {
            // Two legs go by the minor units of the first one.
            let scale = posted[if two_legs { 0 } else { usize::from(leg) }].scale;
            let leg = &original.legs[usize::from(leg)];
            Leg {
                side: leg.side.opposite(),
                amount: match is_whole {
                    true => leg.amount,
                    false => Decimal::from_i128_with_scale(amount, scale.into()),
                },
                preconditions: Vec::new(),
                kind: LegKind::Ordinary,
                ..leg.clone()
            }
        };
        let coordination = Coordination {
            legs: part.legs.iter().map(back).collect(),
            sets: part.legs.iter().map(|(leg, _)| sets[usize::from(*leg)]).collect(),
            reverses: Some((reversal.transaction, part.taken)),
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

/// The legs that are named, and how much of each in its minor units.
fn named_parts(
    transaction: TransactionId,
    named: &[LegPart],
    original: &Original,
    posted: &[Posted],
) -> Result<Vec<(u16, i128)>, Rejection> {
    if let Some(LegPart { leg, .. }) = named.iter().find(|part| usize::from(part.leg) >= posted.len()) {
        return Err(Rejection::LegNotFound { transaction, leg: *leg });
    }
    let part = |part: &LegPart| {
        let at = usize::from(part.leg);
        let account = &original.transaction.legs[at].account;
        Ok((part.leg, minor_part(part.amount, posted[at].scale, account)?))
    };
    named.iter().map(part).collect()
}

fn minor_part(amount: Decimal, scale: u8, account: &str) -> Result<i128, Rejection> {
    to_minor(amount, scale).map_err(|error| reject_amount(error, account))
}
