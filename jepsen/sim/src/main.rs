//! `twinset-sim`: one seed, or many in a process each.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use twinset_sim::many::Many;
use twinset_sim::one::One;
use twinset_sim::repeat;

const HELP: &str = "Runs the cluster in a simulated world, repeatable from a seed.\n\n\
    The real ledger, nodes, routers and Raft run on simulated machines with simulated network, clocks and disks. A seed draws \
    the cluster's conditions, the traffic and the faults; after them everything is healed, every set has to serve, \
    everything is read, and the checkers of twinset-jepsen judge what clients were told. The same seed gives the same trace, \
    byte by byte.\n\n\
    Examples:\n  twinset-sim --seeds 0..64\n  twinset-sim --seed 7 --time 20 --trace seed-7.trace\n  \
    twinset-sim --seed 7 --dir seed-7 && twinset-jepsen check seed-7";

/// Runs the cluster in a simulated world, repeatable from a seed.
#[derive(Parser)]
#[command(version, long_about = HELP)]
struct Arguments {
    /// The seed of one run.
    #[arg(long, conflicts_with = "seeds", required_unless_present = "seeds")]
    seed: Option<u64>,
    /// Many runs: FROM..TO, the last one not included.
    #[arg(long, value_parser = range)]
    seeds: Option<std::ops::Range<u64>>,
    /// Runs at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Of many runs, one that takes longer hangs: it is ended, and has failed. In seconds.
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    within: u64,
    /// How long faults strike, in simulated seconds.
    #[arg(long, default_value_t = 20)]
    time: u64,
    /// Where the trace of one run is written to.
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    trace: Option<PathBuf>,
    /// Where the history of one run goes: a directory for `twinset-jepsen check`.
    #[arg(long, value_name = "DIR", conflicts_with = "seeds")]
    dir: Option<PathBuf>,
}

fn range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let parsed = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    parsed.ok_or_else(|| format!("{text:?} is not FROM..TO"))
}

fn main() -> anyhow::Result<ExitCode> {
    #[cfg(feature = "canaries")]
    twinset_ledger::canary::switch_on(&std::env::var(twinset_ledger::canary::VARIABLE).unwrap_or_default());
    let arguments = Arguments::parse();
    let fine = match (arguments.seed, &arguments.seeds) {
        (Some(seed), _) => one(seed, &arguments),
        (None, Some(seeds)) => Many {
            me: &std::env::current_exe().context("who am I")?,
            arguments: &same(&arguments),
            seeds: seeds.clone(),
            jobs: arguments.jobs,
            within: Duration::from_secs(arguments.within),
        }
        .run()?,
        (None, None) => unreachable!("one of them is required"),
    };
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What makes another run of a seed the same.
fn same(arguments: &Arguments) -> Vec<String> {
    ["--time".to_owned(), arguments.time.to_string()].into()
}

fn one(seed: u64, arguments: &Arguments) -> bool {
    let again = [same(arguments), vec!["--trace".to_owned(), format!("seed-{seed}.trace")]].concat();
    let one = One {
        seed,
        time: Duration::from_secs(arguments.time),
        trace: arguments.trace.as_deref(),
        dir: arguments.dir.as_deref(),
    };
    let told = repeat::told(seed, &again, || one.run());
    told.iter().for_each(|line| eprintln!("{line}"));
    told.is_empty()
}
