//! The rules: one entry in, one outcome per command out, all effects through [`State`]. Pure; the same state and entry
//! give the same bytes on every replica. Each family of commands has a file here; what they share is
//! `idempotency` (who is asked first), `booking` (the only place where balances change) and `reserve` (its two halves, for
//! transactions over several sets).
//!
//! Invariant: per currency, debits equal credits after every command; `booking` asserts it, in release builds too.

mod account;
mod attempt;
mod booking;
mod chart;
mod idempotency;
mod reserve;
mod reversal;
mod transaction;

pub use attempt::{came_of, newest_attempt};
pub use idempotency::scope_account;
pub use reserve::{CLEARING_SUBJECT, clearing_account};

use crate::canary::{self, Canary};
use crate::codec::{self, DecodeError, Entry, Record, Short};
use crate::command::{Command, Malformed};
use crate::id::Position;
use crate::outcome::{Effect, Outcome};
use crate::rejection::Rejection;
use crate::state::State;
use crate::{RULES_OF_ATTEMPTS, RULES_VERSION};

/// Why an entry could not be applied. The replica stops: it must neither skip the entry nor guess.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError<F> {
    /// The entry is to be applied by rules that this build does not know.
    #[error("the entry asks for rules version {found}, this build knows up to {RULES_VERSION}")]
    UnknownRules {
        /// What the entry names.
        found: u16,
    },
    /// A command's bytes do not decode.
    #[error("command {offset} of the entry does not decode: {error}")]
    Undecodable {
        /// Its place in the entry.
        offset: u16,
        /// What is wrong.
        error: DecodeError,
    },
    /// A command that should have been refused before the log.
    #[error("command {offset} of the entry is malformed: {error}")]
    Malformed {
        /// Its place in the entry.
        offset: u16,
        /// What is wrong.
        error: Malformed,
    },
    /// The entry's time leaves no room for its commands: no clock shows that.
    #[error("the entry's time {time_unix_ns} is past what can be counted")]
    Time {
        /// What the entry names.
        time_unix_ns: u64,
    },
    /// The state could not be read.
    #[error("the state could not be read")]
    Fault(F),
}

/// Applies all commands of the entry at log index `index` and appends one outcome for each to `out`, in order. After
/// an error the state is as of some command in the middle and must be thrown away.
pub fn apply_entry<S: State>(
    state: &mut S,
    index: u64,
    entry: &Entry<'_>,
    out: &mut Vec<Outcome>,
) -> Result<(), ApplyError<S::Fault>> {
    let found = entry.rules_version();
    if found == 0 || found > RULES_VERSION {
        return Err(ApplyError::UnknownRules { found });
    }
    let Some(last_offset) = entry.count().checked_sub(1) else {
        return Ok(());
    };
    let out_of_time = ApplyError::Time { time_unix_ns: entry.time_unix_ns() };
    let start = match canary::on(Canary::ClockAsLedgerTime) {
        true => Some(entry.time_unix_ns()),
        false => state.last_time().checked_add(1).map(|next| next.max(entry.time_unix_ns())),
    };
    let end = start.and_then(|start| start.checked_add(last_offset as u64));
    let (Some(start), Some(end)) = (start, end) else {
        return Err(out_of_time);
    };
    let base = out.len();
    out.reserve(entry.count());
    for (record, offset) in entry.records().zip(0u16..) {
        let position = Position::new(index, offset);
        let time_unix_ns = start + u64::from(offset);
        let mut turn = Turn { state: &mut *state, entry, earlier: &out[base..], position, time_unix_ns };
        let outcome = match record {
            Record::Short(short) => turn.short(&short)?,
            Record::General(bytes) => turn.general(bytes)?,
        };
        out.push(outcome);
    }
    state.set_last_time(end);
    Ok(())
}

/// What became of a command, before it is known where and when.
type Decision = Result<Effect, Rejection>;

/// The turn of one command: the state, the entry up to this command, its place and its time.
struct Turn<'a, S> {
    state: &'a mut S,
    entry: &'a Entry<'a>,
    /// Outcomes of the same entry's earlier commands.
    earlier: &'a [Outcome],
    position: Position,
    time_unix_ns: u64,
}

impl<S: State> Turn<'_, S> {
    fn general(&mut self, bytes: &[u8]) -> Result<Outcome, ApplyError<S::Fault>> {
        let offset = self.position.offset();
        let command =
            codec::decode_command(bytes).map_err(|error| ApplyError::Undecodable { offset, error })?;
        command.validate().map_err(|error| ApplyError::Malformed { offset, error })?;
        let of_attempts = matches!(command, Command::Begin(_) | Command::Step { .. });
        if of_attempts && self.entry.rules_version() < RULES_OF_ATTEMPTS {
            return Err(ApplyError::Malformed { offset, error: Malformed::Step });
        }
        self.command(&command)
    }

    fn command(&mut self, command: &Command) -> Result<Outcome, ApplyError<S::Fault>> {
        let decision = match command {
            Command::DefineCurrency { code, scale } => chart::define_currency(self.state, code, *scale),
            Command::DefineSubject { code, name, normal_side } => {
                chart::define_subject(self.state, code, name, *normal_side)
            }
            Command::MarkDurability { durability } => {
                self.state.set_durability(*durability);
                Ok(Effect::Marked)
            }
            Command::OpenAccount { request_id, account, .. }
            | Command::SetLimit { request_id, account, .. }
            | Command::Freeze { request_id, account, .. }
            | Command::Unfreeze { request_id, account, .. }
            | Command::CloseAccount { request_id, account } => {
                return self.account_command(request_id, account, command);
            }
            Command::Transaction(transaction) => return self.transaction(transaction, command),
            Command::Reversal(reversal) => return self.reversal(reversal, command),
            Command::Begin(begin) => return self.begin(begin, command),
            Command::Step { attempt, step } => return self.step(*attempt, step),
        };
        Ok(self.outcome(decision))
    }

    /// The outcome of a command that is decided here and now.
    fn outcome(&self, result: Decision) -> Outcome {
        Outcome {
            position: self.position,
            incarnation: self.entry.incarnation(),
            time_unix_ns: self.time_unix_ns,
            replayed: false,
            result,
        }
    }

    /// The remembered command at an earlier position with its first outcome: from the state, or, in this very entry,
    /// from its earlier records.
    fn original(&self, position: Position) -> Result<Option<(Command, Outcome)>, ApplyError<S::Fault>> {
        if position.index() != self.position.index() {
            return self.state.original(position).map_err(ApplyError::Fault);
        }
        let offset = usize::from(position.offset());
        let Some(outcome) = self.earlier.get(offset).filter(|outcome| outcome.is_remembered()) else {
            return Ok(None);
        };
        let command = match self.entry.record(offset).expect("it has an outcome") {
            Record::Short(short) => Command::Transaction(codec::expand(&short, self.state)),
            Record::General(bytes) => codec::decode_command(bytes).expect("it was applied"),
        };
        Ok(Some((command, outcome.clone())))
    }

    /// The same without the command.
    fn became(&self, position: Position) -> Result<Option<Outcome>, ApplyError<S::Fault>> {
        if position.index() != self.position.index() {
            return self.state.became(position).map_err(ApplyError::Fault);
        }
        let earlier = self.earlier.get(usize::from(position.offset()));
        Ok(earlier.filter(|outcome| outcome.is_remembered()).cloned())
    }

    fn short(&mut self, short: &Short) -> Result<Outcome, ApplyError<S::Fault>> {
        transaction::apply_short(self, short)
    }
}
