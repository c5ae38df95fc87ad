//! What many drills together say: of each scenario and stage, how long sets paused; of each act, how long it took; of all
//! moves, how long their leaders took no writes. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::record::{Record, Verdict};

/// A scenario over all drills of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Its name.
    pub scenario: String,
    /// Drills that ran to their end or were stopped.
    pub drills: usize,
    /// Of these, those that passed.
    pub passed: usize,
    /// Payments of all of them.
    pub payments: u64,
    /// Of these, those that failed.
    pub failed: u64,
    /// The longest time for which a set was not SYNC, in seconds.
    pub unsafe_s_max: f64,
    /// Pauses by stage, in the order of the scenario: of each time that it was played, the longest of any set.
    pub stages: Vec<Spread>,
    /// How long acts took, in the order in which they first came.
    pub acts: Vec<Spread>,
    /// How long the leaders of moved sets took no writes; none if no set was moved.
    pub moves: Option<Spread>,
}

/// How long something took, each time that it was done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// What.
    pub name: String,
    /// How often.
    pub count: usize,
    /// Half took no longer, in milliseconds.
    pub p50_ms: f64,
    /// 99 of a hundred took no longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Spread {
    fn of(name: &str, all: impl Iterator<Item = f64>) -> Option<Spread> {
        let mut all: Vec<f64> = all.collect();
        all.sort_unstable_by(f64::total_cmp);
        let rank = |percent: usize| all.get((all.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Spread {
            name: name.to_owned(),
            count: all.len(),
            p50_ms: rank(50)?,
            p99_ms: rank(99)?,
            max_ms: *all.last()?,
        })
    }
}

/// Of all records, by scenario.
pub fn of(records: &[Record]) -> Vec<Figures> {
    let mut by_scenario: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in records {
        by_scenario.entry(&record.scenario.name).or_default().push(record);
    }
    by_scenario.into_iter().map(|(name, records)| scenario(name, &records)).collect()
}

fn scenario(name: &str, records: &[&Record]) -> Figures {
    let payments = || records.iter().flat_map(|record| &record.payments);
    let mut names: Vec<&str> = Vec::new();
    for stage in records.iter().flat_map(|record| &record.scenario.stages) {
        if !names.contains(&stage.name.as_str()) {
            names.push(&stage.name);
        }
    }
    let mut acts: Vec<&str> = Vec::new();
    for act in records.iter().flat_map(|record| &record.acts) {
        if !acts.contains(&act.what.as_str()) {
            acts.push(&act.what);
        }
    }
    let took = |what: &&str| {
        let what = *what;
        let all = records.iter().flat_map(|record| &record.acts).filter(move |act| act.what == what);
        Spread::of(what, all.map(|act| act.took_ms as f64))
    };
    let moves = records.iter().flat_map(|record| &record.moves);
    let done = moves.filter(|one| one.phases.last().is_some_and(|end| end.name == "done"));
    let unsafe_s = records.iter().flat_map(|record| &record.sets).map(|set| set.unsafe_s);
    Figures {
        scenario: name.to_owned(),
        drills: records.len(),
        passed: records.iter().filter(|record| record.verdict == Verdict::Passed).count(),
        payments: payments().map(|third| third.ended).sum(),
        failed: payments().map(|third| third.failed).sum(),
        unsafe_s_max: unsafe_s.fold(0.0, f64::max),
        stages: names.into_iter().filter_map(|stage| pauses(stage, records)).collect(),
        acts: acts.iter().filter_map(took).collect(),
        moves: Spread::of("moves", done.map(|one| one.paused_ms)),
    }
}

fn pauses(stage: &str, records: &[&Record]) -> Option<Spread> {
    let repeated = format!("{stage} (");
    let is_it = |name: &str| name == stage || name.starts_with(&repeated);
    let spans = records.iter().flat_map(|record| &record.spans).filter(|span| is_it(&span.name));
    Spread::of(stage, spans.filter_map(|span| span.pause_ms))
}
