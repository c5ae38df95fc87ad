//! Whether a site can be powered off: set by set, and the control set. Pure: made from one survey. A site whose nodes
//! do not answer is no obstacle; those of the other one must.

use serde::Serialize;
use twinset_control::{CONTROL_SET, Catalogue, Durability, Policy, Role, Set};

use super::checks::LAG_NOTED;
use crate::cluster::admin::Survey;
use crate::view;

/// The verdict on a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// The site.
    pub site: String,
    /// Whether nothing speaks against it.
    pub ready: bool,
    /// Of the control set.
    pub control: Part,
    /// Of every set.
    pub sets: Vec<Part>,
}

/// One set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Its number; that of the control set is 0.
    pub set: u32,
    /// Whether it goes on without the site.
    pub ready: bool,
    /// Why not, and what to do.
    pub why_not: Vec<String>,
    /// What becomes of it without the site, if that is not as usual.
    pub note: Option<String>,
}

impl Part {
    fn new(set: u32, why_not: Vec<String>, note: Option<String>) -> Part {
        Part { set, ready: why_not.is_empty(), why_not, note }
    }
}

/// Judges the site.
pub fn judge(survey: &Survey, catalogue: &Catalogue, site: &str) -> Readiness {
    let control = Part::new(CONTROL_SET, control(survey, catalogue, site), None);
    let part = |set: &Set| {
        let waits =
            will_wait(set).then(|| format!("its policy is max-protection: its answers wait for {site}"));
        Part::new(set.id, set_stays(survey, catalogue, set, site), waits)
    };
    let sets: Vec<Part> = catalogue.sets.values().map(part).collect();
    let ready = control.ready && sets.iter().all(|part| part.ready);
    Readiness { site: site.to_owned(), ready, control, sets }
}

fn control(survey: &Survey, catalogue: &Catalogue, site: &str) -> Vec<String> {
    let mut why_not = Vec::new();
    if let Some(plan) = catalogue.active_plans().next() {
        why_not.push(format!("plan {} ({}) is {}: wait for its end", plan.id, plan.kind, plan.state));
    }
    if catalogue.sites.get(site).is_some_and(|site| !site.isolated) {
        why_not.push(format!("site {site} is not marked as isolated: `twinset isolate {site}`"));
    }
    let voters: Vec<u64> =
        catalogue.replicas(CONTROL_SET).iter().filter(|r| r.role == Role::Voter).map(|r| r.id).collect();
    why_not.extend(majority(catalogue, CONTROL_SET, &voters, site));
    match survey.leader(CONTROL_SET) {
        None => why_not.push("it has no leader that answers".to_owned()),
        Some((_, leader)) if catalogue.site_of_node(&leader.node) == Some(site) => {
            why_not.push(format!("{} leads it: an isolated site hands it over within seconds", leader.node));
        }
        Some(_) => {}
    }
    let needed = catalogue.replicas(CONTROL_SET).iter().map(|replica| &replica.node);
    why_not.extend(silent(survey, catalogue, needed, site));
    why_not
}

fn set_stays(survey: &Survey, catalogue: &Catalogue, set: &Set, site: &str) -> Vec<String> {
    let mut why_not = Vec::new();
    if set.home == site {
        why_not.push(format!("it is at home in {site}: `twinset evacuate {site}`"));
    }
    if let Some(switch) = &set.switch {
        why_not.push(format!("switch {} is under way: wait for its end", switch.id));
    }
    let Some(leader) = survey.leader_status(set.id) else {
        why_not.push("it has no leader that answers: wait for an election".to_owned());
        return why_not;
    };
    if catalogue.site_of_replica(set.id, leader.replica) == Some(site) {
        why_not.push(format!("its leader stands in {site}: it goes home within seconds"));
    }
    why_not.extend(majority(catalogue, set.id, &leader.voters, site));
    let degraded = set.durability == Durability::Degraded;
    if !degraded && !will_wait(set) {
        why_not.push(format!(
            "it is {} on record: its answers would wait for {site}: `twinset isolate {site}`",
            set.durability
        ));
    }
    if degraded && leader.durability != "DEGRADED" {
        why_not.push("DEGRADED is on record and not in force yet".to_owned());
    }
    let voters = set.replicas.iter().filter(|r| leader.voters.contains(&r.id));
    why_not.extend(silent(survey, catalogue, voters.clone().map(|r| &r.node), site));
    for replica in voters.filter(|r| catalogue.site_of_node(&r.node) != Some(site)) {
        let lag = view::lag(leader, replica.id);
        if lag > LAG_NOTED {
            why_not.push(format!("its copy on {} lacks {lag} entries: wait until it follows", replica.node));
        }
    }
    why_not
}

/// Whether the set waits for its away site: whoever chose that policy wants no answer from one site alone.
fn will_wait(set: &Set) -> bool {
    set.policy == Policy::MaxProtection && set.durability == Durability::Sync
}

/// Speaks against it if half of the voters, or more, stand in the site.
fn majority(catalogue: &Catalogue, set: u32, voters: &[u64], site: &str) -> Option<String> {
    let inside = voters.iter().filter(|id| catalogue.site_of_replica(set, **id) == Some(site)).count();
    let all = voters.len();
    (2 * (all - inside) <= all).then(|| format!("{inside} of its {all} voters stand in {site}"))
}

/// The nodes outside the site that are needed without it, and are not there.
fn silent<'a>(
    survey: &Survey,
    catalogue: &Catalogue,
    nodes: impl Iterator<Item = &'a String>,
    site: &str,
) -> Vec<String> {
    let outside = nodes.filter(|node| catalogue.site_of_node(node) != Some(site));
    let silent = outside.filter(|node| survey.reply_of(node).is_none_or(|reply| !reply.ready));
    silent.map(|node| format!("{node} is needed without {site}, and is not ready")).collect()
}
