//! `twinset transaction`: transactions by hand, and what became of a request, through a router.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::Context;
use super::account;
use super::hold;
use super::page::{self, Page};
use super::restriction;
use super::router::{self, Asked, CallError, Freshness, RequestId, Router, add};
use crate::{error, out};

/// Post, read, reverse and list transactions; find what became of a request.
#[derive(Debug, Subcommand)]
pub enum Transaction {
    /// Book a transaction: all its legs, or none.
    #[command(long_about = "Book a transaction: all its legs, or none.\n\n\
        A leg is ACCOUNT:AMOUNT (the amount follows the last colon). Debits must equal credits in every currency. \
        Accounts that share a tag in braces are in one set, where it takes one step; over several sets it takes five.\n\n\
        Examples:\n  twinset transaction post --debit '{shop}:cash:10.00' --credit '{shop}:alice:10.00'\n  \
        twinset transaction post --debit '{shop}:cash:9.80' --debit '{shop}:fees:0.20' --credit '{shop}:alice:10' \\\n      \
        --metadata order=1234 --date 2026-03-01\n  \
        twinset transaction post --debit '{shop}:cash:5' --credit '{shop}:alice:5' \\\n      \
        --restricted '{shop}:alice=2026-12-24T18:00:00Z'")]
    Post(Post),
    /// Show a transaction.
    Get(Get),
    /// Book the opposite of a transaction, or of a part of it.
    Reverse(Reverse),
    /// List what a set has booked, in order.
    List(List),
    /// Find what was booked with a reference of your own, without naming an account.
    #[command(
        long_about = "Find what was booked with a reference of your own, without naming an account.\n\n\
        A transaction's reference is what its metadata have under `reference`: `post --metadata reference=ORDER-1234`. References need \
        not be unique. All sets are asked, or one; sets that do not answer are named, and what is there is not known.\n\n\
        Examples:\n  twinset transaction find --reference ORDER-1234\n  \
        twinset transaction find --reference ORDER-1234 --set 2 --json"
    )]
    Find(Find),
    /// Find what became of a request, after an answer that said `unknown`.
    #[command(long_about = "Find what became of a request, after an answer that said `unknown`.\n\n\
        Shows the transaction (or, for a request about an account, a hold or a restriction, that as it is now), or why it was rejected. Request ids are \
        unique within a scope account: the one that the request named, or else the smallest id among the accounts that \
        pay (over several sets, that are debited); for a reversal, the original's; for a request about an account, that \
        account.\n\n\
        Example:\n  twinset transaction request --scope '{shop}:alice' --id order-4711")]
    Request(Request),
}

/// Arguments of `transaction post`.
#[derive(Debug, Args)]
pub struct Post {
    /// A debit leg, ACCOUNT:AMOUNT.
    #[arg(long, value_name = "LEG", required = true)]
    debit: Vec<String>,
    /// A credit leg, ACCOUNT:AMOUNT.
    #[arg(long, value_name = "LEG", required = true)]
    credit: Vec<String>,
    /// What leaves this account may only be what is withdrawable of it. May be given several times.
    #[arg(long, value_name = "ACCOUNT")]
    withdrawal: Vec<String>,
    /// What this account gets is not withdrawable before that time, or, without one, before it is released. May be given
    /// several times.
    #[arg(long, value_name = "ACCOUNT[=TIME]")]
    restricted: Vec<String>,
    /// Only tell what would come of it now: nothing is booked.
    #[arg(long)]
    dry_run: bool,
    /// The account in whose scope the request id is unique. Default: the smallest one that pays; over several
    /// sets, the smallest that is debited.
    #[arg(long, value_name = "ACCOUNT")]
    scope: Option<String>,
    #[command(flatten)]
    details: Details,
}

/// What a new transaction has besides its legs and its scope.
#[derive(Debug, Args)]
pub struct Details {
    /// A number that says what kind of transaction it is.
    #[arg(long)]
    kind: Option<u32>,
    /// A number that says why.
    #[arg(long)]
    reason: Option<u32>,
    /// The accounting date, YYYY-MM-DD.
    #[arg(long)]
    date: Option<String>,
    /// Kept with the transaction.
    #[arg(long, value_name = "KEY=VALUE")]
    metadata: Vec<String>,
    #[command(flatten)]
    id: RequestId,
}

impl Details {
    /// The body of a request to book these legs.
    pub(super) fn body(self, legs: Vec<Value>) -> anyhow::Result<Value> {
        let metadata = router::metadata(&self.metadata)?;
        let mut body = json!({ "request_id": self.id.or_new(), "legs": legs, "metadata": metadata });
        add(&mut body, "kind", self.kind);
        add(&mut body, "reason", self.reason);
        add(&mut body, "accounting_date", self.date);
        Ok(body)
    }
}

/// Arguments of `transaction get`.
#[derive(Debug, Args)]
pub struct Get {
    /// SET-INCARNATION-INDEX-OFFSET, as `post` printed it.
    transaction: String,
}

/// Arguments of `transaction reverse`.
#[derive(Debug, Args)]
pub struct Reverse {
    /// SET-INCARNATION-INDEX-OFFSET, as `post` printed it.
    transaction: String,
    /// A part of it, for a transaction of two legs. Default: all that is left.
    #[arg(long)]
    amount: Option<String>,
    /// A part of a leg, LEG=AMOUNT; legs count from 0 in the order that `get` shows. Together they balance.
    #[arg(long = "leg", value_name = "LEG=AMOUNT", conflicts_with = "amount")]
    legs: Vec<String>,
    /// A number that says why.
    #[arg(long)]
    reason: Option<u32>,
    #[command(flatten)]
    id: RequestId,
}

/// Arguments of `transaction list`.
#[derive(Debug, Args)]
#[command(mut_arg("after", |after| after.value_name("TRANSACTION")))]
pub struct List {
    /// The set.
    #[arg(long)]
    set: u32,
    #[command(flatten)]
    page: Page<1000>,
}

/// Arguments of `transaction find`.
#[derive(Debug, Args)]
#[command(mut_arg("after", |after| after.value_name("NEXT")))]
pub struct Find {
    /// What the metadata have under `reference`.
    #[arg(long, value_name = "REFERENCE")]
    reference: String,
    /// Only of this set.
    #[arg(long)]
    set: Option<u32>,
    #[command(flatten)]
    page: Page<100>,
    #[command(flatten)]
    freshness: Freshness,
}

/// Arguments of `transaction request`.
#[derive(Debug, Args)]
pub struct Request {
    /// The account in whose scope the request id is unique.
    #[arg(long, value_name = "ACCOUNT")]
    scope: String,
    /// The request id.
    #[arg(long, value_name = "REQUEST_ID")]
    id: String,
}

/// Runs `twinset transaction ...`.
pub async fn run(command: Transaction, context: &Context) -> anyhow::Result<()> {
    let mut router = Router::new(&context.routers()?[0])?;
    match command {
        Transaction::Post(arguments) => post(&mut router, arguments, context.json).await,
        Transaction::Get(Get { transaction }) => {
            let path = format!("/v1/transactions/{}", router::segment(&transaction));
            let reply = router.read(&path, &format!("{transaction} cannot be read")).await?;
            if context.json { out::json(&reply) } else { out::line(&one(&reply["transaction"])) }
        }
        Transaction::Reverse(arguments) => reverse(&mut router, arguments, context.json).await,
        Transaction::List(arguments) => list(&mut router, arguments, context.json).await,
        Transaction::Find(arguments) => find(&mut router, arguments, context.json).await,
        Transaction::Request(arguments) => request(&mut router, arguments, context.json).await,
    }
}

async fn request(router: &mut Router, Request { scope, id }: Request, json: bool) -> anyhow::Result<()> {
    let path = format!("/v1/requests/{}/{}", router::segment(&scope), router::segment(&id));
    let reply = router.call(Method::GET, &path, None).await.map_err(|cause| match &cause {
        CallError::Problem(problem) if problem.outcome == "rejected" => error::failure(
            format!("request {id} was rejected: {cause}"),
            "docs/reference/errors.md explains the code; correct it and send it with a new request id",
        ),
        CallError::Problem(problem) if problem.code == "not_found" => error::failure(
            format!("the account {scope} knows of no request {id}"),
            "nothing is booked under it so far, if that is its scope account; while it is under way that can change: send \
             it again under the same id, which books at most once",
        ),
        _ => router::read_failed(&format!("request {id} cannot be looked up"), cause),
    })?;
    if json {
        return out::json(&reply);
    }
    let found = |name: &str| reply.get(name);
    out::line(&match (found("transaction"), found("hold"), found("restriction")) {
        (Some(transaction), ..) => one(transaction),
        (None, Some(found), _) => hold::one(found),
        (None, None, Some(found)) => restriction::one(found),
        (None, None, None) => account::text(&reply["account"]),
    })
}

/// `ACCOUNT:AMOUNT` as a leg; the account's id may hold colons itself.
pub(super) fn leg(text: &str, side: &str) -> anyhow::Result<Value> {
    match text.rsplit_once(':') {
        Some((account, amount))
            if !account.is_empty() && amount.starts_with(|c: char| c.is_ascii_digit()) =>
        {
            Ok(json!({ "account": account, "side": side, "amount": amount }))
        }
        _ => Err(error::usage(
            format!("{text} is no leg"),
            format!("give it as --{side} ACCOUNT:AMOUNT, for example --{side} '{{shop}}:cash:10.00'"),
        )),
    }
}

async fn post(router: &mut Router, arguments: Post, json: bool) -> anyhow::Result<()> {
    let debits = arguments.debit.iter().map(|text| leg(text, "debit"));
    let credits = arguments.credit.iter().map(|text| leg(text, "credit"));
    let mut legs = debits.chain(credits).collect::<anyhow::Result<Vec<_>>>()?;
    restriction::mark(&mut legs, &arguments.withdrawal, &arguments.restricted)?;
    let mut body = arguments.details.body(legs)?;
    add(&mut body, "scope_account", arguments.scope);
    if arguments.dry_run {
        return dry_run(router, &body, json).await;
    }
    let (id, scope) = (body["request_id"].as_str().unwrap_or_default(), body["scope_account"].as_str());
    let asked = Asked { what: "the transaction", done: "booked", id, scope };
    let reply = router.write("/v1/transactions", &body, asked).await?;
    booked(&reply, json)
}

async fn dry_run(router: &mut Router, body: &Value, json: bool) -> anyhow::Result<()> {
    let reply = router.call(Method::POST, "/v1/transactions?dry_run=true", Some(body)).await;
    let reply = reply.map_err(|cause| match &cause {
        CallError::Problem(problem) if problem.outcome == "rejected" => error::failure(
            format!("the transaction would be refused: {cause}"),
            "nothing was booked, and the request id is as it was; docs/reference/errors.md explains the code",
        ),
        _ => router::read_failed("what would come of the transaction cannot be told", cause),
    })?;
    if reply.get("transaction").is_some() || json {
        return booked(&reply, json);
    }
    out::line("it would be booked now")?;
    postings(&reply)
}

/// `LEG=AMOUNT` as a part of a leg.
fn part(text: &str) -> anyhow::Result<Value> {
    let part = text.split_once('=').and_then(|(leg, amount)| Some((leg.parse::<u16>().ok()?, amount)));
    match part {
        Some((leg, amount)) if !amount.is_empty() => Ok(json!({ "leg": leg, "amount": amount })),
        _ => Err(error::usage(
            format!("{text} is no part of a leg"),
            "give it as --leg LEG=AMOUNT, for example --leg 0=3.00 --leg 2=3.00; the first leg is 0",
        )),
    }
}

async fn reverse(router: &mut Router, arguments: Reverse, json: bool) -> anyhow::Result<()> {
    let legs = arguments.legs.iter().map(|text| part(text)).collect::<anyhow::Result<Vec<_>>>()?;
    let request_id = arguments.id.or_new();
    let mut body = json!({ "request_id": request_id });
    add(&mut body, "amount", arguments.amount);
    add(&mut body, "legs", (!legs.is_empty()).then_some(legs));
    add(&mut body, "reason", arguments.reason);
    let path = format!("/v1/transactions/{}/reversals", router::segment(&arguments.transaction));
    let asked = Asked { what: &arguments.transaction, done: "reversed", id: &request_id, scope: None };
    let reply = router.write(&path, &body, asked).await?;
    booked(&reply, json)
}

pub(super) fn booked(reply: &Value, json: bool) -> anyhow::Result<()> {
    if json {
        return out::json(reply);
    }
    let again = if reply["replayed"] == true { " (booked before, under the same request id)" } else { "" };
    out::line(&format!("{}{again}", text(&reply["transaction"])))?;
    postings(reply)
}

/// The legs with the balances after them, where these are told.
fn postings(reply: &Value) -> anyhow::Result<()> {
    for posting in reply["postings"].as_array().into_iter().flatten() {
        let balance = posting["posted"].as_str().map(|posted| format!("  balance {posted:>16}"));
        out::line(&format!(
            "  {:<6} {:<40} {:>16}{}",
            text(&posting["side"]),
            text(&posting["account"]),
            text(&posting["amount"]),
            balance.unwrap_or_default()
        ))?;
    }
    Ok(())
}

async fn list(router: &mut Router, arguments: List, json: bool) -> anyhow::Result<()> {
    let List { set, page } = arguments;
    let path = page.path(&format!("/v1/sets/{set}/transactions"), &[]);
    let reply = router.read(&path, &format!("set {set} cannot be listed")).await?;
    if json {
        return out::json(&reply);
    }
    for transaction in reply["transactions"].as_array().into_iter().flatten() {
        out::line(&one(transaction))?;
    }
    page::more(&reply, |next| format!("transaction list --set {set} --after {next}"));
    Ok(())
}

async fn find(router: &mut Router, arguments: Find, json: bool) -> anyhow::Result<()> {
    let Find { reference, set, page, freshness } = arguments;
    let number = set.map(|set| set.to_string());
    let parameters = [
        ("reference", Some(reference.as_str())),
        ("set", number.as_deref()),
        ("consistency", freshness.consistency()),
    ];
    let path = page.path("/v1/transactions", &parameters);
    let reply = router.read(&path, &format!("what has the reference {reference} cannot be told")).await?;
    if json {
        return out::json(&reply);
    }
    let found = reply["transactions"].as_array().map_or(&[][..], Vec::as_slice);
    for transaction in found {
        out::line(&one(transaction))?;
    }
    for set in reply["silent"].as_array().into_iter().flatten() {
        out::say(&format!("set {set} does not answer: what is there is not known"));
    }
    if found.is_empty() && reply["next"] == "" && page.is_first() {
        out::say("nothing has that reference");
    }
    let of = number.map(|set| format!(" --set {set}")).unwrap_or_default();
    // In quotes, which a reference may have itself.
    let quoted = reference.replace('\'', r"'\''");
    page::more(&reply, |next| format!("transaction find --reference '{quoted}'{of} --after {next}"));
    Ok(())
}

fn one(transaction: &Value) -> String {
    let mut lines = vec![format!(
        "{}  {}  request {}",
        text(&transaction["transaction"]),
        text(&transaction["accounting_date"]),
        text(&transaction["request_id"])
    )];
    if let Some(reverses) = transaction["reverses"].as_str().filter(|id| !id.is_empty()) {
        lines.push(format!("  reverses {reverses}"));
    }
    if let Some(capture) = transaction.get("capture") {
        let last = if capture["final"] == true { ", the last one" } else { "" };
        lines.push(format!("  captures {}{last}", text(&capture["hold"])));
    }
    for by in transaction["reversed_by"].as_array().into_iter().flatten() {
        lines.push(format!("  reversed by {}", text(by)));
    }
    for leg in transaction["legs"].as_array().into_iter().flatten() {
        lines.push(format!(
            "  {:<6} {:<40} {:>16} {}{}",
            text(&leg["side"]),
            text(&leg["account"]),
            text(&leg["amount"]),
            leg["currency"].as_str().unwrap_or_default(),
            restriction::of_leg(leg)
        ));
        if let Some(reversed) = leg["reversed"].as_str() {
            lines.push(format!("         reversed {reversed}"));
        }
    }
    for (key, value) in transaction["metadata"].as_object().into_iter().flatten() {
        lines.push(format!("  {key} = {}", text(value)));
    }
    lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n")
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_amount_of_a_leg_follows_the_last_colon() {
        let leg = leg("{shop}:cash:10.00", "debit").unwrap();
        assert_eq!(leg, json!({ "account": "{shop}:cash", "side": "debit", "amount": "10.00" }));
    }

    #[test]
    fn a_part_of_a_leg_is_its_number_and_an_amount() {
        assert_eq!(part("2=3.00").unwrap(), json!({ "leg": 2, "amount": "3.00" }));
        for bad in ["2", "2=", "=3.00", "a=3.00", "-1=3.00", "70000=1"] {
            assert!(part(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_leg_without_an_amount_is_refused_with_an_example() {
        for bad in ["cash", "{shop}:cash", ":1", "cash:-1"] {
            assert!(super::leg(bad, "credit").is_err(), "{bad}");
        }
    }
}
