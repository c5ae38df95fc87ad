//! `twinset-node`: arguments, configuration, telemetry, run, exit code.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;
use twinset_node::config::Config;
use twinset_node::faults;
use twinset_node::listen::Listeners;
use twinset_node::metrics::Metrics;
use twinset_node::node::Node;

// ADR 19.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit code for a wrong command line or configuration (EX_USAGE).
const EXIT_USAGE: u8 = 64;
/// For what still runs when all is said and done.
const END_MAX: Duration = Duration::from_secs(1);

/// A Twinset data node; with `node.arbiter = true`, the arbiter.
#[derive(Parser)]
#[command(version = twinset_ledger::canary::VERSION)]
struct Args {
    /// The configuration file (TOML).
    #[arg(long)]
    config: PathBuf,
    /// Print the whole configuration, defaults included, and exit.
    #[arg(long)]
    dump_config: bool,
    /// What to log: error, warn, info, debug, trace, or directives as in `info,twinset_node::switch=debug`.
    #[arg(long, default_value = "info,openraft=off")]
    log: String,
}

fn main() -> ExitCode {
    #[cfg(feature = "canaries")]
    twinset_ledger::canary::switch_on(&std::env::var(twinset_ledger::canary::VARIABLE).unwrap_or_default());
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Help and version come this way, too; nothing can be done if the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let config = match Config::load(&args.config) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("twinset-node: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    if args.dump_config {
        let text = toml::to_string_pretty(&config).expect("the configuration is plain data");
        print!("{text}");
        return ExitCode::SUCCESS;
    }
    let filter = match EnvFilter::try_new(&args.log) {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("twinset-node: --log: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    abort_on_panic();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let ended = runtime.block_on(run(config));
        runtime.shutdown_timeout(END_MAX);
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "cannot run");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> anyhow::Result<()> {
    faults::arm(config.faults);
    let listeners = Listeners::open(&config).await?;
    let node = Node::open(config, Metrics::new(prometheus::Registry::new())?).await?;
    let (stop, stopped) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.send_replace(true);
    });
    node.serve(listeners, stopped).await
}

/// A broken invariant in one task must not leave the others answering.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}
