//! Plans, as an operator makes them: a site is left, and its sets are brought home. Some are stopped half-way and
//! resumed, and from some the node dies that carries them out. What must not happen is seen here as well: a plan that
//! was stopped moves nothing.

use std::time::Duration;

use tokio::time::Instant;
use twinset_control::plan::{CONCURRENCY_MAX, Command as PlanCommand, Kind, Pace, State};
use twinset_control::{CONTROL_SET, Catalogue, Command, Effect, Plan};
use twinset_tools::cluster::admin::{self, Survey};
use twinset_tools::cluster::control;
use twinset_tools::load::random::Random;
use twinset_tools::plan::Draft;

use super::{Act, Player, Stage, nothing};
use crate::death;
use crate::nemesis::{Evidence, Fault};
use crate::wait;

/// How long the control set may take to record a command.
const RECORD_WITHIN: Duration = Duration::from_secs(10);
/// By then a plan has come to its end: it waits for a minute and a half before it gives up.
const OVER: Duration = Duration::from_secs(150);
/// A plan that was stopped is looked at for so long.
const AT_REST: Duration = Duration::from_secs(6);

/// Plans.
#[derive(Default)]
pub(super) struct Plans {
    seen: Vec<String>,
    wrong: Vec<String>,
}

impl Player for Plans {
    fn plays(&self, fault: &Fault) -> bool {
        matches!(fault, Fault::Evacuation { .. })
    }

    fn begin<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, ()> {
        Box::pin(async move {
            let Fault::Evacuation { site, emergency, stopped, conductor_dies } = fault else { return Ok(()) };
            *self = Plans::default();
            // Whoever is not at home has nowhere to come back to.
            self.carry_out(stage, Kind::Return { site: None }).await?;
            let kind = Kind::Evacuate { site: site.clone(), emergency: *emergency };
            let seeds = stage.cluster.layout().node_addrs();
            let id = begin(&seeds, kind.clone()).await?;
            if *conductor_dies {
                let conductor =
                    admin::survey(&seeds).await.leader(CONTROL_SET).map(|(_, of)| of.node.clone());
                if let Some(name) = conductor {
                    death::end(&mut stage.cluster, &name).await?;
                    stage.cluster.start_process(&name)?;
                    self.seen.push(format!("{name}, which carried it out, died"));
                }
            }
            if *stopped {
                self.stop_and_resume(&seeds, id).await?;
            }
            self.ended(&seeds, id).await
        })
    }

    fn end<'a>(&'a mut self, stage: &'a mut Stage, fault: &'a Fault) -> Act<'a, Evidence> {
        Box::pin(async move {
            if !self.plays(fault) {
                return Ok(nothing());
            }
            self.carry_out(stage, Kind::Return { site: None }).await?;
            let survey = admin::survey(&stage.cluster.layout().node_addrs()).await;
            let away = survey.catalogue()?.sets.values().filter(|set| set.home != set.configured_home);
            self.wrong.extend(away.map(|set| format!("set {} is at home in {}", set.id, set.home)));
            let acted = self.wrong.is_empty();
            let detail = std::mem::take(&mut self.seen).into_iter().chain(std::mem::take(&mut self.wrong));
            Ok(Evidence { acted, detail: detail.collect::<Vec<_>>().join("; ") })
        })
    }
}

impl Plans {
    async fn carry_out(&mut self, stage: &Stage, kind: Kind) -> anyhow::Result<()> {
        wait::in_sync(stage.cluster.layout()).await?;
        let seeds = stage.cluster.layout().node_addrs();
        if kind.sets(admin::survey(&seeds).await.catalogue()?).is_empty() {
            return Ok(());
        }
        let id = begin(&seeds, kind).await?;
        self.ended(&seeds, id).await
    }

    /// Nothing moves from when a stop is over until the plan is resumed.
    async fn stop_and_resume(&mut self, seeds: &[String], id: u64) -> anyhow::Result<()> {
        let (who, why) = ("jepsen".to_owned(), "half of it is enough".to_owned());
        tell(seeds, PlanCommand::Stop { who: who.clone(), why: why.clone() }).await?;
        let halted = until(seeds, id, |plan| plan.state != State::Running && plan.state != State::Stopping);
        let halted = halted.await?;
        let before = homes(halted.catalogue()?);
        let state = halted.catalogue()?.plans.get(&id).map(|plan| plan.state);
        if state != Some(State::Stopped) {
            self.seen.push(format!("plan {id} was over before it was stopped: {state:?}"));
            return Ok(());
        }
        let still = |survey: &Survey| {
            let catalogue = survey.catalogue.as_ref().ok_or("nobody answers")?;
            let moves = homes(catalogue) != before || catalogue.sets.values().any(|set| set.switch.is_some());
            if moves { Ok(()) } else { Err("it is at rest".to_owned()) }
        };
        // That it stays so is what is wanted.
        if let Ok(moved) = wait::until(seeds, AT_REST, still).await {
            let after = homes(moved.catalogue()?);
            self.wrong.push(format!("plan {id} was stopped, and moves sets: {before:?}, then {after:?}"));
        }
        self.seen.push(format!("plan {id} was stopped and resumed"));
        tell(seeds, PlanCommand::Resume { plan: id, who, why }).await.map(drop)
    }

    async fn ended(&mut self, seeds: &[String], id: u64) -> anyhow::Result<()> {
        let is_over = |plan: &Plan| !matches!(plan.state, State::Running | State::Stopping);
        let survey = until(seeds, id, is_over).await?;
        let plan = survey.catalogue()?.plans.get(&id);
        let Some(plan) = plan else { anyhow::bail!("plan {id} is not kept") };
        let (done, all) = (plan.done(), plan.steps.len() + plan.steps_forgotten as usize);
        self.seen.push(format!("plan {id} ({}): {}, {done} of {all} sets", plan.kind, plan.state));
        if plan.state != State::Done {
            self.wrong.push(format!("plan {id} has not done what it was for: {plan:?}"));
        }
        Ok(())
    }
}

fn homes(catalogue: &Catalogue) -> Vec<(u32, String)> {
    catalogue.sets.values().map(|set| (set.id, set.home.clone())).collect()
}

async fn until(seeds: &[String], id: u64, is: impl Fn(&Plan) -> bool) -> anyhow::Result<Survey> {
    wait::until(seeds, OVER, |survey| {
        let plan = survey.catalogue.as_ref().and_then(|catalogue| catalogue.plans.get(&id));
        let plan = plan.ok_or_else(|| format!("nobody knows plan {id}"))?;
        if is(plan) { Ok(()) } else { Err(format!("{plan:?}")) }
    })
    .await
}

/// Records a plan; one that was made by a catalogue that has moved on is made anew.
async fn begin(seeds: &[String], kind: Kind) -> anyhow::Result<u64> {
    let pace = match kind.is_emergency() {
        true => Pace {
            stages: vec![100],
            soak_ms: 0,
            concurrency: CONCURRENCY_MAX,
            failures_max: 0,
            roll_back: false,
        },
        false => {
            Pace { stages: vec![50, 100], soak_ms: 200, concurrency: 1, failures_max: 0, roll_back: false }
        }
    };
    let (request_id, deadline) = (Random::new().request_id().to_string(), Instant::now() + wait::HEAL);
    loop {
        let survey = admin::survey(seeds).await;
        let draft = Draft::new(&survey, survey.catalogue()?, kind.clone(), pace.clone());
        match tell(seeds, draft.command(&request_id, "jepsen", "a storm of plans")).await {
            Ok(Effect::PlanBegun { id }) => return Ok(id),
            Ok(other) => anyhow::bail!("the control set answered something else: {other:?}"),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn tell(seeds: &[String], command: PlanCommand) -> anyhow::Result<Effect> {
    let survey = admin::survey(seeds).await;
    let told = control::propose(&survey, survey.catalogue()?, &Command::Plan(command), RECORD_WITHIN).await;
    Ok(told?.effect)
}
