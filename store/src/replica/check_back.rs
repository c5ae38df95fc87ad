//! What is asked of a replica about overdue holds that are checked back.

use twinset_ledger::Account;
use twinset_ledger::hold::Hold;
use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::state::State;

use super::LedgerReplica;
use super::holds::{HoldRecord, READS_PER_LOCK};
use super::reads::Read;
use crate::fault::Fault;

/// Overdue holds of a set by what they wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OverdueHolds {
    /// For their initiator's answer, or for a confirmation to end.
    pub asked: usize,
    /// For a person.
    pub kept: usize,
    /// For a configuration that has their initiator.
    pub unconfigured: usize,
}

/// Some overdue holds of a set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OverduePage {
    /// The longest overdue first.
    pub holds: Vec<HoldRecord>,
    /// Whether more follow.
    pub more: bool,
}

impl LedgerReplica {
    /// Holds of all accounts that are overdue at `time_unix_ns`, or by ledger time if that is later; of them `limit` at most, from
    /// an end and, among those with this end, a place on. They are found in memory, so that a page costs what it shows.
    pub fn overdue_page(
        &self,
        from: (u64, Position),
        time_unix_ns: u64,
        limit: usize,
    ) -> Result<Read<OverduePage>, Fault> {
        self.check()?;
        let (mut read, chosen) = {
            let state = self.cell.state.read();
            let read = state.answer(OverduePage::default());
            let now = time_unix_ns.max(read.time_unix_ns);
            let chosen: Vec<Hold> = state.holds.overdue_from(from, now).take(limit + 1).cloned().collect();
            (read, chosen)
        };
        read.value.more = chosen.len() > limit;
        // What was asked for when they were placed never changes: it need not be of the same moment.
        let mut chosen = chosen.into_iter().take(limit).peekable();
        while chosen.peek().is_some() {
            let state = self.cell.state.read();
            for hold in chosen.by_ref().take(READS_PER_LOCK) {
                read.value.holds.push(state.with_placing(hold)?);
            }
        }
        Ok(read)
    }

    /// The names of those who are to be asked about a hold, now or later.
    pub fn initiators(&self) -> Vec<String> {
        self.cell.state.read().holds.initiators().map(str::to_owned).collect()
    }

    /// Names of holds that an initiator is to be asked about at `time_unix_ns`, `limit` at most, the longest due first.
    pub fn holds_to_ask(&self, initiator: &str, time_unix_ns: u64, limit: usize) -> Vec<TransactionId> {
        let state = self.cell.state.read();
        state.holds.to_ask(initiator, time_unix_ns).take(limit).map(|hold| hold.id).collect()
    }

    /// A hold that is not over, with its account.
    pub fn open_hold(&self, id: TransactionId) -> Option<(Hold, Account)> {
        let state = self.cell.state.read();
        let hold = state.holds.get(id.position).filter(|hold| hold.id == id)?;
        Some((hold.clone(), state.account(hold.account).clone()))
    }

    /// How many holds are overdue at `time_unix_ns`; `is_known` says which initiators are configured.
    pub fn overdue_holds(&self, time_unix_ns: u64, is_known: impl Fn(&str) -> bool) -> OverdueHolds {
        let mut counts = OverdueHolds::default();
        for hold in self.cell.state.read().holds.overdue(time_unix_ns) {
            let asking = hold.check_back.as_ref().expect("what is overdue is checked back");
            *(if asking.kept {
                &mut counts.kept
            } else if is_known(&asking.terms.initiator) {
                &mut counts.asked
            } else {
                &mut counts.unconfigured
            }) += 1;
        }
        counts
    }
}
