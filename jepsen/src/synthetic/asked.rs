//! Calls that a made-up set does not answer by itself: atomic batches, and events of all sets; and dry runs, which it answers and
//! forgets.

use twinset_ledger::Position;

use super::{Log, Maker};
use crate::check::model;
use crate::check::replay::in_cents;
use crate::check::witness::Body;
use crate::history::{Answer, AsOf, Ask, History, Transfer};

impl Maker {
    /// An atomic batch: one entry of one set.
    pub(super) fn together(&mut self, items: &[Transfer], with_postings: bool) -> Answer {
        let set = self.history.set_of(items[0].legs[0].0).unwrap_or(1);
        let log = &mut self.logs[set as usize - 1];
        log.next_entry();
        log.behind = items.len() as u64 - 1;
        let mut group = Vec::new();
        for (item, offset) in items.iter().zip(0u16..) {
            let command = Body::Transfer(item).command(&self.history);
            group.push((Position::new(log.index, offset), log.time_ns + u64::from(offset), command));
        }
        let verdicts = log.model.apply_together(&group);
        let mut answers = Vec::new();
        for ((item, (.., command)), verdict) in items.iter().zip(&group).zip(verdicts) {
            let verdict = in_cents(&verdict, &log.model);
            let mut answer = log.told(&Ask::Transfer(item.clone()), command, verdict, &self.history);
            if let Answer::Booked { balances, .. } = &mut answer
                && !with_postings
            {
                balances.clear();
            }
            answers.push(answer);
        }
        Answer::Batch(answers)
    }

    /// A page of events of a set, or of all of them: there a place is how many of each were told.
    pub(super) fn events(&self, set: Option<u32>, after: &str, size: usize) -> Answer {
        let (mut as_of, mut all, mut nexts, mut more) = (Vec::new(), Vec::new(), Vec::new(), false);
        for (at, log) in self.logs.iter().enumerate() {
            if set.is_some_and(|set| set != log.set) {
                continue;
            }
            let from = match set {
                Some(_) => log.events_upto(after),
                None => after.split('-').nth(at).and_then(|text| text.parse().ok()).unwrap_or(0),
            };
            let (events, to) = log.events(from, size);
            more |= to < log.events.len();
            let last = to.checked_sub(1).map(|last| log.events[last].event.to_string());
            nexts.push(if set.is_some() { last.unwrap_or_default() } else { to.to_string() });
            as_of.push(log.place());
            all.extend(events);
        }
        Answer::Events { as_of, age_ms: 0, events: all, next: nexts.join("-"), more }
    }
}

impl Log {
    /// What would come of a transaction right behind the last entry.
    pub(super) fn foresee(&mut self, transfer: &Transfer, history: &History) -> Answer {
        let as_of = AsOf::now(self.place());
        let command = Body::Transfer(transfer).command(history);
        let place = Position::new(self.index + 1, 0);
        let verdict = in_cents(&self.model.would(place, as_of.place.time_ns + 1, &command), &self.model);
        let replayed = verdict.replayed;
        match verdict.answer {
            model::Answer::No(code) if replayed => {
                Answer::Rejected { code: code.into(), place: self.place_of(verdict.position), replayed }
            }
            model::Answer::No(code) => Answer::ForeseenRefusal { as_of, code: code.into() },
            model::Answer::Booked(legs) => {
                let before = replayed.then(|| (self.name(verdict.position), self.place_of(verdict.position)));
                let cents = |minor: i128| i64::try_from(minor).expect("small");
                let balances = legs.iter().map(|leg| (cents(leg.3), cents(leg.4))).collect();
                Answer::Foreseen { as_of, before, replayed, balances }
            }
            other => unreachable!("{other:?} comes of no transaction of one set"),
        }
    }
}
