//! The `twinset-jepsen` command: arguments, one run, exit code (0 clean, 1 violated or failed, 64 asked wrongly).

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use twinset_jepsen::kills;
use twinset_tools::error;

/// Consistency tests of a whole local cluster under faults.
#[derive(Debug, Parser)]
#[command(name = "twinset-jepsen", version, max_term_width = 110, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Kill processes with SIGKILL under traffic, one after the other; then account for every request.
    #[command(long_about = kills::HELP)]
    Kills(kills::Kills),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // A closed stdout is the reader's choice, not a failure of ours.
            let _ = usage.print();
            return if usage.use_stderr() { ExitCode::from(error::EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    // One thread: the processes are tied to the thread that starts them, and the cluster needs the cores.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return error::report(&error.into()),
    };
    let Command::Kills(arguments) = cli.command;
    match runtime.block_on(kills::run(arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(error::EXIT_FAILED),
        Err(error) => error::report(&error),
    }
}
