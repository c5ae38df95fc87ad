//! What a forced recovery would do to sets that have lost their majority with a site, as the nodes that answer say it. Pure: asks
//! nobody. `cmd/recover.rs` stands above.

use serde::Serialize;
use twinset_control::recovery::{may_lose, replaced_in};
use twinset_control::{Durability, Replica, Role, Set};

use crate::cluster::admin::Survey;

/// What would be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// Names exactly this plan: another one is made when anything in it has changed.
    pub id: String,
    /// The site that survives.
    pub site: String,
    /// The sets that would be recovered there.
    pub sets: Vec<PlannedSet>,
    /// Sets that need none, or cannot have one, and why.
    pub others: Vec<OtherSet>,
}

/// A set that would be recovered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedSet {
    /// Its number.
    pub set: u32,
    /// The incarnation that it has.
    pub incarnation: u32,
    /// What is on record: of SYNC nothing acknowledged is lost.
    pub durability: Durability,
    /// The last index known to be on disk in both sites.
    pub last_safe_index: u64,
    /// Whether something that was acknowledged may be lost.
    pub may_lose: bool,
    /// Whether a replica that is being replaced does not answer, and is given up.
    pub without_replaced: bool,
    /// Who goes on.
    pub survivors: Vec<Survivor>,
    /// Who is left behind.
    pub lost: Vec<String>,
    /// What it may cost, in words.
    pub cost: String,
}

/// A replica that goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Survivor {
    /// Its id.
    pub replica: u64,
    /// Where it stands.
    pub node: String,
    /// The last entry of its log; none: the node does not answer.
    pub last_log_index: Option<u64>,
}

/// A set that would not be recovered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OtherSet {
    /// Its number.
    pub set: u32,
    /// Why.
    pub why: String,
}

/// Plans the recovery of every set that has no leader, in `site`.
pub fn plan(survey: &Survey, site: &str) -> anyhow::Result<Plan> {
    let catalogue = survey.catalogue()?;
    let (mut sets, mut others) = (Vec::new(), Vec::new());
    for set in catalogue.sets.values() {
        match planned(survey, set, site)? {
            Ok(planned) => sets.push(planned),
            Err(why) => others.push(OtherSet { set: set.id, why }),
        }
    }
    let id = id(site, &sets);
    Ok(Plan { id, site: site.to_owned(), sets, others })
}

fn planned(survey: &Survey, set: &Set, site: &str) -> anyhow::Result<Result<PlannedSet, String>> {
    let catalogue = survey.catalogue()?;
    if let Some(recovery) = &set.recovery {
        return Ok(Err(format!("recovery {} in site {} is under way", recovery.id, recovery.site)));
    }
    let status = |replica: &Replica| {
        let reply = survey.replies().find(|reply| reply.node == replica.node)?;
        reply.replicas.iter().find(|status| status.set == set.id && status.replica == replica.id)
    };
    // Where nobody knows whether it went on in the other site alone, a majority here proves nothing while that one is silent.
    let away = set.replicas.iter().filter(|replica| catalogue.site_of_node(&replica.node) != Some(site));
    let whole = away.clone().any(|replica| status(replica).is_some());
    let unproven = set.is_unproven() && !whole;
    if let Some((_, leader)) = survey.leader(set.id).filter(|_| !unproven) {
        let until = if set.is_unproven() {
            ": it returns to SYNC by itself when both sites have all of it"
        } else {
            ""
        };
        return Ok(Err(format!("{} leads it{until}", leader.node)));
    }
    // One that is being replaced is usually dead, and then nobody waits for it.
    let replaced = replaced_in(catalogue, set, site);
    let replaced = set.replicas.iter().find(|replica| Some(replica.id) == replaced);
    let dead = replaced.filter(|replica| status(replica).is_none()).map(|replica| replica.id);
    let here =
        |replica: &&Replica| catalogue.site_of_node(&replica.node) == Some(site) && Some(replica.id) != dead;
    let survivors: Vec<Survivor> = set
        .replicas
        .iter()
        .filter(here)
        .map(|replica| Survivor {
            replica: replica.id,
            node: replica.node.clone(),
            last_log_index: match status(replica) {
                Some(status) => Some(status.last_log_index),
                // A recovery that the control set has forgotten has fenced it: it is closed, and there.
                None if unproven && survey.reply_of(&replica.node).is_some() => Some(0),
                None => None,
            },
        })
        .collect();
    if survivors.is_empty() {
        return Ok(Err(format!("it has no copy in site {site}")));
    }
    if let Some(silent) = survivors.iter().find(|survivor| survivor.last_log_index.is_none()) {
        return Ok(Err(format!("{} does not answer: every copy in site {site} must be fenced", silent.node)));
    }
    let voters = set.replicas.iter().filter(|replica| replica.role == Role::Voter);
    let (mine, all) = (voters.clone().filter(here).count(), voters.count());
    if mine > all / 2 && !unproven {
        return Ok(Err(format!("it has its majority in site {site}: it elects a leader by itself")));
    }
    let lost =
        set.replicas.iter().filter(|replica| !here(replica)).map(|replica| replica.node.clone()).collect();
    let loss = may_lose(catalogue, set, site, dead.is_some());
    let cost = match set.durability {
        _ if set.is_unproven() => format!(
            "whether it went on in the other site alone after index {} cannot be known: what was acknowledged there then may be lost; \
             the lost copies are kept until somebody has seen them",
            set.last_safe_index
        ),
        Durability::Sync if loss.is_some() => {
            "a copy is being replaced there: what only that one held may be lost; the lost copies are kept until \
             somebody has seen them"
                .to_owned()
        }
        Durability::Sync => "nothing that was acknowledged is lost".to_owned(),
        Durability::Degraded => format!(
            "what was acknowledged after index {} may be lost; the lost copies are kept until somebody has seen them",
            set.last_safe_index
        ),
    };
    Ok(Ok(PlannedSet {
        set: set.id,
        incarnation: set.incarnation,
        durability: set.durability,
        last_safe_index: set.last_safe_index,
        may_lose: loss.is_some(),
        without_replaced: dead.is_some(),
        survivors,
        lost,
        cost,
    }))
}

/// Of what is planned, but for how far the logs have come: a survivor may still be receiving.
fn id(site: &str, sets: &[PlannedSet]) -> String {
    let each = sets.iter().map(|set| {
        let survivors: Vec<u64> = set.survivors.iter().map(|survivor| survivor.replica).collect();
        format!("{} {} {} {} {survivors:?}", set.set, set.incarnation, set.durability, set.may_lose)
    });
    name_of(std::iter::once(site.to_owned()).chain(each))
}

/// A plan's name: FNV-1a over what it says.
pub(crate) fn name_of(texts: impl Iterator<Item = String>) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for text in texts {
        for byte in text.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use twinset_control::{Catalogue, Topology};
    use twinset_proto::cluster::v1::{ReplicaStatus, StatusReply};

    use super::*;
    use crate::cluster::Layout;

    /// Set 1 is at home in A, set 2 in B; only these nodes answer, and nobody leads.
    fn survey(alive: &[&str], change: impl FnOnce(&mut Catalogue)) -> Survey {
        let text = Layout::new("d".as_ref(), "b".as_ref(), 2, 7100).topology();
        let mut catalogue = toml::from_str::<Topology>(&text).unwrap().place("id").unwrap();
        change(&mut catalogue);
        let mut survey = Survey::default();
        for node in catalogue.nodes.values() {
            let hosted = catalogue.replicas_on(&node.name).map(|(set, replica)| ReplicaStatus {
                set,
                replica: replica.id,
                last_log_index: 7,
                role: "follower".into(),
                ..Default::default()
            });
            let reply = StatusReply {
                node: node.name.clone(),
                catalogue_json: catalogue.to_json().into(),
                replicas: hosted.collect(),
                ..Default::default()
            };
            let answers = alive.contains(&node.name.as_str());
            survey.add(node.api_addr.clone(), if answers { Ok(reply) } else { Err("silent".into()) });
        }
        survey
    }

    #[test]
    fn a_set_without_its_home_site_is_planned_and_what_it_may_cost_is_said() {
        let sync = plan(&survey(&["b1", "b2", "c1"], |_| ()), "B").unwrap();
        assert_eq!(sync.sets.iter().map(|set| set.set).collect::<Vec<_>>(), [1]);
        assert_eq!(sync.sets[0].survivors.len(), 2);
        assert_eq!(sync.sets[0].lost, ["a1", "a2"]);
        assert!(sync.sets[0].cost.contains("nothing"), "{}", sync.sets[0].cost);
        assert!(sync.others[0].why.contains("by itself"), "{}", sync.others[0].why);
        let degraded = |catalogue: &mut Catalogue| {
            let set = catalogue.sets.get_mut(&1).unwrap();
            (set.durability, set.last_safe_index) = (Durability::Degraded, 5);
        };
        let degraded = plan(&survey(&["b1", "b2", "c1"], degraded), "B").unwrap();
        assert!(degraded.sets[0].cost.contains("after index 5 may be lost"), "{}", degraded.sets[0].cost);
        assert_ne!(sync.id, degraded.id, "what is confirmed is what was shown");
    }

    #[test]
    fn what_cannot_be_fenced_is_not_planned() {
        let lone = plan(&survey(&["b1", "c1"], |_| ()), "B").unwrap();
        assert!(lone.sets.is_empty());
        assert!(lone.others[0].why.starts_with("b2 does not answer"), "{}", lone.others[0].why);
    }
}
