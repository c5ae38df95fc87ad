//! `twinset bench`: measures throughput and latency. The traffic is made in [`crate::load`].

use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{Context, account, group};
use crate::cluster::admin;
use crate::load::plan::{Payee, Shape};
use crate::load::record::LoadReport;
use crate::load::{Load, LoadOptions, Protocol, Running, Until};
use crate::{error, out};

/// What `twinset bench --help` says.
pub const HELP: &str = "Measure throughput and latency.\n\n\
    Opens the accounts, then sends two-leg transactions with unique request ids in closed loops, spread over the \
    routers; each connection keeps to the accounts of one set. Latency is measured at the client and kept in an HDR \
    histogram. With a batch above 1 a request is a whole batch. If any request fails, the command fails.\n\n\
    Examples:\n  twinset bench                                    one transaction per request, 64 connections\n  \
    twinset bench --protocol grpc --seconds 30\n  \
    twinset bench --batch 8000 --connections 4       batches\n  \
    twinset bench --hot                              all into one account\n  \
    twinset bench --group 8                          all into one group of so many accounts\n  \
    twinset bench --buffered                         all into one account that other sets need not ask\n  \
    twinset bench --across 100                       each over two sets\n  \
    twinset bench --held 100                         each set aside first, and captured then\n  \
    twinset bench --connections 1 --requests 2000    one client, one at a time";

/// The account of `--buffered`.
const SHOP: &str = "bench-shop";

/// Measure throughput and latency.
#[derive(Clone, Debug, Args)]
pub struct Bench {
    /// How requests travel.
    #[arg(long, value_enum, default_value_t = Protocol::Http)]
    protocol: Protocol,
    /// Transactions per request.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8190))]
    batch: u32,
    /// Closed loops, each with a connection of its own.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// How many accounts.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=10_000_000))]
    accounts: u32,
    /// Credit one and the same account in every transaction.
    #[arg(long)]
    hot: bool,
    /// Credit one group of so many accounts in every transaction, from all sets; it is made first.
    #[arg(long, value_name = "PARTS", conflicts_with_all = ["hot", "across"])]
    group: Option<usize>,
    /// Credit one and the same account in every transaction, from all sets; it is buffered: other sets pay it without asking.
    #[arg(long, conflicts_with_all = ["hot", "across", "group"])]
    buffered: bool,
    /// Of a hundred transactions, how many pay an account of another set.
    #[arg(long, default_value_t = 0, value_name = "PERCENT", conflicts_with = "hot",
        value_parser = clap::value_parser!(u8).range(0..=100))]
    across: u8,
    /// Of a hundred transactions, how many are set aside first, as a hold of twice the amount, and captured then: two
    /// requests that count as one.
    #[arg(long, default_value_t = 0, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    held: u8,
    /// How long to measure.
    #[arg(long, default_value_t = 10, conflicts_with = "requests")]
    seconds: u64,
    /// How many requests to send, instead of a time.
    #[arg(long)]
    requests: Option<u64>,
    /// Seconds of traffic before the measuring begins.
    #[arg(long, default_value_t = 2, value_name = "SECONDS")]
    warmup: u64,
    /// The deadline that each request names. Default: the router's own.
    #[arg(long, value_name = "MS")]
    deadline_ms: Option<u32>,
}

/// Runs `twinset bench`.
pub async fn run(arguments: Bench, context: &Context) -> anyhow::Result<()> {
    let into = match arguments.group {
        Some(parts) => Some(group::for_bench(parts, context).await?),
        None if arguments.buffered => {
            account::open_buffered(&context.routers()?[0], SHOP).await?;
            Some(SHOP.to_owned())
        }
        None => None,
    };
    let into = into.map(Payee::of_all);
    let options = LoadOptions {
        protocol: arguments.protocol,
        routers: match arguments.protocol {
            Protocol::Http => context.routers()?,
            Protocol::Grpc => context.grpc_routers()?,
        },
        connections: arguments.connections as usize,
        shape: Shape {
            name: if arguments.hot { "hot" } else { "bench" }.to_owned(),
            accounts: arguments.accounts as usize,
            hot: arguments.hot,
            into,
            across: arguments.across,
            held: arguments.held,
            batch: arguments.batch as usize,
            slots: slots(context).await,
        },
        deadline_ms: arguments.deadline_ms,
        samples_max: 0,
    };
    let load = prepare(options).await?;
    if arguments.warmup > 0 {
        let until = Until::Elapsed(Duration::from_secs(arguments.warmup));
        held(&watch(load.start(until)?, "warming up", None).await?)?;
    }
    let until = match arguments.requests {
        Some(requests) => Until::Requests(requests),
        None => Until::Elapsed(Duration::from_secs(arguments.seconds)),
    };
    let report = watch(load.start(until)?, "measuring", arguments.requests).await?;
    if context.json {
        out::json(&json!({
            "protocol": arguments.protocol, "batch": arguments.batch, "connections": arguments.connections,
            "accounts": arguments.accounts, "hot": arguments.hot, "group": arguments.group, "buffered": arguments.buffered,
            "across": arguments.across, "held": arguments.held, "report": report,
        }))?;
    } else {
        out::line(&text(&report))?;
    }
    held(&report)
}

/// Figures of requests that failed are no figures.
fn held(report: &LoadReport) -> anyhow::Result<()> {
    let Some((code, count)) = report.commonest_error() else { return Ok(()) };
    Err(error::failure(
        format!(
            "{} of {} requests failed; the commonest error is {code}, of {count} transactions",
            report.failed_requests, report.requests
        ),
        "docs/reference/errors.md explains the codes; `twinset status` shows which nodes and sets answer",
    ))
}

/// The slot table, so that accounts are spread evenly; empty if no node can be asked.
async fn slots(context: &Context) -> Vec<u32> {
    let Ok(nodes) = context.nodes() else { return Vec::new() };
    admin::survey(&nodes).await.catalogue.map(|catalogue| catalogue.slot_table()).unwrap_or_default()
}

/// Opens the accounts under a progress bar.
pub async fn prepare(options: LoadOptions) -> anyhow::Result<Load> {
    let bar = out::bar(options.shape.accounts as u64, "accounts");
    bar.set_message("opening");
    let load = Load::prepare(options, |opened| bar.set_position(opened)).await;
    bar.finish_and_clear();
    load
}

/// Shows the traffic while it flows.
async fn watch(running: Running, message: &str, requests: Option<u64>) -> anyhow::Result<LoadReport> {
    let bar = match requests {
        Some(requests) => out::bar(requests, "requests"),
        None => out::spinner(message),
    };
    let progress = running.watch();
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    let finish = running.finish();
    tokio::pin!(finish);
    loop {
        tokio::select! {
            report = &mut finish => {
                bar.finish_and_clear();
                return report;
            }
            _ = tick.tick() => {
                let (done, failed) = progress.counts();
                bar.set_position(done);
                bar.set_message(format!("{message}: {done} requests, {failed} failed"));
            }
        }
    }
}

/// The report for people.
pub fn text(report: &LoadReport) -> String {
    let ms = |us: u64| format!("{:.2} ms", us as f64 / 1e3);
    let latency = &report.latency;
    format!(
        "requests   {} in {:.1} s, {:.0}/s, failed {}\n\
         transfers  {} booked, {:.0}/s; rejected {}, not applied {}, unknown {}\n\
         latency    p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
        report.requests,
        report.seconds,
        report.requests_per_second,
        report.failed_requests,
        report.transfers,
        report.transfers_per_second,
        report.rejected,
        report.not_applied,
        report.unknown,
        ms(latency.p50_us),
        ms(latency.p90_us),
        ms(latency.p99_us),
        ms(latency.p999_us),
        ms(latency.max_us),
    )
}
