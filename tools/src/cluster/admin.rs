//! Asking nodes over their operators' service: connections, and the same question to many at once. What the answers
//! mean is for others.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::future::join_all;
use tonic::transport::{Channel, Endpoint};
use twinset_control::Catalogue;
use twinset_proto::cluster::v1::admin_client::AdminClient;
use twinset_proto::cluster::v1::{
    IdentifyReply, IdentifyRequest, ListAttemptsReply, ListAttemptsRequest, ListMovesReply, ListMovesRequest,
    ReplicaStatus, StatusReply, StatusRequest,
};

use crate::error;

/// How long a node may take to accept a connection.
const CONNECT: Duration = Duration::from_millis(500);
/// How long a node may take to answer a question that needs no work.
pub const ASK: Duration = Duration::from_secs(2);

/// A way to one node. Connects at the first call, and again when the connection broke.
pub fn channel(addr: &str) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{addr}")).map_err(|_| {
        error::usage(format!("{addr} is no address"), "give nodes as ADDRESS:PORT, separated by commas")
    })?;
    Ok(endpoint.connect_timeout(CONNECT).connect_lazy())
}

/// Speaks to one node as its operator.
pub fn client(addr: &str) -> anyhow::Result<AdminClient<Channel>> {
    Ok(AdminClient::new(channel(addr)?).max_decoding_message_size(64 << 20))
}

/// What a node said, or why it said nothing.
pub type Answer<T> = Result<T, String>;

/// One line for a failed call: the code, and the message where there is one.
pub fn explain(status: &tonic::Status) -> String {
    match status.message() {
        "" => format!("{:?}", status.code()),
        message => message.to_owned(),
    }
}

async fn patient<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    patience: Duration,
) -> Answer<T> {
    match tokio::time::timeout(patience, call).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(explain(&status)),
        Err(_) => Err(format!("no answer within {patience:?}")),
    }
}

/// Who listens at `addr`.
pub async fn identify(addr: &str) -> Answer<IdentifyReply> {
    let mut client = client(addr).map_err(|error| error.to_string())?;
    patient(client.identify(IdentifyRequest {}), ASK).await
}

/// The status of the node at `addr`.
pub async fn status(addr: &str) -> Answer<StatusReply> {
    status_within(addr, ASK).await
}

async fn status_within(addr: &str, patience: Duration) -> Answer<StatusReply> {
    let mut client = client(addr).map_err(|error| error.to_string())?;
    patient(client.status(StatusRequest::default()), patience).await
}

/// What the sets that the node at `addr` leads have open with others.
pub async fn attempts(addr: &str) -> Answer<ListAttemptsReply> {
    let mut client = client(addr).map_err(|error| error.to_string())?;
    patient(client.list_attempts(ListAttemptsRequest {}), ASK).await
}

/// The moves of sets that the node at `addr` has carried out since then.
pub async fn moves(addr: &str, since_unix_ms: u64) -> Answer<ListMovesReply> {
    let mut client = client(addr).map_err(|error| error.to_string())?;
    patient(client.list_moves(ListMovesRequest { since_unix_ms }), ASK).await
}

/// The answers of a cluster's nodes, and the newest catalogue among them.
#[derive(Debug, Default)]
pub struct Survey {
    /// By address.
    pub answers: BTreeMap<String, Answer<StatusReply>>,
    /// The newest catalogue that any node holds.
    pub catalogue: Option<Catalogue>,
}

impl Survey {
    /// Takes in answers, and the newest catalogue among them. A catalogue that cannot be read is an error of its node.
    pub fn add(&mut self, addr: String, answer: Answer<StatusReply>) {
        let read = answer.and_then(|reply| {
            if reply.catalogue_json.is_empty() {
                return Ok((reply, None));
            }
            match Catalogue::from_json(&reply.catalogue_json) {
                Ok(catalogue) => Ok((reply, Some(catalogue))),
                Err(error) => Err(format!("its catalogue cannot be read: {error}")),
            }
        });
        let (answer, catalogue) = match read {
            Ok((reply, catalogue)) => (Ok(reply), catalogue),
            Err(reason) => (Err(reason), None),
        };
        if let Some(found) = catalogue
            && self.catalogue.as_ref().is_none_or(|known| known.version < found.version)
        {
            self.catalogue = Some(found);
        }
        self.answers.insert(addr, answer);
    }

    /// The replies of the nodes that answered.
    pub fn replies(&self) -> impl Iterator<Item = &StatusReply> {
        self.answers.values().filter_map(|answer| answer.as_ref().ok())
    }

    /// The catalogue, or why there is none.
    pub fn catalogue(&self) -> anyhow::Result<&Catalogue> {
        self.catalogue.as_ref().ok_or_else(|| {
            let reasons: Vec<String> = self
                .answers
                .iter()
                .map(|(addr, answer)| match answer {
                    Ok(_) => format!("{addr}: blank, waits for its cluster"),
                    Err(reason) => format!("{addr}: {reason}"),
                })
                .collect();
            error::failure(
                format!("no node knows a cluster ({})", reasons.join("; ")),
                "check the addresses (--nodes or --dir), start the nodes, or give blank ones a cluster with \
                 `twinset cluster bootstrap --topology FILE`",
            )
        })
    }

    /// The address of the node that leads `set`: the one with the highest term of those that say so. Whoever leads it in an
    /// incarnation that a recovery has left behind does not lead it.
    pub fn leader(&self, set: u32) -> Option<(String, &StatusReply)> {
        let newest = self.catalogue.as_ref().and_then(|known| known.incarnation(set)).unwrap_or_default();
        let leads = |reply: &StatusReply| {
            let led = |r: &&ReplicaStatus| r.set == set && r.role == "leader" && r.incarnation >= newest;
            reply.replicas.iter().find(led).map(|r| r.term)
        };
        let found = self.answers.iter().filter_map(|(addr, answer)| {
            let reply = answer.as_ref().ok()?;
            leads(reply).map(|term| (term, addr.clone(), reply))
        });
        found.max_by_key(|(term, _, _)| *term).map(|(_, addr, reply)| (addr, reply))
    }

    /// What the leader of `set` says of its replica.
    pub fn leader_status(&self, set: u32) -> Option<&ReplicaStatus> {
        let (_, reply) = self.leader(set)?;
        reply.replicas.iter().find(|replica| replica.set == set)
    }

    /// What the node of that name says.
    pub fn reply_of(&self, node: &str) -> Option<&StatusReply> {
        self.replies().find(|reply| reply.node == node)
    }
}

/// Asks the nodes at `seeds`, then every other node that their catalogue names.
pub fn survey(seeds: &[String]) -> BoxFuture<'_, Survey> {
    survey_within(seeds, ASK)
}

/// The same, and each node has only so long to answer.
pub fn survey_within(seeds: &[String], patience: Duration) -> BoxFuture<'_, Survey> {
    Box::pin(async move {
        let mut survey = Survey::default();
        let mut ask: Vec<String> = seeds.to_vec();
        // Two rounds: the seeds, and who they know.
        for _ in 0..2 {
            ask.sort();
            ask.dedup();
            let answers = join_all(ask.iter().map(|addr| status_within(addr, patience))).await;
            for (addr, answer) in ask.drain(..).zip(answers) {
                survey.add(addr, answer);
            }
            if let Some(catalogue) = &survey.catalogue {
                let known = catalogue.nodes.values().map(|node| node.api_addr.clone());
                ask = known.filter(|addr| !survey.answers.contains_key(addr)).collect();
            }
            if ask.is_empty() {
                break;
            }
        }
        survey
    })
}
