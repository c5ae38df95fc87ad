//! What the consistency suite knows of a set from elsewhere: not every step of an attempt is told to clients, so that it says
//! what was booked, and what may be set aside for whom. Nothing else uses it.
#![allow(dead_code, reason = "the consistency suite asks")]

use twinset_ledger::buffer::{Announcement, Credit};
use twinset_ledger::hold::Hold;
use twinset_ledger::{Command, Effect, Leg, Position, Side, TransactionId};

use super::Model;
use super::account::Account;
use super::booking::Move;
use super::reversal::Original;
use super::verdict::{Answer, Booked, Verdict};

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
        let checked = self.plan(legs).and_then(|legs| self.sums(&legs).and_then(|_| self.check(&legs, None)));
        checked.err().map(|rejection| rejection.code())
    }

    /// A hold as it stands, in minor units of its account, with that account; nobody looks at the account's number.
    pub fn hold(&self, hold: TransactionId) -> Option<(&str, Hold)> {
        let account = self.held_account.get(&hold)?;
        Some((account, self.accounts[account].holds.record_of(hold)?))
    }

    /// Every hold of an account, in the order of placing.
    pub fn holds_on(&self, account: &str) -> Vec<TransactionId> {
        self.accounts.get(account).map_or_else(Vec::new, |account| account.holds.ids())
    }

    /// Lets an attempt that may be open have so much of a hold in hand, in minor units.
    pub fn lend(&mut self, hold: TransactionId, attempt: TransactionId, minor: i128) {
        let here = self.here(Position(u64::MAX), 0);
        self.take_of(here, hold, attempt, minor);
    }

    /// Takes that back.
    pub fn unlend(&mut self, hold: TransactionId, attempt: TransactionId, minor: i128) {
        let here = self.here(Position(u64::MAX), 0);
        self.give_to(here, hold, attempt, minor);
    }

    /// What comes of commands that are booked together or not at all, each at its place and time.
    pub fn apply_together(&mut self, group: &[(Position, u64, Command)]) -> Vec<Verdict> {
        let group: Vec<_> =
            group.iter().map(|(at, time, command)| (self.here(*at, *time), command)).collect();
        let outcomes = self.together(&group);
        outcomes.iter().zip(&group).map(|(outcome, (_, command))| Verdict::of(outcome, command)).collect()
    }

    /// What would come of a transaction of this set alone at a place that no log has: afterwards everything is as it was.
    pub fn would(&mut self, position: Position, time_unix_ns: u64, command: &Command) -> Verdict {
        let group = [(self.here(position, time_unix_ns), command)];
        let before = self.before(&group);
        let outcome = self.turn(group[0].0, command);
        self.undo(before);
        Verdict::of(&outcome, command)
    }

    /// How much of the first leg of what was booked at a position can still be taken back, in minor units. None: it was not, or
    /// is not settled.
    pub fn left(&self, position: Position) -> Option<i128> {
        let id = TransactionId { set: self.set, incarnation: self.incarnation_at(position), position };
        let original = self.original(Position(u64::MAX), id).ok().filter(Original::is_settled)?;
        Some(self.left_of(&original, position)[0])
    }

    /// Lets the set have heard that an account of another set need not be asked, or that it is to be asked, whatever it had heard
    /// before.
    pub fn announce(&mut self, set: u32, account: Announcement, is_open: bool) {
        let said = vec![(TransactionId { set, incarnation: 1, position: Position(1) }, is_open)];
        match self.buffering.heard.iter_mut().find(|(known, _)| known.account == account.account) {
            Some(known) => *known = (account, said),
            None => self.buffering.heard.push((account, said)),
        }
    }

    /// Lets everything be acknowledged that was sent up to a transaction which was paid without asking.
    pub fn arrived(&mut self, position: Position) {
        let Some(decided) = self.log.get(&position) else { return };
        let Ok(Effect::Buffered { sent, .. }) = &decided.outcome.result else { return };
        for one in sent {
            let known = self.buffering.acknowledged.entry((one.to, decided.outcome.incarnation)).or_default();
            *known = (*known).max(usize::try_from(one.number).unwrap_or(usize::MAX));
        }
    }

    /// How many parcels it has taken in of the stream that a transaction was sent in: each incarnation of a set has
    /// its own.
    pub fn taken_in(&self, of: TransactionId) -> u64 {
        self.buffering.taken((of.set, of.incarnation))
    }

    /// What is on its way to an account of another set, in parcels and minor units. None: that account was never heard of.
    pub fn in_transit(&self, account: &str) -> Option<(usize, i128)> {
        let is_known = self.buffering.heard.iter().any(|(known, _)| known.account == account);
        is_known.then(|| self.buffering.transit(account))
    }

    /// What stands on its suspense accounts, in the order in which it came.
    pub fn suspended(&self) -> Vec<(TransactionId, &Credit)> {
        let open = self.buffering.suspense.iter().filter(|(_, (.., is_resolved))| !is_resolved);
        open.map(|(item, (credit, ..))| (*item, credit)).collect()
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
