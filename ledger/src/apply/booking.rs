//! Booking: the only place where balances change. Takes legs that are known to balance, checks what the accounts say
//! to them (closed, frozen, overflow, limit, in that order), and then books all or none. Of an attempt the two are done
//! apart: `reserve` checks and sets aside, and books later what needs no check any more.

use std::collections::BTreeMap;

use crate::account::{Account, AccountNo, Side};
use crate::attempt::Planned;
use crate::canary::{self, Canary};
use crate::id::Position;
use crate::outcome::Posted;
use crate::rejection::Rejection;
use crate::state::{Posting, State};

/// The sums of debits and of credits that an account can keep, in minor units. Nothing derived from them can overflow:
/// neither an account's figures nor the totals of a set, which has fewer than 2^32 accounts.
pub(super) const SUM_MAX: i128 = 1 << 94;

/// What all legs of a transaction together do to one account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effect {
    pub no: AccountNo,
    pub debits: i128,
    pub credits: i128,
    legs: u64,
}

impl Effect {
    pub fn of(leg: &Planned) -> Self {
        let mut effect = Effect { no: leg.no, debits: 0, credits: 0, legs: 0 };
        effect.add(leg);
        effect
    }

    fn add(&mut self, leg: &Planned) {
        match leg.side {
            Side::Debit => self.debits += leg.amount,
            Side::Credit => self.credits += leg.amount,
        }
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

/// Books legs that balance, or says why not. The sums of all legs must fit an `i128`, as whoever balanced them knows.
/// `named`: with the accounts' ids in the result.
pub(super) fn book<S: State>(
    state: &mut S,
    position: Position,
    legs: &[Planned],
    named: bool,
) -> Result<Vec<Posted>, Rejection> {
    match legs {
        [a, b] if a.no != b.no => {
            let balanced = a.side != b.side
                && a.amount == b.amount
                && state.account(a.no).currency == state.account(b.no).currency;
            assert!(balanced, "what is booked balances, at {position:?}");
            check_and_raise(state, position, legs, &[Effect::of(a), Effect::of(b)], named)
        }
        _ => {
            assert_balanced(state, position, legs);
            check_and_raise(state, position, legs, &effects(legs), named)
        }
    }
}

/// One effect per account, in the order of their first legs.
pub(super) fn effects(legs: &[Planned]) -> Vec<Effect> {
    let mut at = BTreeMap::new();
    let mut effects: Vec<Effect> = Vec::new();
    for leg in legs {
        match at.get(&leg.no) {
            Some(&at) => Effect::add(&mut effects[at], leg),
            None => {
                at.insert(leg.no, effects.len());
                effects.push(Effect::of(leg));
            }
        }
    }
    effects
}

pub(super) fn assert_balanced<S: State>(state: &S, position: Position, legs: &[Planned]) {
    if canary::on(Canary::ClearingLegLeftOut) {
        return;
    }
    let mut sums = BTreeMap::<&str, i128>::new();
    for leg in legs {
        let sum = sums.entry(&state.account(leg.no).currency).or_default();
        match leg.side {
            Side::Debit => *sum += leg.amount,
            Side::Credit => *sum -= leg.amount,
        }
    }
    assert!(sums.values().all(|&sum| sum == 0), "what is booked balances, at {position:?}");
}

fn check_and_raise<S: State>(
    state: &mut S,
    position: Position,
    legs: &[Planned],
    effects: &[Effect],
    named: bool,
) -> Result<Vec<Posted>, Rejection> {
    check(state, position, legs, effects)?;
    Ok(raise(state, position, legs, effects, named))
}

/// What the accounts say to the legs.
pub(super) fn check<S: State>(
    state: &S,
    position: Position,
    legs: &[Planned],
    effects: &[Effect],
) -> Result<(), Rejection> {
    if !(canary::on(Canary::IgnoredFreeze) && legs.len() == 2) {
        check_status(state, legs)?;
    }
    effects.iter().try_for_each(|effect| check_overflow(state.account(effect.no), effect))?;
    if !(canary::on(Canary::LimitOfTheFirst) && position.offset() > 0) {
        effects.iter().try_for_each(|effect| check_limit(state.account(effect.no), effect))?;
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

fn check_status<S: State>(state: &S, legs: &[Planned]) -> Result<(), Rejection> {
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

/// Open attempts may still book all that is prepared, on either side.
pub(super) fn check_overflow(account: &Account, effect: &Effect) -> Result<(), Rejection> {
    let most = SUM_MAX - account.prepared;
    let fits = |sum: i128, more: i128| sum.checked_add(more).is_some_and(|sum| sum <= most);
    if fits(account.debits, effect.debits) && fits(account.credits, effect.credits) {
        Ok(())
    } else {
        Err(Rejection::AmountOverflow { account: account.id.clone() })
    }
}

/// Only what falls needs cover: an inflow never fails on a limit, not even while the balance is below it.
fn check_limit(account: &Account, effect: &Effect) -> Result<(), Rejection> {
    let net = effect.net(account);
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
