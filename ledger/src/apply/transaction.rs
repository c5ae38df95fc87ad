//! Transactions. The general way takes any number of legs; the short way takes the two-leg form without a string
//! lookup or an allocation but the outcome's own, and gives exactly the same result.

use super::account::reject_amount;
use super::booking::{Terms, assert_balanced, book, check, effects, raise};
use super::chart::check_no_group;
use super::idempotency::{Recalled, Scope, leg_accounts, scope_of};
use super::{ApplyError, Stop, Turn, decided};
use crate::account::{AccountNo, Side};
use crate::amount::{AmountError, to_minor};
use crate::attempt::{Planned, Sum};
use crate::canary::{self, Canary};
use crate::codec::{self, Short, ShortScope};
use crate::command::{Command, Leg, LegKind, Transaction};
use crate::id::InlineId;
use crate::outcome::{Effect, Outcome};
use crate::rejection::Rejection;
use crate::state::State;

impl<S: State> Turn<'_, S> {
    /// Decides a transaction; `command` is the same, as it is compared and remembered.
    pub(super) fn transaction(
        &mut self,
        transaction: &Transaction,
        command: &Command,
    ) -> Result<Outcome, ApplyError<S::Fault>> {
        let (scopes, elsewhere) = match scope_of(self.state, transaction) {
            Scope::Account(scope) if transaction.scope_account.is_some() => (vec![scope], Vec::new()),
            // While it was undetermined, the request may have been answered under any of its accounts.
            Scope::Account(scope) => (vec![scope], leg_accounts(transaction)),
            Scope::Undetermined(accounts) => (accounts, Vec::new()),
        };
        let request_id = &transaction.request_id;
        let on_group = match self.forced {
            Some(Rejection::LegOnGroup { .. }) => self.forced.cloned(),
            _ => check_no_group(self.state, transaction).err(),
        };
        let free = match (self.recall(&scopes, &elsewhere, request_id, command)?, on_group) {
            (Recalled::Known(outcome), Some(_)) if outcome.replayed => return Ok(outcome),
            (_, Some(on_group)) => return Ok(self.outcome(Err(on_group))),
            (Recalled::Known(outcome), None) => return Ok(outcome),
            (Recalled::New(free), None) => free,
        };
        if let Some(out_of_place) =
            self.confirms_out_of_place(transaction).or_else(|| self.sweeps_out_of_place(transaction))
        {
            return Ok(self.outcome(Err(out_of_place)));
        }
        let decision = match self.forced {
            Some(rejection) => Err(rejection.clone()),
            None => decided(self.book_transaction(transaction))?,
        };
        if canary::on(Canary::ForgottenRejections) && decision.is_err() {
            return Ok(self.outcome(decision));
        }
        for scope in free {
            self.remember(scope, request_id)?;
        }
        self.ran(transaction, &decision);
        Ok(self.outcome(decision))
    }

    fn book_transaction(&mut self, transaction: &Transaction) -> Result<Effect, Stop<S::Fault>> {
        let asked = &transaction.legs;
        let legs = plan(self.state, asked)?;
        let capturing = self.capturing(transaction, &legs)?;
        check_balance(sums(self.state, &legs)?)?;
        let terms = Terms { asked, ..self.terms_of(capturing) };
        let posted = match capturing {
            None => book(self.state, self.position, &legs, terms, false)?,
            Some(capturing) => {
                assert_balanced(self.state, self.position, &legs);
                let effects = effects(&legs);
                check(self.state, self.position, &legs, &effects, terms)?;
                // Before the balances are told: they are as after all of it.
                self.captured(capturing, self.here());
                raise(self.state, self.position, &legs, &effects, false)
            }
        };
        self.restrict(self.here(), &legs);
        Ok(Effect::Posted(posted))
    }
}

/// Finds the accounts and turns amounts into minor units.
pub(super) fn plan<S: State>(state: &S, legs: &[Leg]) -> Result<Vec<Planned>, Rejection> {
    let find = |account: &String| {
        state.account_no(account).ok_or_else(|| Rejection::AccountNotFound { account: account.clone() })
    };
    let numbers = legs.iter().map(|leg| find(&leg.account)).collect::<Result<Vec<AccountNo>, _>>()?;
    for (leg, &no) in legs.iter().zip(&numbers) {
        let expected = &state.account(no).currency;
        if leg.currency.as_ref().is_some_and(|currency| currency != expected) {
            return Err(Rejection::CurrencyMismatch {
                account: leg.account.clone(),
                expected: expected.clone(),
            });
        }
    }
    let minor = |(leg, &no): (&Leg, &AccountNo)| {
        let reject = |error| reject_amount(error, &leg.account);
        let amount = to_minor(leg.amount, state.account(no).scale).map_err(reject)?;
        for precondition in &leg.preconditions {
            precondition.minor(state.account(no).scale).map_err(reject)?;
        }
        Ok(Planned { no, side: leg.side, amount, kind: leg.kind })
    };
    let planned = legs.iter().zip(&numbers).map(minor).collect::<Result<Vec<Planned>, _>>()?;
    let restricts_nothing = |leg: &&Planned| {
        matches!(leg.kind, LegKind::Restricted { .. }) && !state.account(leg.no).is_inflow(leg.side)
    };
    match planned.iter().find(restricts_nothing) {
        Some(leg) => Err(Rejection::RestrictedOutflow { account: state.account(leg.no).id.clone() }),
        None => Ok(planned),
    }
}

/// Debits and credits per currency, in the order of the codes.
pub(super) fn sums<S: State>(state: &S, legs: &[Planned]) -> Result<Vec<Sum>, Rejection> {
    let mut sums: Vec<Sum> = Vec::with_capacity(1);
    for leg in legs {
        let account = state.account(leg.no);
        let (currency, scale) = (&account.currency, account.scale);
        let at = sums.binary_search_by(|sum| sum.currency.cmp(currency)).unwrap_or_else(|at| {
            sums.insert(at, Sum { currency: currency.clone(), scale, debits: 0, credits: 0 });
            at
        });
        let side = match leg.side {
            Side::Debit => &mut sums[at].debits,
            Side::Credit => &mut sums[at].credits,
        };
        *side =
            side.checked_add(leg.amount).ok_or_else(|| reject_amount(AmountError::Overflow, &account.id))?;
    }
    Ok(sums)
}

/// Debits against credits of each currency, smallest code first.
pub(super) fn check_balance(sums: impl IntoIterator<Item = Sum>) -> Result<(), Rejection> {
    match sums.into_iter().find(|sum| sum.debits != sum.credits) {
        None => Ok(()),
        Some(Sum { currency, scale, debits, credits }) => {
            Err(Rejection::Unbalanced { currency, debits, credits, scale })
        }
    }
}

/// Decides a transaction in short form. A request id that is known takes the general way, which compares contents.
pub(super) fn apply_short<S: State>(
    turn: &mut Turn<'_, S>,
    short: &Short,
) -> Result<Outcome, ApplyError<S::Fault>> {
    let scope = short_scope(turn.state, short);
    let request_id = short.request_id.unpack();
    let asked_before = turn.state.request(&scope, &request_id, turn.position).map_err(ApplyError::Fault)?;
    // The account of a group's id is closed.
    let on_group =
        turn.state.has_groups() && short.legs().into_iter().any(|(no, _)| turn.state.account(no).closed);
    if asked_before.is_some() || turn.forced.is_some() || on_group {
        let transaction = codec::expand(short, turn.state);
        let command = Command::Transaction(transaction.clone());
        return turn.transaction(&transaction, &command);
    }
    let amount = i128::from(short.amount);
    let legs = short.legs().map(|(no, side)| Planned { no, side, amount, kind: LegKind::Ordinary });
    let decision = book(turn.state, turn.position, &legs, Terms::default(), false).map(Effect::Posted);
    if canary::on(Canary::ForgottenRejections) && decision.is_err() {
        return Ok(turn.outcome(decision));
    }
    turn.remember(&scope, &request_id)?;
    Ok(turn.outcome(decision))
}

/// As `scope_of`, for accounts that are both known.
fn short_scope<S: State>(state: &S, short: &Short) -> InlineId {
    let (debit, credit) = (state.account(short.debit), state.account(short.credit));
    let account = match short.scope {
        ShortScope::Debit => debit,
        ShortScope::Credit => credit,
        ShortScope::Default => match (debit.is_inflow(Side::Debit), credit.is_inflow(Side::Credit)) {
            (false, true) => debit,
            (true, false) => credit,
            _ if debit.id <= credit.id => debit,
            _ => credit,
        },
    };
    InlineId::new(&account.id)
}
