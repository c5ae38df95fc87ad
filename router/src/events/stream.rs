//! An endless stream of events: one task per set asks its leader for the next page, which answers when there is something, and is
//! asked again wherever it is then. A page of each set is in memory at most, and one more on its way: who reads slowly is waited
//! for, and holds up nobody else. Above are the two spellings.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio::time::Instant;
use twinset_proto::cluster::v1::ReadEvents;
use twinset_proto::ledger::v1 as wire;

use super::Cursors;
use crate::api::Api;
use crate::error::{Code, Error};
use crate::metrics::{Protocol, StreamOpen};

/// How long a leader waits for something to tell.
const WAIT: Duration = Duration::from_secs(10);
/// How much longer it may take to answer.
const GRACE: Duration = Duration::from_secs(5);
/// Before a set is asked again that could not answer.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
const PAGE: u32 = 500;

/// A stream.
pub struct Events {
    api: Arc<Api>,
    /// Whether sets that come up later belong to it.
    all: bool,
    /// What was given to the client.
    given: Cursors,
    ready: VecDeque<Ready>,
    pages: JoinSet<(u32, Result<Page, Error>)>,
    open: StreamOpen,
    _turn: OwnedSemaphorePermit,
}

/// An event that waits for the client.
struct Ready {
    set: u32,
    event: wire::Event,
    /// How much older than the set's newest it was when it came.
    behind: Duration,
    came: Instant,
}

struct Page {
    reply: wire::ListEventsReply,
    came: Instant,
}

impl Events {
    /// A stream of a set, or of all, behind `after`. What cannot be read is refused here, before anything is told.
    pub async fn open(
        api: Arc<Api>,
        protocol: Protocol,
        set: Option<u32>,
        after: &str,
        deadline: Instant,
    ) -> Result<Events, Error> {
        let given = Cursors::read(after, set, &api.view())?;
        let turn = api.streams.clone().try_acquire_owned().map_err(|_| {
            Error::new(Code::Overloaded, "too many streams of events are open here; try another router")
        })?;
        let named = given.sets().filter(|(_, after)| !after.is_empty());
        let looks = join_all(named.map(|(set, after)| {
            let asked = ReadEvents { after: after.into(), page_size: 1, wait_ms: 0 };
            api.page_of_events(set, asked, wire::Consistency::Linearizable, deadline)
        }));
        for look in looks.await {
            match look {
                Err(error) if is_final(&error) => return Err(error),
                // A set that does not answer now does so later.
                Err(_) | Ok(_) => {}
            }
        }
        let open = api.metrics.stream_opened(protocol);
        let mut events = Events {
            all: set.is_none(),
            ready: VecDeque::new(),
            pages: JoinSet::new(),
            _turn: turn,
            given,
            open,
            api,
        };
        let sets: Vec<(u32, String)> = events.given.sets().map(|(set, after)| (set, after.into())).collect();
        for (set, after) in sets {
            events.ask(set, after);
        }
        Ok(events)
    }

    /// The next event; None: the router is going away. An error is the end as well. Nothing is lost if it is not awaited to the
    /// end.
    pub async fn next(&mut self) -> Option<Result<wire::Event, Error>> {
        loop {
            if let Some(event) = self.next_ready() {
                return Some(Ok(event));
            }
            let joined = tokio::select! {
                () = self.api.stopping.cancelled() => return None,
                joined = self.pages.join_next() => joined?,
            };
            let (set, page) = match joined {
                Ok(page) => page,
                Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                Err(_) => return None,
            };
            match page {
                Ok(page) => self.take(set, page),
                Err(error) => return Some(Err(error)),
            }
        }
    }

    /// The next one, if it is there already.
    pub fn next_ready(&mut self) -> Option<wire::Event> {
        if self.api.stopping.is_cancelled() {
            return None;
        }
        let Ready { set, mut event, behind, came } = self.ready.pop_front()?;
        self.open.sent(behind + came.elapsed());
        event.resume = self.given.pass(set, &event.event);
        Some(event)
    }

    fn take(&mut self, set: u32, Page { reply, came }: Page) {
        let newest = reply.as_of.first().map_or(0, |as_of| as_of.time_unix_ns);
        for event in reply.events {
            let of = event.position.as_ref().map_or(newest, |position| position.time_unix_ns);
            let behind = Duration::from_nanos(newest.saturating_sub(of));
            self.ready.push_back(Ready { set, event, behind, came });
        }
        self.ask(set, reply.next);
        if self.all {
            let known: Vec<u32> = self.api.view().sets.keys().copied().collect();
            for set in known.into_iter().filter(|set| !self.given.has(*set)).collect::<Vec<_>>() {
                self.given.pass(set, "");
                self.ask(set, String::new());
            }
        }
    }

    /// In a task of its own: what has come for a client that does not read must not stay in a connection that others use.
    fn ask(&mut self, set: u32, after: String) {
        let api = self.api.clone();
        self.pages.spawn(async move { (set, next_page(&api, set, after).await) });
    }
}

/// The next page that has something, however long that takes.
async fn next_page(api: &Api, set: u32, mut after: String) -> Result<Page, Error> {
    let wait_ms = u32::try_from(WAIT.as_millis()).expect("it is short");
    loop {
        let asked = ReadEvents { after: after.clone(), page_size: PAGE, wait_ms };
        let deadline = Instant::now() + WAIT + GRACE;
        match api.page_of_events(set, asked, wire::Consistency::Linearizable, deadline).await {
            Ok(reply) if reply.events.is_empty() => after = reply.next,
            Ok(reply) => return Ok(Page { reply, came: Instant::now() }),
            Err(error) if is_final(&error) => return Err(error),
            Err(_) => tokio::time::sleep(AGAIN_AFTER).await,
        }
    }
}

/// Whether asking again leads to the same.
fn is_final(error: &Error) -> bool {
    matches!(error, Error::Router { code: Code::Malformed | Code::NotFound, .. } | Error::Malformed(_))
}
