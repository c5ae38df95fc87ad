//! Reversals: of what one set booked, and of what several did, which begin an attempt.

use rust_decimal::Decimal;
use twinset_ledger::state::Taken;
use twinset_ledger::{
    Begin, Command, Effect, Label, Leg, LegKind, Position, Posted, Rejection, Reversal, Side, Transaction,
    TransactionId,
};

use super::attempt::{Asked, scope};
use super::booking::{Move, balanced, minor, opposite};
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

/// What a reversal takes back.
#[derive(Clone)]
pub(super) struct Back {
    /// The transaction.
    pub of: TransactionId,
    /// In minor units, of each of its legs.
    pub legs: Vec<i128>,
    /// Whether its legs, more than two, are told apart.
    pub is_apart: bool,
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
        if !original.is_settled() {
            return Err(Rejection::SetUnavailable { set: self.set });
        }
        let back = self.back(&original, reversal)?;
        if let Some(set) = original.on_its_way {
            return Err(Rejection::SetUnavailable { set });
        }
        if self.is_of_here(&original, &back.legs) {
            let legs = moves(&original, &back.legs);
            self.check(&legs, None)?;
            let booked = self.book(&legs);
            self.reverse_restrictions(here, id, &legs);
            self.take_back(here.id(), back);
            return Ok(Effect::Posted(booked));
        }
        let sets = original.sets.as_ref().expect("else it is all of here");
        let in_two_legs = original.booked.len() == 2;
        let leg = |at: usize| {
            let scale = original.booked[if in_two_legs { 0 } else { at }].scale;
            let leg = &original.transaction.legs[at];
            let part = Decimal::from_i128_with_scale(back.legs[at], u32::from(scale));
            Leg {
                side: opposite(leg.side),
                amount: if back.is_apart || in_two_legs { part } else { leg.amount },
                preconditions: Vec::new(),
                kind: LegKind::Ordinary,
                ..leg.clone()
            }
        };
        let asked = Asked {
            legs: back.which().map(leg).collect(),
            sets: back.which().map(|at| sets[at]).collect(),
            reverses: Some(back),
            taking: None,
            booked: None,
            label: Label { kind: 0, reason: reversal.reason, metadata: reversal.metadata.clone() },
        };
        self.ask(here, asked, None, here.day())
    }

    /// What is to be taken back, and may be.
    fn back(&self, original: &Original, reversal: &Reversal) -> Result<Back, Rejection> {
        let of = reversal.transaction;
        let (left, count) = (self.left_of(original, of.position), original.booked.len());
        let scale = |at: usize| original.booked[at].scale;
        let account = |at: usize| original.transaction.legs[at].account.as_str();
        let first = Rejection::ReversalExceeds { left: left[0], scale: scale(0), leg: None };
        let back = |legs, is_apart| Ok(Back { of, legs, is_apart });
        if let Some(amount) = reversal.amount {
            if count > 2 {
                return Err(Rejection::PartialReversalOfManyLegs { transaction: of });
            }
            let part = minor(amount, scale(0), account(0))?;
            return if part > left[0] { Err(first) } else { back(vec![part; 2], false) };
        }
        if let Some(named) = &reversal.legs {
            if let Some(part) = named.iter().find(|part| usize::from(part.leg) >= count) {
                return Err(Rejection::LegNotFound { transaction: of, leg: part.leg });
            }
            let mut legs = vec![0; count];
            for part in named {
                let at = usize::from(part.leg);
                legs[at] = minor(part.amount, scale(at), account(at))?;
            }
            self.parts_balance(original, &legs)?;
            if let Some(at) = (0..count).find(|at| legs[*at] > left[*at]) {
                let leg = Some(u16::try_from(at).expect("a leg"));
                return Err(Rejection::ReversalExceeds { left: left[at], scale: scale(at), leg });
            }
            return back(legs, count > 2);
        }
        let untouched = (0..count).all(|at| left[at] == original.booked[at].amount);
        match count {
            2 if left[0] > 0 => back(vec![left[0]; 2], false),
            2 => Err(first),
            _ if untouched => back(left, false),
            // Perhaps they do not balance, and then the rest does not.
            _ if self.undecided(of.position).any(|back| back.is_apart) => {
                Err(Rejection::SetUnavailable { set: self.set })
            }
            _ if left.iter().all(|left| *left == 0) => Err(first),
            _ => back(left, true),
        }
    }

    /// Parts that are all of this set balance; so do those of two legs, which have one currency. Of others nobody knows yet.
    fn parts_balance(&self, original: &Original, legs: &[i128]) -> Result<(), Rejection> {
        if self.is_of_here(original, legs) {
            return balanced(self.sums(&moves(original, legs))?);
        }
        if legs.len() > 2 || legs[0] == legs[1] {
            return Ok(());
        }
        let known = &self.accounts[scope(&original.transaction)];
        let (debits, credits) = match original.booked[0].side {
            Side::Credit => (legs[0], legs[1]),
            Side::Debit => (legs[1], legs[0]),
        };
        let (currency, scale) = (known.currency.clone(), known.scale);
        Err(Rejection::Unbalanced { currency, debits, credits, scale })
    }

    /// Whether these parts touch no other set.
    fn is_of_here(&self, original: &Original, legs: &[i128]) -> bool {
        let sets = original.sets.iter().flatten();
        sets.zip(legs).all(|(set, part)| *set == self.set || *part == 0)
    }

    fn is_booked(&self, id: TransactionId) -> bool {
        let asked = self.open.get(&id).and_then(|open| open.asked.as_ref());
        asked.is_some_and(|asked| asked.booked.is_some())
    }

    /// A reversal is booked, here at least.
    pub(super) fn take_back(&mut self, by: TransactionId, back: Back) {
        self.taken_back.entry(back.of.position).or_default().push((by, back.legs));
    }

    /// In minor units, of each leg.
    pub(super) fn left_of(&self, original: &Original, position: Position) -> Vec<i128> {
        let taken = self.reversals(position).iter().map(|(_, legs)| legs);
        let taking = self.undecided(position).map(|back| &back.legs);
        let mut left: Vec<i128> = original.booked.iter().map(|leg| leg.amount).collect();
        for legs in taken.chain(taking) {
            left.iter_mut().zip(legs).for_each(|(left, part)| *left -= part);
        }
        let reserved = self.reserved.filter(|(of, _)| *of == position);
        match (reserved, left.as_mut_slice()) {
            (None, _) => {}
            (Some((_, amount)), [one, other]) => (*one, *other) = (*one - amount, *other - amount),
            // Who does not name legs takes back all of them.
            (Some(_), many) => many.fill(0),
        }
        left
    }

    /// What attempts that are not decided may yet take back.
    fn undecided(&self, original: Position) -> impl Iterator<Item = &Back> {
        let undecided = self.open.values().filter_map(|open| open.asked.as_ref());
        let reverses =
            undecided.filter(|asked| asked.booked.is_none()).filter_map(|asked| asked.reverses.as_ref());
        reverses.filter(move |back| back.of.position == original)
    }

    /// How much was booked of each leg of the transaction at a position, which can be reversed.
    #[allow(dead_code, reason = "not every test asks")]
    pub fn amounts(&self, position: Position) -> Vec<i128> {
        let id = TransactionId { set: self.set, incarnation: self.incarnation_at(position), position };
        let original = self.original(Position(u64::MAX), id).map(|original| original.booked);
        original.unwrap_or_default().iter().map(|leg| leg.amount).collect()
    }
}

/// The parts of legs, turned round.
fn moves(original: &Original, legs: &[i128]) -> Vec<Move> {
    let parts = original.transaction.legs.iter().zip(&original.booked).zip(legs);
    let back = |((leg, booked), part): ((&Leg, &Posted), &i128)| Move {
        account: leg.account.clone(),
        side: opposite(booked.side),
        minor: *part,
        expects: Vec::new(),
        kind: LegKind::Ordinary,
    };
    parts.filter(|(_, part)| **part != 0).map(back).collect()
}

impl Back {
    /// The legs of which something is taken back.
    fn which(&self) -> impl Iterator<Item = usize> {
        (0..self.legs.len()).filter(|at| self.legs[*at] != 0)
    }

    /// As the ledger sums it.
    pub fn taken(&self) -> (TransactionId, Taken) {
        let part = |at: usize| (u16::try_from(at).expect("a leg"), self.legs[at]);
        match self.is_apart {
            true => (self.of, Taken::Legs(self.which().map(part).collect())),
            false => (self.of, Taken::Evenly(self.legs[0])),
        }
    }
}
