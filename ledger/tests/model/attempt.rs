//! One set's part in transactions over several: what it begins, sets aside, decides, books or gives back, and settles.
//! Each kind of step counts once in an attempt, and its first answer is given for ever.

use std::collections::{BTreeMap, BTreeSet};

use twinset_ledger::attempt::{
    self as ledger, Ballot, Capturing, Coordination, Part, Planned, Role, Sum, Vote,
};
use twinset_ledger::hold::Capture;
use twinset_ledger::{
    Begin, Command, Effect, Label, Leg, LegKind, Outcome, Position, Posted, Rejection, Side, Step,
    Transaction, TransactionId,
};

use super::account::Account;
use super::booking::{ASKED_MAX, Move, SUM_MAX, balanced, minor, per_account};
use super::hold::Taking;
use super::reversal::Back;
use super::{Here, Model, check_back};

/// Where each kind of step was taken, and where the request went on after a failure.
#[derive(Clone, Default)]
pub(super) struct Attempt {
    voted: Option<Position>,
    pub decided: Option<Position>,
    ended: Option<Position>,
    pub settled: Option<Position>,
    /// Where the same request was decided next, after this attempt was given up.
    pub next: Option<Position>,
}

impl Attempt {
    fn step(&mut self, step: &Step) -> &mut Option<Position> {
        match step {
            Step::Prepare { .. } => &mut self.voted,
            Step::Decide(_) | Step::Lost { .. } => &mut self.decided,
            Step::Commit | Step::Abort | Step::Restore(_) => &mut self.ended,
            Step::Settle { .. } => &mut self.settled,
        }
    }
}

/// An attempt under way.
#[derive(Clone)]
pub(super) struct Open {
    /// What is set aside here, clearing legs last.
    legs: Vec<Move>,
    day: i32,
    since_ns: u64,
    /// What it takes back.
    reverses: Option<TransactionId>,
    /// What the whole of it is; None where only a part is known.
    pub asked: Option<Asked>,
}

/// What a coordinator asks of all sets.
#[derive(Clone)]
pub(super) struct Asked {
    pub legs: Vec<Leg>,
    pub sets: Vec<u32>,
    /// What it takes back.
    pub reverses: Option<Back>,
    /// What it has in hand of a hold.
    pub taking: Option<Taking>,
    /// What was booked here, and where, once it was decided that all book.
    pub booked: Option<(Position, Vec<Posted>)>,
    /// What the client says of it.
    pub label: Label,
}

impl Asked {
    fn of(&self, set: u32) -> Vec<Leg> {
        let legs = self.legs.iter().zip(&self.sets).filter(|(_, of)| **of == set);
        legs.map(|(leg, _)| leg.clone()).collect()
    }

    fn others(&self, own: u32) -> BTreeSet<u32> {
        self.sets.iter().copied().filter(|set| *set != own).collect()
    }
}

impl Open {
    /// As the ledger shows it.
    pub fn record(&self, planned: impl Fn(&Move) -> Planned) -> ledger::Attempt {
        let role = match &self.asked {
            None => Role::Participant { reverses: self.reverses },
            Some(Asked { legs, sets, reverses, taking, booked, label }) => Role::Coordinator(Coordination {
                legs: legs.clone(),
                sets: sets.clone(),
                reverses: reverses.as_ref().map(Back::taken),
                captures: taking.as_ref().map(|taking| Capturing {
                    hold: taking.hold.position,
                    amount: taking.amount,
                    is_final: taking.is_final,
                    confirms: taking.confirms,
                }),
                decided: booked.as_ref().map(|(position, _)| *position),
                label: label.clone(),
            }),
        };
        ledger::Attempt {
            reserved: self.legs.iter().map(planned).collect(),
            accounting_date: self.day,
            opened_ns: self.since_ns,
            role,
        }
    }
}

/// The account under which the request id is remembered.
pub(super) fn scope(transaction: &Transaction) -> &str {
    let least = |side: Option<Side>| {
        let legs = transaction.legs.iter().filter(|leg| side.is_none_or(|side| leg.side == side));
        legs.map(|leg| leg.account.as_str()).min()
    };
    let named = transaction.scope_account.as_deref();
    named.or(least(Some(Side::Debit))).or(least(None)).expect("a transaction has legs")
}

/// The set that coordinates.
pub(super) fn home(begin: &Begin) -> u32 {
    let scope = scope(&begin.transaction);
    let mut legs = begin.transaction.legs.iter().zip(&begin.sets);
    *legs.find(|(leg, _)| leg.account == scope).expect("the scope account has a leg").1
}

impl Model {
    pub(super) fn begin(&mut self, here: Here, begin: &Begin) -> Result<Effect, Rejection> {
        let Begin { transaction, sets } = begin;
        let day = transaction.accounting_date.unwrap_or(here.day());
        let (legs, sets) = (transaction.legs.clone(), sets.clone());
        let Transaction { kind, reason, metadata, .. } = transaction;
        let label = Label { kind: *kind, reason: *reason, metadata: metadata.clone() };
        let asked = Asked { legs, sets, reverses: None, taking: None, booked: None, label };
        let confirms = check_back::confirmed(transaction).map(|(_, no)| no);
        let capture = transaction.capture.map(|capture| (scope(transaction), (capture, confirms)));
        self.ask(here, asked, capture, day)
    }

    /// Opens an attempt that this set coordinates, and that may capture a hold of an account.
    pub(super) fn ask(
        &mut self,
        here: Here,
        mut asked: Asked,
        capture: Option<(&str, (Capture, Option<u32>))>,
        day: i32,
    ) -> Result<Effect, Rejection> {
        let legs = self.plan(&asked.of(self.set))?;
        let taking = capture.map(|(held, capture)| self.taking(here, held, capture, &legs)).transpose()?;
        let (legs, _) = self.set_aside(here, here.id(), legs, taking.as_ref(), ASKED_MAX)?;
        if let Some(taking) = &taking {
            self.take_in_hand(here, taking);
        }
        asked.taking = taking;
        let reverses = asked.reverses.as_ref().map(|back| back.of);
        let open = Open { legs, day, since_ns: here.time_unix_ns, reverses, asked: Some(asked) };
        self.open.insert(here.id(), open);
        Ok(Effect::Begun)
    }

    /// Promises legs, with what squares them, to an attempt. Gives the sums of the legs alone.
    pub(super) fn set_aside(
        &mut self,
        here: Here,
        attempt: TransactionId,
        mut legs: Vec<Move>,
        taking: Option<&Taking>,
        most: i128,
    ) -> Result<(Vec<Move>, Vec<Sum>), Rejection> {
        let sums = self.sums(&legs)?;
        self.check(&legs, taking)?;
        legs.extend(self.squaring(here, &sums, most)?);
        for (id, debits, credits) in per_account(&legs) {
            let account = self.accounts.get_mut(id).expect("it was found, or opened");
            account.pending.insert(attempt, (debits, credits));
        }
        Ok((legs, sums))
    }

    /// What squares legs of these sums, on clearing accounts that are opened for it, if all have room up to `most`.
    pub(super) fn squaring(&mut self, here: Here, sums: &[Sum], most: i128) -> Result<Vec<Move>, Rejection> {
        let (mut new, mut legs) = (Vec::new(), Vec::new());
        for Sum { currency, scale, debits, credits } in sums {
            if debits == credits {
                continue;
            }
            let account = self.in_scale(format!("@clearing-{}:{currency}", self.set), *scale);
            let side = if debits > credits { Side::Credit } else { Side::Debit };
            let minor = debits.abs_diff(*credits);
            let known = self.accounts.get(&account).map(Account::room);
            let (debits_left, credits_left) = known.unwrap_or((SUM_MAX, SUM_MAX));
            let left = if side == Side::Debit { debits_left } else { credits_left };
            let left = left - (SUM_MAX - most);
            let Some(minor) = i128::try_from(minor).ok().filter(|minor| *minor <= left) else {
                return Err(Rejection::AmountOverflow { account });
            };
            if known.is_none() {
                let unit = (currency.as_str(), *scale);
                new.push((account.clone(), Account::new("@clearing", unit, Side::Debit, here.position)));
            }
            legs.push(Move { account, side, minor, expects: Vec::new(), kind: LegKind::Ordinary });
        }
        self.accounts.extend(new);
        Ok(legs)
    }

    /// Takes back the promise.
    fn release(&mut self, attempt: TransactionId, legs: &[Move]) {
        for leg in legs {
            self.accounts.get_mut(&leg.account).expect("it was promised on").pending.remove(&attempt);
        }
    }

    /// Keeps the promise.
    fn book_promised(&mut self, here: Here, attempt: TransactionId, open: &Open) -> Vec<Posted> {
        match open.reverses {
            None => self.restrict(here, attempt, &open.legs),
            Some(original) => self.reverse_restrictions(here, original, &open.legs),
        }
        self.book_legs(attempt, &open.legs)
    }

    /// Books what was promised.
    pub(super) fn book_legs(&mut self, attempt: TransactionId, legs: &[Move]) -> Vec<Posted> {
        self.release(attempt, legs);
        self.book(legs)
    }

    pub(super) fn step(&mut self, here: Here, id: TransactionId, step: &Step, command: &Command) -> Outcome {
        let attempt = self.attempts.entry(id).or_default();
        let ended = attempt.ended.filter(|_| matches!(step, Step::Prepare { .. }));
        if let Some(first) = ended.or(*attempt.step(step)) {
            return Outcome { replayed: true, ..self.log[&first].outcome.clone() };
        }
        // Only others' attempts are taken part in, and only own ones coordinated.
        let own = id.set == self.set;
        let result = match step {
            Step::Prepare { legs, accounting_date, reverses, .. } if !own => {
                self.prepare(here, id, legs, *accounting_date, *reverses)
            }
            Step::Commit if !own => self.commit(here, id),
            Step::Abort if !own => {
                if let Some(open) = self.open.remove(&id) {
                    self.release(id, &open.legs);
                }
                Ok(Effect::Aborted)
            }
            Step::Decide(ballot) if own => self.decide_attempt(here, id, ballot),
            Step::Settle { parts } if own => self.settle(id, parts),
            Step::Lost { votes } if own => self.lost(here, id, votes.as_deref()),
            Step::Restore(part) if !own => self.restore(here, id, part),
            _ => Err(Rejection::StepOutOfPlace { attempt: id }),
        };
        let outcome = here.says(result);
        if !matches!(outcome.result, Err(Rejection::StepOutOfPlace { .. })) {
            *self.attempts.entry(id).or_default().step(step) = Some(here.position);
            self.keep(here, command, &outcome);
        }
        outcome
    }

    fn prepare(
        &mut self,
        here: Here,
        id: TransactionId,
        legs: &[Leg],
        day: i32,
        reverses: Option<TransactionId>,
    ) -> Result<Effect, Rejection> {
        let legs = self.plan(legs)?;
        let (legs, sums) = self.set_aside(here, id, legs, None, ASKED_MAX)?;
        self.open.insert(id, Open { legs, day, since_ns: here.time_unix_ns, reverses, asked: None });
        Ok(Effect::Prepared(sums))
    }

    fn commit(&mut self, here: Here, id: TransactionId) -> Result<Effect, Rejection> {
        let open = self.open.remove(&id).ok_or(Rejection::StepOutOfPlace { attempt: id })?;
        Ok(Effect::Posted(self.book_promised(here, id, &open)))
    }

    fn decide_attempt(
        &mut self,
        here: Here,
        id: TransactionId,
        ballot: &Ballot,
    ) -> Result<Effect, Rejection> {
        let out_of_place = Rejection::StepOutOfPlace { attempt: id };
        let Some(mut open) = self.open.remove(&id) else { return Err(out_of_place) };
        let asked = open.asked.as_mut().expect("it is coordinated here");
        let verdict = match ballot {
            Ballot::GivenUp { set } => Err(Rejection::SetUnavailable { set: *set }),
            Ballot::Booked { set, .. } => {
                if id.incarnation == here.incarnation || !asked.others(self.set).contains(set) {
                    self.open.insert(id, open);
                    return Err(out_of_place);
                }
                Ok(())
            }
            Ballot::Votes(votes) if !counts(asked, self.set, votes) => {
                self.open.insert(id, open);
                return Err(out_of_place);
            }
            Ballot::Votes(votes) => match votes.iter().find_map(|vote| vote.said.as_ref().err()) {
                Some(refusal) => Err(refusal.clone()),
                None => self.weigh_votes(&asked.of(self.set), votes),
            },
        };
        if let Err(rejection) = verdict {
            self.release(id, &open.legs);
            if let Some(taking) = &asked.taking {
                self.let_go(here, id, taking);
            }
            return Err(rejection);
        }
        if let Some(taking) = &asked.taking {
            self.capture(here, id, taking);
        }
        let booked = self.book_promised(here, id, &open);
        let asked = open.asked.as_mut().expect("it is coordinated here");
        asked.booked = Some((here.position, booked.clone()));
        let reverses = asked.reverses.clone();
        if let Some(back) = reverses {
            self.take_back(id, back);
        }
        open.legs.clear();
        self.open.insert(id, open);
        Ok(Effect::Posted(booked))
    }

    /// Whether the legs of all sets balance together.
    fn weigh_votes(&self, own: &[Leg], votes: &[Vote]) -> Result<(), Rejection> {
        let own = self.sums(&self.plan(own)?)?;
        let said = votes.iter().flat_map(|vote| vote.said.clone().unwrap_or_default());
        weigh(self.set, own.into_iter().chain(said))
    }

    fn settle(&mut self, id: TransactionId, parts: &[Part]) -> Result<Effect, Rejection> {
        let out_of_place = Rejection::StepOutOfPlace { attempt: id };
        let asked = self.open.get(&id).and_then(|open| open.asked.as_ref());
        let told = asked.and_then(|asked| told(asked, self.set, parts)).ok_or(out_of_place)?;
        self.open.remove(&id);
        Ok(Effect::Settled(told))
    }
}

/// Whether sums of several sets balance together.
pub(super) fn weigh(coordinator: u32, sums: impl IntoIterator<Item = Sum>) -> Result<(), Rejection> {
    let mut totals = BTreeMap::<String, Sum>::new();
    for sum in sums {
        let Sum { currency, scale, .. } = sum.clone();
        let nothing = Sum { currency: currency.clone(), scale, debits: 0, credits: 0 };
        let total = totals.entry(currency.clone()).or_insert(nothing);
        if total.scale != scale {
            return Err(Rejection::CurrencyConflict { currency });
        }
        let account = format!("@clearing-{coordinator}:{currency}");
        let overflow = Rejection::AmountOverflow { account };
        total.debits = total.debits.checked_add(sum.debits).ok_or(overflow.clone())?;
        total.credits = total.credits.checked_add(sum.credits).ok_or(overflow)?;
    }
    balanced(totals.into_values())
}

/// Whether votes decide anything: each set's once and only of those that are asked, and of all of them unless one refuses.
fn counts(asked: &Asked, own: u32, votes: &[Vote]) -> bool {
    let others = asked.others(own);
    let voted: BTreeSet<u32> = votes.iter().map(|vote| vote.set).collect();
    let refused = votes.iter().any(|vote| vote.said.is_err());
    voted.len() == votes.len() && voted.is_subset(&others) && (refused || voted.is_superset(&others))
}

/// What was booked in all sets, in the client's order; None before it is decided, or if the parts are not what was asked.
fn told(asked: &Asked, own: u32, parts: &[Part]) -> Option<Vec<Posted>> {
    let (_, booked) = asked.booked.as_ref()?;
    let sets: Vec<u32> = parts.iter().map(|part| part.set).collect();
    let others = asked.others(own);
    if sets.len() != others.len() || sets.iter().copied().collect::<BTreeSet<_>>() != others {
        return None;
    }
    let mut told = Vec::new();
    for (at, (leg, set)) in asked.legs.iter().zip(&asked.sets).enumerate() {
        let before = asked.sets[..at].iter().filter(|other| *other == set).count();
        let part = parts.iter().find(|part| part.set == *set).map_or(booked, |part| &part.legs);
        let posted = part.get(before)?;
        let amount = minor(leg.amount, posted.scale, &leg.account).ok()?;
        let elsewhere = posted.account.starts_with("@recovery");
        if !elsewhere && posted.account != leg.account || (posted.side, posted.amount) != (leg.side, amount) {
            return None;
        }
        told.push(posted.clone());
    }
    Some(told)
}
