//! Transactions over several sets as the fake nodes book them: all steps at once, over the ledgers of all sets.

use std::collections::BTreeMap;

use bytes::Bytes;
use twinset_ledger::apply::came_of;
use twinset_ledger::attempt::{Ballot, Part, Role, Vote};
use twinset_ledger::codec::{EntryBuilder, decode_command, encode_command};
use twinset_ledger::memory::MemoryState;
use twinset_ledger::{Begin, Command, Effect, Outcome, State, Step, TransactionId, slot_of};

/// The ledger of each set, and the index of its next entry.
pub type Truth = BTreeMap<u32, (MemoryState, u64)>;

/// What a coordinator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coordinator {
    /// It asks the others, and decides as they say.
    Asks,
    /// It gives up: the others do not answer.
    GivesUp,
    /// It begins, and nothing more.
    Begins,
}

/// Books commands of one set as one entry. Its index, and what clients are told.
pub fn book(
    truth: &mut Truth,
    slots: &[u32],
    set: u32,
    commands: &[Bytes],
    coordinator: Coordinator,
) -> (u64, Vec<Outcome>) {
    let as_taken_in = |bytes: &Bytes| match decode_command(bytes).expect("a router sends commands") {
        Command::Transaction(transaction) => {
            let set_of = |account: &str| slots[usize::from(slot_of(account))];
            let sets: Vec<u32> = transaction.legs.iter().map(|leg| set_of(&leg.account)).collect();
            match sets.iter().all(|set| *set == sets[0]) {
                true => Command::Transaction(transaction),
                false => Command::Begin(Begin { transaction, sets }),
            }
        }
        command => command,
    };
    let commands: Vec<Command> = commands.iter().map(as_taken_in).collect();
    let (index, mut outcomes) = enter(truth, set, &commands);
    for outcome in &mut outcomes {
        if outcome.result == Ok(Effect::Begun) && coordinator != Coordinator::Begins {
            *outcome = carry_out(truth, set, outcome.clone(), coordinator);
        }
    }
    (index, outcomes)
}

/// Takes an attempt that has begun to its end.
fn carry_out(truth: &mut Truth, set: u32, begun: Outcome, coordinator: Coordinator) -> Outcome {
    let Outcome { incarnation, position, .. } = begun;
    let attempt = TransactionId { set, incarnation, position };
    let open = truth[&set].0.attempts().get(attempt).expect("it has begun").clone();
    let Role::Coordinator(asked) = open.role else { panic!("{attempt} is begun by its coordinator") };
    let others = asked.other_sets(set);
    let ballot = match (coordinator, others.first()) {
        (Coordinator::GivesUp, Some(&set)) => Ballot::GivenUp { set },
        _ => Ballot::Votes(
            others
                .iter()
                .map(|&set| {
                    let legs = asked.legs_of(set).cloned().collect();
                    let accounting_date = open.accounting_date;
                    let reverses = asked.reverses.as_ref().map(|(original, _)| *original);
                    let label = asked.label.clone();
                    let prepare = Step::Prepare { legs, accounting_date, reverses, label };
                    let said = step(truth, set, attempt, prepare).result.map(|effect| match effect {
                        Effect::Prepared(sums) => sums,
                        other => panic!("{other:?} is no vote"),
                    });
                    Vote { set, said }
                })
                .collect(),
        ),
    };
    match step(truth, set, attempt, Step::Decide(ballot)).result {
        Ok(_) => {
            let parts = others
                .iter()
                .map(|&set| {
                    let Outcome { position, result, .. } = step(truth, set, attempt, Step::Commit);
                    let Ok(Effect::Posted(legs)) = result else { panic!("{result:?} is no booking") };
                    Part { set, position, legs }
                })
                .collect();
            step(truth, set, attempt, Step::Settle { parts });
        }
        Err(_) => others.iter().for_each(|&set| {
            step(truth, set, attempt, Step::Abort);
        }),
    }
    let Ok(outcome) = came_of(&truth[&set].0, begun);
    outcome
}

fn step(truth: &mut Truth, set: u32, attempt: TransactionId, step: Step) -> Outcome {
    enter(truth, set, &[Command::Step { attempt, step }]).1.remove(0)
}

pub fn enter(truth: &mut Truth, set: u32, commands: &[Command]) -> (u64, Vec<Outcome>) {
    let (state, next) = truth.get_mut(&set).expect("a set of the cluster");
    let index = *next;
    *next += 1;
    let mut entry = EntryBuilder::new(twinset_ledger::RULES_VERSION, 1, 1_000_000_000);
    for command in commands {
        let mut bytes = Vec::new();
        encode_command(command, &mut bytes);
        entry.push_command_bytes(&bytes);
    }
    (index, state.apply(index, &entry.finish()).expect("an entry that can be applied"))
}
