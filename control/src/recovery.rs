//! The forced recovery of a set whose majority is lost, as the control set records it: the intent, from which on nothing of the old
//! incarnation may become weaker or move; the new life of the survivors; and what the lost replicas may still hold. Who fences
//! whom and reads which log is the nodes' business.

use serde::{Deserialize, Serialize};

use crate::CONTROL_SET;
use crate::apply::{self, At, Done, Effect, find, find_mut};
use crate::audit::{Action, Outcome};
use crate::catalogue::{Catalogue, Durability, EndedSwitch, Replica, Role, Set, SwitchEnd};
use crate::control_recovery;
use crate::proof::Proof;
use crate::rejection::Rejection;
use crate::replacement::Replacement;

/// A recovery that was begun and has not ended. Its set stays closed until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryIntent {
    /// The log index of its beginning in the control set.
    pub id: u64,
    /// The incarnation that the set will have.
    pub incarnation: u32,
    /// The site that survives.
    pub site: String,
    /// The replicas that are to be fenced and go on.
    pub survivors: Vec<u64>,
    /// Replicas of the site that died before they were fenced, and that an operator has given up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given_up: Vec<u64>,
    /// Who asked for it.
    pub who: String,
    /// What speaks for that.
    #[serde(default, skip_serializing_if = "Proof::is_declared")]
    pub proof: Proof,
    /// Why.
    pub why: String,
}

/// The last entry of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogEnd {
    /// The term of its last entry.
    pub term: u64,
    /// The index of its last entry; 0: it is empty.
    pub index: u64,
}

/// Where a recovered set has gone on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovered {
    /// The recovery's id.
    pub id: u64,
    /// The replica whose log goes on.
    pub from: u64,
    /// Where that log ended when it was fenced.
    pub end: LogEnd,
    /// The term that it goes on in: above any that the lost ones could reach by elections.
    pub term: u64,
    /// What was on record when it began: from DEGRADED, what was acknowledged may be lost. That is also said where a survivor was
    /// given up, and where nobody knew what was recorded last.
    pub was: Durability,
    /// The greatest index that was known to be safe.
    pub last_safe_index: u64,
    /// The replicas that were left behind.
    pub lost: Vec<LostReplica>,
    /// Its peers may know more of it than it does itself: it answers no client before they are brought together.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unreconciled: bool,
}

impl Set {
    /// It was recovered from DEGRADED, and answers no client before it is brought together with its peers.
    pub fn is_unreconciled(&self) -> bool {
        self.recovered.as_ref().is_some_and(|recovered| recovered.unreconciled)
    }
}

impl Catalogue {
    /// The same of a set by its number; false if there is none.
    pub fn is_unreconciled(&self, set: u32) -> bool {
        self.sets.get(&set).is_some_and(Set::is_unreconciled)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A replica that a recovery has left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LostReplica {
    /// The id that it had; never used again.
    pub id: u64,
    /// Where it stands.
    pub node: String,
    /// Its data stays until an operator has seen what is in it: something in it may have been acknowledged.
    pub kept: bool,
}

/// Terms between the survivors' last one and the one that they go on in: no election of the lost ones comes that far.
pub(crate) const TERM_STEP: u64 = 1 << 20;

/// Who asks, and what he knows.
pub(crate) struct Asked {
    pub(crate) site: String,
    pub(crate) expected_incarnation: u32,
    /// What was acknowledged may be lost.
    pub(crate) accept_loss: bool,
    /// A replica of the site that is being replaced is dead, and is not waited for.
    pub(crate) without_replaced: bool,
    pub(crate) who: String,
    pub(crate) why: String,
}

/// Why the survivors in `site` may lack what was acknowledged, if they may: in DEGRADED, where nobody knows whether it was SYNC, and
/// without a replica that is being replaced there, which may have the site's only copy of it.
pub fn may_lose(catalogue: &Catalogue, set: &Set, site: &str, without_replaced: bool) -> Option<Rejection> {
    if set.is_unproven() {
        return Some(Rejection::MayLoseUnproven { set: set.id, last_safe_index: set.last_safe_index });
    }
    if set.durability == Durability::Degraded {
        return Some(Rejection::MayLose { set: set.id, last_safe_index: set.last_safe_index });
    }
    let replica = replaced_in(catalogue, set, site).filter(|_| without_replaced)?;
    Some(Rejection::MayLoseReplaced { set: set.id, replica })
}

/// The replica in that site that is on record and that the site does not count on.
pub fn replaced_in(catalogue: &Catalogue, set: &Set, site: &str) -> Option<u64> {
    let there = |open: &&Replacement| catalogue.site_of_replica(set.id, open.old) == Some(site);
    set.replacement.as_ref().filter(there).map(Replacement::discounted)
}

/// Whether a set may go on with these: a successor that has not learned yet is nobody to go on from.
fn can_go_on(set: &Set, survivors: &[u64]) -> bool {
    let learning = set.replacement.as_ref().map(|open| open.new);
    survivors.iter().any(|survivor| Some(*survivor) != learning)
}

pub(crate) fn begin(
    catalogue: &mut Catalogue,
    at: At<'_>,
    set: u32,
    asked: Asked,
) -> Result<Done, Rejection> {
    let now = find(catalogue, set)?;
    if !catalogue.is_data_site(&asked.site) {
        return Err(Rejection::UnknownSite { site: asked.site });
    }
    if let Some(open) = &now.recovery {
        return Err(Rejection::BeingRecovered { set, id: open.id });
    }
    if now.incarnation != asked.expected_incarnation {
        let (expected, incarnation) = (asked.expected_incarnation, now.incarnation);
        return Err(Rejection::IncarnationChanged { set, expected, incarnation });
    }
    let loss = may_lose(catalogue, now, &asked.site, asked.without_replaced);
    if let Some(loss) = loss.filter(|_| !asked.accept_loss) {
        return Err(loss);
    }
    let here = |replica: &&Replica| catalogue.site_of_node(&replica.node) == Some(asked.site.as_str());
    let here: Vec<u64> = now.replicas.iter().filter(here).map(|replica| replica.id).collect();
    let without = replaced_in(catalogue, now, &asked.site).filter(|_| asked.without_replaced);
    let (given_up, survivors): (Vec<u64>, Vec<u64>) = here.into_iter().partition(|id| Some(*id) == without);
    if !can_go_on(now, &survivors) {
        return Err(Rejection::NoSurvivor { set, site: asked.site });
    }
    let incarnation = (now.incarnation + 1).max(catalogue.control.set_incarnations_from);
    let Asked { site, who, why, .. } = asked;
    let (id, proof) = (at.id, at.proof.clone());
    let intent = RecoveryIntent { id, incarnation, site, survivors, given_up, who, proof, why };
    let record = record(at, set, &intent, Outcome::Begun);
    find_mut(catalogue, set).recovery = Some(intent);
    Ok((Effect::RecoveryBegun { id: at.id, incarnation }, Some(record)))
}

/// A survivor has died before it was fenced: the others go on without it. It alone may have held what was acknowledged, so that
/// something may be lost, also of a set that was SYNC; and nobody can keep it from answering but who says that it is off.
pub(crate) fn give_up(
    catalogue: &mut Catalogue,
    at: At<'_>,
    set: u32,
    (id, replica): (u64, u64),
    (who, why): (String, String),
) -> Result<Done, Rejection> {
    let now = find(catalogue, set)?;
    let intent = open(now, id)?;
    if intent.given_up.contains(&replica) {
        return Ok((Effect::SurvivorGivenUp, None));
    }
    if !intent.survivors.contains(&replica) {
        return Err(Rejection::NoReplica { set, replica });
    }
    let others: Vec<u64> = intent.survivors.iter().copied().filter(|id| *id != replica).collect();
    if !can_go_on(now, &others) {
        return Err(Rejection::NoSurvivor { set, site: intent.site.clone() });
    }
    let what = Action::GiveUp { set, id, replica };
    let record = apply::record(at, (who, why), what, Outcome::Done);
    let intent = find_mut(catalogue, set).recovery.as_mut().expect("it is open");
    intent.survivors = others;
    intent.given_up.push(replica);
    Ok((Effect::SurvivorGivenUp, Some(record)))
}

/// The survivors are fenced, and `from` has the greatest log of them. A set that goes on in one site is DEGRADED, and that is
/// recorded here, before any of them is opened.
pub(crate) fn complete(
    catalogue: &mut Catalogue,
    at: At<'_>,
    set: u32,
    id: u64,
    (from, end, safe): (u64, LogEnd, u64),
) -> Result<Done, Rejection> {
    let now = find(catalogue, set)?;
    let ended = |recovered: &Recovered| recovered.id == id;
    if now.recovered.as_ref().is_some_and(ended) {
        return Ok((Effect::RecoveryCompleted { incarnation: now.incarnation }, None));
    }
    let intent = open(now, id)?.clone();
    if !intent.survivors.contains(&from) {
        return Err(Rejection::NoSurvivor { set, site: intent.site });
    }
    let third = third(now, &intent.survivors, from);
    let survives = |replica: &Replica| intent.survivors.contains(&replica.id) && Some(replica.id) != third;
    let certain = intent.given_up.is_empty() && !now.is_unproven();
    let was = if certain { now.durability } else { Durability::Degraded };
    let left = now.replicas.iter().filter(|replica| !survives(replica));
    let left = left.map(|replica| LostReplica {
        id: replica.id,
        node: replica.node.clone(),
        // The one whose log goes on has all that a third survivor has.
        kept: was == Durability::Degraded && Some(replica.id) != third,
    });
    // What an earlier recovery left behind and nobody has seen is not forgotten.
    let earlier = now.recovered.iter().flat_map(|recovered| &recovered.lost).filter(|lost| lost.kept);
    let lost = earlier.cloned().chain(left).collect();
    let recovered = Recovered {
        id,
        from,
        end,
        term: end.term + TERM_STEP,
        was,
        last_safe_index: now.last_safe_index.max(safe),
        lost,
        unreconciled: was == Durability::Degraded,
    };
    let record = record(at.ends(&intent.proof), set, &intent, Outcome::Done);
    let set = find_mut(catalogue, set);
    set.replicas.retain(survives);
    set.replacement = None;
    set.replicas.sort_by_key(|replica| replica.id != from);
    set.replicas.iter_mut().for_each(|replica| replica.role = Role::Voter);
    set.incarnation = intent.incarnation;
    // Those that were left out have ended there as well, without an entry.
    set.lives.resize(intent.incarnation as usize - 1, end.index);
    set.unproven_since_unix_ns = 0;
    set.epoch += 1;
    set.home = intent.site;
    set.durability = Durability::Degraded;
    set.durability_epoch += 1;
    set.pinned = false;
    set.last_safe_index = recovered.last_safe_index;
    if let Some(switch) = set.switch.take() {
        set.last_switch = Some(EndedSwitch { id: switch.id, end: SwitchEnd::Aborted });
    }
    set.recovery = None;
    set.recovered = Some(recovered);
    Ok((Effect::RecoveryCompleted { incarnation: set.incarnation }, Some(record)))
}

/// A site has two copies of a set. Where one of them was being replaced there are three survivors: which of them leaves.
fn third(set: &Set, survivors: &[u64], from: u64) -> Option<u64> {
    let open = set.replacement.as_ref()?;
    if ![open.old, open.new].iter().all(|id| survivors.contains(id)) {
        return None;
    }
    let out = open.discounted();
    Some(if out == from { open.old + open.new - out } else { out })
}

fn open(set: &Set, id: u64) -> Result<&RecoveryIntent, Rejection> {
    let current = set.recovery.as_ref();
    current.filter(|intent| intent.id == id).ok_or(Rejection::NoRecovery { set: set.id, id })
}

fn record(at: At<'_>, set: u32, intent: &RecoveryIntent, outcome: Outcome) -> crate::audit::Record {
    let what = Action::Recovery { set, id: intent.id, site: intent.site.clone() };
    apply::record(at, (intent.who.clone(), intent.why.clone()), what, outcome)
}

/// The set and its peers are brought together, or an operator has it answer as it is.
pub(crate) fn reconciled(
    catalogue: &mut Catalogue,
    at: At<'_>,
    set: u32,
    id: u64,
    who_why: (String, String),
) -> Result<Done, Rejection> {
    find(catalogue, set)?;
    let recovered = find_mut(catalogue, set).recovered.as_mut().filter(|recovered| recovered.id == id);
    let recovered = recovered.ok_or(Rejection::NoRecovery { set, id })?;
    if !std::mem::take(&mut recovered.unreconciled) {
        return Ok((Effect::Reconciled, None));
    }
    let what = Action::Reconcile { set, id };
    Ok((Effect::Reconciled, Some(apply::record(at, who_why, what, Outcome::Done))))
}

/// What an operator has seen may go.
pub(crate) fn release(
    catalogue: &mut Catalogue,
    at: At<'_>,
    set: u32,
    replica: u64,
    who_why: (String, String),
) -> Result<Done, Rejection> {
    let lost = match set {
        CONTROL_SET => catalogue.control.recovered.as_mut().map(|recovered| &mut recovered.lost),
        _ => {
            find(catalogue, set)?;
            find_mut(catalogue, set).recovered.as_mut().map(|recovered| &mut recovered.lost)
        }
    };
    let lost = lost.and_then(|lost| lost.iter_mut().find(|lost| lost.id == replica));
    let lost = lost.ok_or(Rejection::NotLost { set, replica })?;
    if !std::mem::take(&mut lost.kept) {
        return Ok((Effect::ReplicaReleased, None));
    }
    let what = Action::Release { set, replica };
    Ok((Effect::ReplicaReleased, Some(apply::record(at, who_why, what, Outcome::Done))))
}

/// Gives a set another copy, on a node that has none of it and no data of it that must be kept. It is a learner under a new id.
pub(crate) fn place(
    catalogue: &mut Catalogue,
    at: At<'_>,
    set: u32,
    node: String,
    who_why: (String, String),
) -> Result<Done, Rejection> {
    if set == CONTROL_SET {
        return control_recovery::place(catalogue, at, node, who_why);
    }
    let now = find(catalogue, set)?;
    let Some(site) = catalogue.nodes.get(&node).filter(|node| !node.arbiter).map(|node| node.site.clone())
    else {
        return Err(Rejection::UnknownNode { node });
    };
    if let Some(placed) = now.replicas.iter().find(|replica| replica.node == node) {
        return Ok((Effect::ReplicaPlaced { id: placed.id }, None));
    }
    if let Some(open) = &now.recovery {
        return Err(Rejection::BeingRecovered { set, id: open.id });
    }
    catalogue.check_proven(set)?;
    if let Some(lost) = catalogue.lost(set).iter().find(|lost| lost.node == node && lost.kept) {
        return Err(Rejection::Kept { set, replica: lost.id, node });
    }
    let there = now.replicas.iter().filter(|r| catalogue.site_of_node(&r.node) == Some(&site)).count();
    if there >= 2 {
        return Err(Rejection::PlacedThere { set, site });
    }
    let id = catalogue.next_replica_id;
    catalogue.next_replica_id += 1;
    let what = Action::Place { set, replica: id, node: node.clone() };
    find_mut(catalogue, set).replicas.push(Replica { id, node, role: Role::Learner });
    Ok((Effect::ReplicaPlaced { id }, Some(apply::record(at, who_why, what, Outcome::Done))))
}

/// The away site has a learner that has caught up and no voter: it gets its vote.
pub(crate) fn promote(
    catalogue: &mut Catalogue,
    at: At<'_>,
    set: u32,
    replica: u64,
    who_why: (String, String),
) -> Result<Done, Rejection> {
    if set == CONTROL_SET {
        return control_recovery::promote(catalogue, at, replica, who_why);
    }
    let now = find(catalogue, set)?;
    let Some(known) = now.replicas.iter().find(|known| known.id == replica) else {
        return Err(Rejection::NoReplica { set, replica });
    };
    if known.role == Role::Voter {
        return Ok((Effect::ReplicaPromoted, None));
    }
    if let Some(open) = &now.recovery {
        return Err(Rejection::BeingRecovered { set, id: open.id });
    }
    if let Some(open) = &now.switch {
        return Err(Rejection::SwitchInProgress { set, id: open.id, owner: open.owner.clone() });
    }
    catalogue.check_not_replaced(set)?;
    catalogue.check_proven(set)?;
    let site = catalogue.site_of_node(&known.node);
    let voters = now.replicas.iter().filter(|r| r.role == Role::Voter);
    let there = voters.filter(|r| catalogue.site_of_node(&r.node) == site).count();
    if there >= if site == Some(&now.home) { 2 } else { 1 } {
        return Err(Rejection::VotesEnough { set, site: site.unwrap_or_default().to_owned() });
    }
    let replicas = &mut find_mut(catalogue, set).replicas;
    replicas.iter_mut().filter(|known| known.id == replica).for_each(|known| known.role = Role::Voter);
    let what = Action::Promote { set, replica };
    Ok((Effect::ReplicaPromoted, Some(apply::record(at, who_why, what, Outcome::Done))))
}
