//! Buffered credits. Built differently from the ledger on purpose: what was sent is never forgotten here, only counted as
//! acknowledged; what was taken in is a list; and of an account of another set stands all that was ever heard.

use std::collections::BTreeMap;

use twinset_ledger::attempt::Sum;
use twinset_ledger::buffer::{
    Announcement, BufferStep, Credit, InboxEnd, PARCELS_MAX, PostingMode, Sent, StreamEnd,
};
use twinset_ledger::{Begin, Effect, Leg, LegKind, Position, Posted, Rejection, Side, TransactionId};

use super::account::Account;
use super::attempt::{scope, weigh};
use super::booking::{ASKED_MAX, Move, SUM_MAX, minor, opposite};
use super::{Here, Model, check_back};

/// A set and one of its incarnations.
type Origin = (u32, u32);

/// What a set knows of buffered accounts.
#[derive(Clone, Default)]
pub(super) struct Buffering {
    /// Own accounts that are not strict: the mode change, and whether they are leaving.
    own: BTreeMap<String, (TransactionId, bool)>,
    /// In the order in which accounts were first heard of: all that was said, open or not.
    pub(super) heard: Vec<(Announcement, Vec<(TransactionId, bool)>)>,
    /// By the set that it goes to and the incarnation that it comes from: everything, in order.
    pub(super) sent: BTreeMap<Origin, Vec<Parcel>>,
    pub(super) acknowledged: BTreeMap<Origin, usize>,
    /// By the set and incarnation that it comes from: where each number was taken in.
    pub(super) taken: BTreeMap<Origin, Vec<Position>>,
    /// What could not be booked, by where it was taken in: the credit, the account that it was booked on, and whether it was
    /// booked on.
    pub(super) suspense: BTreeMap<TransactionId, (Credit, String, bool)>,
}

#[derive(Clone)]
pub(super) struct Parcel {
    pub position: Position,
    pub leg: u8,
    account: String,
    minor: i128,
}

impl Parcel {
    /// One that was lost with its transaction, and taken in.
    pub fn lost() -> Parcel {
        Parcel { position: Position(0), leg: 0, account: String::new(), minor: 0 }
    }
}

/// What stands in the books about buffered accounts, in words that compare.
pub type Standing = Vec<String>;

impl Buffering {
    /// In the words of the ledger's test.
    pub fn standing(&self, number: impl Fn(&str) -> u32) -> Standing {
        let mut own: Vec<_> =
            self.own.iter().map(|(account, (since, leaving))| (number(account), since, leaving)).collect();
        own.sort();
        let own = own.iter().map(|(no, since, leaving)| format!("own {no} since {since} leaving {leaving}"));
        let heard = self.heard.iter().map(|(account, _)| {
            let (version, open) = self.newest(&account.account).expect("it was heard of");
            let (parcels, amount) = self.transit(&account.account);
            format!("heard {account:?} {version} open {open}, {parcels} of {amount} on the way")
        });
        let sent = self.sent.iter().flat_map(|(name, all)| {
            let done = self.acknowledged.get(name).copied().unwrap_or_default();
            let waiting = all.iter().skip(done);
            let lines = waiting.map(|p| format!("  {:?} {} {} {}", p.position, p.leg, p.account, p.minor));
            let head = format!("to {name:?}: {done} of {}", all.len());
            std::iter::once(head).chain(lines).collect::<Vec<_>>()
        });
        let taken = self.taken.iter().map(|(name, all)| format!("from {name:?}: {}", all.len()));
        let mut open: Vec<Position> =
            self.suspense.iter().filter(|(_, item)| !item.2).map(|(item, _)| item.position).collect();
        open.sort();
        let open = open.iter().map(|position| format!("suspended {position:?}"));
        own.chain(heard).chain(sent).chain(taken).chain(open).collect()
    }

    fn newest(&self, account: &str) -> Option<(TransactionId, bool)> {
        let (_, said) = self.heard.iter().find(|(known, _)| known.account == account)?;
        // Of what was said of one mode change, the first.
        let newest = said.iter().map(|(version, _)| *version).max()?;
        said.iter().find(|(version, _)| *version == newest).copied()
    }

    fn announced(&self, account: &str) -> &Announcement {
        &self.heard.iter().find(|(known, _)| known.account == account).expect("it was heard of").0
    }

    /// Parcels that are not acknowledged, and their sum.
    pub(super) fn transit(&self, account: &str) -> (usize, i128) {
        let waiting = self.sent.iter().flat_map(|(name, all)| {
            all.iter().skip(self.acknowledged.get(name).copied().unwrap_or_default())
        });
        let to_it: Vec<i128> = waiting.filter(|p| p.account == account).map(|p| p.minor).collect();
        (to_it.len(), to_it.iter().sum())
    }

    fn waiting(&self, to: u32) -> usize {
        let all = self.sent.iter().filter(|((set, _), _)| *set == to);
        all.map(|(name, all)| all.len() - self.acknowledged.get(name).copied().unwrap_or_default()).sum()
    }

    pub(super) fn taken(&self, origin: Origin) -> u64 {
        self.taken.get(&origin).map_or(0, Vec::len) as u64
    }

    /// The first set that a part of a transaction is still on its way to.
    pub fn on_its_way(&self, sent: &[Sent], incarnation: u32) -> Option<u32> {
        let waits = |sent: &&Sent| {
            sent.number > self.acknowledged.get(&(sent.to, incarnation)).copied().unwrap_or_default() as u64
        };
        sent.iter().find(waits).map(|sent| sent.to)
    }

    pub fn is_strict(&self, account: &str) -> bool {
        !self.own.contains_key(account)
    }
}

impl Model {
    /// Whether every leg of another set is one that need not be asked for.
    pub(super) fn need_not_ask(&self, begin: &Begin) -> bool {
        let remote: Vec<(&Leg, u32)> = self.remote(begin).map(|(_, leg, set)| (leg, set)).collect();
        remote.iter().all(|(leg, set)| {
            let known = self.buffering.newest(&leg.account);
            let there = remote.iter().filter(|(_, other)| other == set).count();
            known.is_some_and(|(version, open)| open && version.set == *set)
                && self.buffering.announced(&leg.account).normal_side == leg.side
                && leg.preconditions.is_empty()
                && leg.kind == LegKind::Ordinary
                && !self.is_too_great(leg)
                && self.buffering.waiting(*set) + there <= PARCELS_MAX as usize
        })
    }

    /// More than may be sent, by far: 2^64 of the smallest units that the account is kept in.
    fn is_too_great(&self, leg: &Leg) -> bool {
        let Announcement { scale, account, .. } = self.buffering.announced(&leg.account);
        match minor(leg.amount, *scale, account) {
            Ok(amount) => amount > 18_446_744_073_709_551_616,
            Err(reason) => matches!(reason, Rejection::AmountOverflow { .. }),
        }
    }

    fn remote<'a>(&self, begin: &'a Begin) -> impl Iterator<Item = (u8, &'a Leg, u32)> {
        let own = self.set;
        let all = (0..).zip(begin.transaction.legs.iter().zip(begin.sets.iter().copied()));
        all.filter(move |(_, (_, set))| *set != own).map(|(at, (leg, set))| (at, leg, set))
    }

    /// Books what is its own, and sends the rest.
    pub(super) fn pay(&mut self, here: Here, begin: &Begin) -> Result<Effect, Rejection> {
        let asked: Vec<Leg> = begin
            .transaction
            .legs
            .iter()
            .zip(&begin.sets)
            .filter(|(_, set)| **set == self.set)
            .map(|(leg, _)| leg.clone())
            .collect();
        let legs = self.plan(&asked)?;
        let mut sums = self.sums(&legs)?;
        let mut sending = Vec::new();
        for (at, leg, to) in self.remote(begin) {
            let Announcement { account, currency, scale, .. } =
                self.buffering.announced(&leg.account).clone();
            if leg.currency.as_ref().is_some_and(|named| *named != currency) {
                return Err(Rejection::CurrencyMismatch { account, expected: currency });
            }
            let amount = minor(leg.amount, scale, &account)?;
            let one = |side| if leg.side == side { amount } else { 0 };
            let (debits, credits) = (one(Side::Debit), one(Side::Credit));
            sums.push(Sum { currency: currency.clone(), scale, debits, credits });
            let number = 0;
            sending.push((account, Sent { leg: at, to, number, amount, currency, scale }));
        }
        let held = scope(&begin.transaction);
        let confirms = check_back::confirmed(&begin.transaction).map(|(_, no)| no);
        let capture = begin.transaction.capture.map(|capture| (capture, confirms));
        let taking = capture.map(|capture| self.taking(here, held, capture, &legs)).transpose()?;
        weigh(self.set, sums)?;
        let (legs, _) = self.set_aside(here, here.id(), legs, taking.as_ref(), ASKED_MAX)?;
        if let Some(taking) = &taking {
            self.capture(here, here.id(), taking);
        }
        self.restrict(here, here.id(), &legs);
        let booked = self.book_legs(here.id(), &legs);
        let send = |(account, sent): (String, Sent)| {
            let stream = self.buffering.sent.entry((sent.to, here.incarnation)).or_default();
            stream.push(Parcel { position: here.position, leg: sent.leg, account, minor: sent.amount });
            Sent { number: stream.len() as u64, ..sent }
        };
        Ok(Effect::Buffered { booked, sent: sending.into_iter().map(send).collect() })
    }

    pub(super) fn set_mode(&mut self, here: Here, id: &str, mode: PostingMode) -> Result<Effect, Rejection> {
        let account = id.to_owned();
        let Some(known) = self.accounts.get(id) else { return Err(Rejection::AccountNotFound { account }) };
        if known.closed {
            return Err(Rejection::AccountClosed { account });
        }
        let leaving = self.buffering.own.get(id).map(|(_, leaving)| *leaving);
        if mode == PostingMode::Buffered && leaving != Some(false) {
            self.buffering.own.insert(account, (here.id(), false));
        } else if mode == PostingMode::Strict && leaving == Some(false) {
            self.buffering.own.insert(account, (here.id(), true));
        }
        Ok(Effect::Account)
    }

    pub(super) fn buffer_step(
        &mut self,
        here: Here,
        by: TransactionId,
        step: &BufferStep,
    ) -> Result<Effect, Rejection> {
        let out_of_place = Err(Rejection::StepOutOfPlace { attempt: by });
        let is_to_own = matches!(
            step,
            BufferStep::Drained { .. } | BufferStep::Acknowledge { .. } | BufferStep::SendAgain { .. }
        );
        let is_either = matches!(step, BufferStep::Lost { .. });
        if !is_either && (by.set == self.set) != is_to_own {
            return out_of_place;
        }
        match step {
            BufferStep::Announce(account) => {
                self.hear(by, account, true);
                Ok(Effect::Announced)
            }
            BufferStep::Withdraw(account) => {
                self.hear(by, account, false);
                let to_it = self.buffering.sent.iter().filter(|((to, _), _)| *to == by.set);
                let end = |((_, incarnation), all): (&Origin, &Vec<Parcel>)| StreamEnd {
                    incarnation: *incarnation,
                    number: all.len() as u64,
                };
                Ok(Effect::Withdrawn(to_it.map(end).collect()))
            }
            BufferStep::Drained { account, ends } => {
                let all_in = ends
                    .iter()
                    .all(|InboxEnd { set, end }| self.buffering.taken((*set, end.incarnation)) >= end.number);
                if !all_in || self.buffering.own.get(account) != Some(&(by, true)) {
                    return out_of_place;
                }
                self.buffering.own.remove(account);
                Ok(Effect::Account)
            }
            BufferStep::Acknowledge { to, through } => {
                let name = (*to, by.incarnation);
                let Some(all) = self.buffering.sent.get(&name) else { return out_of_place };
                let done = self.buffering.acknowledged.entry(name).or_default();
                let through = usize::try_from(*through).expect("numbers of tests are small");
                if through > *done {
                    if all.get(through - 1).is_none_or(|parcel| parcel.position != by.position) {
                        return out_of_place;
                    }
                    *done = through;
                }
                Ok(Effect::Acknowledged)
            }
            BufferStep::Lost { to, through, sums } => self.lost_parcels(here, by, (*to, *through), sums),
            BufferStep::SendAgain { to, parcels } => self.send_again(by, *to, parcels),
            BufferStep::Credit(credit) => self.take_in(here, by, credit),
        }
    }

    fn hear(&mut self, version: TransactionId, account: &Announcement, open: bool) {
        match self.buffering.heard.iter_mut().find(|(known, _)| known.account == account.account) {
            Some((_, said)) => said.push((version, open)),
            None => self.buffering.heard.push((account.clone(), vec![(version, open)])),
        }
    }

    fn take_in(&mut self, here: Here, by: TransactionId, credit: &Credit) -> Result<Effect, Rejection> {
        let origin = (by.set, by.incarnation);
        let next = self.buffering.taken(origin) + 1;
        if credit.number < next {
            return Ok(Effect::Taken);
        }
        if credit.number > next {
            return Err(Rejection::StepOutOfPlace { attempt: by });
        }
        let Credit { account, side, amount, currency, scale, .. } = credit;
        let leg = |account: &str| Move {
            account: account.to_owned(),
            side: *side,
            minor: *amount,
            expects: Vec::new(),
            kind: LegKind::Ordinary,
        };
        let reason = match self.is_kept_in(account, currency, *scale) {
            Ok(()) => match self.set_aside(here, by, vec![leg(account)], None, SUM_MAX) {
                Ok((legs, _)) => {
                    let booked = self.book_legs(by, &legs);
                    self.buffering.taken.entry(origin).or_default().push(here.position);
                    return Ok(Effect::Posted(booked));
                }
                Err(reason) => reason,
            },
            Err(reason) => reason,
        };
        let on = self.in_scale(format!("@suspense-{}:{currency}", self.set), *scale);
        let is_new = !self.accounts.contains_key(&on);
        if is_new {
            if *amount > SUM_MAX {
                return Err(Rejection::AmountOverflow { account: on });
            }
            let unit = (currency.as_str(), *scale);
            self.accounts.insert(on.clone(), Account::new("@suspense", unit, Side::Credit, here.position));
        }
        let set_aside = self.set_aside(here, by, vec![leg(&on)], None, SUM_MAX);
        if is_new && set_aside.is_err() {
            self.accounts.remove(&on);
        }
        let booked = self.book_legs(by, &set_aside?.0);
        self.buffering.taken.entry(origin).or_default().push(here.position);
        self.buffering.suspense.insert(here.id(), (credit.clone(), on, false));
        Ok(Effect::Suspended { reason, booked })
    }

    /// Whether an account is there, and kept in that currency and scale.
    fn is_kept_in(&self, id: &str, currency: &str, scale: u8) -> Result<(), Rejection> {
        let account = id.to_owned();
        let Some(known) = self.accounts.get(id) else { return Err(Rejection::AccountNotFound { account }) };
        if known.currency != currency {
            return Err(Rejection::CurrencyMismatch { account, expected: known.currency.clone() });
        }
        if known.scale != scale {
            return Err(Rejection::CurrencyConflict { currency: currency.to_owned() });
        }
        Ok(())
    }

    /// What a set's own account is called in that scale, if there is one of its name in another.
    pub(super) fn in_scale(&self, id: String, scale: u8) -> String {
        match self.accounts.get(&id).filter(|known| known.scale != scale) {
            Some(_) => format!("{id}@{scale}"),
            None => id,
        }
    }

    pub(super) fn resolve(&mut self, item: TransactionId, to: &str) -> Result<Effect, Rejection> {
        let Some((credit, on, resolved)) = self.buffering.suspense.get(&item).cloned() else {
            return Err(Rejection::SuspenseNotFound { item });
        };
        if resolved {
            return Err(Rejection::SuspenseResolved { item });
        }
        self.is_kept_in(to, &credit.currency, credit.scale)?;
        let leg = |account: &str, side| Move {
            account: account.to_owned(),
            side,
            minor: credit.amount,
            expects: Vec::new(),
            kind: LegKind::Ordinary,
        };
        let legs = [leg(&on, opposite(credit.side)), leg(to, credit.side)];
        self.check(&legs, None)?;
        let booked = self.book(&legs);
        self.buffering.suspense.get_mut(&item).expect("it was found").2 = true;
        Ok(Effect::Posted(booked))
    }
}

/// The legs of a transaction that was paid without asking, in the client's order.
pub(super) fn all_legs(begin: &Begin, own: u32, booked: &[Posted], sent: &[Sent]) -> Vec<Posted> {
    let (mut booked, mut sent) = (booked.iter(), sent.iter());
    let legs = begin.transaction.legs.iter().zip(&begin.sets).map(|(leg, set)| {
        if *set == own {
            return booked.next().expect("each own leg was booked").clone();
        }
        let Sent { amount, scale, .. } = *sent.next().expect("each other leg was sent");
        Posted { account: leg.account.clone(), side: leg.side, amount, scale, posted: 0, available: 0 }
    });
    legs.collect()
}
