//! `twinset currency` and `twinset subject`: what the ledger's chart has beyond the built-in currencies (ISO 4217) and
//! subjects. A definition goes to every set; repeating it changes nothing.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::Context;
use super::account::Side;
use super::router::{self, CallError, Router};
use crate::{error, out};

/// Define currencies beyond ISO 4217.
#[derive(Debug, Subcommand)]
pub enum Currency {
    /// Define a currency in every set.
    #[command(long_about = "Define a currency in every set.\n\n\
        The currencies of ISO 4217 are there without a definition. A definition cannot be changed: amounts are kept in the \
        currency's smallest unit. Repeating it changes nothing.\n\n\
        Examples:\n  twinset currency define POINTS --scale 0\n  twinset currency define BTC --scale 8")]
    Define(DefineCurrency),
}

/// Arguments of `currency define`.
#[derive(Debug, Args)]
pub struct DefineCurrency {
    /// 1-64 of A-Za-z0-9._:-{}
    code: String,
    /// Decimal places of its amounts.
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=i64::from(twinset_ledger::chart::SCALE_MAX)))]
    scale: u8,
}

/// Define general-ledger subjects beyond the built-in five.
#[derive(Debug, Subcommand)]
pub enum Subject {
    /// Define a subject in every set.
    #[command(long_about = "Define a general-ledger subject in every set.\n\n\
        Built in are asset, liability, equity, income and expense. The side is the one that raises the balance of the \
        subject's accounts. A definition cannot be changed; repeating it changes nothing.\n\n\
        Example:\n  twinset subject define clearing --name 'Clearing with the card scheme' --side debit")]
    Define(DefineSubject),
}

/// Arguments of `subject define`.
#[derive(Debug, Args)]
pub struct DefineSubject {
    /// 1-64 of A-Za-z0-9._:-{}
    code: String,
    /// For people.
    #[arg(long)]
    name: String,
    /// The side that raises the balance of its accounts.
    #[arg(long, value_enum)]
    side: Side,
}

/// Runs `twinset currency ...`.
pub async fn currency(command: Currency, context: &Context) -> anyhow::Result<()> {
    let Currency::Define(DefineCurrency { code, scale }) = command;
    let path = format!("/v1/currencies/{}", router::segment(&code));
    define(&format!("currency {code}"), &path, &json!({ "scale": scale }), context).await
}

/// Runs `twinset subject ...`.
pub async fn subject(command: Subject, context: &Context) -> anyhow::Result<()> {
    let Subject::Define(DefineSubject { code, name, side }) = command;
    let path = format!("/v1/subjects/{}", router::segment(&code));
    define(&format!("subject {code}"), &path, &json!({ "name": name, "normal_side": side.text() }), context)
        .await
}

async fn define(what: &str, path: &str, body: &Value, context: &Context) -> anyhow::Result<()> {
    let mut router = Router::new(&context.routers()?[0])?;
    let reply =
        router.call(Method::PUT, path, Some(body)).await.map_err(|error| not_defined(what, &error))?;
    if context.json {
        return out::json(&reply);
    }
    let stood = if reply["changed"] == false { " (as it was before)" } else { "" };
    out::line(&format!("{what} is defined in every set{stood}"))
}

fn not_defined(what: &str, cause: &CallError) -> anyhow::Error {
    let next = match cause {
        CallError::Problem(problem) if problem.code.ends_with("_conflict") => {
            "a definition cannot be changed: take another code"
        }
        CallError::Problem(problem) if problem.outcome == "rejected" => {
            "docs/reference/errors.md explains the code"
        }
        _ => {
            "run the same command again, until it says that it is defined: the same definition changes nothing"
        }
    };
    let end = match cause.unknown() {
        true => format!("it is not known whether {what} is defined in every set"),
        false => format!("{what} is not defined"),
    };
    error::failure(format!("{end}: {cause}"), next)
}
