//! `twinset-sim`: one seed, or many in a process each.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use twinset_jepsen::run::HISTORY_JSONL;
use twinset_sim::plan::Plan;
use twinset_sim::run::Outcome;
use twinset_sim::trace::Trace;
use twinset_sim::verdict::{self, Judged};
use twinset_sim::{chance, many, panics, run};

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
        (Some(seed), _) => one(seed, &arguments)?,
        (None, Some(seeds)) => {
            let me = std::env::current_exe().context("who am I")?;
            let same = ["--time".to_owned(), arguments.time.to_string()];
            many::run(&me, &same, seeds.clone(), arguments.jobs)?
        }
        (None, None) => unreachable!("one of them is required"),
    };
    Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn one(seed: u64, arguments: &Arguments) -> anyhow::Result<bool> {
    let began = Instant::now();
    let trace = Trace::new(arguments.trace.as_deref()).context("--trace")?;
    let plan = Plan::draw(seed, Duration::from_secs(arguments.time));
    let outcome = simulate(plan, &trace)?;
    let (hash, lines) = trace.finish()?;
    if let Some(dir) = &arguments.dir {
        let text: Vec<String> = verdict::lines(&outcome.events).map(|line| line + "\n").collect();
        let written = std::fs::create_dir_all(dir)
            .and_then(|()| std::fs::write(dir.join(HISTORY_JSONL), text.concat()));
        written.context("--dir")?;
    }
    let (faults, simulated) = (outcome.faults.clone(), outcome.simulated);
    let Judged { answered, open, wrong } = verdict::judge(outcome);
    let word = if wrong.is_empty() { "ok" } else { "FAILED" };
    println!(
        "seed {seed} {word} trace {hash} lines {lines} answered {answered} open {open} \
         simulated {:.1}s real {:.1}s faults: {faults}",
        simulated.as_secs_f64(),
        began.elapsed().as_secs_f64()
    );
    for words in &wrong {
        eprintln!("seed {seed}: {words}");
    }
    if !wrong.is_empty() {
        eprintln!("repeat: twinset-sim --seed {seed} --time {} --trace seed-{seed}.trace", arguments.time);
    }
    Ok(wrong.is_empty())
}

/// On a thread of its own, whose every draw comes from the seed.
fn simulate(plan: Plan, trace: &Trace) -> anyhow::Result<Outcome> {
    let (seed, trace) = (plan.seed, trace.clone());
    let simulation = move || {
        panics::keep();
        chance::enter(seed);
        let outcome = trace.of(|| run::run(plan, trace.clone()));
        chance::leave();
        outcome
    };
    let thread = std::thread::Builder::new().name("simulation".to_owned()).stack_size(64 << 20);
    let outcome = thread.spawn(simulation)?.join();
    outcome.map_err(|_| anyhow::anyhow!("the simulation panicked: {:?}", panics::seen()))
}
