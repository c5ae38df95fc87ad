//! `twinset return`: takes an evacuation and an isolation back.

use clap::Args;
use twinset_control::plan::Kind;

use super::Context;
use super::planned::{self, Beginning, PaceArguments};

/// What `twinset return --help` says.
pub const HELP: &str = "Demand both sites again, and move sets to their configured home, under traffic.\n\n\
    Lifts the isolation of the site, brings every set that is DEGRADED without it back to SYNC as soon as its \
    copies there follow, and then moves the sets that belong there home, in stages as `twinset evacuate` does. \
    Without a site it does so for both.\n\n\
    Examples:\n  twinset return A --dry-run\n  twinset return A --yes --why 'power works are over'\n  \
    twinset return --yes";

/// Demand both sites again, and move sets to their configured home, under traffic.
#[derive(Debug, Args)]
pub struct Return {
    /// Only what belongs to this site.
    site: Option<String>,
    #[command(flatten)]
    pace: PaceArguments,
    #[command(flatten)]
    beginning: Beginning,
}

/// Runs `twinset return`.
pub async fn run(arguments: Return, context: &Context) -> anyhow::Result<()> {
    let Return { site, pace, beginning } = arguments;
    planned::run(Kind::Return { site }, pace.pace(false), beginning, context).await
}
