//! What a command about plans does to the catalogue, and what plans forbid to switches. As in the other rules: checks
//! first, changes after.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    CONCURRENCY_MAX, Command, ENDED_PLANS_MAX, Kind, Pace, Plan, Planned, SOAK_MS_MAX, STAGES_MAX, State,
    Step, StepOutcome, StepState,
};
use crate::apply::{self, At, Effect, check_text, check_who_why, malformed};
use crate::audit::{Action, Outcome, Record};
use crate::catalogue::Catalogue;
use crate::rejection::Rejection;

/// The effect, the audit record if a person should know, and whether anything changed.
type Done = (Effect, Option<Record>, bool);

/// Applies a command; the caller raises the version and appends the record.
pub(crate) fn apply(catalogue: &mut Catalogue, at: At<'_>, command: Command) -> Result<Done, Rejection> {
    match command {
        Command::Begin { request_id, kind, pace, order, who, why } => {
            check_who_why(&who, &why)?;
            begin(catalogue, at, Wanted { request_id, kind, pace, who, why }, order)
        }
        Command::Record { plan, outcomes } => record(catalogue, at, plan, outcomes),
        Command::Advance { plan, stage } => advance(catalogue, plan, stage),
        Command::RollBack { plan, reason } => roll_back(catalogue, at, plan, reason),
        Command::End { plan, state, reason } => end(catalogue, at, plan, (state, reason)),
        Command::Stop { who, why } => {
            check_who_why(&who, &why)?;
            Ok(stop(catalogue, at, &who, &why))
        }
        Command::Resume { plan, who, why } => {
            check_who_why(&who, &why)?;
            resume(catalogue, at, plan, (who, why))
        }
    }
}

/// Refuses a switch that plans forbid: of a set that a plan has, unless it is that plan's own; into a site that is
/// being left, or is isolated.
pub(crate) fn check_switch(
    catalogue: &Catalogue,
    set: u32,
    to: &str,
    own: Option<u64>,
) -> Result<(), Rejection> {
    if catalogue.sites.get(to).is_some_and(|site| site.isolated) {
        return Err(Rejection::SiteIsolated { site: to.into() });
    }
    if let Some(plan) = own {
        let plan = find(catalogue, plan)?;
        if plan.state != State::Running {
            return Err(Rejection::PlanNotRunning { plan: plan.id, state: plan.state });
        }
        let asks = |step: &Step| match plan.roll_back {
            None => step.state == StepState::Waiting && step.to == to,
            Some(_) => step.state == StepState::Done && step.from == to,
        };
        return match plan.step(set) {
            Some(step) if asks(step) => Ok(()),
            _ => Err(Rejection::NotInPlan { plan: plan.id, set }),
        };
    }
    let forbids = |plan: &&Plan| plan.step(set).is_some() || plan.kind.leaves() == Some(to);
    match catalogue.active_plans().find(forbids) {
        Some(plan) => Err(Rejection::PlanInProgress { plan: plan.id, set }),
        None => Ok(()),
    }
}

/// A plan that is to begin, without its sets.
struct Wanted {
    request_id: String,
    kind: Kind,
    pace: Pace,
    who: String,
    why: String,
}

fn begin(
    catalogue: &mut Catalogue,
    at: At<'_>,
    wanted: Wanted,
    order: Vec<Planned>,
) -> Result<Done, Rejection> {
    check_text("request_id", &wanted.request_id)?;
    if let Some(known) = catalogue.plans.values().find(|plan| plan.request_id == wanted.request_id) {
        return Ok((Effect::PlanBegun { id: known.id }, None, false));
    }
    check_pace(&wanted.kind, &wanted.pace)?;
    check_sites(catalogue, &wanted.kind)?;
    let steps = steps(catalogue, &wanted, order)?;
    check_alone(catalogue, &wanted.kind, &steps)?;
    let what = Action::Plan { id: at.id, kind: wanted.kind.clone() };
    let record = apply::record(at, (wanted.who.clone(), wanted.why.clone()), what, Outcome::Begun);
    mark_isolated(catalogue, &wanted.kind);
    let plan = Plan {
        id: at.id,
        request_id: wanted.request_id,
        kind: wanted.kind,
        pace: wanted.pace,
        who: wanted.who,
        proof: at.proof.clone(),
        why: wanted.why,
        state: State::Running,
        reason: None,
        roll_back: None,
        stage: 0,
        stage_ended_unix_ns: steps.is_empty().then_some(at.time_unix_ns),
        began_unix_ns: at.time_unix_ns,
        ended_unix_ns: None,
        steps,
        steps_forgotten: 0,
    };
    catalogue.plans.insert(plan.id, plan);
    Ok((Effect::PlanBegun { id: at.id }, Some(record), true))
}

fn check_pace(kind: &Kind, pace: &Pace) -> Result<(), Rejection> {
    let stages = &pace.stages;
    let rising = stages.windows(2).all(|pair| pair[0] < pair[1]);
    if !rising || stages.len() > STAGES_MAX || stages.first() == Some(&0) || stages.last() != Some(&100) {
        return Err(malformed("stages", "they are percentages that rise from 1 or more to 100"));
    }
    if kind.is_emergency() && (stages.len() > 1 || pace.soak_ms > 0 || pace.roll_back) {
        return Err(malformed("stages", "an emergency has one, no soak, and no way back"));
    }
    if pace.roll_back && !matches!(kind, Kind::Evacuate { .. }) {
        return Err(malformed("roll_back", "only an evacuation brings its sets home"));
    }
    if !(1..=CONCURRENCY_MAX).contains(&pace.concurrency) {
        return Err(malformed("concurrency", "it is 1 to 64"));
    }
    if pace.soak_ms > SOAK_MS_MAX {
        return Err(malformed("soak_ms", "it is longer than a day"));
    }
    Ok(())
}

fn check_sites(catalogue: &Catalogue, kind: &Kind) -> Result<(), Rejection> {
    let (Kind::Evacuate { site, .. } | Kind::Isolate { site } | Kind::Return { site: Some(site) }) = kind
    else {
        return Ok(());
    };
    let Some(other) = catalogue.other_site(site) else {
        return Err(Rejection::UnknownSite { site: site.clone() });
    };
    if kind.leaves().is_some() && catalogue.sites[other].isolated {
        return Err(Rejection::SiteIsolated { site: other.into() });
    }
    let at_home = |set: &&crate::Set| set.home == *site;
    match catalogue.sets.values().find(at_home) {
        Some(set) if matches!(kind, Kind::Isolate { .. }) => {
            Err(Rejection::StillHome { set: set.id, site: site.clone() })
        }
        _ => Ok(()),
    }
}

/// The plan must name exactly the sets that it is about, as they are: whoever made it may have seen an older catalogue.
fn steps(catalogue: &Catalogue, wanted: &Wanted, order: Vec<Planned>) -> Result<Vec<Step>, Rejection> {
    let mut homes: BTreeMap<u32, String> = wanted.kind.sets(catalogue).into_iter().collect();
    let stages = Stages { percents: &wanted.pace.stages, steps: order.len() };
    let mut steps = Vec::with_capacity(order.len());
    for (position, Planned { set, epoch, leader }) in order.into_iter().enumerate() {
        let now = catalogue.sets.get(&set).ok_or(Rejection::UnknownSet { set })?;
        if now.epoch != epoch {
            return Err(Rejection::EpochChanged { set, expected: epoch, epoch: now.epoch });
        }
        if let Some(other) = &now.switch {
            return Err(Rejection::SwitchInProgress { set, id: other.id, owner: other.owner.clone() });
        }
        if !leader.is_empty() && !catalogue.nodes.contains_key(&leader) {
            return Err(Rejection::UnknownNode { node: leader });
        }
        let to = homes.remove(&set).ok_or(Rejection::PlanOutdated { set })?;
        let (stage, from) = (stages.of(position), now.home.clone());
        let state = StepState::Waiting;
        steps.push(Step { set, stage, from, to, epoch, leader, state, ended_unix_ns: None, pause_us: None });
    }
    match homes.first_key_value() {
        Some((&set, _)) => Err(Rejection::PlanOutdated { set }),
        None => Ok(steps),
    }
}

/// Which stage takes in which step: each as many as its percentage says, rounded up.
struct Stages<'a> {
    percents: &'a [u8],
    steps: usize,
}

impl Stages<'_> {
    fn of(&self, position: usize) -> u32 {
        let taken_in = |percent: &u8| (self.steps * usize::from(*percent)).div_ceil(100);
        let stage = self.percents.iter().position(|percent| position < taken_in(percent));
        u32::try_from(stage.expect("the last stage takes all in")).expect("there are few stages")
    }
}

/// Plans under way must not share a set, nor move sets into a site that another one empties.
fn check_alone(catalogue: &Catalogue, kind: &Kind, steps: &[Step]) -> Result<(), Rejection> {
    let sets: BTreeSet<u32> = steps.iter().map(|step| step.set).collect();
    let into = |steps: &[Step], site: Option<&str>| {
        steps.iter().find(|step| site == Some(step.to.as_str())).map(|step| step.set)
    };
    for other in catalogue.active_plans() {
        let shared = other.steps.iter().map(|step| step.set).find(|set| sets.contains(set));
        let crossed = || into(steps, other.kind.leaves()).or_else(|| into(&other.steps, kind.leaves()));
        if let Some(set) = shared.or_else(crossed) {
            return Err(Rejection::PlanInProgress { plan: other.id, set });
        }
    }
    Ok(())
}

fn mark_isolated(catalogue: &mut Catalogue, kind: &Kind) {
    for site in catalogue.sites.values_mut() {
        match kind {
            Kind::Isolate { site: left } if site.name == *left => site.isolated = true,
            Kind::Return { site: only } if only.as_ref().is_none_or(|only| *only == site.name) => {
                site.isolated = false;
            }
            _ => {}
        }
    }
}

fn record(
    catalogue: &mut Catalogue,
    at: At<'_>,
    plan: u64,
    outcomes: Vec<StepOutcome>,
) -> Result<Done, Rejection> {
    let known = active(catalogue, plan)?;
    for outcome in &outcomes {
        if known.step(outcome.set).is_none() {
            return Err(Rejection::NotInPlan { plan, set: outcome.set });
        }
        if let StepState::Skipped { reason } | StepState::Failed { reason } = &outcome.state {
            check_text("reason", reason)?;
        }
    }
    let rolls_back = known.roll_back.is_some();
    let plan = find_mut(catalogue, plan);
    let mut changed = false;
    for StepOutcome { set, state, pause_us } in outcomes {
        let step = plan.steps.iter_mut().find(|step| step.set == set).expect("it was found before");
        let ends = match (&step.state, &state) {
            (StepState::Waiting, StepState::Done | StepState::Skipped { .. } | StepState::Failed { .. }) => {
                true
            }
            (StepState::Done, StepState::Back | StepState::Failed { .. }) => rolls_back,
            _ => false,
        };
        if ends {
            step.state = state;
            step.pause_us = pause_us.or(step.pause_us);
            step.ended_unix_ns = Some(at.time_unix_ns);
            changed = true;
        }
    }
    if changed && plan.stage_has_ended() {
        plan.stage_ended_unix_ns = Some(at.time_unix_ns);
    }
    Ok((Effect::PlanRecorded, None, changed))
}

fn advance(catalogue: &mut Catalogue, plan: u64, stage: u32) -> Result<Done, Rejection> {
    let known = active(catalogue, plan)?;
    if known.stage == stage {
        return Ok((Effect::PlanRecorded, None, false));
    }
    let next = known.stage + 1 == stage && !known.is_last_stage() && known.stage_has_ended();
    if !next || known.state != State::Running || known.roll_back.is_some() {
        return Err(malformed("stage", "it is not the next one of a running plan whose stage has ended"));
    }
    let plan = find_mut(catalogue, plan);
    plan.stage = stage;
    plan.stage_ended_unix_ns = None;
    Ok((Effect::PlanRecorded, None, true))
}

fn roll_back(catalogue: &mut Catalogue, at: At<'_>, plan: u64, reason: String) -> Result<Done, Rejection> {
    check_text("reason", &reason)?;
    let known = active(catalogue, plan)?;
    if known.roll_back.is_some() {
        return Ok((Effect::PlanRecorded, None, false));
    }
    if !known.pace.roll_back || known.state != State::Running {
        return Err(malformed("plan", "it does not run, or does not bring its sets home"));
    }
    let record = at.record_of(known, Outcome::Aborted { reason: reason.clone() });
    let plan = find_mut(catalogue, plan);
    for step in plan.steps.iter_mut().filter(|step| step.state == StepState::Waiting) {
        step.state = StepState::Skipped { reason: "the plan brings its sets home".into() };
        step.ended_unix_ns = Some(at.time_unix_ns);
    }
    plan.roll_back = Some(reason);
    Ok((Effect::PlanRecorded, Some(record), true))
}

fn end(
    catalogue: &mut Catalogue,
    at: At<'_>,
    plan: u64,
    (state, reason): (State, Option<String>),
) -> Result<Done, Rejection> {
    if let Some(reason) = &reason {
        check_text("reason", reason)?;
    }
    let known = find(catalogue, plan)?;
    if known.state == state {
        return Ok((Effect::PlanRecorded, None, false));
    }
    let known = active(catalogue, plan)?;
    let fits = match (known.state, state) {
        (State::Stopping, State::Stopped) => true,
        (State::Running, State::Done) => known.is_last_stage() && known.stage_has_ended(),
        (State::Running, State::Failed) => true,
        (State::Running, State::RolledBack) => {
            known.roll_back.is_some() && known.count(|state| *state == StepState::Done) == 0
        }
        _ => false,
    };
    if !fits {
        return Err(malformed("state", "a plan in its state does not end so"));
    }
    let outcome = match (state, &reason) {
        (State::Done, _) => Outcome::Done,
        (_, Some(reason)) => Outcome::Aborted { reason: reason.clone() },
        (_, None) => Outcome::Aborted { reason: state.to_string() },
    };
    // Who stopped it is on record already.
    let record = (state != State::Stopped).then(|| at.record_of(known, outcome));
    let plan = find_mut(catalogue, plan);
    plan.state = state;
    plan.ended_unix_ns = Some(at.time_unix_ns);
    plan.reason = reason.or(plan.reason.take());
    let id = plan.id;
    forget(catalogue, id);
    Ok((Effect::PlanRecorded, record, true))
}

/// The catalogue goes to every node and router with each change: of what has ended it keeps what people ask for.
fn forget(catalogue: &mut Catalogue, newest: u64) {
    let ended = |plan: &Plan| !plan.state.is_active();
    let others = |plan: &&mut Plan| plan.id != newest && ended(plan) && plan.state != State::Stopped;
    for plan in catalogue.plans.values_mut().filter(others) {
        let done = plan.count(|state| *state == StepState::Done);
        plan.steps.retain(|step| step.state != StepState::Done);
        plan.steps_forgotten += u32::try_from(done).expect("there are few sets");
    }
    let ids: Vec<u64> = catalogue.plans.values().filter(|plan| ended(plan)).map(|plan| plan.id).collect();
    for id in ids.iter().take(ids.len().saturating_sub(ENDED_PLANS_MAX)) {
        catalogue.plans.remove(id);
    }
}

/// Lets nothing of any plan begin any more; gives those that were running.
pub(crate) fn halt(catalogue: &mut Catalogue, why: &str) -> Vec<u64> {
    let running = catalogue.plans.values_mut().filter(|plan| plan.state == State::Running);
    let stopped = running.map(|plan| {
        plan.state = State::Stopping;
        plan.reason = Some(why.into());
        plan.id
    });
    stopped.collect()
}

fn stop(catalogue: &mut Catalogue, at: At<'_>, who: &str, why: &str) -> Done {
    let plans = halt(catalogue, why);
    let what = Action::StopPlans { plans: plans.clone() };
    let record =
        (!plans.is_empty()).then(|| apply::record(at, (who.into(), why.into()), what, Outcome::Done));
    let changed = record.is_some();
    (Effect::PlansStopped { plans }, record, changed)
}

fn resume(
    catalogue: &mut Catalogue,
    at: At<'_>,
    plan: u64,
    who_why: (String, String),
) -> Result<Done, Rejection> {
    let known = find(catalogue, plan)?;
    match known.state {
        State::Running => return Ok((Effect::PlanRecorded, None, false)),
        State::Stopped => {}
        state => return Err(Rejection::PlanNotRunning { plan, state }),
    }
    check_sites(catalogue, &known.kind)?;
    check_alone(catalogue, &known.kind, &known.steps)?;
    let kind = known.kind.clone();
    mark_isolated(catalogue, &kind);
    let plan = find_mut(catalogue, plan);
    plan.state = State::Running;
    plan.reason = None;
    plan.ended_unix_ns = None;
    let record = apply::record(at, who_why, Action::Plan { id: plan.id, kind }, Outcome::Begun);
    Ok((Effect::PlanRecorded, Some(record), true))
}

fn find(catalogue: &Catalogue, plan: u64) -> Result<&Plan, Rejection> {
    catalogue.plans.get(&plan).ok_or(Rejection::UnknownPlan { plan })
}

fn active(catalogue: &Catalogue, plan: u64) -> Result<&Plan, Rejection> {
    let known = find(catalogue, plan)?;
    if known.state.is_active() {
        Ok(known)
    } else {
        Err(Rejection::PlanNotRunning { plan, state: known.state })
    }
}

fn find_mut(catalogue: &mut Catalogue, plan: u64) -> &mut Plan {
    catalogue.plans.get_mut(&plan).expect("the plan was found before the first change")
}

impl At<'_> {
    fn record_of(self, plan: &Plan, outcome: Outcome) -> Record {
        let what = Action::Plan { id: plan.id, kind: plan.kind.clone() };
        let at = self.ends(&plan.proof);
        apply::record(at, (plan.who.clone(), plan.why.clone()), what, outcome)
    }
}
