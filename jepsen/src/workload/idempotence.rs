//! Request ids used again and again: a client has few of them, and takes each for the same, for another amount, for another
//! account, under another scope, for an account that is not there. What holds under an id is what was decided first.

use std::sync::Arc;

use super::{Generate, Ground, Hand, Kind, Plot};
use crate::history::{Ask, Transfer};

const NAME: &str = "idempotence";
/// Ids that a client uses at a time.
const IDS: usize = 6;

pub const KIND: Kind = Kind {
    name: NAME,
    about: "few request ids, each used for the same and for other things, in several scopes",
    plots: &[Plot::free("one", 6), Plot { subject: "asset", ..Plot::free("asset", 3) }],
    make: |ground| Box::new(Idempotence { ground: ground.clone(), ids: Vec::new(), last: None }),
};

struct Idempotence {
    ground: Arc<Ground>,
    ids: Vec<String>,
    last: Option<Transfer>,
}

impl Generate for Idempotence {
    fn next(&mut self, hand: &mut Hand) -> Ask {
        if self.ids.len() < IDS || hand.chance(20) {
            let fresh = hand.id();
            let at = hand.random.below(IDS);
            match self.ids.get_mut(at) {
                Some(old) => *old = fresh,
                None => self.ids.push(fresh),
            }
        }
        let id = self.ids[hand.random.below(self.ids.len())].clone();
        let set = hand.pick(self.ground.sets());
        let ones = self.ground.plot(NAME, "one", set);
        if hand.chance(8) {
            return Ask::ReadRequest { scope: hand.pick(ones), id, level: hand.level(30) };
        }
        if let Some(last) = self.last.clone().filter(|_| hand.chance(25)) {
            return Ask::Transfer(last);
        }
        // Few amounts, so that the same meets again.
        let cents = 100 * hand.cents(3);
        let (from, to) = match hand.random.below(10) {
            0 => (self.ground.account(NAME, set, "nobody"), hand.pick(ones)),
            1 | 2 => (hand.pick(self.ground.plot(NAME, "asset", set)), hand.pick(ones)),
            _ => hand.pair(ones),
        };
        let legs = vec![(from, cents), (to, -cents)];
        let scope = hand.chance(20).then(|| legs[hand.random.below(2)].0);
        let label = hand.chance(20).then(|| hand.random.below(3) as u16);
        let transfer = Transfer { id, scope, label, capture: None, marks: vec![], legs };
        self.last = Some(transfer.clone());
        Ask::Transfer(transfer)
    }
}
