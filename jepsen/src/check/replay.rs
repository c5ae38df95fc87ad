//! The replay: every set's log, as the witness has it, is put through the independent model; at its position each write must
//! have been answered what the model says, and each read of an account or a request id must show the model's state. Keeps
//! what later checks need: which transactions were booked, with what legs, and what reverses what.

use std::collections::{BTreeMap, HashMap};

use twinset_ledger::{Position, Side};

use super::Found as Findings;
use super::model::{self, Model};
use super::witness::{Body, Call, CallRef, Decided, Witness};
use crate::history::{Answer, AsOf, Ask, Figures, Found, History, Level, Name};

/// A transaction as the model booked it.
#[derive(Clone, Debug)]
pub struct Booked {
    /// Where.
    pub position: Position,
    /// Number in the witness's log of the set.
    pub decided: u32,
    /// The call that asked for it.
    pub call: CallRef,
    /// The account that its request id belongs to.
    pub scope: u32,
    /// Account and cents, debits above zero.
    pub legs: Vec<(u32, i64)>,
    /// What it reverses.
    pub reverses: Option<Position>,
}

/// What the replay gave.
#[derive(Default)]
pub struct Replay {
    /// Answers to writes against the model.
    pub answers: Findings,
    /// Requests that were decided twice, or for the first time twice.
    pub twice: Findings,
    /// Answers that differ from the model about a floor.
    pub limits: Findings,
    /// Linearizable reads of accounts and request ids.
    pub reads: Findings,
    /// Stale ones.
    pub stale: Findings,
    /// Rejections that were found under a request id.
    pub looked_up: Findings,
    /// By set, in the order of positions.
    pub booked: BTreeMap<u32, Vec<Booked>>,
    /// Reversals by set and what they reverse, in their order.
    pub reversed_by: HashMap<(u32, Position), Vec<Position>>,
}

/// A read that the model can answer.
struct Read<'h> {
    as_of: AsOf,
    op: usize,
    level: Level,
    ask: &'h Ask,
    answer: &'h Answer,
}

impl Replay {
    /// Replays all sets.
    pub fn of(witness: &Witness<'_>) -> Self {
        let mut replay = Replay::default();
        let numbers: HashMap<&str, u32> = witness
            .history
            .accounts
            .iter()
            .enumerate()
            .map(|(number, id)| (id.as_str(), number as u32))
            .collect();
        let mut reads = reads_by_set(witness.history);
        for (set, log) in &witness.sets {
            let reads = reads.remove(set).unwrap_or_default();
            let run =
                Run { witness, numbers: &numbers, set: *set, model: Model::new(*set), replay: &mut replay };
            run.through(log, &reads);
        }
        for read in reads.into_values().flatten() {
            // Of a set that decided nothing: only emptiness can be read there.
            if !matches!(read.answer, Answer::Absent { .. }) {
                replay.reads.wrong(|| {
                    format!("operation {} reads {:?} of a set without commands", read.op, read.answer)
                });
            }
        }
        replay
    }

    /// The transaction booked at a position.
    pub fn booked_at(&self, set: u32, position: Position) -> Option<&Booked> {
        let booked = self.booked.get(&set)?;
        booked.binary_search_by_key(&position, |one| one.position).ok().map(|at| &booked[at])
    }
}

fn reads_by_set(history: &History) -> BTreeMap<u32, Vec<Read<'_>>> {
    let mut reads: BTreeMap<u32, Vec<Read<'_>>> = BTreeMap::new();
    for (number, op) in history.ops.iter().enumerate() {
        let (Some(level), Some(as_of)) = (op.ask.read_level(), op.answer.as_of()) else { continue };
        if matches!(op.answer, Answer::Account { .. } | Answer::Absent { .. }) {
            let read = Read { as_of, op: number, level, ask: &op.ask, answer: &op.answer };
            reads.entry(as_of.place.set).or_default().push(read);
        }
    }
    for of_set in reads.values_mut() {
        of_set.sort_by_key(|read| read.as_of.place);
    }
    reads
}

/// One set on its way through the model.
struct Run<'a, 'h> {
    witness: &'a Witness<'h>,
    numbers: &'a HashMap<&'h str, u32>,
    set: u32,
    model: Model,
    replay: &'a mut Replay,
}

impl Run<'_, '_> {
    fn through(mut self, log: &[Decided], reads: &[Read<'_>]) {
        let mut reads = reads.iter().peekable();
        for (number, decided) in log.iter().enumerate() {
            while let Some(read) = reads.next_if(|read| read.as_of.place < decided.place) {
                self.read(read);
            }
            self.decide(number as u32, decided);
        }
        for read in reads {
            self.read(read);
        }
        self.look_up(log);
    }

    fn decide(&mut self, number: u32, decided: &Decided) {
        let call = self.witness.call(decided.call);
        let command = call.body.command(self.witness.history);
        let verdict = in_cents(&self.model.apply(decided.position, &command), &self.model);
        if verdict.replayed {
            self.replay.twice.wrong(|| {
                format!(
                    "{:?} is decided at {:?} and again at {:?}",
                    call.body, verdict.position, decided.place
                )
            });
        }
        self.answers(decided, &call, &verdict);
        self.spellings(decided, &call);
        let model::Answer::Booked(legs) = &verdict.answer else { return };
        if verdict.replayed {
            return;
        }
        let signed = |(id, side, cents, ..): &model::Booked| {
            let cents = i64::try_from(*cents).expect("what a client asked for is 64 bits");
            (self.numbers[id.as_str()], if *side == Side::Debit { cents } else { -cents })
        };
        let scope = self.model.scope(decided.position, &command);
        let reverses = match call.body {
            Body::Other(Ask::Reverse { transaction, .. }) => Some(transaction.0.position),
            _ => None,
        };
        if let Some(original) = reverses {
            self.replay.reversed_by.entry((self.set, original)).or_default().push(decided.position);
        }
        let booked = Booked {
            position: decided.position,
            decided: number,
            call: decided.call,
            scope: self.numbers[scope.as_str()],
            legs: legs.iter().map(signed).collect(),
            reverses,
        };
        self.replay.booked.entry(self.set).or_default().push(booked);
    }

    /// All answers that name this place against what the model says there.
    fn answers(&mut self, decided: &Decided, call: &Call<'_>, verdict: &model::Verdict) {
        let (mut firsts, mut first_begin, mut soonest_end) = (0, 0, u64::MAX);
        for reply in &self.witness.replies[decided.replies.clone()] {
            let reply = self.witness.call(*reply);
            let told = reply.answer;
            if told.decided().is_some_and(|(_, replayed)| !replayed) {
                (firsts, first_begin) = (firsts + 1, reply.op.begin_ns);
            }
            soonest_end = soonest_end.min(reply.op.end_ns.unwrap_or(u64::MAX));
            self.replay.answers.checked += 1;
            let about_limit = is_limit(told) || verdict.answer == model::Answer::No("limit_exceeded");
            self.replay.limits.checked += u64::from(about_limit);
            if !agrees(told, verdict) {
                let list = if about_limit { &mut self.replay.limits } else { &mut self.replay.answers };
                list.wrong(|| {
                    format!(
                        "operation {} ({:?}) was answered {told:?}, the model says {:?}",
                        reply.at.op, reply.body, verdict.answer
                    )
                });
            }
        }
        if firsts > 1 {
            self.replay.twice.wrong(|| {
                format!("{:?} was answered {firsts} times as new at {:?}", call.body, decided.place)
            });
        }
        // Nobody has to be first: a router that asks again within a call is told what its own attempt did.
        if firsts == 1 && first_begin > soonest_end {
            self.replay.twice.wrong(|| {
                format!(
                    "{:?} at {:?} was answered as new to a call that came later",
                    call.body, decided.place
                )
            });
        }
        self.replay.twice.checked += 1;
    }

    /// What shares a place means the same, however it is written: asked now, the model gives the answer of that place again.
    fn spellings(&mut self, decided: &Decided, call: &Call<'_>) {
        let key = call.body.key();
        let mut asked = vec![key];
        for reply in &self.witness.replies[decided.replies.clone()] {
            let other = self.witness.call(*reply);
            if asked.contains(&other.body.key()) {
                continue;
            }
            asked.push(other.body.key());
            let again = self.model.apply(decided.position, &other.body.command(self.witness.history));
            if !again.replayed || again.position != decided.position {
                let place = decided.place;
                let words = || format!("two requests share {place:?}: {:?} and {:?}", call.body, other.body);
                self.replay.twice.wrong(words);
            }
        }
    }

    /// What the model has found under a request id so far.
    fn found(&self, scope: u32, id: &str) -> Option<(Position, model::Answer)> {
        let position = self.model.first(&self.witness.history.accounts[scope as usize], id)?;
        Some((position, self.model.answer(position)?))
    }

    /// A rejection that is looked up is the one that the model gave under that id in that scope. It says no more of when it was
    /// read than where it was decided, and what is decided first stays: the end of the log says whether it is right.
    fn look_up(&mut self, log: &[Decided]) {
        for (number, op) in self.witness.history.ops.iter().enumerate() {
            let (Ask::ReadRequest { scope, id, .. }, Answer::Rejected { code, place, .. }) =
                (&op.ask, &op.answer)
            else {
                continue;
            };
            if place.set != self.set {
                continue;
            }
            // Of what nobody was told the checker of refusals says what there is to say.
            let Ok(at) = log.binary_search_by_key(place, |decided| decided.place) else { continue };
            let right = self.found(*scope, id).is_some_and(|(position, answer)| {
                position == log[at].position && matches!(answer, model::Answer::No(said) if said == code)
            });
            self.replay.looked_up.checked += 1;
            if !right {
                let found = self.found(*scope, id);
                self.replay.looked_up.wrong(|| {
                    format!(
                        "operation {number} ({:?}) found {code} at {place:?}; the model has {found:?}",
                        op.ask
                    )
                });
            }
        }
    }

    fn read(&mut self, read: &Read<'_>) {
        let right = match (read.ask, read.answer) {
            (
                Ask::ReadAccount { account, .. } | Ask::ReadRequest { scope: account, .. },
                Answer::Account { figures: told, .. },
            ) => {
                let id = &self.witness.history.accounts[*account as usize];
                let did = match read.ask {
                    Ask::ReadRequest { id: request, .. } => {
                        self.found(*account, request).is_some_and(|(_, answer)| answer == model::Answer::Done)
                    }
                    _ => true,
                };
                did && self.model.accounts().get(id).map(figures).as_ref() == Some(told)
            }
            (Ask::ReadAccount { account, .. }, Answer::Absent { .. }) => {
                !self.model.accounts().contains_key(&self.witness.history.accounts[*account as usize])
            }
            (Ask::ReadRequest { scope, id, .. }, Answer::Absent { .. }) => {
                self.model.first(&self.witness.history.accounts[*scope as usize], id).is_none()
            }
            // Transactions that are not there are looked for among what was booked, by `lists`.
            (Ask::ReadTransaction { .. }, Answer::Absent { .. }) => return,
            _ => false,
        };
        let list = if read.level == Level::Stale { &mut self.replay.stale } else { &mut self.replay.reads };
        list.checked += 1;
        if !right {
            let about = match read.ask {
                Ask::ReadAccount { account, .. } | Ask::ReadRequest { scope: account, .. } => {
                    let id = &self.witness.history.accounts[*account as usize];
                    let state = self.model.accounts().get(id).map(figures);
                    format!("account {id} is {state:?} there")
                }
                _ => String::new(),
            };
            list.wrong(|| format!("operation {} ({:?}) read {:?}; {about}", read.op, read.ask, read.answer));
        }
    }
}

fn is_limit(answer: &Answer) -> bool {
    matches!(answer, Answer::Rejected { code, .. } if code == "limit_exceeded")
}

/// Whether an answer to a write says what the model says.
fn agrees(told: &Answer, verdict: &model::Verdict) -> bool {
    match (told, &verdict.answer) {
        (Answer::Booked { balances, .. }, model::Answer::Booked(legs)) => {
            balances.is_empty()
                || balances.len() == legs.len()
                    && balances
                        .iter()
                        .zip(legs)
                        .all(|(told, leg)| (i128::from(told.0), i128::from(told.1)) == (leg.3, leg.4))
        }
        (Answer::Done { .. }, model::Answer::Done) => true,
        (Answer::Rejected { code, .. }, model::Answer::No(expected)) => code == expected,
        _ => false,
    }
}

/// What the model says, in the history's cents: hundredths in every currency.
pub(crate) fn in_cents(verdict: &model::Verdict, model: &Model) -> model::Verdict {
    let mut verdict = verdict.clone();
    if let model::Answer::Booked(legs) = &mut verdict.answer {
        for (id, _, amount, posted, available) in legs {
            let cents = model.accounts()[id.as_str()].cents_of_a_minor_unit();
            [amount, posted, available].into_iter().for_each(|minor| *minor *= cents);
        }
    }
    verdict
}

/// An account of the model as the API shows it.
pub(crate) fn figures(account: &model::Account) -> Figures {
    let cents = |minor: i128| {
        let cents = minor * account.cents_of_a_minor_unit();
        i64::try_from(cents).expect("what clients asked for adds up to 64 bits")
    };
    Figures {
        posted: cents(account.balance()),
        available: cents(account.balance()),
        debits: cents(account.debits),
        credits: cents(account.credits),
        limit: account.limit.map(cents),
        frozen_debit: account.frozen.contains(&Side::Debit),
        frozen_credit: account.frozen.contains(&Side::Credit),
        closed: account.closed,
        version: account.legs,
    }
}

/// Whether a transaction is shown as it was booked, with its reversals as of a log index.
pub fn shown_rightly(case: &super::Case<'_>, found: &Found, as_of_index: u64) -> Result<(), String> {
    let id = found.transaction.0;
    let booked = case.replay.booked_at(id.set, id.position).filter(|_| id.incarnation == 1);
    let Some(booked) = booked else {
        return Err(format!("{} was never booked: {found:?}", found.transaction));
    };
    let decided = &case.witness.sets[&id.set][booked.decided as usize];
    let name = |position: &Position| Name(twinset_ledger::TransactionId { position: *position, ..id });
    let reversed_by: Vec<Name> = case
        .replay
        .reversed_by
        .get(&(id.set, id.position))
        .into_iter()
        .flatten()
        .filter(|by| by.index() <= as_of_index)
        .map(name)
        .collect();
    let body = case.witness.call(booked.call).body;
    let expected = Found {
        transaction: found.transaction,
        place: decided.place,
        id: body.id().to_owned(),
        scope: booked.scope,
        label: body.label(),
        legs: booked.legs.clone(),
        reverses: booked.reverses.as_ref().map(name),
        reversed_by,
    };
    if *found == expected { Ok(()) } else { Err(format!("{found:?} should be {expected:?}")) }
}
