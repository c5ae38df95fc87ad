//! Numbers and arithmetic expressions as journals write them: `1,000.00`, `-3`, `(2 + 3) * 4.5`. Exact: what has no
//! value of at most 28 digits is an error. The value keeps the decimal places of the text.

use rust_decimal::Decimal;

use super::problem::Reason;

/// Parentheses inside parentheses at most: a text cannot exhaust the stack.
const DEPTH_MAX: u32 = 64;

/// The expression at the beginning of `text` and the bytes it takes; None if there is none.
pub fn expression(text: &str) -> Result<Option<(Decimal, usize)>, Reason> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || "+-(".contains(c)) {
        return Ok(None);
    }
    let mut reader = Reader { text, at: 0, depth: 0 };
    let value = reader.sum()?;
    Ok(Some((value, text[..reader.at].trim_end().len())))
}

/// A plain number: digits, commas between them, one dot.
pub fn plain(text: &str) -> Option<Decimal> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let whole = digits.split('.').next().unwrap_or_default();
    let only = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b',');
    let commas_right =
        !digits.starts_with(',') && !whole.ends_with(',') && !digits[whole.len()..].contains(',');
    if !only || !commas_right || whole.is_empty() {
        return None;
    }
    let clean = digits.replace(',', "");
    Decimal::from_str_exact(&format!("{sign}{}", clean.strip_suffix('.').unwrap_or(&clean))).ok()
}

/// A quotient with the places it needs, and no fewer than its operands imply.
fn quotient(value: Decimal, by: Decimal) -> Option<Decimal> {
    let mut result = value.checked_div(by)?.normalize();
    let implied = value.scale().saturating_sub(by.scale());
    if result.scale() < implied {
        result.rescale(implied);
    }
    Some(result)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

impl Reader<'_> {
    fn blanks(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
    }

    /// Takes one of `operators` if it comes next; otherwise blanks before it stay untouched.
    fn operator(&mut self, operators: &str) -> Option<char> {
        let before = self.at;
        self.blanks();
        let mut next = self.text[self.at..].chars();
        let found = next.next().filter(|c| operators.contains(*c));
        // The slash of a futures contract, as in `2 /ESH21`, divides nothing.
        let name = found == Some('/') && next.next().is_some_and(|c| c.is_ascii_uppercase());
        match found.filter(|_| !name) {
            Some(found) => {
                self.at += 1;
                Some(found)
            }
            None => {
                self.at = before;
                None
            }
        }
    }

    fn bad(&self) -> Reason {
        Reason::Number { text: format!("`{}`", self.text.chars().take(40).collect::<String>()) }
    }

    fn sum(&mut self) -> Result<Decimal, Reason> {
        let mut value = self.product()?;
        while let Some(operator) = self.operator("+-") {
            let right = self.product()?;
            let result = if operator == '+' { value.checked_add(right) } else { value.checked_sub(right) };
            value = result.ok_or_else(|| self.bad())?;
        }
        Ok(value)
    }

    fn product(&mut self) -> Result<Decimal, Reason> {
        let mut value = self.factor()?;
        while let Some(operator) = self.operator("*/") {
            let right = self.factor()?;
            let result = if operator == '*' { value.checked_mul(right) } else { quotient(value, right) };
            value = result.ok_or_else(|| self.bad())?;
        }
        Ok(value)
    }

    fn factor(&mut self) -> Result<Decimal, Reason> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.bad());
        }
        let value = match self.operator("+-(") {
            Some('-') => -self.factor()?,
            Some('(') => {
                let value = self.sum()?;
                self.operator(")").ok_or_else(|| self.bad())?;
                value
            }
            Some(_) => self.factor()?,
            None => self.literal()?,
        };
        self.depth -= 1;
        Ok(value)
    }

    fn literal(&mut self) -> Result<Decimal, Reason> {
        self.blanks();
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',').unwrap_or(rest.len());
        // A comma after the number separates, it does not group.
        let digits = rest[..end].trim_end_matches(',');
        let value = plain(digits).ok_or_else(|| self.bad())?;
        self.at += digits.len();
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Option<(String, usize)> {
        expression(text).unwrap().map(|(value, bytes)| (value.to_string(), bytes))
    }

    #[test]
    fn expressions_are_exact_and_keep_decimals() {
        assert_eq!(value("1,000.00 USD"), Some(("1000.00".into(), 8)));
        assert_eq!(value("-3 USD"), Some(("-3".into(), 2)));
        assert_eq!(value("(2 + 3) * 4.5 X"), Some(("22.5".into(), 13)));
        assert_eq!(value("10 / 4"), Some(("2.5".into(), 6)));
        assert_eq!(value("1 - -2"), Some(("3".into(), 6)));
        assert_eq!(value("5, 6"), Some(("5".into(), 1)));
        assert_eq!(value("7. USD"), Some(("7".into(), 2)));
        assert_eq!(value("2 /ESH21"), Some(("2".into(), 1)));
        assert_eq!(value("USD"), None);
    }

    #[test]
    fn what_has_no_exact_value_is_refused() {
        for bad in ["1/0", "(1", "1 + ", "123456789012345678901234567890", "-", "1..2"] {
            assert!(expression(bad).is_err(), "{bad}");
        }
        assert!(expression(&"(".repeat(10_000)).is_err());
    }
}
