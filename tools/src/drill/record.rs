//! What is kept of a drill: everything that its report shows, as one JSON document. Types only: made by `play.rs` and
//! `judge.rs`, drawn by `page.rs`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::guard::Breach;
use super::moment::{Moment, Payments};
use super::scenario::Scenario;

/// The format of the document.
pub const FORMAT: u32 = 1;

/// One drill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// Names the drill: when it began (UTC), and the scenario.
    pub id: String,
    /// What was played.
    pub scenario: Scenario,
    /// The cluster's name.
    pub cluster: String,
    /// The set that it was about.
    pub set: u32,
    /// Its home when the drill began.
    pub home: String,
    /// Its other site.
    pub away: String,
    /// Who ran it.
    pub who: String,
    /// Why.
    pub why: String,
    /// Of a drill that was drawn by lot: the seed that says what was drawn.
    pub seed: Option<u64>,
    /// When it began, milliseconds since 1970. All other times are milliseconds since then.
    pub began_unix_ms: u64,
    /// How long it took.
    pub took_ms: u64,
    /// Payments per second that it added.
    pub load: u32,
    /// Factor on every limit of time in the scenario.
    pub patience: f64,
    /// In order: the baseline, the stages, the way home, and what came after.
    pub spans: Vec<Span>,
    /// Everything that was done, in order.
    pub acts: Vec<ActRecord>,
    /// Every set that was moved meanwhile, by whomever.
    #[serde(default)]
    pub moves: Vec<Move>,
    /// Why it was stopped, if it was.
    pub stopped: Option<Stopped>,
    /// A look every second.
    pub moments: Vec<Moment>,
    /// The payments of every second.
    pub seconds: Vec<Second>,
    /// Before the first stage, from there until all were home, after that.
    pub payments: [Payments; 3],
    /// Payments that were asked more than once.
    pub repeated: u64,
    /// How payments that failed ended, by code.
    pub errors: std::collections::BTreeMap<String, u64>,
    /// What became of each set.
    pub sets: Vec<SetRecord>,
    /// What was asked of it and what was found.
    pub criteria: Vec<Judgement>,
    /// What came of it.
    pub verdict: Verdict,
    /// The control set's audit log while it ran.
    pub audit: Vec<Value>,
}

/// A part of the drill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// In a few words.
    pub name: String,
    /// When it began.
    pub from_ms: u64,
    /// When it ended.
    pub to_ms: u64,
    /// The longest time within it in which no payment of a set succeeded; none without payments.
    #[serde(default)]
    pub pause_ms: Option<f64>,
    /// Why it did not succeed.
    pub failed: Option<String>,
}

/// One thing that was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActRecord {
    /// When it began.
    pub at_ms: u64,
    /// How long it took.
    pub took_ms: u64,
    /// In a few words.
    pub what: String,
    /// To whom: processes, sets.
    pub targets: Vec<String>,
    /// The phases that it went through, with their times.
    pub phases: Vec<Phase>,
    /// Why it did not succeed.
    pub failed: Option<String>,
}

/// A set that was moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Move {
    /// Which.
    pub set: u32,
    /// To which site.
    pub to: String,
    /// The plan that it was a step of, if it was.
    pub plan: Option<u64>,
    /// When it began, by the clock of the node that led it.
    pub at_ms: u64,
    /// Its phases; the last one is its end.
    pub phases: Vec<Phase>,
    /// How long the set took no writes.
    pub paused_ms: f64,
}

/// A phase of a move.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Its name: check, record, membership, pause, catch-up, transfer, done.
    pub name: String,
    /// What is said of it.
    pub detail: String,
    /// When it was reached, in milliseconds since the act, or the move, began.
    pub at_ms: f64,
}

/// Why a drill was stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Stopped {
    /// A guardrail was broken.
    Guardrail(Breach),
    /// A stage did not come to its end.
    Stage {
        /// Which.
        name: String,
        /// Why not.
        reason: String,
    },
    /// Somebody wanted it.
    Operator {
        /// How.
        how: String,
    },
}

/// The payments of one second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Where it begins.
    pub at_ms: u64,
    /// Those that ended in it.
    pub payments: Payments,
}

/// What became of a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SetRecord {
    /// Its number.
    pub set: u32,
    /// The longest time in which no payment of it succeeded, without the baseline's; none without payments.
    pub pause_ms: Option<f64>,
    /// When that time began.
    pub paused_at_ms: Option<u64>,
    /// How long it was not SYNC, to the second.
    pub unsafe_s: f64,
    /// How long no leader was seen, to the second.
    pub leaderless_s: f64,
    /// Its leaders, homes and states, each with the time at which it was first seen so.
    pub course: Vec<(u64, String)>,
}

/// One criterion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// What it is about.
    pub name: String,
    /// What was asked for.
    pub wanted: String,
    /// What was found.
    pub found: String,
    /// Whether that is good enough.
    pub held: bool,
}

/// What came of a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It has proved what it was to prove.
    Passed,
    /// It ran to its end and a criterion does not hold.
    Failed,
    /// It was stopped.
    Stopped,
}

impl Record {
    /// Whether everything was brought home in the end.
    pub fn is_home(&self) -> bool {
        self.spans.iter().any(|span| span.name == super::judge::HOME && span.failed.is_none())
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Verdict::Passed => "passed",
            Verdict::Failed => "FAILED",
            Verdict::Stopped => "STOPPED",
        })
    }
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Stopped::Guardrail(breach) => write!(f, "guardrail {}: {}", breach.guardrail, breach.detail),
            Stopped::Stage { name, reason } => write!(f, "stage {name:?}: {reason}"),
            Stopped::Operator { how } => f.write_str(how),
        }
    }
}
