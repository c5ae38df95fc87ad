//! Reversals: of what one set booked, and of what several did, which begin an attempt.

use rust_decimal::Decimal;
use twinset_ledger::{
    Begin, Command, Effect, Label, Leg, LegKind, Position, Posted, Rejection, Reversal, Transaction,
    TransactionId,
};

use super::attempt::Asked;
use super::booking::{Move, minor, opposite};
use super::buffer::all_legs;
use super::{Here, Model};

/// A transaction that can be reversed.
pub(super) struct Original {
    pub transaction: Transaction,
    /// The sets of its legs, if there are several.
    pub sets: Option<Vec<u32>>,
    /// Nothing, as long as it is not told in the coordinator's log what was booked everywhere.
    booked: Vec<Posted>,
    /// A set that a part of it is still on its way to.
    on_its_way: Option<u32>,
}

impl Original {
    pub fn is_settled(&self) -> bool {
        !self.booked.is_empty()
    }
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
                Ok(Original { transaction: transaction.clone(), sets: None, booked, on_its_way: None })
            }
            (Command::Begin(Begin { transaction, sets }), Ok(Effect::Settled(booked))) => {
                let (transaction, sets) = (transaction.clone(), Some(sets.clone()));
                Ok(Original { transaction, sets, booked, on_its_way: None })
            }
            // Booked in this set; the answer is on its way into the log.
            (Command::Begin(Begin { transaction, sets }), Ok(_)) if self.is_booked(id) => {
                let (transaction, sets) = (transaction.clone(), Some(sets.clone()));
                Ok(Original { transaction, sets, booked: Vec::new(), on_its_way: Some(self.set) })
            }
            (Command::Begin(begin), Ok(Effect::Buffered { booked, sent })) => Ok(Original {
                transaction: begin.transaction.clone(),
                sets: Some(begin.sets.clone()),
                booked: all_legs(begin, self.set, &booked, &sent),
                on_its_way: self.buffering.on_its_way(&sent, id.incarnation),
            }),
            // Nobody knows yet whether there will be such a transaction.
            (Command::Begin(_), Ok(_)) => Err(not_found),
            _ => Err(Rejection::NotReversible { transaction: id }),
        }
    }

    pub(super) fn reverse(&mut self, here: Here, reversal: &Reversal) -> Result<Effect, Rejection> {
        let id = reversal.transaction;
        let original = self.original(here.position, id)?;
        let Some(first) = original.booked.first() else {
            return Err(Rejection::SetUnavailable { set: self.set });
        };
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
        if let Some(set) = original.on_its_way {
            return Err(Rejection::SetUnavailable { set });
        }
        match &original.sets {
            None => {
                let back = |(leg, booked): (&Leg, &Posted)| Move {
                    account: leg.account.clone(),
                    side: opposite(booked.side),
                    minor: if in_two_legs { asked } else { booked.amount },
                    expects: Vec::new(),
                    kind: LegKind::Ordinary,
                };
                let legs: Vec<Move> =
                    original.transaction.legs.iter().zip(&original.booked).map(back).collect();
                self.check(&legs, None)?;
                let booked = self.book(&legs);
                self.reverse_restrictions(here, id, &legs);
                self.take_back(id.position, here.id(), legs[0].minor);
                Ok(Effect::Posted(booked))
            }
            Some(sets) => {
                let part = Decimal::from_i128_with_scale(asked, u32::from(first.scale));
                let back = |leg: &Leg| Leg {
                    side: opposite(leg.side),
                    amount: if in_two_legs { part } else { leg.amount },
                    preconditions: Vec::new(),
                    kind: LegKind::Ordinary,
                    ..leg.clone()
                };
                let of_first = if in_two_legs { asked } else { first.amount };
                let asked = Asked {
                    legs: original.transaction.legs.iter().map(back).collect(),
                    sets: sets.clone(),
                    reverses: Some((id, of_first)),
                    taking: None,
                    booked: None,
                    label: Label { kind: 0, reason: reversal.reason, metadata: reversal.metadata.clone() },
                };
                self.ask(here, asked, None, here.day())
            }
        }
    }

    fn is_booked(&self, id: TransactionId) -> bool {
        let asked = self.open.get(&id).and_then(|open| open.asked.as_ref());
        asked.is_some_and(|asked| asked.booked.is_some())
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
        let reverses = reverses.map(|(of, amount)| (of.position, amount));
        reverses.chain(self.reserved).filter(|(of, _)| *of == original).map(|(_, amount)| amount).sum()
    }
}
