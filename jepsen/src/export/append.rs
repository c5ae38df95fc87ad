//! List-append as Elle knows it: every booked transaction appends its number to the list of each account that it touches, and
//! a linearizable read of an account reads the list up to the count of postings that the client was told. After so many
//! postings an account goes on under another key, so that reads stay small.
//!
//! What clients saw decides: a transaction spans from its first call to its first definite answer, and a read's list ends
//! where its own count says, not where its position does.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::Write;

use crate::check::Case;
use crate::history::{Answer, Ask, Level};

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

/// A list as it grew: elements, and the count of postings after each.
#[derive(Default)]
struct List {
    values: Vec<i64>,
    counts: Vec<u64>,
}

/// All transactions of a case, in the order of their begins.
pub fn transactions(case: &Case<'_>) -> Vec<Txn> {
    let mut lists: HashMap<u32, List> = HashMap::new();
    let mut all = Vec::new();
    let mut value = 0;
    for (set, booked) in &case.replay.booked {
        for one in booked {
            value += 1;
            let mut steps = Vec::new();
            for (at, (account, _)) in one.legs.iter().enumerate() {
                if one.legs[..at].iter().any(|(earlier, _)| earlier == account) {
                    continue;
                }
                let legs = one.legs.iter().filter(|(other, _)| other == account).count() as u64;
                let list = lists.entry(*account).or_default();
                steps.push(Step::Append { key: key(*account, list.values.len() as u64), value });
                list.values.push(value);
                list.counts.push(list.counts.last().copied().unwrap_or(0) + legs);
            }
            let decided = &case.witness.sets[set][one.decided as usize];
            all.push(Txn {
                process: 0,
                begin_ns: decided.begin_ns,
                end_ns: (decided.end_ns != u64::MAX).then_some(decided.end_ns),
                part: part(case, one.legs[0].0),
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
        let empty = List::default();
        let list = lists.get(account).unwrap_or(&empty);
        // A count that no prefix has is read as the next longer one: the other checkers say what is wrong with it.
        let length = list.counts.partition_point(|count| *count < figures.version);
        let length = if figures.version == 0 { 0 } else { (length + 1).min(list.values.len()) } as u64;
        let from = (length / ROTATE * ROTATE) as usize;
        let values = list.values[from..length as usize].to_vec();
        all.push(Txn {
            process: 0,
            begin_ns: op.begin_ns,
            end_ns: op.end_ns,
            part: part(case, *account),
            steps: vec![Step::Read { key: key(*account, length), values }],
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
