//! A journal out of the ledger: the transactions of one tag, as the router lists them, and their accounts become
//! beancount text. Trading legs are folded back into costs and prices; what was booked under the tag by other means
//! than an import is written as it stands. Pure; [`super::fetch`] asks the router.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Deserialize;

use super::date::Date;
use super::ids;
use super::model::Kind;
use super::names;
use super::notes::{get, pairs};
use super::text::{Cursor, quoted};

type Metadata = BTreeMap<String, String>;

/// A transaction as the router lists it; what an export does not need is left out.
#[derive(Clone, Debug, Deserialize)]
pub struct Listed {
    /// Its id.
    pub transaction: String,
    /// The client's id.
    #[serde(default)]
    pub request_id: String,
    /// In the client's order.
    pub legs: Vec<ListedLeg>,
    /// `YYYY-MM-DD`.
    pub accounting_date: String,
    /// Free.
    #[serde(default)]
    pub metadata: Metadata,
}

/// A leg of it.
#[derive(Clone, Debug, Deserialize)]
pub struct ListedLeg {
    /// The account's id.
    pub account: String,
    /// `debit` or `credit`.
    pub side: String,
    /// A decimal.
    pub amount: String,
}

/// An account as the router gives it.
#[derive(Clone, Debug, Deserialize)]
pub struct Held {
    /// Its id.
    pub account: String,
    /// The subject's code.
    pub subject: String,
    /// The currency's code.
    pub currency: String,
    /// The balance, with all decimal places of the currency.
    pub posted: String,
    /// Free.
    #[serde(default)]
    pub metadata: Metadata,
}

impl Held {
    /// Decimal places of the currency.
    fn scale(&self) -> usize {
        places(&self.posted).1.len()
    }
}

/// Whole and fraction of a decimal.
fn places(amount: &str) -> (&str, &str) {
    amount.split_once('.').unwrap_or((amount, ""))
}

/// Why a journal cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A leg whose account was not given.
    #[error("transaction {transaction} names the unknown account {account}")]
    Account {
        /// The transaction.
        transaction: String,
        /// The account.
        account: String,
    },
    /// A field of a transaction that is not what an import or the ledger writes.
    #[error("transaction {transaction} has a {field} that cannot be read")]
    Field {
        /// The transaction.
        transaction: String,
        /// The field.
        field: &'static str,
    },
}

/// What an export wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The journal.
    pub text: String,
    /// Accounts opened in it.
    pub accounts: usize,
    /// Transactions in it.
    pub transactions: usize,
}

/// Writes the journal of `tag`. `journal` is the metadata of the account that stands for it, if it was imported.
pub fn beancount(
    tag: &str,
    journal: Option<&Metadata>,
    accounts: &BTreeMap<String, Held>,
    transactions: &[Listed],
) -> Result<Export, Error> {
    let mut sorted = Vec::new();
    for (nth, listed) in transactions.iter().enumerate() {
        let field = || Error::Field { transaction: listed.transaction.clone(), field: "accounting date" };
        let date = Date::parse(&listed.accounting_date).ok_or_else(field)?;
        // Retried batches may have changed places inside a day; the number in the request id has not.
        let number = ids::transaction_number(tag, &listed.request_id).unwrap_or(usize::MAX);
        sorted.push((date, number, nth, listed));
    }
    sorted.sort_by_key(|(date, number, nth, _)| (*date, *number, *nth));
    let mut writer = Writer { tag, accounts, openings: BTreeMap::new() };
    let mut body = String::new();
    for (date, _, _, listed) in &sorted {
        writer.transaction(&mut body, *date, listed)?;
    }
    let mut text = format!(";; -*- mode: beancount; -*-\n;; Journal `{tag}`, exported from the ledger.\n\n");
    options(&mut text, tag, journal);
    writer.openings(&mut text);
    text.push_str(&body);
    writer.closings(&mut text);
    Ok(Export { text, accounts: writer.openings.len(), transactions: sorted.len() })
}

fn options(text: &mut String, tag: &str, journal: Option<&Metadata>) {
    let kept = journal.and_then(|metadata| get(metadata, "options")).unwrap_or_default();
    let options: Vec<(&str, &str)> = kept.lines().filter_map(|line| line.split_once('=')).collect();
    if !options.iter().any(|(name, _)| *name == "title") {
        put(text, format_args!("option \"title\" {}\n", quoted(tag)));
    }
    for (name, value) in options {
        put(text, format_args!("option {} {}\n", quoted(name), quoted(value)));
    }
    text.push('\n');
}

fn put(text: &mut String, part: std::fmt::Arguments<'_>) {
    text.write_fmt(part).expect("writing to a string does not fail");
}

/// What is known of an account of the journal.
struct Opening {
    opened: Date,
    last_used: Date,
    closed: Option<Date>,
    commodities: String,
    booking: String,
    pairs: Vec<(String, String)>,
}

struct Writer<'a> {
    tag: &'a str,
    accounts: &'a BTreeMap<String, Held>,
    /// By the journal's name for the account.
    openings: BTreeMap<String, Opening>,
}

/// A leg as a posting.
struct Line {
    account: String,
    number: String,
    commodity: String,
    /// Flag, cost, price and metadata as [`super::notes`] describes `p.N`.
    note: String,
}

impl<'a> Writer<'a> {
    fn transaction(&mut self, text: &mut String, date: Date, listed: &Listed) -> Result<(), Error> {
        let metadata = &listed.metadata;
        // Every import writes a flag; what has none was booked by someone else.
        let imported = metadata.contains_key("flag");
        let flag = get(metadata, "flag").unwrap_or("*".to_owned());
        put(text, format_args!("{date} {flag}"));
        if let Some(payee) = get(metadata, "payee") {
            put(text, format_args!(" {}", quoted(&payee)));
        }
        let narration = get(metadata, "narration");
        let otherwise =
            || if imported { String::new() } else { format!("Transaction {}", listed.transaction) };
        put(text, format_args!(" {}", quoted(&narration.unwrap_or_else(otherwise))));
        for (key, mark) in [("tags", '#'), ("links", '^')] {
            for name in get(metadata, key).unwrap_or_default().split(' ').filter(|name| !name.is_empty()) {
                put(text, format_args!(" {mark}{name}"));
            }
        }
        text.push('\n');
        for (key, value) in pairs(metadata) {
            put(text, format_args!("  {key}: {value}\n"));
        }
        for line in self.lines(date, listed)? {
            posting(text, &line);
        }
        text.push('\n');
        Ok(())
    }

    /// The postings: the legs without those on trading accounts, and those that moved nothing in their places.
    fn lines(&mut self, date: Date, listed: &Listed) -> Result<Vec<Line>, Error> {
        let metadata = &listed.metadata;
        let field = |field| Error::Field { transaction: listed.transaction.clone(), field };
        let shown = match get(metadata, "legs") {
            Some(count) => count.parse().map_err(|_| field("number of legs"))?,
            None => listed.legs.len(),
        };
        let decimals = get(metadata, "decimals").unwrap_or_default();
        let mut decimals = decimals.split_ascii_whitespace().map(|places| places.parse::<usize>().ok());
        let mut legs = listed.legs.iter().take(shown);
        let mut lines: Vec<Line> = Vec::new();
        loop {
            let nth = lines.len();
            let note = get(metadata, &format!("p.{nth}")).unwrap_or("- ".to_owned());
            let (account, number, commodity) = match get(metadata, &format!("z.{nth}")) {
                Some(zero) => {
                    let mut parts = zero.splitn(3, ' ').map(str::to_owned);
                    let mut next = || parts.next().ok_or_else(|| field("posting of nothing"));
                    (next()?, next()?, next()?)
                }
                None => {
                    let Some(leg) = legs.next() else { break };
                    let held = self.held(listed, &leg.account)?;
                    let (account, commodity) = name(self.tag, held);
                    self.use_on(date, &account, Some(&held.metadata));
                    let places = decimals.next().flatten().unwrap_or(held.scale());
                    let number = amount(leg, places).ok_or_else(|| field("amount"))?;
                    (account, number, commodity)
                }
            };
            lines.push(Line { account, number, commodity, note });
        }
        // An account that only ever moved nothing is opened like the others.
        for line in &lines {
            self.use_on(date, &line.account, None);
        }
        Ok(lines)
    }

    fn held(&self, listed: &Listed, id: &str) -> Result<&'a Held, Error> {
        let unknown = || Error::Account { transaction: listed.transaction.clone(), account: id.to_owned() };
        self.accounts.get(id).ok_or_else(unknown)
    }

    /// An account takes part on a day; it is opened if it is not yet.
    fn use_on(&mut self, date: Date, name: &str, metadata: Option<&Metadata>) {
        let day = |key| metadata.and_then(|metadata| get(metadata, key)).and_then(|day| Date::parse(&day));
        let text = |key| metadata.and_then(|metadata| get(metadata, key)).unwrap_or_default();
        let opening = self.openings.entry(name.to_owned()).or_insert_with(|| Opening {
            opened: day("opened").unwrap_or(date),
            last_used: date,
            closed: day("closed"),
            commodities: text("commodities"),
            booking: text("booking"),
            pairs: metadata.map(pairs).unwrap_or_default(),
        });
        opening.opened = opening.opened.min(date);
        opening.last_used = opening.last_used.max(date);
    }

    fn openings(&self, text: &mut String) {
        let mut sorted: Vec<_> = self.openings.iter().collect();
        sorted.sort_by_key(|(name, opening)| (opening.opened, *name));
        for (name, opening) in sorted {
            put(text, format_args!("{} open {name} {}", opening.opened, opening.commodities));
            if !opening.booking.is_empty() {
                put(text, format_args!(" {}", quoted(&opening.booking)));
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
            for (key, value) in &opening.pairs {
                put(text, format_args!("  {key}: {value}\n"));
            }
        }
        text.push('\n');
    }

    /// Accounts that were closed, unless something was booked to them later.
    fn closings(&self, text: &mut String) {
        for (name, opening) in &self.openings {
            if let Some(closed) = opening.closed.filter(|closed| *closed >= opening.last_used) {
                put(text, format_args!("{closed} close {name}\n"));
            }
        }
    }
}

fn posting(text: &mut String, line: &Line) {
    let mut note = line.note.lines();
    let (flag, terms) = note.next().and_then(|first| first.split_once(' ')).unwrap_or(("-", ""));
    let flag = if flag == "-" { String::new() } else { format!("{flag} ") };
    let head = format!("  {flag}{}", line.account);
    let width = 64usize.saturating_sub(head.chars().count()).max(line.number.len() + 2);
    put(text, format_args!("{head}{:>width$} {} {terms}", line.number, line.commodity));
    text.truncate(text.trim_end().len());
    text.push('\n');
    for pair in note {
        put(text, format_args!("    {pair}\n"));
    }
}

/// The amount with its sign and so many decimal places, but never fewer than it needs. The router lists an amount as it
/// was asked for, with or without zeros at the end; in beancount they say how exact it is.
fn amount(leg: &ListedLeg, decimals: usize) -> Option<String> {
    let sign = match leg.side.as_str() {
        "debit" => "",
        "credit" => "-",
        _ => return None,
    };
    let (whole, fraction) = places(&leg.amount);
    let needed = fraction.trim_end_matches('0');
    let fraction = format!("{needed:0<decimals$}");
    Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

/// The journal's name and commodity of an account: as imported, or made from the id.
fn name(tag: &str, held: &Held) -> (String, String) {
    if let (Some(account), Some(commodity)) =
        (get(&held.metadata, "account"), get(&held.metadata, "commodity"))
    {
        return (account, commodity);
    }
    let prefix = ids::prefix(tag);
    let rest = held.account.strip_prefix(&prefix).unwrap_or(&held.account);
    let rest = rest.strip_suffix(&format!(":{}", held.currency)).unwrap_or(rest);
    let kind = Kind::ALL.into_iter().find(|kind| kind.subject() == held.subject).unwrap_or(Kind::Equity);
    let mut parts: Vec<&str> = rest.split(':').collect();
    if parts.first() == Some(&kind.root()) {
        parts.remove(0);
    }
    (names::below(kind, parts.into_iter()), commodity_of(&held.currency))
}

/// A currency's code as a commodity.
fn commodity_of(currency: &str) -> String {
    let mut cursor = Cursor::new(currency);
    match cursor.commodity() {
        Some(whole) if whole == currency => currency.to_owned(),
        _ => names::commodity(currency),
    }
}

/// The accounts that an export of these transactions has to know.
pub fn accounts_of(transactions: &[Listed]) -> BTreeSet<&str> {
    transactions.iter().flat_map(|listed| &listed.legs).map(|leg| leg.account.as_str()).collect()
}
