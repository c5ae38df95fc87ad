//! `twinset statement`: what was posted to an account, through a router, as a table or as JSON.

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::Context;
use super::router::{self, Freshness, Router, segment};
use crate::{error, out};

/// What `--help` says.
pub const HELP: &str = "Show what was posted to an account: each posting in order, with the balance after it.\n\n\
    Times are ledger times, RFC 3339, or a plain date for its beginning in UTC: --from is included, --until is not. \
    Accounting dates are what clients book under, and both are included. What matches several options must match all of \
    them. An account is one of your own, or the clearing account of a set, @clearing-SET:CURRENCY.\n\n\
    Examples:\n  twinset statement '{shop}:alice'\n  \
    twinset statement '{shop}:alice' --newest-first --limit 10\n  \
    twinset statement '{shop}:alice' --from 2026-03-01 --until 2026-04-01 --min 100.00\n  \
    twinset statement '{shop}:alice' --metadata order=1234 --json | jq -r '.lines[].transaction'\n  \
    twinset statement @clearing-1:EUR --newest-first\n\n\
    The balance alone, at any moment: twinset account balance '{shop}:alice' --time 2026-04-01T00:00:00Z";

/// Lines of a page at most.
const PAGE_MAX: u64 = 1000;

/// Show what was posted to an account, with the balance after each posting.
#[derive(Debug, Args)]
pub struct Statement {
    /// The account.
    account: String,
    /// Postings of this ledger time or later.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Postings before this ledger time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The first accounting date.
    #[arg(long, value_name = "YYYY-MM-DD")]
    from_date: Option<String>,
    /// The last accounting date.
    #[arg(long, value_name = "YYYY-MM-DD")]
    until_date: Option<String>,
    /// Only transactions of this kind.
    #[arg(long)]
    kind: Option<u16>,
    /// Only transactions with this reason code.
    #[arg(long)]
    reason: Option<u16>,
    /// Only postings of this amount or more.
    #[arg(long, value_name = "AMOUNT")]
    min: Option<String>,
    /// Only postings of this amount or less.
    #[arg(long, value_name = "AMOUNT")]
    max: Option<String>,
    /// Only transactions whose metadata have this key, or this value under it.
    #[arg(long, value_name = "KEY[=VALUE]")]
    metadata: Option<String>,
    /// The newest posting first.
    #[arg(long)]
    newest_first: bool,
    /// Go on where an earlier call ended.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
    /// Lines at most.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    limit: u64,
    #[command(flatten)]
    freshness: Freshness,
}

impl Statement {
    /// The query that asks for it, all but the page.
    fn query(&self) -> String {
        let (key, value) = match self.metadata.as_deref().map(|text| text.split_once('=').ok_or(text)) {
            Some(Ok((key, value))) => (Some(key), Some(value)),
            Some(Err(key)) => (Some(key), None),
            None => (None, None),
        };
        let number = |number: Option<u16>| number.map(|number| number.to_string());
        let pairs = [
            ("from", self.from.as_deref().map(moment)),
            ("until", self.until.as_deref().map(moment)),
            ("from_date", self.from_date.clone()),
            ("until_date", self.until_date.clone()),
            ("kind", number(self.kind)),
            ("reason", number(self.reason)),
            ("min_amount", self.min.clone()),
            ("max_amount", self.max.clone()),
            ("metadata_key", key.map(str::to_owned)),
            ("metadata_value", value.map(str::to_owned)),
            ("order", self.newest_first.then(|| "newest_first".to_owned())),
            ("consistency", self.freshness.consistency().map(str::to_owned)),
        ];
        let given = pairs.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        given.map(|(name, value)| format!("&{name}={}", segment(value))).collect()
    }
}

/// A time as the router wants it: a plain date is its beginning.
pub fn moment(text: &str) -> String {
    if text.len() == "2026-03-01".len() { format!("{text}T00:00:00Z") } else { text.to_owned() }
}

/// Runs `twinset statement`.
pub async fn run(asked: Statement, context: &Context) -> anyhow::Result<()> {
    let mut router = Router::new(&context.routers()?[0])?;
    let (query, mut cursor) = (asked.query(), asked.cursor.clone().unwrap_or_default());
    let mut lines: Vec<Value> = Vec::new();
    // A page may be empty before the end: one asks on until there is something, or nothing more.
    let mut last = loop {
        let size = (asked.limit - lines.len() as u64).min(PAGE_MAX);
        let at = if cursor.is_empty() { String::new() } else { format!("&cursor={}", segment(&cursor)) };
        let account = segment(&asked.account);
        let path = format!("/v1/accounts/{account}/statement?page_size={size}{query}{at}");
        let mut page =
            router.call(Method::GET, &path, None).await.map_err(|error| failed(&asked.account, error))?;
        if let Value::Array(more) = page["lines"].take() {
            lines.extend(more);
        }
        cursor = page["next"].as_str().unwrap_or_default().to_owned();
        if cursor.is_empty() || lines.len() as u64 >= asked.limit {
            break page;
        }
    };
    if context.json {
        last["lines"] = lines.into();
        return out::json(&last);
    }
    out::line(&text(&last, &lines))?;
    if !cursor.is_empty() {
        out::say(&format!("more: the same command with --cursor {cursor}"));
    }
    Ok(())
}

fn failed(account: &str, error: router::CallError) -> anyhow::Error {
    match &error {
        router::CallError::Problem(problem) if problem.code == "malformed" => error::failure(
            format!("{account} has no such statement: {error}"),
            "correct the option that it names; `twinset statement --help` shows examples",
        ),
        _ => router::read_failed(&format!("the statement of {account} cannot be read"), error),
    }
}

/// For people: whose it is, the lines, the balances at both ends.
fn text(page: &Value, lines: &[Value]) -> String {
    let field = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut parts = vec![format!(
        "{}, {}, normal side {}",
        field(&page["account"]),
        field(&page["currency"]),
        field(&page["normal_side"])
    )];
    let ends = [("opening", &page["opening"]), ("closing", &page["closing"])];
    let ends: Vec<String> =
        ends.iter().filter_map(|(name, value)| Some(format!("{name} balance {}", value.as_str()?))).collect();
    let mut rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    for column in [2, 3, 4] {
        let width = rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        rows.iter_mut().for_each(|row| row[column] = format!("{:>width$}", row[column]));
    }
    if rows.is_empty() {
        parts.push("no postings".to_owned());
    } else {
        let headings = ["TIME", "DATE", "DEBIT", "CREDIT", "BALANCE", "TRANSACTION", "REQUEST"];
        parts.push(out::table(&headings, &rows));
    }
    if !ends.is_empty() {
        parts.push(ends.join(", "));
    }
    parts.join("\n")
}

fn row(line: &Value) -> Vec<String> {
    let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let (debit, credit) = match line["side"] == json!("debit") {
        true => (field("amount"), String::new()),
        false => (String::new(), field("amount")),
    };
    let mut about: Vec<String> = vec![field("request_id")];
    about.extend(line["part_of"].as_str().map(|whole| format!("part of {whole}")));
    about.extend(line["reverses"].as_str().map(|original| format!("reverses {original}")));
    about.retain(|text| !text.is_empty());
    let time = line["position"]["time"].as_str().unwrap_or_default().to_owned();
    vec![
        time,
        field("accounting_date"),
        debit,
        credit,
        field("posted"),
        field("transaction"),
        about.join(", "),
    ]
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn asked(arguments: &[&str]) -> Statement {
        let all = ["twinset", "statement", "{s}:a"].iter().chain(arguments);
        let Command::Statement(asked) = Cli::try_parse_from(all).unwrap().command else { panic!() };
        asked
    }

    #[test]
    fn options_become_a_query() {
        assert_eq!(asked(&[]).query(), "");
        let query = asked(&["--from", "2026-03-01", "--until", "2026-03-01T12:00:00+01:00"]).query();
        assert_eq!(query, "&from=2026-03-01T00:00:00Z&until=2026-03-01T12:00:00%2B01:00");
        let query = asked(&["--metadata", "order=a=b&c", "--newest-first", "--min", "1.5"]).query();
        assert_eq!(query, "&min_amount=1.5&metadata_key=order&metadata_value=a%3Db%26c&order=newest_first");
        assert_eq!(asked(&["--metadata", "order", "--kind", "7"]).query(), "&kind=7&metadata_key=order");
    }

    #[test]
    fn a_statement_reads_like_one() {
        let line = |side: &str, amount: &str, posted: &str, more: Value| {
            let mut line = json!({
                "transaction": "1-1-5-0", "side": side, "amount": amount, "posted": posted,
                "accounting_date": "2026-03-01", "position": {"time": "2026-03-01T12:00:00Z"},
            });
            line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            line
        };
        let page = json!({
            "account": "{s}:a", "currency": "EUR", "normal_side": "credit",
            "opening": "0.00", "closing": "7.50",
        });
        let lines = [
            line("credit", "10.00", "10.00", json!({"request_id": "order-1"})),
            line("debit", "2.50", "7.50", json!({"request_id": "", "part_of": "2-1-9-0"})),
        ];
        assert_eq!(
            text(&page, &lines),
            "{s}:a, EUR, normal side credit\n\
             TIME                  DATE        DEBIT  CREDIT  BALANCE  TRANSACTION  REQUEST\n\
             2026-03-01T12:00:00Z  2026-03-01         10.00   10.00    1-1-5-0      order-1\n\
             2026-03-01T12:00:00Z  2026-03-01  2.50            7.50    1-1-5-0      part of 2-1-9-0\n\
             opening balance 0.00, closing balance 7.50"
        );
        let days = json!({"account": "a", "currency": "EUR", "normal_side": "debit"});
        assert_eq!(text(&days, &[]), "a, EUR, normal side debit\nno postings");
    }
}
