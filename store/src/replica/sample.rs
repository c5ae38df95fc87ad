//! A replica to ask, and commands for it: what the tests of this directory share.

use rust_decimal::Decimal;
use tempfile::TempDir;
use twinset_ledger::RULES_VERSION;
use twinset_ledger::account::Side;
use twinset_ledger::attempt::{Ballot, Begin, Part, Step, Sum, Vote};
use twinset_ledger::buffer::{Announcement, BufferStep};
use twinset_ledger::codec::{EntryBuilder, encode_command};
use twinset_ledger::command::{Command, Leg, LegPart, Metadata, Reversal, Transaction};
use twinset_ledger::id::{Position, TransactionId};
use twinset_ledger::outcome::Posted;

use super::LedgerReplica;
use crate::log::Log;
use crate::options::Options;
use crate::record::{LogId, Record, RecordKind};
use crate::store::Store;

const SET: u32 = 1;

/// A replica that is fed entry by entry.
pub(super) struct Fed {
    pub(super) log: Log,
    pub(super) replica: LedgerReplica,
    _store: Store,
    _dir: TempDir,
}

impl Fed {
    pub(super) fn new() -> Fed {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Options::default()).unwrap();
        let (log, replica) = (store.log(SET).unwrap(), store.ledger(SET).unwrap());
        Fed { log, replica, _store: store, _dir: dir }
    }

    /// Appends an entry and applies it; gives its index.
    pub(super) fn feed(&self, commands: &[Command]) -> u64 {
        let index = self.log.last().map_or(0, |last| last.index + 1);
        let record = self.record(index, commands);
        self.append(vec![record.clone()]);
        self.replica.apply(&record).unwrap();
        index
    }

    pub(super) fn append(&self, records: Vec<Record>) {
        self.log.append(records, Box::new(|result| result.unwrap())).unwrap();
    }

    /// The same in another incarnation.
    pub(super) fn feed_in(&self, incarnation: u32, commands: &[Command]) -> u64 {
        let index = self.log.last().map_or(0, |last| last.index + 1);
        let record = self.record_in(incarnation, index, commands);
        self.append(vec![record.clone()]);
        self.replica.apply(&record).unwrap();
        index
    }

    /// The entry of these commands.
    pub(super) fn record(&self, index: u64, commands: &[Command]) -> Record {
        self.record_in(1, index, commands)
    }

    fn record_in(&self, incarnation: u32, index: u64, commands: &[Command]) -> Record {
        let mut builder = EntryBuilder::new(RULES_VERSION, incarnation, 1_700_000_000_000_000_000 + index);
        for command in commands {
            let mut bytes = Vec::new();
            encode_command(command, &mut bytes);
            builder.push_command_bytes(&bytes);
        }
        let id = LogId { term: 1, leader: 1, index };
        Record { id, kind: RecordKind::Commands, payload: builder.finish().into() }
    }
}

/// Opens an account.
pub(super) fn open(account: &str) -> Command {
    Command::OpenAccount {
        request_id: "open".to_owned(),
        account: account.to_owned(),
        subject: "liability".to_owned(),
        currency: "EUR".to_owned(),
        normal_side: None,
        limit: None,
        metadata: Metadata::new(),
    }
}

/// Moves a few cents.
pub(super) fn pay(request_id: &str, debit: &str, credit: &str, cents: i64) -> Command {
    let leg = |account, side| Leg::new(account, side, Decimal::new(cents, 2));
    Command::Transaction(Transaction {
        request_id: request_id.to_owned(),
        legs: vec![leg(debit, Side::Debit), leg(credit, Side::Credit)],
        ..Transaction::default()
    })
}

/// Begins to pay a few cents to an account of the next set.
pub(super) fn pay_far(request_id: &str, debit: &str, cents: i64) -> Command {
    let Command::Transaction(transaction) = pay(request_id, debit, FAR, cents) else { unreachable!() };
    Command::Begin(Begin { transaction, sets: vec![SET, SET + 1] })
}

/// The steps of it, or of its reversal, that the set takes when the next one has agreed: to book it, and to tell it.
pub(super) fn decide_and_settle(begun: u64, side: Side, cents: i64) -> [Command; 2] {
    let attempt = TransactionId { set: SET, incarnation: 1, position: Position::new(begun, 0) };
    let (set, amount, scale) = (SET + 1, i128::from(cents), 2);
    let (debits, credits) = if side == Side::Debit { (amount, 0) } else { (0, amount) };
    let sum = Sum { currency: "EUR".to_owned(), scale, debits, credits };
    let (posted, available) = (amount, amount);
    let posted = Posted { account: FAR.to_owned(), side, amount, scale, posted, available };
    let part = Part { set, position: Position::new(9, 0), legs: vec![posted] };
    let decide = Step::Decide(Ballot::Votes(vec![Vote { set, said: Ok(vec![sum]) }]));
    [decide, Step::Settle { parts: vec![part] }].map(|step| Command::Step { attempt, step })
}

/// An account of the next set.
const FAR: &str = "far";

/// Says that an account of the next set is paid without asking.
pub(super) fn announce(account: &str) -> Command {
    let account = Announcement {
        account: account.to_owned(),
        currency: "EUR".to_owned(),
        scale: 2,
        normal_side: Side::Credit,
    };
    let by = TransactionId { set: SET + 1, incarnation: 1, position: Position::new(9, 0) };
    Command::BufferStep { by, step: BufferStep::Announce(account) }
}

/// Takes back cents of legs.
pub(super) fn take_back_legs(request_id: &str, position: Position, cents: &[(u16, i64)]) -> Command {
    let part = |&(leg, cents): &(u16, i64)| LegPart { leg, amount: Decimal::new(cents, 2) };
    match take_back_a_cent(request_id, position) {
        Command::Reversal(reversal) => {
            let legs = Some(cents.iter().map(part).collect());
            Command::Reversal(Reversal { amount: None, legs, ..reversal })
        }
        _ => unreachable!("it is one"),
    }
}

/// Takes back a cent.
pub(super) fn take_back_a_cent(request_id: &str, position: Position) -> Command {
    Command::Reversal(Reversal {
        request_id: request_id.to_owned(),
        transaction: TransactionId { set: SET, incarnation: 1, position },
        amount: Some(Decimal::new(1, 2)),
        legs: None,
        reason: 0,
        metadata: Metadata::new(),
    })
}
