//! A second ledger, written from the rules alone and as plainly as possible: one thread, owned commands, ordered maps,
//! no bytes, no State. It shares no code with `apply`, so that the same mistake is unlikely in both. It gives codes
//! instead of whole rejections; their fields are the golden scripts' business.
//!
//! There is one such model. The ledger's tests (`ledger/tests/properties.rs`) hold it against `apply`; the consistency
//! suite (`jepsen/src/check/`, by `#[path]`) replays whole histories in it. It must stay fast enough for the second.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use twinset_ledger::{Command, FreezeMode, Leg, Position, Reversal, Side, Transaction};

const SCALES: [(&str, u32); 2] = [("EUR", 2), ("JPY", 0)];
const DEBIT_SUBJECTS: [&str; 2] = ["asset", "expense"];
const CREDIT_SUBJECTS: [&str; 3] = ["equity", "income", "liability"];
/// What an account's debits, and its credits, can add up to.
const SUM_MAX: i128 = 1 << 94;

/// A leg as booked: account, side, amount, posted and available after the transaction.
pub type Booked = (String, Side, i128, i128, i128);

/// What a command did, or the code of its rejection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An account was opened or changed, or the durability marked.
    Done,
    /// A definition; false if it was there already.
    Defined(bool),
    /// Legs were booked.
    Booked(Vec<Booked>),
    /// It was rejected, with this code.
    No(&'static str),
}

/// The answer with the position of its decision and whether it was given before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Where it was first decided.
    pub position: Position,
    /// Whether this is the first answer given again.
    pub replayed: bool,
    /// What came of it.
    pub answer: Answer,
}

/// An account and its figures in minor units.
#[derive(Clone, Debug)]
pub struct Account {
    currency: String,
    scale: u32,
    normal: Side,
    /// The floor of the balance.
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
}

impl Account {
    /// Hundredths that one minor unit has. Panics where it is less than a hundredth.
    #[allow(dead_code, reason = "the consistency suite asks")]
    pub fn cents_of_a_minor_unit(&self) -> i128 {
        10i128.pow(2u32.checked_sub(self.scale).expect("two decimal places at most"))
    }

    /// Positive on the account's normal side.
    pub fn balance(&self) -> i128 {
        if self.normal == Side::Debit { self.debits - self.credits } else { self.credits - self.debits }
    }
}

/// The books of one set.
pub struct Model {
    set: u32,
    accounts: BTreeMap<String, Account>,
    currencies: BTreeMap<String, u8>,
    /// By scope, by request id.
    answered: BTreeMap<String, BTreeMap<String, Position>>,
    log: BTreeMap<Position, (Command, Answer)>,
    taken_back: BTreeMap<Position, i128>,
}

impl Model {
    /// The empty books of a set in its first incarnation.
    pub fn new(set: u32) -> Self {
        Model {
            set,
            accounts: BTreeMap::new(),
            currencies: BTreeMap::new(),
            answered: BTreeMap::new(),
            log: BTreeMap::new(),
            taken_back: BTreeMap::new(),
        }
    }

    /// Every account.
    pub fn accounts(&self) -> &BTreeMap<String, Account> {
        &self.accounts
    }

    /// Where a request id was first used in a scope.
    pub fn first(&self, scope: &str, id: &str) -> Option<Position> {
        self.answered.get(scope)?.get(id).copied()
    }

    /// What was answered at a position.
    #[allow(dead_code, reason = "the consistency suite asks")]
    pub fn answer(&self, position: Position) -> Option<&Answer> {
        self.log.get(&position).map(|(_, answer)| answer)
    }

    /// The scope under which a command is remembered, if it is decided at `position`: of several, the least.
    pub fn scope(&self, position: Position, command: &Command) -> String {
        self.scopes(position, command).0.remove(0)
    }

    /// Decides a command at its place in the log; places must rise.
    pub fn apply(&mut self, position: Position, command: &Command) -> Verdict {
        let fresh = |answer| Verdict { position, replayed: false, answer };
        let Some(id) = command.request_id().map(str::to_owned) else {
            return fresh(self.define(command));
        };
        let (write, read) = self.scopes(position, command);
        let seen: BTreeSet<Position> = read.iter().filter_map(|scope| self.first(scope, &id)).collect();
        for first in &seen {
            let (original, answer) = &self.log[first];
            if self.meaning(original) == self.meaning(command) {
                return Verdict { position: *first, replayed: true, answer: answer.clone() };
            }
        }
        let undecided = write.len() > 1;
        let taken = |scope: &String| self.first(scope, &id).is_some();
        let blocked = if undecided { write.iter().all(taken) } else { !seen.is_empty() };
        if blocked {
            // The scope may have been open when the same was asked first, and another one been free.
            if let Command::Transaction(Transaction { scope_account: None, legs, .. }) = command {
                for leg in legs {
                    let Some(first) = self.first(&leg.account, &id) else { continue };
                    let (original, answer) = &self.log[&first];
                    if self.meaning(original) == self.meaning(command) {
                        return Verdict { position: first, replayed: true, answer: answer.clone() };
                    }
                }
            }
            return fresh(Answer::No("request_mismatch"));
        }
        let free: Vec<String> = write.iter().filter(|scope| !taken(scope)).cloned().collect();
        let answer = self.decide(position, command).unwrap_or_else(Answer::No);
        for scope in free {
            self.answered.entry(scope).or_default().insert(id.clone(), position);
        }
        self.log.insert(position, (command.clone(), answer.clone()));
        fresh(answer)
    }

    fn define(&mut self, command: &Command) -> Answer {
        match command {
            Command::DefineCurrency { code, scale } => {
                let built_in = SCALES.iter().find(|(known, _)| known == code).map(|&(_, scale)| scale as u8);
                match built_in.or(self.currencies.get(code).copied()) {
                    None => {
                        self.currencies.insert(code.clone(), *scale);
                        Answer::Defined(true)
                    }
                    Some(known) if known == *scale => Answer::Defined(false),
                    Some(_) => Answer::No("currency_conflict"),
                }
            }
            Command::MarkDurability { .. } => Answer::Done,
            other => panic!("the generator makes no {other:?}"),
        }
    }

    /// Where the id is remembered, and where it is looked up.
    fn scopes(&self, position: Position, command: &Command) -> (Vec<String>, Vec<String>) {
        match command {
            Command::Transaction(transaction) => {
                let scopes = self.transaction_scopes(transaction);
                (scopes.clone(), scopes)
            }
            Command::Reversal(reversal) => match self.original(position, reversal) {
                Ok(original) => {
                    let scope = self.transaction_scopes(&original).remove(0);
                    (vec![scope.clone()], vec![scope, refusals(reversal)])
                }
                Err(_) => (vec![refusals(reversal)], vec![refusals(reversal)]),
            },
            other => {
                let account = other.accounts().next().expect("one account").to_owned();
                (vec![account.clone()], vec![account])
            }
        }
    }

    /// One scope, or all accounts if unknown ones leave it open.
    fn transaction_scopes(&self, transaction: &Transaction) -> Vec<String> {
        if let Some(named) = &transaction.scope_account {
            return vec![named.clone()];
        }
        let all: BTreeSet<&String> = transaction.legs.iter().map(|leg| &leg.account).collect();
        let unknown: Vec<&String> =
            all.iter().copied().filter(|id| !self.accounts.contains_key(*id)).collect();
        if unknown.is_empty() {
            let outflow = |leg: &&Leg| self.accounts[&leg.account].normal != leg.side;
            let least = transaction.legs.iter().filter(outflow).map(|leg| &leg.account).min();
            return vec![least.unwrap_or(all.first().expect("legs")).to_string()];
        }
        // Try every combination of what the unknown accounts may turn out to be.
        let scope_if = |normals: &BTreeMap<&String, Side>| {
            let outflow = |account: &String, side: Side| match self.accounts.get(account) {
                Some(known) => known.normal != side,
                None => normals[account] != side,
            };
            let outflows = transaction.legs.iter().filter(|leg| outflow(&leg.account, leg.side));
            outflows.map(|leg| &leg.account).min().unwrap_or(all.iter().min().expect("legs")).clone()
        };
        let scopes: BTreeSet<String> = (0..1u32 << unknown.len())
            .map(|bits| {
                let side = |at: usize| if bits >> at & 1 == 0 { Side::Debit } else { Side::Credit };
                scope_if(&unknown.iter().enumerate().map(|(at, id)| (*id, side(at))).collect())
            })
            .collect();
        let least_outflow = transaction
            .legs
            .iter()
            .filter(|leg| self.accounts.get(&leg.account).is_some_and(|known| known.normal != leg.side))
            .map(|leg| &leg.account)
            .min();
        match least_outflow {
            Some(outflow) if unknown.iter().all(|id| outflow < *id) => {
                assert_eq!(scopes, BTreeSet::from([outflow.clone()]), "no combination changes it");
                vec![outflow.clone()]
            }
            _ => all.into_iter().cloned().collect(),
        }
    }

    /// What a command asks for, however it is written. Equal texts mean the same.
    fn meaning(&self, command: &Command) -> String {
        match command {
            Command::Transaction(t) => {
                let legs: Vec<_> = t
                    .legs
                    .iter()
                    .map(|leg| {
                        let own = self.accounts.get(&leg.account).map(|account| &account.currency);
                        let named = leg.currency.as_ref().filter(|named| Some(*named) != own);
                        (&leg.account, leg.side, leg.amount.normalize(), named)
                    })
                    .collect();
                let scopes = self.transaction_scopes(t);
                let scope = if scopes.len() == 1 { &scopes[0] } else { "open" };
                let rest = (t.kind, t.reason, t.accounting_date, &t.metadata);
                format!("transaction {legs:?} {rest:?} {scope}")
            }
            Command::Reversal(r) => {
                let amount = r.amount.map(|amount| amount.normalize());
                format!("reversal {} {amount:?} {} {:?}", r.transaction, r.reason, r.metadata)
            }
            Command::OpenAccount { subject, currency, normal_side, limit, metadata, .. } => {
                let side = normal_side.or_else(|| subject_side(subject));
                let limit = limit.map(|limit| limit.normalize());
                format!("open {subject} {currency} {side:?} {limit:?} {metadata:?}")
            }
            Command::SetLimit { limit, .. } => format!("limit {:?}", limit.map(|limit| limit.normalize())),
            Command::Freeze { mode, .. } => format!("freeze {mode:?}"),
            Command::Unfreeze { mode, .. } => format!("unfreeze {mode:?}"),
            other => format!("{:?}", std::mem::discriminant(other)),
        }
    }

    fn decide(&mut self, position: Position, command: &Command) -> Result<Answer, &'static str> {
        match command {
            Command::Transaction(transaction) => self.book_transaction(transaction),
            Command::Reversal(reversal) => self.book_reversal(position, reversal),
            Command::OpenAccount { account, subject, currency, normal_side, limit, .. } => {
                self.open(account, subject, currency, *normal_side, *limit)
            }
            _ => self.change(command),
        }
    }

    fn open(
        &mut self,
        id: &str,
        subject: &str,
        currency: &str,
        side: Option<Side>,
        limit: Option<Decimal>,
    ) -> Result<Answer, &'static str> {
        if self.accounts.contains_key(id) {
            return Err("account_exists");
        }
        let subject_side = subject_side(subject).ok_or("subject_unknown")?;
        let scale = SCALES.iter().find(|(code, _)| *code == currency).map(|&(_, scale)| scale);
        let scale = scale.or(self.currencies.get(currency).map(|&scale| u32::from(scale)));
        let scale = scale.ok_or("currency_unknown")?;
        let account = Account {
            currency: currency.to_owned(),
            scale,
            normal: side.unwrap_or(subject_side),
            limit: limit.map(|limit| minor(limit, scale)).transpose()?,
            frozen: BTreeSet::new(),
            closed: false,
            debits: 0,
            credits: 0,
            legs: 0,
        };
        self.accounts.insert(id.to_owned(), account);
        Ok(Answer::Done)
    }

    fn change(&mut self, command: &Command) -> Result<Answer, &'static str> {
        let id = command.accounts().next().expect("one account");
        let account = self.accounts.get_mut(id).ok_or("account_not_found")?;
        let limit = match command {
            Command::SetLimit { limit, .. } => limit.map(|limit| minor(limit, account.scale)).transpose()?,
            _ => None,
        };
        if account.closed {
            return Err("account_closed");
        }
        match command {
            Command::SetLimit { .. } => account.limit = limit,
            Command::Freeze { mode, .. } => account.frozen.extend(sides(*mode)),
            Command::Unfreeze { mode, .. } => {
                account.frozen.retain(|side| !sides(*mode).contains(side));
            }
            _ if account.balance() != 0 => return Err("account_not_empty"),
            _ => account.closed = true,
        }
        Ok(Answer::Done)
    }

    fn book_transaction(&mut self, transaction: &Transaction) -> Result<Answer, &'static str> {
        let legs = &transaction.legs;
        if legs.iter().any(|leg| !self.accounts.contains_key(&leg.account)) {
            return Err("account_not_found");
        }
        let account = |id: &String| &self.accounts[id];
        if legs.iter().any(|leg| leg.currency.as_ref().is_some_and(|c| *c != account(&leg.account).currency))
        {
            return Err("currency_mismatch");
        }
        let mut plan = Vec::new();
        for leg in legs {
            plan.push((leg.account.clone(), leg.side, minor(leg.amount, account(&leg.account).scale)?));
        }
        let mut sums = BTreeMap::<&String, i128>::new();
        for (id, side, amount) in &plan {
            *sums.entry(&account(id).currency).or_default() += signed(*side, *amount);
        }
        if sums.values().any(|&sum| sum != 0) {
            return Err("unbalanced");
        }
        self.book(&plan).map(Answer::Booked)
    }

    /// The transaction that a reversal names, if it can be reversed.
    fn original(&self, position: Position, reversal: &Reversal) -> Result<Transaction, &'static str> {
        let id = reversal.transaction;
        if (id.set, id.incarnation) != (self.set, 1) || id.position >= position {
            return Err("transaction_not_found");
        }
        match self.log.get(&id.position) {
            None => Err("transaction_not_found"),
            Some((Command::Transaction(transaction), Answer::Booked(_))) => Ok(transaction.clone()),
            Some(_) => Err("not_reversible"),
        }
    }

    fn book_reversal(&mut self, position: Position, reversal: &Reversal) -> Result<Answer, &'static str> {
        let original = self.original(position, reversal)?;
        let place = reversal.transaction.position;
        let Answer::Booked(booked) = self.log[&place].1.clone() else { panic!("it was booked") };
        let left = booked[0].2 - self.taken_back.get(&place).copied().unwrap_or(0);
        let amount = match reversal.amount {
            Some(_) if booked.len() > 2 => return Err("partial_reversal_of_many_legs"),
            Some(amount) => minor(amount, self.accounts[&original.legs[0].account].scale)?,
            None => left,
        };
        if left == 0 || amount > left {
            return Err("reversal_exceeds");
        }
        let back = |side| if side == Side::Debit { Side::Credit } else { Side::Debit };
        let two = booked.len() == 2;
        let plan: Vec<_> = booked
            .iter()
            .map(|(id, side, whole, ..)| (id.clone(), back(*side), if two { amount } else { *whole }))
            .collect();
        let booked = self.book(&plan)?;
        *self.taken_back.entry(place).or_default() += amount;
        Ok(Answer::Booked(booked))
    }

    fn book(&mut self, plan: &[(String, Side, i128)]) -> Result<Vec<Booked>, &'static str> {
        if plan.iter().any(|(id, ..)| self.accounts[id].closed) {
            return Err("account_closed");
        }
        if plan.iter().any(|(id, side, _)| self.accounts[id].frozen.contains(side)) {
            return Err("account_frozen");
        }
        let mut changes = BTreeMap::<&String, (i128, i128, u64)>::new();
        for (id, side, amount) in plan {
            let (debits, credits, legs) = changes.entry(id).or_default();
            *(if *side == Side::Debit { debits } else { credits }) += amount;
            *legs += 1;
        }
        let mut after = Vec::with_capacity(changes.len());
        for (id, (debits, credits, legs)) in changes {
            let mut account = self.accounts[id].clone();
            account.debits += debits;
            account.credits += credits;
            account.legs += legs;
            after.push((id, account));
        }
        if after.iter().any(|(_, account)| account.debits > SUM_MAX || account.credits > SUM_MAX) {
            return Err("amount_overflow");
        }
        let crosses = |(id, after): &(&String, Account)| {
            after.balance() < self.accounts[*id].balance()
                && after.limit.is_some_and(|limit| after.balance() < limit)
        };
        if after.iter().any(crosses) {
            return Err("limit_exceeded");
        }
        for (id, account) in after {
            *self.accounts.get_mut(id).expect("it was copied from there") = account;
        }
        let booked = plan.iter().map(|(id, side, amount)| {
            let balance = self.accounts[id].balance();
            (id.clone(), *side, *amount, balance, balance)
        });
        Ok(booked.collect())
    }
}

fn signed(side: Side, amount: i128) -> i128 {
    if side == Side::Debit { amount } else { -amount }
}

fn sides(mode: FreezeMode) -> Vec<Side> {
    match mode {
        FreezeMode::Debit => vec![Side::Debit],
        FreezeMode::Credit => vec![Side::Credit],
        FreezeMode::Both => vec![Side::Debit, Side::Credit],
    }
}

fn subject_side(subject: &str) -> Option<Side> {
    if DEBIT_SUBJECTS.contains(&subject) {
        Some(Side::Debit)
    } else if CREDIT_SUBJECTS.contains(&subject) {
        Some(Side::Credit)
    } else {
        None
    }
}

/// Where reversals of a transaction are remembered that is not there, or cannot be reversed: no account is called that.
fn refusals(reversal: &Reversal) -> String {
    format!("refused reversals of {}", reversal.transaction)
}

/// The generator's amounts are far from what overflows here.
fn minor(amount: Decimal, scale: u32) -> Result<i128, &'static str> {
    let amount = amount.normalize();
    if amount.scale() > scale {
        return Err("excess_scale");
    }
    Ok(amount.mantissa() * 10i128.pow(scale - amount.scale()))
}
