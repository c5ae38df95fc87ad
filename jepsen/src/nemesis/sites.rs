//! What happens to whole sites: one is lost, the arbiter is lost, one is left by plan. Draws; does nothing to anybody.

use twinset_control::{Catalogue, Role};
use twinset_tools::cluster::layout::{Kind, Layout};
use twinset_tools::load::random::Random;

use super::{Fault, Lame};

/// Of a hundred lost sites, so many have a set at home, if any site has one: those are recovered.
const HOME_PERCENT: usize = 85;
/// Of a hundred lost sites, so many find a voter of the other one behind.
const LAME_PERCENT: usize = 50;
/// Of a hundred losses of the arbiter, so many take a site with it.
const TOGETHER_PERCENT: usize = 25;

/// A site that is lost.
pub fn loss(random: &mut Random, layout: &Layout, catalogue: Option<&Catalogue>) -> Fault {
    let site = site(random, layout, catalogue);
    let lame = (random.below(100) < LAME_PERCENT).then(|| {
        let victim = survivor(random, layout, catalogue, &site);
        Lame { victim, for_ms: 300 + random.below(3_000) as u64 }
    });
    let down_ms = 2_000 + random.below(6_000) as u64;
    Fault::SiteLoss { victims: of_site(layout, &site), site, arbiter: None, lame, down_ms }
}

/// The arbiter is lost, alone or together with a site: then nobody can record anything until one of them is back.
pub fn arbiter(random: &mut Random, layout: &Layout, catalogue: Option<&Catalogue>) -> Fault {
    let arbiter = layout.processes.iter().find(|process| process.kind == Kind::Arbiter);
    let victim = arbiter.map_or_else(String::new, |process| process.name.clone());
    let down_ms = 2_000 + random.below(4_000) as u64;
    if random.below(100) >= TOGETHER_PERCENT {
        return Fault::ArbiterLoss { victim, down_ms };
    }
    let site = site(random, layout, catalogue);
    Fault::SiteLoss { victims: of_site(layout, &site), site, arbiter: Some(victim), lame: None, down_ms }
}

/// A site that is left by plan.
pub fn evacuation(random: &mut Random, layout: &Layout, catalogue: Option<&Catalogue>) -> Fault {
    let site = site(random, layout, catalogue);
    let mut one_of = |count| random.below(count) == 0;
    let emergency = one_of(3);
    Fault::Evacuation { site, emergency, stopped: one_of(2), conductor_dies: one_of(3) }
}

fn site(random: &mut Random, layout: &Layout, catalogue: Option<&Catalogue>) -> String {
    let sites: Vec<&String> = layout.routers().map(|router| &router.site).collect();
    let is_home = |site: &&&String| {
        catalogue.is_some_and(|catalogue| catalogue.sets.values().any(|set| set.home == ***site))
    };
    let homes: Vec<&&String> = sites.iter().filter(is_home).collect();
    let (any, home) = (sites[random.below(sites.len())], random.below(100) < HOME_PERCENT);
    match homes.len() {
        1.. if home => (*homes[random.below(homes.len())]).clone(),
        _ => any.clone(),
    }
}

/// Its nodes and its router.
fn of_site(layout: &Layout, site: &str) -> Vec<String> {
    let of_it = layout.processes.iter().filter(|process| process.site == site);
    of_it.map(|process| process.name.clone()).collect()
}

/// A node of another site; if a set is at home in the one that is lost, a voter of it: the learner then has more than
/// it.
fn survivor(random: &mut Random, layout: &Layout, catalogue: Option<&Catalogue>, lost: &str) -> String {
    let nodes = layout.nodes().filter(|node| node.kind == Kind::Node && node.site != lost);
    let nodes: Vec<&String> = nodes.map(|node| &node.name).collect();
    let votes = |name: &&&String| {
        let sets = catalogue.into_iter().flat_map(|catalogue| catalogue.sets.values());
        sets.filter(|set| set.home == lost)
            .flat_map(|set| &set.replicas)
            .any(|replica| replica.node == ***name && replica.role == Role::Voter)
    };
    let voters: Vec<&&String> = nodes.iter().filter(votes).collect();
    let any = nodes[random.below(nodes.len())];
    match voters.len() {
        0 => any.clone(),
        some => (*voters[random.below(some)]).clone(),
    }
}
