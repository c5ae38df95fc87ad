//! A peer that is there and does not answer the opening of a lane must not hold the lane up for ever.
#![allow(clippy::unwrap_used)]

mod common;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use common::{cluster, listener};
use futures::Stream;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};
use twinset_node::peer::Links;
use twinset_proto::cluster::v1 as wire;
use wire::peer_server::{Peer, PeerServer};

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
        Err(Status::unimplemented("nobody sends one"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_is_not_answered_is_opened_again() {
    let (catalogue, listeners) = cluster();
    let listener = tokio::net::TcpListener::from_std(listener(&listeners, "b1")).unwrap();
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let (appends, mut appends_seen) = watch::channel(0);
    let (beats, mut beats_seen) = watch::channel(0);
    let silent = PeerServer::new(Silent { appends, beats });
    tokio::spawn(tonic::transport::Server::builder().add_service(silent).serve_with_incoming(incoming));
    let catalogue = watch::Sender::new(Some(Arc::new(catalogue)));
    let _link = Links::new(catalogue.subscribe()).to("b1");
    for seen in [&mut appends_seen, &mut beats_seen] {
        let again = tokio::time::timeout(DEADLINE, seen.wait_for(|&opened| opened >= 3));
        again.await.expect("it asks again").unwrap();
    }
}
