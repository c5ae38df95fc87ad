//! What a leader itself puts into its set's log, beside the steps of attempts: one call of the proposer, waited for.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::Instant;
use twinset_ledger::{Command, Outcome, codec};
use twinset_proto::cluster::v1::item_reply::Result as ItemResult;

use crate::proposer::{Proposer, Submission};

/// What the log has not taken in by then is for the caller to try again.
const DEADLINE: Duration = Duration::from_secs(2);
/// The proposer looks at a deadline when it comes to the item, which may be later.
const PATIENCE: Duration = Duration::from_secs(10);

/// Puts the commands into the log, and gives what came of each. None: nobody knows, or not taken in; they may come to the log
/// yet.
pub async fn decide(proposer: &Proposer, commands: &[Command]) -> Option<Vec<Outcome>> {
    let encoded = |command: &Command| {
        let mut bytes = Vec::new();
        codec::encode_command(command, &mut bytes);
        Bytes::from(bytes)
    };
    let commands = commands.iter().map(encoded).collect();
    // One of its own: an answer that comes after our patience finds nobody, and holds up nothing.
    let (reply, mut replies) = mpsc::channel(1);
    let submission = Submission { no: 0, origin: None, commands, deadline: Instant::now() + DEADLINE, reply };
    let answer = match proposer.submit(submission) {
        Some(answer) => answer,
        None => tokio::time::timeout(PATIENCE, replies.recv()).await.ok().flatten()?,
    };
    let Some(ItemResult::Done(done)) = &answer.result else { return None };
    let outcome = |bytes: &Bytes| codec::decode_outcome(bytes).expect("this replica has just encoded it");
    Some(done.outcomes.iter().map(outcome).collect())
}
