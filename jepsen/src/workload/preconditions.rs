//! Preconditions and dry runs: clients read accounts that all of them move, and pay on conditions that are true, or nearly: of what is
//! posted, of what is available, of how often something was booked. Half of it is tried first, by a dry run, and then perhaps asked for,
//! or its request id is looked up; and what was decided is tried once more. On one of the accounts amounts are set aside and given back.

use std::collections::VecDeque;
use std::sync::Arc;

use super::ground::Seen;
use super::{Generate, Ground, Hand, Kind, Plot};
use crate::history::marks::{Figure, Mark, Marks};
use crate::history::{Answer, Ask, Level, Name, Transfer};

/// What `--workload` names it by.
pub const NAME: &str = "preconditions";
/// Transactions of one client that may be tried once more.
const RECENT: usize = 8;
/// What one transaction moves at most, in cents; conditions are off by up to twice as much.
const MOVED: usize = 40;

pub const KIND: Kind = Kind {
    name: NAME,
    about: "payments on conditions that are nearly true, by clients who race; dry runs of them, and what those must not change",
    plots: &[
        Plot::free("bank", 1),
        Plot::floored("pot", 2, -2_000),
        Plot { subject: "asset", ..Plot::free("till", 1) },
        Plot::free("held", 1),
    ],
    make: |ground| {
        Box::new(Preconditions {
            ground: ground.clone(),
            next: VecDeque::new(),
            asked: VecDeque::new(),
            placed: VecDeque::new(),
        })
    },
};

struct Preconditions {
    ground: Arc<Ground>,
    /// What follows from what was asked last.
    next: VecDeque<Ask>,
    /// What was asked for, and may be tried again.
    asked: VecDeque<Transfer>,
    /// Holds that are to be given back.
    placed: VecDeque<(u32, Name)>,
}

impl Generate for Preconditions {
    fn next(&mut self, hand: &mut Hand) -> Ask {
        if let Some(next) = self.next.pop_front() {
            return next;
        }
        let set = hand.pick(self.ground.sets());
        let account = self.conditional(set, hand);
        let Some(seen) = self.ground.seen(account).filter(|_| !hand.chance(12)) else {
            return Ask::ReadAccount { account, level: hand.level(15) };
        };
        match hand.random.below(100) {
            0..46 => self.ask(account, seen, set, hand),
            46..72 => {
                let transfer = self.transfer(account, seen, set, hand);
                match hand.random.below(100) {
                    // The same is asked for in earnest.
                    0..50 => self.next.push_back(Ask::Transfer(transfer.clone())),
                    50..80 => self.next.push_back(Ask::ReadRequest {
                        scope: transfer.scope.unwrap_or(account),
                        id: transfer.id.clone(),
                        level: Level::Linearizable,
                    }),
                    _ => self.next.push_back(Ask::ReadAccount { account, level: Level::Linearizable }),
                }
                Ask::DryRun(transfer)
            }
            72..88 => match self.known(hand) {
                Some(mut transfer) => {
                    if hand.chance(15) {
                        // Its id for something else.
                        transfer.legs.iter_mut().for_each(|(_, cents)| *cents += cents.signum());
                    }
                    Ask::DryRun(transfer)
                }
                None => self.ask(account, seen, set, hand),
            },
            _ => self.set_aside(set, hand),
        }
    }

    fn heard(&mut self, ask: &Ask, answer: &Answer) {
        match (ask, answer) {
            (Ask::ReadAccount { account, .. }, Answer::Account { figures, .. }) => {
                let (posted, available) = (figures.posted, figures.available);
                self.ground.saw(*account, Seen { posted, available, version: figures.version });
            }
            (Ask::Transfer(transfer), Answer::Booked { balances, .. }) => {
                for ((account, _), (posted, available)) in transfer.legs.iter().zip(balances) {
                    let version = self.ground.seen(*account).map_or(1, |seen| seen.version + 1);
                    let (posted, available) = (*posted, *available);
                    self.ground.saw(*account, Seen { posted, available, version });
                }
            }
            (Ask::PlaceHold { account, .. }, Answer::Held { held, .. }) => {
                self.placed.push_back((*account, held.hold));
            }
            _ => {}
        }
    }
}

impl Preconditions {
    /// An account that conditions are about.
    fn conditional(&self, set: u32, hand: &mut Hand) -> u32 {
        let plot = hand.pick(&["pot", "pot", "pot", "till", "held"]);
        hand.pick(self.ground.plot(NAME, plot, set))
    }

    fn ask(&mut self, account: u32, seen: Seen, set: u32, hand: &mut Hand) -> Ask {
        let transfer = self.transfer(account, seen, set, hand);
        self.asked.push_back(transfer.clone());
        if self.asked.len() > RECENT {
            self.asked.pop_front();
        }
        Ask::Transfer(transfer)
    }

    fn known(&self, hand: &mut Hand) -> Option<Transfer> {
        let back = hand.random.below(RECENT);
        self.asked.len().checked_sub(1 + back).and_then(|at| self.asked.get(at).cloned())
    }

    /// Between an account with conditions and another one, which may have some as well.
    fn transfer(&self, account: u32, seen: Seen, set: u32, hand: &mut Hand) -> Transfer {
        let other = self.conditional(set, hand);
        let bank = self.ground.plot(NAME, "bank", set)[0];
        let other = if other == account || hand.chance(60) { bank } else { other };
        let cents = if hand.chance(50) { hand.cents(MOVED) } else { -hand.cents(MOVED) };
        let mut marks = self.conditions(0, seen, hand);
        if let Some(seen) = self.ground.seen(other).filter(|_| other != bank && hand.chance(50)) {
            marks.extend(self.conditions(1, seen, hand));
        }
        let legs = vec![(account, cents), (other, -cents)];
        let scope = Some(account);
        Transfer { id: hand.id(), scope, label: None, capture: None, marks, legs }
    }

    /// One or two, about what was seen last, and mostly still true.
    fn conditions(&self, leg: u8, seen: Seen, hand: &mut Hand) -> Marks {
        let mut figures = vec![hand.pick(&Figure::ALL)];
        if hand.chance(30) {
            let another = hand.pick(&Figure::ALL);
            if another != figures[0] {
                figures.push(another);
            }
        }
        figures.sort();
        let mut value = |figure: Figure| {
            let most = 2 * MOVED;
            let off = if hand.chance(25) { 0 } else { hand.random.below(2 * most + 1) as i64 - most as i64 };
            match figure {
                Figure::AvailableMin | Figure::AvailableMax => seen.available + off,
                Figure::PostedMin | Figure::PostedMax => seen.posted + off,
                Figure::Version => seen.version as i64 + hand.pick(&[0, 0, 0, 1, 2]),
            }
        };
        figures.iter().map(|figure| (leg, Mark::Expects { figure: *figure, value: value(*figure) })).collect()
    }

    /// What is set aside changes what is available, and no version; it is given back some time later.
    fn set_aside(&mut self, set: u32, hand: &mut Hand) -> Ask {
        match self.placed.pop_front() {
            Some((account, hold)) => Ask::ReleaseHold { id: hand.id(), account, hold, cents: None },
            None => {
                let account = self.ground.plot(NAME, "held", set)[0];
                Ask::PlaceHold { id: hand.id(), account, cents: hand.cents(MOVED), expires_ns: None }
            }
        }
    }
}
