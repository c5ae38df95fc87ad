//! How the leaders of other sets are reached: by the lanes that routers use, so that a set that moves, elects or is slow is
//! waited for in the same way.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twinset_control::Catalogue;
use twinset_dispatch::dispatcher::{Dispatcher, QueueLimits};
use twinset_dispatch::link::Links;
use twinset_dispatch::metrics::Metrics;
use twinset_dispatch::pending::Origin;
use twinset_dispatch::reads::Reads;
use twinset_dispatch::topology::Follower;
use twinset_ledger::{Position, TransactionId, codec};
use twinset_proto::cluster::v1::{Decision, read_reply, read_request};
use twinset_proto::ledger::v1::Consistency;
use twinset_store::{Question, Recollection, Verdict};

use crate::platform::Platform;
use crate::reconciliation::form;

/// The way to the leaders of other sets, through this process's own connections to all nodes.
pub struct Ways {
    dispatcher: Dispatcher,
    reads: Arc<Reads>,
}

/// What waits for one set: loads of steps, which the driver bounds. Nothing else waits beside them.
const QUEUE: QueueLimits = QueueLimits { requests: 4_096, bytes: 256 << 20, crowded: usize::MAX };

impl Ways {
    /// Follows the cluster of the catalogue from `site`, until `stop`; its tasks are awaited through `tasks`.
    pub fn start(
        platform: Arc<dyn Platform>,
        catalogue: &Catalogue,
        site: &str,
        metrics: Arc<Metrics>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Ways {
        let hosts = catalogue.nodes.values().filter(|node| !node.arbiter);
        let seeds = hosts.map(|node| node.api_addr.clone()).collect();
        let (follower, views) = Follower::new(platform.clone(), seeds);
        tasks.spawn(follower.run(stop.clone()));
        let links = Arc::new(Links::new(platform, metrics.clone()));
        tasks.spawn(links.clone().run(views.clone(), stop.clone()));
        // Lanes end with the last handle, which the node holds for as long as it lives.
        let lanes = TaskTracker::new();
        let dispatcher = Dispatcher::new(links.clone(), views.clone(), QUEUE, metrics, lanes);
        Ways { dispatcher, reads: Arc::new(Reads::new(links, views, site.to_owned())) }
    }

    /// Asks the leader of `set` to take in steps, in the name of `from`. One answer for each, in the ledger's wire form; or
    /// why there is none, which says nothing of what was taken in.
    pub fn ask(
        &self,
        set: u32,
        from: Origin,
        steps: Vec<Bytes>,
        deadline: Instant,
    ) -> impl Future<Output = Result<Vec<Bytes>, String>> + use<> {
        let answer = self.dispatcher.submit(from, set, steps, deadline);
        async move {
            let done = answer.map_err(|failure| failure.detail)?.await;
            let done = done.map_err(|_| "the lane has ended".to_owned())?;
            Ok(done.map_err(|failure| failure.detail)?.outcomes)
        }
    }

    /// What its coordinator has decided of an attempt; None: it does not know it.
    pub fn verdict(
        &self,
        attempt: TransactionId,
        deadline: Instant,
    ) -> impl Future<Output = Result<Option<Verdict>, String>> + use<> {
        let reads = self.reads.clone();
        async move {
            let query = read_request::Query::Attempt(attempt.to_string());
            let reply = reads.read(attempt.set, Consistency::Linearizable, query, deadline).await;
            match reply.map_err(|failure| failure.detail)?.result {
                Some(read_reply::Result::Attempt(decision)) => match Decision::try_from(decision) {
                    Ok(Decision::Undecided) => Ok(Some(Verdict::Undecided)),
                    Ok(Decision::Booked) => Ok(Some(Verdict::Booked)),
                    Ok(Decision::NotBooked) => Ok(Some(Verdict::NotBooked)),
                    Ok(Decision::Unspecified) | Err(_) => Err("a decision that is none".to_owned()),
                },
                Some(read_reply::Result::NotFound(_)) => Ok(None),
                _ => Err("an answer to another question".to_owned()),
            }
        }
    }

    /// A part of what a set knows of the end of the log of the one that asks.
    pub fn recollect(
        &self,
        set: u32,
        question: &Question,
        from: Position,
        deadline: Instant,
    ) -> impl Future<Output = Result<Recollection, String>> + use<> {
        let reads = self.reads.clone();
        let query = read_request::Query::Recollect(form::encode(question, from));
        async move {
            let reply = reads.read(set, Consistency::Linearizable, query, deadline).await;
            match reply.map_err(|failure| failure.detail)?.result {
                Some(read_reply::Result::Recollected(part)) => {
                    let statements = part.statements.iter().map(|bytes| codec::decode_command(bytes));
                    let statements =
                        statements.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
                    Ok(Recollection { statements, next: part.next.map(Position) })
                }
                _ => Err("an answer to another question".to_owned()),
            }
        }
    }
}
