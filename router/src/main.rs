//! The router's process: arguments, configuration, logs, run, exit code. Everything else is the library.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use twinset_router::config::Config;
use twinset_router::service;

// ADR 19.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code for a wrong command line or configuration (EX_USAGE).
const EXIT_USAGE: u8 = 64;

const HELP: &str = "\
Example: twinset-router --config deploy/examples/router.toml

GET /readyz answers 200 while the router holds a catalogue and at least one node that hosts sets answers it, else 503
with the reason. GET /healthz answers 200 while the process runs. GET /openapi.json describes the API.";

/// The router of a Twinset cluster: takes calls over HTTP/JSON and gRPC and brings them to the right node.
#[derive(Parser)]
#[command(version = twinset_ledger::canary::VERSION, after_help = HELP)]
struct Arguments {
    /// The configuration file. deploy/examples/router.toml shows every key.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Prints the configuration with every key and its value, and stops.
    #[arg(long)]
    dump_config: bool,
}

fn main() -> ExitCode {
    #[cfg(feature = "canaries")]
    twinset_ledger::canary::switch_on(&std::env::var(twinset_ledger::canary::VARIABLE).unwrap_or_default());
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
            eprintln!("twinset-router: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if arguments.dump_config {
        print!("{}", config.to_toml());
        return ExitCode::SUCCESS;
    }
    match run(&config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("twinset-router: {error:#}");
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
    let router = service::start(config, prometheus::Registry::new()).await?;
    tracing::info!(
        name = config.router.name,
        site = config.router.site,
        "twinset-router ready http={} grpc={}",
        router.http,
        router.grpc
    );
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("draining");
    match router.stop().await {
        true => tracing::info!("stopped"),
        false => tracing::warn!("stopped before all calls had ended"),
    }
    Ok(())
}
