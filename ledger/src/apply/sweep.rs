//! Sweeps (ADR 18): set and remove, which transactions may be the run of one, and what comes of a run.
//!
//! Invariant: a sweep's run is counted once, whoever asks for it, and takes no more than what may be withdrawn beyond what stays.

use super::account::reject_amount;
use super::attempt::last_word;
use super::{ApplyError, Decision, Turn};
use crate::account::AccountNo;
use crate::amount::to_minor;
use crate::canary::{self, Canary};
use crate::command::Transaction;
use crate::id::TransactionId;
use crate::outcome::Effect;
use crate::rejection::Rejection;
use crate::state::State;
use crate::sweep::{
    PAUSE_NS, RunEnd, SWEEPS_MAX, Schedule, SetSweep, Sweep, Timing, run_of, transaction as run_transaction,
};

impl<S: State> Turn<'_, S> {
    /// Sets the sweep of an account, or puts another in its place. What is under way of that one ends without it.
    pub(super) fn set_sweep(&mut self, set: &SetSweep) -> Result<Effect, Rejection> {
        let no = self.existing(&set.account)?;
        let account = self.state.account(no);
        if let Some(payee) = self.state.account_no(&set.to).map(|no| self.state.account(no))
            && payee.currency != account.currency
        {
            let expected = payee.currency.clone();
            return Err(Rejection::CurrencyMismatch { account: set.to.clone(), expected });
        }
        let minor =
            |amount| to_minor(amount, account.scale).map_err(|error| reject_amount(error, &set.account));
        let keep = minor(set.keep)?;
        let timing = match set.schedule {
            Schedule::Every { seconds, from_ns } => {
                Timing::Every { seconds, from_ns: from_ns.unwrap_or(self.time_unix_ns) }
            }
            Schedule::Above { amount } => Timing::Above { minor: minor(amount)? },
            Schedule::Daily => Timing::Daily,
        };
        if account.closed {
            return Err(Rejection::AccountClosed { account: account.id.clone() });
        }
        let sweeps = self.state.sweeps();
        if sweeps.get(no).is_none() && sweeps.len() >= SWEEPS_MAX {
            return Err(Rejection::TooManySweeps { most: SWEEPS_MAX as u32 });
        }
        let (id, to, next_ns) = (self.here(), set.to.clone(), timing.next_after(self.time_unix_ns));
        let sweep = Sweep { id, account: no, to, keep, timing, runs: 0, next_ns, open: None };
        self.state.sweeps_mut().put(sweep);
        Ok(Effect::Account)
    }

    pub(super) fn remove_sweep(&mut self, account: &str) -> Result<Effect, Rejection> {
        let no = self.existing(account)?;
        if self.state.sweeps().get(no).is_none() {
            return Err(Rejection::SweepNotFound { account: account.to_owned() });
        }
        self.state.sweeps_mut().remove(no);
        Ok(Effect::Account)
    }

    /// A closed account has none.
    pub(super) fn sweep_closed(&mut self, no: AccountNo) {
        if self.state.sweeps().get(no).is_some() {
            self.state.sweeps_mut().remove(no);
        }
    }

    /// Whether a transaction says that it is a sweep's run, and is not the one that is due: with these legs and no others, and
    /// of no more than what may be moved by now.
    pub(super) fn sweeps_out_of_place(&self, transaction: &Transaction) -> Option<Rejection> {
        let (id, run) = run_of(&transaction.request_id)?;
        let in_place = self.swept(transaction, id).is_some_and(|sweep| {
            let account = self.state.account(sweep.account);
            let amount = transaction.legs.first().map(|leg| to_minor(leg.amount, account.scale));
            sweep.awaits(run, account, self.time_unix_ns)
                && matches!(amount, Some(Ok(minor)) if minor <= sweep.movable(account)
                    && *transaction == run_transaction(sweep, account, minor))
        });
        (!in_place).then_some(Rejection::StepOutOfPlace { attempt: id })
    }

    fn swept(&self, transaction: &Transaction, id: TransactionId) -> Option<&Sweep> {
        self.sweep(transaction.scope_account.as_deref()?, id)
    }

    fn sweep(&self, account: &str, id: TransactionId) -> Option<&Sweep> {
        let no = self.state.account_no(account)?;
        self.state.sweeps().get(no).filter(|sweep| sweep.id == id)
    }

    /// A transaction was decided: if it is a sweep's run, that is counted.
    pub(super) fn ran(&mut self, transaction: &Transaction, decision: &Decision) {
        let Some((id, _)) = run_of(&transaction.request_id) else { return };
        let mut sweep = self.swept(transaction, id).expect("it is in place").clone();
        self.count_run(&mut sweep);
        let done = matches!(decision, Ok(Effect::Posted(_) | Effect::Buffered { .. }));
        sweep.open = (!done).then(|| self.here());
        self.state.sweeps_mut().put(sweep);
    }

    fn count_run(&self, sweep: &mut Sweep) {
        sweep.runs += 1;
        if !canary::on(Canary::SweptTwice) {
            sweep.next_ns = sweep.timing.next_after(self.time_unix_ns);
        }
    }

    /// Writes down what came of a run that was not booked at once, or that there was nothing to move.
    pub(super) fn end_run(
        &mut self,
        account: &str,
        id: TransactionId,
        run: u32,
    ) -> Result<Decision, ApplyError<S::Fault>> {
        let out_of_place = Err(Rejection::StepOutOfPlace { attempt: id });
        let Some(mut sweep) = self.sweep(account, id).cloned() else { return Ok(out_of_place) };
        let end = match sweep.open {
            Some(open) if run == sweep.runs => {
                let outcome = self.became(open.position)?.expect("a run's transaction is remembered");
                match last_word(self, outcome)?.result {
                    Ok(Effect::Begun) => return Ok(out_of_place),
                    Ok(_) => RunEnd::Booked,
                    Err(refusal) => RunEnd::Refused(refusal),
                }
            }
            None => {
                let swept = self.state.account(sweep.account);
                if !sweep.awaits(run, swept, self.time_unix_ns) || sweep.movable(swept) > 0 {
                    return Ok(out_of_place);
                }
                self.count_run(&mut sweep);
                RunEnd::Nothing
            }
            Some(_) => return Ok(out_of_place),
        };
        sweep.open = None;
        if let RunEnd::Refused(refusal) = &end {
            let rested = self.time_unix_ns.saturating_add(PAUSE_NS);
            match (refusal, sweep.timing) {
                (_, Timing::Above { .. }) => sweep.next_ns = rested,
                // Nobody has refused it: it need not wait for its next turn.
                (Rejection::SetUnavailable { .. }, _) => sweep.next_ns = sweep.next_ns.min(rested),
                _ => {}
            }
        }
        self.state.sweeps_mut().put(sweep);
        Ok(Ok(Effect::Ran(end)))
    }
}
