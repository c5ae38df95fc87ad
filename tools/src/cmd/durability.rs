//! `twinset durability`: an operator's word on what an acknowledgement of a set proves.

use clap::Args;
use serde_json::json;
use twinset_proto::cluster::v1::SetDurabilityRequest;

use super::Context;
use crate::cluster::admin;
use crate::{error, out};

/// What `twinset durability --help` says.
pub const HELP: &str = "Let a set acknowledge with one site only, or demand both again.\n\n\
    In SYNC nothing leaves the set before it is on disk in both sites. When one site is away for long, --degraded lets \
    the other go on alone: what is acknowledged from then on may be lost with that site. --sync demands both again.\n\n\
    Examples:\n  twinset durability --set 1 --degraded --yes --why 'site B is dark'\n  \
    twinset durability --set 1 --sync --yes --why 'site B is back'";

/// Let a set acknowledge with one site only, or demand both again.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("state").required(true).args(["degraded", "sync"]))]
pub struct Durability {
    /// The set.
    #[arg(long)]
    set: u32,
    /// Acknowledge with one site only.
    #[arg(long)]
    degraded: bool,
    /// Acknowledge only what is on disk in both sites.
    #[arg(long)]
    sync: bool,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// Why, for the audit log.
    #[arg(long, default_value = "by hand", value_name = "TEXT")]
    why: String,
}

/// Runs `twinset durability`.
pub async fn run(arguments: Durability, context: &Context) -> anyhow::Result<()> {
    let set = arguments.set;
    let state = if arguments.degraded { "DEGRADED" } else { "SYNC" };
    if !arguments.yes {
        let meaning = match arguments.degraded {
            true => "from then on an acknowledgement may be lost with a site",
            false => "writes and reads wait until both sites hold them",
        };
        out::say(&format!("plan: set {set} becomes {state}; {meaning}"));
        return Err(error::usage("nothing was done", "repeat it with --yes"));
    }
    let survey = admin::survey(&context.nodes()?).await;
    survey.catalogue()?;
    let Some((addr, _)) = survey.leader(set) else {
        return Err(error::failure(
            format!("set {set} has no leader that answers"),
            "`twinset status` shows the sets and their leaders",
        ));
    };
    let request =
        SetDurabilityRequest { set, degraded: arguments.degraded, who: super::who(), why: arguments.why };
    let reply = admin::client(&addr)?.set_durability(request).await.map_err(|status| {
        error::failure(
            format!("set {set} did not become {state}: {}", admin::explain(&status)),
            "`twinset status` shows what holds; the command can be repeated",
        )
    })?;
    let reply = reply.into_inner();
    if context.json {
        return out::json(&json!({
            "set": set, "durability": state, "index": reply.index, "last_safe_index": reply.last_safe_index,
        }));
    }
    out::line(&format!(
        "set {set} is {state} from index {} on; safe up to index {}",
        reply.index, reply.last_safe_index
    ))
}
