//! Commands for the control set, from outside the cluster: asked of the node that leads it, which any of its voters names.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use twinset_control::{CONTROL_SET, Catalogue, Command, Rejection, Reply, decode_answer};
use twinset_proto::cluster::v1::ControlRequest;
use twinset_proto::cluster::v1::control_reply::Result as Answer;

use super::admin::{self, Survey};
use super::operator;

const RETRY: Duration = Duration::from_millis(100);

/// Why a command has no reply.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rules say no.
    #[error("the control set refused: {0}")]
    Rejected(#[from] Rejection),
    /// No leader answered in time. The command may have been applied; it can be sent again.
    #[error("the control set did not answer: {0}")]
    NoAnswer(String),
    /// Whoever asks may not: nothing was proposed.
    #[error("{0}")]
    Refused(String),
}

/// Proposes a command, again and again until there is an answer or `patience` is over. The command must be one that does no
/// harm when it is repeated.
pub async fn propose(
    survey: &Survey,
    catalogue: &Catalogue,
    command: &Command,
    patience: Duration,
) -> Result<Reply, Error> {
    let command_json = serde_json::to_vec(command).expect("plain data with string keys has a JSON form");
    let request = ControlRequest {
        command_json: command_json.into(),
        cluster_id: catalogue.cluster_id.clone(),
        forward: true,
        control_incarnation: catalogue.control.incarnation,
    };
    let deadline = Instant::now() + patience;
    loop {
        let why = match attempt(survey, catalogue, &request, deadline).await {
            Ok(answer) => match decode_answer(&answer) {
                Ok(answer) => return Ok(answer?),
                Err(error) => error.to_string(),
            },
            Err(Unanswered::NotYet(why)) => why,
            Err(Unanswered::Never(why)) => return Err(Error::Refused(why)),
        };
        if Instant::now() + RETRY >= deadline {
            return Err(Error::NoAnswer(why));
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Why a round has no answer.
enum Unanswered {
    /// It can be asked again.
    NotYet(String),
    /// It will be no other.
    Never(String),
}

/// One round: the leader as the survey saw it, then every voter, and whoever they name.
async fn attempt(
    survey: &Survey,
    catalogue: &Catalogue,
    request: &ControlRequest,
    deadline: Instant,
) -> Result<Vec<u8>, Unanswered> {
    let seen = survey.leader(CONTROL_SET).map(|(_, leader)| leader.node.clone());
    let voters = catalogue.control.replicas.iter().map(|replica| replica.node.clone());
    let mut candidates: VecDeque<String> = seen.into_iter().chain(voters).collect();
    let mut asked = BTreeSet::new();
    let mut why = "it has no leader".to_owned();
    while let Some(name) = candidates.pop_front() {
        let Some(node) = catalogue.nodes.get(&name).filter(|_| asked.insert(name.clone())) else { continue };
        let mut client =
            admin::client(&node.api_addr).map_err(|error| Unanswered::NotYet(error.to_string()))?;
        let within = deadline.min(Instant::now() + admin::ASK);
        let reply =
            match tokio::time::timeout_at(within, client.control(operator::signed(request.clone()))).await {
                Ok(Ok(reply)) => reply.into_inner(),
                Ok(Err(status)) if operator::is_refused(&status) => {
                    return Err(Unanswered::Never(format!("{name}: {}", admin::explain(&status))));
                }
                Ok(Err(status)) => {
                    why = format!("{name}: {}", admin::explain(&status));
                    continue;
                }
                Err(_) => {
                    why = format!("{name}: no answer in time");
                    continue;
                }
            };
        match reply.result {
            Some(Answer::ReplyJson(answer)) => return Ok(answer.into()),
            Some(Answer::NotLeaderHint(hint)) if !hint.is_empty() => candidates.push_front(hint),
            Some(Answer::NotLeaderHint(_)) | None => {}
            Some(Answer::Unavailable(reason) | Answer::Unknown(reason)) => why = format!("{name}: {reason}"),
        }
    }
    Err(Unanswered::NotYet(why))
}
