//! Buffered accounts: merchants of each set whom payers of all sets pay, some of them several at once, while the mode of the
//! merchants changes, they are frozen, and pay out themselves; payments are taken back, what stands in suspense is booked on, and
//! statements, balances, what is in transit and what is in suspense are read.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};

use super::ground::Shelf;
use super::{Generate, Ground, Hand, Kind, Plot};
use crate::history::{Answer, Ask, Level, Mode, Name, Transfer};

/// What `--workload` names it by.
pub const NAME: &str = "buffered";
/// Payments that may still be taken back, and credits in suspense that clients know of.
const RECENT: usize = 24;
/// Places between pages of statements that a client goes back to.
const KEPT: usize = 12;

pub const KIND: Kind = Kind {
    name: NAME,
    about: "payers of all sets pay accounts that need not be asked, whose mode changes; reversals, suspense, and what is in transit",
    plots: &[
        Plot::free("pay", 4),
        Plot::floored("purse", 3, 0),
        Plot { currency: "JPY", ..Plot::free("yen", 2) },
        Plot::floored("shop", 2, 0),
        Plot { currency: "JPY", ..Plot::floored("shop-yen", 1, 0) },
        Plot { subject: "asset", ..Plot::free("till", 1) },
    ],
    make: |ground| {
        Box::new(Buffered {
            ground: ground.clone(),
            paid: ground.shelf_buffered.clone(),
            pages: VecDeque::new(),
            reads: VecDeque::new(),
            last: None,
        })
    },
};

struct Buffered {
    ground: Arc<Ground>,
    /// Shared by all clients, so that they race.
    paid: Shelf,
    /// Accounts with the cursors of next pages.
    pages: VecDeque<(u32, String)>,
    /// Merchants whose figures are read after a payment was answered.
    reads: VecDeque<u32>,
    /// What was asked for last.
    last: Option<Transfer>,
}

impl Generate for Buffered {
    fn next(&mut self, hand: &mut Hand) -> Ask {
        let set = hand.pick(self.ground.sets());
        if let Some(account) = self.reads.pop_front() {
            return match hand.random.below(3) {
                0 => Ask::ReadAccount { account, level: Level::Linearizable },
                _ => Ask::ReadTransit { account, level: Level::Linearizable },
            };
        }
        let merchant = self.merchant(set, hand);
        match hand.random.below(100) {
            0..50 => self.pay(set, hand),
            50..55 => self.pay_out(set, hand),
            55..61 => self.reverse(hand).unwrap_or_else(|| self.pay(set, hand)),
            61..67 => Ask::SetMode { id: hand.id(), account: merchant, buffered: hand.chance(65) },
            67..71 => {
                let (mode, on) = (hand.pick(&[Mode::Credit, Mode::Both, Mode::Debit]), hand.chance(35));
                Ask::Freeze { id: hand.id(), account: merchant, mode, on }
            }
            71..76 => Ask::ReadTransit { account: merchant, level: hand.level(40) },
            76..82 => self.statement(merchant, hand),
            82..87 => Ask::ReadAccount { account: merchant, level: hand.level(30) },
            87..90 => self.resolve(hand).unwrap_or_else(|| self.pay(set, hand)),
            90..93 => Ask::ListSuspense {
                set,
                after: None,
                page_size: 1 + hand.random.below(20) as u32,
                level: hand.level(30),
            },
            93..96 => match self.last.clone() {
                Some(last) => {
                    let scope = hand.pick(&last.legs).0;
                    Ask::ReadRequest { scope, id: last.id, level: hand.level(20) }
                }
                None => self.pay(set, hand),
            },
            96..98 => match self.recent(hand) {
                Some((transaction, _)) => Ask::ReadTransaction { transaction, level: hand.level(30) },
                None => self.pay(set, hand),
            },
            _ => {
                let payer = hand.pick(self.ground.plot(NAME, "purse", set));
                Ask::ReadAccount { account: payer, level: hand.level(30) }
            }
        }
    }

    fn heard(&mut self, ask: &Ask, answer: &Answer) {
        match (ask, answer) {
            (Ask::Transfer(transfer), Answer::Booked { transaction, .. }) => {
                if self.reads.is_empty() {
                    self.reads.extend(transfer.legs.iter().skip(1).map(|(account, _)| *account).take(1));
                }
                let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
                keep(&mut paid, (*transaction, transfer.legs[0].1.abs()), RECENT);
            }
            (Ask::Statement { account, .. }, Answer::Statement { next, .. }) if !next.is_empty() => {
                keep(&mut self.pages, (*account, next.clone()), KEPT);
            }
            (Ask::ListSuspense { .. }, Answer::Suspense { found, .. }) => {
                let mut known = self.ground.suspended.lock().unwrap_or_else(PoisonError::into_inner);
                found.iter().for_each(|one| keep(&mut known, one.item, RECENT));
            }
            _ => {}
        }
    }
}

fn keep<T>(of: &mut VecDeque<T>, new: T, most: usize) {
    of.push_back(new);
    if of.len() > most {
        of.pop_front();
    }
}

impl Buffered {
    /// The newest most often: others want them, too.
    fn recent(&self, hand: &mut Hand) -> Option<(Name, i64)> {
        let back = hand.random.below(RECENT).min(hand.random.below(RECENT));
        let paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        paid.len().checked_sub(1 + back).and_then(|at| paid.get(at).copied())
    }

    fn merchant(&self, set: u32, hand: &mut Hand) -> u32 {
        let plot = hand.pick(&["shop", "shop", "shop", "shop-yen", "till"]);
        hand.pick(self.ground.plot(NAME, plot, set))
    }

    fn pay(&mut self, set: u32, hand: &mut Hand) -> Ask {
        let payee_set = hand.pick(self.ground.sets());
        let one_of =
            |plot: &'static str, set: u32, hand: &mut Hand| hand.pick(self.ground.plot(NAME, plot, set));
        let (cents, whole) = (hand.cents(400), 100 * hand.cents(30));
        let payer = if hand.chance(30) { "purse" } else { "pay" };
        let payer = one_of(payer, set, hand);
        let mut scope = None;
        let legs = match hand.random.below(100) {
            0..58 => vec![(payer, cents), (one_of("shop", payee_set, hand), -cents)],
            58..70 => vec![(one_of("yen", set, hand), whole), (one_of("shop-yen", payee_set, hand), -whole)],
            // Money comes in on the side of the debits; the payers' set books it all the same.
            70..76 => {
                let from = one_of("pay", set, hand);
                scope = Some(from);
                vec![(from, -cents), (one_of("till", payee_set, hand), cents)]
            }
            // Several at once, also of one set.
            76..92 => {
                let parts: Vec<i64> = (0..2 + hand.random.below(2)).map(|_| hand.cents(150)).collect();
                let mut legs = vec![(payer, parts.iter().sum())];
                for part in parts {
                    let to = hand.pick(self.ground.sets());
                    legs.push((one_of("shop", to, hand), -part));
                }
                legs
            }
            // Some of it is of who has to be asked.
            92..96 => {
                let more = hand.cents(50);
                let other = one_of("purse", payee_set, hand);
                vec![(payer, cents + more), (one_of("shop", payee_set, hand), -cents), (other, -more)]
            }
            // The payee's set decides it: then the payer's is asked.
            _ => {
                let shop = one_of("shop", payee_set, hand);
                scope = Some(shop);
                vec![(payer, cents), (shop, -cents)]
            }
        };
        let legs = match legs.iter().skip(1).any(|(account, _)| *account == payer) {
            true => vec![(payer, cents), (one_of("shop", payee_set, hand), -cents)],
            false => legs,
        };
        let transfer =
            Transfer { id: hand.id(), scope, label: hand.label(), capture: None, marks: vec![], legs };
        self.last = Some(transfer.clone());
        Ask::Transfer(transfer)
    }

    /// Out of a merchant's account, which has to be covered by what has arrived; into a purse that pays again.
    fn pay_out(&self, set: u32, hand: &mut Hand) -> Ask {
        let shop = hand.pick(self.ground.plot(NAME, "shop", set));
        let to = if hand.chance(40) { hand.pick(self.ground.sets()) } else { set };
        let purse = hand.pick(self.ground.plot(NAME, "purse", to));
        let cents = hand.cents(1_500);
        let legs = vec![(shop, cents), (purse, -cents)];
        Ask::Transfer(Transfer {
            id: hand.id(),
            scope: None,
            label: hand.label(),
            capture: None,
            marks: vec![],
            legs,
        })
    }

    fn reverse(&self, hand: &mut Hand) -> Option<Ask> {
        let (transaction, cents) = self.recent(hand)?;
        let part = hand.chance(50).then(|| hand.cents(cents.max(1) as usize));
        Some(Ask::Reverse { id: hand.id(), transaction, cents: part, parts: vec![] })
    }

    fn statement(&self, account: u32, hand: &mut Hand) -> Ask {
        let (page_size, level) = (1 + hand.random.below(30) as u32, hand.level(30));
        let known = self.pages.back().filter(|_| hand.chance(60)).cloned();
        let (account, cursor) = known.unwrap_or((account, String::new()));
        Ask::Statement { account, cursor, page_size, level }
    }

    /// To an account that should have had it, or to another one; now and then in another currency.
    fn resolve(&self, hand: &mut Hand) -> Option<Ask> {
        let item = {
            let known = self.ground.suspended.lock().unwrap_or_else(PoisonError::into_inner);
            known.len().checked_sub(1 + hand.random.below(RECENT)).and_then(|at| known.get(at).copied())?
        };
        let plot = hand.pick(&["shop", "shop", "purse", "shop-yen"]);
        let account = hand.pick(self.ground.plot(NAME, plot, item.0.set));
        Some(Ask::ResolveSuspense { id: hand.id(), item, account })
    }
}
