//! Buffered credits in a load, and what must be found of them. They have entries of their own, so that the load knows without a
//! state which number a parcel has: no batch and no freeze stands between what is asked for and what comes of it.

use rust_decimal::Decimal;
use twinset_ledger::account::Side;
use twinset_ledger::attempt::Begin;
use twinset_ledger::buffer::{
    Announcement, BufferStep, Buffered, Credit, InboxEnd, PostingMode, StreamEnd, StreamName,
};
use twinset_ledger::command::{Command, Leg, Metadata, Transaction};
use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::label::Label;
use twinset_ledger::memory::MemoryState;
use twinset_ledger::outcome::{Effect, Outcome};
use twinset_ledger::state::State;
use twinset_store::{LedgerReplica, Outgoing, OwnBuffered, StreamStanding, Suspended};

use super::{ACCOUNTS, Dice, ENTRIES_PER_INCARNATION, Load, incarnation, label, name, order};

/// Who pays accounts of other sets, and cannot be refused.
const TILL: &str = "till";
/// An account of the set next to it that need not be asked.
const SHOP: &str = "shop";
/// One of another set, which is announced and withdrawn, sometimes late.
const STALL: &str = "stall";
/// An account that is not there.
const NOBODY: &str = "nobody";
/// What is done first: behind the openings of the other accounts.
pub(super) const FIRST: u64 = 2;
/// Every so many entries one is of buffered credits.
const EVERY: u64 = 20;
/// What a command of such an entry may be.
const KINDS: u64 = 20;
const PAYS: std::ops::RangeInclusive<u64> = 0..=4;
const CREDITS: std::ops::RangeInclusive<u64> = 5..=9;
const MODES: std::ops::RangeInclusive<u64> = 12..=13;

/// When the number of a parcel is that of the next one.
enum Due {
    Now,
    /// It was before.
    Long,
    /// Whoever says it again says so too early again.
    Never,
}

/// Whether an entry is of buffered credits.
pub(super) fn is_own(index: u64) -> bool {
    index % EVERY == 9
}

impl Load {
    /// Opens the till, and lets the set next to it say that it may be paid.
    pub(super) fn begin_buffering(self, no: u64) -> Command {
        match no {
            0 => Command::OpenAccount {
                request_id: "open".to_owned(),
                account: TILL.to_owned(),
                subject: "liability".to_owned(),
                currency: "EUR".to_owned(),
                normal_side: None,
                limit: None,
                metadata: Metadata::new(),
            },
            _ => {
                let by = TransactionId { set: self.far(), incarnation: 1, position: Position::new(1, 0) };
                Command::BufferStep { by, step: BufferStep::Announce(announcement(SHOP)) }
            }
        }
    }

    /// A command of an entry of buffered credits; None: anything else.
    pub(super) fn buffered(self, index: u64, offset: u64) -> Option<Command> {
        let mut dice = self.dice(index, offset);
        let kind = dice.roll(KINDS);
        Some(match kind {
            kind if PAYS.contains(&kind) => Command::Begin(self.pay((SHOP, self.far()), index, offset)),
            kind if CREDITS.contains(&kind) => self.credit(index, offset, Due::Now),
            10 => self.credit(index, offset, if dice.roll(2) == 0 { Due::Long } else { Due::Never }),
            11 => {
                let (at, number) = self.nth_before(&PAYS, index, offset, &mut dice)?;
                let by = self.named(self.set, at);
                Command::BufferStep { by, step: BufferStep::Acknowledge { to: self.far(), through: number } }
            }
            kind if MODES.contains(&kind) => {
                let mode = if dice.roll(3) == 0 { PostingMode::Strict } else { PostingMode::Buffered };
                let (request_id, account) = (format!("mode-{index}-{offset}"), some(&mut dice));
                Command::SetPostingMode { request_id, account, mode }
            }
            14 => {
                let at = self.one_before(&MODES, index, &mut dice, |_| true)?;
                let Some(Command::SetPostingMode { account, .. }) = self.buffered(at.0, at.1) else {
                    unreachable!("it changes a mode")
                };
                let number = dice.roll(self.count_before(&CREDITS, index, offset) + 2);
                let end = StreamEnd { incarnation: incarnation(index), number };
                let ends = vec![InboxEnd { set: self.far(), end }];
                Command::BufferStep {
                    by: self.named(self.set, at),
                    step: BufferStep::Drained { account, ends },
                }
            }
            15 | 16 => {
                // Mostly of what nobody could take.
                let any = dice.roll(4) == 0;
                let wanted = |(entry, at): (u64, u64)| {
                    let Command::BufferStep { step: BufferStep::Credit(credit), .. } =
                        self.credit(entry, at, Due::Now)
                    else {
                        unreachable!("it is a credit")
                    };
                    any || credit.account == NOBODY
                };
                let at = self.one_before(&CREDITS, index, &mut dice, wanted)?;
                let request_id = format!("resolve-{index}-{offset}");
                let account = name(dice.roll(u64::from(ACCOUNTS)) as u32);
                Command::ResolveSuspense { request_id, item: self.named(self.set, at), account }
            }
            17 => {
                let position = Position::new(index.saturating_sub(dice.roll(30)), offset as u16);
                let by = TransactionId { set: self.farther(), incarnation: 1, position };
                let account = announcement(STALL);
                let step = match dice.roll(3) {
                    0 => BufferStep::Withdraw(account),
                    _ => BufferStep::Announce(account),
                };
                Command::BufferStep { by, step }
            }
            18 => Command::Begin(self.pay((STALL, self.farther()), index, offset)),
            _ => return None,
        })
    }

    fn farther(self) -> u32 {
        self.set + 200
    }

    fn named(self, set: u32, (index, offset): (u64, u64)) -> TransactionId {
        TransactionId { set, incarnation: incarnation(index), position: Position::new(index, offset as u16) }
    }

    fn pay(self, (account, set): (&str, u32), index: u64, offset: u64) -> Begin {
        let amount = Decimal::new(1 + (index + offset) as i64 % 90, 2);
        let transaction = Transaction {
            request_id: format!("pay-{index}-{offset}"),
            legs: vec![Leg::new(TILL, Side::Debit, amount), Leg::new(account, Side::Credit, amount)],
            metadata: order(index, offset),
            ..Transaction::default()
        };
        Begin { transaction, sets: vec![self.set, set] }
    }

    /// A parcel of the set next to it.
    fn credit(self, index: u64, offset: u64, due: Due) -> Command {
        let mut dice = self.dice(index, offset + 13_000);
        let taken = self.count_before(&CREDITS, index, offset);
        let currency = if dice.roll(16) == 0 { "C1" } else { "EUR" };
        let account = if dice.roll(4) == 0 { NOBODY.to_owned() } else { some(&mut dice) };
        let credit = Credit {
            number: match due {
                Due::Now => taken + 1,
                Due::Long if taken > 0 => taken,
                Due::Long | Due::Never => u64::MAX,
            },
            leg: 1,
            account,
            side: Side::Credit,
            amount: 1 + i128::from(dice.roll(200)),
            currency: currency.to_owned(),
            scale: 2,
            accounting_date: 19_000 + (index % 5) as i32,
            label: label(index + offset),
        };
        Command::BufferStep { by: self.named(self.far(), (index, offset)), step: BufferStep::Credit(credit) }
    }

    fn kind(self, index: u64, offset: u64) -> u64 {
        self.dice(index, offset).roll(KINDS)
    }

    /// Where commands of these kinds stand, in the entries of the same incarnation up to a command.
    fn all_before(
        self,
        kinds: &std::ops::RangeInclusive<u64>,
        index: u64,
        offset: u64,
    ) -> impl Iterator<Item = (u64, u64)> {
        let first = index - index % ENTRIES_PER_INCARNATION;
        let own = (first..=index).filter(|&entry| is_own(entry) && !entry.is_multiple_of(17));
        let all = own.flat_map(move |entry| {
            let end = if entry == index { offset } else { self.count(entry) };
            (0..end).map(move |at| (entry, at))
        });
        all.filter(move |&(entry, at)| kinds.contains(&self.kind(entry, at)))
    }

    fn count_before(self, kinds: &std::ops::RangeInclusive<u64>, index: u64, offset: u64) -> u64 {
        self.all_before(kinds, index, offset).count() as u64
    }

    /// One of them, and which one it is, from 1.
    fn nth_before(
        self,
        kinds: &std::ops::RangeInclusive<u64>,
        index: u64,
        offset: u64,
        dice: &mut Dice,
    ) -> Option<((u64, u64), u64)> {
        let all: Vec<(u64, u64)> = self.all_before(kinds, index, offset).collect();
        let at = dice.roll(all.len().max(1) as u64);
        Some((*all.get(at as usize)?, at + 1))
    }

    /// One of an earlier entry, of this incarnation or the one before.
    fn one_before(
        self,
        kinds: &std::ops::RangeInclusive<u64>,
        index: u64,
        dice: &mut Dice,
        wanted: impl Fn((u64, u64)) -> bool,
    ) -> Option<(u64, u64)> {
        let entry = index.checked_sub(EVERY * (1 + dice.roll(3))).filter(|&entry| is_own(entry))?;
        let all = self.all_before(kinds, entry, self.count(entry));
        let all: Vec<(u64, u64)> = all.filter(|&at| at.0 == entry && wanted(at)).collect();
        all.get(dice.roll(all.len().max(1) as u64) as usize).copied()
    }
}

/// Of few accounts, so that modes meet.
fn some(dice: &mut Dice) -> String {
    name(5 * dice.roll(8) as u32)
}

fn announcement(account: &str) -> Announcement {
    Announcement {
        account: account.to_owned(),
        currency: "EUR".to_owned(),
        scale: 2,
        normal_side: Side::Credit,
    }
}

/// Compares what leaders and people see of buffered credits with the model.
pub(super) fn compare(replica: &LedgerReplica, model: &MemoryState, dice: &mut Dice) {
    let buffer = model.buffer();
    let streams = buffer.streams().map(|(name, stream)| StreamStanding {
        name,
        acknowledged: stream.acknowledged(),
        last: stream.last(),
        oldest: stream.get(stream.acknowledged() + 1).map(|parcel| parcel.position),
    });
    assert_eq!(replica.streams(), streams.collect::<Vec<_>>());
    for (name, stream) in buffer.streams() {
        let after = stream.acknowledged() + dice.roll(stream.waiting() + 1);
        let limit = 1 + dice.roll(50) as usize;
        let places = stream.after(after).take(limit).map(|(number, one)| (number, one.position));
        let expected: Vec<Outgoing> = places.map(|at| outgoing(model, name, at)).collect();
        assert_eq!(replica.parcels(name, after, u64::MAX, limit).unwrap(), expected, "{name:?}");
    }
    for known in buffer.all_announced() {
        assert_eq!(replica.in_transit(&known.account.account).value.as_ref(), Some(known));
    }
    for ((set, incarnation), taken) in buffer.inboxes() {
        assert_eq!(replica.taken(set, incarnation), taken);
    }
    own(replica, model);
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = replica.suspended(after, 1 + dice.roll(30) as usize).unwrap().value;
        let Some(last) = page.last() else { break };
        after = Some(last.item.position);
        found.extend(page);
    }
    let expected: Vec<Suspended> = buffer.suspended().map(|position| suspended(model, position)).collect();
    assert_eq!(found, expected);
    assert_eq!(replica.suspended_count(), expected.len());
}

fn own(replica: &LedgerReplica, model: &MemoryState) {
    let own = model.buffer().all_own().map(|(no, standing)| {
        let account = model.account(no);
        OwnBuffered { account: announcement(&account.id), standing }
    });
    assert_eq!(replica.own_buffered(), own.collect::<Vec<OwnBuffered>>());
    for (no, account) in (0..).zip(model.accounts()) {
        let (found, mode): (_, Option<Buffered>) = replica.account_and_mode(&account.id).value.unwrap();
        assert_eq!((&found, mode), (account, model.buffer().own(no)));
    }
}

fn outgoing(model: &MemoryState, name: StreamName, (number, position): (u64, Position)) -> Outgoing {
    let (command, outcome) = model.original(position).unwrap().unwrap();
    let (Command::Begin(begin), Ok(Effect::Buffered { sent, .. })) = (command, &outcome.result) else {
        panic!("nothing was sent at {position:?}")
    };
    let sent = sent.iter().find(|sent| (sent.to, sent.number) == (name.to, number)).unwrap();
    let leg = &begin.transaction.legs[usize::from(sent.leg)];
    let credit = Credit {
        number,
        leg: sent.leg,
        account: leg.account.clone(),
        side: leg.side,
        amount: sent.amount,
        currency: sent.currency.clone(),
        scale: sent.scale,
        accounting_date: outcome.day(),
        label: Label::from(&begin.transaction),
    };
    Outgoing { by: TransactionId { set: model.set(), incarnation: name.incarnation, position }, credit }
}

fn suspended(model: &MemoryState, position: Position) -> Suspended {
    let (command, outcome) = model.original(position).unwrap().unwrap();
    let Outcome { incarnation, time_unix_ns, result, .. } = outcome;
    let (
        Command::BufferStep { by, step: BufferStep::Credit(credit) },
        Ok(Effect::Suspended { reason, booked }),
    ) = (command, result)
    else {
        panic!("nothing was suspended at {position:?}")
    };
    let item = TransactionId { set: model.set(), incarnation, position };
    Suspended { item, by, credit, reason, booked, time_unix_ns }
}
