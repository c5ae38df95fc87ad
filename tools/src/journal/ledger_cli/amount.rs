//! ledger-cli's amounts: the commodity before or after the number, in quotes or not, the sign before either.

use rust_decimal::Decimal;

use super::super::number;
use super::super::problem::Reason;
use super::super::text::Cursor;
use super::Context;

/// A number with its commodity, if it names one.
pub type Amount = (Decimal, Option<String>);

/// The amount at the cursor, if there is one.
pub fn amount(context: &mut Context, cursor: &mut Cursor<'_>) -> Result<Option<Amount>, Reason> {
    if cursor.rest().starts_with('(') {
        return Err(Reason::Unsupported { what: "an amount that is an expression" });
    }
    if cursor.rest().is_empty() || cursor.rest().starts_with(['=', '@', '{', '[', ';']) {
        return Ok(None);
    }
    let mut negative = cursor.eat("-");
    let before = symbol(cursor)?;
    negative ^= cursor.eat("-");
    cursor.eat("+");
    let digits = digits(cursor)?;
    let after = match before {
        Some(_) => None,
        None => symbol(cursor)?,
    };
    let number = if negative { -digits } else { digits };
    match before.or(after) {
        Some(symbol) => Ok(Some((number, Some(context.symbol(&symbol)?)))),
        None => Ok(Some((number, context.commodity.clone()))),
    }
}

fn digits(cursor: &mut Cursor<'_>) -> Result<Decimal, Reason> {
    let rest = cursor.rest();
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',').unwrap_or(rest.len());
    if end == 0 {
        return Err(cursor.expected("a number"));
    }
    let value = number::plain(&rest[..end]).ok_or_else(|| Reason::Number { text: rest[..end].to_owned() })?;
    cursor.advance(end);
    Ok(value)
}

fn symbol(cursor: &mut Cursor<'_>) -> Result<Option<String>, Reason> {
    if cursor.rest().starts_with('"') {
        return cursor.string().map(Some).ok_or(Reason::OpenString);
    }
    let fits = |c: char| !c.is_whitespace() && !c.is_ascii_digit() && !"-+.,;=@{}[]()\"*/^&|!?<>".contains(c);
    let rest = cursor.rest();
    let end = rest.find(|c| !fits(c)).unwrap_or(rest.len());
    Ok((end > 0).then(|| cursor.advance(end).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commodities_stand_before_or_after() {
        let mut context = Context { commodity: Some("CHF".into()), ..Context::default() };
        for (text, number, commodity) in [
            ("$1,234.50", "1234.50", "USD"),
            ("-$3", "-3", "USD"),
            ("$-3.0", "-3.0", "USD"),
            ("10 EUR", "10", "EUR"),
            ("10.5EUR", "10.5", "EUR"),
            ("- 2 \"my fund\"", "-2", "MY-FUND"),
            ("\"my fund\" 2", "2", "MY-FUND"),
            ("7", "7", "CHF"),
        ] {
            let read = amount(&mut context, &mut Cursor::new(text)).unwrap().unwrap();
            assert_eq!((read.0.to_string().as_str(), read.1.as_deref()), (number, Some(commodity)), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for bad in ["(1+2) EUR", "EUR", "1.000,00 EUR", "\"open 3"] {
            assert!(amount(&mut Context::default(), &mut Cursor::new(bad)).is_err(), "{bad}");
        }
    }
}
