//! Statements: pages of an account's postings, of any size, read on from where any page ended, while others post to it; and its
//! balance after an entry of the past.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Generate, Ground, Hand, Kind, Plot};
use crate::history::{Answer, Ask, Transfer};

const NAME: &str = "statements";
/// Places between pages that a client goes back to.
const KEPT: usize = 30;

pub const KIND: Kind = Kind {
    name: NAME,
    about: "pages of statements of any size, read on from where any page ended, beside writes; balances of the past",
    plots: &[Plot::free("pay", 4), Plot { subject: "asset", ..Plot::free("till", 2) }],
    make: |ground| {
        Box::new(Statements { ground: ground.clone(), places: VecDeque::new(), indexes: VecDeque::new() })
    },
};

struct Statements {
    ground: Arc<Ground>,
    /// Accounts with the cursors of next pages.
    places: VecDeque<(u32, String)>,
    /// Sets with indexes of their logs.
    indexes: VecDeque<(u32, u64)>,
}

impl Generate for Statements {
    fn next(&mut self, hand: &mut Hand) -> Ask {
        let set = hand.pick(self.ground.sets());
        let account = self.any(set, hand);
        let (page_size, level) = (1 + hand.random.below(30) as u32, hand.level(30));
        match hand.random.below(100) {
            0..40 if !self.places.is_empty() => {
                // The newest one most often: that reads on.
                let back = hand.random.below(KEPT).min(hand.random.below(KEPT)) % self.places.len();
                let (account, cursor) = self.places[self.places.len() - 1 - back].clone();
                Ask::Statement { account, cursor, page_size, level }
            }
            40..50 => Ask::Statement { account, cursor: String::new(), page_size, level },
            50..60 if !self.indexes.is_empty() => {
                let (set, index) = self.indexes[hand.random.below(self.indexes.len())];
                Ask::Balance { account: self.any(set, hand), index, level }
            }
            60..65 => Ask::ReadAccount { account, level },
            _ => {
                let (one, other) = hand.pair(self.ground.plot(NAME, "pay", set));
                let till = hand.pick(self.ground.plot(NAME, "till", set));
                let cents = hand.cents(700);
                let legs = match hand.random.below(4) {
                    0 => vec![(till, cents), (one, -cents)],
                    1 => vec![(one, cents), (till, -cents)],
                    2 => vec![(one, cents), (other, -cents)],
                    // Two legs of one transaction on one account are two lines.
                    _ => vec![(one, cents), (one, 1), (other, -cents - 1)],
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
    }

    fn heard(&mut self, ask: &Ask, answer: &Answer) {
        match (ask, answer) {
            (Ask::Statement { account, .. }, Answer::Statement { next, .. }) if !next.is_empty() => {
                keep(&mut self.places, (*account, next.clone()));
            }
            (Ask::Transfer(_), Answer::Booked { place, .. }) => {
                keep(&mut self.indexes, (place.set, place.index));
            }
            _ => {}
        }
    }
}

fn keep<T>(of: &mut VecDeque<T>, new: T) {
    of.push_back(new);
    if of.len() > KEPT {
        of.pop_front();
    }
}

impl Statements {
    fn any(&self, set: u32, hand: &mut Hand) -> u32 {
        let plot = if hand.chance(70) { "pay" } else { "till" };
        hand.pick(self.ground.plot(NAME, plot, set))
    }
}
