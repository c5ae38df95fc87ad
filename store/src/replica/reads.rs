//! Questions to a replica. Every answer says as of which index it is; whether that is fresh and safe enough to leave
//! the set is the node's business.

use std::collections::BTreeMap;

use twinset_ledger::account::Account;
use twinset_ledger::codec::{Short, decode_outcome, shorten};
use twinset_ledger::command::Command;
use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::outcome::{Effect, Outcome};
use twinset_ledger::state::{Durability, Reversed, State};

use super::LedgerReplica;
use super::account::{encode_figures, encode_who};
use super::outcomes::Kept;
use super::state::ReplicaState;
use crate::fault::Fault;

/// An answer, and as of when it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<T> {
    /// The answer.
    pub value: T,
    /// The last log index applied; 0 if none.
    pub index: u64,
    /// The ledger time of the last command applied.
    pub time_unix_ns: u64,
}

/// A command that is remembered with its first outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booked {
    /// Its name.
    pub id: TransactionId,
    /// Ledger time.
    pub time_unix_ns: u64,
    /// What was asked.
    pub command: Command,
    /// What became of it.
    pub outcome: Outcome,
    /// The account under which its request id is remembered; for a reversal of what cannot be reversed, the transaction
    /// that it names ([`TransactionId::scope`]); None for commands without a request id, and where it hangs on an account
    /// that was not known.
    pub scope_account: Option<String>,
    /// What has been taken back of it.
    pub reversed: Reversed,
}

/// Sums over the whole replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Debits and credits per currency.
    pub currencies: BTreeMap<String, (i128, i128)>,
    /// Accounts opened.
    pub accounts: u64,
    /// Transactions and reversals booked.
    pub transactions: u64,
    /// Hash over all entries and outcomes.
    pub running_hash: [u8; 32],
    /// Hash over all accounts in the order of their numbers.
    pub state_hash: [u8; 32],
}

impl LedgerReplica {
    /// The short form of an encoded command, if it has one.
    pub fn shorten(&self, command_bytes: &[u8]) -> Option<Short> {
        shorten(command_bytes, &*self.cell.state.read())
    }

    /// The short forms of many, under one lock.
    pub fn shorten_all<'a>(&self, commands: impl IntoIterator<Item = &'a [u8]>) -> Vec<Option<Short>> {
        let state = self.cell.state.read();
        commands.into_iter().map(|command| shorten(command, &*state)).collect()
    }

    /// An account.
    pub fn account(&self, id: &str) -> Read<Option<Account>> {
        let state = self.cell.state.read();
        state.answer(state.account_by_id(id).cloned())
    }

    /// Accounts opened so far.
    pub fn account_count(&self) -> u64 {
        self.cell.state.read().accounts.len() as u64
    }

    /// The command at a position, if it was applied and is remembered.
    pub fn transaction(&self, position: Position) -> Result<Read<Option<Booked>>, Fault> {
        self.check()?;
        let state = self.cell.state.read();
        Ok(state.answer(state.booked(position)?))
    }

    /// The command that a request id was first used for.
    pub fn request(&self, scope: &str, request_id: &str) -> Result<Read<Option<Booked>>, Fault> {
        self.check()?;
        let state = self.cell.state.read();
        let position = state.request(scope, request_id, Position(u64::MAX))?;
        let booked = position.map(|position| state.booked(position)).transpose()?;
        Ok(state.answer(booked.flatten()))
    }

    /// Booked transactions and reversals after a position, in order, `limit` at most.
    pub fn list(&self, after: Option<Position>, limit: usize) -> Result<Read<Vec<Booked>>, Fault> {
        self.check()?;
        let state = self.cell.state.read();
        let mut out = Vec::new();
        let from = after.map_or(0, |after| after.0 + 1);
        if let Some(last) = state.about.applied.log_id {
            for index in Position(from).index()..=last.index {
                if out.len() >= limit {
                    break;
                }
                state.list_entry(index, from, limit, &mut out)?;
            }
        }
        Ok(state.answer(out))
    }

    /// Sums over the whole replica, for `verify`: it walks through all accounts.
    pub fn totals(&self) -> Read<Totals> {
        let state = self.cell.state.read();
        let mut totals = Totals {
            accounts: state.accounts.len() as u64,
            transactions: state.about.transactions,
            running_hash: state.about.hash,
            ..Totals::default()
        };
        let mut hasher = blake3::Hasher::new();
        for account in &state.accounts {
            hasher.update(&encode_who(account));
            hasher.update(&encode_figures(account));
            if !totals.currencies.contains_key(&account.currency) {
                totals.currencies.insert(account.currency.clone(), (0, 0));
            }
            let sums = totals.currencies.get_mut(&account.currency).expect("it was just put there");
            sums.0 += account.debits;
            sums.1 += account.credits;
        }
        totals.state_hash = *hasher.finalize().as_bytes();
        state.answer(totals)
    }

    /// The running hash after the record at `index`, if that is among the last few thousand.
    pub fn hash_at(&self, index: u64) -> Option<[u8; 32]> {
        let state = self.cell.state.read();
        let (first, _) = state.hashes.front()?;
        let at = usize::try_from(index.checked_sub(*first)?).ok()?;
        state.hashes.get(at).map(|(_, hash)| *hash)
    }

    /// The durability state marked last.
    pub fn durability(&self) -> Durability {
        self.cell.state.read().about.durability
    }

    /// The ledger time of the last command applied.
    pub fn last_time(&self) -> u64 {
        self.cell.state.read().about.last_time
    }
}

impl ReplicaState {
    fn answer<T>(&self, value: T) -> Read<T> {
        let index = self.about.applied.log_id.map_or(0, |last| last.index);
        Read { value, index, time_unix_ns: self.about.last_time }
    }

    fn booked(&self, position: Position) -> Result<Option<Booked>, Fault> {
        if self.about.applied.log_id.is_none_or(|last| position.index() > last.index) {
            return Ok(None);
        }
        let Some((command, outcome)) = self.remembered(position)? else { return Ok(None) };
        Ok(Some(Booked {
            id: TransactionId { set: self.set, incarnation: outcome.incarnation, position },
            time_unix_ns: outcome.time_unix_ns,
            scope_account: self.scope_of(&command, &outcome)?,
            reversed: self.reversed(position)?,
            command,
            outcome,
        }))
    }

    /// Adds what the entry at `index` booked at or after position `from`.
    fn list_entry(&self, index: u64, from: u64, limit: usize, out: &mut Vec<Booked>) -> Result<(), Fault> {
        let begin = if Position(from).index() == index { Position(from).offset() } else { 0 };
        let room = limit - out.len();
        let offsets = self.with_outcomes(index, |outcomes| {
            let mut offsets = Vec::new();
            for offset in begin..=u16::MAX {
                let Some(kept) = outcomes.get(offset).filter(|_| offsets.len() < room) else { break };
                let booked = match kept {
                    Kept::Booked { .. } => true,
                    Kept::Nothing => false,
                    Kept::Outcome(bytes) => {
                        let outcome = decode_outcome(bytes)
                            .map_err(|error| Fault::damaged("an outcome", error.to_string()))?;
                        matches!(outcome.result, Ok(Effect::Posted(_)))
                    }
                };
                if booked {
                    offsets.push(offset);
                }
            }
            Ok(offsets)
        })?;
        for offset in offsets.into_iter().flatten() {
            out.extend(self.booked(Position::new(index, offset))?);
        }
        Ok(())
    }
}
