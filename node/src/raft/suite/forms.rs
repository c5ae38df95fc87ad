//! Stored forms and wire forms: each comes back as it was, golden bytes stand, and what is not a form is refused.

use std::collections::{BTreeMap, BTreeSet};

use openraft::impls::BasicNode;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, VoteRequest, VoteResponse,
};
use openraft::storage::{RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, Membership};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use prost::Message;
use twinset_proto::cluster::v1 as wire;
use wire::append_reply_frame::Result as Answer;

use super::super::convert::{self, Malformed};
use super::super::log::{LogStore, make_vote};
use super::super::types::{
    Commands, Entries, LogId, TypeConfig, Vote, decode_membership, encode_membership, from_record, log_id,
    store_id, to_record,
};
use super::{id, membership, open};

fn votes() -> impl Strategy<Value = Vote> {
    (any::<u64>(), any::<u64>(), any::<bool>())
        .prop_map(|(term, leader, committed)| make_vote(term, leader, committed))
}

fn ids() -> impl Strategy<Value = LogId> {
    (any::<u64>(), any::<u64>()).prop_map(|(term, index)| id(term, index))
}

/// Uniform or joint, with learners.
fn memberships() -> impl Strategy<Value = Membership<u64, BasicNode>> {
    let configs = vec(btree_set(0..9u64, 1..4), 1..3);
    let learners = btree_map(any::<u64>(), "[a-z0-9:\"é ]{0,12}", 0..4);
    (configs, learners).prop_map(|(configs, learners)| {
        let voters: BTreeSet<u64> = configs.iter().flatten().copied().collect();
        let mut nodes: BTreeMap<u64, BasicNode> =
            learners.into_iter().map(|(id, addr)| (id, BasicNode { addr })).collect();
        nodes.extend(voters.into_iter().map(|id| (id, BasicNode { addr: format!("node-{id}") })));
        Membership::new(configs, nodes).unwrap()
    })
}

fn entries() -> impl Strategy<Value = Entries> {
    let payload = prop_oneof![
        Just(EntryPayload::Blank),
        vec(any::<u8>(), 0..300).prop_map(|bytes| EntryPayload::Normal(Commands(bytes.into()))),
        memberships().prop_map(EntryPayload::Membership),
    ];
    (ids(), payload).prop_map(|(log_id, payload)| Entries { log_id, payload })
}

fn appends() -> impl Strategy<Value = AppendEntriesRequest<TypeConfig>> {
    (votes(), of(ids()), vec(entries(), 0..5), of(ids())).prop_map(
        |(vote, prev_log_id, entries, leader_commit)| AppendEntriesRequest {
            vote,
            prev_log_id,
            entries,
            leader_commit,
        },
    )
}

/// Through the bytes that a connection carries.
fn sent<M: Message + Default>(message: &M) -> M {
    M::decode(&message.encode_to_vec()[..]).unwrap()
}

fn answered(answer: Answer) -> Option<Answer> {
    let frame = wire::AppendReplyFrame { set: 1, session: 2, no: 3, result: Some(answer) };
    sent(&frame).result
}

proptest! {
    #[test]
    fn stored_forms_come_back(entry in entries(), membership in memberships(), log in ids()) {
        prop_assert_eq!(decode_membership(&encode_membership(&membership)).unwrap(), membership);
        let record = to_record(&entry);
        prop_assert_eq!(record.id.index, entry.log_id.index);
        prop_assert_eq!(from_record(&record).unwrap(), entry);
        prop_assert_eq!(log_id(store_id(&log)), log);
    }

    #[test]
    fn an_append_comes_back(append in appends()) {
        let back = convert::append_in(sent(&convert::append_out(&append))).unwrap();
        prop_assert_eq!(back.vote, append.vote);
        prop_assert_eq!(back.prev_log_id, append.prev_log_id);
        prop_assert_eq!(back.entries, append.entries);
        prop_assert_eq!(back.leader_commit, append.leader_commit);
    }

    #[test]
    fn a_vote_and_its_reply_come_back(vote in votes(), last in of(ids()), flag in any::<bool>()) {
        let mut request = VoteRequest::<TypeConfig>::new(vote, last);
        request.leadership_transfer = flag;
        let back = convert::vote_request_in(sent(&convert::vote_request_out(&request))).unwrap();
        prop_assert_eq!(back, request);
        let reply = VoteResponse::<TypeConfig>::new(vote, last, flag);
        let back = convert::vote_reply_in(sent(&convert::vote_reply_out(&reply))).unwrap();
        prop_assert_eq!(back, reply);
        prop_assert_eq!(convert::vote_in(Some(sent(&convert::vote_out(&vote)))).unwrap(), vote);
    }

    #[test]
    fn an_answer_to_an_append_comes_back(matched in of(ids()), prev in ids(), vote in votes()) {
        let results: [StreamAppendResult<TypeConfig>; 3] =
            [Ok(matched), Err(StreamAppendError::Conflict(prev)), Err(StreamAppendError::HigherVote(vote))];
        for result in results {
            let answer = answered(convert::append_result_out(result.clone()));
            // The conflict does not say where: it is the entry before those that were sent.
            prop_assert_eq!(convert::append_result_in(answer, Some(prev)), Ok(result));
        }
    }
}

#[test]
fn an_answer_that_says_nothing_ends_the_stream() {
    assert!(convert::append_result_in(None, None).is_err());
    assert!(convert::append_result_in(Some(Answer::Conflict(wire::Conflict {})), None).is_err());
    let closed = convert::append_result_in(Some(Answer::Closed("gone".to_owned())), Some(id(1, 1)));
    assert_eq!(closed, Err("gone".to_owned()));
}

#[test]
fn malformed_messages_are_refused() {
    let vote = Some(wire::Vote { term: 1, leader: 2, committed: true });
    let log_id = Some(wire::LogId { term: 1, index: 2 });
    let append = |entry| wire::Append { vote, prev: None, entries: vec![entry], committed: None };
    let refused = |append| convert::append_in(append).err().map(|Malformed(what)| what);
    let good = wire::Entry { log_id, kind: 0, payload: Vec::new().into() };
    assert_eq!(refused(append(good.clone())), None);
    assert_eq!(refused(append(wire::Entry { kind: 3, ..good.clone() })), Some("unknown kind of entry"));
    assert_eq!(
        refused(append(wire::Entry { log_id: None, ..good.clone() })),
        Some("an entry without a log id")
    );
    assert_eq!(refused(append(wire::Entry { kind: 2, ..good.clone() })), Some("membership"));
    assert_eq!(refused(wire::Append { vote: None, ..append(good) }), Some("no vote"));
    assert!(convert::vote_request_in(wire::VoteRequest::default()).is_err());
    assert!(convert::vote_reply_in(wire::VoteReply::default()).is_err());
}

#[test]
fn golden_membership() {
    let nodes = BTreeMap::from([(1, "a1"), (2, "a2"), (3, "b1"), (4, "b2")]);
    let nodes: BTreeMap<u64, BasicNode> =
        nodes.into_iter().map(|(id, addr)| (id, BasicNode::new(addr))).collect();
    let joint = Membership::new(vec![[1, 2, 3].into(), [1, 3, 4].into()], nodes).unwrap();
    let bytes = br#"{"configs":[[1,2,3],[1,3,4]],"nodes":{"1":"a1","2":"a2","3":"b1","4":"b2"}}"#;
    assert_eq!(String::from_utf8_lossy(&encode_membership(&joint)), String::from_utf8_lossy(bytes));
    assert_eq!(decode_membership(bytes).unwrap(), joint);
    for bad in [
        &b""[..],
        b"{}",
        b"[]",
        br#"{"configs":[[1]],"nodes":{}}"#,
        br#"{"configs":[[1]],"nodes":{"x":"a"}}"#,
    ] {
        assert!(decode_membership(bad).is_err(), "{}", String::from_utf8_lossy(bad));
    }
}

#[tokio::test]
async fn golden_vote() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut log = LogStore::new(store.log(1).unwrap());
    assert_eq!(log.read_vote().await.unwrap(), None);
    let golden =
        |committed| [&[0x39, 0x30, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0][..], &[committed]].concat();
    for committed in [false, true] {
        let vote = make_vote(12_345, 7, committed);
        log.save_vote(&vote).await.unwrap();
        assert_eq!(store.log(1).unwrap().vote().unwrap(), golden(u8::from(committed)));
        assert_eq!(log.read_vote().await.unwrap(), Some(vote));
    }
    for length in [0, 1, 16, 18] {
        let done = Box::new(|result: Result<(), twinset_store::Fault>| result.unwrap());
        store.log(1).unwrap().save_vote(&vec![1; length], done).unwrap();
        assert!(log.read_vote().await.is_err(), "{length} bytes are no vote");
    }
}

#[tokio::test]
async fn a_record_that_is_no_entry_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let mut log = LogStore::new(store.log(1).unwrap());
    let mut record = to_record(&membership(1, 0, &[1, 2]));
    record.payload = bytes::Bytes::from_static(b"not a membership");
    let (tell, told) = tokio::sync::oneshot::channel();
    store.log(1).unwrap().append(vec![record], Box::new(move |result| tell.send(result).unwrap())).unwrap();
    told.await.unwrap().unwrap();
    assert!(log.try_get_log_entries(0..1).await.is_err());
}
