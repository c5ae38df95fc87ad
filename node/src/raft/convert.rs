//! openraft's messages to and from the wire. Nothing is decided here.

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, VoteRequest, VoteResponse,
};
use openraft::{EntryPayload, RaftTypeConfig};
use twinset_proto::cluster::v1 as wire;

use crate::set::Fence;

use super::log::make_vote;
use super::types::{Commands, Entries, LogId, TypeConfig, Vote, decode_membership, encode_membership};

/// A message that does not say what the protocol requires.
#[derive(Debug, thiserror::Error)]
#[error("malformed message from a peer: {0}")]
pub struct Malformed(pub &'static str);

pub(super) fn vote_out(vote: &Vote) -> wire::Vote {
    let leader = vote.leader_id();
    wire::Vote { term: leader.term, leader: leader.voted_for, committed: vote.is_committed() }
}

pub(super) fn vote_in(vote: Option<wire::Vote>) -> Result<Vote, Malformed> {
    let vote = vote.ok_or(Malformed("no vote"))?;
    Ok(make_vote(vote.term, vote.leader, vote.committed))
}

/// By the clock of this node, which leads as far as it knows: as of when it certainly did.
pub(super) fn horizon_out(fence: &Fence) -> wire::Horizon {
    let gate = &fence.gate;
    // The time is taken first: what is said must not be older than its stamp.
    let at_unix_ns = gate.vouched().map_or(0, |at| {
        let age = u64::try_from(at.elapsed().as_nanos()).unwrap_or(u64::MAX);
        fence.platform.now_unix_ns().saturating_sub(age)
    });
    let horizon = gate.horizon();
    wire::Horizon { open_index: horizon.open, safe_index: horizon.safe, at_unix_ns }
}

pub(super) fn id_out(id: &LogId) -> wire::LogId {
    wire::LogId { term: id.committed_leader_id().term, index: id.index }
}

pub(super) fn id_in(id: wire::LogId) -> LogId {
    LogId::new_term_index(id.term, id.index)
}

fn entry_out(entry: &<TypeConfig as RaftTypeConfig>::Entry) -> wire::Entry {
    let (kind, payload) = match &entry.payload {
        EntryPayload::Blank => (0, Bytes::new()),
        EntryPayload::Normal(commands) => (1, commands.0.clone()),
        EntryPayload::Membership(m) => (2, Bytes::from(encode_membership(m))),
    };
    wire::Entry { log_id: Some(id_out(&entry.log_id)), kind, payload }
}

fn entry_in(entry: wire::Entry) -> Result<Entries, Malformed> {
    let payload = match entry.kind {
        0 => EntryPayload::Blank,
        1 => EntryPayload::Normal(Commands(entry.payload)),
        2 => {
            EntryPayload::Membership(decode_membership(&entry.payload).map_err(|_| Malformed("membership"))?)
        }
        _ => return Err(Malformed("unknown kind of entry")),
    };
    let log_id = id_in(entry.log_id.ok_or(Malformed("an entry without a log id"))?);
    Ok(Entries { log_id, payload })
}

pub(super) fn append_out(request: &AppendEntriesRequest<TypeConfig>) -> wire::Append {
    wire::Append {
        vote: Some(vote_out(&request.vote)),
        prev: request.prev_log_id.as_ref().map(id_out),
        entries: request.entries.iter().map(entry_out).collect(),
        committed: request.leader_commit.as_ref().map(id_out),
    }
}

pub(super) fn append_in(append: wire::Append) -> Result<AppendEntriesRequest<TypeConfig>, Malformed> {
    Ok(AppendEntriesRequest {
        vote: vote_in(append.vote)?,
        prev_log_id: append.prev.map(id_in),
        entries: append.entries.into_iter().map(entry_in).collect::<Result<_, _>>()?,
        leader_commit: append.committed.map(id_in),
    })
}

pub(super) fn append_result_out(result: StreamAppendResult<TypeConfig>) -> wire::append_reply_frame::Result {
    use wire::append_reply_frame::Result as Out;
    match result {
        Ok(matched) => Out::Ok(wire::AppendOk { matched: matched.as_ref().map(id_out) }),
        Err(StreamAppendError::Conflict(_)) => Out::Conflict(wire::Conflict {}),
        Err(StreamAppendError::HigherVote(vote)) => Out::HigherVote(vote_out(&vote)),
    }
}

/// The follower's answer to a request whose previous log id was `prev`; an inner `Err` ends the stream.
pub(super) fn append_result_in(
    result: Option<wire::append_reply_frame::Result>,
    prev: Option<LogId>,
) -> Result<StreamAppendResult<TypeConfig>, String> {
    use wire::append_reply_frame::Result as In;
    match result {
        Some(In::Ok(ok)) => Ok(Ok(ok.matched.map(id_in))),
        Some(In::Conflict(_)) => match prev {
            Some(prev) => Ok(Err(StreamAppendError::Conflict(prev))),
            None => Err("a conflict at the very start of the log".into()),
        },
        Some(In::HigherVote(vote)) => {
            Ok(Err(StreamAppendError::HigherVote(make_vote(vote.term, vote.leader, vote.committed))))
        }
        Some(In::Closed(reason)) => Err(reason),
        None => Err("an empty reply".into()),
    }
}

pub(super) fn vote_request_out(request: &VoteRequest<TypeConfig>) -> wire::VoteRequest {
    wire::VoteRequest {
        vote: Some(vote_out(&request.vote)),
        last: request.last_log_id.as_ref().map(id_out),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(super) fn vote_request_in(request: wire::VoteRequest) -> Result<VoteRequest<TypeConfig>, Malformed> {
    let mut out = VoteRequest::new(vote_in(request.vote)?, request.last.map(id_in));
    out.leadership_transfer = request.leadership_transfer;
    Ok(out)
}

pub(super) fn vote_reply_out(reply: &VoteResponse<TypeConfig>) -> wire::VoteReply {
    wire::VoteReply {
        vote: Some(vote_out(&reply.vote)),
        granted: reply.vote_granted,
        last: reply.last_log_id.as_ref().map(id_out),
    }
}

pub(super) fn vote_reply_in(reply: wire::VoteReply) -> Result<VoteResponse<TypeConfig>, Malformed> {
    Ok(VoteResponse::new(vote_in(reply.vote)?, reply.last.map(id_in), reply.granted))
}
