//! Booking: the only place where balances change. Takes legs that are known to balance, checks what the accounts say
//! to them (closed, frozen, overflow, limit, what is withdrawable, in that order), and then books all or none. Of an
//! attempt the two are done apart: `reserve` checks and sets aside, and books later what needs no check any more.

use crate::account::{Account, AccountNo, Side};
use crate::attempt::Planned;
use crate::canary::{self, Canary};
use crate::command::{Expected, Leg, LegKind};
use crate::id::Position;
use crate::outcome::Posted;
use crate::rejection::Rejection;
use crate::state::{Posting, State};

/// The sums of debits and of credits that an account can keep, in minor units. Nothing derived from them can overflow:
/// neither an account's figures nor the totals of a set, which has fewer than 2^32 accounts.
pub(super) const SUM_MAX: i128 = 1 << 94;

/// What may stand on either side of a clearing account by legs that can still be refused. The rest of the room is for what
/// another set has booked already: sixty-seven million of the greatest parcels ([`crate::buffer::PARCEL_MAX`]).
pub(super) const ASKED_MAX: i128 = SUM_MAX - (1 << 90);

/// What all legs of a transaction together do to one account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effect {
    pub no: AccountNo,
    pub debits: i128,
    pub credits: i128,
    /// Whether a leg is a withdrawal.
    withdraws: bool,
    legs: u64,
}

impl Effect {
    pub fn of(leg: &Planned) -> Self {
        let mut effect = Effect::sums(leg.no, 0, 0);
        effect.add(leg);
        effect
    }

    /// Of so much on each side.
    pub fn sums(no: AccountNo, debits: i128, credits: i128) -> Self {
        Effect { no, debits, credits, withdraws: false, legs: 0 }
    }

    fn add(&mut self, leg: &Planned) {
        match leg.side {
            Side::Debit => self.debits += leg.amount,
            Side::Credit => self.credits += leg.amount,
        }
        self.withdraws |= leg.kind == LegKind::Withdrawal;
        self.legs += 1;
    }

    /// The change of the account's posted balance.
    pub fn net(&self, account: &Account) -> i128 {
        match account.normal_side {
            Side::Debit => self.debits - self.credits,
            Side::Credit => self.credits - self.debits,
        }
    }
}

/// What a transaction brings beside its legs.
#[derive(Clone, Copy, Default)]
pub(super) struct Terms<'a> {
    /// The legs as asked for, whose preconditions are to hold.
    pub asked: &'a [Leg],
    /// What a hold has set aside for an account already.
    pub covered: Option<(AccountNo, i128)>,
    /// Another set has booked its side already.
    pub is_booked_there: bool,
}

/// Books legs that balance, or says why not. The sums of all legs must fit an `i128`, as whoever balanced them knows.
/// `named`: with the accounts' ids in the result.
pub(super) fn book<S: State>(
    state: &mut S,
    position: Position,
    legs: &[Planned],
    terms: Terms<'_>,
    named: bool,
) -> Result<Vec<Posted>, Rejection> {
    match legs {
        [a, b] if a.no != b.no => {
            let balanced = a.side != b.side
                && a.amount == b.amount
                && state.account(a.no).currency == state.account(b.no).currency;
            assert!(balanced, "what is booked balances, at {position:?}");
            check_and_raise(state, position, legs, &[Effect::of(a), Effect::of(b)], terms, named)
        }
        _ => {
            assert_balanced(state, position, legs);
            check_and_raise(state, position, legs, &effects(legs), terms, named)
        }
    }
}

/// One effect per account, in the order of their first legs. A transaction has few of them: a list does.
pub(super) fn effects(legs: &[Planned]) -> Vec<Effect> {
    let mut effects: Vec<Effect> = Vec::with_capacity(legs.len());
    for leg in legs {
        match effects.iter_mut().find(|effect| effect.no == leg.no) {
            Some(effect) => effect.add(leg),
            None => effects.push(Effect::of(leg)),
        }
    }
    effects
}

pub(super) fn assert_balanced<S: State>(state: &S, position: Position, legs: &[Planned]) {
    if canary::on(Canary::ClearingLegLeftOut) || canary::on(Canary::CreditWithoutClearingLeg) {
        return;
    }
    let mut sums: Vec<(&str, i128)> = Vec::with_capacity(1);
    for leg in legs {
        let currency = state.account(leg.no).currency.as_str();
        let amount = match leg.side {
            Side::Debit => leg.amount,
            Side::Credit => -leg.amount,
        };
        match sums.iter_mut().find(|(of, _)| *of == currency) {
            Some((_, sum)) => *sum += amount,
            None => sums.push((currency, amount)),
        }
    }
    assert!(sums.iter().all(|(_, sum)| *sum == 0), "what is booked balances, at {position:?}");
}

fn check_and_raise<S: State>(
    state: &mut S,
    position: Position,
    legs: &[Planned],
    effects: &[Effect],
    terms: Terms<'_>,
    named: bool,
) -> Result<Vec<Posted>, Rejection> {
    check(state, position, legs, effects, terms)?;
    Ok(raise(state, position, legs, effects, named))
}

/// What the accounts say to the legs.
pub(super) fn check<S: State>(
    state: &S,
    position: Position,
    legs: &[Planned],
    effects: &[Effect],
    terms: Terms<'_>,
) -> Result<(), Rejection> {
    if !(canary::on(Canary::IgnoredFreeze) && legs.len() == 2) {
        check_status(state, legs)?;
    }
    terms.asked.iter().try_for_each(|leg| check_preconditions(state, leg))?;
    effects.iter().try_for_each(|effect| check_overflow(state.account(effect.no), effect))?;
    if !(canary::on(Canary::LimitOfTheFirst) && position.offset() > 0) {
        let covered =
            |no| terms.covered.filter(|(account, _)| *account == no).map_or(0, |(_, amount)| amount);
        let checked = |effect: &Effect| check_limit(state.account(effect.no), effect, covered(effect.no));
        effects.iter().try_for_each(checked)?;
        let withdraws = |effect: &&Effect| effect.withdraws;
        let checked =
            |effect: &Effect| check_withdrawable(state.account(effect.no), effect, covered(effect.no));
        effects.iter().filter(withdraws).try_for_each(checked)?;
    }
    Ok(())
}

/// Books the legs.
pub(super) fn raise<S: State>(
    state: &mut S,
    position: Position,
    legs: &[Planned],
    effects: &[Effect],
    named: bool,
) -> Vec<Posted> {
    if canary::on(Canary::LostCent) && position.index().is_multiple_of(1000) {
        state.account_mut(legs[0].no).debits -= 1;
    }
    for effect in effects {
        let account = state.account_mut(effect.no);
        account.debits += effect.debits;
        account.credits += effect.credits;
        account.version += effect.legs;
    }
    for leg in legs {
        let inflow = state.account(leg.no).is_inflow(leg.side);
        let delta = if inflow { leg.amount } else { -leg.amount };
        state.post(leg.no, Posting { position, delta });
    }
    legs.iter().map(|leg| posted(state.account(leg.no), leg, named)).collect()
}

fn posted(account: &Account, leg: &Planned, named: bool) -> Posted {
    Posted {
        account: if named { account.id.clone() } else { String::new() },
        side: leg.side,
        amount: leg.amount,
        scale: account.scale,
        posted: account.posted(),
        available: account.available(),
    }
}

pub(super) fn check_status<S: State>(state: &S, legs: &[Planned]) -> Result<(), Rejection> {
    for leg in legs {
        let account = state.account(leg.no);
        if account.closed {
            return Err(Rejection::AccountClosed { account: account.id.clone() });
        }
    }
    for leg in legs {
        let account = state.account(leg.no);
        let frozen = match leg.side {
            Side::Debit => account.frozen_debit,
            Side::Credit => account.frozen_credit,
        };
        if frozen {
            return Err(Rejection::AccountFrozen { account: account.id.clone(), side: leg.side });
        }
    }
    Ok(())
}

/// Open attempts may still book all that is prepared, on either side. A side that gets nothing needs no room, though what is
/// prepared for the other one may leave it none.
pub(super) fn check_overflow(account: &Account, effect: &Effect) -> Result<(), Rejection> {
    check_room(account, effect, SUM_MAX)
}

/// The same of an account that may keep so much.
pub(super) fn check_room(account: &Account, effect: &Effect, most: i128) -> Result<(), Rejection> {
    let most = most - account.prepared;
    let fits = |sum: i128, more: i128| more == 0 || sum.checked_add(more).is_some_and(|sum| sum <= most);
    if fits(account.debits, effect.debits) && fits(account.credits, effect.credits) {
        Ok(())
    } else {
        Err(Rejection::AmountOverflow { account: account.id.clone() })
    }
}

/// No account can keep more than that, whatever stands on it.
pub(super) fn overflow_of(account: &str, amount: i128) -> Result<(), Rejection> {
    overflow_beyond(account, amount, SUM_MAX)
}

/// The same of an account that may keep so much.
pub(super) fn overflow_beyond(account: &str, amount: i128, most: i128) -> Result<(), Rejection> {
    match amount > most {
        true => Err(Rejection::AmountOverflow { account: account.to_owned() }),
        false => Ok(()),
    }
}

/// What holds set aside is kept as balances are.
pub(super) fn held_overflow(account: &Account, more: i128) -> Result<(), Rejection> {
    match account.held.checked_add(more) {
        Some(held) if held <= SUM_MAX => Ok(()),
        _ => Err(Rejection::AmountOverflow { account: account.id.clone() }),
    }
}

fn check_preconditions<S: State>(state: &S, leg: &Leg) -> Result<(), Rejection> {
    if leg.preconditions.is_empty() {
        return Ok(());
    }
    let account = state.account(state.account_no(&leg.account).expect("the legs were planned"));
    for precondition in &leg.preconditions {
        let (wanted, scale) = precondition.minor(account.scale).expect("it was planned");
        let (found, holds) = match precondition.expected {
            Expected::AvailableMin => (account.available(), account.available() >= wanted),
            Expected::AvailableMax => (account.available(), account.available() <= wanted),
            Expected::PostedMin if canary::on(Canary::AtLeastIsMore) => {
                (account.posted(), account.posted() > wanted)
            }
            Expected::PostedMin => (account.posted(), account.posted() >= wanted),
            Expected::PostedMax => (account.posted(), account.posted() <= wanted),
            Expected::Version if canary::on(Canary::VersionOverlooked) => (account.version.into(), true),
            Expected::Version => (account.version.into(), i128::from(account.version) == wanted),
        };
        if !holds {
            let (account, expected) = (account.id.clone(), precondition.expected);
            return Err(Rejection::PreconditionFailed { account, expected, found, wanted, scale });
        }
    }
    Ok(())
}

/// Only what falls, beyond what is `covered` by a hold, needs cover: an inflow never fails on a limit, not even while the
/// balance is below it.
pub(super) fn check_limit(account: &Account, effect: &Effect, covered: i128) -> Result<(), Rejection> {
    let net = effect.net(account) + covered;
    let Some(limit) = account.limit.filter(|_| net < 0) else {
        return Ok(());
    };
    let available = account.available();
    if available + net >= limit {
        return Ok(());
    }
    Err(Rejection::LimitExceeded {
        account: account.id.clone(),
        available,
        limit,
        needed: -net,
        scale: account.scale,
    })
}

/// A withdrawal leaves at least the floor of what is withdrawable, too. What a hold covers was set aside before, restricted or
/// not: it only needs no cover a second time.
fn check_withdrawable(account: &Account, effect: &Effect, covered: i128) -> Result<(), Rejection> {
    let net = effect.net(account);
    let Some(limit) = account.limit.filter(|_| net < 0) else {
        return Ok(());
    };
    let (withdrawable, needed) = (account.withdrawable(), -(net + covered));
    if canary::on(Canary::WithdrawalOfRestricted) || withdrawable - needed >= limit {
        return Ok(());
    }
    let (account, scale) = (account.id.clone(), account.scale);
    Err(Rejection::WithdrawableExceeded { account, withdrawable, limit, needed, scale })
}
