//! Opaque balances: each amount into a jar is a power of two, so that a balance says which transfers it holds. Looks at
//! nothing else: neither positions nor lists nor the model. Pure.

use std::collections::HashMap;

use super::witness::{Body, calls};
use super::{Case, Found};
use crate::history::{Answer, Ask, Level};
use crate::workload::JAR;

/// One transfer into a jar.
#[derive(Clone, Copy)]
struct Gift {
    begin_ns: u64,
    acknowledged_ns: u64,
    /// No call may have booked it: each was told so.
    never: bool,
}

/// A balance holds what was acknowledged before it was read, nothing that was not asked for by then, nothing refused; and
/// what one linearizable read has seen the next one sees.
pub fn check(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    let jars = jars(case);
    if jars.is_empty() {
        return found;
    }
    // By jar: reads of the level that must not go back.
    let mut seen: HashMap<u32, Vec<(u64, u64, i64)>> = HashMap::new();
    for (number, op) in case.history.ops.iter().enumerate() {
        let (Ask::ReadAccount { account, level }, Answer::Account { figures, .. }) = (&op.ask, &op.answer)
        else {
            continue;
        };
        let Some(gifts) = jars.get(account) else { continue };
        found.checked += 1;
        let end_ns = op.end_ns.unwrap_or(u64::MAX);
        for power in 0..63 {
            let held = figures.posted >> power & 1 == 1;
            let wrong = match gifts.get(&power) {
                None if held => "nobody gave",
                Some(gift) if held && gift.never => "was refused",
                Some(gift) if held && gift.begin_ns > end_ns => "was not asked for yet",
                Some(gift)
                    if !held && *level == Level::Linearizable && gift.acknowledged_ns < op.begin_ns =>
                {
                    "was acknowledged before, but is missing"
                }
                _ => continue,
            };
            found.wrong(|| {
                format!("operation {number} read {} in {:?}: 2^{power} {wrong}", figures.posted, op.ask)
            });
        }
        if *level == Level::Linearizable {
            seen.entry(*account).or_default().push((op.begin_ns, end_ns, figures.posted));
        }
    }
    for (account, mut reads) in seen {
        never_back(&case.history.accounts[account as usize], &mut reads, &mut found);
    }
    found
}

/// Bits that a read had seen when it ended are in every read that begins later.
fn never_back(id: &str, reads: &mut [(u64, u64, i64)], found: &mut Found) {
    let mut ends: Vec<(u64, i64)> = reads.iter().map(|(_, end, balance)| (*end, *balance)).collect();
    ends.sort_unstable();
    reads.sort_unstable();
    let (mut ended, mut bits) = (ends.iter().peekable(), 0);
    for (begin, _, balance) in reads {
        while let Some((_, earlier)) = ended.next_if(|(end, _)| end < begin) {
            bits |= *earlier;
        }
        if bits & !*balance != 0 {
            found.wrong(|| format!("{id} was read as {balance} cents after reads with {bits}"));
        }
    }
}

/// By jar, the gifts by their power.
fn jars(case: &Case<'_>) -> HashMap<u32, HashMap<u32, Gift>> {
    let mut jars: HashMap<u32, HashMap<u32, Gift>> = HashMap::new();
    for call in calls(case.history) {
        let Body::Transfer(transfer) = call.body else { continue };
        let [_, (jar, cents)] = transfer.legs[..] else { continue };
        let gift = -cents;
        if gift <= 0 || !case.history.accounts[jar as usize].contains(JAR) || gift.count_ones() != 1 {
            continue;
        }
        let gifts = jars.entry(jar).or_default();
        let gift = gifts.entry(gift.trailing_zeros()).or_insert(Gift {
            begin_ns: u64::MAX,
            acknowledged_ns: u64::MAX,
            never: true,
        });
        gift.begin_ns = gift.begin_ns.min(call.op.begin_ns);
        let refused = match call.answer {
            Answer::GivenUp { .. } | Answer::NotApplied { .. } => true,
            Answer::Rejected { code, .. } => code != "request_mismatch",
            _ => false,
        };
        gift.never &= refused;
        if matches!(call.answer, Answer::Booked { .. }) {
            gift.acknowledged_ns = gift.acknowledged_ns.min(call.op.end_ns.unwrap_or(u64::MAX));
        }
    }
    jars
}
