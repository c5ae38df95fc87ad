//! What clients write on some transactions beside legs and ids: kind, reason, accounting date and metadata, all of one number,
//! so that a history says it in a word and whoever reads a transaction back can tell whether all of it is still there.
//! Labels with an odd number have metadata, the others have not: two-leg transactions without fit the log's short form.

use std::collections::BTreeMap;

use twinset_ledger::date;
use twinset_ledger::sweep::SWEEP_KEY;

use super::run_of;

/// Labels are below this.
pub const LABELS: u16 = 1_000;
/// 2026-01-01, in days since 1970-01-01: the accounting date of label 0.
const FIRST_DAY: i32 = 20_454;
const KEY: &str = "label";
const DAY_NS: u64 = 86_400_000_000_000;

/// What a label stands for; without one, nothing is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The client's kind of transaction.
    pub kind: u16,
    /// The client's reason code.
    pub reason: u16,
    /// Days since 1970-01-01.
    pub accounting_date: Option<i32>,
    /// Free.
    pub metadata: BTreeMap<String, String>,
}

/// What a label stands for.
pub fn written(label: Option<u16>) -> Written {
    let Some(label) = label else { return Written::default() };
    let metadata = (label % 2 == 1).then(|| (KEY.to_owned(), format!("no {label}; ü \"quoted\"")));
    Written {
        kind: label + 1,
        reason: 2 * label,
        accounting_date: Some(FIRST_DAY + i32::from(label)),
        metadata: metadata.into_iter().collect(),
    }
}

/// The label of a transaction that was booked at `time_ns`, by all that is shown of it; none inside: it has none. None: what is
/// shown is of no label. A sweep's run, which the request id tells, has none and names its sweep.
pub fn read(
    id: &str,
    (kind, reason): (u32, u32),
    accounting_date: &str,
    metadata: &BTreeMap<String, String>,
    time_ns: u64,
) -> Option<Option<u16>> {
    if let Some((sweep, _)) = run_of(id) {
        let named = metadata.len() == 1 && metadata.get(SWEEP_KEY) == Some(&sweep.to_string());
        return (named && (kind, reason) == (0, 0)).then_some(None);
    }
    let label = kind.checked_sub(1).map(u16::try_from).transpose().ok()?;
    let expected = written(label.filter(|label| *label < LABELS));
    let ledger_day = i32::try_from(time_ns / DAY_NS).ok()?;
    let day = expected.accounting_date.unwrap_or(ledger_day);
    let same = (u32::from(expected.kind), u32::from(expected.reason)) == (kind, reason)
        && date::parse(accounting_date) == Some(day)
        && expected.metadata == *metadata;
    same.then_some(label)
}

/// The same of what one set has booked of a transaction over several, whose request id stands with the whole of it. Its day is that
/// of the whole, which is compared there.
pub fn of_part((kind, reason): (u32, u32), metadata: &BTreeMap<String, String>) -> Option<Option<u16>> {
    let label = kind.checked_sub(1).map(u16::try_from).transpose().ok()?;
    let expected = written(label.filter(|label| *label < LABELS));
    let is_run = label.is_none() && metadata.keys().eq([SWEEP_KEY]);
    let same = (u32::from(expected.kind), u32::from(expected.reason)) == (kind, reason)
        && (is_run || expected.metadata == *metadata);
    same.then_some(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_read_back_and_no_part_of_it_may_be_missing() {
        for label in [None, Some(0), Some(1), Some(LABELS - 1)] {
            let Written { kind, reason, accounting_date, metadata } = written(label);
            let day = date::format(accounting_date.unwrap_or(3));
            let time_ns = 3 * DAY_NS + 5;
            let of = |kind: u16, reason: u16, day: &str, metadata: &BTreeMap<String, String>| {
                read("x", (kind.into(), reason.into()), day, metadata, time_ns)
            };
            assert_eq!(of(kind, reason, &day, &metadata), Some(label));
            assert_eq!(of(kind, reason + 1, &day, &metadata), None);
            assert_eq!(of(kind + 1, reason, &day, &metadata), None);
            assert_eq!(of(kind, reason, "1970-01-03", &metadata), None);
            let mut other = metadata.clone();
            other.insert("more".into(), String::new());
            assert_eq!(of(kind, reason, &day, &other), None);
            if !metadata.is_empty() {
                assert_eq!(of(kind, reason, &day, &BTreeMap::new()), None);
            }
        }
        assert_eq!(date::format(FIRST_DAY), "2026-01-01");
    }

    #[test]
    fn a_run_names_its_sweep_and_nothing_else_does() {
        let of = |id: &str, sweep: &str| {
            let metadata = BTreeMap::from([(SWEEP_KEY.to_owned(), sweep.to_owned())]);
            read(id, (0, 0), "1970-01-04", &metadata, 3 * DAY_NS)
        };
        assert_eq!(of("~sweep-1-1-9-0-4", "1-1-9-0"), Some(None));
        assert_eq!(of("~sweep-1-1-9-0-4", "1-1-9-1"), None);
        assert_eq!(of("x", "1-1-9-0"), None);
    }
}
