//! The `twinset-jepsen` command: arguments, one run, exit code (0 clean, 1 violated or failed, 64 asked wrongly).

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use twinset_jepsen::kills;
use twinset_tools::start;

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
    start::start(async |Cli { command: Command::Kills(arguments) }: Cli| kills::run(arguments).await)
}
