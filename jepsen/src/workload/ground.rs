//! The accounts that workloads meet on: for each workload and set a few groups that share a tag, and so a set. Opened before
//! the clients start, through the API and into the history, as the model must see them opened. Holds no balances.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};

use super::Kind;
use super::groups::{self, Group};
use crate::history::event::EURO;
use crate::history::{Ask, Name, Place, Recorder};

/// Transactions with what they moved, which all clients know.
pub type Shelf = Arc<Mutex<VecDeque<(Name, i64)>>>;

/// A hold that was placed.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// The held account.
    pub account: u32,
    /// The hold.
    pub hold: Name,
    /// Its amount.
    pub cents: i64,
    /// Whether its time will be over.
    pub ends: bool,
}

/// Something that came restricted.
#[derive(Clone, Copy, Debug)]
pub struct Given {
    /// Whose it is.
    pub account: u32,
    /// The transaction that brought it.
    pub restriction: Name,
    /// How much.
    pub cents: i64,
    /// Whether its time will come.
    pub ends: bool,
}

/// An account as somebody saw it last.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// In cents.
    pub posted: i64,
    /// In cents.
    pub available: i64,
    /// Its postings.
    pub version: u64,
}

/// A row of like accounts in each set.
#[derive(Clone, Copy, Debug)]
pub struct Plot {
    /// The part of the account's id before its number.
    pub name: &'static str,
    /// How many in each set.
    pub count: u32,
    /// Decides the normal side.
    pub subject: &'static str,
    /// Their currency.
    pub currency: &'static str,
    /// The floor in cents; none: no floor.
    pub limit: Option<i64>,
}

impl Plot {
    /// Liabilities without a floor.
    pub const fn free(name: &'static str, count: u32) -> Plot {
        Plot { name, count, subject: "liability", currency: EURO, limit: None }
    }

    /// Liabilities with a floor in cents.
    pub const fn floored(name: &'static str, count: u32, limit: i64) -> Plot {
        Plot { limit: Some(limit), ..Plot::free(name, count) }
    }
}

/// All accounts that exist before the traffic.
pub struct Ground {
    recorder: Arc<Recorder>,
    sets: Vec<u32>,
    slots: Vec<u32>,
    /// By workload and set.
    tags: BTreeMap<(&'static str, u32), String>,
    /// By workload, plot and set.
    plots: BTreeMap<(&'static str, &'static str, u32), Vec<u32>>,
    groups: Vec<Group>,
    opens: Vec<Ask>,
    /// What all clients try to take back.
    pub(super) shelf: Shelf,
    /// The same of transactions over several sets.
    pub(super) shelf_across: Shelf,
    /// Captures of holds, to be taken back.
    pub(super) shelf_captured: Shelf,
    /// What was paid into groups, to be taken back.
    pub(super) shelf_grouped: Shelf,
    /// What was paid to accounts that may be buffered, to be taken back.
    pub(super) shelf_buffered: Shelf,
    /// Credits in suspense that all clients try to book on.
    pub(super) suspended: Arc<Mutex<VecDeque<Name>>>,
    /// Holds that all clients try to use.
    pub(super) holds: Arc<Mutex<VecDeque<Placed>>>,
    /// Restricted credits that all clients try to release and to take back.
    pub(super) given: Arc<Mutex<VecDeque<Given>>>,
    /// What clients saw of accounts that they make conditions about.
    seen: Mutex<BTreeMap<u32, Seen>>,
    /// The last ledger time that anybody heard of, by set.
    times: Mutex<BTreeMap<u32, u64>>,
    /// Counts what is given out once, to whichever client.
    pub(super) gifts: Arc<AtomicU32>,
}

impl Ground {
    /// The ground of some workloads over the sets that own `slots`.
    pub fn new(recorder: Arc<Recorder>, slots: &[u32], kinds: &[&'static Kind]) -> Arc<Self> {
        let sets: std::collections::BTreeSet<u32> = slots.iter().copied().collect();
        let mut ground = Ground {
            recorder,
            sets: sets.into_iter().collect(),
            slots: slots.to_vec(),
            tags: BTreeMap::new(),
            plots: BTreeMap::new(),
            groups: Vec::new(),
            opens: Vec::new(),
            shelf: Shelf::default(),
            shelf_across: Shelf::default(),
            shelf_captured: Shelf::default(),
            shelf_buffered: Shelf::default(),
            shelf_grouped: Shelf::default(),
            suspended: Arc::default(),
            holds: Arc::default(),
            given: Arc::default(),
            seen: Mutex::default(),
            times: Mutex::default(),
            gifts: Arc::default(),
        };
        for kind in kinds {
            let parts: Vec<&'static Kind> =
                if kind.plots.is_empty() { super::ALL.iter().collect() } else { vec![*kind] };
            parts.into_iter().for_each(|kind| ground.add(kind));
        }
        if ground.tags.keys().any(|(name, _)| *name == groups::NAME) {
            ground.groups = Group::all(&ground.recorder, slots);
            ground.opens.extend(ground.groups.iter().flat_map(Group::opens));
        }
        Arc::new(ground)
    }

    fn add(&mut self, kind: &'static Kind) {
        for set in self.sets.clone() {
            if self.tags.contains_key(&(kind.name, set)) || kind.plots.is_empty() {
                continue;
            }
            let owned = |tag: &String| self.slots[usize::from(twinset_ledger::slot_of(tag))] == set;
            let tag = (0..100_000).map(|n| format!("{{{}{n}}}", kind.name)).find(owned);
            let tag = tag.expect("a set owns one slot in 100,000 tags");
            for plot in kind.plots {
                let numbers: Vec<u32> = (0..plot.count)
                    .map(|n| self.recorder.account(&format!("{tag}:{}-{n}", plot.name)))
                    .collect();
                self.opens.extend(numbers.iter().map(|account| Ask::Open {
                    id: "open".into(),
                    account: *account,
                    subject: plot.subject.into(),
                    currency: plot.currency.into(),
                    limit: plot.limit,
                }));
                self.plots.insert((kind.name, plot.name, set), numbers);
            }
            self.tags.insert((kind.name, set), tag);
        }
    }

    /// What opens all accounts.
    pub fn opens(&self) -> &[Ask] {
        &self.opens
    }

    /// The groups of accounts: the parts are opened like all accounts, and the groups are to be defined beside.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The sets.
    pub fn sets(&self) -> &[u32] {
        &self.sets
    }

    /// The accounts of a plot in a set.
    pub fn plot(&self, kind: &'static str, plot: &'static str, set: u32) -> &[u32] {
        self.plots
            .get(&(kind, plot, set))
            .map(Vec::as_slice)
            .expect("a workload uses the plots that it names")
    }

    /// An account beside a workload's own in a set.
    pub fn account(&self, kind: &'static str, set: u32, name: &str) -> u32 {
        self.recorder.account(&format!("{}:{name}", self.tags[&(kind, set)]))
    }

    /// Somebody saw an account so.
    pub(super) fn saw(&self, account: u32, seen: Seen) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(account, seen);
    }

    /// As it was seen last.
    pub(super) fn seen(&self, account: u32) -> Option<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(&account).copied()
    }

    /// Somebody was told that a command stands there.
    pub(super) fn hear(&self, place: Place) {
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let known = times.entry(place.set).or_default();
        *known = place.time_ns.max(*known);
    }

    /// The last ledger time of a set that anybody was told of.
    pub(super) fn time_ns(&self, set: u32) -> Option<u64> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).get(&set).copied()
    }

    /// The set of an account.
    pub fn set_of(&self, account: u32) -> u32 {
        self.slots[usize::from(twinset_ledger::slot_of(&self.recorder.account_id(account)))]
    }
}
