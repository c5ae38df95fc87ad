//! Legs: in minor units, weighed against each other, checked against their accounts, and booked.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use twinset_ledger::attempt::Sum;
use twinset_ledger::command::{Expected, Precondition};
use twinset_ledger::{Leg, LegKind, Posted, Rejection, Side};

use super::Model;
use super::hold::Taking;

/// What an account's debits, and its credits, can add up to.
pub(super) const SUM_MAX: i128 = 1 << 94;
/// What may be asked for on a clearing account: fifteen sixteenths of that.
pub(super) const ASKED_MAX: i128 = 15 << 90;

/// A leg in minor units.
#[derive(Clone, Debug)]
pub(super) struct Move {
    pub account: String,
    pub side: Side,
    pub minor: i128,
    /// What must be true of the account before; versions as they are, all else in minor units.
    pub expects: Vec<(Expected, i128)>,
    /// Whether it is a withdrawal, or what it brings is restricted.
    pub kind: LegKind,
}

impl Model {
    /// Legs as asked for, in minor units: first all accounts are looked for, then currencies are compared, then amounts read,
    /// and with each amount what its leg expects. Then what is restricted must be something that comes in.
    pub(super) fn plan(&self, legs: &[Leg]) -> Result<Vec<Move>, Rejection> {
        if let Some(leg) = legs.iter().find(|leg| !self.accounts.contains_key(&leg.account)) {
            return Err(Rejection::AccountNotFound { account: leg.account.clone() });
        }
        for leg in legs {
            let own = &self.accounts[&leg.account].currency;
            if leg.currency.as_ref().is_some_and(|named| named != own) {
                let (account, expected) = (leg.account.clone(), own.clone());
                return Err(Rejection::CurrencyMismatch { account, expected });
            }
        }
        let in_minor_units = |leg: &Leg| {
            let scale = self.accounts[&leg.account].scale;
            let amount = minor(leg.amount, scale, &leg.account)?;
            let expects = |Precondition { expected, value }: &Precondition| {
                let value = match expected {
                    Expected::Version => value.mantissa(),
                    _ => minor(*value, scale, &leg.account)?,
                };
                Ok((*expected, value))
            };
            let expects = leg.preconditions.iter().map(expects).collect::<Result<_, _>>()?;
            Ok(Move { account: leg.account.clone(), side: leg.side, minor: amount, expects, kind: leg.kind })
        };
        let moves = legs.iter().map(in_minor_units).collect::<Result<Vec<_>, _>>()?;
        for leg in &moves {
            if matches!(leg.kind, LegKind::Restricted { .. })
                && leg.side != self.accounts[&leg.account].normal
            {
                return Err(Rejection::RestrictedOutflow { account: leg.account.clone() });
            }
        }
        Ok(moves)
    }

    /// Debits and credits of each currency, by its code.
    pub(super) fn sums(&self, legs: &[Move]) -> Result<Vec<Sum>, Rejection> {
        let mut sums = BTreeMap::<&str, Sum>::new();
        for leg in legs {
            let account = &self.accounts[&leg.account];
            let sum = sums.entry(&account.currency).or_insert_with(|| Sum {
                currency: account.currency.clone(),
                scale: account.scale,
                debits: 0,
                credits: 0,
            });
            let side = if leg.side == Side::Debit { &mut sum.debits } else { &mut sum.credits };
            let overflow = || Rejection::AmountOverflow { account: leg.account.clone() };
            *side = side.checked_add(leg.minor).ok_or_else(overflow)?;
        }
        Ok(sums.into_values().collect())
    }

    /// What the accounts say: all must be open, then none frozen, then all as is expected, then all have room, then all keep
    /// their floors, and then those that something is withdrawn from keep them without what is restricted. What comes out of a
    /// hold was kept free for it.
    pub(super) fn check(&self, legs: &[Move], taking: Option<&Taking>) -> Result<(), Rejection> {
        if let Some(leg) = legs.iter().find(|leg| self.accounts[&leg.account].closed) {
            return Err(Rejection::AccountClosed { account: leg.account.clone() });
        }
        if let Some(leg) = legs.iter().find(|leg| self.accounts[&leg.account].frozen.contains(&leg.side)) {
            return Err(Rejection::AccountFrozen { account: leg.account.clone(), side: leg.side });
        }
        legs.iter().try_for_each(|leg| self.is_as_expected(leg))?;
        let totals = per_account(legs);
        for (id, debits, credits) in &totals {
            // Only what is asked for needs room.
            let (more_debits, more_credits) = self.accounts[*id].room();
            if *debits > more_debits.max(0) || *credits > more_credits.max(0) {
                return Err(Rejection::AmountOverflow { account: (*id).to_owned() });
            }
        }
        let out_of_hold = |id| taking.filter(|taking| taking.account == id).map_or(0, |taking| taking.amount);
        for &(id, debits, credits) in &totals {
            let account = &self.accounts[id];
            let out_of_hold = out_of_hold(id);
            let (rise, available) = (account.rise(debits, credits) + out_of_hold, account.available());
            if let Some(limit) = account.limit.filter(|limit| rise < 0 && available + rise < *limit) {
                let (account, scale) = (id.to_owned(), account.scale);
                return Err(Rejection::LimitExceeded { account, available, limit, needed: -rise, scale });
            }
        }
        for (id, debits, credits) in totals {
            let account = &self.accounts[id];
            let (rise, withdrawable) = (account.rise(debits, credits), account.withdrawable());
            let withdraws = legs.iter().any(|leg| leg.account == id && leg.kind == LegKind::Withdrawal);
            let Some(limit) = account.limit.filter(|_| withdraws && rise < 0) else { continue };
            let needed = -(rise + out_of_hold(id));
            if withdrawable < limit + needed {
                let (account, scale) = (id.to_owned(), account.scale);
                return Err(Rejection::WithdrawableExceeded { account, withdrawable, limit, needed, scale });
            }
        }
        Ok(())
    }

    fn is_as_expected(&self, leg: &Move) -> Result<(), Rejection> {
        let account = &self.accounts[&leg.account];
        for &(expected, wanted) in &leg.expects {
            let (found, fulfilled): (i128, fn(&i128, &i128) -> bool) = match expected {
                Expected::AvailableMin => (account.available(), i128::ge),
                Expected::AvailableMax => (account.available(), i128::le),
                Expected::PostedMin => (account.balance(), i128::ge),
                Expected::PostedMax => (account.balance(), i128::le),
                Expected::Version => (account.legs.into(), i128::eq),
            };
            if !fulfilled(&found, &wanted) {
                let scale = if expected == Expected::Version { 0 } else { account.scale };
                let account = leg.account.clone();
                return Err(Rejection::PreconditionFailed { account, expected, found, wanted, scale });
            }
        }
        Ok(())
    }

    /// Books legs, whatever the accounts say.
    pub(super) fn book(&mut self, legs: &[Move]) -> Vec<Posted> {
        for leg in legs {
            let account = self.accounts.get_mut(&leg.account).expect("it was found before");
            *(if leg.side == Side::Debit { &mut account.debits } else { &mut account.credits }) += leg.minor;
            account.legs += 1;
        }
        let posted = legs.iter().map(|leg| {
            let account = &self.accounts[&leg.account];
            Posted {
                account: leg.account.clone(),
                side: leg.side,
                amount: leg.minor,
                scale: account.scale,
                posted: account.balance(),
                available: account.available(),
            }
        });
        posted.collect()
    }
}

/// Debits must equal credits in every currency.
pub(super) fn balanced(sums: impl IntoIterator<Item = Sum>) -> Result<(), Rejection> {
    for Sum { currency, scale, debits, credits } in sums {
        if debits != credits {
            return Err(Rejection::Unbalanced { currency, debits, credits, scale });
        }
    }
    Ok(())
}

/// Debits and credits of each account, in the order in which the legs come to it.
pub(super) fn per_account(legs: &[Move]) -> Vec<(&str, i128, i128)> {
    let mut totals: Vec<(&str, i128, i128)> = Vec::new();
    for leg in legs {
        let (debit, credit) = if leg.side == Side::Debit { (leg.minor, 0) } else { (0, leg.minor) };
        match totals.iter_mut().find(|total| total.0 == leg.account) {
            Some((_, debits, credits)) => {
                *debits += debit;
                *credits += credit;
            }
            None => totals.push((&leg.account, debit, credit)),
        }
    }
    totals
}

/// An amount in minor units of an account.
pub(super) fn minor(amount: Decimal, scale: u8, account: &str) -> Result<i128, Rejection> {
    let amount = amount.normalize();
    let account = || account.to_owned();
    let Some(places) = u32::from(scale).checked_sub(amount.scale()) else {
        return Err(Rejection::ExcessScale { account: account(), scale });
    };
    let minor = amount.mantissa().checked_mul(10i128.pow(places));
    minor.ok_or_else(|| Rejection::AmountOverflow { account: account() })
}

/// The other side.
pub(super) fn opposite(side: Side) -> Side {
    if side == Side::Debit { Side::Credit } else { Side::Debit }
}
