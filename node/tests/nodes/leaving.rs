//! Who leads after a leader that is asked to stop, or dies. A node that is asked to stop says so at once, serves until it has
//! handed over what it leads, and does not get in the way of a switch.

use std::time::{Duration, Instant};

use twinset_node::dial;
use twinset_node::platform::System;
use twinset_proto::cluster::v1::IdentifyRequest;
use twinset_proto::cluster::v1::admin_client::AdminClient;

use crate::whole::{Cluster, Running, alone, led, until};

const SET: u32 = 1;
/// The drain would have handed over many times; it waits longer.
const WATCHED: Duration = Duration::from_millis(700);

#[test]
fn a_draining_node_serves_until_it_has_handed_over_and_lets_a_switch_end_first() {
    let _alone = alone();
    let mut cluster = Cluster::start(&["a1", "a2", "b1", "b2"]);
    let (at, replica) = led(&cluster.nodes, SET);
    let stopping = cluster.nodes.remove(at);
    let term = replica.group.view().borrow().term;
    drop(replica);
    assert_eq!(stopping.readyz().0, 200);
    let switch = stopping.runtime.block_on(stopping.node.switch_lock(SET).lock_owned());
    let began = Instant::now();
    stopping.ask_to_stop();
    until("readyz says so", || match stopping.readyz() {
        (503, reason) if reason.contains("shutting down") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    // Peers and routers still get their connections.
    for port in [0, 1] {
        let address = stopping.ports[port].to_string();
        let channel = stopping.runtime.block_on(dial::connect(&System, &address)).unwrap();
        if port == 0 {
            let identify = async { AdminClient::new(channel).identify(IdentifyRequest {}).await };
            stopping.runtime.block_on(identify).unwrap();
        }
    }
    while began.elapsed() < WATCHED {
        assert!(stopping.leads(SET).is_some(), "a drain must not interfere with a switch");
        stopping.runtime.block_on(async { tokio::time::sleep(Duration::from_millis(10)).await });
    }
    drop(switch);
    // Whom it asks first is a test of its own; one that is slow to answer is passed over.
    let (_, successor) = led(&cluster.nodes, SET);
    let view = successor.group.view().borrow().clone();
    assert_eq!(view.term, term + 1, "handed over: {view:?}");
    drop(successor);
    stopping.ended().unwrap();
    cluster.nodes.iter().for_each(Running::ask_to_stop);
    cluster.nodes.into_iter().for_each(|running| running.ended().unwrap());
}

#[test]
fn the_home_site_leads_again_after_its_leader_has_died() {
    let _alone = alone();
    let mut cluster = Cluster::start(&["a1", "a2", "b1", "b2"]);
    let home = cluster.catalogue.sets[&SET].home.clone();
    let site = |running: &Running| running.node.config.node.site.clone();
    let (at, replica) = led(&cluster.nodes, SET);
    assert_eq!(site(&cluster.nodes[at]), home, "the cluster began so");
    until("all hold everything", || {
        let progress = replica.group.progress();
        let behind = progress.matched.keys().find(|&&id| progress.lag(id) > 0);
        behind.map_or(Ok(()), |id| Err(format!("replica {id} is behind")))
    });
    let term = replica.group.view().borrow().term;
    drop(replica);
    cluster.nodes.remove(at).die();
    let (next, replica) = led(&cluster.nodes, SET);
    let view = replica.group.view().borrow().clone();
    drop(replica);
    assert_eq!((site(&cluster.nodes[next]), view.term), (home, term + 1), "elected at once: {view:?}");
    cluster.nodes.iter().for_each(Running::ask_to_stop);
    cluster.nodes.into_iter().for_each(|running| running.ended().unwrap());
}
