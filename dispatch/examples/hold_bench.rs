//! What it costs a request that everything that waits for a set is kept, while nothing moves and nothing is sent twice: the whole
//! bookkeeping of a lane ([`twinset_dispatch::pending`]) for each of them, from its arrival to its answer, beside a request
//! that is only handed over and answered.
//!
//! Usage: `cargo run --release --example hold_bench -p twinset-dispatch -- [REQUESTS] [WAITING]` (default: 2,000,000 requests, 64 of them
//! without an answer at a time).

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;
use twinset_dispatch::failure::Failure;
use twinset_dispatch::pending::{Item, Origin, Pending, StreamId};
use twinset_dispatch::retry::Done;
use twinset_proto::cluster::v1::{Outcomes, item_reply};

type Reply = oneshot::Sender<Result<Done, Failure>>;

fn command() -> Bytes {
    Bytes::from_static(&[7; 64])
}

fn outcomes() -> item_reply::Result {
    item_reply::Result::Done(Outcomes { index: 1, outcomes: vec![Bytes::from_static(&[7; 64])] })
}

/// A deadline each, so that they differ as those of clients do.
fn kept(requests: usize, waiting: usize) -> Duration {
    let began = Instant::now();
    let mut pending = Pending::new(1, 1);
    let mut answers = VecDeque::new();
    for number in 0..requests {
        let (reply, answer) = oneshot::channel();
        let now = tokio::time::Instant::now();
        let deadline = now + Duration::from_secs(5);
        pending.add(Item { origin: Origin::Client, commands: vec![command()], deadline, reply, permit: () });
        answers.push_back(answer);
        if (number + 1).is_multiple_of(waiting) {
            for item in pending.take(now, StreamId(1), 1, waiting, 1 << 20) {
                black_box(pending.settle(item.no, Some(outcomes())));
            }
            answers.drain(..).for_each(|mut answer| drop(black_box(answer.try_recv())));
        }
    }
    began.elapsed()
}

/// The same without what is kept.
fn handed_over(requests: usize, waiting: usize) -> Duration {
    let began = Instant::now();
    let mut queue: VecDeque<(Vec<Bytes>, Reply)> = VecDeque::new();
    let mut answers = VecDeque::new();
    for number in 0..requests {
        let (reply, answer) = oneshot::channel();
        black_box(tokio::time::Instant::now());
        queue.push_back((vec![command()], reply));
        answers.push_back(answer);
        if (number + 1).is_multiple_of(waiting) {
            for (commands, reply) in queue.drain(..) {
                black_box(commands);
                let item_reply::Result::Done(done) = outcomes() else { unreachable!("it is made as one") };
                let done = Done { outcomes: done.outcomes, indefinite: false };
                let _ = reply.send(Ok(done));
            }
            answers.drain(..).for_each(|mut answer| drop(black_box(answer.try_recv())));
        }
    }
    began.elapsed()
}

fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>().expect("a number"));
    let requests = numbers.next().unwrap_or(2_000_000);
    let waiting = numbers.next().unwrap_or(64).max(1);
    let each = |took: Duration| took.as_nanos() as f64 / requests as f64;
    let mut runs: Vec<(f64, f64)> =
        (0..5).map(|_| (each(kept(requests, waiting)), each(handed_over(requests, waiting)))).collect();
    runs.sort_by(|a, b| (a.0 - a.1).total_cmp(&(b.0 - b.1)));
    let (kept, handed_over) = runs[runs.len() / 2];
    println!(
        "{requests} requests, {waiting} at a time: {kept:.0} ns each, {handed_over:.0} ns without keeping them: {:.0} ns (median of 5)",
        kept - handed_over
    );
}
