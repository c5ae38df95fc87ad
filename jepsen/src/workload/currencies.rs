//! Two currencies with different minor units: payments within one, exchanges that move both at once, and payments from one to
//! the other, which do not balance. Yen have no cents: amounts of a part of a yen are refused.

use std::sync::Arc;

use super::{Generate, Ground, Hand, Kind, Plot};
use crate::history::{Ask, Transfer};

const NAME: &str = "currencies";

pub const KIND: Kind = Kind {
    name: NAME,
    about: "payments in euros and in yen, exchanges between them, and what does not balance",
    plots: &[
        Plot::free("euro", 6),
        Plot { currency: "JPY", ..Plot::free("yen", 6) },
        Plot { currency: "JPY", ..Plot::floored("purse", 2, 0) },
    ],
    make: |ground| Box::new(Currencies { ground: ground.clone() }),
};

struct Currencies {
    ground: Arc<Ground>,
}

impl Generate for Currencies {
    fn next(&mut self, hand: &mut Hand) -> Ask {
        let set = hand.pick(self.ground.sets());
        let plot = |name| self.ground.plot(NAME, name, set);
        let (euro, yen, purse) = (plot("euro"), plot("yen"), plot("purse"));
        if hand.chance(20) {
            let of = [euro, yen, purse][hand.random.below(3)];
            return Ask::ReadAccount { account: hand.pick(of), level: hand.level(40) };
        }
        let (cents, whole) = (hand.cents(5_000), 100 * hand.cents(300));
        let legs = match hand.random.below(100) {
            0..30 => {
                let (from, to) = hand.pair(yen);
                vec![(from, whole), (to, -whole)]
            }
            30..60 => {
                let (buyer, seller) = (hand.pair(euro), hand.pair(yen));
                vec![(buyer.0, cents), (buyer.1, -cents), (seller.0, whole), (seller.1, -whole)]
            }
            60..75 => vec![(hand.pick(yen), whole), (hand.pick(purse), -whole)],
            75..88 => vec![(hand.pick(purse), whole), (hand.pick(yen), -whole)],
            // A part of a yen.
            88..94 => {
                let (from, to) = hand.pair(yen);
                vec![(from, whole + 1), (to, -whole - 1)]
            }
            // Balanced in numbers alone.
            _ => vec![(hand.pick(euro), whole), (hand.pick(yen), -whole)],
        };
        Ask::Transfer(Transfer {
            id: hand.id(),
            scope: None,
            label: hand.label(),
            capture: None,
            marks: vec![],
            legs,
        })
    }
}
