//! Whether the leader of a set can tell its clients what became of their commands: its log says so once when it cannot for
//! longer than a change of leaders takes, and once when it can again, however many are waiting. It decides nothing. Fed by
//! the proposer of the set.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

/// A definite answer ends a gap only if no other was missing for so long: in a gap, some may still get theirs.
const CALM: Duration = Duration::from_secs(1);
/// A gap that is over sooner needs nobody: another leader answers, or the same one again.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known about the answers of one set's replica.
pub struct Answers {
    set: u32,
    gap: Mutex<Option<Gap>>,
}

/// A time without definite answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Gap {
    entries: u64,
    calls: u64,
    first: Instant,
    last: Instant,
    told: bool,
}

impl Answers {
    /// Of a set; all is well.
    pub fn new(set: u32) -> Self {
        Answers { set, gap: Mutex::default() }
    }

    /// An entry with so many calls has no definite answer.
    pub fn unknown(&self, calls: usize, reason: &str) {
        if lasts(&mut self.gap.lock(), calls as u64, Instant::now()) {
            warn!(set = self.set, reason, "cannot give definite answers");
        }
    }

    /// An entry has a definite answer.
    pub fn definite(&self) {
        if let Some(gap) = ends(&mut self.gap.lock(), Instant::now()) {
            let Gap { entries, calls, .. } = gap;
            info!(set = self.set, entries, calls, "definite answers again; so many were unknown");
        }
    }

    /// The replica does not lead any more: another one gives the answers.
    pub fn not_leading(&self) {
        if let Some(Gap { entries, calls, .. }) = self.gap.lock().take() {
            info!(set = self.set, entries, calls, "does not lead any more; so many were unknown");
        }
    }
}

/// Counts; true, once, if the gap has lasted long enough to be told.
fn lasts(gap: &mut Option<Gap>, calls: u64, now: Instant) -> bool {
    let gap = gap.get_or_insert(Gap { entries: 0, calls: 0, first: now, last: now, told: false });
    gap.entries += 1;
    gap.calls += calls;
    gap.last = now;
    let tell = !gap.told && now.saturating_duration_since(gap.first) >= PATIENCE;
    gap.told |= tell;
    tell
}

fn ends(gap: &mut Option<Gap>, now: Instant) -> Option<Gap> {
    gap.take_if(|gap| now.saturating_duration_since(gap.last) >= CALM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_that_lasts_is_told_once_and_ends_once() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let mut gap = None;
        assert_eq!(ends(&mut gap, at(0)), None, "there is none");
        let told: Vec<u64> = (0..120).filter(|n| lasts(&mut gap, 2, at(n * 25))).collect();
        assert_eq!(told, [80], "after two seconds");
        assert_eq!(ends(&mut gap, at(3_000)), None, "one answer among many that are missing");
        assert!(!lasts(&mut gap, 2, at(3_010)));
        assert_eq!(ends(&mut gap, at(4_000)), None, "not yet calm");
        let ended = ends(&mut gap, at(4_010)).unwrap();
        assert_eq!((ended.entries, ended.calls), (121, 242));
        assert_eq!(ends(&mut gap, at(4_020)), None, "said once");
        assert!(!lasts(&mut gap, 1, at(4_030)), "another gap, as short as a change of leaders");
    }
}
