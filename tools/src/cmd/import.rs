//! `twinset import`: books a plain-text-accounting journal through the routers. Reading, balancing and booking are
//! [`crate::journal`]'s; here are the arguments, the connections, and what is printed.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args;
use http::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::Context;
use super::router::{CallError, Router};
use crate::journal::api::{CallFailed, HttpApi, NO_ANSWER};
use crate::journal::send::{self, Pace, Sent};
use crate::journal::{Format, Kind, Plan, Problem, Problems, Reason, Roots, Source, ids, prepare};
use crate::{error, out};

/// What `twinset import --help` says.
pub const HELP: &str = "Book a plain-text-accounting journal.\n\n\
    The whole journal is read and balanced first: a journal with a mistake gives the line and the reason, and nothing is \
    booked. Each account gets one ledger account per commodity, named {TAG}:Account:COMMODITY; the tag in braces keeps \
    the journal in one set. What is exchanged at a cost or a price passes through trading accounts, so that every \
    commodity balances by itself; `twinset export` folds them back.\n\n\
    An import can be repeated, after an error for example: what is booked already is recognised, and nothing is booked \
    twice. Another journal, or a changed one, needs another tag.\n\n\
    The kind of an account is told by the first part of its name. In ledger-cli's format that can be any word: what is \
    not Assets, Liabilities, Equity, Income (or Revenues) or Expenses needs --subject.\n\n\
    Examples:\n  twinset import --format beancount example.beancount --tag example\n  \
    twinset import --format ledger books.ledger --dry-run\n  \
    twinset import --format ledger clubs.ledger --subject Funds=asset --subject Dues=income\n  \
    twinset export --format beancount --tag example -o copy.beancount";

/// Book a plain-text-accounting journal.
#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// The journal. What it includes is read as well.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The journal's format. Default: by the file's ending; beancount unless it is .ledger, .journal or .dat.
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// The journal's name in the ledger: 1-20 of A-Za-z0-9._-
    #[arg(long, default_value = "journal", value_name = "NAME")]
    pub tag: String,
    /// What kind of account begins with a first part that is none of the usual ones (ledger format): asset, liability,
    /// equity, income or expense.
    #[arg(long, value_name = "ROOT=SUBJECT", value_parser = root)]
    pub subject: Vec<(String, Kind)>,
    /// Read, balance and rehearse only: say what would be booked.
    #[arg(long)]
    pub dry_run: bool,
}

/// Reads `ROOT=SUBJECT`.
fn root(text: &str) -> Result<(String, Kind), String> {
    let (root, subject) = text.split_once('=').ok_or("not ROOT=SUBJECT")?;
    let known = |kind: &Kind| kind.subject() == subject.trim();
    let kind = Kind::ALL
        .into_iter()
        .find(known)
        .ok_or_else(|| format!("{subject:?} is none of {}", Kind::ALL.map(Kind::subject).join(", ")))?;
    Ok((root.trim().to_owned(), kind))
}

/// Runs `twinset import`.
pub async fn run(arguments: ImportArgs, context: &Context) -> anyhow::Result<()> {
    let plan = read(&arguments)?;
    if arguments.dry_run {
        return report(&arguments, &plan, None, context.json);
    }
    let sent = book(&plan, &context.routers()?).await?;
    report(&arguments, &plan, Some(sent), context.json)
}

/// Reads and balances the journal.
pub fn read(arguments: &ImportArgs) -> anyhow::Result<Plan> {
    check_tag(&arguments.tag)?;
    let format = arguments.format.unwrap_or_else(|| guess(&arguments.file));
    if format == Format::Beancount && !arguments.subject.is_empty() {
        return Err(error::usage(
            "--subject is for ledger-cli's format",
            "beancount says it in the file: option \"name_assets\" \"Funds\"; or give --format ledger",
        ));
    }
    let load = |path: &Path| std::fs::read_to_string(path);
    let roots: Roots = arguments.subject.iter().cloned().collect();
    let source = Source { format, path: &arguments.file, load: &load, roots: &roots };
    prepare(source, &arguments.tag).map_err(|problems| refused(&arguments.file, &problems))
}

/// What is wrong with the journal, and what to do about it.
fn refused(file: &Path, problems: &Problems) -> anyhow::Error {
    let shown = file.display().to_string();
    match problems.0.as_slice() {
        [Problem { reason: Reason::Unreadable { file, why }, .. }] if *file == shown => error::failure(
            format!("{shown} cannot be read, nothing is booked: {why}"),
            "name a journal that is there, in UTF-8: a path counts from the current directory",
        ),
        all => {
            let roots = all.iter().any(|problem| matches!(problem.reason, Reason::RootWithoutSubject { .. }));
            error::failure(
                format!("{shown} was not imported, nothing is booked:\n{problems}"),
                match roots {
                    true => {
                        "give --subject for each of these roots, mend the other lines, and run the import again"
                    }
                    false => "mend these lines and run the import again",
                },
            )
        }
    }
}

/// Books a plan through these routers.
pub async fn book(plan: &Plan, routers: &[String]) -> anyhow::Result<Sent> {
    let pace = Pace::default();
    let lanes = Lanes::open(routers, pace.openings).await?;
    let bar = out::bar(send::steps(plan), "steps");
    bar.set_message(format!("importing {}", plan.tag));
    let sent = send::send(&lanes, plan, pace, &|steps| bar.inc(steps)).await;
    bar.finish_and_clear();
    sent.map_err(|error| {
        let next = match &error {
            send::Error::OtherJournal { .. } => "import it under another --tag; nothing of it is booked",
            send::Error::Call { failed, .. } | send::Error::Transaction { failed, .. } if failed.passes() => {
                "run the same import again: what is booked already is recognised, nothing is booked twice"
            }
            _ => "docs/reference/errors.md explains the code",
        };
        let booked = match &error {
            send::Error::Transaction { booked, .. } => format!(" (booked before it: {booked} transactions)"),
            _ => String::new(),
        };
        error::failure(format!("the import stopped: {error}{booked}"), next)
    })
}

/// Refuses a tag that cannot stand in account ids.
pub(super) fn check_tag(tag: &str) -> anyhow::Result<()> {
    match ids::is_tag(tag) {
        true => Ok(()),
        false => Err(error::usage(
            format!("{tag:?} is no tag"),
            format!("give --tag 1 to {} of A-Za-z0-9._-", ids::TAG_BYTES_MAX),
        )),
    }
}

fn guess(file: &Path) -> Format {
    match file.extension().and_then(|ending| ending.to_str()) {
        Some("ledger" | "journal" | "dat" | "hledger") => Format::Ledger,
        _ => Format::Beancount,
    }
}

fn report(arguments: &ImportArgs, plan: &Plan, sent: Option<Sent>, json: bool) -> anyhow::Result<()> {
    if json {
        return out::json(&json!({
            "file": arguments.file.display().to_string(),
            "tag": plan.tag,
            "currencies": plan.currencies.len(),
            "accounts": plan.accounts.len(),
            "transactions": plan.transactions.len(),
            "transactions_without_movement": plan.empty,
            "left_out": plan.left_out,
            "booked": sent,
        }));
    }
    let (accounts, transactions) = (plan.accounts.len(), plan.transactions.len());
    let currencies = plan.currencies.len();
    out::line(&match sent {
        None => {
            format!("{transactions} transactions on {accounts} accounts in {currencies} currencies: balanced")
        }
        Some(sent) => format!(
            "{transactions} transactions on {accounts} accounts in {currencies} currencies: booked in set {} under the \
             tag {}{}",
            sent.set,
            plan.tag,
            match sent.transactions_replayed {
                0 => String::new(),
                replayed => format!(" ({replayed} of them stood there already)"),
            }
        ),
    })?;
    if plan.empty > 0 {
        out::say(&format!("{} transactions move nothing and are not booked", plan.empty));
    }
    if !plan.left_out.is_empty() {
        let kinds: Vec<String> =
            plan.left_out.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        out::say(&format!("not money, stays in the file: {}", kinds.join(", ")));
    }
    Ok(())
}

/// Connections to the routers, taken in turn: a router that is gone costs a repetition, not the import.
pub struct Lanes {
    lanes: Vec<Mutex<Router>>,
    next: AtomicUsize,
}

impl Lanes {
    /// `count` connections, spread over the routers; at least one router must be there.
    pub async fn open(routers: &[String], count: usize) -> anyhow::Result<Self> {
        let mut lanes = Vec::new();
        let mut reached = false;
        let mut reason = "no router is named".to_owned();
        for url in routers.iter().cycle().take(if routers.is_empty() { 0 } else { count.max(routers.len()) })
        {
            let mut router = Router::new(url)?;
            if lanes.len() < routers.len() {
                match router.call(Method::GET, "/readyz", None).await {
                    Err(CallError::NoAnswer { reason: why, sent: false }) => reason = why,
                    _ => reached = true,
                }
            }
            lanes.push(Mutex::new(router));
        }
        match reached {
            true => Ok(Lanes { lanes, next: AtomicUsize::new(0) }),
            false => Err(error::failure(
                format!("no router answers: {reason}"),
                "is a router listening there? `twinset dev ps`, or name one with --router",
            )),
        }
    }
}

impl HttpApi for Lanes {
    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, CallFailed> {
        let nth = self.next.fetch_add(1, Ordering::Relaxed) % self.lanes.len();
        let mut lane = self.lanes[nth].lock().await;
        lane.call(method, path, body).await.map_err(|error| match error {
            CallError::Problem(problem) => {
                CallFailed { code: problem.code, outcome: problem.outcome, detail: problem.detail }
            }
            CallError::NoAnswer { reason, sent } => CallFailed {
                code: NO_ANSWER.to_owned(),
                outcome: if sent { "unknown" } else { "not_applied" }.to_owned(),
                detail: reason,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_follows_the_ending() {
        assert_eq!(guess(Path::new("a/b.beancount")), Format::Beancount);
        assert_eq!(guess(Path::new("books.journal")), Format::Ledger);
        assert_eq!(guess(Path::new("books")), Format::Beancount);
    }

    #[test]
    fn a_tag_that_fits_no_id_is_refused() {
        assert!(check_tag("example-2024").is_ok());
        for bad in ["", "a b", "{a}", "a-tag-that-is-too-long-for-ids"] {
            assert!(check_tag(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_router_that_is_not_there_is_said_at_once() {
        let url = "http://127.0.0.1:1".to_owned();
        let error = Lanes::open(&[url], 4).await.err().expect("nobody listens");
        assert!(error.to_string().contains("no router answers"), "{error}");
    }
}
