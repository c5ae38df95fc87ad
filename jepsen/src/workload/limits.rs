//! Limits under contention: many clients race for the last cents of a few purses, some with a floor of zero, some with one
//! below it; now and then a floor is moved.

use std::sync::Arc;

use super::{Generate, Ground, Hand, Kind, Plot};
use crate::history::{Ask, Transfer};

const NAME: &str = "limits";

pub const KIND: Kind = Kind {
    name: NAME,
    about: "many debits race for the last cents of accounts with a floor of zero and below",
    plots: &[Plot::free("bank", 1), Plot::floored("purse", 2, 0), Plot::floored("credit", 2, -500)],
    make: |ground| Box::new(Limits { ground: ground.clone() }),
};

struct Limits {
    ground: Arc<Ground>,
}

impl Generate for Limits {
    fn next(&mut self, hand: &mut Hand) -> Ask {
        let set = hand.pick(self.ground.sets());
        let plot = if hand.chance(60) { "purse" } else { "credit" };
        let purse = hand.pick(self.ground.plot(NAME, plot, set));
        let bank = self.ground.plot(NAME, "bank", set)[0];
        match hand.random.below(100) {
            0..8 => Ask::ReadAccount { account: purse, level: hand.level(30) },
            8..10 => {
                let limit = if plot == "purse" { 0 } else { -hand.cents(1_000) };
                Ask::SetLimit { id: hand.id(), account: purse, limit: Some(limit) }
            }
            // A little less comes in than is asked for.
            10..45 => {
                let cents = hand.cents(400);
                Ask::Transfer(Transfer {
                    id: hand.id(),
                    scope: None,
                    label: None,
                    capture: None,
                    marks: vec![],
                    legs: vec![(bank, cents), (purse, -cents)],
                })
            }
            45..55 => {
                // Out of two purses at once: all or nothing.
                let (a, b) = hand.pair(self.ground.plot(NAME, "purse", set));
                let (one, two) = (hand.cents(200), hand.cents(200));
                let legs = vec![(a, one), (b, two), (bank, -one - two)];
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
                let cents = hand.cents(400);
                Ask::Transfer(Transfer {
                    id: hand.id(),
                    scope: None,
                    label: None,
                    capture: None,
                    marks: vec![],
                    legs: vec![(purse, cents), (bank, -cents)],
                })
            }
        }
    }
}
