//! The fence on the lanes between nodes: what is not addressed to this cluster, set, incarnation and replica is refused
//! with the reason, on each lane, and leaves no trace; the same message with the right address goes through. And what
//! does go through is compared: a replica whose running hash differs from its leader's stops its node.

use std::future::Future;
use std::process::Command;
use std::time::{Duration, Instant};

use twinset_node::config::RaftConfig;
use twinset_node::fatal::EXIT_FAULT;
use twinset_node::freshness::Basis;
use twinset_node::gate::Horizon;
use twinset_proto::cluster::v1 as wire;
use wire::append_reply_frame::Result as Answer;
use wire::beat_message::Body;
use wire::beat_reply::Body as ReplyBody;
use wire::peer_client::PeerClient;

use crate::common::{CLUSTER, Node, SET, alone, cluster, entry, listener};

type Client = PeerClient<tonic::transport::Channel>;

const TERM: u64 = 3;
/// A replica that the catalogue is too old to know.
const LEADER: u64 = 99;
/// An id that was given out, and belongs to no replica of the set.
const RETIRED: u64 = 1;
const ITS_HORIZON: wire::Horizon = wire::Horizon { open_index: 1_000, safe_index: 900, at_unix_ns: 1 };

fn vote() -> Option<wire::Vote> {
    Some(wire::Vote { term: TERM, leader: LEADER, committed: true })
}

/// A leader's first entries.
fn append() -> wire::Append {
    let log_id = |index| Some(wire::LogId { term: TERM, index });
    let one = wire::Entry { log_id: log_id(0), kind: 0, payload: Vec::new().into() };
    let other = wire::Entry { log_id: log_id(1), kind: 1, payload: entry(1).into() };
    wire::Append { vote: vote(), prev: None, entries: vec![one, other], committed: log_id(1) }
}

/// Long before a leader that says nothing more is forgotten.
const QUICKLY: Duration = Duration::from_secs(1);

async fn within<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), answer).await.expect("an answer in time")
}

async fn on_append_lane(client: &mut Client, to: Option<wire::Address>, append: wire::Append) -> Answer {
    let append = Some(append);
    let frame = wire::AppendFrame { to, session: 1, no: 1, append, horizon: Some(ITS_HORIZON) };
    // The stream stays open until the answer is there.
    let frames = tokio_stream::StreamExt::chain(tokio_stream::iter([frame]), tokio_stream::pending());
    let mut replies = within(client.append(frames)).await.unwrap().into_inner();
    within(replies.message()).await.unwrap().unwrap().result.unwrap()
}

async fn on_beat_lane(client: &mut Client, to: Option<wire::Address>, body: Body) -> ReplyBody {
    with_hash(client, to, body, (0, Vec::new())).await
}

/// With a point of the leader's running hash.
async fn with_hash(
    client: &mut Client,
    to: Option<wire::Address>,
    body: Body,
    (hash_index, hash): (u64, Vec<u8>),
) -> ReplyBody {
    let message = wire::BeatMessage {
        no: 1,
        to,
        body: Some(body),
        horizon: Some(ITS_HORIZON),
        hash_index,
        hash: hash.into(),
    };
    let frame = wire::BeatFrame { messages: vec![message] };
    let frames = tokio_stream::StreamExt::chain(tokio_stream::iter([frame]), tokio_stream::pending());
    let mut replies = within(client.beat(frames)).await.unwrap().into_inner();
    within(replies.message()).await.unwrap().unwrap().replies.remove(0).body.unwrap()
}

async fn on_snapshot_lane(client: &mut Client, to: Option<wire::Address>) -> String {
    let last = Some(wire::LogId { term: TERM, index: 1 });
    let chunk = wire::SnapshotChunk { to, vote: vote(), last, finished: true, ..Default::default() };
    within(client.snapshot(tokio_stream::iter([chunk]))).await.unwrap().into_inner().refused
}

fn address(node: &Node) -> wire::Address {
    wire::Address {
        cluster_id: CLUSTER.to_owned(),
        set: SET,
        incarnation: 1,
        from_replica: LEADER,
        to_replica: node.id(),
    }
}

/// Every way to be wrong, and what the refusal says.
fn wrong(right: &wire::Address) -> Vec<(Option<wire::Address>, &'static str)> {
    let cluster_id = "another".to_owned();
    vec![
        (Some(wire::Address { cluster_id, ..right.clone() }), "wrong cluster another"),
        (Some(wire::Address { cluster_id: String::new(), ..right.clone() }), "wrong cluster"),
        (Some(wire::Address { set: SET + 1, ..right.clone() }), "not hosted here"),
        (Some(wire::Address { set: 0, ..right.clone() }), "not hosted here"),
        (Some(wire::Address { incarnation: 0, ..right.clone() }), "wrong incarnation 0"),
        (Some(wire::Address { incarnation: 2, ..right.clone() }), "wrong incarnation 2"),
        (Some(wire::Address { to_replica: right.to_replica + 1, ..right.clone() }), "wrong replica"),
        (Some(wire::Address { from_replica: RETIRED, ..right.clone() }), "belongs to set 1 no more"),
        (None, "no address"),
    ]
}

#[test]
fn what_is_for_somebody_else_is_refused_on_every_lane() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (catalogue, listeners) = cluster();
    let node = Node::start("a1", dir.path(), &catalogue, listener(&listeners, "a1"), &RaftConfig::default());
    let (log, gate) = (node.store.log(SET).unwrap(), node.replica.fence.gate.clone());
    let right = address(&node);
    let request = wire::VoteRequest { vote: vote(), last: None, leadership_transfer: true };
    let transfer = wire::TransferLeader { vote: vote(), to: node.id(), last: None };
    let bodies =
        [Body::Heartbeat(append()), Body::Vote(request), Body::PreVote(request), Body::Transfer(transfer)];
    node.runtime.block_on(async {
        let mut client = PeerClient::connect(format!("http://{}", node.peer)).await.unwrap();
        for (to, expected) in wrong(&right) {
            let what = format!("{to:?}");
            let Answer::Closed(reason) = on_append_lane(&mut client, to.clone(), append()).await else {
                panic!("{what}")
            };
            assert!(reason.contains(expected), "{what}: {reason}");
            for body in &bodies {
                let reply = on_beat_lane(&mut client, to.clone(), body.clone()).await;
                let ReplyBody::Refused(reason) = reply else { panic!("{what}: {body:?}: {reply:?}") };
                assert!(reason.contains(expected), "{what}: {reason}");
            }
            let reason = on_snapshot_lane(&mut client, to).await;
            assert!(reason.contains(expected), "{what}: {reason}");
            assert_eq!((log.vote(), log.last(), gate.horizon()), (None, None, Horizon::default()), "{what}");
        }
        // The same messages, rightly addressed.
        let reply = on_beat_lane(&mut client, Some(right.clone()), bodies[2].clone()).await;
        assert!(matches!(reply, ReplyBody::Vote(_)), "{reply:?}");
        let answer = on_append_lane(&mut client, Some(right.clone()), append()).await;
        let ok = Answer::Ok(wire::AppendOk { matched: Some(wire::LogId { term: TERM, index: 1 }) });
        assert_eq!(answer, ok);
        let reply = on_beat_lane(&mut client, Some(right.clone()), bodies[0].clone()).await;
        let ReplyBody::Heartbeat(frame) = reply else { panic!("{reply:?}") };
        assert!(matches!(frame.result, Some(Answer::Ok(_))), "{frame:?}");
        let reason = on_snapshot_lane(&mut client, Some(right.clone())).await;
        assert!(reason.contains("not complete"), "it is read, and found empty: {reason}");
    });
    assert_eq!(log.last().map(|last| last.index), Some(1));
    assert!(log.vote().is_some());
    assert_eq!(gate.horizon(), ITS_HORIZON.into());
    node.until("both entries are applied", |node| node.group().progress().applied == 1);
    node.die();
}

#[test]
fn a_leader_that_is_not_understood_yet_was_heard() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (catalogue, listeners) = cluster();
    let node = Node::start("a1", dir.path(), &catalogue, listener(&listeners, "a1"), &RaftConfig::default());
    let right = address(&node);
    let basis = |node: &Node| node.replica.ledger().unwrap().reader.basis();
    // What this replica lacks comes before it.
    let prev = Some(wire::LogId { term: TERM, index: 50 });
    let ahead = || wire::Append { prev, entries: Vec::new(), ..append() };
    let mut client = node.runtime.block_on(PeerClient::connect(format!("http://{}", node.peer))).unwrap();
    let mut lanes = vec!["beat", "append"];
    while let Some(lane) = lanes.last() {
        node.until("nobody has spoken for a while", |node| basis(node) == Some(Basis::Stamped));
        let began = Instant::now();
        let answer = node.runtime.block_on(async {
            if *lane == "append" {
                return on_append_lane(&mut client, Some(right.clone()), ahead()).await;
            }
            match on_beat_lane(&mut client, Some(right.clone()), Body::Heartbeat(ahead())).await {
                ReplyBody::Heartbeat(frame) => frame.result.unwrap(),
                other => panic!("{other:?}"),
            }
        });
        assert!(!matches!(answer, Answer::Ok(_)), "{lane}: {answer:?}");
        let found = basis(&node);
        // A machine that stood still in between has proved nothing.
        if began.elapsed() < QUICKLY {
            assert_eq!(found, None, "{lane}: somebody leads, and its state is older than nobody knows what");
            lanes.pop();
        }
    }
    node.die();
}

/// Set in the process that is to end.
const DIFFERS_AT: &str = "TWINSET_TEST_HASH_DIFFERS_AT";
const SURVIVED: i32 = 3;

/// A follower hears from its leader; the hash at one index is wrong.
fn follow_a_leader_that_differs(at: u64) -> ! {
    let dir = tempfile::tempdir().unwrap();
    let (catalogue, listeners) = cluster();
    let node = Node::start("a1", dir.path(), &catalogue, listener(&listeners, "a1"), &RaftConfig::default());
    let right = address(&node);
    node.runtime.block_on(async {
        let mut client = PeerClient::connect(format!("http://{}", node.peer)).await.unwrap();
        on_append_lane(&mut client, Some(right.clone()), append()).await;
    });
    node.until("both entries are applied", |node| node.group().progress().applied == 1);
    let state = node.replica.ledger().unwrap().state.clone();
    node.runtime.block_on(async {
        let mut client = PeerClient::connect(format!("http://{}", node.peer)).await.unwrap();
        let beat = Body::Heartbeat(append());
        // The same hash, none, and that of an entry which is not here yet: all is well.
        let own = state.hash_at(1).unwrap().to_vec();
        for point in [(1, own.clone()), (0, Vec::new()), (1, Vec::new()), (2, own.clone())] {
            let reply = with_hash(&mut client, Some(right.clone()), beat.clone(), point).await;
            assert!(matches!(reply, ReplyBody::Heartbeat(_)), "{reply:?}");
        }
        eprintln!("all is well so far");
        let mut wrong = state.hash_at(at).map_or(own, |hash| hash.to_vec());
        wrong[0] ^= 1;
        with_hash(&mut client, Some(right), beat, (at, wrong)).await;
    });
    std::process::exit(SURVIVED);
}

#[test]
fn a_replica_that_differs_from_its_leader_stops_its_node() {
    if let Ok(at) = std::env::var(DIFFERS_AT) {
        follow_a_leader_that_differs(at.parse().unwrap());
    }
    let _alone = alone();
    // The last index is not applied: nothing can be said about it.
    for (at, ends) in [(0, EXIT_FAULT), (1, EXIT_FAULT), (2, SURVIVED)] {
        let test = "fence::a_replica_that_differs_from_its_leader_stops_its_node";
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(DIFFERS_AT, at.to_string())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("all is well so far"), "index {at}: {said}");
        assert_eq!(output.status.code(), Some(ends), "index {at}: {said}");
    }
}
