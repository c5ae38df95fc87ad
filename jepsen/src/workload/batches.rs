//! Batches: many transactions in one call, over all sets, some without cover, some with a request id of an earlier one or of
//! one in the same batch. Each stands for itself and is answered for itself.

use std::sync::Arc;

use super::{Generate, Ground, Hand, Kind, Plot};
use crate::history::{Ask, Transfer};

const NAME: &str = "batches";
const SIZE_MAX: usize = 20;

pub const KIND: Kind = Kind {
    name: NAME,
    about: "many independent transactions in one call, with repeated ids among them",
    plots: &[Plot::free("payer", 8), Plot::floored("saver", 4, 0)],
    make: |ground| Box::new(Batches { ground: ground.clone(), recent: Vec::new() }),
};

struct Batches {
    ground: Arc<Ground>,
    recent: Vec<Transfer>,
}

impl Generate for Batches {
    fn next(&mut self, hand: &mut Hand) -> Ask {
        if hand.chance(10) {
            let set = hand.pick(self.ground.sets());
            let account = hand.pick(self.ground.plot(NAME, "saver", set));
            return Ask::ReadAccount { account, level: hand.level(40) };
        }
        let size = 1 + hand.random.below(SIZE_MAX);
        let mut items: Vec<Transfer> = Vec::with_capacity(size);
        for _ in 0..size {
            let again = match hand.random.below(100) {
                0..8 => items.last().cloned(),
                8..20 if !self.recent.is_empty() => {
                    Some(self.recent[hand.random.below(self.recent.len())].clone())
                }
                _ => None,
            };
            let item = again.unwrap_or_else(|| self.transfer(hand));
            items.push(item);
        }
        self.recent.extend(items.iter().take(3).cloned());
        let old = self.recent.len().saturating_sub(60);
        self.recent.drain(..old);
        Ask::Batch { items, with_postings: hand.chance(50) }
    }
}

impl Batches {
    fn transfer(&self, hand: &mut Hand) -> Transfer {
        let set = hand.pick(self.ground.sets());
        let payer = hand.pick(self.ground.plot(NAME, "payer", set));
        let saver = hand.pick(self.ground.plot(NAME, "saver", set));
        let cents = hand.cents(500);
        let legs = if hand.chance(55) {
            vec![(payer, cents), (saver, -cents)]
        } else {
            vec![(saver, cents), (payer, -cents)]
        };
        Transfer { id: hand.id(), scope: None, label: hand.label(), legs }
    }
}
