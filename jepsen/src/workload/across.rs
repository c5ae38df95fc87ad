//! Transactions over several sets, on accounts that same-set ones use as well: from two to five legs, in euros and yen, some
//! without cover, on frozen, closed or missing accounts, some that do not balance, some with a named scope, some under an id that
//! has been used; reversals of them, whole and in part, by several clients at once; and reads of all accounts right after an
//! answer.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use super::ground::Shelf;
use super::{Generate, Ground, Hand, Kind, Plot};
use crate::history::event::EURO;
use crate::history::{Answer, Ask, Level, Mode, Name, Transfer};

/// What `--workload` names it by.
pub const NAME: &str = "across";
/// Transactions that may still be taken back.
const RECENT: usize = 30;
/// Accounts of one client that are opened and closed.
const OWN: usize = 4;
const BATCH_MAX: usize = 8;

pub const KIND: Kind = Kind {
    name: NAME,
    about: "transactions over several sets, beside others on the same accounts, and reversals of them",
    plots: &[
        Plot::free("pay", 8),
        Plot { subject: "asset", ..Plot::free("till", 3) },
        Plot::floored("purse", 3, 0),
        Plot { currency: "JPY", ..Plot::free("yen", 3) },
        Plot { currency: "JPY", ..Plot::floored("purse-yen", 2, 0) },
        Plot::free("cold", 1),
    ],
    make: |ground| {
        Box::new(Across {
            ground: ground.clone(),
            booked: ground.shelf_across.clone(),
            reads: VecDeque::new(),
            last: None,
            own: VecDeque::new(),
        })
    },
};

struct Across {
    ground: Arc<Ground>,
    /// Shared by all clients, so that they race.
    booked: Shelf,
    /// Reads of what was just booked.
    reads: VecDeque<u32>,
    /// What was asked for last.
    last: Option<Transfer>,
    own: VecDeque<u32>,
}

impl Generate for Across {
    fn next(&mut self, hand: &mut Hand) -> Ask {
        if let Some(account) = self.reads.pop_front() {
            return Ask::ReadAccount { account, level: Level::Linearizable };
        }
        let set = hand.pick(self.ground.sets());
        match hand.random.below(100) {
            0..46 => self.ask(Self::over_sets, hand),
            46..58 => self.ask(Self::within, hand),
            58..72 => self.reverse(hand),
            72..78 => self.batch(hand),
            78..82 => self.same_id(hand),
            82..86 => {
                let (account, on) = (self.ground.plot(NAME, "cold", set)[0], hand.chance(40));
                let mode = hand.pick(&[Mode::Debit, Mode::Credit, Mode::Both]);
                Ask::Freeze { id: hand.id(), account, mode, on }
            }
            86..89 => self.life(set, hand),
            89..91 => {
                let account = hand.pick(self.ground.plot(NAME, "purse", set));
                Ask::SetLimit { id: hand.id(), account, limit: Some(-hand.cents(300)) }
            }
            91..94 => match self.last.clone() {
                Some(last) => {
                    let scope = hand.pick(&last.legs).0;
                    Ask::ReadRequest { scope, id: last.id, level: hand.level(20) }
                }
                None => self.ask(Self::over_sets, hand),
            },
            94..96 => match self.recent(hand) {
                Some((transaction, _)) => Ask::ReadTransaction { transaction, level: hand.level(30) },
                None => self.ask(Self::over_sets, hand),
            },
            _ => Ask::ReadAccount { account: self.any(set, hand), level: hand.level(40) },
        }
    }

    fn heard(&mut self, ask: &Ask, answer: &Answer) {
        let Answer::Booked { transaction, .. } = answer else { return };
        let Ask::Transfer(transfer) = ask else { return };
        self.reads.extend(transfer.legs.iter().map(|(account, _)| *account));
        let mut booked = self.booked.lock().unwrap_or_else(PoisonError::into_inner);
        booked.push_back((*transaction, transfer.legs[0].1.abs()));
        if booked.len() > RECENT {
            booked.pop_front();
        }
    }
}

impl Across {
    fn ask(&mut self, make: fn(&Self, &mut Hand) -> Transfer, hand: &mut Hand) -> Ask {
        let transfer = make(self, hand);
        self.last = Some(transfer.clone());
        Ask::Transfer(transfer)
    }

    /// The newest most often: others want them, too.
    fn recent(&self, hand: &mut Hand) -> Option<(Name, i64)> {
        let back = hand.random.below(RECENT).min(hand.random.below(RECENT));
        let booked = self.booked.lock().unwrap_or_else(PoisonError::into_inner);
        booked.len().checked_sub(1 + back).and_then(|at| booked.get(at).copied())
    }

    fn reverse(&mut self, hand: &mut Hand) -> Ask {
        match self.recent(hand) {
            Some((transaction, cents)) => {
                let part = hand.chance(60).then(|| hand.cents(cents.max(1) as usize));
                Ask::Reverse { id: hand.id(), transaction, cents: part, parts: vec![] }
            }
            None => self.ask(Self::over_sets, hand),
        }
    }

    fn batch(&mut self, hand: &mut Hand) -> Ask {
        let size = 1 + hand.random.below(BATCH_MAX);
        let mut items: Vec<Transfer> = Vec::with_capacity(size);
        for _ in 0..size {
            let again = items.last().cloned().filter(|_| hand.chance(6));
            let item = again.unwrap_or_else(|| match hand.chance(50) {
                true => self.over_sets(hand),
                false => self.within(hand),
            });
            items.push(item);
        }
        Ask::Batch { items, with_postings: hand.chance(50), atomic: false }
    }

    /// The last id for something else: in one set, or over several.
    fn same_id(&mut self, hand: &mut Hand) -> Ask {
        let Some(last) = self.last.clone() else { return self.ask(Self::over_sets, hand) };
        let mut other = if hand.chance(50) { self.over_sets(hand) } else { self.within(hand) };
        other.id = last.id;
        if hand.chance(40) {
            // A cent more between the same.
            (other.legs, other.scope) = (last.legs, last.scope);
            let (first, rest) = other.legs.split_first_mut().expect("it has legs");
            first.1 += first.1.signum();
            rest[0].1 += rest[0].1.signum();
        }
        Ask::Transfer(other)
    }

    /// Opened, used, closed, and used after that.
    fn life(&mut self, set: u32, hand: &mut Hand) -> Ask {
        if self.own.len() < OWN {
            let id = hand.id();
            let account = self.ground.account(NAME, set, &format!("own-{id}"));
            self.own.push_back(account);
            let (subject, currency) = ("liability".into(), EURO.into());
            return Ask::Open { id, account, subject, currency, limit: None };
        }
        let account = self.own.pop_front().expect("there are some");
        if hand.chance(50) {
            self.own.push_back(account);
        }
        Ask::Close { id: hand.id(), account }
    }

    fn any(&self, set: u32, hand: &mut Hand) -> u32 {
        let plot = hand.pick(&["pay", "pay", "till", "purse", "purse", "yen", "purse-yen", "cold"]);
        hand.pick(self.ground.plot(NAME, plot, set))
    }

    /// Who pays in euros or gets them.
    fn euros(&self, set: u32, hand: &mut Hand) -> u32 {
        let plot = match hand.random.below(100) {
            0..50 => "pay",
            50..65 => "till",
            65..92 => "purse",
            92..96 => "cold",
            96..99 if !self.own.is_empty() => return self.own[hand.random.below(self.own.len())],
            96..99 => "pay",
            _ => return self.ground.account(NAME, set, "nobody"),
        };
        hand.pick(self.ground.plot(NAME, plot, set))
    }

    fn yen(&self, set: u32, hand: &mut Hand) -> u32 {
        let plot = if hand.chance(60) { "yen" } else { "purse-yen" };
        hand.pick(self.ground.plot(NAME, plot, set))
    }

    /// Sets in any order, each once.
    fn sets(&self, hand: &mut Hand) -> Vec<u32> {
        let mut sets = self.ground.sets().to_vec();
        for at in (1..sets.len()).rev() {
            sets.swap(at, hand.random.below(at + 1));
        }
        sets
    }

    fn over_sets(&self, hand: &mut Hand) -> Transfer {
        let sets = self.sets(hand);
        let (first, second) = (sets[0], sets[1 % sets.len()]);
        let (cents, whole) = (hand.cents(400), 100 * hand.cents(30));
        let mut legs = match hand.random.below(100) {
            0..45 => vec![(self.euros(first, hand), cents), (self.euros(second, hand), -cents)],
            45..60 => vec![(self.yen(first, hand), whole), (self.yen(second, hand), -whole)],
            // An exchange.
            60..70 => vec![
                (self.euros(first, hand), cents),
                (self.euros(second, hand), -cents),
                (self.yen(second, hand), whole),
                (self.yen(first, hand), -whole),
            ],
            // One pays several.
            _ => {
                let others = 2 + hand.random.below(3);
                let parts: Vec<i64> = (0..others).map(|_| hand.cents(150)).collect();
                let mut legs = vec![(self.euros(first, hand), parts.iter().sum())];
                for (at, cents) in parts.into_iter().enumerate() {
                    let set = sets[(at + 1) % sets.len()];
                    legs.push((self.euros(set, hand), -cents));
                }
                legs
            }
        };
        if hand.chance(3) {
            legs[0].1 += 100;
        }
        if hand.chance(1) {
            // A part of a yen, if it is in yen.
            (legs[0].1, legs[1].1) = (legs[0].1 + 1, legs[1].1 - 1);
        }
        self.transfer(legs, hand)
    }

    /// Within one set.
    fn within(&self, hand: &mut Hand) -> Transfer {
        let set = hand.pick(self.ground.sets());
        let cents = hand.cents(400);
        let purse = hand.pick(self.ground.plot(NAME, "purse", set));
        let pay = hand.pick(self.ground.plot(NAME, "pay", set));
        let legs = match hand.random.below(100) {
            0..45 => vec![(pay, cents), (purse, -cents)],
            45..80 => vec![(purse, cents), (pay, -cents)],
            _ => {
                let (from, to) = hand.pair(self.ground.plot(NAME, "yen", set));
                vec![(from, 100 * cents), (to, -100 * cents)]
            }
        };
        self.transfer(legs, hand)
    }

    fn transfer(&self, mut legs: Vec<(u32, i64)>, hand: &mut Hand) -> Transfer {
        // Nobody can ask for two legs on the same account.
        if legs.len() == 2 && legs[0].0 == legs[1].0 {
            let set = self.ground.set_of(legs[0].0);
            let pay = self.ground.plot(NAME, "pay", set);
            (legs[0].0, legs[1].0) = hand.pair(pay);
        }
        let scope = hand.chance(20).then(|| hand.pick(&legs).0);
        Transfer { id: hand.id(), scope, label: hand.label(), capture: None, marks: vec![], legs }
    }
}
