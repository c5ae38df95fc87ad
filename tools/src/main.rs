//! The `twinset` command: parses the arguments, runs one command, turns its end into an exit code (0 done, 1 failed,
//! 64 asked wrongly). Everything else is in the library.

use std::process::ExitCode;

use clap::Parser;
use twinset_tools::cli::Cli;
use twinset_tools::{cmd, error};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // A closed stdout is the reader's choice, not a failure of ours.
            let _ = usage.print();
            return if usage.use_stderr() { ExitCode::from(error::EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    // One thread is enough for a client, and keeps children tied to it alive exactly as long as the command runs.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return error::report(&error.into()),
    };
    match runtime.block_on(cmd::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error::report(&error),
    }
}
