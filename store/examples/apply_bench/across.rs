//! Transactions over two sets, without what is between them: one replica of each, and every step in the log of its set.

use std::path::Path;
use std::time::{Duration, Instant};

use rust_decimal::Decimal;
use twinset_ledger::account::Side;
use twinset_ledger::attempt::{Ballot, Begin, Part, Vote};
use twinset_ledger::codec::decode_outcome;
use twinset_ledger::command::{Command, Leg, Transaction};
use twinset_ledger::{Effect, Label, Outcome, Step, TransactionId};
use twinset_store::{Options, Store};

use super::{Bench, Dice, cpu, entry, request_id};

const COORDINATOR: u32 = 1;
const OTHER: u32 = 2;
const STEPS: [&str; 5] = ["begin", "prepare", "decide", "commit", "settle"];

/// A replica of one of the sets, and where its log goes on.
struct Member {
    bench: Bench,
    next: u64,
}

/// On one kind of step.
struct Spent {
    append: Duration,
    apply: Duration,
    bytes: usize,
}

impl Member {
    fn open(store: &Store, set: u32, accounts: u64) -> Member {
        let bench = Bench::open(store, set);
        let next = bench.open_accounts(accounts);
        Member { bench, next }
    }

    /// One entry: what its commands came to.
    fn log(&mut self, commands: Vec<Command>, spent: &mut Spent) -> Vec<Outcome> {
        let record = entry(self.next, commands, |_| None);
        self.next += 1;
        spent.bytes += record.payload.len();
        let begun = Instant::now();
        self.bench.append(record);
        let appended = Instant::now();
        let outcomes = self.bench.apply_rest();
        spent.append += appended - begun;
        spent.apply += appended.elapsed();
        outcomes.iter().map(|bytes| decode_outcome(&bytes).expect("it was just encoded")).collect()
    }
}

/// Batches of transactions, each from a random account of one set to one of the other.
pub fn run(dir: &Path, batches: u64, batch: u64, accounts: u64) {
    let store = Store::open(dir, Options::default()).expect("the store opens");
    let mut coordinator = Member::open(&store, COORDINATOR, accounts);
    let mut other = Member::open(&store, OTHER, accounts);
    let mut dice = Dice(1);
    let mut spent = STEPS.map(|_| Spent { append: Duration::ZERO, apply: Duration::ZERO, bytes: 0 });
    let before = cpu();
    for _ in 0..batches {
        let begins: Vec<Begin> = (0..batch).map(|_| begin(&mut dice, accounts)).collect();
        let begun = coordinator.log(begins.iter().cloned().map(Command::Begin).collect(), &mut spent[0]);
        let name = |outcome: &Outcome| {
            assert_eq!(outcome.result, Ok(Effect::Begun));
            TransactionId { set: COORDINATOR, incarnation: outcome.incarnation, position: outcome.position }
        };
        let names: Vec<TransactionId> = begun.iter().map(name).collect();
        let day = begun[0].day();
        let steps = |steps: Vec<Step>| -> Vec<Command> {
            names.iter().zip(steps).map(|(&attempt, step)| Command::Step { attempt, step }).collect()
        };
        let prepare = |begin: &Begin| Step::Prepare {
            legs: begin.legs_of(OTHER).cloned().collect(),
            accounting_date: day,
            reverses: None,
            label: Label::from(&begin.transaction),
        };
        let voted = other.log(steps(begins.iter().map(prepare).collect()), &mut spent[1]);
        let decide = |outcome: &Outcome| {
            let Ok(Effect::Prepared(sums)) = &outcome.result else { panic!("prepared: {outcome:?}") };
            Step::Decide(Ballot::Votes(vec![Vote { set: OTHER, said: Ok(sums.clone()) }]))
        };
        let decided = coordinator.log(steps(voted.iter().map(decide).collect()), &mut spent[2]);
        assert!(decided.iter().all(|outcome| matches!(outcome.result, Ok(Effect::Posted(_)))));
        let booked = other.log(steps(names.iter().map(|_| Step::Commit).collect()), &mut spent[3]);
        let settle = |outcome: &Outcome| {
            let Ok(Effect::Posted(legs)) = &outcome.result else { panic!("booked: {outcome:?}") };
            let part = Part { set: OTHER, position: outcome.position, legs: legs[..1].to_vec() };
            Step::Settle { parts: vec![part] }
        };
        let settled = coordinator.log(steps(booked.iter().map(settle).collect()), &mut spent[4]);
        assert!(settled.iter().all(|outcome| matches!(outcome.result, Ok(Effect::Settled(_)))));
    }
    [coordinator, other].iter().for_each(|one| {
        one.bench.replica.checkpoint().expect("the checkpoint succeeds");
    });
    let cpu = cpu().saturating_sub(before);
    let count = batches * batch;
    let each = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    println!("{count} transactions over two sets, {accounts} accounts in each, batches of {batch}");
    for (name, spent) in STEPS.iter().zip(&spent) {
        let (append, apply, bytes) = (each(spent.append), each(spent.apply), spent.bytes as u64 / count);
        println!("us each: {name:8} append+sync {append:.2}, apply {apply:.2}; {bytes} bytes");
    }
    let all: Duration = spent.iter().map(|one| one.append + one.apply).sum();
    println!("us each: {:.2} for append and apply of all steps, wall clock", each(all));
    println!("us each: {:.2} of CPU, all threads, checkpoints and making the load included", each(cpu));
    store.close();
}

fn begin(dice: &mut Dice, accounts: u64) -> Begin {
    // The same names are open in both sets, each of which looks at its own leg only.
    let debit = dice.roll() % accounts;
    let credit = (debit + 1 + dice.roll() % (accounts - 1)) % accounts;
    let amount = Decimal::new((dice.roll() % 100_000) as i64 + 1, 2);
    let leg = |no: u64, side| Leg::new(&format!("account-{no}"), side, amount);
    let request_id = request_id(dice.roll(), dice.roll());
    let legs = vec![leg(debit, Side::Debit), leg(credit, Side::Credit)];
    let transaction = Transaction { request_id, legs, ..Transaction::default() };
    Begin { transaction, sets: vec![COORDINATOR, OTHER] }
}
