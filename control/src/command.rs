//! What can be asked of the control set. A command says what its sender knew (an epoch, the id of a switch), so
//! that one that comes late or twice changes nothing. What each does stands in `apply.rs`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::catalogue::Durability;
use crate::drill;
use crate::durability::Policy;
use crate::groups::Group;
use crate::plan;
use crate::recovery::LogEnd;

/// A change of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Records the intent to move a set's home, before anything is touched. The log index becomes the switch's id.
    BeginSwitch {
        /// The set to move.
        set: u32,
        /// Its new home.
        to: String,
        /// The node that will carry it out. Where it hosts a voter of the old home, that voter stays one: the owner is
        /// normally the leader's node, and a leader must not be made a learner while it leads.
        owner: String,
        /// Who asks for it.
        who: String,
        /// Why.
        why: String,
        /// The set's epoch as the sender knew it.
        expected_epoch: u64,
        /// The plan that it is a step of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan: Option<u64>,
    },
    /// Records that the membership, and the leadership, have moved: flips the home and raises the epoch.
    CompleteSwitch {
        /// The set.
        set: u32,
        /// The switch's id.
        id: u64,
    },
    /// Records that the switch was given up; to be sent once the membership is back as it was.
    AbortSwitch {
        /// The set.
        set: u32,
        /// The switch's id.
        id: u64,
        /// Why it was given up.
        reason: String,
    },
    /// Records a set's durability: a weaker one before it takes effect, a stronger one after.
    RecordDurability {
        /// The set.
        set: u32,
        /// The new state.
        durability: Durability,
        /// The greatest log index of the set that the sender knows to be safe.
        last_safe_index: u64,
        /// The set's durability epoch as the sender knew it before it did anything.
        expected_durability_epoch: u64,
        /// As [`crate::Set::pinned`].
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pinned: bool,
        /// Who asks for it.
        who: String,
        /// Why.
        why: String,
    },
    /// Chooses whether a set may go on with one site alone.
    SetPolicy {
        /// The set.
        set: u32,
        /// Its policy from now on.
        policy: Policy,
        /// Who asks for it.
        who: String,
        /// Why.
        why: String,
    },
    /// Records that a set whose majority is lost is to go on in one site, before any of its replicas is touched. The log index
    /// becomes the recovery's id.
    BeginRecovery {
        /// The set.
        set: u32,
        /// The site that survives.
        site: String,
        /// The set's incarnation as the sender knew it.
        expected_incarnation: u32,
        /// The set is DEGRADED, and what was acknowledged since may be lost: an operator has seen that.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        accept_loss: bool,
        /// A replica of the site that is being replaced is dead: it is given up from the start.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        without_replaced: bool,
        /// Who asks for it.
        who: String,
        /// Why.
        why: String,
    },
    /// A survivor of a recovery under way has died before it was fenced, and an operator gives it up.
    GiveUpSurvivor {
        /// The set.
        set: u32,
        /// The recovery's id.
        id: u64,
        /// The survivor.
        replica: u64,
        /// Who asks for it.
        who: String,
        /// Why.
        why: String,
    },
    /// Records that every survivor is fenced, and which of their logs goes on: they may be opened.
    CompleteRecovery {
        /// The set.
        set: u32,
        /// The recovery's id.
        id: u64,
        /// The survivor with the greatest log.
        from: u64,
        /// Where that log ends.
        end: LogEnd,
        /// The greatest log index that any survivor knows to be safe.
        #[serde(default, skip_serializing_if = "crate::catalogue::is_zero")]
        last_safe_index: u64,
    },
    /// A set that was recovered and its peers are brought together: it may answer clients. An operator's word has it do so as it is.
    EndReconciliation {
        /// The set.
        set: u32,
        /// The recovery's id.
        id: u64,
        /// Who asks for it.
        who: String,
        /// Why.
        why: String,
    },
    /// The control set's majority was lost, and these go on without it, on an operator's word. Nobody proposes it: the node whose log
    /// goes on writes it there as the first entry of the new life.
    RecoverControl {
        /// The plan that the operator has confirmed.
        plan: String,
        /// The control set's incarnation from now on.
        incarnation: u32,
        /// Its replicas from now on, by their nodes: those that were fenced.
        survivors: BTreeMap<u64, String>,
        /// The one with the greatest log.
        from: u64,
        /// Where that log ended.
        end: LogEnd,
        /// Who asked for it.
        who: String,
        /// Why.
        why: String,
    },
    /// An operator has seen what a lost replica holds: its node may throw it away.
    ReleaseReplica {
        /// The set; [`crate::CONTROL_SET`] too.
        set: u32,
        /// The lost replica.
        replica: u64,
        /// Who asks for it.
        who: String,
        /// Why.
        why: String,
    },
    /// Gives a set another copy: a learner under a new id.
    PlaceReplica {
        /// The set; [`crate::CONTROL_SET`] too.
        set: u32,
        /// The node, which has none of it.
        node: String,
        /// Who asks for it.
        who: String,
        /// Why.
        why: String,
    },
    /// Gives a learner its vote.
    PromoteReplica {
        /// The set; [`crate::CONTROL_SET`] too.
        set: u32,
        /// The learner.
        replica: u64,
        /// Who asks for it.
        who: String,
        /// Why.
        why: String,
    },
    /// Records that a replica whose node is not to come back is to be replaced, and gives the set its successor: a learner
    /// under a new id. The log index becomes the replacement's id.
    BeginReplacement {
        /// The set; [`crate::CONTROL_SET`] too.
        set: u32,
        /// The replica that is to leave.
        replica: u64,
        /// The node of its successor: without any of the set, and of the same site; of the control set also of one that has no copy, if
        /// the other one's site has two.
        node: String,
        /// Who asks for it.
        who: String,
        /// Why.
        why: String,
    },
    /// The successor is to leave again: its node is lost as well, say. If it has the other's place already, it keeps it.
    GiveUpReplacement {
        /// The set.
        set: u32,
        /// The replacement's id.
        id: u64,
        /// Who asks for it.
        who: String,
        /// Why.
        why: String,
    },
    /// Records that the old replica, or the successor, has left the group, and that nothing depends on it any more.
    EndReplacement {
        /// The set.
        set: u32,
        /// The replacement's id.
        id: u64,
        /// The successor has the place; otherwise all is as it was.
        replaced: bool,
    },
    /// Takes a node that hosts nothing out of the cluster.
    RemoveNode {
        /// The node.
        node: String,
        /// Who asks for it.
        who: String,
        /// Why.
        why: String,
    },
    /// Records where a node is reached; a node that is new joins its data site and hosts nothing yet.
    UpsertNodeAddress {
        /// The node.
        node: String,
        /// Its site, which never changes.
        site: String,
        /// As [`crate::Node::api_addr`].
        api_addr: String,
        /// As [`crate::Node::peer_addr`].
        peer_addr: String,
        /// As [`crate::Node::http_addr`].
        http_addr: String,
        /// Who asks for it.
        who: String,
        /// Why.
        why: String,
    },
    /// Begins, carries on, halts or ends a plan.
    Plan(plan::Command),
    /// Begins, carries on, stops or ends a drill.
    Drill(drill::Command),
    /// Puts on record that a node harms itself for a drill, before it does, or that it was told to end that early. It
    /// changes nothing else: what acts is the node's to know.
    RecordFault {
        /// The node.
        node: String,
        /// The fault's id there.
        id: u64,
        /// What it is.
        fault: String,
        /// How long it acts, in milliseconds.
        deadline_ms: u32,
        /// Whether it was ended before.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        ended: bool,
        /// Who asks for it.
        who: String,
        /// Why.
        why: String,
    },
    /// Defines a group of accounts, for ever. Its parts must be open: whoever asks has seen to that, as the control set knows
    /// no accounts.
    CreateGroup {
        /// The group.
        group: Group,
        /// Who asks for it.
        who: String,
        /// Why.
        why: String,
    },
}

impl Command {
    /// Whose name it carries. None: it tells how something goes on that was begun before, which only nodes know.
    pub fn who_mut(&mut self) -> Option<&mut String> {
        use plan::Command as Told;
        match self {
            Command::BeginSwitch { who, .. }
            | Command::RecordDurability { who, .. }
            | Command::SetPolicy { who, .. }
            | Command::BeginRecovery { who, .. }
            | Command::GiveUpSurvivor { who, .. }
            | Command::EndReconciliation { who, .. }
            | Command::ReleaseReplica { who, .. }
            | Command::PlaceReplica { who, .. }
            | Command::PromoteReplica { who, .. }
            | Command::BeginReplacement { who, .. }
            | Command::GiveUpReplacement { who, .. }
            | Command::RemoveNode { who, .. }
            | Command::UpsertNodeAddress { who, .. }
            | Command::RecordFault { who, .. }
            | Command::CreateGroup { who, .. } => Some(who),
            Command::Drill(
                drill::Command::Begin { who, .. }
                | drill::Command::Extend { who, .. }
                | drill::Command::Stop { who, .. }
                | drill::Command::End { who, .. },
            ) => Some(who),
            Command::Plan(Told::Begin { who, .. } | Told::Stop { who, .. } | Told::Resume { who, .. }) => {
                Some(who)
            }
            Command::CompleteSwitch { .. }
            | Command::AbortSwitch { .. }
            | Command::CompleteRecovery { .. }
            | Command::RecoverControl { .. }
            | Command::EndReplacement { .. }
            | Command::Plan(
                Told::Record { .. } | Told::Advance { .. } | Told::RollBack { .. } | Told::End { .. },
            ) => None,
        }
    }
}
