//! Lists with the filters that the API has: pages of a set's transactions from anywhere and of any size, transactions by
//! name, request ids by scope. What is listed is all there is, in order.

use std::sync::Arc;

use twinset_ledger::{Position, TransactionId};

use super::lately::Lately;
use super::{Generate, Ground, Hand, Kind, Plot};
use crate::history::{Answer, Ask, Name, Transfer};

const NAME: &str = "lists";

pub const KIND: Kind = Kind {
    name: NAME,
    about: "pages of transactions from anywhere, transactions and request ids by name, beside writes",
    plots: &[Plot::free("pay", 10)],
    make: |ground| Box::new(Lists { ground: ground.clone(), lately: Lately::default() }),
};

struct Lists {
    ground: Arc<Ground>,
    lately: Lately,
}

impl Generate for Lists {
    fn next(&mut self, hand: &mut Hand) -> Ask {
        let set = hand.pick(self.ground.sets());
        match (self.lately.any(&mut hand.random), hand.random.below(100)) {
            (Some((after, ..)), 0..18) => self.page(after.0.set, Some(after), hand),
            (Some((name, ..)), 18..22) => {
                // A place between transactions, and one that is not there yet.
                let id = name.0;
                let index = (id.position.index() + hand.random.below(40) as u64).saturating_sub(20);
                let offset = hand.random.below(4) as u16;
                let after = TransactionId { position: Position::new(index, offset), ..id };
                self.page(id.set, Some(Name(after)), hand)
            }
            (_, 22..23) => self.page(set, None, hand),
            (Some((transaction, ..)), 23..31) => Ask::ReadTransaction { transaction, level: hand.level(40) },
            (Some((_, scope, id)), 31..39) => Ask::ReadRequest { scope, id, level: hand.level(40) },
            (_, 39..40) => {
                let (scope, id) = (hand.pick(self.ground.plot(NAME, "pay", set)), hand.id());
                Ask::ReadRequest { scope, id, level: hand.level(40) }
            }
            _ => {
                let (a, b) = hand.pair(self.ground.plot(NAME, "pay", set));
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

impl Lists {
    fn page(&self, set: u32, after: Option<Name>, hand: &mut Hand) -> Ask {
        let page_size = 1 + hand.random.below(60) as u32;
        Ask::List { set, after, page_size, level: hand.level(40) }
    }
}
