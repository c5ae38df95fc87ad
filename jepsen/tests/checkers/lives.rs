//! Sets that were recovered: a history of two incarnations passes, and each break of what is promised of them is seen
//! by the checker that is for it. What goes on in one site is on record first.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use twinset_jepsen::check::{Verdict, overall};
use twinset_jepsen::history::records::{Change, Recorded};
use twinset_jepsen::history::{Answer, Ask, FaultSpan, History, Level, Name, Op, Phase};
use twinset_jepsen::nemesis::{Evidence, Fault};
use twinset_jepsen::{synthetic, workload};

use super::{booked, find, verdicts};

/// Where the first incarnations of the two sets have ended: in the middle of the traffic.
const ENDS: [u64; 2] = [700, 900];

/// Both sets were recovered once.
fn good() -> History {
    static GOOD: OnceLock<History> = OnceLock::new();
    GOOD.get_or_init(made).clone()
}

fn made() -> History {
    let lives: BTreeMap<u32, Vec<u64>> = (1..).zip(ENDS.map(|end| vec![end])).collect();
    let names = ["transfers", "limits", "reversals", "lists", "stale", "across", "buffered", "events"];
    let kinds = workload::named(&names.map(str::to_owned)).unwrap();
    synthetic::of_lives(&kinds, 3_000, 5, &lives)
}

/// Breaks a good history; the checkers must say so.
fn caught(names: &[&str], verdict: Verdict, spoil: impl FnOnce(&mut History)) {
    let mut history = good();
    spoil(&mut history);
    let mut found = verdicts(&history);
    for name in names {
        let found = found.remove(name).unwrap();
        assert_eq!(found.verdict, verdict, "{name}: {found:#?}");
    }
}

/// When something of the second incarnation of a set was first answered.
fn began_anew(history: &History, set: u32) -> u64 {
    let decided = history.ops.iter().filter_map(|op| Some((op, op.answer.decided()?.0)));
    let of_it = decided.filter(|(_, place)| place.set == set && place.index > ENDS[set as usize - 1]);
    of_it.filter_map(|(op, _)| op.end_ns).min().unwrap()
}

/// A transaction of the first incarnation of a set, or of the second.
fn one(history: &History, incarnation: u32) -> usize {
    find(history, |op| {
        let name = match op.answer {
            Answer::Booked { transaction, .. } => Some(transaction.0),
            _ => None,
        };
        booked(op) && op.retry.is_none() && name.is_some_and(|name| name.incarnation == incarnation)
    })
}

/// Lets every list go on without what stands behind the end of a set's first incarnation minus `count`.
fn lose(history: &mut History, set: u32, count: u64) {
    let end = ENDS[set as usize - 1];
    let is_lost = |name: &Name| {
        let name = name.0;
        name.set == set && (end - count..=end).contains(&name.position.index())
    };
    for op in &mut history.ops {
        if let Answer::Page { found, .. } = &mut op.answer {
            found.retain(|row| !is_lost(&row.transaction));
        }
    }
}

#[test]
fn a_history_of_two_incarnations_is_valid_and_every_parcel_is_of_its_stream() {
    let history = good();
    let found = verdicts(&history);
    let red = found.values().filter(|found| found.verdict.is_red()).collect::<Vec<_>>();
    assert!(red.is_empty(), "{red:#?}");
    assert_eq!(overall(&found.values().cloned().collect::<Vec<_>>()), Verdict::Valid);
    assert_eq!(found["lives"].verdict, Verdict::Valid);
    // A stream begins anew with each incarnation of who sends: two of the second one say that its numbers are its own.
    let from = history.phase(Phase::Final).unwrap();
    let last = history.ops.iter().filter(|op| op.begin_ns >= from && op.router == 0);
    let rows = last.filter_map(|op| match &op.answer {
        Answer::Page { found, .. } => Some(found),
        _ => None,
    });
    let mut parcels: BTreeMap<(u32, u32), usize> = BTreeMap::new();
    let paid: Vec<Name> =
        rows.clone().flatten().filter(|row| row.is_paid()).map(|row| row.transaction).collect();
    for row in rows.flatten().filter(|row| !row.is_paid()) {
        if let Some(part) = row.part_of.filter(|part| paid.contains(&part.of)) {
            *parcels.entry((part.of.0.set, part.of.0.incarnation)).or_default() += 1;
        }
    }
    assert!(parcels.get(&(1, 1)).is_some_and(|count| *count >= 2), "{parcels:?}");
    for set in [1, 2] {
        assert!(parcels.get(&(set, 2)).is_some_and(|count| *count >= 2), "{parcels:?}");
    }
}

#[test]
fn a_set_that_was_never_recovered_shows_nothing_of_it() {
    let found = verdicts(&super::good()).remove("lives").unwrap();
    assert_eq!(found.verdict, Verdict::Idle);
}

#[test]
fn what_was_acknowledged_in_sync_and_lost_by_a_recovery_is_caught() {
    caught(&["lives", "exactly_once"], Verdict::Invalid, |history| lose(history, 1, 60));
    // From DEGRADED an operator has accepted that; the books are short of it all the same.
    caught(&["lives"], Verdict::Valid, |history| {
        lose(history, 1, 60);
        let record = |change, at_ns| Recorded { set: 1, change, proposed_ns: at_ns, seen_ns: at_ns };
        history.records = vec![record(Change::Degraded, 5), record(Change::Recovered, 7)];
    });
}

#[test]
fn what_the_lost_site_has_told_somebody_beyond_what_went_on_is_caught() {
    caught(&["lives", "ledger_time"], Verdict::Invalid, |history| {
        let at = one(history, 2);
        super::all_answers(history, at, |answer| {
            if let Answer::Booked { transaction, .. } = answer {
                transaction.0.incarnation = 1;
            }
        });
    });
    // The other way round: something that the old incarnation has decided passes for the new one's.
    caught(&["lives", "ledger_time"], Verdict::Invalid, |history| {
        let at = one(history, 1);
        super::all_answers(history, at, |answer| {
            if let Answer::Booked { transaction, .. } = answer {
                transaction.0.incarnation = 2;
            }
        });
    });
}

/// A linearizable read of the first incarnation of set 1, asked when the second one has answered.
fn read_too_late(history: &mut History, level: Level) {
    let at = find(history, |op| {
        let old = op.answer.as_of().is_some_and(|as_of| as_of.place.set == 1 && as_of.place.index < ENDS[0]);
        old && op.ask.read_level() == Some(level) && matches!(op.answer, Answer::Account { .. })
    });
    let mut late: Op = history.ops[at].clone();
    let length = late.end_ns.unwrap() - late.begin_ns;
    late.begin_ns = began_anew(history, 1) + 10 * length;
    late.end_ns = Some(late.begin_ns + length);
    late.process = 77;
    if let Answer::Account { as_of, .. } = &mut late.answer {
        as_of.age_ms = 0;
    }
    let behind = history.ops.partition_point(|op| op.begin_ns < late.begin_ns);
    history.ops.insert(behind, late);
}

#[test]
fn a_read_of_the_old_incarnation_after_an_answer_of_the_new_one_is_caught() {
    caught(&["lives", "real_time_order"], Verdict::Invalid, |history| {
        read_too_late(history, Level::Linearizable);
    });
    // A stale one may be of the past, if it says so.
    caught(&["stale_reads"], Verdict::Invalid, |history| read_too_late(history, Level::Stale));
    caught(&["stale_reads", "lives"], Verdict::Valid, |history| {
        read_too_late(history, Level::Stale);
        for op in history.ops.iter_mut().filter(|op| op.process == 77) {
            if let Answer::Account { as_of, .. } = &mut op.answer {
                as_of.age_ms = 1_000_000;
            }
        }
    });
}

#[test]
fn a_write_that_the_old_incarnation_decides_after_an_answer_of_the_new_one_is_caught() {
    caught(&["lives", "real_time_order"], Verdict::Invalid, |history| {
        let (at, late) = (one(history, 1), began_anew(history, 1).max(began_anew(history, 2)));
        let ask = history.ops[at].ask.clone();
        for op in history.ops.iter_mut().filter(|op| op.ask == ask) {
            let length = op.end_ns.unwrap() - op.begin_ns;
            (op.begin_ns, op.process) = (late + 20 * length, 77);
            op.end_ns = Some(late + 21 * length);
        }
    });
}

#[test]
fn a_refusal_of_a_lost_set_that_is_booked_after_all_is_caught() {
    caught(&["refused_is_never"], Verdict::Invalid, |history| {
        let at = one(history, 1);
        super::all_answers(history, at, |answer| *answer = Answer::NotApplied { code: "no_leader".into() });
    });
}

/// A site is dark from the first answer on, for a second; set 1 goes on without it by what is on record.
fn dark(history: &mut History, records: &[(Change, u64)]) {
    let from = history.ops[find(history, booked)].begin_ns - 1;
    let victims = ["b1", "b2", "rb"].map(str::to_owned).to_vec();
    let fault = Fault::SiteLoss { site: "B".into(), victims, arbiter: None, lame: None, down_ms: 1_000_000 };
    history.meta.go_on = true;
    history.faults.push(FaultSpan {
        fault,
        begin_ns: from - 1,
        acts_ns: Some(from),
        undone_ns: None,
        end_ns: Some(u64::MAX),
        evidence: Some(Evidence { acted: true, detail: "seen".into() }),
    });
    let record = |set, change, at_ns| Recorded { set, change, proposed_ns: at_ns, seen_ns: at_ns + 10 };
    let both = records.iter().flat_map(|(change, after)| {
        [1, 2].map(|set| record(set, *change, from.saturating_add_signed(*after as i64)))
    });
    history.records = both.collect();
}

#[test]
fn what_is_answered_with_one_site_is_on_record_first() {
    let late = 20_000_000;
    // It was on record before the site was lost, or a moment later when nobody had been answered.
    caught(&["both_sites"], Verdict::Valid, |history| dark(history, &[(Change::Degraded, 0)]));
    caught(&["both_sites"], Verdict::Invalid, |history| dark(history, &[(Change::Degraded, late)]));
    caught(&["both_sites"], Verdict::Invalid, |history| dark(history, &[(Change::Recovered, late)]));
    caught(&["both_sites"], Verdict::Invalid, |history| dark(history, &[]));
    // That it is being recovered is no word that it goes on.
    caught(&["both_sites"], Verdict::Invalid, |history| dark(history, &[(Change::RecoveryBegun, 0)]));
    // What is on record as SYNC is judged as such, whatever was before.
    caught(&["both_sites"], Verdict::Invalid, |history| {
        dark(history, &[(Change::Degraded, 0), (Change::Sync, late)]);
    });
    // Everybody waits until then.
    caught(&["both_sites"], Verdict::Valid, |history| {
        dark(history, &[(Change::Degraded, late)]);
        let (from, to) = (history.faults[0].acts_ns.unwrap(), history.records[0].proposed_ns);
        let inside = history.ops.iter_mut().filter(|op| op.begin_ns > from && op.begin_ns < to);
        inside.for_each(|op| op.end_ns = op.end_ns.map(|end| end.max(to + 1)));
    });
}

#[test]
fn a_stale_read_that_shows_what_is_not_on_record_is_caught() {
    let late = 20_000_000;
    let stale = |history: &mut History, on_record: u64| {
        let at = find(history, |op| {
            op.ask.read_level() == Some(Level::Stale) && matches!(op.answer, Answer::Account { .. })
        });
        let mut read = history.ops[at].clone();
        dark(history, &[(Change::Degraded, on_record)]);
        let from = history.faults[0].acts_ns.unwrap();
        for op in history.ops.iter_mut().filter(|op| op.begin_ns > from && op.begin_ns < from + late) {
            op.end_ns = op.end_ns.map(|end| end.max(from + late + 1));
        }
        (read.begin_ns, read.end_ns, read.router) = (from + late - 2, Some(from + late - 1), 0);
        if let Answer::Account { as_of, .. } = &mut read.answer {
            as_of.place.index = u64::MAX >> 20;
        }
        history.ops.push(read);
    };
    caught(&["both_sites"], Verdict::Invalid, |history| stale(history, late));
    caught(&["both_sites"], Verdict::Valid, |history| stale(history, 0));
}

#[test]
fn a_set_that_goes_on_and_stays_silent_is_caught() {
    const SECOND: u64 = 1_000_000_000;
    // A site is away for a minute, and nobody is answered meanwhile.
    let away = |goes_on_after: Option<u64>| {
        move |history: &mut History| {
            let at = history.ops.len() / 2;
            let from = history.ops[at].begin_ns;
            for op in &mut history.ops[at..] {
                op.begin_ns += 60 * SECOND;
                op.end_ns = op.end_ns.map(|end| end + 60 * SECOND);
            }
            for (_, time) in history.phases.iter_mut().filter(|(_, time)| *time >= from) {
                *time += 60 * SECOND;
            }
            let records: Vec<(Change, u64)> =
                goes_on_after.map(|after| (Change::Degraded, after)).into_iter().collect();
            dark(history, &[]);
            let span = &mut history.faults[0];
            (span.begin_ns, span.acts_ns) = (from, Some(from));
            (span.undone_ns, span.end_ns) = (Some(from + 59 * SECOND), Some(from + 60 * SECOND));
            let record = |set, change, after| Recorded {
                set,
                change,
                proposed_ns: from + after,
                seen_ns: from + after,
            };
            history.records = records
                .iter()
                .flat_map(|(change, after)| [1, 2].map(|set| record(set, *change, *after)))
                .collect();
        }
    };
    caught(&["liveness"], Verdict::Valid, away(None));
    caught(&["liveness"], Verdict::Valid, away(Some(55 * SECOND)));
    caught(&["liveness"], Verdict::Invalid, away(Some(3 * SECOND)));
}

#[test]
fn an_answer_of_the_last_incarnation_names_what_was_asked_for() {
    let history = good();
    let names = history.ops.iter().filter_map(|op| match (&op.ask, &op.answer) {
        (Ask::Transfer(_), Answer::Booked { transaction, place, .. }) => Some((transaction.0, *place)),
        _ => None,
    });
    for (name, place) in names {
        let expected = 1 + u32::from(place.index > ENDS[place.set as usize - 1]);
        assert_eq!(name.incarnation, expected, "{name} at {place:?}");
    }
}
