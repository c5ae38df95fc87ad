//! Drills on record: that one runs, who runs it, and until when that holds without another word. Whoever plays a drill is a
//! program that may die; a drill whose lease is over is ended by the control set's leader, its plans are halted with it, and
//! its sets are brought home. What a drill does is not written here: its moves are plans and switches, and its faults are the
//! processes' own.

use serde::{Deserialize, Serialize};

use crate::apply::{self, At, Effect, check_text, check_who_why, malformed};
use crate::audit::{Action, Outcome, Record};
use crate::catalogue::Catalogue;
use crate::plan;
use crate::rejection::Rejection;

/// Ended drills that the catalogue keeps: the newest.
pub const ENDED_DRILLS_MAX: usize = 16;
/// The longest lease, in milliseconds.
pub const LEASE_MS_MAX: u64 = 600_000;

/// A drill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drill {
    /// The log index of its beginning in the control set.
    pub id: u64,
    /// Of whoever began it: the same again is the same drill.
    pub request_id: String,
    /// The scenario's name.
    pub scenario: String,
    /// The set that it is about.
    pub set: u32,
    /// Who runs it.
    pub who: String,
    /// Why.
    pub why: String,
    /// Where it stands.
    pub state: State,
    /// Until then it runs without another word of whoever runs it, nanoseconds since 1970.
    pub until_unix_ns: u64,
    /// When it began, nanoseconds since 1970.
    pub began_unix_ns: u64,
    /// When it ended, nanoseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_unix_ns: Option<u64>,
}

/// Where a drill stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum State {
    /// It is played.
    Running,
    /// It is to stop and to bring everything home.
    Stopping {
        /// Who wants that.
        who: String,
        /// Why.
        why: String,
    },
    /// It has ended.
    Ended {
        /// What came of it.
        verdict: Verdict,
    },
}

/// What came of a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It has proved what it was to prove.
    Passed,
    /// It ran to its end, and a criterion does not hold.
    Failed,
    /// It was stopped.
    Stopped,
    /// Whoever ran it fell silent.
    Abandoned,
}

/// What can be asked about drills.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Records that a drill runs. The log index becomes its id.
    Begin {
        /// Names this request among all, so that its repetition is known.
        request_id: String,
        /// The scenario's name.
        scenario: String,
        /// The set that it is about.
        set: u32,
        /// For how long it runs without another word, in milliseconds.
        lease_ms: u64,
        /// Who runs it.
        who: String,
        /// Why.
        why: String,
    },
    /// Says that whoever runs it still does.
    Extend {
        /// The drill.
        drill: u64,
        /// For how long it runs without another word, in milliseconds.
        lease_ms: u64,
        /// Who says so.
        who: String,
    },
    /// Wants the drill under way to stop.
    Stop {
        /// Who wants that.
        who: String,
        /// Why.
        why: String,
    },
    /// Ends it.
    End {
        /// The drill.
        drill: u64,
        /// What came of it. That it is abandoned is only taken when its lease is over.
        verdict: Verdict,
        /// Who says so.
        who: String,
    },
}

impl Drill {
    /// Whether it has not ended.
    pub fn is_active(&self) -> bool {
        !matches!(self.state, State::Ended { .. })
    }

    /// The request id of the plan that brings its sets home if it is abandoned.
    pub fn way_home(&self) -> String {
        format!("drill-{}-home", self.id)
    }
}

impl Catalogue {
    /// The drill under way.
    pub fn active_drill(&self) -> Option<&Drill> {
        self.drills.values().find(|drill| drill.is_active())
    }

    /// Whether something is left to bring home: a set elsewhere than it belongs, or DEGRADED by hand, or a site that is isolated.
    pub fn is_away(&self) -> bool {
        let isolated = self.sites.values().any(|site| site.isolated);
        isolated || self.sets.values().any(|set| set.home != set.configured_home || set.pinned)
    }
}

/// The effect, the audit record if a person should know, and whether anything changed.
type Done = (Effect, Option<Record>, bool);

/// Applies a command; the caller raises the version and appends the record.
pub(crate) fn apply(catalogue: &mut Catalogue, at: At<'_>, command: Command) -> Result<Done, Rejection> {
    match command {
        Command::Begin { request_id, scenario, set, lease_ms, who, why } => {
            check_who_why(&who, &why)?;
            check_text("request_id", &request_id)?;
            check_text("scenario", &scenario)?;
            begin(catalogue, at, (request_id, scenario), set, lease_ms, (who, why))
        }
        Command::Extend { drill, lease_ms, who } => {
            check_text("who", &who)?;
            extend(catalogue, at, drill, lease_ms)
        }
        Command::Stop { who, why } => {
            check_who_why(&who, &why)?;
            Ok(stop(catalogue, at, who, why))
        }
        Command::End { drill, verdict, who } => {
            check_text("who", &who)?;
            end(catalogue, at, drill, verdict, who)
        }
    }
}

fn begin(
    catalogue: &mut Catalogue,
    at: At<'_>,
    (request_id, scenario): (String, String),
    set: u32,
    lease_ms: u64,
    (who, why): (String, String),
) -> Result<Done, Rejection> {
    if let Some(known) = catalogue.drills.values().find(|drill| drill.request_id == request_id) {
        return Ok((Effect::DrillBegun { id: known.id }, None, false));
    }
    let until_unix_ns = until(at, lease_ms)?;
    apply::find(catalogue, set)?;
    if let Some(drill) = catalogue.active_drill() {
        return Err(Rejection::DrillInProgress { drill: drill.id });
    }
    let what = Action::Drill { id: at.id, scenario: scenario.clone(), set };
    let record = apply::record(at, (who.clone(), why.clone()), what, Outcome::Begun);
    let drill = Drill {
        id: at.id,
        request_id,
        scenario,
        set,
        who,
        why,
        state: State::Running,
        until_unix_ns,
        began_unix_ns: at.time_unix_ns,
        ended_unix_ns: None,
    };
    catalogue.drills.insert(drill.id, drill);
    Ok((Effect::DrillBegun { id: at.id }, Some(record), true))
}

fn until(at: At<'_>, lease_ms: u64) -> Result<u64, Rejection> {
    if lease_ms == 0 || lease_ms > LEASE_MS_MAX {
        return Err(malformed("lease_ms", "it is 1 to 600000"));
    }
    Ok(at.time_unix_ns.saturating_add(lease_ms * 1_000_000))
}

/// A drill that has not ended, to be changed.
fn running(catalogue: &mut Catalogue, drill: u64) -> Result<&mut Drill, Rejection> {
    let known = catalogue.drills.get_mut(&drill).ok_or(Rejection::UnknownDrill { drill })?;
    if known.is_active() { Ok(known) } else { Err(Rejection::DrillEnded { drill }) }
}

fn extend(catalogue: &mut Catalogue, at: At<'_>, drill: u64, lease_ms: u64) -> Result<Done, Rejection> {
    let until_unix_ns = until(at, lease_ms)?;
    let known = running(catalogue, drill)?;
    let later = until_unix_ns > known.until_unix_ns;
    known.until_unix_ns = known.until_unix_ns.max(until_unix_ns);
    Ok((Effect::DrillRecorded, None, later))
}

fn stop(catalogue: &mut Catalogue, at: At<'_>, who: String, why: String) -> Done {
    let active = catalogue.drills.values_mut().find(|drill| drill.is_active());
    let Some(drill) = active else { return (Effect::DrillStopping { drill: None }, None, false) };
    let id = drill.id;
    if drill.state != State::Running {
        return (Effect::DrillStopping { drill: Some(id) }, None, false);
    }
    drill.state = State::Stopping { who: who.clone(), why: why.clone() };
    let record = apply::record(at, (who, why), Action::StopDrill { id }, Outcome::Done);
    (Effect::DrillStopping { drill: Some(id) }, Some(record), true)
}

fn end(
    catalogue: &mut Catalogue,
    at: At<'_>,
    drill: u64,
    verdict: Verdict,
    who: String,
) -> Result<Done, Rejection> {
    let known = catalogue.drills.get(&drill).ok_or(Rejection::UnknownDrill { drill })?;
    if known.state == (State::Ended { verdict }) {
        return Ok((Effect::DrillRecorded, None, false));
    }
    let known = running(catalogue, drill)?;
    if verdict == Verdict::Abandoned && at.time_unix_ns <= known.until_unix_ns {
        return Err(Rejection::DrillHeld { drill });
    }
    known.state = State::Ended { verdict };
    known.ended_unix_ns = Some(at.time_unix_ns);
    let what = Action::Drill { id: drill, scenario: known.scenario.clone(), set: known.set };
    let who_why = (who, known.why.clone());
    let outcome = match verdict {
        Verdict::Passed => Outcome::Done,
        Verdict::Failed => Outcome::Aborted { reason: "a criterion does not hold".to_owned() },
        Verdict::Stopped => Outcome::Aborted { reason: "it was stopped".to_owned() },
        Verdict::Abandoned => Outcome::Aborted { reason: "whoever ran it fell silent".to_owned() },
    };
    let record = apply::record(at, who_why, what, outcome);
    if verdict == Verdict::Abandoned {
        plan::halt(catalogue, "the drill that it belongs to was abandoned");
    }
    forget(catalogue);
    Ok((Effect::DrillRecorded, Some(record), true))
}

/// The catalogue goes to every node and router with each change: of drills that have ended it keeps the newest.
fn forget(catalogue: &mut Catalogue) {
    let ended = catalogue.drills.values().filter(|drill| !drill.is_active());
    let ids: Vec<u64> = ended.map(|drill| drill.id).collect();
    for id in ids.iter().take(ids.len().saturating_sub(ENDED_DRILLS_MAX)) {
        catalogue.drills.remove(id);
    }
}
