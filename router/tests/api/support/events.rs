//! What the fake nodes say of events: from the in-memory ledger, three to a page at most; and a client of server-sent events.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde_json::Value;
use twinset_ledger::memory::MemoryState;
use twinset_ledger::{Command, Effect, State, TransactionId};
use twinset_proto::cluster::v1::{NotFound, ReadEvents, read_reply};
use twinset_proto::ledger::v1 as wire;

use super::{PATIENCE, Router, client};

const PAGE: usize = 3;

/// A page; its place is its last event.
pub fn page(
    state: &MemoryState,
    asked: &ReadEvents,
    as_of: Option<wire::Position>,
    age_ms: u64,
) -> read_reply::Result {
    let events = all(state);
    let begin = match asked.after.as_str() {
        "" => 0,
        after => match events.iter().position(|event| event.event == after) {
            Some(place) => place + 1,
            None => return read_reply::Result::NotFound(NotFound { as_of, ..NotFound::default() }),
        },
    };
    let size = PAGE.min(asked.page_size as usize);
    let more = events.len() > begin + size;
    let events: Vec<wire::Event> = events.into_iter().skip(begin).take(size).collect();
    let next = events.last().map_or_else(|| asked.after.clone(), |last| last.event.clone());
    let as_of = as_of.into_iter().collect();
    read_reply::Result::Events(wire::ListEventsReply { events, next, more, as_of, age_ms })
}

/// Whether a page has nothing to tell.
pub fn is_empty(result: &read_reply::Result) -> bool {
    matches!(result, read_reply::Result::Events(page) if page.events.is_empty())
}

/// All events of a set, as far as tests look at them.
pub fn all(state: &MemoryState) -> Vec<wire::Event> {
    let mut events: Vec<wire::Event> = Vec::new();
    for (position, command, outcome) in state.history().filter(|(.., outcome)| !outcome.replayed) {
        let what = match (command, &outcome.result) {
            (Command::Transaction(transaction), Ok(Effect::Posted(legs))) => {
                booked(transaction.request_id.clone(), transaction.metadata.clone(), legs.len())
            }
            (Command::OpenAccount { account, .. }, Ok(_)) => {
                wire::event::What::AccountOpened(wire::OpenAccountRequest {
                    account: account.clone(),
                    ..Default::default()
                })
            }
            _ => continue,
        };
        let (set, incarnation) = (state.set(), outcome.incarnation);
        let name = TransactionId { set, incarnation, position }.to_string();
        let (index, time_unix_ns) = (position.index(), outcome.time_unix_ns);
        events.push(wire::Event {
            previous: events.last().map(|event| event.event.clone()).unwrap_or_default(),
            resume: name.clone(),
            event: name,
            position: Some(wire::Position { set, index, time_unix_ns }),
            offset: position.offset().into(),
            what: Some(what),
        });
    }
    events
}

fn booked(request_id: String, metadata: twinset_ledger::command::Metadata, legs: usize) -> wire::event::What {
    let metadata = metadata.into_iter().collect();
    let transaction = Some(wire::Transaction { request_id, metadata, ..Default::default() });
    let posting = wire::Posting { side: wire::Side::Debit.into(), ..Default::default() };
    wire::event::What::Booked(wire::BookedEvent {
        transaction,
        postings: vec![posting; legs],
        hold_changes: Vec::new(),
        suspended: String::new(),
    })
}

/// A stream of server-sent events that is read as a test likes.
pub struct Feed {
    body: Incoming,
    text: String,
    pub headers: http::HeaderMap,
}

/// One block of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    pub id: String,
    pub data: Value,
}

/// Asks for a stream; what is answered instead is a status and a problem's code.
pub async fn feed(router: &Router, path: &str, seen: Option<&str>) -> Result<Feed, (u16, String)> {
    let mut request = http::Request::get(format!("http://{}{path}", router.http))
        .header("accept", "text/event-stream, application/json;q=0.5");
    if let Some(seen) = seen {
        request = request.header("last-event-id", seen);
    }
    let request = request.body(Full::<Bytes>::default()).expect("a request");
    let (parts, body) = client().request(request).await.expect("an answer").into_parts();
    if parts.status == 200 {
        return Ok(Feed { body, text: String::new(), headers: parts.headers });
    }
    let body = body.collect().await.expect("a body").to_bytes();
    let body: Value = serde_json::from_slice(&body).expect("a problem");
    Err((parts.status.as_u16(), body["code"].as_str().expect("a code").to_string()))
}

impl Feed {
    /// The next block as it came; None: the stream has ended.
    pub async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("something comes");
            let data = frame?.expect("the stream is whole").into_data().expect("no trailers");
            self.text.push_str(std::str::from_utf8(&data).expect("text"));
        }
    }

    /// The next event; None: the stream has ended.
    pub async fn next(&mut self) -> Option<Block> {
        loop {
            let block = self.block().await?;
            let line = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            if let (Some(id), Some(data)) = (line("id: "), line("data: ")) {
                return Some(Block { id: id.into(), data: serde_json::from_str(data).expect("JSON") });
            }
        }
    }

    pub async fn take(&mut self, count: usize) -> Vec<Block> {
        let mut blocks = Vec::new();
        for _ in 0..count {
            blocks.push(self.next().await.expect("it has no end"));
        }
        blocks
    }
}

/// How often a fake node looks whether something has happened.
pub const LOOK_EVERY: Duration = Duration::from_millis(2);
