//! Text into logical lines and tokens: what the readers of both formats share. A logical line is a line without its
//! comment, or several when a string runs over line ends. Knows no directive.

use rust_decimal::Decimal;

use super::date::Date;
use super::number;
use super::problem::Reason;

/// A line as a directive sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The number of its first line, from 1.
    pub number: u32,
    /// Whether it begins with a blank: it belongs to the directive above.
    pub indented: bool,
    /// Without indentation, comment and trailing blanks.
    pub text: String,
}

/// The lines of a beancount text that say something. `Err` carries the line of a string that is never closed.
pub fn logical_lines(text: &str) -> Result<Vec<Line>, u32> {
    let mut lines = Vec::new();
    let mut open: Option<Line> = None;
    for (number, raw) in (1u32..).zip(text.lines()) {
        // Headings of org-mode and the like: any text may follow, quotes included.
        if open.is_none() && raw.starts_with(['*', ':', '#', '!', '&', '?', '%']) {
            continue;
        }
        let in_string = open.is_some();
        let (kept, still_open) = cut_comment(raw, in_string);
        let mut line = match open.take() {
            Some(mut line) => {
                line.text.push('\n');
                line.text.push_str(kept);
                line
            }
            None => Line { number, indented: raw.starts_with([' ', '\t']), text: kept.to_owned() },
        };
        if still_open {
            open = Some(line);
            continue;
        }
        line.text = line.text.trim().to_owned();
        if !line.text.is_empty() {
            lines.push(line);
        }
    }
    match open {
        Some(line) => Err(line.number),
        None => Ok(lines),
    }
}

/// The line up to a `;` outside a string, and whether a string is open at its end.
fn cut_comment(line: &str, mut in_string: bool) -> (&str, bool) {
    let mut escaped = false;
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b';' if !in_string => return (&line[..at], false),
            _ => {}
        }
    }
    (line, in_string)
}

/// Reads tokens from the front of a line.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    /// At the beginning of `text`.
    pub fn new(text: &'a str) -> Self {
        Cursor { rest: text.trim_start() }
    }

    /// What is left, without leading blanks.
    pub fn rest(&self) -> &'a str {
        self.rest
    }

    /// The error that something else was expected here.
    pub fn expected(&self, expected: &'static str) -> Reason {
        let found = match self.rest.is_empty() {
            true => "the end of the line".to_owned(),
            false => format!("`{}`", self.rest.chars().take(40).collect::<String>()),
        };
        Reason::Expected { expected, found }
    }

    /// Nothing may be left.
    pub fn end(&self) -> Result<(), Reason> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.expected("the end of the line")) }
    }

    /// Goes on after `bytes` bytes and the blanks that follow; returns the bytes passed.
    pub fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest.trim_start();
        taken
    }

    /// Takes `token` if it comes next.
    pub fn eat(&mut self, token: &str) -> bool {
        let next = self.rest.starts_with(token);
        if next {
            self.advance(token.len());
        }
        next
    }

    /// Everything up to the next blank.
    pub fn word(&mut self) -> &'a str {
        let end = self.rest.find(char::is_whitespace).unwrap_or(self.rest.len());
        self.advance(end)
    }

    /// A string in quotes, its escapes resolved, if one comes next.
    pub fn string(&mut self) -> Option<String> {
        let mut chars = self.rest.char_indices();
        chars.next().filter(|&(_, c)| c == '"')?;
        let mut value = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.advance(at + 1);
                    return Some(value);
                }
                '\\' => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    't' => value.push('\t'),
                    'r' => value.push('\r'),
                    other => value.push(other),
                },
                other => value.push(other),
            }
        }
        None
    }

    /// A day, if one comes next.
    pub fn date(&mut self) -> Option<Date> {
        let end =
            self.rest.find(|c: char| !c.is_ascii_digit() && !"-/.".contains(c)).unwrap_or(self.rest.len());
        let date = Date::parse(&self.rest[..end])?;
        self.advance(end);
        Some(date)
    }

    /// A number or an expression of numbers, if one comes next.
    pub fn number(&mut self) -> Result<Option<Decimal>, Reason> {
        let Some((value, bytes)) = number::expression(self.rest)? else {
            return Ok(None);
        };
        self.advance(bytes);
        Ok(Some(value))
    }

    /// A beancount commodity, if one comes next.
    pub fn commodity(&mut self) -> Option<&'a str> {
        let fits = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "'._-".contains(c);
        let body = self.rest.strip_prefix('/').unwrap_or(self.rest);
        let slash = self.rest.len() - body.len();
        let end = slash + body.find(|c: char| !fits(c)).unwrap_or(body.len());
        let text = &self.rest[..end];
        let begins = text.starts_with(|c: char| c.is_ascii_uppercase() || c == '/');
        let ends = text.ends_with(|c: char| c.is_ascii_uppercase() || c.is_ascii_digit());
        let whole = !self.rest[end..].starts_with(|c: char| c.is_alphanumeric() || c == ':');
        (begins && ends && whole && text.contains(|c: char| c.is_ascii_uppercase()))
            .then(|| self.advance(end))
    }

    /// A beancount account name, if one comes next.
    pub fn account(&mut self) -> Option<&'a str> {
        let end =
            self.rest.find(|c: char| !(c.is_alphanumeric() || ":-".contains(c))).unwrap_or(self.rest.len());
        is_account(&self.rest[..end]).then(|| self.advance(end))
    }
}

/// Whether `name` is an account name of beancount: parts joined by colons, each beginning with a capital (or, after the
/// first, a digit).
pub fn is_account(name: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || c == '-';
    let part = |(nth, part): (usize, &str)| {
        part.starts_with(|c: char| c.is_uppercase() || (nth > 0 && c.is_numeric())) && part.chars().all(fits)
    };
    name.contains(':') && name.split(':').enumerate().all(part)
}

/// `text` as a string of beancount.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_lose_comments_and_join_strings() {
        let lines =
            logical_lines("* \"heading\n2020-01-01 query \"a;b\" \"SELECT ;\n x\" ; note\n  k: 1;\n\n;\n")
                .unwrap();
        let texts: Vec<_> = lines.iter().map(|l| (l.number, l.indented, l.text.as_str())).collect();
        assert_eq!(texts, [(2, false, "2020-01-01 query \"a;b\" \"SELECT ;\n x\""), (4, true, "k: 1")]);
        assert_eq!(logical_lines("\n2020-01-01 * \"never\n"), Err(2));
    }

    #[test]
    fn tokens_are_taken_in_turn() {
        let mut cursor =
            Cursor::new("2020-01-02 Assets:US:Bank-1  -1,000.50 USD {} \"say \\\"hi\\\"\" /ESH21 x");
        assert_eq!(cursor.date().unwrap().to_string(), "2020-01-02");
        assert_eq!(cursor.account(), Some("Assets:US:Bank-1"));
        assert_eq!(cursor.number().unwrap(), Some(Decimal::new(-100_050, 2)));
        assert_eq!(cursor.commodity(), Some("USD"));
        assert!(cursor.eat("{") && cursor.eat("}"));
        assert_eq!(cursor.string().unwrap(), "say \"hi\"");
        assert_eq!(cursor.commodity(), Some("/ESH21"));
        assert_eq!(cursor.commodity(), None);
        assert_eq!(cursor.word(), "x");
        cursor.end().unwrap();
    }

    #[test]
    fn account_names_begin_with_capitals() {
        assert!(is_account("Assets:401k:Bär") && is_account("Équité:X"));
        for bad in ["Assets", "assets:Bank", "Assets:bank", "Assets:", "Assets:A B", "1Assets:B"] {
            assert!(!is_account(bad), "{bad}");
        }
    }

    #[test]
    fn quoting_is_undone_by_reading() {
        let text = "back\\slash \"quote\" end";
        assert_eq!(Cursor::new(&quoted(text)).string().unwrap(), text);
    }
}
