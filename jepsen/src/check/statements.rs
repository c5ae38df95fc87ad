//! Statements: a page shows every posting between where it begins and where it ends, in order and once, each with the balance after
//! it; where a page ends the next one begins, whenever and through whichever router it is read; and a balance of the past is the
//! sum of what was posted by then. Postings are taken from the lists, balances are added up here. Pure.

use std::collections::HashMap;

use twinset_ledger::TransactionId;

use super::{Case, Found};
use crate::history::holds::Line;
use crate::history::{Answer, Ask, History};

/// A posting: its transaction, cents, and the balance after it.
type Posting = (TransactionId, i64, i64);

/// Every page and every balance, linearizable and stale.
pub fn check(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    let asks = |ask: &Ask| matches!(ask, Ask::Statement { .. } | Ask::Balance { .. });
    if !case.history.ops.iter().any(|op| asks(&op.ask)) {
        return found;
    }
    let postings = postings(case);
    // How many postings stand before each place between pages.
    let mut places: HashMap<(u32, &str), usize> = HashMap::new();
    for (number, op) in case.history.ops.iter().enumerate() {
        let own = |account: &u32| postings.get(account).map(Vec::as_slice).unwrap_or_default();
        let result = match (&op.ask, &op.answer) {
            (
                Ask::Statement { account, cursor, page_size, .. },
                Answer::Statement { as_of, lines, ends, next },
            ) => {
                let by_then = upto(own(account), as_of.place.index);
                let from = if cursor.is_empty() { Some(0) } else { places.get(&(*account, cursor)).copied() };
                let to = from.map(|from| from + lines.len());
                if let Some(to) = to {
                    places.entry((*account, next)).or_insert(to);
                }
                match from {
                    None => Err("its cursor was given to nobody".to_owned()),
                    Some(_) if lines.len() > *page_size as usize => {
                        Err("it is longer than was asked for".to_owned())
                    }
                    Some(from) => page(by_then, from, lines, (*ends, next.is_empty())),
                }
            }
            (Ask::Balance { account, index, .. }, Answer::Balance { posted, .. }) => {
                let expected = upto(own(account), *index).last().map_or(0, |posting| posting.2);
                if *posted == expected { Ok(()) } else { Err(format!("it was {expected} cents")) }
            }
            _ => continue,
        };
        found.checked += 1;
        if let Err(words) = result {
            found.wrong(|| format!("operation {number}: {words}: {:?}: {:?}", op.ask, op.answer));
        }
    }
    found
}

/// The postings of each account, in the order of its set's log.
fn postings(case: &Case<'_>) -> HashMap<u32, Vec<Posting>> {
    let signs = signs(case.history);
    let mut postings: HashMap<u32, Vec<Posting>> = HashMap::new();
    for (set, booked) in &case.replay.booked {
        for one in booked {
            let incarnation = case.history.meta.incarnation_at(*set, one.position.index());
            let name = TransactionId { set: *set, incarnation, position: one.position };
            for (account, cents) in &one.legs {
                let own = postings.entry(*account).or_default();
                let before = own.last().map_or(0, |posting| posting.2);
                let sign = signs.get(account).copied().unwrap_or(1);
                own.push((name, *cents, before + sign * cents));
            }
        }
    }
    postings
}

/// Whether debits raise the balance of an account, or lower it.
pub(super) fn signs(history: &History) -> HashMap<u32, i64> {
    let opened = history.ops.iter().filter_map(|op| match (&op.ask, &op.answer) {
        (Ask::Open { account, subject, .. }, Answer::Done { .. }) => {
            let raises = matches!(subject.as_str(), "asset" | "expense");
            Some((*account, if raises { 1 } else { -1 }))
        }
        _ => None,
    });
    opened.collect()
}

fn upto(postings: &[Posting], index: u64) -> &[Posting] {
    &postings[..postings.partition_point(|(name, ..)| name.position.index() <= index)]
}

/// A page that begins behind the first `from` postings.
fn page(
    by_then: &[Posting],
    from: usize,
    lines: &[Line],
    (ends, is_last): ((i64, i64), bool),
) -> Result<(), String> {
    let to = from + lines.len();
    let told = lines.iter().map(|line| (line.transaction.0, line.cents, line.posted));
    let expected = by_then.get(from..to.min(by_then.len())).unwrap_or_default();
    if !expected.iter().copied().eq(told) {
        return Err(format!("it should show {expected:?}"));
    }
    if lines.iter().any(|line| line.place.index != line.transaction.0.position.index()) {
        return Err("a line stands elsewhere than its transaction".to_owned());
    }
    if is_last && to < by_then.len() {
        return Err(format!("it is the last page, and lacks {:?}", &by_then[to..]));
    }
    let closing = by_then.last().map_or(0, |posting| posting.2);
    if ends == (0, closing) { Ok(()) } else { Err(format!("the balance at its end is {closing}")) }
}
