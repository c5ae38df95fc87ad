//! The gate: what opens it, and what must not.

use std::task::Poll;

use super::*;

fn sites() -> BTreeMap<u64, String> {
    [(1, "A"), (2, "A"), (3, "B"), (4, "B")].map(|(id, site)| (id, site.to_owned())).into()
}

fn matched(of: [u64; 4]) -> BTreeMap<u64, u64> {
    (1..).zip(of).collect()
}

#[test]
fn safe_needs_each_site_and_apply() {
    // (matched of 1 and 2 in A, of 3 and 4 in B; applied; expected)
    for (of, applied, expected) in [
        ([9, 9, 0, 0], 9, 0),
        ([9, 9, 5, 0], 9, 5),
        ([9, 9, 5, 7], 9, 7),
        ([0, 9, 9, 0], 4, 4),
        ([3, 2, 9, 9], 9, 3),
    ] {
        let gate = Gate::new(1, sites(), Durability::Sync);
        gate.applied(applied, Durability::Sync);
        gate.matched(1, &matched(of));
        let expected = Horizon { open: expected, safe: expected };
        assert_eq!(gate.horizon(), expected, "matched {of:?}, applied {applied}");
    }
}

#[test]
fn one_site_alone_is_never_everywhere() {
    let one = BTreeMap::from([(1, "A".to_owned()), (2, "A".to_owned())]);
    assert_eq!(on_disk_everywhere(one.iter(), &matched([9, 9, 9, 9])), None);
}

#[test]
fn what_only_a_replica_that_leaves_has_is_not_safe() {
    let gate = Gate::new(1, sites(), Durability::Sync);
    gate.applied(9, Durability::Sync);
    gate.set_sites(5, sites(), Some(3));
    gate.matched(1, &matched([9, 9, 8, 4]));
    assert_eq!(gate.horizon().safe, 4);
    // What an older catalogue says comes too late.
    gate.set_sites(4, sites(), None);
    gate.matched(1, &matched([9, 9, 8, 5]));
    assert_eq!(gate.horizon().safe, 5);
    gate.set_sites(6, sites(), None);
    gate.matched(1, &matched([9, 9, 8, 5]));
    assert_eq!(gate.horizon().safe, 8);
}

#[tokio::test]
async fn a_replica_that_leaves_speaks_for_no_site_and_keeps_its_own() {
    let gate = Gate::new(1, sites(), Durability::Sync);
    gate.set_sites(1, sites(), Some(3));
    let began = Instant::now();
    gate.term(1);
    gate.contact(1, 3, Instant::now());
    let mut wait = Box::pin(gate.wait_for_away_site(began));
    assert!(futures::poll!(&mut wait).is_pending(), "it is to leave");
    gate.contact(1, 2, Instant::now());
    assert!(futures::poll!(&mut wait).is_pending(), "it is of the same site");
    gate.contact(1, 4, Instant::now());
    assert_eq!(futures::poll!(&mut wait), Poll::Ready(()));
    drop(wait);
    // The leader itself is to leave: its own site is still no other one.
    gate.set_sites(2, sites(), Some(1));
    let began = Instant::now();
    gate.contact(1, 2, Instant::now());
    let mut wait = Box::pin(gate.wait_for_away_site(began));
    assert!(futures::poll!(&mut wait).is_pending());
}

#[test]
fn degraded_opens_up_to_applied_and_sync_closes_at_its_mark() {
    let gate = Gate::new(1, sites(), Durability::Sync);
    gate.leads(true);
    gate.lease(Instant::now() + Duration::from_secs(60));
    gate.matched(1, &matched([9, 9, 2, 0]));
    gate.applied(5, Durability::Sync);
    assert_eq!(gate.horizon(), Horizon { open: 2, safe: 2 });
    gate.applied(6, Durability::Degraded);
    assert_eq!(gate.horizon(), Horizon { open: 6, safe: 2 }, "open, and yet not on disk in both sites");
    gate.applied(7, Durability::Degraded);
    gate.applied(8, Durability::Sync);
    assert_eq!(gate.horizon().open, 7, "the mark itself waits for the away site");
    gate.matched(1, &matched([9, 9, 8, 0]));
    assert_eq!(gate.horizon(), Horizon { open: 8, safe: 8 });
}

#[tokio::test]
async fn in_degraded_only_a_leader_with_a_lease_opens_the_gate_up_to_applied() {
    let gate = Gate::new(1, sites(), Durability::Degraded);
    let (over, runs) = (Instant::now(), Instant::now() + Duration::from_secs(3_600));
    gate.leads(true);
    gate.applied(3, Durability::Degraded);
    assert_eq!(gate.horizon().open, 0, "nobody has said that it may");
    gate.lease(over);
    assert_eq!((gate.horizon().open, gate.leased()), (0, None), "the set may be recovered elsewhere by now");
    let mut read = Box::pin(gate.wait_for_away_site(over));
    assert!(futures::poll!(read.as_mut()).is_pending());
    gate.lease(runs);
    assert!(futures::poll!(read.as_mut()).is_ready());
    drop(read);
    assert_eq!(gate.horizon().open, 3);
    gate.lease(over);
    gate.applied(4, Durability::Degraded);
    assert_eq!(gate.horizon().open, 4, "the longest counts");
    gate.leads(false);
    gate.applied(5, Durability::Degraded);
    assert_eq!((gate.horizon().open, gate.leased()), (4, None), "a follower waits for its leader's word");
    gate.follow(Horizon { open: 5, safe: 0 }, 0);
    assert_eq!(gate.horizon().open, 5);
}

#[test]
fn neither_index_ever_falls() {
    let gate = Gate::new(1, sites(), Durability::Sync);
    gate.follow(Horizon { open: 7, safe: 5 }, 0);
    gate.follow(Horizon { open: 3, safe: 2 }, 0);
    gate.applied(1, Durability::Sync);
    assert_eq!(gate.horizon(), Horizon { open: 7, safe: 5 });
}

#[test]
fn what_an_earlier_term_knew_of_a_replaced_log_opens_nothing() {
    let gate = Gate::new(1, sites(), Durability::Sync);
    gate.applied(4, Durability::Sync);
    // As leader of term 1: entries 5 to 9 are on its disk and on the learner's in the other site, not committed.
    gate.matched(1, &matched([9, 4, 4, 9]));
    assert_eq!(gate.horizon().open, 4);
    // Another leader replaces them, and this replica leads again: they are committed by the own site alone.
    gate.term(2);
    gate.applied(9, Durability::Sync);
    assert_eq!(gate.horizon().open, 4);
    gate.matched(1, &matched([9, 9, 9, 9]));
    assert_eq!(gate.horizon().open, 4, "late news of an earlier term");
    gate.matched(3, &matched([9, 9, 4, 6]));
    assert_eq!(gate.horizon(), Horizon { open: 6, safe: 6 });
    gate.term(2);
    gate.matched(3, &matched([9, 9, 7, 6]));
    assert_eq!(gate.horizon().open, 7, "a term does not fall");
}

#[test]
fn a_surviving_away_site_knows_what_is_safe_by_itself() {
    let voters = |of: &[u64]| of.iter().copied().collect::<BTreeSet<u64>>();
    for (own, of, witnessed) in [
        (3, voters(&[1, 2, 3]), true),
        // The learner of the away site has no vote, and yet its disk counts.
        (4, voters(&[1, 2, 3]), true),
        // The home site has a majority without the other.
        (1, voters(&[1, 2, 3]), false),
        (1, voters(&[1, 3, 4]), true),
        (1, voters(&[1, 2, 3, 4]), true),
        (1, voters(&[1, 2]), false),
        (9, voters(&[1, 2, 3]), false),
    ] {
        let gate = Gate::new(own, sites(), Durability::Sync);
        gate.applied(8, Durability::Sync);
        gate.durable(0, 7);
        gate.voters(5, std::slice::from_ref(&of), true);
        let expected = if witnessed { 7 } else { 0 };
        assert_eq!(gate.horizon(), Horizon { open: expected, safe: expected }, "{own} of {of:?}");
    }
    let gate = Gate::new(3, sites(), Durability::Sync);
    gate.applied(8, Durability::Sync);
    gate.durable(0, 7);
    gate.voters(8, &[voters(&[1, 2, 3])], true);
    assert_eq!(gate.horizon().safe, 0, "what is on its disk was committed by voters that it does not know");
    gate.voters(0, &[voters(&[1, 2, 3])], false);
    gate.durable(0, 9);
    assert_eq!(gate.horizon().safe, 0, "while the voters change nothing follows from them");
    gate.cut(5);
    gate.voters(5, &[voters(&[1, 2, 3])], true);
    gate.durable(0, 9);
    assert_eq!(gate.horizon().safe, 5, "late news of what was cut off");
    gate.durable(1, 6);
    assert_eq!(gate.horizon().safe, 6);
    gate.membership(7);
    gate.durable(1, 8);
    assert_eq!(gate.horizon().safe, 6, "a membership is in the log that it was not told of yet");
    gate.voters(5, &[voters(&[1, 2, 3])], true);
    assert_eq!(gate.horizon().safe, 6, "late news of the earlier one");
    gate.voters(7, &[voters(&[1, 2, 3])], true);
    assert_eq!(gate.horizon().safe, 8);
    // One more is appended, and cut off again: the one before it is in force as it was.
    gate.membership(12);
    gate.durable(1, 13);
    gate.cut(11);
    gate.voters(5, &[voters(&[1, 2, 3])], true);
    gate.durable(2, 11);
    gate.applied(11, Durability::Sync);
    assert_eq!(gate.horizon().safe, 8, "late news again");
    gate.voters(7, &[voters(&[1, 2, 3])], true);
    assert_eq!(gate.horizon().safe, 11);
}

#[test]
fn a_leader_vouches_for_nothing_before_its_own_term_has_come_out_and_a_majority_has_answered() {
    let gate = Gate::new(1, sites(), Durability::Sync);
    let start = Instant::now() - Duration::from_secs(20);
    gate.voters(0, &[BTreeSet::from([1, 2, 3])], true);
    gate.term(4);
    gate.contact(4, 3, start);
    gate.reached(3, 5);
    gate.applied(5, Durability::Sync);
    gate.matched(4, &matched([6, 6, 6, 6]));
    assert_eq!(gate.vouched(), None, "an earlier leader may have let out more");
    gate.reached(4, 6);
    assert_eq!(gate.vouched(), None);
    gate.applied(6, Durability::Sync);
    assert_eq!(gate.vouched(), Some(start), "and not later, however long it goes on leading");
    let later = start + Duration::from_secs(1);
    gate.contact(4, 2, later);
    gate.contact(4, 2, start);
    gate.contact(4, 4, later + Duration::from_secs(1));
    assert_eq!(gate.vouched(), Some(later));
    gate.term(5);
    assert_eq!(gate.vouched(), None, "another leader may have let out more");
    let own = gate.basis(false);
    assert!(matches!(own, Some(Basis::Followed(word)) if word.arrived == later), "it has led: {own:?}");
    gate.follow(Horizon { open: 6, safe: 6 }, 0);
    assert_eq!(gate.basis(false), own, "a leader that does not vouch makes nobody fresh");
    gate.follow(Horizon { open: 6, safe: 6 }, 1);
    assert_ne!(gate.basis(false), own);
}

#[tokio::test]
async fn a_read_waits_for_the_away_site_to_answer_something_newer() {
    let gate = Gate::new(1, sites(), Durability::Sync);
    gate.term(4);
    let before = Instant::now();
    gate.contact(4, 3, before);
    let began = before + std::time::Duration::from_millis(1);
    gate.contact(4, 2, began);
    let wait = gate.wait_for_away_site(began);
    tokio::pin!(wait);
    assert!(futures::poll!(&mut wait).is_pending(), "word from the own site, or older word, does not count");
    gate.contact(4, 9, began);
    assert!(futures::poll!(&mut wait).is_pending(), "nobody knows where it is");
    gate.contact(4, 4, began);
    assert!(futures::poll!(&mut wait).is_ready());
}

#[tokio::test]
async fn a_read_waits_for_a_majority_to_answer_something_newer() {
    let gate = Gate::new(1, sites(), Durability::Degraded);
    gate.term(4);
    let began = Instant::now();
    let before = began - Duration::from_millis(1);
    gate.contact(4, 2, before);
    let wait = gate.wait_for_majority(4, began);
    tokio::pin!(wait);
    assert!(futures::poll!(&mut wait).is_pending(), "nobody knows who votes");
    gate.voters(0, &[BTreeSet::from([1, 2, 3])], true);
    assert!(futures::poll!(&mut wait).is_pending(), "older word does not count");
    gate.contact(3, 3, began);
    assert!(futures::poll!(&mut wait).is_pending(), "an answer to a leader of an earlier term");
    gate.contact(4, 3, began);
    assert_eq!(futures::poll!(&mut wait), Poll::Ready(true));
}

#[tokio::test]
async fn a_read_does_not_wait_for_the_followers_of_another_term() {
    let gate = Gate::new(1, sites(), Durability::Degraded);
    gate.term(4);
    gate.voters(0, &[BTreeSet::from([1, 2, 3])], true);
    let began = Instant::now();
    let wait = gate.wait_for_majority(4, began);
    tokio::pin!(wait);
    assert!(futures::poll!(&mut wait).is_pending());
    gate.term(6);
    gate.contact(6, 2, began);
    assert_eq!(
        futures::poll!(&mut wait),
        Poll::Ready(false),
        "it leads again, and somebody else may have in between"
    );
    gate.contact(4, 3, began + Duration::from_secs(1));
    assert!(gate.wait_for_majority(6, began).await);
}
