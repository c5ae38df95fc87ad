//! What the control set has put on record about the sets while clients worked: when one went on with a single site,
//! when it was in both again, when it was recovered. Plain data.

use serde::{Deserialize, Serialize};

use super::History;
use crate::nemesis::Fault;

/// What has become of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// What is acknowledged from here on may be in one site only.
    Degraded,
    /// What is acknowledged is in both sites.
    Sync,
    /// It has lost its majority, and is to go on in another incarnation.
    RecoveryBegun,
    /// It goes on in a new incarnation, DEGRADED, in one site.
    Recovered,
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// The set.
    pub set: u32,
    /// What has become of it.
    pub change: Change,
    /// When it was proposed, by the clock of whoever did: nothing that rests on it was done before, if that clock is
    /// right.
    pub proposed_ns: u64,
    /// When it was seen: it was on record by then.
    pub seen_ns: u64,
}

impl History {
    /// From when until when a set was SYNC for certain, and nobody could know anything else: a weaker state is recorded
    /// before it takes effect, a stronger one after. Where no set may go on with one site, no record makes it weaker.
    pub fn in_sync(&self, set: u32) -> Vec<(u64, u64)> {
        if !self.meta.go_on {
            return vec![(0, u64::MAX)];
        }
        let (mut spans, mut since) = (Vec::new(), Some(0));
        for record in self.records.iter().filter(|record| record.set == set) {
            match record.change {
                Change::RecoveryBegun => {}
                Change::Sync => since = since.or(Some(record.seen_ns)),
                Change::Degraded | Change::Recovered => {
                    spans.extend(since.take().map(|from| (from, self.proposed_ns(record).max(from))));
                }
            }
        }
        spans.extend(since.map(|from| (from, u64::MAX)));
        spans
    }

    /// Not later than when it was proposed. Where a clock was ever wrong, all that is known is that no fault had such a
    /// consequence before it began.
    fn proposed_ns(&self, record: &Recorded) -> u64 {
        if !self.faults.iter().any(|span| puts_clocks_wrong(&span.fault)) {
            return record.proposed_ns.min(record.seen_ns);
        }
        let before = self.faults.iter().rfind(|span| span.begin_ns <= record.seen_ns);
        before.map_or(0, |span| span.begin_ns)
    }
}

fn puts_clocks_wrong(fault: &Fault) -> bool {
    match fault {
        Fault::ClockStep { .. } => true,
        Fault::Amid { around, within } => puts_clocks_wrong(around) || puts_clocks_wrong(within),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{FaultSpan, Meta};

    fn history(changes: &[(Change, u64, u64)]) -> History {
        let records = changes.iter().map(|(change, proposed_ns, seen_ns)| Recorded {
            set: 1,
            change: *change,
            proposed_ns: *proposed_ns,
            seen_ns: *seen_ns,
        });
        let meta = Meta { go_on: true, ..Meta::default() };
        History { meta, records: records.collect(), ..History::default() }
    }

    #[test]
    fn a_set_is_sync_until_something_weaker_is_proposed_and_from_when_something_stronger_was_seen() {
        let lost = history(&[
            (Change::RecoveryBegun, 40, 45),
            (Change::Recovered, 50, 60),
            (Change::Sync, 80, 90),
            (Change::Degraded, 100, 110),
            (Change::Degraded, 120, 130),
        ]);
        assert_eq!(lost.in_sync(1), [(0, 50), (90, 100)]);
        assert_eq!(lost.in_sync(2), [(0, u64::MAX)]);
        let protected = History { meta: Meta::default(), ..lost };
        assert_eq!(protected.in_sync(1), [(0, u64::MAX)]);
    }

    #[test]
    fn a_stamp_counts_for_nothing_where_a_clock_was_wrong() {
        let mut lost = history(&[(Change::Degraded, 500, 600)]);
        let step = Fault::ClockStep { victim: "a1".to_owned(), by_ms: 1, for_ms: 1 };
        let span = |fault, begin_ns| FaultSpan {
            fault,
            begin_ns,
            acts_ns: None,
            undone_ns: None,
            end_ns: None,
            evidence: None,
        };
        lost.faults = vec![span(step, 10), span(Fault::RollingRestart, 300)];
        assert_eq!(lost.in_sync(1), [(0, 300)]);
    }
}
