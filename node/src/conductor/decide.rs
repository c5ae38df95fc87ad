//! What is to be done next for a plan: a pure function of the catalogue and of what is known of the cluster. It asks
//! nobody and keeps nothing, so that the next conductor decides the same, and every step holds against a catalogue
//! that has moved on: a step is done when its set is as it is to be, whoever has seen to that.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;
use twinset_control::plan::{self, Kind, Plan, State, Step, StepOutcome, StepState};
use twinset_control::{Catalogue, Durability, Policy, Set};
use twinset_ledger::canary::{self, Canary};

use super::known::Known;

/// How long a step is tried again before it has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an away site may take to follow before the return of a set to SYNC has failed: it may need a whole copy.
const SYNC_PATIENCE: Duration = Duration::from_secs(600);
/// How long a guardrail may be broken before the plan is given up: a set that has degraded by itself may need a
/// minute to return to SYNC.
const UNWELL_MAX: Duration = Duration::from_secs(90);

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask the leader of a set for its next step.
    Ask {
        /// The plan.
        plan: u64,
        /// The set.
        set: u32,
        /// For what.
        what: Ask,
    },
    /// Propose to the control set.
    Tell(plan::Command),
}

/// What a set's leader is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To move the set.
    Switch {
        /// Its new home.
        to: String,
    },
    /// To mark its durability.
    Mark {
        /// As DEGRADED; otherwise as SYNC.
        degraded: bool,
    },
}

/// How a step stands by the catalogue.
enum Stands {
    /// To be recorded as ended.
    Ended(StepState),
    /// Somebody is at it.
    Busy,
    /// To be asked for.
    Open(Ask),
}

/// What to do now: first what is to be asked of leaders, then at most one command for the control set.
pub fn decide(catalogue: &Catalogue, plan: &Plan, known: &Known, now: Now) -> Vec<Action> {
    let turn = Turn { catalogue, plan, known, now };
    let standing: Vec<(&Step, Stands)> = plan
        .steps
        .iter()
        .filter(|step| turn.is_open(step) && !known.is_asked(step.set))
        .filter_map(|step| Some((step, turn.stands(step, catalogue.sets.get(&step.set)?))))
        .collect();
    let mut actions = if turn.begins() { turn.asks(&standing) } else { Vec::new() };
    let outcomes = standing.iter().filter_map(|(step, stands)| match stands {
        Stands::Ended(state) => Some(turn.outcome(step, state.clone())),
        Stands::Busy | Stands::Open(_) => None,
    });
    let outcomes: Vec<StepOutcome> = outcomes.collect();
    let busy = standing.iter().any(|(_, stands)| matches!(stands, Stands::Busy));
    let tell = if outcomes.is_empty() {
        turn.course(busy || !actions.is_empty())
    } else {
        Some(plan::Command::Record { plan: plan.id, outcomes })
    };
    actions.extend(tell.map(Action::Tell));
    actions
}

/// When a decision is made.
#[derive(Clone, Copy)]
pub struct Now {
    /// For what lasts.
    pub instant: Instant,
    /// For what is on record.
    pub unix_ns: u64,
}

struct Turn<'a> {
    catalogue: &'a Catalogue,
    plan: &'a Plan,
    known: &'a Known,
    now: Now,
}

impl Turn<'_> {
    /// Whether something is to become of the step yet: when the plan rolls back, of those that are done.
    fn is_open(&self, step: &Step) -> bool {
        match self.plan.roll_back {
            None => step.state == StepState::Waiting,
            Some(_) => step.state == StepState::Done,
        }
    }

    fn stands(&self, step: &Step, set: &Set) -> Stands {
        let (to, ended, epoch) = match self.plan.roll_back {
            None => (&step.to, StepState::Done, step.epoch),
            Some(_) => (&step.from, StepState::Back, step.epoch + u64::from(step.from != step.to)),
        };
        if set.switch.is_some() {
            return Stands::Busy;
        }
        let wants = match self.plan.kind {
            Kind::Isolate { .. } => Durability::Degraded,
            Kind::Evacuate { .. } | Kind::Return { .. } => Durability::Sync,
        };
        let is_as_wanted = set.durability == wants || matches!(self.plan.kind, Kind::Evacuate { .. });
        if set.home == *to && is_as_wanted {
            return Stands::Ended(ended);
        }
        if set.home != *to && set.epoch != epoch {
            let reason = "somebody else has changed its home since".to_owned();
            // What is to come back must not pass for left out.
            return Stands::Ended(match self.plan.roll_back {
                None => StepState::Skipped { reason },
                Some(_) => StepState::Failed { reason },
            });
        }
        if !is_as_wanted && wants == Durability::Degraded && set.policy == Policy::MaxProtection {
            let reason = "its policy is max-protection: its answers wait for the site".to_owned();
            return Stands::Ended(StepState::Skipped { reason });
        }
        let ask = match is_as_wanted {
            true => Ask::Switch { to: to.clone() },
            false => Ask::Mark { degraded: wants == Durability::Degraded },
        };
        match self.has_failed(step, &ask) {
            Some(reason) => Stands::Ended(StepState::Failed { reason }),
            None => Stands::Open(ask),
        }
    }

    /// The last reason, if this has been asked in vain for too long.
    fn has_failed(&self, step: &Step, ask: &Ask) -> Option<String> {
        let patience = if *ask == (Ask::Mark { degraded: false }) { SYNC_PATIENCE } else { PATIENCE };
        let tries = self.known.tries(self.plan.id, step.set).filter(|tries| tries.what == *ask)?;
        (tries.lasting > patience).then(|| cut(&tries.reason))
    }

    fn outcome(&self, step: &Step, state: StepState) -> StepOutcome {
        let pause_us = self.known.pause_us(self.plan.id, step.set);
        StepOutcome { set: step.set, state, pause_us }
    }

    /// Whether new steps may begin.
    fn begins(&self) -> bool {
        let well = self.plan.kind.is_emergency() || self.known.is_well(self.plan.id);
        (self.plan.state == State::Running || canary::on(Canary::PlanResumedTwice))
            && (self.plan.roll_back.is_some() || (well && !self.too_many_failed()))
    }

    /// As many as the plan lets be under way at a time; those whose copies lag come last.
    fn asks(&self, standing: &[(&Step, Stands)]) -> Vec<Action> {
        let asked = self.plan.steps.iter().filter(|step| self.known.is_asked(step.set)).count();
        let busy = standing.iter().filter(|(_, stands)| matches!(stands, Stands::Busy)).count();
        let room = (self.plan.pace.concurrency as usize).saturating_sub(asked + busy);
        let rolls_back = self.plan.roll_back.is_some();
        let mut ready: Vec<(bool, u32, &Ask)> = standing
            .iter()
            .filter(|(step, _)| rolls_back || step.stage <= self.plan.stage)
            .filter(|(step, _)| self.known.may_ask(self.plan.id, step.set, self.now.instant))
            .filter_map(|(step, stands)| match stands {
                Stands::Open(ask) => {
                    Some((self.known.lags(self.catalogue, step.set, &step.to), step.set, ask))
                }
                Stands::Ended(_) | Stands::Busy => None,
            })
            .collect();
        // The sort is stable: otherwise the plan's own order stays.
        ready.sort_by_key(|(lags, _, _)| *lags);
        let action =
            |(_, set, what): (bool, u32, &Ask)| Action::Ask { plan: self.plan.id, set, what: what.clone() };
        ready.into_iter().take(room).map(action).collect()
    }

    fn too_many_failed(&self) -> bool {
        !self.plan.kind.is_emergency() && self.plan.failed() > self.plan.pace.failures_max as usize
    }

    /// What becomes of the plan itself.
    fn course(&self, busy: bool) -> Option<plan::Command> {
        let plan = self.plan.id;
        if busy || self.plan.steps.iter().any(|step| self.known.is_asked(step.set)) {
            return None;
        }
        let end = |state, reason| Some(plan::Command::End { plan, state, reason });
        if self.plan.state == State::Stopping {
            return end(State::Stopped, None);
        }
        if let Some(reason) = &self.plan.roll_back {
            let all_back = self.plan.count(|state| *state == StepState::Done) == 0;
            return all_back.then(|| plan::Command::End {
                plan,
                state: State::RolledBack,
                reason: Some(reason.clone()),
            });
        }
        if let Some(reason) = self.given_up_because() {
            return match self.plan.pace.roll_back {
                true => Some(plan::Command::RollBack { plan, reason }),
                false => end(State::Failed, Some(reason)),
            };
        }
        if !self.plan.stage_has_ended() {
            return None;
        }
        if self.plan.is_last_stage() {
            return match self.plan.failed() {
                0 => end(State::Done, None),
                failed => end(State::Failed, Some(format!("{failed} sets are not as they were to be"))),
            };
        }
        self.has_soaked().then_some(plan::Command::Advance { plan, stage: self.plan.stage + 1 })
    }

    fn given_up_because(&self) -> Option<String> {
        if self.plan.kind.is_emergency() {
            return None;
        }
        if self.too_many_failed() {
            let failed = |step: &Step| match &step.state {
                StepState::Failed { reason } => Some(format!("set {}: {reason}", step.set)),
                _ => None,
            };
            return self.plan.steps.iter().find_map(failed).map(|reason| cut(&reason));
        }
        let (reason, lasting) = self.known.unwell(self.plan.id, self.now.instant)?;
        (lasting > UNWELL_MAX).then(|| cut(&format!("guardrail: {reason}")))
    }

    /// All must have been well for as long as the soak lasts, since the stage's last step.
    fn has_soaked(&self) -> bool {
        let soak = Duration::from_millis(self.plan.pace.soak_ms);
        let ended = self.plan.stage_ended_unix_ns.unwrap_or(self.now.unix_ns);
        let since_end = Duration::from_nanos(self.now.unix_ns.saturating_sub(ended));
        let well = self.known.well_for(self.plan.id, self.now.instant);
        since_end >= soak && well.is_some_and(|well| well >= soak)
    }
}

/// What the control set takes as a reason.
pub fn cut(reason: &str) -> String {
    let mut text: String = reason.chars().filter(|c| !c.is_control()).collect();
    while text.len() > twinset_control::apply::TEXT_BYTES_MAX {
        text.pop();
    }
    text
}

/// The first guardrail that does not hold: every set has a leader, and what the plan has touched, or will, is SYNC
/// unless the plan itself wants it otherwise.
pub fn guardrail(catalogue: &Catalogue, plan: &Plan, led: &BTreeSet<u32>) -> Option<String> {
    if let Some(set) = catalogue.sets.keys().find(|set| !led.contains(set)) {
        return Some(format!("set {set} has no leader that answers"));
    }
    let weak = |step: &&Step| {
        let sync = catalogue.sets.get(&step.set).is_some_and(|set| set.durability == Durability::Sync);
        match plan.kind {
            Kind::Evacuate { .. } => !sync,
            Kind::Return { .. } => !sync && step.state == StepState::Done,
            Kind::Isolate { .. } => false,
        }
    };
    plan.steps.iter().find(weak).map(|step| format!("set {} is not SYNC", step.set))
}
