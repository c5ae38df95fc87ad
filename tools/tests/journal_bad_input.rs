//! Journals that do not parse or do not balance: the line and the reason, for both formats. Nothing is planned, so
//! nothing can be booked.

use std::io::{Error, ErrorKind};
use std::path::Path;

use twinset_tools::journal::{Format, Kind, Roots, Source, prepare};

const OPEN: &str =
    "2020-01-01 open Assets:A\n2020-01-01 open Assets:D HOOL,USD \"STRICT\"\n2020-01-01 open Income:B\n";

fn problems(format: Format, text: &str) -> Vec<String> {
    problems_with(&Roots::new(), format, text)
}

fn problems_with(roots: &Roots, format: Format, text: &str) -> Vec<String> {
    let load = |path: &Path| match path.to_str() {
        Some("j") => Ok(text.to_owned()),
        _ => Err(Error::from(ErrorKind::NotFound)),
    };
    match prepare(Source { format, path: Path::new("j"), load: &load, roots }, "tag") {
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
        (
            "2020/01/02 x\n  Assets:A  $1.00\n  Funny:B\n",
            "j:3: nothing says what kind of account Funny:B is: give --subject Funny=SUBJECT",
        ),
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

/// What an account of the ledger can keep ends somewhere, and a commodity with many places ends sooner.
#[test]
fn what_the_ledger_would_refuse_is_found_before_anything_is_sent() {
    let many: String = (0..257).map(|_| "  Assets:A  0.01 USD\n  Income:B  -0.01 USD\n").collect();
    let notes: String = (0..40).map(|n| format!("  key{n}: \"v\"\n")).collect();
    let table = [
        (
            "2020-01-02 * \"x\"\n  Assets:A  9999999999999999999.00 HUGE\n  Income:B\n\
             2020-01-03 * \"y\"\n  Assets:A  0.0000000001 HUGE\n  Income:B\n"
                .to_owned(),
            "j:4: the ledger refuses this: the amount is too large",
        ),
        (
            // Each fits; their sum does not.
            "2020-01-02 * \"x\"\n  Assets:A  9999999999.000000000001 X\n  Income:B\n".to_owned()
                + &"2020-01-03 * \"y\"\n  Assets:A  9999999999999999 X\n  Income:B\n".repeat(2),
            "j:10: the ledger refuses this: the amount is too large",
        ),
        (
            "2020-01-02 * \"x\"\n  Assets:A  10000000000000000000000000000 JPY\n  Income:B\n".to_owned(),
            "j:4: the ledger refuses this: an amount has at most 28 digits",
        ),
        (
            format!("2020-01-02 * \"x\"\n{many}"),
            "j:4: the ledger refuses this: a transaction has at most 256 legs (too_many_legs)",
        ),
        (
            format!("2020-01-02 * \"x\"\n{notes}  Assets:A  1 USD\n  Income:B\n"),
            "j:4: the ledger refuses this: metadata has at most 32 pairs",
        ),
    ];
    let table: Vec<(&str, &str)> = table.iter().map(|(text, expected)| (text.as_str(), *expected)).collect();
    expect(Format::Beancount, &table, OPEN);
}

#[test]
fn sums_out_of_range_are_problems_too() {
    let most = "79228162514264337593543950335";
    for text in [
        format!("2020-01-02 * \"x\"\n  Assets:A  {most} USD\n  Income:B\n").repeat(2),
        format!(
            "2020-01-02 * \"x\"\n  Assets:A  {most} USD\n  Income:B\n2020-01-03 balance Assets:A  -{most} USD\n"
        ),
        format!("2020-01-01 pad Assets:A Income:B\n2020-01-03 balance Assets:A  {most} USD\n").repeat(2)
            + &format!("2020-01-01 pad Assets:A Income:B\n2020-01-05 balance Assets:A  -{most} USD\n"),
        format!(
            "option \"inferred_tolerance_default\" \"*:{most}\"\n2020-01-02 * \"x\"\n  Assets:A  1 USD\n  Income:B\n"
        ),
    ] {
        problems(Format::Beancount, &format!("{OPEN}{text}"));
    }
    let ledger = format!(
        "2020/01/02 x\n  Assets:A  ${most}\n  Income:B\n2020/01/03 y\n  Assets:A  = $-{most}\n  Income:B\n"
    );
    let found = problems(Format::Ledger, &ledger);
    assert!(found[0].starts_with("j:4: a sum of this transaction"), "{found:#?}");
}

#[test]
fn a_root_that_nobody_knows_is_asked_for_and_can_be_given() {
    let text = "2020/01/02 Dues\n  Funds:Cash  10 EUR\n  Dues:2020\n2020/01/03 More\n  Funds:Bank  1 EUR\n  Dues:2021\n";
    let found = problems(Format::Ledger, text);
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("j:2: ") && found[0].contains("give --subject Funds=SUBJECT"), "{found:#?}");
    assert!(found[1].starts_with("j:3: ") && found[1].contains("give --subject Dues=SUBJECT"), "{found:#?}");
    let roots = Roots::from([("Funds".to_owned(), Kind::Asset), ("Dues".to_owned(), Kind::Income)]);
    assert_eq!(problems_with(&roots, Format::Ledger, text), [""; 0]);
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
