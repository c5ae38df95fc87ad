//! A peer that is there and does not answer the opening of a lane must not hold the lane up for ever.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use tokio::sync::{mpsc, watch};
use tonic::{Code, Request, Response, Status, Streaming};
use twinset_control::Catalogue;
use twinset_node::peer::Links;
use twinset_node::platform::system;
use twinset_proto::cluster::v1 as wire;
use wire::peer_server::{Peer, PeerServer};

use crate::common::{cluster, listener};

const DEADLINE: Duration = Duration::from_secs(30);

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Counts who opens a lane, and leaves them waiting.
struct Silent {
    appends: watch::Sender<u32>,
    beats: watch::Sender<u32>,
}

#[tonic::async_trait]
impl Peer for Silent {
    type AppendStream = Out<wire::AppendReplyFrame>;
    type BeatStream = Out<wire::BeatReplyFrame>;

    async fn append(
        &self,
        _: Request<Streaming<wire::AppendFrame>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        self.appends.send_modify(|opened| *opened += 1);
        std::future::pending().await
    }

    async fn beat(
        &self,
        _: Request<Streaming<wire::BeatFrame>>,
    ) -> Result<Response<Self::BeatStream>, Status> {
        self.beats.send_modify(|opened| *opened += 1);
        std::future::pending().await
    }

    async fn snapshot(
        &self,
        _: Request<Streaming<wire::SnapshotChunk>>,
    ) -> Result<Response<wire::SnapshotReply>, Status> {
        std::future::pending().await
    }
}

/// A peer that is there and answers nothing, and the catalogue that knows it as `b1`.
fn silent() -> (watch::Sender<Option<Arc<Catalogue>>>, watch::Receiver<u32>, watch::Receiver<u32>) {
    let (catalogue, listeners) = cluster();
    let listener = tokio::net::TcpListener::from_std(listener(&listeners, "b1")).unwrap();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let (appends, appends_seen) = watch::channel(0);
    let (beats, beats_seen) = watch::channel(0);
    let peer = PeerServer::new(Silent { appends, beats });
    tokio::spawn(tonic::transport::Server::builder().add_service(peer).serve_with_incoming(incoming));
    (watch::Sender::new(Some(Arc::new(catalogue))), appends_seen, beats_seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_is_not_answered_is_opened_again() {
    let (catalogue, mut appends, mut beats) = silent();
    let _link = Links::new(system(), catalogue.subscribe()).to("b1");
    for seen in [&mut appends, &mut beats] {
        let again = tokio::time::timeout(DEADLINE, seen.wait_for(|&opened| opened >= 3));
        again.await.expect("it asks again").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_not_answered_is_given_up() {
    let (catalogue, ..) = silent();
    let link = Links::new(system(), catalogue.subscribe()).to("b1");
    let (all_is_sent, none) = mpsc::channel(1);
    drop(all_is_sent);
    let patience = Duration::from_millis(300);
    let reply = tokio::time::timeout(DEADLINE, link.snapshot(none, patience)).await.expect("it is given up");
    assert_eq!(reply.unwrap_err().code(), Code::DeadlineExceeded);
}
