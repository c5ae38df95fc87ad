//! `twinset durability`: an operator's word on what an acknowledgement of a set proves, and on whether that may change by itself.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use twinset_control::{Command, Policy};
use twinset_proto::cluster::v1::SetDurabilityRequest;

use super::Context;
use crate::cluster::{admin, control, operator};
use crate::{error, out};

/// What `twinset durability --help` says.
pub const HELP: &str = "Let a set acknowledge with one site only, or demand both again.\n\n\
    In SYNC nothing leaves the set before it is on disk in both sites. When one site is away for long, the other goes on \
    alone (DEGRADED): what is acknowledged from then on may be lost with that site. That happens by itself under the policy \
    max-availability, and never under max-protection: then writes and reads wait. --degraded does it by hand and for as long as you \
    like: such a set returns only with --sync, which demands both sites again.\n\n\
    Examples:\n  twinset durability --set 1 --degraded --yes --why 'site B is dark'\n  \
    twinset durability --set 1 --sync --yes --why 'site B is back'\n  \
    twinset durability --set 1 --policy max-protection --yes --why 'better late than lost'";

/// For the control set's answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Let a set acknowledge with one site only, or demand both again.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("state").required(true).args(["degraded", "sync", "policy"]))]
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
    /// Whether the set may go on with one site by itself: max-availability or max-protection.
    #[arg(long, value_parser = policy, value_name = "POLICY")]
    policy: Option<Policy>,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// Why, for the audit log.
    #[arg(long, default_value = "by hand", value_name = "TEXT")]
    why: String,
}

fn policy(text: &str) -> Result<Policy, String> {
    let all = [Policy::MaxAvailability, Policy::MaxProtection];
    let named = all.into_iter().find(|policy| policy.to_string() == text);
    named.ok_or_else(|| format!("it is {} or {}", all[0], all[1]))
}

/// Runs `twinset durability`.
pub async fn run(arguments: Durability, context: &Context) -> anyhow::Result<()> {
    let set = arguments.set;
    if let Some(policy) = arguments.policy {
        return choose(arguments, policy, context).await;
    }
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
    let reply = admin::client(&addr)?.set_durability(operator::signed(request)).await.map_err(|status| {
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

async fn choose(arguments: Durability, policy: Policy, context: &Context) -> anyhow::Result<()> {
    let set = arguments.set;
    if !arguments.yes {
        let meaning = match policy {
            Policy::MaxAvailability => "it goes on with one site by itself, after the record of that",
            Policy::MaxProtection => "while a site is away its writes and reads wait",
        };
        out::say(&format!("plan: the policy of set {set} becomes {policy}; {meaning}"));
        return Err(error::usage("nothing was done", "repeat it with --yes"));
    }
    let survey = admin::survey(&context.nodes()?).await;
    let command = Command::SetPolicy { set, policy, who: super::who(), why: arguments.why };
    control::propose(&survey, survey.catalogue()?, &command, PATIENCE).await.map_err(|error| {
        error::failure(
            format!("the policy of set {set} was not changed: {error}"),
            "`twinset status` shows the sets; the command can be repeated",
        )
    })?;
    if context.json {
        return out::json(&json!({ "set": set, "policy": policy }));
    }
    out::line(&format!("the policy of set {set} is {policy}"))
}
