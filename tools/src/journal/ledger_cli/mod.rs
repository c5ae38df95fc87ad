//! Reads a sensible part of ledger-cli's format (much of hledger's is the same): text in, [`Journal`] out, with accounts
//! and commodities under beancount's names. What would change the meaning of amounts if it were skipped (aliases, virtual
//! postings, automated and periodic transactions, amount expressions) is refused by name.

mod amount;
mod transaction;

use std::collections::BTreeMap;
use std::path::Path;

use rust_decimal::Decimal;

use super::Load;
use super::model::{Entry, Format, Journal, Kind, Roots, Transaction};
use super::names;
use super::problem::{Place, Problems, Reason, unless};
use super::sources::{self, Reader as _, Sources};
use super::text::Cursor;

/// Reads the journal at `path` and what it includes; `roots` says what the usual names do not.
pub fn read(path: &Path, load: Load<'_>, roots: &Roots) -> Result<Journal, Problems> {
    let mut reader = Reader {
        sources: Sources::new(load),
        journal: Journal::new(Format::Ledger, sources::start_of(path)),
        context: Context { roots: roots.clone(), ..Context::default() },
        block: Block::Nothing,
    };
    reader.first(path);
    let Reader { mut journal, context, sources, .. } = reader;
    // ledger-cli compares sums at the precision in which a commodity is written.
    journal.options.tolerance_default =
        context.decimals.iter().map(|(name, places)| (name.clone(), Decimal::new(5, places + 1))).collect();
    journal.open_what_is_used();
    for (name, written) in &context.accounts {
        if let Some(account) = journal.accounts.get_mut(name) {
            account.written = (name != written).then(|| written.clone());
        }
    }
    unless(sources.problems, journal)
}

/// What the lines so far have set.
#[derive(Default)]
struct Context {
    /// What kind of account begins with a first part that is none of the usual ones.
    roots: Roots,
    /// The year of dates that name none.
    year: Option<u16>,
    /// The commodity of amounts that name none.
    commodity: Option<String>,
    /// Decimal places seen, by commodity.
    decimals: BTreeMap<String, u32>,
    /// Names as written, by beancount name.
    accounts: BTreeMap<String, String>,
    /// Symbols as written, by beancount name.
    symbols: BTreeMap<String, String>,
}

impl Context {
    /// The beancount name of an account; two accounts must not become one.
    fn account(&mut self, written: &str) -> Result<String, Reason> {
        let Some(name) = names::account(written, &self.roots) else {
            let (account, root) = (written.to_owned(), names::root(written).to_owned());
            // Said once for each root; with any kind the reading goes on, to find what else is wrong.
            self.roots.insert(root.clone(), Kind::Asset);
            return Err(Reason::RootWithoutSubject { account, root });
        };
        distinct(&mut self.accounts, name, written)
    }

    /// The beancount name of a commodity; two commodities must not become one.
    fn symbol(&mut self, written: &str) -> Result<String, Reason> {
        distinct(&mut self.symbols, names::commodity(written), written)
    }
}

fn distinct(known: &mut BTreeMap<String, String>, name: String, written: &str) -> Result<String, Reason> {
    let first = known.entry(name.clone()).or_insert_with(|| written.to_owned());
    if first != written {
        return Err(Reason::SameName { first: first.clone(), second: written.to_owned() });
    }
    Ok(name)
}

/// What the indented lines belong to.
enum Block {
    Nothing,
    Transaction(Transaction),
    /// A directive whose indented lines say nothing about money.
    Skipped,
    /// Text until `end`.
    Comment,
}

struct Reader<'a> {
    sources: Sources<'a>,
    journal: Journal,
    context: Context,
    block: Block,
}

impl<'a> sources::Reader<'a> for Reader<'a> {
    type Item = String;

    fn sources(&mut self) -> &mut Sources<'a> {
        &mut self.sources
    }

    fn split(text: &str) -> Result<Vec<(u32, String)>, u32> {
        Ok((1..).zip(text.lines().map(|line| line.trim_end().to_owned())).collect())
    }

    fn item(&mut self, place: &Place, text: String) -> Result<(), Reason> {
        if let Block::Comment = self.block {
            if text.starts_with("end") {
                self.block = Block::Nothing;
            }
            return Ok(());
        }
        if text.is_empty() || text.starts_with([';', '#', '%', '|', '*']) {
            return Ok(());
        }
        if text.starts_with([' ', '\t']) {
            return match &mut self.block {
                Block::Transaction(open) => {
                    transaction::line(&mut self.context, open, place, text.trim_start())
                }
                Block::Skipped | Block::Comment => Ok(()),
                Block::Nothing if text.trim_start().starts_with(';') => Ok(()),
                Block::Nothing => Err(Cursor::new(&text).expected("a transaction or a directive")),
            };
        }
        self.end();
        let begun = match text.starts_with(|c: char| c.is_ascii_digit()) {
            true => transaction::header(&self.context, place, &text).map(Block::Transaction),
            false => self.directive(&text),
        };
        // What stands under a line that cannot be read is no directive: one problem is enough.
        let (block, done) = match begun {
            Ok(block) => (block, Ok(())),
            Err(reason) => (Block::Skipped, Err(reason)),
        };
        self.block = block;
        done
    }

    fn end(&mut self) {
        if let Block::Transaction(transaction) = std::mem::replace(&mut self.block, Block::Nothing) {
            self.journal.entries.push(Entry::Transaction(transaction));
        }
    }
}

impl Reader<'_> {
    fn directive(&mut self, text: &str) -> Result<Block, Reason> {
        let mut cursor = Cursor::new(text);
        let unsupported = |what| Err(Reason::Unsupported { what });
        match cursor.word() {
            "P" | "price" => self.leave_out("price"),
            "N" | "C" | "payee" | "tag" | "commodity" => self.leave_out("declaration"),
            "account" => {
                self.context.account(cursor.rest())?;
            }
            "D" => {
                let sample = amount::amount(&mut self.context, &mut cursor)?;
                self.context.commodity = sample.and_then(|(_, commodity)| commodity);
            }
            "Y" | "year" => match cursor.word().parse() {
                Ok(year) => self.context.year = Some(year),
                Err(_) => return Err(Cursor::new(text).expected("a year")),
            },
            "include" => {
                let name = cursor.string().unwrap_or_else(|| cursor.rest().to_owned());
                self.include(&name)?;
            }
            "comment" | "test" => return Ok(Block::Comment),
            "~" => return unsupported("a periodic transaction"),
            "=" => return unsupported("an automated transaction"),
            "alias" => return unsupported("an alias"),
            "apply" => return unsupported("an `apply` block"),
            "bucket" | "A" => return unsupported("a default account"),
            "i" | "o" | "I" | "O" => return unsupported("a time log"),
            word if word.starts_with(['~', '=']) => {
                return unsupported("a periodic or automated transaction");
            }
            _ => return Err(Cursor::new(text).expected("a transaction or a directive")),
        }
        Ok(Block::Skipped)
    }

    fn leave_out(&mut self, kind: &'static str) {
        *self.journal.left_out.entry(kind).or_default() += 1;
    }
}
