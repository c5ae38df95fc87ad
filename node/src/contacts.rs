//! Who has answered a replica as a leader, message by message and within one term. openraft's own time of it does not do: it
//! takes the reply to an append for one to the empty append after it as well, which tells of a commit.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

/// The newest message that a replica has answered.
#[derive(Clone, Copy)]
struct Contact {
    term: u64,
    sent_at: Instant,
}

/// What the others have answered to replica `own`, as its followers.
#[derive(Default)]
pub struct Contacts {
    own: u64,
    /// Whose majorities decide: the voters, and while they change both the old and the new ones.
    electorates: Vec<BTreeSet<u64>>,
    newest: BTreeMap<u64, Contact>,
}

impl Contacts {
    /// Nobody has answered `own`, and nobody votes.
    pub fn of(own: u64) -> Self {
        Contacts { own, ..Contacts::default() }
    }

    /// The replica that is answered.
    pub fn own(&self) -> u64 {
        self.own
    }

    /// Takes over whose majorities decide. Whether that has changed.
    pub fn decide_by(&mut self, electorates: &[BTreeSet<u64>]) -> bool {
        let changed = self.electorates != electorates;
        if changed {
            self.electorates = electorates.to_vec();
        }
        changed
    }

    /// A replica answered the message that was sent at `sent_at`, as a follower of this leader of `term`.
    pub fn answered(&mut self, term: u64, replica: u64, sent_at: Instant) {
        let newest = self.newest.entry(replica).or_insert(Contact { term, sent_at });
        if (newest.term, newest.sent_at) < (term, sent_at) {
            *newest = Contact { term, sent_at };
        }
    }

    /// How long ago the newest message of any term was sent that `replica` has answered; None if it never has.
    pub fn silence(&self, replica: u64) -> Option<Duration> {
        self.newest.get(&replica).map(|contact| contact.sent_at.elapsed())
    }

    /// Who has answered a message of `term` that was sent at `began` or later.
    pub fn since(&self, term: u64, began: Instant) -> impl Iterator<Item = u64> {
        let newer = move |contact: &Contact| contact.term == term && contact.sent_at >= began;
        self.newest.iter().filter(move |(_, contact)| newer(contact)).map(|(replica, _)| *replica)
    }

    /// When the newest message of `term` was sent that a majority, this replica included, has answered.
    pub fn majority(&self, term: u64) -> Option<Instant> {
        let now = Instant::now();
        let answered = |id: &u64| self.newest.get(id).filter(|contact| contact.term == term);
        let sent_at = |id: &u64| if *id == self.own { Some(now) } else { answered(id).map(|it| it.sent_at) };
        let by_majority = |voters: &BTreeSet<u64>| {
            let mut oldest_first: Vec<_> = voters.iter().map(sent_at).collect();
            oldest_first.sort_unstable();
            let majority = voters.len() / 2 + 1;
            *oldest_first.get(voters.len().checked_sub(majority)?)?
        };
        self.electorates.iter().map(by_majority).min().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_has_answered_what_its_slowest_member_has() {
        let start = Instant::now() - Duration::from_secs(20);
        let at = |second| start + Duration::from_secs(second);
        // (electorates; replicas with the second that they answered; expected). Replica 1 asks.
        for (electorates, contacts, expected) in [
            (vec![], vec![(2, 9)], None),
            (vec![vec![]], vec![(2, 9)], None),
            (vec![vec![1, 2, 3]], vec![], None),
            (vec![vec![1, 2, 3]], vec![(4, 9)], None),
            (vec![vec![1, 2, 3]], vec![(2, 7)], Some(7)),
            (vec![vec![1, 2, 3]], vec![(2, 7), (3, 5)], Some(7)),
            (vec![vec![1, 2, 3, 4]], vec![(2, 7), (3, 5)], Some(5)),
            (vec![vec![2, 3, 4]], vec![(2, 7), (3, 5)], Some(5)),
            (vec![vec![1, 2, 3, 4, 5]], vec![(2, 7)], None),
            (vec![vec![1, 2, 3], vec![1, 4, 5]], vec![(2, 7), (4, 3)], Some(3)),
            (vec![vec![1, 2, 3], vec![1, 4, 5]], vec![(2, 7)], None),
        ] {
            let electorates: Vec<_> = electorates.into_iter().map(BTreeSet::from_iter).collect();
            let mut known = Contacts::of(1);
            known.decide_by(&electorates);
            contacts.iter().for_each(|&(replica, second)| known.answered(4, replica, at(second)));
            assert_eq!(known.majority(4), expected.map(at), "{electorates:?}, {contacts:?}");
        }
        let mut known = Contacts::of(1);
        known.decide_by(&[BTreeSet::from([1])]);
        assert!(known.majority(4) >= Some(start), "alone it needs nobody");
    }
}
