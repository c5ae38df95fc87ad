//! Plans as an operator makes them: which sets, in which order, at which pace, and what is checked first. Nothing
//! here asks anybody: all is made from one survey. Above: the commands in `cmd/`; beside: what follows a plan
//! (`follow.rs`).

pub mod checks;
pub mod follow;
pub mod ready;
#[cfg(test)]
mod tests;

use serde::Serialize;
use twinset_control::plan::{Command, Kind, Pace, Planned};
use twinset_control::{Catalogue, Set};
use twinset_proto::cluster::v1::ReplicaStatus;

use crate::cluster::admin::Survey;

/// Stages unless others are asked for, in percent of the sets.
pub const STAGES: [u8; 4] = [1, 10, 50, 100];

/// A plan that is not recorded yet.
#[derive(Clone, Debug, Serialize)]
pub struct Draft {
    /// What it is for.
    pub kind: Kind,
    /// How fast it goes.
    pub pace: Pace,
    /// Every set that it is about, in the order in which they are taken.
    pub steps: Vec<DraftStep>,
}

/// One set of it.
#[derive(Clone, Debug, Serialize)]
pub struct DraftStep {
    /// The set.
    pub set: u32,
    /// The stage that takes it in, from 0.
    pub stage: usize,
    /// Its home.
    pub from: String,
    /// The home that it is to have.
    pub to: String,
    /// Its epoch.
    pub epoch: u64,
    /// The node that leads it; empty if nobody says so.
    pub leader: String,
    /// Entries that its copies in the new home lack, the worst of them; None if its leader does not say.
    pub lag: Option<u64>,
}

impl Draft {
    /// Makes a plan. Sets whose copies lag are taken last, whatever their number; stages that would take in no set
    /// more are left out.
    pub fn new(survey: &Survey, catalogue: &Catalogue, kind: Kind, pace: Pace) -> Draft {
        let sets = kind.sets(catalogue);
        let step = |(set, to): (u32, String)| {
            let known = &catalogue.sets[&set];
            DraftStep {
                set,
                stage: 0,
                from: known.home.clone(),
                epoch: known.epoch,
                leader: survey.leader(set).map(|(_, reply)| reply.node.clone()).unwrap_or_default(),
                lag: survey.leader_status(set).map(|leader| lag_in(catalogue, known, &to, leader)),
                to,
            }
        };
        let mut steps: Vec<DraftStep> = sets.into_iter().map(step).collect();
        steps.sort_by_key(|step| (step.lag.is_none_or(|lag| lag > checks::LAG_NOTED), step.set));
        let stages = useful(&pace.stages, steps.len());
        let count = steps.len();
        for (position, step) in steps.iter_mut().enumerate() {
            let takes = |percent: &u8| position < taken_in(*percent, count);
            step.stage = stages.iter().position(takes).unwrap_or(stages.len() - 1);
        }
        Draft { kind, pace: Pace { stages, ..pace }, steps }
    }

    /// The command that records it.
    pub fn command(&self, request_id: &str, who: &str, why: &str) -> Command {
        let planned =
            |step: &DraftStep| Planned { set: step.set, epoch: step.epoch, leader: step.leader.clone() };
        Command::Begin {
            request_id: request_id.to_owned(),
            kind: self.kind.clone(),
            pace: self.pace.clone(),
            order: self.steps.iter().map(planned).collect(),
            who: who.to_owned(),
            why: why.to_owned(),
        }
    }
}

fn taken_in(percent: u8, sets: usize) -> usize {
    (sets * usize::from(percent)).div_ceil(100)
}

/// The stages that take in a set more than the one before.
fn useful(stages: &[u8], sets: usize) -> Vec<u8> {
    let mut before = 0;
    let mut kept: Vec<u8> = Vec::new();
    for &percent in stages {
        if taken_in(percent, sets) > before {
            before = taken_in(percent, sets);
            kept.push(percent);
        }
    }
    // Whatever takes the last set in is the whole.
    match kept.last_mut() {
        Some(last) => *last = 100,
        None => kept.push(100),
    }
    kept
}

/// Entries of the leader's log that a copy of the set in `site` is not known to hold, the worst of them.
pub fn lag_in(catalogue: &Catalogue, set: &Set, site: &str, leader: &ReplicaStatus) -> u64 {
    let there = set.replicas.iter().filter(|r| catalogue.site_of_node(&r.node) == Some(site));
    there.map(|replica| crate::view::lag(leader, replica.id)).max().unwrap_or(u64::MAX)
}
