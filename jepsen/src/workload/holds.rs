//! Holds: placed with and without an end, captured in part, whole, more than once and finally, over one set and to others, by
//! several clients at once, released, extended, left to expire, reversed, and read, on accounts that are paid into, frozen and
//! given floors meanwhile.

use std::sync::{Arc, PoisonError};

use super::ground::{Placed, Shelf};
use super::{Generate, Ground, Hand, Kind, Plot};
use crate::history::holds::Capture;
use crate::history::{Answer, Ask, Mode, Name, Transfer};

const NAME: &str = "holds";
/// Holds that clients know of, and captures that may still be taken back.
const RECENT: usize = 24;
const MILLISECOND_NS: u64 = 1_000_000;

pub const KIND: Kind = Kind {
    name: NAME,
    about: "holds are placed, captured by several at once, also to other sets, released, extended, and expire",
    plots: &[
        Plot::floored("purse", 3, 0),
        Plot::free("card", 2),
        Plot { currency: "JPY", ..Plot::free("yen", 2) },
        Plot::free("shop", 3),
        Plot { currency: "JPY", ..Plot::free("shop-yen", 2) },
    ],
    make: |ground| {
        Box::new(Holds { ground: ground.clone(), captured: ground.shelf_captured.clone(), leaving: None })
    },
};

struct Holds {
    ground: Arc<Ground>,
    /// Shared by all clients, so that they race.
    captured: Shelf,
    /// A hold without an end that nobody will think of any more.
    leaving: Option<Placed>,
}

impl Generate for Holds {
    fn next(&mut self, hand: &mut Hand) -> Ask {
        if let Some(Placed { account, hold, .. }) = self.leaving.take() {
            return Ask::ReleaseHold { id: hand.id(), account, hold, cents: None };
        }
        let set = hand.pick(self.ground.sets());
        let Some(placed) = self.recent(hand).filter(|_| hand.chance(74)) else {
            return self.beside(set, hand);
        };
        let Placed { account, hold, cents, .. } = placed;
        match hand.random.below(100) {
            0..52 => self.capture(placed, hand),
            52..62 => {
                let part = hand.chance(60).then(|| hand.cents(cents as usize));
                Ask::ReleaseHold { id: hand.id(), account, hold, cents: self.whole(account, part) }
            }
            62..72 => {
                let end = self.time(self.ground.set_of(account), hand);
                let expires_ns = end.filter(|_| hand.chance(90));
                Ask::ExtendHold { id: hand.id(), account, hold, expires_ns }
            }
            72..88 => Ask::ReadHold { account, hold, level: hand.level(30) },
            88..93 => {
                let (after, page_size) = (hand.chance(70).then_some(hold), 1 + hand.random.below(20) as u32);
                Ask::ListHolds { account, after, page_size, level: hand.level(30) }
            }
            _ => Ask::ReadAccount { account, level: hand.level(30) },
        }
    }

    fn heard(&mut self, ask: &Ask, answer: &Answer) {
        if let Some((place, _)) = answer.decided() {
            self.ground.hear(place);
        }
        if let (Some(hold), Answer::Rejected { code, .. }) = (hold_of(ask), answer)
            && code == "hold_ended"
        {
            let mut shelf = self.ground.holds.lock().unwrap_or_else(PoisonError::into_inner);
            shelf.retain(|placed| placed.hold != hold);
        }
        match (ask, answer) {
            (Ask::PlaceHold { account, cents, expires_ns, .. }, Answer::Held { held, .. }) => {
                let ends = expires_ns.is_some();
                let placed = Placed { account: *account, hold: held.hold, cents: *cents, ends };
                let mut shelf = self.ground.holds.lock().unwrap_or_else(PoisonError::into_inner);
                shelf.push_back(placed);
                if shelf.len() > RECENT {
                    self.leaving = shelf.pop_front().filter(|placed| !placed.ends);
                }
            }
            (Ask::Transfer(Transfer { capture: Some(_), legs, .. }), Answer::Booked { transaction, .. }) => {
                let mut captured = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
                captured.push_back((*transaction, legs[0].1));
                if captured.len() > RECENT {
                    captured.pop_front();
                }
            }
            _ => {}
        }
    }
}

/// The hold that a command is on.
fn hold_of(ask: &Ask) -> Option<Name> {
    match ask {
        Ask::Transfer(transfer) => transfer.capture.map(|capture| capture.hold),
        Ask::ReleaseHold { hold, .. } | Ask::ExtendHold { hold, .. } => Some(*hold),
        _ => None,
    }
}

impl Holds {
    /// The newest most often: others want them, too.
    fn recent(&self, hand: &mut Hand) -> Option<Placed> {
        let back = hand.random.below(RECENT).min(hand.random.below(RECENT));
        let shelf = self.ground.holds.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.len().checked_sub(1 + back).and_then(|at| shelf.get(at).copied())
    }

    /// What is no command on a hold that is known.
    fn beside(&self, set: u32, hand: &mut Hand) -> Ask {
        let purse = hand.pick(self.ground.plot(NAME, "purse", set));
        match hand.random.below(100) {
            0..62 => self.place(set, hand),
            62..82 => {
                let shop = hand.pick(self.ground.plot(NAME, "shop", set));
                let cents = hand.cents(2_000);
                Ask::Transfer(Transfer {
                    id: hand.id(),
                    scope: None,
                    label: None,
                    capture: None,
                    marks: vec![],
                    legs: vec![(shop, cents), (purse, -cents)],
                })
            }
            82..90 => self.reverse(hand).unwrap_or_else(|| self.place(set, hand)),
            90..94 => {
                let (mode, on) = (hand.pick(&[Mode::Debit, Mode::Credit, Mode::Both]), hand.chance(30));
                Ask::Freeze { id: hand.id(), account: purse, mode, on }
            }
            94..96 => Ask::SetLimit { id: hand.id(), account: purse, limit: Some(-hand.cents(400)) },
            _ => Ask::ReadAccount { account: purse, level: hand.level(30) },
        }
    }

    fn place(&self, set: u32, hand: &mut Hand) -> Ask {
        let plot = hand.pick(&["purse", "purse", "card", "card", "yen"]);
        let account = hand.pick(self.ground.plot(NAME, plot, set));
        let part = self.whole(account, Some(hand.cents(900)));
        let expires_ns = self.time(set, hand).filter(|_| hand.chance(80));
        Ask::PlaceHold { id: hand.id(), account, cents: part.unwrap_or(1), expires_ns }
    }

    /// A ledger time a little ahead, now and then behind; none before any is known.
    fn time(&self, set: u32, hand: &mut Hand) -> Option<u64> {
        let ms = 50 + hand.random.below(2_500) as u64;
        let late = hand.chance(4);
        let now = self.ground.time_ns(set).filter(|now| *now > 4_000 * MILLISECOND_NS)?;
        Some(if late { now - ms * MILLISECOND_NS } else { now + ms * MILLISECOND_NS })
    }

    /// Yen have no parts.
    fn whole(&self, account: u32, cents: Option<i64>) -> Option<i64> {
        let is_yen =
            self.ground.sets().iter().any(|set| self.ground.plot(NAME, "yen", *set).contains(&account));
        cents.map(|cents| if is_yen { 100 * cents } else { cents })
    }

    fn capture(&self, Placed { account, hold, cents: most, .. }: Placed, hand: &mut Hand) -> Ask {
        let own = self.ground.set_of(account);
        let is_yen = self.whole(account, Some(1)) == Some(100);
        let unit = if is_yen { 100 } else { 1 };
        let cents = match hand.random.below(100) {
            0..60 => unit * hand.cents((most / unit) as usize),
            60..95 => most,
            _ => most + unit,
        };
        let shop = if is_yen { "shop-yen" } else { "shop" };
        let set = if hand.chance(35) { hand.pick(self.ground.sets()) } else { own };
        let payee = hand.pick(self.ground.plot(NAME, shop, set));
        let mut legs = vec![(account, cents), (payee, -cents)];
        if cents > 2 * unit && hand.chance(25) {
            let fee = hand.pick(self.ground.plot(NAME, shop, own));
            if fee != payee {
                legs[1].1 += unit;
                legs.push((fee, -unit));
            }
        }
        if hand.chance(4) {
            legs.iter_mut().for_each(|(_, cents)| *cents = -*cents);
        }
        let capture = Some(Capture { hold, is_final: hand.chance(30) });
        Ask::Transfer(Transfer {
            id: hand.id(),
            scope: Some(account),
            label: hand.label(),
            capture,
            marks: vec![],
            legs,
        })
    }

    fn reverse(&self, hand: &mut Hand) -> Option<Ask> {
        let at = hand.random.below(RECENT);
        let part = hand.chance(50).then(|| hand.cents(200));
        let captured = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
        let (transaction, _): (Name, i64) = captured.get(at).copied()?;
        Some(Ask::Reverse { id: hand.id(), transaction, cents: part, parts: vec![] })
    }
}
