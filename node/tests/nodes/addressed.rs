//! What is for another cluster, another set or another incarnation is refused, whoever sends it: commands, reads, and
//! commands for the control set. (Messages between replicas: `fence.rs`.)

use bytes::Bytes;
use tonic::transport::Channel;
use twinset_node::dial;
use twinset_node::platform::System;
use twinset_proto::cluster::v1 as wire;
use wire::admin_client::AdminClient;
use wire::item_reply::Result as ItemResult;
use wire::read_reply::Result as ReadResult;
use wire::sets_client::SetsClient;

use crate::whole::{CLUSTER, Cluster, DEADLINE, alone, leader};

const SET: u32 = 1;

/// Cluster, set and incarnation.
type To = (&'static str, u32, u32);

const RIGHT: To = (CLUSTER, SET, 1);
const WRONG: [(To, &str); 5] = [
    (("another", SET, 1), "wrong cluster another"),
    (("", SET, 1), "wrong cluster"),
    ((CLUSTER, 77, 1), "not hosted here"),
    ((CLUSTER, SET, 0), "wrong incarnation 0"),
    ((CLUSTER, SET, 2), "wrong incarnation 2"),
];

/// Sends something that is refused as malformed as soon as anybody looks at it.
async fn submit(channel: &Channel, (cluster_id, set, incarnation): To) -> wire::Refusal {
    let commands = vec![Bytes::from_static(b"?")];
    let item = wire::Item { no: 7, set, incarnation, commands, deadline_ms: 10_000, ..wire::Item::default() };
    let frame = wire::SubmitFrame { cluster_id: cluster_id.to_owned(), items: vec![item] };
    let frames = tokio_stream::StreamExt::chain(tokio_stream::iter([frame]), tokio_stream::pending());
    let answer = async {
        let mut replies = SetsClient::new(channel.clone()).submit(frames).await.unwrap().into_inner();
        replies.message().await.unwrap().unwrap().replies.remove(0)
    };
    let reply = tokio::time::timeout(DEADLINE, answer).await.unwrap();
    match reply.result {
        Some(ItemResult::Refused(refusal)) if reply.no == 7 => refusal,
        other => panic!("{other:?}"),
    }
}

async fn read(channel: &Channel, (cluster_id, set, incarnation): To) -> ReadResult {
    let request = wire::ReadRequest {
        cluster_id: cluster_id.to_owned(),
        set,
        incarnation,
        deadline_ms: 10_000,
        query: Some(wire::read_request::Query::Account("nobody".to_owned())),
        ..Default::default()
    };
    let reply = tokio::time::timeout(DEADLINE, SetsClient::new(channel.clone()).read(request)).await;
    reply.unwrap().unwrap().into_inner().result.unwrap()
}

async fn control(channel: &Channel, cluster_id: &str) -> wire::control_reply::Result {
    let request = wire::ControlRequest {
        cluster_id: cluster_id.to_owned(),
        command_json: Bytes::from_static(b"{}"),
        forward: false,
        control_incarnation: 0,
    };
    let reply = tokio::time::timeout(DEADLINE, AdminClient::new(channel.clone()).control(request)).await;
    reply.unwrap().unwrap().into_inner().result.unwrap()
}

#[test]
fn what_is_for_somebody_else_is_refused_by_the_leader_too() {
    let _alone = alone();
    let cluster = Cluster::start(&["a1", "a2", "b1", "b2"]);
    let led = &cluster.nodes[leader(&cluster.nodes, SET)];
    led.runtime.block_on(async {
        let channel = dial::connect(&System, &led.ports[0].to_string()).await.unwrap();
        for (to, expected) in WRONG {
            let refusal = submit(&channel, to).await;
            assert_eq!(refusal.reason(), wire::RefusalReason::NotHosted, "{to:?}: {refusal:?}");
            assert!(refusal.detail.contains(expected), "{to:?}: {refusal:?}");
            let ReadResult::Refused(refusal) = read(&channel, to).await else { panic!("{to:?} was read") };
            assert_eq!(refusal.reason(), wire::RefusalReason::NotHosted, "{to:?}: {refusal:?}");
            assert!(refusal.detail.contains(expected), "{to:?}: {refusal:?}");
        }
        let refusal = submit(&channel, RIGHT).await;
        assert_eq!(refusal.reason(), wire::RefusalReason::Malformed, "it was looked at: {refusal:?}");
        let found = read(&channel, RIGHT).await;
        assert!(matches!(found, ReadResult::NotFound(_)), "{found:?}");

        let wire::control_reply::Result::Unavailable(reason) = control(&channel, "another").await else {
            panic!("it was taken")
        };
        assert!(reason.contains("wrong cluster another"), "{reason}");
        let wire::control_reply::Result::Unavailable(reason) = control(&channel, CLUSTER).await else {
            panic!("it was taken")
        };
        assert!(reason.contains("not a command"), "it was looked at: {reason}");
    });
    cluster.stop();
}
