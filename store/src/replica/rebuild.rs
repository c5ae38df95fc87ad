//! What was decided before, put together again: the command from the log, its outcome from the outcome record or, for a
//! booked transaction, from the postings. Nothing here changes the state. Below are the stored records; above are
//! `apply`, which compares retries and reverses, and the reads.

use std::collections::BTreeMap;

use twinset_ledger::account::AccountNo;
use twinset_ledger::apply::scope_account;
use twinset_ledger::attempt::{Begin, Step, VOTE, scope_across};
use twinset_ledger::buffer::BufferStep;
use twinset_ledger::codec::{DecodeError, decode_outcome};
use twinset_ledger::command::{Command, Transaction};
use twinset_ledger::id::Position;
use twinset_ledger::label::Label;
use twinset_ledger::outcome::{Effect, Outcome, Posted};
use twinset_ledger::rejection::Rejection;
use twinset_ledger::state::{Reversed, State};

use super::links::Link;
use super::outcomes::{Kept, Outcomes};
use super::postings::after_in_chunk;
use super::reads::Said;
use super::state::ReplicaState;
use crate::fault::Fault;
use crate::keys;
use crate::table::Table;
use crate::wire::BadRecord;

pub(super) fn bad(what: &'static str) -> impl Fn(BadRecord) -> Fault {
    move |error| Fault::damaged(what, error.to_string())
}

pub(super) fn missing(position: Position) -> Fault {
    let detail = format!("command {} of entry {} is missing", position.offset(), position.index());
    Fault::damaged("the log", detail)
}

fn bad_outcome(error: DecodeError) -> Fault {
    Fault::damaged("an outcome", error.to_string())
}

/// A remembered command, and what became of it.
pub(crate) struct Decided {
    pub(crate) command: Command,
    /// Of the set when it was taken in.
    pub(crate) incarnation: u32,
    pub(crate) became: Became,
}

/// What became of a command.
pub(crate) enum Became {
    /// A transaction that was booked as it was asked for.
    Booked {
        /// In nanoseconds since the Unix epoch.
        time_unix_ns: u64,
    },
    /// Anything else.
    Other(Outcome),
}

pub(super) fn no_transaction() -> Fault {
    Fault::damaged("an outcome record", "it takes another command for a transaction")
}

impl ReplicaState {
    /// The remembered command at a position with its first outcome.
    pub(crate) fn remembered(&self, position: Position) -> Result<Option<(Command, Outcome)>, Fault> {
        let Some(Decided { command, incarnation, became }) = self.decided(position)? else { return Ok(None) };
        let outcome = match (became, &command) {
            (Became::Other(outcome), _) => outcome,
            (Became::Booked { time_unix_ns }, Command::Transaction(transaction)) => {
                let result = Ok(Effect::Posted(self.booked_legs(transaction, position)?));
                Outcome { position, incarnation, time_unix_ns, replayed: false, result }
            }
            (Became::Booked { .. }, _) => return Err(no_transaction()),
        };
        Ok(Some((command, outcome)))
    }

    /// The first outcome alone: mostly without a look at the log.
    pub(crate) fn outcome_at(&self, position: Position) -> Result<Option<Outcome>, Fault> {
        let kept = self.with_outcomes(position.index(), |outcomes| {
            Ok(match outcomes.get(position.offset()) {
                None | Some(Kept::Nothing) => Some(None),
                Some(Kept::Outcome(bytes)) => Some(Some(decode_outcome(bytes).map_err(bad_outcome)?)),
                Some(Kept::Booked { .. }) => None,
            })
        })?;
        match kept {
            Some(Some(outcome)) => Ok(outcome),
            Some(None) => Ok(self.remembered(position)?.map(|(_, outcome)| outcome)),
            None => Ok(None),
        }
    }

    /// The same without the balances after a transaction: they are what takes long.
    pub(crate) fn decided(&self, position: Position) -> Result<Option<Decided>, Fault> {
        let (index, offset) = (position.index(), position.offset());
        let kept = self.with_outcomes(index, |outcomes| {
            let all_short = outcomes.all_short();
            Ok(match outcomes.get(offset) {
                None | Some(Kept::Nothing) => None,
                Some(Kept::Booked { time_unix_ns }) => Some((Became::Booked { time_unix_ns }, all_short)),
                Some(Kept::Outcome(bytes)) => {
                    Some((Became::Other(decode_outcome(bytes).map_err(bad_outcome)?), all_short))
                }
            })
        })?;
        let Some((became, all_short)) = kept.flatten() else { return Ok(None) };
        let one = self.entries.one(index, offset, all_short)?.ok_or_else(|| missing(position))?;
        let (command, incarnation) = one.command(self)?;
        Ok(Some(Decided { command, incarnation, became }))
    }

    /// The legs of a transaction that was booked, with the balances after it.
    fn booked_legs(&self, transaction: &Transaction, position: Position) -> Result<Vec<Posted>, Fault> {
        let unfit = |what| Fault::damaged("a booked transaction", format!("{what}, at {}", position.0));
        let mut legs = Vec::with_capacity(transaction.legs.len());
        for leg in &transaction.legs {
            let no = self.account_no(&leg.account).ok_or_else(|| unfit("an account is unknown"))?;
            let scale = self.accounts[no as usize].scale;
            let amount = twinset_ledger::amount::to_minor(leg.amount, scale);
            let amount = amount.map_err(|_| unfit("an amount does not fit"))?;
            let posted = self.posted_after(no, position)?;
            legs.push(Posted {
                account: String::new(),
                side: leg.side,
                amount,
                scale,
                posted,
                available: posted,
            });
        }
        Ok(legs)
    }

    /// The posted balance of an account after all its postings at `position`, which must be one of them.
    fn posted_after(&self, account: AccountNo, position: Position) -> Result<i128, Fault> {
        for memory in self.memories() {
            if let Some(after) = memory.journal.after(account, position.0) {
                return Ok(after);
            }
        }
        let slot = self.sides[account as usize].slot;
        let end = keys::posting(self.generation, slot, account, position.0.saturating_add(1));
        let first = keys::posting(self.generation, slot, account, 0);
        let mut cursor = self.engine.cursor(Table::Posting, &end)?;
        cursor.seek_to_last();
        // More than one step back only where a crash left overlapping chunks.
        while let Some((_, chunk)) = cursor.item().filter(|(key, _)| *key >= &first[..]) {
            if let Some(after) = after_in_chunk(chunk, position.0).map_err(bad("a chunk of postings"))? {
                return Ok(after);
            }
            cursor.prev();
        }
        cursor.ended()?;
        Err(Fault::damaged("the postings", format!("account {account} has none at {}", position.0)))
    }

    /// Calls `read` with the outcome record of an entry.
    pub(crate) fn with_outcomes<T>(
        &self,
        index: u64,
        read: impl FnOnce(&Outcomes<'_>) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let open = |bytes: &[u8]| -> Result<T, Fault> {
            let record = Outcomes::open(bytes).map_err(bad("an outcome record"))?;
            read(&record)
        };
        if let Some(bytes) = self.memories().find_map(|memory| memory.outcome(index)) {
            return open(bytes).map(Some);
        }
        if index >= self.stored_end {
            return Ok(None);
        }
        let stored = self.engine.get(Table::Outcome, &keys::outcome(self.generation, index))?;
        stored.map(|bytes| open(&bytes)).transpose()
    }

    /// What entries up to `upto` have taken back of the transaction at a position.
    pub(crate) fn taken_back(&self, position: Position, upto: u64) -> Result<Reversed, Fault> {
        Ok(self.taken_back_between(position, position, upto)?.remove(&position).unwrap_or_default())
    }

    /// The same of all transactions of a part of the log, its ends included; those that nobody reversed are left out.
    pub(crate) fn taken_back_between(
        &self,
        first: Position,
        last: Position,
        upto: u64,
    ) -> Result<BTreeMap<Position, Reversed>, Fault> {
        let mut all: BTreeMap<Position, Reversed> = BTreeMap::new();
        let end = keys::link(self.generation, last.0, u64::MAX);
        let mut cursor = self.engine.cursor(Table::Link, &end)?;
        cursor.seek(&keys::link(self.generation, first.0, 0));
        while let Some((key, value)) = cursor.item() {
            let (original, at) = keys::parse_link(key).map_err(bad("a reversal link"))?;
            let at = Position(at);
            let link = Link::decode(value, self.set, at).map_err(bad("a reversal link"))?;
            if at.index() < self.stored_end && at.index() <= upto {
                all.entry(Position(original)).or_default().add(link.by, &link.taken);
            }
            cursor.next();
        }
        cursor.ended()?;
        for memory in self.frozen.as_deref().into_iter().chain([&self.fresh]) {
            for (original, links) in memory.links.range(first.0..=last.0) {
                for link in links.iter().filter(|link| link.at.index() <= upto) {
                    all.entry(Position(*original)).or_default().add(link.by, &link.taken);
                }
            }
        }
        Ok(all)
    }

    /// What is said of a step that booked: as the set was told with its legs, or as the coordinator began it. None: no such step.
    pub(crate) fn said_of_step(&self, command: &Command) -> Result<Option<Said>, Fault> {
        let (attempt, step) = match command {
            Command::Step { attempt, step } => (attempt, step),
            Command::BufferStep { step: BufferStep::Credit(credit), .. } => {
                return Ok(Some(Said { day: credit.accounting_date, label: credit.label.clone() }));
            }
            _ => return Ok(None),
        };
        let told = match step {
            Step::Commit => self.request(&attempt.attempt_scope(), VOTE, Position(u64::MAX))?,
            Step::Decide(_) => Some(attempt.position),
            Step::Restore(part) => {
                return Ok(Some(Said { day: part.accounting_date, label: part.label.clone() }));
            }
            // What was said of it is lost with its beginning.
            Step::Prepare { .. } | Step::Abort | Step::Settle { .. } | Step::Lost { .. } => return Ok(None),
        };
        let remembered = told.map(|position| self.remembered(position)).transpose()?.flatten();
        Ok(remembered.map(|(command, outcome)| match command {
            Command::Step { step: Step::Prepare { accounting_date: day, label, .. }, .. } => {
                Said { day, label }
            }
            Command::Begin(Begin { transaction, .. }) => {
                let day = transaction.accounting_date.unwrap_or_else(|| outcome.day());
                Said { day, label: Label::from(&transaction) }
            }
            Command::Reversal(reversal) => Said { day: outcome.day(), label: Label::from(&reversal) },
            _ => Said { day: outcome.day(), label: Label::default() },
        }))
    }

    /// The scope under which a command's request id is remembered; of a request that was tried again, under which it was at
    /// first. None if it hangs on an account that was not known.
    pub(crate) fn scope_of(
        &self,
        command: &Command,
        rejection: Option<&Rejection>,
    ) -> Result<Option<String>, Fault> {
        let original = match command {
            Command::Transaction(transaction) => {
                return Ok(scope_account(self, transaction).map(str::to_owned));
            }
            Command::Begin(begin) => return Ok(Some(scope_across(&begin.transaction).to_owned())),
            Command::Step { attempt, .. } => return Ok(Some(attempt.attempt_scope())),
            Command::ResolveSuspense { item, .. } => return Ok(Some(item.attempt_scope())),
            Command::Reversal(reversal) => reversal.transaction,
            other => return Ok(other.accounts().next().map(str::to_owned)),
        };
        if let Some(Rejection::TransactionNotFound { .. } | Rejection::NotReversible { .. }) = rejection {
            return Ok(Some(original.scope()));
        }
        match self.decided(original.position)? {
            Some(Decided { command: Command::Transaction(original), .. }) => {
                Ok(scope_account(self, &original).map(str::to_owned))
            }
            Some(Decided { command: Command::Begin(original), .. }) => {
                Ok(Some(scope_across(&original.transaction).to_owned()))
            }
            _ => Err(Fault::damaged("a reversal", format!("its original {original} is missing"))),
        }
    }
}
