//! The relay's process: arguments, configuration, logs, run, exit code. Everything else is the library.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use twinset_relay::commands::{self, Command};
use twinset_relay::config::Config;
use twinset_relay::service;

/// Exit code for a wrong command line or configuration (EX_USAGE).
const EXIT_USAGE: u8 = 64;

const HELP: &str = "\
Examples:
  twinset-relay --config deploy/examples/relay.toml --check
  twinset-relay --config deploy/examples/relay.toml
  twinset-relay --config deploy/examples/relay.toml dead-letters list
  twinset-relay --config deploy/examples/relay.toml dead-letters show --sink billing 1-1-1842-17
  twinset-relay --config deploy/examples/relay.toml dead-letters redeliver --sink billing 1-1-1842-17

A sink begins with the first event of each set and goes on behind the last one that its receiver has taken. By default nothing is
ever left out: what a receiver refuses halts its set at that sink until somebody decides. docs/reference/relay.md tells how
receivers check signatures and recognise what they have seen.

GET /readyz answers 200 when a router has told which sets there are. GET /healthz answers 200 while the process runs. GET /metrics
shows dead letters, halted sets and how long the next event has been waiting.";

/// Brings the events of a Twinset cluster to webhooks and to NATS JetStream: in order, without a gap, at least once.
#[derive(Parser)]
#[command(version, after_help = HELP)]
struct Arguments {
    /// The configuration file. deploy/examples/relay.toml shows every key.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Checks the configuration, the secrets and the cursors, and stops.
    #[arg(long)]
    check: bool,
    /// Prints the configuration with every key and its value, and stops.
    #[arg(long)]
    dump_config: bool,
    /// Without one, the relay runs.
    #[command(subcommand)]
    command: Option<Command>,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version come this way, too; nothing can be done if the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let config = match Config::load(&arguments.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("twinset-relay: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if arguments.dump_config {
        print!("{}", config.to_toml());
        return ExitCode::SUCCESS;
    }
    let done = match (arguments.check, arguments.command) {
        (true, _) => service::check(&config).map_err(anyhow::Error::from),
        (false, Some(command)) => commands::run(command, &config, &mut std::io::stdout().lock()),
        (false, None) => run(&config),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("twinset-relay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: &Config) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(serve(config))
}

async fn serve(config: &Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut relay = service::start(config, prometheus::Registry::new()).await?;
    tracing::info!("twinset-relay ready http={}", relay.http);
    let fault = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        fault = relay.failed() => Some(fault),
    };
    tracing::info!("draining");
    match relay.stop().await {
        true => tracing::info!("stopped"),
        false => tracing::warn!("stopped before all deliveries had ended; they come again"),
    }
    fault.map_or(Ok(()), |fault| Err(fault.into()))
}
