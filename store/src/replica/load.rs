//! Loading a replica's state from disk, as of its last checkpoint: accounts and the state record, and the filter of
//! request ids, rebuilt by one scan.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::account::{self, FIGURES, WHO};
use super::bloom::Bloom;
use super::entry::Entries;
use super::requests::Seed;
use super::set_state::SetState;
use super::state::{Fresh, ReplicaState};
use crate::engine::{self, Engine};
use crate::fault::Fault;
use crate::keys::{self, Generation};
use crate::log::Log;
use crate::table::Table;
use crate::wire::BadRecord;

impl ReplicaState {
    /// The state that `about` describes.
    pub(crate) fn load(
        engine: Arc<Engine>,
        set: u32,
        generation: Generation,
        log: Log,
        about: SetState,
    ) -> Result<ReplicaState, Fault> {
        let stored_end = about.applied.log_id.map_or(0, |last| last.index + 1);
        let bloom = load_bloom(&engine, generation, about.requests)?;
        let accounts = about.accounts;
        let mut state = ReplicaState {
            engine,
            set,
            generation,
            entries: Entries::new(log),
            about,
            accounts: Vec::with_capacity(accounts as usize),
            sides: Vec::with_capacity(accounts as usize),
            numbers: HashMap::with_capacity_and_hasher(accounts as usize, Seed::random()),
            touched: Vec::new(),
            stamp: 1,
            bloom,
            fresh: Fresh::new(),
            frozen: None,
            stored_end,
            hashes: VecDeque::new(),
            current: None,
            fault: None,
        };
        state.load_accounts(accounts)?;
        if let Some(last) = state.about.applied.log_id {
            state.hashes.push_back((last.index, state.about.hash));
        }
        Ok(state)
    }

    fn load_accounts(&mut self, count: u32) -> Result<(), Fault> {
        let engine = Arc::clone(&self.engine);
        let end = keys::account(self.generation, count, 0);
        let mut iterator = engine.iterator(Table::Account, &end)?;
        iterator.seek(keys::generation(self.generation));
        for no in 0..count {
            let who = expect(&iterator, no, WHO)?;
            let mut account = account::decode_who(who).map_err(|error| bad(no, &error))?;
            iterator.next();
            let figures = expect(&iterator, no, FIGURES)?;
            account::decode_figures(figures, &mut account).map_err(|error| bad(no, &error))?;
            iterator.next();
            self.add_account(account);
        }
        engine::ended(&iterator, Table::Account)
    }
}

/// The state record of a generation; that of an empty set if there is none yet.
pub(crate) fn load_about(engine: &Engine, generation: Generation) -> Result<SetState, Fault> {
    let stored = engine.get(Table::Meta, &keys::named(keys::STATE, generation))?;
    stored.map_or(Ok(SetState::default()), |bytes| {
        SetState::decode(&bytes).map_err(|error| Fault::damaged("the state record", error.to_string()))
    })
}

fn load_bloom(engine: &Engine, generation: Generation, count: u64) -> Result<Bloom, Fault> {
    let mut bloom = Bloom::with_capacity(usize::try_from(count * 2).unwrap_or(0));
    let mut iterator = engine.iterator(Table::Request, &keys::generation_end(generation))?;
    iterator.seek(keys::generation(generation));
    while let Some(key) = iterator.key() {
        let key =
            keys::parse_request(key).map_err(|error| Fault::damaged("a request key", error.to_string()))?;
        bloom.insert(key);
        iterator.next();
    }
    engine::ended(&iterator, Table::Request)?;
    Ok(bloom)
}

fn expect<'a>(iterator: &'a rocksdb::DBRawIterator<'_>, no: u32, part: u8) -> Result<&'a [u8], Fault> {
    match iterator.item() {
        Some((key, value)) if keys::parse_account(key) == Ok((no, part)) => Ok(value),
        _ => {
            engine::ended(iterator, Table::Account)?;
            Err(Fault::damaged("the accounts", format!("record {part} of account {no} is missing")))
        }
    }
}

fn bad(no: u32, error: &BadRecord) -> Fault {
    Fault::damaged("an account record", format!("account {no}: {error}"))
}
