//! Groups of accounts: each break of what is promised of them is seen by the checker that is for it.

use twinset_jepsen::check::{Verdict, overall};
use twinset_jepsen::history::groups::{FoundGroup, group_of};
use twinset_jepsen::history::{Answer, Ask, Found, History, Level, Op, Phase};

use super::{find, verdicts};

/// Of groups of accounts alone.
fn good() -> History {
    let kinds = twinset_jepsen::workload::named(&["groups".to_owned()]).unwrap();
    twinset_jepsen::synthetic::of(&kinds, 3_000, 7)
}

/// Breaks a good history; the checker must say so.
fn caught(name: &str, spoil: impl FnOnce(&mut History)) {
    let mut history = good();
    spoil(&mut history);
    let found = verdicts(&history).remove(name).unwrap();
    assert_eq!(found.verdict, Verdict::Invalid, "{name}: {found:#?}");
}

fn is_read(op: &Op, wanted: Level) -> bool {
    matches!((&op.ask, &op.answer), (Ask::ReadGroup { level, .. }, Answer::Group(_)) if *level == wanted)
}

/// A read of a group that has some money, in the traffic.
fn read(history: &mut History, level: Level) -> &mut FoundGroup {
    let last = history.phase(Phase::Resolve).unwrap();
    let is_some = |op: &Op| matches!(&op.answer, Answer::Group(found) if found.figures.credits > 1_000);
    let at = find(history, |op| op.begin_ns > last / 2 && is_read(op, level) && is_some(op));
    match &mut history.ops[at].answer {
        Answer::Group(found) => found,
        other => panic!("{other:?}"),
    }
}

/// Changes so much of the last part and of the whole.
fn more(found: &mut FoundGroup, cents: i64) {
    let part = &mut found.parts.last_mut().unwrap().figures;
    for figures in [part, &mut found.figures] {
        figures.credits += cents;
        figures.posted += cents;
        figures.available += cents;
    }
}

fn is_payment(history: &History, row: &Found) -> bool {
    let on_part = |(account, cents): &(u32, i64)| {
        *cents < 0 && group_of(&history.accounts[*account as usize]).is_some()
    };
    row.part_of.is_none()
        && row.reverses.is_none()
        && row.legs.len() == 2
        && on_part(&row.legs[1])
        && group_of(&history.accounts[row.legs[0].0 as usize]).is_none()
}

/// The rows of a payment in the middle of all, on every page.
fn on_payment(history: &mut History, change: impl Fn(&mut Found)) {
    let from = history.phase(Phase::Final).unwrap();
    let rows: Vec<Found> = history
        .ops
        .iter()
        .filter(|op| op.begin_ns >= from)
        .filter_map(|op| match &op.answer {
            Answer::Page { found, .. } => Some(found.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    let payments: Vec<&Found> = rows.iter().filter(|row| is_payment(history, row)).collect();
    let name = payments[payments.len() / 2].transaction;
    for op in &mut history.ops {
        if let Answer::Page { found, .. } = &mut op.answer {
            found.iter_mut().filter(|row| row.transaction == name).for_each(&change);
        }
    }
}

#[test]
fn the_made_up_history_has_payments_of_all_kinds() {
    let history = good();
    let booked = |wanted: &dyn Fn(&twinset_jepsen::history::Transfer) -> bool| {
        let is_one = |op: &&Op| match (&op.ask, &op.answer) {
            (Ask::Transfer(transfer), Answer::Booked { replayed: false, .. }) => wanted(transfer),
            _ => false,
        };
        history.ops.iter().filter(is_one).count()
    };
    assert!(booked(&|one| one.groups().count() == 1) > 300);
    assert!(booked(&|one| one.groups().count() == 2) > 5);
    assert!(booked(&|one| one.groups().count() == 1 && history.sets_across(one).is_some()) > 20);
    assert!(booked(&|one| one.groups().count() == 0) > 50, "parts pay out");
    let reads = history.ops.iter().filter(|op| is_read(op, Level::Linearizable));
    assert!(reads.count() > 100);
}

#[test]
fn a_perfect_history_of_groups_is_valid() {
    let found = verdicts(&good());
    for (name, found) in &found {
        assert!(!found.verdict.is_red(), "{name}: {found:#?}");
    }
    assert_eq!(found["groups"].verdict, Verdict::Valid);
    assert_eq!(overall(&found.into_values().collect::<Vec<_>>()), Verdict::Valid);
}

#[test]
fn a_sum_that_is_none_is_caught() {
    for level in [Level::Linearizable, Level::Stale] {
        caught("groups", |history| read(history, level).figures.posted += 1);
        caught("groups", |history| read(history, level).figures.version -= 1);
        caught("groups", |history| {
            read(history, level).parts.pop();
        });
        // A part is left out everywhere.
        caught("groups", |history| {
            let found = read(history, level);
            let part = found.parts.pop().unwrap();
            let (sum, own) = (&mut found.figures, part.figures);
            sum.posted -= own.posted;
            sum.available -= own.available;
            sum.debits -= own.debits;
            sum.credits -= own.credits;
            sum.version -= own.version;
            sum.limit = sum.limit.zip(own.limit).map(|(sum, own)| sum - own);
        });
        caught("groups", |history| {
            let found = read(history, level);
            let first = found.parts[0];
            found.parts.push(first);
        });
    }
}

#[test]
fn money_that_is_missing_or_was_not_asked_for_is_caught() {
    caught("groups", |history| more(read(history, Level::Linearizable), -900));
    caught("groups", |history| more(read(history, Level::Linearizable), 90_000));
    caught("groups", |history| more(read(history, Level::Stale), 9_000_000));
    // What one part shows is judged by itself as well.
    caught("linearizable_reads", |history| more(read(history, Level::Linearizable), 1));
    caught("stale_reads", |history| more(read(history, Level::Stale), 1));
}

#[test]
fn a_payment_on_two_parts_or_on_another_one_is_caught() {
    caught("groups", |history| {
        on_payment(history, |row| {
            let (part, cents) = row.legs[1];
            row.legs.push((part, cents));
        });
    });
    caught("groups", |history| on_payment(history, |row| row.legs[1].1 -= 1));
    caught("groups", |history| {
        let accounts: Vec<String> = history.accounts.clone();
        let slots = history.meta.slots.clone();
        on_payment(history, |row| {
            // A part of another set.
            let own = &accounts[row.legs[1].0 as usize];
            let set = |id: &String| twinset_jepsen::history::set_of(&slots, id);
            let is_other = |id: &&String| group_of(id) == group_of(own) && set(id) != set(own);
            let other = accounts.iter().position(|id| is_other(&id));
            row.legs[1].0 = other.unwrap_or(row.legs[0].0 as usize) as u32;
        });
    });
    caught("exactly_once", |history| {
        on_payment(history, |row| row.legs[1].0 = row.legs[0].0);
    });
}

#[test]
fn an_old_sum_is_caught() {
    for (level, name) in [(Level::Linearizable, "real_time_order"), (Level::Stale, "stale_reads")] {
        caught(name, |history| {
            let early = find(history, |op| is_read(op, Level::Linearizable));
            let asked = |op: &Op| match op.ask {
                Ask::ReadGroup { group, .. } => Some(group),
                _ => None,
            };
            let late = history.ops.iter().rposition(|op| {
                is_read(op, level) && asked(op) == asked(&history.ops[early]) && op.process != 99
            });
            // It says that it is of now.
            history.ops[late.unwrap()].answer = history.ops[early].answer.clone();
        });
    }
}
