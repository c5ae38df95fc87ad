//! Restricted funds in a made-up history: restrictions are put away some entries after their time, and shown as the model has them.

use std::collections::BTreeSet;

use twinset_ledger::outcome::Restricted as Outcome;
use twinset_ledger::restriction::Restriction;
use twinset_ledger::{Command, Position, TransactionId};

use super::past::News;
use super::{Log, Maker, PROCESSES, STEP_NS, TICK_NS};
use crate::check::replay::restricted;
use crate::history::restrictions::FoundRestriction;
use crate::history::{Answer, AsOf, Ask, History, Level, Transfer};

impl Log {
    /// A transaction was booked here that brings something restricted.
    pub(super) fn note_restricted(&mut self, transfer: &Transfer, transaction: TransactionId) {
        self.given.extend(transfer.restricted().map(|(account, ..)| (account, transaction)));
    }

    /// What came of a release that was decided now or before.
    pub(super) fn released(
        &mut self,
        position: Position,
        (id, replayed): (&str, bool),
        now: &Outcome,
    ) -> Answer {
        if !replayed {
            self.tell(position, News { kind: "restriction_released", id, ..News::default() });
        }
        let cents = |minor: i128| i64::try_from(minor).expect("small");
        Answer::Released {
            place: self.place_of(position),
            replayed,
            restricted: restricted::figures_of(now),
            cents: cents(now.released),
            withdrawable: cents(now.withdrawable),
        }
    }

    /// Puts restrictions away whose time has come some entries ago.
    pub(super) fn put_restrictions_away(&mut self, history: &History) {
        let late = self.time_ns.saturating_sub(3 * STEP_NS);
        for (account, restriction) in self.given.clone() {
            let id = &history.accounts[account as usize];
            let known = self.model.restriction(id, restriction);
            let is_due = |known: &Restriction| {
                known.ended.is_none() && known.until_ns.is_some_and(|until| until <= late)
            };
            if known.as_ref().is_some_and(is_due) {
                self.next_entry();
                let position = Position::new(self.index, 0);
                let command = Command::ExpireRestriction { account: id.clone(), restriction };
                self.model.apply_at(position, self.time_ns, &command);
                self.tell(position, News { kind: "restriction_expired", ..News::default() });
            }
        }
        let is_open = |(account, restriction): &(u32, TransactionId)| {
            let known = self.model.restriction(&history.accounts[*account as usize], *restriction);
            known.is_some_and(|known| known.ended.is_none())
        };
        let open = self.given.iter().copied().filter(is_open).collect();
        self.given = open;
    }

    /// Reads of restrictions.
    pub(super) fn read_restrictions(&self, ask: &Ask, history: &History) -> Answer {
        let as_of = AsOf::now(self.place());
        let all = |account: u32| {
            let known = self.model.restrictions_of(&history.accounts[account as usize]);
            known.into_iter().map(move |known| self.found_restriction(account, &known, history))
        };
        match ask {
            Ask::ReadRestriction { account, restriction, .. } => {
                match all(*account).find(|found| found.restricted.restriction == *restriction) {
                    Some(found) => Answer::Restriction { as_of, found },
                    None => Answer::Absent { as_of },
                }
            }
            Ask::ListRestrictions { account, state, after, page_size, .. } => {
                let behind = all(*account).filter(|found| {
                    after.is_none_or(|after| found.restricted.restriction > after)
                        && state.is_none_or(|state| state == found.restricted.state)
                });
                let mut found: Vec<FoundRestriction> = behind.collect();
                let more = found.len() > *page_size as usize;
                found.truncate(*page_size as usize);
                let next = found.last().filter(|_| more).map(|last| last.restricted.restriction);
                Answer::Restrictions { as_of, found, next }
            }
            other => unreachable!("{other:?} reads no restriction"),
        }
    }

    /// A restriction as it is read.
    pub(super) fn found_restriction(
        &self,
        account: u32,
        known: &Restriction,
        history: &History,
    ) -> FoundRestriction {
        let unit = self.model.accounts()[&history.accounts[account as usize]].cents_of_a_minor_unit();
        FoundRestriction {
            restricted: restricted::figures(known, unit),
            account,
            made: self.place_of(known.made_at),
            ended: known.ended.map(|ended| self.place_of(ended.at)),
        }
    }
}

impl Maker {
    /// All restrictions of the accounts that have some.
    pub(super) fn last_look_at_restricted(&mut self) {
        let booked = self.history.ops.iter().filter_map(|op| match &op.ask {
            Ask::Transfer(transfer) => Some(std::slice::from_ref(transfer)),
            Ask::Batch { items, .. } => Some(&items[..]),
            _ => None,
        });
        let restricted = booked.flatten().flat_map(Transfer::restricted);
        let accounts: BTreeSet<u32> = restricted.map(|(account, ..)| account).collect();
        for account in accounts {
            let mut after = None;
            loop {
                self.now_ns += TICK_NS * PROCESSES as u64;
                let level = Level::Linearizable;
                let ask = Ask::ListRestrictions { account, state: None, after, page_size: 100, level };
                match self.ask((99, 1), ask, None) {
                    Answer::Restrictions { next: Some(next), .. } => after = Some(next),
                    _ => break,
                }
            }
        }
    }
}
