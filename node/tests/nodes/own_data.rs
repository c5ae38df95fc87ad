//! A node that is started with data that is not its own, or not what its catalogue means, says so and does not run.

use tempfile::TempDir;
use twinset_control::{Catalogue, Command};
use twinset_store::{Identity, Options, ReplicaRecord, Store};

use crate::whole::{CLUSTER, Cluster, Ports, Running, alone, catalogue, ports, until};

const NAMES: [&str; 4] = ["a1", "a2", "b1", "b2"];
const ME: &str = "b2";

/// What `ME` has on its disk after it has taken part.
fn data(catalogue: &Catalogue, change: impl Fn(&mut ReplicaRecord)) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Options::default()).unwrap();
    store.put_blob("first-catalogue", &catalogue.to_json()).unwrap();
    store.put_blob("catalogue", &catalogue.to_json()).unwrap();
    for (set, replica) in catalogue.replicas_on(ME) {
        let incarnation = catalogue.incarnation(set).unwrap();
        let mut record = ReplicaRecord { set, replica_id: replica.id, incarnation };
        change(&mut record);
        store.put_replica(record).unwrap();
    }
    store.set_identity(&Identity { cluster_id: CLUSTER.to_owned(), node: ME.to_owned() }).unwrap();
    store.close();
    dir
}

fn refused(name: &str, ports: Ports, dir: &TempDir, words: &[&str]) {
    let Err(error) = Running::open(name, ports, dir.path()) else { panic!("it runs: {words:?}") };
    let said = format!("{error:#}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

/// All other nodes are silent: nobody else could tell.
#[test]
fn data_of_another_node_place_or_replica_is_refused() {
    let _alone = alone();
    let places = NAMES.map(|name| (name, ports()));
    let (_, own) = places[3];
    let catalogue = catalogue(&places);

    let dir = data(&catalogue, |_| {});
    refused("a1", places[0].1, &dir, &["belongs to node b2, not a1"]);
    for (n, key) in ["listen.api", "listen.peer", "listen.http"].into_iter().enumerate() {
        let mut other = own;
        other[n] = ports()[n];
        let (here, there) = (other[n].to_string(), own[n].to_string());
        refused(
            ME,
            other,
            &dir,
            &[key, &here, &there, CLUSTER, "start it with the configuration of that cluster"],
        );
    }
    let running = Running::open(ME, own, dir.path()).expect("its own data");
    assert_eq!(running.node.sets.all().len(), catalogue.replicas_on(ME).count());
    running.die();

    // What knows more than the catalogue here waits for a newer one, and says nothing to anybody.
    let newer: [fn(&mut ReplicaRecord); 2] =
        [|record| record.replica_id += 100, |record| record.incarnation += 1];
    for newer in newer {
        let dir = data(&catalogue, newer);
        let running = Running::open(ME, own, dir.path()).expect("it waits");
        assert!(running.node.sets.all().is_empty(), "it is open under another name");
        running.die();
    }
    let dir = data(&catalogue, |record| record.incarnation -= 1);
    let words = ["this node holds replica", "must not speak with the log of the other", "of incarnation 0"];
    refused(ME, own, &dir, &words);
    // Refused is refused: the record is what it was.
    refused(ME, own, &dir, &words);
}

#[test]
fn a_node_moves_within_its_cluster_when_that_is_recorded_first() {
    let _alone = alone();
    let mut cluster = Cluster::start(&NAMES);
    let dir = cluster.dirs.pop().unwrap();
    let moving = cluster.nodes.pop().unwrap();
    moving.ask_to_stop();
    moving.ended().unwrap();
    let new = ports();
    refused(ME, new, &dir, &["listen.api", "with the addresses that its catalogue has"]);

    let [api_addr, peer_addr, http_addr] = new.map(|address| address.to_string());
    let (who, why) = ("test".to_owned(), "another machine".to_owned());
    let (node, site) = (ME.to_owned(), "B".to_owned());
    let record = Command::UpsertNodeAddress { node, site, api_addr, peer_addr, http_addr, who, why };
    let asked = &cluster.nodes[0];
    let version = until("it is recorded", || {
        let recorded = asked.runtime.block_on(asked.node.control.propose(&record));
        recorded.map(|reply| reply.version).map_err(|error| error.to_string())
    });
    for running in &cluster.nodes {
        let known = || running.node.cell.get().unwrap().version;
        until("all know it", || if known() >= version { Ok(()) } else { Err(format!("{}", known())) });
    }
    let moved = Running::open(ME, new, dir.path()).expect("the others know it there");
    moved.until_ready();
    cluster.nodes.push(moved);
    cluster.stop();
    refused(ME, ports(), &dir, &["listen.api"]);
}
