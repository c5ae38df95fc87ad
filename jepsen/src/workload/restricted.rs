//! Restricted funds: credits that may not be withdrawn before a time or before they are released, by several clients at
//! once; withdrawals that may not use them and payments that may; releases of parts and of all, credits that are taken
//! back, and reads of accounts and of what is restricted on them. Holds on the same accounts come and go meanwhile.

use std::sync::{Arc, PoisonError};

use super::ground::Given;
use super::{Generate, Ground, Hand, Kind, Plot};
use crate::history::marks::{Mark, Marks};
use crate::history::restrictions::RestrictionState;
use crate::history::{Answer, Ask, Mode, Transfer};

/// What `--workload` names it by.
pub const NAME: &str = "restricted";
/// Restricted credits that clients know of.
const RECENT: usize = 24;
const MILLISECOND_NS: u64 = 1_000_000;

pub const KIND: Kind = Kind {
    name: NAME,
    about: "credits come restricted until a time or a release, and are withdrawn, spent, released and taken back by several at once",
    plots: &[
        Plot::free("bank", 2),
        Plot::floored("wallet", 3, 0),
        Plot::floored("credit", 1, -2_000),
        Plot { currency: "JPY", ..Plot::free("bank-yen", 1) },
        Plot { currency: "JPY", ..Plot::floored("yen", 1, 0) },
        Plot { subject: "asset", ..Plot::floored("till", 1, 0) },
    ],
    make: |ground| Box::new(Restricted { ground: ground.clone(), leaving: None }),
};

struct Restricted {
    ground: Arc<Ground>,
    /// What nobody will think of any more though it has no time.
    leaving: Option<Given>,
}

impl Generate for Restricted {
    fn next(&mut self, hand: &mut Hand) -> Ask {
        if let Some(Given { account, restriction, .. }) = self.leaving.take() {
            return Ask::ReleaseRestriction { id: hand.id(), account, restriction, cents: None };
        }
        let set = hand.pick(self.ground.sets());
        let account = self.account(set, hand);
        match hand.random.below(100) {
            0..24 => Ask::Transfer(self.credit(set, hand)),
            24..46 => Ask::Transfer(self.take(account, Some(Mark::Withdrawal), hand)),
            46..53 => Ask::Transfer(self.take(account, None, hand)),
            53..57 => {
                let Transfer { id, scope, label, legs, .. } = self.credit(set, hand);
                Ask::Transfer(Transfer { id, scope, label, capture: None, marks: vec![], legs })
            }
            57..60 => self.batch(set, hand),
            60..62 => self.hold(account, hand),
            62..64 => self.freeze(account, hand),
            64..66 => {
                let account = hand.pick(self.ground.plot(NAME, "credit", set));
                Ask::SetLimit { id: hand.id(), account, limit: Some(-hand.cents(3_000)) }
            }
            66..72 => Ask::ReadAccount { account, level: hand.level(30) },
            72..75 => self.list(account, hand),
            _ => match self.recent(hand) {
                Some(given) => self.known(given, hand),
                None => Ask::Transfer(self.credit(set, hand)),
            },
        }
    }

    fn heard(&mut self, ask: &Ask, answer: &Answer) {
        if let (Ask::Batch { items, .. }, Answer::Batch(answers)) = (ask, answer) {
            for (item, answer) in items.iter().zip(answers) {
                self.heard(&Ask::Transfer(item.clone()), answer);
            }
        }
        if let Some((place, _)) = answer.decided() {
            self.ground.hear(place);
        }
        match (ask, answer) {
            (Ask::Transfer(transfer), Answer::Booked { transaction, .. }) => {
                for (account, cents, until_ns) in transfer.restricted() {
                    let one = Given { account, restriction: *transaction, cents, ends: until_ns.is_some() };
                    let mut given = self.ground.given.lock().unwrap_or_else(PoisonError::into_inner);
                    given.push_back(one);
                    if given.len() > RECENT {
                        self.leaving = given.pop_front().filter(|one| !one.ends);
                    }
                }
            }
            (
                Ask::ReleaseRestriction { account, restriction, cents: None, .. },
                Answer::Released { .. } | Answer::Rejected { .. },
            ) => {
                let mut given = self.ground.given.lock().unwrap_or_else(PoisonError::into_inner);
                given.retain(|one| (one.account, one.restriction) != (*account, *restriction));
            }
            _ => {}
        }
    }
}

impl Restricted {
    /// The newest most often: others want them, too.
    fn recent(&self, hand: &mut Hand) -> Option<Given> {
        let back = hand.random.below(RECENT).min(hand.random.below(RECENT));
        let given = self.ground.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.len().checked_sub(1 + back).and_then(|at| given.get(at).copied())
    }

    fn account(&self, set: u32, hand: &mut Hand) -> u32 {
        let plot = hand.pick(&["wallet", "wallet", "wallet", "credit", "yen", "till"]);
        hand.pick(self.ground.plot(NAME, plot, set))
    }

    fn is_in(&self, plot: &'static str, account: u32) -> bool {
        self.ground.sets().iter().any(|set| self.ground.plot(NAME, plot, *set).contains(&account))
    }

    /// What such an account is paid from and to, and how many cents its currency's least amount has.
    fn other_side(&self, account: u32, hand: &mut Hand) -> (u32, i64) {
        let (plot, unit) = if self.is_in("yen", account) { ("bank-yen", 100) } else { ("bank", 1) };
        (hand.pick(self.ground.plot(NAME, plot, self.ground.set_of(account))), unit)
    }

    /// So much more of an account: a till is an asset.
    fn more(&self, account: u32, cents: i64) -> (u32, i64) {
        (account, if self.is_in("till", account) { cents } else { -cents })
    }

    /// Something that comes restricted; now and then to two at once, and beside something that does not.
    fn credit(&self, set: u32, hand: &mut Hand) -> Transfer {
        let account = self.account(set, hand);
        let (bank, unit) = self.other_side(account, hand);
        let cents = unit * hand.cents(900);
        let own = self.more(account, cents);
        let mut legs = vec![(bank, -own.1), own];
        let mut marks = Marks::from([(1, Mark::Restricted { until_ns: self.time(set, hand) })]);
        let other = hand.pick(self.ground.plot(NAME, "wallet", set));
        if unit == 1 && own.1 < 0 && other != account && hand.chance(15) {
            let more = hand.cents(300);
            legs[0].1 += more;
            legs.push((other, -more));
            if hand.chance(60) {
                marks.push((2, Mark::Restricted { until_ns: self.time(set, hand) }));
            }
        }
        if hand.chance(3) {
            // Nothing comes in: there is nothing to restrict.
            legs.iter_mut().for_each(|(_, cents)| *cents = -*cents);
        }
        Transfer { id: hand.id(), scope: None, label: hand.label(), capture: None, marks, legs }
    }

    /// Out of an account, as a withdrawal or not.
    fn take(&self, account: u32, mark: Option<Mark>, hand: &mut Hand) -> Transfer {
        let (bank, unit) = self.other_side(account, hand);
        let own = self.more(account, -unit * hand.cents(1_000));
        let legs = vec![own, (bank, -own.1)];
        let marks = mark.into_iter().map(|mark| (0, mark)).collect();
        Transfer { id: hand.id(), scope: None, label: hand.label(), capture: None, marks, legs }
    }

    /// Something comes restricted, and is withdrawn at once, which is refused unless there was enough before.
    fn batch(&self, set: u32, hand: &mut Hand) -> Ask {
        let first = self.credit(set, hand);
        let second = self.take(first.legs[1].0, Some(Mark::Withdrawal), hand);
        let mut items = vec![first, second];
        if hand.chance(40) {
            items.swap(0, 1);
        }
        Ask::Batch { items, with_postings: hand.chance(70), atomic: hand.chance(50) }
    }

    /// Keeps something back for a moment, withdrawable or not.
    fn hold(&self, account: u32, hand: &mut Hand) -> Ask {
        let set = self.ground.set_of(account);
        let account = hand.pick(self.ground.plot(NAME, "wallet", set));
        match self.ground.time_ns(set).filter(|now| *now > 4_000 * MILLISECOND_NS) {
            Some(now) => {
                let expires_ns = Some(now + (100 + hand.random.below(900) as u64) * MILLISECOND_NS);
                Ask::PlaceHold { id: hand.id(), account, cents: hand.cents(300), expires_ns }
            }
            None => Ask::ReadAccount { account, level: hand.level(30) },
        }
    }

    fn freeze(&self, account: u32, hand: &mut Hand) -> Ask {
        let (mode, on) = (hand.pick(&[Mode::Debit, Mode::Credit, Mode::Both]), hand.chance(30));
        Ask::Freeze { id: hand.id(), account, mode, on }
    }

    fn list(&self, account: u32, hand: &mut Hand) -> Ask {
        let state = hand.chance(60).then(|| hand.pick(&RestrictionState::ALL));
        let after = self.recent(hand).filter(|_| hand.chance(60)).map(|given| given.restriction);
        let page_size = 1 + hand.random.below(20) as u32;
        Ask::ListRestrictions { account, state, after, page_size, level: hand.level(30) }
    }

    /// Something with a restriction that was made.
    fn known(&self, Given { account, restriction, cents, .. }: Given, hand: &mut Hand) -> Ask {
        let unit = if self.is_in("yen", account) { 100 } else { 1 };
        match hand.random.below(100) {
            0..46 => {
                let part = hand.chance(65).then(|| unit * hand.cents((cents / unit) as usize));
                Ask::ReleaseRestriction { id: hand.id(), account, restriction, cents: part }
            }
            46..62 => {
                let part = hand.chance(50).then(|| unit * hand.cents((cents / unit) as usize));
                Ask::Reverse { id: hand.id(), transaction: restriction, cents: part, parts: vec![] }
            }
            62..66 => {
                // Of another account it restricts nothing.
                let account = self.account(self.ground.set_of(account), hand);
                Ask::ReleaseRestriction { id: hand.id(), account, restriction, cents: None }
            }
            66..90 => Ask::ReadRestriction { account, restriction, level: hand.level(30) },
            _ => Ask::ReadTransaction { transaction: restriction, level: hand.level(30) },
        }
    }

    /// A ledger time a little ahead, now and then behind; none: it waits for a release, and so before any time is known.
    fn time(&self, set: u32, hand: &mut Hand) -> Option<u64> {
        let ms = 50 + hand.random.below(2_500) as u64;
        let (late, never) = (hand.chance(4), hand.chance(30));
        let now = self.ground.time_ns(set).filter(|now| *now > 4_000 * MILLISECOND_NS && !never)?;
        Some(if late { now - ms * MILLISECOND_NS } else { now + ms * MILLISECOND_NS })
    }
}
