//! Events: clients follow each set and all of them, page by page, resume behind any event that they have seen, through any router,
//! and change accounts and book meanwhile.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{Generate, Ground, Hand, Kind, Plot};
use crate::history::{Answer, Ask, Mode, Transfer};

const NAME: &str = "events";
/// Places in streams that a client goes back to.
const KEPT: usize = 20;

pub const KIND: Kind = Kind {
    name: NAME,
    about: "clients follow the events of each set and of all, and resume behind any of them, beside writes",
    plots: &[Plot::free("pay", 6), Plot::floored("purse", 2, 0)],
    make: |ground| Box::new(Events { ground: ground.clone(), at: BTreeMap::new(), seen: VecDeque::new() }),
};

struct Events {
    ground: Arc<Ground>,
    /// How far each stream was followed: of a set, or of all.
    at: BTreeMap<Option<u32>, String>,
    /// Sets with keys of their events.
    seen: VecDeque<(u32, String)>,
}

impl Generate for Events {
    fn next(&mut self, hand: &mut Hand) -> Ask {
        let set = hand.pick(self.ground.sets());
        let (page_size, level) = (1 + hand.random.below(60) as u32, hand.level(20));
        let purse = hand.pick(self.ground.plot(NAME, "purse", set));
        match hand.random.below(100) {
            0..40 => {
                let set = hand.chance(65).then_some(set);
                let after = self.at.get(&set).cloned().unwrap_or_default();
                Ask::Events { set, after, page_size, level }
            }
            40..52 if !self.seen.is_empty() => {
                let (set, after) = self.seen[hand.random.below(self.seen.len())].clone();
                Ask::Events { set: Some(set), after, page_size, level }
            }
            52..55 => {
                let (mode, on) = (hand.pick(&[Mode::Debit, Mode::Credit, Mode::Both]), hand.chance(40));
                Ask::Freeze { id: hand.id(), account: purse, mode, on }
            }
            55..58 => Ask::SetLimit { id: hand.id(), account: purse, limit: Some(-hand.cents(300)) },
            _ => {
                let pay = hand.pick(self.ground.plot(NAME, "pay", set));
                let cents = hand.cents(300);
                let legs = match hand.chance(30) {
                    true => vec![(purse, cents), (pay, -cents)],
                    false => vec![(pay, cents), (purse, -cents)],
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
        let (Ask::Events { set, after, .. }, Answer::Events { events, next, .. }) = (ask, answer) else {
            return;
        };
        // Who went back to an earlier place goes on from the furthest.
        let known = self.at.entry(*set).or_default();
        if known == after {
            known.clone_from(next);
        }
        if let Some(told) = set.and(events.last()) {
            self.seen.push_back((told.event.0.set, told.event.to_string()));
            if self.seen.len() > KEPT {
                self.seen.pop_front();
            }
        }
    }
}
