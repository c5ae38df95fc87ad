//! What a command does to the catalogue. Checks come first and in a fixed order, changes after, so that a rejection
//! leaves every byte as it was. A command that repeats what is already so changes nothing and is no error.

use serde::{Deserialize, Serialize};

use crate::audit::{Action, Outcome, Record};
use crate::catalogue::{Catalogue, Durability, EndedSwitch, Node, Set, SwitchEnd, SwitchIntent};
use crate::command::Command;
use crate::control_recovery;
use crate::drill;
use crate::durability::{self, Wanted};
use crate::envelope::Envelope;
use crate::groups::Group;
use crate::placement::placement_keeping;
use crate::plan;
use crate::proof::Proof;
use crate::recovery::{self, Asked};
use crate::rejection::Rejection;
use crate::replacement;
use crate::topology::{is_address, is_name};

/// Bytes of `who`, `why` and `reason`, at most.
pub const TEXT_BYTES_MAX: usize = 256;

/// The answer to a command that was carried out, or had been before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The catalogue's version after it.
    pub version: u64,
    /// Whether the catalogue changed; not when the command repeats what is already so.
    pub changed: bool,
    /// What it did.
    pub effect: Effect,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// The intent is recorded.
    SwitchBegun {
        /// The switch's id, for its end.
        id: u64,
        /// The replica of the old home that is to stay a voter.
        keep: u64,
    },
    /// The home has moved.
    SwitchCompleted {
        /// The set's epoch now.
        epoch: u64,
    },
    /// The intent is gone.
    SwitchAborted,
    /// The durability is recorded.
    DurabilityRecorded {
        /// The greatest index known to be safe.
        last_safe_index: u64,
    },
    /// The policy is in force.
    PolicySet,
    /// The intent is recorded.
    RecoveryBegun {
        /// The recovery's id, for its end.
        id: u64,
        /// The incarnation that the set will have.
        incarnation: u32,
    },
    /// The recovery goes on without that survivor.
    SurvivorGivenUp,
    /// The survivors may be opened.
    RecoveryCompleted {
        /// The set's incarnation now.
        incarnation: u32,
    },
    /// The set may answer clients.
    Reconciled,
    /// The control set goes on with its survivors.
    ControlRecovered {
        /// Its incarnation now.
        incarnation: u32,
    },
    /// The lost replica may be thrown away.
    ReplicaReleased,
    /// The set has another copy.
    ReplicaPlaced {
        /// Its id.
        id: u64,
    },
    /// The learner votes.
    ReplicaPromoted,
    /// The intent is recorded.
    ReplacementBegun {
        /// The replacement's id, for its end.
        id: u64,
        /// The successor's id.
        replica: u64,
    },
    /// The successor is to leave again.
    ReplacementGivenUp,
    /// It is under way no longer.
    ReplacementEnded,
    /// The node is none of the cluster any more.
    NodeRemoved,
    /// The addresses are recorded.
    NodeRecorded,
    /// The fault is on record.
    FaultRecorded,
    /// The group is defined.
    GroupCreated,
    /// The plan is recorded.
    PlanBegun {
        /// Its id.
        id: u64,
    },
    /// What was said of the plan is recorded.
    PlanRecorded,
    /// Nothing of these plans begins any more.
    PlansStopped {
        /// Their ids.
        plans: Vec<u64>,
    },
    /// The drill is recorded.
    DrillBegun {
        /// Its id.
        id: u64,
    },
    /// What was said of the drill is recorded.
    DrillRecorded,
    /// The drill under way is to stop.
    DrillStopping {
        /// Its id; none: there is none.
        drill: Option<u64>,
    },
}

/// Where a command stands in the log, when it was proposed, and what speaks for its `who`.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) index: u64,
    /// The id of what it begins: the index, beyond those that lost majorities of the control set may have given.
    pub(crate) id: u64,
    pub(crate) time_unix_ns: u64,
    pub(crate) proof: &'a Proof,
}

impl<'a> At<'a> {
    /// For the record of an end that a node has told: it is of whoever had asked for the beginning, and so is the
    /// proof. An end that somebody else tells proves nothing of that one.
    pub(crate) fn ends(self, began: &'a Proof) -> At<'a> {
        if matches!(self.proof, Proof::Node(_)) { At { proof: began, ..self } } else { self }
    }
}

/// Applies the command of the entry at `index`, proposed at `time_unix_ns` by nobody knows whom, or says why not and
/// changes nothing.
pub fn apply(
    catalogue: &mut Catalogue,
    index: u64,
    time_unix_ns: u64,
    command: Command,
) -> Result<Reply, Rejection> {
    apply_entry(catalogue, index, Envelope::new(time_unix_ns, Proof::Declared, command))
}

/// Applies the entry at `index`, or says why not and changes nothing.
pub fn apply_entry(catalogue: &mut Catalogue, index: u64, entry: Envelope) -> Result<Reply, Rejection> {
    let Envelope { rules, time_unix_ns, proof, command } = entry;
    let id = index + catalogue.control.ids_from;
    let at = At { index, id, time_unix_ns, proof: &proof };
    let (effect, record) = match command {
        Command::Plan(command) => {
            let (effect, record, changed) = plan::apply(catalogue, at, command)?;
            return Ok(reply(catalogue, rules, (effect, record), changed));
        }
        Command::Drill(command) => {
            let (effect, record, changed) = drill::apply(catalogue, at, command)?;
            return Ok(reply(catalogue, rules, (effect, record), changed));
        }
        Command::BeginSwitch { set, to, owner, who, why, expected_epoch, plan } => {
            plan::check_switch(catalogue, set, &to, plan)?;
            let (from, keep, proof) = (String::new(), 0, proof.clone());
            let intent = SwitchIntent { id, from, to, owner, keep, who, proof, why };
            begin_switch(catalogue, at, set, intent, expected_epoch)?
        }
        Command::CompleteSwitch { set, id } => complete_switch(catalogue, at, set, id)?,
        Command::AbortSwitch { set, id, reason } => abort_switch(catalogue, at, set, id, reason)?,
        Command::RecordDurability {
            set,
            durability,
            last_safe_index,
            expected_durability_epoch,
            pinned,
            who,
            why,
        } => {
            check_who_why(&who, &why)?;
            let wanted = Wanted { durability, last_safe_index, pinned };
            durability::record(catalogue, at, set, wanted, expected_durability_epoch, (who, why))?
        }
        Command::SetPolicy { set, policy, who, why } => {
            check_who_why(&who, &why)?;
            durability::set_policy(catalogue, at, set, policy, (who, why))?
        }
        Command::BeginRecovery {
            set,
            site,
            expected_incarnation,
            accept_loss,
            without_replaced,
            who,
            why,
        } => {
            check_who_why(&who, &why)?;
            let asked = Asked { site, expected_incarnation, accept_loss, without_replaced, who, why };
            recovery::begin(catalogue, at, set, asked)?
        }
        Command::GiveUpSurvivor { set, id, replica, who, why } => {
            check_who_why(&who, &why)?;
            recovery::give_up(catalogue, at, set, (id, replica), (who, why))?
        }
        Command::CompleteRecovery { set, id, from, end, last_safe_index } => {
            recovery::complete(catalogue, at, set, id, (from, end, last_safe_index))?
        }
        Command::EndReconciliation { set, id, who, why } => {
            check_who_why(&who, &why)?;
            recovery::reconciled(catalogue, at, set, id, (who, why))?
        }
        Command::RecoverControl { plan, incarnation, survivors, from, end, who, why } => {
            check_who_why(&who, &why)?;
            let told = control_recovery::Told { plan, incarnation, survivors, from, end, who, why };
            control_recovery::record(catalogue, at, told)?
        }
        Command::ReleaseReplica { set, replica, who, why } => {
            check_who_why(&who, &why)?;
            recovery::release(catalogue, at, set, replica, (who, why))?
        }
        Command::PlaceReplica { set, node, who, why } => {
            check_who_why(&who, &why)?;
            recovery::place(catalogue, at, set, node, (who, why))?
        }
        Command::PromoteReplica { set, replica, who, why } => {
            check_who_why(&who, &why)?;
            recovery::promote(catalogue, at, set, replica, (who, why))?
        }
        Command::BeginReplacement { set, replica, node, who, why } => {
            check_who_why(&who, &why)?;
            replacement::begin(catalogue, at, set, replacement::Asked { replica, node, who, why })?
        }
        Command::GiveUpReplacement { set, id, who, why } => {
            check_who_why(&who, &why)?;
            replacement::give_up(catalogue, at, set, id, (who, why))?
        }
        Command::EndReplacement { set, id, replaced } => replacement::end(catalogue, at, set, id, replaced)?,
        Command::RemoveNode { node, who, why } => {
            check_who_why(&who, &why)?;
            replacement::remove_node(catalogue, at, node, (who, why))?
        }
        Command::UpsertNodeAddress { node, site, api_addr, peer_addr, http_addr, who, why } => {
            check_who_why(&who, &why)?;
            let node = Node { name: node, site, arbiter: false, api_addr, peer_addr, http_addr };
            upsert_node(catalogue, at, node, (who, why))?
        }
        Command::RecordFault { node, id, fault, deadline_ms, ended, who, why } => {
            check_who_why(&who, &why)?;
            let what = Action::Fault { node, id, fault, deadline_ms };
            record_fault(catalogue, at, what, ended, (who, why))?
        }
        Command::CreateGroup { group, who, why } => {
            check_who_why(&who, &why)?;
            create_group(catalogue, at, group, (who, why))?
        }
    };
    let changed = record.is_some();
    Ok(reply(catalogue, rules, (effect, record), changed))
}

fn reply(catalogue: &mut Catalogue, rules: u16, (effect, record): Done, changed: bool) -> Reply {
    catalogue.version += u64::from(changed);
    if let Some(record) = record {
        catalogue.audit.append(rules, &catalogue.cluster_id, record);
    }
    Reply { version: catalogue.version, changed, effect }
}

/// The effect, and the audit record if anything changed.
pub(crate) type Done = (Effect, Option<Record>);

fn begin_switch(
    catalogue: &mut Catalogue,
    at: At<'_>,
    set: u32,
    mut intent: SwitchIntent,
    expected_epoch: u64,
) -> Result<Done, Rejection> {
    check_who_why(&intent.who, &intent.why)?;
    let now = find(catalogue, set)?;
    if !catalogue.is_data_site(&intent.to) {
        return Err(Rejection::UnknownSite { site: intent.to });
    }
    if !catalogue.nodes.contains_key(&intent.owner) {
        return Err(Rejection::UnknownNode { node: intent.owner });
    }
    if let Some(other) = &now.switch {
        return Err(Rejection::SwitchInProgress { set, id: other.id, owner: other.owner.clone() });
    }
    if let Some(open) = &now.recovery {
        return Err(Rejection::BeingRecovered { set, id: open.id });
    }
    catalogue.check_not_replaced(set)?;
    catalogue.check_proven(set)?;
    if now.epoch != expected_epoch {
        return Err(Rejection::EpochChanged { set, expected: expected_epoch, epoch: now.epoch });
    }
    if now.home == intent.to {
        return Err(Rejection::AlreadyHome { set, site: intent.to });
    }
    if now.durability == Durability::Degraded {
        return Err(Rejection::Degraded { set });
    }
    let on_owner = now.replicas.iter().find(|r| r.node == intent.owner).map(|r| r.id);
    let placement = placement_keeping(catalogue, now, &intent.to, on_owner)?;
    let stays = |id: &u64| catalogue.site_of_replica(set, *id) != Some(intent.to.as_str());
    intent.keep = placement.voters.iter().copied().find(stays).expect("a placement keeps one voter away");
    intent.from.clone_from(&now.home);
    let keep = intent.keep;
    let record = switch_record(at, set, &intent, Outcome::Begun);
    find_mut(catalogue, set).switch = Some(intent);
    Ok((Effect::SwitchBegun { id: at.id, keep }, Some(record)))
}

fn complete_switch(catalogue: &mut Catalogue, at: At<'_>, set: u32, id: u64) -> Result<Done, Rejection> {
    let now = find(catalogue, set)?;
    if let Some(open) = &now.recovery {
        return Err(Rejection::BeingRecovered { set, id: open.id });
    }
    let Some(intent) = switch_to_end(now, id, SwitchEnd::Completed)? else {
        return Ok((Effect::SwitchCompleted { epoch: now.epoch }, None));
    };
    catalogue.check_proven(set)?;
    let placement = catalogue.placement_after_switch(now, &intent.to)?;
    let record = switch_record(at.ends(&intent.proof), set, &intent, Outcome::Done);
    let set = find_mut(catalogue, set);
    for replica in &mut set.replicas {
        replica.role = placement.role(replica.id).expect("a placement names every replica of its set");
    }
    set.home = intent.to;
    set.epoch += 1;
    set.switch = None;
    set.last_switch = Some(EndedSwitch { id, end: SwitchEnd::Completed });
    Ok((Effect::SwitchCompleted { epoch: set.epoch }, Some(record)))
}

fn abort_switch(
    catalogue: &mut Catalogue,
    at: At<'_>,
    set: u32,
    id: u64,
    reason: String,
) -> Result<Done, Rejection> {
    check_text("reason", &reason)?;
    let Some(intent) = switch_to_end(find(catalogue, set)?, id, SwitchEnd::Aborted)? else {
        return Ok((Effect::SwitchAborted, None));
    };
    catalogue.check_proven(set)?;
    let record = switch_record(at.ends(&intent.proof), set, &intent, Outcome::Aborted { reason });
    let set = find_mut(catalogue, set);
    set.switch = None;
    set.last_switch = Some(EndedSwitch { id, end: SwitchEnd::Aborted });
    Ok((Effect::SwitchAborted, Some(record)))
}

/// The switch that is to end as `end`; none if it has ended so already.
fn switch_to_end(set: &Set, id: u64, end: SwitchEnd) -> Result<Option<SwitchIntent>, Rejection> {
    if let Some(intent) = set.switch.as_ref().filter(|s| s.id == id) {
        return Ok(Some(intent.clone()));
    }
    match set.last_switch.filter(|ended| ended.id == id) {
        Some(ended) if ended.end == end => Ok(None),
        Some(ended) => {
            Err(Rejection::SwitchEnded { set: set.id, id, completed: ended.end == SwitchEnd::Completed })
        }
        None => Err(Rejection::WrongSwitch { set: set.id, id, current: set.switch.as_ref().map(|s| s.id) }),
    }
}

fn switch_record(at: At<'_>, set: u32, intent: &SwitchIntent, outcome: Outcome) -> Record {
    let what = Action::Switch { set, id: intent.id, from: intent.from.clone(), to: intent.to.clone() };
    record(at, (intent.who.clone(), intent.why.clone()), what, outcome)
}

fn upsert_node(
    catalogue: &mut Catalogue,
    at: At<'_>,
    mut node: Node,
    who_why: (String, String),
) -> Result<Done, Rejection> {
    if !is_name(&node.name) {
        return Err(malformed("node", "a name is letters, digits, '.', '_' and '-'"));
    }
    check_addresses(catalogue, &node)?;
    match catalogue.nodes.get(&node.name) {
        Some(known) if known.site != node.site => {
            return Err(Rejection::SiteFixed { node: node.name, site: known.site.clone() });
        }
        Some(known) => node.arbiter = known.arbiter,
        None if catalogue.removed_nodes.contains(&node.name) => {
            return Err(Rejection::NodeGone { node: node.name });
        }
        None if !catalogue.is_data_site(&node.site) => {
            return Err(Rejection::UnknownSite { site: node.site });
        }
        None => {}
    }
    if catalogue.nodes.get(&node.name) == Some(&node) {
        return Ok((Effect::NodeRecorded, None));
    }
    let what = Action::Node { node: node.name.clone() };
    catalogue.nodes.insert(node.name.clone(), node);
    Ok((Effect::NodeRecorded, Some(record(at, who_why, what, Outcome::Done))))
}

fn check_addresses(catalogue: &Catalogue, node: &Node) -> Result<(), Rejection> {
    let listeners = |n: &Node| [n.api_addr.clone(), n.peer_addr.clone(), n.http_addr.clone()];
    let wanted = listeners(node);
    for (field, address) in ["api_addr", "peer_addr", "http_addr"].into_iter().zip(&wanted) {
        if !is_address(address) {
            return Err(malformed(field, "an address is name:port with a port from 1 to 65535"));
        }
        if wanted.iter().filter(|other| *other == address).count() > 1 {
            return Err(Rejection::AddressTaken { address: address.clone(), node: node.name.clone() });
        }
        let others = catalogue.nodes.values().filter(|other| other.name != node.name);
        if let Some(other) = others.into_iter().find(|other| listeners(other).contains(address)) {
            return Err(Rejection::AddressTaken { address: address.clone(), node: other.name.clone() });
        }
    }
    Ok(())
}

fn record_fault(
    catalogue: &Catalogue,
    at: At<'_>,
    what: Action,
    ended: bool,
    who_why: (String, String),
) -> Result<Done, Rejection> {
    if let Action::Fault { node, fault, .. } = &what {
        check_text("fault", fault)?;
        if !catalogue.nodes.contains_key(node) {
            return Err(Rejection::UnknownNode { node: node.clone() });
        }
    }
    let outcome = if ended { Outcome::Done } else { Outcome::Begun };
    // One that comes twice comes soon: the answer to the first one was lost.
    if catalogue.audit.has(&what, &outcome) {
        return Ok((Effect::FaultRecorded, None));
    }
    Ok((Effect::FaultRecorded, Some(record(at, who_why, what, outcome))))
}

fn create_group(
    catalogue: &mut Catalogue,
    at: At<'_>,
    group: Group,
    who_why: (String, String),
) -> Result<Done, Rejection> {
    group.validate()?;
    match catalogue.groups.get(&group.id) {
        Some(known) if *known == group => return Ok((Effect::GroupCreated, None)),
        Some(known) => {
            let (parts, currency) = (known.parts.len(), known.currency.clone());
            return Err(Rejection::GroupExists { group: group.id, parts, currency });
        }
        None => catalogue.check_new_group(&group)?,
    }
    let what = Action::Group { group: group.id.clone(), parts: group.parts.len() };
    catalogue.groups.insert(group.id.clone(), group);
    Ok((Effect::GroupCreated, Some(record(at, who_why, what, Outcome::Done))))
}

pub(crate) fn record(at: At<'_>, (who, why): (String, String), what: Action, outcome: Outcome) -> Record {
    let (index, time_unix_ns, proof) = (at.index, at.time_unix_ns, at.proof.clone());
    Record { no: 0, index, time_unix_ns, who, proof, why, what, outcome }
}

pub(crate) fn find(catalogue: &Catalogue, set: u32) -> Result<&Set, Rejection> {
    catalogue.sets.get(&set).ok_or(Rejection::UnknownSet { set })
}

pub(crate) fn find_mut(catalogue: &mut Catalogue, set: u32) -> &mut Set {
    catalogue.sets.get_mut(&set).expect("the set was found before the first change")
}

pub(crate) fn check_who_why(who: &str, why: &str) -> Result<(), Rejection> {
    check_text("who", who)?;
    check_text("why", why)
}

pub(crate) fn check_text(field: &str, text: &str) -> Result<(), Rejection> {
    if text.trim().is_empty() {
        return Err(malformed(field, "it is empty"));
    }
    if text.len() > TEXT_BYTES_MAX {
        return Err(malformed(field, "it is longer than 256 bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err(malformed(field, "it has control characters"));
    }
    Ok(())
}

pub(crate) fn malformed(field: &str, reason: &str) -> Rejection {
    Rejection::Malformed { field: field.into(), reason: reason.into() }
}
