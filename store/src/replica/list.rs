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
pub(super) const LOOKS_PER_PAGE: usize = 10_000;
/// Commands that are looked at under one lock, at most.
pub(super) const LOOKS_PER_LOCK: usize = 1_000;
/// Transactions that are read under one lock, at most.
pub(super) const READS_PER_LOCK: usize = 32;

/// What was booked in a part of the log: transactions, reversals, and this set's part of those over several sets, where its
/// decision or its commit stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order of their positions. There may be none though more follow.
    pub booked: Vec<Listed>,
    /// The next page begins after it; nothing need be booked there. None: this page reaches to the end.
    pub next: Option<Position>,
}

/// What a look at an entry found.
pub(super) struct Looked {
    /// Offsets of what was looked for.
    pub(super) booked: Vec<u16>,
    /// Where to look next.
    pub(super) next: Position,
    pub(super) looks: usize,
}

fn is_booking(effect: &Effect) -> bool {
    matches!(effect, Effect::Posted(_) | Effect::Buffered { .. } | Effect::Suspended { .. })
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
            let looked = self.cell.state.read().look(at, looks.min(LOOKS_PER_LOCK), room, is_booking)?;
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
    /// Looks for what an entry did that is `wanted`, as each booking must be: `room` of it at most, from `at` on and at no more
    /// than `looks_max` of its commands.
    pub(super) fn look(
        &self,
        at: Position,
        looks_max: usize,
        room: usize,
        wanted: fn(&Effect) -> bool,
    ) -> Result<Looked, Fault> {
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
                        outcome.result.as_ref().is_ok_and(wanted)
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
    pub(super) fn listed(&self, index: u64, offsets: &[u16], upto: u64) -> Result<Vec<Listed>, Fault> {
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
                    let legs = Vec::new();
                    let said_of_step = None;
                    listed.push(Listed {
                        id,
                        time_unix_ns,
                        command,
                        legs,
                        scope_account,
                        reversed,
                        said_of_step,
                        in_transit: Vec::new(),
                    });
                }
                Became::Booked { .. } => return Err(no_transaction()),
                Became::Other(outcome) => {
                    let (id, time_unix_ns) = (named(outcome.incarnation), outcome.time_unix_ns);
                    let scope_account = self.scope_of(&command, outcome.result.as_ref().err())?;
                    let said_of_step = self.said_of_step(&command)?;
                    let in_transit = self.legs_in_transit(&outcome);
                    let booked = Booked {
                        id,
                        time_unix_ns,
                        command,
                        outcome,
                        scope_account,
                        reversed,
                        said_of_step,
                        in_transit,
                    };
                    listed.extend(booked.listed());
                }
            }
        }
        Ok(listed)
    }
}

#[cfg(test)]
mod tests {
    use twinset_ledger::account::Side;
    use twinset_ledger::attempt::{Ballot, Step};
    use twinset_ledger::rejection::Rejection;

    use super::super::sample::{Fed, decide_and_settle, open, pay, pay_far, take_back_a_cent};
    use super::*;

    #[test]
    fn an_attempt_is_listed_where_it_is_booked_and_told_where_it_began() {
        let fed = Fed::new();
        fed.feed(&[open("a")]);
        let begun = fed.feed(&[pay_far("p", "a", 5)]);
        let told = |id: &str| {
            let booked = fed.replica.request("a", id).unwrap().value.unwrap();
            (booked.id.position.index(), booked.outcome.result)
        };
        assert_eq!(told("p"), (begun, Ok(Effect::Begun)));
        let [decide, settle] = decide_and_settle(begun, Side::Credit, 5);
        let decided = fed.feed(&[decide]);
        assert_eq!(told("p"), (begun, Ok(Effect::Begun)), "it is not booked everywhere");
        fed.feed(&[settle]);
        let reversing = fed.feed(&[take_back_a_cent("r", Position::new(begun, 0))]);
        let [decide, settle] = decide_and_settle(reversing, Side::Debit, 1);
        let reversed = fed.feed(&[decide]);
        fed.feed(&[settle]);
        // In memory and on disk.
        for _ in 0..2 {
            for (id, place) in [("p", begun), ("r", reversing)] {
                let (at, result) = told(id);
                assert!(
                    at == place && matches!(result, Ok(Effect::Settled(legs)) if legs.len() == 2),
                    "{id}"
                );
            }
            let amount = |upto| {
                let state = fed.replica.cell.state.read();
                let booked = state.booked(Position::new(begun, 0), upto).unwrap().unwrap();
                (booked.reversed.amount, booked.reversed.by.first().map(|by| by.position.index()))
            };
            // It is named by where it began, and counts from where it was booked.
            assert_eq!((amount(reversed - 1), amount(reversed)), ((0, None), (1, Some(reversing))));
            let list = fed.replica.list(None, 10).unwrap().value.booked;
            let legs =
                |listed: &Listed| listed.legs.iter().map(|leg| leg.account.clone()).collect::<Vec<_>>();
            let found: Vec<_> =
                list.iter().map(|listed| (listed.id.position.index(), legs(listed))).collect();
            let own = vec!["a".to_owned(), "@clearing-1:EUR".to_owned()];
            assert_eq!(found, [(decided, own.clone()), (reversed, own)]);
            assert_eq!(list[0].scope_account.as_deref(), Some(format!("~1-1-{begun}-0").as_str()));
            let totals = fed.replica.totals().value;
            assert_eq!((totals.transactions, totals.currencies["EUR"]), (2, (6, 6)));
            fed.replica.checkpoint().unwrap();
        }
    }

    #[test]
    fn what_was_given_up_is_told_by_the_newest_attempt() {
        let fed = Fed::new();
        fed.feed(&[open("a")]);
        let give_up = |begun| Command::Step {
            attempt: TransactionId { set: 1, incarnation: 1, position: Position::new(begun, 0) },
            step: Step::Decide(Ballot::GivenUp { set: 2 }),
        };
        let told = || {
            let booked = fed.replica.request("a", "p").unwrap().value.unwrap();
            assert_eq!(booked.scope_account.as_deref(), Some("a"));
            (booked.id.position.index(), booked.outcome.result)
        };
        for _ in 0..3 {
            let begun = fed.feed(&[pay_far("p", "a", 5)]);
            assert_eq!(told(), (begun, Ok(Effect::Begun)));
            assert_eq!(fed.replica.attempts().value.len(), 1);
            fed.replica.checkpoint().unwrap();
            fed.feed(&[give_up(begun)]);
            assert_eq!(told(), (begun, Err(Rejection::SetUnavailable { set: 2 })));
            assert!(
                fed.replica.attempts().value.is_empty()
                    && fed.replica.list(None, 9).unwrap().value.is_empty()
            );
        }
    }

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
