//! `twinset-jepsen kills`: a run of the `mixed` workload under `kill` alone, counted in kills instead of seconds. A spelling
//! of [`crate::run`]; does nothing of its own.

use std::path::PathBuf;

use clap::Args;
use futures::future::LocalBoxFuture;
use twinset_tools::load::random::Random;
use twinset_tools::out;

use crate::results::Results;
use crate::run::{self, Run, Until};

/// What `twinset-jepsen kills --help` says.
pub const HELP: &str = "Kill processes with SIGKILL under traffic, one after the other; then check everything.\n\n\
    The same as `run --workload mixed --nemesis kill`, for a number of kills. Leaders, followers, learners, the arbiter and \
    routers are killed at random moments and started again.\n\n\
    Examples:\n  twinset-jepsen kills --kills 20\n  twinset-jepsen kills --kills 200 --seed 7 --json";

/// Kill processes with SIGKILL under traffic; then check everything.
#[derive(Clone, Debug, Args)]
pub struct Kills {
    /// How many processes to kill.
    #[arg(long, default_value_t = 20)]
    pub kills: u32,
    /// Where all choices come from; default: another one each time.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where everything goes; what an earlier run left there is thrown away.
    #[arg(long, default_value = ".twinset-jepsen", value_name = "DIR")]
    pub dir: PathBuf,
    /// Ports count from here; default: a free range.
    #[arg(long, value_name = "PORT")]
    pub base_port: Option<u16>,
    /// Operations per second.
    #[arg(long, default_value_t = 300)]
    pub rate: u32,
    /// Print the results as JSON.
    #[arg(long)]
    pub json: bool,
}

const CLIENTS: usize = 24;

/// Runs `twinset-jepsen kills`. True if nothing is wrong.
pub fn run(arguments: Kills) -> LocalBoxFuture<'static, anyhow::Result<bool>> {
    Box::pin(async move {
        let seed = arguments.seed.unwrap_or_else(|| Random::new().bits() >> 32);
        let results = play(&arguments, seed, &mut |text| out::say(text)).await?;
        if arguments.json {
            out::json(&results)?;
        } else {
            results.print(&arguments.dir)?;
        }
        Ok(results.is_valid())
    })
}

/// The whole run; `narrate` hears what happens.
pub fn play<'a>(
    arguments: &'a Kills,
    seed: u64,
    narrate: &'a mut dyn FnMut(&str),
) -> LocalBoxFuture<'a, anyhow::Result<Results>> {
    Box::pin(async move {
        let run = Run {
            nemesis: vec!["kill".into()],
            seed: Some(seed),
            dir: arguments.dir.clone(),
            rate: arguments.rate,
            clients: CLIENTS,
            base_port: arguments.base_port,
            plain: true,
            ..Run::default()
        };
        let repeat = format!(
            "twinset-jepsen kills --kills {} --seed {seed} --rate {} --dir {}",
            arguments.kills,
            arguments.rate,
            arguments.dir.display()
        );
        narrate(&format!("seed {seed}; repeat with: {repeat}"));
        run::play(&run, seed, Until::Faults(arguments.kills), repeat, narrate).await
    })
}
