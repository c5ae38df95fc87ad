//! `twinset plan` and `twinset stop`: plans that are under way or have ended.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use twinset_control::plan::{self as rules, State, StepState};
use twinset_control::{Command, Effect, Plan as Recorded};

use super::{Context, planned};
use crate::cluster::{admin, control};
use crate::plan::follow;
use crate::{error, out};

/// How long the control set may take to record a command.
const RECORD_WITHIN: Duration = Duration::from_secs(10);
/// No request of an operator takes longer to halt than this: what is under way ends by itself.
const HALTED_WITHIN: Duration = Duration::from_secs(30);

/// What `twinset stop --help` says.
pub const STOP_HELP: &str = "Halt all plans at once.\n\n\
    Nothing of any plan begins from the moment that this is recorded; what is under way ends by itself (a switch \
    holds writes back for half a second at most). A plan that was stopped can be resumed, and holds no set back \
    from others.\n\n\
    Examples:\n  twinset stop --why 'error rate rises'\n  twinset plan resume 17 --why 'it was something else'";

/// See plans, and let one that was stopped go on.
#[derive(Debug, Subcommand)]
pub enum Plan {
    /// List plans: those under way, and the newest of those that have ended.
    List,
    /// Show a plan, set by set.
    Show(Which),
    /// Watch a plan until its end.
    Watch(Which),
    /// Let a plan that was stopped go on.
    Resume(Resume),
}

/// A plan.
#[derive(Debug, Args)]
pub struct Which {
    /// Its number.
    id: u64,
}

/// Arguments of `plan resume`.
#[derive(Debug, Args)]
pub struct Resume {
    /// Its number.
    id: u64,
    /// Let it go on and do not watch it.
    #[arg(long)]
    detach: bool,
    /// Why, for the audit log.
    #[arg(long, default_value = "by hand", value_name = "TEXT")]
    why: String,
}

/// Arguments of `stop`.
#[derive(Debug, Args)]
pub struct Stop {
    /// Why, for the audit log.
    #[arg(long, default_value = "by hand", value_name = "TEXT")]
    why: String,
}

/// Runs `twinset plan ...`.
pub async fn run(command: Plan, context: &Context) -> anyhow::Result<()> {
    match command {
        Plan::List => list(context).await,
        Plan::Show(Which { id }) => show(id, context).await,
        Plan::Watch(Which { id }) => {
            find(id, context).await?;
            planned::watch(&context.nodes()?, id, &[], context).await
        }
        Plan::Resume(arguments) => resume(arguments, context).await,
    }
}

/// Runs `twinset stop`.
pub async fn stop(arguments: Stop, context: &Context) -> anyhow::Result<()> {
    let effect = tell(rules::Command::Stop { who: super::who(), why: arguments.why }, context).await?;
    let Effect::PlansStopped { plans } = effect else {
        anyhow::bail!("the control set answered something else: {effect:?}");
    };
    out::say("nothing of any plan begins any more");
    let seeds = context.nodes()?;
    let (mut ended, mut hear) = (Vec::new(), |line: &str| out::say(line));
    for id in plans {
        let halted = tokio::time::timeout(HALTED_WITHIN, follow::follow(&seeds, id, &mut hear)).await;
        ended.push(halted.map_err(|_| {
            let next =
                "what is under way is a switch that its set's leader ends: `twinset status --watch` shows it";
            error::failure(format!("plan {id} begins nothing, and is not at rest yet"), next)
        })??);
    }
    if context.json {
        return out::json(&json!({ "stopped": ended }));
    }
    if ended.is_empty() {
        return out::line("no plan was running");
    }
    for plan in &ended {
        out::line(&summary(plan))?;
    }
    Ok(())
}

async fn list(context: &Context) -> anyhow::Result<()> {
    let survey = admin::survey(&context.nodes()?).await;
    let plans = &survey.catalogue()?.plans;
    if context.json {
        return out::json(&plans.values().collect::<Vec<_>>());
    }
    let rows: Vec<Vec<String>> = plans
        .values()
        .map(|plan| {
            let all = plan.steps.len() + plan.steps_forgotten as usize;
            vec![
                plan.id.to_string(),
                plan.kind.to_string(),
                plan.state.to_string(),
                format!("{} of {all}", plan.done()),
                plan.failed().to_string(),
                plan.who.clone(),
                plan.why.clone(),
            ]
        })
        .collect();
    out::line(&out::table(&["PLAN", "WHAT", "STATE", "DONE", "FAILED", "WHO", "WHY"], &rows))
}

async fn show(id: u64, context: &Context) -> anyhow::Result<()> {
    let plan = find(id, context).await?;
    if context.json {
        return out::json(&plan);
    }
    out::line(&summary(&plan))?;
    for step in &plan.steps {
        out::line(&follow::step_line(&plan, step))?;
    }
    if plan.steps_forgotten > 0 {
        out::line(&format!("{} sets that were done are no longer listed", plan.steps_forgotten))?;
    }
    Ok(())
}

fn summary(plan: &Recorded) -> String {
    let waiting = plan.count(|state| *state == StepState::Waiting);
    let mut text = format!(
        "plan {} ({}) of {}, {}: {}, {} done, {waiting} waiting, {} failed",
        plan.id,
        plan.kind,
        plan.who,
        plan.why,
        plan.state,
        plan.done(),
        plan.failed()
    );
    for reason in plan.reason.iter().chain(&plan.roll_back) {
        text.push_str(&format!("; {reason}"));
    }
    if plan.state == State::Stopped {
        text.push_str(&format!("; `twinset plan resume {}` lets it go on", plan.id));
    }
    text
}

async fn resume(arguments: Resume, context: &Context) -> anyhow::Result<()> {
    let Resume { id, detach, why } = arguments;
    find(id, context).await?;
    tell(rules::Command::Resume { plan: id, who: super::who(), why }, context).await?;
    if detach {
        return out::line(&format!("plan {id} goes on"));
    }
    planned::watch(&context.nodes()?, id, &[], context).await
}

async fn find(id: u64, context: &Context) -> anyhow::Result<Recorded> {
    let survey = admin::survey(&context.nodes()?).await;
    let plan = survey.catalogue()?.plans.get(&id).cloned();
    plan.ok_or_else(|| {
        error::usage(format!("there is no plan {id}"), "`twinset plan list` shows those that are kept")
    })
}

async fn tell(command: rules::Command, context: &Context) -> anyhow::Result<Effect> {
    let survey = admin::survey(&context.nodes()?).await;
    let told = control::propose(&survey, survey.catalogue()?, &Command::Plan(command), RECORD_WITHIN).await;
    told.map(|reply| reply.effect).map_err(|refused| {
        error::failure(
            refused.to_string(),
            "`twinset plan list` shows how things stand; it can be asked for again",
        )
    })
}
