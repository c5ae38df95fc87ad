//! A switch to the site where an election has put the leader already: it moves the voters and the record, and nobody hands
//! anything over.

use tokio::sync::mpsc;
use twinset_control::Catalogue;
use twinset_node::switch::{self, Context, Reporter, Request};

use crate::whole::{Cluster, Running, alone, leader, until};

const SET: u32 = 1;

#[test]
fn a_set_is_switched_to_where_its_leader_is_already() {
    let _alone = alone();
    let cluster = Cluster::start(&["a1", "a2", "b1", "b2"]);
    let (catalogue, site) = (&cluster.catalogue, |running: &Running| running.node.config.node.site.clone());
    let home = &catalogue.sets[&SET].home;
    let away_voter = |catalogue: &Catalogue| {
        let set = &catalogue.sets[&SET];
        let away = |id: &&u64| catalogue.site_of_replica(SET, **id) != Some(home);
        *catalogue.placement(set).voters.iter().find(away).unwrap()
    };
    let chosen = away_voter(catalogue);
    let holds = |running: &&Running| {
        let replicas = &catalogue.sets[&SET].replicas;
        replicas.iter().any(|replica| replica.id == chosen && replica.node == running.node.config.node.name)
    };
    let ahead = cluster.nodes.iter().find(holds).unwrap();
    // The leader would go home; whoever switches keeps it from that.
    let lock = ahead.runtime.block_on(ahead.node.switch_lock(SET).lock_owned());
    let replica = until("the other site leads", || {
        let at = leader(&cluster.nodes, SET);
        let group = &cluster.nodes[at].leads(SET).ok_or("nobody leads")?.group;
        match ahead.leads(SET) {
            Some(replica) => Ok(replica),
            None => {
                cluster.nodes[at].runtime.block_on(group.transfer_leader(chosen));
                Err("not yet".to_owned())
            }
        }
    });
    let to = site(ahead);
    assert_ne!(&to, home);
    let last = until("it is switched", || {
        let (progress, mut reports) = mpsc::channel(64);
        let context = Context {
            replica: replica.clone(),
            cell: ahead.node.cell.clone(),
            control: ahead.node.control.clone(),
            me: ahead.node.config.node.name.clone(),
        };
        let request = Request {
            to: to.clone(),
            proof: twinset_control::Proof::Declared,
            who: "a test".into(),
            why: "to see".into(),
            dry_run: false,
            plan: None,
        };
        ahead.runtime.block_on(switch::run(context, request, Reporter::new(progress)));
        let mut last = None;
        while let Ok(report) = reports.try_recv() {
            last = Some(report);
        }
        let last = last.unwrap();
        // A follower that has not answered the new leader yet is no target.
        if last.failed { Err(last.detail) } else { Ok(last) }
    });
    assert_eq!(last.phase, "done", "{last:?}");
    assert!(replica.group.is_leader(), "it goes on leading");
    until("the catalogue says so", || match ahead.node.cell.get() {
        Some(catalogue) if catalogue.sets[&SET].home == to => Ok(()),
        _ => Err("not yet".to_owned()),
    });
    drop((lock, replica));
    cluster.stop();
}
