//! Batches: many transactions in one call, over all sets, some without cover, some with a request id of an earlier one or of
//! one in the same batch. Each stands for itself and is answered for itself; or all are of one set, and booked together or not at
//! all.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Generate, Ground, Hand, Kind, Plot};
use crate::history::{Ask, Transfer};

const NAME: &str = "batches";
const SIZE_MAX: usize = 20;

pub const KIND: Kind = Kind {
    name: NAME,
    about: "many transactions in one call, each for itself or all or none, with repeated ids among them",
    plots: &[Plot::free("payer", 8), Plot::floored("saver", 4, 0)],
    make: |ground| {
        Box::new(Batches {
            ground: ground.clone(),
            recent: Vec::new(),
            together: VecDeque::new(),
            reads: VecDeque::new(),
        })
    },
};

struct Batches {
    ground: Arc<Ground>,
    recent: Vec<Transfer>,
    /// Transactions of atomic batches, with their set.
    together: VecDeque<(u32, Transfer)>,
    /// Reads of what an atomic batch is about.
    reads: VecDeque<u32>,
}

impl Generate for Batches {
    fn next(&mut self, hand: &mut Hand) -> Ask {
        if let Some(account) = self.reads.pop_front() {
            return Ask::ReadAccount { account, level: hand.level(30) };
        }
        if hand.chance(40) {
            return self.together(hand);
        }
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
        Ask::Batch { items, with_postings: hand.chance(50), atomic: false }
    }
}

impl Batches {
    /// All or none: the second may spend what the first brings in, and now and then one has no cover, or was asked for before.
    fn together(&mut self, hand: &mut Hand) -> Ask {
        let set = hand.pick(self.ground.sets());
        let mut items: Vec<Transfer> = Vec::new();
        for _ in 0..2 + hand.random.below(5) {
            let known: Vec<&Transfer> =
                self.together.iter().filter(|(of, _)| *of == set).map(|(_, item)| item).collect();
            let again = match hand.random.below(100) {
                0..4 => items.last().cloned(),
                4..12 if !known.is_empty() => Some(known[hand.random.below(known.len())].clone()),
                _ => None,
            };
            items.push(again.unwrap_or_else(|| self.within(set, hand)));
        }
        self.reads
            .extend(items.iter().take(2).flat_map(|item| item.legs.iter().map(|(account, _)| *account)));
        self.together.extend(items.iter().take(2).map(|item| (set, item.clone())));
        self.together.drain(..self.together.len().saturating_sub(30));
        Ask::Batch { items, with_postings: hand.chance(60), atomic: true }
    }

    fn transfer(&self, hand: &mut Hand) -> Transfer {
        let set = hand.pick(self.ground.sets());
        self.within(set, hand)
    }

    fn within(&self, set: u32, hand: &mut Hand) -> Transfer {
        let payer = hand.pick(self.ground.plot(NAME, "payer", set));
        let saver = hand.pick(self.ground.plot(NAME, "saver", set));
        let cents = hand.cents(500);
        let legs = if hand.chance(55) {
            vec![(payer, cents), (saver, -cents)]
        } else {
            vec![(saver, cents), (payer, -cents)]
        };
        Transfer { id: hand.id(), scope: None, label: hand.label(), capture: None, marks: vec![], legs }
    }
}
