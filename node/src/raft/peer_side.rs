//! The receiving side of a group: what other replicas ask of it, in the wire's terms.

use futures::{Stream, StreamExt};
use openraft::raft::TransferLeaderRequest;
use openraft::storage::Snapshot;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use twinset_proto::cluster::v1 as wire;

use super::convert::{self, Malformed};
use super::machine::{SnapshotData, raft_meta};
use super::{Group, types};

/// Why a peer's request got no answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The request is not understood.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// This replica has stopped.
    #[error("the replica has stopped: {0}")]
    Stopped(String),
}

fn stopped(error: impl ToString) -> PeerError {
    PeerError::Stopped(error.to_string())
}

/// An append of one session, decoded.
pub struct DecodedAppend(openraft::raft::AppendEntriesRequest<types::TypeConfig>);

impl Group {
    /// Decodes an append.
    pub fn decode_append(append: wire::Append) -> Result<DecodedAppend, Malformed> {
        convert::append_in(append).map(DecodedAppend)
    }

    /// Feeds a session's appends to the replica; one result for each, in order. It ends after the first that is not ok.
    pub fn append_session(
        &self,
        requests: mpsc::Receiver<DecodedAppend>,
    ) -> impl Stream<Item = wire::append_reply_frame::Result> + Send + 'static {
        self.raft.stream_append(ReceiverStream::new(requests).map(|request| request.0)).map(|result| {
            match result {
                Ok(result) => convert::append_result_out(result),
                Err(fatal) => wire::append_reply_frame::Result::Closed(fatal.to_string()),
            }
        })
    }

    /// A heartbeat.
    pub async fn heartbeat(
        &self,
        append: wire::Append,
    ) -> Result<wire::append_reply_frame::Result, PeerError> {
        let request = convert::append_in(append)?;
        let prev = request.prev_log_id;
        let response = self.raft.append_entries(request).await.map_err(stopped)?;
        Ok(convert::append_result_out(response.into_stream_result(prev, prev)))
    }

    /// A vote, or the question whether one would be given.
    pub async fn vote(&self, request: wire::VoteRequest, pre: bool) -> Result<wire::VoteReply, PeerError> {
        let request = convert::vote_request_in(request)?;
        let reply = if pre { self.raft.pre_vote(request).await } else { self.raft.vote(request).await };
        reply.map(|reply| convert::vote_reply_out(&reply)).map_err(stopped)
    }

    /// The leader asks some replica to take over.
    pub async fn accept_transfer(&self, request: wire::TransferLeader) -> Result<(), PeerError> {
        let vote = convert::vote_in(request.vote)?;
        let request = TransferLeaderRequest::new(vote, request.to, request.last.map(convert::id_in));
        // A refusal shows in the leader's view: no new leader comes.
        let _ = self.raft.handle_transfer_leader(request).await.map_err(stopped)?;
        Ok(())
    }

    /// Installs a snapshot that has arrived whole.
    pub async fn install_snapshot(
        &self,
        vote: Option<wire::Vote>,
        meta: twinset_store::SnapshotMeta,
        data: SnapshotData,
    ) -> Result<wire::Vote, PeerError> {
        let vote = convert::vote_in(vote)?;
        let snapshot = Snapshot { meta: raft_meta(meta).map_err(stopped)?, snapshot: data };
        let reply = self.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        Ok(convert::vote_out(&reply.vote))
    }
}
