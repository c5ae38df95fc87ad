//! Who is asked first: the memory of request ids. The key is (scope account, request id). The same content gives the
//! first outcome again; other content is refused with the name of a field that differs, and that refusal is not
//! remembered. Contents are compared by what they mean, not by how they were written.

use std::collections::BTreeSet;

use rust_decimal::Decimal;

use super::attempt::last_word;
use super::{ApplyError, Turn};
use crate::account::Side;
use crate::canary::{self, Canary};
use crate::chart::normal_side;
use crate::command::{Command, Leg, LegKind, LegPart, Metadata, Reversal, Transaction};
use crate::hold::PlaceHold;
use crate::id::Position;
use crate::outcome::Outcome;
use crate::rejection::Rejection;
use crate::state::State;

/// Where a transaction's request id is remembered.
pub(super) enum Scope<'a> {
    /// Under this account.
    Account(&'a str),
    /// An unknown account may be the default scope account once it is opened: under every account of the legs, so that
    /// the refusal stands whatever is opened later. Sorted.
    Undetermined(Vec<&'a str>),
}

/// The scope account of a transaction: named, or the smallest account id among its outflow legs, or among all legs if
/// none is an outflow. None if that depends on an account that is not known (such a transaction is never booked).
pub fn scope_account<'a, S: State>(state: &S, transaction: &'a Transaction) -> Option<&'a str> {
    match scope_of(state, transaction) {
        Scope::Account(account) => Some(account),
        Scope::Undetermined(_) => None,
    }
}

pub(super) fn scope_of<'a, S: State>(state: &S, transaction: &'a Transaction) -> Scope<'a> {
    if let Some(scope) = &transaction.scope_account {
        return Scope::Account(scope);
    }
    let mut smallest = None;
    let mut smallest_outflow = None;
    let mut smallest_unknown = None;
    let take = |least: &mut Option<&'a str>, id: &'a str| {
        if least.is_none_or(|least| id < least) {
            *least = Some(id);
        }
    };
    for leg in &transaction.legs {
        take(&mut smallest, &leg.account);
        match state.account_no(&leg.account) {
            None => take(&mut smallest_unknown, &leg.account),
            Some(no) if !state.account(no).is_inflow(leg.side) => take(&mut smallest_outflow, &leg.account),
            Some(_) => {}
        }
    }
    let smallest = smallest.expect("a valid transaction has legs");
    match (smallest_outflow, smallest_unknown) {
        (Some(outflow), None) => Scope::Account(outflow),
        // No unknown account can come before it.
        (Some(outflow), Some(unknown)) if outflow < unknown => Scope::Account(outflow),
        (None, None) => Scope::Account(smallest),
        (_, Some(_)) => Scope::Undetermined(leg_accounts(transaction)),
    }
}

/// The distinct accounts of the legs, sorted.
pub(super) fn leg_accounts(transaction: &Transaction) -> Vec<&str> {
    let accounts: BTreeSet<&str> = transaction.legs.iter().map(|leg| leg.account.as_str()).collect();
    accounts.into_iter().collect()
}

/// What the memory says to a request.
pub(super) enum Recalled<'a> {
    /// The answer is known: the first outcome again, or the refusal of an id that was used for something else.
    Known(Outcome),
    /// The request is new, and is to be remembered under these scopes.
    New(Vec<&'a str>),
}

impl<S: State> Turn<'_, S> {
    /// Asks the memory about a request whose scope may turn out to be any of `scopes`. If its id was used under one of
    /// them for the same, that answer is given again. If it was used for something else under all of them, that is
    /// refused. If only under some, the request is decided and remembered under the others, so that whichever scope
    /// it turns out to have, it cannot succeed later. `elsewhere`: where such an answer may stand by now, when the
    /// scope is settled and holds something else.
    pub(super) fn recall<'a>(
        &self,
        scopes: &[&'a str],
        elsewhere: &[&str],
        request_id: &str,
        command: &Command,
    ) -> Result<Recalled<'a>, ApplyError<S::Fault>> {
        let mut free = Vec::new();
        let mut used = BTreeSet::new();
        for &scope in scopes {
            match self.decided_at(scope, request_id)? {
                None => free.push(scope),
                Some(position) => {
                    used.insert(position);
                }
            }
        }
        let mut mismatch: Option<Rejection> = None;
        for original in used {
            match self.compare(original, command)? {
                Ok(outcome) => return Ok(Recalled::Known(outcome)),
                Err(field) => mismatch = mismatch.or(Some(Rejection::RequestMismatch { field, original })),
            }
        }
        let Some(mismatch) = mismatch.filter(|_| free.is_empty()) else {
            return Ok(Recalled::New(free));
        };
        for scope in elsewhere {
            if let Some(original) = self.decided_at(scope, request_id)?
                && let Ok(outcome) = self.compare(original, command)?
            {
                return Ok(Recalled::Known(outcome));
            }
        }
        Ok(Recalled::Known(self.outcome(Err(mismatch))))
    }

    /// Remembers that the request id was decided by this turn.
    pub(super) fn remember(&mut self, scope: &str, request_id: &str) -> Result<(), ApplyError<S::Fault>> {
        self.state.remember(scope, request_id, self.position).map_err(ApplyError::Fault)
    }

    pub(super) fn decided_at(
        &self,
        scope: &str,
        request_id: &str,
    ) -> Result<Option<Position>, ApplyError<S::Fault>> {
        self.state.request(scope, request_id, self.position).map_err(ApplyError::Fault)
    }

    /// The first outcome, marked as a replay, if what was decided at `original` asked for the same; otherwise the name
    /// of the first field that differs.
    fn compare(
        &self,
        original: Position,
        command: &Command,
    ) -> Result<Result<Outcome, String>, ApplyError<S::Fault>> {
        let (first_command, outcome) =
            self.original(original)?.expect("what a request id points at is remembered");
        let outcome = match canary::on(Canary::ReplayInANewPlace) {
            true => Outcome { position: self.position, time_unix_ns: self.time_unix_ns, ..outcome },
            false => outcome,
        };
        Ok(match difference(self.state, &first_command, command) {
            Some(field) if !canary::on(Canary::AnyBodyIsTheSame) => Err(field),
            _ => Ok(Outcome { replayed: true, ..last_word(self, outcome)? }),
        })
    }
}

/// The first field in which two commands differ in meaning; None if they ask for the same.
fn difference<S: State>(state: &S, first: &Command, second: &Command) -> Option<String> {
    let field = match (first, second) {
        (Command::Transaction(a), Command::Transaction(b)) => return transaction_difference(state, a, b),
        // Under the same key the scope is the same.
        (Command::Begin(a), Command::Begin(b)) => {
            let same_scope = |_: &Transaction, _: &Transaction| true;
            return content_difference(state, &a.transaction, &b.transaction, same_scope);
        }
        (Command::Begin(_), Command::Transaction(_)) | (Command::Transaction(_), Command::Begin(_)) => {
            Some("legs")
        }
        (Command::Reversal(a), Command::Reversal(b)) => return reversal_difference(a, b),
        (Command::PlaceHold(a), Command::PlaceHold(b)) => hold_difference(state, a, b),
        (
            Command::ReleaseHold { hold: a, amount: a_amount, .. },
            Command::ReleaseHold { hold: b, amount: b_amount, .. },
        ) => differs(a != b, "hold").or(differs(a_amount != b_amount, "amount")),
        (
            Command::ReleaseRestriction { restriction: a, amount: a_amount, .. },
            Command::ReleaseRestriction { restriction: b, amount: b_amount, .. },
        ) => differs(a != b, "restriction").or(differs(a_amount != b_amount, "amount")),
        (
            Command::ExtendHold { hold: a, expires_ns: a_end, .. },
            Command::ExtendHold { hold: b, expires_ns: b_end, .. },
        ) => differs(a != b, "hold").or(differs(a_end != b_end, "expires_at")),
        (Command::SetLimit { limit: a, .. }, Command::SetLimit { limit: b, .. }) => differs(a != b, "limit"),
        (Command::Freeze { mode: a, .. }, Command::Freeze { mode: b, .. })
        | (Command::Unfreeze { mode: a, .. }, Command::Unfreeze { mode: b, .. }) => differs(a != b, "mode"),
        (Command::CloseAccount { .. }, Command::CloseAccount { .. })
        | (Command::RemoveSweep { .. }, Command::RemoveSweep { .. }) => None,
        (Command::SetSweep(a), Command::SetSweep(b)) => differs(a.to != b.to, "to")
            .or(differs(a.keep != b.keep, "keep"))
            .or(differs(a.schedule != b.schedule, "schedule")),
        (Command::SetPostingMode { mode: a, .. }, Command::SetPostingMode { mode: b, .. }) => {
            differs(a != b, "mode")
        }
        (Command::ResolveSuspense { account: a, .. }, Command::ResolveSuspense { account: b, .. }) => {
            differs(a != b, "account")
        }
        _ => match (opening(state, first), opening(state, second)) {
            (Some(a), Some(b)) => open_difference(a, b),
            _ => Some("command"),
        },
    };
    field.map(str::to_owned)
}

fn differs(different: bool, field: &'static str) -> Option<&'static str> {
    different.then_some(field)
}

/// What an opening asks for, beside the account and the request id, which are the key itself.
type Opening<'a> = (&'a str, &'a str, Option<Side>, Option<Decimal>, &'a Metadata);

fn opening<'a, S: State>(state: &S, command: &'a Command) -> Option<Opening<'a>> {
    match command {
        Command::OpenAccount { subject, currency, normal_side: side, limit, metadata, .. } => {
            let side = side.or_else(|| normal_side(state, subject));
            Some((subject, currency, side, *limit, metadata))
        }
        _ => None,
    }
}

fn open_difference(a: Opening<'_>, b: Opening<'_>) -> Option<&'static str> {
    differs(a.0 != b.0, "subject")
        .or(differs(a.1 != b.1, "currency"))
        .or(differs(a.2 != b.2, "normal_side"))
        .or(differs(a.3 != b.3, "limit"))
        .or(differs(a.4 != b.4, "metadata"))
}

fn reversal_difference(a: &Reversal, b: &Reversal) -> Option<String> {
    differs(a.transaction != b.transaction, "transaction")
        .or(differs(a.amount != b.amount, "amount"))
        .map(str::to_owned)
        .or_else(|| parts_difference(a.legs.as_deref(), b.legs.as_deref()))
        .or_else(|| differs(a.reason != b.reason, "reason").map(str::to_owned))
        .or_else(|| differs(a.metadata != b.metadata, "metadata").map(str::to_owned))
}

fn parts_difference(a: Option<&[LegPart]>, b: Option<&[LegPart]>) -> Option<String> {
    if a.map(<[_]>::len) != b.map(<[_]>::len) {
        return Some("legs".to_owned());
    }
    let pairs = a.unwrap_or_default().iter().zip(b.unwrap_or_default()).enumerate();
    pairs.into_iter().find_map(|(at, (a, b))| {
        let field = differs(a.leg != b.leg, "leg").or(differs(a.amount != b.amount, "amount"))?;
        Some(format!("legs[{at}].{field}"))
    })
}

fn hold_difference<S: State>(state: &S, a: &PlaceHold, b: &PlaceHold) -> Option<&'static str> {
    let [a_named, b_named] = [a, b].map(|place| named_currency(state, &place.account, &place.currency));
    differs(a.amount != b.amount, "amount")
        .or(differs(a_named != b_named, "currency"))
        .or(differs(a.expires_ns != b.expires_ns, "expires_at"))
        .or(differs(a.on_expiry != b.on_expiry, "on_expiry"))
        .or(differs(a.reason != b.reason, "reason"))
        .or(differs(a.metadata != b.metadata, "metadata"))
}

/// The scope account comes last: unless it was named, it follows from the legs.
fn transaction_difference<S: State>(state: &S, a: &Transaction, b: &Transaction) -> Option<String> {
    content_difference(state, a, b, |a, b| {
        a.scope_account == b.scope_account
            || scope_account(state, a).is_some_and(|scope| scope_account(state, b) == Some(scope))
    })
}

fn content_difference<S: State>(
    state: &S,
    a: &Transaction,
    b: &Transaction,
    same_scope: impl Fn(&Transaction, &Transaction) -> bool,
) -> Option<String> {
    if a.legs.len() != b.legs.len() {
        return Some("legs".to_owned());
    }
    for (at, (a, b)) in a.legs.iter().zip(&b.legs).enumerate() {
        if let Some(field) = leg_difference(state, a, b) {
            return Some(format!("legs[{at}].{field}"));
        }
    }
    differs(a.kind != b.kind, "kind")
        .or(differs(a.reason != b.reason, "reason"))
        .or(differs(a.accounting_date != b.accounting_date, "accounting_date"))
        .or(differs(a.capture != b.capture, "capture"))
        .or(differs(a.metadata != b.metadata, "metadata"))
        .or_else(|| differs(!same_scope(a, b), "scope_account"))
        .map(str::to_owned)
}

fn leg_difference<S: State>(state: &S, a: &Leg, b: &Leg) -> Option<&'static str> {
    differs(a.account != b.account, "account")
        .or(differs(a.side != b.side, "side"))
        .or(differs(a.amount != b.amount, "amount"))
        .or_else(|| {
            let [a, b] = [a, b].map(|leg| named_currency(state, &leg.account, &leg.currency));
            differs(a != b, "currency")
        })
        .or_else(|| differs(a.preconditions != b.preconditions, "preconditions"))
        .or_else(|| kind_difference(a.kind, b.kind))
}

/// Fields as requests name them.
fn kind_difference(a: LegKind, b: LegKind) -> Option<&'static str> {
    let withdrawal = |kind| kind == LegKind::Withdrawal;
    differs(withdrawal(a) != withdrawal(b), "withdrawal").or(differs(a != b, "restricted"))
}

/// The currency that is named for an account, unless it is the account's own: naming that says nothing.
fn named_currency<'a, S: State>(state: &S, account: &str, currency: &'a Option<String>) -> Option<&'a str> {
    let own = state.account_no(account).map(|no| state.account(no).currency.as_str());
    currency.as_deref().filter(|&currency| own != Some(currency))
}
