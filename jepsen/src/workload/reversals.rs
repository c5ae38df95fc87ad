//! Reversals: whole, in parts, by legs, several at once by different clients, of many legs, of a reversal, of what is not there,
//! and where the money has gone on. All of them together never take back more than the original, of any of its legs.

use std::sync::{Arc, PoisonError};

use twinset_ledger::{Position, TransactionId};

use super::ground::Shelf;
use super::{Generate, Ground, Hand, Kind, Plot};
use crate::history::{Answer, Ask, Name, Transfer};

const NAME: &str = "reversals";
/// Transactions that may still be taken back.
const RECENT: usize = 40;

pub const KIND: Kind = Kind {
    name: NAME,
    about: "transactions are taken back whole, in parts, and by several clients at once",
    plots: &[Plot::free("payer", 6), Plot::floored("payee", 4, 0)],
    make: |ground| Box::new(Reversals { ground: ground.clone(), booked: ground.shelf.clone() }),
};

struct Reversals {
    ground: Arc<Ground>,
    /// Shared by all clients, so that they race.
    booked: Shelf,
}

impl Generate for Reversals {
    fn next(&mut self, hand: &mut Hand) -> Ask {
        let recent = {
            let booked = self.booked.lock().unwrap_or_else(PoisonError::into_inner);
            // The newest most often: others want them, too.
            let back = hand.random.below(RECENT).min(hand.random.below(RECENT));
            booked.len().checked_sub(1 + back).and_then(|at| booked.get(at).copied())
        };
        let set = hand.pick(self.ground.sets());
        match (recent, hand.random.below(100)) {
            (Some((transaction, cents)), 0..18) => {
                Ask::Reverse { id: hand.id(), transaction, cents: None, parts: parts(cents, hand) }
            }
            (Some((transaction, cents)), 18..45) => {
                let part = hand.chance(60).then(|| hand.cents(cents.max(1) as usize));
                Ask::Reverse { id: hand.id(), transaction, cents: part, parts: vec![] }
            }
            (Some((transaction, _)), 45..53) => Ask::ReadTransaction { transaction, level: hand.level(40) },
            (_, 53..55) => {
                let position = Position::new(1 << 40, 0);
                let transaction = Name(TransactionId { set, incarnation: 1, position });
                Ask::Reverse { id: hand.id(), transaction, cents: None, parts: vec![] }
            }
            (_, 55..63) => {
                let (payee, payer) = self.pick(set, hand);
                let cents = hand.cents(300);
                Ask::Transfer(Transfer {
                    id: hand.id(),
                    scope: None,
                    label: None,
                    capture: None,
                    marks: vec![],
                    legs: vec![(payee, cents), (payer, -cents)],
                })
            }
            (_, 63..78) => {
                let (payee, payer) = self.pick(set, hand);
                let (one, two) = (hand.cents(300), hand.cents(300));
                let other = self.pick(set, hand).0;
                let legs = vec![(payer, one + two), (payee, -one), (other, -two)];
                Ask::Transfer(Transfer {
                    id: hand.id(),
                    scope: None,
                    label: None,
                    capture: None,
                    marks: vec![],
                    legs,
                })
            }
            _ => {
                let (payee, payer) = self.pick(set, hand);
                let cents = hand.cents(900);
                Ask::Transfer(Transfer {
                    id: hand.id(),
                    scope: None,
                    label: None,
                    capture: None,
                    marks: vec![],
                    legs: vec![(payer, cents), (payee, -cents)],
                })
            }
        }
    }

    fn heard(&mut self, ask: &Ask, answer: &Answer) {
        let Answer::Booked { transaction, .. } = answer else { return };
        let cents = match ask {
            Ask::Transfer(transfer) => transfer.legs[0].1,
            // A few reversals are tried to be taken back themselves.
            Ask::Reverse { .. } if transaction.0.position.index() % 8 == 0 => 100,
            _ => return,
        };
        let mut booked = self.booked.lock().unwrap_or_else(PoisonError::into_inner);
        booked.push_back((*transaction, cents));
        if booked.len() > RECENT {
            booked.pop_front();
        }
    }
}

/// Parts of what one paid to another or to two, who have the second leg and the third. The payer's comes to as much, mostly.
fn parts(cents: i64, hand: &mut Hand) -> Vec<(u16, i64)> {
    let part = |hand: &mut Hand| hand.cents((cents / 3).max(1) as usize);
    let (one, two) = (part(hand), part(hand));
    let mut parts = match hand.random.below(100) {
        0..35 => vec![(0, one), (1, one)],
        35..65 => vec![(0, two), (2, two)],
        65..90 => vec![(0, one + two), (1, one), (2, two)],
        90..95 => vec![(1, one), (3, one)],
        _ => vec![(1, one)],
    };
    if hand.chance(6) {
        parts[0].1 += 1;
    }
    parts
}

impl Reversals {
    fn pick(&self, set: u32, hand: &mut Hand) -> (u32, u32) {
        (hand.pick(self.ground.plot(NAME, "payee", set)), hand.pick(self.ground.plot(NAME, "payer", set)))
    }
}
