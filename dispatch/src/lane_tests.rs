//! Lanes on a connection to a node that does not keep up.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::BoxFuture;
use prometheus::Registry;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use super::*;
use crate::dial::Dial;
use crate::link::Stream;
use crate::pending::Origin;
use crate::view::{SetView, View};

/// Three times as many as the stream takes frames.
const SETS: u32 = 24;
const FRAMES: usize = 8;
const LONG: Duration = Duration::from_secs(20);

struct Nowhere;

impl Dial for Nowhere {
    fn dial(&self, _: Endpoint) -> BoxFuture<'static, Result<Channel, tonic::transport::Error>> {
        Box::pin(std::future::pending())
    }
}

#[tokio::test]
async fn all_lanes_of_a_full_stream_get_to_send_one_for_each_frame_that_is_read() {
    let metrics = Arc::new(Metrics::new(&Registry::new(), "twinset_test"));
    let links = Arc::new(Links::new(Arc::new(Nowhere), metrics.clone()));
    let (frames, mut read) = mpsc::channel(FRAMES);
    let channel = Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
    let node = Node::from("a1");
    links.opened(node.clone(), Stream { id: StreamId(1), frames, channel });
    let replicas: Arc<[Node]> = Arc::new([node.clone()]);
    let set = SetView { incarnation: 1, leader: Some(node), term: 1, replicas };
    let sets: BTreeMap<u32, SetView> = (1..=SETS).map(|number| (number, set.clone())).collect();
    let (_views, views) = watch::channel(Arc::new(View { sets, ..View::default() }));

    let (fill, all) = (Arc::<Fill>::default(), Arc::<AtomicUsize>::default());
    let room = Room { requests: 100, bytes: 1_000, crowded: 100, share: 100 };
    let (mut lanes, mut kept) = (JoinSet::new(), Vec::new());
    for number in 1..=SETS {
        let lane_no = u16::try_from(number).expect("a few");
        let lane = Lane::new(number, lane_no, links.clone(), views.clone(), metrics.clone());
        let ((items, taken), (events, heard)) = (mpsc::channel(1), mpsc::channel(1));
        let (reply, answer) = oneshot::channel();
        let item = Item {
            origin: Origin::Client,
            commands: vec![Bytes::from_static(b"x")],
            deadline: Instant::now() + LONG,
            reply,
            permit: Permit::take(&fill, &all, 1, room).expect("there is room"),
        };
        items.try_send(item).expect("it is the first");
        lanes.spawn(lane.run(taken, heard));
        kept.push((items, events, answer));
    }
    let mut sent = Vec::new();
    for _ in 0..SETS {
        // A few turns of everybody: the stream is full, and the others wait.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
        let frame = tokio::time::timeout(LONG / 4, read.recv()).await.expect("somebody sends");
        sent.push(frame.expect("it is open").items[0].set);
    }
    sent.sort_unstable();
    assert!(sent.into_iter().eq(1..=SETS));
}
