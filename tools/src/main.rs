//! The `twinset` command. Everything is in the library.

use std::process::ExitCode;

use twinset_tools::cli::Cli;
use twinset_tools::{cmd, start};

fn main() -> ExitCode {
    start::start(async |cli: Cli| cmd::run(cli).await.map(|()| true))
}
