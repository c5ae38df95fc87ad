//! `twinset verify`: reads every replica of every set and compares the books. The judging is in [`crate::verify`].

use std::time::Duration;

use clap::Args;

use super::Context;
use crate::cluster::admin;
use crate::verify::{self, Report};
use crate::{error, out};

/// What `twinset verify --help` says.
pub const HELP: &str = "Read every replica of every set and compare the books.\n\n\
    For each set: every replica is read at the leader's committed index; their hashes over log, results and accounts must \
    be equal; debits must equal credits in every currency; over all sets everything must sum to zero, and the clearing \
    accounts must show what is open between the sets and nothing else. A replica that cannot be read makes the verdict \
    \"not clean\": what was not read is not proven. Under steady traffic the replicas may not be caught at one index, nor \
    the sets at one moment: stop the traffic, or give more --patience.\n\n\
    Examples:\n  twinset verify\n  twinset verify --json | jq .clean";

/// Read every replica of every set and compare the books.
#[derive(Debug, Args)]
pub struct Verify {
    /// How long to wait for replicas that are behind or down, in seconds.
    #[arg(long, default_value_t = 30)]
    patience: u64,
}

/// Runs `twinset verify`.
pub async fn run(arguments: Verify, context: &Context) -> anyhow::Result<()> {
    let report = report(&context.nodes()?, Duration::from_secs(arguments.patience)).await?;
    if context.json {
        out::json(&report)?;
    } else {
        out::line(&text(&report))?;
    }
    if report.clean {
        return Ok(());
    }
    Err(error::failure(
        "the books were not found clean",
        "bring back the nodes that were not read and repeat it; if replicas differ, stop the traffic and keep all data \
         directories as they are",
    ))
}

/// The report on the cluster behind these nodes.
pub async fn report(nodes: &[String], patience: Duration) -> anyhow::Result<Report> {
    let spinner = out::spinner("reading every replica");
    let survey = admin::survey(nodes).await;
    let catalogue = survey.catalogue()?;
    let report = verify::verify(&survey, catalogue, patience).await;
    spinner.finish_and_clear();
    Ok(report)
}

/// The report for people.
pub fn text(report: &Report) -> String {
    let line = |line: &verify::Line| {
        format!("{}  {:<9} {}", if line.clean { "ok " } else { "BAD" }, line.subject, line.detail)
    };
    let mut lines: Vec<String> = report.lines.iter().map(line).collect();
    lines.push(format!(
        "{}: {} accounts, {} transactions",
        if report.clean { "clean" } else { "NOT CLEAN" },
        report.accounts,
        report.transactions
    ));
    lines.join("\n")
}
