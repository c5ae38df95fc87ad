//! The second opinion: the list-append history in the `adya` crate, a checker that shares nothing with ours. It infers who
//! overwrote and who read whom, and looks for cycles with real time. It proves nothing about answers, limits or ids; it would
//! see a lost write, a stale or torn read, and an order against real time, if our own sweep did not.
//!
//! Accounts of different tags never meet in a transaction, so that a history may be cut by tags: each part strictly
//! serializable is what the whole claims. Parts are checked until a budget is used up, the smallest first; memory is why.

use std::collections::BTreeMap;

use adya::history::{History, Interner, Mop, Op, OpType, ReadValue, Scalar};
use adya::{Opts, Valid, Workload};

use super::append::{Step, Txn, timeline, transactions};
use crate::check::{Case, Found};

/// Transactions that are looked at together at most: about half a gigabyte.
const PART_MAX: usize = 100_000;
/// Transactions that are looked at in one check.
const BUDGET: usize = 250_000;

/// No anomaly that strict serializability forbids.
pub fn check(case: &Case<'_>) -> Found {
    judge(transactions(case))
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
}
