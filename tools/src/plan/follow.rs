//! A plan that is recorded, followed from outside until it ends: every step and stage is told once.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use twinset_control::Plan;
use twinset_control::plan::{State, Step, StepState};

use crate::cluster::admin;
use crate::error;

const POLL: Duration = Duration::from_millis(200);
/// Nodes that say nothing of the plan for so long do not know it, or not any more.
const UNHEARD_MAX: Duration = Duration::from_secs(30);

/// What has been told already.
#[derive(Default)]
struct Told {
    stage: Option<u32>,
    steps: BTreeSet<(u32, bool)>,
    state: Option<State>,
    rolls_back: bool,
}

impl Told {
    /// What is new of a plan, a line each.
    fn news(&mut self, plan: &Plan) -> Vec<String> {
        let mut lines = Vec::new();
        let stages = plan.pace.stages.len();
        if self.stage != Some(plan.stage) && plan.state.is_active() {
            self.stage = Some(plan.stage);
            let percent = plan.pace.stages.get(plan.stage as usize).copied().unwrap_or(100);
            lines.push(format!(
                "stage {} of {stages}: {percent}% of {} sets",
                plan.stage + 1,
                plan.steps.len()
            ));
        }
        if let Some(reason) = plan.roll_back.as_ref().filter(|_| !self.rolls_back) {
            self.rolls_back = true;
            lines.push(format!("the plan brings its sets home: {reason}"));
        }
        for step in plan.steps.iter().filter(|step| step.state != StepState::Waiting) {
            if self.steps.insert((step.set, step.state == StepState::Back)) {
                lines.push(step_line(plan, step));
            }
        }
        if self.state != Some(plan.state) {
            self.state = Some(plan.state);
            if plan.state == State::Stopping {
                lines.push("stopping: nothing new begins".to_owned());
            }
        }
        lines
    }
}

/// One line for a step.
pub fn step_line(plan: &Plan, step: &Step) -> String {
    let after_s =
        step.ended_unix_ns.unwrap_or(plan.began_unix_ns).saturating_sub(plan.began_unix_ns) as f64 / 1e9;
    let pause =
        step.pause_us.map_or(String::new(), |us| format!(", writes paused {:.1} ms", us as f64 / 1e3));
    let what = match &step.state {
        StepState::Waiting => "waits".to_owned(),
        StepState::Done if step.from == step.to => format!("done, at home in {}{pause}", step.to),
        StepState::Done => format!("{} to {}{pause}", step.from, step.to),
        StepState::Back => format!("back in {}{pause}", step.from),
        StepState::Skipped { reason } => format!("left out: {reason}"),
        StepState::Failed { reason } => format!("FAILED: {reason}"),
    };
    format!("{after_s:>8.2} s  set {:<4} {what}", step.set)
}

/// Follows a plan until it has ended or stopped; `hear` gets every line.
pub async fn follow(seeds: &[String], id: u64, hear: &mut dyn FnMut(&str)) -> anyhow::Result<Plan> {
    let (mut told, mut heard) = (Told::default(), Instant::now());
    loop {
        let survey = admin::survey(seeds).await;
        let plan = survey.catalogue.as_ref().and_then(|catalogue| catalogue.plans.get(&id));
        if let Some(plan) = plan {
            heard = Instant::now();
            told.news(plan).iter().for_each(|line| hear(line));
            if !plan.state.is_active() {
                return Ok(plan.clone());
            }
        }
        if heard.elapsed() > UNHEARD_MAX {
            return Err(error::failure(
                format!("no node says how plan {id} is"),
                format!("it goes on as long as the control set has a leader: `twinset plan show {id}`"),
            ));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What a plan has come to, in one line; an error if that is not what it was for.
pub fn end(plan: &Plan) -> anyhow::Result<String> {
    let id = plan.id;
    let took_s =
        plan.ended_unix_ns.unwrap_or(plan.began_unix_ns).saturating_sub(plan.began_unix_ns) as f64 / 1e9;
    let skipped = plan.count(|state| matches!(state, StepState::Skipped { .. }));
    let (done, all) = (plan.done(), plan.steps.len() + plan.steps_forgotten as usize);
    let because = plan.reason.as_deref().unwrap_or("no reason is on record");
    match plan.state {
        State::Done => {
            let left_out = if skipped == 0 { String::new() } else { format!(", {skipped} left out") };
            let pause = plan.steps.iter().filter_map(|step| step.pause_us).max();
            let pause = pause
                .map_or(String::new(), |us| format!("; longest pause of writes {:.1} ms", us as f64 / 1e3));
            Ok(format!(
                "plan {id} ({}) is done: {done} of {all} sets in {took_s:.1} s{left_out}{pause}",
                plan.kind
            ))
        }
        State::Stopped => Err(error::failure(
            format!("plan {id} ({}) was stopped with {done} of {all} sets done: {because}", plan.kind),
            format!("`twinset plan resume {id}` lets it go on; a new plan may take its sets"),
        )),
        State::RolledBack => Err(error::failure(
            format!("plan {id} ({}) has brought its sets home: {because}", plan.kind),
            format!("`twinset plan show {id}` shows each set; remove the cause, then ask again"),
        )),
        State::Failed => Err(error::failure(
            format!("plan {id} ({}) has failed with {done} of {all} sets done: {because}", plan.kind),
            format!(
                "`twinset plan show {id}` shows each set; remove the cause, then ask again for what is left"
            ),
        )),
        State::Running | State::Stopping => Ok(format!("plan {id} ({}) is {}", plan.kind, plan.state)),
    }
}
