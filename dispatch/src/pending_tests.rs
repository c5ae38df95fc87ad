//! Tables over the bookkeeping of one set: order, frames, replies out of time, deadlines, callers that have gone.

use std::time::Duration;

use twinset_proto::cluster::v1::{Outcomes, Refusal, RefusalReason};

use super::*;
use crate::failure::Kind;

type Answers = Vec<oneshot::Receiver<Result<Done, Failure>>>;

fn pending(count: usize, now: Instant) -> (Pending<()>, Answers) {
    let mut pending = Pending::new(7, 3);
    let answers = (0..count)
        .map(|n| {
            let (reply, answer) = oneshot::channel();
            let deadline = now + Duration::from_millis(100 + n as u64);
            pending.add(item(Origin::Client, n as u8, deadline, reply));
            answer
        })
        .collect();
    (pending, answers)
}

fn item(
    origin: Origin,
    first: u8,
    deadline: Instant,
    reply: oneshot::Sender<Result<Done, Failure>>,
) -> Item<()> {
    Item { origin, commands: vec![Bytes::from(vec![first; 10])], deadline, reply, permit: () }
}

fn firsts(frame: &[WireItem]) -> Vec<u8> {
    frame.iter().map(|item| item.commands[0][0]).collect()
}

fn done() -> Option<item_reply::Result> {
    Some(item_reply::Result::Done(Outcomes { index: 1, outcomes: vec![Bytes::new()] }))
}

fn refused(reason: RefusalReason) -> Option<item_reply::Result> {
    Some(item_reply::Result::Refused(Refusal { reason: reason.into(), ..Refusal::default() }))
}

/// Why there is no good answer; None: there is one.
fn kind(answer: &mut oneshot::Receiver<Result<Done, Failure>>) -> Option<Kind> {
    answer.try_recv().expect("answered").err().map(|failure| failure.kind)
}

#[test]
fn frames_keep_the_order_and_the_size() {
    let now = Instant::now();
    let (mut pending, _answers) = pending(5, now);
    let first = pending.take(now, StreamId(1), 1, 100, 25);
    assert_eq!(firsts(&first), [0, 1]);
    assert!(first.iter().all(|item| item.set == 7 && lane_of(item.no) == 3 && item.deadline_ms >= 100));
    assert_eq!(firsts(&pending.take(now, StreamId(1), 1, 1, 25)), [2]);
    assert_eq!(firsts(&pending.take(now, StreamId(1), 1, 100, 5)), [3], "one goes even if it is too large");
}

#[test]
fn what_is_sent_again_keeps_its_place() {
    let now = Instant::now();
    let (mut pending, _answers) = pending(4, now);
    let frame = pending.take(now, StreamId(1), 1, 3, 1000);
    assert_eq!(
        pending.settle(frame[1].no, refused(RefusalReason::NotLeader)),
        Settled::Retry(Cause::NotLeader)
    );
    assert_eq!(pending.broken(StreamId(2)), 0);
    assert_eq!(pending.broken(StreamId(1)), 2);
    assert_eq!(firsts(&pending.take(now, StreamId(2), 1, 100, 1000)), [0, 1, 2, 3]);
}

#[test]
fn whoever_asks_is_named_each_time_it_is_sent() {
    let now = Instant::now();
    let (mut pending, _answers) = pending(1, now);
    let (reply, _answer) = oneshot::channel();
    let origin = Origin::Set { set: 3, incarnation: 2 };
    pending.add(item(origin, 1, now + Duration::from_secs(1), reply));
    for stream in [StreamId(1), StreamId(2)] {
        let frame = pending.take(now, stream, 5, 100, 1000);
        let from: Vec<_> =
            frame.iter().map(|item| (item.incarnation, item.from_set, item.from_incarnation)).collect();
        assert_eq!(from, [(5, 0, 0), (5, 3, 2)], "the sender's incarnation is not the addressee's");
        pending.broken(stream);
    }
}

#[test]
fn an_answer_says_whether_an_attempt_before_it_has_no_known_end() {
    let now = Instant::now();
    let (mut pending, mut answers) = pending(3, now);
    let first = pending.take(now, StreamId(1), 1, 2, 1000);
    pending.settle(first[0].no, refused(RefusalReason::Overloaded));
    pending.broken(StreamId(1));
    for item in pending.take(now, StreamId(2), 1, 100, 1000) {
        assert_eq!(pending.settle(item.no, done()), Settled::Answered);
    }
    let indefinite: Vec<bool> = answers
        .iter_mut()
        .map(|answer| answer.try_recv().expect("answered").expect("a good answer").indefinite)
        .collect();
    assert_eq!(indefinite, [false, true, false], "refused, broken, sent once");
}

#[test]
fn a_late_reply_to_an_attempt_given_up_is_ignored() {
    let now = Instant::now();
    let (mut pending, mut answers) = pending(1, now);
    let first = pending.take(now, StreamId(1), 1, 1, 1000);
    assert_eq!(pending.give_up_all_but(Some(StreamId(2)), Cause::Superseded), 1);
    let second = pending.take(now, StreamId(2), 1, 1, 1000);
    assert_eq!(pending.settle(first[0].no, refused(RefusalReason::NotLeader)), Settled::Stale);
    assert_eq!(pending.settle(second[0].no, done()), Settled::Answered);
    assert!(answers[0].try_recv().expect("answered").is_ok());
    assert!(pending.is_empty() && pending.next_deadline().is_none());
}

#[test]
fn at_the_deadline_sent_is_unknown_and_unsent_is_not_applied() {
    let now = Instant::now();
    let (mut pending, mut answers) = pending(3, now);
    pending.take(now, StreamId(1), 1, 1, 1000);
    assert_eq!(pending.expire(now + Duration::from_millis(101)), 2);
    assert_eq!(kind(&mut answers[0]), Some(Kind::Unknown));
    assert_eq!(kind(&mut answers[1]), Some(Kind::NoLeader));
    assert!(answers[2].try_recv().is_err(), "its deadline is later");
    assert!(pending.has_waiting());
}

#[test]
fn a_caller_that_has_gone_costs_no_attempt() {
    let now = Instant::now();
    let (mut pending, mut answers) = pending(2, now);
    answers.remove(0);
    assert_eq!(firsts(&pending.take(now, StreamId(1), 1, 100, 1000)), [1]);
    pending.broken(StreamId(1));
    answers.clear();
    assert!(pending.take(now, StreamId(1), 1, 100, 1000).is_empty());
    assert!(pending.is_empty());
}

#[test]
fn what_certainly_did_not_happen_is_not_made_uncertain_at_the_last_moment() {
    let now = Instant::now();
    let (mut pending, mut answers) = pending(3, now);
    let frame = pending.take(now, StreamId(1), 1, 2, 1000);
    pending.settle(frame[0].no, refused(RefusalReason::Overloaded));
    pending.settle(frame[1].no, Some(item_reply::Result::Unknown(String::new())));
    let late = now + Duration::from_millis(60);
    assert_eq!(
        firsts(&pending.take(late, StreamId(1), 1, 9, 1000)),
        [1, 2],
        "what may have happened is asked after"
    );
    assert_eq!(pending.expire(now + Duration::from_millis(100)), 1);
    assert_eq!(kind(&mut answers[0]), Some(Kind::DeadlineExceeded));
}
