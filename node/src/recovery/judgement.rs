//! Which sets are lost, and which copies are missing, by what the voters of the control set have heard. Pure.

use twinset_control::control_recovery::REPLICAS_MAX;
use twinset_control::recovery::may_lose;
use twinset_control::{CONTROL_SET, Catalogue, Durability, Node, Replica, Role, Set};

/// What the control set's voters have heard.
pub trait Hearing {
    /// The node was heard a moment ago.
    fn is_alive(&self, node: &str) -> bool;
    /// The node was heard a moment ago by this one itself.
    fn is_heard(&self, node: &str) -> bool;
    /// The node is silent to the arbiter, and to the voter in `site` alike.
    fn is_silent(&self, node: &str, site: &str) -> bool;
    /// Somebody leads the set, with a majority behind him, or did a moment ago.
    fn is_led(&self, set: u32) -> bool;
}

/// The site in which a set can be recovered without asking anybody: what was SYNC has lost the majority of its voters with one
/// whole site, and both of its replicas in the other one are alive. A lone survivor, a set that was DEGRADED, or replicas that are
/// lost in both sites are an operator's decision.
pub fn recoverable<'a>(catalogue: &'a Catalogue, set: &Set, heard: &impl Hearing) -> Option<&'a str> {
    let known = set.durability == Durability::Sync && !set.is_unproven();
    if set.recovery.is_some() || !known || heard.is_led(set.id) {
        return None;
    }
    catalogue.data_sites().find(|site| {
        let (here, there): (Vec<&Replica>, Vec<&Replica>) =
            set.replicas.iter().partition(|replica| catalogue.site_of_node(&replica.node) == Some(*site));
        let voters = |of: &[&Replica]| of.iter().filter(|replica| replica.role == Role::Voter).count();
        let majority = (voters(&here) + voters(&there)) / 2 + 1;
        here.len() == 2
            && here.iter().all(|replica| heard.is_alive(&replica.node))
            && !there.is_empty()
            && there.iter().all(|replica| heard.is_silent(&replica.node, site))
            && voters(&here) < majority
            && may_lose(catalogue, set, site, true).is_none()
    })
}

/// A node that is to get a copy of a set which has fewer than two in its site: the one that hosts the fewest. Those that are alive
/// and hold nothing that an operator must see first.
pub fn place_for<'a>(catalogue: &'a Catalogue, set: &Set, heard: &impl Hearing) -> Option<&'a str> {
    if set.recovery.is_some() || set.switch.is_some() || set.is_unproven() {
        return None;
    }
    let site_lacks = |site: &&str| {
        set.replicas.iter().filter(|r| catalogue.site_of_node(&r.node) == Some(*site)).count() < 2
    };
    let site = catalogue.data_sites().find(site_lacks)?;
    let kept = |node: &str| {
        let lost = set.recovered.iter().flat_map(|recovered| &recovered.lost);
        lost.into_iter().any(|lost| lost.node == node && lost.kept)
    };
    let candidates = catalogue.nodes.values().filter(|node| {
        node.site == site
            && !node.arbiter
            && heard.is_alive(&node.name)
            && !kept(&node.name)
            && set.replicas.iter().all(|replica| replica.node != node.name)
    });
    candidates.map(|node| node.name.as_str()).min_by_key(|node| catalogue.replicas_on(node).count())
}

/// A node that is to get a copy of the control set, which was recovered without its majority: in a place that has none, the arbiter's
/// first, or beside the only copy of a site. One after the other, so that each votes before the next one learns; so a node that
/// is only not known to be dead will not do.
pub fn place_for_control<'a>(catalogue: &'a Catalogue, heard: &impl Hearing) -> Option<&'a str> {
    let replicas = &catalogue.control.replicas;
    let waits = replicas.iter().any(|replica| replica.role == Role::Learner);
    if catalogue.control.recovered.is_none() || replicas.len() >= REPLICAS_MAX || waits {
        return None;
    }
    let there = |site: &str| {
        replicas.iter().filter(|replica| catalogue.site_of_node(&replica.node) == Some(site)).count()
    };
    let lost = catalogue.lost(CONTROL_SET);
    let candidates = catalogue.nodes.values().filter(|node| {
        heard.is_heard(&node.name)
            && there(&node.site) + 1 < REPLICAS_MAX
            && !lost.iter().any(|lost| lost.kept && lost.node == node.name)
            && replicas.iter().all(|replica| replica.node != node.name)
    });
    let order = |node: &&Node| (there(&node.site), !node.arbiter, catalogue.replicas_on(&node.name).count());
    candidates.min_by_key(order).map(|node| node.name.as_str())
}

/// The control set has all its copies, two of them in one site and none in another, the arbiter's say, that is back: which of the two
/// gives its place to which node there.
pub fn spread_control<'a>(catalogue: &'a Catalogue, heard: &impl Hearing) -> Option<(u64, &'a str)> {
    let replicas = &catalogue.control.replicas;
    let busy = catalogue.control.replacement.is_some()
        || catalogue.active_plans().next().is_some()
        || catalogue.active_drill().is_some()
        || replicas.iter().any(|replica| replica.role == Role::Learner);
    if catalogue.control.recovered.is_none() || replicas.len() < REPLICAS_MAX || busy {
        return None;
    }
    let site = |replica: &Replica| catalogue.site_of_node(&replica.node);
    let there = |of: &str| replicas.iter().filter(|replica| site(replica) == Some(of)).count();
    let lost = catalogue.lost(CONTROL_SET);
    let to = catalogue.nodes.values().find(|node| {
        there(&node.site) == 0
            && heard.is_heard(&node.name)
            && !lost.iter().any(|lost| lost.kept && lost.node == node.name)
    })?;
    let twice = replicas.iter().filter(|replica| site(replica).is_some_and(|of| there(of) >= 2));
    Some((twice.map(|replica| replica.id).max()?, &to.name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use twinset_control::Topology;

    use super::*;

    /// Nodes that are alive; everybody else is silent. Sets that are led.
    struct World(BTreeSet<&'static str>, BTreeSet<u32>);

    impl Hearing for World {
        fn is_alive(&self, node: &str) -> bool {
            self.0.contains(node)
        }

        fn is_heard(&self, node: &str) -> bool {
            self.is_alive(node)
        }

        fn is_silent(&self, node: &str, _: &str) -> bool {
            !self.0.contains(node)
        }

        fn is_led(&self, set: u32) -> bool {
            self.1.contains(&set)
        }
    }

    fn world<const N: usize>(alive: [&'static str; N]) -> World {
        World(alive.into(), BTreeSet::new())
    }

    /// Set 1 is at home in A, set 2 in B.
    fn catalogue() -> Catalogue {
        let mut text = "[cluster]\nname = \"test\"\n".to_owned();
        for (n, name) in ["a1", "a2", "b1", "b2", "c1"].into_iter().enumerate() {
            let (site, port) = (name[..1].to_uppercase(), 10 * (n + 1));
            let [api, peer, http] = [1, 2, 3].map(|lane| format!("127.0.0.1:{}", port + lane));
            text += &format!(
                "[[node]]\nname = {name:?}\nsite = {site:?}\narbiter = {}\napi = {api:?}\npeer = {peer:?}\nhttp = {http:?}\n",
                name == "c1"
            );
        }
        toml::from_str::<Topology>(&text).unwrap().place("cluster-of-the-test").unwrap()
    }

    fn judged(change: impl FnOnce(&mut Catalogue), world: &World) -> [Option<String>; 2] {
        let mut catalogue = catalogue();
        change(&mut catalogue);
        [1, 2].map(|set| recoverable(&catalogue, &catalogue.sets[&set], world).map(str::to_owned))
    }

    #[test]
    fn a_set_whose_home_site_is_gone_is_recovered_in_the_other_one() {
        let b_lives = world(["b1", "b2", "c1"]);
        assert_eq!(judged(|_| (), &b_lives), [Some("B".to_owned()), None]);
        assert_eq!(judged(|_| (), &world(["a1", "a2", "c1"])), [None, Some("A".to_owned())]);
        assert_eq!(judged(|_| (), &world(["a1", "a2", "b1", "b2", "c1"])), [None, None]);
    }

    #[test]
    fn what_might_lose_something_is_left_to_an_operator() {
        let b_lives = world(["b1", "b2", "c1"]);
        let degraded = |catalogue: &mut Catalogue| {
            catalogue.sets.get_mut(&1).unwrap().durability = Durability::Degraded;
        };
        assert_eq!(judged(degraded, &b_lives)[0], None);
        assert_eq!(judged(|_| (), &world(["b1", "c1"]))[0], None, "a lone survivor");
        assert_eq!(
            judged(|_| (), &world(["a2", "b2", "c1"]))[0],
            None,
            "what is safe may be on the other two"
        );
        assert_eq!(judged(|_| (), &world(["a2", "b1", "b2", "c1"]))[0], None, "it has its majority");
        let led = World(b_lives.0.clone(), [1].into());
        assert_eq!(judged(|_| (), &led)[0], None, "somebody leads it");
    }

    #[test]
    fn a_set_that_is_unproven_is_left_to_an_operator_and_gets_no_copies() {
        let unproven = |catalogue: &mut Catalogue| {
            let set = catalogue.sets.get_mut(&1).unwrap();
            set.unproven_since_unix_ns = 7;
        };
        assert_eq!(judged(unproven, &world(["b1", "b2", "c1"]))[0], None);
        let mut catalogue = catalogue();
        unproven(&mut catalogue);
        let set = catalogue.sets.get_mut(&1).unwrap();
        set.replicas.retain(|replica| replica.node.starts_with('b'));
        let set = catalogue.sets[&1].clone();
        assert_eq!(place_for(&catalogue, &set, &world(["a1", "a2", "b1", "b2", "c1"])), None);
    }

    #[test]
    fn the_control_set_gets_its_copies_back_one_by_one_and_never_all_in_one_site() {
        let mut catalogue = catalogue();
        let place =
            |catalogue: &Catalogue, world: &World| place_for_control(catalogue, world).map(str::to_owned);
        let all = world(["a1", "a2", "b1", "b2", "c1"]);
        catalogue.control.replicas.retain(|replica| replica.node == "b1");
        assert_eq!(place(&catalogue, &all), None, "it was not recovered: somebody else sees to that");
        let lost = ["a1", "c1"].map(|node| (node, true));
        let lost = lost.map(|(node, kept)| twinset_control::LostReplica { id: 90, node: node.into(), kept });
        catalogue.control.recovered = Some(twinset_control::ControlRecovered {
            plan: "p".into(),
            from: 2,
            end: Default::default(),
            term: 1,
            at_unix_ns: 7,
            lost: lost.into(),
        });
        assert_eq!(place(&catalogue, &world(["b1", "b2"])).as_deref(), Some("b2"));
        assert_eq!(
            place(&catalogue, &world(["b1", "a1", "c1"])),
            None,
            "what they hold has to be seen first"
        );
        assert_eq!(place(&catalogue, &all).as_deref(), Some("a2"), "a site without one comes first");
        for lost in &mut catalogue.control.recovered.as_mut().unwrap().lost {
            lost.kept = false;
        }
        assert_eq!(place(&catalogue, &all).as_deref(), Some("c1"), "the arbiter before any");
        let mut give = |node: &str, role| {
            let id = catalogue.next_replica_id;
            catalogue.next_replica_id += 1;
            catalogue.control.replicas.push(Replica { id, node: node.into(), role });
            catalogue.clone()
        };
        let learns = give("b2", Role::Learner);
        assert_eq!(place(&learns, &all), None, "one after the other");
        catalogue.control.replicas.iter_mut().for_each(|replica| replica.role = Role::Voter);
        let b3 = Node { name: "b3".into(), ..catalogue.nodes["b2"].clone() };
        catalogue.nodes.insert("b3".into(), b3);
        assert_eq!(place(&catalogue, &world(["b1", "b2", "b3"])), None, "two in one site are enough");
        assert_eq!(place(&catalogue, &all).as_deref(), Some("c1"));
        // The other site was back before the arbiter.
        let spread = |catalogue: &Catalogue, world: &World| {
            spread_control(catalogue, world).map(|(replica, node)| (replica, node.to_owned()))
        };
        assert_eq!(spread(&catalogue, &all), None, "a copy is lacking, that comes first");
        let (b2, third) = (catalogue.control.replicas[1].id, catalogue.next_replica_id);
        catalogue.control.replicas.push(Replica { id: third, node: "a2".into(), role: Role::Voter });
        assert_eq!(spread(&catalogue, &world(["a1", "a2", "b1", "b2"])), None);
        assert_eq!(spread(&catalogue, &all), Some((b2, "c1".to_owned())));
        catalogue.control.replicas[1].node = "c1".into();
        assert_eq!(spread(&catalogue, &all), None, "each has one");
    }

    #[test]
    fn a_set_gets_its_copies_back_where_nodes_live_and_hold_nothing_that_must_be_seen() {
        let mut catalogue = catalogue();
        let alone = |set: &mut Set| set.replicas.retain(|replica| replica.node.starts_with('b'));
        alone(catalogue.sets.get_mut(&1).unwrap());
        let placed = |catalogue: &Catalogue, world: &World| {
            place_for(catalogue, &catalogue.sets[&1], world).map(str::to_owned)
        };
        assert_eq!(placed(&catalogue, &world(["b1", "b2", "c1"])), None, "nobody is there");
        assert_eq!(placed(&catalogue, &world(["a2", "b1", "b2", "c1"])).as_deref(), Some("a2"));
        assert_eq!(
            place_for(&catalogue, &catalogue.sets[&2], &world(["a1", "a2", "b1", "b2"])),
            None,
            "it has them"
        );
        let lost = twinset_control::LostReplica { id: 5, node: "a2".to_owned(), kept: true };
        let recovered = twinset_control::Recovered {
            id: 9,
            from: 6,
            end: Default::default(),
            term: 1,
            was: Durability::Degraded,
            last_safe_index: 0,
            lost: vec![lost],
            unreconciled: false,
        };
        catalogue.sets.get_mut(&1).unwrap().recovered = Some(recovered);
        assert_eq!(
            placed(&catalogue, &world(["a2", "b1", "b2", "c1"])),
            None,
            "an operator has to see it first"
        );
        assert_eq!(placed(&catalogue, &world(["a1", "a2", "b1", "b2", "c1"])).as_deref(), Some("a1"));
    }
}
