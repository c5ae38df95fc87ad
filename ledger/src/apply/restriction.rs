//! Restricted funds (ADR 14): restrictions are made by what is booked, and end by command, by time, or with the money. The scope
//! of a command on one is its account.
//!
//! Invariant: what of an account is restricted is what is left of its restrictions. It changes no balance.

use rust_decimal::Decimal;

use super::account::reject_amount;
use super::{Stop, Turn};
use crate::account::AccountNo;
use crate::amount::to_minor;
use crate::attempt::Planned;
use crate::command::{Command, LegKind};
use crate::id::TransactionId;
use crate::outcome::{Effect, Restricted};
use crate::rejection::Rejection;
use crate::restriction::{Restriction, RestrictionEnd, RestrictionEnded};
use crate::state::State;

impl<S: State> Turn<'_, S> {
    /// Decides a client's command on a restriction of `account`.
    pub(super) fn restriction_command(
        &mut self,
        account: &str,
        command: &Command,
    ) -> Result<Effect, Stop<S::Fault>> {
        let Command::ReleaseRestriction { restriction, amount, .. } = command else {
            unreachable!("the other commands are not on restrictions")
        };
        let no = self.existing(account)?;
        Ok(self.release_restriction(no, *restriction, *amount)?)
    }

    fn release_restriction(
        &mut self,
        no: AccountNo,
        transaction: TransactionId,
        amount: Option<Decimal>,
    ) -> Result<Effect, Rejection> {
        let account = self.state.account(no);
        let (name, scale) = (account.id.clone(), account.scale);
        let amount = amount.map(|amount| to_minor(amount, scale)).transpose();
        let amount = amount.map_err(|error| reject_amount(error, &name))?;
        // Of those that have ended a state may know nothing any more: nothing is left of what is not there.
        let open = self.state.restriction((no, transaction)).filter(|found| found.ended.is_none());
        let left = open.map_or(0, |restriction| restriction.left);
        match open {
            Some(restriction) if amount.is_none_or(|amount| amount <= left) => {
                let restriction = restriction.clone();
                Ok(self.lower(restriction, amount.unwrap_or(left), RestrictionEnd::Released))
            }
            _ => Err(Rejection::RestrictionExceeded { account: name, restriction: transaction, left, scale }),
        }
    }

    /// Puts a restriction away whose time has come.
    pub(super) fn expire_restriction(
        &mut self,
        account: &str,
        transaction: TransactionId,
    ) -> Result<Effect, Rejection> {
        let is_due = |restriction: &&Restriction| {
            restriction.ended.is_none()
                && restriction.until_ns.is_some_and(|until| until <= self.time_unix_ns)
        };
        let no = self.state.account_no(account);
        let found = no.and_then(|no| self.state.restriction((no, transaction)));
        let due = found.filter(is_due).ok_or(Rejection::StepOutOfPlace { attempt: transaction })?.clone();
        let left = due.left;
        Ok(self.lower(due, left, RestrictionEnd::Expired))
    }

    /// Legs of a transaction were booked in this set: restricts what arrived so.
    pub(super) fn restrict(&mut self, transaction: TransactionId, legs: &[Planned]) {
        for leg in legs {
            let LegKind::Restricted { until_ns } = leg.kind else { continue };
            let restriction = Restriction {
                transaction,
                account: leg.no,
                made_at: self.position,
                made_ns: self.time_unix_ns,
                amount: leg.amount,
                left: leg.amount,
                until_ns,
                ended: None,
            };
            self.state.account_mut(leg.no).restricted += leg.amount;
            self.state.put_restriction(restriction);
        }
    }

    /// Legs that take a transaction back were booked in this set: what went back is restricted no more.
    pub(super) fn unrestrict(&mut self, original: TransactionId, legs: &[Planned]) {
        for leg in legs {
            let found = self.state.restriction((leg.no, original));
            let Some(restriction) = found.filter(|found| found.ended.is_none()) else { continue };
            let amount = leg.amount.min(restriction.left);
            self.lower(restriction.clone(), amount, RestrictionEnd::Reversed);
        }
    }

    /// So much of an open restriction, all that is left at most, is restricted no more. `how`: if nothing is left, it has ended
    /// so.
    fn lower(&mut self, mut restriction: Restriction, amount: i128, how: RestrictionEnd) -> Effect {
        restriction.left -= amount;
        assert!(restriction.left >= 0, "no more than what is left is released");
        if restriction.left == 0 {
            let (at, time_unix_ns) = (self.position, self.time_unix_ns);
            restriction.ended = Some(RestrictionEnded { how, at, time_unix_ns });
        }
        let account = self.state.account_mut(restriction.account);
        account.restricted -= amount;
        let now = Restricted {
            restriction: restriction.transaction,
            scale: account.scale,
            amount: restriction.amount,
            released: amount,
            left: restriction.left,
            until_ns: restriction.until_ns,
            ended: restriction.ended.map(|ended| ended.how),
            withdrawable: account.withdrawable(),
        };
        self.state.put_restriction(restriction);
        Effect::Restricted(now)
    }
}
