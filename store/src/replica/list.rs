//! Pages of what a set has booked, in the order of the log. A page looks at so much of the log and no more, however
//! little it finds there, and holds the lock of the state for one piece of work at a time: a client's question never
//! holds up apply.

use twinset_ledger::canary::{self, Canary};
use twinset_ledger::codec::decode_outcome;
use twinset_ledger::command::Command;
use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::outcome::Effect;

use super::LedgerReplica;
use super::outcomes::Kept;
use super::reads::{Booked, Listed, Read};
use super::rebuild::{Became, Decided, no_transaction};
use super::state::ReplicaState;
use crate::fault::Fault;

/// Entries and commands that one page looks at, at most.
const LOOKS_PER_PAGE: usize = 10_000;
/// Commands that are looked at under one lock, at most.
const LOOKS_PER_LOCK: usize = 1_000;
/// Transactions that are read under one lock, at most.
const READS_PER_LOCK: usize = 32;

/// Booked transactions and reversals of a part of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order of their positions. There may be none though more follow.
    pub booked: Vec<Listed>,
    /// The next page begins after it; nothing need be booked there. None: this page reaches to the end.
    pub next: Option<Position>,
}

/// What a look at an entry found.
struct Looked {
    /// Offsets of what it booked.
    booked: Vec<u16>,
    /// Where to look next.
    next: Position,
    looks: usize,
}

impl LedgerReplica {
    /// Booked transactions and reversals after a position, in order, `limit` at most and one at least. All of it is as of one
    /// index, though entries are applied meanwhile.
    pub fn list(&self, after: Option<Position>, limit: usize) -> Result<Read<Page>, Fault> {
        self.check()?;
        let (mut read, nothing) = {
            let state = self.cell.state.read();
            (state.answer(Page::default()), state.about.applied.log_id.is_none())
        };
        if nothing {
            return Ok(read);
        }
        let mut at = match after {
            None => Position(0),
            Some(after) => match after.0.checked_add(1) {
                Some(at) => Position(at),
                // Clients name positions as they like, the last one that there can be as well.
                None => return Ok(read),
            },
        };
        let page = &mut read.value;
        let mut looks = LOOKS_PER_PAGE;
        while at.index() <= read.index {
            let room = limit.max(1) - page.booked.len();
            if room == 0 {
                if canary::on(Canary::ShortPage) {
                    page.next = page.booked.pop().map(|last| last.id.position);
                    break;
                }
                page.next = page.booked.last().map(|last| last.id.position);
                break;
            }
            if looks == 0 {
                page.next = Some(Position(at.0 - 1));
                break;
            }
            let looked = self.cell.state.read().look(at, looks.min(LOOKS_PER_LOCK), room)?;
            for offsets in looked.booked.chunks(READS_PER_LOCK) {
                page.booked.extend(self.cell.state.read().listed(at.index(), offsets, read.index)?);
            }
            at = looked.next;
            looks = looks.saturating_sub(looked.looks);
        }
        Ok(read)
    }
}

impl Page {
    /// Whether it has nothing that was booked.
    pub fn is_empty(&self) -> bool {
        self.booked.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, Listed> {
        self.booked.iter()
    }
}

impl ReplicaState {
    /// Looks for what an entry booked, `room` of it at most, from `at` on and at no more than `looks_max` of its commands.
    fn look(&self, at: Position, looks_max: usize, room: usize) -> Result<Looked, Fault> {
        let index = at.index();
        let mut looked = Looked { booked: Vec::new(), next: Position::new(index + 1, 0), looks: 1 };
        self.with_outcomes(index, |outcomes| {
            for offset in at.offset()..=u16::MAX {
                let Some(kept) = outcomes.get(offset) else { break };
                if looked.looks > looks_max || looked.booked.len() == room {
                    looked.next = Position::new(index, offset);
                    break;
                }
                looked.looks += 1;
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
                    looked.booked.push(offset);
                }
            }
            Ok(())
        })?;
        Ok(looked)
    }

    /// What an entry booked at some offsets, with what entries up to `upto` have taken back of it.
    fn listed(&self, index: u64, offsets: &[u16], upto: u64) -> Result<Vec<Listed>, Fault> {
        let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return Ok(Vec::new()) };
        let at = |offset: u16| Position::new(index, offset);
        let mut taken_back = self.taken_back_between(at(*first), at(*last), upto)?;
        let mut listed = Vec::with_capacity(offsets.len());
        for offset in offsets {
            let position = at(*offset);
            let Some(Decided { command, incarnation, became }) = self.decided(position)? else { continue };
            let named = |incarnation| TransactionId { set: self.set, incarnation, position };
            let reversed = taken_back.remove(&position).unwrap_or_default();
            match became {
                Became::Booked { time_unix_ns } if matches!(command, Command::Transaction(_)) => {
                    let (id, scope_account) = (named(incarnation), self.scope_of(&command, None)?);
                    let reversal = Vec::new();
                    listed.push(Listed { id, time_unix_ns, command, reversal, scope_account, reversed });
                }
                Became::Booked { .. } => return Err(no_transaction()),
                Became::Other(outcome) => {
                    let (id, time_unix_ns) = (named(outcome.incarnation), outcome.time_unix_ns);
                    let scope_account = self.scope_of(&command, outcome.result.as_ref().err())?;
                    let booked = Booked { id, time_unix_ns, command, outcome, scope_account, reversed };
                    listed.extend(booked.listed());
                }
            }
        }
        Ok(listed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::{Fed, open, pay, take_back_a_cent};
    use super::*;

    #[test]
    fn what_is_reversed_later_is_not_so_in_an_earlier_answer() {
        let fed = Fed::new();
        fed.feed(&[open("a"), open("b")]);
        let index = fed.feed(&[pay("p", "a", "b", 5)]);
        let position = Position::new(index, 0);
        let reversals: Vec<u64> = ["r", "s"].map(|id| fed.feed(&[take_back_a_cent(id, position)])).into();
        let reversed = |upto| {
            let state = fed.replica.cell.state.read();
            let booked = state.booked(position, upto).unwrap().unwrap();
            let listed = state.listed(index, &[0], upto).unwrap();
            assert_eq!(Some(&listed[0]), booked.clone().listed().as_ref());
            (booked.reversed.amount, booked.reversed.by.len())
        };
        // In memory and on disk.
        for _ in 0..2 {
            assert_eq!(reversed(index), (0, 0));
            assert_eq!(reversed(reversals[0]), (1, 1));
            assert_eq!(reversed(reversals[1]), (2, 2));
            fed.replica.checkpoint().unwrap();
        }
        let listed = fed.replica.list(None, 10).unwrap();
        assert_eq!((listed.index, listed.value.booked.len(), listed.value.next), (reversals[1], 3, None));
        assert_eq!(listed.value.booked[0].reversed.amount, 2);
    }
}
