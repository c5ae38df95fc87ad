//! What one replica holds by its own account: every transaction of its set and every account, as digests, since the lists of all
//! replicas would make a history many times as long. A digest stands for a thousand transactions or for one account, so
//! that a difference has a place. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{Figures, Found};

/// Transactions that share a digest.
pub const CHUNK: usize = 1_000;
/// What became of a request that is no transaction: a change of an account,
pub const ACCOUNT: &str = "account";
/// a command on a hold,
pub const HOLD: &str = "hold";
/// a release of what was restricted,
pub const RESTRICTION: &str = "restriction";
/// a no,
pub const REJECTED: &str = "rejected";
/// or nothing that is known.
pub const ABSENT: &str = "absent";

/// What one replica of a set shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holdings {
    /// The set.
    pub set: u32,
    /// The node that was read.
    pub node: String,
    /// Transactions and reversals.
    pub transactions: u64,
    /// A digest of every [`CHUNK`] of them, in the order of their positions.
    pub chunks: Vec<u64>,
    /// A digest of each account of the set that is there, by its number.
    pub accounts: BTreeMap<u32, u64>,
    /// What became of some request ids, by account and id.
    pub requests: BTreeMap<String, String>,
    /// A digest of all that a history has no words for: subjects, currencies and the like.
    pub rest: u64,
}

impl Holdings {
    /// Where what clients read differs from it; None: nowhere.
    pub fn difference(&self, other: &Holdings) -> Option<String> {
        if let Some(chunk) = (0..).zip(&self.chunks).find(|(at, own)| other.chunks.get(*at) != Some(own)) {
            return Some(format!("transactions from number {} on", chunk.0 * CHUNK));
        }
        if self.transactions != other.transactions || self.chunks.len() != other.chunks.len() {
            return Some(format!("{} transactions and {}", self.transactions, other.transactions));
        }
        let numbers = self.accounts.keys().chain(other.accounts.keys());
        let differs = |number: &&u32| self.accounts.get(number) != other.accounts.get(number);
        if let Some(number) = numbers.filter(differs).min() {
            return Some(format!("account {number}"));
        }
        let mut asked = self.requests.iter().filter_map(|(id, own)| Some((id, own, other.requests.get(id)?)));
        asked.find(|(_, own, theirs)| own != theirs).map(|(id, own, theirs)| {
            format!("request {id} is {own} here, and clients were told that it is {theirs}")
        })
    }
}

/// A request id of an account, as [`Holdings::requests`] names it.
pub fn request(scope: u32, id: &str) -> String {
    format!("{scope}/{id}")
}

/// Takes the holdings of one replica together.
pub struct Taken {
    holdings: Holdings,
    chunk: Xxh3,
    rest: Xxh3,
}

impl Taken {
    /// Nothing yet of a set's replica on a node.
    pub fn of(set: u32, node: &str) -> Self {
        let holdings = Holdings {
            set,
            node: node.to_owned(),
            transactions: 0,
            chunks: Vec::new(),
            accounts: BTreeMap::new(),
            requests: BTreeMap::new(),
            rest: 0,
        };
        Taken { holdings, chunk: Xxh3::new(), rest: Xxh3::new() }
    }

    /// The next transaction.
    pub fn transaction(&mut self, found: &Found) {
        self.chunk.update(&json(found));
        self.holdings.transactions += 1;
        if self.holdings.transactions.is_multiple_of(CHUNK as u64) {
            self.holdings.chunks.push(self.chunk.digest());
            self.chunk.reset();
        }
    }

    /// An account that is there.
    pub fn account(&mut self, number: u32, figures: &Figures) {
        self.holdings.accounts.insert(number, xxh3_64(&json(figures)));
    }

    /// What became of a request id: the name of a transaction, or a word.
    pub fn request(&mut self, scope: u32, id: &str, what: &str) {
        self.holdings.requests.insert(request(scope, id), what.to_owned());
    }

    /// Something that a history has no words for.
    pub fn rest(&mut self, text: &str) {
        self.rest.update(text.as_bytes());
        self.rest.update(b"\n");
    }

    /// That was all.
    pub fn whole(mut self) -> Holdings {
        self.holdings.rest = self.rest.digest();
        if !self.holdings.transactions.is_multiple_of(CHUNK as u64) {
            self.holdings.chunks.push(self.chunk.digest());
        }
        self.holdings
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("an event has only what JSON has")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Name, Place};

    fn of(count: u64, other: Option<u64>) -> Holdings {
        let mut taken = Taken::of(1, "a1");
        for number in 0..count {
            let name = format!("1-1-{}-0", number + 1);
            taken.transaction(&Found {
                transaction: Name(name.parse().unwrap()),
                place: Place::from((1, number + 1, number)),
                id: "x".into(),
                scope: Some(0),
                label: None,
                legs: vec![(0, if other == Some(number) { 2 } else { 1 })],
                reverses: None,
                reversed_by: Vec::new(),
                capture: None,
                marks: vec![],
                part_of: None,
            });
        }
        taken.account(3, &Figures::default());
        taken.request(3, "x", "rejected");
        taken.rest("EUR");
        taken.whole()
    }

    #[test]
    fn a_difference_has_a_place() {
        let (own, chunk) = (of(2_500, None), CHUNK as u64);
        assert_eq!(own.difference(&of(2_500, None)), None);
        assert_eq!(own.chunks.len(), 3);
        for (other, wanted) in [
            (of(2_500, Some(chunk - 1)), "transactions from number 0 on"),
            (of(2_500, Some(chunk)), "transactions from number 1000 on"),
            (of(2_499, None), "transactions from number 2000 on"),
            (of(2_000, None), "transactions from number 2000 on"),
        ] {
            assert_eq!(own.difference(&other).as_deref(), Some(wanted));
        }
        assert_eq!(of(2_000, None).difference(&own).as_deref(), Some("2000 transactions and 2500"));
        let mut other = own.clone();
        other.accounts.clear();
        for pair in [(&own, &other), (&other, &own)] {
            assert_eq!(pair.0.difference(pair.1).as_deref(), Some("account 3"));
        }
        other = own.clone();
        *other.requests.values_mut().next().unwrap() = "absent".into();
        assert!(own.difference(&other).is_some_and(|words| words.contains("request 3/x")));
        other.requests.clear();
        assert_eq!(own.difference(&other), None, "clients did not ask for it");
    }
}
