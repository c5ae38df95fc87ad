//! Atomic batches: transactions of one entry that are booked together or not at all. They are tried on a copy first. Only if
//! none is refused are they applied; otherwise each is remembered as refused, the first with its own reason.

use super::chart::check_no_group;
use super::overlay::Overlay;
use super::{ApplyError, Pass};
use crate::canary::{self, Canary};
use crate::codec::{Record, decode_command, expand};
use crate::command::{Command, Transaction};
use crate::outcome::Outcome;
use crate::rejection::Rejection;
use crate::state::State;

/// How many commands the group has that the record announces.
pub(super) fn count(record: &Record<'_>) -> usize {
    let Record::General(bytes) = record else { unreachable!("a group is announced in general form") };
    match decode_command(bytes) {
        Ok(Command::Together { count }) => usize::from(count),
        _ => unreachable!("it was applied as the announcement of a group"),
    }
}

/// No router puts anything else into a group, and nothing else is ever part of one.
fn is_transaction(record: &Record<'_>) -> bool {
    match record {
        Record::Short(_) => true,
        Record::General(bytes) => matches!(decode_command(bytes), Ok(Command::Transaction(_))),
    }
}

fn transaction<S: State>(state: &S, record: &Record<'_>) -> Option<Transaction> {
    match record {
        Record::Short(short) => Some(expand(short, state)),
        Record::General(bytes) => match decode_command(bytes) {
            Ok(Command::Transaction(transaction)) => Some(transaction),
            _ => None,
        },
    }
}

/// Why a transaction is not looked at, if a leg of it is on a group of accounts.
fn on_group<S: State>(state: &S, record: &Record<'_>) -> Option<Rejection> {
    if !state.has_groups() {
        return None;
    }
    transaction(state, record).and_then(|transaction| check_no_group(state, &transaction).err())
}

impl Pass<'_> {
    /// Decides a group, and appends one outcome for each member.
    pub(super) fn group<S: State>(
        &self,
        state: &mut S,
        members: &[(Record<'_>, u16)],
        out: &mut Vec<Outcome>,
    ) -> Result<(), ApplyError<S::Fault>> {
        let refused = self.refused(state, members, out)?;
        for (&(record, offset), item) in members.iter().zip(0u16..) {
            let kept = |first: u16| canary::on(Canary::PartOfABatch) && item < first;
            let forced = refused.as_ref().filter(|(first, _)| !kept(*first)).map(|(first, reason)| {
                match reason {
                    // None of them is remembered, as none was put on parts.
                    Rejection::LegOnGroup { .. } => reason.clone(),
                    _ if *first == item => reason.clone(),
                    _ => Rejection::BatchRefused { item: *first },
                }
            });
            let outcome = self.one(state, record, offset, forced.as_ref(), out)?;
            out.push(outcome);
        }
        Ok(())
    }

    /// Which member is the first to be refused, if one is, and why.
    fn refused<S: State>(
        &self,
        state: &S,
        members: &[(Record<'_>, u16)],
        out: &mut Vec<Outcome>,
    ) -> Result<Option<(u16, Rejection)>, ApplyError<S::Fault>> {
        let other = members.iter().position(|(record, _)| !is_transaction(record));
        if let Some(item) = other.map(|at| u16::try_from(at).expect("an entry has no more")) {
            return Ok(Some((item, Rejection::BatchRefused { item })));
        }
        if let Some((reason, item)) = members.iter().zip(0u16..).find_map(|((record, _), item)| {
            let reason = on_group(state, record)?;
            Some((reason, item))
        }) {
            return Ok(Some((item, reason)));
        }
        let mut tried = Overlay::new(state);
        let before = out.len();
        let mut refused = None;
        for (&(record, offset), item) in members.iter().zip(0u16..) {
            let outcome = self.one(&mut tried, record, offset, None, out)?;
            if let Err(reason) = &outcome.result {
                refused = Some((item, reason.clone()));
                break;
            }
            out.push(outcome);
        }
        out.truncate(before);
        Ok(refused)
    }
}
