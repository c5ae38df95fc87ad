//! The second opinion: the list-append history in the `adya` crate, whose search for cycles shares no code with our
//! sweep. It infers who overwrote and who read whom, and looks for cycles with real time. It is independent in its
//! method alone: the lists are in the witness's order, and what a read holds is taken from them as well, as far as
//! the count goes that its client was told (see [`append`](super::append)). So it would see a stale read, a lost
//! write that a count lacks, and an order against real time, if our own sweep did not; it proves nothing about
//! answers, limits or ids, nor that the order itself is right. `opaque_balances` is the checker that trusts no
//! position.
//!
//! The crate takes no notice of elements that nobody appended: a read of one, which is a torn read or one of a write
//! that nobody asked for, is found here.
//!
//! Accounts of different tags never meet in a transaction, so that a history may be cut by tags: each part strictly
//! serializable is what the whole claims. Parts are checked until a budget is used up, the smallest first; memory is why.

use std::collections::{BTreeMap, HashMap, HashSet};

use adya::history::{History, Interner, Mop, Op, OpType, ReadValue, Scalar};
use adya::{Opts, Valid, Workload};

use super::append::{Step, Txn, UNKNOWN, timeline, transactions};
use crate::check::{Case, Found};

/// Transactions that are looked at together at most: about half a gigabyte.
const PART_MAX: usize = 100_000;
/// Transactions that are looked at in one check.
const BUDGET: usize = 250_000;

/// No anomaly that strict serializability forbids, and no read of what nobody wrote.
pub fn check(case: &Case<'_>) -> Found {
    let all = transactions(case);
    let is_listed = |set: &u32| case.witness.listed.contains_key(set);
    let whole = case.witness.open.is_empty() || case.history.meta.sets.iter().all(is_listed);
    let unwritten = unwritten(&all, whole);
    unwritten.and(&judge(all))
}

/// Elements that were read and never appended. In a history that is not `whole`, a write that nobody could resolve
/// may have appended them.
fn unwritten(all: &[Txn], whole: bool) -> Found {
    let steps = || all.iter().flat_map(|txn| txn.steps.iter().map(move |step| (txn, step)));
    let appended: HashSet<(i64, i64)> = steps()
        .filter_map(|(_, step)| match step {
            Step::Append { key, value } => Some((*key, *value)),
            Step::Read { .. } => None,
        })
        .collect();
    let mut found = Found::default();
    // By list, the longest read so far in which all is well: reads of a list begin alike.
    let mut right: HashMap<i64, &[i64]> = HashMap::new();
    for (txn, step) in steps() {
        let Step::Read { key, values } = step else { continue };
        let known = right.entry(*key).or_default();
        let alike = values.iter().zip(*known).take_while(|(value, known)| value == known).count();
        let Some(value) = values[alike..].iter().find(|value| !appended.contains(&(*key, **value))) else {
            if values.len() > known.len() {
                *known = values;
            }
            continue;
        };
        let Txn { part, process, begin_ns, .. } = txn;
        let words = || {
            format!(
                "{part}: process {process} read, from {begin_ns} ns on, the element {value} of the list {key}, which \
                 nobody appended ({UNKNOWN}: it counts postings that no transaction explains)"
            )
        };
        if whole { found.wrong(words) } else { found.missing(words) }
    }
    found
}

fn judge(all: Vec<Txn>) -> Found {
    let mut parts: BTreeMap<String, Vec<Txn>> = BTreeMap::new();
    let count = all.len();
    for txn in all {
        parts.entry(txn.part.clone()).or_default().push(txn);
    }
    let mut parts: Vec<Vec<Txn>> = parts.into_values().collect();
    parts.sort_by_key(Vec::len);
    let mut found = Found::default();
    let mut used = 0;
    for part in &mut parts {
        // A prefix of a history in real time is a history.
        part.truncate(PART_MAX.min(BUDGET - used));
        used += part.len();
        let reads = part.iter().filter(|txn| matches!(txn.steps[0], Step::Read { .. })).count();
        if reads == 0 || reads == part.len() {
            continue;
        }
        found.checked += part.len() as u64;
        one_part(part, &mut found);
    }
    if used < count {
        found.examples.push(format!("looked at {used} of {count} transactions"));
    }
    found
}

fn one_part(part: &[Txn], found: &mut Found) {
    let report = adya::check(&history(part), Workload::ListAppend, &Opts::default());
    match report.valid {
        Valid::True => {}
        Valid::Unknown => found.missing(|| format!("{}: {:?}", part[0].part, report.anomaly_types)),
        Valid::False => {
            let first = report.anomalies.values().flatten().next();
            let words = first.map(|anomaly| anomaly.explanation.clone()).unwrap_or_default();
            found.wrong(|| format!("{}: {:?}; {words}", part[0].part, report.anomaly_types));
        }
    }
}

fn history(part: &[Txn]) -> History {
    let mut interner = Interner::default();
    let mut ops = Vec::with_capacity(part.len() * 2);
    for (time, ends, number) in timeline(part) {
        let txn = &part[number];
        let value = txn.steps.iter().map(|step| match step {
            Step::Append { key, value } => Mop::Append {
                key: interner.intern(Scalar::Int(*key)),
                value: interner.intern(Scalar::Int(*value)),
            },
            Step::Read { key, values } => {
                let key = interner.intern(Scalar::Int(*key));
                let mut list = || values.iter().map(|value| interner.intern(Scalar::Int(*value))).collect();
                Mop::Read { key, value: if ends { ReadValue::List(list()) } else { ReadValue::Nil } }
            }
        });
        let value = value.collect();
        ops.push(Op {
            index: ops.len() as u64,
            kind: if ends { OpType::Ok } else { OpType::Invoke },
            process: Some(txn.process),
            value,
            time: i64::try_from(time).ok(),
        });
    }
    History::from_ops(ops, interner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Answer, Ask, Level};
    use crate::synthetic;

    fn txn(process: i64, begin_ns: u64, end_ns: u64, steps: Vec<Step>) -> Txn {
        Txn { process, begin_ns, end_ns: Some(end_ns), part: "{t}".into(), steps }
    }

    fn append(value: i64) -> Vec<Step> {
        vec![Step::Append { key: 1, value }]
    }

    fn read(values: &[i64]) -> Vec<Step> {
        vec![Step::Read { key: 1, values: values.to_vec() }]
    }

    #[test]
    fn a_serial_history_is_right_and_a_stale_read_or_a_lost_write_is_caught() {
        let with = |seen: &[i64], last: &[i64]| {
            judge(vec![
                txn(1, 0, 1, append(7)),
                txn(1, 2, 3, append(8)),
                txn(2, 4, 5, read(seen)),
                txn(2, 6, 7, read(last)),
            ])
        };
        let right = with(&[7, 8], &[7, 8]);
        assert_eq!((right.wrong, right.checked), (0, 4), "{right:?}");
        for (seen, last) in [(&[7][..], &[7, 8][..]), (&[7, 8], &[8]), (&[8, 7], &[8, 7]), (&[], &[7, 8])] {
            assert_eq!(with(seen, last).wrong, 1, "{seen:?} then {last:?}");
        }
    }

    #[test]
    fn a_read_of_what_nobody_appended_is_caught() {
        let with = |seen: &[i64], whole| {
            unwritten(&[txn(1, 0, 1, append(7)), txn(2, 2, 3, read(&[])), txn(2, 4, 5, read(seen))], whole)
        };
        let verdict = |found: &Found| (found.wrong, found.missing);
        assert_eq!(verdict(&with(&[7], true)), (0, false));
        for seen in [&[7, 9][..], &[9], &[7, UNKNOWN]] {
            assert_eq!(verdict(&with(seen, true)), (1, false), "{seen:?}");
            assert_eq!(verdict(&with(seen, false)), (0, true), "an open end may explain {seen:?}");
        }
        // The crate itself does not mind.
        let history = vec![txn(1, 0, 1, append(7)), txn(2, 2, 3, read(&[7, 9]))];
        assert_eq!(judge(history).wrong, 0);
    }

    #[test]
    fn a_count_of_postings_that_nobody_booked_is_caught() {
        let mut history = synthetic::history(2_000, 5).unwrap();
        assert_eq!(check(&Case::of(&history)).wrong, 0);
        let figures = history.ops.iter_mut().rev().find_map(|op| match (&op.ask, &mut op.answer) {
            (Ask::ReadAccount { level: Level::Linearizable, .. }, Answer::Account { figures, .. }) => {
                Some(figures)
            }
            _ => None,
        });
        figures.unwrap().version += 1;
        let found = check(&Case::of(&history));
        assert_eq!(found.wrong, 1, "{found:?}");
        assert!(found.examples[0].contains("nobody appended"), "{found:?}");
    }
}
