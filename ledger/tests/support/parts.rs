//! Which legs a reversal names, drawn for whatever it takes back.
#![allow(dead_code, reason = "not every test draws them")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;
use rust_decimal::Decimal;
use twinset_ledger::memory::MemoryState;
use twinset_ledger::{Begin, Command, Leg, LegPart, Position, State};

/// Parts of legs that are not known yet.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    seed: u64,
    amount: Decimal,
}

/// Mostly a part of a leg, and as much of one on the other side.
pub fn parts(amount: impl Strategy<Value = Decimal>) -> impl Strategy<Value = Parts> {
    (any::<u64>(), amount).prop_map(|(seed, amount)| Parts { seed, amount })
}

/// The legs of the transaction at a position, if one stands there.
pub fn legs_at(state: &MemoryState, position: Position) -> Vec<Leg> {
    match state.original(position).expect("no fault").map(|(command, _)| command) {
        Some(Command::Transaction(transaction) | Command::Begin(Begin { transaction, .. })) => {
            transaction.legs
        }
        _ => Vec::new(),
    }
}

impl Parts {
    /// For one in two that ask for an amount: what is drawn besides says for which.
    pub fn in_place_of(amount: Option<Decimal>, drawn: &Index) -> Option<Parts> {
        let parts = Parts { seed: drawn.index(usize::MAX) as u64, amount: amount? };
        (parts.pick(0, 2) == 0).then_some(parts)
    }

    /// One of so many, other ones for other purposes.
    fn pick(self, purpose: u64, count: usize) -> usize {
        let mixed = (self.seed ^ purpose << 56).wrapping_add(purpose).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ mixed >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32;
        mixed as usize % count
    }

    /// Of the legs of a transaction; now and then only of those that are `elsewhere`.
    pub fn of(self, legs: &[Leg], elsewhere: impl Fn(&Leg) -> bool) -> Vec<LegPart> {
        // How they depart from two that balance.
        let odd = self.pick(1, 15);
        let count = legs.len().max(1);
        let is_elsewhere = |at: &usize| (7..14).contains(&odd) && legs.get(*at).is_some_and(&elsewhere);
        let mut near: Vec<usize> = (0..count).filter(is_elsewhere).collect();
        if near.len() < 2 {
            near = (0..count).collect();
        }
        let one = near[self.pick(2, near.len())];
        let opposite = |at: &usize| legs.get(*at).map(|leg| leg.side) != legs.get(one).map(|leg| leg.side);
        let others: Vec<usize> = near.into_iter().filter(opposite).collect();
        let other = match others.is_empty() {
            true => (one + 1) % count,
            false => others[self.pick(3, others.len())],
        };
        let mut parts = BTreeMap::from([(one, self.amount), (other, self.amount)]);
        let whole = || legs.iter().map(|leg| leg.amount).enumerate();
        match odd {
            0 => drop(parts.remove(&one)),
            1 => drop(parts.insert((one + 1) % count, self.amount)),
            2 => drop(parts.insert(count + one, self.amount)),
            3 => drop(parts.insert(other, self.amount + self.amount)),
            4 => parts.extend(whole()),
            5 => parts = whole().filter(|(at, _)| *at != one).collect(),
            6 => parts = whole().filter(|(at, _)| *at == one || *at == other).collect(),
            _ => {}
        }
        let part = |(leg, amount)| LegPart { leg: u16::try_from(leg).expect("few legs"), amount };
        parts.into_iter().map(part).collect()
    }
}
