//! `twinset evacuate`: moves every set out of a site.

use clap::Args;
use twinset_control::plan::{CONCURRENCY_MAX, Kind, Pace};

use super::Context;
use super::planned::{self, Beginning, PaceArguments};

/// What `twinset evacuate --help` says.
pub const HELP: &str = "Move the home of every set out of a site, under traffic.\n\n\
    Records a plan in the control set; the node that leads the control set carries it out, and another one goes on \
    when that node dies. Sets move in stages, each only when all has been well for a while after the one before: \
    every set has a leader, the plan's sets are SYNC, no more steps have failed than may. Clients see a pause of \
    tens of milliseconds, set by set, and no error. With --emergency all sets move at once, without stages or \
    guardrails, and checks only warn.\n\n\
    The terminal only watches: Ctrl-C leaves the plan running, `twinset stop` halts it, `twinset return` brings the \
    sets home.\n\n\
    Examples:\n  twinset evacuate A --dry-run\n  twinset evacuate A --yes --why 'weekly drill'\n  \
    twinset evacuate A --stages 10,100 --soak 1m --roll-back --yes --why 'new switches in A'\n  \
    twinset evacuate A --emergency --yes --why 'fire alarm'";

/// Move the home of every set out of a site, under traffic.
#[derive(Debug, Args)]
pub struct Evacuate {
    /// The site to leave.
    site: String,
    /// All sets at once, without stages, soak or guardrails.
    #[arg(long, conflicts_with_all = ["stages", "soak", "roll_back", "strict", "concurrency", "failures"])]
    emergency: bool,
    /// Bring home what has moved if the plan is given up.
    #[arg(long)]
    roll_back: bool,
    #[command(flatten)]
    pace: PaceArguments,
    #[command(flatten)]
    beginning: Beginning,
}

/// Runs `twinset evacuate`.
pub async fn run(arguments: Evacuate, context: &Context) -> anyhow::Result<()> {
    let Evacuate { site, emergency, roll_back, pace, beginning } = arguments;
    let pace = match emergency {
        false => pace.pace(roll_back),
        true => Pace {
            stages: vec![100],
            soak_ms: 0,
            concurrency: CONCURRENCY_MAX,
            failures_max: 0,
            roll_back: false,
        },
    };
    planned::run(Kind::Evacuate { site, emergency }, pace, beginning, context).await
}
