//! Buffered credits in a made-up history: what sets tell each other about accounts and what they send travels for a while, in order,
//! and is put into the models of the sets where it arrives.

use std::collections::{BTreeMap, VecDeque};

use twinset_ledger::buffer::{Announcement, BufferStep, Credit, Sent};
use twinset_ledger::{Command, Effect, Label, Outcome, Posted, Side, TransactionId};

use super::across::scope_of;
use super::past::News;
use super::{Log, Maker, unit};
use crate::history::buffered::{InTransit, Suspended};
use crate::history::{Answer, AsOf, Ask, Found, History, Level, Name, Part, suspense};

/// Between two turns at which something of one stream arrives.
const PACE: u64 = 3;
/// Turns that pass until a word about an account is heard, a parcel is taken in, and that is heard of.
const DELAY: u64 = 25;

/// When it arrives, of which transaction it is, and what it is.
type Parcel = (u64, TransactionId, Credit);

/// What is on its way between the sets.
#[derive(Default)]
pub struct Ways {
    turn: u64,
    /// By who hears it: when, and what.
    words: VecDeque<(u32, u64, Command)>,
    /// By the set that sends and the one that takes in.
    parcels: BTreeMap<(u32, u32), VecDeque<Parcel>>,
    /// By the set that has sent: when, and what it is told.
    answers: VecDeque<(u32, u64, Command)>,
}

impl Maker {
    /// An account may be paid without asking, or may not any more.
    pub(super) fn set_mode(&mut self, ask: &Ask) -> Answer {
        let Ask::SetMode { account, buffered, .. } = ask else { unreachable!("{ask:?} sets no mode") };
        let set = self.history.set_of(*account).unwrap_or(1);
        let log = &mut self.logs[set as usize - 1];
        let answer = log.write(ask, &self.history);
        if let Answer::Done { replayed: false, .. } = answer {
            let id = &self.history.accounts[*account as usize];
            let known =
                log.model.records().into_iter().find(|known| known.id == *id).expect("it was changed");
            let account = Announcement {
                account: known.id,
                currency: known.currency,
                scale: known.scale,
                normal_side: known.normal_side,
            };
            let by = log.name(twinset_ledger::Position::new(log.index, 0)).0;
            let step = if *buffered { BufferStep::Announce(account) } else { BufferStep::Withdraw(account) };
            let due = self.ways.turn + DELAY;
            self.ways.words.push_back((3 - set, due, Command::BufferStep { by, step }));
        }
        answer
    }

    /// Something was paid without asking: the own part is booked, the others leave.
    pub(super) fn paid(
        &mut self,
        ask: &Ask,
        set: u32,
        begun: &Outcome,
        (booked, sent): (&[Posted], &[Sent]),
    ) {
        let Ask::Transfer(transfer) = ask else { unreachable!("{ask:?} pays nobody") };
        let of = self.logs[set as usize - 1].name(begun.position).0;
        let (legs, day) = (self.signed(booked), self.day_of(of, ask));
        let place = self.logs[set as usize - 1].place_of(of.position);
        let own = Found {
            transaction: Name(of),
            place,
            id: transfer.id.clone(),
            scope: Some(scope_of(&self.history.accounts, transfer)),
            label: transfer.label,
            legs,
            reverses: None,
            reversed_by: Vec::new(),
            capture: transfer.capture,
            marks: vec![],
            part_of: Some(Part { of: Name(of), day }),
        };
        let whole = Found { legs: transfer.legs.clone(), part_of: None, ..own.clone() };
        self.several.whole.insert(Name(of), whole);
        let log = &mut self.logs[set as usize - 1];
        log.tell(of.position, News { kind: "booked", id: &own.id, legs: &own.legs, ..News::default() });
        log.booked.push(own);
        for one in sent {
            let (account, cents) = transfer.legs[usize::from(one.leg)];
            let credit = Credit {
                number: one.number,
                leg: one.leg,
                account: self.history.accounts[account as usize].clone(),
                side: if cents > 0 { Side::Debit } else { Side::Credit },
                amount: one.amount,
                currency: one.currency.clone(),
                scale: one.scale,
                accounting_date: day,
                label: Label::default(),
            };
            let due = self.ways.turn + DELAY;
            self.ways.parcels.entry((set, one.to)).or_default().push_back((due, of, credit));
        }
    }

    /// One more turn: what is due arrives, one of each way.
    pub(super) fn travel(&mut self) {
        self.ways.turn += 1;
        let now = self.ways.turn;
        if now.is_multiple_of(PACE) {
            self.one_of_each(now);
        }
    }

    /// Everything arrives.
    pub(super) fn arrive(&mut self) {
        while self.one_of_each(u64::MAX) {}
    }

    fn one_of_each(&mut self, now: u64) -> bool {
        let mut any = false;
        if let Some((set, _, command)) = self.ways.words.pop_front_if(|word| word.1 <= now) {
            self.step(set, &command);
            any = true;
        }
        for (from, to) in [(1, 2), (2, 1)] {
            let way = self.ways.parcels.entry((from, to)).or_default();
            if let Some((_, of, credit)) = way.pop_front_if(|parcel| parcel.0 <= now) {
                self.take_in((from, to), of, credit, now);
                any = true;
            }
        }
        if let Some((set, _, command)) = self.ways.answers.pop_front_if(|answer| answer.1 <= now) {
            self.step(set, &command);
            any = true;
        }
        any
    }

    fn take_in(&mut self, (from, to): (u32, u32), of: TransactionId, credit: Credit, now: u64) {
        let (day, through) = (credit.accounting_date, credit.number);
        let command = Command::BufferStep { by: of, step: BufferStep::Credit(credit) };
        let (position, reason, booked) = match self.step(to, &command) {
            Outcome { position, result: Ok(Effect::Posted(booked)), .. } => (position, "", booked),
            Outcome { position, result: Ok(Effect::Suspended { reason, booked }), .. } => {
                (position, reason.code(), booked)
            }
            other => unreachable!("{other:?} is no booking"),
        };
        let legs = self.signed(&booked);
        let log = &mut self.logs[to as usize - 1];
        let (transaction, place) = (log.name(position), log.place_of(position));
        log.tell(position, News { kind: "booked", legs: &legs, suspended: reason, ..News::default() });
        log.booked.push(Found {
            transaction,
            place,
            id: String::new(),
            scope: None,
            label: self.several.whole[&Name(of)].label,
            legs,
            reverses: None,
            reversed_by: Vec::new(),
            capture: None,
            marks: vec![],
            part_of: Some(Part { of: Name(of), day }),
        });
        let step = BufferStep::Acknowledge { to, through };
        self.ways.answers.push_back((from, now.saturating_add(DELAY), Command::BufferStep { by: of, step }));
    }

    /// What the other set says that is on its way to an account.
    pub(super) fn in_transit(&self, account: u32) -> Answer {
        let own = self.history.set_of(account).unwrap_or(1);
        let (id, log) = (&self.history.accounts[account as usize], &self.logs[2 - own as usize]);
        let scale = self.logs[own as usize - 1].model.accounts()[id].cents_of_a_minor_unit();
        let from = log.model.in_transit(id).map(|(credits, minor)| InTransit {
            as_of: AsOf::now(log.place()),
            credits: credits as u64,
            cents: i64::try_from(minor * scale).expect("small"),
        });
        Answer::Transit { from: from.into_iter().collect(), silent: Vec::new() }
    }

    /// What is on its way in the end, and in suspense.
    pub(super) fn last_look_at_buffered(&mut self) {
        let asked = self.history.ops.iter().filter_map(|op| match op.ask {
            Ask::SetMode { account, .. } => Some(account),
            _ => None,
        });
        let accounts: std::collections::BTreeSet<u32> = asked.collect();
        let level = Level::Linearizable;
        let transit = accounts.iter().map(|account| Ask::ReadTransit { account: *account, level });
        let lists = [1, 2].map(|set| Ask::ListSuspense { set, after: None, page_size: 1_000, level });
        let lists = lists.into_iter().filter(|_| !accounts.is_empty());
        for ask in transit.chain(lists).collect::<Vec<Ask>>() {
            self.now_ns += super::TICK_NS * super::PROCESSES as u64;
            self.ask((99, 0), ask, None);
        }
    }
}

impl Log {
    /// A page of what is in suspense.
    pub(super) fn suspense(&self, ask: &Ask, history: &History) -> Answer {
        let Ask::ListSuspense { after, page_size, .. } = ask else { unreachable!("{ask:?} asks for it") };
        let mut found: Vec<Suspended> = Vec::new();
        for (item, credit) in self.model.suspended() {
            let is_it = |row: &&Found| row.transaction.0 == item;
            let row = self.booked.iter().find(is_it).expect("it was booked");
            let told = self.events.iter().find(|told| told.event.0 == item).expect("it was told");
            let part = row.part_of.expect("it is of another set");
            let account = history.accounts.iter().position(|id| *id == credit.account).expect("it is known");
            debug_assert!(suspense(&history.accounts[row.legs[0].0 as usize]).is_some());
            found.push(Suspended {
                item: Name(item),
                place: row.place,
                account: account as u32,
                cents: {
                    let cents = i64::try_from(credit.amount * unit(credit.scale)).expect("small");
                    if credit.side == Side::Debit { cents } else { -cents }
                },
                of: part.of,
                day: part.day,
                reason: told.suspended.clone(),
            });
        }
        let mut behind: Vec<Suspended> =
            found.into_iter().filter(|one| after.is_none_or(|after| one.item > after)).collect();
        let more = behind.len() > *page_size as usize;
        behind.truncate(*page_size as usize);
        let next = behind.last().filter(|_| more).map(|last| last.item);
        Answer::Suspense { as_of: AsOf::now(self.place()), found: behind, next }
    }
}
