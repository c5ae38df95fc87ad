//! What a set still knows of its dealings with another one, for when that was recovered without the end of its log (ADR 30): read
//! from the own log, a bounded part at a time. It is told as statements in the ledger's own words, which are not to be applied:
//!
//! - `Lost` of an attempt that the other set coordinated, and has lost or not decided: without votes it is not booked here; with a
//!   vote it is, and that is what the clearing legs show;
//! - `Decide(Booked)` of the same, where it is booked, with the vote if that is still known; `Decide(Votes)`, where it is prepared;
//! - `Restore` of an attempt that is decided here: the part of the other set;
//! - `Lost` of a stream: how far it reaches here, and what was booked of it, as it counts where the stream goes; of a stream that
//!   comes from here, named by [`ACKNOWLEDGED`] and by [`GIVEN`], so far as it is acknowledged and all of it;
//! - `SendAgain` of a stream to the other set: what that had taken in, and has not any more.
//!
//! What is said of a stream adds up over all parts of an answer; its end is that of the last part.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use twinset_ledger::apply::CLEARING_SUBJECT;
use twinset_ledger::attempt::{
    Attempt, Ballot, Begin, DECISION, END, RESULT, Restore, Role, Step, Sum, VOTE, Vote,
};
use twinset_ledger::buffer::{BufferStep, ParcelName, StreamName};
use twinset_ledger::codec::decode_outcome;
use twinset_ledger::command::{Command, Leg};
use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::net::Net;
use twinset_ledger::outcome::{Effect, Outcome, Posted};
use twinset_ledger::state::State;

use super::LedgerReplica;
use super::outcomes::Kept;
use super::reads::Read;
use super::state::ReplicaState;
use crate::fault::Fault;

/// Commands that are looked at for one part of an answer.
const LOOKS_PER_PART: usize = 20_000;
/// The same under one lock.
const LOOKS_PER_LOCK: usize = 256;
/// Statements after which a part ends.
const STATEMENTS_MAX: usize = 500;

/// In the name of a stream: so far as it is acknowledged. Nothing else is said of a stream that is taken in here.
pub const ACKNOWLEDGED: Position = Position(0);
/// In the name of a stream: all that was given to it.
pub const GIVEN: Position = Position(1);

/// Which set asks, and what it knows itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// The set that was recovered.
    pub of: u32,
    /// The last index of each of its incarnations before the present one: what stood behind is lost.
    pub ends: Vec<u64>,
    /// Attempts that it coordinates and has not decided.
    pub asking: BTreeSet<TransactionId>,
    /// By the incarnation of the set that is asked: how many parcels of that one's stream it has taken in.
    pub taken: BTreeMap<u32, u64>,
}

impl Question {
    /// Whether an attempt of that set is lost, or waits for its decision.
    pub fn concerns(&self, attempt: TransactionId) -> bool {
        attempt.set == self.of && (self.asking.contains(&attempt) || self.is_lost(attempt))
    }

    /// Whether that stood behind the end of its incarnation.
    pub fn is_lost(&self, id: TransactionId) -> bool {
        let life = id.incarnation.checked_sub(1).and_then(|at| self.ends.get(at as usize));
        life.is_some_and(|end| id.position.index() > *end)
    }

    /// The least index that one of its incarnations has kept nothing behind.
    fn surely_kept(&self) -> u64 {
        self.ends.iter().copied().min().unwrap_or(u64::MAX)
    }
}

/// A part of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recollection {
    /// See above.
    pub statements: Vec<Command>,
    /// Where the next part begins; None: this was the last.
    pub next: Option<Position>,
}

/// What has been found so far.
#[derive(Default)]
struct Found {
    attempts: BTreeSet<TransactionId>,
    decided: Vec<TransactionId>,
    taken: BTreeMap<u32, Net>,
    acknowledged: BTreeMap<u32, Net>,
    given: BTreeMap<u32, Net>,
    again: BTreeMap<u32, Vec<ParcelName>>,
}

impl Found {
    fn count(&self) -> usize {
        let again: usize = self.again.values().map(Vec::len).sum();
        self.attempts.len() + self.decided.len() + again
    }
}

impl LedgerReplica {
    /// What this set knows of another one's lost end, from a place in its log on. All of it is as of the index that is told.
    pub fn recollect(&self, question: &Question, from: Position) -> Result<Read<Recollection>, Fault> {
        self.check()?;
        let mut read = self.cell.state.read().answer(Recollection::default());
        let (mut at, mut looks, mut found) = (from, LOOKS_PER_PART, Found::default());
        while at.index() <= read.index && looks > 0 && found.count() < STATEMENTS_MAX {
            let state = self.cell.state.read();
            let (offsets, next, looked) = state.steps_at(at, looks.min(LOOKS_PER_LOCK))?;
            for offset in offsets {
                state.find(question, Position::new(at.index(), offset), &mut found)?;
            }
            at = next;
            looks = looks.saturating_sub(looked);
        }
        let state = self.cell.state.read();
        read.value.statements = state.statements(question, found)?;
        read.value.next = (at.index() <= read.index).then_some(at);
        Ok(read)
    }

    /// What a set has to do with an attempt by now: whether it was decided here, and whether a part of it is prepared or booked here.
    pub fn stands(&self, attempt: TransactionId) -> Result<(Option<bool>, bool), Fault> {
        self.check()?;
        let state = self.cell.state.read();
        let decided = state.step_outcome(attempt, DECISION)?.map(|decided| decided.result.is_ok());
        let has_part = state.about.attempts.get(attempt).is_some() || state.has_booked(attempt)?;
        Ok((decided, has_part))
    }

    /// What a recovered set asks another one, with what it knows itself.
    pub fn question_to(&self, set: u32, ends: Vec<u64>) -> Question {
        let state = self.cell.state.read();
        let asking = state.about.attempts.iter().filter_map(|(id, open)| match &open.role {
            Role::Coordinator(asked) if asked.decided.is_none() => Some(id),
            _ => None,
        });
        let taken = state.buffer().inboxes().filter(|((from, _), _)| *from == set);
        Question {
            of: state.set,
            ends,
            asking: asking.collect(),
            taken: taken.map(|((_, incarnation), taken)| (incarnation, taken)).collect(),
        }
    }
}

impl ReplicaState {
    /// Offsets of an entry's commands that something between sets may have come of, from one on; where to look next, and how many
    /// commands were looked at.
    fn steps_at(&self, at: Position, looks_max: usize) -> Result<(Vec<u16>, Position, usize), Fault> {
        let (mut offsets, mut next, mut looks) = (Vec::new(), Position::new(at.index() + 1, 0), 1);
        self.with_outcomes(at.index(), |outcomes| {
            for offset in at.offset()..=u16::MAX {
                let Some(kept) = outcomes.get(offset) else { break };
                if looks > looks_max {
                    next = Position::new(at.index(), offset);
                    break;
                }
                looks += 1;
                let Kept::Outcome(bytes) = kept else { continue };
                let outcome =
                    decode_outcome(bytes).map_err(|e| Fault::damaged("an outcome", e.to_string()))?;
                if outcome.result.as_ref().is_ok_and(is_between_sets) {
                    offsets.push(offset);
                }
            }
            Ok(())
        })?;
        Ok((offsets, next, looks))
    }

    fn find(&self, question: &Question, at: Position, found: &mut Found) -> Result<(), Fault> {
        let Some((command, outcome)) = self.remembered(at)? else { return Ok(()) };
        let of = question.of;
        match (&command, &outcome.result) {
            (Command::Step { attempt, .. }, _) if question.concerns(*attempt) => {
                found.attempts.insert(*attempt);
            }
            (Command::Step { attempt, .. }, _) if attempt.set == of => {}
            (Command::Step { attempt, step: Step::Decide(_) | Step::Lost { .. } }, Ok(_)) => {
                found.decided.push(*attempt);
            }
            (Command::Begin(begin), Ok(Effect::Buffered { sent, .. })) => {
                let incarnation = outcome.incarnation;
                let stream = self.buffer().stream(StreamName { to: of, incarnation });
                let acknowledged = stream.map_or(0, |stream| stream.acknowledged());
                let taken = question.taken.get(&incarnation).copied().unwrap_or(0);
                for one in sent.iter().filter(|one| one.to == of) {
                    let side = begin.transaction.legs[usize::from(one.leg)].side;
                    let unit = (one.currency.as_str(), one.scale);
                    counted(found.given.entry(incarnation).or_default().add(side, one.amount, unit));
                    if one.number > acknowledged {
                        continue;
                    }
                    counted(found.acknowledged.entry(incarnation).or_default().add(side, one.amount, unit));
                    if one.number > taken {
                        let name = ParcelName { position: at, leg: one.leg };
                        found.again.entry(incarnation).or_default().push(name);
                    }
                }
            }
            (Command::BufferStep { by, step: BufferStep::Credit(credit) }, Ok(_)) if by.set == of => {
                let net = found.taken.entry(by.incarnation).or_default();
                counted(net.add(credit.side, credit.amount, (&credit.currency, credit.scale)));
            }
            (Command::BufferStep { by, step: BufferStep::Lost { sums, .. } }, Ok(_)) if by.set == of => {
                counted(found.taken.entry(by.incarnation).or_default().add_sums(sums));
            }
            (Command::BufferStep { by, step: BufferStep::Lost { to, sums, .. } }, Ok(_)) if *to == of => {
                for net in [&mut found.acknowledged, &mut found.given] {
                    counted(net.entry(by.incarnation).or_default().subtract_sums(sums));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn statements(&self, question: &Question, found: Found) -> Result<Vec<Command>, Fault> {
        let (own, of) = (self.set, question.of);
        let mut all = Vec::new();
        for attempt in found.attempts {
            let mut say = |step| all.push(Command::Step { attempt, step });
            let vote = match self.step_outcome(attempt, VOTE)?.map(|vote| vote.result) {
                Some(Ok(Effect::Prepared(sums))) => Some(sums),
                _ => None,
            };
            match self.step_outcome(attempt, END)?.map(|end| end.result) {
                Some(Ok(Effect::Posted(booked))) => {
                    let net = Vote { set: own, said: Ok(self.left_open(&booked)) };
                    say(Step::Lost { votes: Some(vec![net]) });
                    let votes = vote.map(|sums| Vote { set: own, said: Ok(sums) }).into_iter().collect();
                    say(Step::Decide(Ballot::Booked { set: own, votes }));
                }
                ended => {
                    say(Step::Lost { votes: None });
                    // Prepared: it will be booked if it is decided so.
                    if let (None, Some(sums)) = (ended, vote) {
                        let vote = Vote { set: own, said: Ok(sums) };
                        say(Step::Decide(Ballot::Votes(vec![vote])));
                    }
                }
            }
        }
        for attempt in found.decided {
            if let Some(part) = self.part_of(question, attempt)? {
                all.push(Command::Step { attempt, step: Step::Restore(part) });
            }
        }
        let mut taken = found.taken;
        for ((_, incarnation), through) in self.buffer().inboxes().filter(|((from, _), _)| *from == of) {
            let by = TransactionId { set: of, incarnation, position: ACKNOWLEDGED };
            let sums = taken.remove(&incarnation).unwrap_or_default().sums();
            all.push(Command::BufferStep { by, step: BufferStep::Lost { to: own, through, sums } });
        }
        let (acknowledged, given, mut again) = (found.acknowledged, found.given, found.again);
        for (name, stream) in self.buffer().streams().filter(|(name, _)| name.to == of) {
            let incarnation = name.incarnation;
            let by = TransactionId { set: own, incarnation, position: ACKNOWLEDGED };
            let ends = [(ACKNOWLEDGED, stream.acknowledged(), &acknowledged), (GIVEN, stream.last(), &given)];
            for (position, through, net) in ends {
                let sums = net.get(&incarnation).map_or_else(Vec::new, Net::sums);
                let by = TransactionId { position, ..by };
                all.push(Command::BufferStep { by, step: BufferStep::Lost { to: of, through, sums } });
            }
            if let Some(parcels) = again.remove(&name.incarnation) {
                all.push(Command::BufferStep { by, step: BufferStep::SendAgain { to: of, parcels } });
            }
        }
        Ok(all)
    }

    fn step_outcome(&self, attempt: TransactionId, key: &str) -> Result<Option<Outcome>, Fault> {
        let position = self.request(&attempt.attempt_scope(), key, Position(u64::MAX))?;
        Ok(position
            .map(|position| self.remembered(position))
            .transpose()?
            .flatten()
            .map(|(_, outcome)| outcome))
    }

    fn has_booked(&self, attempt: TransactionId) -> Result<bool, Fault> {
        let end = self.step_outcome(attempt, END)?;
        Ok(end.is_some_and(|end| matches!(end.result, Ok(Effect::Posted(_)))))
    }

    /// What booked legs left open, as the clearing legs among them show it.
    fn left_open(&self, booked: &[Posted]) -> Vec<Sum> {
        let mut net = Net::default();
        for leg in booked {
            let Some(account) = self.account_by_id(&leg.account) else { continue };
            if account.subject == CLEARING_SUBJECT {
                counted(net.add(leg.side.opposite(), leg.amount, (&account.currency, leg.scale)));
            }
        }
        net.sums()
    }

    /// The part of the set that asks in an attempt that is decided here, unless that set surely has it.
    fn part_of(&self, question: &Question, attempt: TransactionId) -> Result<Option<Restore>, Fault> {
        let of = question.of;
        let decided = self.request(&attempt.attempt_scope(), DECISION, Position(u64::MAX))?;
        let Some((Command::Step { step, .. }, _)) =
            decided.map(|position| self.remembered(position)).transpose()?.flatten()
        else {
            return Ok(None);
        };
        let (Step::Decide(Ballot::Votes(votes) | Ballot::Booked { votes, .. })
        | Step::Lost { votes: Some(votes) }) = step
        else {
            return Ok(None);
        };
        let vote = votes.into_iter().find(|vote| vote.set == of);
        let sums = vote.and_then(|vote| vote.said.ok());
        if let Some(Attempt { role: Role::Coordinator(asked), accounting_date, .. }) =
            self.about.attempts.get(attempt)
        {
            let legs: Vec<Leg> = asked.legs_of(of).cloned().collect();
            let reverses = asked.reverses.as_ref().map(|(original, _)| *original);
            let (accounting_date, label) = (*accounting_date, asked.label.clone());
            let part = Restore { legs, sums, accounting_date, reverses, label };
            return Ok((!part.legs.is_empty()).then_some(part));
        }
        let begun =
            self.remembered(attempt.position)?.filter(|(_, it)| it.incarnation == attempt.incarnation);
        let Some((begun, outcome)) = begun else {
            // Its legs are lost with its beginning.
            let (accounting_date, reverses, label) = (0, None, Default::default());
            let part = Restore { legs: Vec::new(), sums, accounting_date, reverses, label };
            return Ok(part.sums.is_some().then_some(part));
        };
        let settled = self.request(&attempt.attempt_scope(), RESULT, Position(u64::MAX))?;
        let settled = settled.map(|position| self.remembered(position)).transpose()?.flatten();
        let Some((Command::Step { step: Step::Settle { parts }, .. }, settled)) = settled else {
            return Ok(None);
        };
        let kept = |part: &twinset_ledger::attempt::Part| {
            part.set == of && part.position.index() <= question.surely_kept()
        };
        if parts.iter().any(kept) {
            return Ok(None);
        }
        let part = match begun {
            Command::Begin(begin) => Restore {
                legs: begin.legs_of(of).cloned().collect(),
                sums,
                accounting_date: begin.transaction.accounting_date.unwrap_or_else(|| outcome.day()),
                reverses: None,
                label: (&begin.transaction).into(),
            },
            Command::Reversal(reversal) => {
                let original = self.remembered(reversal.transaction.position)?;
                let (Some((Command::Begin(original), _)), Ok(Effect::Settled(told))) =
                    (original, &settled.result)
                else {
                    return Ok(None);
                };
                // It may be of some of the legs; an account says of which set they are.
                let Begin { transaction, sets } = original;
                let set_of = |posted: &&Posted| {
                    let at = transaction.legs.iter().position(|leg| leg.account == posted.account);
                    at.is_some_and(|at| sets[at] == of)
                };
                // What had to be restored before stands on no account that could be named.
                let is_whole = told.iter().all(|posted| !posted.account.starts_with('@'));
                let leg = |posted: &Posted| {
                    let amount = Decimal::from_i128_with_scale(posted.amount, posted.scale.into());
                    Leg::new(&posted.account, posted.side, amount)
                };
                Restore {
                    legs: told.iter().filter(|_| is_whole).filter(set_of).map(leg).collect(),
                    sums,
                    accounting_date: outcome.day(),
                    reverses: Some(reversal.transaction),
                    label: (&reversal).into(),
                }
            }
            _ => return Ok(None),
        };
        let says_something = !part.legs.is_empty() || part.sums.is_some();
        Ok(says_something.then_some(part))
    }
}

/// Whether it may have come of something between sets.
fn is_between_sets(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Prepared(_)
            | Effect::Aborted
            | Effect::Posted(_)
            | Effect::Buffered { .. }
            | Effect::Suspended { .. }
    )
}

/// What stands in a log has been counted before.
fn counted(added: Option<()>) {
    added.expect("a set's accounts have room for all that it has booked");
}

#[cfg(test)]
mod tests;
