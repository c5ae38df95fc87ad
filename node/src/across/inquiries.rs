//! Whose coordinator is asked next, of the attempts that a set only takes part in and has waited for too long. Pure. Those that
//! have waited longest come first, whatever they are called, and a coordinator that does not answer leaves room for the others:
//! what one that is away has left behind keeps no part of another from its end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;
use twinset_ledger::TransactionId;

/// Questions to coordinators at the same time.
pub const AT_A_TIME: usize = 64;
/// Of these, to one that did not answer the last one.
const TO_A_SILENT_ONE: usize = 4;

/// What a leader knows of them.
pub struct Inquiries {
    /// How long one waits until its coordinator is asked, and until it is asked again.
    patience: Duration,
    known: BTreeSet<TransactionId>,
    /// Of those, the ones whose coordinator is not being asked, by when it is to be.
    queue: BTreeSet<(Instant, TransactionId)>,
    /// The others, and when it may be asked again.
    asking: BTreeMap<TransactionId, Instant>,
    /// Coordinators that did not answer the last question.
    silent: BTreeSet<u32>,
}

impl Inquiries {
    /// Of a leader that knows of none yet.
    pub fn new(patience: Duration) -> Inquiries {
        let (known, queue) = (BTreeSet::new(), BTreeSet::new());
        Inquiries { patience, known, queue, asking: BTreeMap::new(), silent: BTreeSet::new() }
    }

    /// Whether it waits already.
    pub fn knows(&self, attempt: TransactionId) -> bool {
        self.known.contains(&attempt)
    }

    /// One that is open begins to wait.
    pub fn found(&mut self, attempt: TransactionId, now: Instant) {
        if self.known.insert(attempt) {
            self.queue.insert((now + self.patience, attempt));
        }
    }

    /// Those whose coordinators are asked now; forgets those whose turn it would be and which are not open any more.
    pub fn next(&mut self, now: Instant, is_open: impl Fn(TransactionId) -> bool) -> Vec<TransactionId> {
        let mut asked = BTreeMap::<u32, usize>::new();
        self.asking.keys().for_each(|attempt| *asked.entry(attempt.set).or_default() += 1);
        let (mut taken, mut ended) = (Vec::new(), Vec::new());
        for &(at, attempt) in self.queue.iter().take_while(|(at, _)| *at <= now) {
            if self.asking.len() + taken.len() >= AT_A_TIME {
                break;
            }
            let asked = asked.entry(attempt.set).or_default();
            if *asked >= TO_A_SILENT_ONE && self.silent.contains(&attempt.set) {
                continue;
            }
            if is_open(attempt) {
                *asked += 1;
                taken.push((at, attempt));
            } else {
                ended.push((at, attempt));
            }
        }
        for one in ended {
            self.queue.remove(&one);
            self.known.remove(&one.1);
        }
        for one in &taken {
            self.queue.remove(one);
            self.asking.insert(one.1, now + self.patience);
        }
        taken.into_iter().map(|(_, attempt)| attempt).collect()
    }

    /// The coordinator has answered, or has not. Until the attempt has ended here, it waits again.
    pub fn asked(&mut self, attempt: TransactionId, answered: bool) {
        match answered {
            true => self.silent.remove(&attempt.set),
            false => self.silent.insert(attempt.set),
        };
        if let Some(again) = self.asking.remove(&attempt) {
            self.queue.insert((again, attempt));
        }
    }
}

#[cfg(test)]
mod tests {
    use twinset_ledger::Position;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);
    /// How long a question to a coordinator that is away takes; longer than the patience.
    const LOST_AFTER: Duration = Duration::from_secs(3);
    const AWAY: u32 = 2;
    const HERE: u32 = 3;

    fn attempt(set: u32, index: u64) -> TransactionId {
        TransactionId { set, incarnation: 1, position: Position::new(index, 0) }
    }

    /// Asks as often as a leader looks, in the time that all others need to fall silent so many times: what the coordinator
    /// that is there was asked about in each of them, and what the one that is away was.
    fn rounds(inquiries: &mut Inquiries, from: Instant, rounds: usize) -> Vec<[BTreeSet<TransactionId>; 2]> {
        let mut asked = Vec::new();
        for round in 0..rounds {
            let now = from + LOST_AFTER * u32::try_from(round).unwrap();
            let mut here = BTreeSet::new();
            let mut away = BTreeSet::new();
            loop {
                let taken = inquiries.next(now, |_| true);
                let (live, dead): (Vec<_>, Vec<_>) = taken.into_iter().partition(|one| one.set == HERE);
                live.iter().for_each(|one| inquiries.asked(*one, true));
                away.extend(dead);
                if live.is_empty() {
                    break;
                }
                here.extend(live);
            }
            away.iter().for_each(|one| inquiries.asked(*one, false));
            asked.push([here, away]);
        }
        asked
    }

    #[test]
    fn what_a_coordinator_that_is_away_has_left_keeps_nothing_of_another_waiting() {
        let began = Instant::now();
        let mut inquiries = Inquiries::new(PATIENCE);
        let of = |set, count| (1..=count).map(|index| attempt(set, index)).collect::<BTreeSet<_>>();
        // By name and by time, all of the one that is away come first.
        let (away, here) = (of(AWAY, 300), of(HERE, 10));
        away.iter().for_each(|one| inquiries.found(*one, began));
        let later = began + Duration::from_millis(250);
        here.iter().for_each(|one| inquiries.found(*one, later));
        assert!(inquiries.next(began, |_| true).is_empty(), "nobody has waited long enough");

        let asked = rounds(&mut inquiries, later + PATIENCE, 80);
        assert_eq!(asked[0][1].len(), AT_A_TIME, "nothing is known of it yet");
        assert_eq!(asked[1][0], here, "when it has not answered, the other one is asked at once");
        assert!(asked[1..].iter().all(|[here, away]| here.len() == 10 && away.len() == TO_A_SILENT_ONE));
        // It is asked about all that it has left, in turn.
        let turns: BTreeSet<_> = asked[..=60].iter().flat_map(|[_, away]| away).copied().collect();
        assert_eq!(turns, away);

        // It answers again, and is asked about many at a time.
        let now = later + PATIENCE + LOST_AFTER * 80;
        let one = *inquiries.next(now, |_| true).iter().find(|one| one.set == AWAY).unwrap();
        inquiries.asked(one, true);
        let taken = inquiries.next(now, |_| true);
        assert!(taken.iter().filter(|one| one.set == AWAY).count() > TO_A_SILENT_ONE);
    }

    #[test]
    fn one_is_asked_about_again_and_again_while_it_is_open() {
        let now = Instant::now();
        let mut inquiries = Inquiries::new(PATIENCE);
        let one = attempt(HERE, 1);
        inquiries.found(one, now);
        inquiries.found(one, now + PATIENCE);
        assert_eq!(inquiries.next(now + PATIENCE, |_| true), [one]);
        assert!(inquiries.next(now + PATIENCE * 9, |_| true).is_empty(), "it is being asked about");
        inquiries.asked(one, true);
        assert!(inquiries.next(now + PATIENCE, |_| true).is_empty());
        assert_eq!(inquiries.next(now + PATIENCE * 2, |_| true), [one]);
        inquiries.asked(one, false);
        assert!(inquiries.next(now + PATIENCE * 3, |_| false).is_empty());
        assert!(!inquiries.knows(one), "it has ended");
    }
}
