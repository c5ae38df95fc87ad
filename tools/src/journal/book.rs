//! Walks a journal in the order in which it takes effect: every amount filled in, every balance and every assertion
//! checked, pads turned into transactions. Nothing is sent anywhere before this has succeeded for the whole journal.
//! Above: [`super::model`]; below: [`super::plan`].

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::date::Date;
use super::lots::Lots;
use super::model::{Assertion, Entry, Journal, Pad, Pairs, Transaction};
use super::pads;
use super::problem::{Place, Problem, Problems, Reason, unless};
use super::weigh;

/// A transaction with nothing missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booked {
    /// Where it stands in the journal.
    pub place: Place,
    /// Its day.
    pub date: Date,
    /// `*`, `!` or another letter.
    pub flag: char,
    /// Who.
    pub payee: Option<String>,
    /// What for.
    pub narration: String,
    /// Without `#`.
    pub tags: Vec<String>,
    /// Without `^`.
    pub links: Vec<String>,
    /// Free.
    pub metadata: Pairs,
    /// With every amount.
    pub postings: Vec<BookedPosting>,
}

/// A posting with its amount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookedPosting {
    /// The account.
    pub account: String,
    /// Units: above zero for debit, below for credit; zero moves nothing.
    pub number: Decimal,
    /// Of what.
    pub commodity: String,
    /// A flag of its own.
    pub flag: Option<char>,
    /// Cost and price as an export has to write them.
    pub terms: String,
    /// Free.
    pub metadata: Pairs,
}

/// What takes effect, in order.
#[derive(Clone, Debug)]
pub(super) enum Step<'a> {
    /// A transaction.
    Booked(Booked),
    /// A balance assertion, to be checked here.
    Balance(&'a Assertion),
    /// A pad.
    Pad(&'a Pad),
}

/// Running balances by account and commodity.
pub(super) type Balances = BTreeMap<(String, String), Decimal>;

/// Adds the postings of a transaction.
pub(super) fn add(balances: &mut Balances, booked: &Booked) -> Result<(), Reason> {
    for posting in &booked.postings {
        let key = (posting.account.clone(), posting.commodity.clone());
        let balance = balances.entry(key).or_default();
        *balance = balance.checked_add(posting.number).ok_or(Reason::Overflow)?;
    }
    Ok(())
}

/// The journal's transactions with every amount, or all that is wrong with it.
pub fn book(journal: &Journal) -> Result<Vec<Booked>, Problems> {
    let mut problems = Vec::new();
    let mut lots = Lots::default();
    let mut balances = Balances::new();
    let mut steps = Vec::new();
    for name in journal.accounts.keys() {
        if journal.options.kind_of(name).is_none() {
            let reason = Reason::UnknownRoot { account: name.clone() };
            problems.push(Problem { place: journal.accounts[name].place.clone(), reason });
        }
    }
    for entry in &journal.entries {
        match entry {
            Entry::Transaction(transaction) => {
                problems.extend(usable(journal, transaction));
                let problem = |reason| Problem { place: transaction.place.clone(), reason };
                match one(journal, transaction, &mut lots, &mut balances, &mut problems) {
                    Ok(booked) => steps.push(Step::Booked(booked)),
                    Err(reason) => problems.push(problem(reason)),
                }
            }
            Entry::Balance(balance) => steps.push(Step::Balance(balance)),
            Entry::Pad(pad) => steps.push(Step::Pad(pad)),
        }
    }
    problems.extend(steps.iter().filter_map(|step| names_known(journal, step)));
    // Sums over transactions that are themselves wrong would only repeat what is said already.
    let steps = unless(problems, steps)?;
    pads::resolve(journal, steps, &lots)
}

fn one(
    journal: &Journal,
    transaction: &Transaction,
    lots: &mut Lots,
    balances: &mut Balances,
    problems: &mut Vec<Problem>,
) -> Result<Booked, Reason> {
    let set;
    let transaction = match transaction.postings.iter().any(|p| p.assertion.is_some() && p.number.is_none()) {
        true => {
            set = with_set_balances(transaction, balances)?;
            &set
        }
        false => transaction,
    };
    let wholes = weigh::complete(journal, transaction, lots)?;
    let postings = wholes
        .into_iter()
        .map(|whole| {
            let read = &transaction.postings[whole.nth];
            BookedPosting {
                account: read.account.clone(),
                number: whole.number,
                commodity: whole.commodity,
                flag: read.flag,
                terms: whole.terms,
                metadata: read.metadata.clone(),
            }
        })
        .collect();
    let booked = Booked {
        place: transaction.place.clone(),
        date: transaction.date,
        flag: transaction.flag,
        payee: transaction.payee.clone(),
        narration: transaction.narration.clone(),
        tags: transaction.tags.clone(),
        links: transaction.links.clone(),
        metadata: transaction.metadata.clone(),
        postings,
    };
    add(balances, &booked)?;
    problems.extend(asserted(transaction, balances));
    Ok(booked)
}

/// ledger-cli: a posting with an assertion and no amount takes what is missing to the asserted balance.
fn with_set_balances(transaction: &Transaction, balances: &Balances) -> Result<Transaction, Reason> {
    let mut transaction = transaction.clone();
    for posting in &mut transaction.postings {
        let (None, Some((expected, commodity))) = (posting.number, &posting.assertion) else { continue };
        let key = (posting.account.clone(), commodity.clone());
        let actual = balances.get(&key).copied().unwrap_or_default();
        posting.number = Some(expected.checked_sub(actual).ok_or(Reason::Overflow)?);
        posting.commodity = Some(commodity.clone());
    }
    Ok(transaction)
}

/// ledger-cli: assertions that stand at postings.
fn asserted(transaction: &Transaction, balances: &Balances) -> Vec<Problem> {
    let mut problems = Vec::new();
    for posting in &transaction.postings {
        let Some((expected, commodity)) = &posting.assertion else { continue };
        let key = (posting.account.clone(), commodity.clone());
        let actual = balances.get(&key).copied().unwrap_or_default();
        if actual != *expected {
            let (account, commodity, expected) = (key.0, key.1, *expected);
            let reason = Reason::Assertion { account, commodity, expected, actual };
            problems.push(Problem { place: posting.place.clone(), reason });
        }
    }
    problems
}

/// Accounts used while they are not open, and commodities that they do not take.
fn usable(journal: &Journal, transaction: &Transaction) -> Vec<Problem> {
    let mut problems = Vec::new();
    for posting in &transaction.postings {
        let mut problem = |reason| problems.push(Problem { place: posting.place.clone(), reason });
        let name = posting.account.clone();
        let date = transaction.date;
        let account = journal.accounts.get(&name).filter(|account| account.opened <= date);
        match account.filter(|account| account.closed.is_none_or(|closed| date <= closed)) {
            None => problem(Reason::NotOpen { account: name, date }),
            Some(account) => {
                let taken = |commodity: &&String| {
                    account.commodities.is_empty() || account.commodities.contains(commodity)
                };
                if let Some(commodity) = posting.commodity.as_ref().filter(|commodity| !taken(commodity)) {
                    let commodity = commodity.clone();
                    problem(Reason::CommodityNotTaken { account: name, commodity });
                }
            }
        }
    }
    problems
}

/// Assertions and pads of accounts that were never opened.
fn names_known(journal: &Journal, step: &Step<'_>) -> Option<Problem> {
    let (place, date, names) = match step {
        Step::Booked(_) => return None,
        Step::Balance(balance) => (&balance.place, balance.date, vec![&balance.account]),
        Step::Pad(pad) => (&pad.place, pad.date, vec![&pad.account, &pad.source]),
    };
    let unknown = names.into_iter().find(|name| !journal.accounts.contains_key(*name))?;
    let reason = Reason::NotOpen { account: unknown.clone(), date };
    Some(Problem { place: place.clone(), reason })
}
