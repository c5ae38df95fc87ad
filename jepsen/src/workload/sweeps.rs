//! Sweeps: accounts that many pay into and that are swept, within their set and over sets, by threshold, by interval and at the
//! day-cut, while the sweeps are set anew and removed, payees are frozen, and others pay out of the swept accounts, too. Sweeps, their
//! runs and both ends are read, and runs are taken back.

use std::collections::VecDeque;
use std::sync::Arc;

use twinset_ledger::sweep::run_id;

use super::{Generate, Ground, Hand, Kind, Plot};
use crate::history::sweeps::{Swept, Terms, When};
use crate::history::{Answer, Ask, Mode, Name, Transfer};

/// What `--workload` names it by.
pub const NAME: &str = "sweeps";
/// Runs that a client has seen and may take back.
const RECENT: usize = 12;

pub const KIND: Kind = Kind {
    name: NAME,
    about: "accounts that are paid into and swept, by threshold and by interval, within a set and over several",
    plots: &[
        Plot::free("pay", 3),
        Plot::floored("till", 3, 0),
        Plot::floored("vault", 2, 0),
        Plot::free("bank", 1),
    ],
    make: |ground| Box::new(Sweeps { ground: ground.clone(), seen: None, runs: VecDeque::new() }),
};

struct Sweeps {
    ground: Arc<Ground>,
    /// A sweep that was read last, and how often it had run.
    seen: Option<(u32, Name, u32)>,
    runs: VecDeque<Name>,
}

impl Generate for Sweeps {
    fn next(&mut self, hand: &mut Hand) -> Ask {
        let set = hand.pick(self.ground.sets());
        let till = self.one_of("till", set, hand);
        match hand.random.below(1_000) {
            0..430 => self.pay_in(till, hand),
            430..530 => self.pay_out(till, set, hand),
            530..546 => Ask::SetSweep { id: hand.id(), account: till, terms: self.terms(set, hand) },
            546..550 => Ask::RemoveSweep { id: hand.id(), account: till },
            550..570 => {
                let (mode, on) = (hand.pick(&[Mode::Credit, Mode::Both]), hand.chance(30));
                Ask::Freeze { id: hand.id(), account: self.one_of("vault", set, hand), mode, on }
            }
            570..690 => Ask::ReadSweep { account: till, level: hand.level(30) },
            690..720 => Ask::ListSweeps { set, level: hand.level(30) },
            720..800 => self.look_up(hand).unwrap_or(Ask::ReadSweep { account: till, level: hand.level(30) }),
            800..830 => self.reverse(hand).unwrap_or_else(|| self.pay_in(till, hand)),
            830..930 => Ask::ReadAccount { account: till, level: hand.level(30) },
            _ => {
                let to = hand.pick(&["vault", "vault", "bank"]);
                Ask::ReadAccount { account: self.one_of(to, set, hand), level: hand.level(30) }
            }
        }
    }

    fn heard(&mut self, ask: &Ask, answer: &Answer) {
        match (ask, answer) {
            (Ask::ReadSweep { .. }, Answer::Swept { found, .. }) => {
                let seen = found.iter().find(|one| one.runs > 0);
                self.seen =
                    seen.map(|Swept { account, sweep, runs, .. }| (*account, *sweep, *runs)).or(self.seen);
            }
            (Ask::ReadRequest { .. }, Answer::Transaction { found, .. }) => {
                self.runs.push_back(found.transaction);
                if self.runs.len() > RECENT {
                    self.runs.pop_front();
                }
            }
            _ => {}
        }
    }
}

impl Sweeps {
    fn one_of(&self, plot: &'static str, set: u32, hand: &mut Hand) -> u32 {
        hand.pick(self.ground.plot(NAME, plot, set))
    }

    fn terms(&self, set: u32, hand: &mut Hand) -> Terms {
        let to_set = if hand.chance(45) { hand.pick(self.ground.sets()) } else { set };
        let to = hand.pick(&["vault", "vault", "bank"]);
        let to = self.one_of(to, to_set, hand);
        let keep = if hand.chance(40) { 0 } else { hand.cents(300) };
        let when = match hand.random.below(100) {
            0..45 => When::Above(keep + hand.cents(500)),
            45..95 => When::Every(1 + hand.random.below(2) as u32),
            _ => When::Daily,
        };
        Terms { to, keep, when }
    }

    fn pay_in(&self, till: u32, hand: &mut Hand) -> Ask {
        let from_set = hand.pick(self.ground.sets());
        let payer = if hand.chance(80) { self.ground.set_of(till) } else { from_set };
        let payer = self.one_of("pay", payer, hand);
        let cents = hand.cents(300);
        self.transfer(vec![(payer, cents), (till, -cents)], hand)
    }

    /// Of the same money that the sweep moves.
    fn pay_out(&self, till: u32, set: u32, hand: &mut Hand) -> Ask {
        let cents = hand.cents(400);
        let to = self.one_of("bank", set, hand);
        self.transfer(vec![(till, cents), (to, -cents)], hand)
    }

    fn transfer(&self, legs: Vec<(u32, i64)>, hand: &mut Hand) -> Ask {
        let (id, label) = (hand.id(), hand.label());
        Ask::Transfer(Transfer { id, scope: None, label, capture: None, marks: Vec::new(), legs })
    }

    /// One of the last runs of a sweep, or the next one.
    fn look_up(&self, hand: &mut Hand) -> Option<Ask> {
        let (scope, sweep, runs) = self.seen?;
        let run = (runs + 1).saturating_sub(hand.random.below(4) as u32).max(1);
        Some(Ask::ReadRequest { scope, id: run_id(sweep.0, run), level: hand.level(20) })
    }

    fn reverse(&self, hand: &mut Hand) -> Option<Ask> {
        let back = hand.random.below(RECENT);
        let transaction = *self.runs.iter().rev().nth(back)?;
        let cents = hand.chance(50).then(|| hand.cents(200));
        Some(Ask::Reverse { id: hand.id(), transaction, cents, parts: vec![] })
    }
}
