//! Restrictions in the witness: their final lists, and where sets put those away whose time had come. Nobody asks for that, so
//! that only the restrictions themselves know of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use twinset_ledger::{Position, TransactionId};

use super::{Body, CallRef, Decided, What, Witness};
use crate::history::restrictions::{FoundRestriction, RestrictionState};
use crate::history::{Answer, Ask, Name, Phase, Place};

/// The restrictions of an account as they are in the end.
#[derive(Default)]
pub struct Listed<'h> {
    /// As of when.
    pub as_of: Place,
    /// In the order of their names.
    pub found: Vec<&'h FoundRestriction>,
}

/// The pages of a list as they came.
#[derive(Default)]
struct Chain<'h> {
    after: Option<Name>,
    listed: Listed<'h>,
}

impl Witness<'_> {
    /// Takes the pages of each account's final list of restrictions together: the last whole one counts.
    pub(super) fn read_final_restrictions(&mut self) {
        let Some(from) = self.history.phase(Phase::Final) else { return };
        let mut chains: BTreeMap<u32, Chain<'_>> = BTreeMap::new();
        for op in self.history.ops.iter().filter(|op| op.begin_ns >= from) {
            let (
                Ask::ListRestrictions { account, state: None, after, .. },
                Answer::Restrictions { found, next, as_of },
            ) = (&op.ask, &op.answer)
            else {
                continue;
            };
            if after.is_none() {
                let listed = Listed { as_of: as_of.place, found: Vec::new() };
                chains.insert(*account, Chain { after: None, listed });
            }
            let Some(chain) = chains.get_mut(account).filter(|chain| chain.after == *after) else { continue };
            chain.listed.found.extend(found);
            chain.after = *next;
            if next.is_none() {
                let chain = chains.remove(account).expect("it was found above");
                self.restricted.insert(*account, chain.listed);
            }
        }
        for account in self.restricted_accounts() {
            if !self.restricted.contains_key(&account) {
                let id = &self.history.accounts[account as usize];
                self.unlisted.push(format!("the final list of the restrictions of {id} is not whole"));
            }
        }
    }

    /// The accounts that somebody was told have got something restricted.
    fn restricted_accounts(&self) -> BTreeSet<u32> {
        let booked = super::calls(self.history).filter_map(|call| match (call.body, call.answer) {
            (Body::Transfer(transfer), Answer::Booked { .. }) => Some(transfer.restricted()),
            _ => None,
        });
        booked.flatten().map(|(account, ..)| account).collect()
    }

    /// Places what the final lists say of restrictions whose time had come.
    pub(super) fn place_lapses(&mut self) {
        let mut made: HashMap<TransactionId, CallRef> = HashMap::new();
        for decided in self.sets.values().flatten().filter(|decided| decided.what == What::Command) {
            made.extend(decided.name.map(|name| (name, decided.call)));
        }
        let lapsed = |found: &&FoundRestriction| {
            let restriction = found.restricted.restriction.0;
            Some(Decided {
                what: What::Lapsed(found.account, restriction),
                place: found.ended.filter(|_| found.restricted.state == RestrictionState::Expired)?,
                position: Position::default(),
                name: None,
                call: *made.get(&restriction)?,
                begin_ns: 0,
                end_ns: u64::MAX,
                replies: 0..0,
            })
        };
        let listed = self.restricted.values().flat_map(|listed| &listed.found);
        let all: Vec<Decided> = listed.filter_map(lapsed).collect();
        for decided in all {
            self.sets.entry(decided.place.set).or_default().push(decided);
        }
    }
}
