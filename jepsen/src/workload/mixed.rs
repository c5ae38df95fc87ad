//! Everything at once: each call is drawn from one of the other workloads.

use std::sync::Arc;

use super::{ALL, Generate, Ground, Hand, Kind};
use crate::history::{Answer, Ask};

const NAME: &str = "mixed";

pub const KIND: Kind = Kind {
    name: NAME,
    about: "each call from one of the others",
    plots: &[],
    make: |ground| Box::new(Mixed::new(ground)),
};

struct Mixed {
    parts: Vec<Box<dyn Generate>>,
    last: usize,
}

impl Mixed {
    fn new(ground: &Arc<Ground>) -> Self {
        let parts = ALL.iter().filter(|kind| kind.name != NAME).map(|kind| (kind.make)(ground)).collect();
        Mixed { parts, last: 0 }
    }
}

impl Generate for Mixed {
    fn next(&mut self, hand: &mut Hand) -> Ask {
        self.last = hand.random.below(self.parts.len());
        self.parts[self.last].next(hand)
    }

    fn heard(&mut self, ask: &Ask, answer: &Answer) {
        self.parts[self.last].heard(ask, answer);
    }
}
