//! Restricted funds: of each restriction only what has happened to it is kept; what is left of it is summed up from that whenever
//! somebody asks.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use twinset_ledger::outcome::Restricted;
use twinset_ledger::restriction::{self as ledger, RestrictionEnd, RestrictionEnded};
use twinset_ledger::{AccountNo, Effect, LegKind, Rejection, TransactionId};

use super::booking::{Move, minor};
use super::{Here, Model};

/// What a transaction has brought to an account that may not be withdrawn, and all that has come of it.
#[derive(Clone, Debug)]
struct Restriction {
    made: Here,
    amount: i128,
    until_ns: Option<u64>,
    /// How much of it was freed, where, and by what.
    freed: Vec<(Here, RestrictionEnd, i128)>,
}

impl Restriction {
    fn left(&self) -> i128 {
        self.amount - self.freed.iter().map(|(.., amount)| amount).sum::<i128>()
    }

    /// It has ended with what has freed the last of it.
    fn ended(&self) -> Option<RestrictionEnded> {
        let (here, how, _) = self.freed.last().filter(|_| self.left() == 0)?;
        Some(RestrictionEnded { how: *how, at: here.position, time_unix_ns: here.time_unix_ns })
    }
}

/// All restrictions of an account that ever were, by their transactions.
#[derive(Clone, Debug, Default)]
pub(super) struct Restrictions(BTreeMap<TransactionId, Restriction>);

impl Restrictions {
    /// What may not be withdrawn.
    pub fn left(&self) -> i128 {
        self.0.values().map(Restriction::left).sum()
    }
}

impl Model {
    /// Every restriction as the ledger shows it, by account, in the order of the transactions' names.
    #[allow(dead_code, reason = "not every test asks")]
    pub fn restrictions(&self) -> Vec<ledger::Restriction> {
        let mut all = Vec::new();
        for (id, account) in self.in_order().into_iter().zip(0..) {
            let own = &self.accounts[id].restrictions.0;
            all.extend(own.iter().map(|(name, restriction)| record(*name, account, restriction)));
        }
        all
    }

    /// The restrictions of one account, in the order of the transactions' names; nobody looks at the account's number.
    #[allow(dead_code, reason = "the consistency suite asks")]
    pub fn restrictions_of(&self, account: &str) -> Vec<ledger::Restriction> {
        let own = self.accounts.get(account).into_iter().flat_map(|account| &account.restrictions.0);
        own.map(|(name, restriction)| record(*name, 0, restriction)).collect()
    }

    /// The same of one transaction.
    #[allow(dead_code, reason = "the consistency suite asks")]
    pub fn restriction(&self, account: &str, name: TransactionId) -> Option<ledger::Restriction> {
        let restriction = self.accounts.get(account)?.restrictions.0.get(&name)?;
        Some(record(name, 0, restriction))
    }

    /// A transaction has booked legs here: what came restricted is.
    pub(super) fn restrict(&mut self, here: Here, name: TransactionId, legs: &[Move]) {
        for leg in legs {
            if let LegKind::Restricted { until_ns } = leg.kind {
                let new = Restriction { made: here, amount: leg.minor, until_ns, freed: Vec::new() };
                let account = self.accounts.get_mut(&leg.account).expect("it was found before");
                account.restrictions.0.insert(name, new);
            }
        }
    }

    /// Legs have taken a transaction back here: what they took is restricted no more.
    pub(super) fn reverse_restrictions(&mut self, here: Here, original: TransactionId, legs: &[Move]) {
        for leg in legs {
            let account = self.accounts.get_mut(&leg.account).expect("it was found before");
            let Some(known) = account.restrictions.0.get_mut(&original) else { continue };
            let amount = known.left().min(leg.minor);
            if amount > 0 {
                known.freed.push((here, RestrictionEnd::Reversed, amount));
            }
        }
    }

    /// A client's command: so much of it may be withdrawn, or all that is left.
    pub(super) fn release_restriction(
        &mut self,
        here: Here,
        id: &str,
        name: TransactionId,
        amount: Option<Decimal>,
    ) -> Result<Effect, Rejection> {
        let Some(account) = self.accounts.get(id) else {
            return Err(Rejection::AccountNotFound { account: id.to_owned() });
        };
        let scale = account.scale;
        let asked = amount.map(|amount| minor(amount, scale, id)).transpose()?;
        let left = account.restrictions.0.get(&name).map_or(0, Restriction::left);
        let amount = asked.unwrap_or(left);
        if left == 0 || amount > left {
            let account = id.to_owned();
            return Err(Rejection::RestrictionExceeded { account, restriction: name, left, scale });
        }
        Ok(self.free(here, id, name, RestrictionEnd::Released, amount))
    }

    /// A node's command: its time has come.
    pub(super) fn expire_restriction(
        &mut self,
        here: Here,
        id: &str,
        name: TransactionId,
    ) -> Result<Effect, Rejection> {
        let known = self.accounts.get(id).and_then(|account| account.restrictions.0.get(&name));
        let due = |until: u64| until <= here.time_unix_ns;
        match known.map(|known| (known.left(), known.until_ns.is_some_and(due))) {
            Some((left @ 1.., true)) => Ok(self.free(here, id, name, RestrictionEnd::Expired, left)),
            _ => Err(Rejection::StepOutOfPlace { attempt: name }),
        }
    }

    fn free(
        &mut self,
        here: Here,
        id: &str,
        name: TransactionId,
        how: RestrictionEnd,
        released: i128,
    ) -> Effect {
        let account = self.accounts.get_mut(id).expect("it was found before");
        let known = account.restrictions.0.get_mut(&name).expect("it was found before");
        known.freed.push((here, how, released));
        let now = Restricted {
            restriction: name,
            scale: account.scale,
            amount: known.amount,
            released,
            left: known.left(),
            until_ns: known.until_ns,
            ended: known.ended().map(|ended| ended.how),
            withdrawable: account.withdrawable(),
        };
        Effect::Restricted(now)
    }
}

fn record(transaction: TransactionId, account: AccountNo, known: &Restriction) -> ledger::Restriction {
    ledger::Restriction {
        transaction,
        account,
        made_at: known.made.position,
        made_ns: known.made.time_unix_ns,
        amount: known.amount,
        left: known.left(),
        until_ns: known.until_ns,
        ended: known.ended(),
    }
}
