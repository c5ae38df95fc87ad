//! The control set is not on the data path: when its majority is gone in the middle of traffic, sets work on, nothing can be
//! moved, and when it is back everybody follows it again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use twinset_control::Command as ControlCommand;
use twinset_dispatch::pending::Origin;
use twinset_ledger::codec::encode_command;
use twinset_ledger::command::{Command, Metadata};
use twinset_node::admission;
use twinset_node::check_back::Initiators;
use twinset_node::proposer::Submission;
use twinset_proto::cluster::v1::item_reply::Result as ItemResult;

use crate::whole::{Cluster, Running, alone, until};

const NAMES: [&str; 5] = ["a1", "a2", "b1", "b2", "c1"];
const ATTEMPT: Duration = Duration::from_secs(2);
/// Answers that are enough to say that a set works.
const ENOUGH: usize = 50;

/// Opens account after account in a set, until `stop`. Each must be answered in time.
fn traffic(nodes: &[Running], set: u32, answered: &AtomicUsize, stop: &AtomicBool) {
    let catalogue = nodes[0].node.cell.get().unwrap();
    let commands = (0..).map(|n| open(format!("account-{n}")));
    let mut own = commands.filter(|command| {
        admission::check(command, &catalogue.sets[&set], &catalogue, &Initiators::default()).is_ok()
    });
    while !stop.load(Ordering::SeqCst) {
        let command = own.next().unwrap();
        // The same request, until there is a definite answer.
        until(&format!("an answer of set {set}"), || submit(nodes, set, command.clone()));
        answered.fetch_add(1, Ordering::SeqCst);
    }
}

fn open(account: String) -> Bytes {
    let mut bytes = Vec::new();
    let open = Command::OpenAccount {
        request_id: "open".to_owned(),
        account,
        subject: "liability".to_owned(),
        currency: "EUR".to_owned(),
        normal_side: None,
        limit: None,
        metadata: Metadata::new(),
    };
    encode_command(&open, &mut bytes);
    bytes.into()
}

fn submit(nodes: &[Running], set: u32, command: Bytes) -> Result<(), String> {
    let leader = nodes.iter().find_map(|running| Some((running, running.leads(set)?)));
    let (running, replica) = leader.ok_or("nobody leads")?;
    let (reply, mut replies) = mpsc::channel(1);
    let deadline = Instant::now() + ATTEMPT;
    let submission =
        Submission { no: 1, origin: Some(Origin::Client), commands: vec![command], deadline, reply };
    let now = replica.ledger().unwrap().proposer.submit(submission);
    let answer = async { tokio::time::timeout(ATTEMPT * 2, replies.recv()).await };
    let answer = match now {
        Some(answer) => Some(answer),
        None => running.runtime.block_on(answer).map_err(|_| "no answer")?,
    };
    match answer.and_then(|answer| answer.result) {
        Some(ItemResult::Done(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// News of the catalogue that change nothing else: where metrics are found. Nobody listens there.
fn news(running: &Running) -> ControlCommand {
    static NEWS: AtomicUsize = AtomicUsize::new(1);
    let node = running.node.cell.get().unwrap().nodes["a2"].clone();
    ControlCommand::UpsertNodeAddress {
        node: node.name,
        site: node.site,
        api_addr: node.api_addr,
        peer_addr: node.peer_addr,
        http_addr: format!("127.0.0.1:{}", NEWS.fetch_add(1, Ordering::Relaxed)),
        who: "test".to_owned(),
        why: "news".to_owned(),
    }
}

fn record(running: &Running) -> Result<u64, String> {
    let reply = running.runtime.block_on(running.node.control.propose(&news(running)));
    reply.map(|reply| reply.version).map_err(|error| error.to_string())
}

#[test]
fn sets_work_on_when_the_control_set_has_no_majority() {
    let _alone = alone();
    let mut cluster = Cluster::start(&NAMES);
    let voters = &cluster.catalogue.control.replicas;
    let hosts = |name: &str| voters.iter().any(|replica| replica.node == name);
    assert!(voters.len() == 3 && hosts("c1"), "{voters:?}");
    // The arbiter and one more: each set keeps a majority, and a copy in both sites.
    let lost = [["b1", "b2"].into_iter().find(|name| hosts(name)).unwrap(), "c1"];
    let is_lost = |running: &Running| lost.contains(&running.node.config.node.name.as_str());
    let (dying, mut nodes): (Vec<_>, Vec<_>) = cluster.nodes.drain(..).partition(is_lost);
    let places: Vec<_> =
        dying.iter().map(|running| (running.node.config.node.name.clone(), running.ports)).collect();

    let stop = AtomicBool::new(false);
    let counts = [(1, AtomicUsize::new(0)), (2, AtomicUsize::new(0))];
    std::thread::scope(|scope| {
        for (set, answered) in &counts {
            let (nodes, stop) = (&nodes, &stop);
            scope.spawn(move || traffic(nodes, *set, answered, stop));
        }
        let counted = || counts.each_ref().map(|(_, answered)| answered.load(Ordering::SeqCst));
        let more = |what: &str| {
            let before = counted();
            until(what, || {
                let now = counted();
                let enough = now.iter().zip(before).all(|(now, before)| now - before >= ENOUGH);
                if enough { Ok(()) } else { Err(format!("from {before:?} to {now:?}")) }
            });
        };
        dying.into_iter().for_each(Running::die);
        more("work without the control set");
        record(&nodes[0]).expect_err("nothing is recorded without a majority");
        more("work without the control set, still");
        stop.store(true, Ordering::SeqCst);
    });

    for (name, ports) in places {
        let at = NAMES.iter().position(|other| *other == name).unwrap();
        nodes.push(Running::start(&name, ports, cluster.dirs[at].path()));
    }
    let version = until("the control set is back", || record(&nodes[0]));
    for running in &nodes {
        let known = || running.node.cell.get().unwrap().version;
        until("all follow", || if known() >= version { Ok(()) } else { Err(format!("{}", known())) });
    }
    cluster.nodes = nodes;
    cluster.stop();
}
