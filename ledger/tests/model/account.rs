//! Accounts, what is asked of one alone, and what they are opened with: currencies and subjects.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use twinset_ledger::command::Metadata;
use twinset_ledger::{Command, Effect, FreezeMode, Position, Rejection, Side, TransactionId};

use super::booking::{SUM_MAX, minor};
use super::hold::Holds;
use super::restriction::Restrictions;
use super::{Here, Model};

const SCALES: [(&str, u8); 4] = [("EUR", 2), ("JPY", 0), ("KWD", 3), ("USD", 2)];
const SUBJECTS: [(&str, &str, Side); 5] = [
    ("asset", "Assets", Side::Debit),
    ("equity", "Equity", Side::Credit),
    ("expense", "Expenses", Side::Debit),
    ("income", "Income", Side::Credit),
    ("liability", "Liabilities", Side::Credit),
];

/// An account and its figures in minor units.
#[derive(Clone, Debug)]
pub struct Account {
    subject: String,
    pub(super) currency: String,
    pub(super) scale: u8,
    pub(super) normal: Side,
    /// The floor of what is available.
    pub limit: Option<i128>,
    /// Which legs are refused.
    pub frozen: BTreeSet<Side>,
    /// For good.
    pub closed: bool,
    /// Sum of all debit legs.
    pub debits: i128,
    /// Sum of all credit legs.
    pub credits: i128,
    /// Count of all legs.
    pub legs: u64,
    /// Debits and credits that each open attempt may yet book.
    pub(super) pending: BTreeMap<TransactionId, (i128, i128)>,
    pub(super) holds: Holds,
    pub(super) restrictions: Restrictions,
    opened_at: Position,
    metadata: Metadata,
}

impl Account {
    /// An empty one without a floor.
    pub(super) fn new(subject: &str, (currency, scale): (&str, u8), normal: Side, at: Position) -> Self {
        Account {
            subject: subject.to_owned(),
            currency: currency.to_owned(),
            scale,
            normal,
            limit: None,
            frozen: BTreeSet::new(),
            closed: false,
            debits: 0,
            credits: 0,
            legs: 0,
            pending: BTreeMap::new(),
            holds: Holds::default(),
            restrictions: Restrictions::default(),
            opened_at: at,
            metadata: Metadata::new(),
        }
    }

    /// Hundredths that one minor unit has. Panics where it is less than a hundredth.
    #[allow(dead_code, reason = "the consistency suite asks")]
    pub fn cents_of_a_minor_unit(&self) -> i128 {
        10i128.pow(2u32.checked_sub(u32::from(self.scale)).expect("two decimal places at most"))
    }

    /// Positive on the account's normal side.
    pub fn balance(&self) -> i128 {
        self.rise(self.debits, self.credits)
    }

    /// What may still be spent: holds, and attempts that may yet lower the balance, have their part already.
    pub fn available(&self) -> i128 {
        self.balance() - self.held()
    }

    /// What of that may not leave by a withdrawal.
    #[allow(dead_code, reason = "the consistency suite asks")]
    pub fn restricted(&self) -> i128 {
        self.restrictions.left()
    }

    /// What of that may leave by a withdrawal.
    pub(super) fn withdrawable(&self) -> i128 {
        self.available() - self.restrictions.left()
    }

    /// What debits and credits add to the balance.
    pub(super) fn rise(&self, debits: i128, credits: i128) -> i128 {
        if self.normal == Side::Debit { debits - credits } else { credits - debits }
    }

    /// How much more of debits, and of credits, the account has room for.
    pub(super) fn room(&self) -> (i128, i128) {
        let pending = self.pending_legs();
        (SUM_MAX - self.debits - pending, SUM_MAX - self.credits - pending)
    }

    pub(super) fn opened_at(&self) -> Position {
        self.opened_at
    }

    /// What open attempts may yet take, and what holds set aside.
    pub fn held(&self) -> i128 {
        let promised: i128 = self.pending_rises().filter(|rise| *rise < 0).map(|rise| -rise).sum();
        promised + self.holds.held()
    }

    /// What open attempts may yet bring.
    pub fn incoming(&self) -> i128 {
        self.pending_rises().filter(|rise| *rise > 0).sum()
    }

    fn pending_rises(&self) -> impl Iterator<Item = i128> {
        self.pending.values().map(|(debits, credits)| self.rise(*debits, *credits))
    }

    fn pending_legs(&self) -> i128 {
        self.pending.values().map(|(debits, credits)| debits + credits).sum()
    }

    /// As the ledger shows it.
    pub(super) fn record(&self, id: &str) -> twinset_ledger::Account {
        twinset_ledger::Account {
            id: id.to_owned(),
            subject: self.subject.clone(),
            currency: self.currency.clone(),
            scale: self.scale,
            normal_side: self.normal,
            limit: self.limit,
            frozen_debit: self.frozen.contains(&Side::Debit),
            frozen_credit: self.frozen.contains(&Side::Credit),
            closed: self.closed,
            debits: self.debits,
            credits: self.credits,
            held: self.held(),
            incoming: self.incoming(),
            restricted: self.restrictions.left(),
            prepared: self.pending_legs(),
            version: self.legs,
            opened_at: self.opened_at,
            metadata: self.metadata.clone(),
        }
    }
}

impl Model {
    pub(super) fn define(&mut self, command: &Command) -> Result<Effect, Rejection> {
        match command {
            Command::DefineCurrency { code, scale } => match self.scale(code) {
                None => {
                    self.currencies.insert(code.clone(), *scale);
                    Ok(Effect::Defined { changed: true })
                }
                Some(known) if known == *scale => Ok(Effect::Defined { changed: false }),
                Some(_) => Err(Rejection::CurrencyConflict { currency: code.clone() }),
            },
            Command::DefineSubject { code, name, normal_side } => match self.subject(code) {
                None => {
                    self.subjects.insert(code.clone(), (name.clone(), *normal_side));
                    Ok(Effect::Defined { changed: true })
                }
                Some((known, side)) if (known, side) == (name, *normal_side) => {
                    Ok(Effect::Defined { changed: false })
                }
                Some(_) => Err(Rejection::SubjectConflict { subject: code.clone() }),
            },
            Command::DefineGroup { group } => match self.accounts.get(group) {
                Some(account) if !account.closed || account.legs > 0 => {
                    Err(Rejection::AccountExists { account: group.clone() })
                }
                _ => Ok(Effect::Defined { changed: self.groups.insert(group.clone()) }),
            },
            other => unreachable!("{other:?} defines nothing"),
        }
    }

    pub(super) fn scale(&self, currency: &str) -> Option<u8> {
        let built_in = SCALES.iter().find(|(code, _)| *code == currency).map(|(_, scale)| *scale);
        built_in.or_else(|| self.currencies.get(currency).copied())
    }

    fn subject(&self, code: &str) -> Option<(&str, Side)> {
        let built_in = SUBJECTS.iter().find(|subject| subject.0 == code);
        let built_in = built_in.map(|(_, name, side)| (*name, *side));
        built_in.or_else(|| self.subjects.get(code).map(|(name, side)| (name.as_str(), *side)))
    }

    /// The normal side of accounts under a subject.
    pub(super) fn subject_side(&self, code: &str) -> Option<Side> {
        self.subject(code).map(|(_, side)| side)
    }

    /// A command on one account.
    pub(super) fn change(&mut self, here: Here, command: &Command) -> Result<Effect, Rejection> {
        let id = command.accounts().next().expect("it is on one account");
        if let Command::OpenAccount { subject, currency, normal_side, limit, metadata, .. } = command {
            let mut account = self.opened(here, id, subject, currency, *normal_side)?;
            account.limit = floor(id, *limit, account.scale)?;
            account.metadata = metadata.clone();
            self.accounts.insert(id.to_owned(), account);
            return Ok(Effect::Account);
        }
        let missing = || Rejection::AccountNotFound { account: id.to_owned() };
        let account = self.accounts.get_mut(id).ok_or_else(missing)?;
        let limit = match command {
            Command::SetLimit { limit, .. } => floor(id, *limit, account.scale)?,
            _ => None,
        };
        if account.closed {
            return Err(Rejection::AccountClosed { account: id.to_owned() });
        }
        match command {
            Command::SetLimit { .. } => account.limit = limit,
            Command::Freeze { mode, .. } => account.frozen.extend(sides(*mode)),
            Command::Unfreeze { mode, .. } => {
                account.frozen.retain(|side| !sides(*mode).contains(side));
            }
            Command::CloseAccount { .. }
                if account.balance() != 0
                    || account.held() != 0
                    || account.restrictions.left() != 0
                    || !account.pending.is_empty() =>
            {
                return Err(Rejection::AccountNotEmpty { account: id.to_owned() });
            }
            Command::CloseAccount { .. } if !self.buffering.is_strict(id) => {
                return Err(Rejection::AccountBuffered { account: id.to_owned() });
            }
            Command::CloseAccount { .. } => {
                account.closed = true;
                self.orders.remove(id);
            }
            other => unreachable!("{other:?} is on no single account"),
        }
        Ok(Effect::Account)
    }

    fn opened(
        &self,
        here: Here,
        id: &str,
        subject: &str,
        currency: &str,
        side: Option<Side>,
    ) -> Result<Account, Rejection> {
        if self.accounts.contains_key(id) || self.groups.contains(id) {
            return Err(Rejection::AccountExists { account: id.to_owned() });
        }
        let Some(subject_side) = self.subject_side(subject) else {
            return Err(Rejection::SubjectUnknown { subject: subject.to_owned() });
        };
        let Some(scale) = self.scale(currency) else {
            return Err(Rejection::CurrencyUnknown { currency: currency.to_owned() });
        };
        Ok(Account::new(subject, (currency, scale), side.unwrap_or(subject_side), here.position))
    }
}

fn floor(id: &str, limit: Option<Decimal>, scale: u8) -> Result<Option<i128>, Rejection> {
    limit.map(|limit| minor(limit, scale, id)).transpose()
}

fn sides(mode: FreezeMode) -> Vec<Side> {
    match mode {
        FreezeMode::Debit => vec![Side::Debit],
        FreezeMode::Credit => vec![Side::Credit],
        FreezeMode::Both => vec![Side::Debit, Side::Credit],
    }
}
