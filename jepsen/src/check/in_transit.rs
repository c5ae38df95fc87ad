//! What is said to be on its way to an account. A set forgets a parcel when it has been taken in, in the order in which it has sent
//! them: so what it says is the newest so many of those that it had sent by then, with their sum; what it has forgotten it never
//! says again; what is known not to have been booked by then is among them; and in the end there is nothing. Trusts the final lists,
//! and no replay. Pure.

use std::collections::{BTreeMap, HashMap};

use twinset_ledger::{Position, TransactionId};

use super::across::{Bounds, Spot, spot};
use super::buffered::{Sent, is_asked};
use super::{Case, Found};
use crate::history::buffered::InTransit;
use crate::history::{Answer, Ask, Level, Phase};

/// A parcel to one account: where it was sent, how much, and where it was taken in.
struct Parcel {
    sent: Position,
    cents: i64,
    taken: Option<Spot>,
    /// When somebody was first told that it was accepted.
    told_ns: u64,
}

/// Every answer, from every set.
pub fn check(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    let asks = |ask: &Ask| matches!(ask, Ask::ReadTransit { .. });
    if !is_asked(case) || !case.history.ops.iter().any(|op| asks(&op.ask)) {
        return found;
    }
    for words in &case.witness.unlisted {
        found.missing(|| words.clone());
    }
    let parcels = parcels(case);
    let bounds = Bounds::of(&case.witness);
    let last = case.history.phase(Phase::Final).unwrap_or(u64::MAX);
    // By the payers' set and the account: how many were forgotten as of each index.
    let mut forgotten: BTreeMap<(u32, u32), BTreeMap<u64, usize>> = BTreeMap::new();
    for (number, op) in case.history.ops.iter().enumerate() {
        let (Ask::ReadTransit { account, level }, Answer::Transit { from, silent }) = (&op.ask, &op.answer)
        else {
            continue;
        };
        let mut wrong = |words: String| found.wrong(|| format!("operation {number} ({:?}): {words}", op.ask));
        if op.begin_ns >= last {
            if from.iter().any(|one| (one.credits, one.cents) != (0, 0)) {
                wrong(format!("in the end something is on its way: {from:?}"));
            }
            if !silent.is_empty() {
                wrong(format!("in the end sets {silent:?} do not say what is on its way"));
            }
        }
        let owner = case.history.set_of(*account);
        for set in case.history.meta.sets.iter().copied().filter(|set| Some(*set) != owner) {
            if !case.witness.listed.contains_key(&set) || silent.contains(&set) {
                continue;
            }
            let sent = parcels.get(&(set, *account)).map(Vec::as_slice).unwrap_or_default();
            let Some(one) = from.iter().find(|one| one.as_of.place.set == set) else {
                let is_late = |parcel: &Parcel| parcel.told_ns < op.begin_ns && *level == Level::Linearizable;
                if sent.iter().any(is_late) {
                    wrong(format!("set {set} has never heard of it, and has paid it without asking"));
                }
                continue;
            };
            let end_ns = op.end_ns.unwrap_or(u64::MAX);
            let upto = owner.map_or((0, 0), |owner| bounds.behind(owner, end_ns));
            match figure(sent, one, upto) {
                Err(words) => wrong(format!("{one:?}: {words}")),
                Ok(count) => {
                    let known = forgotten.entry((set, *account)).or_default();
                    let index = one.as_of.place.index;
                    if *known.entry(index).or_insert(count) != count {
                        wrong(format!("{one:?}: somebody else was told otherwise of that index"));
                    }
                }
            }
            if *level == Level::Linearizable {
                let by_then = |parcel: &&Parcel| parcel.told_ns < op.begin_ns;
                if let Some(late) =
                    sent.iter().filter(by_then).find(|one_sent| one_sent.sent.index() > one.as_of.place.index)
                {
                    wrong(format!("{one:?} is from before {:?}, which was answered before", late.sent));
                }
            }
        }
        found.checked += 1;
    }
    for ((set, account), counts) in &forgotten {
        for (one, next) in counts.iter().zip(counts.iter().skip(1)).filter(|(one, next)| one.1 > next.1) {
            let id = &case.history.accounts[*account as usize];
            found.wrong(|| {
                format!("of what set {set} has sent to {id} it had forgotten {one:?}, then {next:?}")
            });
        }
    }
    found
}

/// How many of the parcels that were sent by then a set has forgotten by what it says, if it can be right. What was taken in
/// behind the spot `upto` was not there when the answer came.
fn figure(sent: &[Parcel], one: &InTransit, upto: Spot) -> Result<usize, String> {
    let by_then = &sent[..sent.partition_point(|parcel| parcel.sent.index() <= one.as_of.place.index)];
    let credits = usize::try_from(one.credits).unwrap_or(usize::MAX);
    let Some(gone) = by_then.len().checked_sub(credits) else {
        return Err(format!("only {} were sent by then", by_then.len()));
    };
    let sum: i64 = by_then[gone..].iter().map(|parcel| parcel.cents.abs()).sum();
    if sum != one.cents {
        return Err(format!("the newest {credits} come to {sum}"));
    }
    match by_then[..gone].iter().find(|parcel| parcel.taken.is_none_or(|taken| taken > upto)) {
        Some(parcel) => Err(format!("what was sent at {:?} was not booked by then", parcel.sent)),
        None => Ok(gone),
    }
}

/// By the payers' set and the account, in the order in which they were sent.
fn parcels(case: &Case<'_>) -> HashMap<(u32, u32), Vec<Parcel>> {
    let mut taken: HashMap<(TransactionId, u32), Vec<Spot>> = HashMap::new();
    for (set, listed) in &case.witness.listed {
        for row in listed.iter().filter(|row| !row.is_paid()) {
            if let Some(part) = row.part_of {
                taken.entry((part.of.0, *set)).or_default().push(spot(row.place));
            }
        }
    }
    let sent = Sent::of(case);
    let mut all: HashMap<(u32, u32), Vec<Parcel>> = HashMap::new();
    for ((from, to), parcels) in &sent.parcels {
        let mut nth: HashMap<TransactionId, usize> = HashMap::new();
        for (name, (account, cents)) in parcels {
            let at = nth.entry(*name).or_default();
            let taken = taken.get(&(*name, *to)).and_then(|spots| spots.get(*at)).copied();
            *at += 1;
            let (_, number) = case.witness.across[name];
            let told_ns = case.witness.sets[from][number].end_ns;
            let parcel = Parcel { sent: name.position, cents: *cents, taken, told_ns };
            all.entry((*from, *account)).or_default().push(parcel);
        }
    }
    all
}
