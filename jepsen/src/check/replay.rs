//! The replay: every set's log, as the witness has it, is put through the independent model; at its position each write must
//! have been answered what the model says, and each read of an account or a request id must show the model's state. Keeps
//! what later checks need: which transactions were booked, with what legs, and what reverses what.
//!
//! Transactions over several sets are begun in the replay of their coordinator and booked in that of each set, where its list
//! has its part ([`several`]); what may be set aside for them meanwhile is in [`reserved`].

mod buffered;
mod foreseen;
pub mod holds;
mod reserved;
pub mod restricted;
mod several;
mod shown;
mod sweeps;
mod together;
mod words;

use std::collections::{BTreeMap, HashMap, HashSet};

use twinset_ledger::{Position, Side, TransactionId};

use super::Found as Findings;
use super::across::{Plans, Spot, spot};
use super::model::{self, Model};
use super::witness::{Body, Call, CallRef, Decided, What, Witness};
use crate::history::{Answer, AsOf, Ask, History, Level, Place};

pub use several::{PartLeg, Whole};
pub use shown::shown_rightly;
use words::{agrees, is_limit, is_of_limit};
pub(crate) use words::{figures, in_cents};

/// A transaction as the model booked it.
#[derive(Clone, Debug)]
pub struct Booked {
    /// Where.
    pub position: Position,
    /// Number in the witness's log of the set.
    pub decided: u32,
    /// The call that asked for it.
    pub call: CallRef,
    /// The account that its request id belongs to; none of a part.
    pub scope: Option<u32>,
    /// Account and cents, debits above zero.
    pub legs: Vec<(u32, i64)>,
    /// What it reverses.
    pub reverses: Option<Position>,
    /// The transaction over several sets that this is a part of.
    pub part_of: Option<TransactionId>,
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
    /// What dry runs were told.
    pub foreseen: Findings,
    /// Sweeps that were left undone in the end.
    pub swept: Findings,
    /// Rejections that were found under a request id.
    pub looked_up: Findings,
    /// By set, in the order of positions.
    pub booked: BTreeMap<u32, Vec<Booked>>,
    /// Reversals by set and what they reverse, in their order: the index of the entry that took it back, and the reversal's
    /// position.
    pub reversed_by: HashMap<(u32, Position), Vec<(u64, Position)>>,
    /// Transactions over several sets that somebody was told of.
    pub across: BTreeMap<TransactionId, Whole>,
    /// What each set has booked of them.
    pub parts: HashMap<(TransactionId, u32), Vec<PartLeg>>,
    /// Credits that stand on suspense accounts, by where they were taken in, with the code of the reason.
    pub suspended: BTreeMap<(u32, Position), &'static str>,
    /// Attempts with a refusal that another set had a reason for.
    explained: HashSet<(u32, usize)>,
    /// Attempts whose refusal another set must explain, with the words if none does.
    to_explain: Vec<((u32, usize), String)>,
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
        let plans = Plans::of(witness);
        let mut reads = reads_by_set(witness.history);
        for (set, log) in &witness.sets {
            let reads = reads.remove(set).unwrap_or_default();
            Run::new(witness, &plans, *set, &mut replay).through(log, &reads);
        }
        replay.explain();
        replay.balances_across(witness, &plans);
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
        let is_state = matches!(
            op.answer,
            Answer::Account { .. }
                | Answer::Hold { .. }
                | Answer::Holds { .. }
                | Answer::Restriction { .. }
                | Answer::Restrictions { .. }
                | Answer::Swept { .. }
                | Answer::Foreseen { .. }
                | Answer::ForeseenRefusal { .. }
        );
        if is_state || matches!(op.answer, Answer::Absent { .. }) {
            let read = Read { as_of, op: number, level, ask: &op.ask, answer: &op.answer };
            reads.entry(as_of.place.set).or_default().push(read);
        }
    }
    for (number, op) in history.ops.iter().enumerate() {
        let (Some(level), Answer::Group(found)) = (op.ask.read_level(), &op.answer) else { continue };
        for part in &found.parts {
            let read = Read { as_of: part.as_of, op: number, level, ask: &op.ask, answer: &op.answer };
            reads.entry(part.as_of.place.set).or_default().push(read);
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
    plans: &'a Plans<'h>,
    set: u32,
    model: Model,
    replay: &'a mut Replay,
    /// What may be set aside where it has come to.
    reserved: reserved::Reserved,
    /// Sets that may have refused, of those that were asked by now: numbers in the plans.
    doubts: (usize, Vec<usize>),
    /// Of what was paid without asking, how many legs this set has taken in.
    taken_in: HashMap<TransactionId, usize>,
    /// What is known of this set's sweeps.
    sweeps: sweeps::Known,
    /// Where it has come to.
    spot: Spot,
    /// The ledger time of the last command.
    time_ns: u64,
    /// Steps that nobody saw are put at places that no log has, counted down from the last.
    unseen: u64,
    /// What the model says to transactions of atomic batches that were refused, by their places.
    grouped: HashMap<Place, model::Verdict>,
}

impl<'a, 'h> Run<'a, 'h> {
    fn new(witness: &'a Witness<'h>, plans: &'a Plans<'h>, set: u32, replay: &'a mut Replay) -> Self {
        Run {
            witness,
            plans,
            set,
            model: Model::new(set)
                .with_lives(witness.history.meta.lives.get(&set).cloned().unwrap_or_default()),
            replay,
            reserved: reserved::Reserved::default(),
            doubts: (0, Vec::new()),
            taken_in: HashMap::new(),
            sweeps: sweeps::Known::of(witness, set),
            spot: (0, 0),
            time_ns: 0,
            unseen: u64::MAX,
            grouped: HashMap::new(),
        }
    }

    fn through(mut self, log: &[Decided], reads: &[Read<'_>]) {
        let mut reads = reads.iter().peekable();
        for (number, decided) in log.iter().enumerate() {
            while let Some(read) = reads.next_if(|read| read.as_of.place < decided.place) {
                self.read(read);
            }
            self.ask_doubts(spot(decided.place));
            self.idle_runs(decided.place.time_ns);
            self.reach(spot(decided.place));
            self.time_ns = decided.place.time_ns;
            match decided.what {
                What::Part(row) => self.part(number, decided, row),
                What::Expired(hold) => self.expire(decided, hold),
                What::RunEnded => self.end_run(decided),
                What::Lapsed(account, restriction) => self.lapse(decided, account, restriction),
                _ if self.is_paid(decided) => self.pay(number, decided),
                _ if self.plans.begun.contains_key(&(self.set, number)) => self.begin(number, decided),
                What::GivenUp => {
                    let call = self.witness.call(decided.call);
                    self.replay.answers.wrong(|| {
                        format!("{:?} at {:?} was given up, and asks one set", call.body, decided.place)
                    });
                }
                What::Command => self.decide(number, decided),
            }
        }
        self.ask_doubts(super::across::NEVER);
        for read in reads {
            self.read(read);
        }
        self.look_up(log);
        self.foreseen_again(log);
    }

    fn decide(&mut self, number: usize, decided: &Decided) {
        let call = self.witness.call(decided.call);
        let command = call.body.command(self.witness.history);
        if self.is_hidden_mismatch(decided, &call, &command) {
            self.replay.answers.checked += 1;
            return;
        }
        self.left_undone(decided, &call);
        let accounts = self.touched(&call);
        // What may be set aside counts where only that explains the answer, and not where it would forbid it.
        let promised = match self.code_told(decided) {
            Some("limit_exceeded" | "withdrawable_exceeded" | "account_not_empty") => self.promise(&accounts),
            _ => Vec::new(),
        };
        let verdict = match self.together(decided) {
            Some(verdict) => verdict,
            None => {
                let (place, lent) = (self.free(decided.position), self.lend(decided, &call));
                let verdict = self.model.apply_at(place, decided.place.time_ns, &command);
                self.unlend(lent);
                in_cents(&verdict, &self.model)
            }
        };
        self.forgive(promised);
        self.decided_once(decided, &call, &verdict);
        self.answers(decided, &call, &verdict);
        self.spellings(decided, &call);
        let model::Answer::Booked(legs) = &verdict.answer else { return };
        if verdict.replayed {
            return;
        }
        let scope = self.model.scope(decided.position, &command);
        let reverses = match call.body {
            Body::Other(Ask::Reverse { transaction, .. }) => Some(transaction.0.position),
            _ => None,
        };
        if let Some(original) = reverses {
            let by = (decided.position.index(), decided.position);
            self.replay.reversed_by.entry((self.set, original)).or_default().push(by);
        }
        let booked = Booked {
            position: decided.position,
            decided: number as u32,
            call: decided.call,
            scope: self.plans.numbers.get(scope.as_str()).copied(),
            legs: legs.iter().map(|leg| self.signed(leg)).collect(),
            reverses,
            part_of: None,
        };
        self.replay.booked.entry(self.set).or_default().push(booked);
    }

    fn decided_once(&mut self, decided: &Decided, call: &Call<'_>, verdict: &model::Verdict) {
        if verdict.replayed {
            self.replay.twice.wrong(|| {
                format!(
                    "{:?} is decided at {:?} and again at {:?}",
                    call.body, verdict.position, decided.place
                )
            });
        }
    }

    /// A place, or another one if it is taken: whoever says so of two has said it of one too many, and the model has places for
    /// all.
    fn free(&mut self, place: Position) -> Position {
        if self.model.answer(place).is_none() {
            return place;
        }
        self.unseen -= 1;
        Position(self.unseen)
    }

    /// Account and cents of a leg as the model booked it, in cents already.
    fn signed(&self, (id, side, cents, ..): &model::Booked) -> (u32, i64) {
        let cents = i64::try_from(*cents).expect("what a client asked for is 64 bits");
        let number = self.plans.numbers.get(id.as_str()).copied().unwrap_or(u32::MAX);
        (number, if *side == Side::Debit { cents } else { -cents })
    }

    /// The accounts of a command.
    fn touched(&self, call: &Call<'_>) -> Vec<u32> {
        match call.body {
            Body::Transfer(transfer) => transfer.legs.iter().map(|(account, _)| *account).collect(),
            Body::Other(
                Ask::Close { account, .. }
                | Ask::PlaceHold { account, .. }
                | Ask::ReleaseHold { account, .. }
                | Ask::ExtendHold { account, .. }
                | Ask::ReleaseRestriction { account, .. },
            ) => vec![*account],
            Body::Other(Ask::Reverse { transaction, .. }) => {
                let booked = self.replay.booked_at(self.set, transaction.0.position);
                booked.into_iter().flat_map(|booked| &booked.legs).map(|(account, _)| *account).collect()
            }
            Body::Other(_) => Vec::new(),
        }
    }

    /// The code of the rejection that was told of what stands here.
    fn code_told(&self, decided: &Decided) -> Option<&'h str> {
        let replies = &self.witness.replies[decided.replies.clone()];
        replies.iter().find_map(|reply| match self.witness.call(*reply).answer {
            Answer::Rejected { code, .. } => Some(code.as_str()),
            _ => None,
        })
    }

    /// All answers that name this place against what the model says there.
    fn answers(&mut self, decided: &Decided, call: &Call<'_>, verdict: &model::Verdict) {
        let slacks = match &verdict.answer {
            model::Answer::Booked(legs) | model::Answer::Buffered(legs) => {
                legs.iter().map(|leg| self.slack(self.signed(leg).0)).collect()
            }
            model::Answer::Held(_) | model::Answer::Restricted(_) => {
                self.touched(call).into_iter().map(|account| self.slack(account)).collect()
            }
            _ => Vec::new(),
        };
        let (mut firsts, mut first_begin, mut soonest_end) = (0, 0, u64::MAX);
        for reply in &self.witness.replies[decided.replies.clone()] {
            let reply = self.witness.call(*reply);
            let told = reply.answer;
            if told.decided().is_some_and(|(_, replayed)| !replayed) {
                (firsts, first_begin) = (firsts + 1, reply.op.begin_ns);
            }
            soonest_end = soonest_end.min(reply.op.end_ns.unwrap_or(u64::MAX));
            self.replay.answers.checked += 1;
            let says_limit = matches!(verdict.answer, model::Answer::No(code) if is_of_limit(code));
            let about_limit = is_limit(told) || says_limit;
            self.replay.limits.checked += u64::from(about_limit);
            if !agrees(told, verdict, &slacks) {
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
            let place = self.free(decided.position);
            let command = other.body.command(self.witness.history);
            let again = self.model.apply_at(place, decided.place.time_ns, &command);
            if !again.replayed || again.position != decided.position {
                let place = decided.place;
                let words = || format!("two requests share {place:?}: {:?} and {:?}", call.body, other.body);
                self.replay.twice.wrong(words);
            }
        }
    }

    /// What the model has found under a request id so far.
    fn found(&self, scope: u32, id: &str) -> Option<(Position, model::Answer)> {
        let first = self.model.first(&self.witness.history.accounts[scope as usize], id)?;
        let position = self.model.newest_attempt(first);
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
        self.reach(spot(read.as_of.place));
        let right = match (read.ask, read.answer) {
            (
                Ask::ReadAccount { account, .. } | Ask::ReadRequest { scope: account, .. },
                Answer::Account { figures: told, .. },
            ) => {
                let did = match read.ask {
                    Ask::ReadRequest { id: request, .. } => {
                        self.found(*account, request).is_some_and(|(_, answer)| answer == model::Answer::Done)
                    }
                    _ => true,
                };
                did && self.shows(*account, told)
            }
            (Ask::ReadHold { account, hold, .. }, Answer::Hold { found, .. }) => {
                (found.account, found.held.hold) == (*account, *hold) && self.shows_hold(found, read.as_of)
            }
            (Ask::ReadRequest { scope, id, .. }, Answer::Hold { found, .. }) => {
                let did = self.found(*scope, id).is_some_and(|(_, answer)| {
                    matches!(answer, model::Answer::Held(held) if held.hold == found.held.hold.0)
                });
                did && self.shows_hold(found, read.as_of)
            }
            (Ask::ReadSweep { account, .. }, Answer::Swept { found, .. }) => {
                let at_ns = read.as_of.place.time_ns;
                matches!(&found[..], [one] if one.account == *account && self.shows_sweep(one, at_ns))
            }
            (Ask::DryRun(transfer), _) => self.foresees(transfer, read),
            (_, Answer::Swept { found, .. }) => self.shows_sweeps(found, read.as_of.place.time_ns),
            (Ask::ReadSweep { account, .. }, Answer::Absent { .. }) => self.lacks_sweep(*account),
            (ask, Answer::Holds { found, next, .. }) => self.shows_holds(ask, (found, *next), read.as_of),
            (Ask::ReadHold { hold, .. }, Answer::Absent { .. }) => self.model.hold(hold.0).is_none(),
            (_, Answer::Group(found)) => {
                let here = found.parts.iter().filter(|part| part.as_of == read.as_of);
                here.fold(true, |right, part| right & self.shows(part.account, &part.figures))
            }
            (Ask::ReadRestriction { account, restriction, .. }, Answer::Restriction { found, .. }) => {
                (found.account, found.restricted.restriction) == (*account, *restriction)
                    && self.shows_restriction(found)
            }
            (Ask::ReadRequest { scope, id, .. }, Answer::Restriction { found, .. }) => {
                let did = self.found(*scope, id).is_some_and(|(_, answer)| {
                    matches!(answer, model::Answer::Restricted(now) if now.restriction == found.restricted.restriction.0)
                });
                did && found.account == *scope && self.shows_restriction(found)
            }
            (ask, Answer::Restrictions { found, next, .. }) => self.shows_restrictions(ask, found, *next),
            (Ask::ReadRestriction { account, restriction, .. }, Answer::Absent { .. }) => {
                let id = &self.witness.history.accounts[*account as usize];
                restricted::known(&self.model, id, *restriction).is_none()
            }
            (
                Ask::ListHolds { account, .. }
                | Ask::ListRestrictions { account, .. }
                | Ask::Statement { account, .. },
                Answer::Absent { .. },
            ) => self.may_lack(*account),
            // A position that was not reached may be absent as well.
            (Ask::Balance { account, index, .. }, Answer::Absent { as_of }) => {
                self.may_lack(*account) || as_of.place.index < *index
            }
            (Ask::ReadAccount { account, .. }, Answer::Absent { .. }) => self.may_lack(*account),
            (Ask::ReadRequest { scope, id, .. }, Answer::Absent { .. }) => {
                self.model.first(&self.witness.history.accounts[*scope as usize], id).is_none()
            }
            // Transactions that are not there are looked for among what was booked, by `lists`.
            (Ask::ReadTransaction { .. }, Answer::Absent { .. }) => return,
            _ => false,
        };
        let words = (!right).then(|| self.read_in_words(read));
        let list = match (read.ask, read.level) {
            (Ask::DryRun(_), _) => &mut self.replay.foreseen,
            (_, Level::Stale) => &mut self.replay.stale,
            (_, Level::Linearizable) => &mut self.replay.reads,
        };
        list.checked += 1;
        if let Some(words) = words {
            list.wrong(|| words);
        }
    }

    /// What was read, and what the model has there.
    fn read_in_words(&self, read: &Read<'_>) -> String {
        let about = match read.ask {
            Ask::ReadAccount { account, .. } | Ask::ReadRequest { scope: account, .. } => {
                let id = &self.witness.history.accounts[*account as usize];
                let state = self.model.accounts().get(id).map(figures);
                format!("account {id} is {state:?} there")
            }
            Ask::DryRun(transfer) => {
                let has = |(account, _): &(u32, i64)| {
                    let id = &self.witness.history.accounts[*account as usize];
                    (id, self.model.accounts().get(id).map(figures))
                };
                format!("there is {:?}", transfer.legs.iter().map(has).collect::<Vec<_>>())
            }
            Ask::ReadSweep { account, .. } => format!("it is {} there", self.sweep_in_words(*account)),
            Ask::ReadHold { hold, .. } => {
                format!("it is {:?} there", holds::known(&self.model, *hold, read.as_of.place.time_ns))
            }
            Ask::ReadRestriction { account, restriction, .. } => {
                let id = &self.witness.history.accounts[*account as usize];
                format!("it is {:?} there", restricted::known(&self.model, id, *restriction))
            }
            _ => String::new(),
        };
        format!("operation {} ({:?}) read {:?}; {about}", read.op, read.ask, read.answer)
    }
}
