//! A second ledger, written from the rules alone and as plainly as possible: one thread, owned commands, ordered maps,
//! no bytes, no State. It shares no code with `apply`, so that the same mistake is unlikely in both. It gives codes
//! instead of whole rejections; their fields are the golden scripts' business.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;
use twinset_ledger::{Command, Effect, FreezeMode, Outcome, Position, Reversal, Side, Transaction};

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
    Done,
    Defined(bool),
    Booked(Vec<Booked>),
    No(&'static str),
}

/// The answer with the position of its decision and whether it was given before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub position: Position,
    pub replayed: bool,
    pub answer: Answer,
}

#[derive(Clone, Debug)]
struct Account {
    currency: String,
    scale: u32,
    normal: Side,
    limit: Option<i128>,
    frozen: BTreeSet<Side>,
    closed: bool,
    debits: i128,
    credits: i128,
}

impl Account {
    fn balance(&self) -> i128 {
        if self.normal == Side::Debit { self.debits - self.credits } else { self.credits - self.debits }
    }
}

#[derive(Default)]
pub struct Model {
    accounts: BTreeMap<String, Account>,
    currencies: BTreeMap<String, u8>,
    answered: BTreeMap<(String, String), Position>,
    log: BTreeMap<Position, (Command, Answer)>,
    taken_back: BTreeMap<Position, i128>,
}

impl Model {
    /// Every account's posted balance.
    pub fn balances(&self) -> BTreeMap<String, i128> {
        self.accounts.iter().map(|(id, account)| (id.clone(), account.balance())).collect()
    }

    pub fn apply(&mut self, position: Position, command: &Command) -> Verdict {
        let fresh = |answer| Verdict { position, replayed: false, answer };
        let Some(id) = command.request_id().map(str::to_owned) else {
            return fresh(self.define(command));
        };
        let (write, read) = self.scopes(position, command);
        let meaning = self.meaning(command);
        let seen: BTreeSet<Position> = read
            .iter()
            .filter_map(|scope| self.answered.get(&(scope.clone(), id.clone())).copied())
            .collect();
        for first in &seen {
            let (original, answer) = &self.log[first];
            if self.meaning(original) == meaning {
                return Verdict { position: *first, replayed: true, answer: answer.clone() };
            }
        }
        let key = |scope: &String| (scope.clone(), id.clone());
        let undecided = write.len() > 1;
        let taken = |scope: &String| self.answered.contains_key(&key(scope));
        let blocked = if undecided { write.iter().all(taken) } else { !seen.is_empty() };
        if blocked {
            // The scope may have been open when the same was asked first, and another one been free.
            if let Command::Transaction(Transaction { scope_account: None, legs, .. }) = command {
                for leg in legs {
                    let Some(first) = self.answered.get(&key(&leg.account)) else { continue };
                    let (original, answer) = &self.log[first];
                    if self.meaning(original) == meaning {
                        return Verdict { position: *first, replayed: true, answer: answer.clone() };
                    }
                }
            }
            return fresh(Answer::No("request_mismatch"));
        }
        let free: Vec<String> = write.iter().filter(|scope| !taken(scope)).cloned().collect();
        let answer = self.decide(position, command).unwrap_or_else(Answer::No);
        for scope in free {
            self.answered.insert((scope, id.clone()), position);
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
        if scopes.len() == 1 && unknown.is_empty() {
            return scopes.into_iter().collect();
        }
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
        if (id.set, id.incarnation) != (1, 1) || id.position >= position {
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
        let mut after = self.accounts.clone();
        for (id, side, amount) in plan {
            let account = after.get_mut(id).expect("known");
            let sum = if *side == Side::Debit { &mut account.debits } else { &mut account.credits };
            *sum += amount;
        }
        if after.values().any(|account| account.debits > SUM_MAX || account.credits > SUM_MAX) {
            return Err("amount_overflow");
        }
        let crosses = |id: &String| {
            let (before, after) = (&self.accounts[id], &after[id]);
            after.balance() < before.balance() && after.limit.is_some_and(|limit| after.balance() < limit)
        };
        if plan.iter().any(|(id, ..)| crosses(id)) {
            return Err("limit_exceeded");
        }
        self.accounts = after;
        let booked = plan.iter().map(|(id, side, amount)| {
            let balance = self.accounts[id].balance();
            (id.clone(), *side, *amount, balance, balance)
        });
        Ok(booked.collect())
    }
}

/// The ledger's outcome in the model's words.
pub fn verdict(outcome: &Outcome, command: &Command) -> Verdict {
    let answer = match &outcome.result {
        Err(rejection) => Answer::No(rejection.code()),
        Ok(Effect::Defined { changed }) => Answer::Defined(*changed),
        Ok(Effect::Account | Effect::Marked) => Answer::Done,
        Ok(Effect::Posted(legs)) => {
            let names: Vec<&str> = command.accounts().collect();
            let name = |at: usize| names.get(at).map_or(legs[at].account.clone(), |name| (*name).to_owned());
            let booked = |(at, leg): (usize, &twinset_ledger::Posted)| {
                (name(at), leg.side, leg.amount, leg.posted, leg.available)
            };
            Answer::Booked(legs.iter().enumerate().map(booked).collect())
        }
    };
    Verdict { position: outcome.position, replayed: outcome.replayed, answer }
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
