//! One stream of parcels, as the leader of the payer's set sees it: what it has sent, what the payee's set has taken in, and what
//! the own log knows of that. Pure; everything of it can be read in the logs again.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;
use twinset_ledger::{Effect, Outcome, Rejection, TransactionId};
use twinset_store::StreamStanding;

/// Loads on their way in one stream, at most. They travel in order, one behind the other.
pub const LOADS_MAX: usize = 4;
/// Parcels in one load.
pub const PARCELS_PER_LOAD: usize = 1_000;
/// Parcels that do not fill a load gather for so long after the one before it: nobody who was answered waits for them, and an entry
/// costs what it costs, however few parcels it takes in.
const GATHER: Duration = Duration::from_millis(10);

/// What the leader knows of a stream.
#[derive(Debug, Default)]
pub struct Course {
    /// The last number that was sent.
    sent: u64,
    /// Loads on their way.
    loads: usize,
    /// When the last one left.
    left_at: Option<Instant>,
    /// Something was lost or refused: when nothing is on its way any more, all is sent again from what is taken in.
    stumbled: bool,
    /// The last number that the payee's set has taken in, and the transaction that it is of.
    taken: Option<(u64, TransactionId)>,
    /// An acknowledgement is on its way to the own log.
    acknowledging: bool,
}

/// The numbers of a load, in order, with their transactions.
pub type Numbers = VecDeque<(u64, TransactionId)>;

/// What a load came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Parcels that were booked where they should be.
    pub credited: u64,
    /// Parcels that stand on a suspense account.
    pub suspended: u64,
    /// Whether all of it was taken in.
    pub whole: bool,
}

impl Course {
    /// Behind which number the next load begins, if there may be one. `acknowledged`: by the own log.
    pub fn next_load(&mut self, acknowledged: u64) -> Option<u64> {
        if self.stumbled {
            if self.loads > 0 {
                return None;
            }
            self.stumbled = false;
            self.sent = self.taken.map_or(0, |(number, _)| number);
        }
        self.sent = self.sent.max(acknowledged);
        (self.loads < LOADS_MAX).then_some(self.sent)
    }

    /// Until when a load of so many parcels is to wait for more; None: it may leave.
    pub fn gathers(&self, parcels: u64, now: Instant) -> Option<Instant> {
        let until = self.left_at.map(|at| at + GATHER);
        until.filter(|until| now < *until && parcels < PARCELS_PER_LOAD as u64)
    }

    /// A load has left.
    pub fn left(&mut self, last: u64, now: Instant) {
        self.loads += 1;
        self.sent = last;
        self.left_at = Some(now);
    }

    /// The payee's set has answered each parcel of a load, or None: nobody knows what came of it.
    pub fn heard(&mut self, mut numbers: Numbers, outcomes: Option<Vec<Outcome>>) -> Heard {
        self.loads -= 1;
        let mut heard = Heard { credited: 0, suspended: 0, whole: outcomes.is_some() };
        for outcome in outcomes.unwrap_or_default() {
            let Some((number, by)) = numbers.pop_front() else { break };
            match outcome.result {
                Ok(Effect::Posted(_)) => heard.credited += 1,
                Ok(Effect::Suspended { .. }) => heard.suspended += 1,
                Ok(Effect::Taken) => {}
                Ok(_) | Err(_) => {
                    heard.whole = false;
                    break;
                }
            }
            if self.taken.is_none_or(|(last, _)| last < number) {
                self.taken = Some((number, by));
            }
        }
        self.stumbled |= !heard.whole;
        heard
    }

    /// What was taken in may be lost: when nothing is on its way any more, all is sent again behind what is acknowledged.
    pub fn forget(&mut self) {
        self.taken = None;
        self.stumbled = true;
    }

    /// What the own log is to be told, if it is to be told anything now.
    pub fn acknowledgement(&self, acknowledged: u64) -> Option<(u64, TransactionId)> {
        self.taken.filter(|(number, _)| *number > acknowledged && !self.acknowledging)
    }

    /// That is on its way, or not any more.
    pub fn acknowledging(&mut self, on_its_way: bool) {
        self.acknowledging = on_its_way;
    }
}

/// Whether a stream may be sent: what an earlier incarnation of this set has sent to the same one is all taken in. What was paid before
/// a recovery arrives before what was paid after it.
pub fn is_next(standing: &StreamStanding, streams: &[StreamStanding]) -> bool {
    let waits_before = |other: &StreamStanding| {
        other.name.to == standing.name.to
            && other.name.incarnation < standing.name.incarnation
            && other.acknowledged < other.last
    };
    !streams.iter().any(waits_before)
}

/// Whether a set says that it cannot take a parcel in, in its turn: its accounts for such things are full.
pub fn is_full(outcome: &Outcome) -> bool {
    matches!(outcome.result, Err(Rejection::AmountOverflow { .. }))
}

#[cfg(test)]
mod tests {
    use twinset_ledger::Position;
    use twinset_ledger::buffer::StreamName;

    use super::*;

    fn by(number: u64) -> TransactionId {
        TransactionId { set: 1, incarnation: 1, position: Position(number) }
    }

    fn numbers(range: std::ops::RangeInclusive<u64>) -> Numbers {
        range.map(|number| (number, by(number))).collect()
    }

    fn outcome(result: Result<Effect, Rejection>) -> Outcome {
        Outcome { position: Position(0), incarnation: 1, time_unix_ns: 0, replayed: false, result }
    }

    fn booked(count: usize) -> Vec<Outcome> {
        vec![outcome(Ok(Effect::Posted(Vec::new()))); count]
    }

    #[test]
    fn a_stream_waits_for_those_of_earlier_incarnations_to_the_same_set() {
        let standing = |to, incarnation, acknowledged, last| StreamStanding {
            name: StreamName { to, incarnation },
            acknowledged,
            last,
            oldest: None,
        };
        let streams =
            [standing(2, 1, 3, 5), standing(2, 2, 0, 9), standing(3, 1, 4, 4), standing(3, 2, 0, 1)];
        assert_eq!(streams.map(|one| is_next(&one, &streams)), [true, false, true, true]);
    }

    #[test]
    fn few_parcels_gather_and_many_do_not() {
        let mut course = Course::default();
        let begun = Instant::now();
        assert_eq!(course.gathers(1, begun), None, "the first one leaves at once");
        course.left(1, begun);
        assert_eq!(course.gathers(1, begun), Some(begun + GATHER));
        assert_eq!(course.gathers(PARCELS_PER_LOAD as u64 - 1, begun + GATHER / 2), Some(begun + GATHER));
        assert_eq!(course.gathers(PARCELS_PER_LOAD as u64, begun), None);
        assert_eq!(course.gathers(1, begun + GATHER), None);
    }

    #[test]
    fn loads_follow_one_another_and_are_acknowledged_together() {
        let mut course = Course::default();
        let now = Instant::now();
        assert_eq!(course.next_load(3), Some(3), "what is acknowledged is not sent again");
        course.left(5, now);
        assert_eq!(course.next_load(3), Some(5));
        course.left(6, now);
        let heard = course.heard(numbers(4..=5), Some(booked(2)));
        assert_eq!(heard, Heard { credited: 2, suspended: 0, whole: true });
        assert_eq!(course.acknowledgement(3), Some((5, by(5))));
        course.acknowledging(true);
        course.heard(numbers(6..=6), Some(vec![outcome(Ok(Effect::Taken))]));
        assert_eq!(course.acknowledgement(3), None, "one at a time");
        course.acknowledging(false);
        assert_eq!(course.acknowledgement(5), Some((6, by(6))));
        assert_eq!(course.acknowledgement(6), None);
    }

    #[test]
    fn what_is_lost_is_sent_again_when_nothing_is_on_its_way() {
        let mut course = Course::default();
        for last in [2, 4, 6, 8] {
            course.next_load(0).unwrap();
            course.left(last, Instant::now());
        }
        assert_eq!(course.next_load(0), None, "so many loads and no more");
        course.heard(numbers(1..=2), Some(booked(2)));
        course.heard(numbers(3..=4), None);
        assert_eq!(course.next_load(0), None);
        let out_of_place = Rejection::StepOutOfPlace { attempt: by(5) };
        course.heard(numbers(5..=6), Some(vec![outcome(Err(out_of_place.clone())); 2]));
        assert_eq!(course.next_load(0), None);
        course.heard(numbers(7..=8), Some(vec![outcome(Err(out_of_place)); 2]));
        assert_eq!(course.next_load(0), Some(2));
        assert_eq!(course.acknowledgement(0), Some((2, by(2))));
    }
}
