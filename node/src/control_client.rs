//! Commands for the control set, from this node: to its own replica if that leads, else to the nodes that host one.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::time::Instant;
use twinset_control::{CONTROL_SET, Catalogue, Command, Envelope, Rejection, Reply, decode_answer};
use twinset_proto::cluster::v1 as wire;
use wire::admin_client::AdminClient;
use wire::control_reply::Result as Answer;

use crate::catalogue::CatalogueCell;
use crate::dial;
use crate::platform::Platform;
use crate::raft::{Applied, ProposeError};
use crate::set::Sets;

/// For one command, all attempts together.
const DEADLINE: Duration = Duration::from_secs(5);
const ATTEMPT: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(50);

/// Why a command of the control set has no reply.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rules say no.
    #[error("the control set refused: {0}")]
    Rejected(#[from] Rejection),
    /// No leader was reached; nothing was proposed.
    #[error("the control set cannot be reached: {0}")]
    Unavailable(String),
    /// It may or may not have been applied. All commands can be sent again.
    #[error("the control set did not answer: {0}")]
    Unknown(String),
}

/// Handle for proposing to the control set.
#[derive(Clone)]
pub struct ControlClient {
    sets: Arc<Sets>,
    cell: CatalogueCell,
    me: String,
}

impl ControlClient {
    /// For the node `me`.
    pub fn new(sets: Arc<Sets>, cell: CatalogueCell, me: String) -> Self {
        ControlClient { sets, cell, me }
    }

    /// Proposes a command and waits for its reply, by way of any node that leads the control set. Repeats itself while
    /// the outcome is open: a repeated command of the control set changes nothing.
    pub fn propose<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Reply, Error>> {
        Box::pin(async move {
            let command = Bytes::from(
                serde_json::to_vec(command).expect("plain data with string keys has a JSON form"),
            );
            let deadline = Instant::now() + DEADLINE;
            loop {
                let error = match self.attempt(&command).await {
                    Ok(answer) => match decode_answer(&answer) {
                        Ok(answer) => return Ok(answer?),
                        Err(error) => Error::Unknown(error.to_string()),
                    },
                    Err(error) => error,
                };
                if Instant::now() >= deadline {
                    return Err(error);
                }
                tokio::time::sleep(RETRY).await;
            }
        })
    }

    /// Proposes at this node's own replica of the control set, if it has one and that leads, and is of that cluster.
    pub async fn propose_here(&self, cluster_id: &str, command_json: &[u8]) -> Answer {
        let own = self.cell.get().map(|catalogue| catalogue.cluster_id.clone()).unwrap_or_default();
        if own.is_empty() || own != cluster_id {
            return Answer::Unavailable(format!("wrong cluster {cluster_id}: this is {own}"));
        }
        let Ok(command) = serde_json::from_slice::<Command>(command_json) else {
            return Answer::Unavailable("not a command of the control set".into());
        };
        let Some(replica) = self.sets.control() else { return Answer::NotLeaderHint(String::new()) };
        let leader = || self.leader_hint().unwrap_or_default();
        if !replica.group.is_leader() {
            return Answer::NotLeaderHint(leader());
        }
        let envelope = Envelope { time_unix_ns: self.cell.platform().now_unix_ns(), command };
        let proposal = match replica.group.propose(Bytes::from(envelope.encode())).await {
            Ok(proposal) => proposal,
            Err(error) => return Answer::Unknown(format!("{error:?}")),
        };
        match tokio::time::timeout(ATTEMPT, proposal.result()).await {
            Ok(Ok((_, Applied::Control(reply)))) => Answer::ReplyJson(reply.into()),
            Ok(Ok(_)) => unreachable!("a command of the control set has a reply"),
            Ok(Err(ProposeError::NotLeader { .. })) => Answer::NotLeaderHint(leader()),
            Ok(Err(error)) => Answer::Unknown(format!("{error:?}")),
            Err(_) => Answer::Unknown("not committed in time".into()),
        }
    }

    fn leader_hint(&self) -> Option<String> {
        let leader = self.sets.control()?.group.view().borrow().leader?;
        Some(self.cell.get()?.replica(CONTROL_SET, leader)?.node.clone())
    }

    async fn attempt(&self, command: &Bytes) -> Result<Bytes, Error> {
        let catalogue = self.cell.get().ok_or_else(|| Error::Unavailable("no catalogue yet".into()))?;
        let hosts = catalogue.control.replicas.iter().map(|replica| replica.node.clone());
        let mut candidates: VecDeque<String> = self.leader_hint().into_iter().chain(hosts).collect();
        let mut tried = BTreeSet::new();
        let mut reason = "no leader".to_owned();
        while let Some(node) = candidates.pop_front() {
            if !tried.insert(node.clone()) {
                continue;
            }
            let answer = if node == self.me {
                self.propose_here(&catalogue.cluster_id, command).await
            } else {
                match ask(self.cell.platform(), &catalogue, &node, command).await {
                    Ok(answer) => answer,
                    Err(error) => {
                        reason = format!("{node}: {error}");
                        continue;
                    }
                }
            };
            match answer {
                Answer::ReplyJson(reply) => return Ok(reply),
                Answer::NotLeaderHint(hint) if !hint.is_empty() => candidates.push_front(hint),
                Answer::NotLeaderHint(_) => {}
                Answer::Unavailable(why) => reason = format!("{node}: {why}"),
                Answer::Unknown(why) => return Err(Error::Unknown(format!("{node}: {why}"))),
            }
        }
        Err(Error::Unavailable(reason))
    }
}

async fn ask(
    platform: &dyn Platform,
    catalogue: &Catalogue,
    node: &str,
    command: &Bytes,
) -> Result<Answer, String> {
    let address = &catalogue.nodes.get(node).ok_or("unknown node")?.api_addr;
    let channel = dial::connect(platform, address).await.map_err(|e| e.to_string())?;
    let request =
        wire::ControlRequest { command_json: command.clone(), cluster_id: catalogue.cluster_id.clone() };
    let reply = tokio::time::timeout(ATTEMPT, AdminClient::new(channel).control(request)).await;
    match reply {
        // It was sent: only the control set's log knows what became of it.
        Err(_) => Ok(Answer::Unknown("no answer in time".into())),
        Ok(Err(status)) => Ok(Answer::Unknown(status.to_string())),
        Ok(Ok(reply)) => reply.into_inner().result.ok_or_else(|| "an empty reply".to_owned()),
    }
}
