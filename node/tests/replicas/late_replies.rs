//! A read is confirmed by replies to what was sent after it began, not by replies that were on their way before. A leader
//! whose process stood still finds such replies when it goes on, from followers that have long had another leader; one of
//! them commits an entry, the leader tells the other follower so, and openraft takes that one's old reply for the answer.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use twinset_node::config::RaftConfig;
use twinset_proto::cluster::v1 as wire;
use wire::append_reply_frame::Result as Reply;
use wire::beat_message::Body;
use wire::beat_reply::Body as ReplyBody;
use wire::peer_server::{Peer, PeerServer};

use crate::common::{Node, alone, cluster, entry, listener, voters};

const DEADLINE: Duration = Duration::from_secs(30);

type Out<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// An append that has arrived: the last index that it brings, how many entries, and what it says is committed.
#[derive(Clone, Copy, Debug)]
struct Append {
    last: u64,
    entries: usize,
    committed: u64,
}

/// A follower that agrees to all, as far as the test lets its replies go.
#[derive(Clone)]
struct Follower(Arc<Script>);

struct Script {
    appends: watch::Sender<Vec<Append>>,
    /// So many appends, from the first on, are answered.
    answered: watch::Sender<usize>,
    beats: watch::Sender<u64>,
    beats_answered: watch::Sender<bool>,
}

impl Follower {
    fn start(node: &Node, listener: std::net::TcpListener) -> Self {
        let follower = Follower(Arc::new(Script {
            appends: watch::Sender::default(),
            answered: watch::Sender::new(usize::MAX),
            beats: watch::Sender::default(),
            beats_answered: watch::Sender::new(true),
        }));
        let lanes = PeerServer::new(follower.clone());
        node.runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
            tokio::spawn(
                tonic::transport::Server::builder().add_service(lanes).serve_with_incoming(incoming),
            );
        });
        follower
    }

    /// Answers no append that comes from now on.
    fn hold(&self) {
        self.0.answered.send_replace(self.0.appends.borrow().len());
    }

    /// Which append, counted from one, is the first that is such; waits for it.
    async fn seen(&self, such: impl Fn(&Append) -> bool) -> usize {
        let mut appends = self.0.appends.subscribe();
        let seen = appends.wait_for(|appends| appends.iter().any(&such)).await.unwrap();
        1 + seen.iter().position(&such).unwrap()
    }

    async fn more_beats(&self) {
        let mut beats = self.0.beats.subscribe();
        let before = *beats.borrow();
        beats.wait_for(|&beats| beats >= before + 2).await.unwrap();
    }
}

fn ok(set: u32, session: u64, no: u64, append: &wire::Append) -> wire::AppendReplyFrame {
    let matched = append.entries.last().and_then(|entry| entry.log_id).or(append.prev);
    wire::AppendReplyFrame { set, session, no, result: Some(Reply::Ok(wire::AppendOk { matched })) }
}

#[tonic::async_trait]
impl Peer for Follower {
    type AppendStream = Out<wire::AppendReplyFrame>;
    type BeatStream = Out<wire::BeatReplyFrame>;

    async fn append(
        &self,
        frames: Request<Streaming<wire::AppendFrame>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let (mut frames, script) = (frames.into_inner(), self.0.clone());
        let (queue, mut waiting) = mpsc::channel::<(usize, wire::AppendReplyFrame)>(64);
        let (replies, out) = mpsc::channel(64);
        let answered = script.answered.subscribe();
        tokio::spawn(async move {
            while let Ok(Some(frame)) = frames.message().await {
                let (to, append) = (frame.to.unwrap(), frame.append.unwrap());
                let reply = ok(to.set, frame.session, frame.no, &append);
                let Some(Reply::Ok(wire::AppendOk { matched })) = reply.result else { unreachable!() };
                let index = |id: Option<wire::LogId>| id.map_or(0, |id| id.index);
                let arrived = Append {
                    last: index(matched),
                    entries: append.entries.len(),
                    committed: index(append.committed),
                };
                let mut number = 0;
                script.appends.send_modify(|appends| {
                    appends.push(arrived);
                    number = appends.len();
                });
                if queue.send((number, reply)).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            let mut answered = answered;
            while let Some((number, reply)) = waiting.recv().await {
                if answered.wait_for(|&answered| answered >= number).await.is_err()
                    || replies.send(Ok(reply)).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(out))))
    }

    async fn beat(
        &self,
        frames: Request<Streaming<wire::BeatFrame>>,
    ) -> Result<Response<Self::BeatStream>, Status> {
        let (mut frames, script) = (frames.into_inner(), self.0.clone());
        let (replies, out) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Ok(Some(frame)) = frames.message().await {
                let answers = frame.messages.into_iter().map(|message| {
                    let set = message.to.unwrap().set;
                    let granted = |vote| wire::VoteReply { vote, granted: true, last: None };
                    let body = match message.body.unwrap() {
                        Body::Heartbeat(append) => ReplyBody::Heartbeat(ok(set, 0, message.no, &append)),
                        Body::Vote(request) | Body::PreVote(request) => {
                            ReplyBody::Vote(granted(request.vote))
                        }
                        Body::Transfer(_) => ReplyBody::Transferred(true),
                    };
                    wire::BeatReply { no: message.no, body: Some(body) }
                });
                let answers = wire::BeatReplyFrame { replies: answers.collect() };
                script.beats.send_modify(|beats| *beats += 1);
                let answers = script.beats_answered.borrow().then_some(answers);
                if let Some(answers) = answers
                    && replies.send(Ok(answers)).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(out))))
    }

    async fn snapshot(
        &self,
        _: Request<Streaming<wire::SnapshotChunk>>,
    ) -> Result<Response<wire::SnapshotReply>, Status> {
        Err(Status::unimplemented("it needs none"))
    }
}

#[test]
fn a_late_reply_confirms_no_read_that_began_after_it_was_asked_for() {
    let _alone = alone();
    let (catalogue, listeners) = cluster();
    let voters = voters(&catalogue);
    let ids: Vec<u64> = voters.keys().copied().collect();
    let dir = tempfile::tempdir().unwrap();
    // Slow enough for a busy machine, except that heartbeats come often.
    let raft = RaftConfig {
        heartbeat_ms: 50,
        election_timeout_min_ms: 5_000,
        election_timeout_away_min_ms: 7_000,
        election_timeout_max_ms: 9_000,
        ..RaftConfig::default()
    };
    let own = &voters[&ids[0]];
    let node = Node::start(own, dir.path(), &catalogue, listener(&listeners, own), &raft);
    let follower = |n: usize| Follower::start(&node, listener(&listeners, &voters[&ids[n]]));
    let (first, second) = (follower(1), follower(2));
    node.runtime.block_on(node.group().initialize(voters.clone())).unwrap();
    let group = node.group();
    let propose = async |n: u64| group.propose(entry(n).into()).await.unwrap();
    node.until("it takes entries", |node| {
        let proposed = async { propose(1).await.result().await };
        node.group().is_leader() && node.runtime.block_on(proposed).is_ok()
    });
    node.until("it has been answered", |node| node.replica.fence.gate.vouched().is_some());

    let story = async {
        first.hold();
        second.hold();
        let before = node.group().progress().last_log;
        let proposal = propose(2).await;
        let brings = |append: &Append| append.entries > 0 && append.last > before;
        let (at_first, at_second) = (first.seen(brings).await, second.seen(brings).await);
        let last = first.0.appends.borrow()[at_first - 1].last;
        for follower in [&first, &second] {
            follower.0.beats_answered.send_replace(false);
        }
        let began = Instant::now();
        let mut barrier = Box::pin(node.group().read_barrier());
        assert!(futures::poll!(&mut barrier).is_pending());
        // The read has begun for openraft as well: heartbeats go out for it.
        second.more_beats().await;

        first.0.answered.send_replace(at_first);
        proposal.result().await.unwrap();
        second.seen(|append| append.entries == 0 && append.committed >= last).await;
        second.0.answered.send_replace(at_second);
        let mut view = node.group().view();
        while node.group().progress().matched.get(&ids[2]) != Some(&last) {
            // How far the log has come changes too often for a view.
            let _ = tokio::time::timeout(Duration::from_millis(5), view.changed()).await;
        }

        // openraft answers one after the other: what it has to say to the read is said when this is.
        assert!(node.group().is_initialized().await.unwrap());
        assert!(futures::poll!(&mut barrier).is_pending(), "no majority has answered since it began");
        let vouched = node.replica.fence.gate.vouched();
        assert!(vouched.is_some_and(|at| at < began), "{vouched:?}, {began:?}");

        for follower in [&first, &second] {
            follower.0.answered.send_replace(usize::MAX);
            follower.0.beats_answered.send_replace(true);
        }
        barrier.await.unwrap();
    };
    node.runtime.block_on(async { tokio::time::timeout(DEADLINE, story).await }).expect("it comes to an end");
    node.die();
}
