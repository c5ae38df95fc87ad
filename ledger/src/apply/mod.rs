//! The rules: one entry in, one outcome per command out, all effects through [`State`]. Pure; the same state and entry
//! give the same bytes on every replica. Each family of commands has a file here; what they share is
//! `idempotency` (who is asked first), `booking` (the only place where balances change) and `reserve` (its two halves, for
//! transactions over several sets).
//!
//! Invariant: per currency, debits equal credits after every command; `booking` asserts it, in release builds too.

mod account;
mod attempt;
mod booking;
mod buffer;
mod chart;
mod check_back;
mod dry_run;
mod hold;
mod idempotency;
mod overlay;
mod reserve;
mod restore;
mod restriction;
mod reversal;
mod sweep;
mod together;
mod transaction;

pub use attempt::{came_of, check_balance_across, newest_attempt, told};
pub use buffer::{SUSPENSE_SUBJECT, pays_unasked, suspense_account};
pub use dry_run::{dry_run, own_sums};
pub use idempotency::scope_account;
pub use reserve::{CLEARING_SUBJECT, clearing_account};
pub use restore::{RECOVERY_SUBJECT, recovery_account};

use crate::canary::{self, Canary};
use crate::codec::{self, DecodeError, Entry, Record, Short};
use crate::command::{Command, Leg, LegKind, Malformed};
use crate::hold::PlaceHold;
use crate::id::Position;
use crate::outcome::{Effect, Outcome};
use crate::rejection::Rejection;
use crate::state::State;
use crate::sweep::{SetSweep, run_of};
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
    let pass = Pass { entry, index, start, base: out.len() };
    out.reserve(entry.count());
    let mut records = entry.records().zip(0u16..);
    while let Some((record, offset)) = records.next() {
        let outcome = pass.one(state, record, offset, None, out)?;
        let grouped = outcome.result == Ok(Effect::Grouped);
        out.push(outcome);
        if grouped {
            // One that reaches past the end of the entry is as long as that allows; the proposer makes none.
            let members: Vec<_> = records.by_ref().take(together::count(&record)).collect();
            pass.group(state, &members, out)?;
        }
    }
    state.set_last_time(end);
    Ok(())
}

/// An entry on its way through the rules.
#[derive(Clone, Copy)]
struct Pass<'a> {
    entry: &'a Entry<'a>,
    index: u64,
    /// Ledger time of its first command.
    start: u64,
    /// Where its outcomes begin.
    base: usize,
}

impl Pass<'_> {
    /// Applies one command, or, if a rejection is forced on it, remembers that; `out` has the outcomes before it.
    fn one<S: State>(
        &self,
        state: &mut S,
        record: Record<'_>,
        offset: u16,
        forced: Option<&Rejection>,
        out: &[Outcome],
    ) -> Result<Outcome, ApplyError<S::Fault>> {
        let position = Position::new(self.index, offset);
        let time_unix_ns = self.start + u64::from(offset);
        let earlier = &out[self.base..];
        let mut turn = Turn { state, entry: self.entry, earlier, position, time_unix_ns, forced };
        match record {
            Record::Short(short) => turn.short(&short),
            Record::General(bytes) => turn.general(bytes),
        }
    }
}

/// Whether the first rules know nothing of what it asks for.
fn is_of_second_rules(command: &Command) -> bool {
    match command {
        Command::Begin(_)
        | Command::Step { .. }
        | Command::PlaceHold(_)
        | Command::ReleaseHold { .. }
        | Command::ExtendHold { .. }
        | Command::ExpireHold { .. }
        | Command::Together { .. }
        | Command::CheckedBack(_)
        | Command::SetPostingMode { .. }
        | Command::ResolveSuspense { .. }
        | Command::BufferStep { .. }
        | Command::ReleaseRestriction { .. }
        | Command::ExpireRestriction { .. }
        | Command::SetSweep(_)
        | Command::RemoveSweep { .. }
        | Command::EndRun { .. }
        | Command::DefineGroup { .. } => true,
        Command::Transaction(transaction) => {
            let says_more = |leg: &Leg| !leg.preconditions.is_empty() || leg.kind != LegKind::Ordinary;
            let by_nodes = run_of(&transaction.request_id).is_some();
            by_nodes || transaction.capture.is_some() || transaction.legs.iter().any(says_more)
        }
        _ => false,
    }
}

/// What became of a command, before it is known where and when.
type Decision = Result<Effect, Rejection>;

/// Why a command goes no further: it is rejected, or its state could not be read.
enum Stop<F> {
    Rejected(Rejection),
    Failed(ApplyError<F>),
}

impl<F> From<Rejection> for Stop<F> {
    fn from(rejection: Rejection) -> Self {
        Stop::Rejected(rejection)
    }
}

impl<F> From<ApplyError<F>> for Stop<F> {
    fn from(error: ApplyError<F>) -> Self {
        Stop::Failed(error)
    }
}

/// A rejection is a decision; a failure is not.
fn decided<F>(result: Result<Effect, Stop<F>>) -> Result<Decision, ApplyError<F>> {
    match result {
        Ok(effect) => Ok(Ok(effect)),
        Err(Stop::Rejected(rejection)) => Ok(Err(rejection)),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// The turn of one command: the state, the entry up to this command, its place and its time.
struct Turn<'a, S> {
    state: &'a mut S,
    entry: &'a Entry<'a>,
    /// Outcomes of the same entry's earlier commands.
    earlier: &'a [Outcome],
    position: Position,
    time_unix_ns: u64,
    /// What is decided of a new transaction, whatever it asks for.
    forced: Option<&'a Rejection>,
}

impl<S: State> Turn<'_, S> {
    fn general(&mut self, bytes: &[u8]) -> Result<Outcome, ApplyError<S::Fault>> {
        let offset = self.position.offset();
        let command =
            codec::decode_command(bytes).map_err(|error| ApplyError::Undecodable { offset, error })?;
        command.validate().map_err(|error| ApplyError::Malformed { offset, error })?;
        if self.entry.rules_version() < RULES_OF_ATTEMPTS && is_of_second_rules(&command) {
            return Err(ApplyError::Malformed { offset, error: Malformed::Step });
        }
        self.command(&command)
    }

    fn command(&mut self, command: &Command) -> Result<Outcome, ApplyError<S::Fault>> {
        if self.forced.is_some() && !matches!(command, Command::Transaction(_)) {
            return Ok(self.outcome(Err(Rejection::StepOutOfPlace { attempt: self.here() })));
        }
        let decision = match command {
            Command::DefineCurrency { code, scale } => chart::define_currency(self.state, code, *scale),
            Command::DefineSubject { code, name, normal_side } => {
                chart::define_subject(self.state, code, name, *normal_side)
            }
            Command::DefineGroup { group } => chart::define_group(self.state, group),
            Command::MarkDurability { durability } => {
                self.state.set_durability(*durability);
                Ok(Effect::Marked)
            }
            Command::OpenAccount { request_id, account, .. }
            | Command::SetLimit { request_id, account, .. }
            | Command::Freeze { request_id, account, .. }
            | Command::Unfreeze { request_id, account, .. }
            | Command::CloseAccount { request_id, account }
            | Command::SetPostingMode { request_id, account, .. }
            | Command::PlaceHold(PlaceHold { request_id, account, .. })
            | Command::ReleaseHold { request_id, account, .. }
            | Command::ExtendHold { request_id, account, .. }
            | Command::ReleaseRestriction { request_id, account, .. }
            | Command::SetSweep(SetSweep { request_id, account, .. })
            | Command::RemoveSweep { request_id, account } => {
                return self.account_command(request_id, account, command);
            }
            Command::Together { .. } => Ok(Effect::Grouped),
            Command::ExpireHold { hold } => self.expire(*hold),
            Command::ExpireRestriction { account, restriction } => {
                self.expire_restriction(account, *restriction)
            }
            Command::CheckedBack(done) => self.checked_back(done),
            Command::EndRun { account, sweep, run } => self.end_run(account, *sweep, *run)?,
            Command::Transaction(transaction) => return self.transaction(transaction, command),
            Command::Reversal(reversal) => return self.reversal(reversal, command),
            Command::Begin(begin) => return self.begin(begin, command),
            Command::Step { attempt, step } => return self.step(*attempt, step),
            Command::ResolveSuspense { request_id, item, account } => {
                return self.resolve_suspense(request_id, *item, account, command);
            }
            Command::BufferStep { by, step } => self.buffer_step(*by, step)?,
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
