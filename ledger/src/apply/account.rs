//! Commands on one account: open, limit, freeze and unfreeze, posting mode, close. Their scope is the account itself.

use rust_decimal::Decimal;

use super::idempotency::Recalled;
use super::{ApplyError, Stop, Turn, decided};
use crate::account::{Account, AccountNo, FreezeMode, Limit, Side};
use crate::amount::{AmountError, to_minor};
use crate::canary::{self, Canary};
use crate::chart::{currency_scale, normal_side};
use crate::command::{Command, Metadata};
use crate::outcome::{Effect, Outcome};
use crate::rejection::Rejection;
use crate::state::State;

impl<S: State> Turn<'_, S> {
    /// Decides a command on `account`, which is also its scope.
    pub(super) fn account_command(
        &mut self,
        request_id: &str,
        account: &str,
        command: &Command,
    ) -> Result<Outcome, ApplyError<S::Fault>> {
        if let Recalled::Known(outcome) = self.recall(&[account], &[], request_id, command)? {
            return Ok(outcome);
        }
        let decision = decided(self.decide_account_command(account, command))?;
        self.remember(account, request_id)?;
        Ok(self.outcome(decision))
    }

    fn decide_account_command(&mut self, account: &str, command: &Command) -> Result<Effect, Stop<S::Fault>> {
        match command {
            Command::OpenAccount { subject, currency, normal_side, limit, metadata, .. } => {
                self.open(account, subject, currency, *normal_side, *limit, metadata)?;
            }
            Command::SetLimit { limit, .. } => {
                let no = self.existing(account)?;
                let limit = minor_limit(*limit, account, self.state.account(no).scale)?;
                self.still_open(no)?.limit = limit;
            }
            Command::Freeze { mode, .. } => {
                let no = self.existing(account)?;
                freeze(self.still_open(no)?, *mode, true);
            }
            Command::Unfreeze { mode, .. } => {
                let no = self.existing(account)?;
                freeze(self.still_open(no)?, *mode, false);
            }
            Command::CloseAccount { .. } => {
                let no = self.existing(account)?;
                let record = self.still_open(no)?;
                let figures =
                    [record.posted(), record.held, record.incoming, record.restricted, record.prepared];
                if figures != [0; 5] && !canary::on(Canary::ClosedWithMoney) {
                    return Err(Rejection::AccountNotEmpty { account: account.to_owned() }.into());
                }
                if self.state.buffer().own(no).is_some() {
                    return Err(Rejection::AccountBuffered { account: account.to_owned() }.into());
                }
                self.state.account_mut(no).closed = true;
                self.sweep_closed(no);
            }
            Command::SetPostingMode { mode, .. } => return Ok(self.set_posting_mode(account, *mode)?),
            Command::SetSweep(set) => return Ok(self.set_sweep(set)?),
            Command::RemoveSweep { .. } => return Ok(self.remove_sweep(account)?),
            Command::ReleaseRestriction { .. } => return self.restriction_command(account, command),
            _ => return self.hold_command(account, command),
        }
        Ok(Effect::Account)
    }

    fn open(
        &mut self,
        account: &str,
        subject: &str,
        currency: &str,
        side: Option<Side>,
        limit: Option<Decimal>,
        metadata: &Metadata,
    ) -> Result<(), Rejection> {
        if self.state.account_no(account).is_some() || self.state.is_group(account) {
            return Err(Rejection::AccountExists { account: account.to_owned() });
        }
        let subject_side = normal_side(self.state, subject)
            .ok_or_else(|| Rejection::SubjectUnknown { subject: subject.to_owned() })?;
        let scale = currency_scale(self.state, currency)
            .ok_or_else(|| Rejection::CurrencyUnknown { currency: currency.to_owned() })?;
        let limit = minor_limit(limit, account, scale)?;
        let side = side.unwrap_or(subject_side);
        let new = Account::new(account, subject, (currency, scale), side, self.position);
        self.state.open(Account { limit, metadata: metadata.clone(), ..new });
        Ok(())
    }

    pub(super) fn existing(&self, account: &str) -> Result<AccountNo, Rejection> {
        self.state
            .account_no(account)
            .ok_or_else(|| Rejection::AccountNotFound { account: account.to_owned() })
    }

    /// The account for change, unless it is closed.
    fn still_open(&mut self, no: AccountNo) -> Result<&mut Account, Rejection> {
        let account = self.state.account(no);
        if account.closed {
            return Err(Rejection::AccountClosed { account: account.id.clone() });
        }
        Ok(self.state.account_mut(no))
    }
}

fn minor_limit(limit: Option<Decimal>, account: &str, scale: u8) -> Result<Limit, Rejection> {
    limit.map(|limit| to_minor(limit, scale)).transpose().map_err(|error| reject_amount(error, account))
}

/// The rejection for an amount that has no minor units on `account`.
pub(super) fn reject_amount(error: AmountError, account: &str) -> Rejection {
    let account = account.to_owned();
    match error {
        AmountError::ExcessScale { scale } => Rejection::ExcessScale { account, scale },
        AmountError::Overflow => Rejection::AmountOverflow { account },
    }
}

fn freeze(account: &mut Account, mode: FreezeMode, frozen: bool) {
    if matches!(mode, FreezeMode::Debit | FreezeMode::Both) {
        account.frozen_debit = frozen;
    }
    if matches!(mode, FreezeMode::Credit | FreezeMode::Both) {
        account.frozen_credit = frozen;
    }
}
