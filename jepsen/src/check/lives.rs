//! Sets that were recovered: their history goes on where the last incarnation has ended, and nobody was told of another
//! one. What was acknowledged in SYNC is there; what an old incarnation had beyond its end was told to nobody; and once
//! something of the new one was answered, nothing of the old one is. From names, lists and clocks alone, without the
//! model. Pure.

use std::collections::{BTreeMap, HashSet};

use twinset_ledger::TransactionId;

use super::witness::asked;
use super::{Case, Found};
use crate::history::records::Change;
use crate::history::{Answer, Level, Place};

/// Every answer of a set that was recovered.
pub fn check(case: &Case<'_>) -> Found {
    let mut found = Found::default();
    for (set, ends) in case.history.meta.lives.iter().filter(|(_, ends)| !ends.is_empty()) {
        let lives = Lives::of(case, *set, ends);
        lives.acknowledged(case, &mut found);
        lives.in_order(case, &mut found);
    }
    found
}

/// The incarnations of a set.
struct Lives<'a> {
    set: u32,
    /// The last index of each but the last.
    ends: &'a [u64],
    /// By the number of an incarnation, from 1: when something of it was first answered.
    first_ns: BTreeMap<u32, u64>,
    /// Those that ended in SYNC, as far as anybody noted.
    sync: HashSet<u32>,
    /// The transactions of the final lists, those over several sets among them, if all are whole.
    listed: Option<HashSet<TransactionId>>,
}

impl<'a> Lives<'a> {
    fn of(case: &Case<'_>, set: u32, ends: &'a [u64]) -> Self {
        let meta = &case.history.meta;
        let mut first_ns: BTreeMap<u32, u64> = BTreeMap::new();
        for decided in case.witness.sets.get(&set).into_iter().flatten() {
            let first = first_ns.entry(meta.incarnation_at(set, decided.place.index)).or_insert(u64::MAX);
            *first = (*first).min(decided.end_ns);
        }
        let lists = &case.witness.listed;
        let rows = lists.values().flatten();
        let names = rows.flat_map(|row| [Some(row.transaction.0), row.part_of.map(|part| part.of.0)]);
        let listed = meta.sets.iter().all(|set| lists.contains_key(set)).then(|| names.flatten().collect());
        Lives { set, ends, first_ns, sync: ended_in_sync(case, set, ends.len()), listed }
    }

    fn incarnation_at(&self, index: u64) -> u32 {
        1 + self.ends.partition_point(|end| *end < index) as u32
    }

    /// What was booked for somebody is of the incarnation that its place is in, and is listed.
    fn acknowledged(&self, case: &Case<'_>, found: &mut Found) {
        for call in asked(case.history) {
            let Answer::Booked { transaction, place, .. } = call.answer else { continue };
            if place.set != self.set {
                continue;
            }
            found.checked += 1;
            let (name, now) = (transaction.0, self.incarnation_at(place.index));
            // What was acknowledged in DEGRADED an operator has accepted to lose.
            if !self.sync.contains(&name.incarnation) {
                continue;
            }
            if name.incarnation != now {
                let end = self.ends.get(name.incarnation.saturating_sub(1) as usize);
                found.wrong(|| {
                    format!(
                        "operation {}: {name} was acknowledged at {place:?}, and incarnation {} has ended at {end:?}",
                        call.at.op, name.incarnation
                    )
                });
            } else if self.listed.as_ref().is_some_and(|listed| !listed.contains(&name)) {
                found.wrong(|| {
                    format!(
                        "operation {}: {name} was acknowledged in SYNC at {place:?}, and a recovery has lost it",
                        call.at.op
                    )
                });
            }
        }
    }

    /// Nobody who asks after something of a later incarnation was answered is told of an earlier one.
    fn in_order(&self, case: &Case<'_>, found: &mut Found) {
        let told = |place: Place, begin_ns: u64, what: &str, number: u32, found: &mut Found| {
            found.checked += 1;
            let own = self.incarnation_at(place.index);
            let later = self.first_ns.range(own + 1..).map(|(_, first)| *first).min();
            if later.is_some_and(|first| first < begin_ns) {
                found.wrong(|| {
                    format!(
                        "operation {number} began after something of a later incarnation of set {} was answered, but {what} at {place:?}",
                        self.set
                    )
                });
            }
        };
        for decided in case.witness.sets.get(&self.set).into_iter().flatten() {
            told(decided.place, decided.begin_ns, "was decided", decided.call.op, found);
        }
        for (op, number) in case.history.ops.iter().zip(0..) {
            if op.ask.read_level() != Some(Level::Linearizable) {
                continue;
            }
            for as_of in op.answer.each_as_of().iter().filter(|as_of| as_of.place.set == self.set) {
                told(as_of.place, op.begin_ns, "read", number, found);
            }
        }
    }
}

/// The incarnations of a set that lost nothing when they ended; all, where nobody noted how they stood. The last one
/// has not ended.
fn ended_in_sync(case: &Case<'_>, set: u32, ended: usize) -> HashSet<u32> {
    let (mut sync, mut is_sync, mut incarnation) = (HashSet::new(), true, 1);
    for record in case.history.records.iter().filter(|record| record.set == set) {
        match record.change {
            Change::Sync => is_sync = true,
            Change::Degraded => is_sync = false,
            Change::RecoveryBegun => {}
            Change::Recovered => {
                sync.extend(is_sync.then_some(incarnation));
                (incarnation, is_sync) = (incarnation + 1, false);
            }
        }
    }
    sync.extend(incarnation..=ended as u32 + 1);
    sync
}
