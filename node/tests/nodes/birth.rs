//! The first start of a cluster, and what comes after it: nobody takes part before all are members, and from then on a
//! blank node is told that it has lost its data, whatever the leaders remember.

use twinset_node::birth::Refused;
use twinset_node::node::BootstrapError;

use crate::whole::{Running, alone, catalogue, ports, until};

const NAMES: [&str; 4] = ["a1", "a2", "b1", "b2"];

#[test]
fn nobody_begins_before_all_are_members_and_a_blank_node_after_that_is_refused() {
    let _alone = alone();
    let places = NAMES.map(|name| (name, ports()));
    let catalogue = catalogue(&places);
    let dirs = [(); 5].map(|()| tempfile::tempdir().unwrap());
    let start = |n: usize| Running::start(places[n].0, places[n].1, dirs[n].path());
    let mut nodes: Vec<_> = (0..3).map(start).collect();
    // Another one may be slow to answer.
    let b2 = Refused::Silent { peer: "b2".to_owned() };
    until("only b2 is silent", || match nodes[0].bootstrap(&catalogue) {
        Err(BootstrapError::Refused(why)) if why == b2 => Ok(()),
        Err(BootstrapError::Refused(why @ Refused::Silent { .. })) => Err(why.to_string()),
        other => panic!("{other:?}"),
    });

    // All answer, one is not a member yet.
    nodes.push(start(3));
    for running in &nodes[..3] {
        assert!(!running.until_given(&catalogue), "it was blank");
        assert!(running.bootstrap(&catalogue).unwrap(), "the same again");
    }
    for running in &nodes[..3] {
        assert!(running.node.sets.all().is_empty(), "it waits for the last one");
        assert!(running.node.not_ready().unwrap().contains("become members"));
    }
    assert!(!nodes[3].until_given(&catalogue));
    for running in &nodes {
        running.until_ready();
        assert!(!running.node.sets.all().is_empty());
    }

    // The same name, and an empty data directory. No leader has ever talked to it.
    let blank = Running::start("a2", ports(), dirs[4].path());
    let refused = blank.bootstrap(&catalogue).unwrap_err();
    assert!(matches!(refused, BootstrapError::Refused(Refused::Lost { .. })), "{refused}");
    assert!(blank.node.identified_catalogue().is_none() && blank.node.sets.all().is_empty());

    nodes.push(blank);
    nodes.iter().for_each(Running::ask_to_stop);
    for running in nodes {
        running.ended().unwrap();
    }
}

#[test]
fn a_topology_that_has_the_node_elsewhere_is_refused() {
    let _alone = alone();
    let mut places = NAMES.map(|name| (name, ports()));
    let dirs = [(); 4].map(|()| tempfile::tempdir().unwrap());
    let nodes: Vec<_> = places
        .iter()
        .zip(&dirs)
        .map(|((name, ports), dir)| Running::start(name, *ports, dir.path()))
        .collect();
    places[0].1[1] = ports()[1];
    let refused = nodes[0].bootstrap(&catalogue(&places)).unwrap_err().to_string();
    let wrong = format!("has node a1 at {}, its configuration has listen.peer", places[0].1[1]);
    assert!(refused.contains(&wrong), "{refused}");
    assert!(nodes[0].node.identified_catalogue().is_none());
    nodes.into_iter().for_each(Running::die);
}
