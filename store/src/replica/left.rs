//! What the log asks for beyond some index: for who has to tell people what a replica holds that its set has gone on without.

use twinset_ledger::amount::to_decimal_string;
use twinset_ledger::codec::{self, Entry, Short};
use twinset_ledger::{Command, Leg, Side};

use super::LedgerReplica;
use super::state::ReplicaState;
use crate::fault::Fault;
use crate::record::RecordKind;

/// Bytes of entries read at once.
const READ_BYTES_MAX: usize = 4 << 20;

/// A command in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftCommand {
    /// The log index of its entry.
    pub index: u64,
    /// The client's id, if it has one.
    pub request_id: Option<String>,
    /// The accounts that it names. One that was opened in the same part of the log may only have its number: `#7`.
    pub accounts: Vec<String>,
    /// Of a transaction its legs, in words.
    pub legs: Vec<String>,
}

impl LedgerReplica {
    /// What the log asks for after `index`: how many commands, and the first `max` of them.
    pub fn commands_after(&self, index: u64, max: usize) -> Result<(u64, Vec<LeftCommand>), Fault> {
        self.check()?;
        let log = &self.cell.log;
        let end = log.last().map_or(0, |last| last.index + 1);
        let (mut next, mut count, mut found) = (index + 1, 0, Vec::new());
        while next < end {
            let records = log.read(next, end, READ_BYTES_MAX)?;
            let Some(last) = records.last() else { break };
            next = last.id.index + 1;
            let state = self.cell.state.read();
            for record in records.iter().filter(|record| record.kind == RecordKind::Commands) {
                let bad = |error: codec::DecodeError| {
                    Fault::damaged("a log entry", format!("entry {}: {error}", record.id.index))
                };
                let entry = Entry::parse(&record.payload).map_err(bad)?;
                count += entry.count() as u64;
                for command in entry.records().take(max - found.len()) {
                    found.push(match command {
                        codec::Record::Short(short) => short_command(record.id.index, &short, &state),
                        codec::Record::General(bytes) => {
                            general(record.id.index, &codec::decode_command(bytes).map_err(bad)?)
                        }
                    });
                }
            }
        }
        Ok((count, found))
    }
}

fn short_command(index: u64, short: &Short, state: &ReplicaState) -> LeftCommand {
    let account = |no: u32| state.accounts.get(no as usize);
    let name = |no: u32| account(no).map_or_else(|| format!("#{no}"), |account| account.id.clone());
    let amount = match account(short.debit) {
        Some(debit) => to_decimal_string(short.amount.into(), debit.scale),
        None => format!("{} minor units", short.amount),
    };
    let (debit, credit) = (name(short.debit), name(short.credit));
    let legs = vec![format!("debit {debit} {amount}"), format!("credit {credit} {amount}")];
    let request_id = Some(short.request_id.to_string());
    LeftCommand { index, request_id, accounts: vec![debit, credit], legs }
}

fn general(index: u64, command: &Command) -> LeftCommand {
    let leg = |leg: &Leg| {
        let side = match leg.side {
            Side::Debit => "debit",
            Side::Credit => "credit",
        };
        format!("{side} {} {}", leg.account, leg.amount)
    };
    let legs = match command {
        Command::Transaction(transaction) => transaction.legs.iter().map(leg).collect(),
        Command::Begin(begin) => begin.transaction.legs.iter().map(leg).collect(),
        _ => Vec::new(),
    };
    LeftCommand {
        index,
        request_id: command.request_id().map(str::to_owned),
        accounts: command.accounts().map(str::to_owned).collect(),
        legs,
    }
}
