//! Faults for drills: who may begin one, that each acts on whole nodes, and that it ends by itself. Those that end
//! the process or stop it are tried on real processes (`jepsen/tests/faults/drills.rs`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use twinset_control::audit::{Action, Outcome, Record};
use twinset_ledger::codec::{EntryBuilder, encode_command};
use twinset_ledger::{Command, Durability, RULES_VERSION};
use twinset_node::config::Config;
use twinset_node::set::Replica;
use twinset_proto::cluster::v1 as wire;
use wire::admin_client::AdminClient;
use wire::drill_faults_client::DrillFaultsClient;

use crate::whole::{Cluster, DEADLINE, Running, alone, config, led, ports, until};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const LONG_MS: u32 = 600_000;
const SET: u32 = 1;
const NAMES: [&str; 4] = ["a1", "a2", "b1", "b2"];
/// An answer that never comes is waited for so long.
const MOMENT: Duration = Duration::from_millis(300);

/// What asks for faults, and the file that lets it.
struct Drill {
    runtime: Runtime,
    dir: TempDir,
}

impl Drill {
    fn new() -> Drill {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), format!("{TOKEN}\n")).unwrap();
        Drill { runtime, dir }
    }

    fn enable(&self, config: &mut Config) {
        config.drill_faults.enabled = true;
        config.drill_faults.token_file = Some(self.dir.path().join("token"));
        config.validate().unwrap();
    }

    fn channel(running: &Running) -> Channel {
        Endpoint::from_shared(format!("http://{}", running.ports[0])).unwrap().connect_lazy()
    }

    fn asked(&self, running: &Running, request: wire::BeginFaultRequest) -> Result<u64, Status> {
        self.runtime.block_on(async {
            let reply = DrillFaultsClient::new(Drill::channel(running)).begin_fault(request).await;
            reply.map(|reply| reply.into_inner().id)
        })
    }

    fn begin(&self, running: &Running, fault: wire::DrillFault, deadline_ms: u32) -> u64 {
        self.asked(running, request(fault, deadline_ms)).unwrap()
    }

    fn end(&self, running: &Running, id: u64) -> Result<(), Status> {
        self.runtime.block_on(async {
            let request = wire::EndFaultRequest { token: TOKEN.into(), id };
            DrillFaultsClient::new(Drill::channel(running)).end_fault(request).await.map(|_| ())
        })
    }

    fn list(&self, running: &Running) -> Vec<wire::ActiveFault> {
        self.runtime.block_on(async {
            let mut client = DrillFaultsClient::new(Drill::channel(running));
            client.list_faults(wire::ListFaultsRequest {}).await.unwrap().into_inner().faults
        })
    }

    /// Waits until nothing acts on the node, as it says itself.
    fn until_over(&self, running: &Running) {
        until("its faults are over", || {
            let faults = self.list(running);
            if faults.is_empty() { Ok(()) } else { Err(format!("{faults:?}")) }
        });
        assert!(twinset_node::drill_faults::KINDS.iter().all(|kind| active(running, kind) == 0));
    }
}

fn request(fault: wire::DrillFault, deadline_ms: u32) -> wire::BeginFaultRequest {
    let (who, why) = ("the test".to_owned(), "a drill".to_owned());
    wire::BeginFaultRequest { token: TOKEN.into(), fault: Some(fault), deadline_ms, who, why }
}

fn fault(kind: &str, by_ms: i64) -> wire::DrillFault {
    wire::DrillFault { kind: kind.to_owned(), by_ms, ..wire::DrillFault::default() }
}

fn with_site_b(kind: &str, by_ms: i64) -> wire::DrillFault {
    wire::DrillFault { site: "B".into(), direction: "both".into(), ..fault(kind, by_ms) }
}

fn active(running: &Running, kind: &str) -> u64 {
    running.metric(&format!("twinset_node_drill_fault_active{{kind=\"{kind}\"}}"))
}

/// Has an entry that changes nothing put into the set's log, and gives its index when it is committed.
fn propose(running: &Running, replica: &Replica) -> u64 {
    try_propose(running, replica).unwrap()
}

/// The same where leaders may change meanwhile.
fn try_propose(running: &Running, replica: &Replica) -> Result<u64, String> {
    let mut command = Vec::new();
    encode_command(&Command::MarkDurability { durability: Durability::Sync }, &mut command);
    let mut entry = EntryBuilder::new(RULES_VERSION, replica.fence.incarnation, 1_700_000_000_000_000_000);
    entry.push_command_bytes(&command);
    let entry = Bytes::from(entry.finish());
    let committed = async {
        let proposal = replica.group.propose(entry).await.map_err(|error| format!("{error:?}"))?;
        proposal.result().await.map(|(index, _)| index).map_err(|error| format!("{error:?}"))
    };
    running.runtime.block_on(async { tokio::time::timeout(DEADLINE, committed).await }).unwrap()
}

fn until_safe(replica: &Arc<Replica>, index: u64) {
    until("both sites have it", || {
        let safe = replica.fence.gate.horizon().safe;
        if safe >= index { Ok(()) } else { Err(format!("safe up to {safe}, not {index}")) }
    });
}

#[test]
fn a_fault_takes_a_node_that_allows_it_the_token_a_deadline_and_a_reason() {
    let _alone = alone();
    let drill = Drill::new();
    let (dir, ports) = (tempfile::tempdir().unwrap(), [ports(), ports()]);
    let off = Running::start("a1", ports[0], &dir.path().join("off"));
    let mut enabled = config("a2", ports[1], &dir.path().join("on"));
    drill.enable(&mut enabled);
    let on = Running::configured(enabled, ports[1]).unwrap();
    let step = || fault("step-clock", 1_000);
    let good = || request(step(), LONG_MS);
    let refused = drill.asked(&off, good()).unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("drill_faults.enabled"), "{refused}");
    for (asked, code) in [
        (wire::BeginFaultRequest { token: TOKEN.replace('7', "8").into(), ..good() }, Code::PermissionDenied),
        (wire::BeginFaultRequest { token: Bytes::new(), ..good() }, Code::PermissionDenied),
        (request(step(), 0), Code::InvalidArgument),
        (request(step(), LONG_MS + 1), Code::InvalidArgument),
        (wire::BeginFaultRequest { why: String::new(), ..good() }, Code::InvalidArgument),
        (wire::BeginFaultRequest { fault: None, ..good() }, Code::InvalidArgument),
        (request(fault("reboot", 0), LONG_MS), Code::InvalidArgument),
        // It knows no site yet.
        (request(with_site_b("drop", 0), LONG_MS), Code::InvalidArgument),
    ] {
        let refused = drill.asked(&on, asked.clone()).unwrap_err();
        assert_eq!(refused.code(), code, "{asked:?}: {refused}");
    }
    drill.until_over(&on);
    let id = drill.begin(&on, step(), LONG_MS);
    let listed = drill.list(&on);
    let [listed] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((listed.id, listed.fault.clone()), (id, Some(step())));
    assert_eq!((listed.who.as_str(), listed.why.as_str()), ("the test", "a drill"));
    assert!(listed.left_ms <= LONG_MS);
    let again = drill.asked(&on, good()).unwrap_err();
    assert!(again.code() == Code::AlreadyExists && again.message().contains(&id.to_string()), "{again}");
    drill.end(&on, id).unwrap();
    assert_eq!(drill.end(&on, id).unwrap_err().code(), Code::NotFound);
    drill.until_over(&on);
    [off, on].into_iter().for_each(Running::die);
}

#[test]
fn a_clock_is_put_ahead_and_goes_back_at_the_deadline() {
    let _alone = alone();
    let drill = Drill::new();
    let (dir, ports) = (tempfile::tempdir().unwrap(), ports());
    let mut config = config("a1", ports, dir.path());
    drill.enable(&mut config);
    let running = Running::configured(config, ports).unwrap();
    let now = || Duration::from_nanos(running.node.cell.platform().now_unix_ns());
    let hour = Duration::from_secs(3_600);
    let before = now();
    let id = drill.begin(&running, fault("step-clock", 3_600_000), LONG_MS);
    assert!(now() >= before + hour);
    assert_eq!(active(&running, "step-clock"), 1);
    drill.end(&running, id).unwrap();
    assert!(now() < before + hour);
    drill.begin(&running, fault("step-clock", -3_600_000), 200);
    drill.until_over(&running);
    assert!(now() >= before);
    running.die();
}

#[test]
fn disks_that_stall_or_are_slow_hold_up_what_is_written_until_the_deadline() {
    let _alone = alone();
    let drill = Drill::new();
    let cluster = Cluster::configured(&NAMES, |config| drill.enable(config));
    let (at, replica) = led(&cluster.nodes, SET);
    let stall = Duration::from_millis(1_500);
    let began = Instant::now();
    for running in &cluster.nodes {
        drill.begin(running, fault("stall-disk", 0), 1_500);
    }
    propose(&cluster.nodes[at], &replica);
    assert!(began.elapsed() >= stall, "no majority had it on disk before");
    cluster.nodes.iter().for_each(|running| drill.until_over(running));
    let slow = Duration::from_millis(200);
    let ids: Vec<u64> =
        cluster.nodes.iter().map(|running| drill.begin(running, fault("slow-disk", 200), LONG_MS)).collect();
    let began = Instant::now();
    propose(&cluster.nodes[at], &replica);
    assert!(began.elapsed() >= slow);
    for (running, id) in cluster.nodes.iter().zip(ids) {
        drill.end(running, id).unwrap();
    }
    drop(replica);
    cluster.stop();
}

#[test]
fn what_is_cut_off_from_the_other_site_is_not_safe_before_the_cut_ends() {
    let _alone = alone();
    let drill = Drill::new();
    let cluster = Cluster::configured(&NAMES, |config| drill.enable(config));
    let (at, replica) = led(&cluster.nodes, SET);
    let site_a = &cluster.nodes[..2];
    let cut = |deadline_ms| site_a.iter().map(move |running| (running, deadline_ms));
    let ids: Vec<u64> =
        cut(LONG_MS).map(|(running, ms)| drill.begin(running, with_site_b("drop", 0), ms)).collect();
    let index = propose(&cluster.nodes[at], &replica);
    assert!(replica.fence.gate.horizon().safe < index, "site B cannot have it");
    for (running, id) in site_a.iter().zip(ids) {
        drill.end(running, id).unwrap();
    }
    until_safe(&replica, index);
    // Nobody ends it now.
    for (running, ms) in cut(500) {
        drill.begin(running, with_site_b("drop", 0), ms);
    }
    let index = propose(&cluster.nodes[at], &replica);
    until_safe(&replica, index);
    site_a.iter().for_each(|running| drill.until_over(running));
    let unknown = wire::DrillFault { site: "D".into(), ..with_site_b("drop", 0) };
    let itself = wire::DrillFault { site: String::new(), node: "a1".into(), ..with_site_b("drop", 0) };
    for asked in [unknown, itself] {
        assert_eq!(drill.asked(&site_a[0], request(asked, 1)).unwrap_err().code(), Code::InvalidArgument);
    }
    drop(replica);
    cluster.stop();
}

#[test]
fn what_is_delayed_on_its_way_to_the_other_site_is_safe_so_much_later() {
    let _alone = alone();
    let drill = Drill::new();
    let cluster = Cluster::configured(&NAMES, |config| drill.enable(config));
    let (at, replica) = led(&cluster.nodes, SET);
    let leader = &cluster.nodes[at];
    let id = drill.begin(leader, with_site_b("delay", 150), LONG_MS);
    let began = Instant::now();
    until_safe(&replica, propose(leader, &replica));
    assert!(began.elapsed() >= Duration::from_millis(300), "there and back");
    drill.end(leader, id).unwrap();
    until_safe(&replica, propose(leader, &replica));
    let wanted = [("the test".to_owned(), Outcome::Begun), ("operator".to_owned(), Outcome::Done)];
    until("both are on record", || {
        let catalogue = leader.node.cell.get().unwrap();
        let of = |record: &&Record| matches!(&record.what, Action::Fault { id: of, .. } if *of == id);
        let found = catalogue.audit.tail.iter().filter(of);
        let found: Vec<_> = found.map(|record| (record.who.clone(), record.outcome.clone())).collect();
        if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
    });
    drop(replica);
    cluster.stop();
}

#[test]
fn a_silent_leader_is_replaced_answers_nothing_but_who_ends_it_and_comes_back() {
    let _alone = alone();
    let drill = Drill::new();
    let cluster = Cluster::configured(&NAMES, |config| drill.enable(config));
    let (at, replica) = led(&cluster.nodes, SET);
    drop(replica);
    let silent = &cluster.nodes[at];
    let id = drill.begin(silent, fault("silence", 0), LONG_MS);
    let others = cluster.nodes.iter().enumerate().filter(|(n, _)| *n != at);
    let others: Vec<&Running> = others.map(|(_, running)| running).collect();
    let index = until("another one leads, and commits", || {
        let leads = others.iter().find_map(|running| Some((*running, running.leads(SET)?)));
        let (other, replica) = leads.ok_or_else(|| "nobody else leads".to_owned())?;
        try_propose(other, &replica)
    });
    let applied = || silent.node.sets.get(SET).unwrap().group.progress().applied;
    assert!(applied() < index, "it hears nothing");
    assert_eq!(drill.list(silent).len(), 1);
    drill.runtime.block_on(async {
        let mut admin = AdminClient::new(Drill::channel(silent));
        let unheard = tokio::time::timeout(MOMENT, admin.identify(wire::IdentifyRequest {})).await;
        assert!(unheard.is_err(), "{unheard:?}");
    });
    drill.end(silent, id).unwrap();
    until("it has what it missed", || {
        let applied = applied();
        if applied >= index { Ok(()) } else { Err(format!("applied up to {applied}, not {index}")) }
    });
    drill.begin(silent, fault("silence", 0), 500);
    drill.until_over(silent);
    cluster.until_ready();
    cluster.stop();
}
