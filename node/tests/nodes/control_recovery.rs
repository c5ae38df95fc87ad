//! The control set loses two of its three copies, and goes on with the third, on an operator's word: what that one's node promises,
//! refuses and remembers, how sets show that they are SYNC, and what the two find when they come back.

use twinset_control::{Command, Durability, LogEnd, Proof, Role};
use twinset_node::recovery::control::Promise;

use crate::whole::{Cluster, Running, alone, until};

const NAMES: [&str; 5] = ["a1", "a2", "b1", "b2", "c1"];

fn promise(plan: &str, incarnation: u32, replica: u64) -> Promise {
    Promise {
        plan: plan.to_owned(),
        incarnation,
        survivors: [(replica, "b1".to_owned())].into(),
        who: "ann".to_owned(),
        proof: Proof::Declared,
        why: "fire".to_owned(),
        go_on: None,
    }
}

fn fence(b1: &Running, wanted: &Promise) -> Result<LogEnd, String> {
    let replica = *wanted.survivors.keys().next().unwrap();
    let fenced = b1.runtime.block_on(b1.node.fence_control(replica, wanted.clone()));
    fenced.map_err(|error| error.to_string())
}

fn revive(b1: &Running, wanted: &Promise, end: LogEnd) -> Result<(), String> {
    let from = *wanted.survivors.keys().next().unwrap();
    let revived = b1.node.revive_control((&wanted.plan, wanted.incarnation), from, end);
    b1.runtime.block_on(revived).map_err(|error| error.to_string())
}

#[test]
fn one_copy_goes_on_as_it_was_fenced_and_sets_show_that_they_are_sync() {
    let _alone = alone();
    let mut cluster = Cluster::start(&NAMES);
    let voters = cluster.catalogue.control.replicas.clone();
    let own = voters.iter().find(|replica| replica.node == "b1").unwrap().id;
    let wanted = promise("p", 2, own);
    let led = fence(&cluster.nodes[2], &wanted).unwrap_err();
    assert!(led.contains("leads the control set"), "{led}");

    let lost: Vec<&str> = voters.iter().map(|it| it.node.as_str()).filter(|node| *node != "b1").collect();
    assert_eq!(lost.len(), 2, "{lost:?}");
    let is_lost = |running: &Running| lost.contains(&running.node.config.node.name.as_str());
    let (dying, mut nodes): (Vec<_>, Vec<_>) = cluster.nodes.drain(..).partition(is_lost);
    let places: Vec<_> = dying.iter().map(|it| (it.node.config.node.name.clone(), it.ports)).collect();
    dying.into_iter().for_each(Running::die);
    let at = nodes.iter().position(|running| running.node.config.node.name == "b1").unwrap();
    let b1 = nodes.remove(at);
    let end = until("nobody leads", || fence(&b1, &wanted));
    assert!(fence(&b1, &promise("q", 2, own)).unwrap_err().contains("plan p of ann is under way"));
    assert!(fence(&b1, &promise("q", 2, own + 1)).unwrap_err().contains("is not here"));
    assert!(revive(&b1, &promise("q", 2, own), end).is_err(), "not what it was fenced for");
    assert!(revive(&b1, &wanted, LogEnd { index: end.index + 1, ..end }).is_err(), "not where it ends");

    // It remembers, and neither speaks in the old incarnation nor goes on in the new one by itself.
    let (ports, dir) = (b1.ports, cluster.dirs[2].path());
    b1.die();
    let b1 = Running::start("b1", ports, dir);
    assert!(b1.node.sets.control().is_none());
    let copy = b1.node.inspect_control().unwrap();
    assert_eq!((copy.open, copy.incarnation, copy.promise.unwrap().plan.as_str()), (false, 2, "p"));
    assert_eq!(fence(&b1, &wanted).unwrap(), end);
    for _ in 0..2 {
        revive(&b1, &wanted, end).unwrap();
    }
    until("it is on record", || {
        let control = b1.node.cell.get().unwrap().control.clone();
        if control.incarnation == 2 { Ok(()) } else { Err(format!("{control:?}")) }
    });
    let later = until("it leads", || {
        let refused = fence(&b1, &promise("q", 3, own)).unwrap_err();
        if refused.contains("leads the control set") { Ok(refused) } else { Err(refused) }
    });
    assert!(!later.is_empty());

    // Both sites are there: each set shows that they have all of it, in the incarnation that it has.
    nodes.push(b1);
    for set in [1, 2] {
        until("it is proven", || {
            let set = nodes[0].node.cell.get().unwrap().sets[&set].clone();
            let proven = !set.is_unproven() && set.durability == Durability::Sync && set.incarnation == 1;
            if proven { Ok(()) } else { Err(format!("{set:?}")) }
        });
    }
    for (name, ports) in places {
        let at = NAMES.iter().position(|other| *other == name).unwrap();
        nodes.push(Running::start(&name, ports, cluster.dirs[at].path()));
        let back = &nodes[nodes.len() - 1];
        until("it closes its old copy", || {
            let old = back.node.sets.control().is_some_and(|copy| copy.fence.incarnation == 1);
            if old { Err("it is open".to_owned()) } else { Ok(()) }
        });
        until("it tells of it", || {
            let told = back.node.tail_reports().unwrap().iter().any(|report| report.set == 0);
            if told { Ok(()) } else { Err("nothing".to_owned()) }
        });
    }
    for replica in voters.iter().map(|it| it.id).filter(|id| *id != own) {
        let (who, why) = ("ann".to_owned(), "seen".to_owned());
        let release = Command::ReleaseReplica { set: 0, replica, who, why };
        until("it is released", || {
            let released = nodes[0].runtime.block_on(nodes[0].node.control.propose(&release));
            released.map_err(|error| error.to_string())
        });
    }
    until("the control set has three voters", || {
        let control = nodes[0].node.cell.get().unwrap().control.clone();
        let voters = control.replicas.iter().filter(|replica| replica.role == Role::Voter).count();
        if voters == 3 { Ok(()) } else { Err(format!("{control:?}")) }
    });
    cluster.nodes = nodes;
    cluster.until_ready();
    cluster.stop();
}
