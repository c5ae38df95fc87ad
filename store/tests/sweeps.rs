//! Sweeps in a replica: after every checkpoint, restart and snapshot it has those of one that keeps everything in memory, lists them in
//! pages, and says which are due.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Dice, Ground, Load, append, catch_up, compare, name, stamp};
use rust_decimal::Decimal;
use twinset_ledger::codec::{EntryBuilder, encode_command};
use twinset_ledger::command::Command;
use twinset_ledger::memory::MemoryState;
use twinset_ledger::sweep::{RunEnd, run_of, transaction};
use twinset_ledger::{
    Effect, FreezeMode, Leg, RULES_VERSION, Schedule, SetSweep, Side, State, Sweep, Transaction,
};
use twinset_store::{LedgerReplica, LogId, Record, RecordKind};

/// Accounts are opened and some transactions booked by then.
const BEGINS: u64 = 7;
const ENDS: u64 = 49;

fn record(index: u64, commands: &[Command]) -> Record {
    let mut builder = EntryBuilder::new(RULES_VERSION, 1, stamp(index));
    for command in commands {
        let mut bytes = Vec::new();
        encode_command(command, &mut bytes);
        builder.push_command_bytes(&bytes);
    }
    let id = LogId { term: 1, leader: 7, index };
    Record { id, kind: RecordKind::Commands, payload: builder.finish().into() }
}

/// Something about the sweep of an account, whatever it has.
fn about_sweeps(model: &MemoryState, index: u64, dice: &mut Dice) -> Command {
    let (at, to) = (dice.roll(12) as u32, 20 + dice.roll(5) as u32);
    let (account, request_id) = (name(at), format!("sweep-{index}-{}", dice.roll(1_000_000)));
    let sweep = model.sweeps().get(at);
    match (dice.roll(10), sweep) {
        (0, _) => Command::RemoveSweep { request_id, account },
        (1, _) => Command::Freeze { request_id, account, mode: FreezeMode::Debit },
        (2, _) => Command::Unfreeze { request_id, account, mode: FreezeMode::Debit },
        // Something to be moved; the others have nothing.
        (4, _) if at < 10 => {
            let amount = Decimal::new(5, 0);
            let legs =
                vec![Leg::new(&name(to), Side::Debit, amount), Leg::new(&account, Side::Credit, amount)];
            Command::Transaction(Transaction { request_id, legs, ..Transaction::default() })
        }
        (3, _) | (_, None) => Command::SetSweep(SetSweep {
            request_id,
            account,
            to: name(to),
            keep: Decimal::new(dice.roll(3) as i64, 0),
            schedule: match dice.roll(3) {
                // Due with one of the next commands.
                0 => Schedule::Every { seconds: 1, from_ns: Some(model.last_time() + 1 + dice.roll(40)) },
                1 => Schedule::Above { amount: Decimal::new(3, 0) },
                _ => Schedule::Daily,
            },
        }),
        (_, Some(sweep)) => {
            let movable = sweep.movable(model.account(at));
            match movable > 0 && sweep.open.is_none() {
                true => Command::Transaction(transaction(sweep, model.account(at), movable)),
                false => Command::EndRun {
                    account,
                    sweep: sweep.id,
                    run: sweep.runs + u32::from(sweep.open.is_none()),
                },
            }
        }
    }
}

fn compare_sweeps(replica: &LedgerReplica, model: &MemoryState) {
    let expected: Vec<Sweep> = model.sweeps().iter().cloned().collect();
    let (mut found, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = replica.sweeps(after.as_deref(), 3).unwrap().value.unwrap();
        assert!(page.sweeps.len() == 3 || !page.more, "a page is full, unless it is the last");
        after = page.sweeps.last().map(|record| record.account.id.clone());
        found.extend(page.sweeps);
        if !page.more {
            break;
        }
    }
    assert_eq!(found.iter().map(|record| record.sweep.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(replica.sweep_count(), expected.len());
    assert_eq!(replica.sweeps(Some("nobody"), 3).unwrap().value, None);
    for (no, account) in (0..).zip(model.accounts()) {
        let record = replica.sweep(&account.id).unwrap().value;
        assert_eq!(record.as_ref().map(|record| &record.sweep), model.sweeps().get(no));
        assert!(record.is_none_or(|record| record.account == *account));
    }
    for later in [0, 1, 86_400_000_000_000] {
        let now = model.last_time() + later;
        let is_due = |sweep: &&Sweep| sweep.open.is_some() || sweep.is_due(model.account(sweep.account), now);
        let due: Vec<&Sweep> = expected.iter().filter(is_due).collect();
        let told = replica.sweeps_to_run(now, u32::MAX, usize::MAX, |_| true);
        assert_eq!(told.iter().map(|record| &record.sweep).collect::<Vec<_>>(), due);
        let mut turned = due.clone();
        turned.sort_by_key(|sweep| (sweep.account <= 4, sweep.account));
        let told = replica.sweeps_to_run(now, 4, usize::MAX, |_| true);
        assert_eq!(told.iter().map(|record| &record.sweep).collect::<Vec<_>>(), turned);
        let odd = replica.sweeps_to_run(now, u32::MAX, 2, |sweep| sweep.account % 2 == 1);
        let expected_odd = due.iter().filter(|sweep| sweep.account % 2 == 1).take(2);
        assert!(odd.iter().map(|record| &record.sweep).eq(expected_odd.copied()));
    }
}

#[test]
fn sweeps_survive_checkpoints_restarts_and_snapshots() {
    for (ground, far_ground) in Ground::both().into_iter().zip(Ground::both()) {
        let load = Load { seed: 3, set: 1 };
        let mut model = MemoryState::new(1);
        let mut records: Vec<Record> = (0..BEGINS).map(|index| load.record(index)).collect();
        for record in records.iter().filter(|record| record.kind == RecordKind::Commands) {
            model.apply(record.id.index, &record.payload).unwrap();
        }
        let (mut dice, mut moved, mut refused, mut nothing) = (Dice::new(8), 0, 0, 0);
        for index in BEGINS..ENDS {
            let commands: Vec<Command> = (0..20).map(|_| about_sweeps(&model, index, &mut dice)).collect();
            records.push(record(index, &commands));
            let outcomes = model.apply(index, &records.last().unwrap().payload).unwrap();
            for (command, outcome) in commands.iter().zip(outcomes) {
                match (command, outcome.result) {
                    (Command::Transaction(run), Ok(Effect::Posted(_)))
                        if !outcome.replayed && run_of(&run.request_id).is_some() =>
                    {
                        moved += 1;
                    }
                    (_, Ok(Effect::Ran(RunEnd::Refused(_)))) => refused += 1,
                    (_, Ok(Effect::Ran(RunEnd::Nothing))) => nothing += 1,
                    _ => {}
                }
            }
        }
        assert!(
            moved > 10 && refused > 1 && nothing > 1,
            "{moved} moved, {refused} refused, {nothing} had nothing"
        );
        assert!(model.sweeps().len() > 5);
        for half in [25, ENDS as usize] {
            let store = ground.open();
            let (log, replica) = (store.log(1).unwrap(), store.ledger(1).unwrap());
            catch_up(&log, &replica);
            let from = log.last().map_or(0, |last| last.index as usize + 1);
            append(&log, records[from..half].to_vec());
            catch_up(&log, &replica);
            replica.checkpoint().unwrap();
            store.close();
        }
        let store = ground.open();
        let (log, replica) = (store.log(1).unwrap(), store.ledger(1).unwrap());
        catch_up(&log, &replica);
        compare_sweeps(&replica, &model);
        compare(&replica, &model, &mut dice);
        let far_store = far_ground.open();
        let far = far_store.ledger(1).unwrap();
        let mut reader = replica.snapshot().unwrap();
        let mut writer = far.begin_install().unwrap();
        while let Some(chunk) = reader.next_chunk(1000).unwrap() {
            writer.write_chunk(&chunk).unwrap();
        }
        far.install(writer.finish(reader.meta()).unwrap()).unwrap();
        compare_sweeps(&far, &model);
        compare(&far, &model, &mut dice);
        drop((log, replica, far));
        store.close();
        far_store.close();
    }
}
