//! Check-back in a history: holds that name somebody, tries and confirmations, mostly of what is overdue and in their order.

use twinset_ledger::check_back::{
    Came, CheckBack, CheckedBack, Failure, OnExpiry, confirmation, confirmation_id,
};
use twinset_ledger::hold::Hold;
use twinset_ledger::{Command, State};

use super::{ACCOUNTS, ELSEWHERE, Pick, Story, carried};

/// Whoever is asked.
const SHOP: &str = "shop";

/// What a placed hold says, for one number; of them few are of accounts in another currency.
pub(super) fn on_expiry(payee: Option<usize>) -> OnExpiry {
    let named = |at: usize| ACCOUNTS.get(at).map_or_else(|| ELSEWHERE[at % ELSEWHERE.len()].0, |one| one.0);
    let terms = |at| CheckBack { initiator: SHOP.to_owned(), to: named(at).to_owned() };
    payee.map_or(OnExpiry::Release, |at| OnExpiry::CheckBack(terms(at)))
}

impl Story {
    fn overdue(&self, pick: &Pick) -> Option<&Hold> {
        let holds = self.twin.books.short.holds();
        let due: Vec<&Hold> = holds.to_ask(SHOP, self.now).collect();
        let overdue: Vec<&Hold> = holds.overdue(self.now).collect();
        let near = if due.is_empty() || pick.twist < 24 { overdue } else { due };
        match near.is_empty() || pick.twist < 12 {
            true => holds.get(self.hold(pick)?.0.position),
            false => Some(*pick.back.get(&near)),
        }
    }

    /// What came of a try.
    pub(super) fn tried(&self, pick: &Pick, came: u8, by: i64) -> Option<Command> {
        let hold = self.overdue(pick)?;
        let next_ns = self.now.saturating_add_signed(by);
        let came = match came {
            0..4 => Came::Pending { next_ns },
            4 => Came::Failed { why: Failure::TimedOut, next_ns },
            5 => Came::Failed { why: Failure::Refused { number: 13 }, next_ns },
            6 => Came::Cancelled,
            7 => Came::Released,
            _ => Came::Kept,
        };
        let last = hold.check_back.as_ref().map_or(0, |asking| asking.tries);
        let no = match pick.twist % 10 {
            0 => last,
            1 => last + 2,
            _ => last + 1,
        };
        Some(Command::CheckedBack(CheckedBack { hold: hold.id, no, came }))
    }

    /// A capture that is to confirm it.
    pub(super) fn confirmed(&self, pick: &Pick, quarters: u8) -> Option<Command> {
        let state = &self.twin.books.short;
        let hold = self.overdue(pick).filter(|hold| hold.check_back.is_some())?;
        let minor = hold.left() / 4 * i128::from(quarters);
        let minor = if quarters == 4 || minor == 0 { hold.left().max(1) } else { minor };
        let mut transaction = confirmation(hold, state.account(hold.account), minor);
        match pick.twist % 12 {
            0 => transaction.legs[1].account = "bank".to_owned(),
            1 => transaction.legs.swap(0, 1),
            2 => transaction.request_id = confirmation_id(hold.id, 9),
            _ => {}
        }
        Some(carried(transaction))
    }
}
