//! The durability gate of one set replica. Everything that leaves a set (replies, reads, stale ones included, events and
//! messages to other sets) waits here, and only here, until the gate is open for the entry that it depends on.
//!
//! Entry *i* is safe when it is committed and on disk in *each* site, by the sites of the replicas themselves. In SYNC the
//! gate is open up to the safe index; in DEGRADED up to the applied one, while the leader has the control set's word for it (the
//! lease: `crate::vigil`), and the safe index goes on telling what both sites have. What is applied here is committed, so the applied index stands for it; the state in force is the one that the
//! applied entries have marked. Followers learn both indices from the leader. Neither ever falls.
//!
//! The gate also keeps who has answered this replica as a leader, message by message: a linearizable read waits until a
//! majority, and in SYNC the away site, has answered what was sent after it began; the age of a stale one counts from it.
//!
//! Invariant: what replicas hold on disk, and what they answer, counts only within the term in which it was learned. A
//! replica that has led, lost its leadership and had the end of its log replaced would otherwise take the new entries for
//! what both sites had of the old ones, or its new followers for old ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use twinset_ledger::Durability;
use twinset_ledger::canary::{self, Canary};
use twinset_proto::cluster::v1 as wire;

use crate::contacts::Contacts;
use crate::freshness::{Basis, Freshness, Word};

/// How far a replica, or its leader, is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Horizon {
    /// What may leave the set.
    pub open: u64,
    /// What is committed and on disk in each site.
    pub safe: u64,
}

impl From<wire::Horizon> for Horizon {
    fn from(horizon: wire::Horizon) -> Self {
        Horizon { open: horizon.open_index, safe: horizon.safe_index }
    }
}

/// The gate. Fed by apply, by the leader's replication progress and by the leader's messages; asked by everybody else.
pub struct Gate {
    state: Mutex<State>,
    open: watch::Sender<u64>,
    /// What is applied here and may leave.
    settled: watch::Sender<u64>,
    /// Somebody has answered, or who counts has changed.
    contacted: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    sites: BTreeMap<u64, String>,
    /// It is being replaced: what it holds and answers proves nothing for its site.
    leaving: Option<u64>,
    /// The version of the catalogue that says so.
    sites_version: u64,
    durability: Durability,
    applied: u64,
    /// The newest term that this replica has voted or followed in.
    term: u64,
    /// The greatest index known to be on disk in each site, by what was learned in `term`. Only a leader learns it.
    everywhere: u64,
    safe: u64,
    /// The greatest index that this replica itself has on disk.
    durable: u64,
    cuts: u64,
    /// From which index on a committed entry is on disk in each other site, by the voters alone.
    witness_from: Option<u64>,
    /// The entries of the log that may change the voters, from the last one on that the voters were told of.
    memberships: BTreeSet<u64>,
    /// The first entry of `term` that is applied here.
    began_at: Option<u64>,
    contacts: Contacts,
    /// When a leader was last heard.
    heard: Option<Instant>,
    freshness: Freshness,
    /// Whether this replica leads, as far as it knows.
    leads: bool,
    /// Until when this leader may answer in DEGRADED.
    leased_until: Option<Instant>,
    /// The replica is fenced: the gate opens no further, whatever becomes known.
    closed: bool,
}

impl Gate {
    /// The closed gate of replica `own`; `sites` maps every replica of the set to its site.
    pub fn new(own: u64, sites: BTreeMap<u64, String>, durability: Durability) -> Self {
        let state = State { sites, durability, contacts: Contacts::of(own), ..State::default() };
        let (open, settled) = (watch::Sender::new(0), watch::Sender::new(0));
        Gate { state: Mutex::new(state), open, settled, contacted: watch::Sender::new(()) }
    }

    /// The sites of the replicas by that version of the catalogue, and the replica that its site does not count on. Several tell;
    /// what an older one says comes too late.
    pub fn set_sites(&self, version: u64, sites: BTreeMap<u64, String>, leaving: Option<u64>) {
        let mut state = self.state.lock();
        if version < state.sites_version {
            return;
        }
        state.sites_version = version;
        if state.leaving != leaving {
            state.leaving = leaving;
            state.witness_from = None;
        }
        if state.sites != sites {
            state.sites = sites;
            state.witness_from = None;
        }
    }

    /// Apply is about to finish an entry of `term`.
    pub fn reached(&self, term: u64, index: u64) {
        let mut state = self.state.lock();
        if term == state.term {
            state.began_at.get_or_insert(index);
        }
    }

    /// Apply has finished `index`, and `durability` is in force from here on.
    pub fn applied(&self, index: u64, durability: Durability) {
        let mut state = self.state.lock();
        state.applied = state.applied.max(index);
        let applied = state.applied;
        state.freshness.applied(applied);
        state.durability = durability;
        self.publish(&mut state);
    }

    /// This replica is about to store a vote of `term`: its log may be replaced from here on.
    pub fn term(&self, term: u64) {
        self.enter(&mut self.state.lock(), term);
    }

    /// The newest term that this replica has voted or followed in.
    pub fn current_term(&self) -> u64 {
        self.state.lock().term
    }

    /// The view of the leader of `term`: up to which index each replica, itself included, holds the log on disk. Ignored if
    /// the replica has gone on to another term.
    pub fn matched(&self, term: u64, matched: &BTreeMap<u64, u64>) {
        let mut state = self.state.lock();
        self.enter(&mut state, term);
        if state.term != term {
            return;
        }
        if let Some(everywhere) = on_disk_everywhere(state.counted(), matched) {
            state.everywhere = state.everywhere.max(everywhere);
            self.publish(&mut state);
        }
    }

    /// The replica is fenced: from here on the gate opens no further.
    pub fn close(&self) {
        self.state.lock().closed = true;
    }

    /// Whether this replica leads, as far as it knows.
    pub fn leads(&self, leads: bool) {
        self.state.lock().leads = leads;
    }

    /// The control set knows that the set is DEGRADED, and lets this leader answer until then.
    pub fn lease(&self, until: Instant) {
        let mut state = self.state.lock();
        state.leased_until = state.leased_until.max(Some(until));
        self.publish(&mut state);
        drop(state);
        self.contacted.send_replace(());
    }

    /// How long this leader may still answer in DEGRADED; None: it may not.
    pub fn leased(&self) -> Option<Duration> {
        self.state.lock().leased(Instant::now())
    }

    /// Since when it may be, and not longer, that others have let something out that this replica, which leads as far as it
    /// knows, has not: since the newest message that a majority has answered. None: it may lack something anyway, because
    /// the gate is not open yet for an entry of the current term.
    pub fn vouched(&self) -> Option<Instant> {
        self.state.lock().vouched(*self.open.borrow())
    }

    /// How often the log was cut so far, for [`Gate::durable`].
    pub fn cuts(&self) -> u64 {
        self.state.lock().cuts
    }

    /// This replica has its log on disk up to `index`, as it was appended after `cuts` cuts. Late news of what has been cut off
    /// since are ignored.
    pub fn durable(&self, cuts: u64, index: u64) {
        let mut state = self.state.lock();
        if cuts == state.cuts {
            state.durable = state.durable.max(index);
            self.publish(&mut state);
        }
    }

    /// This replica's log is about to be cut off after `index`.
    pub fn cut(&self, index: u64) {
        let mut state = self.state.lock();
        state.cuts += 1;
        state.durable = state.durable.min(index);
        state.memberships.retain(|&membership| membership <= index);
    }

    /// The entry `index` is about to be appended, or installed, and may change the voters.
    pub fn membership(&self, index: u64) {
        let mut state = self.state.lock();
        state.memberships.insert(index);
        state.witness_from = None;
    }

    /// Whose majorities decide since the entry `since`: the voters, and while they change both the old and the new ones.
    /// `settled`: that entry is committed.
    ///
    /// A surviving away site has no leader to tell it what is safe. Where every majority of the voters has one in each other
    /// site, what is committed is on disk there, and what is applied here and on disk here is safe.
    pub fn voters(&self, since: u64, electorates: &[BTreeSet<u64>], settled: bool) {
        let mut state = self.state.lock();
        state.memberships.retain(|&membership| membership >= since);
        let newest = state.memberships.last().is_none_or(|&newest| since >= newest);
        let witnessed = match electorates {
            [voters] if settled && newest => others_are_in_every_majority(&state, voters),
            _ => false,
        };
        state.witness_from = witnessed.then_some(since);
        if state.contacts.decide_by(electorates) {
            self.contacted.send_replace(());
        }
        self.publish(&mut state);
    }

    /// The leader says how far it was at `at_unix_ns`, by its clock; 0: it does not know yet whether it lacks anything.
    pub fn follow(&self, leader: Horizon, at_unix_ns: u64) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.heard = Some(now);
        if at_unix_ns > 0 {
            let applied = state.applied;
            state.freshness.heard(leader.open, Word { arrived: now, sent_unix_ns: at_unix_ns }, applied);
        }
        state.safe = state.safe.max(leader.safe);
        self.open_up(&state, leader.open);
    }

    /// Whoever takes himself for a leader speaks to this replica.
    pub fn spoken(&self) {
        self.state.lock().freshness.spoken(Instant::now());
    }

    /// A replica answered the message that was sent at `sent_at`, as a follower of this leader of `term`.
    pub fn contact(&self, term: u64, replica: u64, sent_at: Instant) {
        self.state.lock().contacts.answered(term, replica, sent_at);
        self.contacted.send_replace(());
    }

    /// Up to where the gate is open, for whoever waits for it to go on.
    pub fn opened(&self) -> watch::Receiver<u64> {
        self.open.subscribe()
    }

    /// How far the gate is open, and what is safe.
    pub fn horizon(&self) -> Horizon {
        let state = self.state.lock();
        Horizon { open: *self.open.borrow(), safe: state.safe }
    }

    /// How long ago the newest message was sent that `replica` has answered; None if it never has.
    pub fn silence(&self, replica: u64) -> Option<Duration> {
        self.state.lock().contacts.silence(replica)
    }

    /// How long ago the newest message was sent that a replica in another site has answered; None if none ever has.
    pub fn silence_of_away_site(&self) -> Option<Duration> {
        let state = self.state.lock();
        let own = state.sites.get(&state.contacts.own());
        let away = state.counted().filter(|(_, site)| Some(*site) != own);
        away.filter_map(|(&replica, _)| state.contacts.silence(replica)).min()
    }

    /// How long ago the newest message of this term was sent that a majority has answered; None if it never has.
    pub fn silence_of_majority(&self) -> Option<Duration> {
        let state = self.state.lock();
        state.contacts.majority(state.term).map(|at| at.elapsed())
    }

    /// What an unconfirmed answer of this replica could be based on.
    pub fn basis(&self, leads: bool) -> Option<Basis> {
        let state = self.state.lock();
        let led = if leads { state.vouched(*self.open.borrow()) } else { None };
        state.freshness.basis(led, Instant::now())
    }

    /// When a leader was last heard.
    pub fn heard(&self) -> Option<Instant> {
        self.state.lock().heard
    }

    /// The durability state in force.
    pub fn durability(&self) -> Durability {
        self.state.lock().durability
    }

    /// Waits until the gate is open for `index`. Without end: callers bring their own deadline.
    pub async fn wait(&self, index: u64) {
        let mut open = self.open.subscribe();
        // The sender is this gate itself, so the wait cannot fail.
        let _ = open.wait_for(|&open| open >= index).await;
    }

    /// Up to where entries are applied here and may leave; whoever follows the set is woken when that has grown.
    pub fn settled(&self) -> watch::Receiver<u64> {
        self.settled.subscribe()
    }

    /// Waits until a majority has answered what this leader of `term` sent after `began`: nobody else led then. False: the
    /// replica has gone on to another term. Without end: callers bring their own deadline.
    pub async fn wait_for_majority(&self, term: u64, began: Instant) -> bool {
        let mut leads = true;
        self.contact_until(|state| {
            leads = state.term == term;
            !leads || state.contacts.majority(term).is_some_and(|at| at >= began)
        })
        .await;
        leads
    }

    /// In SYNC, waits for word from a replica in another site, to a message sent after `began`: a leader that is cut off
    /// from the other site must not answer from a past that a recovered set has left behind. In DEGRADED, waits until it has
    /// the lease, for the same reason.
    pub async fn wait_for_away_site(&self, began: Instant) {
        self.contact_until(|state| {
            let own = state.sites.get(&state.contacts.own());
            let away = |other: u64| {
                Some(other) != state.leaving && state.sites.get(&other).is_some_and(|site| Some(site) != own)
            };
            match state.durability {
                Durability::Sync => state.contacts.since(state.term, began).any(away),
                Durability::Degraded => state.leased(Instant::now()).is_some(),
            }
        })
        .await;
    }

    /// Every answer of a replica from now on, and every change of who counts.
    pub fn contacted(&self) -> watch::Receiver<()> {
        self.contacted.subscribe()
    }

    async fn contact_until(&self, mut suffices: impl FnMut(&State) -> bool) {
        let mut contacted = self.contacted();
        while !suffices(&self.state.lock()) && contacted.changed().await.is_ok() {}
    }

    /// Goes on to another term. What it vouched for as a leader it still knows as a follower.
    fn enter(&self, state: &mut State, term: u64) {
        if term > state.term {
            if let Some(confirmed) = state.vouched(*self.open.borrow()) {
                state.freshness.led(confirmed);
            }
            state.term = term;
            state.everywhere = 0;
            state.began_at = None;
            self.contacted.send_replace(());
        }
    }

    fn publish(&self, state: &mut State) {
        let here = state.applied.min(state.durable);
        let witnessed = state.witness_from.filter(|&since| here >= since).map_or(0, |_| here);
        let known = state.applied.min(state.everywhere).max(witnessed);
        state.safe = state.safe.max(known);
        let index = match state.durability {
            Durability::Sync if canary::on(Canary::ReplyBeforeSafe) => state.applied,
            Durability::Degraded if state.leased(Instant::now()).is_some() => state.applied,
            // A follower hears from its leader how far the gate is open.
            Durability::Sync | Durability::Degraded => state.safe,
        };
        self.open_up(state, index);
    }

    fn open_up(&self, state: &State, index: u64) {
        if state.closed {
            return;
        }
        self.open.send_if_modified(|open| raise(open, index));
        let settled = state.applied.min(*self.open.borrow());
        self.settled.send_if_modified(|before| raise(before, settled));
    }
}

impl State {
    /// The replicas that prove something for their sites, with these.
    fn counted(&self) -> impl Iterator<Item = (&u64, &String)> {
        self.sites.iter().filter(|(id, _)| Some(**id) != self.leaving)
    }

    fn leased(&self, now: Instant) -> Option<Duration> {
        if self.leads && canary::on(Canary::DegradedBeforeRecord) {
            return Some(Duration::from_secs(1));
        }
        let until = self.leased_until.filter(|_| self.leads)?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }

    fn vouched(&self, open: u64) -> Option<Instant> {
        let opened = self.began_at.is_some_and(|began_at| open >= began_at);
        if opened { self.contacts.majority(self.term) } else { None }
    }
}

fn raise(open: &mut u64, index: u64) -> bool {
    let higher = index > *open;
    if higher {
        *open = index;
    }
    higher
}

/// The least, over the sites, of the greatest index on disk in the site. None while there are not two sites.
fn on_disk_everywhere<'a>(
    sites: impl Iterator<Item = (&'a u64, &'a String)>,
    matched: &BTreeMap<u64, u64>,
) -> Option<u64> {
    let mut by_site: BTreeMap<&str, u64> = BTreeMap::new();
    for (replica, site) in sites {
        let best = by_site.entry(site).or_default();
        *best = (*best).max(matched.get(replica).copied().unwrap_or(0));
    }
    if by_site.len() < 2 { None } else { by_site.into_values().min() }
}

/// Whether no majority of `voters` can do without any site other than that of the replica itself.
fn others_are_in_every_majority(state: &State, voters: &BTreeSet<u64>) -> bool {
    let Some(home) = state.sites.get(&state.contacts.own()) else { return false };
    let majority = voters.len() / 2 + 1;
    let there = |id: u64, site: &String| Some(id) != state.leaving && state.sites.get(&id) == Some(site);
    let without = |site: &String| voters.iter().filter(|id| !there(**id, site)).count();
    let mut others = state.sites.values().filter(|site| *site != home).peekable();
    !voters.is_empty() && others.peek().is_some() && others.all(|site| without(site) < majority)
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
