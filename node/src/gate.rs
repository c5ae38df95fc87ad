//! The durability gate of one set replica: which entries are safe. Everything that leaves a set (replies, reads, stale
//! ones included, later events and messages to other sets) waits here, and only here.
//!
//! Entry *i* is safe in SYNC when it is committed and on disk in *each* site, by the sites of the replicas themselves;
//! in DEGRADED when it is committed. What is applied here is committed, so the applied index stands for it; the state
//! in force is the one that the applied entries have marked. Followers learn the safe index from the leader. What was
//! safe once stays safe: the index never falls.

use std::collections::BTreeMap;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::watch;
use twinset_ledger::Durability;

/// The gate. Fed by apply, by the leader's replication progress and by the leader's messages; asked by everybody else.
pub struct Gate {
    state: Mutex<State>,
    safe: watch::Sender<u64>,
    contacted: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    sites: BTreeMap<u64, String>,
    durability: Durability,
    applied: u64,
    /// The greatest index known to be on disk in each site. Only a leader learns it.
    everywhere: u64,
    /// When the newest message that a replica answered was sent.
    contacts: BTreeMap<u64, Instant>,
    /// When the leader was last heard.
    heard: Option<Instant>,
}

impl Gate {
    /// A closed gate; `sites` maps every replica of the set to its site.
    pub fn new(sites: BTreeMap<u64, String>, durability: Durability) -> Self {
        let state = State { sites, durability, ..State::default() };
        Gate { state: Mutex::new(state), safe: watch::Sender::new(0), contacted: watch::Sender::new(0) }
    }

    /// The sites of the replicas, when the catalogue has changed.
    pub fn set_sites(&self, sites: BTreeMap<u64, String>) {
        self.state.lock().sites = sites;
    }

    /// Apply has finished `index`, and `durability` is in force from here on.
    pub fn applied(&self, index: u64, durability: Durability) {
        let mut state = self.state.lock();
        state.applied = state.applied.max(index);
        state.durability = durability;
        self.publish(&state);
    }

    /// The leader's view: up to which index each replica, itself included, holds the log on disk.
    pub fn matched(&self, matched: &BTreeMap<u64, u64>) {
        let mut state = self.state.lock();
        if let Some(everywhere) = on_disk_everywhere(&state.sites, matched) {
            state.everywhere = state.everywhere.max(everywhere);
            self.publish(&state);
        }
    }

    /// The leader says that everything up to `index` is safe.
    pub fn follow(&self, index: u64) {
        self.state.lock().heard = Some(Instant::now());
        self.safe.send_if_modified(|safe| raise(safe, index));
    }

    /// A replica answered a message that was sent at `sent_at`, as a follower of this leader.
    pub fn contact(&self, replica: u64, sent_at: Instant) {
        let mut state = self.state.lock();
        let newest = state.contacts.entry(replica).or_insert(sent_at);
        *newest = (*newest).max(sent_at);
        self.contacted.send_modify(|count| *count += 1);
    }

    /// The greatest safe index.
    pub fn safe(&self) -> u64 {
        *self.safe.borrow()
    }

    /// How old a stale answer may be, in milliseconds: the time since the leader was last heard; `u64::MAX` if never.
    pub fn age_ms(&self, leading: bool) -> u64 {
        if leading {
            return 0;
        }
        let heard = self.state.lock().heard;
        heard.map_or(u64::MAX, |at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The durability state in force.
    pub fn durability(&self) -> Durability {
        self.state.lock().durability
    }

    /// Waits until `index` is safe. Without end: callers bring their own deadline.
    pub async fn wait(&self, index: u64) {
        let mut safe = self.safe.subscribe();
        // The sender is this gate itself, so the wait cannot fail.
        let _ = safe.wait_for(|&safe| safe >= index).await;
    }

    /// In SYNC, waits for word from a replica in a site other than that of `replica`, to a message sent after `began`:
    /// a leader that is cut off from the other site must not answer from a past that a recovered set has left behind.
    pub async fn wait_for_away_site(&self, replica: u64, began: Instant) {
        let mut contacted = self.contacted.subscribe();
        loop {
            contacted.mark_unchanged();
            {
                let state = self.state.lock();
                let own = state.sites.get(&replica);
                let heard = |(other, &sent): (&u64, &Instant)| sent >= began && state.sites.get(other) != own;
                if state.durability == Durability::Degraded || state.contacts.iter().any(heard) {
                    return;
                }
            }
            if contacted.changed().await.is_err() {
                return;
            }
        }
    }

    fn publish(&self, state: &State) {
        let index = safe_index(state.durability, state.applied, state.everywhere);
        self.safe.send_if_modified(|safe| raise(safe, index));
    }
}

fn raise(safe: &mut u64, index: u64) -> bool {
    let higher = index > *safe;
    if higher {
        *safe = index;
    }
    higher
}

fn safe_index(durability: Durability, applied: u64, everywhere: u64) -> u64 {
    match durability {
        Durability::Sync => applied.min(everywhere),
        Durability::Degraded => applied,
    }
}

/// The least, over the sites, of the greatest index on disk in the site. None while there are not two sites.
fn on_disk_everywhere(sites: &BTreeMap<u64, String>, matched: &BTreeMap<u64, u64>) -> Option<u64> {
    let mut by_site: BTreeMap<&str, u64> = BTreeMap::new();
    for (replica, site) in sites {
        let best = by_site.entry(site).or_default();
        *best = (*best).max(matched.get(replica).copied().unwrap_or(0));
    }
    if by_site.len() < 2 { None } else { by_site.into_values().min() }
}

#[cfg(test)]
mod tests {
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
            let gate = Gate::new(sites(), Durability::Sync);
            gate.applied(applied, Durability::Sync);
            gate.matched(&matched(of));
            assert_eq!(gate.safe(), expected, "matched {of:?}, applied {applied}");
        }
    }

    #[test]
    fn one_site_alone_is_never_everywhere() {
        let one = [(1, "A".to_owned()), (2, "A".to_owned())].into();
        assert_eq!(on_disk_everywhere(&one, &matched([9, 9, 9, 9])), None);
    }

    #[test]
    fn degraded_opens_up_to_applied_and_sync_closes_at_its_mark() {
        let gate = Gate::new(sites(), Durability::Sync);
        gate.matched(&matched([9, 9, 2, 0]));
        gate.applied(5, Durability::Sync);
        assert_eq!(gate.safe(), 2);
        gate.applied(6, Durability::Degraded);
        assert_eq!(gate.safe(), 6);
        gate.applied(7, Durability::Degraded);
        gate.applied(8, Durability::Sync);
        assert_eq!(gate.safe(), 7, "the mark itself waits for the away site");
        gate.matched(&matched([9, 9, 8, 0]));
        assert_eq!(gate.safe(), 8);
    }

    #[test]
    fn safe_never_falls() {
        let gate = Gate::new(sites(), Durability::Sync);
        gate.follow(7);
        gate.follow(3);
        gate.applied(1, Durability::Sync);
        assert_eq!(gate.safe(), 7);
    }

    #[tokio::test]
    async fn a_read_waits_for_the_away_site_to_answer_something_newer() {
        let gate = Gate::new(sites(), Durability::Sync);
        let before = Instant::now();
        gate.contact(3, before);
        let began = before + std::time::Duration::from_millis(1);
        gate.contact(2, began);
        let wait = gate.wait_for_away_site(1, began);
        tokio::pin!(wait);
        assert!(
            futures::poll!(&mut wait).is_pending(),
            "word from the own site, or older word, does not count"
        );
        gate.contact(4, began);
        assert!(futures::poll!(&mut wait).is_ready());
    }
}
