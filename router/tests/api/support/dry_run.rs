//! Dry runs as the fake nodes answer them, from the ledger in memory: as `node/src/api/dry_run.rs` does.

use bytes::Bytes;
use twinset_ledger::apply::{dry_run, own_sums};
use twinset_ledger::codec::{decode_command, encode_outcome};
use twinset_ledger::memory::MemoryState;
use twinset_ledger::{Begin, Command, Effect, Label, Outcome, Position, State, Step, TransactionId, slot_of};
use twinset_proto::cluster::v1::{DryOutcome, DryRun, DryRunReply, read_reply};
use twinset_proto::ledger::v1 as wire;

/// What would come of the commands that a router asks about.
pub fn answer(
    state: &MemoryState,
    slots: &[u32],
    asked: &DryRun,
    as_of: Option<wire::Position>,
) -> read_reply::Result {
    let commands =
        asked.commands.iter().zip(0..).map(|(bytes, no)| understood(state.set(), slots, bytes, no));
    let commands: Vec<Command> = commands.collect();
    let outcomes = dry_run(state, 1, 1_000_000_000, &commands).expect("commands that can be applied");
    let told = commands.iter().zip(outcomes).map(|(command, outcome)| {
        let vote = match (command, &outcome.result) {
            (Command::Begin(begin), Ok(Effect::Begun)) => {
                encoded(&Outcome { result: Ok(Effect::Prepared(own_sums(state, begin))), ..outcome.clone() })
            }
            _ => Bytes::new(),
        };
        DryOutcome { outcome: encoded(&outcome), vote }
    });
    read_reply::Result::DryRun(DryRunReply { outcomes: told.collect(), as_of })
}

fn understood(set: u32, slots: &[u32], bytes: &Bytes, no: u64) -> Command {
    let command = decode_command(bytes).expect("a router sends commands");
    command.validate_of_client().expect("a router sends valid commands");
    let transaction = match command {
        Command::Transaction(transaction) => transaction,
        Command::Together { .. } => return command,
        other => panic!("{other:?} in a dry run"),
    };
    let set_of = |account: &str| slots[usize::from(slot_of(account))];
    let sets: Vec<u32> = transaction.legs.iter().map(|leg| set_of(&leg.account)).collect();
    if sets.iter().all(|of| *of == set) {
        return Command::Transaction(transaction);
    }
    let begin = Begin { transaction, sets };
    if begin.coordinator() == set {
        return Command::Begin(begin);
    }
    let legs = begin.transaction.legs.into_iter().zip(begin.sets).filter(|(_, of)| *of == set);
    let legs: Vec<_> = legs.map(|(leg, _)| leg).collect();
    assert!(!legs.is_empty(), "set {set} is asked and has no part in it");
    let attempt = TransactionId { set: u32::MAX, incarnation: 0, position: Position(no) };
    Command::Step {
        attempt,
        step: Step::Prepare { legs, accounting_date: 0, reverses: None, label: Label::default() },
    }
}

fn encoded(outcome: &Outcome) -> Bytes {
    let mut bytes = Vec::new();
    encode_outcome(outcome, &mut bytes);
    bytes.into()
}
