//! Holds in the witness: their final lists, and where sets put holds away whose time was over. Nobody asks for that, so that only
//! the journals know of it.

use std::collections::{BTreeMap, HashMap};

use twinset_ledger::{Position, TransactionId};

use super::{Body, CallRef, Decided, What, Witness};
use crate::history::holds::{FoundHold, HoldChange};
use crate::history::{Answer, Ask, Name, Phase};

/// The pages of a list as they came.
#[derive(Default)]
struct Chain<'h> {
    after: Option<Name>,
    as_of: u64,
    found: Vec<&'h FoundHold>,
}

impl Witness<'_> {
    /// Takes the pages of each account's final list of holds together: the last whole one counts.
    pub(super) fn read_final_holds(&mut self) {
        let Some(from) = self.history.phase(Phase::Final) else { return };
        let mut chains: BTreeMap<u32, Chain<'_>> = BTreeMap::new();
        for op in self.history.ops.iter().filter(|op| op.begin_ns >= from) {
            let (Ask::ListHolds { account, after, .. }, Answer::Holds { found, next, as_of }) =
                (&op.ask, &op.answer)
            else {
                continue;
            };
            if after.is_none() {
                chains.insert(*account, Chain { as_of: as_of.place.index, ..Chain::default() });
            }
            let Some(chain) = chains.get_mut(account).filter(|chain| chain.after == *after) else { continue };
            chain.found.extend(found);
            chain.after = *next;
            if next.is_none() {
                let chain = chains.remove(account).expect("it was found above");
                self.held.insert(*account, chain.found);
                self.held_as_of.insert(*account, chain.as_of);
            }
        }
        for account in self.held_accounts() {
            if !self.held.contains_key(&account) {
                let id = &self.history.accounts[account as usize];
                self.unlisted.push(format!("the final list of the holds of {id} is not whole"));
            }
        }
    }

    /// The accounts on which somebody was told that a hold is placed.
    fn held_accounts(&self) -> Vec<u32> {
        let placed = self.history.ops.iter().filter_map(|op| match (&op.ask, &op.answer) {
            (Ask::PlaceHold { account, .. }, Answer::Held { .. }) => Some(*account),
            _ => None,
        });
        let mut accounts: Vec<u32> = placed.collect();
        accounts.sort_unstable();
        accounts.dedup();
        accounts
    }

    /// Places what the journals say of holds whose time was over.
    pub(super) fn place_expiries(&mut self) {
        let mut placed: HashMap<TransactionId, CallRef> = HashMap::new();
        for decided in self.sets.values().flatten() {
            let is_hold = matches!(self.call(decided.call).body, Body::Other(Ask::PlaceHold { .. }));
            placed.extend(decided.name.filter(|_| is_hold).map(|name| (name, decided.call)));
        }
        let expired = |found: &FoundHold| {
            let call = *placed.get(&found.held.hold.0)?;
            let mut lines = found.journal.iter();
            let line = lines.find(|line| matches!(line.change, HoldChange::Expired { .. }))?;
            Some(Decided {
                what: What::Expired(found.held.hold.0),
                place: line.place,
                position: Position::default(),
                name: None,
                call,
                begin_ns: 0,
                end_ns: u64::MAX,
                replies: 0..0,
            })
        };
        let all: Vec<Decided> = self.held.values().flatten().filter_map(|found| expired(found)).collect();
        for decided in all {
            self.sets.entry(decided.place.set).or_default().push(decided);
        }
    }
}
