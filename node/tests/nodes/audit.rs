//! The audit log over whole nodes: who is on record as what, what is refused, and that each voter has all of it,
//! after a crash too.

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use twinset_control::audit::Record;
use twinset_control::chain::{Hash, Head, Link, Walk};
use twinset_control::plan::{self, Kind, Pace};
use twinset_control::{CONTROL_SET, Command, Policy, Proof};
use twinset_node::config::Config;
use twinset_proto::OPERATOR_TOKEN;
use twinset_proto::cluster::v1 as wire;
use wire::admin_client::AdminClient;

use crate::whole::{CLUSTER, Cluster, Running, alone, led, until};

const NAMES: [&str; 4] = ["a1", "a2", "b1", "b2"];
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// printf 0123456789abcdef0123456789abcdef | sha256sum
const HASH: &str = "3eb1bd439947eb762998e566ccc2e099c791118b2f40579cc4f7da2b5061b7f9";

fn channel(running: &Running, port: usize) -> Channel {
    Endpoint::from_shared(format!("http://{}", running.ports[port])).unwrap().connect_lazy()
}

fn call<T>(token: Option<&str>, message: T) -> Request<T> {
    let mut call = Request::new(message);
    if let Some(token) = token {
        call.metadata_mut().insert(OPERATOR_TOKEN, token.parse().unwrap());
    }
    call
}

fn control(command: &Command) -> wire::ControlRequest {
    let command_json = serde_json::to_vec(command).unwrap().into();
    wire::ControlRequest {
        command_json,
        cluster_id: CLUSTER.to_owned(),
        forward: true,
        control_incarnation: 0,
    }
}

/// Asks one node for a command, over the port for operators.
fn act(running: &Running, token: Option<&str>, command: &Command) -> Result<(), Status> {
    let asked = async {
        let reply = AdminClient::new(channel(running, 0)).control(call(token, control(command))).await?;
        match reply.into_inner().result {
            Some(wire::control_reply::Result::ReplyJson(_)) => Ok(()),
            other => panic!("{other:?}"),
        }
    };
    running.runtime.block_on(asked)
}

fn policy(who: &str, policy: Policy) -> Command {
    Command::SetPolicy { set: 1, policy, who: who.to_owned(), why: "a test".to_owned() }
}

/// The whole log of one voter, checked.
fn history(running: &Running) -> Result<(Head, Vec<Record>), Status> {
    running.runtime.block_on(async {
        let mut client = AdminClient::new(channel(running, 0));
        let (mut walk, mut records) = (Walk::new(CLUSTER, 1), Vec::new());
        loop {
            let from = walk.head().number + 1;
            let request = wire::ListAuditRequest { from, backwards: false, limit: 2 };
            let page = client.list_audit(request).await?.into_inner();
            if page.records.is_empty() {
                let hash = Hash::from_bytes(&page.head_hash).unwrap();
                assert_eq!(walk.head(), Head { number: page.head_number, hash });
                return Ok((walk.head(), records));
            }
            for record in page.records {
                let hash = Hash::from_bytes(&record.hash).unwrap();
                let link = Link { number: record.number, record: record.record_json.to_vec(), hash };
                walk.step(&link).unwrap();
                records.push(serde_json::from_slice(&link.record).unwrap());
            }
        }
    })
}

fn required(config: &mut Config, file: &std::path::Path) {
    std::fs::write(file, format!("alice = {HASH:?}\n")).unwrap();
    config.operators.required = true;
    config.operators.tokens_file = Some(file.to_owned());
    config.validate().unwrap();
}

#[test]
fn an_act_takes_a_token_and_goes_on_record_under_its_name_whoever_hands_it_on() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::configured(&NAMES, |config| required(config, &dir.path().join("operators.toml")));
    let (at, _) = led(&cluster.nodes, CONTROL_SET);
    let voters: Vec<&Running> =
        cluster.nodes.iter().filter(|running| running.node.sets.control().is_some()).collect();
    let leader = &cluster.nodes[at];
    let other = voters.iter().find(|voter| voter.ports != leader.ports).unwrap();

    let wanted = policy("mallory", Policy::MaxProtection);
    assert_eq!(act(leader, None, &wanted).unwrap_err().code(), Code::Unauthenticated);
    let wrong = TOKEN.replace('0', "1");
    assert_eq!(act(other, Some(&wrong), &wanted).unwrap_err().code(), Code::PermissionDenied);
    // What nodes say of whom they ask for does not count here.
    let mut forged = call(None, control(&wanted));
    forged.metadata_mut().insert("twinset-proof", "\"token\"".parse().unwrap());
    let forged = async { AdminClient::new(channel(leader, 0)).control(forged).await };
    assert_eq!(leader.runtime.block_on(forged).unwrap_err().code(), Code::Unauthenticated);
    // Not even an operator tells what only nodes know.
    let ends = Command::CompleteSwitch { set: 1, id: 1 };
    assert_eq!(act(leader, Some(TOKEN), &ends).unwrap_err().code(), Code::PermissionDenied);
    let mark = wire::SetDurabilityRequest { set: 1, degraded: true, ..Default::default() };
    let (home, _) = led(&cluster.nodes, 1);
    let marked = |token| {
        let asked = async {
            AdminClient::new(channel(&cluster.nodes[home], 0)).set_durability(call(token, mark.clone())).await
        };
        cluster.nodes[home].runtime.block_on(asked).map(|_| ())
    };
    assert_eq!(marked(None).unwrap_err().code(), Code::Unauthenticated);
    let switch = |dry_run, token| {
        let request = wire::SwitchRequest { set: 1, to_site: "B".into(), dry_run, ..Default::default() };
        let asked =
            async { AdminClient::new(channel(&cluster.nodes[home], 0)).switch(call(token, request)).await };
        cluster.nodes[home].runtime.block_on(asked).map(|_| ())
    };
    assert_eq!(switch(false, None).unwrap_err().code(), Code::Unauthenticated);
    switch(true, None).expect("who only looks needs no token");
    assert_eq!(history(leader).unwrap().1, [], "nothing was proposed");

    act(leader, Some(TOKEN), &wanted).unwrap();
    act(other, Some(TOKEN), &policy("", Policy::MaxAvailability)).unwrap();
    marked(Some(TOKEN)).unwrap();
    let (head, records) = history(leader).unwrap();
    for record in &records {
        assert_eq!((record.who.as_str(), &record.proof), ("alice", &Proof::Token), "{record:?}");
    }
    assert_eq!(records.len(), 3);
    for voter in &voters {
        until("it has the same", || match history(voter).unwrap() {
            (found, _) if found == head => Ok(()),
            (found, _) => Err(found.to_string()),
        });
    }
    let elsewhere = cluster.nodes.iter().find(|running| running.node.sets.control().is_none());
    let refused = elsewhere.map(|running| history(running).unwrap_err().code());
    assert_eq!(refused, Some(Code::FailedPrecondition), "four nodes, three voters");
    cluster.stop();
}

/// What the conductor asks of the leaders of sets, and what they record, goes by the port that is for nodes.
#[test]
fn a_plan_is_carried_out_for_whoever_began_it_and_nodes_act_in_their_own_name() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let names = ["a1", "a2", "b1", "b2", "c1"];
    let mut cluster =
        Cluster::configured(&names, |config| required(config, &dir.path().join("operators.toml")));
    let order = {
        let sets = cluster.catalogue.sets.values().filter(|set| set.home == "A");
        let planned =
            |set: &twinset_control::Set| plan::Planned { set: set.id, epoch: 1, leader: String::new() };
        sets.map(planned).collect::<Vec<_>>()
    };
    let (request_id, kind) = ("r".to_owned(), Kind::Evacuate { site: "A".into(), emergency: false });
    let pace = Pace { stages: vec![100], soak_ms: 0, concurrency: 4, failures_max: 0, roll_back: false };
    let (who, why) = ("me".to_owned(), "a test".to_owned());
    let begin = plan::Command::Begin { request_id, kind, pace, order, who, why };
    act(&cluster.nodes[0], Some(TOKEN), &Command::Plan(begin)).unwrap();
    until("the plan is done", || {
        let catalogue = cluster.nodes[0].node.cell.get().unwrap();
        let state = catalogue.plans.values().next().map(|plan| plan.state);
        if state == Some(plan::State::Done) { Ok(()) } else { Err(format!("{state:?}")) }
    });
    let (at, _) = led(&cluster.nodes, CONTROL_SET);
    let (_, records) = history(&cluster.nodes[at]).unwrap();
    assert!(records.len() >= 4, "the plan and a switch, each with its end: {records:?}");
    for record in &records {
        assert_eq!((record.who.as_str(), &record.proof), ("alice", &Proof::Token), "{record:?}");
    }

    // Site A dies: the leaders of the sets, all in B now, go on alone by themselves.
    let dead: Vec<Running> = cluster.nodes.drain(..2).collect();
    let places: Vec<_> = dead.iter().map(|running| (running.node.config.clone(), running.ports)).collect();
    dead.into_iter().for_each(Running::die);
    let by_itself = |record: &Record| {
        record.who == "sentinel" && matches!(&record.proof, Proof::Node(node) if node.starts_with('b'))
    };
    until("a set is DEGRADED by itself", || {
        let (at, _replica) = led(&cluster.nodes, CONTROL_SET);
        let (_, records) = history(&cluster.nodes[at]).unwrap();
        if records.iter().any(by_itself) { Ok(()) } else { Err(format!("{records:?}")) }
    });
    // The voter that comes back gets what it has missed.
    for (config, ports) in places {
        cluster.nodes.push(Running::configured(config, ports).unwrap());
    }
    let heads = || {
        let voters = cluster.nodes.iter().filter(|running| running.node.sets.control().is_some());
        voters.map(|voter| history(voter).unwrap().0).collect::<Vec<_>>()
    };
    until("all have the same", || {
        let heads = heads();
        if heads.len() == 3 && heads.iter().all(|head| *head == heads[0]) {
            Ok(())
        } else {
            Err(format!("{heads:?}"))
        }
    });
    cluster.stop();
}
