//! Buffered credits for those who look at them: what the leader sends, says and waits for, and what people ask. What is sent stands
//! in the transactions that were booked; the state keeps only where (see the ledger's `buffer`).

use twinset_ledger::account::Account;
use twinset_ledger::apply;
use twinset_ledger::attempt::Begin;
use twinset_ledger::buffer::{Announced, Announcement, BufferStep, Buffered, Credit, Sent, StreamName};
use twinset_ledger::command::Command;
use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::label::Label;
use twinset_ledger::outcome::{Effect, Outcome, Posted};
use twinset_ledger::rejection::Rejection;
use twinset_ledger::state::State;

use super::LedgerReplica;
use super::reads::Read;
use super::rebuild::missing;
use super::state::ReplicaState;
use crate::fault::Fault;

/// Transactions that are read from the log under one lock, at most.
const READS_PER_LOCK: usize = 32;
/// Bytes of metadata after which no more parcels are read at once.
const METADATA_BYTES_MAX: usize = 256 << 10;

/// A parcel as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The transaction that it is a leg of.
    pub by: TransactionId,
    /// What the payee's set is told.
    pub credit: Credit,
}

/// How a stream to another set stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamStanding {
    /// Which one.
    pub name: StreamName,
    /// The last number that is acknowledged.
    pub acknowledged: u64,
    /// The last number that was given.
    pub last: u64,
    /// Where the transaction of the first parcel stands that is not acknowledged.
    pub oldest: Option<Position>,
}

/// An own account that is not strict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnBuffered {
    /// What other sets are told of it.
    pub account: Announcement,
    /// Since when, and whether it is leaving.
    pub standing: Buffered,
}

/// A credit that stands on a suspense account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspended {
    /// Its name: where it was taken in.
    pub item: TransactionId,
    /// The payer's transaction.
    pub by: TransactionId,
    /// What was sent.
    pub credit: Credit,
    /// Why it could not be booked where it should be.
    pub reason: Rejection,
    /// Where it stands, and the clearing leg.
    pub booked: Vec<Posted>,
    /// Ledger time at which it was taken in.
    pub time_unix_ns: u64,
}

impl LedgerReplica {
    /// Whether a transaction over several sets would be paid without asking any of them.
    pub fn pays_unasked(&self, begin: &Begin) -> bool {
        apply::pays_unasked(&*self.cell.state.read(), begin)
    }

    /// How all streams to other sets stand.
    pub fn streams(&self) -> Vec<StreamStanding> {
        let state = self.cell.state.read();
        let standing = |(name, stream): (StreamName, &twinset_ledger::buffer::Stream)| StreamStanding {
            name,
            acknowledged: stream.acknowledged(),
            last: stream.last(),
            oldest: stream.get(stream.acknowledged() + 1).map(|parcel| parcel.position),
        };
        state.buffer().streams().map(standing).collect()
    }

    /// Of each stream that has something waiting: the set that it goes to, how many parcels, and how long ago, by ledger time in
    /// nanoseconds, the oldest was paid. Where that cannot be read, 0.
    pub fn waiting_parcels(&self) -> Vec<(u32, u64, u64)> {
        let state = self.cell.state.read();
        let waiting = state.buffer().streams().map(|(name, stream)| {
            let oldest = stream.get(stream.acknowledged() + 1);
            let paid = oldest.and_then(|one| state.outcome_at(one.position).ok().flatten());
            let age_ns = paid.map_or(0, |paid| state.about.last_time.saturating_sub(paid.time_unix_ns));
            (name.to, stream.waiting(), age_ns)
        });
        waiting.collect()
    }

    /// Parcels of a stream behind a number, in order, of transactions up to log index `upto`; `limit` at most, and fewer where their
    /// metadata are long.
    pub fn parcels(
        &self,
        name: StreamName,
        after: u64,
        upto: u64,
        limit: usize,
    ) -> Result<Vec<Outgoing>, Fault> {
        self.check()?;
        let mut found = Vec::new();
        let (mut after, mut metadata) = (after, 0);
        while found.len() < limit {
            let state = self.cell.state.read();
            let Some(stream) = state.buffer().stream(name) else { break };
            let room = READS_PER_LOCK.min(limit - found.len());
            let some = stream.after(after).take(room).take_while(|(_, one)| one.position.index() <= upto);
            let some: Vec<(u64, Position)> = some.map(|(number, one)| (number, one.position)).collect();
            let Some((last, _)) = some.last() else { break };
            after = *last;
            for (number, position) in some {
                let one = state.outgoing(name, number, position)?;
                let pairs = one.credit.label.metadata.iter();
                metadata += pairs.map(|(key, value)| key.len() + value.len()).sum::<usize>();
                found.push(one);
                if metadata > METADATA_BYTES_MAX {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    /// The own accounts that are not strict.
    pub fn own_buffered(&self) -> Vec<OwnBuffered> {
        let state = self.cell.state.read();
        let own = |(no, standing)| {
            let account = state.account(no);
            let account = Announcement {
                account: account.id.clone(),
                currency: account.currency.clone(),
                scale: account.scale,
                normal_side: account.normal_side,
            };
            OwnBuffered { account, standing }
        };
        state.buffer().all_own().map(own).collect()
    }

    /// An account, and what it is if it is not strict.
    pub fn account_and_mode(&self, account: &str) -> Read<Option<(Account, Option<Buffered>)>> {
        let state = self.cell.state.read();
        let found = state.account_no(account).map(|no| (state.account(no).clone(), state.buffer().own(no)));
        state.answer(found)
    }

    /// What is known of an account of another set, and what was sent to it that is not acknowledged. None: it was never
    /// announced here.
    pub fn in_transit(&self, account: &str) -> Read<Option<Announced>> {
        let state = self.cell.state.read();
        state.answer(state.buffer().announced(account).cloned())
    }

    /// The last number that was taken in of another set's stream.
    pub fn taken(&self, set: u32, incarnation: u32) -> u64 {
        self.cell.state.read().buffer().taken(set, incarnation)
    }

    /// Credits that stand on suspense accounts.
    pub fn suspended_count(&self) -> usize {
        self.cell.state.read().buffer().suspended().len()
    }

    /// Credits that stand on suspense accounts, behind a position, in order; `limit` at most.
    pub fn suspended(&self, after: Option<Position>, limit: usize) -> Result<Read<Vec<Suspended>>, Fault> {
        self.check()?;
        let (mut read, places) = {
            let state = self.cell.state.read();
            let behind = state.buffer().suspended().filter(|at| after.is_none_or(|after| *at > after));
            (state.answer(Vec::new()), behind.take(limit).collect::<Vec<Position>>())
        };
        // What was taken in never changes: it need not be of the same moment.
        for places in places.chunks(READS_PER_LOCK) {
            let state = self.cell.state.read();
            for place in places {
                read.value.push(state.suspended_at(*place)?);
            }
        }
        Ok(read)
    }
}

impl ReplicaState {
    /// The parcel of that number, which is of the transaction at a position.
    fn outgoing(&self, name: StreamName, number: u64, position: Position) -> Result<Outgoing, Fault> {
        let (command, outcome) = self.remembered(position)?.ok_or_else(|| missing(position))?;
        let day = outcome.day();
        let by = TransactionId { set: self.set, incarnation: outcome.incarnation, position };
        let (Command::Begin(begin), Ok(Effect::Buffered { sent, .. })) = (command, outcome.result) else {
            return Err(not_sent(position));
        };
        let is_it = |sent: &Sent| (sent.to, sent.number) == (name.to, number);
        let sent = sent.into_iter().find(is_it).ok_or_else(|| not_sent(position))?;
        let leg = begin.transaction.legs.get(usize::from(sent.leg)).ok_or_else(|| not_sent(position))?;
        let credit = Credit {
            number,
            leg: sent.leg,
            account: leg.account.clone(),
            side: leg.side,
            amount: sent.amount,
            currency: sent.currency,
            scale: sent.scale,
            accounting_date: begin.transaction.accounting_date.unwrap_or(day),
            label: Label::from(&begin.transaction),
        };
        Ok(Outgoing { by, credit })
    }

    fn suspended_at(&self, position: Position) -> Result<Suspended, Fault> {
        let (command, outcome) = self.remembered(position)?.ok_or_else(|| missing(position))?;
        let Outcome { incarnation, time_unix_ns, result, .. } = outcome;
        let item = TransactionId { set: self.set, incarnation, position };
        match (command, result) {
            (
                Command::BufferStep { by, step: BufferStep::Credit(credit) },
                Ok(Effect::Suspended { reason, booked }),
            ) => Ok(Suspended { item, by, credit, reason, booked, time_unix_ns }),
            _ => Err(Fault::damaged("a suspended credit", format!("{item} is none"))),
        }
    }

    /// Of what was paid without asking, the legs that are not acknowledged.
    pub(super) fn legs_in_transit(&self, outcome: &Outcome) -> Vec<u8> {
        let Ok(Effect::Buffered { sent, .. }) = &outcome.result else { return Vec::new() };
        let waits = |sent: &&Sent| self.buffer().is_in_transit(sent, outcome.incarnation);
        sent.iter().filter(waits).map(|sent| sent.leg).collect()
    }
}

fn not_sent(position: Position) -> Fault {
    Fault::damaged(
        "a parcel",
        format!("nothing of it was sent at {}-{}", position.index(), position.offset()),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use twinset_ledger::account::Side;
    use twinset_ledger::buffer::PostingMode;
    use twinset_ledger::command::Metadata;

    use super::super::sample::{Fed, announce, open, pay_far};
    use super::*;
    use twinset_ledger::buffer::Transit;

    const NAME: StreamName = StreamName { to: 2, incarnation: 1 };

    #[test]
    fn parcels_come_from_the_transactions_before_and_after_a_checkpoint() {
        let fed = Fed::new();
        fed.feed(&[open("a"), announce("far")]);
        let indexes: Vec<u64> = (1..=3).map(|n| fed.feed(&[pay_far(&format!("p{n}"), "a", n)])).collect();
        for _ in 0..2 {
            let sent = fed.replica.parcels(NAME, 0, u64::MAX, 100).unwrap();
            let told: Vec<(u64, i128)> =
                sent.iter().map(|one| (one.credit.number, one.credit.amount)).collect();
            assert_eq!(told, [(1, 1), (2, 2), (3, 3)]);
            let places: Vec<u64> = sent.iter().map(|one| one.by.position.index()).collect();
            assert_eq!(places, indexes);
            assert_eq!(fed.replica.parcels(NAME, 1, u64::MAX, 1).unwrap(), sent[1..2]);
            assert_eq!(fed.replica.parcels(NAME, 0, indexes[0], 9).unwrap(), sent[..1]);
            assert_eq!(
                fed.replica.in_transit("far").value.unwrap().transit,
                Transit { parcels: 3, amount: 6 }
            );
            fed.replica.checkpoint().unwrap();
        }
        let by = fed.replica.parcels(NAME, 1, u64::MAX, 1).unwrap()[0].by;
        let step = BufferStep::Acknowledge { to: 2, through: 2 };
        fed.feed(&[Command::BufferStep { by, step }]);
        let [standing] = fed.replica.streams()[..] else { panic!("there is one stream") };
        assert_eq!((standing.acknowledged, standing.last), (2, 3));
        assert_eq!(standing.oldest.map(Position::index), Some(indexes[2]));
        let booked = fed.replica.transaction(Position::new(indexes[2], 0)).unwrap().value.unwrap();
        assert_eq!(booked.in_transit.len(), 1);
    }

    #[test]
    fn parcels_say_what_their_transactions_say_and_few_are_read_at_once_where_that_is_long() {
        let fed = Fed::new();
        fed.feed(&[open("a"), announce("far")]);
        let long: Metadata = (0..32).map(|n| (format!("key-{n}"), "v".repeat(512))).collect();
        let pay = |n: u64, metadata: &Metadata| {
            let Command::Begin(mut begin) = pay_far(&format!("p{n}"), "a", 1) else { unreachable!() };
            begin.transaction.metadata.clone_from(metadata);
            (begin.transaction.kind, begin.transaction.reason) = (7, n as u16);
            Command::Begin(begin)
        };
        let plain: Vec<Command> = (0..100).map(|n| pay(n, &Metadata::new())).collect();
        fed.feed(&plain);
        let labelled: Vec<Command> = (100..150).map(|n| pay(n, &long)).collect();
        fed.feed(&labelled);
        let of = |n: u64| Label {
            kind: 7,
            reason: n as u16,
            metadata: if n < 100 { Metadata::new() } else { long.clone() },
        };
        let (mut after, mut loads) = (0, Vec::new());
        while after < 150 {
            let load = fed.replica.parcels(NAME, after, u64::MAX, 1_000).unwrap();
            for one in &load {
                assert_eq!(one.credit.label, of(after), "of parcel {after} + 1");
                after += 1;
                assert_eq!(one.credit.number, after);
            }
            loads.push(load.len());
        }
        assert_eq!(loads, [116, 16, 16, 2]);
    }

    #[test]
    fn what_is_suspended_is_listed_until_it_is_booked_on() {
        let fed = Fed::new();
        fed.feed(&[open("a")]);
        let credit = |number, account: &str| {
            let credit = Credit {
                number,
                leg: 1,
                account: account.to_owned(),
                side: Side::Debit,
                amount: 5,
                currency: "EUR".to_owned(),
                scale: 2,
                accounting_date: 3,
                label: Label::default(),
            };
            let by = TransactionId { set: 2, incarnation: 1, position: Position::new(number, 0) };
            Command::BufferStep { by, step: BufferStep::Credit(credit) }
        };
        fed.feed(&[credit(1, "a"), credit(2, "nobody"), credit(3, "nobody")]);
        let listed = fed.replica.suspended(None, 9).unwrap().value;
        let numbers: Vec<u64> = listed.iter().map(|one| one.credit.number).collect();
        assert_eq!(numbers, [2, 3]);
        assert_eq!(fed.replica.suspended(Some(listed[0].item.position), 9).unwrap().value, listed[1..]);
        let item = listed[0].item;
        let (request_id, account) = ("r".to_owned(), "a".to_owned());
        fed.feed(&[Command::ResolveSuspense { request_id, item, account }]);
        assert_eq!(fed.replica.suspended(None, 9).unwrap().value, listed[1..]);
        assert_eq!(fed.replica.suspended_count(), 1);
        for request_id in ["before", "after-a-checkpoint"] {
            let (request_id, account) = (request_id.to_owned(), "a".to_owned());
            let index = fed.feed(&[Command::ResolveSuspense { request_id, item, account }]);
            let again = fed.replica.transaction(Position::new(index, 0)).unwrap().value.unwrap();
            assert_eq!(again.outcome.result, Err(Rejection::SuspenseResolved { item }));
            fed.replica.checkpoint().unwrap();
        }
        let mode = PostingMode::Buffered;
        let (request_id, account) = ("m".to_owned(), "a".to_owned());
        fed.feed(&[Command::SetPostingMode { request_id, account, mode }]);
        assert_eq!(fed.replica.own_buffered()[0].account.account, "a");
    }

    /// Prints what a full stream costs a checkpoint: `cargo test -p twinset-store a_full_stream -- --nocapture`.
    #[test]
    fn a_full_stream_is_a_small_record() {
        let mut state = twinset_ledger::memory::MemoryState::new(1);
        let count = 50_000u64;
        let mut entries = twinset_ledger::codec::EntryBuilder::new(twinset_ledger::RULES_VERSION, 1, 7);
        let push = |command: &Command, builder: &mut twinset_ledger::codec::EntryBuilder| {
            let mut bytes = Vec::new();
            twinset_ledger::codec::encode_command(command, &mut bytes);
            builder.push_command_bytes(&bytes);
        };
        push(&open("a"), &mut entries);
        push(&announce("far"), &mut entries);
        state.apply(1, &entries.finish()).unwrap();
        for index in 0..count / 50 {
            let mut entry = twinset_ledger::codec::EntryBuilder::new(twinset_ledger::RULES_VERSION, 1, 7);
            (0..50).for_each(|n| push(&pay_far(&format!("p{index}-{n}"), "a", 1_000), &mut entry));
            state.apply(index + 2, &entry.finish()).unwrap();
        }
        let before = Instant::now();
        let copy = state.buffer().clone();
        let cloned = before.elapsed();
        let mut bytes = Vec::new();
        twinset_ledger::codec::encode_buffer(&copy, &mut bytes);
        println!("{count} parcels: cloned in {cloned:?}, {} bytes in {:?}", bytes.len(), before.elapsed());
        assert!(bytes.len() < 8 * count as usize, "{} bytes", bytes.len());
        assert_eq!(twinset_ledger::codec::decode_buffer(&bytes).as_ref(), Ok(state.buffer()));
    }
}
