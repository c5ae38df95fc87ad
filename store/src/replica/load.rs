//! Loading a replica's state from disk, as of its last checkpoint: accounts and the state record, and the filter of
//! request ids, rebuilt by one scan.

use std::collections::HashMap;
use std::sync::Arc;

use twinset_ledger::account::Account;
use twinset_ledger::hold::Holds;
use twinset_ledger::restriction::Restrictions;

use super::account::{self, FIGURES, WHO};
use super::bloom::Bloom;
use super::entry::Entries;
use super::references::Coverage;
use super::requests::Seed;
use super::set_state::SetState;
use super::state::{Fresh, ReplicaState};
use crate::engine::Engine;
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
        check_files(&engine, &about)?;
        let stored_end = about.applied.log_id.map_or(0, |last| last.index + 1);
        let coverage = Coverage::load(&engine, generation, stored_end)?;
        let bloom = load_bloom(&engine, generation, about.requests)?;
        let accounts = about.accounts;
        let mut state = ReplicaState {
            engine,
            set,
            generation,
            entries: Entries::new(log),
            about,
            accounts: Vec::with_capacity(accounts as usize),
            holds: Holds::default(),
            restrictions: Restrictions::default(),
            sides: Vec::with_capacity(accounts as usize),
            numbers: HashMap::with_capacity_and_hasher(accounts as usize, Seed::random()),
            touched: Vec::new(),
            stamp: 1,
            bloom,
            fresh: Fresh::new(),
            spare: None,
            frozen: None,
            stored_end,
            coverage,
            survey: None,
            current: None,
        };
        state.load_accounts(accounts)?;
        state.load_holds()?;
        state.load_restrictions()?;
        Ok(state)
    }

    /// Reads the accounts, slot by slot, and puts them in the order of their numbers.
    fn load_accounts(&mut self, count: u32) -> Result<(), Fault> {
        let engine = Arc::clone(&self.engine);
        let mut accounts: Vec<Option<Account>> = vec![None; count as usize];
        let mut cursor = engine.cursor(Table::Account, &keys::generation_end(self.generation))?;
        cursor.seek(&keys::generation(self.generation));
        while let Some((key, who)) = cursor.item() {
            let (slot, no, part) = keys::parse_account(key)
                .map_err(|error| Fault::damaged("an account key", error.to_string()))?;
            if part != WHO {
                return Err(missing(no, WHO));
            }
            let place = accounts.get_mut(no as usize);
            let place = place
                .ok_or_else(|| Fault::damaged("the accounts", format!("account {no} is one too many")))?;
            let mut account = account::decode_who(who).map_err(|error| bad(no, &error))?;
            cursor.next();
            let figures =
                cursor.item().filter(|(key, _)| *key == keys::account(self.generation, slot, no, FIGURES));
            let Some((_, figures)) = figures else {
                cursor.ended()?;
                return Err(missing(no, FIGURES));
            };
            account::decode_figures(figures, &mut account).map_err(|error| bad(no, &error))?;
            cursor.next();
            *place = Some(account);
        }
        cursor.ended()?;
        for (no, account) in (0..).zip(accounts) {
            self.add_account(account.ok_or_else(|| missing(no, WHO))?);
        }
        Ok(())
    }
}

/// The state record of a generation; that of an empty set if there is none yet.
pub(crate) fn load_about(engine: &Engine, generation: Generation) -> Result<SetState, Fault> {
    let stored = engine.get(Table::Meta, &keys::named(keys::STATE, generation))?;
    stored.map_or(Ok(SetState::default()), |bytes| {
        SetState::decode(&bytes).map_err(|error| Fault::damaged("the state record", error.to_string()))
    })
}

/// Refuses a database that has forgotten records of the checkpoint that `about` is of.
fn check_files(engine: &Engine, about: &SetState) -> Result<(), Fault> {
    for (table, key) in &about.witnesses {
        if engine.get(*table, key)?.is_none() {
            let detail = format!("the newest {}s are not in it", table.name());
            return Err(Fault::damaged("the database's list of its files", detail));
        }
    }
    Ok(())
}

fn load_bloom(engine: &Engine, generation: Generation, count: u64) -> Result<Bloom, Fault> {
    let mut bloom = Bloom::with_capacity(usize::try_from(count * 2).unwrap_or(0));
    let mut cursor = engine.cursor(Table::Request, &keys::generation_end(generation))?;
    cursor.seek(&keys::generation(generation));
    while let Some(key) = cursor.key() {
        let key =
            keys::parse_request(key).map_err(|error| Fault::damaged("a request key", error.to_string()))?;
        bloom.insert(key);
        cursor.next();
    }
    cursor.ended()?;
    Ok(bloom)
}

fn missing(no: u32, part: u8) -> Fault {
    Fault::damaged("the accounts", format!("record {part} of account {no} is missing"))
}

fn bad(no: u32, error: &BadRecord) -> Fault {
    Fault::damaged("an account record", format!("account {no}: {error}"))
}
