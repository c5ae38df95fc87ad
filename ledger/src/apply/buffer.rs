//! Buffered credits (ADR 16). At the payer's set: paying accounts that need not be asked, and forgetting what was taken in. At the
//! payee's set: the mode of an account, booking parcels in their order, and what cannot be booked, which goes to a suspense
//! account. Nothing here asks what an account of another set has become since it was announced: whatever that is, the parcel
//! is taken in, once.
//!
//! Invariant: what a set has booked towards others stands on its clearing accounts until they have booked it too.

use std::collections::BTreeMap;

use super::account::reject_amount;
use super::attempt::check_balance_across;
use super::booking::{Terms, book, overflow_of};
use super::idempotency::Recalled;
use super::reserve::{account_in_scale, book_set_aside, check_clearing, give_back, set_aside};
use super::transaction::{plan, sums};
use super::{ApplyError, Decision, Stop, Turn, decided};
use crate::account::{Account, Side};
use crate::amount::{AmountError, to_minor};
use crate::attempt::{Begin, Planned, Sum};
use crate::buffer::{
    Announced, Announcement, BufferStep, Buffered, Credit, InboxEnd, PARCEL_MAX, PARCELS_MAX, PostingMode,
    Sent, StreamName,
};
use crate::canary::{self, Canary};
use crate::command::{Command, Leg, LegKind};
use crate::id::TransactionId;
use crate::outcome::{Effect, Outcome};
use crate::rejection::Rejection;
use crate::state::State;

/// Of what the payer's set has booked already.
const BOOKED_THERE: Terms<'_> = Terms { asked: &[], covered: None, is_booked_there: true };

/// The subject of suspense accounts. Outside the alphabet of codes: nobody else can be under it.
pub const SUSPENSE_SUBJECT: &str = "@suspense";

/// The id of a set's suspense account in a currency. Outside the alphabet of ids: no command can name it.
pub fn suspense_account(set: u32, currency: &str) -> String {
    format!("{SUSPENSE_SUBJECT}-{set}:{currency}")
}

/// Whether a transaction over several sets is paid without asking any of them, as things stand in the coordinator's set: each
/// leg of another set raises an account that is announced here, in that set, by no more than a parcel may be, is ordinary and
/// expects nothing, and there is room for all.
pub fn pays_unasked<S: State>(state: &S, begin: &Begin) -> bool {
    let buffer = state.buffer();
    let mut more = BTreeMap::<u32, u64>::new();
    for (_, leg, set) in remote_legs(begin, state.set()) {
        let is_open = buffer.announced(&leg.account).is_some_and(|known| {
            known.is_open
                && known.version.set == set
                && known.account.normal_side == leg.side
                && leg.preconditions.is_empty()
                && leg.kind == LegKind::Ordinary
                && may_be_parcel(leg, known.account.scale)
        });
        if !is_open {
            return false;
        }
        *more.entry(set).or_default() += 1;
    }
    more.into_iter().all(|(set, more)| buffer.waiting(set) + more <= PARCELS_MAX)
}

/// An amount that is refused at once, whoever it is for, need not be asked about either.
fn may_be_parcel(leg: &Leg, scale: u8) -> bool {
    match to_minor(leg.amount, scale) {
        Ok(amount) => amount <= PARCEL_MAX,
        Err(error) => error != AmountError::Overflow,
    }
}

/// The legs of other sets, with their places and sets.
fn remote_legs(begin: &Begin, own: u32) -> impl Iterator<Item = (u8, &Leg, u32)> {
    let legs = (0..).zip(&begin.transaction.legs).zip(&begin.sets);
    legs.filter(move |(_, set)| **set != own).map(|((at, leg), set)| (at, leg, *set))
}

/// A leg of another set that is about to be sent, in minor units.
struct Outgoing<'a> {
    at: u8,
    leg: &'a Leg,
    to: u32,
    amount: i128,
    currency: String,
    scale: u8,
}

impl<'a> Outgoing<'a> {
    /// By what was announced of the leg's account.
    fn new((at, leg, to): (u8, &'a Leg, u32), known: &Announced) -> Result<Self, Rejection> {
        let Announcement { currency, scale, .. } = &known.account;
        if leg.currency.as_ref().is_some_and(|named| named != currency) {
            let (account, expected) = (leg.account.clone(), currency.clone());
            return Err(Rejection::CurrencyMismatch { account, expected });
        }
        let amount = to_minor(leg.amount, *scale).map_err(|error| reject_amount(error, &leg.account))?;
        Ok(Outgoing { at, leg, to, amount, currency: currency.clone(), scale: *scale })
    }

    fn sum(&self) -> Sum {
        Sum::of_one(self.leg.side, self.amount, (&self.currency, self.scale))
    }
}

impl<S: State> Turn<'_, S> {
    /// Books the own legs of a transaction whose other sets need not be asked, and sends them theirs.
    pub(super) fn pay(&mut self, begin: &Begin) -> Result<Effect, Stop<S::Fault>> {
        let transaction = &begin.transaction;
        let own: Vec<Leg> = begin.legs_of(self.state.set()).cloned().collect();
        let legs = plan(self.state, &own)?;
        let mut all_sums = sums(self.state, &legs)?;
        let outgoing = remote_legs(begin, self.state.set()).map(|remote @ (_, leg, _)| {
            let known = self.state.buffer().announced(&leg.account).expect("it need not be asked");
            Outgoing::new(remote, known)
        });
        let outgoing = outgoing.collect::<Result<Vec<_>, _>>()?;
        all_sums.extend(outgoing.iter().map(Outgoing::sum));
        let capturing = self.capturing(transaction, &legs)?;
        check_balance_across(self.state.set(), &all_sums)?;
        let terms = Terms { asked: &own, ..self.terms_of(capturing) };
        let (planned, _) = set_aside(self.state, self.position, &legs, terms)?;
        if let Some(capturing) = capturing {
            self.captured(capturing, self.here());
        }
        let booked = book_set_aside(self.state, self.position, &planned);
        self.restrict(self.here(), &planned);
        let (position, incarnation) = (self.position, self.entry.incarnation());
        let buffer = self.state.buffer_mut();
        let send = |Outgoing { at, leg, to, amount, currency, scale }: Outgoing<'_>| {
            let name = StreamName { to, incarnation };
            let is_forgotten = canary::on(Canary::ParcelForgotten) && position.index().is_multiple_of(20);
            let number = match buffer.stream(name).filter(|_| is_forgotten) {
                Some(stream) => stream.last(),
                None => buffer.send(name, position, at, &leg.account, amount),
            };
            Sent { leg: at, to, number, amount, currency, scale }
        };
        let sent = outgoing.into_iter().map(send).collect();
        Ok(Effect::Buffered { booked, sent })
    }

    /// Changes how an account may be paid from other sets.
    pub(super) fn set_posting_mode(&mut self, account: &str, mode: PostingMode) -> Result<Effect, Rejection> {
        let no = self.existing(account)?;
        if self.state.account(no).closed {
            return Err(Rejection::AccountClosed { account: account.to_owned() });
        }
        let since = self.here();
        let before = self.state.buffer().own(no);
        let after = match (mode, before) {
            (PostingMode::Buffered, None | Some(Buffered { draining: true, .. })) => false,
            (PostingMode::Strict, Some(Buffered { draining: false, .. })) => true,
            _ => return Ok(Effect::Account),
        };
        self.state.buffer_mut().own.insert(no, Buffered { since, draining: after });
        Ok(Effect::Account)
    }

    /// Takes in what nodes say about buffered accounts.
    pub(super) fn buffer_step(
        &mut self,
        by: TransactionId,
        step: &BufferStep,
    ) -> Result<Decision, ApplyError<S::Fault>> {
        let is_own = by.set == self.state.set();
        Ok(match step {
            BufferStep::Announce(account) if !is_own => {
                self.state.buffer_mut().hear(by, account, true);
                Ok(Effect::Announced)
            }
            BufferStep::Withdraw(account) if !is_own => {
                self.state.buffer_mut().hear(by, account, false);
                Ok(Effect::Withdrawn(self.state.buffer().ends(by.set)))
            }
            BufferStep::Drained { account, ends } if is_own => self.drained(by, account, ends),
            BufferStep::Credit(credit) if !is_own => self.credit(by, credit),
            BufferStep::Acknowledge { to, through } if is_own => self.acknowledge(by, *to, *through),
            BufferStep::Lost { to, through, sums } => self.lost_parcels(by, *to, *through, sums),
            BufferStep::SendAgain { to, parcels } if is_own => self.send_again(by, *to, parcels)?,
            _ => Err(Rejection::StepOutOfPlace { attempt: by }),
        })
    }

    fn drained(&mut self, by: TransactionId, account: &str, ends: &[InboxEnd]) -> Decision {
        let out_of_place = || Rejection::StepOutOfPlace { attempt: by };
        let no = self.state.account_no(account).ok_or_else(out_of_place)?;
        let buffer = self.state.buffer();
        let is_taken = |inbox: &InboxEnd| buffer.taken(inbox.set, inbox.end.incarnation) >= inbox.end.number;
        if buffer.own(no) != Some(Buffered { since: by, draining: true }) || !ends.iter().all(is_taken) {
            return Err(out_of_place());
        }
        self.state.buffer_mut().own.remove(&no);
        Ok(Effect::Account)
    }

    fn acknowledge(&mut self, by: TransactionId, to: u32, through: u64) -> Decision {
        let out_of_place = || Rejection::StepOutOfPlace { attempt: by };
        let name = StreamName { to, incarnation: by.incarnation };
        let stream = self.state.buffer().stream(name).ok_or_else(out_of_place)?;
        if through > stream.acknowledged() {
            stream.get(through).filter(|parcel| parcel.position == by.position).ok_or_else(out_of_place)?;
            self.state.buffer_mut().acknowledge(name, through);
        }
        Ok(Effect::Acknowledged)
    }

    fn credit(&mut self, by: TransactionId, credit: &Credit) -> Decision {
        let taken = self.state.buffer().taken(by.set, by.incarnation);
        let is_again = credit.number <= taken;
        if is_again && !canary::on(Canary::OutboxReplayed) {
            return Ok(Effect::Taken);
        }
        if !is_again && credit.number != taken + 1 {
            return Err(Rejection::StepOutOfPlace { attempt: by });
        }
        let effect = match self.book_credit(credit) {
            Ok(effect) => effect,
            Err(reason) => self.suspend(credit, reason)?,
        };
        self.state.buffer_mut().take(by.set, by.incarnation, credit.number.max(taken));
        Ok(effect)
    }

    fn book_credit(&mut self, credit: &Credit) -> Result<Effect, Rejection> {
        let account = &credit.account;
        let no = self.existing(account)?;
        fits(self.state.account(no), credit)?;
        let leg = Planned { no, side: credit.side, amount: credit.amount, kind: LegKind::Ordinary };
        let (mut planned, _) = set_aside(self.state, self.position, &[leg], BOOKED_THERE)?;
        if canary::on(Canary::CreditWithoutClearingLeg) {
            give_back(self.state, &planned.split_off(1));
        }
        Ok(Effect::Posted(book_set_aside(self.state, self.position, &planned)))
    }

    /// Books what cannot be booked where it should be.
    fn suspend(&mut self, credit: &Credit, reason: Rejection) -> Decision {
        let Credit { side, amount, currency, scale, .. } = credit;
        let (amount, scale) = (*amount, *scale);
        let id = suspense_account(self.state.set(), currency);
        let id = account_in_scale(self.state, id, scale);
        let no = match self.state.account_no(&id) {
            Some(no) => no,
            // It is not opened for what is refused.
            None => {
                overflow_of(&id, amount)?;
                let unit = (currency.as_str(), scale);
                check_clearing(self.state, &Sum::of_one(*side, amount, unit))?;
                self.state.open(Account::new(&id, SUSPENSE_SUBJECT, unit, Side::Credit, self.position))
            }
        };
        let leg = Planned { no, side: *side, amount, kind: LegKind::Ordinary };
        let (planned, _) = set_aside(self.state, self.position, &[leg], BOOKED_THERE)?;
        let booked = book_set_aside(self.state, self.position, &planned);
        self.state.buffer_mut().suspended.insert(self.position);
        Ok(Effect::Suspended { reason, booked })
    }

    /// Decides a command that books a suspended credit on; `command` is the same, as it is compared and remembered.
    pub(super) fn resolve_suspense(
        &mut self,
        request_id: &str,
        item: TransactionId,
        account: &str,
        command: &Command,
    ) -> Result<Outcome, ApplyError<S::Fault>> {
        let scope = item.attempt_scope();
        if let Recalled::Known(outcome) = self.recall(&[&scope], &[], request_id, command)? {
            return Ok(outcome);
        }
        let decision = decided(self.resolve(item, account))?;
        self.remember(&scope, request_id)?;
        Ok(self.outcome(decision))
    }

    fn resolve(&mut self, item: TransactionId, account: &str) -> Result<Effect, Stop<S::Fault>> {
        let (credit, on) = self.suspended(item)?;
        let no = self.existing(account)?;
        fits(self.state.account(no), &credit)?;
        let from = self.state.account_no(&on).expect("it was booked on");
        let Credit { side, amount, .. } = credit;
        let leg = |no, side| Planned { no, side, amount, kind: LegKind::Ordinary };
        let legs = [leg(from, side.opposite()), leg(no, side)];
        let booked = book(self.state, self.position, &legs, Terms::default(), true)?;
        self.state.buffer_mut().suspended.remove(&item.position);
        Ok(Effect::Posted(booked))
    }

    /// A credit that is suspended, and the account that it stands on. What was, and is no more, was booked on.
    fn suspended(&self, item: TransactionId) -> Result<(Credit, String), Stop<S::Fault>> {
        let not_found = Rejection::SuspenseNotFound { item };
        if item.set != self.state.set() || item.position >= self.position {
            return Err(not_found.into());
        }
        match self.original(item.position)? {
            Some((
                Command::BufferStep { step: BufferStep::Credit(credit), .. },
                Outcome { incarnation, result: Ok(Effect::Suspended { booked, .. }), .. },
            )) if incarnation == item.incarnation => {
                match self.state.buffer().suspended.contains(&item.position) {
                    true => Ok((credit, booked[0].account.clone())),
                    false => Err(Rejection::SuspenseResolved { item }.into()),
                }
            }
            _ => Err(not_found.into()),
        }
    }
}

/// Whether a credit is in what the account is kept in.
fn fits(account: &Account, credit: &Credit) -> Result<(), Rejection> {
    if account.currency != credit.currency {
        let (account, expected) = (account.id.clone(), account.currency.clone());
        return Err(Rejection::CurrencyMismatch { account, expected });
    }
    if account.scale != credit.scale {
        return Err(Rejection::CurrencyConflict { currency: credit.currency.clone() });
    }
    Ok(())
}
