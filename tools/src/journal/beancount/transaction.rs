//! beancount's transactions: header, postings, costs and prices. Spelling only; missing amounts stay missing.

use super::super::date::Date;
use super::super::model::{Cost, Posting, Price, Transaction};
use super::super::problem::{Place, Problem, Reason};
use super::super::text::{Cursor, Line};
use super::pair;

/// Whether a letter may flag a transaction or a posting.
pub fn is_flag(letter: char) -> bool {
    letter.is_ascii_uppercase() || "*!&#?%".contains(letter)
}

/// What follows the flag: payee and narration, tags and links.
pub fn header(place: &Place, date: Date, flag: char, cursor: &mut Cursor<'_>) -> Result<Transaction, Reason> {
    let (first, second) = (cursor.string(), cursor.string());
    let (payee, narration) = match (first, second) {
        (Some(payee), Some(narration)) => (Some(payee), narration),
        (narration, _) => (None, narration.unwrap_or_default()),
    };
    let mut transaction = Transaction {
        place: place.clone(),
        date,
        flag,
        payee,
        narration,
        tags: Vec::new(),
        links: Vec::new(),
        metadata: Vec::new(),
        postings: Vec::new(),
    };
    marks(&mut transaction, cursor)?;
    cursor.end()?;
    Ok(transaction)
}

/// `#tag` and `^link`, any number of them.
fn marks(transaction: &mut Transaction, cursor: &mut Cursor<'_>) -> Result<(), Reason> {
    loop {
        let list = match cursor.rest().chars().next() {
            Some('#') => &mut transaction.tags,
            Some('^') => &mut transaction.links,
            _ => return Ok(()),
        };
        cursor.advance(1);
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_/.".contains(c);
        let rest = cursor.rest();
        let end = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        if end == 0 {
            return Err(cursor.expected("a tag or a link"));
        }
        let name = cursor.advance(end).to_owned();
        if !list.contains(&name) {
            list.push(name);
        }
    }
}

/// The indented lines: postings and metadata. Gives what is wrong with them, line by line.
pub fn body(transaction: &mut Transaction, lines: &[Line]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for line in lines {
        let place = Place { file: transaction.place.file.clone(), line: line.number };
        if let Err(reason) = body_line(transaction, &place, &line.text) {
            problems.push(Problem { place, reason });
        }
    }
    problems
}

fn body_line(transaction: &mut Transaction, place: &Place, text: &str) -> Result<(), Reason> {
    if let Some(pair) = pair(text) {
        let target = transaction.postings.last_mut().map(|p| &mut p.metadata);
        target.unwrap_or(&mut transaction.metadata).push(pair);
        return Ok(());
    }
    let mut cursor = Cursor::new(text);
    let mark = text.starts_with('^') || (text.starts_with('#') && !text.starts_with("# "));
    if mark {
        marks(transaction, &mut cursor)?;
    } else {
        transaction.postings.push(posting(place, &mut cursor)?);
    }
    cursor.end()
}

fn posting(place: &Place, cursor: &mut Cursor<'_>) -> Result<Posting, Reason> {
    let mut letters = cursor.rest().chars();
    let flag = letters.next().filter(|&letter| is_flag(letter));
    let flag = flag.filter(|_| letters.next().is_some_and(char::is_whitespace));
    if flag.is_some() {
        cursor.advance(1);
    }
    let account = cursor.account().ok_or_else(|| cursor.expected("an account"))?.to_owned();
    let number = cursor.number()?;
    let commodity = cursor.commodity().map(str::to_owned);
    let terms = cursor.rest().to_owned();
    let cost = cost(cursor)?;
    let price = price(cursor)?;
    Ok(Posting {
        place: place.clone(),
        flag,
        account,
        number,
        commodity,
        cost,
        price,
        terms,
        assertion: None,
        metadata: Vec::new(),
    })
}

fn cost(cursor: &mut Cursor<'_>) -> Result<Option<Cost>, Reason> {
    let (all_units, close) = match () {
        () if cursor.eat("{{") => (true, "}}"),
        () if cursor.eat("{") => (false, "}"),
        () => return Ok(None),
    };
    let mut cost = Cost::default();
    while !cursor.eat(close) {
        if cursor.eat("*") {
            return Err(Reason::Unsupported { what: "a cost merged over lots" });
        } else if let Some(date) = cursor.date() {
            cost.date = Some(date);
        } else if let Some(label) = cursor.string() {
            cost.label = Some(label);
        } else {
            cost_amount(&mut cost, cursor)?;
        }
        if !cursor.eat(",") && !cursor.rest().starts_with(close) {
            return Err(cursor.expected("the end of the cost"));
        }
    }
    if all_units {
        cost.total = cost.per_unit.take();
    }
    Ok(Some(cost))
}

/// `[NUMBER] [# NUMBER] COMMODITY`, any part missing.
fn cost_amount(cost: &mut Cost, cursor: &mut Cursor<'_>) -> Result<(), Reason> {
    let before = cursor.rest().len();
    cost.per_unit = cursor.number()?;
    if cursor.eat("#") {
        cost.total = cursor.number()?;
    }
    cost.commodity = cursor.commodity().map(str::to_owned);
    if cursor.rest().len() == before { Err(cursor.expected("a cost")) } else { Ok(()) }
}

fn price(cursor: &mut Cursor<'_>) -> Result<Option<Price>, Reason> {
    let total = match () {
        () if cursor.eat("@@") => true,
        () if cursor.eat("@") => false,
        () => return Ok(None),
    };
    let number = cursor.number()?;
    let commodity = cursor.commodity().map(str::to_owned);
    Ok(Some(Price { number, commodity, total }))
}
