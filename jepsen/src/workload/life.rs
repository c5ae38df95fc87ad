//! The life of accounts: opened, paid into, frozen, unfrozen, given floors, emptied, closed, and used after their end. Each
//! client has a few of its own, and pays those of others.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Generate, Ground, Hand, Kind, Plot};
use crate::history::event::EURO;
use crate::history::{Ask, Mode, Transfer};

const NAME: &str = "life";
/// Accounts of one client at a time.
const OWN: usize = 5;

pub const KIND: Kind = Kind {
    name: NAME,
    about: "accounts are opened, frozen, unfrozen, given floors, emptied and closed while they are used",
    plots: &[Plot::free("bank", 2)],
    make: |ground| Box::new(Life { ground: ground.clone(), own: VecDeque::new() }),
};

struct Life {
    ground: Arc<Ground>,
    own: VecDeque<Own>,
}

/// An account, and what it has if all was booked.
struct Own {
    account: u32,
    cents: i64,
}

impl Generate for Life {
    fn next(&mut self, hand: &mut Hand) -> Ask {
        if self.own.is_empty() || hand.chance(6) {
            return self.open(hand);
        }
        let at = hand.random.below(self.own.len());
        let ground = self.ground.clone();
        let own = &mut self.own[at];
        let account = own.account;
        let mode = hand.pick(&[Mode::Debit, Mode::Credit, Mode::Both]);
        match hand.random.below(100) {
            0..10 => Ask::ReadAccount { account, level: hand.level(40) },
            10..16 => Ask::Freeze { id: hand.id(), account, mode, on: true },
            16..26 => Ask::Freeze { id: hand.id(), account, mode, on: false },
            26..32 => {
                let limit = hand.chance(80).then(|| -hand.cents(800));
                Ask::SetLimit { id: hand.id(), account, limit }
            }
            32..37 => Ask::Close { id: hand.id(), account },
            // All that it should have: often it can be closed afterwards.
            37..47 if own.cents > 0 => {
                let cents = std::mem::take(&mut own.cents);
                transfer(&ground, account, cents, hand)
            }
            37..70 => {
                let cents = hand.cents(400);
                own.cents += cents;
                transfer(&ground, account, -cents, hand)
            }
            70..72 => Ask::Open {
                id: hand.id(),
                account,
                subject: "liability".into(),
                currency: EURO.into(),
                limit: Some(0),
            },
            _ => {
                let cents = hand.cents(200);
                own.cents -= cents;
                transfer(&ground, account, cents, hand)
            }
        }
    }
}

/// Out of the account, or into it if `cents` is below zero.
fn transfer(ground: &Ground, account: u32, cents: i64, hand: &mut Hand) -> Ask {
    let bank = hand.pick(ground.plot(NAME, "bank", ground.set_of(account)));
    Ask::Transfer(Transfer {
        id: hand.id(),
        scope: None,
        label: None,
        capture: None,
        marks: vec![],
        legs: vec![(account, cents), (bank, -cents)],
    })
}

impl Life {
    fn open(&mut self, hand: &mut Hand) -> Ask {
        let set = hand.pick(self.ground.sets());
        let id = hand.id();
        let account = self.ground.account(NAME, set, &format!("own-{id}"));
        self.own.push_back(Own { account, cents: 0 });
        if self.own.len() > OWN {
            self.own.pop_front();
        }
        let subject = if hand.chance(25) { "expense" } else { "liability" };
        Ask::Open {
            id,
            account,
            subject: subject.into(),
            currency: EURO.into(),
            limit: hand.chance(70).then_some(0),
        }
    }
}
