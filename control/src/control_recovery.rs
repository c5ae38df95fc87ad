//! The recovery of the control set itself, on an operator's word, as the first entry of its new life records it. The control set's
//! majority is lost, and with it whatever that majority recorded alone: nobody here knows what that was. So this entry makes room
//! for all of it. What was counted there is not counted again, and no set that the lost ones may have let go on in one site, or
//! have recovered there, counts as SYNC here before it has shown that it is. Which nodes are fenced, and whose log goes on, is the
//! nodes' business.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::CONTROL_SET;
use crate::apply::{self, At, Done, Effect, malformed};
use crate::audit::{Action, Outcome};
use crate::catalogue::{Catalogue, Replica, Role, Set};
use crate::plan;
use crate::recovery::{LogEnd, LostReplica, TERM_STEP};
use crate::rejection::Rejection;

/// Added to whatever is counted by changes: the version, epochs, and the ids that are log indices. The lost majority would have to
/// make as many changes alone to come this far.
const COUNT_STEP: u64 = 1 << 32;
/// Added to the id of the next replica: it would have to place as many.
const REPLICA_STEP: u64 = 1 << 20;
/// Incarnations of sets that are left out: as many recoveries of one set the lost majority may have recorded alone.
const INCARNATION_STEP: u32 = 100;
/// Copies of the control set, at most.
pub const REPLICAS_MAX: usize = 3;
/// Bytes of a plan's name at most.
pub const PLAN_BYTES_MAX: usize = 64;

/// Where the control set has gone on after it was recovered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlRecovered {
    /// The plan that an operator has seen and confirmed.
    pub plan: String,
    /// The replica whose log goes on.
    pub from: u64,
    /// Where that log ended when it was fenced.
    pub end: LogEnd,
    /// The term that it goes on in: above any that the lost ones could reach by elections.
    pub term: u64,
    /// When, in nanoseconds since 1970, by the clock of the node whose log goes on.
    pub at_unix_ns: u64,
    /// The replicas that were left behind. What they recorded alone is kept until an operator has seen it.
    pub lost: Vec<LostReplica>,
}

/// The term in which a control set goes on whose greatest log ends there.
pub fn term_after(end: LogEnd) -> u64 {
    end.term + TERM_STEP
}

/// What the nodes have agreed on before anything was opened.
pub(crate) struct Told {
    pub(crate) plan: String,
    pub(crate) incarnation: u32,
    pub(crate) survivors: BTreeMap<u64, String>,
    pub(crate) from: u64,
    pub(crate) end: LogEnd,
    pub(crate) who: String,
    pub(crate) why: String,
}

impl Set {
    /// Nobody knows whether its last record here is the last one there was: the control set was recovered since, and the set has
    /// not shown yet that both sites have all of it.
    pub fn is_unproven(&self) -> bool {
        self.unproven_since_unix_ns > 0
    }
}

impl Catalogue {
    /// The replicas that the last recovery of `set`, [`CONTROL_SET`] included, has left behind.
    pub fn lost(&self, set: u32) -> &[LostReplica] {
        match set {
            CONTROL_SET => self.control.recovered.as_ref().map_or(&[], |recovered| &recovered.lost),
            _ => self.sets.get(&set).and_then(|set| set.recovered.as_ref()).map_or(&[], |it| &it.lost),
        }
    }

    /// Refuses what would move a set, or let it go on in one site, by a record that may not be the last one.
    pub(crate) fn check_proven(&self, set: u32) -> Result<(), Rejection> {
        match self.sets.get(&set).is_some_and(Set::is_unproven) {
            true => Err(Rejection::Unproven { set }),
            false => Ok(()),
        }
    }
}

/// The first entry of the new life. It stands in the log before anybody can propose another one.
pub(crate) fn record(catalogue: &mut Catalogue, at: At<'_>, told: Told) -> Result<Done, Rejection> {
    let Told { plan, incarnation, survivors, from, end, who, why } = told;
    let control = &catalogue.control;
    if plan.is_empty() || plan.len() > PLAN_BYTES_MAX {
        return Err(malformed("plan", "a plan has a name of up to 64 bytes"));
    }
    let again = control.recovered.as_ref().is_some_and(|recovered| recovered.plan == plan);
    if again && control.incarnation == incarnation {
        return Ok((Effect::ControlRecovered { incarnation }, None));
    }
    if incarnation <= control.incarnation {
        let (expected, incarnation) = (incarnation, control.incarnation);
        return Err(Rejection::IncarnationChanged { set: CONTROL_SET, expected, incarnation });
    }
    if !survivors.contains_key(&from) {
        let site = catalogue.site_of_replica(CONTROL_SET, from).unwrap_or_default().to_owned();
        return Err(Rejection::NoSurvivor { set: CONTROL_SET, site });
    }
    let left = control.replicas.iter().filter(|replica| !survivors.contains_key(&replica.id));
    let left = left.map(|replica| LostReplica { id: replica.id, node: replica.node.clone(), kept: true });
    // What an earlier recovery left behind and nobody has seen is not forgotten.
    let earlier = catalogue.lost(CONTROL_SET).iter().filter(|lost| lost.kept).cloned();
    let lost = earlier.chain(left).collect();
    let replicas = survivors.keys().copied().collect();
    let what = Action::RecoverControl { plan: plan.clone(), incarnation, survivors: replicas };
    let record = apply::record(at, (who, why), what, Outcome::Done);
    let at_unix_ns = at.time_unix_ns.max(1);
    let recovered = ControlRecovered { plan, from, end, term: term_after(end), at_unix_ns, lost };
    let newest = catalogue.sets.values().map(|set| set.incarnation).max().unwrap_or(0);
    let control = &mut catalogue.control;
    // Whatever the log says of them: these were fenced, and are the members of its last entry but one.
    let replica = |(id, node)| Replica { id, node, role: Role::Voter };
    control.replicas = survivors.into_iter().map(replica).collect();
    control.replicas.sort_by_key(|replica| replica.id != from);
    control.replacement = None;
    control.incarnation = incarnation;
    // A plan that was given up has left its incarnation out.
    control.lives.resize(incarnation as usize - 1, end.index);
    control.ids_from += COUNT_STEP;
    control.set_incarnations_from = newest.max(control.set_incarnations_from) + INCARNATION_STEP;
    control.recovered = Some(recovered);
    catalogue.version += COUNT_STEP;
    catalogue.next_replica_id += REPLICA_STEP;
    for set in catalogue.sets.values_mut() {
        set.epoch += COUNT_STEP;
        set.durability_epoch += COUNT_STEP;
        set.unproven_since_unix_ns = at_unix_ns;
        // It may have gone further there, in an incarnation of the same number: it begins anew, in another one.
        set.recovery = None;
    }
    plan::halt(catalogue, "the control set was recovered");
    Ok((Effect::ControlRecovered { incarnation }, Some(record)))
}

/// Another copy of the control set, on a node that has none and keeps none that must be seen: a learner under a new id. No more than
/// it had when the cluster was made, and never all of them in one site.
pub(crate) fn place(
    catalogue: &mut Catalogue,
    at: At<'_>,
    node: String,
    who_why: (String, String),
) -> Result<Done, Rejection> {
    let set = CONTROL_SET;
    let Some(site) = catalogue.nodes.get(&node).map(|node| node.site.clone()) else {
        return Err(Rejection::UnknownNode { node });
    };
    if let Some(placed) = catalogue.control.replicas.iter().find(|replica| replica.node == node) {
        return Ok((Effect::ReplicaPlaced { id: placed.id }, None));
    }
    catalogue.check_not_replaced(set)?;
    if let Some(lost) = catalogue.lost(set).iter().find(|lost| lost.node == node && lost.kept) {
        return Err(Rejection::Kept { set, replica: lost.id, node });
    }
    let here = |replica: &&Replica| catalogue.site_of_node(&replica.node) == Some(site.as_str());
    let there = catalogue.control.replicas.iter().filter(here).count();
    if there + 1 >= REPLICAS_MAX || catalogue.control.replicas.len() >= REPLICAS_MAX {
        return Err(Rejection::PlacedThere { set, site });
    }
    let id = catalogue.next_replica_id;
    catalogue.next_replica_id += 1;
    let what = Action::Place { set, replica: id, node: node.clone() };
    catalogue.control.replicas.push(Replica { id, node, role: Role::Learner });
    Ok((Effect::ReplicaPlaced { id }, Some(apply::record(at, who_why, what, Outcome::Done))))
}

/// A learner of the control set has caught up: it gets its vote.
pub(crate) fn promote(
    catalogue: &mut Catalogue,
    at: At<'_>,
    replica: u64,
    who_why: (String, String),
) -> Result<Done, Rejection> {
    let set = CONTROL_SET;
    match catalogue.replica(set, replica).map(|known| known.role) {
        None => return Err(Rejection::NoReplica { set, replica }),
        Some(Role::Voter) => return Ok((Effect::ReplicaPromoted, None)),
        Some(Role::Learner) => catalogue.check_not_replaced(set)?,
    }
    let replicas = &mut catalogue.control.replicas;
    replicas.iter_mut().filter(|known| known.id == replica).for_each(|known| known.role = Role::Voter);
    let what = Action::Promote { set, replica };
    Ok((Effect::ReplicaPromoted, Some(apply::record(at, who_why, what, Outcome::Done))))
}
