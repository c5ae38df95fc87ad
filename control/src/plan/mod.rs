//! Plans: what is to become of many sets, in which order and at which pace, and how far it has come. A plan stands in
//! the catalogue, so that it survives the death of whoever carries it out. Types and lookups only: changes go through
//! `apply.rs` beside this file; who carries plans out is the node's conductor.

mod apply;

use serde::{Deserialize, Serialize};

pub(crate) use apply::{apply, check_switch, halt};

use crate::catalogue::{Catalogue, Durability, Set};
use crate::proof::Proof;

/// Ended plans that the catalogue keeps: the newest.
pub const ENDED_PLANS_MAX: usize = 32;
/// Stages of a plan, at most.
pub const STAGES_MAX: usize = 16;
/// Sets that a plan moves at a time, at most.
pub const CONCURRENCY_MAX: u32 = 64;
/// Milliseconds between two stages, at most: a day.
pub const SOAK_MS_MAX: u64 = 86_400_000;

/// What is to become of many sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The log index of its beginning in the control set.
    pub id: u64,
    /// Of whoever began it: the same again is the same plan.
    pub request_id: String,
    /// What it is for.
    pub kind: Kind,
    /// How fast it goes, and what it bears.
    pub pace: Pace,
    /// Who asked for it.
    pub who: String,
    /// What speaks for that.
    #[serde(default, skip_serializing_if = "Proof::is_declared")]
    pub proof: Proof,
    /// Why.
    pub why: String,
    /// Where it stands.
    pub state: State,
    /// Why it was stopped, or how it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it brings home what it has moved, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roll_back: Option<String>,
    /// The stage under way, from 0.
    pub stage: u32,
    /// When the last step of that stage ended, nanoseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage_ended_unix_ns: Option<u64>,
    /// When it began, nanoseconds since 1970.
    pub began_unix_ns: u64,
    /// When it ended or was stopped, nanoseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_unix_ns: Option<u64>,
    /// One for each set, in the order in which they are taken. Once another plan has ended, those that are done are
    /// only counted.
    pub steps: Vec<Step>,
    /// Steps that were done and are no longer listed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub steps_forgotten: u32,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What a plan is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// To move every set out of a site.
    Evacuate {
        /// The site.
        site: String,
        /// All at once, without stages or guardrails: the site is about to die.
        emergency: bool,
    },
    /// To let every set acknowledge without a site that is no set's home, before it is powered off.
    Isolate {
        /// The site.
        site: String,
    },
    /// To demand both sites again, and to move sets to their configured home.
    Return {
        /// Only what belongs to that site; none: to either.
        site: Option<String>,
    },
}

/// How fast a plan goes, and what it bears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pace {
    /// How much of the sets each stage takes in, in percent of all: rising, the last one 100.
    pub stages: Vec<u8>,
    /// How long all must be well after a stage before the next one begins, in milliseconds.
    pub soak_ms: u64,
    /// Sets that are under way at a time, at most.
    pub concurrency: u32,
    /// Steps that may fail before the plan is given up.
    pub failures_max: u32,
    /// Whether it then brings home what it has moved.
    pub roll_back: bool,
}

/// Where a plan stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is carried out.
    Running,
    /// Nothing new begins; what is under way ends by itself.
    Stopping,
    /// Nothing of it is under way. It can be resumed.
    Stopped,
    /// Every set is where it is to be, or was skipped.
    Done,
    /// It was given up, or sets have failed.
    Failed,
    /// It has brought home what it had moved.
    RolledBack,
}

/// What becomes of one set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The set.
    pub set: u32,
    /// The stage that takes it in, from 0.
    pub stage: u32,
    /// Its home when the plan began.
    pub from: String,
    /// The home that it is to have.
    pub to: String,
    /// Its epoch when the plan began. The home of a set whose epoch is another one was changed by somebody else.
    pub epoch: u64,
    /// The node that led it when the plan was made; empty if that was not known.
    pub leader: String,
    /// How far it is.
    pub state: StepState,
    /// When it ended, nanoseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_unix_ns: Option<u64>,
    /// How long the set took no writes, in microseconds, as far as whoever recorded it knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_us: Option<u64>,
}

/// How far a step is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StepState {
    /// Not ended.
    Waiting,
    /// The set is as it is to be.
    Done,
    /// It was left out.
    Skipped {
        /// Why.
        reason: String,
    },
    /// It did not succeed.
    Failed {
        /// Why.
        reason: String,
    },
    /// It was done, and the set is back where it was.
    Back,
}

/// What can be asked about plans. As every command, one that comes twice changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Records a plan, which is carried out from then on. The log index becomes its id.
    Begin {
        /// Names this request among all, so that its repetition is known.
        request_id: String,
        /// What it is for.
        kind: Kind,
        /// How fast it goes, and what it bears.
        pace: Pace,
        /// Every set that it is about, in the order in which they are to be taken.
        order: Vec<Planned>,
        /// Who asks for it.
        who: String,
        /// Why.
        why: String,
    },
    /// Records how steps have ended.
    Record {
        /// The plan.
        plan: u64,
        /// By set. What is recorded already stands.
        outcomes: Vec<StepOutcome>,
    },
    /// Goes on to the next stage.
    Advance {
        /// The plan.
        plan: u64,
        /// That stage.
        stage: u32,
    },
    /// Gives the plan up and brings home what it has moved.
    RollBack {
        /// The plan.
        plan: u64,
        /// Why.
        reason: String,
    },
    /// Records the plan's end, or that nothing of one that is to stop is under way.
    End {
        /// The plan.
        plan: u64,
        /// One of those that a plan ends in.
        state: State,
        /// How it failed.
        reason: Option<String>,
    },
    /// Halts all plans.
    Stop {
        /// Who asks for it.
        who: String,
        /// Why.
        why: String,
    },
    /// Lets a plan that was stopped go on.
    Resume {
        /// The plan.
        plan: u64,
        /// Who asks for it.
        who: String,
        /// Why.
        why: String,
    },
}

/// One set of a plan that is to begin, as whoever made the plan saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// The set.
    pub set: u32,
    /// Its epoch.
    pub epoch: u64,
    /// The node that leads it; empty if that is not known.
    pub leader: String,
}

/// How a step has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepOutcome {
    /// The set.
    pub set: u32,
    /// As what.
    pub state: StepState,
    /// As [`Step::pause_us`].
    pub pause_us: Option<u64>,
}

impl State {
    /// Whether something of the plan may be under way.
    pub fn is_active(self) -> bool {
        matches!(self, State::Running | State::Stopping)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            State::Running => "running",
            State::Stopping => "stopping",
            State::Stopped => "stopped",
            State::Done => "done",
            State::Failed => "failed",
            State::RolledBack => "rolled back",
        })
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kind::Evacuate { site, emergency: false } => write!(f, "evacuate {site}"),
            Kind::Evacuate { site, emergency: true } => write!(f, "evacuate {site}, emergency"),
            Kind::Isolate { site } => write!(f, "isolate {site}"),
            Kind::Return { site: Some(site) } => write!(f, "return {site}"),
            Kind::Return { site: None } => f.write_str("return"),
        }
    }
}

impl Kind {
    /// The site that no set may move into while the plan is carried out.
    pub fn leaves(&self) -> Option<&str> {
        match self {
            Kind::Evacuate { site, .. } | Kind::Isolate { site } => Some(site),
            Kind::Return { .. } => None,
        }
    }

    /// Whether it is carried out without guardrails.
    pub fn is_emergency(&self) -> bool {
        matches!(self, Kind::Evacuate { emergency: true, .. })
    }

    /// The sets that such a plan is about, each with the home that it is to have.
    pub fn sets(&self, catalogue: &Catalogue) -> Vec<(u32, String)> {
        catalogue.sets.values().filter_map(|set| Some((set.id, self.home_of(catalogue, set)?))).collect()
    }

    fn home_of(&self, catalogue: &Catalogue, set: &Set) -> Option<String> {
        let away = catalogue.other_site(&set.home)?;
        match self {
            Kind::Evacuate { site, .. } => (set.home == *site).then(|| away.into()),
            Kind::Isolate { site } => (away == site).then(|| set.home.clone()),
            Kind::Return { site } => {
                let of_site = |which: &str| site.as_deref().is_none_or(|site| site == which);
                let moves = set.home != set.configured_home && of_site(&set.configured_home);
                let waits = set.durability != Durability::Sync && of_site(away);
                (moves || waits).then(|| if moves { set.configured_home.clone() } else { set.home.clone() })
            }
        }
    }
}

impl Plan {
    /// The step of a set.
    pub fn step(&self, set: u32) -> Option<&Step> {
        self.steps.iter().find(|step| step.set == set)
    }

    /// How many steps have ended in a way.
    pub fn count(&self, of: impl Fn(&StepState) -> bool) -> usize {
        self.steps.iter().filter(|step| of(&step.state)).count()
    }

    /// Steps that are done, listed or not.
    pub fn done(&self) -> usize {
        self.count(|state| *state == StepState::Done) + self.steps_forgotten as usize
    }

    /// Steps that have failed.
    pub fn failed(&self) -> usize {
        self.count(|state| matches!(state, StepState::Failed { .. }))
    }

    /// Whether no step of the stage under way, or of one before, waits.
    pub fn stage_has_ended(&self) -> bool {
        let waits = |step: &Step| step.stage <= self.stage && step.state == StepState::Waiting;
        !self.steps.iter().any(waits)
    }

    /// Whether no stage comes after the one under way.
    pub fn is_last_stage(&self) -> bool {
        self.stage as usize + 1 >= self.pace.stages.len()
    }
}

impl Catalogue {
    /// The plans of which something may be under way.
    pub fn active_plans(&self) -> impl Iterator<Item = &Plan> {
        self.plans.values().filter(|plan| plan.state.is_active())
    }

    /// Whether a copy of the set stands in a site that is to be powered off.
    pub fn has_isolated(&self, set: &Set) -> bool {
        let sites = set.replicas.iter().filter_map(|replica| self.site_of_node(&replica.node));
        sites.filter_map(|site| self.sites.get(site)).any(|site| site.isolated)
    }
}
