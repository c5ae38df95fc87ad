//! Transfers within sets: accounts of both normal sides pay each other, a few without cover, a few over many legs. With
//! linearizable and stale reads of the balances.

use std::sync::Arc;

use super::{Generate, Ground, Hand, Kind, Plot};
use crate::history::{Ask, Transfer};

const NAME: &str = "transfers";

pub const KIND: Kind = Kind {
    name: NAME,
    about: "accounts of a set pay each other; some without cover, some over many legs",
    plots: &[
        Plot::free("pay", 24),
        Plot { subject: "asset", ..Plot::free("till", 8) },
        Plot::floored("empty", 1, 0),
    ],
    make: |ground| Box::new(Transfers { ground: ground.clone() }),
};

struct Transfers {
    ground: Arc<Ground>,
}

impl Generate for Transfers {
    fn next(&mut self, hand: &mut Hand) -> Ask {
        let set = hand.pick(self.ground.sets());
        let (pay, till) = (self.ground.plot(NAME, "pay", set), self.ground.plot(NAME, "till", set));
        if hand.chance(10) {
            let of = if hand.chance(30) { till } else { pay };
            return Ask::ReadAccount { account: hand.pick(of), level: hand.level(40) };
        }
        let cents = hand.cents(9_999);
        let legs = match hand.random.below(100) {
            0..5 => vec![(self.ground.plot(NAME, "empty", set)[0], cents), (hand.pick(pay), -cents)],
            5..15 => {
                let ((a, b), more) = (hand.pair(pay), hand.cents(500));
                vec![(a, cents + more), (b, -cents), (hand.pick(till), -more)]
            }
            15..35 => vec![(hand.pick(till), cents), (hand.pick(pay), -cents)],
            _ => {
                let (a, b) = hand.pair(pay);
                vec![(a, cents), (b, -cents)]
            }
        };
        let scope = hand.chance(15).then(|| legs[1].0);
        Ask::Transfer(Transfer {
            id: hand.id(),
            scope,
            label: hand.label(),
            capture: None,
            marks: vec![],
            legs,
        })
    }
}
