//! List-append as Elle knows it: every booked transaction appends its number to the list of each account that it touches, and
//! a linearizable read of an account reads the list up to the count of postings that the client was told. After so many
//! postings an account goes on under another key, so that reads stay small.
//!
//! The API tells no client the whole list of an account, so that which elements a list has, and in which order, is
//! the witness's word, in what was appended as in what was read. What clients saw is when: a transaction spans from
//! its first call to its first definite answer; and how much: a read's list ends where its own count says, not where
//! its position does. A count that no list has after any transaction ends in an element that nobody appended.
//!
//! What is promised is an order per set: of a transaction over several each part is a transaction here. Clearing accounts are
//! left out; they would join accounts that nothing else joins.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::Write;

use crate::check::Case;
use crate::history::{Answer, Ask, Level, own_account};

/// Postings of one key.
pub const ROTATE: u64 = 256;

/// One step of a transaction. A key is `account * 2^20 + chunk`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// An element goes to the end of a list.
    Append {
        /// The list.
        key: i64,
        /// The element.
        value: i64,
    },
    /// A list is read.
    Read {
        /// The list.
        key: i64,
        /// What it held.
        values: Vec<i64>,
    },
}

/// One transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Txn {
    /// One that had nothing else under way; given here.
    pub process: i64,
    /// In nanoseconds.
    pub begin_ns: u64,
    /// None: never answered, though it happened.
    pub end_ns: Option<u64>,
    /// Accounts with the same part in braces never meet others: what can be checked for itself.
    pub part: String,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// Ends a read that counts more postings than there are, or a part of those of a transaction.
pub const UNKNOWN: i64 = -1;

/// A list as it grew: elements, and the count of postings after each.
#[derive(Default)]
struct List {
    values: Vec<i64>,
    counts: Vec<u64>,
}

impl List {
    /// Its key and elements for who was told that there are `count` postings.
    fn read(&self, account: u32, count: u64) -> Step {
        let whole = self.counts.partition_point(|known| *known <= count);
        let from = whole - whole % ROTATE as usize;
        let mut values = self.values[from..whole].to_vec();
        if whole.checked_sub(1).map_or(0, |last| self.counts[last]) < count {
            values.push(UNKNOWN);
        }
        Step::Read { key: key(account, whole as u64), values }
    }
}

/// All transactions of a case, in the order of their begins.
pub fn transactions(case: &Case<'_>) -> Vec<Txn> {
    let mut lists: HashMap<u32, List> = HashMap::new();
    let mut all = Vec::new();
    let is_own = |account: u32| own_account(&case.history.accounts[account as usize]).is_some();
    let mut value = 0;
    for (set, booked) in &case.replay.booked {
        for one in booked {
            value += 1;
            let mut steps = Vec::new();
            for (at, (account, _)) in one.legs.iter().enumerate() {
                if one.legs[..at].iter().any(|(earlier, _)| earlier == account) || is_own(*account) {
                    continue;
                }
                let legs = one.legs.iter().filter(|(other, _)| other == account).count() as u64;
                let list = lists.entry(*account).or_default();
                steps.push(Step::Append { key: key(*account, list.values.len() as u64), value });
                list.values.push(value);
                list.counts.push(list.counts.last().copied().unwrap_or(0) + legs);
            }
            // What went to suspense is on no account that clients can read.
            if steps.is_empty() {
                continue;
            }
            let decided = &case.witness.sets[set][one.decided as usize];
            all.push(Txn {
                process: 0,
                begin_ns: decided.begin_ns,
                end_ns: (decided.end_ns != u64::MAX).then_some(decided.end_ns),
                part: part(case, one.legs.iter().find(|leg| !is_own(leg.0)).unwrap_or(&one.legs[0]).0),
                steps,
            });
        }
    }
    for op in &case.history.ops {
        let (Ask::ReadAccount { account, level: Level::Linearizable }, Answer::Account { figures, .. }) =
            (&op.ask, &op.answer)
        else {
            continue;
        };
        if is_own(*account) {
            continue;
        }
        let empty = List::default();
        let list = lists.get(account).unwrap_or(&empty);
        all.push(Txn {
            process: 0,
            begin_ns: op.begin_ns,
            end_ns: op.end_ns,
            part: part(case, *account),
            steps: vec![list.read(*account, figures.version)],
        });
    }
    all.sort_by_key(|txn| txn.begin_ns);
    give_processes(&mut all);
    all
}

fn key(account: u32, ordinal: u64) -> i64 {
    (i64::from(account) << 20) + (ordinal / ROTATE) as i64
}

fn part(case: &Case<'_>, account: u32) -> String {
    let id = &case.history.accounts[account as usize];
    id.rsplit_once(':').map_or(id.as_str(), |(tag, _)| tag).to_owned()
}

/// As few processes as do one thing at a time.
fn give_processes(all: &mut [Txn]) {
    let mut free: BinaryHeap<Reverse<(u64, i64)>> = BinaryHeap::new();
    let mut next = 0;
    for txn in all {
        txn.process = match free.peek() {
            Some(Reverse((end, process))) if *end < txn.begin_ns => {
                let process = *process;
                free.pop();
                process
            }
            _ => {
                next += 1;
                next
            }
        };
        if let Some(end) = txn.end_ns {
            free.push(Reverse((end, txn.process)));
        }
    }
}

/// Begins and ends in the order of time: number of the transaction, and whether it ends.
pub fn timeline(all: &[Txn]) -> Vec<(u64, bool, usize)> {
    let mut events = Vec::with_capacity(all.len() * 2);
    for (number, txn) in all.iter().enumerate() {
        events.push((txn.begin_ns, false, number));
        events.extend(txn.end_ns.map(|end| (end, true, number)));
    }
    events.sort_unstable();
    events
}

/// Writes them as Elle reads them.
pub fn write(all: &[Txn], mut out: impl Write) -> anyhow::Result<()> {
    for (index, (time, ends, number)) in timeline(all).into_iter().enumerate() {
        let txn = &all[number];
        let step = |step: &Step| match step {
            Step::Append { key, value } => format!("[:append {key} {value}]"),
            Step::Read { key, .. } if !ends => format!("[:r {key} nil]"),
            Step::Read { key, values } => {
                let values: Vec<String> = values.iter().map(i64::to_string).collect();
                format!("[:r {key} [{}]]", values.join(" "))
            }
        };
        let steps: Vec<String> = txn.steps.iter().map(step).collect();
        writeln!(
            out,
            "{{:index {index}, :time {time}, :type :{}, :process {}, :f :txn, :value [{}]}}",
            if ends { "ok" } else { "invoke" },
            txn.process,
            steps.join(" ")
        )?;
    }
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::is_one_map_per_line;
    use super::*;
    use crate::synthetic;

    fn text(all: &[Txn]) -> String {
        let mut text = Vec::new();
        write(all, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_tiny_history_reads_as_elle_reads_one() {
        let txn =
            |process, begin_ns, end_ns, steps| Txn { process, begin_ns, end_ns, part: "{t}".into(), steps };
        let append = |key, value| Step::Append { key, value };
        let all = [
            txn(1, 10, Some(30), vec![append(5, 17), append(9, 17)]),
            txn(2, 20, Some(30), vec![Step::Read { key: 5, values: vec![3, 17] }]),
            txn(3, 40, None, vec![append(9, 18)]),
            txn(1, 50, Some(60), vec![Step::Read { key: 7, values: Vec::new() }]),
        ];
        let expected = [
            "{:index 0, :time 10, :type :invoke, :process 1, :f :txn, :value [[:append 5 17] [:append 9 17]]}",
            "{:index 1, :time 20, :type :invoke, :process 2, :f :txn, :value [[:r 5 nil]]}",
            "{:index 2, :time 30, :type :ok, :process 1, :f :txn, :value [[:append 5 17] [:append 9 17]]}",
            "{:index 3, :time 30, :type :ok, :process 2, :f :txn, :value [[:r 5 [3 17]]]}",
            "{:index 4, :time 40, :type :invoke, :process 3, :f :txn, :value [[:append 9 18]]}",
            "{:index 5, :time 50, :type :invoke, :process 1, :f :txn, :value [[:r 7 nil]]}",
            "{:index 6, :time 60, :type :ok, :process 1, :f :txn, :value [[:r 7 []]]}",
        ];
        assert_eq!(text(&all).lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_is_written_is_what_the_second_opinion_looks_at() {
        let history = synthetic::history(2_000, 5).unwrap();
        let all = transactions(&Case::of(&history));
        let text = text(&all);
        is_one_map_per_line(&text);
        let read = ::adya::history::History::from_edn(&text).unwrap();
        assert_eq!(read.ops.len(), timeline(&all).len());
        let report = ::adya::check(&read, ::adya::Workload::ListAppend, &::adya::Opts::default());
        assert!(matches!(report.valid, ::adya::Valid::True), "{:?}", report.anomaly_types);
    }

    #[test]
    fn a_read_ends_where_its_count_does_and_in_an_unknown_element_where_nothing_does() {
        // The third transaction has two postings on the account.
        let list = List { values: vec![7, 8, 9], counts: vec![1, 2, 4] };
        let read = |count| match list.read(0, count) {
            Step::Read { key: 0, values } => values,
            other => panic!("{other:?}"),
        };
        for (count, values) in [
            (0, vec![]),
            (1, vec![7]),
            (2, vec![7, 8]),
            (3, vec![7, 8, UNKNOWN]),
            (4, vec![7, 8, 9]),
            (5, vec![7, 8, 9, UNKNOWN]),
        ] {
            assert_eq!(read(count), values, "{count}");
        }
        assert_eq!(List::default().read(0, 1), Step::Read { key: 0, values: vec![UNKNOWN] });
        let long = List { values: (1..=300).collect(), counts: (1..=300).collect() };
        assert_eq!(long.read(1, 258), Step::Read { key: (1 << 20) + 1, values: vec![257, 258] });
        assert_eq!(long.read(1, 256), Step::Read { key: (1 << 20) + 1, values: Vec::new() });
    }
}
