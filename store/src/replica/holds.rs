//! Holds on disk, and whoever looks at them. In memory are those that are not over and those that have changed since the last
//! checkpoint; on disk are all as of that checkpoint, under their accounts. A hold is looked up in memory first.

use std::collections::BTreeMap;

use twinset_ledger::account::AccountNo;
use twinset_ledger::codec::{decode_hold, encode_hold};
use twinset_ledger::command::Command;
use twinset_ledger::hold::{Hold, PlaceHold};
use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::state::State;

use super::LedgerReplica;
use super::reads::Read;
use super::state::ReplicaState;
use crate::fault::Fault;
use crate::keys;
use crate::table::Table;

const VERSION: u8 = 1;
/// Holds that one page looks at, at most.
const LOOKS_PER_PAGE: usize = 500;
/// Commands that are read from the log under one lock, at most.
pub(super) const READS_PER_LOCK: usize = 32;

/// A hold, and what was asked for when it was placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRecord {
    /// Its figures and its journal.
    pub hold: Hold,
    /// The command that placed it.
    pub placed: PlaceHold,
    /// Ledger time of that, in nanoseconds since the Unix epoch.
    pub placed_ns: u64,
    /// The account's currency.
    pub currency: String,
    /// Decimal places of its minor unit.
    pub scale: u8,
}

/// Some holds of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HoldPage {
    /// In the order in which they were placed. There may be none though more follow.
    pub holds: Vec<HoldRecord>,
    /// The next page begins after it. None: this page reaches to the end.
    pub next: Option<Position>,
}

impl LedgerReplica {
    /// The hold of that name on that account.
    pub fn hold(&self, account: &str, id: TransactionId) -> Result<Read<Option<HoldRecord>>, Fault> {
        self.check()?;
        let state = self.cell.state.read();
        let Some(no) = state.account_no(account) else { return Ok(state.answer(None)) };
        let found = state.hold_at(no, id.position)?.filter(|hold| hold.id == id);
        let record = found.map(|hold| state.with_placing(hold)).transpose()?;
        Ok(state.answer(record))
    }

    /// Holds of an account that were placed after a position, in order, `limit` at most; of them those that `wanted` asks
    /// for, given the ledger time. None: there is no such account.
    pub fn holds(
        &self,
        account: &str,
        after: Option<Position>,
        limit: usize,
        wanted: impl Fn(&Hold, u64) -> bool,
    ) -> Result<Read<Option<HoldPage>>, Fault> {
        self.check()?;
        let from = match after.map(|after| after.0.checked_add(1)) {
            None => Some(Position(0)),
            Some(next) => next.map(Position),
        };
        let (read, looked) = {
            let state = self.cell.state.read();
            let Some(no) = state.account_no(account) else { return Ok(state.answer(None)) };
            let looked = from.map(|from| state.holds_from(no, from, LOOKS_PER_PAGE + 1)).transpose()?;
            (state.answer(()), looked.unwrap_or_default())
        };
        let mut page = HoldPage::default();
        let mut next = None;
        let mut chosen = Vec::new();
        for (looks, (at, hold)) in looked.into_iter().enumerate() {
            if looks == LOOKS_PER_PAGE || chosen.len() == limit {
                page.next = next;
                break;
            }
            next = Some(at);
            if wanted(&hold, read.time_unix_ns) {
                chosen.push(hold);
            }
        }
        // What was asked for when they were placed never changes: it need not be of the same moment.
        let mut chosen = chosen.into_iter().peekable();
        while chosen.peek().is_some() {
            let state = self.cell.state.read();
            for hold in chosen.by_ref().take(READS_PER_LOCK) {
                page.holds.push(state.with_placing(hold)?);
            }
        }
        Ok(Read { value: Some(page), index: read.index, time_unix_ns: read.time_unix_ns })
    }

    /// Names of holds whose time is over at `time_unix_ns` and that were not put away yet, `limit` at most.
    pub fn due_holds(&self, time_unix_ns: u64, limit: usize) -> Vec<TransactionId> {
        let state = self.cell.state.read();
        state.holds.due(time_unix_ns).take(limit).map(|hold| hold.id).collect()
    }

    /// Holds that are not over.
    pub fn open_holds(&self) -> usize {
        self.cell.state.read().holds.open()
    }
}

impl ReplicaState {
    /// Its key on disk.
    pub(super) fn hold_key(&self, hold: &Hold) -> [u8; 18] {
        let slot = self.sides[hold.account as usize].slot;
        keys::hold(self.generation, slot, hold.account, hold.id.position.0)
    }

    /// The hold that was placed there on that account.
    pub(super) fn hold_at(&self, no: AccountNo, at: Position) -> Result<Option<Hold>, Fault> {
        if let Some(hold) = self.holds.get(at) {
            return Ok(Some(hold.clone()).filter(|hold| hold.account == no));
        }
        if let Some(frozen) = &self.frozen
            && let Ok(place) = frozen.holds.binary_search_by_key(&at, |hold| hold.id.position)
        {
            return Ok(Some(frozen.holds[place].clone()).filter(|hold| hold.account == no));
        }
        let key = keys::hold(self.generation, self.sides[no as usize].slot, no, at.0);
        self.engine.get(Table::Hold, &key)?.map(|bytes| decode(&bytes)).transpose()
    }

    /// Holds of an account from a place on, by place, `limit` at most.
    fn holds_from(
        &self,
        no: AccountNo,
        from: Position,
        limit: usize,
    ) -> Result<BTreeMap<Position, Hold>, Fault> {
        let slot = self.sides[no as usize].slot;
        let mut found = BTreeMap::new();
        let end = keys::hold(self.generation, slot, no, u64::MAX);
        let mut cursor = self.engine.cursor(Table::Hold, &end)?;
        cursor.seek(&keys::hold(self.generation, slot, no, from.0));
        while let Some((_, value)) = cursor.item().filter(|_| found.len() < limit) {
            let hold = decode(value)?;
            found.insert(hold.id.position, hold);
            cursor.next();
        }
        cursor.ended()?;
        let frozen = self.frozen.iter().flat_map(|frozen| &frozen.holds).filter(|hold| hold.account == no);
        let frozen = frozen.filter(|hold| hold.id.position >= from);
        // What is in memory is newer than what is on disk, and among the first `limit` of all the first of each kind are.
        for hold in frozen.chain(self.holds.of_account(no, from).take(limit)) {
            found.insert(hold.id.position, hold.clone());
        }
        while found.len() > limit {
            found.pop_last();
        }
        Ok(found)
    }

    pub(super) fn with_placing(&self, hold: Hold) -> Result<HoldRecord, Fault> {
        let damaged = || Fault::damaged("a hold", format!("nothing was placed at {}", hold.id));
        let (command, outcome) = self.remembered(hold.id.position)?.ok_or_else(damaged)?;
        let Command::PlaceHold(placed) = command else { return Err(damaged()) };
        let account = &self.accounts[hold.account as usize];
        let (currency, scale) = (account.currency.clone(), account.scale);
        Ok(HoldRecord { hold, placed, placed_ns: outcome.time_unix_ns, currency, scale })
    }

    /// Reads those that are not over.
    pub(super) fn load_holds(&mut self) -> Result<(), Fault> {
        let engine = std::sync::Arc::clone(&self.engine);
        let mut cursor = engine.cursor(Table::Hold, &keys::generation_end(self.generation))?;
        cursor.seek(&keys::generation(self.generation));
        while let Some((_, value)) = cursor.item() {
            let hold = decode(value)?;
            if self.accounts.len() <= hold.account as usize {
                return Err(Fault::damaged("a hold", format!("{} is on an unknown account", hold.id)));
            }
            if !hold.is_over() {
                self.holds.load(hold);
            }
            cursor.next();
        }
        cursor.ended()
    }
}

pub(super) fn encode(hold: &Hold) -> Vec<u8> {
    let mut out = vec![VERSION];
    encode_hold(hold, &mut out);
    out
}

fn decode(bytes: &[u8]) -> Result<Hold, Fault> {
    let unfit = |detail: String| Fault::damaged("a hold", detail);
    match bytes.split_first() {
        Some((&VERSION, rest)) => decode_hold(rest).map_err(|error| unfit(error.to_string())),
        Some((version, _)) => Err(unfit(format!("version {version} is not known"))),
        None => Err(unfit("it is empty".to_owned())),
    }
}
