//! Draws faults on links: pure, from a seed and the names of a layout. What they do to packets is for [`crate::net`].
//!
//! Only links that a working cluster uses all the time are drawn, so that a fault that was not seen to act tells of a
//! mistake and not of a quiet link: whole ends and sites, never a single pair of nodes. It takes for granted that clients of
//! each site ask the routers of both.

use twinset_tools::cluster::layout::{Kind, Layout};
use twinset_tools::load::random::Random;

use super::{Fault, Link};
use crate::net::plan::clients_of;
use crate::net::rules::RESET;

/// What a partition looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One process hears nobody and is heard by nobody.
    Node,
    /// A leader and the other nodes do not hear each other; routers reach it, one of them maybe nobody else.
    Leader,
    /// The two sites, clients included, are apart; a third place sees both.
    SiteSplit,
    /// One process, or one site towards the other, speaks or hears, not both.
    OneWay,
    /// Two halves of the nodes see only one node in common.
    Bridge,
    /// Each node sees its two neighbours in a ring only: all have a majority, no two the same one.
    Ring,
    /// The clients of a site do not reach the routers of one.
    Client,
}

impl Shape {
    /// All shapes.
    pub const ALL: [Shape; 7] = [
        Shape::Node,
        Shape::Leader,
        Shape::SiteSplit,
        Shape::OneWay,
        Shape::Bridge,
        Shape::Ring,
        Shape::Client,
    ];

    /// Its word in [`Fault::Partition`].
    pub fn word(self) -> &'static str {
        match self {
            Shape::Node => "node",
            Shape::Leader => "leader",
            Shape::SiteSplit => "site_split",
            Shape::OneWay => "one_way",
            Shape::Bridge => "bridge",
            Shape::Ring => "ring",
            Shape::Client => "client",
        }
    }
}

/// Draws a partition of that shape, silent or, one in four, with resets. `leader` leads a set.
pub fn partition(random: &mut Random, layout: &Layout, leader: &str, shape: Shape) -> Fault {
    let ends = ends(layout);
    let cut = match shape {
        Shape::Node => both_ways(&around(random, &ends)),
        Shape::Leader => from_peers(random, layout, leader),
        Shape::SiteSplit => between_sites(&ends, |_, _| true),
        Shape::OneWay => one_way(random, &ends),
        Shape::Bridge => bridge(random, layout),
        Shape::Ring => ring(random, layout),
        Shape::Client => client(random, &ends),
    };
    let reset = if random.below(4) == 0 { RESET } else { "" };
    Fault::Partition { shape: format!("{}{reset}", shape.word()), cut, for_ms: duration_ms(random) }
}

/// Draws a delay between the sites, or around one process, from a metropolitan line to a very bad one.
pub fn delay(random: &mut Random, layout: &Layout) -> Fault {
    let links = some_links(random, &ends(layout));
    let delay_ms = [2, 10, 40, 150][random.below(4)];
    let jitter_ms = random.below(2 * delay_ms + 1) as u64;
    Fault::Delay { links, delay_ms: delay_ms as u64, jitter_ms, for_ms: duration_ms(random) }
}

/// What each packet between the sites waits for, each way; clients speak with the router of their own site.
pub fn between(layout: &Layout, delay_ms: u64) -> Fault {
    let links = between_sites(&ends(layout), |_, _| true);
    Fault::Delay { links, delay_ms, jitter_ms: 0, for_ms: 0 }
}

/// Draws a loss between the sites, or around one process. The arbiter sends and hears so little that none of it may be lost
/// in the time.
pub fn loss(random: &mut Random, layout: &Layout) -> Fault {
    let mut busy = ends(layout);
    busy.retain(|end| end.kind != Some(Kind::Arbiter));
    let links = some_links(random, &busy);
    let percent = [5, 15, 30][random.below(3)];
    Fault::Loss { links, percent, for_ms: duration_ms(random) }
}

/// Long enough for elections, leases and retries, short enough for many in a run.
fn duration_ms(random: &mut Random) -> u64 {
    2_000 + random.below(6_000) as u64
}

/// An end of links as drawing sees it.
#[derive(Clone, Debug)]
struct End {
    name: String,
    site: String,
    /// None: clients.
    kind: Option<Kind>,
}

fn ends(layout: &Layout) -> Vec<End> {
    let process = |process: &twinset_tools::cluster::layout::Process| End {
        name: process.name.clone(),
        site: process.site.clone(),
        kind: Some(process.kind),
    };
    let clients = |router: &twinset_tools::cluster::layout::Process| End {
        name: clients_of(&router.site),
        site: router.site.clone(),
        kind: None,
    };
    let mut ends: Vec<End> =
        layout.processes.iter().map(process).chain(layout.routers().map(clients)).collect();
    ends.dedup_by(|a, b| a.name == b.name);
    ends
}

/// Whether two ends ever speak with each other: clients with routers alone, routers with no router.
fn speak(a: &End, b: &End) -> bool {
    match (a.kind, b.kind) {
        (None, other) | (other, None) => other == Some(Kind::Router),
        (Some(Kind::Router), Some(Kind::Router)) => false,
        _ => a.name != b.name,
    }
}

fn link(from: &End, to: &End) -> Link {
    Link { from: from.name.clone(), to: to.name.clone() }
}

/// Each link and its way back.
fn both_ways(links: &[Link]) -> Vec<Link> {
    let back = |link: &Link| Link { from: link.to.clone(), to: link.from.clone() };
    links.iter().flat_map(|link| [link.clone(), back(link)]).collect()
}

/// The links from one process to everybody that it speaks with.
fn around(random: &mut Random, ends: &[End]) -> Vec<Link> {
    let processes: Vec<&End> = ends.iter().filter(|end| end.kind.is_some()).collect();
    let from = processes[random.below(processes.len())];
    ends.iter().filter(|to| speak(from, to)).map(|to| link(from, to)).collect()
}

/// A leader hears no other node, and every other time a router hears no node but this leader: who asks there is answered by
/// nobody else.
fn from_peers(random: &mut Random, layout: &Layout, leader: &str) -> Vec<Link> {
    let routers: Vec<&str> = layout.routers().map(|router| router.name.as_str()).collect();
    let router = (random.below(2) == 0).then(|| routers[random.below(routers.len())]);
    let peers: Vec<&str> =
        layout.nodes().map(|node| node.name.as_str()).filter(|name| *name != leader).collect();
    let link = |from: &str, to: &str| Link { from: from.to_owned(), to: to.to_owned() };
    let beside = std::iter::once(leader).chain(router);
    both_ways(&beside.flat_map(|from| peers.iter().map(move |to| link(from, to))).collect::<Vec<_>>())
}

/// The links between the sites that have clients, in the directions that `wanted` says.
fn between_sites(ends: &[End], wanted: impl Fn(&End, &End) -> bool) -> Vec<Link> {
    let sited = |end: &&End| end.kind != Some(Kind::Arbiter);
    let pairs = ends.iter().filter(sited).flat_map(|a| ends.iter().filter(sited).map(move |b| (a, b)));
    let apart = pairs.filter(|(a, b)| a.site != b.site && speak(a, b) && wanted(a, b));
    apart.map(|(a, b)| link(a, b)).collect()
}

fn one_way(random: &mut Random, ends: &[End]) -> Vec<Link> {
    if random.below(2) == 0 {
        let clients: Vec<&End> = ends.iter().filter(|end| end.kind.is_none()).collect();
        let from = &clients[random.below(clients.len())].site;
        return between_sites(ends, |a, _| a.site == *from);
    }
    let links = around(random, ends);
    if random.below(2) == 0 {
        return links;
    }
    links.into_iter().map(|link| Link { from: link.to, to: link.from }).collect()
}

fn shuffled_nodes(random: &mut Random, layout: &Layout) -> Vec<String> {
    let mut nodes: Vec<String> = layout.nodes().map(|node| node.name.clone()).collect();
    for at in (1..nodes.len()).rev() {
        nodes.swap(at, random.below(at + 1));
    }
    nodes
}

fn bridge(random: &mut Random, layout: &Layout) -> Vec<Link> {
    let nodes = shuffled_nodes(random, layout);
    // The first is the bridge.
    let (left, right) = nodes[1..].split_at((nodes.len() - 1) / 2);
    let across = left.iter().flat_map(|a| right.iter().map(move |b| Link { from: a.clone(), to: b.clone() }));
    both_ways(&across.collect::<Vec<_>>())
}

fn ring(random: &mut Random, layout: &Layout) -> Vec<Link> {
    let nodes = shuffled_nodes(random, layout);
    let mut links = Vec::new();
    for (at, from) in nodes.iter().enumerate() {
        for (other, to) in nodes.iter().enumerate() {
            let apart = at.abs_diff(other);
            if apart > 1 && apart < nodes.len() - 1 {
                links.push(Link { from: from.clone(), to: to.clone() });
            }
        }
    }
    links
}

fn client(random: &mut Random, ends: &[End]) -> Vec<Link> {
    let clients: Vec<&End> = ends.iter().filter(|end| end.kind.is_none()).collect();
    let routers: Vec<&End> = ends.iter().filter(|end| end.kind == Some(Kind::Router)).collect();
    let from = clients[random.below(clients.len())];
    let site = &routers[random.below(routers.len())].site;
    let cut: Vec<Link> = routers.iter().filter(|to| to.site == *site).map(|to| link(from, to)).collect();
    both_ways(&cut)
}

fn some_links(random: &mut Random, ends: &[End]) -> Vec<Link> {
    match random.below(3) {
        0 => between_sites(ends, |_, _| true),
        1 => one_way(random, ends),
        _ => both_ways(&around(random, ends)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::plan::Plan;
    use crate::net::rules::Rules;
    use std::collections::BTreeSet;

    fn layout() -> Layout {
        Layout::new("d".as_ref(), "b".as_ref(), 2, 7100)
    }

    fn draw(seed: u64) -> Vec<Fault> {
        let (mut random, layout) = (Random::seeded(seed), layout());
        let mut one = |shape| {
            let cut = partition(&mut random, &layout, "a1", shape);
            [cut, delay(&mut random, &layout), loss(&mut random, &layout)]
        };
        Shape::ALL.into_iter().cycle().take(300).flat_map(&mut one).collect()
    }

    fn links(fault: &Fault) -> &[Link] {
        match fault {
            Fault::Partition { cut: links, .. } | Fault::Delay { links, .. } | Fault::Loss { links, .. } => {
                links
            }
            other => panic!("no fault on links: {other:?}"),
        }
    }

    fn of_shape(seed: u64, shape: Shape) -> Vec<(String, String)> {
        let fault = partition(&mut Random::seeded(seed), &layout(), "b1", shape);
        links(&fault).iter().map(|link| (link.from.clone(), link.to.clone())).collect()
    }

    #[test]
    fn the_same_seed_draws_the_same_faults() {
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn every_shape_and_every_link_that_is_used_is_drawn_some_time() {
        let drawn = draw(3);
        for shape in Shape::ALL {
            for reset in ["", RESET] {
                let word = format!("{}{reset}", shape.word());
                let of_it = |fault: &Fault| matches!(fault, Fault::Partition { shape, .. } if *shape == word);
                assert!(drawn.iter().any(of_it), "{word}");
            }
        }
        let kind = |fault: &&Fault, wanted: usize| match fault {
            Fault::Partition { .. } => wanted == 0,
            Fault::Delay { .. } => wanted == 1,
            _ => wanted == 2,
        };
        for wanted in 0..3 {
            let hurt: BTreeSet<&Link> =
                drawn.iter().filter(|fault| kind(fault, wanted)).flat_map(links).collect();
            let mut ends = ends(&layout());
            ends.retain(|end| wanted != 2 || end.kind != Some(Kind::Arbiter));
            for from in &ends {
                for to in ends.iter().filter(|to| speak(from, to)) {
                    assert!(hurt.contains(&link(from, to)), "{} to {}", from.name, to.name);
                }
            }
        }
    }

    #[test]
    fn whatever_is_drawn_can_be_done() {
        let plan = Plan::new(&layout());
        for fault in draw(4) {
            let unique: BTreeSet<&Link> = links(&fault).iter().collect();
            assert_eq!(unique.len(), links(&fault).len(), "{fault:?}");
            Rules::new(&plan, 1, &fault).unwrap();
        }
    }

    #[test]
    fn a_split_leaves_each_site_whole_and_the_arbiter_in_touch() {
        let cut = of_shape(1, Shape::SiteSplit);
        let site =
            |name: &str| if name.starts_with('a') || name == "ra" || name == "client-A" { 'A' } else { 'B' };
        assert!(cut.iter().all(|(from, to)| site(from) != site(to) && from != "c1" && to != "c1"), "{cut:?}");
        // Four pairs of nodes, a router and two nodes each way, clients and the other site's router each way.
        assert_eq!(cut.len(), 2 * (4 + 4 + 2));
    }

    #[test]
    fn in_a_ring_each_node_sees_two_others_and_over_a_bridge_two_halves_see_one() {
        for seed in 0..20 {
            for (shape, lost) in [(Shape::Ring, vec![2; 5]), (Shape::Bridge, vec![0, 2, 2, 2, 2])] {
                let cut = of_shape(seed, shape);
                let unheard = |name: &str| cut.iter().filter(|(from, _)| from == name).count();
                let mut counts: Vec<usize> = ["a1", "a2", "b1", "b2", "c1"].map(unheard).to_vec();
                counts.sort_unstable();
                assert_eq!(counts, lost, "{shape:?}: {cut:?}");
                assert!(cut.iter().all(|(from, to)| cut.contains(&(to.clone(), from.clone()))));
            }
        }
    }

    #[test]
    fn a_leader_loses_the_nodes_and_keeps_the_routers_of_which_one_may_have_nobody_else() {
        let mut alone = BTreeSet::new();
        for seed in 0..40 {
            let cut = of_shape(seed, Shape::Leader);
            assert!(cut.iter().all(|(from, to)| cut.contains(&(to.clone(), from.clone()))), "{cut:?}");
            let lost = |name: &str| cut.iter().filter(|(from, _)| from == name).count();
            assert_eq!(lost("b1"), 4, "{cut:?}");
            let routers: Vec<&str> = ["ra", "rb"].into_iter().filter(|router| lost(router) > 0).collect();
            assert!(routers.iter().all(|router| lost(router) == 4) && routers.len() < 2, "{cut:?}");
            alone.extend([routers.first().copied()]);
        }
        assert_eq!(alone.len(), 3, "none, or either router: {alone:?}");
    }

    #[test]
    fn one_way_is_one_way() {
        for seed in 0..50 {
            let cut = of_shape(seed, Shape::OneWay);
            assert!(cut.iter().all(|(from, to)| !cut.contains(&(to.clone(), from.clone()))), "{cut:?}");
        }
    }
}
