//! `twinset group`: groups of accounts. How one is made is in [`crate::group`].

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::Context;
use super::router::{self, Freshness, Router};
use crate::cluster::admin::{self, Survey};
use crate::group::{self, Wanted};
use crate::{error, load, out};

/// Make and show groups of accounts.
#[derive(Debug, Subcommand)]
pub enum Group {
    /// Make one account out of many: credits are spread over its parts, and it reads as one balance.
    #[command(long_about = "Make one account out of many.\n\n\
        Opens accounts GROUP.1, GROUP.2, ... spread evenly over the sets, and defines the group, for ever. A leg on GROUP, on \
        its normal side, is put on the part in the payer's own set; reading GROUP gives the sum. Money leaves by the parts: \
        name one, or sweep them.\n\n\
        A run that was broken off goes on where it stopped when it is repeated.\n\n\
        Examples:\n  twinset group create shop --parts 8 --subject liability --currency EUR --dry-run\n  \
        twinset group create shop --parts 8 --subject liability --currency EUR --why 'hot merchant'")]
    Create(Create),
    /// List all groups.
    List,
    /// Show a group: its balance, and each part with its set.
    Show(Show),
}

/// Arguments of `group create`.
#[derive(Debug, Args)]
pub struct Create {
    /// 1-64 of A-Za-z0-9._:- (shorter by the parts' numbers); no account may have this id.
    group: String,
    /// How many accounts it has.
    #[arg(long)]
    parts: usize,
    /// General-ledger subject of the parts: asset, liability, equity, income, expense, or one of `twinset subject define`.
    #[arg(long)]
    subject: String,
    /// Currency code of the parts: of ISO 4217, or one of `twinset currency define`.
    #[arg(long)]
    currency: String,
    /// Floor of the available balance of each part: a decimal, or none.
    #[arg(long, allow_hyphen_values = true)]
    limit: Option<String>,
    /// Kept with each part.
    #[arg(long, value_name = "KEY=VALUE")]
    metadata: Vec<String>,
    /// Only show which accounts would be opened, and in which sets.
    #[arg(long)]
    dry_run: bool,
    /// Why, for the audit log.
    #[arg(long, default_value = "by hand", value_name = "TEXT")]
    why: String,
}

/// Arguments of `group show`.
#[derive(Debug, Args)]
pub struct Show {
    /// The group.
    group: String,
    #[command(flatten)]
    freshness: Freshness,
}

/// Runs `twinset group ...`.
pub async fn run(command: Group, context: &Context) -> anyhow::Result<()> {
    match command {
        Group::Create(arguments) => create(arguments, context).await,
        Group::List => list(context).await,
        Group::Show(arguments) => show(arguments, context).await,
    }
}

async fn create(arguments: Create, context: &Context) -> anyhow::Result<()> {
    let survey = admin::survey(&context.nodes()?).await;
    let catalogue = survey.catalogue()?;
    let parts = group::plan(catalogue, &arguments.group, arguments.parts)?;
    let metadata = match router::metadata(&arguments.metadata)? {
        Value::Object(map) => map,
        _ => unreachable!("pairs are an object"),
    };
    let wanted = Wanted {
        id: arguments.group,
        currency: arguments.currency,
        subject: arguments.subject,
        limit: arguments.limit,
        metadata,
        who: super::who(),
        why: arguments.why,
    };
    let known = group::defined(catalogue, &wanted, &parts)?.is_some();
    if !known && !arguments.dry_run {
        make(&survey, &wanted, &parts, context).await?;
    }
    let created = !known && !arguments.dry_run;
    if context.json {
        return out::json(&json!({
            "group": wanted.id, "currency": wanted.currency, "created": created, "dry_run": arguments.dry_run,
            "parts": parts,
        }));
    }
    let rows: Vec<Vec<String>> =
        parts.iter().map(|part| vec![part.account.clone(), part.set.to_string()]).collect();
    out::line(&out::table(&["PART", "SET"], &rows))?;
    let (id, count) = (&wanted.id, parts.len());
    out::line(&match (known, arguments.dry_run) {
        (true, _) => format!("{id} is a group of these {count} parts already; nothing was done"),
        (_, true) => format!("{id} would be a group of these {count} parts; nothing was done"),
        _ => format!("{id} is a group of these {count} parts now: credit it, and read it, as one account"),
    })
}

async fn make(
    survey: &Survey,
    wanted: &Wanted,
    parts: &[group::Part],
    context: &Context,
) -> anyhow::Result<()> {
    let routers = context.routers()?;
    let mut router = Router::new(&routers[0])?;
    group::reserve(&mut router, wanted, parts.len()).await?;
    let bar = out::bar(parts.len() as u64, "parts");
    for part in parts {
        group::open(&mut router, wanted, part).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let definition = group::definition(&mut router, wanted, parts).await?;
    group::define(survey, wanted, definition).await?;
    for url in &routers {
        if !group::heard_of(&mut Router::new(url)?, &wanted.id).await {
            return Err(error::failure(
                format!("{} is defined, but the router at {url} has not heard of it yet", wanted.id),
                "credit it through that router only when `twinset group show` works there; `twinset status` shows what answers",
            ));
        }
    }
    Ok(())
}

/// The group that `twinset bench` credits, of accounts like its own; made if it is not there.
pub(super) async fn for_bench(parts: usize, context: &Context) -> anyhow::Result<String> {
    let survey = admin::survey(&context.nodes()?).await;
    let catalogue = survey.catalogue()?;
    let wanted = Wanted {
        id: format!("bench-group-{parts}"),
        currency: load::CURRENCY.to_owned(),
        subject: load::SUBJECT.to_owned(),
        limit: Some("none".to_owned()),
        metadata: Map::new(),
        who: super::who(),
        why: "bench".to_owned(),
    };
    let planned = group::plan(catalogue, &wanted.id, parts)?;
    if group::defined(catalogue, &wanted, &planned)?.is_none() {
        make(&survey, &wanted, &planned, context).await?;
    }
    Ok(wanted.id)
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let survey = admin::survey(&context.nodes()?).await;
    let catalogue = survey.catalogue()?;
    if context.json {
        return out::json(&catalogue.groups.values().collect::<Vec<_>>());
    }
    let slots = catalogue.slot_table();
    let rows: Vec<Vec<String>> = catalogue
        .groups
        .values()
        .map(|group| {
            let mut sets: Vec<u32> =
                group.parts.iter().map(|part| slots[usize::from(twinset_ledger::slot_of(part))]).collect();
            sets.sort_unstable();
            sets.dedup();
            let side = format!("{:?}", group.normal_side).to_lowercase();
            let (parts, sets) = (group.parts.len().to_string(), sets.len().to_string());
            vec![group.id.clone(), group.currency.clone(), side, parts, sets]
        })
        .collect();
    out::line(&out::table(&["GROUP", "CURRENCY", "SIDE", "PARTS", "SETS"], &rows))
}

async fn show(arguments: Show, context: &Context) -> anyhow::Result<()> {
    let mut router = Router::new(&context.routers()?[0])?;
    let path = format!("/v1/accounts/{}{}", router::segment(&arguments.group), arguments.freshness.query());
    let reply = router.read(&path, &format!("{} cannot be read", arguments.group)).await?;
    let Some(parts) = reply["parts"].as_array() else {
        return Err(error::failure(
            format!("{} is an account, and no group", arguments.group),
            "`twinset account get` shows it; `twinset group list` shows the groups",
        ));
    };
    if context.json {
        return out::json(&reply);
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let row = |account: &Value, set: String| {
        let figures = ["posted", "held", "available"].map(|figure| text(&account[figure]));
        [text(&account["account"]), set].into_iter().chain(figures).collect::<Vec<String>>()
    };
    let mut rows: Vec<Vec<String>> =
        parts.iter().map(|part| row(&part["account"], text(&part["as_of"]["set"]))).collect();
    rows.push(row(&reply["account"], "all".to_owned()));
    out::line(&out::table(&["ACCOUNT", "SET", "POSTED", "HELD", "AVAILABLE"], &rows))
}
