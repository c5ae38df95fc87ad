//! What a set has lost in a recovery, and other sets know (ADR 30): money that another set has booked is booked here after all.
//! Nobody is asked: limits and freezes are passed over, and what no account here takes stands on the set's recovery account,
//! for people to resolve. The other sets' books are never changed; what nobody has booked is given up.
//!
//! Invariant: afterwards all clearing accounts together are what is in flight, as before the loss.

use std::collections::BTreeMap;

use super::booking::{
    Effect as Change, SUM_MAX, assert_balanced, check_overflow, effects, overflow_of, raise,
};
use super::reserve::{account_in_scale, check_clearing, square};
use super::{ApplyError, Decision, Turn};
use crate::account::{Account, AccountNo, Side};
use crate::amount::to_minor;
use crate::attempt::{Planned, Restore, Sum, Vote};
use crate::buffer::{Parcel, ParcelName, Sent, StreamName};
use crate::chart::currency_scale;
use crate::command::{Command, Leg, LegKind};
use crate::id::TransactionId;
use crate::net::Net;
use crate::outcome::{Effect, Outcome, Posted};
use crate::rejection::Rejection;
use crate::state::State;

/// The subject of recovery accounts. Outside the alphabet of codes: nobody else can be under it.
pub const RECOVERY_SUBJECT: &str = "@recovery";

/// The id of a set's recovery account in a currency. Outside the alphabet of ids: no command can name it.
pub fn recovery_account(set: u32, currency: &str) -> String {
    format!("{RECOVERY_SUBJECT}-{set}:{currency}")
}

/// Whether an account is a set's recovery account.
pub(super) fn is_recovery_account(id: &str) -> bool {
    id.starts_with(RECOVERY_SUBJECT)
}

/// Where a leg goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Account(AccountNo),
    /// The recovery account of the currency of that sum.
    Recovery(usize),
}

/// A leg and its place.
struct Placed {
    place: Place,
    side: Side,
    amount: i128,
    kind: LegKind,
}

impl<S: State> Turn<'_, S> {
    /// The end of an attempt that this set coordinated, and whose beginning it has lost.
    pub(super) fn lost(
        &mut self,
        id: TransactionId,
        votes: Option<&[Vote]>,
    ) -> Result<Decision, ApplyError<S::Fault>> {
        let out_of_place = Rejection::StepOutOfPlace { attempt: id };
        if !self.is_lost(id)? {
            return Ok(Err(out_of_place));
        }
        let own = self.state.set();
        let Some(votes) = votes else {
            return Ok(Err(Rejection::SetUnavailable { set: own }));
        };
        let Some(sums) = own_sums(votes) else { return Ok(Err(out_of_place)) };
        let booked = self.book_known(&[], &sums).map(|(_, posted)| Effect::Posted(posted));
        Ok(booked.ok_or(out_of_place))
    }

    /// Whether that name is one of this set's, and what began there was lost in a recovery.
    fn is_lost(&self, id: TransactionId) -> Result<bool, ApplyError<S::Fault>> {
        if id.set != self.state.set() || id.incarnation >= self.entry.incarnation() {
            return Ok(false);
        }
        if id.position >= self.position {
            return Ok(true);
        }
        // Another incarnation has since come as far.
        Ok(self.original(id.position)?.is_none_or(|(_, outcome)| outcome.incarnation != id.incarnation))
    }

    /// Books this set's part of what another set coordinates, which was prepared and lost.
    pub(super) fn restore(&mut self, id: TransactionId, part: &Restore) -> Decision {
        let out_of_place = Rejection::StepOutOfPlace { attempt: id };
        // What is prepared waits for its coordinator's word, as ever.
        if id.set == self.state.set() || self.state.attempts().get(id).is_some() {
            return Err(out_of_place);
        }
        let sums = match &part.sums {
            Some(sums) => sums.clone(),
            None => self.sums_of(&part.legs).ok_or(out_of_place.clone())?,
        };
        let (legs, posted) = self.book_known(&part.legs, &sums).ok_or(out_of_place)?;
        match part.reverses {
            Some(original) => self.unrestrict(original, &legs),
            None => self.restrict(id, &legs),
        }
        Ok(Effect::Posted(posted))
    }

    /// The sums of legs, each in what its account is kept in, or else in the currency that it names.
    fn sums_of(&self, legs: &[Leg]) -> Option<Vec<Sum>> {
        let mut all = BTreeMap::<(String, u8), (i128, i128)>::new();
        for leg in legs {
            let unit = match (self.state.account_no(&leg.account), &leg.currency) {
                (Some(no), _) => {
                    let account = self.state.account(no);
                    (account.currency.clone(), account.scale)
                }
                (None, Some(currency)) => (currency.clone(), currency_scale(self.state, currency)?),
                (None, None) => return None,
            };
            let amount = to_minor(leg.amount, unit.1).ok()?;
            let (debits, credits) = all.entry(unit).or_default();
            let side = if leg.side == Side::Debit { debits } else { credits };
            *side = side.checked_add(amount)?;
        }
        let sum = |((currency, scale), (debits, credits))| Sum { currency, scale, debits, credits };
        Some(all.into_iter().map(sum).collect())
    }

    /// Of a stream of this set, or to it, others know more parcels than it does.
    pub(super) fn lost_parcels(
        &mut self,
        by: TransactionId,
        to: u32,
        through: u64,
        sums: &[Sum],
    ) -> Decision {
        let (own, buffer) = (self.state.set(), self.state.buffer());
        let name = StreamName { to, incarnation: by.incarnation };
        let is_payer = by.set == own;
        let known = match is_payer {
            true => buffer.stream(name).map_or(0, |stream| stream.last()),
            false => buffer.taken(by.set, by.incarnation),
        };
        // What this incarnation sends is in its log.
        let is_possible = if is_payer { by.incarnation < self.entry.incarnation() } else { to == own };
        if !is_possible || through <= known {
            return Err(Rejection::StepOutOfPlace { attempt: by });
        }
        let (_, booked) = self.book_known(&[], sums).ok_or(Rejection::StepOutOfPlace { attempt: by })?;
        match is_payer {
            true => self.state.buffer_mut().was_taken(name, through),
            false => self.state.buffer_mut().take(by.set, by.incarnation, through),
        }
        Ok(Effect::Posted(booked))
    }

    /// The payee's set has lost parcels that it had taken in.
    pub(super) fn send_again(
        &mut self,
        by: TransactionId,
        to: u32,
        parcels: &[ParcelName],
    ) -> Result<Decision, ApplyError<S::Fault>> {
        let out_of_place = Ok(Err(Rejection::StepOutOfPlace { attempt: by }));
        let name = StreamName { to, incarnation: by.incarnation };
        let acknowledged = self.state.buffer().stream(name).map_or(0, |stream| stream.acknowledged());
        let Some(before) = acknowledged.checked_sub(parcels.len() as u64) else { return out_of_place };
        let mut again = Vec::with_capacity(parcels.len());
        for (number, parcel) in (before + 1..).zip(parcels) {
            match self.sent_as(name, number, *parcel)? {
                Some(parcel) => again.push(parcel),
                None => return out_of_place,
            }
        }
        self.state.buffer_mut().send_again(name, again);
        Ok(Ok(Effect::Acknowledged))
    }

    /// The parcel of that number, if it was sent from there.
    fn sent_as(
        &self,
        name: StreamName,
        number: u64,
        ParcelName { position, leg }: ParcelName,
    ) -> Result<Option<Parcel>, ApplyError<S::Fault>> {
        if position >= self.position {
            return Ok(None);
        }
        let Some((
            Command::Begin(begin),
            Outcome { incarnation, result: Ok(Effect::Buffered { sent, .. }), .. },
        )) = self.original(position)?
        else {
            return Ok(None);
        };
        let is_it = |sent: &&Sent| (sent.to, sent.number, sent.leg) == (name.to, number, leg);
        let Some(sent) = sent.iter().find(is_it).filter(|_| incarnation == name.incarnation) else {
            return Ok(None);
        };
        let payee = &begin.transaction.legs[usize::from(leg)].account;
        let payee = self.state.buffer().place(payee).expect("it was announced, as it was paid");
        Ok(Some(Parcel { position, leg, payee, amount: sent.amount }))
    }

    /// Books what others know of this set's part: the legs, which the sums tell the currencies of, or, where no leg is known, the
    /// sums; and then what squares them. Gives the legs, and all that is booked. None if the legs are not what the sums say,
    /// or there is no room: then nothing is done.
    fn book_known(&mut self, legs: &[Leg], sums: &[Sum]) -> Option<(Vec<Planned>, Vec<Posted>)> {
        let placed = if legs.is_empty() { unnamed(sums) } else { self.placed(legs, sums)? };
        let recovery: Vec<String> = sums.iter().map(|sum| self.recovery_account_for(sum)).collect();
        self.check_room(&placed, &recovery, sums)?;
        let on_recovery = |at: &usize| placed.iter().any(|leg| leg.place == Place::Recovery(*at));
        // In the order of the currencies, whichever leg needs them.
        for at in (0..sums.len()).filter(on_recovery) {
            self.open_recovery(&recovery[at], &sums[at]);
        }
        let planned = |Placed { place, side, amount, kind }| {
            let no = match place {
                Place::Account(no) => no,
                Place::Recovery(at) => self.state.account_no(&recovery[at]).expect("it is open"),
            };
            Planned { no, side, amount, kind }
        };
        let legs: Vec<Planned> = placed.into_iter().map(planned).collect();
        let all =
            square(self.state, self.position, &legs, sums, SUM_MAX).expect("clearing accounts have room");
        if all.is_empty() {
            return Some((legs, Vec::new()));
        }
        assert_balanced(self.state, self.position, &all);
        let posted = raise(self.state, self.position, &all, &effects(&all), true);
        Some((legs, posted))
    }

    /// It is opened with what first stands on it.
    fn open_recovery(&mut self, id: &str, Sum { currency, scale, .. }: &Sum) {
        if self.state.account_no(id).is_none() {
            let unit = (currency.as_str(), *scale);
            self.state.open(Account::new(id, RECOVERY_SUBJECT, unit, Side::Debit, self.position));
        }
    }

    fn recovery_account_for(&self, sum: &Sum) -> String {
        account_in_scale(self.state, recovery_account(self.state.set(), &sum.currency), sum.scale)
    }

    /// A place for each leg, so that all together are what the sums say.
    fn placed(&self, legs: &[Leg], sums: &[Sum]) -> Option<Vec<Placed>> {
        let mut open = sums.to_vec();
        let own: Vec<Option<Placed>> = legs.iter().map(|leg| self.on_account(leg, &mut open)).collect();
        let all = own.into_iter().zip(legs).map(|(own, leg)| own.or_else(|| on_recovery(leg, &mut open)));
        let all = all.collect::<Option<Vec<Placed>>>()?;
        open.iter().all(|sum| (sum.debits, sum.credits) == (0, 0)).then_some(all)
    }

    /// On its own account, if that takes it; takes it out of what is open.
    fn on_account(&self, leg: &Leg, open: &mut [Sum]) -> Option<Placed> {
        let no = self.state.account_no(&leg.account)?;
        let account = self.state.account(no);
        if account.closed || account.subject.starts_with('@') {
            return None;
        }
        let at = open.iter().position(|s| (&s.currency, s.scale) == (&account.currency, account.scale))?;
        let amount = take_out(leg, &mut open[at])?;
        let is_restricted = matches!(leg.kind, LegKind::Restricted { .. }) && account.is_inflow(leg.side);
        let kind = if is_restricted { leg.kind } else { LegKind::Ordinary };
        Some(Placed { place: Place::Account(no), side: leg.side, amount, kind })
    }

    /// All that is about to be booked on has room, clearing accounts too.
    fn check_room(&self, placed: &[Placed], recovery: &[String], sums: &[Sum]) -> Option<()> {
        let mut on = BTreeMap::<&str, (i128, i128)>::new();
        for leg in placed {
            let id = match leg.place {
                Place::Account(no) => self.state.account(no).id.as_str(),
                Place::Recovery(at) => &recovery[at],
            };
            let (debits, credits) = on.entry(id).or_default();
            let side = if leg.side == Side::Debit { debits } else { credits };
            *side = side.checked_add(leg.amount)?;
        }
        for (id, (debits, credits)) in on {
            match self.state.account_no(id) {
                Some(no) => check_overflow(self.state.account(no), &Change::sums(no, debits, credits)),
                None => overflow_of(id, debits).and_then(|()| overflow_of(id, credits)),
            }
            .ok()?;
        }
        let mut uneven = sums.iter().filter(|sum| sum.debits != sum.credits);
        uneven.all(|sum| check_clearing(self.state, sum).is_ok()).then_some(())
    }
}

/// What a set's own part comes to, if those of all others come to what they have said: the same on the other side.
fn own_sums(votes: &[Vote]) -> Option<Vec<Sum>> {
    let mut net = Net::default();
    net.add_sums(votes.iter().flat_map(|vote| vote.said.iter().flatten()))?;
    Some(net.turned().sums())
}

/// Each sum on its recovery account.
fn unnamed(sums: &[Sum]) -> Vec<Placed> {
    let both = sums.iter().enumerate().flat_map(|(at, sum)| {
        [(Side::Debit, sum.debits), (Side::Credit, sum.credits)].map(|(side, amount)| (at, side, amount))
    });
    let some = both.filter(|(.., amount)| *amount > 0);
    let kind = LegKind::Ordinary;
    some.map(|(at, side, amount)| Placed { place: Place::Recovery(at), side, amount, kind }).collect()
}

/// On the recovery account of the first currency that it may be of; takes it out of what is open.
fn on_recovery(leg: &Leg, open: &mut [Sum]) -> Option<Placed> {
    let named = |sum: &Sum| leg.currency.as_ref().is_none_or(|currency| *currency == sum.currency);
    for (at, sum) in open.iter_mut().enumerate().filter(|(_, sum)| named(sum)) {
        if let Some(amount) = take_out(leg, sum) {
            let place = Place::Recovery(at);
            return Some(Placed { place, side: leg.side, amount, kind: LegKind::Ordinary });
        }
    }
    None
}

/// The leg in the sum's minor units, if it is among what is open of it.
fn take_out(leg: &Leg, sum: &mut Sum) -> Option<i128> {
    if leg.currency.as_ref().is_some_and(|currency| *currency != sum.currency) {
        return None;
    }
    let amount = to_minor(leg.amount, sum.scale).ok()?;
    let open = if leg.side == Side::Debit { &mut sum.debits } else { &mut sum.credits };
    *open = open.checked_sub(amount).filter(|left| *left >= 0)?;
    Some(amount)
}
