//! The cluster as an operator sees it, made from what the nodes said: sets with home, leader, durability, lag; nodes up
//! or down. Pure: asks nobody, prints nothing. `cmd/status.rs` stands above, [`crate::cluster::admin`] asks.

use serde::Serialize;
use twinset_control::{CONTROL_SET, Catalogue, Durability, Plan, Policy, Role, Set};
use twinset_proto::cluster::v1::ReplicaStatus;

use crate::cluster::admin::Survey;

/// The whole cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    /// Its name for ever.
    pub cluster_id: String,
    /// What people call it.
    pub cluster_name: String,
    /// The newest catalogue that any node holds.
    pub catalogue_version: u64,
    /// Every node of the catalogue, by name.
    pub nodes: Vec<NodeView>,
    /// The control set.
    pub control: SetView,
    /// Every set, by number.
    pub sets: Vec<SetView>,
    /// Sites that are to be powered off.
    pub isolated_sites: Vec<String>,
    /// Plans that are under way.
    pub plans: Vec<PlanView>,
}

/// A plan under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanView {
    /// Its number.
    pub id: u64,
    /// What it is for.
    pub what: String,
    /// Where it stands.
    pub state: String,
    /// Sets that are as they are to be.
    pub done: usize,
    /// All sets that it is about.
    pub sets: usize,
    /// Who asked for it.
    pub who: String,
    /// Why.
    pub why: String,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// Its site.
    pub site: String,
    /// Where operators reach it.
    pub api: String,
    /// Whether it answered.
    pub up: bool,
    /// Whether it serves.
    pub ready: bool,
    /// The version of its catalogue, if it answered.
    pub catalogue_version: Option<u64>,
    /// Why it is down or not ready.
    pub problem: Option<String>,
}

/// One set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SetView {
    /// Its number.
    pub set: u32,
    /// The site of its majority; none for the control set.
    pub home: Option<String>,
    /// Where it belongs, if that is another site.
    pub configured_home: Option<String>,
    /// The node that leads it.
    pub leader: Option<String>,
    /// The leader's term.
    pub term: Option<u64>,
    /// Counts changes of home.
    pub epoch: Option<u64>,
    /// Raised by a forced recovery.
    pub incarnation: u32,
    /// What an acknowledgement proves.
    pub durability: Option<String>,
    /// What the leader is doing about it: SYNC, DEGRADING, DEGRADED, RESYNC.
    pub phase: Option<String>,
    /// Whether it may change by itself.
    pub policy: Option<Policy>,
    /// DEGRADED until an operator wants SYNC.
    pub pinned: bool,
    /// Indexes, as the leader knows them.
    pub indexes: Option<Indexes>,
    /// What would be lost with a site.
    pub rpo: Rpo,
    /// Every copy.
    pub replicas: Vec<ReplicaView>,
    /// The switch under way.
    pub switch: Option<SwitchView>,
    /// The replacement of a copy under way.
    pub replacement: Option<ReplacementView>,
}

/// Three different indexes, and the last one in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Indexes {
    /// In the leader's log.
    pub last_log: u64,
    /// On a majority's disks.
    pub committed: u64,
    /// In the leader's state.
    pub applied: u64,
    /// On disk in each site.
    pub safe: u64,
}

/// What the loss of a site would cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Rpo {
    /// Everything acknowledged is on disk in each site.
    Proven {
        /// Committed entries that still wait, unacknowledged, for the away site.
        waiting: u64,
    },
    /// What was acknowledged after this index may stand in one site only.
    NotProven {
        /// The last index known to be on disk in each site.
        last_safe_index: u64,
    },
    /// Nobody who leads the set answers.
    Unknown {
        /// The last index known to be on disk in each site.
        last_safe_index: u64,
    },
    /// The control set keeps no money.
    NotApplicable,
}

/// One copy of a set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReplicaView {
    /// Its Raft node id.
    pub replica: u64,
    /// The node that hosts it.
    pub node: String,
    /// That node's site.
    pub site: String,
    /// What it is at this moment: leader, follower, learner, candidate, stopped, or down.
    pub role: String,
    /// Applied index, if it answered.
    pub applied: Option<u64>,
    /// Entries of the leader's log that it is not known to hold on disk.
    pub lag: Option<u64>,
    /// Why it stopped.
    pub fault: Option<String>,
}

/// A switch under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SwitchView {
    /// Its number.
    pub id: u64,
    /// The home it leaves.
    pub from: String,
    /// The home it goes to.
    pub to: String,
    /// The node that carries it out.
    pub owner: String,
    /// Who asked for it.
    pub who: String,
    /// Why.
    pub why: String,
}

/// A replacement under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReplacementView {
    /// Its number.
    pub id: u64,
    /// The replica that leaves.
    pub old: u64,
    /// The node that hosts it.
    pub node: String,
    /// Its successor.
    pub new: u64,
    /// The node that hosts that one.
    pub by: String,
    /// The successor is to leave again.
    pub given_up: bool,
    /// Who asked for it.
    pub who: String,
    /// Why.
    pub why: String,
}

fn replacement_view(catalogue: &Catalogue, set: u32) -> Option<ReplacementView> {
    let open = catalogue.replacement(set)?;
    let node = |id| catalogue.replica(set, id).map(|replica| replica.node.clone()).unwrap_or_default();
    Some(ReplacementView {
        id: open.id,
        old: open.old,
        node: node(open.old),
        new: open.new,
        by: node(open.new),
        given_up: open.given_up,
        who: open.who.clone(),
        why: open.why.clone(),
    })
}

/// Builds the view; nothing if no node knows a catalogue.
pub fn view(survey: &Survey) -> Option<View> {
    let catalogue = survey.catalogue.as_ref()?;
    let sets = catalogue.sets.values().map(|set| set_view(catalogue, survey, set.id, Some(set))).collect();
    Some(View {
        cluster_id: catalogue.cluster_id.clone(),
        cluster_name: catalogue.cluster_name.clone(),
        catalogue_version: catalogue.version,
        nodes: nodes(catalogue, survey),
        control: set_view(catalogue, survey, CONTROL_SET, None),
        sets,
        isolated_sites: catalogue.sites.values().filter(|s| s.isolated).map(|s| s.name.clone()).collect(),
        plans: catalogue.active_plans().map(plan_view).collect(),
    })
}

fn plan_view(plan: &Plan) -> PlanView {
    PlanView {
        id: plan.id,
        what: plan.kind.to_string(),
        state: plan.state.to_string(),
        done: plan.done(),
        sets: plan.steps.len(),
        who: plan.who.clone(),
        why: plan.why.clone(),
    }
}

/// The copies that are no members of their sets (yet), as set and node: sets without a leader have none. A set can be
/// moved when all of its copies are members.
pub fn outsiders(survey: &Survey) -> Vec<(u32, String)> {
    let Some(catalogue) = &survey.catalogue else { return Vec::new() };
    let of_set = |set: &u32| {
        let led = survey.leader(*set).and_then(|(_, reply)| reply.replicas.iter().find(|r| r.set == *set));
        let member = |id: u64| led.is_some_and(|led| led.voters.contains(&id) || led.learners.contains(&id));
        let replicas = catalogue.replicas(*set).iter().filter(move |replica| !member(replica.id));
        replicas.map(|replica| (*set, replica.node.clone())).collect::<Vec<_>>()
    };
    catalogue.sets.keys().flat_map(of_set).collect()
}

fn nodes(catalogue: &Catalogue, survey: &Survey) -> Vec<NodeView> {
    let one = |node: &twinset_control::Node| {
        let answer = survey.answers.get(&node.api_addr);
        let (reply, problem) = match answer {
            Some(Ok(reply)) if reply.cluster_id != catalogue.cluster_id => {
                (Some(reply), Some(format!("belongs to {}", cluster_or_blank(&reply.cluster_id))))
            }
            Some(Ok(reply)) => (Some(reply), Some(reply.not_ready_because.clone()).filter(|b| !b.is_empty())),
            Some(Err(reason)) => (None, Some(reason.clone())),
            None => (None, Some("not asked".to_owned())),
        };
        NodeView {
            name: node.name.clone(),
            site: node.site.clone(),
            api: node.api_addr.clone(),
            up: reply.is_some(),
            ready: reply.is_some_and(|reply| reply.ready),
            catalogue_version: reply.map(|reply| reply.catalogue_version),
            problem,
        }
    };
    catalogue.nodes.values().map(one).collect()
}

fn cluster_or_blank(id: &str) -> String {
    if id.is_empty() { "no cluster (blank)".to_owned() } else { format!("cluster {id}") }
}

fn set_view(catalogue: &Catalogue, survey: &Survey, number: u32, set: Option<&Set>) -> SetView {
    let leading = survey.leader(number).and_then(|(_, reply)| {
        let status = reply.replicas.iter().find(|r| r.set == number)?;
        Some((reply.node.clone(), status))
    });
    let leader = leading.as_ref().map(|(_, status)| *status);
    let replicas = catalogue.replicas(number).iter().map(|replica| {
        let status = survey
            .replies()
            .find(|reply| reply.node == replica.node)
            .and_then(|reply| reply.replicas.iter().find(|r| r.set == number));
        let role = match (status, replica.role) {
            (Some(status), _) => status.role.clone(),
            (None, Role::Voter) => "down".to_owned(),
            (None, Role::Learner) => "down learner".to_owned(),
        };
        ReplicaView {
            replica: replica.id,
            node: replica.node.clone(),
            site: catalogue.site_of_node(&replica.node).unwrap_or("?").to_owned(),
            role,
            applied: status.map(|s| s.applied_index),
            lag: leader.map(|leader| lag(leader, replica.id)),
            fault: status.map(|s| s.fault.clone()).filter(|fault| !fault.is_empty()),
        }
    });
    SetView {
        set: number,
        home: set.map(|s| s.home.clone()),
        configured_home: set.filter(|s| s.home != s.configured_home).map(|s| s.configured_home.clone()),
        leader: leading.as_ref().map(|(node, _)| node.clone()),
        term: leader.map(|status| status.term),
        epoch: set.map(|s| s.epoch),
        incarnation: leader.map(|status| status.incarnation).or(catalogue.incarnation(number)).unwrap_or(0),
        durability: set.map(|s| leader.map_or(s.durability.to_string(), |status| status.durability.clone())),
        phase: set.and(leader).map(|status| status.phase.clone()).filter(|phase| !phase.is_empty()),
        policy: set.map(|s| s.policy),
        pinned: set.is_some_and(|s| s.pinned),
        indexes: leader.map(|status| Indexes {
            last_log: status.last_log_index,
            committed: status.committed_index,
            applied: status.applied_index,
            safe: status.safe_index,
        }),
        rpo: rpo(survey, set, leader),
        replicas: replicas.collect(),
        replacement: replacement_view(catalogue, number),
        switch: set.and_then(|s| s.switch.as_ref()).map(|intent| SwitchView {
            id: intent.id,
            from: intent.from.clone(),
            to: intent.to.clone(),
            owner: intent.owner.clone(),
            who: intent.who.clone(),
            why: intent.why.clone(),
        }),
    }
}

/// Entries of the leader's log that `replica` is not known to hold; none for the leader itself.
pub fn lag(leader: &ReplicaStatus, replica: u64) -> u64 {
    if leader.replica == replica {
        return 0;
    }
    leader.last_log_index.saturating_sub(leader.matched.get(&replica).copied().unwrap_or(0))
}

fn rpo(survey: &Survey, set: Option<&Set>, leader: Option<&ReplicaStatus>) -> Rpo {
    let Some(set) = set else { return Rpo::NotApplicable };
    let last_safe_index = last_safe(survey, set);
    // The control set was recovered, and nobody knows what it lacks of this set.
    let known = leader.filter(|_| !set.is_unproven());
    let Some(leader) = known else { return Rpo::Unknown { last_safe_index } };
    // Both must say SYNC: the record weakens before the leader does, and strengthens after it.
    if set.durability == Durability::Sync && leader.durability == "SYNC" {
        return Rpo::Proven { waiting: leader.committed_index.saturating_sub(leader.safe_index) };
    }
    Rpo::NotProven { last_safe_index }
}

/// What a replica reports as safe is on disk in each site, in any durability state; so is what the control set has on
/// record. After a restart a leader may know less than the others: the greatest of them is the last one known.
fn last_safe(survey: &Survey, set: &Set) -> u64 {
    let of_set = |status: &&ReplicaStatus| status.set == set.id && status.incarnation == set.incarnation;
    let replicas = survey.replies().flat_map(|reply| &reply.replicas).filter(of_set);
    replicas.map(|status| status.safe_index).fold(set.last_safe_index, u64::max)
}

impl std::fmt::Display for Rpo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rpo::Proven { waiting: 0 } => f.write_str("RPO 0 proven"),
            Rpo::Proven { waiting } => write!(f, "RPO 0 proven, {waiting} held back"),
            Rpo::NotProven { last_safe_index } => write!(f, "safe up to {last_safe_index}"),
            Rpo::Unknown { last_safe_index } => write!(f, "unknown since {last_safe_index}"),
            Rpo::NotApplicable => f.write_str("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Layout;
    use twinset_control::Topology;
    use twinset_proto::cluster::v1::StatusReply;

    fn catalogue() -> Catalogue {
        let text = Layout::new("d".as_ref(), "b".as_ref(), 2, 7100).topology();
        toml::from_str::<Topology>(&text).unwrap().place("id").unwrap()
    }

    fn survey(leader: ReplicaStatus) -> Survey {
        survey_on_record(leader, 0)
    }

    fn survey_on_record(leader: ReplicaStatus, last_safe_index: u64) -> Survey {
        let mut catalogue = catalogue();
        if leader.durability == "DEGRADED" {
            let set = catalogue.sets.get_mut(&leader.set).unwrap();
            (set.durability, set.last_safe_index) = (Durability::Degraded, last_safe_index);
        }
        let node = &catalogue.replica(leader.set, leader.replica).unwrap().node;
        let reply = StatusReply {
            node: node.clone(),
            cluster_id: "id".into(),
            ready: true,
            catalogue_version: 1,
            catalogue_json: catalogue.to_json().into(),
            replicas: vec![leader],
            ..Default::default()
        };
        let mut survey = Survey::default();
        let addr = catalogue.nodes[node].api_addr.clone();
        survey.add(addr, Ok(reply));
        survey
    }

    /// The first replica of set 1 leads and knows where the second one stands.
    fn leader(durability: &str, committed: u64, safe: u64) -> ReplicaStatus {
        let catalogue = catalogue();
        let replicas = catalogue.replicas(1);
        ReplicaStatus {
            set: 1,
            replica: replicas[0].id,
            role: "leader".into(),
            term: 3,
            last_log_index: 12,
            committed_index: committed,
            safe_index: safe,
            durability: durability.into(),
            incarnation: 1,
            matched: [(replicas[1].id, 10)].into(),
            ..Default::default()
        }
    }

    fn rpo_of(status: ReplicaStatus) -> Rpo {
        view(&survey(status)).unwrap().sets[0].rpo
    }

    #[test]
    fn a_sync_set_is_proven_and_says_what_waits() {
        let view = view(&survey(leader("SYNC", 10, 10))).unwrap();
        assert_eq!(view.sets[0].rpo, Rpo::Proven { waiting: 0 });
        assert_eq!(view.sets[0].term, Some(3));
        let lags: Vec<_> = view.sets[0].replicas.iter().map(|r| r.lag.unwrap()).collect();
        assert_eq!(lags[..2], [0, 2]);
        assert_eq!(rpo_of(leader("SYNC", 10, 7)), Rpo::Proven { waiting: 3 });
    }

    /// A degraded leader has applied, and acknowledged, more than it reports as safe.
    #[test]
    fn a_degraded_set_names_its_last_safe_index() {
        for (on_record, reported, shown) in [
            (7, 7, 7),
            // The away site has caught up a little since.
            (7, 9, 9),
            // The leader was restarted, and has not heard of the away site since.
            (7, 0, 7),
        ] {
            let leader = ReplicaStatus { applied_index: 12, ..leader("DEGRADED", 12, reported) };
            let view = view(&survey_on_record(leader, on_record)).unwrap();
            assert_eq!(view.sets[0].rpo, Rpo::NotProven { last_safe_index: shown });
            assert_eq!(view.sets[0].rpo.to_string(), format!("safe up to {shown}"));
        }
    }

    #[test]
    fn a_follower_may_know_more_of_what_is_safe_than_a_restarted_leader() {
        let mut survey = survey_on_record(leader("DEGRADED", 12, 0), 7);
        let replica = &catalogue().replicas(1)[1].clone();
        let follower = ReplicaStatus {
            replica: replica.id,
            role: "follower".into(),
            matched: Default::default(),
            ..leader("DEGRADED", 12, 9)
        };
        let reply =
            StatusReply { node: replica.node.clone(), replicas: vec![follower], ..Default::default() };
        survey.add("follower".into(), Ok(reply.clone()));
        assert_eq!(view(&survey).unwrap().sets[0].rpo, Rpo::NotProven { last_safe_index: 9 });
        // Of an earlier life of the set: its indexes say nothing about this one.
        let earlier = ReplicaStatus { incarnation: 0, ..reply.replicas[0].clone() };
        survey.add("follower".into(), Ok(StatusReply { replicas: vec![earlier], ..reply }));
        assert_eq!(view(&survey).unwrap().sets[0].rpo, Rpo::NotProven { last_safe_index: 7 });
    }

    #[test]
    fn a_record_and_a_leader_that_differ_prove_nothing() {
        let mut survey = survey(leader("SYNC", 10, 10));
        survey.catalogue.as_mut().unwrap().sets.get_mut(&1).unwrap().durability = Durability::Degraded;
        assert_eq!(view(&survey).unwrap().sets[0].rpo, Rpo::NotProven { last_safe_index: 10 });
        assert_eq!(rpo_of(leader("DEGRADED", 10, 7)), Rpo::NotProven { last_safe_index: 7 });
    }

    #[test]
    fn copies_are_outsiders_until_they_are_members() {
        let catalogue = catalogue();
        let ids: Vec<u64> = catalogue.replicas(1).iter().map(|replica| replica.id).collect();
        let led = |voters: &[u64], learners: &[u64]| {
            let (voters, learners) = (voters.to_vec(), learners.to_vec());
            let leader = ReplicaStatus { voters, learners, ..leader("SYNC", 1, 1) };
            outsiders(&survey(leader)).into_iter().filter(|(set, _)| *set == 1).count()
        };
        assert_eq!((led(&ids[..3], &[]), led(&ids[..3], &ids[3..])), (1, 0));
        assert_eq!(outsiders(&survey(leader("SYNC", 1, 1))).iter().filter(|(set, _)| *set == 2).count(), 4);
    }

    #[test]
    fn a_set_that_nobody_leads_is_unknown_and_silent_nodes_are_down() {
        let view = view(&survey(leader("SYNC", 1, 1))).unwrap();
        assert!(matches!(view.sets[1].rpo, Rpo::Unknown { .. }));
        assert_eq!(view.nodes.iter().filter(|node| node.up).count(), 1);
        assert!(view.sets[1].replicas.iter().any(|r| r.role.starts_with("down")));
        assert_eq!(view.control.rpo, Rpo::NotApplicable);
    }
}
