//! Pages of what a set has booked, in the order of the log. A page looks at so much of the log and no more, however
//! little it finds there, and holds the lock of the state for one piece of work at a time: a client's question never
//! holds up apply.

use twinset_ledger::amount::to_minor;
use twinset_ledger::canary::{self, Canary};
use twinset_ledger::codec::decode_outcome;
use twinset_ledger::command::{Command, Leg};
use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::outcome::Effect;

use super::LedgerReplica;
use super::outcomes::Kept;
use super::reads::{Booked, Listed, Read, taken_back};
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
    effect.books()
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
        let mut reversals = self.taken_back_between(at(*first), at(*last), upto)?;
        let mut listed = Vec::with_capacity(offsets.len());
        for offset in offsets {
            let position = at(*offset);
            let Some(Decided { command, incarnation, became }) = self.decided(position)? else { continue };
            let named = |incarnation| TransactionId { set: self.set, incarnation, position };
            let reversed = reversals.remove(&position).unwrap_or_default();
            match became {
                Became::Booked { time_unix_ns } if matches!(command, Command::Transaction(_)) => {
                    let (id, scope_account) = (named(incarnation), self.scope_of(&command, None)?);
                    let taken_back = taken_back(&reversed, || self.minor_legs(&command));
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
                        taken_back,
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

    /// The legs of a booked transaction of this set, in minor units with their decimal places.
    fn minor_legs(&self, command: &Command) -> Vec<(i128, u8)> {
        let Command::Transaction(transaction) = command else { return Vec::new() };
        let minor = |leg: &Leg| {
            let scale = self.account_by_id(&leg.account).expect("it was booked on").scale;
            (to_minor(leg.amount, scale).expect("it was booked"), scale)
        };
        transaction.legs.iter().map(minor).collect()
    }
}

#[cfg(test)]
mod tests {
    use twinset_ledger::account::Side;
    use twinset_ledger::attempt::{Ballot, Begin, Step};
    use twinset_ledger::command::Transaction;
    use twinset_ledger::outcome::Posted;
    use twinset_ledger::rejection::Rejection;

    use super::super::events::EventPlace;
    use super::super::sample::{
        Fed, decide_and_settle, open, pay, pay_far, take_back_a_cent, take_back_legs,
    };
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
                (booked.reversed.taken.evenly, booked.reversed.by.first().map(|by| by.position.index()))
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
            (booked.reversed.taken.evenly, booked.reversed.by.len())
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
        assert_eq!(listed.value.booked[0].reversed.taken.evenly, 2);
    }

    #[test]
    fn what_is_taken_back_of_each_leg_is_known_in_memory_and_on_disk() {
        let fed = Fed::new();
        fed.feed(&[open("a"), open("b"), open("c")]);
        let Command::Transaction(two) = pay("p", "a", "b", 9) else { unreachable!("it pays") };
        let Command::Transaction(more) = pay("p", "a", "c", 4) else { unreachable!("it pays") };
        let legs = [two.legs.clone(), more.legs].concat();
        let index = fed.feed(&[Command::Transaction(Transaction { legs, ..two })]);
        let position = Position::new(index, 0);
        let cents: [&[(u16, i64)]; 4] =
            [&[(0, 5), (1, 5)], &[(0, 4), (1, 1), (3, 3)], &[(0, 1), (1, 1)], &[]];
        let reversals =
            [0, 1, 2].map(|at| fed.feed(&[take_back_legs(&format!("r{at}"), position, cents[at])]));
        let reversed = |upto| fed.replica.cell.state.read().taken_back(position, upto).unwrap();
        // In memory and on disk.
        for _ in 0..2 {
            let of_legs = |upto| [0, 1, 2, 3].map(|leg| reversed(upto).taken.of(leg, &[9, 9, 4, 4]));
            assert_eq!(of_legs(index), [0; 4]);
            assert_eq!(of_legs(reversals[0]), [5, 5, 0, 0]);
            assert_eq!(of_legs(reversals[1]), [9, 6, 0, 3]);
            // More than is left of the first leg.
            assert_eq!(of_legs(reversals[2]), [9, 6, 0, 3]);
            assert_eq!(reversed(u64::MAX).by.len(), 2);
            let listed = fed.replica.list(None, 1).unwrap().value.booked.remove(0);
            assert_eq!(listed.taken_back, [(9, 2), (6, 2), (0, 2), (3, 2)]);
            let booked = fed.replica.transaction(position).unwrap().value.unwrap();
            assert_eq!(booked.listed(), Some(listed));
            fed.replica.checkpoint().unwrap();
        }
        // What the disk knows counts: the rest, and nothing beyond.
        let rest = fed.feed(&[
            take_back_legs("r3", position, &[(1, 3), (2, 4), (3, 1)]),
            take_back_a_cent("r4", position),
        ]);
        assert_eq!([0, 1, 2, 3].map(|leg| reversed(rest).taken.of(leg, &[9, 9, 4, 4])), [9, 9, 4, 4]);
        let told = |id: &str| fed.replica.request("a", id).unwrap().value.unwrap().outcome.result;
        assert!(matches!(told("r2"), Err(Rejection::ReversalExceeds { left: 0, leg: Some(0), .. })));
        assert!(matches!(told("r4"), Err(Rejection::PartialReversalOfManyLegs { .. })));
    }

    #[test]
    fn a_coordinator_without_a_leg_in_it_books_nothing() {
        let fed = Fed::new();
        fed.feed(&[open("a"), open("b")]);
        let (here, far) = (pay("p", "a", "b", 5), pay_far("p", "a", 5));
        let (Command::Transaction(here), Command::Begin(far)) = (here, far) else { unreachable!("they pay") };
        let other = |at: usize, side| Leg { side, ..far.transaction.legs[at].clone() };
        let (one, two) = (other(1, Side::Debit), other(1, Side::Credit));
        let legs = [here.legs.clone(), vec![one, two]].concat();
        let transaction = Transaction { legs, scope_account: Some("a".to_owned()), ..here };
        let begun = fed.feed(&[Command::Begin(Begin { transaction, sets: vec![1, 1, 2, 2] })]);
        let position = Position::new(begun, 0);
        let [decide, settle] = both_far(begun, 5);
        fed.feed(&[decide]);
        fed.feed(&[settle]);
        let reversing = fed.feed(&[take_back_legs("r", position, &[(2, 3), (3, 3)])]);
        let before = fed.replica.totals().value.transactions;
        let [decide, settle] = both_far(reversing, -3);
        let decided = fed.feed(&[decide]);
        fed.feed(&[settle]);
        // In memory and on disk.
        for _ in 0..2 {
            let told = fed.replica.request("a", "r").unwrap().value.unwrap().outcome.result;
            assert!(matches!(&told, Ok(Effect::Settled(legs)) if legs.len() == 2), "{told:?}");
            let reversed = fed.replica.cell.state.read().taken_back(position, decided).unwrap();
            assert_eq!([0, 1, 2, 3].map(|leg| reversed.taken.of(leg, &[5; 4])), [0, 0, 3, 3]);
            let list = fed.replica.list(None, 10).unwrap().value;
            assert!(list.iter().all(|listed| listed.id.position.index() < reversing), "{list:?}");
            assert_eq!(fed.replica.totals().value.transactions, before);
            let events =
                fed.replica.events(EventPlace::default(), 100, u64::MAX).unwrap().value.unwrap().events;
            assert!(events.iter().all(|event| event.id.position.index() < reversing), "{events:?}");
            fed.replica.checkpoint().unwrap();
        }
    }

    /// The other set agrees to a debit and a credit of its one account, or the other way round, and has booked them.
    fn both_far(begun: u64, cents: i64) -> [Command; 2] {
        let sides = if cents > 0 { [Side::Debit, Side::Credit] } else { [Side::Credit, Side::Debit] };
        let [decide, settle] = decide_and_settle(begun, sides[0], cents.abs());
        let with = |command, change: &dyn Fn(&mut Step)| match command {
            Command::Step { attempt, mut step } => {
                change(&mut step);
                Command::Step { attempt, step }
            }
            _ => unreachable!("it is a step"),
        };
        let decide = with(decide, &|step| {
            let Step::Decide(Ballot::Votes(votes)) = step else { unreachable!("it decides") };
            let sums = votes[0].said.as_mut().unwrap();
            (sums[0].debits, sums[0].credits) = (cents.abs().into(), cents.abs().into());
        });
        let settle = with(settle, &|step| {
            let Step::Settle { parts } = step else { unreachable!("it settles") };
            let other = Posted { side: sides[1], ..parts[0].legs[0].clone() };
            parts[0].legs.push(other);
        });
        [decide, settle]
    }
}
