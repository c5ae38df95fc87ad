//! What to ask of a router so that a journal stands in the ledger: currencies, accounts, transactions, as the ledger's own
//! commands. One ledger account per account and commodity of the journal. Every commodity balances by itself: what an
//! exchange leaves over goes to a trading account of that commodity. Pure; [`super::rehearse`] finds what the ledger would
//! refuse, [`super::send`] does the asking.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::json;
use twinset_ledger::chart::{SCALE_MAX, built_in_scale};
use twinset_ledger::command::{Leg, Metadata, Transaction};
use twinset_ledger::{Command, Side, amount, date};

use super::bodies::body;
use super::book::{Booked, BookedPosting};
use super::ids;
use super::model::{Format, Journal, Kind};
use super::notes::Notes;
use super::problem::{Place, Problem, Problems, Reason, unless};

/// Something to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Where it stands in the journal.
    pub place: Place,
    /// What to ask for.
    pub command: Command,
}

/// A currency that the journal needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Currency {
    /// Its code in the ledger.
    pub code: String,
    /// Decimal places.
    pub scale: u8,
    /// The first transaction that uses it.
    place: Place,
}

/// Everything to ask for, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The tag that keeps the journal in one set.
    pub tag: String,
    /// The first: it opens the account that stands for the whole journal. Its metadata has a digest of all the rest, so
    /// that another journal under the same tag is refused before anything is booked.
    pub journal: Planned,
    /// Sorted by code.
    pub currencies: Vec<Currency>,
    /// Openings of accounts.
    pub accounts: Vec<Planned>,
    /// In the order of the journal.
    pub transactions: Vec<Planned>,
    /// Transactions that move nothing: they are left out.
    pub empty: usize,
    /// Directives that no ledger keeps, by kind: prices, events and the like.
    pub left_out: BTreeMap<&'static str, u32>,
}

impl Plan {
    /// The currencies that the ledger does not bring along.
    pub fn definitions(&self) -> impl Iterator<Item = Planned> {
        let unknown = self.currencies.iter().filter(|c| built_in_scale(&c.code) != Some(c.scale));
        unknown.map(|Currency { code, scale, place }| Planned {
            place: place.clone(),
            command: Command::DefineCurrency { code: code.clone(), scale: *scale },
        })
    }
}

/// The name of the journal account behind trading accounts.
const TRADING: &str = "Trading";

/// Plans the booking of a journal under `tag` (see [`ids::is_tag`]).
pub fn plan(journal: &Journal, booked: &[Booked], tag: &str) -> Result<Plan, Problems> {
    let mut problems = Vec::new();
    let currencies = currencies(booked).map_err(|problem| Problems(vec![problem]))?;
    let mut planner =
        Planner { journal, tag, currencies, trading: trading(journal), accounts: BTreeMap::new() };
    let mut transactions = Vec::new();
    let mut empty = 0;
    for booked in booked {
        match planner.transaction(transactions.len(), booked) {
            Ok(Some(command)) => transactions.push(Planned { place: booked.place.clone(), command }),
            Ok(None) => empty += 1,
            Err(reason) => problems.push(Problem { place: booked.place.clone(), reason }),
        }
    }
    let accounts = planner.open_all(&mut problems);
    let mut currencies: Vec<Currency> = planner.currencies.into_values().collect();
    currencies.sort_by(|a, b| a.code.cmp(&b.code));
    let journal_account = header(journal, tag, &currencies, &accounts, &transactions);
    let plan = Plan {
        tag: tag.to_owned(),
        journal: Planned { place: journal.start.clone(), command: journal_account },
        currencies,
        accounts,
        transactions,
        empty,
        left_out: journal.left_out.clone(),
    };
    unless(problems, plan)
}

/// The currency of each commodity: the scale that its amounts need.
fn currencies(booked: &[Booked]) -> Result<BTreeMap<String, Currency>, Problem> {
    let mut places: BTreeMap<&str, (u8, &Place)> = BTreeMap::new();
    for transaction in booked {
        for posting in &transaction.postings {
            let scale = posting.number.normalize().scale();
            if scale > u32::from(SCALE_MAX) {
                let (amount, commodity) = (posting.number, posting.commodity.clone());
                let reason = Reason::TooManyDecimals { amount, commodity, max: SCALE_MAX };
                return Err(Problem { place: transaction.place.clone(), reason });
            }
            let (known, _) = places.entry(&posting.commodity).or_insert((0, &transaction.place));
            *known = (*known).max(u8::try_from(scale).expect("a scale up to the greatest is small"));
        }
    }
    let mut by_code: BTreeMap<String, &str> = BTreeMap::new();
    let mut currencies = BTreeMap::new();
    for (commodity, (decimals, place)) in places {
        let (code, scale) =
            ids::currency(commodity, decimals).expect("no amount has more than the greatest scale");
        let place = place.clone();
        if let Some(other) = by_code.insert(code.clone(), commodity) {
            let reason = Reason::SameName { first: other.to_owned(), second: commodity.to_owned() };
            return Err(Problem { place, reason });
        }
        currencies.insert(commodity.to_owned(), Currency { code, scale, place });
    }
    Ok(currencies)
}

/// A name for the trading accounts that the journal does not use itself.
fn trading(journal: &Journal) -> String {
    let base = format!("{}:{TRADING}", journal.options.equity_root());
    let taken = |name: &String| {
        journal.accounts.keys().any(|used| used == name || used.starts_with(&format!("{name}:")))
    };
    let mut name = base.clone();
    let mut nth = 2;
    while taken(&name) {
        name = format!("{base}-{nth}");
        nth += 1;
    }
    name
}

/// Whose account it is, and in which commodity.
type Holding = (String, String);

struct Planner<'a> {
    journal: &'a Journal,
    tag: &'a str,
    currencies: BTreeMap<String, Currency>,
    trading: String,
    /// The accounts used so far, by id.
    accounts: BTreeMap<String, Holding>,
}

impl Planner<'_> {
    /// The id of an account, which will be opened.
    fn account(&mut self, account: &str, commodity: &str) -> Result<String, Reason> {
        let id = ids::account(self.tag, account, commodity);
        let holding = (account.to_owned(), commodity.to_owned());
        match self.accounts.get(&id) {
            Some(known) if *known != holding => {
                let name = |(account, commodity): &Holding| format!("{account} in {commodity}");
                Err(Reason::SameName { first: name(known), second: name(&holding) })
            }
            _ => {
                self.accounts.insert(id.clone(), holding);
                Ok(id)
            }
        }
    }

    fn leg(&mut self, account: &str, commodity: &str, number: Decimal) -> Result<Leg, Reason> {
        let side = if number.is_sign_negative() { Side::Credit } else { Side::Debit };
        let account = self.account(account, commodity)?;
        // As a router reads it.
        let amount = amount::parse(&number.abs().normalize().to_string())
            .map_err(|error| Reason::Refused { why: error.to_string(), code: "malformed" })?;
        Ok(Leg::new(&account, side, amount))
    }

    /// The command that books a transaction; None if it moves nothing.
    fn transaction(&mut self, nth: usize, booked: &Booked) -> Result<Option<Command>, Reason> {
        let moving: Vec<&BookedPosting> = booked.postings.iter().filter(|p| !p.number.is_zero()).collect();
        if moving.is_empty() {
            return Ok(None);
        }
        let mut legs = Vec::new();
        for posting in &moving {
            legs.push(self.leg(&posting.account, &posting.commodity, posting.number)?);
        }
        let trading = self.trading.clone();
        for (commodity, number) in balancing(&moving)? {
            legs.push(self.leg(&trading, &commodity, number)?);
        }
        let metadata = self.notes(booked, &moving, legs.len());
        Ok(Some(Command::Transaction(Transaction {
            request_id: ids::transaction_request(self.tag, nth),
            legs,
            accounting_date: date::parse(&booked.date.to_string()),
            metadata,
            ..Transaction::default()
        })))
    }

    fn notes(&self, booked: &Booked, moving: &[&BookedPosting], legs: usize) -> Metadata {
        let mut notes = Notes::default();
        notes.put("flag", &booked.flag.to_string());
        if let Some(payee) = &booked.payee {
            notes.put("payee", payee);
        }
        notes.put_some("narration", &booked.narration);
        notes.put_some("tags", &booked.tags.join(" "));
        notes.put_some("links", &booked.links.join(" "));
        notes.put_pairs(&booked.metadata);
        for (nth, posting) in booked.postings.iter().enumerate() {
            let flag = posting.flag.map_or("-".to_owned(), String::from);
            let pairs: String =
                posting.metadata.iter().map(|(key, value)| format!("\n{key}: {value}")).collect();
            let note = format!("{flag} {}{pairs}", posting.terms);
            if note != "- " {
                notes.put(&format!("p.{nth}"), &note);
            }
            if posting.number.is_zero() {
                let zero = format!("{} {} {}", posting.account, posting.number, posting.commodity);
                notes.put(&format!("z.{nth}"), &zero);
            }
        }
        if legs > moving.len() {
            notes.put("legs", &moving.len().to_string());
        }
        // Decimal places imply tolerances in beancount: an export has to write the same.
        let places = |posting: &&BookedPosting| match self.journal.format {
            Format::Beancount => posting.number.scale(),
            Format::Ledger => posting.number.scale().max(2),
        };
        let usual = |posting: &&BookedPosting| u32::from(self.currencies[&posting.commodity].scale);
        if moving.iter().any(|posting| places(posting) != usual(posting)) {
            let all: Vec<String> = moving.iter().map(|posting| places(posting).to_string()).collect();
            notes.put("decimals", &all.join(" "));
        }
        notes.finish()
    }

    fn open_all(&self, problems: &mut Vec<Problem>) -> Vec<Planned> {
        let mut openings = Vec::new();
        for (id, (account, commodity)) in &self.accounts {
            let opened = self.journal.accounts.get(account);
            let place = opened.map_or(&self.journal.start, |opened| &opened.place).clone();
            match self.open(id, account, commodity) {
                Ok(command) => openings.push(Planned { place, command }),
                Err(reason) => problems.push(Problem { place, reason }),
            }
        }
        openings
    }

    fn open(&self, id: &str, account: &str, commodity: &str) -> Result<Command, Reason> {
        let unknown = || Reason::UnknownRoot { account: account.to_owned() };
        let kind = self.journal.options.kind_of(account).ok_or_else(unknown)?;
        let mut notes = Notes::default();
        notes.put("account", account);
        notes.put("commodity", commodity);
        match self.journal.accounts.get(account) {
            None => notes.put("trading", "yes"),
            Some(opened) => {
                notes.put("opened", &opened.opened.to_string());
                if let Some(closed) = opened.closed {
                    notes.put("closed", &closed.to_string());
                }
                notes.put_some("commodities", &opened.commodities.join(","));
                notes.put_some("booking", opened.booking.map_or("", |booking| booking.name()));
                notes.put_some("written", opened.written.as_deref().unwrap_or_default());
                notes.put_pairs(&opened.metadata);
            }
        }
        let currency = self.currencies[commodity].code.clone();
        Ok(opening(self.tag, id.to_owned(), kind, currency, notes.finish()))
    }
}

/// What the trading accounts have to take so that each commodity balances by itself.
fn balancing(moving: &[&BookedPosting]) -> Result<Vec<(String, Decimal)>, Reason> {
    let mut sums: BTreeMap<&str, Decimal> = BTreeMap::new();
    for posting in moving {
        let sum = sums.entry(&posting.commodity).or_default();
        *sum = sum.checked_add(posting.number).ok_or(Reason::Overflow)?;
    }
    let mut added: Vec<(String, Decimal)> = sums
        .into_iter()
        .filter(|(_, sum)| !sum.is_zero())
        .map(|(name, sum)| (name.to_owned(), -sum))
        .collect();
    // The ledger refuses two legs on one account; through the trading account the movement stays visible.
    if let [one, other] = moving
        && added.is_empty()
        && one.account == other.account
    {
        added.push((one.commodity.clone(), one.number));
        added.push((one.commodity.clone(), -one.number));
    }
    Ok(added)
}

fn opening(tag: &str, account: String, kind: Kind, currency: String, metadata: Metadata) -> Command {
    Command::OpenAccount {
        request_id: format!("{tag}.open"),
        account,
        subject: kind.subject().to_owned(),
        currency,
        normal_side: None,
        limit: None,
        metadata,
    }
}

/// The opening of the account that stands for the whole journal.
fn header(
    journal: &Journal,
    tag: &str,
    currencies: &[Currency],
    accounts: &[Planned],
    transactions: &[Planned],
) -> Command {
    let bodies = |all: &[Planned]| all.iter().map(|planned| body(&planned.command)).collect::<Vec<_>>();
    let everything = json!({
        "currencies": currencies.iter().map(|c| json!([c.code, c.scale])).collect::<Vec<_>>(),
        "accounts": bodies(accounts),
        "transactions": bodies(transactions),
    });
    let mut notes = Notes::default();
    notes.put("format", journal.format.name());
    notes.put("transactions", &transactions.len().to_string());
    notes.put("digest", &format!("{:016x}", ids::fnv1a(everything.to_string().as_bytes())));
    let options: Vec<String> =
        journal.options.kept.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut with_options = notes.clone();
    with_options.put_some("options", &options.join("\n"));
    let currency = currencies.first().map_or("USD", |currency| &currency.code);
    let open = |notes: Notes| {
        opening(tag, ids::journal_account(tag), Kind::Equity, currency.to_owned(), notes.finish())
    };
    // Options that do not fit are a matter of looks; the transactions are all there without them.
    let whole = open(with_options);
    if whole.validate().is_ok() { whole } else { open(notes) }
}
