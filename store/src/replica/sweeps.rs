//! What is asked of a replica about the sweeps of its set. They are all in memory, with the set's state.

use twinset_ledger::account::{Account, AccountNo};
use twinset_ledger::state::State;
use twinset_ledger::sweep::Sweep;

use super::LedgerReplica;
use super::reads::Read;
use super::state::ReplicaState;
use crate::fault::Fault;

/// A sweep with the account that it takes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepRecord {
    /// The sweep.
    pub sweep: Sweep,
    /// Its account.
    pub account: Account,
}

/// Some sweeps of a set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepPage {
    /// In the order in which their accounts were opened.
    pub sweeps: Vec<SweepRecord>,
    /// Whether more follow.
    pub more: bool,
}

impl LedgerReplica {
    /// The sweep of an account.
    pub fn sweep(&self, account: &str) -> Result<Read<Option<SweepRecord>>, Fault> {
        self.check()?;
        let state = self.cell.state.read();
        let no = state.account_no(account);
        let found = no.and_then(|no| state.sweeps().get(no)).map(|sweep| state.sweep_record(sweep));
        Ok(state.answer(found))
    }

    /// Sweeps of accounts that were opened after that one, `limit` at most. None: there is no such account.
    pub fn sweeps(&self, after: Option<&str>, limit: usize) -> Result<Read<Option<SweepPage>>, Fault> {
        self.check()?;
        let state = self.cell.state.read();
        let behind = match after.map(|account| state.account_no(account)) {
            Some(None) => return Ok(state.answer(None)),
            behind => behind.flatten(),
        };
        let mut behind = state.sweeps().behind(behind);
        let sweeps = behind.by_ref().take(limit).map(|sweep| state.sweep_record(sweep)).collect();
        Ok(state.answer(Some(SweepPage { sweeps, more: behind.next().is_some() })))
    }

    /// Sweeps whose next run is due at `time_unix_ns`, or whose last one may have ended without that being written down; of them those
    /// that are `wanted`, `limit` at most, in the order in which their accounts were opened, from the one behind `after` on and then from
    /// the first one.
    pub fn sweeps_to_run(
        &self,
        time_unix_ns: u64,
        after: AccountNo,
        limit: usize,
        wanted: impl Fn(&Sweep) -> bool,
    ) -> Vec<SweepRecord> {
        let state = self.cell.state.read();
        let is_due =
            |sweep: &&Sweep| sweep.open.is_some() || sweep.is_due(state.account(sweep.account), time_unix_ns);
        let first = state.sweeps().iter().take_while(|sweep| sweep.account <= after);
        let all = state.sweeps().behind(Some(after)).chain(first);
        let due = all.filter(is_due).filter(|sweep| wanted(sweep));
        due.take(limit).map(|sweep| state.sweep_record(sweep)).collect()
    }

    /// How many accounts have a sweep.
    pub fn sweep_count(&self) -> usize {
        self.cell.state.read().sweeps().len()
    }
}

impl ReplicaState {
    fn sweep_record(&self, sweep: &Sweep) -> SweepRecord {
        SweepRecord { sweep: sweep.clone(), account: self.account(sweep.account).clone() }
    }
}
