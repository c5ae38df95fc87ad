//! What needs no cluster: `twinset-jepsen list`, `check` (a stored history once more), and `bench-check` (a made-up history, to
//! see what a check costs). Prints; judges nothing itself.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use twinset_tools::{error, out};

use crate::play::nemeses;
use crate::{check, history, run, synthetic, workload};

/// What `twinset-jepsen check --help` says.
pub const CHECK_HELP: &str = "Check the stored history of a run again; needs no cluster.\n\n\
    Reads DIR/history.jsonl, runs every checker, and writes DIR/results.json, DIR/report.html and the files for other checkers \
    (history.edn, elle-append.edn) anew.\n\nExample:\n  twinset-jepsen check .twinset-jepsen";
/// What `twinset-jepsen bench-check --help` says.
pub const BENCH_HELP: &str = "Make a history of a perfect ledger and check it, to see how fast that is.\n\n\
    Example:\n  twinset-jepsen bench-check --operations 1000000";

/// Name the workloads, the nemeses, and the checkers.
#[derive(Clone, Debug, Args)]
pub struct List {
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

/// Check a stored history again.
#[derive(Clone, Debug, Args)]
pub struct Check {
    /// The directory of a run.
    dir: PathBuf,
    /// Print the results as JSON.
    #[arg(long)]
    json: bool,
}

/// Check a made-up history.
#[derive(Clone, Debug, Args)]
pub struct BenchCheck {
    /// How many operations.
    #[arg(long, default_value_t = 1_000_000)]
    operations: u64,
    /// Where all choices come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs `twinset-jepsen list`.
pub fn list(arguments: &List) -> anyhow::Result<bool> {
    if arguments.json {
        let named = |name: &str, about: &str| json!({ "name": name, "about": about });
        out::json(&json!({
            "workloads": workload::ALL.iter().map(|kind| named(kind.name, kind.about)).collect::<Vec<_>>(),
            "nemeses": nemeses::ALL.iter().map(|nemesis| named(nemesis.name, nemesis.about)).collect::<Vec<_>>(),
            "checkers": check::ALL.iter()
                .map(|checker| json!({ "name": checker.name, "claim": checker.claim, "about": checker.about }))
                .collect::<Vec<_>>(),
        }))?;
        return Ok(true);
    }
    let rows = |pairs: Vec<(&str, &str)>| -> Vec<Vec<String>> {
        pairs.into_iter().map(|(name, about)| vec![name.to_owned(), about.to_owned()]).collect()
    };
    let workloads = workload::ALL.iter().map(|kind| (kind.name, kind.about)).collect();
    out::line(&out::table(&["WORKLOAD", "WHAT CLIENTS DO"], &rows(workloads)))?;
    let nemeses = nemeses::ALL.iter().map(|nemesis| (nemesis.name, nemesis.about)).collect();
    out::line(&format!("\n{}", out::table(&["NEMESIS", "WHAT IS DONE TO THE CLUSTER"], &rows(nemeses))))?;
    let checkers: Vec<Vec<String>> = check::ALL
        .iter()
        .map(|checker| vec![checker.name.to_owned(), checker.claim.to_owned(), checker.about.to_owned()])
        .collect();
    let table = out::table(&["CHECKER", "CLAIM", "WHAT HOLDS (docs/reference/guarantees.md)"], &checkers);
    out::line(&format!("\n{table}"))?;
    Ok(true)
}

/// Runs `twinset-jepsen check`. True if everything is valid.
pub fn check(arguments: &Check) -> anyhow::Result<bool> {
    let path = arguments.dir.join(run::HISTORY_JSONL);
    if !path.exists() {
        return Err(error::usage(
            format!("{} is not there", path.display()),
            "name the directory of a run, such as .twinset-jepsen",
        ));
    }
    let history = history::read(&path)?;
    let asked = std::fs::read(arguments.dir.join(run::RUN_JSON)).ok();
    let asked: Option<run::Run> = asked.and_then(|text| serde_json::from_slice(&text).ok());
    let repeat = match asked {
        Some(asked) => asked.repeat(history.meta.seed),
        None => format!("twinset-jepsen check {}", arguments.dir.display()),
    };
    let results = run::judge(&history, &arguments.dir, repeat)?;
    if arguments.json {
        out::json(&results)?;
    } else {
        results.print(&arguments.dir)?;
    }
    Ok(results.is_valid())
}

/// Runs `twinset-jepsen bench-check`. True if the history is found valid, as it is.
pub fn bench(arguments: &BenchCheck) -> anyhow::Result<bool> {
    let began = Instant::now();
    let history = synthetic::history(arguments.operations, arguments.seed)?;
    out::line(&format!("made {} operations in {:.1} s", history.ops.len(), began.elapsed().as_secs_f64()))?;
    let began = Instant::now();
    let findings = check::all(&check::Case::of(&history));
    let seconds = began.elapsed().as_secs_f64();
    for finding in findings.iter().filter(|finding| finding.verdict.is_red()) {
        out::line(&format!("{}: {:?}", finding.checker, finding.examples.first()))?;
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("unknown").trim();
    out::line(&format!(
        "checked {} operations in {seconds:.1} s ({:.0}/s), at most {peak} of memory",
        history.ops.len(),
        history.ops.len() as f64 / seconds
    ))?;
    Ok(check::overall(&findings) == check::Verdict::Valid)
}
