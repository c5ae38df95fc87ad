//! Reversals: of what one set booked, and of what several did, which begin an attempt.

use rust_decimal::Decimal;
use twinset_ledger::{
    Begin, Command, Effect, Leg, Position, Posted, Rejection, Reversal, Transaction, TransactionId,
};

use super::attempt::Asked;
use super::booking::{Move, minor, opposite};
use super::{Here, Model};

/// A transaction that can be reversed.
pub(super) struct Original {
    pub transaction: Transaction,
    /// The sets of its legs, if there are several.
    pub sets: Option<Vec<u32>>,
    booked: Vec<Posted>,
}

impl Model {
    /// The transaction of that name, as seen from a position.
    pub(super) fn original(&self, position: Position, id: TransactionId) -> Result<Original, Rejection> {
        let not_found = Rejection::TransactionNotFound { transaction: id };
        let earlier = id.set == self.set && id.position < position;
        let Some(decided) = self.log.get(&id.position).filter(|_| earlier) else { return Err(not_found) };
        if decided.outcome.incarnation != id.incarnation {
            return Err(not_found);
        }
        match (&decided.command, self.last_word(id.position).result) {
            (Command::Transaction(transaction), Ok(Effect::Posted(booked))) => {
                Ok(Original { transaction: transaction.clone(), sets: None, booked })
            }
            (Command::Begin(Begin { transaction, sets }), Ok(Effect::Settled(booked))) => {
                Ok(Original { transaction: transaction.clone(), sets: Some(sets.clone()), booked })
            }
            // Nobody knows yet whether there will be such a transaction.
            (Command::Begin(_), Ok(_)) => Err(not_found),
            _ => Err(Rejection::NotReversible { transaction: id }),
        }
    }

    pub(super) fn reverse(&mut self, here: Here, reversal: &Reversal) -> Result<Effect, Rejection> {
        let id = reversal.transaction;
        let original = self.original(here.position, id)?;
        let first = &original.booked[0];
        let left = self.left_of(&original, id.position);
        let in_two_legs = original.booked.len() == 2;
        let asked = match reversal.amount {
            Some(_) if !in_two_legs => {
                return Err(Rejection::PartialReversalOfManyLegs { transaction: id });
            }
            Some(amount) => minor(amount, first.scale, &original.transaction.legs[0].account)?,
            None => left,
        };
        if left == 0 || asked > left {
            return Err(Rejection::ReversalExceeds { left, scale: first.scale });
        }
        match &original.sets {
            None => {
                let back = |(leg, booked): (&Leg, &Posted)| Move {
                    account: leg.account.clone(),
                    side: opposite(booked.side),
                    minor: if in_two_legs { asked } else { booked.amount },
                };
                let legs: Vec<Move> =
                    original.transaction.legs.iter().zip(&original.booked).map(back).collect();
                self.check(&legs)?;
                let booked = self.book(&legs);
                self.take_back(id.position, here.id(), legs[0].minor);
                Ok(Effect::Posted(booked))
            }
            Some(sets) => {
                let part = Decimal::from_i128_with_scale(asked, u32::from(first.scale));
                let back = |leg: &Leg| Leg {
                    side: opposite(leg.side),
                    amount: if in_two_legs { part } else { leg.amount },
                    ..leg.clone()
                };
                let of_first = if in_two_legs { asked } else { first.amount };
                let asked = Asked {
                    legs: original.transaction.legs.iter().map(back).collect(),
                    sets: sets.clone(),
                    reverses: Some((id.position, of_first)),
                    booked: None,
                };
                self.ask(here, asked, here.day())
            }
        }
    }

    /// A reversal is booked, here at least.
    pub(super) fn take_back(&mut self, original: Position, by: TransactionId, amount: i128) {
        self.taken_back.entry(original).or_default().push((by, amount));
    }

    pub(super) fn left_of(&self, original: &Original, position: Position) -> i128 {
        original.booked[0].amount - self.taken_back(position) - self.being_taken_back(position)
    }

    fn taken_back(&self, original: Position) -> i128 {
        self.reversals(original).iter().map(|(_, amount)| amount).sum()
    }

    /// What attempts that are not decided may yet take back.
    fn being_taken_back(&self, original: Position) -> i128 {
        let undecided = self.open.values().filter_map(|open| open.asked.as_ref());
        let reverses = undecided.filter(|asked| asked.booked.is_none()).filter_map(|asked| asked.reverses);
        reverses.chain(self.reserved).filter(|(of, _)| *of == original).map(|(_, amount)| amount).sum()
    }
}
