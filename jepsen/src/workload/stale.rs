//! Stale reads of everything that can be read, at both sites, beside writes: each is a whole state of the past, and not older
//! than it says.

use std::sync::Arc;

use super::lately::Lately;
use super::{Generate, Ground, Hand, Kind, Plot};
use crate::history::{Answer, Ask, Level, Transfer};

const NAME: &str = "stale";

pub const KIND: Kind = Kind {
    name: NAME,
    about: "stale reads of accounts, transactions, request ids and pages, beside writes",
    plots: &[Plot::free("pay", 6)],
    make: |ground| Box::new(Stale { ground: ground.clone(), lately: Lately::default() }),
};

struct Stale {
    ground: Arc<Ground>,
    lately: Lately,
}

impl Generate for Stale {
    fn next(&mut self, hand: &mut Hand) -> Ask {
        let set = hand.pick(self.ground.sets());
        let pay = self.ground.plot(NAME, "pay", set);
        let level = if hand.chance(90) { Level::Stale } else { Level::Linearizable };
        match (self.lately.newest(), hand.random.below(100)) {
            (_, 0..30) => Ask::ReadAccount { account: hand.pick(pay), level },
            (Some((transaction, ..)), 30..38) => Ask::ReadTransaction { transaction, level },
            (Some((_, scope, id)), 38..44) => Ask::ReadRequest { scope, id, level },
            (Some((after, ..)), 44..50) => {
                Ask::List { set: after.0.set, after: Some(after), page_size: 20, level }
            }
            _ => {
                let (a, b) = hand.pair(pay);
                let cents = hand.cents(5_000);
                Ask::Transfer(Transfer {
                    id: hand.id(),
                    scope: None,
                    label: None,
                    capture: None,
                    marks: vec![],
                    legs: vec![(a, cents), (b, -cents)],
                })
            }
        }
    }

    fn heard(&mut self, ask: &Ask, answer: &Answer) {
        self.lately.heard(ask, answer);
    }
}
