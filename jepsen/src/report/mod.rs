//! The page of a run: what a person reads at a glance. Plain data in, one file of HTML out, which needs nothing else. It
//! judges nothing: verdicts come from [`crate::check`].

mod grid;
mod of_run;
mod page;

pub use grid::{Grid, Moment, Second};
pub use page::html;

use serde::Serialize;

/// The file of the page in a run's directory.
pub const FILE: &str = "report.html";

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The answer was yes.
    Ok,
    /// The ledger said no.
    Rejected,
    /// Certainly nothing happened.
    NotApplied,
    /// Nobody knows yet.
    Unknown,
}

/// One call: when it began, how long it took. Microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// Since the run's begin.
    pub at_us: u64,
    /// How long it took.
    pub took_us: u64,
    /// How it ended.
    pub outcome: Outcome,
}

/// A fault, from its begin to its end in seconds since the run's begin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Band {
    /// Its kind: one row each.
    pub kind: String,
    /// What and whom.
    pub label: String,
    /// Begin.
    pub from: f64,
    /// End.
    pub to: f64,
    /// Whether it was seen to act.
    pub acted: bool,
    /// What shows it.
    pub evidence: String,
}

/// Who led a set, from when to when, in seconds since the run's begin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reign {
    /// The set.
    pub set: u32,
    /// The node; empty while there was none.
    pub node: String,
    /// The node's site.
    pub site: String,
    /// Begin.
    pub from: f64,
    /// End.
    pub to: f64,
}

/// What a checker found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The checker.
    pub checker: String,
    /// The claim that it checks.
    pub claim: String,
    /// `valid`, `invalid` or `unknown`.
    pub verdict: String,
    /// How much it looked at.
    pub checked: u64,
    /// How many violations there are.
    pub violations: u64,
    /// The first of them.
    pub first: Vec<String>,
}

/// Everything on the page.
#[derive(Clone, Debug, Serialize)]
pub struct Page {
    /// `valid`, `invalid` or `unknown`.
    pub verdict: String,
    /// What ran: name and value, in order.
    pub facts: Vec<(String, String)>,
    /// The figures at the top: name and value, in order.
    pub tiles: Vec<(String, String)>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Calls by time and latency.
    pub grid: Grid,
    /// In the order of their begins.
    pub bands: Vec<Band>,
    /// By set, then in order.
    pub reigns: Vec<Reign>,
    /// In the order of the claims.
    pub findings: Vec<Finding>,
}
