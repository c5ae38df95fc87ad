//! Restrictions on disk, and whoever looks at them. In memory are those that have not ended and those that have changed since the
//! last checkpoint; on disk are all as of that checkpoint, under their accounts. One is looked up in memory first.

use std::collections::BTreeMap;
use std::sync::Arc;

use twinset_ledger::account::AccountNo;
use twinset_ledger::codec::{decode_restriction, encode_restriction};
use twinset_ledger::command::Command;
use twinset_ledger::id::TransactionId;
use twinset_ledger::restriction::Restriction;
use twinset_ledger::state::State;

use super::LedgerReplica;
use super::reads::Read;
use super::state::ReplicaState;
use crate::fault::Fault;
use crate::keys;
use crate::table::Table;
use crate::wire::{BadRecord, Fields};

const VERSION: u8 = 1;
/// Restrictions that one page looks at, at most.
const LOOKS_PER_PAGE: usize = 500;

/// A restriction, in the unit of its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestrictionRecord {
    /// Its figures.
    pub restriction: Restriction,
    /// The account's currency.
    pub currency: String,
    /// Decimal places of its minor unit.
    pub scale: u8,
}

/// Some restrictions of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestrictionPage {
    /// In the order of their transactions' names. There may be none though more follow.
    pub restrictions: Vec<RestrictionRecord>,
    /// The next page begins after it. None: this page reaches to the end.
    pub next: Option<TransactionId>,
}

impl LedgerReplica {
    /// What that transaction restricts on that account.
    pub fn restriction(
        &self,
        account: &str,
        transaction: TransactionId,
    ) -> Result<Read<Option<RestrictionRecord>>, Fault> {
        self.check()?;
        let state = self.cell.state.read();
        let Some(no) = state.account_no(account) else { return Ok(state.answer(None)) };
        let found = state.restriction_at(no, transaction)?;
        Ok(state.answer(found.map(|restriction| state.restriction_record(restriction))))
    }

    /// Restrictions of an account by transactions that are named later than one, in order, `limit` at most; of them those
    /// that `wanted` asks for. None: there is no such account.
    pub fn restrictions(
        &self,
        account: &str,
        after: Option<TransactionId>,
        limit: usize,
        wanted: impl Fn(&Restriction) -> bool,
    ) -> Result<Read<Option<RestrictionPage>>, Fault> {
        self.check()?;
        let state = self.cell.state.read();
        let Some(no) = state.account_no(account) else { return Ok(state.answer(None)) };
        let mut page = RestrictionPage::default();
        let mut last = None;
        for (looks, (name, restriction)) in
            state.restrictions_after(no, after, LOOKS_PER_PAGE + 1)?.into_iter().enumerate()
        {
            if looks == LOOKS_PER_PAGE || page.restrictions.len() == limit {
                page.next = last;
                break;
            }
            last = Some(name);
            if wanted(&restriction) {
                page.restrictions.push(state.restriction_record(restriction));
            }
        }
        Ok(state.answer(Some(page)))
    }

    /// The commands that put away what is restricted until `time_unix_ns` or earlier, `limit` at most.
    pub fn due_restrictions(&self, time_unix_ns: u64, limit: usize) -> Vec<Command> {
        let state = self.cell.state.read();
        let expire = |due: &Restriction| Command::ExpireRestriction {
            account: state.accounts[due.account as usize].id.clone(),
            restriction: due.transaction,
        };
        state.restrictions.due(time_unix_ns).take(limit).map(expire).collect()
    }

    /// Restrictions that have not ended.
    pub fn open_restrictions(&self) -> usize {
        self.cell.state.read().restrictions.open()
    }
}

impl ReplicaState {
    /// Its key on disk.
    pub(super) fn restriction_key(&self, restriction: &Restriction) -> [u8; 26] {
        let slot = self.sides[restriction.account as usize].slot;
        keys::restriction(self.generation, slot, restriction.account, restriction.transaction)
    }

    /// What that transaction restricts on that account.
    fn restriction_at(
        &self,
        no: AccountNo,
        transaction: TransactionId,
    ) -> Result<Option<Restriction>, Fault> {
        if let Some(restriction) = self.restrictions.get((no, transaction)) {
            return Ok(Some(restriction.clone()));
        }
        if let Some(frozen) = &self.frozen
            && let Ok(place) = frozen.restrictions.binary_search_by_key(&(no, transaction), Restriction::name)
        {
            return Ok(Some(frozen.restrictions[place].clone()));
        }
        let key = keys::restriction(self.generation, self.sides[no as usize].slot, no, transaction);
        self.engine.get(Table::Restriction, &key)?.map(|bytes| decode(&bytes)).transpose()
    }

    /// Restrictions of an account behind a transaction, by transaction, `limit` at most.
    fn restrictions_after(
        &self,
        no: AccountNo,
        after: Option<TransactionId>,
        limit: usize,
    ) -> Result<BTreeMap<TransactionId, Restriction>, Fault> {
        let from = after.unwrap_or(TransactionId { set: 0, incarnation: 0, position: Default::default() });
        let is_behind = |restriction: &Restriction| after.is_none_or(|after| restriction.transaction > after);
        let slot = self.sides[no as usize].slot;
        let mut found = BTreeMap::new();
        let end = keys::restriction_end(self.generation, slot, no);
        let mut cursor = self.engine.cursor(Table::Restriction, &end)?;
        cursor.seek(&keys::restriction(self.generation, slot, no, from));
        while let Some((_, value)) = cursor.item().filter(|_| found.len() < limit) {
            let restriction = decode(value)?;
            if is_behind(&restriction) {
                found.insert(restriction.transaction, restriction);
            }
            cursor.next();
        }
        cursor.ended()?;
        let frozen = self.frozen.iter().flat_map(|frozen| &frozen.restrictions);
        let frozen = frozen.filter(|restriction| restriction.account == no && is_behind(restriction));
        let memory = self.restrictions.of_account(no, from).filter(|restriction| is_behind(restriction));
        // What is in memory is newer than what is on disk, and among the first `limit` of all the first of each kind are.
        for restriction in frozen.chain(memory.take(limit)) {
            found.insert(restriction.transaction, restriction.clone());
        }
        while found.len() > limit {
            found.pop_last();
        }
        Ok(found)
    }

    fn restriction_record(&self, restriction: Restriction) -> RestrictionRecord {
        let account = &self.accounts[restriction.account as usize];
        RestrictionRecord { restriction, currency: account.currency.clone(), scale: account.scale }
    }

    /// Reads those that have not ended.
    pub(super) fn load_restrictions(&mut self) -> Result<(), Fault> {
        let engine = Arc::clone(&self.engine);
        let mut cursor = engine.cursor(Table::Restriction, &keys::generation_end(self.generation))?;
        cursor.seek(&keys::generation(self.generation));
        while let Some((_, value)) = cursor.item() {
            let restriction = decode(value)?;
            if self.accounts.len() <= restriction.account as usize {
                let detail = format!("what {} restricts is on an unknown account", restriction.transaction);
                return Err(Fault::damaged("a restriction", detail));
            }
            if restriction.ended.is_none() {
                self.restrictions.load(restriction);
            }
            cursor.next();
        }
        cursor.ended()
    }
}

/// Where the restriction of a record was made.
pub(super) fn made_at(value: &[u8]) -> Result<u64, BadRecord> {
    let mut fields = Fields::new(value);
    // The version, the transaction and the account.
    fields.take(1 + 16 + 4)?;
    fields.u64()
}

pub(super) fn encode(restriction: &Restriction) -> Vec<u8> {
    let mut out = vec![VERSION];
    encode_restriction(restriction, &mut out);
    out
}

fn decode(bytes: &[u8]) -> Result<Restriction, Fault> {
    let unfit = |detail: String| Fault::damaged("a restriction", detail);
    match bytes.split_first() {
        Some((&VERSION, rest)) => decode_restriction(rest).map_err(|error| unfit(error.to_string())),
        Some((version, _)) => Err(unfit(format!("version {version} is not known"))),
        None => Err(unfit("it is empty".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use twinset_ledger::id::Position;

    use super::*;

    #[test]
    fn a_record_comes_back_and_says_where_it_was_made() {
        let transaction = TransactionId { set: 3, incarnation: 1, position: Position::new(9, 2) };
        let restriction = Restriction {
            transaction,
            account: 7,
            made_at: Position::new(12, 1),
            made_ns: 5,
            amount: 9,
            left: 4,
            until_ns: Some(8),
            ended: None,
        };
        let bytes = encode(&restriction);
        assert_eq!(decode(&bytes).expect("just written"), restriction);
        assert_eq!(made_at(&bytes), Ok(restriction.made_at.0));
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(decode(&[&bytes[..], &[0]].concat()).is_err());
        assert!(decode(&[&[2], &bytes[1..]].concat()).is_err());
    }
}
