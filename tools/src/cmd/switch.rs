//! `twinset switch`: moves the home of a set. The node that leads the set does it; this asks, and prints the phases.

use std::time::Duration;

use clap::Args;
use serde_json::json;
use tokio::time::Instant;
use twinset_proto::cluster::v1::{SwitchProgress, SwitchRequest};

use super::Context;
use crate::cluster::admin::{self, Survey};
use crate::cluster::operator;
use crate::{error, out};

/// What `twinset switch --help` says.
pub const HELP: &str = "Move the home of a set to the other site, under traffic.\n\n\
    The leader checks that it can be done, records the intent, moves the majority in one membership change, pauses new \
    writes (routers hold them), waits until the target has everything, hands over the leadership, and records the end. \
    Clients see a pause of tens of milliseconds and no error. On any failure the set goes on where it was.\n\n\
    Examples:\n  twinset switch --set 1 --to B --dry-run\n  twinset switch --set 1 --to B --yes --why 'weekly drill'";

/// Move the home of a set to the other site, under traffic.
#[derive(Debug, Args)]
pub struct Switch {
    /// The set to move.
    #[arg(long)]
    set: u32,
    /// The site that becomes its home.
    #[arg(long, value_name = "SITE")]
    to: String,
    /// Only check whether it could be done.
    #[arg(long)]
    dry_run: bool,
    /// Do it.
    #[arg(long)]
    yes: bool,
    /// Why, for the audit log.
    #[arg(long, default_value = "by hand", value_name = "TEXT")]
    why: String,
}

/// How long a node may take to tidy up after an earlier move of the set.
const TIDYING: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);

/// How a switch went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Everything the leader said, in order.
    pub phases: Vec<SwitchProgress>,
}

impl Outcome {
    /// How long the set took no writes.
    pub fn pause_us(&self) -> u64 {
        self.phases.last().map_or(0, |phase| phase.pause_us)
    }
}

/// Runs `twinset switch`.
pub async fn run(arguments: Switch, context: &Context) -> anyhow::Result<()> {
    let survey = admin::survey(&context.nodes()?).await;
    let home = home(&survey, arguments.set)?;
    if !arguments.dry_run && !arguments.yes {
        out::say(&format!(
            "plan: move the home of set {} from {home} to {}; clients see a pause of tens of milliseconds",
            arguments.set, arguments.to
        ));
        return Err(error::usage("nothing was done", "repeat it with --yes, or look first with --dry-run"));
    }
    let request = SwitchRequest {
        set: arguments.set,
        to_site: arguments.to.clone(),
        who: super::who(),
        why: arguments.why,
        dry_run: arguments.dry_run,
        plan: 0,
    };
    let json = context.json;
    let outcome = switch(&survey, request, &mut |phase| {
        if !json {
            out::say(&format!(
                "{:>9.1} ms  {:<10} {}",
                phase.elapsed_us as f64 / 1e3,
                phase.phase,
                phase.detail
            ));
        }
    })
    .await?;
    if json {
        let phases: Vec<_> = outcome
            .phases
            .iter()
            .map(|p| json!({ "phase": p.phase, "detail": p.detail, "elapsed_us": p.elapsed_us }))
            .collect();
        return out::json(&json!({
            "set": arguments.set, "from": home, "to": arguments.to, "dry_run": arguments.dry_run,
            "pause_us": outcome.pause_us(), "phases": phases,
        }));
    }
    if arguments.dry_run {
        return out::line(&format!("set {} could move from {home} to {}", arguments.set, arguments.to));
    }
    let pause_ms = outcome.pause_us() as f64 / 1e3;
    out::line(&format!(
        "set {} is at home in {} now; it paused for {pause_ms:.1} ms",
        arguments.set, arguments.to
    ))
}

fn home(survey: &Survey, set: u32) -> anyhow::Result<String> {
    let catalogue = survey.catalogue()?;
    catalogue.sets.get(&set).map(|s| s.home.clone()).ok_or_else(|| {
        let sets: Vec<String> = catalogue.sets.keys().map(u32::to_string).collect();
        error::usage(format!("there is no set {set}"), format!("choose one of {}", sets.join(", ")))
    })
}

/// How a check ends that passes by itself: the set's membership is still being changed.
const ASK_AGAIN: &str = "ask again";

/// Asks the node that leads the set to move it; `hear` gets every phase as it is reached.
pub async fn switch(
    survey: &Survey,
    request: SwitchRequest,
    hear: &mut (dyn FnMut(&SwitchProgress) + Send),
) -> anyhow::Result<Outcome> {
    let set = request.set;
    let Some((addr, _)) = survey.leader(set) else {
        return Err(error::failure(
            format!("set {set} has no leader that answers"),
            "wait for an election (`twinset status --watch`), then try again",
        ));
    };
    let look = "`twinset status` shows where the set is; the switch can be asked for again";
    let refused = |status: tonic::Status| {
        error::failure(format!("the switch of set {set} failed: {}", admin::explain(&status)), look)
    };
    let mut client = admin::client(&addr)?;
    let deadline = Instant::now() + TIDYING;
    let phases = loop {
        let mut stream = match client.switch(operator::signed(request.clone())).await {
            Ok(stream) => stream.into_inner(),
            // Nothing was begun: the node still tidies up after an earlier move.
            Err(status) if status.code() == tonic::Code::Aborted && Instant::now() < deadline => {
                tokio::time::sleep(POLL).await;
                continue;
            }
            Err(status) => return Err(refused(status)),
        };
        let (mut phases, mut again) = (Vec::new(), false);
        while let Some(phase) = stream.message().await.map_err(refused)? {
            again = phases.is_empty() && phase.failed && phase.detail.ends_with(ASK_AGAIN);
            if again && Instant::now() < deadline {
                break;
            }
            hear(&phase);
            phases.push(phase);
        }
        if !again || !phases.is_empty() {
            break phases;
        }
        tokio::time::sleep(POLL).await;
    };
    match phases.last() {
        Some(last) if last.phase == "aborted" => Err(error::failure(
            format!("set {set} stays where it was: {}", last.detail),
            "remove the cause, then try again; `twinset status` shows the set",
        )),
        Some(last) if last.failed => Err(error::failure(
            format!("it is not known yet where set {set} ends: {}", last.detail),
            "the set's next leader finishes the switch or undoes it: `twinset status --watch` shows it",
        )),
        Some(last) if last.phase == "done" => Ok(Outcome { phases }),
        _ => Err(error::failure(
            format!("the leader of set {set} fell silent in the middle of the switch"),
            look,
        )),
    }
}
