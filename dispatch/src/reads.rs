//! Reads: a linearizable one goes to the set's leader and is held and retried as a write is, but more simply, since a
//! read may always be asked again; a stale one goes to any replica, this site's first. Nothing is kept between reads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use tonic::transport::Channel;
use twinset_proto::cluster::v1::sets_client::SetsClient;
use twinset_proto::cluster::v1::{ReadReply, ReadRequest, Refusal, RefusalReason, read_reply, read_request};
use twinset_proto::ledger::v1::Consistency;

use crate::failure::{Failure, Kind};
use crate::link::Links;
use crate::target::{Choice, Node, Target};
use crate::topology::Views;

/// How long a leader may still answer once another node is known to lead.
const SUPERSEDED_AFTER: Duration = Duration::from_millis(150);
/// How long one replica may take for a stale read before another one is asked.
const STALE_WAIT: Duration = Duration::from_millis(500);
const REPLY_BYTES_MAX: usize = 64 << 20;

/// Asks nodes.
pub struct Reads {
    links: Arc<Links>,
    views: Views,
    site: String,
    turn: AtomicUsize,
}

/// What one attempt gave.
enum Attempt {
    Reply(Box<ReadReply>),
    Refused(Refusal),
    Failed(String),
}

impl Reads {
    /// Reads through `links`; stale ones in `site` first.
    pub fn new(links: Arc<Links>, views: Views, site: String) -> Self {
        Reads { links, views, site, turn: AtomicUsize::new(0) }
    }

    /// Asks a set.
    pub async fn read(
        &self,
        set: u32,
        consistency: Consistency,
        query: read_request::Query,
        deadline: Instant,
    ) -> Result<ReadReply, Failure> {
        let mut views = self.views.clone();
        let view = views.borrow_and_update().clone();
        let Some(known) = view.sets.get(&set) else {
            return Err(Failure::new(Kind::NotFound, format!("there is no set {set}")));
        };
        let stale = consistency == Consistency::Stale;
        let mut target = match stale {
            true => Target::new(None, self.nearest_first(&view, &known.replicas)),
            false => Target::new(known.leader.clone(), known.replicas.clone()),
        };
        let mut said = "no leader of the set could be reached".to_string();
        loop {
            let now = Instant::now();
            if now >= deadline {
                return Err(Failure::new(
                    Kind::NoLeader,
                    format!("not answered before the deadline: {said}"),
                ));
            }
            let node = match target.choose(now, |node| self.links.is_up(node)) {
                Choice::Send(node) | Choice::Probe(node) => node,
                Choice::WaitUntil(until) => {
                    self.wait(&mut views, set, stale, &mut target, until.min(deadline)).await;
                    continue;
                }
            };
            let Some(stream) = self.links.stream(&node) else {
                target.lost(&node, now);
                continue;
            };
            target.probed(node.clone(), now);
            // The newest view: a recovery may have come in since the call began.
            let (cluster_id, incarnation) = {
                let view = views.borrow();
                let known = view.sets.get(&set).map_or(known.incarnation, |known| known.incarnation);
                (view.cluster_id.clone(), known)
            };
            let request = ReadRequest {
                cluster_id,
                set,
                incarnation,
                consistency: consistency.into(),
                deadline_ms: u32::try_from((deadline - now).as_millis()).unwrap_or(u32::MAX).max(1),
                query: Some(query.clone()),
            };
            let patience = if stale { deadline.min(now + STALE_WAIT) } else { deadline };
            let attempt = tokio::select! {
                attempt = ask(stream.channel, request) => attempt,
                () = tokio::time::sleep_until(patience) => Attempt::Failed("the node did not answer".into()),
                () = superseded(&mut views, set, &node), if !stale => Attempt::Failed("another node leads by now".into()),
            };
            let now = Instant::now();
            match attempt {
                Attempt::Reply(reply) => return Ok(*reply),
                Attempt::Refused(refusal) => {
                    said = format!("{node} refused: {:?} {}", refusal.reason(), refusal.detail);
                    self.refused(&refusal, &node, stale, &mut target, now)?;
                }
                Attempt::Failed(why) => {
                    said = format!("{node}: {why}");
                    target.lost(&node, now);
                    let view = views.borrow_and_update().clone();
                    if let Some(leader) =
                        view.sets.get(&set).and_then(|set| set.leader.clone()).filter(|l| *l != node)
                    {
                        target.learned((!stale).then_some(leader));
                    }
                }
            }
        }
    }

    fn refused(
        &self,
        refusal: &Refusal,
        node: &Node,
        stale: bool,
        target: &mut Target,
        now: Instant,
    ) -> Result<(), Failure> {
        match refusal.reason() {
            RefusalReason::Malformed => return Err(Failure::new(Kind::Malformed, refusal.detail.clone())),
            RefusalReason::WrongSet => return Err(Failure::new(Kind::WrongSet, refusal.detail.clone())),
            RefusalReason::IndexBuilding => {
                return Err(Failure::new(Kind::IndexBuilding, refusal.detail.clone()));
            }
            RefusalReason::Overloaded if !stale => target.overloaded(node, now),
            _ => {
                let hint =
                    (!stale && !refusal.leader.is_empty()).then(|| Node::from(refusal.leader.as_str()));
                target.refused(node, hint, now);
            }
        }
        Ok(())
    }

    /// Waits for `until`, or for a leader to be named.
    async fn wait(&self, views: &mut Views, set: u32, stale: bool, target: &mut Target, until: Instant) {
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            Ok(()) = views.changed() => {
                let view = views.borrow_and_update().clone();
                let leader = view.sets.get(&set).and_then(|set| set.leader.clone());
                if leader.is_some() && !stale {
                    target.learned(leader);
                }
            }
        }
    }

    /// The replicas of this site first; in each site another one first each time.
    fn nearest_first(&self, view: &crate::view::View, replicas: &Arc<[Node]>) -> Arc<[Node]> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut ordered: Vec<Node> = replicas.to_vec();
        if !ordered.is_empty() {
            let by = turn % ordered.len();
            ordered.rotate_left(by);
        }
        ordered.sort_by_key(|node| view.site_of(node) != self.site);
        ordered.into()
    }
}

async fn ask(channel: Channel, request: ReadRequest) -> Attempt {
    let mut client = SetsClient::new(channel).max_decoding_message_size(REPLY_BYTES_MAX);
    match client.read(request).await {
        Ok(reply) => match reply.into_inner() {
            ReadReply { result: Some(read_reply::Result::Refused(refusal)) } => Attempt::Refused(refusal),
            ReadReply { result: None } => Attempt::Failed("an empty answer".into()),
            reply => Attempt::Reply(Box::new(reply)),
        },
        Err(status) => Attempt::Failed(status.message().to_string()),
    }
}

/// Ends when another node than `node` has been known to lead for a while.
async fn superseded(views: &mut Views, set: u32, node: &Node) {
    let moved = views
        .wait_for(|view| {
            view.sets.get(&set).and_then(|set| set.leader.as_ref()).is_some_and(|leader| leader != node)
        })
        .await
        .is_ok();
    match moved {
        true => tokio::time::sleep(SUPERSEDED_AFTER).await,
        false => std::future::pending().await,
    }
}
