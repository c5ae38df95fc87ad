//! `twinset isolate` and `twinset isolate-ready`: before a site is powered off.

use clap::Args;
use twinset_control::plan::{CONCURRENCY_MAX, Kind, Pace};

use super::Context;
use super::planned::{self, Beginning};
use crate::cluster::admin;
use crate::plan::ready::{self, Part};
use crate::{error, out};

/// What `twinset isolate --help` says.
pub const HELP: &str = "Let every set acknowledge without a site that has been evacuated.\n\n\
    Marks the site as isolated, so that no set moves into it and none returns to SYNC by itself, and degrades every \
    set, on record, so that none has to wait for the site when its power goes off. From then on an acknowledgement \
    stands in one site only. `twinset isolate-ready` says whether the power may go off; `twinset return` takes all \
    of it back.\n\n\
    Examples:\n  twinset isolate A --dry-run\n  twinset isolate A --yes --why 'power works'\n  twinset isolate-ready A";

/// What `twinset isolate-ready --help` says.
pub const READY_HELP: &str = "Say whether a site can be powered off, or set by set why not.\n\n\
    Asks every node. A site is ready when it is isolated, and each set has its leader and its majority in the other \
    site, where all of its voters answer and follow, is DEGRADED on record and in force, and when the control set \
    has its leader and its majority elsewhere. The exit code is 0 only then.\n\n\
    Examples:\n  twinset isolate-ready A\n  twinset isolate-ready A --json | jq '.sets[] | select(.ready | not)'";

/// Let every set acknowledge without a site that has been evacuated.
#[derive(Debug, Args)]
pub struct Isolate {
    /// The site.
    site: String,
    #[command(flatten)]
    beginning: Beginning,
}

/// Say whether a site can be powered off.
#[derive(Debug, Args)]
pub struct IsolateReady {
    /// The site.
    site: String,
}

/// Runs `twinset isolate`.
pub async fn run(arguments: Isolate, context: &Context) -> anyhow::Result<()> {
    let pace = Pace {
        stages: vec![100],
        soak_ms: 0,
        concurrency: CONCURRENCY_MAX,
        failures_max: 0,
        roll_back: false,
    };
    planned::run(Kind::Isolate { site: arguments.site }, pace, arguments.beginning, context).await
}

/// Runs `twinset isolate-ready`.
pub async fn run_ready(arguments: IsolateReady, context: &Context) -> anyhow::Result<()> {
    let site = &arguments.site;
    let survey = admin::survey(&context.nodes()?).await;
    let catalogue = survey.catalogue()?;
    if !catalogue.is_data_site(site) {
        let sites: Vec<&str> = catalogue.data_sites().collect();
        let choose = format!("choose one of {}", sites.join(", "));
        return Err(error::usage(format!("there is no data site {site}"), choose));
    }
    let readiness = ready::judge(&survey, catalogue, site);
    if context.json {
        out::json(&readiness)?;
    } else {
        for part in std::iter::once(&readiness.control).chain(&readiness.sets) {
            out::line(&text(part))?;
        }
    }
    if readiness.ready {
        out::say(&format!("site {site} can be powered off"));
        return Ok(());
    }
    Err(error::failure(
        format!("site {site} must not be powered off"),
        "do what is said of each set, then ask again",
    ))
}

fn text(part: &Part) -> String {
    let name = if part.set == 0 { "control set".to_owned() } else { format!("set {}", part.set) };
    let verdict = match (part.ready, &part.note) {
        (false, _) => format!("NOT READY: {}", part.why_not.join("; ")),
        (true, Some(note)) => format!("ready; {note}"),
        (true, None) => "ready".to_owned(),
    };
    format!("{name:<12} {verdict}")
}
