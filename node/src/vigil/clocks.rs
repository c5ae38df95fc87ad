//! Whether this node's wall clock is far from the others'. Leaders stamp commands with it, and stamped time decides when a hold is
//! over; so a leader whose clock is wrong gives up leading. Compared are readings that voters of the control set add to their answers, four
//! times a second; one reading is never trusted, and a clock is only called wrong when two others say so, to the same side.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A reading that is older says nothing of now.
const FRESH: Duration = Duration::from_secs(2);
/// A clock must be wrong for so long: a machine that stood still for a moment is only late.
const LASTING: Duration = Duration::from_secs(1);
/// So many others must agree.
const WITNESSES: usize = 2;

/// When a clock counts as wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClockConfig {
    /// A leader whose wall clock is further from two others than this hands its sets over, in milliseconds; 0: never.
    pub off_max_ms: u64,
}

impl Default for ClockConfig {
    fn default() -> Self {
        ClockConfig { off_max_ms: 1_000 }
    }
}

/// The clocks of the others, as this node has seen them. It grows no larger than the control set.
pub struct Clocks {
    config: ClockConfig,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// When each was read, and by how much this node's clock was ahead of it, in nanoseconds: at least, if it is ahead, and at most, if
    /// it is behind.
    ahead_ns: BTreeMap<String, (Instant, i64)>,
    wrong_since: Option<Instant>,
}

/// One reading of another clock.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// This node's clock when it asked.
    pub asked_ns: u64,
    /// The other's clock.
    pub theirs_ns: u64,
    /// This node's clock when the answer came.
    pub answered_ns: u64,
}

impl Reading {
    /// By how much this node's clock is certainly ahead (or behind: below 0). The other's was read at some time between the question
    /// and the answer.
    fn ahead_ns(self) -> i64 {
        let difference =
            |ours: u64| i64::try_from(i128::from(ours) - i128::from(self.theirs_ns)).unwrap_or(0);
        let (least, most) = (difference(self.asked_ns), difference(self.answered_ns));
        match (least > 0, most < 0) {
            (true, _) => least,
            (_, true) => most,
            _ => 0,
        }
    }
}

impl Clocks {
    /// Nothing was read yet.
    pub fn new(config: ClockConfig) -> Self {
        Clocks { config, state: Mutex::default() }
    }

    /// Takes in a reading of another node's clock.
    pub fn read(&self, now: Instant, node: &str, reading: Reading) {
        if reading.theirs_ns == 0 {
            // Of a build that does not say.
            return;
        }
        let mut state = self.state.lock();
        state.ahead_ns.insert(node.to_owned(), (now, reading.ahead_ns()));
        let wrong = self.off(&state, now).is_some();
        state.wrong_since = if wrong { state.wrong_since.or(Some(now)) } else { None };
    }

    /// By how much this node's clock is ahead of what most of the others say, in milliseconds; 0 if too few can be compared with.
    pub fn ahead_ms(&self, now: Instant) -> i64 {
        let state = self.state.lock();
        let mut fresh: Vec<i64> = state.fresh(now).collect();
        fresh.sort_unstable_by_key(|ahead| ahead.unsigned_abs());
        // What two say is as far off as the one of them that says less.
        fresh.len().checked_sub(WITNESSES).map_or(0, |at| fresh[at] / 1_000_000)
    }

    /// Whether it has been too far off for a while.
    pub fn is_wrong(&self, now: Instant) -> bool {
        let state = self.state.lock();
        let lasting = state.wrong_since.is_some_and(|since| now.duration_since(since) >= LASTING);
        lasting && self.off(&state, now).is_some()
    }

    fn off(&self, state: &State, now: Instant) -> Option<()> {
        let most =
            i64::try_from(self.config.off_max_ms).ok()?.checked_mul(1_000_000).filter(|most| *most > 0)?;
        let ahead = state.fresh(now).filter(|ahead| *ahead > most).count();
        let behind = state.fresh(now).filter(|ahead| *ahead < -most).count();
        (ahead.max(behind) >= WITNESSES).then_some(())
    }
}

impl State {
    fn fresh(&self, now: Instant) -> impl Iterator<Item = i64> + '_ {
        let fresh = move |at: &Instant| now.duration_since(*at) <= FRESH;
        self.ahead_ns.values().filter(move |(at, _)| fresh(at)).map(|(_, ahead)| *ahead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// A reading by a clock that is so far ahead, with an answer after 10 ms.
    fn ahead(by_ns: i64) -> Reading {
        let (truth, trip) = (1_000 * SECOND, 10_000_000);
        let ours = |at: i64| u64::try_from(at + by_ns).unwrap();
        Reading {
            asked_ns: ours(truth),
            theirs_ns: u64::try_from(truth + trip / 2).unwrap(),
            answered_ns: ours(truth + trip),
        }
    }

    /// The clocks after `seconds` of readings, each node's own.
    fn after(seconds: u64, readings: &[(&str, i64)]) -> (Clocks, Instant) {
        let (clocks, begun) = (Clocks::new(ClockConfig::default()), Instant::now());
        let mut now = begun;
        for step in 0..=seconds * 4 {
            now = begun + Duration::from_millis(step * 250);
            for (node, by) in readings {
                clocks.read(now, node, ahead(*by));
            }
        }
        (clocks, now)
    }

    #[test]
    fn two_others_must_say_so_to_the_same_side_for_a_while() {
        type Readings = &'static [(&'static str, i64)];
        let cases: [(u64, Readings, bool); 8] = [
            (3, &[("b", 2 * SECOND), ("c", 2 * SECOND)], true),
            (3, &[("b", -2 * SECOND), ("c", -2 * SECOND)], true),
            (0, &[("b", 2 * SECOND), ("c", 2 * SECOND)], false),
            (3, &[("b", 2 * SECOND)], false),
            (3, &[("b", 2 * SECOND), ("c", 0)], false),
            (3, &[("b", 2 * SECOND), ("c", -2 * SECOND)], false),
            (3, &[("a", 0), ("b", 2 * SECOND), ("c", 2 * SECOND)], true),
            (3, &[("b", SECOND / 2), ("c", SECOND / 2)], false),
        ];
        for (seconds, readings, wrong) in cases {
            let (clocks, now) = after(seconds, readings);
            assert_eq!(clocks.is_wrong(now), wrong, "{seconds} s of {readings:?}");
        }
    }

    #[test]
    fn readings_that_are_old_say_nothing() {
        let (clocks, now) = after(3, &[("b", 2 * SECOND), ("c", 2 * SECOND)]);
        assert_eq!((clocks.is_wrong(now), clocks.ahead_ms(now)), (true, 1_995));
        let later = now + FRESH + Duration::from_millis(1);
        assert_eq!((clocks.is_wrong(later), clocks.ahead_ms(later)), (false, 0));
    }

    #[test]
    fn a_slow_answer_is_no_difference() {
        // Ten seconds on the way: the other clock may have been read at any time of them.
        let slow = Reading { asked_ns: 100, theirs_ns: 5_000_000_100, answered_ns: 10_000_000_100 };
        assert_eq!(slow.ahead_ns(), 0);
        assert_eq!(ahead(0).ahead_ns(), 0);
        assert_eq!(ahead(SECOND).ahead_ns(), SECOND - 5_000_000);
        assert_eq!(ahead(-SECOND).ahead_ns(), -SECOND + 5_000_000);
    }

    #[test]
    fn nobody_is_wrong_where_that_is_switched_off() {
        let clocks = Clocks::new(ClockConfig { off_max_ms: 0 });
        let now = Instant::now();
        for step in 0..9 {
            for node in ["b", "c"] {
                clocks.read(now + Duration::from_millis(step * 250), node, ahead(90 * SECOND));
            }
        }
        assert!(!clocks.is_wrong(now + Duration::from_secs(2)));
    }
}
