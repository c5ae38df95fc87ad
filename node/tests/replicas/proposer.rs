//! The end of a proposer, and its pauses: who waits gets an answer, and a pause that ends leaves the others in force.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use twinset_dispatch::pending::Origin;
use twinset_node::config::RaftConfig;
use twinset_node::proposer::Submission;
use twinset_proto::cluster::v1 as wire;
use wire::item_reply::Result as ItemResult;

use crate::common::{Node, alone, cluster, listener, voters};

const DEADLINE: Duration = Duration::from_secs(20);

fn reason(reply: &wire::ItemReply) -> wire::RefusalReason {
    match &reply.result {
        Some(ItemResult::Refused(refusal)) => refusal.reason(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_waits_in_a_pause_is_refused_when_the_node_ends() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let (catalogue, listeners) = cluster();
    let node = Node::start("a1", dir.path(), &catalogue, listener(&listeners, "a1"), &RaftConfig::default());
    let mut alone = voters(&catalogue);
    alone.retain(|&id, _| id == node.id());
    node.runtime.block_on(node.group().initialize(alone)).unwrap();
    node.until("it leads", |node| node.group().is_leader());

    let proposer = &node.replica.ledger().unwrap().proposer;
    let (reply, mut replies) = mpsc::channel(8);
    let submission = |no| Submission {
        origin: Some(Origin::Client),
        no,
        // Refused as malformed as soon as it is looked at.
        commands: vec![Bytes::from_static(b"?")],
        deadline: Instant::now() + DEADLINE,
        reply: reply.clone(),
    };
    node.runtime.block_on(async {
        let [switch, drain] = [proposer.pause().await, proposer.pause().await];
        drop(switch);
        for no in 1..=3 {
            assert!(proposer.submit(submission(no)).is_none(), "it waits");
        }
        tokio::time::timeout(DEADLINE, proposer.close()).await.expect("it ends");
        for no in 1..=3 {
            let reply = replies.try_recv().expect("the answer was given before the end");
            assert_eq!((reply.no, reason(&reply)), (no, wire::RefusalReason::Draining), "{reply:?}");
        }
        let late = proposer.submit(submission(4)).expect("an answer at once");
        assert_eq!(reason(&late), wire::RefusalReason::Draining);
        drop(drain);
    });
    node.die();
}
