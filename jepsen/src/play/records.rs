//! What the control set has on record of the sets, as lines of the history, from its audit log. Looks at catalogues
//! that others have asked for; asks nobody.

use std::collections::BTreeMap;

use twinset_control::audit::{Action, Outcome, Record};
use twinset_control::{Catalogue, Durability};

use crate::history::records::{Change, Recorded};
use crate::history::{Event, Recorder};

/// What was put down by now.
#[derive(Default)]
pub struct Records {
    /// The number of the newest record that was looked at.
    newest: u64,
    /// Where the incarnations of each set have ended.
    lives: BTreeMap<u32, Vec<u64>>,
}

impl Records {
    /// Of what comes after this.
    pub fn since(catalogue: &Catalogue) -> Self {
        Records { newest: catalogue.audit.total, lives: BTreeMap::new() }
    }

    /// Puts down what is new. A catalogue that is older than another one that was looked at has nothing new.
    pub fn look(&mut self, catalogue: &Catalogue, recorder: &Recorder) {
        let seen_ns = recorder.now_ns();
        for record in catalogue.audit.tail.iter().filter(|record| record.no > self.newest) {
            if let Some((set, change)) = change(record) {
                let proposed_ns = recorder.at_ns(record.time_unix_ns);
                recorder.add(Event::Recorded(Recorded { set, change, proposed_ns, seen_ns }));
            }
        }
        self.newest = self.newest.max(catalogue.audit.total);
        for set in catalogue.sets.values() {
            let known = self.lives.entry(set.id).or_default();
            if known.len() < set.lives.len() {
                known.clone_from(&set.lives);
                recorder.add(Event::Lives { set: set.id, ends: set.lives.clone() });
            }
        }
    }
}

fn change(record: &Record) -> Option<(u32, Change)> {
    match (&record.what, &record.outcome) {
        (Action::Durability { set, to: Durability::Sync, .. }, Outcome::Done) => Some((*set, Change::Sync)),
        (Action::Durability { set, .. }, Outcome::Done) => Some((*set, Change::Degraded)),
        (Action::Recovery { set, .. }, Outcome::Begun) => Some((*set, Change::RecoveryBegun)),
        (Action::Recovery { set, .. }, Outcome::Done) => Some((*set, Change::Recovered)),
        _ => None,
    }
}
