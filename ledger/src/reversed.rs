//! How much reversals take back of a transaction: leg by leg, so that none is ever taken back beyond what was booked. A
//! transaction of two legs has one sum for both, and one that is taken back at once as a whole has it for all.

use std::collections::BTreeMap;

use crate::id::TransactionId;

/// How much one reversal takes back, in minor units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// So much of the first leg: of a transaction of two legs as much of the other one, of one of more legs all of every leg.
    Evenly(i128),
    /// Of a transaction of more than two legs, so much of each of these, counted from 0. They rise, and each amount is above
    /// zero.
    Legs(Vec<(u16, i128)>),
}

/// What several reversals take back together, in minor units.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TakenBack {
    /// Of the first leg, by those that take back evenly ([`Taken::Evenly`]).
    pub evenly: i128,
    /// Of each leg, by those that name legs.
    pub legs: BTreeMap<u16, i128>,
}

impl TakenBack {
    /// Adds what one reversal takes.
    pub fn add(&mut self, taken: &Taken) {
        match taken {
            Taken::Evenly(amount) => self.evenly += amount,
            Taken::Legs(legs) => {
                legs.iter().for_each(|(leg, amount)| *self.legs.entry(*leg).or_default() += amount);
            }
        }
    }

    /// How much of the leg at `leg`, of a transaction whose legs have these amounts.
    pub fn of(&self, leg: usize, amounts: &[i128]) -> i128 {
        let named = u16::try_from(leg).ok().and_then(|leg| self.legs.get(&leg)).copied().unwrap_or(0);
        match amounts.len() {
            2 => self.evenly + named,
            _ if self.evenly > 0 => amounts[leg],
            _ => named,
        }
    }
}

/// What has been taken back of a transaction so far.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Reversed {
    /// How much.
    pub taken: TakenBack,
    /// The reversals, in order.
    pub by: Vec<TransactionId>,
}

impl Reversed {
    /// Adds a reversal.
    pub fn add(&mut self, by: TransactionId, taken: &Taken) {
        self.taken.add(taken);
        self.by.push(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_legs_go_together_and_more_are_summed_each_for_itself() {
        let mut two = TakenBack::default();
        [3, 4].iter().for_each(|amount| two.add(&Taken::Evenly(*amount)));
        assert_eq!([0, 1].map(|leg| two.of(leg, &[9, 9])), [7, 7]);
        let mut whole = TakenBack::default();
        whole.add(&Taken::Evenly(9));
        assert_eq!([0, 1, 2].map(|leg| whole.of(leg, &[9, 5, 4])), [9, 5, 4]);
        let mut parts = TakenBack::default();
        parts.add(&Taken::Legs(vec![(0, 2), (2, 2)]));
        parts.add(&Taken::Legs(vec![(0, 1), (1, 1)]));
        assert_eq!([0, 1, 2].map(|leg| parts.of(leg, &[9, 5, 4])), [3, 1, 2]);
    }
}
