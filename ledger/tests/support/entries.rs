//! Random histories: entries of the commands that [`crate::generate`] makes.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;
use twinset_ledger::{Command, Position};

use crate::generate::{ACCOUNTS, command, open};

/// Entries of valid commands: a time and a few commands each. The first opens most accounts, not all; the others now
/// and then repeat an earlier command or reverse an earlier transaction.
pub fn entries() -> impl Strategy<Value = Vec<(u64, Vec<Command>)>> {
    let entry = (0u64..200, vec((command(), option::weighted(0.1, any::<Index>()), any::<Index>()), 1..6));
    (vec(open(), 5), vec(entry, 1..24)).prop_map(|(mut opens, drawn)| {
        opens.iter_mut().zip(ACCOUNTS).for_each(|(open, id)| settle(open, id));
        let mut entries = vec![(5, opens)];
        for (time, drawn) in drawn {
            let index = entries.len() as u64 + 1;
            let mut commands = Vec::new();
            for (mut command, repeat, original) in drawn {
                let earlier: Vec<(Position, &Command)> = positions(&entries, index, &commands).collect();
                if let Some(repeat) = repeat {
                    command = repeat.get(&earlier).1.clone();
                } else if let Command::Reversal(reversal) = &mut command {
                    let is_transaction = |command: &Command| matches!(command, Command::Transaction(_));
                    let transactions: Vec<_> = earlier.iter().filter(|(_, c)| is_transaction(c)).collect();
                    if !transactions.is_empty() && reversal.transaction.position.offset() < 4 {
                        reversal.transaction.position = original.get(&transactions).0;
                    }
                }
                commands.push(command);
            }
            entries.push((time, commands));
        }
        entries
    })
}

/// Every command so far with its position; the last entry is still open.
fn positions<'a>(
    entries: &'a [(u64, Vec<Command>)],
    index: u64,
    last: &'a [Command],
) -> impl Iterator<Item = (Position, &'a Command)> {
    let entries = (1..).zip(entries.iter().map(|(_, commands)| commands.as_slice())).chain([(index, last)]);
    entries.flat_map(|(index, commands)| {
        (0..).zip(commands).map(move |(offset, command)| (Position::new(index, offset), command))
    })
}

/// Makes one of the first openings likely to succeed.
fn settle(open: &mut Command, id: &str) {
    if let Command::OpenAccount { account, subject, currency, .. } = open {
        *account = id.to_owned();
        if id < "e" {
            *subject = subject.replace("nosuch", "expense");
            *currency = "EUR".to_owned();
        }
    }
}
