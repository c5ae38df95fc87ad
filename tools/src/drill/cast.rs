//! Who the roles of a scenario are in a cluster: processes by what they are for the drill's set at this moment. Pure: made
//! from a survey.

use twinset_control::{CONTROL_SET, Catalogue};
use twinset_proto::cluster::v1::DrillFault;

use super::scenario::{Direction, FaultKind, Place, Role, word};
use crate::cluster::admin::Survey;
use crate::cluster::{Layout, layout};

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its name.
    pub name: String,
    /// Where it listens for gRPC.
    pub addr: String,
    /// Where it listens for HTTP.
    pub http: String,
    /// The site it stands in.
    pub site: String,
    /// Whether it is a router.
    pub router: bool,
}

/// The routers of a local cluster.
pub fn local_routers(layout: &Layout) -> Vec<Process> {
    let one = |router: &layout::Process| Process {
        name: router.name.clone(),
        addr: router.api.clone(),
        http: router.http.clone(),
        site: router.site.clone(),
        router: true,
    };
    layout.routers().map(one).collect()
}

/// The set of a drill, its sites as they were when the drill began, and the routers that are known.
#[derive(Clone, Debug)]
pub struct Cast {
    /// The set.
    pub set: u32,
    /// Its home.
    pub home: String,
    /// Its other site.
    pub away: String,
    /// The routers.
    pub routers: Vec<Process>,
}

impl Cast {
    /// The cast of a drill with that set.
    pub fn new(catalogue: &Catalogue, set: u32, routers: Vec<Process>) -> Result<Cast, String> {
        let known = catalogue.sets.get(&set).ok_or_else(|| {
            let sets: Vec<String> = catalogue.sets.keys().map(u32::to_string).collect();
            format!("there is no set {set}, only {}", sets.join(", "))
        })?;
        let away = catalogue.other_site(&known.home).ok_or("its home is no data site")?;
        Ok(Cast { set, home: known.home.clone(), away: away.to_owned(), routers })
    }

    /// The site that a place means.
    pub fn site(&self, place: Place) -> &str {
        match place {
            Place::Home => &self.home,
            Place::Away => &self.away,
        }
    }

    /// The processes that a role means now. An error if it means nobody: a fault that harms nobody proves nothing.
    pub fn players(&self, role: Role, survey: &Survey) -> Result<Vec<Process>, String> {
        let catalogue = survey.catalogue.as_ref().ok_or("no node knows a catalogue")?;
        let all = catalogue.nodes.values().map(|node| Process {
            name: node.name.clone(),
            addr: node.api_addr.clone(),
            http: node.http_addr.clone(),
            site: node.site.clone(),
            router: false,
        });
        let copies = catalogue.replicas(self.set);
        let has_copy = |name: &str| copies.iter().any(|replica| replica.node == name);
        let leader = |set: u32| survey.leader(set).map(|(_, reply)| reply.node.clone());
        let led_by = |set: u32, named: &str| leader(set).ok_or(format!("{named} has no leader that answers"));
        let in_site = |site: &str, node: &Process| node.site == site;
        let nodes: Vec<Process> = match role {
            Role::Leader => {
                let leader = led_by(self.set, &format!("set {}", self.set))?;
                all.filter(|node| node.name == leader).collect()
            }
            Role::ControlLeader => {
                let leader = led_by(CONTROL_SET, "the control set")?;
                all.filter(|node| node.name == leader).collect()
            }
            Role::Follower => {
                let leader = led_by(self.set, &format!("set {}", self.set))?;
                let site = catalogue.site_of_node(&leader).unwrap_or_default();
                all.filter(|node| node.name != leader && in_site(site, node) && has_copy(&node.name))
                    .collect()
            }
            Role::AwayCopies => {
                all.filter(|node| in_site(&self.away, node) && has_copy(&node.name)).collect()
            }
            Role::HomeNodes | Role::HomeSite => all.filter(|node| in_site(&self.home, node)).collect(),
            Role::AwayNodes | Role::AwaySite => all.filter(|node| in_site(&self.away, node)).collect(),
            Role::Arbiter => {
                all.filter(|node| catalogue.nodes.get(&node.name).is_some_and(|node| node.arbiter)).collect()
            }
            Role::HomeRouter => Vec::new(),
        };
        let routers = match role {
            Role::HomeRouter | Role::HomeSite => self.routers_of(&self.home),
            Role::AwaySite => self.routers_of(&self.away),
            _ => Vec::new(),
        };
        let found: Vec<Process> = nodes.into_iter().chain(routers).collect();
        if found.is_empty() {
            return Err(format!("nobody here is {}", word(&role)));
        }
        Ok(found)
    }

    fn routers_of(&self, site: &str) -> Vec<Process> {
        self.routers.iter().filter(|router| router.site == site).cloned().collect()
    }

    /// A fault as a call names it.
    pub fn fault(
        &self,
        kind: FaultKind,
        by_ms: Option<i64>,
        with: Option<Role>,
        direction: Option<Direction>,
        survey: &Survey,
    ) -> Result<DrillFault, String> {
        let mut fault =
            DrillFault { kind: word(&kind), by_ms: by_ms.unwrap_or_default(), ..DrillFault::default() };
        let Some(with) = with else { return Ok(fault) };
        fault.direction = word(&direction.unwrap_or(Direction::Both));
        match with {
            Role::HomeNodes | Role::HomeSite | Role::HomeRouter => fault.site.clone_from(&self.home),
            Role::AwayNodes | Role::AwaySite => fault.site.clone_from(&self.away),
            Role::Leader | Role::Follower | Role::AwayCopies | Role::Arbiter | Role::ControlLeader => {
                let players = self.players(with, survey)?;
                let [one] = players.as_slice() else {
                    return Err(format!("{} is more than one node, the other end is one", word(&with)));
                };
                fault.node.clone_from(&one.name);
            }
        }
        Ok(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twinset_control::Topology;
    use twinset_proto::cluster::v1::{ReplicaStatus, StatusReply};

    /// Two sets, each led by its first replica; the first one of the control set leads it.
    fn survey() -> Survey {
        let text = Layout::new("d".as_ref(), "b".as_ref(), 2, 7100).topology();
        let catalogue = toml::from_str::<Topology>(&text).unwrap().place("id").unwrap();
        let mut survey = Survey::default();
        for node in catalogue.nodes.values() {
            let leads = |set: u32| {
                let first = catalogue.replicas(set).first()?;
                let role = if first.node == node.name { "leader" } else { "follower" };
                Some(ReplicaStatus {
                    set,
                    role: role.into(),
                    term: 1,
                    incarnation: 1,
                    ..ReplicaStatus::default()
                })
            };
            let reply = StatusReply {
                node: node.name.clone(),
                catalogue_json: catalogue.to_json().into(),
                replicas: (0..=2).filter_map(leads).collect(),
                ..StatusReply::default()
            };
            survey.add(node.api_addr.clone(), Ok(reply));
        }
        survey
    }

    fn cast(survey: &Survey) -> Cast {
        let router = |name: &str, site: &str| Process {
            name: name.into(),
            addr: "r".into(),
            http: "r".into(),
            site: site.into(),
            router: true,
        };
        let routers = vec![router("ra", "A"), router("rb", "B")];
        Cast::new(survey.catalogue.as_ref().unwrap(), 1, routers).unwrap()
    }

    #[test]
    fn roles_are_found_for_the_set() {
        let survey = survey();
        let cast = cast(&survey);
        assert_eq!((cast.home.as_str(), cast.away.as_str()), ("A", "B"));
        let named = |role| {
            let players = cast.players(role, &survey).unwrap();
            players.into_iter().map(|process| process.name).collect::<Vec<_>>().join(" ")
        };
        let leader = named(Role::Leader);
        assert!(leader.starts_with('a'), "{leader}");
        assert_ne!(named(Role::Follower), leader);
        assert_eq!(named(Role::AwayCopies), "b1 b2");
        assert_eq!(named(Role::HomeSite), "a1 a2 ra");
        assert_eq!(named(Role::AwaySite), "b1 b2 rb");
        assert_eq!((named(Role::HomeRouter), named(Role::Arbiter)), ("ra".into(), "c1".into()));
        assert!(!named(Role::ControlLeader).contains(' '));
        assert_eq!(cast.site(Place::Away), "B");
    }

    #[test]
    fn a_role_that_is_nobody_is_an_error() {
        let survey = survey();
        let lonely = Cast { routers: Vec::new(), ..cast(&survey) };
        assert_eq!(lonely.players(Role::HomeRouter, &survey).unwrap_err(), "nobody here is home-router");
        let nobody = lonely.players(Role::Leader, &Survey { answers: Default::default(), ..survey });
        assert_eq!(nobody.unwrap_err(), "set 1 has no leader that answers");
        let catalogue = Survey::default();
        assert!(lonely.players(Role::Leader, &catalogue).is_err());
    }

    #[test]
    fn the_other_end_is_a_site_or_one_node() {
        let survey = survey();
        let cast = cast(&survey);
        let end = |with| cast.fault(FaultKind::Drop, None, Some(with), None, &survey);
        let site = end(Role::AwayNodes).unwrap();
        assert_eq!((site.site.as_str(), site.node.as_str(), site.direction.as_str()), ("B", "", "both"));
        assert_eq!(end(Role::Arbiter).unwrap().node, "c1");
        assert!(end(Role::AwayCopies).unwrap_err().contains("more than one node"));
    }
}
