//! `twinset suspense`: credits from other sets that could not be booked where they should be.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Context;
use super::page::{self, Page};
use super::router::{self, Asked, Freshness, RequestId, Router};
use crate::out;

/// See what could not be booked where it should be, and book it on.
#[derive(Debug, Subcommand)]
pub enum Suspense {
    /// List what stands on the suspense accounts of a set, in the order in which it came.
    #[command(
        long_about = "List what stands on the suspense accounts of a set, in the order in which it came.\n\n\
        A credit to a buffered account is accepted without asking the account. One that it cannot take after all, because it \
        was frozen meanwhile for example, waits here with the reason.\n\n\
        Examples:\n  twinset suspense list --set 2\n  twinset suspense list --set 2 --json | jq -r '.credits[].item'"
    )]
    List(List),
    /// Book a suspended credit on, to the account it was meant for or to another one of the same set and currency.
    #[command(
        long_about = "Book a suspended credit on, to the account it was meant for or to another one of the same set \
        and currency. Each once.\n\n\
        Examples:\n  twinset suspense resolve 2-1-907-4 --to shop\n  twinset suspense resolve 2-1-907-4 --to unclaimed"
    )]
    Resolve(Resolve),
}

/// Arguments of `suspense list`.
#[derive(Debug, Args)]
#[command(
    mut_arg("after", |after| after.value_name("ITEM")),
    mut_arg("page_size", |size| size.default_value("100")),
)]
pub struct List {
    /// The set.
    #[arg(long)]
    set: u32,
    #[command(flatten)]
    page: Page<100>,
    #[command(flatten)]
    freshness: Freshness,
}

/// Arguments of `suspense resolve`.
#[derive(Debug, Args)]
pub struct Resolve {
    /// As the list names it.
    item: String,
    /// The account that gets it.
    #[arg(long, value_name = "ACCOUNT")]
    to: String,
    #[command(flatten)]
    id: RequestId,
}

/// Runs `twinset suspense ...`.
pub async fn run(command: Suspense, context: &Context) -> anyhow::Result<()> {
    let mut router = Router::new(&context.routers()?[0])?;
    match command {
        Suspense::List(asked) => list(&mut router, asked, context.json).await,
        Suspense::Resolve(asked) => resolve(&mut router, asked, context.json).await,
    }
}

async fn list(router: &mut Router, asked: List, json: bool) -> anyhow::Result<()> {
    let List { set, page, freshness } = asked;
    let path = page.path(&format!("/v1/sets/{set}/suspense"), &[("consistency", freshness.consistency())]);
    let reply = router.read(&path, &format!("the suspense accounts of set {set} cannot be read")).await?;
    if json {
        return out::json(&reply);
    }
    let credits = reply["credits"].as_array().map(Vec::as_slice).unwrap_or_default();
    if credits.is_empty() {
        return out::line(&format!("nothing is in suspense in set {set}"));
    }
    for credit in credits {
        out::line(&line(credit))?;
    }
    page::more(&reply, |next| format!("suspense list --set {set} --after {next}"));
    Ok(())
}

/// One suspended credit, in words.
fn line(credit: &Value) -> String {
    let field = |name: &str| credit[name].as_str().unwrap_or_default();
    format!(
        "{}  {} {} {} for {}, of {}: {}",
        field("item"),
        field("side"),
        field("amount"),
        field("currency"),
        field("account"),
        field("transaction"),
        field("detail"),
    )
}

async fn resolve(router: &mut Router, asked: Resolve, json: bool) -> anyhow::Result<()> {
    let Resolve { item, to, id } = asked;
    let request_id = id.or_new();
    let path = format!("/v1/suspense/{}/resolve", router::segment(&item));
    let body = json!({ "request_id": request_id, "account": to });
    let asked = Asked { what: &item, done: "booked on", id: &request_id, scope: None };
    let reply = router.write(&path, &body, asked).await?;
    if json {
        return out::json(&reply);
    }
    let again = router::again(&reply);
    let transaction = reply["transaction"].as_str().unwrap_or_default();
    out::line(&format!("{item} booked on to {to}{again}: transaction {transaction}"))
}
