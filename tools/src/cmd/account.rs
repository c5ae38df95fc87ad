//! `twinset account`: accounts by hand, through a router.

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::Context;
use super::router::{self, Asked, Freshness, RequestId, Router, add};
use crate::{load, out};

/// Open, read, limit, freeze and close accounts.
#[derive(Debug, Subcommand)]
pub enum Account {
    /// Open an account.
    #[command(long_about = "Open an account.\n\n\
        The limit is the floor of the available balance: 0 by default, a number below zero for a credit line, none for \
        no floor. A part of the id in braces decides the set: accounts that share it live together, and pay each \
        other fastest.\n\n\
        Examples:\n  twinset account open '{shop}:cash' --subject asset --currency EUR --limit none\n  \
        twinset account open '{shop}:alice' --subject liability --currency EUR --limit -50.00")]
    Open(Open),
    /// Show an account, or a group of accounts: balances, limit, state.
    #[command(long_about = "Show an account, or a group of accounts: balances, limit, state.\n\n\
        With --in-transit also what other sets have paid a buffered account that has not arrived: a credit that arrives \
        while it is looked for is in both. If the account's own set does not answer, --stale shows its figures as they \
        were last known somewhere, and `account in-transit` does without them.\n\n\
        Examples:\n  twinset account get '{shop}:alice'\n  twinset account get shop --in-transit")]
    Get(Show),
    /// Show the posted balance of an account at a time or a position.
    #[command(long_about = "Show the posted balance of an account at a time or a position.\n\n\
        After everything up to a ledger time, or up to a log index of the account's set; without both, now. What was held \
        at a moment of the past is not kept.\n\n\
        Examples:\n  twinset account balance '{shop}:alice' --time 2026-04-01T00:00:00Z\n  \
        twinset account balance '{shop}:alice' --position 1842")]
    Balance(Balance),
    /// Set the floor of the available balance.
    Limit(SetLimit),
    /// Refuse debits, credits or both.
    Freeze(Freeze),
    /// Allow them again.
    Unfreeze(Freeze),
    /// Say whether sets whose accounts pay it ask it first.
    #[command(long_about = "Say whether sets whose accounts pay it ask it first.\n\n\
        Credits from other sets to a buffered account are booked by the payers' sets alone, and shipped; they are \
        accepted even while the account's own set cannot answer. Its balance shows them a little later. Back to strict, \
        it drains first.\n\n\
        Examples:\n  twinset account mode shop buffered\n  twinset account mode shop strict")]
    Mode(SetMode),
    /// Show what is on its way to a buffered account, by the sets that it comes from.
    InTransit(Get),
    /// Close an account for good; its balance must be zero.
    Close(Close),
}

/// Arguments of `account open`.
#[derive(Debug, Args)]
pub struct Open {
    /// 1-64 of A-Za-z0-9._:-{}
    account: String,
    /// General-ledger subject: asset, liability, equity, income, expense, or one of `twinset subject define`.
    #[arg(long)]
    subject: String,
    /// Currency code: of ISO 4217, or one of `twinset currency define`.
    #[arg(long)]
    currency: String,
    /// Floor of the available balance: a decimal, or none.
    #[arg(long, allow_hyphen_values = true)]
    limit: Option<String>,
    /// The side that raises the balance. Default: the subject's.
    #[arg(long, value_enum)]
    normal_side: Option<Side>,
    /// Kept with the account.
    #[arg(long, value_name = "KEY=VALUE")]
    metadata: Vec<String>,
    #[command(flatten)]
    id: RequestId,
}

/// Debit or credit.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Side {
    /// Left.
    Debit,
    /// Right.
    Credit,
}

impl Side {
    /// As the router spells it.
    pub fn text(self) -> &'static str {
        match self {
            Side::Debit => "debit",
            Side::Credit => "credit",
        }
    }
}

/// What a freeze refuses.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Mode {
    /// Debit legs.
    Debit,
    /// Credit legs.
    Credit,
    /// All legs.
    Both,
}

/// Arguments of `account get`.
#[derive(Debug, Args)]
pub struct Show {
    /// The account.
    account: String,
    /// Also what is on its way to it from other sets, if it is buffered.
    #[arg(long)]
    in_transit: bool,
    #[command(flatten)]
    freshness: Freshness,
}

/// Arguments of `account in-transit`.
#[derive(Debug, Args)]
pub struct Get {
    /// The account.
    account: String,
    #[command(flatten)]
    freshness: Freshness,
}

/// Arguments of `account balance`.
#[derive(Debug, Args)]
pub struct Balance {
    /// The account.
    account: String,
    /// RFC 3339, or a plain date for its beginning in UTC.
    #[arg(long)]
    time: Option<String>,
    /// A log index of the account's set.
    #[arg(long, value_name = "INDEX", conflicts_with = "time")]
    position: Option<u64>,
    #[command(flatten)]
    freshness: Freshness,
}

/// Arguments of `account limit`.
#[derive(Debug, Args)]
pub struct SetLimit {
    /// The account.
    account: String,
    /// A decimal, or none.
    #[arg(allow_hyphen_values = true)]
    limit: String,
    #[command(flatten)]
    id: RequestId,
}

/// Arguments of `account freeze` and `unfreeze`.
#[derive(Debug, Args)]
pub struct Freeze {
    /// The account.
    account: String,
    /// Which legs.
    #[arg(long, value_enum, default_value = "both")]
    mode: Mode,
    #[command(flatten)]
    id: RequestId,
}

/// Whether an account is asked before other sets pay it.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PostingMode {
    /// It is.
    Strict,
    /// It is not.
    Buffered,
}

/// Arguments of `account mode`.
#[derive(Debug, Args)]
pub struct SetMode {
    /// The account.
    account: String,
    /// From now on.
    #[arg(value_enum)]
    mode: PostingMode,
    #[command(flatten)]
    id: RequestId,
}

/// Arguments of `account close`.
#[derive(Debug, Args)]
pub struct Close {
    /// The account.
    account: String,
    #[command(flatten)]
    id: RequestId,
}

/// Runs `twinset account ...`.
pub async fn run(command: Account, context: &Context) -> anyhow::Result<()> {
    let mut router = Router::new(&context.routers()?[0])?;
    match command {
        Account::Get(get) => return show(&mut router, get, context.json).await,
        Account::Balance(asked) => return balance(&mut router, asked, context.json).await,
        Account::Open(open) => {
            let mut body = json!({
                "account": open.account, "subject": open.subject, "currency": open.currency,
                "metadata": router::metadata(&open.metadata)?,
            });
            add(&mut body, "limit", open.limit);
            add(&mut body, "normal_side", open.normal_side.map(Side::text));
            write(&mut router, &open.account, "/v1/accounts", "opened", body, open.id, context.json).await
        }
        Account::Limit(limit) => {
            let path = path(&limit.account, "limit");
            let body = json!({ "limit": limit.limit });
            write(&mut router, &limit.account, &path, "limited", body, limit.id, context.json).await
        }
        Account::Freeze(freeze) => {
            let path = path(&freeze.account, "freeze");
            let body = json!({ "mode": freeze.mode.text() });
            write(&mut router, &freeze.account, &path, "frozen", body, freeze.id, context.json).await
        }
        Account::Unfreeze(freeze) => {
            let path = path(&freeze.account, "unfreeze");
            let body = json!({ "mode": freeze.mode.text() });
            write(&mut router, &freeze.account, &path, "unfrozen", body, freeze.id, context.json).await
        }
        Account::InTransit(asked) => return in_transit(&mut router, asked, context.json).await,
        Account::Mode(set) => {
            let mode = match set.mode {
                PostingMode::Strict => "strict",
                PostingMode::Buffered => "buffered",
            };
            let (path, done) = (path(&set.account, "posting-mode"), format!("set to {mode}"));
            let body = json!({ "mode": mode });
            write(&mut router, &set.account, &path, &done, body, set.id, context.json).await
        }
        Account::Close(close) => {
            let path = path(&close.account, "close");
            write(&mut router, &close.account, &path, "closed", json!({}), close.id, context.json).await
        }
    }
}

impl Mode {
    fn text(self) -> &'static str {
        match self {
            Mode::Debit => "debit",
            Mode::Credit => "credit",
            Mode::Both => "both",
        }
    }
}

fn path(account: &str, act: &str) -> String {
    format!("/v1/accounts/{}/{act}", router::segment(account))
}

async fn write(
    router: &mut Router,
    account: &str,
    path: &str,
    done: &str,
    mut body: Value,
    id: RequestId,
    json: bool,
) -> anyhow::Result<()> {
    let request_id = id.or_new();
    body["request_id"] = request_id.clone().into();
    let asked = Asked { what: account, done, id: &request_id, scope: Some(account) };
    let reply = router.write(path, &body, asked).await?;
    if json {
        return out::json(&reply);
    }
    let again = router::again(&reply);
    out::line(&format!(
        "{account} {done}{again}: set {}, index {}",
        reply["position"]["set"], reply["position"]["index"]
    ))
}

async fn show(router: &mut Router, get: Show, json: bool) -> anyhow::Result<()> {
    let mut path = format!("/v1/accounts/{}{}", router::segment(&get.account), get.freshness.query());
    if get.in_transit {
        let before = if path.contains('?') { '&' } else { '?' };
        path.push_str(&format!("{before}in_transit=true"));
    }
    let reply = router.read(&path, &format!("{} cannot be read", get.account)).await?;
    if json {
        return out::json(&reply);
    }
    out::line(&text(&reply["account"]))?;
    if get.in_transit {
        let on_its_way = &reply["in_transit"];
        out::line(&format!("{:<14} {}", "in_transit", on_its_way["amount"].as_str().unwrap_or_default()))?;
        by_set(on_its_way)?;
    }
    match reply["parts"].as_array() {
        Some(parts) => {
            out::line(&format!("{:<14} {}: twinset group show '{}'", "parts", parts.len(), get.account))
        }
        None => Ok(()),
    }
}

/// Opens an account of the traffic's kind that other sets need not ask; one that is there already stays as it is.
pub(crate) async fn open_buffered(router: &str, account: &str) -> anyhow::Result<()> {
    let mut router = Router::new(router)?;
    let opening =
        json!({ "account": account, "subject": load::SUBJECT, "currency": load::CURRENCY, "limit": "none" });
    let mode = json!({ "mode": "buffered" });
    let steps =
        [("/v1/accounts".to_owned(), "opened", opening), (path(account, "posting-mode"), "buffered", mode)];
    for (path, done, mut body) in steps {
        body["request_id"] = done.into();
        let asked = Asked { what: account, done, id: done, scope: Some(account) };
        let answer = router.call(Method::POST, &path, Some(&body)).await;
        answer.map_err(|error| router::write_failed(asked, error))?;
    }
    Ok(())
}

async fn in_transit(router: &mut Router, asked: Get, json: bool) -> anyhow::Result<()> {
    let path = format!("{}{}", path(&asked.account, "in-transit"), asked.freshness.query());
    let failed = format!("what is on its way to {} cannot be read", asked.account);
    let reply = router.read(&path, &failed).await?;
    if json {
        return out::json(&reply);
    }
    let field = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    out::line(&format!("{} {}", field(&reply["amount"]), field(&reply["currency"])))?;
    by_set(&reply)
}

/// A line for each set that has something on its way, and for each that does not answer.
fn by_set(reply: &Value) -> anyhow::Result<()> {
    let field = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for from in reply["from"].as_array().into_iter().flatten() {
        let (set, credits) = (&from["set"], &from["credits"]);
        out::line(&format!("  from set {set}: {} in {credits} credits", field(&from["amount"])))?;
    }
    for set in reply["silent"].as_array().into_iter().flatten() {
        out::line(&format!("  from set {set}: not known, it does not answer"))?;
    }
    Ok(())
}

async fn balance(router: &mut Router, asked: Balance, json: bool) -> anyhow::Result<()> {
    let pairs = [
        ("time", asked.time.as_deref().map(super::statement::moment)),
        ("position", asked.position.map(|index| index.to_string())),
        ("consistency", asked.freshness.consistency().map(str::to_owned)),
    ];
    let given = pairs.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let query: Vec<String> =
        given.map(|(name, value)| format!("{name}={}", router::segment(value))).collect();
    let path = format!("{}?{}", path(&asked.account, "balance"), query.join("&"));
    let reply = router.read(&path, &format!("the balance of {} cannot be read", asked.account)).await?;
    if json {
        return out::json(&reply);
    }
    let field = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let money = format!("{} {}", field(&reply["posted"]), field(&reply["currency"]));
    out::line(&match &reply["position"] {
        Value::Null if reply["parts"].is_array() => {
            format!("{money} over {} parts", reply["parts"].as_array().map_or(0, Vec::len))
        }
        Value::Null => format!("{money} before the set's first command"),
        position => format!(
            "{money} at {}, position {} of set {}",
            field(&position["time"]),
            position["index"],
            position["set"]
        ),
    })
}

/// An account as the router gives it, a line for each field.
pub fn text(account: &Value) -> String {
    let value = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let fields = account.as_object().into_iter().flatten();
    let lines: Vec<String> = fields.map(|(name, field)| format!("{name:<14} {}", value(field))).collect();
    lines.join("\n")
}
