//! The events of one set, from whichever router answers, in order and without a gap: each names the one before it, and that is
//! checked. A stream that breaks is resumed behind the last event that was read, at the next router. Only three things end it: a
//! gap, a text that is no event, and a router's word that what it is to be resumed behind is gone. Then a person must look.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{ACCEPT, HeaderName};
use http_body_util::BodyExt;
use tokio::sync::mpsc;

use crate::backoff::Backoff;
use crate::cursor::Place;
use crate::event::{BadEvent, Event, Key};
use crate::metrics::Streams;
use crate::router::{self, Error, Problem, broken};

/// A router that is silent for so long is gone: it says something every ten seconds.
const SILENCE: Duration = Duration::from_secs(30);
/// Between two streams, while they fail.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// More than any event has: a transaction has 64 legs.
const BLOCK_BYTES_MAX: usize = 16 << 20;
/// Where a stream goes on.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Why there will be no more events.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// Something is missing, or of another set.
    #[error("gap: {event} says that {} is before it; the last one here is {}", shown(.previous), shown(.last))]
    Gap {
        /// What came.
        event: Key,
        /// What it says is before it.
        previous: Option<Key>,
        /// What was read last.
        last: Option<Key>,
    },
    /// A router tells what cannot be read.
    #[error("unreadable: {0}")]
    Unreadable(#[from] BadEvent),
    /// What it was resumed behind is not there (any more).
    #[error("{}: {}", .0.code, .0.detail)]
    Gone(Problem),
}

fn shown(key: &Option<Key>) -> String {
    key.map_or_else(|| "none".to_owned(), |key| key.to_string())
}

/// What a source tells.
#[derive(Debug)]
pub enum Told {
    /// The next event.
    Event(Event),
    /// There are no more.
    End(End),
}

/// The events of a set.
pub struct Source {
    /// `ADDRESS:PORT` of each.
    pub routers: Arc<[String]>,
    /// The set.
    pub set: u32,
    /// Behind this; none: from the first one.
    pub last: Option<Place>,
    /// Who hears them. Bounded: who is slow is waited for.
    pub told: mpsc::Sender<Told>,
    /// What is counted.
    pub metrics: Streams,
}

/// Why a stream has ended.
enum Ended {
    /// Another one may go on.
    Broken(Error),
    /// None can.
    For(End),
    /// Nobody listens.
    Unheard,
}

impl From<Error> for Ended {
    fn from(error: Error) -> Ended {
        match error {
            Error::Problem(problem) if ["not_found", "malformed"].contains(&problem.code.as_str()) => {
                Ended::For(End::Gone(problem))
            }
            error => Ended::Broken(error),
        }
    }
}

impl Source {
    /// Tells events until there is an end or nobody listens.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(PAUSES);
        let mut said = String::new();
        for router in self.routers.clone().iter().cycle() {
            match self.read(router, &mut backoff).await {
                Ended::Unheard => return,
                Ended::For(end) => {
                    // Who does not listen any more has no use for it.
                    let _ = self.told.send(Told::End(end)).await;
                    return;
                }
                Ended::Broken(error) => {
                    self.metrics.broken();
                    let now = format!("{router}: {error}");
                    if now != said {
                        tracing::info!(
                            set = self.set,
                            "stream of events ended, going on at the next router: {now}"
                        );
                        said = now;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.pause()) => {}
                () = self.told.closed() => return,
            }
        }
    }

    async fn read(&mut self, router: &str, backoff: &mut Backoff) -> Ended {
        let told = self.told.clone();
        tokio::select! {
            ended = self.stream(router, backoff) => match ended {
                Ok(never) => match never {},
                Err(ended) => ended,
            },
            () = told.closed() => Ended::Unheard,
        }
    }

    async fn stream(
        &mut self,
        router: &str,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, Ended> {
        let path = format!("/v1/sets/{}/events", self.set);
        let mut headers = vec![(ACCEPT, "text/event-stream")];
        headers.extend(self.last.as_ref().map(|last| (LAST_EVENT_ID, last.resume.as_str())));
        let mut answer = router::get(router, &path, &headers).await?;
        let _open = self.metrics.opened();
        let mut blocks = Blocks::default();
        loop {
            let frame = tokio::time::timeout(SILENCE, answer.body.frame()).await;
            let frame = frame.map_err(|_| broken("it has gone silent"))?;
            let frame = frame.ok_or_else(|| broken("it has ended the stream"))?.map_err(broken)?;
            blocks.add(frame.data_ref().map_or(&[][..], |data| data))?;
            while let Some(block) = blocks.next() {
                match block {
                    Block::Opening => {}
                    Block::Quiet => backoff.reset(),
                    Block::Problem(problem) => return Err(Error::Problem(problem).into()),
                    Block::Event(text) => {
                        self.take(Event::read(text).map_err(|bad| Ended::For(bad.into()))?).await?;
                        backoff.reset();
                    }
                }
            }
        }
    }

    /// Passes on what is new.
    async fn take(&mut self, event: Event) -> Result<(), Ended> {
        let last = self.last.as_ref().map(|last| last.event);
        if event.key.set == self.set && last.is_some_and(|last| event.key <= last) {
            self.metrics.repeated();
            return Ok(());
        }
        if event.key.set != self.set || event.previous != last {
            return Err(Ended::For(End::Gap { event: event.key, previous: event.previous, last }));
        }
        self.last = Some(Place::from(&event));
        self.told.send(Told::Event(event)).await.map_err(|_| Ended::Unheard)
    }
}

/// One block of server-sent events.
#[derive(Debug, PartialEq, Eq)]
enum Block {
    /// How a stream begins.
    Opening,
    /// A comment: nothing happens.
    Quiet,
    /// The stream ends for that.
    Problem(Problem),
    /// An event.
    Event(Bytes),
}

/// Cuts what comes into blocks.
#[derive(Default)]
struct Blocks {
    buffer: BytesMut,
    /// So many bytes have no end of a block.
    looked: usize,
}

impl Blocks {
    fn add(&mut self, data: &[u8]) -> Result<(), Error> {
        if self.buffer.len() + data.len() > BLOCK_BYTES_MAX {
            return Err(broken("it tells more than an event can have"));
        }
        self.buffer.extend_from_slice(data);
        Ok(())
    }

    fn next(&mut self) -> Option<Block> {
        let from = self.looked.saturating_sub(1);
        let Some(found) = self.buffer[from..].windows(2).position(|two| two == b"\n\n") else {
            self.looked = self.buffer.len();
            return None;
        };
        self.looked = 0;
        let block = self.buffer.split_to(from + found).freeze();
        self.buffer.advance(2);
        Some(block_of(&block))
    }
}

fn block_of(block: &Bytes) -> Block {
    let lines = || block.split(|byte| *byte == b'\n');
    let field = |name: &[u8]| lines().find_map(|line| line.strip_prefix(name));
    let Some(data) = field(b"data: ") else {
        return if block.starts_with(b":") { Block::Quiet } else { Block::Opening };
    };
    if field(b"event: ") == Some(b"problem") {
        let unread = || Problem { code: "unknown".into(), detail: "a problem that cannot be read".into() };
        return Block::Problem(serde_json::from_slice(data).unwrap_or_else(|_| unread()));
    }
    Block::Event(block.slice_ref(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_cut_wherever_the_pieces_end() {
        let text = "retry: 1000\n\n: nothing happens\n\nid: 1-1-5-0\ndata: {\"event\":1}\n\n\
            event: problem\ndata: {\"code\":\"not_found\",\"detail\":\"gone\"}\n\nevent: problem\ndata: x\n\n";
        let gone = Problem { code: "not_found".into(), detail: "gone".into() };
        for size in 1..text.len() {
            let mut blocks = Blocks::default();
            let mut found = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                blocks.add(piece).expect("it is short");
                found.extend(std::iter::from_fn(|| blocks.next()));
            }
            assert_eq!(found.len(), 5, "{size}: {found:?}");
            assert_eq!(found[..2], [Block::Opening, Block::Quiet]);
            assert_eq!(found[2], Block::Event(Bytes::from_static(b"{\"event\":1}")));
            assert_eq!(found[3], Block::Problem(gone.clone()));
            assert!(matches!(&found[4], Block::Problem(problem) if problem.code == "unknown"));
        }
        let mut blocks = Blocks::default();
        assert!(blocks.add(&vec![b'x'; BLOCK_BYTES_MAX]).is_ok() && blocks.add(b"x").is_err());
    }
}
