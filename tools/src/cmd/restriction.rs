//! `twinset restriction`: restricted funds by hand, through a router; and how `twinset transaction` speaks of them.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::Context;
use super::page::{self, Page};
use super::router::{self, Asked, Freshness, RequestId, Router, add};
use super::transaction::text;
use crate::{error, out};

/// Show and release what is restricted: available, and not withdrawable.
#[derive(Debug, Subcommand)]
pub enum Restriction {
    /// List the restrictions of an account.
    #[command(
        long_about = "List the restrictions of an account, in the order of the transactions that brought the money.\n\n\
        Examples:\n  twinset restriction list '{shop}:alice'\n  \
        twinset restriction list '{shop}:alice' --state open --json"
    )]
    List(List),
    /// Show what a transaction restricts on an account.
    #[command(long_about = "Show what a transaction restricts on an account.\n\n\
        Example:\n  twinset restriction show '{shop}:alice' 1-1-8-0")]
    Show(Show),
    /// Let restricted money be withdrawn, or a part of it.
    #[command(
        long_about = "Let what is left of a restriction be withdrawn, which ends it, or a part of it. Its time, if it has one, \
        need not have come.\n\n\
        Examples:\n  twinset restriction release '{shop}:alice' 1-1-8-0\n  \
        twinset restriction release '{shop}:alice' 1-1-8-0 --amount 5.00"
    )]
    Release(Release),
}

/// Which restriction.
#[derive(Debug, Args)]
pub struct Named {
    /// The account that got the money.
    account: String,
    /// The transaction that brought it, SET-INCARNATION-INDEX-OFFSET.
    restriction: String,
}

/// Arguments of `restriction list`.
#[derive(Debug, Args)]
#[command(mut_arg("after", |after| after.value_name("RESTRICTION")))]
pub struct List {
    /// The account.
    account: String,
    /// Only those in this state.
    #[arg(long, value_enum)]
    state: Option<State>,
    #[command(flatten)]
    page: Page<100>,
    #[command(flatten)]
    freshness: Freshness,
}

/// Arguments of `restriction show`.
#[derive(Debug, Args)]
pub struct Show {
    #[command(flatten)]
    named: Named,
    #[command(flatten)]
    freshness: Freshness,
}

/// Arguments of `restriction release`.
#[derive(Debug, Args)]
pub struct Release {
    #[command(flatten)]
    named: Named,
    /// A part. Default: all that is left, which ends the restriction.
    #[arg(long)]
    amount: Option<String>,
    #[command(flatten)]
    id: RequestId,
}

/// Where a restriction is in its life.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum State {
    /// Something of it may not be withdrawn yet.
    Open,
    /// A command has released it.
    Released,
    /// Its time has come.
    Expired,
    /// The money was taken back.
    Reversed,
}

impl State {
    fn text(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Released => "released",
            State::Expired => "expired",
            State::Reversed => "reversed",
        }
    }
}

/// Runs `twinset restriction ...`.
pub async fn run(command: Restriction, context: &Context) -> anyhow::Result<()> {
    let mut router = Router::new(&context.routers()?[0])?;
    match command {
        Restriction::List(arguments) => list(&mut router, arguments, context.json).await,
        Restriction::Show(Show { named, freshness }) => {
            let failed = format!("the restriction {} cannot be read", named.restriction);
            let reply = router.read(&named.path(freshness.query()), &failed).await?;
            if context.json { out::json(&reply) } else { out::line(&one(&reply["restriction"])) }
        }
        Restriction::Release(arguments) => release(&mut router, arguments, context.json).await,
    }
}

impl Named {
    /// The path of the restriction, and of something about it.
    fn path(&self, more: &str) -> String {
        format!("{}/{}{more}", restrictions(&self.account), router::segment(&self.restriction))
    }
}

fn restrictions(account: &str) -> String {
    format!("/v1/accounts/{}/restrictions", router::segment(account))
}

async fn release(router: &mut Router, arguments: Release, json: bool) -> anyhow::Result<()> {
    let Release { named, amount, id } = arguments;
    let request_id = id.or_new();
    let mut body = json!({ "request_id": request_id });
    add(&mut body, "amount", amount);
    let what = format!("the restriction {}", named.restriction);
    let asked = Asked { what: &what, done: "released", id: &request_id, scope: Some(&named.account) };
    let reply = router.write(&named.path("/release"), &body, asked).await?;
    if json {
        return out::json(&reply);
    }
    let again = router::again(&reply);
    let restriction = &reply["restriction"];
    out::line(&format!(
        "{} released{again} of {}: {}, {} of {} left; {} withdrawable on {}",
        text(&reply["released"]),
        text(&restriction["restriction"]),
        text(&restriction["state"]),
        text(&restriction["left"]),
        text(&restriction["amount"]),
        text(&reply["withdrawable"]),
        named.account
    ))
}

async fn list(router: &mut Router, arguments: List, json: bool) -> anyhow::Result<()> {
    let List { account, state, page, freshness } = arguments;
    let state = state.map(State::text);
    let path =
        page.path(&restrictions(&account), &[("state", state), ("consistency", freshness.consistency())]);
    let reply = router.read(&path, &format!("the restrictions of {account} cannot be listed")).await?;
    if json {
        return out::json(&reply);
    }
    out::line(&page::table(&reply["restrictions"], &["restriction", "state", "amount", "left", "until"]))?;
    let state = state.map(|state| format!(" --state {state}")).unwrap_or_default();
    page::more(&reply, |next| format!("restriction list '{account}'{state} --after {next}"));
    Ok(())
}

/// A restriction as the router gives it, a line for each field.
pub fn one(restriction: &Value) -> String {
    let line = |(name, field): (&String, &Value)| match name.as_str() {
        "made" | "ended" => {
            format!("{name:<14} {} (set {}, index {})", text(&field["time"]), field["set"], field["index"])
        }
        _ => format!("{name:<14} {}", text(field)),
    };
    restriction.as_object().into_iter().flatten().map(line).collect::<Vec<_>>().join("\n")
}

/// What a leg of a transaction says of restricted funds, behind all else.
pub fn of_leg(leg: &Value) -> String {
    if leg["withdrawal"] == true {
        return " withdrawal".to_owned();
    }
    match leg.get("restricted").map(|restricted| restricted["until"].as_str()) {
        None => String::new(),
        Some(None) => " restricted".to_owned(),
        Some(Some(until)) => format!(" restricted until {until}"),
    }
}

/// Marks the legs on these accounts as withdrawals, and the leg on each `ACCOUNT[=TIME]` as restricted.
pub fn mark(legs: &mut [Value], withdrawal: &[String], restricted: &[String]) -> anyhow::Result<()> {
    let mut mark = |account: &str, name: &str, value: Value| {
        let mut found = false;
        for leg in legs.iter_mut().filter(|leg| leg["account"] == *account) {
            leg[name] = value.clone();
            found = true;
        }
        if found {
            return Ok(());
        }
        Err(error::usage(
            format!("--{name} {account}: there is no leg on that account"),
            "name an account that a --debit or --credit names",
        ))
    };
    for account in withdrawal {
        mark(account, "withdrawal", true.into())?;
    }
    for text in restricted {
        // No account's id has this sign.
        match text.split_once('=') {
            Some((account, time)) => mark(account, "restricted", json!({ "until": time }))?,
            None => mark(text, "restricted", json!({}))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legs_are_marked_by_their_accounts() {
        let leg = |account: &str| json!({ "account": account, "side": "debit", "amount": "1" });
        let mut legs = ["{s}:a", "b", "c", "d"].map(leg);
        let restricted = ["b".to_owned(), "c=2026-12-24T18:00:00Z".to_owned()];
        mark(&mut legs, &["{s}:a".to_owned()], &restricted).unwrap();
        assert_eq!(legs[0]["withdrawal"], true);
        assert_eq!(legs[1]["restricted"], json!({}));
        assert_eq!(legs[2]["restricted"], json!({ "until": "2026-12-24T18:00:00Z" }));
        assert_eq!(legs[3], leg("d"));
        let texts = legs.each_ref().map(of_leg);
        assert_eq!(texts, [" withdrawal", " restricted", " restricted until 2026-12-24T18:00:00Z", ""]);
        assert!(mark(&mut legs, &["nobody".to_owned()], &[]).is_err());
        assert!(mark(&mut legs, &[], &["nobody=x".to_owned()]).is_err());
    }
}
