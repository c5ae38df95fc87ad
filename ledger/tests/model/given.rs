//! What the consistency suite knows of a set from elsewhere: not every step of an attempt is told to clients, so that it says
//! what was booked, and what may be set aside for whom. Nothing else uses it.
#![allow(dead_code, reason = "the consistency suite asks")]

use twinset_ledger::{Effect, Leg, Position, Side, TransactionId};

use super::Model;
use super::account::Account;
use super::booking::Move;
use super::verdict::{Answer, Booked};

impl Model {
    /// Books legs as a part that was set aside before: whatever the accounts say. None: an account is not there, or an amount is
    /// none of its own. Opens clearing accounts that are new.
    pub fn book_given(&mut self, position: Position, legs: &[Leg]) -> Option<Vec<Booked>> {
        legs.iter().for_each(|leg| self.open_clearing(position, &leg.account));
        let legs: Vec<Move> = self.plan(legs).ok()?;
        match Answer::of(&Ok(Effect::Settled(self.book(&legs))), &nameless()) {
            Answer::Settled(booked) => Some(booked),
            other => unreachable!("{other:?} is not what was said"),
        }
    }

    /// Opens a clearing account at its first use; does nothing for any other.
    fn open_clearing(&mut self, position: Position, account: &str) {
        if let Some((_, currency)) = account.strip_prefix('@').and_then(|rest| rest.split_once(':')) {
            let unit = (currency, if currency == "JPY" { 0 } else { 2 });
            let new = || Account::new("@clearing", unit, Side::Debit, position);
            self.accounts.entry(account.to_owned()).or_insert_with(new);
        }
    }

    /// Sets debits and credits in minor units aside on an account, whatever it says, for an attempt that may be open.
    pub fn promise(&mut self, attempt: TransactionId, account: &str, (debits, credits): (i128, i128)) {
        self.open_clearing(Position(u64::MAX), account);
        if let Some(account) = self.accounts.get_mut(account) {
            account.pending.insert(attempt, (debits, credits));
        }
    }

    /// Takes that back.
    pub fn forgive(&mut self, attempt: TransactionId, account: &str) {
        if let Some(account) = self.accounts.get_mut(account) {
            account.pending.remove(&attempt);
        }
    }

    /// What it would say to legs that it is asked to set aside now; None: yes.
    pub fn refusal(&self, legs: &[Leg]) -> Option<&'static str> {
        let checked = self.plan(legs).and_then(|legs| self.sums(&legs).and_then(|_| self.check(&legs)));
        checked.err().map(|rejection| rejection.code())
    }

    /// How much of the first leg of what was booked at a position can still be taken back, in minor units.
    pub fn left(&self, position: Position) -> Option<i128> {
        let id = TransactionId { set: self.set, incarnation: 1, position };
        let original = self.original(Position(u64::MAX), id).ok()?;
        Some(self.left_of(&original, position))
    }

    /// For the next reversal, so much more of what was booked at a position counts as being taken back.
    pub fn reserve(&mut self, original: Position, minor: i128) {
        self.reserved = (minor != 0).then_some((original, minor));
    }
}

/// A command that names no account.
fn nameless() -> twinset_ledger::Command {
    twinset_ledger::Command::DefineCurrency { code: String::new(), scale: 0 }
}
