//! Journals that do not parse or do not balance: the line and the reason, for both formats. Nothing is planned, so
//! nothing can be booked.

use std::io::{Error, ErrorKind};
use std::path::Path;

use twinset_tools::journal::{Format, prepare};

const OPEN: &str =
    "2020-01-01 open Assets:A\n2020-01-01 open Assets:D HOOL,USD \"STRICT\"\n2020-01-01 open Income:B\n";

fn problems(format: Format, text: &str) -> Vec<String> {
    let load = |path: &Path| match path.to_str() {
        Some("j") => Ok(text.to_owned()),
        _ => Err(Error::from(ErrorKind::NotFound)),
    };
    match prepare(format, Path::new("j"), &load, "tag") {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    }
}

fn expect(format: Format, table: &[(&str, &str)], before: &str) {
    for (text, expected) in table {
        let found = problems(format, &format!("{before}{text}"));
        assert!(found.iter().any(|problem| problem.starts_with(expected)), "{text}\n{expected}\n{found:#?}");
    }
}

#[test]
fn beancount_says_where_and_why() {
    let table = [
        (
            "2020-01-02 * \"x\"\n  Assets:A 1.00 USD\n  Income:B -2.00 USD\n",
            "j:4: the transaction does not balance: -1 USD",
        ),
        (
            "2020-01-02 * \"x\"\n  Assets:A 1 USD\n  Income:B -1 EUR\n",
            "j:4: the transaction does not balance",
        ),
        (
            "2020-01-02 * \"x\"\n  Assets:A 1.00 USD\n  Income:C\n",
            "j:6: account Income:C is not open on 2020-01-02",
        ),
        (
            "2019-01-02 * \"x\"\n  Assets:A 1.00 USD\n  Income:B\n",
            "j:5: account Assets:A is not open on 2019-01-02",
        ),
        (
            "2020-01-01 close Assets:A\n2020-01-02 * \"x\"\n  Assets:A 1 USD\n  Income:B\n",
            "j:6: account Assets:A is not",
        ),
        ("2020-01-01 open Assets:A\n", "j:4: account Assets:A was opened already, at j:1"),
        ("2020-01-01 close Assets:Z\n", "j:4: account Assets:Z is not open"),
        ("2020-01-01 open Foo:Z\n", "j:4: account Foo:Z does not begin with"),
        ("2020-01-01 open Assets:Z \"AVERAGE\"\n", "j:4: booking at average cost cannot be imported"),
        ("2020-01-02 * \"x\"\n  Assets:A\n  Income:B\n", "j:4: more than one posting has no amount"),
        (
            "2020-01-02 * \"x\"\n  Assets:A USD\n  Income:B USD\n",
            "j:4: more than one amount is missing for USD",
        ),
        ("2020-01-02 * \"x\"\n  Assets:D 1 EUR\n  Income:B\n", "j:5: account Assets:D does not take EUR"),
        (
            "2020-01-02 * \"x\"\n  Assets:D -1 HOOL {5 USD}\n  Assets:A 5 USD\n2020-01-03 * \"y\"\n  Assets:D 1 HOOL {6 USD}\n  Assets:A\n",
            "j:7: account Assets:D holds no lot of HOOL that matches",
        ),
        ("2020-01-02 * \"x\n", "j:4: this string is never closed"),
        ("2020-13-02 * \"x\"\n", "j:4: expected a directive"),
        ("2020-01-02 frobnicate\n", "j:4: expected a directive"),
        ("  Assets:A 1 USD\n", "j:4: expected `key: value`"),
        ("2020-01-02 * \"x\"\n  Assets:A 1.00 usd\n", "j:5: expected the end of the line, found `usd`"),
        ("2020-01-02 * \"x\"\n  assets:A 1.00 USD\n", "j:5: "),
        ("2020-01-02 * \"x\"\n  Assets:A 1/0 USD\n", "j:5: `1/0 USD` has no exact value"),
        ("2020-01-02 * \"x\"\n  Assets:A 1/3 USD\n  Income:B\n", "j:4: 0.333"),
        ("2020-01-02 * \"x\"\n  Assets:A 79228162514264337593543950336 USD\n", "j:5: "),
        ("2020-01-02 * \"x\"\n  Assets:A 1 HOOL {*}\n", "j:5: a cost merged over lots cannot be imported"),
        ("2020-01-02 * \"x\"\n  Assets:A 1 HOOL {5 USD\n", "j:5: expected"),
        ("2020-01-02 balance Assets:A 1 USD\n", "j:4: account Assets:A holds 0 USD, not 1"),
        ("2020-01-02 pad Assets:A Income:B\n", "j:4: this pad of Assets:A is never used"),
        ("include \"other\"\n", "j:4: other cannot be read"),
        ("include \"j\"\n", "j:4: j includes itself"),
        ("include \"*.beancount\"\n", "j:4: an include with a pattern cannot be imported"),
        ("option \"booking_method\" \"RANDOM\"\n", "j:4: expected a booking method, found `RANDOM`"),
    ];
    expect(Format::Beancount, &table, OPEN);
}

#[test]
fn ledger_says_where_and_why() {
    let table = [
        (
            "2020/01/02 x\n  Assets:A  $1.00\n  Income:B  $-2.00\n",
            "j:1: the transaction does not balance: -1 USD",
        ),
        ("2020/01/02 x\n  Assets:A  $1.00\n  Funny:B\n", "j:3: account Funny:B does not begin with"),
        ("2020/01/02 x\n  Assets:A  (1 + 2)\n  Income:B\n", "j:2: an amount that is an expression"),
        ("2020/01/02 x\n  (Assets:A)  $1\n", "j:2: a virtual posting cannot be imported"),
        ("2020/01/02 x\n  Assets:A  $1.000,00\n", "j:2: 1.000,00 has no exact value"),
        ("2020/01/02 x\n  Assets:A  $1 = $2\n  Income:B\n", "j:2: account Assets:A holds 1 USD, not 2"),
        ("2020/01/02 x\n  Assets:My Bank  $1\n  Assets:My-Bank\n", "j:3: My Bank"),
        ("01/02 x\n", "j:1: expected a date"),
        ("= /food/\n  (Budget)  1\n", "j:1: an automated transaction cannot be imported"),
        ("~ monthly\n  Assets:A  $1\n", "j:1: a periodic transaction cannot be imported"),
        ("alias A=Assets:A\n", "j:1: an alias cannot be imported"),
        ("apply account Assets\n", "j:1: an `apply` block cannot be imported"),
        ("frobnicate\n", "j:1: expected a transaction or a directive"),
        ("    Assets:A  $1\n", "j:1: expected a transaction or a directive"),
    ];
    let table: Vec<(&str, &str)> =
        table.iter().map(|(text, expected)| (*text, expected.split("My Bank").next().unwrap())).collect();
    expect(Format::Ledger, &table, "");
}

#[test]
fn all_problems_are_told_in_the_order_of_lines() {
    let text = format!("{OPEN}2020-01-02 * \"x\"\n  Assets:A 1.00 usd\n  Nope\n2020-01-03 bogus\n");
    let found = problems(Format::Beancount, &text);
    let lines: Vec<&str> = found.iter().map(|problem| problem.split(' ').next().unwrap()).collect();
    assert_eq!(lines, ["j:5:", "j:6:", "j:7:"]);
}

#[test]
fn any_bytes_are_read_without_panic() {
    // Cut and spoilt versions of the samples: a reader may refuse them, but never fall over.
    let sample = include_str!("data/sample.beancount");
    let ledger = include_str!("data/sample.ledger");
    for (format, text) in [(Format::Beancount, sample), (Format::Ledger, ledger)] {
        for (at, _) in text.char_indices().step_by(29) {
            problems(format, &text[..at]);
            for with in ["\"", "{", "(", "\n", "@@", "\u{0}", "é"] {
                problems(format, &format!("{}{with}{}", &text[..at], &text[at..]));
            }
        }
    }
}
