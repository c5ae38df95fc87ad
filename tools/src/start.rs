//! How a command of this workspace starts and ends: arguments, one runtime, one exit code (0 done, 1 failed, 64 asked
//! wrongly). What it does is the caller's business. Above: the `main` of `twinset` and of `twinset-jepsen`.

use std::process::ExitCode;

use clap::Parser;

use crate::error;

/// Parses the arguments, runs the command, and gives the exit code; `Ok(false)` is a command that did its work and found
/// something wrong.
pub fn start<C, F>(run: impl FnOnce(C) -> F) -> ExitCode
where
    C: Parser,
    F: Future<Output = anyhow::Result<bool>>,
{
    start_prepared(|_| (), run)
}

/// The same, with something to be done before there is a runtime: while the process has one thread only.
pub fn start_prepared<C, F>(prepare: impl FnOnce(&mut C), run: impl FnOnce(C) -> F) -> ExitCode
where
    C: Parser,
    F: Future<Output = anyhow::Result<bool>>,
{
    let mut arguments = match C::try_parse() {
        Ok(arguments) => arguments,
        Err(usage) => {
            // A closed stdout is the reader's choice, not a failure of ours.
            let _ = usage.print();
            return if usage.use_stderr() { ExitCode::from(error::EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    prepare(&mut arguments);
    // One thread is enough for a client; children are tied to the thread that starts them, and live exactly as long as the
    // command.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return error::report(&error.into()),
    };
    match runtime.block_on(run(arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(error::EXIT_FAILED),
        Err(error) => error::report(&error),
    }
}
