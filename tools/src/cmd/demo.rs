//! `twinset demo`: prints what happens to a cluster that is moved and wounded under traffic. What is done, and what the
//! clients saw of it, is in [`crate::drama`].

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::{Context, import, verify};
use crate::cluster::local::LocalOptions;
use crate::cluster::{LocalCluster, Ports};
use crate::drama::{self, Report, Script};
use crate::drill::record::{Record, Verdict};
use crate::drill::scenario::Scenario;
use crate::drill::{play, shelf};
use crate::journal::Plan;
use crate::verify as books;
use crate::{error, out};

/// The scenario of `--power-off`, as it ships.
const POWER_OFF: &str = include_str!("../../../deploy/drills/power-off.toml");
/// Payments per second meanwhile.
const POWER_OFF_LOAD: u32 = 200;

/// What `twinset demo --help` says.
pub const HELP: &str = "Watch a cluster survive: switches and kills under traffic.\n\n\
    Starts a fresh cluster of real processes over two sites, sends it traffic through both routers, moves sets between \
    the sites and kills leaders with SIGKILL while the traffic flows, then says what the clients saw of it, and has \
    every replica's books compared. With more moves it is a measurement:\n\n  \
    twinset demo --switches 100 --kills 20 --json\n  twinset demo --keep     leaves the cluster running\n  \
    twinset demo --journal example.beancount";

/// Watch a cluster survive: switches and kills under traffic.
#[derive(Debug, Args)]
pub struct Demo {
    /// Where the cluster lives; an earlier one there is thrown away.
    #[arg(long, value_name = "DIR", default_value = "demo-data")]
    data: PathBuf,
    /// How many sets.
    #[arg(long, default_value_t = 2)]
    sets: u32,
    /// How many times a set is moved to the other site; an even number brings all of them home.
    #[arg(long, default_value_t = 2)]
    switches: u32,
    /// How many leaders are killed.
    #[arg(long, default_value_t = 1)]
    kills: u32,
    /// Closed loops of traffic.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    connections: u32,
    /// How many accounts.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(4..=10_000_000))]
    accounts: u32,
    /// Of a hundred payments, how many go from one set to another.
    #[arg(long, default_value_t = 25, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    across: u8,
    /// Of a hundred payments, how many are set aside first, as a hold of twice the amount, and captured then.
    #[arg(long, default_value_t = 10, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    held: u8,
    /// Of a hundred payments, how many go to one merchant, a buffered account: its set is not asked.
    #[arg(long, default_value_t = 20, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    merchant: u8,
    /// How long traffic flows undisturbed between two moves, in milliseconds.
    #[arg(long, default_value_t = 2_000, value_name = "MS")]
    pace: u64,
    /// Then power a site off, as a drill: it is emptied, isolated, proved ready, killed, and taken back.
    #[arg(long)]
    power_off: bool,
    /// A journal to import before the traffic begins; its accounts are verified with the rest.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Leave the cluster running.
    #[arg(long)]
    keep: bool,
    /// Ports count from here. Default: a free range.
    #[arg(long)]
    base_port: Option<u16>,
    /// Where twinset-node and twinset-router are. Default: beside this program.
    #[arg(long, value_name = "DIR")]
    bin_dir: Option<PathBuf>,
}

/// Runs `twinset demo`.
pub async fn run(arguments: Demo, context: &Context) -> anyhow::Result<()> {
    // A journal with a mistake is said before anything is started.
    let journal = arguments.journal.as_ref().map(|file| read_journal(file)).transpose()?;
    let options = LocalOptions {
        sets: arguments.sets,
        ports: arguments.base_port.map_or(Ports::Free, Ports::Base),
        detach: arguments.keep,
        bin_dir: arguments.bin_dir.clone(),
        drill_faults: arguments.power_off,
        ..LocalOptions::fresh(&arguments.data)
    };
    out::say(
        "A ledger over two sites: nodes a1 a2 in site A, b1 b2 in site B, arbiter c1, a router in each site.",
    );
    let mut cluster = LocalCluster::start(&options, &mut |text| out::say(&format!("  {text}"))).await?;
    let outcome = play(&arguments, journal.as_ref(), &mut cluster, context.json).await;
    if arguments.keep {
        let dir = arguments.data.display();
        out::say(&format!(
            "the cluster runs on: `twinset status --dir {dir}`, `twinset dev down --dir {dir}`"
        ));
    } else {
        let forced = cluster.stop().await?;
        out::say(if forced.is_empty() { "  stopped cleanly" } else { "  stopped, some by force" });
    }
    outcome
}

fn read_journal(file: &Path) -> anyhow::Result<Plan> {
    import::read(&import::ImportArgs {
        file: file.to_owned(),
        format: None,
        tag: "journal".to_owned(),
        subject: Vec::new(),
        dry_run: false,
    })
}

async fn play(
    arguments: &Demo,
    journal: Option<&Plan>,
    cluster: &mut LocalCluster,
    json: bool,
) -> anyhow::Result<()> {
    if let Some(plan) = journal {
        let sent = import::book(plan, &cluster.layout().router_urls()).await?;
        out::say(&format!(
            "  Imported a journal: {} transactions on {} accounts, all in set {}.",
            plan.transactions.len(),
            plan.accounts.len(),
            sent.set
        ));
    }
    let script = Script {
        switches: arguments.switches,
        kills: arguments.kills,
        connections: arguments.connections as usize,
        accounts: arguments.accounts as usize,
        across: arguments.across,
        held: arguments.held,
        merchant: arguments.merchant,
        pace: Duration::from_millis(arguments.pace),
    };
    let report = drama::play(&script, cluster, &mut |text| out::say(&format!("  {text}"))).await?;
    let drill = if arguments.power_off { Some(power_off(arguments, cluster).await?) } else { None };
    out::say("  Now every replica's books are compared.");
    let books = verify::report(&cluster.layout().node_addrs(), Duration::from_secs(60)).await?;
    if json {
        out::json(&serde_json::json!({ "clients": report, "drill": drill, "verify": books }))?;
    } else {
        out::line(&text(&report, &books))?;
    }
    if let Some(record) = drill.filter(|record| record.verdict != Verdict::Passed) {
        return Err(error::failure(
            format!("the power-off did not hold: {}", record.verdict),
            format!("see {}", shelf::page_of(&arguments.data.join("drills"), &record.id).display()),
        ));
    }
    let failed = report.load.failed_requests;
    if failed > 0 || !books.clean {
        return Err(error::failure(
            format!("the demo did not hold: {failed} failed requests, books {}", verdict(&books)),
            format!("read the logs in {}", arguments.data.join("log").display()),
        ));
    }
    Ok(())
}

/// A site is emptied, proved ready, killed, and taken back, while others pay.
async fn power_off(arguments: &Demo, cluster: &LocalCluster) -> anyhow::Result<Record> {
    out::say(
        "  Now site A is powered off, as a drill: emptied, isolated, proved ready, killed, and taken back.",
    );
    let scenario = Scenario::parse(POWER_OFF).map_err(anyhow::Error::msg)?;
    let options = play::Options {
        load: POWER_OFF_LOAD,
        baseline: Duration::from_secs(2),
        after: Duration::from_secs(2),
        ..play::Options::local(cluster.layout(), scenario, (&super::who(), "demo"))?
    };
    let record = play::play(&options, &mut |line| out::say(&format!("  {line}"))).await?;
    let page = shelf::write(&arguments.data.join("drills"), &record)?;
    let [_, meanwhile, _] = &record.payments;
    out::say(&format!(
        "  {} payments meanwhile, {} failed, slowest {:.0} ms: {}; the report is {}",
        meanwhile.ended,
        meanwhile.failed,
        meanwhile.max_ms,
        record.verdict,
        page.display()
    ));
    Ok(record)
}

fn verdict(books: &books::Report) -> &'static str {
    if books.clean { "clean" } else { "NOT CLEAN" }
}

fn text(report: &Report, books: &books::Report) -> String {
    let ms = |us: u64| format!("{:.1} ms", us as f64 / 1e3);
    let rows: Vec<Vec<String>> = report
        .moves
        .iter()
        .map(|one| {
            vec![
                one.what.clone(),
                one.leader_pause_us.map_or("-".to_owned(), ms),
                ms(one.client_pause_us),
                ms(one.slowest_us),
            ]
        })
        .collect();
    let load = &report.load;
    let moves = out::table(&["MOVE", "WRITES PAUSED", "CLIENTS' PAUSE", "SLOWEST REQUEST"], &rows);
    let mut lines = vec![
        String::new(),
        "What the clients saw".to_owned(),
        moves,
        String::new(),
        format!(
            "requests {}, failures: {}, {:.0}/s, p50 {}, p99 {}, slowest {}",
            load.requests,
            load.failed_requests,
            load.requests_per_second,
            ms(load.latency.p50_us),
            ms(load.latency.p99_us),
            ms(load.latency.max_us),
        ),
    ];
    for (name, pauses) in [("switches", &report.switches), ("kills", &report.kills)] {
        if let Some(pauses) = pauses {
            lines.push(format!(
                "{} {name}: clients' pause p50 {}, p99 {}, longest {}",
                pauses.count,
                ms(pauses.p50_us),
                ms(pauses.p99_us),
                ms(pauses.max_us)
            ));
        }
    }
    lines.push(String::new());
    lines.push(verify::text(books));
    lines.join("\n")
}
