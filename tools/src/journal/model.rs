//! A journal as read: accounts and the directives that move or assert money, in the order in which they take effect.
//! Knows neither a text format's spelling nor the ledger. Above: the readers; below: [`super::book`].

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::date::Date;
use super::problem::Place;

/// The text format of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// beancount, version 2 or 3.
    Beancount,
    /// A sensible part of ledger-cli's format (and of hledger's).
    Ledger,
}

impl Format {
    /// The name as given on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Beancount => "beancount",
            Format::Ledger => "ledger",
        }
    }
}

/// The kind of an account, by the first part of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// What one owns.
    Asset,
    /// What one owes.
    Liability,
    /// What is left for the owner.
    Equity,
    /// What comes in.
    Income,
    /// What is used up.
    Expense,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 5] = [Kind::Asset, Kind::Liability, Kind::Equity, Kind::Income, Kind::Expense];

    /// beancount's usual name for the first part of such an account.
    pub fn root(self) -> &'static str {
        match self {
            Kind::Asset => "Assets",
            Kind::Liability => "Liabilities",
            Kind::Equity => "Equity",
            Kind::Income => "Income",
            Kind::Expense => "Expenses",
        }
    }

    /// The ledger's subject for such an account.
    pub fn subject(self) -> &'static str {
        match self {
            Kind::Asset => "asset",
            Kind::Liability => "liability",
            Kind::Equity => "equity",
            Kind::Income => "income",
            Kind::Expense => "expense",
        }
    }
}

/// Kinds of accounts by the first part of their names, where the usual names do not say it (ledger-cli).
pub type Roots = BTreeMap<String, Kind>;

/// How a reduction chooses among the lots of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Booking {
    /// One lot must match, or all of them together exactly.
    Strict,
    /// As strict; among several a lot of exactly the size taken.
    StrictWithSize,
    /// Oldest first.
    Fifo,
    /// Newest first.
    Lifo,
    /// Dearest first.
    Hifo,
    /// No matching: lots of both signs may stand side by side.
    None,
}

impl Booking {
    /// beancount's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Booking::Strict => "STRICT",
            Booking::StrictWithSize => "STRICT_WITH_SIZE",
            Booking::Fifo => "FIFO",
            Booking::Lifo => "LIFO",
            Booking::Hifo => "HIFO",
            Booking::None => "NONE",
        }
    }

    /// The method of that name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            Booking::Strict,
            Booking::StrictWithSize,
            Booking::Fifo,
            Booking::Lifo,
            Booking::Hifo,
            Booking::None,
        ];
        all.into_iter().find(|booking| booking.name() == name)
    }
}

/// File-wide settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Those that an export has to repeat, as written: name and value.
    pub kept: Vec<(String, String)>,
    /// The first part of account names, in the order of [`Kind::ALL`].
    pub roots: [String; 5],
    /// How reductions choose where the account does not say.
    pub booking: Booking,
    /// Half a unit of the last place is tolerated: this is the half.
    pub tolerance_multiplier: Decimal,
    /// Tolerances by commodity (`*` for all) where the amounts themselves imply none.
    pub tolerance_default: BTreeMap<String, Decimal>,
    /// Whether costs and prices widen the tolerance.
    pub tolerance_from_cost: bool,
    /// Whether accounts need no opening.
    pub auto_open: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            kept: Vec::new(),
            roots: Kind::ALL.map(|kind| kind.root().to_owned()),
            booking: Booking::Strict,
            tolerance_multiplier: Decimal::new(5, 1),
            tolerance_default: BTreeMap::new(),
            tolerance_from_cost: false,
            auto_open: false,
        }
    }
}

impl Options {
    /// The kind of an account, if its first part is known.
    pub fn kind_of(&self, account: &str) -> Option<Kind> {
        let root = account.split(':').next()?;
        Kind::ALL.into_iter().zip(&self.roots).find(|(_, name)| *name == root).map(|(kind, _)| kind)
    }

    /// The first part of an equity account's name.
    pub fn equity_root(&self) -> &str {
        &self.roots[2]
    }
}

/// Free pairs, values as written.
pub type Pairs = Vec<(String, String)>;

/// An account's opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Where it is opened.
    pub place: Place,
    /// From this day on it may be used.
    pub opened: Date,
    /// After this day it may not.
    pub closed: Option<Date>,
    /// The commodities it takes; empty: any.
    pub commodities: Vec<String>,
    /// How reductions choose, if it says so.
    pub booking: Option<Booking>,
    /// Its name in the journal, where that is not a beancount name.
    pub written: Option<String>,
    /// Free.
    pub metadata: Pairs,
}

impl Account {
    /// An account of which only the opening is known.
    pub fn opened_at(place: Place, opened: Date) -> Self {
        Account {
            place,
            opened,
            closed: None,
            commodities: Vec::new(),
            booking: None,
            written: None,
            metadata: Vec::new(),
        }
    }
}

/// A whole journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// How it was written.
    pub format: Format,
    /// The first line of its first file: the place of what concerns all of it.
    pub start: Place,
    /// File-wide settings.
    pub options: Options,
    /// By name.
    pub accounts: BTreeMap<String, Account>,
    /// In the order in which they take effect.
    pub entries: Vec<Entry>,
    /// How many directives of each kind are read and not booked: prices, events and the like.
    pub left_out: BTreeMap<&'static str, u32>,
}

impl Journal {
    /// An empty journal.
    pub fn new(format: Format, start: Place) -> Self {
        Journal {
            format,
            start,
            options: Options::default(),
            accounts: BTreeMap::new(),
            entries: Vec::new(),
            left_out: BTreeMap::new(),
        }
    }

    /// Opens every account that is posted to and was never opened, on the day of its first posting.
    pub fn open_what_is_used(&mut self) {
        let mut first: BTreeMap<&str, (Date, &Place)> = BTreeMap::new();
        for entry in &self.entries {
            let Entry::Transaction(transaction) = entry else { continue };
            for posting in &transaction.postings {
                let day = (transaction.date, &posting.place);
                let known = first.entry(&posting.account).or_insert(day);
                *known = day.min(*known);
            }
        }
        for (name, (opened, place)) in first {
            if !self.accounts.contains_key(name) {
                let account = Account::opened_at(place.clone(), opened);
                self.accounts.insert(name.to_owned(), account);
            }
        }
    }
}

/// A directive that moves or asserts money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Moves money.
    Transaction(Transaction),
    /// Asserts an account's balance at the beginning of a day.
    Balance(Assertion),
    /// Lets the next failing assertion of an account be met by a transaction from another.
    Pad(Pad),
}

/// A balance assertion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assertion {
    /// Where it stands.
    pub place: Place,
    /// The day whose beginning it speaks of.
    pub date: Date,
    /// The account; accounts below it count too.
    pub account: String,
    /// What it should hold.
    pub number: Decimal,
    /// Of what.
    pub commodity: String,
    /// The difference allowed, if given.
    pub tolerance: Option<Decimal>,
}

/// A pad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pad {
    /// Where it stands.
    pub place: Place,
    /// The day of the transactions it makes.
    pub date: Date,
    /// The account to fill up.
    pub account: String,
    /// The account to take from.
    pub source: String,
}

/// A transaction as read: amounts may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Where it begins.
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
    /// In the order of the file.
    pub postings: Vec<Posting>,
}

/// A posting as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    /// Where it stands.
    pub place: Place,
    /// A flag of its own.
    pub flag: Option<char>,
    /// The account.
    pub account: String,
    /// None: to be filled in.
    pub number: Option<Decimal>,
    /// None: to be inferred.
    pub commodity: Option<String>,
    /// The cost of the lot, if it is held or taken at cost.
    pub cost: Option<Cost>,
    /// The price, if it is exchanged at a price.
    pub price: Option<Price>,
    /// Cost and price as an export has to write them.
    pub terms: String,
    /// What the account should hold of the commodity afterwards (ledger-cli).
    pub assertion: Option<(Decimal, String)>,
    /// Free.
    pub metadata: Pairs,
}

/// A cost as read; what is missing is matched or filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Per unit.
    pub per_unit: Option<Decimal>,
    /// For all units together, on top of the cost per unit.
    pub total: Option<Decimal>,
    /// The commodity of the cost.
    pub commodity: Option<String>,
    /// The day the lot was acquired.
    pub date: Option<Date>,
    /// The lot's label.
    pub label: Option<String>,
}

/// A price as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Price {
    /// None: to be filled in.
    pub number: Option<Decimal>,
    /// None: to be inferred.
    pub commodity: Option<String>,
    /// Whether the number is for all units together.
    pub total: bool,
}
