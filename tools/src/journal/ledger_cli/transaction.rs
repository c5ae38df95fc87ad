//! ledger-cli's transactions: header, postings, notes. A lot's cost outweighs its price, as in ledger-cli; lots
//! themselves are not tracked, so an export writes the cost as a price and keeps the original as metadata.

use super::super::date::Date;
use super::super::model::{Posting, Price, Transaction};
use super::super::problem::{Place, Reason};
use super::super::text::{Cursor, quoted};
use super::Context;
use super::amount::{Amount, amount};

/// `DATE[=DATE] [*|!] [(CODE)] DESCRIPTION [; NOTE]`
pub fn header(context: &Context, place: &Place, text: &str) -> Result<Transaction, Reason> {
    let mut cursor = Cursor::new(text);
    let date = date(context, &mut cursor)?;
    let flag = match () {
        () if cursor.eat("!") => '!',
        () => {
            cursor.eat("*");
            '*'
        }
    };
    let mut metadata = Vec::new();
    if cursor.rest().starts_with('(') {
        let end = cursor.rest().find(')').ok_or_else(|| cursor.expected("a code in parentheses"))?;
        let code = cursor.advance(end + 1);
        metadata.push(("code".to_owned(), quoted(&code[1..code.len() - 1])));
    }
    let (description, note) = split_note(cursor.rest());
    let (payee, narration) = match description.split_once(" | ") {
        Some((payee, narration)) => (Some(payee.trim().to_owned()), narration.trim().to_owned()),
        None => (None, description.trim().to_owned()),
    };
    let mut transaction = Transaction {
        place: place.clone(),
        date,
        flag,
        payee,
        narration,
        tags: Vec::new(),
        links: Vec::new(),
        metadata,
        postings: Vec::new(),
    };
    if let Some(text) = note {
        self::note(&mut transaction, text);
    }
    Ok(transaction)
}

/// A day, with the year of a `Y` directive if it names none; a second date after `=` is dropped.
fn date(context: &Context, cursor: &mut Cursor<'_>) -> Result<Date, Reason> {
    let start = cursor.clone();
    let word = cursor.word();
    let first = word.split('=').next().unwrap_or_default();
    let short =
        || context.year.and_then(|year| Date::parse(&format!("{year:04}/{}", first.replace('-', "/"))));
    Date::parse(first).or_else(short).ok_or_else(|| start.expected("a date"))
}

/// An indented line of a transaction.
pub fn line(
    context: &mut Context,
    transaction: &mut Transaction,
    place: &Place,
    text: &str,
) -> Result<(), Reason> {
    if let Some(text) = text.strip_prefix(';') {
        note(transaction, text);
        return Ok(());
    }
    let (posting_text, text) = split_note(text);
    let posting = posting(context, place, posting_text)?;
    transaction.postings.push(posting);
    if let Some(text) = text {
        note(transaction, text);
    }
    Ok(())
}

/// The text before a `;` that follows a blank, and the text after it.
fn split_note(text: &str) -> (&str, Option<&str>) {
    let at = text.match_indices(';').find(|(at, _)| *at == 0 || text[..*at].ends_with([' ', '\t']));
    match at {
        Some((at, _)) => (text[..at].trim_end(), Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// `:tag:tag:` and `key: value` have a meaning; other text is kept as it is.
fn note(transaction: &mut Transaction, text: &str) {
    let text = text.trim();
    let tags = text.strip_prefix(':').and_then(|rest| rest.strip_suffix(':'));
    if let Some(tags) = tags.filter(|tags| !tags.contains(char::is_whitespace)) {
        let fits = |c: char| if c.is_ascii_alphanumeric() || "-_/.".contains(c) { c } else { '-' };
        let tags = tags.split(':').filter(|tag| !tag.is_empty()).map(|tag| tag.chars().map(fits).collect());
        transaction.tags.extend(tags);
        return;
    }
    let pairs = match transaction.postings.last_mut() {
        Some(posting) => &mut posting.metadata,
        None => &mut transaction.metadata,
    };
    let pair = text.split_once(": ").and_then(|(key, value)| Some((key_of(key)?, value)));
    let (key, value) = pair.unwrap_or(("note".to_owned(), text));
    let value = quoted(value.trim());
    match pairs.iter_mut().find(|(known, _)| *known == key) {
        // A note over several lines stays one string.
        Some((_, known)) => {
            known.pop();
            known.push(' ');
            known.push_str(&value[1..]);
        }
        None => pairs.push((key, value)),
    }
}

/// A key as beancount allows it.
fn key_of(text: &str) -> Option<String> {
    let key = text.trim().to_ascii_lowercase().replace(' ', "-");
    let fits = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    (fits && key.len() > 1 && key.starts_with(|c: char| c.is_ascii_lowercase())).then_some(key)
}

fn posting(context: &mut Context, place: &Place, text: &str) -> Result<Posting, Reason> {
    let mut cursor = Cursor::new(text);
    let flag = ["*", "!"].into_iter().find(|flag| cursor.eat(flag)).and_then(|flag| flag.chars().next());
    let rest = cursor.rest();
    if rest.starts_with(['(', '[']) {
        return Err(Reason::Unsupported { what: "a virtual posting" });
    }
    let end = [rest.find("  "), rest.find('\t')].into_iter().flatten().min().unwrap_or(rest.len());
    let account = context.account(cursor.advance(end).trim())?;
    let units = amount(context, &mut cursor)?;
    let terms = terms(context, &mut cursor)?;
    cursor.end()?;
    let (number, commodity) = match units {
        Some((number, commodity)) => (Some(number), commodity),
        None => (None, None),
    };
    if let (Some(number), Some(commodity)) = (number, &commodity) {
        let places = context.decimals.entry(commodity.clone()).or_default();
        *places = number.scale().max(*places);
    }
    let written = terms.price.as_ref().map(write).transpose()?.unwrap_or_default();
    let assertion = match terms.assertion {
        Some((expected, named)) => {
            Some((expected, named.or_else(|| commodity.clone()).ok_or(Reason::NoCommodity)?))
        }
        None => None,
    };
    Ok(Posting {
        place: place.clone(),
        flag,
        account,
        number,
        commodity,
        cost: None,
        price: terms.price,
        terms: written,
        assertion,
        metadata: terms.lot.map(|lot| ("lot".to_owned(), quoted(&lot))).into_iter().collect(),
    })
}

/// What may follow an amount.
#[derive(Default)]
struct Terms {
    price: Option<Price>,
    assertion: Option<Amount>,
    /// The lot and its price as written.
    lot: Option<String>,
}

fn terms(context: &mut Context, cursor: &mut Cursor<'_>) -> Result<Terms, Reason> {
    let mut terms = Terms::default();
    let mut cost = None;
    let start = cursor.rest();
    loop {
        if cursor.rest().starts_with("((") {
            return Err(Reason::Unsupported { what: "a value expression" });
        } else if cursor.eat("{{") {
            cost = Some(price(context, cursor, true, Some("}}"))?);
        } else if cursor.eat("{") {
            cursor.eat("=");
            cost = Some(price(context, cursor, false, Some("}"))?);
        } else if let Some(close) = [("[", "]"), ("(", ")")]
            .into_iter()
            .find_map(|(open, close)| cursor.rest().starts_with(open).then_some(close))
        {
            let end = cursor.rest().find(close).ok_or_else(|| cursor.expected("a closing bracket"))?;
            cursor.advance(end + close.len());
        } else if cursor.eat("@@") {
            terms.price = Some(price(context, cursor, true, None)?);
        } else if cursor.eat("@") {
            terms.price = Some(price(context, cursor, false, None)?);
        } else {
            break;
        }
    }
    let written = start[..start.len() - cursor.rest().len()].trim();
    if let Some(cost) = cost {
        terms.lot = Some(written.to_owned());
        terms.price = Some(cost);
    }
    if cursor.eat("==") || cursor.eat("=") {
        terms.assertion = Some(amount(context, cursor)?.ok_or_else(|| cursor.expected("an amount"))?);
    }
    Ok(terms)
}

fn price(
    context: &mut Context,
    cursor: &mut Cursor<'_>,
    total: bool,
    close: Option<&str>,
) -> Result<Price, Reason> {
    cursor.eat("=");
    let (number, commodity) = amount(context, cursor)?.ok_or_else(|| cursor.expected("a price"))?;
    if close.is_some_and(|close| !cursor.eat(close)) {
        return Err(cursor.expected("the end of the cost"));
    }
    Ok(Price { number: Some(number), commodity, total })
}

/// The price in beancount's spelling.
fn write(price: &Price) -> Result<String, Reason> {
    let at = if price.total { "@@" } else { "@" };
    match (&price.number, &price.commodity) {
        (Some(number), Some(commodity)) => Ok(format!("{at} {number} {commodity}")),
        _ => Err(Reason::NoCommodity),
    }
}
