//! Reads beancount: text in, [`Journal`] out. Directives stand here, transactions in [`transaction`]. Checks spelling
//! only; whether the journal balances is [`super::book`]'s business. The loop over files and lines is [`super::sources`]'.

mod transaction;

use std::path::Path;

use super::Load;
use super::date::Date;
use super::model::{Account, Assertion, Booking, Entry, Format, Journal, Pad, Pairs};
use super::problem::{Place, Problem, Problems, Reason, unless};
use super::sources::{self, Reader as _, Sources};
use super::text::{Cursor, Line, logical_lines};

/// Reads the journal at `path` and what it includes.
pub fn read(path: &Path, load: Load<'_>) -> Result<Journal, Problems> {
    let mut reader = Reader {
        sources: Sources::new(load),
        journal: Journal::new(Format::Beancount, sources::start_of(path)),
        closings: Vec::new(),
        tags: Vec::new(),
        pairs: Vec::new(),
    };
    reader.first(path);
    reader.close_accounts();
    let Reader { mut journal, sources, .. } = reader;
    journal.entries.sort_by_key(order);
    if journal.options.auto_open {
        journal.open_what_is_used();
    }
    unless(sources.problems, journal)
}

/// beancount's own order: by day, assertions first, then by line.
fn order(entry: &Entry) -> (Date, u8, u32) {
    match entry {
        Entry::Balance(balance) => (balance.date, 0, balance.place.line),
        Entry::Pad(pad) => (pad.date, 1, pad.place.line),
        Entry::Transaction(transaction) => (transaction.date, 1, transaction.place.line),
    }
}

struct Reader<'a> {
    sources: Sources<'a>,
    journal: Journal,
    /// Closings may stand before their openings in the text.
    closings: Vec<(Place, String, Date)>,
    /// Pushed tags and metadata, for every transaction that follows.
    tags: Vec<String>,
    pairs: Pairs,
}

/// A directive: a line, and the indented lines under it.
struct Block {
    head: Line,
    body: Vec<Line>,
}

impl<'a> sources::Reader<'a> for Reader<'a> {
    type Item = Block;

    fn sources(&mut self) -> &mut Sources<'a> {
        &mut self.sources
    }

    fn split(text: &str) -> Result<Vec<(u32, Block)>, u32> {
        let mut blocks: Vec<(u32, Block)> = Vec::new();
        for line in logical_lines(text)? {
            match blocks.last_mut().filter(|_| line.indented) {
                Some((_, block)) => block.body.push(line),
                None => blocks.push((line.number, Block { head: line, body: Vec::new() })),
            }
        }
        Ok(blocks)
    }

    fn item(&mut self, place: &Place, Block { head, body }: Block) -> Result<(), Reason> {
        match head.indented {
            true => Err(Reason::Expected { expected: "a directive", found: format!("`{}`", head.text) }),
            false => self.directive(place, &head, &body),
        }
    }
}

impl Reader<'_> {
    fn directive(&mut self, place: &Place, head: &Line, body: &[Line]) -> Result<(), Reason> {
        let mut cursor = Cursor::new(&head.text);
        match cursor.date() {
            Some(date) => self.dated(place, date, &mut cursor, body),
            None => {
                self.only_metadata(place, body);
                self.undated(&mut cursor)
            }
        }
    }

    fn undated(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Reason> {
        let start = cursor.clone();
        match cursor.word() {
            "option" => {
                let name = cursor.string().ok_or_else(|| cursor.expected("the option's name in quotes"))?;
                let value = cursor.string().ok_or_else(|| cursor.expected("the option's value in quotes"))?;
                // As in beancount, only the file named first sets options.
                if self.sources.at_first() {
                    self.option(name, value)?
                }
            }
            "plugin" => {
                let name = cursor.string().ok_or_else(|| cursor.expected("the plugin's name in quotes"))?;
                cursor.string();
                match name.as_str() {
                    "beancount.plugins.auto_accounts" | "beancount.plugins.auto" => {
                        self.journal.options.auto_open = true;
                    }
                    _ => self.leave_out("plugin"),
                }
            }
            "include" => {
                let name = cursor.string().ok_or_else(|| cursor.expected("a file's name in quotes"))?;
                self.include(&name)?;
            }
            "pushtag" => self.tags.push(tag(cursor)?),
            "poptag" => {
                let tag = tag(cursor)?;
                self.tags.retain(|pushed| *pushed != tag);
            }
            "pushmeta" => {
                let pair = pair(cursor.rest()).ok_or_else(|| cursor.expected("`key: value`"))?;
                cursor.advance(cursor.rest().len());
                self.pairs.push(pair);
            }
            "popmeta" => {
                let (key, _) = pair(cursor.rest()).ok_or_else(|| cursor.expected("`key:`"))?;
                cursor.advance(cursor.rest().len());
                self.pairs.retain(|(pushed, _)| *pushed != key);
            }
            _ => return Err(start.expected("a directive")),
        }
        cursor.end()
    }

    fn option(&mut self, name: String, value: String) -> Result<(), Reason> {
        let options = &mut self.journal.options;
        let number = |text: &str| {
            super::number::plain(text.trim()).ok_or_else(|| Reason::Expected {
                expected: "a number as the option's value",
                found: format!("`{value}`"),
            })
        };
        let root = ["name_assets", "name_liabilities", "name_equity", "name_income", "name_expenses"];
        match name.as_str() {
            "title" | "operating_currency" => {}
            "booking_method" => options.booking = booking(&value)?,
            "tolerance_multiplier" | "inferred_tolerance_multiplier" => {
                options.tolerance_multiplier = number(&value)?;
            }
            "infer_tolerance_from_cost" => options.tolerance_from_cost = value.eq_ignore_ascii_case("true"),
            "inferred_tolerance_default" | "default_tolerance" => {
                let (commodity, tolerance) = value.split_once(':').unwrap_or(("*", &value));
                options.tolerance_default.insert(commodity.to_owned(), number(tolerance)?);
            }
            other => match root.iter().position(|known| *known == other) {
                Some(nth) => options.roots[nth] = value.clone(),
                None => return Ok(()),
            },
        }
        options.kept.push((name, value));
        Ok(())
    }

    fn dated(
        &mut self,
        place: &Place,
        date: Date,
        cursor: &mut Cursor<'_>,
        body: &[Line],
    ) -> Result<(), Reason> {
        let start = cursor.clone();
        let word = cursor.word();
        if let Some(flag) = flag(word) {
            return self.transaction(place, date, flag, cursor, body);
        }
        self.only_metadata(place, body);
        match word {
            "open" => return self.open(place, date, cursor, body),
            "close" => {
                let account = account(cursor)?;
                self.closings.push((place.clone(), account, date));
            }
            "balance" => {
                let balance = assertion(place, date, cursor)?;
                self.journal.entries.push(Entry::Balance(balance));
            }
            "pad" => {
                let (account, source) = (account(cursor)?, account(cursor)?);
                let pad = Pad { place: place.clone(), date, account, source };
                self.journal.entries.push(Entry::Pad(pad));
            }
            "commodity" => return self.passive("commodity"),
            "price" => return self.passive("price"),
            "event" => return self.passive("event"),
            "note" => return self.passive("note"),
            "document" => return self.passive("document"),
            "query" => return self.passive("query"),
            "custom" => return self.passive("custom"),
            _ => return Err(start.expected("a directive")),
        }
        cursor.end()
    }

    /// Under a directive other than a transaction an indented line can only be metadata: a posting there is misplaced.
    fn only_metadata(&mut self, place: &Place, body: &[Line]) {
        for line in body.iter().filter(|line| pair(&line.text).is_none()) {
            let place = Place { file: place.file.clone(), line: line.number };
            let reason = Cursor::new(&line.text).expected("`key: value`");
            self.sources.problems.push(Problem { place, reason });
        }
    }

    /// A directive that moves no money: it stays in the file.
    fn passive(&mut self, kind: &'static str) -> Result<(), Reason> {
        self.leave_out(kind);
        Ok(())
    }

    fn leave_out(&mut self, kind: &'static str) {
        *self.journal.left_out.entry(kind).or_default() += 1;
    }

    fn open(
        &mut self,
        place: &Place,
        date: Date,
        cursor: &mut Cursor<'_>,
        body: &[Line],
    ) -> Result<(), Reason> {
        let name = account(cursor)?;
        let mut account = Account::opened_at(place.clone(), date);
        while let Some(commodity) = cursor.commodity() {
            account.commodities.push(commodity.to_owned());
            if !cursor.eat(",") {
                break;
            }
        }
        if let Some(method) = cursor.string() {
            account.booking = Some(booking(&method)?);
        }
        cursor.end()?;
        account.metadata = body.iter().filter_map(|line| pair(&line.text)).collect();
        if let Some(known) = self.journal.accounts.get(&name) {
            return Err(Reason::OpenedTwice { account: name, first: known.place.clone() });
        }
        self.journal.accounts.insert(name, account);
        Ok(())
    }

    fn close_accounts(&mut self) {
        for (place, name, date) in std::mem::take(&mut self.closings) {
            match self.journal.accounts.get_mut(&name) {
                Some(account) => account.closed = Some(date),
                None => {
                    let reason = Reason::NotOpen { account: name, date };
                    self.sources.problems.push(Problem { place, reason });
                }
            }
        }
    }

    fn transaction(
        &mut self,
        place: &Place,
        date: Date,
        flag: char,
        cursor: &mut Cursor<'_>,
        body: &[Line],
    ) -> Result<(), Reason> {
        let mut read = transaction::header(place, date, flag, cursor)?;
        for tag in &self.tags {
            if !read.tags.contains(tag) {
                read.tags.push(tag.clone());
            }
        }
        let problems = transaction::body(&mut read, body);
        for (key, value) in &self.pairs {
            if !read.metadata.iter().any(|(own, _)| own == key) {
                read.metadata.push((key.clone(), value.clone()));
            }
        }
        self.sources.problems.extend(problems);
        self.journal.entries.push(Entry::Transaction(read));
        Ok(())
    }
}

/// The flag of a transaction: `txn`, or a letter.
fn flag(word: &str) -> Option<char> {
    let mut letters = word.chars();
    match (word, letters.next(), letters.next()) {
        ("txn", ..) => Some('*'),
        (_, Some(flag), None) if transaction::is_flag(flag) => Some(flag),
        _ => None,
    }
}

fn account(cursor: &mut Cursor<'_>) -> Result<String, Reason> {
    cursor.account().map(str::to_owned).ok_or_else(|| cursor.expected("an account"))
}

fn tag(cursor: &mut Cursor<'_>) -> Result<String, Reason> {
    match cursor.eat("#") {
        true => Ok(cursor.word().to_owned()),
        false => Err(cursor.expected("a #tag")),
    }
}

fn assertion(place: &Place, date: Date, cursor: &mut Cursor<'_>) -> Result<Assertion, Reason> {
    let account = account(cursor)?;
    let number = cursor.number()?.ok_or_else(|| cursor.expected("a number"))?;
    let tolerance = match cursor.eat("~") {
        true => Some(cursor.number()?.ok_or_else(|| cursor.expected("the tolerance"))?),
        false => None,
    };
    let commodity = cursor.commodity().ok_or_else(|| cursor.expected("a commodity"))?.to_owned();
    Ok(Assertion { place: place.clone(), date, account, number, commodity, tolerance })
}

/// `key: value`, the value as written, but on one line.
fn pair(text: &str) -> Option<(String, String)> {
    let (key, value) = text.split_once(':')?;
    let begins = key.starts_with(|c: char| c.is_ascii_lowercase());
    let fits = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    (begins && fits && is_value(value)).then(|| (key.to_owned(), value.trim().replace('\n', "\\n")))
}

/// Whether the text is one value of metadata: `assets:Bank 1 USD` is a misspelt posting, not a key and its value.
fn is_value(text: &str) -> bool {
    let mut cursor = Cursor::new(text);
    let marked = cursor.eat("#") || cursor.eat("^");
    if marked {
        cursor.word();
    } else if cursor.string().is_none() && cursor.date().is_none() && cursor.account().is_none() {
        // A number, a commodity, an amount, TRUE, NULL, or nothing at all.
        if cursor.number().is_err() {
            return false;
        }
        cursor.commodity();
    }
    cursor.end().is_ok()
}

fn booking(name: &str) -> Result<Booking, Reason> {
    if name == "AVERAGE" {
        return Err(Reason::Unsupported { what: "booking at average cost" });
    }
    let unknown = || Reason::Expected { expected: "a booking method", found: format!("`{name}`") };
    Booking::named(name).ok_or_else(unknown)
}
