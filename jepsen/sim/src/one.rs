//! One seed: its run, its trace and its history, and what the checkers say.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use twinset_jepsen::run::HISTORY_JSONL;

use crate::plan::Plan;
use crate::run::Outcome;
use crate::trace::Trace;
use crate::verdict::{self, Judged};
use crate::{chance, panics, run};

/// Which run it is to be.
pub struct One<'a> {
    /// Where all of it comes from.
    pub seed: u64,
    /// How long faults strike.
    pub time: Duration,
    /// Where its trace is written to.
    pub trace: Option<&'a Path>,
    /// Where its history goes.
    pub dir: Option<&'a Path>,
}

impl One<'_> {
    /// Runs it, and prints what it was. Gives what is wrong with it.
    pub fn run(&self) -> anyhow::Result<Vec<String>> {
        let (began, seed) = (Instant::now(), self.seed);
        let trace = Trace::new(self.trace).context("--trace")?;
        let outcome = simulate(Plan::draw(seed, self.time), &trace)?;
        let (hash, lines) = trace.finish().context("--trace")?;
        if let Some(dir) = self.dir {
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
        Ok(wrong)
    }
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
