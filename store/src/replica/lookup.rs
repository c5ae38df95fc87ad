//! Request ids: where each was first decided, exactly and for ever. The filter answers for nearly every new id; what it
//! lets through is looked up in memory and on disk, and compared with the command in the log. Below are the records of
//! `requests`; above is the state, which `apply` and the reads ask.

use twinset_ledger::canary::{self, Canary};
use twinset_ledger::id::Position;

use super::rebuild::{bad, missing};
use super::requests::{self, Scope};
use super::state::ReplicaState;
use crate::fault::Fault;
use crate::keys;
use crate::table::Table;

/// A scope read from memory or from disk.
enum StoredScope<'a> {
    Here(Scope<'a>),
    Copied(String),
}

enum Found {
    At(Position),
    Free(u128),
}

impl ReplicaState {
    /// Where (scope, request id) was first decided, before `before`.
    pub(crate) fn decided_at(
        &self,
        scope: &str,
        request_id: &str,
        before: Position,
    ) -> Result<Option<Position>, Fault> {
        let hash = requests::hash(scope, request_id);
        // The filter does not look at the slot: a new id is known to be new before the slot is.
        if !self.bloom.may_contain(hash) {
            return Ok(None);
        }
        Ok(match self.find_request(scope, request_id, hash, before)? {
            Found::At(position)
                if canary::on(Canary::ForgottenRequests) && before.index() - position.index() > 100 =>
            {
                None
            }
            Found::At(position) => Some(position),
            Found::Free(_) => None,
        })
    }

    /// Remembers where (scope, request id) was decided.
    pub(crate) fn keep(&mut self, scope: &str, request_id: &str, position: Position) -> Result<(), Fault> {
        let hash = requests::hash(scope, request_id);
        match self.find_request(scope, request_id, hash, position)? {
            Found::Free(key) => {
                let owner = match self.numbers.get(scope) {
                    Some(&no) => Scope::Account(no),
                    None => Scope::Text(scope),
                };
                self.fresh.requests.insert(key, position.0, &owner);
                self.bloom.insert(key);
                self.about.requests += 1;
            }
            // Remembered already: the first decision stands.
            Found::At(_) => {}
        }
        Ok(())
    }

    /// Goes through the candidates of a request: where it was decided before `before`, or the key that is free for it.
    fn find_request(
        &self,
        scope: &str,
        request_id: &str,
        hash: u128,
        before: Position,
    ) -> Result<Found, Fault> {
        let owner = self.numbers.get(scope);
        let slot = owner.map_or_else(|| requests::slot(scope), |&no| self.sides[no as usize].slot);
        for n in 0.. {
            let key = requests::key(slot, hash, n);
            if !self.bloom.may_contain(key) {
                return Ok(Found::Free(key));
            }
            let Some((position, stored)) = self.request_at(key)? else { return Ok(Found::Free(key)) };
            // At or after the entry being applied: that is this very command, seen by a replay.
            if position >= before.0 {
                return Ok(Found::Free(key));
            }
            if self.is_scope(&stored, scope) && self.has_request_id(Position(position), request_id)? {
                return Ok(Found::At(Position(position)));
            }
        }
        unreachable!("a slot has more keys than a set has requests")
    }

    /// Where the record of a request key says it was decided, if that counts.
    fn request_at<'a>(&'a self, key: u128) -> Result<Option<(u64, StoredScope<'a>)>, Fault> {
        for memory in self.memories() {
            if let Some((position, scope)) = memory.requests.get(key) {
                return Ok(Some((position, StoredScope::Here(scope))));
            }
        }
        let stored = keys::request(self.generation, key);
        let Some(value) = self.engine.get(Table::Request, &stored)? else { return Ok(None) };
        let (position, scope) = requests::decode(&value).map_err(bad("a request record"))?;
        if Position(position).index() >= self.stored_end {
            return Ok(None);
        }
        let scope = match scope {
            Scope::Account(no) => StoredScope::Here(Scope::Account(no)),
            Scope::Text(text) => StoredScope::Copied(text.to_owned()),
        };
        Ok(Some((position, scope)))
    }

    fn is_scope(&self, stored: &StoredScope<'_>, scope: &str) -> bool {
        match stored {
            StoredScope::Here(Scope::Account(no)) => {
                self.accounts.get(*no as usize).is_some_and(|account| account.id == scope)
            }
            StoredScope::Here(Scope::Text(text)) => *text == scope,
            StoredScope::Copied(text) => text == scope,
        }
    }

    /// Whether the command at a position carries this request id.
    fn has_request_id(&self, position: Position, request_id: &str) -> Result<bool, Fault> {
        let (index, offset) = (position.index(), position.offset());
        let one = match &self.current {
            Some(current) if current.index == index => current.one(offset),
            _ => match self.with_outcomes(index, |outcomes| Ok(outcomes.all_short()))? {
                Some(all_short) => self.entries.one(index, offset, all_short)?,
                None => None,
            },
        };
        one.ok_or_else(|| missing(position))?.has_request_id(request_id)
    }
}
