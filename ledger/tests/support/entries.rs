//! Random histories: entries of the commands that [`crate::generate`] makes.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;
use twinset_ledger::amount::to_minor;
use twinset_ledger::attempt::{Ballot, Part, Sum, Vote};
use twinset_ledger::{Begin, Command, Position, Posted, Side, Step, TransactionId};

use crate::generate::{ACCOUNTS, across, command, open};

/// Entries of valid commands: a time and a few commands each. The first opens most accounts, not all; the others now
/// and then repeat an earlier command or reverse an earlier transaction.
pub fn entries() -> impl Strategy<Value = Vec<(u64, Vec<Command>)>> {
    entries_of(command())
}

/// The same with transactions over several sets, of which the others say what they like; steps are mostly of what was begun
/// or prepared.
pub fn entries_across() -> impl Strategy<Value = Vec<(u64, Vec<Command>)>> {
    entries_of(prop_oneof![3 => command(), 2 => across()])
}

fn entries_of(command: impl Strategy<Value = Command>) -> impl Strategy<Value = Vec<(u64, Vec<Command>)>> {
    let entry = (0u64..200, vec((command, option::weighted(0.1, any::<Index>()), any::<Index>()), 1..6));
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
                    let is_transaction =
                        |command: &Command| matches!(command, Command::Transaction(_) | Command::Begin(_));
                    let transactions: Vec<_> = earlier.iter().filter(|(_, c)| is_transaction(c)).collect();
                    if !transactions.is_empty() && reversal.transaction.position.offset() < 4 {
                        reversal.transaction.position = original.get(&transactions).0;
                    }
                } else if let Command::Step { attempt, step } = &mut command {
                    follow(attempt, step, &earlier, &original);
                }
                commands.push(command);
            }
            entries.push((time, commands));
        }
        entries
    })
}

/// Makes a step one of an attempt that was begun or prepared before, and mostly one that fits it.
fn follow(attempt: &mut TransactionId, step: &mut Step, earlier: &[(Position, &Command)], at: &Index) {
    match step {
        Step::Prepare { .. } => {}
        Step::Commit | Step::Abort => {
            let prepared = earlier.iter().filter_map(|(_, command)| match command {
                Command::Step { attempt, step: Step::Prepare { .. } } => Some(*attempt),
                _ => None,
            });
            let prepared: Vec<TransactionId> = prepared.collect();
            if !prepared.is_empty() {
                *attempt = *at.get(&prepared);
            }
        }
        Step::Decide(_) | Step::Settle { .. } => {
            let begun = earlier.iter().filter_map(|(position, command)| match command {
                Command::Begin(begin) => Some((*position, begin)),
                _ => None,
            });
            let begun: Vec<(Position, &Begin)> = begun.collect();
            if !begun.is_empty() {
                let (position, begin) = at.get(&begun);
                *attempt = TransactionId { set: 1, incarnation: 1, position: *position };
                fit(step, begin);
            }
        }
    }
}

/// Says yes for the other set, now and then to something else.
fn fit(step: &mut Step, begin: &Begin) {
    let at = begin.sets.iter().position(|set| *set == 2).expect("a leg of another set");
    let leg = &begin.transaction.legs[at];
    let (Ok(amount), set) = (to_minor(leg.amount, 2), 2) else { return };
    match step {
        Step::Decide(Ballot::Votes(votes)) if votes[0].said.is_ok() => {
            let amount = if votes.len() == 1 { amount } else { amount + 1 };
            let (debits, credits) = if leg.side == Side::Debit { (amount, 0) } else { (0, amount) };
            let sum = Sum { currency: "EUR".to_owned(), scale: 2, debits, credits };
            *votes = vec![Vote { set, said: Ok(vec![sum]) }];
        }
        Step::Settle { parts } => {
            parts.truncate(1);
            let account = leg.account.clone();
            let posted = Posted { account, side: leg.side, amount, scale: 2, posted: 0, available: 0 };
            parts[0] = Part { set, legs: vec![posted], ..parts[0] };
        }
        _ => {}
    }
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
