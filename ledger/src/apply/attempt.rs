//! Transactions over several sets: two-phase commit, each step in a log. The coordinator begins, decides and settles; each
//! other set prepares, and commits or aborts. Every step counts once, whoever repeats it and whenever: what it did is
//! remembered for ever under the attempt's own scope, so that a late message meets an answer and never a second booking.
//!
//! A request whose attempt was given up, because a set did not answer, may be tried again: the next attempt is remembered
//! under the name of the one before it. Any other answer is the last word.
//!
//! Invariant: what is set aside is booked or given back exactly once, and only as the coordinator's log decided.

use std::collections::BTreeSet;

use super::booking::Terms;
use super::buffer::pays_unasked;
use super::chart::check_no_group;
use super::idempotency::Recalled;
use super::reserve::{book_set_aside, clearing_account, give_back, set_aside};
use super::restore::is_recovery_account;
use super::transaction::{check_balance, plan, sums};
use super::{ApplyError, Decision, Stop, Turn, decided};
use crate::amount::to_minor;
use crate::attempt::{
    Attempt, Ballot, Begin, Coordination, DECISION, END, Part, Planned, RESULT, Role, Step, Sum, VOTE, Vote,
    scope_across,
};
use crate::canary::{self, Canary};
use crate::command::{Command, Leg, Transaction};
use crate::id::{Position, TransactionId};
use crate::outcome::{Effect, Outcome, Posted};
use crate::rejection::Rejection;
use crate::state::State;

/// What a request that was asked before meets.
pub(super) enum Met {
    /// The last word on it, or that it is under way.
    Answer(Outcome),
    /// Its last attempt was given up: the next one is remembered under this scope.
    Free(String),
}

impl<S: State> Turn<'_, S> {
    /// Begins a transaction over several sets; `command` is the same, as it is compared and remembered.
    pub(super) fn begin(
        &mut self,
        begin: &Begin,
        command: &Command,
    ) -> Result<Outcome, ApplyError<S::Fault>> {
        let transaction = &begin.transaction;
        if begin.coordinator() != self.state.set() {
            return Ok(self.outcome(Err(out_of_place(self.here()))));
        }
        let on_group = check_no_group(self.state, transaction).err();
        let request_id = &transaction.request_id;
        let mut scope = scope_across(transaction).to_owned();
        let recalled = self.recall(&[&scope], &[], request_id, command)?;
        if let Recalled::Known(outcome) = recalled
            && (outcome.replayed || on_group.is_none())
        {
            match self.newest(outcome, request_id)? {
                Met::Answer(outcome)
                    if canary::on(Canary::RetryBeginsAnew)
                        && matches!(outcome.result, Ok(Effect::Settled(_))) =>
                {
                    scope = named(self, &outcome).attempt_scope();
                }
                Met::Answer(outcome) => return Ok(outcome),
                Met::Free(next) => scope = next,
            }
        }
        if let Some(on_group) = on_group {
            return Ok(self.outcome(Err(on_group)));
        }
        if let Some(out_of_place) =
            self.confirms_out_of_place(transaction).or_else(|| self.sweeps_out_of_place(transaction))
        {
            return Ok(self.outcome(Err(out_of_place)));
        }
        let decision = match pays_unasked(self.state, begin) {
            true => decided(self.pay(begin))?,
            false => decided(self.ask(begin))?,
        };
        self.remember(&scope, request_id)?;
        self.ran(transaction, &decision);
        Ok(self.outcome(decision))
    }

    /// Opens the attempt of a transaction whose other sets are to be asked.
    fn ask(&mut self, Begin { transaction, sets }: &Begin) -> Result<Effect, Stop<S::Fault>> {
        let coordination = Coordination {
            legs: transaction.legs.clone(),
            sets: sets.clone(),
            reverses: None,
            captures: None,
            decided: None,
            label: transaction.into(),
        };
        let day = transaction.accounting_date.unwrap_or_else(|| self.day());
        self.open_attempt(coordination, Some(transaction), day)
    }

    /// Sets aside the coordinator's own legs, and opens the attempt. `asked`: the transaction, unless it is a reversal.
    pub(super) fn open_attempt(
        &mut self,
        mut coordination: Coordination,
        asked: Option<&Transaction>,
        accounting_date: i32,
    ) -> Result<Effect, Stop<S::Fault>> {
        let own: Vec<Leg> = coordination.legs_of(self.state.set()).cloned().collect();
        let legs = plan(self.state, &own)?;
        let capturing = asked.map(|asked| self.capturing(asked, &legs)).transpose()?.flatten();
        let terms = Terms { asked: &own, ..self.terms_of(capturing) };
        let (reserved, _) = set_aside(self.state, self.position, &legs, terms)?;
        if let Some(capturing) = capturing {
            self.capture_begins(capturing);
        }
        coordination.captures = capturing;
        let role = Role::Coordinator(coordination);
        let attempt = Attempt { reserved, accounting_date, opened_ns: self.time_unix_ns, role };
        let id = self.here();
        self.state.attempts_mut().open(id, attempt);
        Ok(Effect::Begun)
    }

    /// The day of this command: the accounting date of what names none.
    pub(super) fn day(&self) -> i32 {
        self.outcome(Ok(Effect::Begun)).day()
    }

    /// The name of an attempt, or a transaction, that begins with this command.
    pub(super) fn here(&self) -> TransactionId {
        TransactionId {
            set: self.state.set(),
            incarnation: self.entry.incarnation(),
            position: self.position,
        }
    }

    /// Follows the attempts of a request to the newest one.
    pub(super) fn newest(&self, first: Outcome, request_id: &str) -> Result<Met, ApplyError<S::Fault>> {
        Ok(match newest(self, first, request_id)? {
            (_, Some(scope)) => Met::Free(scope),
            (outcome, None) => Met::Answer(outcome),
        })
    }

    /// Takes an attempt a step on.
    pub(super) fn step(
        &mut self,
        attempt: TransactionId,
        step: &Step,
    ) -> Result<Outcome, ApplyError<S::Fault>> {
        // What has ended is not prepared any more, however late the request for it comes.
        let keys: &[&str] = if step.key() == VOTE { &[END, VOTE] } else { &[step.key()] };
        let scope = attempt.attempt_scope_in_place();
        for key in keys {
            if let Some(outcome) = first(self, &scope, key)? {
                return Ok(Outcome { replayed: true, ..outcome });
            }
        }
        let decision = match step {
            // What the label says stands in the log, where readers find it.
            Step::Prepare { legs, accounting_date, reverses, label: _ } => {
                self.prepare(attempt, legs, *accounting_date, *reverses)
            }
            Step::Decide(ballot) => self.decide(attempt, ballot),
            Step::Commit => self.commit(attempt),
            Step::Abort => self.abort(attempt),
            Step::Settle { parts } => self.settle(attempt, parts)?,
            Step::Lost { votes } => self.lost(attempt, votes.as_deref())?,
            Step::Restore(part) => self.restore(attempt, part),
        };
        // A step that came out of its order may come again in it.
        if !matches!(decision, Err(Rejection::StepOutOfPlace { .. })) {
            self.remember(&scope, step.key())?;
        }
        Ok(self.outcome(decision))
    }

    fn prepare(
        &mut self,
        id: TransactionId,
        legs: &[Leg],
        accounting_date: i32,
        reverses: Option<TransactionId>,
    ) -> Decision {
        if id.set == self.state.set() {
            return Err(out_of_place(id));
        }
        let asked = legs;
        let legs = plan(self.state, asked)?;
        let terms = Terms { asked, ..Terms::default() };
        let (reserved, sums) = set_aside(self.state, self.position, &legs, terms)?;
        let role = Role::Participant { reverses };
        let attempt = Attempt { reserved, accounting_date, opened_ns: self.time_unix_ns, role };
        self.state.attempts_mut().open(id, attempt);
        Ok(Effect::Prepared(sums))
    }

    fn decide(&mut self, id: TransactionId, ballot: &Ballot) -> Decision {
        let (coordination, reserved) = self.coordinated(id)?;
        if coordination.decided.is_some() {
            return Err(out_of_place(id));
        }
        let verdict = match ballot {
            Ballot::GivenUp { set } => Err(Rejection::SetUnavailable { set: *set }),
            // Only another incarnation has not decided itself what a set has booked.
            Ballot::Booked { set, .. } => {
                let others = coordination.other_sets(self.state.set());
                if id.incarnation >= self.entry.incarnation() || !others.contains(set) {
                    return Err(out_of_place(id));
                }
                Ok(())
            }
            Ballot::Votes(votes) => {
                let others = coordination.other_sets(self.state.set());
                let voted: BTreeSet<u32> = votes.iter().map(|vote| vote.set).collect();
                let refusal = votes.iter().find_map(|vote| vote.said.as_ref().err());
                let enough = if refusal.is_some() { voted.is_subset(&others) } else { voted == others };
                if !enough || voted.len() != votes.len() {
                    return Err(out_of_place(id));
                }
                match refusal {
                    Some(refusal) => Err(refusal.clone()),
                    None if canary::on(Canary::AnythingBalances) => Ok(()),
                    None => self.check_balance_across(coordination, reserved, votes),
                }
            }
        };
        let (reverses, captures) = (coordination.reverses.clone(), coordination.captures);
        let reserved = reserved.to_vec();
        if let Err(rejection) = verdict {
            if !canary::on(Canary::GivesNothingBack) {
                give_back(self.state, &reserved);
            }
            if let Some(capturing) = captures {
                self.capture_failed(capturing);
            }
            self.state.attempts_mut().close(id);
            return Err(rejection);
        }
        if let Some(capturing) = captures {
            self.capture_decided(capturing, id);
        }
        let original = reverses.as_ref().map(|(original, _)| *original);
        let posted = self.book_part(id, original, &reserved);
        let attempt = self.state.attempts_mut().get_mut(id).expect("it is open");
        attempt.reserved.clear();
        if let Role::Coordinator(coordination) = &mut attempt.role {
            coordination.decided = Some(self.position);
        }
        if let Some((original, taken)) = reverses {
            self.state.add_reversal(original.position, id, self.position, taken);
        }
        Ok(Effect::Posted(posted))
    }

    /// The legs of all sets together balance, per currency and in the same minor units.
    fn check_balance_across(
        &self,
        coordination: &Coordination,
        reserved: &[Planned],
        votes: &[Vote],
    ) -> Result<(), Rejection> {
        let own = coordination.legs_of(self.state.set()).count();
        let own = sums(self.state, &reserved[..own])?;
        let said = votes.iter().flat_map(|vote| vote.said.as_ref().expect("nobody refused"));
        check_balance_across(self.state.set(), own.iter().chain(said))
    }

    fn commit(&mut self, id: TransactionId) -> Decision {
        let Some(&Attempt { role: Role::Participant { reverses }, .. }) = self.state.attempts().get(id)
        else {
            return Err(out_of_place(id));
        };
        let attempt = self.state.attempts_mut().close(id).expect("it is open");
        Ok(Effect::Posted(self.book_part(id, reverses, &attempt.reserved)))
    }

    /// Books what was set aside, and does what its legs mean for restricted funds.
    fn book_part(
        &mut self,
        id: TransactionId,
        reverses: Option<TransactionId>,
        reserved: &[Planned],
    ) -> Vec<Posted> {
        let posted = book_set_aside(self.state, self.position, reserved);
        match reverses {
            Some(original) => self.unrestrict(original, reserved),
            None => self.restrict(id, reserved),
        }
        posted
    }

    /// Also where nothing was set aside: a request to prepare that comes later finds that it has ended.
    fn abort(&mut self, id: TransactionId) -> Decision {
        if id.set == self.state.set() {
            return Err(out_of_place(id));
        }
        if let Some(attempt) = self.state.attempts_mut().close(id) {
            give_back(self.state, &attempt.reserved);
        }
        Ok(Effect::Aborted)
    }

    fn settle(&mut self, id: TransactionId, parts: &[Part]) -> Result<Decision, ApplyError<S::Fault>> {
        let Ok((coordination, _)) = self.coordinated(id) else { return Ok(Err(out_of_place(id))) };
        let Some(decided) = coordination.decided else { return Ok(Err(out_of_place(id))) };
        let outcome = self.became(decided)?.expect("what was decided is remembered");
        let Ok(Effect::Posted(own)) = outcome.result else {
            unreachable!("it was decided that it is booked")
        };
        let own = Part { set: self.state.set(), position: decided, legs: own };
        let Some(legs) = told(coordination, &own, parts) else { return Ok(Err(out_of_place(id))) };
        self.state.attempts_mut().close(id);
        Ok(Ok(Effect::Settled(legs)))
    }

    /// What this set coordinates under that name, and what is set aside for it.
    fn coordinated(&self, id: TransactionId) -> Result<(&Coordination, &[Planned]), Rejection> {
        match self.state.attempts().get(id) {
            Some(Attempt { role: Role::Coordinator(coordination), reserved, .. }) => {
                Ok((coordination, reserved))
            }
            _ => Err(out_of_place(id)),
        }
    }

    /// Whether this set has booked its part of an attempt that it coordinates and that is not settled yet.
    pub(super) fn is_decided(&self, id: TransactionId) -> bool {
        self.coordinated(id).is_ok_and(|(coordination, _)| coordination.decided.is_some())
    }
}

/// Whether the sums of all sets' legs balance, per currency and in the same minor units: those of the coordinator, and then of
/// the others.
pub fn check_balance_across<'a>(
    coordinator: u32,
    sums: impl IntoIterator<Item = &'a Sum>,
) -> Result<(), Rejection> {
    // In the order of their codes.
    let mut all: Vec<(&Sum, i128, i128)> = Vec::with_capacity(1);
    for sum in sums {
        match all.binary_search_by(|(first, ..)| first.currency.cmp(&sum.currency)) {
            Err(at) => all.insert(at, (sum, sum.debits, sum.credits)),
            Ok(at) if all[at].0.scale != sum.scale => {
                return Err(Rejection::CurrencyConflict { currency: sum.currency.clone() });
            }
            Ok(at) => {
                let (_, debits, credits) = &mut all[at];
                let more = debits.checked_add(sum.debits).zip(credits.checked_add(sum.credits));
                let Some(more) = more else {
                    let account = clearing_account(coordinator, &sum.currency);
                    return Err(Rejection::AmountOverflow { account });
                };
                (*debits, *credits) = more;
            }
        }
    }
    let uneven = all.into_iter().filter(|(_, debits, credits)| debits != credits);
    check_balance(uneven.map(|(of, debits, credits)| Sum { debits, credits, ..of.clone() }))
}

/// Where decisions are looked up: by a command in its turn, or by a reader of the state.
pub(super) trait Memory {
    type Error;
    fn set(&self) -> u32;
    fn decided_at(&self, scope: &str, request_id: &str) -> Result<Option<Position>, Self::Error>;
    fn became(&self, position: Position) -> Result<Option<Outcome>, Self::Error>;
}

impl<S: State> Memory for Turn<'_, S> {
    type Error = ApplyError<S::Fault>;

    fn set(&self) -> u32 {
        self.state.set()
    }

    fn decided_at(&self, scope: &str, request_id: &str) -> Result<Option<Position>, Self::Error> {
        Turn::decided_at(self, scope, request_id)
    }

    fn became(&self, position: Position) -> Result<Option<Outcome>, Self::Error> {
        Turn::became(self, position)
    }
}

/// The state between two entries.
struct Reader<'a, S>(&'a S);

impl<S: State> Memory for Reader<'_, S> {
    type Error = S::Fault;

    fn set(&self) -> u32 {
        self.0.set()
    }

    fn decided_at(&self, scope: &str, request_id: &str) -> Result<Option<Position>, Self::Error> {
        self.0.request(scope, request_id, Position(u64::MAX))
    }

    fn became(&self, position: Position) -> Result<Option<Outcome>, Self::Error> {
        self.0.became(position)
    }
}

/// What has come of a command by now: of one that began an attempt, what the client is told, once that is known. Of any other
/// the outcome itself. For who reads the state between entries.
pub fn came_of<S: State>(state: &S, outcome: Outcome) -> Result<Outcome, S::Fault> {
    last_word(&Reader(state), outcome)
}

/// Where the newest attempt of a request was begun that was first decided at `first`; the same place, unless that was an
/// attempt, and was given up. For who reads the state between entries.
pub fn newest_attempt<S: State>(state: &S, first: Position, request_id: &str) -> Result<Position, S::Fault> {
    let reader = Reader(state);
    let Some(outcome) = reader.became(first)? else { return Ok(first) };
    Ok(newest(&reader, last_word(&reader, outcome)?, request_id)?.0.position)
}

/// What came of the newest attempt of a request; if it was given up, with the scope that the next one is remembered under.
fn newest<M: Memory>(
    memory: &M,
    first: Outcome,
    request_id: &str,
) -> Result<(Outcome, Option<String>), M::Error> {
    let mut outcome = first;
    while matches!(outcome.result, Err(Rejection::SetUnavailable { .. })) {
        let scope = named(memory, &outcome).attempt_scope();
        let Some(position) = memory.decided_at(&scope, request_id)? else {
            return Ok((outcome, Some(scope)));
        };
        let next = memory.became(position)?.expect("what a request id points at is remembered");
        outcome = Outcome { replayed: true, ..last_word(memory, next)? };
    }
    Ok((outcome, None))
}

/// The last word on a command that was decided at once, or has begun an attempt.
pub(super) fn last_word<M: Memory>(memory: &M, outcome: Outcome) -> Result<Outcome, M::Error> {
    if outcome.result != Ok(Effect::Begun) {
        return Ok(outcome);
    }
    let scope = named(memory, &outcome).attempt_scope_in_place();
    for key in [RESULT, DECISION] {
        if let Some(step) = first(memory, &scope, key)?
            && !matches!(step.result, Ok(Effect::Posted(_)))
        {
            return Ok(Outcome { result: step.result, ..outcome });
        }
    }
    Ok(outcome)
}

fn named<M: Memory>(memory: &M, outcome: &Outcome) -> TransactionId {
    let Outcome { position, incarnation, .. } = *outcome;
    TransactionId { set: memory.set(), incarnation, position }
}

/// What a step of the attempt of that scope came to when it was first taken in.
fn first<M: Memory>(memory: &M, scope: &str, key: &str) -> Result<Option<Outcome>, M::Error> {
    let Some(position) = memory.decided_at(scope, key)? else { return Ok(None) };
    let outcome = memory.became(position)?.expect("what a step points at is remembered");
    Ok(Some(outcome))
}

fn out_of_place(attempt: TransactionId) -> Rejection {
    Rejection::StepOutOfPlace { attempt }
}

/// What the client is told, from what the coordinator itself and each other set has booked: the legs in the client's order.
/// None if the parts are not what was asked for.
pub fn told(coordination: &Coordination, own: &Part, parts: &[Part]) -> Option<Vec<Posted>> {
    let part_of = |set: u32| [own].into_iter().chain(parts).find(|part| part.set == set);
    // As many parts as other sets, and one of each. The coordinator need not have a leg itself.
    let others = coordination.other_sets(own.set);
    if others.len() != parts.len() || others.iter().any(|set| part_of(*set).is_none()) {
        return None;
    }
    let legs = coordination.legs.iter().zip(&coordination.sets).enumerate();
    legs.map(|(at, (leg, set))| {
        let nth = coordination.sets[..at].iter().filter(|before| *before == set).count();
        let posted = part_of(*set)?.legs.get(nth)?;
        // What its set had lost may have found another account.
        let same = (posted.account == leg.account || is_recovery_account(&posted.account))
            && posted.side == leg.side
            && to_minor(leg.amount, posted.scale) == Ok(posted.amount);
        same.then(|| posted.clone())
    })
    .collect()
}
