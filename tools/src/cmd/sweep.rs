//! `twinset sweep`: standing orders that move what an account has beyond what is to stay, through a router.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Context;
use super::page::{self, Page};
use super::router::{self, Asked, Freshness, RequestId, Router, add};
use super::transaction::text;
use crate::out;

/// Have what an account may withdraw moved to another one, again and again.
#[derive(Debug, Subcommand)]
pub enum Sweep {
    /// Sweep an account; in place of the sweep that it has.
    #[command(
        long_about = "Sweep an account, in place of the sweep that it has: what may be withdrawn of it beyond what is to stay goes \
        to another account, of any set, in the same currency. By an interval, whenever it is above a threshold, or at the day-cut.\n\n\
        Examples:\n  twinset sweep set shop.2 --to shop-payout --every 3600\n  \
        twinset sweep set till --to vault --keep 500.00 --above 5000.00\n  \
        twinset sweep set fees --to profit --daily"
    )]
    Set(Set),
    /// Sweep an account no more.
    #[command(
        long_about = "Sweep an account no more. A run that is under way over several sets comes to its end.\n\n\
        Example:\n  twinset sweep remove till"
    )]
    Remove(Remove),
    /// Show the sweep of an account.
    #[command(
        long_about = "Show the sweep of an account: its terms, how often it has run, and from when on it runs next. What its \
        runs have moved stands in the statement.\n\n\
        Examples:\n  twinset sweep show till\n  twinset statement till --metadata twinset.sweep"
    )]
    Show(Show),
    /// List the sweeps of a set.
    #[command(long_about = "List the sweeps of a set, in the order in which their accounts were opened.\n\n\
        Examples:\n  twinset sweep list --set 1\n  twinset sweep list --set 1 --json | jq -r '.sweeps[].account'")]
    List(List),
}

/// Arguments of `sweep set`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("schedule").required(true).args(["every", "above", "daily"]))]
pub struct Set {
    /// The account that money is taken from.
    account: String,
    /// The account that gets it.
    #[arg(long, value_name = "ACCOUNT")]
    to: String,
    /// What stays. Default: nothing.
    #[arg(long, value_name = "AMOUNT")]
    keep: Option<String>,
    /// Every so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=31_622_400))]
    every: Option<u32>,
    /// Count the intervals from this time, such as 2026-12-24T18:00:00Z. Default: from now.
    #[arg(long, value_name = "TIME", requires = "every", conflicts_with_all = ["above", "daily"])]
    from: Option<String>,
    /// Whenever more than this may be withdrawn.
    #[arg(long, value_name = "AMOUNT")]
    above: Option<String>,
    /// At the day-cut.
    #[arg(long)]
    daily: bool,
    #[command(flatten)]
    id: RequestId,
}

/// Arguments of `sweep remove`.
#[derive(Debug, Args)]
pub struct Remove {
    /// The account.
    account: String,
    #[command(flatten)]
    id: RequestId,
}

/// Arguments of `sweep show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The account.
    account: String,
    #[command(flatten)]
    freshness: Freshness,
}

/// Arguments of `sweep list`.
#[derive(Debug, Args)]
#[command(mut_arg("after", |after| after.value_name("ACCOUNT")))]
pub struct List {
    /// The set.
    #[arg(long)]
    set: u32,
    #[command(flatten)]
    page: Page<100>,
    #[command(flatten)]
    freshness: Freshness,
}

/// Runs `twinset sweep ...`.
pub async fn run(command: Sweep, context: &Context) -> anyhow::Result<()> {
    let mut router = Router::new(&context.routers()?[0])?;
    match command {
        Sweep::Set(asked) => set(&mut router, asked, context.json).await,
        Sweep::Remove(Remove { account, id }) => {
            let body = json!({ "request_id": id.or_new() });
            let act = Act { account: &account, more: "/remove", done: "removed", body: &body };
            write(&mut router, act, context.json).await
        }
        Sweep::Show(Show { account, freshness }) => {
            let failed = format!("the sweep of {account} cannot be read");
            let reply = router.read(&path(&account, freshness.query()), &failed).await?;
            if context.json { out::json(&reply) } else { out::line(&one(&reply["sweep"])) }
        }
        Sweep::List(asked) => list(&mut router, asked, context.json).await,
    }
}

fn path(account: &str, more: &str) -> String {
    format!("/v1/accounts/{}/sweep{more}", router::segment(account))
}

async fn set(router: &mut Router, asked: Set, json: bool) -> anyhow::Result<()> {
    let Set { account, to, keep, every, from, above, daily, id } = asked;
    let mut body = json!({ "request_id": id.or_new(), "to": to });
    add(&mut body, "keep", keep);
    add(&mut body, "above", above);
    if let Some(seconds) = every {
        body["every"] = json!({ "seconds": seconds });
        add(&mut body["every"], "from", from);
    }
    if daily {
        body["daily"] = true.into();
    }
    write(router, Act { account: &account, more: "", done: "set", body: &body }, json).await
}

/// What is asked of the sweep of an account.
struct Act<'a> {
    account: &'a str,
    /// Behind its path.
    more: &'a str,
    /// How people say it was done.
    done: &'a str,
    /// With its request id.
    body: &'a Value,
}

async fn write(router: &mut Router, act: Act<'_>, json: bool) -> anyhow::Result<()> {
    let Act { account, more, done, body } = act;
    let what = format!("the sweep of {account}");
    let id = body["request_id"].as_str().unwrap_or_default();
    let asked = Asked { what: &what, done, id, scope: Some(account) };
    let reply = router.write(&path(account, more), body, asked).await?;
    if json {
        return out::json(&reply);
    }
    let again = router::again(&reply);
    out::line(&format!("{what} is {done}{again}"))
}

async fn list(router: &mut Router, asked: List, json: bool) -> anyhow::Result<()> {
    let List { set, page, freshness } = asked;
    let path = page.path(&format!("/v1/sets/{set}/sweeps"), &[("consistency", freshness.consistency())]);
    let reply = router.read(&path, &format!("the sweeps of set {set} cannot be listed")).await?;
    if json {
        return out::json(&reply);
    }
    let row = |sweep: &Value| {
        let field = |name: &str| text(&sweep[name]);
        vec![field("account"), field("to"), field("keep"), when(sweep), field("runs"), field("next_at")]
    };
    let rows: Vec<Vec<String>> = reply["sweeps"].as_array().into_iter().flatten().map(row).collect();
    out::line(&out::table(&["ACCOUNT", "TO", "KEEP", "WHEN", "RUNS", "NOT BEFORE"], &rows))?;
    page::more(&reply, |next| format!("sweep list --set {set} --after '{next}'"));
    Ok(())
}

/// Its schedule, in words.
fn when(sweep: &Value) -> String {
    match (sweep.get("every"), sweep.get("above")) {
        (Some(every), _) => format!("every {} s", every["seconds"]),
        (_, Some(above)) => format!("above {}", text(above)),
        _ => "daily".to_owned(),
    }
}

/// A sweep as the router gives it, a line for each field.
fn one(sweep: &Value) -> String {
    let line = |(name, field): (&String, &Value)| match name.as_str() {
        "every" => {
            format!("{name:<14} {} s, counted from {}", field["seconds"], text(&field["from"]))
        }
        _ => format!("{name:<14} {}", text(field)),
    };
    sweep.as_object().into_iter().flatten().map(line).collect::<Vec<_>>().join("\n")
}
