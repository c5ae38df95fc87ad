//! What a stage can wait for, judged on one survey. Pure but for the loop that asks again.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;
use twinset_control::{Catalogue, Durability};

use super::cast::Cast;
use super::moment;
use super::scenario::{Condition, word};
use crate::cluster::admin::{self, Survey};

const POLL: Duration = Duration::from_millis(100);
/// How long a node may take to answer: one that is silent does not hold the others up.
const ANSWER: Duration = Duration::from_millis(700);

/// What the cluster was like when the drill began.
#[derive(Clone, Debug, Default)]
pub struct Base {
    /// The incarnation of each set.
    pub incarnations: BTreeMap<u32, u32>,
    /// Who led each set.
    pub leaders: BTreeMap<u32, String>,
}

impl Base {
    /// Of a cluster as it is.
    pub fn of(survey: &Survey, catalogue: &Catalogue) -> Base {
        let led = |set: &u32| survey.leader(*set).map(|(_, reply)| (*set, reply.node.clone()));
        Base {
            incarnations: catalogue.sets.values().map(|set| (set.id, set.incarnation)).collect(),
            leaders: catalogue.sets.keys().filter_map(led).collect(),
        }
    }
}

/// Why a condition does not hold, if it does not.
pub fn lacks(condition: Condition, survey: &Survey, cast: &Cast, base: &Base) -> Option<String> {
    let Some(catalogue) = &survey.catalogue else { return Some("no node knows a catalogue".to_owned()) };
    let sets = moment::sets(survey, catalogue);
    let ours = sets.get(&cast.set);
    let on_record = catalogue.sets.get(&cast.set);
    let some = |bad: Vec<String>| (!bad.is_empty()).then(|| bad.join(", "));
    match condition {
        Condition::Leaders => {
            let bad = sets.iter().filter(|(_, set)| set.leader.is_none());
            some(bad.map(|(set, _)| format!("set {set} has no leader")).collect())
        }
        Condition::Sync => {
            let sync = |set: u32| catalogue.sets[&set].durability == Durability::Sync;
            let bad = sets
                .iter()
                .filter(|(number, set)| set.leader.is_none() || set.is_unsafe() || !sync(**number));
            some(bad.map(|(set, seen)| format!("set {set} is {}", seen.phase)).collect())
        }
        Condition::Degraded => {
            let said = ours.is_some_and(|set| set.leader.is_some() && set.phase == "DEGRADED");
            let recorded = on_record.is_some_and(|set| set.durability == Durability::Degraded);
            (!said || !recorded).then(|| format!("set {} is not DEGRADED", cast.set))
        }
        Condition::Home => {
            let bad = catalogue.sets.values().filter(|set| set.home != set.configured_home);
            some(bad.map(|set| format!("set {} is at home in {}", set.id, set.home)).collect())
        }
        Condition::SameLeaders => {
            let bad = sets.iter().filter(|(set, seen)| seen.leader.as_ref() != base.leaders.get(set));
            some(bad.map(|(set, _)| format!("set {set} is not led by whom it was led by")).collect())
        }
        Condition::OtherLeader => {
            let leader = ours.and_then(|set| set.leader.as_ref());
            let other = leader.is_some() && leader != base.leaders.get(&cast.set);
            (!other).then(|| format!("set {} is not led by another node", cast.set))
        }
        Condition::Moved => {
            let moved = ours.is_some_and(|set| set.home == cast.away && set.leader.is_some());
            (!moved).then(|| format!("set {} is not at home in {}", cast.set, cast.away))
        }
        Condition::Recovered => {
            let before = base.incarnations.get(&cast.set).copied().unwrap_or_default();
            let led = ours.is_some_and(|set| set.leader.is_some() && set.incarnation > before);
            let opened = on_record.is_some_and(|set| set.recovery.is_none());
            (!led || !opened).then(|| format!("set {} is not recovered", cast.set))
        }
        Condition::Answering => {
            let bad = catalogue
                .nodes
                .values()
                .filter(|node| !matches!(survey.answers.get(&node.api_addr), Some(Ok(reply)) if reply.ready));
            some(bad.map(|node| format!("{} does not serve", node.name)).collect())
        }
        Condition::NoPlan => {
            some(catalogue.active_plans().map(|plan| format!("plan {} is {}", plan.id, plan.state)).collect())
        }
    }
}

/// Waits until all hold at the same moment; why not, if they do not in time.
pub async fn until(
    seeds: &[String],
    conditions: &[Condition],
    cast: &Cast,
    base: &Base,
    deadline: Instant,
) -> Result<(), String> {
    loop {
        let survey = admin::survey_within(seeds, ANSWER).await;
        let lacking = conditions.iter().find_map(|condition| {
            lacks(*condition, &survey, cast, base).map(|why| format!("{}: {why}", word(condition)))
        });
        let Some(lacking) = lacking else { return Ok(()) };
        if Instant::now() >= deadline {
            return Err(format!("waited in vain for {lacking}"));
        }
        tokio::time::sleep(POLL).await;
    }
}
