//! A replica against the model: through checkpoints, restarts and snapshots it answers exactly as one that keeps
//! everything in memory.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Dice, GROUNDS, Ground, Load, append, catch_up, compare, model, open};
use twinset_ledger::attempt::{Attempt, Step, scope_across};
use twinset_ledger::buffer::{BufferStep, Stream, StreamName};
use twinset_ledger::codec::EntryBuilder;
use twinset_ledger::hold::{Ended, Hold};
use twinset_ledger::memory::MemoryState;
use twinset_ledger::restriction::{Restriction, RestrictionEnd};
use twinset_ledger::{Command, Effect, Outcome, Position, Rejection, Reversal, State, TransactionId};
use twinset_store::{Fault, LedgerReplica, Log, LogId, SnapshotReader};

#[test]
fn two_sets_survive_restarts_and_answer_as_the_model() {
    for ground in Ground::both() {
        let loads = [Load { seed: 1, set: 1 }, Load { seed: 2, set: 2 }];
        let mut dice = Dice::new(11);
        let mut next = [0; 2];
        for round in 0..6 {
            let store = ground.open();
            let handles = loads.map(|load| (store.log(load.set).unwrap(), store.ledger(load.set).unwrap()));
            for (log, replica) in &handles {
                catch_up(log, replica);
            }
            for _ in 0..60 {
                let at = dice.roll(2) as usize;
                let (log, replica) = &handles[at];
                append(log, vec![loads[at].record(next[at])]);
                catch_up(log, replica);
                next[at] += 1;
            }
            if round % 2 == 0 {
                handles[0].1.checkpoint().unwrap();
            }
            for ((_, replica), (load, next)) in handles.iter().zip(loads.into_iter().zip(next)) {
                assert_eq!(replica.applied().log_id, next.checked_sub(1).map(|last| load.id(last)));
                compare(replica, &model(load, next.checked_sub(1)), &mut dice);
            }
            store.close();
        }
    }
}

#[test]
fn a_replay_after_a_restart_gives_the_same_hashes() {
    for ground in Ground::both() {
        let load = Load { seed: 5, set: 1 };
        let (before, checkpointed) = {
            let store = ground.open();
            let (log, replica) = (store.log(1).unwrap(), store.ledger(1).unwrap());
            append(&log, (0..50).map(|index| load.record(index)).collect());
            catch_up(&log, &replica);
            let checkpointed = replica.checkpoint().unwrap().last.unwrap().index;
            append(&log, (50..80).map(|index| load.record(index)).collect());
            catch_up(&log, &replica);
            ((0..80).map(|index| replica.hash_at(index)).collect::<Vec<_>>(), checkpointed)
        };
        let store = ground.open();
        let (log, replica) = (store.log(1).unwrap(), store.ledger(1).unwrap());
        assert!(replica.applied().log_id.unwrap().index >= checkpointed);
        let first = replica.applied().log_id.unwrap().index;
        catch_up(&log, &replica);
        assert_eq!(replica.hash_at(first.wrapping_sub(1)), None);
        for index in first..80 {
            assert_eq!(replica.hash_at(index), before[index as usize]);
        }
        assert_eq!(replica.applied().membership, Some((Some(load.id(1)), b"three voters".to_vec())));
    }
}

/// A table whose keys only rise gets files that overlap no others: the database never puts such files together by itself.
#[test]
fn the_files_of_many_checkpoints_do_not_gather() {
    const CHECKPOINTS: u64 = 300;
    let load = Load { seed: 9, set: 1 };
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (log, replica) = (store.log(1).unwrap(), store.ledger(1).unwrap());
    for index in 0..CHECKPOINTS {
        append(&log, vec![load.record(index)]);
        catch_up(&log, &replica);
        replica.checkpoint().unwrap();
    }
    drop((log, replica));
    store.close();
    let names = std::fs::read_dir(dir.path().join("db")).unwrap().map(|entry| entry.unwrap().path());
    let files = names.filter(|path| path.extension().is_some_and(|end| end == "sst")).count() as u64;
    assert!(files < CHECKPOINTS, "{files} files of {CHECKPOINTS} checkpoints");
}

#[test]
fn records_out_of_turn_are_refused_and_do_not_stop_the_replica() {
    for ground in Ground::both() {
        let load = Load { seed: 5, set: 1 };
        let store = ground.open();
        let replica = store.ledger(1).unwrap();
        replica.apply(&load.record(0)).unwrap();
        assert!(matches!(
            replica.apply(&load.record(2)),
            Err(Fault::OutOfTurn { expected: 1, found: 2, .. })
        ));
        replica.apply(&load.record(1)).unwrap();
        // A record that does not decode stops it.
        let mut bad = load.record(2);
        bad.payload = b"no entry".as_slice().to_vec().into();
        assert!(matches!(replica.apply(&bad), Err(Fault::Damaged { .. })));
        assert!(matches!(replica.apply(&load.record(2)), Err(Fault::Stopped { .. })));
    }
}

#[test]
fn rules_that_this_build_does_not_know_stop_the_replica() {
    for ground in Ground::both() {
        let load = Load { seed: 5, set: 1 };
        let store = ground.open();
        let replica = store.ledger(1).unwrap();
        replica.apply(&load.record(0)).unwrap();
        replica.apply(&load.record(1)).unwrap();
        let newer = twinset_ledger::RULES_VERSION + 1;
        let mut record = load.record(2);
        record.payload = EntryBuilder::new(newer, 1, 1).finish().into();
        let fault = replica.apply(&record).unwrap_err();
        assert!(matches!(fault, Fault::UnknownRules { version, .. } if version == newer), "{fault}");
        // It is not skipped either.
        assert!(matches!(replica.apply(&load.record(2)), Err(Fault::Stopped { .. })));
        assert_eq!(replica.applied().log_id, Some(load.id(1)));
    }
}

/// Sends a snapshot to another replica in chunks of odd sizes.
fn transfer(mut reader: SnapshotReader, to: &LedgerReplica, dice: &mut Dice) -> LogId {
    let mut writer = to.begin_install().unwrap();
    while let Some(chunk) = reader.next_chunk(1 + dice.roll(40_000) as usize).unwrap() {
        writer.write_chunk(&chunk).unwrap();
    }
    let staged = writer.finish(reader.meta()).unwrap();
    to.install(staged).unwrap();
    reader.meta().last.unwrap()
}

fn feed(load: Load, log: &Log, replica: &LedgerReplica, to: u64) {
    let from = log.last().map_or(0, |last| last.index + 1);
    for index in from..to {
        append(log, vec![load.record(index)]);
        catch_up(log, replica);
    }
}

#[test]
fn a_snapshot_under_writes_is_of_its_moment_and_the_receiver_goes_on() {
    for make in GROUNDS {
        let (a, b) = (make(), make());
        let load = Load { seed: 9, set: 1 };
        let (sender, receiver) = (a.open(), b.open());
        let (log, replica) = (sender.log(1).unwrap(), sender.ledger(1).unwrap());
        let (far_log, far) = (receiver.log(1).unwrap(), receiver.ledger(1).unwrap());
        let mut dice = Dice::new(3);
        feed(load, &far_log, &far, 20);
        feed(load, &log, &replica, 100);
        let stop = AtomicBool::new(false);
        let writes_max = 400;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut next = 100;
                while !stop.load(Ordering::SeqCst) && next < writes_max {
                    next += 1;
                    feed(load, &log, &replica, next);
                }
            });
            for _ in 0..4 {
                let reader = replica.snapshot().unwrap();
                if reader.meta().last <= far.applied().log_id {
                    break;
                }
                let last = transfer(reader, &far, &mut dice);
                assert_eq!(far.applied().log_id, Some(last));
                assert_eq!(far.hash_at(last.index), replica.hash_at(last.index));
                assert_eq!((far_log.last(), far_log.purged()), (Some(last), Some(last)));
                compare(&far, &model(load, Some(last.index)), &mut dice);
                // It goes on from the log, and what follows on the next snapshot is kept.
                feed(load, &far_log, &far, last.index + 1 + dice.roll(30));
            }
            stop.store(true, Ordering::SeqCst);
        });
        let end = log.last().max(far_log.last()).unwrap().index + 1;
        feed(load, &log, &replica, end);
        feed(load, &far_log, &far, end);
        assert_eq!(far.totals().value, replica.totals().value);
        drop((far_log, far));
        receiver.close();
        let receiver = b.open();
        let (far_log, far) = (receiver.log(1).unwrap(), receiver.ledger(1).unwrap());
        catch_up(&far_log, &far);
        assert_eq!(far.totals().value, replica.totals().value);
        compare(&far, &model(load, Some(end - 1)), &mut dice);
        // The log came along: the receiver could send it on.
        assert_eq!(far_log.read(0, 1, 0).unwrap()[0].id, load.id(0));
    }
}

/// What a snapshot carries beside balances: parcels on their way and how far those of others are taken in, what stands in
/// suspense, what is restricted, and whom overdue holds wait for. The receiver has nothing else to go by.
#[test]
fn a_fresh_replica_goes_on_as_its_source() {
    const MOMENT: u64 = 140;
    const END: u64 = 215;
    for make in GROUNDS {
        let (a, b) = (make(), make());
        let load = Load { seed: 8, set: 1 };
        let (sender, receiver) = (a.open(), b.open());
        let (log, replica) = (sender.log(1).unwrap(), sender.ledger(1).unwrap());
        let mut dice = Dice::new(5);
        feed(load, &log, &replica, MOMENT);
        let before = model(load, Some(MOMENT - 1));
        let asked =
            |hold: &Hold| hold.ended.is_none() && hold.check_back.as_ref().is_some_and(|c| c.tries > 0);
        let buffer = before.buffer();
        let standing = [
            buffer.streams().any(|(_, stream)| stream.acknowledged() > 0 && stream.waiting() > 0),
            buffer.inboxes().next().is_some() && buffer.suspended().len() > 0,
            buffer.all_own().any(|(_, own)| own.draining) && buffer.all_own().any(|(_, own)| !own.draining),
            before.restrictions().iter().any(|one| one.ended.is_none() && one.left < one.amount),
            before.holds().iter().any(asked),
        ];
        assert_eq!(standing, [true; 5], "the load has put all of it there");
        transfer(replica.snapshot().unwrap(), &receiver.ledger(1).unwrap(), &mut dice);
        // From the disk, before it goes on.
        receiver.close();
        let receiver = b.open();
        let (far_log, far) = (receiver.log(1).unwrap(), receiver.ledger(1).unwrap());
        compare(&far, &before, &mut dice);
        for index in MOMENT..END {
            let record = load.record(index);
            append(&log, vec![record.clone()]);
            append(&far_log, vec![record.clone()]);
            assert_eq!(far.apply(&record).unwrap(), replica.apply(&record).unwrap(), "entry {index}");
            assert_eq!(far.hash_at(index), replica.hash_at(index), "entry {index}");
        }
        let after = model(load, Some(END - 1));
        compare(&far, &after, &mut dice);
        let went_on = |(name, stream): (StreamName, &Stream)| {
            let then = after.buffer().stream(name).unwrap();
            stream.acknowledged() < then.acknowledged()
        };
        assert!(buffer.streams().any(went_on), "what was on its way then was acknowledged later");
        let resolved = |position| after.buffer().suspended().all(|left| left != position);
        assert!(buffer.suspended().any(resolved), "what stood in suspense then was booked later");
    }
}

#[test]
fn records_above_a_snapshot_are_kept_and_an_older_snapshot_changes_nothing() {
    for make in GROUNDS {
        let (a, b) = (make(), make());
        let load = Load { seed: 4, set: 1 };
        let (sender, receiver) = (a.open(), b.open());
        let (log, replica) = (sender.log(1).unwrap(), sender.ledger(1).unwrap());
        let (far_log, far) = (receiver.log(1).unwrap(), receiver.ledger(1).unwrap());
        feed(load, &log, &replica, 40);
        // The receiver's log is longer than what it has applied.
        append(&far_log, (0..60).map(|index| load.record(index)).collect());
        let mut dice = Dice::new(1);
        transfer(replica.snapshot().unwrap(), &far, &mut dice);
        assert_eq!((far_log.last(), far_log.purged()), (Some(load.id(59)), Some(load.id(39))));
        catch_up(&far_log, &far);
        compare(&far, &model(load, Some(59)), &mut dice);
        transfer(replica.snapshot().unwrap(), &far, &mut dice);
        assert_eq!(far.applied().log_id, Some(load.id(59)));
    }
}

#[test]
fn damaged_snapshots_are_refused_and_leave_the_replica_alone() {
    for make in GROUNDS {
        let (a, b) = (make(), make());
        let load = Load { seed: 4, set: 1 };
        let (sender, receiver) = (a.open(), b.open());
        let (log, replica) = (sender.log(1).unwrap(), sender.ledger(1).unwrap());
        feed(load, &log, &replica, 60);
        let far = receiver.ledger(1).unwrap();
        let mut reader = replica.snapshot().unwrap();
        let mut whole = Vec::new();
        while let Some(chunk) = reader.next_chunk(1 << 20).unwrap() {
            whole.extend(chunk);
        }
        let receive = |bytes: &[u8]| {
            let mut writer = far.begin_install().unwrap();
            writer.write_chunk(bytes)?;
            writer.finish(reader.meta())
        };
        receive(&whole).unwrap();
        let mut dice = Dice::new(77);
        for _ in 0..30 {
            let mut bytes = whole.clone();
            let at = dice.roll(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << dice.roll(8);
            assert!(matches!(receive(&bytes), Err(Fault::BadSnapshot { .. })), "byte {at}");
            assert!(matches!(receive(&whole[..at]), Err(Fault::BadSnapshot { .. })), "cut at {at}");
        }
        let other = receiver.ledger(2).unwrap();
        assert!(matches!(other.begin_install().unwrap().write_chunk(&whole), Err(Fault::BadSnapshot { .. })));
        assert_eq!(far.applied().log_id, None);
        far.apply(&load.record(0)).unwrap();
    }
}

#[test]
fn the_load_takes_holds_and_restrictions_to_every_end() {
    let mut seen = BTreeMap::<&str, usize>::new();
    for (seed, set) in [(1, 1), (2, 2), (3, 1)] {
        let model = model(Load { seed, set }, Some(800));
        let holds = || model.holds().iter();
        let ended = |end| holds().filter(|hold| hold.ended == Some(end)).count();
        let restrictions = |end: Option<RestrictionEnd>| {
            let how = |one: &&Restriction| one.ended.map(|ended| ended.how) == end;
            model.restrictions().iter().filter(how).count()
        };
        let refused = |(_, _, outcome): &(_, _, &Outcome)| {
            matches!(outcome.result, Err(Rejection::BatchRefused { .. }))
        };
        for (what, count) in [
            ("open", holds().filter(|hold| hold.ended.is_none()).count()),
            ("captured", ended(Ended::Captured)),
            ("released", ended(Ended::Released)),
            ("expired", ended(Ended::Expired)),
            ("in hand of an attempt", holds().filter(|hold| hold.capturing > 0).count()),
            ("restricted", restrictions(None)),
            ("restriction released", restrictions(Some(RestrictionEnd::Released))),
            ("restriction expired", restrictions(Some(RestrictionEnd::Expired))),
            ("restriction reversed", restrictions(Some(RestrictionEnd::Reversed))),
            ("batch refused", model.history().filter(refused).count()),
            ("tried", holds().filter(|hold| hold.check_back.as_ref().is_some_and(|c| c.tries > 0)).count()),
            ("kept", holds().filter(|hold| hold.check_back.as_ref().is_some_and(|c| c.kept)).count()),
        ] {
            *seen.entry(what).or_default() += count;
        }
    }
    for (what, at_least) in [
        ("open", 100),
        ("captured", 20),
        ("released", 20),
        ("expired", 10),
        ("in hand of an attempt", 2),
        ("restricted", 20),
        ("restriction released", 3),
        ("restriction expired", 3),
        ("restriction reversed", 1),
        ("batch refused", 20),
        ("tried", 12),
        ("kept", 3),
    ] {
        let times = seen.get(what).copied().unwrap_or_default();
        assert!(times >= at_least, "{what}: {times}, of {seen:?}");
    }
}

#[test]
fn the_load_takes_parcels_to_every_end() {
    let mut seen = BTreeMap::<&str, usize>::new();
    for (seed, set) in [(1, 1), (2, 2), (3, 1)] {
        let model = model(Load { seed, set }, Some(800));
        for (_, command, outcome) in model.history().filter(|(.., outcome)| !outcome.replayed) {
            let what = match (command, &outcome.result) {
                (_, Ok(Effect::Buffered { .. })) => "paid",
                (Command::Reversal(_), Err(Rejection::SetUnavailable { .. })) => "reversed too early",
                (Command::SetPostingMode { .. }, Ok(_)) => "mode",
                (Command::ResolveSuspense { .. }, Ok(_)) => "resolved",
                (Command::ResolveSuspense { .. }, Err(rejection)) => rejection.code(),
                (Command::BufferStep { step, .. }, result) => match (step, result) {
                    (BufferStep::Credit(_), Ok(Effect::Posted(_))) => "credited",
                    (_, Ok(Effect::Suspended { .. })) => "suspended",
                    (_, Ok(Effect::Taken)) => "credited again",
                    (BufferStep::Credit(_), Err(_)) => "credited too early",
                    (BufferStep::Acknowledge { .. }, Ok(_)) => "acknowledged",
                    (BufferStep::Drained { .. }, Ok(_)) => "drained",
                    (BufferStep::Drained { .. }, Err(_)) => "drained too early",
                    (BufferStep::Withdraw(_), Ok(_)) => "withdrawn",
                    _ => continue,
                },
                _ => continue,
            };
            *seen.entry(what).or_default() += 1;
        }
    }
    for (what, at_least) in [
        ("paid", 300),
        ("reversed too early", 3),
        ("mode", 50),
        ("credited", 200),
        ("suspended", 50),
        ("credited again", 10),
        ("credited too early", 10),
        ("acknowledged", 50),
        ("drained", 2),
        ("drained too early", 10),
        ("withdrawn", 10),
        ("resolved", 10),
        ("suspense_resolved", 1),
        ("suspense_not_found", 10),
    ] {
        let times = seen.get(what).copied().unwrap_or_default();
        assert!(times >= at_least, "{what}: {times}, of {seen:?}");
    }
}

#[test]
fn the_load_takes_attempts_from_their_beginning_to_their_end() {
    let mut seen = BTreeMap::<&str, u32>::new();
    for (seed, set) in [(1, 1), (2, 2), (3, 1)] {
        let model = model(Load { seed, set }, Some(800));
        for (_, command, outcome) in model.history().filter(|(_, _, outcome)| !outcome.replayed) {
            let what = match (command, &outcome.result) {
                (Command::Reversal(_), Ok(Effect::Begun)) => "reversal begun",
                (Command::Reversal(Reversal { legs: Some(_), .. }), Ok(Effect::Posted(_))) => "legs reversed",
                (_, Ok(Effect::Begun)) => "begun",
                (_, Ok(Effect::Prepared(_))) => "prepared",
                (_, Ok(Effect::Aborted)) => "aborted",
                (Command::Step { attempt, .. }, Ok(Effect::Settled(_) | Effect::Posted(_)))
                    if attempt.set == set && is_reversal(&model, *attempt) =>
                {
                    "reversal decided or settled"
                }
                (_, Ok(Effect::Settled(_))) => "settled",
                (Command::Step { step: Step::Decide(_), .. }, Ok(_)) => "decided",
                (Command::Step { step: Step::Commit, .. }, Ok(_)) => "committed",
                (Command::Step { .. }, Err(rejection)) => rejection.code(),
                (Command::Transaction(_), Ok(Effect::Posted(legs)))
                    if legs.iter().any(|leg| leg.posted != leg.available) =>
                {
                    "posted while something is held"
                }
                _ => continue,
            };
            *seen.entry(what).or_default() += 1;
        }
        let decided = |attempt: &Attempt| attempt.reserved.is_empty();
        for (kind, count) in [
            ("open here", model.attempts().iter().filter(|(id, _)| id.set == set).count()),
            ("open elsewhere", model.attempts().iter().filter(|(id, _)| id.set != set).count()),
            ("open and decided", model.attempts().iter().filter(|(_, attempt)| decided(attempt)).count()),
        ] {
            *seen.entry(kind).or_default() += count as u32;
        }
        let again = model.history().filter(|(position, command, outcome)| match command {
            Command::Begin(begin) if outcome.result == Ok(Effect::Begun) => {
                let (scope, id) = (scope_across(&begin.transaction), &begin.transaction.request_id);
                let first = model.request(scope, id, Position(u64::MAX)).unwrap().unwrap();
                !outcome.replayed && first < *position
            }
            _ => false,
        });
        *seen.entry("second attempt").or_default() += again.count() as u32;
    }
    for (what, at_least) in [
        ("begun", 100),
        ("second attempt", 5),
        ("reversal begun", 20),
        ("legs reversed", 5),
        ("prepared", 100),
        ("aborted", 50),
        ("decided", 50),
        ("committed", 30),
        ("settled", 30),
        ("reversal decided or settled", 5),
        ("set_unavailable", 10),
        ("account_closed", 10),
        ("step_out_of_place", 10),
        ("posted while something is held", 100),
        ("open here", 10),
        ("open elsewhere", 10),
        ("open and decided", 10),
    ] {
        let times = seen.get(what).copied().unwrap_or_default();
        assert!(times >= at_least, "{what}: {times}, of {seen:?}");
    }
}

fn is_reversal(model: &MemoryState, attempt: TransactionId) -> bool {
    let (command, _) = model.original(attempt.position).unwrap().unwrap();
    matches!(command, Command::Reversal(_))
}
