//! Reads a sensible part of ledger-cli's format (much of hledger's is the same): text in, [`Journal`] out, with accounts
//! and commodities under beancount's names. What would change the meaning of amounts if it were skipped (aliases, virtual
//! postings, automated and periodic transactions, amount expressions) is refused by name.

mod amount;
mod transaction;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rust_decimal::Decimal;

use super::Load;
use super::model::{Entry, Format, Journal, Transaction};
use super::names;
use super::problem::{Place, Problem, Problems, Reason, unless};
use super::text::Cursor;

/// Reads the journal at `path` and what it includes.
pub fn read(path: &Path, load: Load<'_>) -> Result<Journal, Problems> {
    let mut reader = Reader {
        load,
        journal: Journal::new(Format::Ledger),
        context: Context::default(),
        files: Vec::new(),
        problems: Vec::new(),
    };
    if let Err(reason) = reader.file(path) {
        let place = Place { file: path.display().to_string().into(), line: 1 };
        reader.problems.push(Problem { place, reason });
    }
    let Reader { mut journal, context, problems, .. } = reader;
    // ledger-cli compares sums at the precision in which a commodity is written.
    journal.options.tolerance_default =
        context.decimals.iter().map(|(name, places)| (name.clone(), Decimal::new(5, places + 1))).collect();
    journal.open_what_is_used();
    for (name, written) in &context.accounts {
        if let Some(account) = journal.accounts.get_mut(name) {
            account.written = (name != written).then(|| written.clone());
        }
    }
    unless(problems, journal)
}

/// What the lines so far have set.
#[derive(Default)]
struct Context {
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
        let unknown = || Reason::UnknownRoot { account: written.to_owned() };
        let name = names::account(written).ok_or_else(unknown)?;
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
    load: Load<'a>,
    journal: Journal,
    context: Context,
    files: Vec<PathBuf>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn file(&mut self, path: &Path) -> Result<(), Reason> {
        let shown = path.display().to_string();
        if self.files.iter().any(|open| open == path) {
            return Err(Reason::IncludesItself { file: shown });
        }
        let text = (self.load)(path)
            .map_err(|error| Reason::Unreadable { file: shown.clone(), why: error.to_string() })?;
        let file: Arc<str> = shown.into();
        self.files.push(path.to_owned());
        let mut block = Block::Nothing;
        for (line, text) in (1u32..).zip(text.lines()) {
            let place = Place { file: file.clone(), line };
            if let Err(reason) = self.line(&place, text.trim_end(), &mut block) {
                self.problems.push(Problem { place, reason });
            }
        }
        self.finish(block);
        self.files.pop();
        Ok(())
    }

    fn finish(&mut self, block: Block) {
        if let Block::Transaction(transaction) = block {
            self.journal.entries.push(Entry::Transaction(transaction));
        }
    }

    fn line(&mut self, place: &Place, text: &str, block: &mut Block) -> Result<(), Reason> {
        if let Block::Comment = block {
            if text.starts_with("end") {
                *block = Block::Nothing;
            }
            return Ok(());
        }
        if text.is_empty() || text.starts_with([';', '#', '%', '|', '*']) {
            return Ok(());
        }
        if text.starts_with([' ', '\t']) {
            return match block {
                Block::Transaction(open) => {
                    transaction::line(&mut self.context, open, place, text.trim_start())
                }
                Block::Skipped | Block::Comment => Ok(()),
                Block::Nothing if text.trim_start().starts_with(';') => Ok(()),
                Block::Nothing => Err(Cursor::new(text).expected("a transaction or a directive")),
            };
        }
        let open = std::mem::replace(block, Block::Nothing);
        self.finish(open);
        *block = match text.starts_with(|c: char| c.is_ascii_digit()) {
            true => match transaction::header(&self.context, place, text) {
                Ok(open) => Block::Transaction(open),
                Err(reason) => {
                    // Its postings are not directives: one problem is enough.
                    *block = Block::Skipped;
                    return Err(reason);
                }
            },
            false => self.directive(text)?,
        };
        Ok(())
    }

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
                if name.contains(['*', '?', '[']) {
                    return unsupported("an include with a pattern");
                }
                let directory = self.files.last().and_then(|file| file.parent()).unwrap_or(Path::new(""));
                let path = directory.join(name);
                self.file(&path)?;
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
