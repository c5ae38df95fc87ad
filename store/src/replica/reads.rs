//! Questions to a replica. Every answer says as of which index it is; whether that is fresh and safe enough to leave
//! the set is the node's business.

use twinset_ledger::account::Account;
use twinset_ledger::apply::{self, ApplyError, came_of, newest_attempt};
use twinset_ledger::attempt::{Attempt, Attempts, Coordination, DECISION, Role, Sum};
use twinset_ledger::codec::{Short, shorten};
use twinset_ledger::command::Command;
use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::label::Label;
use twinset_ledger::outcome::{Effect, Outcome, Posted};
use twinset_ledger::state::{Durability, Reversed, State};

use super::LedgerReplica;
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
    /// What became of it; of what began a transaction over several sets, what has come of that by now.
    pub outcome: Outcome,
    /// The account under which its request id is remembered; for a reversal of what cannot be reversed, the transaction
    /// that it names ([`TransactionId::scope`]); for a step, the attempt ([`TransactionId::attempt_scope`]); None for
    /// commands without a request id, and where it hangs on an account that was not known.
    pub scope_account: Option<String>,
    /// What has been taken back of it.
    pub reversed: Reversed,
    /// Of a step that books, what is said of it.
    pub said_of_step: Option<Said>,
    /// Of what was paid without asking, the legs that other sets have not acknowledged, from 0.
    pub in_transit: Vec<u8>,
}

/// What a set knows of a transaction over several sets of which it books its part, beside that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The day on which all sets book it, in days since 1970-01-01.
    pub day: i32,
    /// What the client has said of it.
    pub label: Label,
}

/// What would come of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Its outcome. Where it would stand is not known.
    pub outcome: Outcome,
    /// If it would begin a transaction over several sets, the sums of this set's legs.
    pub sums: Option<Vec<Sum>>,
}

/// What was booked by a transaction, a reversal, or a step of one over several sets, without the balances after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub id: TransactionId,
    /// Ledger time.
    pub time_unix_ns: u64,
    /// What was asked.
    pub command: Command,
    /// What it booked, where the command does not say it: of a reversal, and of a step, with its clearing legs.
    pub legs: Vec<Posted>,
    /// As [`Booked::scope_account`].
    pub scope_account: Option<String>,
    /// What has been taken back of it.
    pub reversed: Reversed,
    /// As [`Booked::said_of_step`].
    pub said_of_step: Option<Said>,
    /// As [`Booked::in_transit`].
    pub in_transit: Vec<u8>,
    /// How much of each leg of the command has been taken back, in minor units, and their decimal places; empty if nothing of any
    /// has.
    pub taken_back: Vec<(i128, u8)>,
}

/// What a coordinator has decided of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet.
    Undecided,
    /// It is booked, or will be, in every set.
    Booked,
    /// Nothing of it is booked in any set.
    NotBooked,
}

impl Booked {
    /// What is shown of it; None if nothing was booked, or not everywhere yet.
    pub fn listed(self) -> Option<Listed> {
        let Booked { id, time_unix_ns, command, outcome, scope_account, reversed, said_of_step, in_transit } =
            self;
        let taken_back = taken_back(&reversed, || whole(&command, &outcome));
        let (Ok(Effect::Posted(legs) | Effect::Settled(legs))
        | Ok(Effect::Buffered { booked: legs, .. } | Effect::Suspended { booked: legs, .. })) =
            outcome.result
        else {
            return None;
        };
        let legs = match command {
            Command::Transaction(_) => Vec::new(),
            _ => legs,
        };
        Some(Listed {
            id,
            time_unix_ns,
            command,
            legs,
            scope_account,
            reversed,
            said_of_step,
            in_transit,
            taken_back,
        })
    }
}

/// As [`Listed::taken_back`], of legs with these amounts and decimal places.
pub(super) fn taken_back(reversed: &Reversed, legs: impl FnOnce() -> Vec<(i128, u8)>) -> Vec<(i128, u8)> {
    if reversed.by.is_empty() {
        return Vec::new();
    }
    let legs = legs();
    let amounts: Vec<i128> = legs.iter().map(|(amount, _)| *amount).collect();
    legs.iter().enumerate().map(|(at, (_, scale))| (reversed.taken.of(at, &amounts), *scale)).collect()
}

/// All legs of what can be taken back, in the client's order.
fn whole(command: &Command, outcome: &Outcome) -> Vec<(i128, u8)> {
    let minor = |posted: &Posted| (posted.amount, posted.scale);
    match (&outcome.result, command) {
        (Ok(Effect::Posted(legs) | Effect::Settled(legs)), _) => legs.iter().map(minor).collect(),
        (Ok(Effect::Buffered { booked, sent }), Command::Begin(begin)) => {
            let mut booked = booked.iter();
            let leg = |at: usize| match sent.iter().find(|sent| usize::from(sent.leg) == at) {
                Some(sent) => (sent.amount, sent.scale),
                None => booked.next().map(minor).expect("what was not sent was booked"),
            };
            (0..begin.transaction.legs.len()).map(leg).collect()
        }
        _ => Vec::new(),
    }
}

impl LedgerReplica {
    /// The short form of an encoded command, if it has one.
    pub fn shorten(&self, command_bytes: &[u8]) -> Option<Short> {
        shorten(command_bytes, &*self.cell.state.read())
    }

    /// What would come of valid commands now, one after the other, with nothing of it happening.
    pub fn dry_run(
        &self,
        incarnation: u32,
        time_unix_ns: u64,
        commands: &[Command],
    ) -> Result<Read<Vec<Tried>>, Fault> {
        self.check()?;
        let state = self.cell.state.read();
        let outcomes =
            apply::dry_run(&*state, incarnation, time_unix_ns, commands).map_err(|error| match error {
                ApplyError::Fault(fault) => fault,
                other => Fault::damaged("a dry run", other.to_string()),
            })?;
        let sums = |command: &Command, outcome: &Outcome| match (command, &outcome.result) {
            (Command::Begin(begin), Ok(Effect::Begun)) => Some(apply::own_sums(&*state, begin)),
            _ => None,
        };
        let told = commands.iter().zip(outcomes).map(|(command, outcome)| {
            let sums = sums(command, &outcome);
            Tried { outcome, sums }
        });
        Ok(state.answer(told.collect()))
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
        Ok(state.answer(state.booked(position, u64::MAX)?))
    }

    /// The command that a request id was first used for. If that was an attempt that was given up, the newest one.
    pub fn request(&self, scope: &str, request_id: &str) -> Result<Read<Option<Booked>>, Fault> {
        self.check()?;
        let state = self.cell.state.read();
        let first = state.request(scope, request_id, Position(u64::MAX))?;
        let newest = |first| newest_attempt(&*state, first, request_id);
        let position = first.map(newest).transpose()?;
        let booked = position.map(|position| state.booked(position, u64::MAX)).transpose()?;
        Ok(state.answer(booked.flatten()))
    }

    /// The transactions over several sets that are open here.
    pub fn attempts(&self) -> Read<Attempts> {
        let state = self.cell.state.read();
        state.answer(state.about.attempts.clone())
    }

    /// What `of` makes of them, `limit` at most, in the order of their names.
    pub fn attempts_as<T>(&self, limit: usize, of: impl Fn(TransactionId, &Attempt) -> Option<T>) -> Vec<T> {
        let state = self.cell.state.read();
        state.about.attempts.iter().filter_map(|(id, attempt)| of(id, attempt)).take(limit).collect()
    }

    /// What `of` makes of those that this set opened first, `limit` at most, the oldest first.
    pub fn oldest_attempts_as<T>(&self, limit: usize, of: impl Fn(TransactionId, &Attempt) -> T) -> Vec<T> {
        let state = self.cell.state.read();
        let mut all: Vec<_> = state.about.attempts.iter().collect();
        let opened = |(id, attempt): &(TransactionId, &Attempt)| (attempt.opened_ns, *id);
        if limit < all.len() {
            // In time that grows with their number alone: apply waits meanwhile.
            all.select_nth_unstable_by_key(limit, opened);
            all.truncate(limit);
        }
        all.sort_unstable_by_key(opened);
        all.into_iter().map(|(id, attempt)| of(id, attempt)).collect()
    }

    /// The attempt of that name, if it is open here.
    pub fn attempt(&self, id: TransactionId) -> Option<Attempt> {
        self.cell.state.read().about.attempts.get(id).cloned()
    }

    /// How many are open here: of those that this set coordinates, and of those that it only takes part in.
    pub fn attempt_counts(&self) -> (usize, usize) {
        let state = self.cell.state.read();
        let all = state.about.attempts.len();
        let own = state
            .about
            .attempts
            .iter()
            .filter(|(_, attempt)| matches!(attempt.role, Role::Coordinator(_)))
            .count();
        (own, all - own)
    }

    /// What this set has decided of an attempt that it coordinates; None if it never began one of that name.
    pub fn verdict(&self, id: TransactionId) -> Result<Read<Option<Verdict>>, Fault> {
        self.check()?;
        let state = self.cell.state.read();
        if let Some(Attempt { role: Role::Coordinator(Coordination { decided, .. }), .. }) =
            state.about.attempts.get(id)
        {
            let verdict = if decided.is_some() { Verdict::Booked } else { Verdict::Undecided };
            return Ok(state.answer(Some(verdict)));
        }
        let booked = state.booked(id.position, u64::MAX)?.filter(|booked| booked.id == id);
        // One whose beginning was lost in a recovery has a decision all the same.
        let lost = match booked.is_none() && id.set == state.set {
            true => state.request(&id.attempt_scope(), DECISION, Position(u64::MAX))?,
            false => None,
        };
        if let Some((_, outcome)) = lost.map(|position| state.remembered(position)).transpose()?.flatten() {
            let is_booked = outcome.result.is_ok();
            return Ok(state.answer(Some(if is_booked { Verdict::Booked } else { Verdict::NotBooked })));
        }
        Ok(state.answer(booked.and_then(|booked| match booked.outcome.result {
            Ok(Effect::Settled(_)) => Some(Verdict::Booked),
            Err(_) => Some(Verdict::NotBooked),
            // Nothing that was decided at once is an attempt.
            Ok(_) => None,
        })))
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
    pub(super) fn answer<T>(&self, value: T) -> Read<T> {
        let index = self.about.applied.log_id.map_or(0, |last| last.index);
        Read { value, index, time_unix_ns: self.about.last_time }
    }

    /// The command at a position, with what has come of it by now, and what entries up to `upto` have taken back of it: of
    /// what was booked there, the rest never changes.
    pub(super) fn booked(&self, position: Position, upto: u64) -> Result<Option<Booked>, Fault> {
        if self.about.applied.log_id.is_none_or(|last| position.index() > last.index) {
            return Ok(None);
        }
        let Some((command, outcome)) = self.remembered(position)? else { return Ok(None) };
        let scope_account = self.scope_of(&command, outcome.result.as_ref().err())?;
        let outcome = came_of(self, outcome)?;
        Ok(Some(Booked {
            id: TransactionId { set: self.set, incarnation: outcome.incarnation, position },
            time_unix_ns: outcome.time_unix_ns,
            scope_account,
            reversed: self.taken_back(position, upto)?,
            said_of_step: self.said_of_step(&command)?,
            in_transit: self.legs_in_transit(&outcome),
            command,
            outcome,
        }))
    }
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;
    use twinset_ledger::account::Side;
    use twinset_ledger::attempt::Step;
    use twinset_ledger::command::{Command, Leg};

    use super::super::sample::{Fed, open, pay_far};
    use super::*;

    #[test]
    fn the_oldest_attempts_are_told_first_whatever_they_are_called() {
        let fed = Fed::new();
        fed.feed(&[open("a")]);
        let mut opened = Vec::new();
        for (entry, set) in [9, 1, 3, 1, 2, 1].into_iter().enumerate() {
            let mut id = TransactionId { set, incarnation: 1, position: Position::new(70, 0) };
            if set == 1 {
                id.position = Position::new(fed.feed(&[pay_far(&format!("p-{entry}"), "a", 1)]), 0);
            } else {
                let legs = vec![Leg::new("a", Side::Credit, Decimal::new(1, 2))];
                let step =
                    Step::Prepare { legs, accounting_date: 20_000, reverses: None, label: Label::default() };
                fed.feed(&[Command::Step { attempt: id, step }]);
            }
            opened.push(id);
        }
        for limit in [0, 1, 4, 6, 9] {
            let told = fed.replica.oldest_attempts_as(limit, |id, _| id);
            assert_eq!(told, opened[..limit.min(6)], "{limit}");
        }
        let by_name = fed.replica.attempts_as(4, |id, _| Some(id.set));
        assert_eq!(by_name, [1, 1, 1, 2]);
    }
}
