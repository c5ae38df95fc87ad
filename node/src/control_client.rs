//! The way from this node to the leader of the control set: its own replica if that leads, else the nodes that host one. A leader
//! that does not answer may be cut off from this node alone: then another voter that it does reach hands the question on.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::Request;
use tonic::transport::Channel;
use twinset_control::{
    CONTROL_SET, Catalogue, Command, Durability, Envelope, Proof, Rejection, Reply, decode_answer,
};
use twinset_proto::cluster::v1 as wire;
use wire::admin_client::AdminClient;
use wire::control_reply::Result as Answer;
use wire::lease_reply::Result as LeaseResult;

use crate::catalogue::CatalogueCell;
use crate::dial;
use crate::operators::on_behalf;
use crate::platform::Platform;
use crate::raft::{Applied, ProposeError};
use crate::set::Sets;

/// For one command, all attempts together.
const DEADLINE: Duration = Duration::from_secs(5);
const ATTEMPT: Duration = Duration::from_secs(2);
/// For one node to answer at first, twice as long each time until it is [`ATTEMPT`]: a leader that is cut off from this node alone,
/// and only in one direction, takes questions and answers none. That is not to cost the whole of a set's patience.
const ASK_FIRST: Duration = Duration::from_millis(500);
/// For so long a leader that was not reached is only asked by way of others first.
const DETOUR_LASTS: Duration = Duration::from_secs(5);
/// For a lease: short enough for a second way before the last one runs out.
const ASK_LEASE: Duration = Duration::from_secs(1);
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
    detour: Arc<Mutex<Option<Detour>>>,
}

/// A leader that this node did not reach itself, and another one did.
#[derive(Clone)]
struct Detour {
    leader: String,
    found: Instant,
}

impl ControlClient {
    /// For the node `me`.
    pub fn new(sets: Arc<Sets>, cell: CatalogueCell, me: String) -> Self {
        ControlClient { sets, cell, me, detour: Arc::default() }
    }

    /// What speaks for an act that this node asks for by itself.
    pub fn own_proof(&self) -> Proof {
        Proof::Node(self.me.clone())
    }

    /// Proposes a command of this node's own and waits for its reply, as [`ControlClient::propose_for`].
    pub fn propose<'a>(&'a self, command: &'a Command) -> BoxFuture<'a, Result<Reply, Error>> {
        Box::pin(async move { self.propose_for(&self.own_proof(), command).await })
    }

    /// Proposes a command of whom this speaks for and waits for its reply, by way of any node that leads the control
    /// set. Repeats itself while the outcome is open: a repeated command of the control set changes nothing.
    pub fn propose_for<'a>(
        &'a self,
        proof: &'a Proof,
        command: &'a Command,
    ) -> BoxFuture<'a, Result<Reply, Error>> {
        Box::pin(async move {
            let command = Bytes::from(
                serde_json::to_vec(command).expect("plain data with string keys has a JSON form"),
            );
            let deadline = Instant::now() + DEADLINE;
            let mut within = ASK_FIRST;
            loop {
                let error = match self.attempt(proof, &command, within).await {
                    Ok(answer) => match decode_answer(&answer) {
                        Ok(answer) => return Ok(answer?),
                        Err(error) => Error::Unknown(error.to_string()),
                    },
                    Err(error) => error,
                };
                if Instant::now() >= deadline {
                    return Err(error);
                }
                within = (within * 2).min(ATTEMPT);
                tokio::time::sleep(RETRY).await;
            }
        })
    }

    /// Proposes at this node's own replica of the control set, if it has one and that leads, and is of that cluster.
    pub async fn propose_here(&self, cluster_id: &str, command_json: &[u8], proof: &Proof) -> Answer {
        let own = self.cell.get().map(|catalogue| catalogue.cluster_id.clone()).unwrap_or_default();
        if own.is_empty() || own != cluster_id {
            return Answer::Unavailable(format!("wrong cluster {cluster_id}: this is {own}"));
        }
        let Ok(command) = serde_json::from_slice::<Command>(command_json) else {
            return Answer::Unavailable("not a command of the control set".into());
        };
        // It stands in a log where a recovery has put it, before anybody could propose anything.
        if matches!(command, Command::RecoverControl { .. }) {
            return Answer::Unavailable("nobody proposes the recovery of the control set".into());
        }
        let Some(replica) = self.sets.control() else { return Answer::NotLeaderHint(String::new()) };
        let leader = || self.leader_hint().unwrap_or_default();
        if !replica.group.is_leader() {
            return Answer::NotLeaderHint(leader());
        }
        let envelope = Envelope::new(self.cell.platform().now_unix_ns(), proof.clone(), command);
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

    async fn attempt(&self, proof: &Proof, command: &Bytes, within: Duration) -> Result<Bytes, Error> {
        let catalogue = self.cell.get().ok_or_else(|| Error::Unavailable("no catalogue yet".into()))?;
        let known = &catalogue;
        let ask = |node: String, forward: bool| {
            let asked = async move {
                let answer = if node == self.me {
                    self.propose_here(&known.cluster_id, command, proof).await
                } else {
                    let (command_json, cluster_id) = (command.clone(), known.cluster_id.clone());
                    let control_incarnation = known.control.incarnation;
                    let request =
                        wire::ControlRequest { command_json, cluster_id, forward, control_incarnation };
                    ask(self.cell.platform(), known, &node, on_behalf(proof, request), within).await?
                };
                Ok(match answer {
                    Answer::ReplyJson(reply) => Said::Done(reply),
                    Answer::NotLeaderHint(hint) => Said::NotLeader(hint),
                    Answer::Unavailable(why) => return Err(why),
                    Answer::Unknown(why) => Said::Open(why),
                })
            };
            asked.boxed()
        };
        self.leader(known, ask).await.map_err(|missed| match missed.open {
            true => Error::Unknown(missed.why),
            false => Error::Unavailable(missed.why),
        })
    }

    /// Asks whoever leads the control set: those who may, one after the other, and those who know who does.
    async fn leader<'a, T>(
        &self,
        catalogue: &Catalogue,
        ask: impl Fn(String, bool) -> BoxFuture<'a, Result<Said<T>, String>>,
    ) -> Result<T, Missed> {
        let hosts = catalogue.control.replicas.iter().map(|replica| replica.node.clone());
        let mut candidates: VecDeque<String> = self.leader_hint().into_iter().chain(hosts).collect();
        // Whom this node did not reach a moment ago it asks last.
        let unreached = self.detour.lock().clone().filter(|detour| detour.found.elapsed() < DETOUR_LASTS);
        let unreached = unreached.map(|detour| detour.leader);
        let mut tried: BTreeSet<String> = unreached.iter().cloned().collect();
        let mut know: Vec<(String, String)> = Vec::new();
        let (mut reasons, mut open) = (Vec::new(), false);
        while let Some(node) = candidates.pop_front() {
            if !tried.insert(node.clone()) {
                continue;
            }
            match ask(node.clone(), false).await {
                Ok(Said::Done(done)) => return Ok(done),
                Ok(Said::NotLeader(hint)) if !hint.is_empty() => {
                    know.push((node, hint.clone()));
                    candidates.push_front(hint);
                }
                Ok(Said::NotLeader(_)) => {}
                Ok(Said::Open(why)) => {
                    open = true;
                    reasons.push(format!("{node}: {why}"));
                }
                Err(why) => reasons.push(format!("{node}: {why}")),
            }
        }
        // A voter in this node's own site may well stand behind the same cut.
        know.sort_by_key(|(node, _)| catalogue.site_of_node(node) == catalogue.site_of_node(&self.me));
        for (node, leader) in know.into_iter().filter(|(node, _)| *node != self.me) {
            match ask(node.clone(), true).await {
                Ok(Said::Done(done)) => {
                    if unreached.is_none() {
                        *self.detour.lock() = Some(Detour { leader, found: Instant::now() });
                    }
                    return Ok(done);
                }
                Ok(Said::NotLeader(_)) => {}
                Ok(Said::Open(why)) => {
                    open = true;
                    reasons.push(format!("by way of {node}: {why}"));
                }
                Err(why) => reasons.push(format!("by way of {node}: {why}")),
            }
        }
        if let Some(node) = unreached {
            *self.detour.lock() = None;
            match ask(node.clone(), false).await {
                Ok(Said::Done(done)) => return Ok(done),
                Ok(Said::NotLeader(_)) => {}
                Ok(Said::Open(why)) => {
                    open = true;
                    reasons.push(format!("{node}: {why}"));
                }
                Err(why) => reasons.push(format!("{node}: {why}")),
            }
        }
        let why = if reasons.is_empty() { "no leader".to_owned() } else { reasons.join("; ") };
        Err(Missed { why, open })
    }

    /// A command that an operator or another node has sent, as [`ControlClient::propose_here`]; handed on to the
    /// leader, if it asks for that.
    pub async fn take(&self, request: wire::ControlRequest, proof: &Proof) -> Answer {
        if let Err(why) = self.check_incarnation(request.control_incarnation) {
            return Answer::Unavailable(why);
        }
        let answer = self.propose_here(&request.cluster_id, &request.command_json, proof).await;
        let Answer::NotLeaderHint(leader) = &answer else { return answer };
        let (true, Some(catalogue)) = (self.hands_on(request.forward, leader), self.cell.get()) else {
            return answer;
        };
        let onward = on_behalf(proof, wire::ControlRequest { forward: false, ..request });
        let asked = ask(self.cell.platform(), &catalogue, leader, onward, ATTEMPT).await;
        asked.unwrap_or_else(Answer::Unavailable)
    }

    /// After a recovery of the control set, those who have heard of it and those who have not have nothing to say to each other.
    fn check_incarnation(&self, theirs: u32) -> Result<(), String> {
        let own = self.sets.control().map(|replica| replica.fence.incarnation);
        match own.filter(|own| theirs != 0 && theirs != *own) {
            Some(own) => Err(format!("wrong incarnation {theirs} of the control set: here it is {own}")),
            None => Ok(()),
        }
    }

    fn hands_on(&self, forward: bool, leader: &str) -> bool {
        forward && !leader.is_empty() && leader != self.me
    }

    /// Asks the control set which of these sets may answer although they are DEGRADED, and gives those that may, for
    /// [`twinset_control::LEASE_MS`] from before this call.
    pub fn lease<'a>(&'a self, sets: &'a [wire::SetIncarnation]) -> BoxFuture<'a, Result<Vec<u32>, String>> {
        Box::pin(async move { Ok(self.ask_leased(sets).await?.sets) })
    }

    /// The version that the catalogue has now, or had at some moment since this was called.
    pub fn newest_version(&self) -> BoxFuture<'_, Result<u64, String>> {
        Box::pin(async move { Ok(self.ask_leased(&[]).await?.catalogue_version) })
    }

    fn ask_leased<'a>(
        &'a self,
        sets: &'a [wire::SetIncarnation],
    ) -> BoxFuture<'a, Result<wire::Leased, String>> {
        Box::pin(async move {
            let catalogue = self.cell.get().ok_or("no catalogue yet")?;
            let known = &catalogue;
            let ask = |node: String, forward: bool| {
                let asked = async move {
                    let cluster_id = known.cluster_id.clone();
                    let (sets, control_incarnation) = (sets.to_vec(), known.control.incarnation);
                    let request = wire::LeaseRequest { cluster_id, sets, forward, control_incarnation };
                    let result = if node == self.me {
                        self.lease_here(&request).await
                    } else {
                        ask_lease(self.cell.platform(), known, &node, request).await?
                    };
                    match result {
                        LeaseResult::Leased(leased) => Ok(Said::Done(leased)),
                        LeaseResult::NotLeaderHint(hint) => Ok(Said::NotLeader(hint)),
                        LeaseResult::Unavailable(why) => Err(why),
                    }
                };
                asked.boxed()
            };
            self.leader(known, ask).await.map_err(|missed| missed.why)
        })
    }

    /// What another node asks for, as [`ControlClient::lease`].
    pub async fn take_lease(&self, request: wire::LeaseRequest) -> LeaseResult {
        if let Err(why) = self.check_incarnation(request.control_incarnation) {
            return LeaseResult::Unavailable(why);
        }
        let result = self.lease_here(&request).await;
        let LeaseResult::NotLeaderHint(leader) = &result else { return result };
        let (true, Some(catalogue)) = (self.hands_on(request.forward, leader), self.cell.get()) else {
            return result;
        };
        let onward = wire::LeaseRequest { forward: false, ..request };
        let asked = ask_lease(self.cell.platform(), &catalogue, leader, onward).await;
        asked.unwrap_or_else(LeaseResult::Unavailable)
    }

    /// Only the leader may say so, and only after a majority has confirmed that it leads: what it has applied by then holds
    /// every record that was made before it was asked, a recovery's too. So whoever waits for a lease's time after such a record
    /// has waited every lease out, without knowing of any.
    async fn lease_here(&self, request: &wire::LeaseRequest) -> LeaseResult {
        let own = self.cell.get().map(|catalogue| catalogue.cluster_id.clone()).unwrap_or_default();
        if own.is_empty() || own != request.cluster_id {
            return LeaseResult::Unavailable(format!("wrong cluster {}: this is {own}", request.cluster_id));
        }
        let not_leader = || LeaseResult::NotLeaderHint(self.leader_hint().unwrap_or_default());
        let Some(replica) = self.sets.control().filter(|replica| replica.group.is_leader()) else {
            return not_leader();
        };
        match tokio::time::timeout(ATTEMPT, replica.group.read_barrier()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return not_leader(),
            Err(_) => return LeaseResult::Unavailable("its leadership was not confirmed in time".into()),
        }
        let catalogue = self.cell.get().expect("it was there");
        let may = |asked: &&wire::SetIncarnation| {
            catalogue.sets.get(&asked.set).is_some_and(|set| {
                set.incarnation == asked.incarnation
                    && set.durability == Durability::Degraded
                    && set.recovery.is_none()
                    && !set.is_unproven()
            })
        };
        LeaseResult::Leased(wire::Leased {
            sets: request.sets.iter().filter(may).map(|set| set.set).collect(),
            catalogue_version: catalogue.version,
        })
    }
}

/// What a node says to a question for the control set's leader.
enum Said<T> {
    /// The leader's answer.
    Done(T),
    /// It does not lead; it believes that this node does, or knows of none (empty).
    NotLeader(String),
    /// It was asked, and what becomes of that is not known.
    Open(String),
}

/// Nobody has given the leader's answer.
struct Missed {
    why: String,
    /// Whether somebody may have taken the question all the same.
    open: bool,
}

/// By the port that is for nodes: there, what this node says of whom it asks for is believed.
async fn reach(
    platform: &dyn Platform,
    catalogue: &Catalogue,
    node: &str,
) -> Result<AdminClient<Channel>, String> {
    let address = &catalogue.nodes.get(node).ok_or("unknown node")?.peer_addr;
    dial::connect(platform, address).await.map(AdminClient::new).map_err(|error| error.to_string())
}

async fn ask_lease(
    platform: &dyn Platform,
    catalogue: &Catalogue,
    node: &str,
    request: wire::LeaseRequest,
) -> Result<LeaseResult, String> {
    let mut client = reach(platform, catalogue, node).await?;
    let reply =
        tokio::time::timeout(ASK_LEASE, client.lease(request)).await.map_err(|_| "no answer in time")?;
    reply.map_err(|status| status.to_string())?.into_inner().result.ok_or_else(|| "an empty reply".to_owned())
}

async fn ask(
    platform: &dyn Platform,
    catalogue: &Catalogue,
    node: &str,
    request: Request<wire::ControlRequest>,
    within: Duration,
) -> Result<Answer, String> {
    let mut client = reach(platform, catalogue, node).await?;
    match tokio::time::timeout(within, client.control(request)).await {
        // It was sent: only the control set's log knows what became of it.
        Err(_) => Ok(Answer::Unknown("no answer in time".into())),
        Ok(Err(status)) => Ok(Answer::Unknown(status.to_string())),
        Ok(Ok(reply)) => reply.into_inner().result.ok_or_else(|| "an empty reply".to_owned()),
    }
}
