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
use twinset_ledger::account::Side;
use twinset_ledger::apply::CLEARING_SUBJECT;
use twinset_ledger::attempt::{
    Attempt, Ballot, Begin, DECISION, END, RESULT, Restore, Role, Step, Sum, VOTE, Vote,
};
use twinset_ledger::buffer::{BufferStep, ParcelName, StreamName};
use twinset_ledger::codec::decode_outcome;
use twinset_ledger::command::{Command, Leg};
use twinset_ledger::id::{Position, TransactionId};
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

/// Debits less credits, by currency and scale.
type Net = BTreeMap<(String, u8), i128>;

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
                    add(found.given.entry(incarnation).or_default(), side, one.amount, unit);
                    if one.number > acknowledged {
                        continue;
                    }
                    add(found.acknowledged.entry(incarnation).or_default(), side, one.amount, unit);
                    if one.number > taken {
                        let name = ParcelName { position: at, leg: one.leg };
                        found.again.entry(incarnation).or_default().push(name);
                    }
                }
            }
            (Command::BufferStep { by, step: BufferStep::Credit(credit) }, Ok(_)) if by.set == of => {
                let net = found.taken.entry(by.incarnation).or_default();
                add(net, credit.side, credit.amount, (&credit.currency, credit.scale));
            }
            (Command::BufferStep { by, step: BufferStep::Lost { sums, .. } }, Ok(_)) if by.set == of => {
                add_sums(found.taken.entry(by.incarnation).or_default(), sums, 1);
            }
            (Command::BufferStep { by, step: BufferStep::Lost { to, sums, .. } }, Ok(_)) if *to == of => {
                add_sums(found.acknowledged.entry(by.incarnation).or_default(), sums, -1);
                add_sums(found.given.entry(by.incarnation).or_default(), sums, -1);
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
            let sums = sums_of(&taken.remove(&incarnation).unwrap_or_default());
            all.push(Command::BufferStep { by, step: BufferStep::Lost { to: own, through, sums } });
        }
        let (acknowledged, given, mut again) = (found.acknowledged, found.given, found.again);
        for (name, stream) in self.buffer().streams().filter(|(name, _)| name.to == of) {
            let incarnation = name.incarnation;
            let by = TransactionId { set: own, incarnation, position: ACKNOWLEDGED };
            let ends = [(ACKNOWLEDGED, stream.acknowledged(), &acknowledged), (GIVEN, stream.last(), &given)];
            for (position, through, net) in ends {
                let sums = net.get(&incarnation).map_or_else(Vec::new, sums_of);
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
        let mut net = Net::new();
        for leg in booked {
            let Some(account) = self.account_by_id(&leg.account) else { continue };
            if account.subject == CLEARING_SUBJECT {
                add(&mut net, leg.side.opposite(), leg.amount, (&account.currency, leg.scale));
            }
        }
        sums_of(&net)
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

fn add(net: &mut Net, side: Side, amount: i128, (currency, scale): (&str, u8)) {
    let signed = if side == Side::Debit { amount } else { -amount };
    *net.entry((currency.to_owned(), scale)).or_default() += signed;
}

fn add_sums(net: &mut Net, sums: &[Sum], sign: i128) {
    for Sum { currency, scale, debits, credits } in sums {
        *net.entry((currency.clone(), *scale)).or_default() += sign * (debits - credits);
    }
}

/// What has not come to nothing.
fn sums_of(net: &Net) -> Vec<Sum> {
    let open = net.iter().filter(|(_, net)| **net != 0);
    let sum = |((currency, scale), net): (&(String, u8), &i128)| Sum {
        currency: currency.clone(),
        scale: *scale,
        debits: (*net).max(0),
        credits: (-*net).max(0),
    };
    open.map(sum).collect()
}

#[cfg(test)]
mod tests {
    use twinset_ledger::buffer::Credit;
    use twinset_ledger::label::Label;

    use super::super::events::EventPlace;
    use super::super::reads::Verdict;
    use super::super::sample::{Fed, announce, decide_and_settle, open, pay, pay_far};
    use super::super::statement::{StatementFilter, StatementQuery};
    use super::*;

    const OWN: u32 = 1;
    const OTHER: u32 = 2;
    /// The part that the other set says it has booked of what is settled here.
    const THERE: u64 = 9;

    fn of_the_other(index: u64) -> TransactionId {
        TransactionId { set: OTHER, incarnation: 1, position: Position::new(index, 0) }
    }

    fn of_own(index: u64, offset: u16) -> TransactionId {
        TransactionId { set: OWN, incarnation: 1, position: Position::new(index, offset) }
    }

    fn step(attempt: TransactionId, step: Step) -> Command {
        Command::Step { attempt, step }
    }

    fn prepare(attempt: TransactionId, cents: i64) -> Command {
        let legs = vec![Leg::new("a", Side::Credit, Decimal::new(cents, 2))];
        let label = Label::default();
        step(attempt, Step::Prepare { legs, accounting_date: 20_000, reverses: None, label })
    }

    fn euros(debits: i128, credits: i128) -> Sum {
        Sum { currency: "EUR".to_owned(), scale: 2, debits, credits }
    }

    /// All statements, asked for from one place after the other.
    fn told(fed: &Fed, question: &Question) -> Vec<Command> {
        let (mut all, mut from) = (Vec::new(), Some(Position(0)));
        while let Some(at) = from {
            let part = fed.replica.recollect(question, at).unwrap().value;
            all.extend(part.statements);
            from = part.next;
        }
        all
    }

    fn asks(ends: &[u64]) -> Question {
        Question { of: OTHER, ends: ends.to_vec(), ..Question::default() }
    }

    #[test]
    fn of_attempts_that_the_other_set_has_lost_it_is_told_what_became_of_them() {
        let fed = Fed::new();
        fed.feed(&[open("a")]);
        let (kept, asked, booked) = (of_the_other(3), of_the_other(20), of_the_other(21));
        fed.feed(&[prepare(kept, 1), prepare(asked, 2), prepare(booked, 3)]);
        fed.feed(&[step(kept, Step::Commit), step(booked, Step::Commit)]);
        let vote = Vote { set: OWN, said: Ok(vec![euros(0, 3)]) };
        let of_booked = [
            step(booked, Step::Lost { votes: Some(vec![vote.clone()]) }),
            step(booked, Step::Decide(Ballot::Booked { set: OWN, votes: vec![vote] })),
        ];
        let prepared = Vote { set: OWN, said: Ok(vec![euros(0, 2)]) };
        let mut expected = vec![
            step(asked, Step::Lost { votes: None }),
            step(asked, Step::Decide(Ballot::Votes(vec![prepared]))),
        ];
        expected.extend(of_booked.clone());
        assert_eq!(told(&fed, &asks(&[10])), expected);
        // Nothing is lost: it is told of what it asks about.
        assert_eq!(told(&fed, &asks(&[])), []);
        let asking = Question { asking: [booked].into(), ..asks(&[]) };
        assert_eq!(told(&fed, &asking), of_booked);
        assert_eq!(fed.replica.stands(asked).unwrap(), (None, true), "it is prepared");
        assert_eq!(fed.replica.stands(booked).unwrap(), (None, true));
        assert_eq!(fed.replica.stands(of_the_other(99)).unwrap(), (None, false));
    }

    #[test]
    fn its_part_of_what_is_decided_here_is_told_unless_it_surely_has_it() {
        let fed = Fed::new();
        fed.feed(&[open("a")]);
        let (open, settled) = (fed.feed(&[pay_far("one", "a", 2)]), fed.feed(&[pay_far("two", "a", 3)]));
        fed.feed(&[pay_far("asked", "a", 4)]);
        fed.feed(&decide_and_settle(open, Side::Credit, 2)[..1]);
        fed.feed(&decide_and_settle(settled, Side::Credit, 3));
        let part = |index: u64, cents: i64| {
            let Command::Begin(begin) = pay_far("any", "a", cents) else { unreachable!() };
            let legs = begin.legs_of(OTHER).cloned().collect();
            let (accounting_date, label) = (19_675, Label::default());
            let sums = Some(vec![euros(0, cents.into())]);
            let restore = Restore { legs, sums, accounting_date, reverses: None, label };
            step(of_own(index, 0), Step::Restore(restore))
        };
        assert_eq!(told(&fed, &asks(&[THERE - 1])), [part(open, 2), part(settled, 3)]);
        assert_eq!(told(&fed, &asks(&[THERE])), [part(open, 2)], "what is settled stands before its end");
        assert_eq!(fed.replica.stands(of_own(open, 0)).unwrap(), (Some(true), true));
        assert_eq!(fed.replica.stands(of_own(settled, 0)).unwrap(), (Some(true), false));
        let question = fed.replica.question_to(OTHER, vec![4]);
        let asking: Vec<TransactionId> = question.asking.into_iter().collect();
        assert_eq!(asking, [of_own(settled + 1, 0)], "what is decided is not asked about");
    }

    #[test]
    fn of_streams_it_is_told_how_far_they_reach_and_what_was_booked() {
        let fed = Fed::new();
        fed.feed(&[open("a"), announce("far")]);
        let sent = fed.feed(&[pay_far("p-1", "a", 3), pay_far("p-2", "a", 4), pay_far("p-3", "a", 5)]);
        let acknowledge = BufferStep::Acknowledge { to: OTHER, through: 2 };
        fed.feed(&[Command::BufferStep { by: of_own(sent, 1), step: acknowledge }]);
        let credit = |number, amount| {
            let credit = Credit {
                number,
                leg: 1,
                account: "a".to_owned(),
                side: Side::Credit,
                amount,
                currency: "EUR".to_owned(),
                scale: 2,
                accounting_date: 20_000,
                label: Label::default(),
            };
            Command::BufferStep { by: of_the_other(30 + number), step: BufferStep::Credit(credit) }
        };
        // The second comes twice, and counts once.
        fed.feed(&[credit(1, 8), credit(2, 9), credit(2, 9)]);
        let stream = |by: TransactionId, to, through, sums| Command::BufferStep {
            by,
            step: BufferStep::Lost { to, through, sums },
        };
        let name = |set, position| TransactionId { set, incarnation: 1, position };
        let parcel = |offset| ParcelName { position: Position::new(sent, offset), leg: 1 };
        let again = |parcels: &[ParcelName]| Command::BufferStep {
            by: name(OWN, ACKNOWLEDGED),
            step: BufferStep::SendAgain { to: OTHER, parcels: parcels.to_vec() },
        };
        let reaches = [
            stream(name(OTHER, ACKNOWLEDGED), OWN, 2, vec![euros(0, 17)]),
            stream(name(OWN, ACKNOWLEDGED), OTHER, 2, vec![euros(0, 7)]),
            stream(name(OWN, GIVEN), OTHER, 3, vec![euros(0, 12)]),
        ];
        for (taken, lost) in [(0, vec![parcel(0), parcel(1)]), (1, vec![parcel(1)]), (2, vec![])] {
            let question = Question { taken: BTreeMap::from([(1, taken)]), ..asks(&[]) };
            let mut expected = reaches.to_vec();
            expected.extend((!lost.is_empty()).then(|| again(&lost)));
            assert_eq!(told(&fed, &question), expected, "it has taken in {taken}");
        }
        assert_eq!(fed.replica.question_to(OTHER, Vec::new()).taken, BTreeMap::from([(1, 2)]));
        assert_eq!(
            told(&fed, &Question { of: 7, ..Question::default() }),
            [],
            "it has nothing to do with others"
        );
    }

    #[test]
    fn what_is_booked_for_a_lost_attempt_has_an_event_and_a_line_and_says_nothing_of_others() {
        let fed = Fed::new();
        fed.feed(&[open("a"), open("b")]);
        let vote = |credits| vec![Vote { set: OTHER, said: Ok(vec![euros(0, credits)]) }];
        let lost = |index, votes| step(of_own(index, 0), Step::Lost { votes: Some(votes) });
        // The one would stand beyond the log, and something else stands where the other one did.
        let beyond = fed.feed_in(2, &[lost(1_000, vote(7))]);
        let other = fed.feed_in(2, &[pay("of-another", "a", "b", 1)]);
        let replaced = fed.feed_in(2, &[lost(other, vote(5))]);
        for index in [beyond, replaced] {
            let page = fed.replica.events(EventPlace::default(), 100, u64::MAX).unwrap().value.unwrap();
            let event = page.events.iter().find(|event| event.id.position.index() == index).unwrap();
            assert_eq!((&event.begun, &event.hold_changes[..]), (&None, &[][..]));
        }
        let read = |id: TransactionId| fed.replica.verdict(id).unwrap().value;
        assert_eq!(read(of_own(1_000, 0)), Some(Verdict::Booked));
        assert_eq!(read(of_own(other, 0)), Some(Verdict::Booked));
        assert_eq!(read(of_own(2_000, 0)), None);
        let (filter, at) = (StatementFilter::default(), None);
        let query = StatementQuery { times: (None, None), filter, newest_first: false, at, limit: 10 };
        let lines = fed.replica.statement("@recovery-1:EUR", &query).unwrap();
        let lines = lines.value.unwrap().lines;
        let said: Vec<(Option<TransactionId>, &str)> =
            lines.iter().map(|line| (line.part_of, line.request_id.as_str())).collect();
        assert_eq!(said, [(Some(of_own(1_000, 0)), ""), (Some(of_own(other, 0)), "")]);
    }
}
