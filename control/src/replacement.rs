//! The replacement of a replica whose node is not to come back, as the control set records it: the intent, which gives the set one more
//! replica under a new id on another node of the same site; and the end, when the old one has left the group and the new one
//! stands in its place. Works for the control set itself as well. How the group gets there is the business of its leader.
//!
//! From the intent on the old replica counts for nothing but its vote: what only it holds is not on disk in its site.

use serde::{Deserialize, Serialize};

use crate::CONTROL_SET;
use crate::apply::{self, At, Done, Effect, find};
use crate::audit::{Action, Outcome, Record};
use crate::catalogue::{Catalogue, Node, Replica, Role};
use crate::proof::Proof;
use crate::rejection::Rejection;

/// A replacement that was begun and has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replacement {
    /// The log index of its beginning in the control set.
    pub id: u64,
    /// The replica that leaves.
    pub old: u64,
    /// The replica that takes its place; a learner until then.
    pub new: u64,
    /// The new one is to leave again, unless it stands in the other's place already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given_up: bool,
    /// Who asked for it.
    pub who: String,
    /// What speaks for that.
    #[serde(default, skip_serializing_if = "Proof::is_declared")]
    pub proof: Proof,
    /// Why.
    pub why: String,
}

impl Replacement {
    /// The replica that is on record and that its site does not count on.
    pub fn discounted(&self) -> u64 {
        if self.given_up { self.new } else { self.old }
    }
}

impl Catalogue {
    /// The replacement under way in `set`, [`CONTROL_SET`] included.
    pub fn replacement(&self, set: u32) -> Option<&Replacement> {
        match set {
            CONTROL_SET => self.control.replacement.as_ref(),
            _ => self.sets.get(&set)?.replacement.as_ref(),
        }
    }

    /// Whether that id was given out and belongs to no replica of `set` any more. Ids only rise and none is given out twice: what
    /// this catalogue is too old to know is not retired by it.
    pub fn is_retired(&self, set: u32, replica: u64) -> bool {
        replica < self.next_replica_id && self.replica(set, replica).is_none()
    }

    /// The replicas of a group and the replacement under way in it. The group was found before.
    fn group_mut(&mut self, set: u32) -> (&mut Vec<Replica>, &mut Option<Replacement>) {
        match set {
            CONTROL_SET => (&mut self.control.replicas, &mut self.control.replacement),
            _ => {
                let set = apply::find_mut(self, set);
                (&mut set.replicas, &mut set.replacement)
            }
        }
    }

    /// Refuses what would move a set while one of its replicas is being replaced.
    pub(crate) fn check_not_replaced(&self, set: u32) -> Result<(), Rejection> {
        match self.replacement(set) {
            Some(open) => Err(Rejection::BeingReplaced { set, replica: open.old, id: open.id }),
            None => Ok(()),
        }
    }
}

/// The old replica, where the new one is to stand, and who asks.
pub(crate) struct Asked {
    pub(crate) replica: u64,
    pub(crate) node: String,
    pub(crate) who: String,
    pub(crate) why: String,
}

pub(crate) fn begin(
    catalogue: &mut Catalogue,
    at: At<'_>,
    set: u32,
    asked: Asked,
) -> Result<Done, Rejection> {
    if set != CONTROL_SET {
        find(catalogue, set)?;
    }
    let may_host = |node: &&Node| !node.arbiter || set == CONTROL_SET;
    let Some(by) = catalogue.nodes.get(&asked.node).filter(may_host) else {
        return Err(Rejection::UnknownNode { node: asked.node });
    };
    let hosted = catalogue.replicas(set).iter().find(|replica| replica.node == asked.node);
    let begun = |open: &&Replacement| open.old == asked.replica && hosted.is_some_and(|it| it.id == open.new);
    if let Some(open) = catalogue.replacement(set).filter(begun) {
        return Ok((Effect::ReplacementBegun { id: open.id, replica: open.new }, None));
    }
    let Some(old) = catalogue.replica(set, asked.replica) else {
        return Err(Rejection::NoReplica { set, replica: asked.replica });
    };
    let site = catalogue.site_of_node(&old.node).unwrap_or_default();
    if by.site != site && !spreads(catalogue, set, &by.site, site) {
        let (node, site) = (asked.node, site.to_owned());
        return Err(Rejection::OtherSite { node, site, replica: asked.replica, set });
    }
    if let Some(hosted) = hosted {
        return Err(Rejection::HostsAlready { node: asked.node, set, replica: hosted.id });
    }
    check_at_rest(catalogue, set, &asked.node)?;
    let (new, old) = (catalogue.next_replica_id, old.id);
    catalogue.next_replica_id += 1;
    let Asked { node, who, why, .. } = asked;
    let (id, proof) = (at.id, at.proof.clone());
    let intent = Replacement { id, old, new, given_up: false, who, proof, why };
    let record = record(at, set, &intent, &node, Outcome::Begun);
    let (replicas, replacement) = catalogue.group_mut(set);
    // Behind the others: whoever stands first gives a blank group its first voters.
    replicas.push(Replica { id: new, node, role: Role::Learner });
    *replacement = Some(intent);
    Ok((Effect::ReplacementBegun { id, replica: new }, Some(record)))
}

/// After a recovery the control set may have two copies in one site, and none in another: one of them may go there.
fn spreads(catalogue: &Catalogue, set: u32, to: &str, from: &str) -> bool {
    let copies = |site: &str| {
        let there = |replica: &&Replica| catalogue.site_of_node(&replica.node) == Some(site);
        catalogue.replicas(set).iter().filter(there).count()
    };
    set == CONTROL_SET && copies(to) == 0 && copies(from) >= 2
}

/// Nothing else goes on that moves the set, or is about to; and the node keeps nothing of it for anybody to see.
fn check_at_rest(catalogue: &Catalogue, set: u32, node: &str) -> Result<(), Rejection> {
    catalogue.check_not_replaced(set)?;
    if let Some(now) = catalogue.sets.get(&set) {
        if let Some(open) = &now.recovery {
            return Err(Rejection::BeingRecovered { set, id: open.id });
        }
        if let Some(open) = &now.switch {
            return Err(Rejection::SwitchInProgress { set, id: open.id, owner: open.owner.clone() });
        }
    }
    catalogue.check_proven(set)?;
    if let Some(lost) = catalogue.lost(set).iter().find(|lost| lost.node == node && lost.kept) {
        return Err(Rejection::Kept { set, replica: lost.id, node: node.to_owned() });
    }
    if let Some(plan) = catalogue.active_plans().next() {
        return Err(Rejection::PlanInProgress { plan: plan.id, set });
    }
    match catalogue.active_drill() {
        Some(drill) => Err(Rejection::DrillInProgress { drill: drill.id }),
        None => Ok(()),
    }
}

/// The new replica is to leave again. If it has the old one's place already, it keeps it.
pub(crate) fn give_up(
    catalogue: &mut Catalogue,
    at: At<'_>,
    set: u32,
    id: u64,
    (who, why): (String, String),
) -> Result<Done, Rejection> {
    let known = catalogue.replacement(set).filter(|open| open.id == id);
    let Some(open) = known.cloned() else { return Err(Rejection::NoReplacement { set, id }) };
    if open.given_up {
        return Ok((Effect::ReplacementGivenUp, None));
    }
    catalogue.check_proven(set)?;
    let what = Action::GiveUpReplacement { set, id, replica: open.new };
    if let (_, Some(open)) = catalogue.group_mut(set) {
        open.given_up = true;
    }
    Ok((Effect::ReplacementGivenUp, Some(apply::record(at, (who, why), what, Outcome::Done))))
}

/// One of the two has left the group, and the site's other replicas hold what it may have vouched for. An end that comes
/// again finds that replacement gone.
pub(crate) fn end(
    catalogue: &mut Catalogue,
    at: At<'_>,
    set: u32,
    id: u64,
    replaced: bool,
) -> Result<Done, Rejection> {
    if set != CONTROL_SET {
        find(catalogue, set)?;
    }
    let Some(open) = catalogue.replacement(set).filter(|open| open.id == id).cloned() else {
        return Ok((Effect::ReplacementEnded, None));
    };
    if let Some(open) = catalogue.sets.get(&set).and_then(|set| set.recovery.as_ref()) {
        return Err(Rejection::BeingRecovered { set, id: open.id });
    }
    catalogue.check_proven(set)?;
    if !replaced && !open.given_up {
        return Err(Rejection::NotGivenUp { set, id });
    }
    let node = catalogue.replica(set, open.new).map(|new| new.node.clone()).unwrap_or_default();
    let outcome = match replaced {
        true => Outcome::Done,
        false => Outcome::Aborted { reason: "it was given up".to_owned() },
    };
    let record = record(at.ends(&open.proof), set, &open, &node, outcome);
    let (replicas, replacement) = catalogue.group_mut(set);
    let out = if replaced { open.old } else { open.new };
    let role = replicas.iter().find(|replica| replica.id == open.old).map(|old| old.role);
    replicas.retain(|replica| replica.id != out);
    if let (true, Some(role), Some(new)) = (replaced, role, replicas.iter_mut().find(|it| it.id == open.new))
    {
        new.role = role;
    }
    *replacement = None;
    Ok((Effect::ReplacementEnded, Some(record)))
}

fn record(at: At<'_>, set: u32, intent: &Replacement, node: &str, outcome: Outcome) -> Record {
    let Replacement { id, old, new, who, why, .. } = intent.clone();
    let what = Action::Replace { set, id, old, new, node: node.to_owned() };
    apply::record(at, (who, why), what, outcome)
}

/// A node that hosts nothing, and keeps nothing that somebody has to see, leaves the cluster.
pub(crate) fn remove_node(
    catalogue: &mut Catalogue,
    at: At<'_>,
    node: String,
    who_why: (String, String),
) -> Result<Done, Rejection> {
    let hosted = catalogue.replicas_on(&node).next().map(|(set, replica)| (set, replica.id));
    if let Some((set, replica)) = hosted {
        return Err(Rejection::StillHosts { node, set, replica });
    }
    for set in std::iter::once(CONTROL_SET).chain(catalogue.sets.keys().copied()) {
        if let Some(lost) = catalogue.lost(set).iter().find(|lost| lost.kept && lost.node == node) {
            return Err(Rejection::Kept { set, replica: lost.id, node });
        }
    }
    if catalogue.removed_nodes.contains(&node) {
        return Ok((Effect::NodeRemoved, None));
    }
    if catalogue.nodes.remove(&node).is_none() {
        return Err(Rejection::UnknownNode { node });
    }
    catalogue.removed_nodes.insert(node.clone());
    let record = apply::record(at, who_why, Action::RemoveNode { node }, Outcome::Done);
    Ok((Effect::NodeRemoved, Some(record)))
}
