//! The `twinset-jepsen` command: arguments, one act, exit code (0 valid, 1 not or failed, 64 asked wrongly).

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use twinset_jepsen::net::rootless;
use twinset_jepsen::{apart, canaries, kills, recheck, run, shrink};
use twinset_tools::{out, start};

/// Consistency tests of a whole local cluster under faults.
#[derive(Debug, Parser)]
#[command(name = "twinset-jepsen", version, max_term_width = 110, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run workloads against a local cluster under faults, then check everything.
    #[command(long_about = run::HELP)]
    Run(run::Run),
    /// Name the workloads, the nemeses, and the checkers with the claims that they check.
    List(recheck::List),
    /// Check the stored history of a run again.
    #[command(long_about = recheck::CHECK_HELP)]
    Check(recheck::Check),
    /// Look for the smallest run that goes wrong as a stored one did.
    #[command(long_about = shrink::HELP)]
    Shrink(shrink::Shrink),
    /// Kill processes with SIGKILL under traffic, one after the other; then check everything.
    #[command(long_about = kills::HELP)]
    Kills(kills::Kills),
    /// Let out bugs that are built in on purpose, and see whether each is caught.
    #[command(long_about = canaries::HELP)]
    Canaries(canaries::Canaries),
    /// Run a local cluster with a network of its own for each process, and the sites so far apart, until it is stopped.
    #[command(long_about = apart::HELP)]
    Apart(apart::Apart),
    /// Make a history of a perfect ledger and check it, to see how fast that is.
    #[command(long_about = recheck::BENCH_HELP)]
    BenchCheck(recheck::BenchCheck),
}

/// Networks of our own want root, or a user namespace, which the kernel gives to a process with one thread only.
fn prepare(Cli { command }: &mut Cli) {
    let root = match command {
        Command::Run(run::Run { plain: false, .. })
        | Command::Canaries(_)
        | Command::Shrink(_)
        | Command::Apart(_) => rootless::become_root(),
        _ => Ok(()),
    };
    if let (Err(cause), Command::Run(arguments)) = (root, command) {
        out::say(&format!("{cause:#}: all processes stay in the host's network, and links stay whole"));
        arguments.plain = true;
    }
}

fn main() -> ExitCode {
    start::start_prepared(prepare, async |Cli { command }: Cli| match command {
        Command::Run(arguments) => run::run(arguments).await,
        Command::List(arguments) => recheck::list(&arguments),
        Command::Check(arguments) => recheck::check(&arguments),
        Command::Shrink(arguments) => shrink::run(arguments).await,
        Command::Kills(arguments) => kills::run(arguments).await,
        Command::Canaries(arguments) => canaries::run(arguments).await,
        Command::Apart(arguments) => apart::run(arguments).await,
        Command::BenchCheck(arguments) => recheck::bench(&arguments),
    })
}
