//! The control set's deterministic "no": part of the replicated result, the same on every voter. Codes are for programs
//! and never change; the sentence is for people.

use serde::{Deserialize, Serialize};

use crate::plan;

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Rejection {
    /// No set has this number.
    #[error("there is no set {set}")]
    UnknownSet {
        /// The number given.
        set: u32,
    },
    /// No data site has this name.
    #[error("there is no data site {site:?}")]
    UnknownSite {
        /// The name given.
        site: String,
    },
    /// No node has this name.
    #[error("there is no node {node:?}")]
    UnknownNode {
        /// The name given.
        node: String,
    },
    /// A name, reason or address is empty, too long or of the wrong form.
    #[error("{field} is malformed: {reason}")]
    Malformed {
        /// The command's field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another switch of the set has not ended.
    #[error("set {set} is being switched already: switch {id}, owner {owner:?}")]
    SwitchInProgress {
        /// The set.
        set: u32,
        /// The switch under way.
        id: u64,
        /// Who carries it out.
        owner: String,
    },
    /// The home has changed since the sender looked.
    #[error("set {set} is at epoch {epoch}, not {expected}")]
    EpochChanged {
        /// The set.
        set: u32,
        /// The epoch the sender knew.
        expected: u64,
        /// The epoch now.
        epoch: u64,
    },
    /// A durability was recorded since the sender looked.
    #[error("set {set} is at durability epoch {epoch}, not {expected}")]
    DurabilityEpochChanged {
        /// The set.
        set: u32,
        /// The epoch the sender knew.
        expected: u64,
        /// The epoch now.
        epoch: u64,
    },
    /// The set is at home there.
    #[error("set {set} is at home in {site:?} already")]
    AlreadyHome {
        /// The set.
        set: u32,
        /// The site.
        site: String,
    },
    /// A set that is not SYNC is not switched: its other site may lack what was acknowledged.
    #[error("set {set} is DEGRADED: it is switched once it is SYNC again")]
    Degraded {
        /// The set.
        set: u32,
    },
    /// The replicas do not allow the 2+2 placement after the switch.
    #[error(
        "set {set} cannot be at home in {site:?}: it has {home} replicas there and {away} away, and needs two each"
    )]
    NoPlacement {
        /// The set.
        set: u32,
        /// The wanted home.
        site: String,
        /// Replicas in the wanted home.
        home: u32,
        /// Replicas in the other site.
        away: u32,
    },
    /// The set's switch under way, or the last that ended, is not the one named.
    #[error("set {set} has no switch {id} under way{}", current.map(|c| format!(": it has {c}")).unwrap_or_default())]
    WrongSwitch {
        /// The set.
        set: u32,
        /// The id given.
        id: u64,
        /// The switch under way, if any.
        current: Option<u64>,
    },
    /// The switch ended the other way.
    #[error("switch {id} of set {set} was {}", if *completed { "completed" } else { "aborted" })]
    SwitchEnded {
        /// The set.
        set: u32,
        /// The switch.
        id: u64,
        /// Whether it was completed; otherwise aborted.
        completed: bool,
    },
    /// The set is closed until its recovery is over.
    #[error("set {set} is being recovered: recovery {id}")]
    BeingRecovered {
        /// The set.
        set: u32,
        /// The recovery under way.
        id: u64,
    },
    /// The set was recovered since the sender looked.
    #[error("set {set} has incarnation {incarnation}, not {expected}")]
    IncarnationChanged {
        /// The set.
        set: u32,
        /// The incarnation the sender knew.
        expected: u32,
        /// The incarnation now.
        incarnation: u32,
    },
    /// A DEGRADED set is recovered only by who has seen what that may cost.
    #[error(
        "set {set} is DEGRADED: what was acknowledged after index {last_safe_index} may be lost; that must be accepted"
    )]
    MayLose {
        /// The set.
        set: u32,
        /// The greatest index known to be safe.
        last_safe_index: u64,
    },
    /// So is a set in whose surviving site a replica is being replaced: it does not survive.
    #[error(
        "replica {replica} of set {set} is being replaced: what only it holds there may be lost; that must be accepted"
    )]
    MayLoseReplaced {
        /// The set.
        set: u32,
        /// The replica that is to leave.
        replica: u64,
    },
    /// The control set was recovered, and the set may have gone on without that being on record here.
    #[error(
        "since the control set was recovered nobody knows whether set {set} has gone on in the lost site alone: what it acknowledged \
         there may be lost (after index {last_safe_index}, as far as that is on record); that must be accepted"
    )]
    MayLoseUnproven {
        /// The set.
        set: u32,
        /// The greatest index that is on record as safe.
        last_safe_index: u64,
    },
    /// The control set was recovered, and the set has not shown since that both sites have all of it.
    #[error(
        "set {set} may be further than the recovered control set knows: it must return to SYNC first, which it does by itself when \
         both sites are there, or be recovered (`twinset recover plan`)"
    )]
    Unproven {
        /// The set.
        set: u32,
    },
    /// Nothing of the set is there to go on.
    #[error("set {set} has no such replica in site {site:?}")]
    NoSurvivor {
        /// The set.
        set: u32,
        /// The site named.
        site: String,
    },
    /// The set's recovery under way, or the last one, is not the one named.
    #[error("set {set} has no recovery {id} under way")]
    NoRecovery {
        /// The set.
        set: u32,
        /// The id given.
        id: u64,
    },
    /// No recovery has left that replica behind.
    #[error("replica {replica} was not left behind by the last recovery of set {set}")]
    NotLost {
        /// The set.
        set: u32,
        /// The replica named.
        replica: u64,
    },
    /// What a lost replica holds may have been acknowledged, and nobody has seen it.
    #[error(
        "node {node:?} holds replica {replica} of set {set}, which was lost: what is in it must be seen and released first"
    )]
    Kept {
        /// The set.
        set: u32,
        /// The lost replica.
        replica: u64,
        /// Where it stands.
        node: String,
    },
    /// A site has two copies at most.
    #[error("set {set} has two copies in site {site:?} already")]
    PlacedThere {
        /// The set.
        set: u32,
        /// The site.
        site: String,
    },
    /// The set has no such replica.
    #[error("set {set} has no replica {replica}")]
    NoReplica {
        /// The set.
        set: u32,
        /// The id given.
        replica: u64,
    },
    /// Two voters at home and one away.
    #[error("set {set} has as many voters in site {site:?} as it should")]
    VotesEnough {
        /// The set.
        set: u32,
        /// The site.
        site: String,
    },
    /// Nothing else may move a set while one of its replicas is being replaced.
    #[error("replica {replica} of set {set} is being replaced: replacement {id}")]
    BeingReplaced {
        /// The set.
        set: u32,
        /// The replica that is to leave.
        replica: u64,
        /// The replacement under way.
        id: u64,
    },
    /// A replica keeps its site: what the set's sites prove would change otherwise.
    #[error("replica {replica} of set {set} stands in site {site:?}, and node {node:?} does not")]
    OtherSite {
        /// The set.
        set: u32,
        /// The replica.
        replica: u64,
        /// Its site.
        site: String,
        /// The node that was named for its successor.
        node: String,
    },
    /// One copy of a set for each node.
    #[error("node {node:?} hosts replica {replica} of set {set} already")]
    HostsAlready {
        /// The node.
        node: String,
        /// The set.
        set: u32,
        /// The replica there.
        replica: u64,
    },
    /// The set has no such replacement under way.
    #[error("set {set} has no replacement {id} under way")]
    NoReplacement {
        /// The set.
        set: u32,
        /// The id given.
        id: u64,
    },
    /// A replacement ends undone only when somebody wants that.
    #[error("replacement {id} of set {set} was not given up")]
    NotGivenUp {
        /// The set.
        set: u32,
        /// The replacement.
        id: u64,
    },
    /// A node that hosts something belongs to the cluster.
    #[error("node {node:?} hosts replica {replica} of set {set}: its replicas are to be replaced first")]
    StillHosts {
        /// The node.
        node: String,
        /// The set.
        set: u32,
        /// The replica there.
        replica: u64,
    },
    /// The name of a node that was taken out is not given to another one.
    #[error("node {node:?} was taken out of the cluster: choose a name that was never used")]
    NodeGone {
        /// The node.
        node: String,
    },
    /// A node does not change its site: what its replicas prove would change unseen.
    #[error("node {node:?} stands in site {site:?}: that never changes")]
    SiteFixed {
        /// The node.
        node: String,
        /// The site it stands in.
        site: String,
    },
    /// Another listener has this address.
    #[error("address {address:?} belongs to node {node:?}")]
    AddressTaken {
        /// The address.
        address: String,
        /// Whose it is.
        node: String,
    },
    /// The group is defined, and otherwise. It never changes.
    #[error("group {group:?} is defined already, with {parts} parts in {currency}, and never changes")]
    GroupExists {
        /// Its id.
        group: String,
        /// How many parts it has.
        parts: usize,
        /// Their currency.
        currency: String,
    },
    /// The id belongs to another group, as its own or as a part's.
    #[error("{account:?} belongs to group {group:?}")]
    AccountOfGroup {
        /// The id.
        account: String,
        /// Whose it is.
        group: String,
    },
    /// No plan has this id; the oldest that have ended are forgotten.
    #[error("there is no plan {plan}")]
    UnknownPlan {
        /// The id given.
        plan: u64,
    },
    /// A plan under way has the set, or empties the site that the set would move into.
    #[error("plan {plan} is under way and forbids it to set {set}: wait for its end, or stop it")]
    PlanInProgress {
        /// The plan.
        plan: u64,
        /// The set.
        set: u32,
    },
    /// It is not in the state that this asks for.
    #[error("plan {plan} is {state}")]
    PlanNotRunning {
        /// The plan.
        plan: u64,
        /// Its state.
        state: plan::State,
    },
    /// The plan does not ask that of the set, or not any more.
    #[error("plan {plan} does not ask that of set {set}")]
    NotInPlan {
        /// The plan.
        plan: u64,
        /// The set.
        set: u32,
    },
    /// The sets have changed since the plan was made.
    #[error(
        "the plan was made by an older catalogue: set {set} belongs to it now, or no longer does; make it anew"
    )]
    PlanOutdated {
        /// The set.
        set: u32,
    },
    /// One drill at a time.
    #[error("drill {drill} is under way: wait for its end, or stop it")]
    DrillInProgress {
        /// Which.
        drill: u64,
    },
    /// No drill has this id; the oldest that have ended are forgotten.
    #[error("there is no drill {drill}")]
    UnknownDrill {
        /// The id given.
        drill: u64,
    },
    /// It has ended.
    #[error("drill {drill} has ended")]
    DrillEnded {
        /// Which.
        drill: u64,
    },
    /// Whoever runs it may still do.
    #[error("drill {drill} is not abandoned: its lease is not over")]
    DrillHeld {
        /// Which.
        drill: u64,
    },
    /// A site that is some set's home cannot be isolated.
    #[error("set {set} is at home in site {site}: evacuate it first")]
    StillHome {
        /// The set.
        set: u32,
        /// The site.
        site: String,
    },
    /// Nothing moves into a site that is to be powered off.
    #[error("site {site} is isolated: let it return first")]
    SiteIsolated {
        /// The site.
        site: String,
    },
    /// Every node and router holds all groups: there is no room for more.
    #[error(
        "there are {groups} groups with {parts} parts; a cluster has at most {} with {} parts",
        crate::groups::GROUPS_MAX,
        crate::groups::PARTS_TOTAL_MAX
    )]
    TooManyGroups {
        /// Groups that are defined.
        groups: usize,
        /// Parts that they have together.
        parts: usize,
    },
}

impl Rejection {
    /// The stable name, for programs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Rejection::UnknownSet { .. } => "unknown_set",
            Rejection::UnknownSite { .. } => "unknown_site",
            Rejection::UnknownNode { .. } => "unknown_node",
            Rejection::Malformed { .. } => "malformed",
            Rejection::SwitchInProgress { .. } => "switch_in_progress",
            Rejection::EpochChanged { .. } => "epoch_changed",
            Rejection::DurabilityEpochChanged { .. } => "durability_epoch_changed",
            Rejection::AlreadyHome { .. } => "already_home",
            Rejection::Degraded { .. } => "degraded",
            Rejection::NoPlacement { .. } => "no_placement",
            Rejection::WrongSwitch { .. } => "wrong_switch",
            Rejection::SwitchEnded { .. } => "switch_ended",
            Rejection::BeingRecovered { .. } => "being_recovered",
            Rejection::IncarnationChanged { .. } => "incarnation_changed",
            Rejection::MayLose { .. } => "may_lose",
            Rejection::MayLoseReplaced { .. } => "may_lose_replaced",
            Rejection::MayLoseUnproven { .. } => "may_lose_unproven",
            Rejection::Unproven { .. } => "unproven",
            Rejection::NoSurvivor { .. } => "no_survivor",
            Rejection::NoRecovery { .. } => "no_recovery",
            Rejection::NotLost { .. } => "not_lost",
            Rejection::Kept { .. } => "kept",
            Rejection::PlacedThere { .. } => "placed_there",
            Rejection::NoReplica { .. } => "no_replica",
            Rejection::VotesEnough { .. } => "votes_enough",
            Rejection::BeingReplaced { .. } => "being_replaced",
            Rejection::OtherSite { .. } => "other_site",
            Rejection::HostsAlready { .. } => "hosts_already",
            Rejection::NoReplacement { .. } => "no_replacement",
            Rejection::NotGivenUp { .. } => "not_given_up",
            Rejection::StillHosts { .. } => "still_hosts",
            Rejection::NodeGone { .. } => "node_gone",
            Rejection::SiteFixed { .. } => "site_fixed",
            Rejection::AddressTaken { .. } => "address_taken",
            Rejection::GroupExists { .. } => "group_exists",
            Rejection::AccountOfGroup { .. } => "account_of_group",
            Rejection::UnknownPlan { .. } => "unknown_plan",
            Rejection::PlanInProgress { .. } => "plan_in_progress",
            Rejection::PlanNotRunning { .. } => "plan_not_running",
            Rejection::NotInPlan { .. } => "not_in_plan",
            Rejection::PlanOutdated { .. } => "plan_outdated",
            Rejection::DrillInProgress { .. } => "drill_in_progress",
            Rejection::UnknownDrill { .. } => "unknown_drill",
            Rejection::DrillEnded { .. } => "drill_ended",
            Rejection::DrillHeld { .. } => "drill_held",
            Rejection::StillHome { .. } => "still_home",
            Rejection::SiteIsolated { .. } => "site_isolated",
            Rejection::TooManyGroups { .. } => "too_many_groups",
        }
    }
}
