//! How old an answer may be that was not confirmed by a leader. A follower knows how old its state is by the leader's word:
//! everything that the leader had let out when it spoke is applied here, so the state is at most as old as that word.

use std::time::Duration;

use tokio::time::Instant;
use twinset_ledger::canary::{self, Canary};

/// A leader that has not spoken for so long speaks no more.
const SILENT: Duration = Duration::from_secs(2);

/// When a leader said how far it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// When it arrived, by this node's monotonic clock.
    pub arrived: Instant,
    /// When it was sent, by the leader's wall clock.
    pub sent_unix_ns: u64,
}

impl Word {
    /// How old it is. The wall clock counts as well: a message may have lain in a buffer for long before it arrived.
    pub fn age(&self, now: Instant, now_unix_ns: u64) -> Duration {
        let since_sent = Duration::from_nanos(now_unix_ns.saturating_sub(self.sent_unix_ns));
        now.saturating_duration_since(self.arrived).max(since_sent)
    }
}

/// Why an answer is not older than it says. Taken before the state is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// A majority, and in SYNC the away site, confirmed the leader after the read began.
    Confirmed,
    /// This replica leads, and a majority answered what was sent then.
    Led(Instant),
    /// This replica follows, and all that a leader had let out when it spoke is applied here.
    Followed(Word),
    /// No leader has spoken to this replica for a while, and none was understood since it began. There is only the stamp of the
    /// state's last command: whatever is not in it was stamped later, as far as the clocks of leaders agree.
    Stamped,
}

impl Basis {
    /// The age of an answer of now, by the wall clock `now_unix_ns`, of a state whose last command was stamped `time_unix_ns`.
    pub fn age_ms(&self, time_unix_ns: u64, now_unix_ns: u64) -> u64 {
        self.age(time_unix_ns, Instant::now(), now_unix_ns)
    }

    fn age(&self, time_unix_ns: u64, now: Instant, now_unix_ns: u64) -> u64 {
        let age = match self {
            _ if canary::on(Canary::NoAge) => return 0,
            Basis::Confirmed => return 0,
            Basis::Led(confirmed) => now.saturating_duration_since(*confirmed),
            Basis::Followed(word) => word.age(now, now_unix_ns),
            Basis::Stamped => Duration::from_nanos(now_unix_ns.saturating_sub(time_unix_ns)),
        };
        u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The newest word whose horizon is applied here.
pub struct Freshness {
    /// When a leader spoke last, whatever came of it; before it did, when the replica began.
    spoken: Instant,
    reached: Option<Word>,
    /// The oldest word that is ahead of what is applied; newer ones are not kept.
    ahead: Option<(u64, Word)>,
}

impl Default for Freshness {
    fn default() -> Self {
        Freshness { spoken: Instant::now(), reached: None, ahead: None }
    }
}

impl Freshness {
    /// A leader speaks. What it says is not understood yet: the replica may be busy with its own log for long.
    pub fn spoken(&mut self, now: Instant) {
        self.spoken = now;
    }

    /// What an unconfirmed answer of `now` could be based on; `led` is since when this replica, as the leader, was confirmed. None:
    /// a leader may be there that this replica has not caught up with since it began; how old its state is nobody can say yet.
    pub fn basis(&self, led: Option<Instant>, now: Instant) -> Option<Basis> {
        match (led, self.reached) {
            (Some(confirmed), _) => Some(Basis::Led(confirmed)),
            (None, Some(word)) => Some(Basis::Followed(word)),
            (None, None) if now.saturating_duration_since(self.spoken) < SILENT => None,
            (None, None) => Some(Basis::Stamped),
        }
    }

    /// The leader's gate was open up to `open`; `applied` is applied here.
    pub fn heard(&mut self, open: u64, word: Word, applied: u64) {
        if open <= applied {
            self.reached = Some(word);
            self.ahead = None;
        } else if self.ahead.is_none() {
            self.ahead = Some((open, word));
        }
    }

    /// This replica led, and has let out all that there was at `confirmed`: nobody else could have. What it knows so it knows by its
    /// own clock.
    pub fn led(&mut self, confirmed: Instant) {
        let word = Word { arrived: confirmed, sent_unix_ns: u64::MAX };
        if self.reached.is_none_or(|reached| reached.arrived < confirmed) {
            self.reached = Some(word);
        }
    }

    /// More is applied.
    pub fn applied(&mut self, applied: u64) {
        if let Some((_, word)) = self.ahead.take_if(|(open, _)| *open <= applied) {
            self.reached = Some(word);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(arrived: Instant, sent_unix_ns: u64) -> Word {
        Word { arrived, sent_unix_ns }
    }

    #[test]
    fn a_word_counts_when_its_horizon_is_applied() {
        let start = Instant::now();
        let words: Vec<_> = (0..5).map(|n| word(start + Duration::from_secs(n), n)).collect();
        let mut freshness = Freshness::default();
        assert_eq!(freshness.reached, None);
        freshness.heard(5, words[0], 5);
        assert_eq!(freshness.reached, Some(words[0]));
        freshness.heard(9, words[1], 7);
        freshness.heard(12, words[2], 8);
        assert_eq!(
            freshness.reached,
            Some(words[0]),
            "a replica that lags behind is not made fresh by hearing so"
        );
        freshness.applied(8);
        assert_eq!(freshness.reached, Some(words[0]));
        freshness.applied(9);
        assert_eq!(freshness.reached, Some(words[1]));
        freshness.heard(12, words[3], 12);
        assert_eq!(freshness.reached, Some(words[3]));
        freshness.applied(20);
        assert_eq!(freshness.reached, Some(words[3]));
        freshness.led(words[2].arrived);
        assert_eq!(freshness.reached, Some(words[3]), "it has heard something newer");
        freshness.led(words[4].arrived);
        let now = words[4].arrived + Duration::from_secs(2);
        assert_eq!(freshness.reached.unwrap().age(now, 1 << 60), Duration::from_secs(2));
    }

    #[test]
    fn the_last_stamp_counts_only_where_no_leader_speaks() {
        let mut freshness = Freshness::default();
        let start = freshness.spoken;
        let [began, busy, later, silent] =
            [1, 1_900, 3_800, 3_900].map(|ms| start + Duration::from_millis(ms));
        let word = word(later, 1);
        assert_eq!(freshness.basis(None, began), None, "a leader may be about to speak");
        freshness.spoken(busy);
        assert_eq!(freshness.basis(None, later), None, "one spoke, and was not understood yet");
        assert_eq!(freshness.basis(None, silent), Some(Basis::Stamped));
        freshness.spoken(later);
        assert_eq!(freshness.basis(None, silent), None);
        freshness.heard(5, word, 4);
        assert_eq!(freshness.basis(None, silent), None, "what it has said is not applied yet");
        freshness.applied(5);
        assert_eq!(freshness.basis(None, silent), Some(Basis::Followed(word)));
        assert_eq!(freshness.basis(Some(busy), silent), Some(Basis::Led(busy)));
    }

    #[test]
    fn an_answer_is_as_old_as_a_leader_says_or_else_as_its_last_stamp() {
        let now = Instant::now();
        let second = 1_000_000_000;
        let (before, heard) = (now - Duration::from_secs(2), word(now - Duration::from_secs(3), 97 * second));
        for (basis, stamped, expected) in [
            (Basis::Confirmed, 0, 0),
            (Basis::Led(before), 10 * second, 2_000),
            (Basis::Led(before), 99 * second, 2_000),
            (Basis::Followed(heard), 10 * second, 3_000),
            // A clock that was ahead has stamped the last command.
            (Basis::Followed(heard), 130 * second, 3_000),
            (Basis::Stamped, 40 * second, 60_000),
        ] {
            assert_eq!(basis.age(stamped, now, 100 * second), expected, "{basis:?}");
        }
    }

    #[test]
    fn the_older_of_both_clocks_counts() {
        let now = Instant::now();
        let one = Duration::from_secs(1);
        let (earlier, ns) = (now - one, 1_000_000_000);
        assert_eq!(word(earlier, 10 * ns).age(now, 10 * ns), one);
        assert_eq!(word(now, 7 * ns).age(now, 10 * ns), 3 * one, "it lay in a buffer");
        assert_eq!(word(earlier, 12 * ns).age(now, 10 * ns), one, "the leader's clock is ahead");
    }
}
