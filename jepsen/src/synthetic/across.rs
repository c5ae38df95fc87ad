//! Transactions over several sets in a made-up history: every step is put into the models of the sets one after the other, and
//! what the lists and look-ups show of it is kept. Now and then one is given up, for the checkers to have seen that.

use std::collections::BTreeMap;

use twinset_ledger::attempt::{Ballot, Part as Booking, Vote};
use twinset_ledger::{
    Begin, Command, Effect, Label, Outcome, Position, Posted, Rejection, Side, Step, TransactionId,
};

use super::past::News;
use super::{Log, Maker, unit};
use crate::check::witness::Body;
use crate::history::label::written;
use crate::history::marks::Marks;
use crate::history::{Answer, Ask, Found, Name, Part, Transfer, clearing};

/// One of so many is given up at first.
const GIVEN_UP_OF: u64 = 40;
const DAY_NS: u64 = 86_400_000_000_000;

/// What is kept of all sets together.
#[derive(Default)]
pub struct Several {
    /// Whole transactions by their names.
    pub whole: BTreeMap<Name, Found>,
    begun: u64,
}

impl Maker {
    /// The coordinator of what is asked, if it is over several sets.
    pub(super) fn coordinator(&self, ask: &Ask) -> Option<u32> {
        match ask {
            Ask::Transfer(transfer) => crate::check::across::coordinator(&self.history, transfer),
            Ask::Reverse { transaction, .. } => {
                self.several.whole.contains_key(transaction).then_some(transaction.0.set)
            }
            _ => None,
        }
    }

    /// Asks all sets, one step after the other.
    pub(super) fn several(&mut self, ask: &Ask, coordinator: u32) -> Answer {
        let body = match ask {
            Ask::Transfer(transfer) => Body::Transfer(transfer),
            other => Body::Other(other),
        };
        let command = body.command(&self.history);
        let begun = self.step(coordinator, &command);
        if let Ok(Effect::Buffered { booked, sent }) = &begun.result
            && !begun.replayed
        {
            self.paid(ask, coordinator, &begun, (booked, sent));
        }
        if begun.replayed || begun.result != Ok(Effect::Begun) {
            return self.told(coordinator, &begun);
        }
        let name = self.logs[coordinator as usize - 1].name(begun.position).0;
        let (legs, sets) = self.asked_of(ask, name);
        let by_set =
            |set: u32| legs.iter().zip(&sets).filter(move |(_, of)| **of == set).map(|(leg, _)| leg.clone());
        let others: Vec<u32> = {
            let mut others: Vec<u32> = sets.iter().copied().filter(|set| *set != coordinator).collect();
            others.sort_unstable();
            others.dedup();
            others
        };
        self.several.begun += 1;
        let mut ballot = match self.several.begun % GIVEN_UP_OF {
            0 => Ballot::GivenUp { set: others[0] },
            _ => Ballot::Votes(Vec::new()),
        };
        if let Ballot::Votes(votes) = &mut ballot {
            for set in &others {
                let (legs, label) = (by_set(*set).collect(), Label::default());
                let prepare = Step::Prepare { legs, accounting_date: 0, reverses: None, label };
                let said = match self.step(*set, &Command::Step { attempt: name, step: prepare }).result {
                    Ok(Effect::Prepared(sums)) => Ok(sums),
                    Ok(other) => unreachable!("{other:?} is no vote"),
                    Err(rejection) => Err(rejection),
                };
                votes.push(Vote { set: *set, said });
            }
            if let Some(refusal) = votes.iter().find(|vote| vote.said.is_err()) {
                *votes = vec![refusal.clone()];
            }
        }
        let decide = Command::Step { attempt: name, step: Step::Decide(ballot) };
        let decided = self.step(coordinator, &decide);
        let Ok(Effect::Posted(own)) = decided.result else {
            for set in &others {
                self.step(*set, &Command::Step { attempt: name, step: Step::Abort });
            }
            let refused = Outcome { result: decided.result, ..begun };
            return self.told(coordinator, &refused);
        };
        self.keep_part(coordinator, name, &own, decided.position, ask);
        let mut parts = Vec::new();
        for set in &others {
            let booked = self.step(*set, &Command::Step { attempt: name, step: Step::Commit });
            let Ok(Effect::Posted(legs)) = booked.result else { unreachable!("it was set aside") };
            self.keep_part(*set, name, &legs, booked.position, ask);
            parts.push(Booking { set: *set, position: booked.position, legs });
        }
        let settled = self.step(coordinator, &Command::Step { attempt: name, step: Step::Settle { parts } });
        self.keep_whole(ask, name, &settled.result);
        self.told(coordinator, &Outcome { result: settled.result, ..begun })
    }

    /// Puts a command into the log of a set.
    pub(super) fn step(&mut self, set: u32, command: &Command) -> Outcome {
        let log = &mut self.logs[set as usize - 1];
        log.next_entry();
        let mut outcomes = log.model.entry(
            log.index,
            log.incarnation_at(log.index),
            log.time_ns,
            std::slice::from_ref(command),
        );
        outcomes.pop().expect("one command has one outcome")
    }

    /// The legs that the coordinator asks for, with their sets.
    fn asked_of(&self, ask: &Ask, name: TransactionId) -> (Vec<twinset_ledger::Leg>, Vec<u32>) {
        if let Ask::Transfer(transfer) = ask
            && let Command::Begin(Begin { transaction, sets }) =
                Body::Transfer(transfer).command(&self.history)
        {
            return (transaction.legs, sets);
        }
        let open = self.logs[name.set as usize - 1].model.open_attempts();
        let attempt = open.into_iter().find(|(id, _)| *id == name).expect("it was begun").1;
        match attempt.role {
            twinset_ledger::attempt::Role::Coordinator(coordination) => {
                (coordination.legs, coordination.sets)
            }
            other => unreachable!("{other:?} begins nothing"),
        }
    }

    fn told(&self, set: u32, outcome: &Outcome) -> Answer {
        let log = &self.logs[set as usize - 1];
        let (place, replayed) = (log.place_of(outcome.position), outcome.replayed);
        match &outcome.result {
            Err(Rejection::SetUnavailable { .. }) => Answer::GivenUp { place },
            Err(rejection) => Answer::Rejected { code: rejection.code().to_owned(), place, replayed },
            Ok(Effect::Settled(legs) | Effect::Posted(legs)) => {
                let cents =
                    |leg: &Posted, minor: i128| i64::try_from(minor * unit(leg.scale)).expect("small");
                let balances =
                    legs.iter().map(|leg| (cents(leg, leg.posted), cents(leg, leg.available))).collect();
                Answer::Booked { transaction: log.name(outcome.position), place, replayed, balances }
            }
            // The rest is on its way.
            Ok(Effect::Buffered { booked, .. }) => {
                let own = booked.iter().filter(|leg| clearing(&leg.account).is_none()).cloned().collect();
                self.told(set, &Outcome { result: Ok(Effect::Posted(own)), ..outcome.clone() })
            }
            Ok(other) => unreachable!("{other:?} is no answer"),
        }
    }

    pub(super) fn signed(&mut self, legs: &[Posted]) -> Vec<(u32, i64)> {
        let signed = |leg: &Posted| {
            let cents = i64::try_from(leg.amount * unit(leg.scale)).expect("small");
            let account = self.recorder.account(&leg.account);
            (account, if leg.side == Side::Debit { cents } else { -cents })
        };
        let legs = legs.iter().map(signed).collect();
        self.take_names();
        legs
    }

    fn keep_part(&mut self, set: u32, of: TransactionId, legs: &[Posted], at: Position, ask: &Ask) {
        let legs = self.signed(legs);
        let day = self.day_of(of, ask);
        let log: &mut Log = &mut self.logs[set as usize - 1];
        let (transaction, place) = (log.name(at), log.place_of(at));
        log.tell(at, News { kind: "booked", legs: &legs, ..News::default() });
        log.booked.push(Found {
            transaction,
            place,
            id: String::new(),
            scope: None,
            label: label_of(ask),
            legs,
            reverses: None,
            reversed_by: Vec::new(),
            capture: None,
            marks: vec![],
            part_of: Some(Part { of: Name(of), day }),
        });
    }

    /// The day on which all sets book it.
    pub(super) fn day_of(&self, of: TransactionId, ask: &Ask) -> i32 {
        let begun = self.logs[of.set as usize - 1].place_of(of.position);
        let ledger_day = i32::try_from(begun.time_ns / DAY_NS).expect("early");
        written(label_of(ask)).accounting_date.unwrap_or(ledger_day)
    }

    fn keep_whole(&mut self, ask: &Ask, of: TransactionId, settled: &Result<Effect, Rejection>) {
        let Ok(Effect::Settled(legs)) = settled else { unreachable!("{settled:?} settles nothing") };
        let legs = self.signed(legs);
        let (name, log) = (Name(of), &self.logs[of.set as usize - 1]);
        let capture = match ask {
            Ask::Transfer(transfer) => transfer.capture,
            _ => None,
        };
        let (id, label, reverses, scope) = match ask {
            Ask::Transfer(transfer) => {
                (transfer.id.clone(), transfer.label, None, scope_of(&self.history.accounts, transfer))
            }
            Ask::Reverse { id, transaction, .. } => (
                id.clone(),
                None,
                Some(*transaction),
                self.several.whole[transaction].scope.unwrap_or_default(),
            ),
            other => unreachable!("{other:?} is over one set"),
        };
        let place = log.place_of(of.position);
        if let Some(original) = reverses {
            let original = self.several.whole.get_mut(&original).expect("it was reversed");
            original.reversed_by.push(name);
            let own = &mut self.logs[of.set as usize - 1].booked;
            let (original, of_row) = (original.transaction, |row: &Found| row.transaction);
            if let Ok(at) = own.binary_search_by_key(&original, of_row) {
                own[at].reversed_by.push(name);
            }
        }
        let (scope, reversed_by) = (Some(scope), Vec::new());
        let whole = Found {
            transaction: name,
            place,
            id,
            scope,
            label,
            legs,
            reverses,
            reversed_by,
            capture,
            marks: marks_of(ask),
            part_of: None,
        };
        self.several.whole.insert(name, whole);
    }
}

/// As the whole shows them; a reversal has none.
fn marks_of(ask: &Ask) -> Marks {
    match ask {
        Ask::Transfer(transfer) => transfer.shown_marks(),
        _ => Marks::new(),
    }
}

fn label_of(ask: &Ask) -> Option<u16> {
    match ask {
        Ask::Transfer(transfer) => transfer.label,
        _ => None,
    }
}

/// The account that the request id belongs to.
pub(super) fn scope_of(accounts: &[String], transfer: &Transfer) -> u32 {
    let least = |debits: bool| {
        let legs = transfer.legs.iter().filter(|(_, cents)| !debits || *cents > 0);
        legs.map(|(account, _)| *account).min_by_key(|account| &accounts[*account as usize])
    };
    transfer.scope.or(least(true)).or(least(false)).expect("it has legs")
}
