//! Who follows events, over server-sent events or gRPC, of one set or of all. A follower takes down each event once, and resumes at
//! the next router whenever its stream ends, errs or stands still: behind the last event that it has seen, and every other time
//! some events before that, as who had not stored them yet. Whatever a stream must never tell ends the test at the next look.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Uri, header};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::Value;
use tonic::transport::Endpoint;
use twinset_proto::ledger::v1 as wire;
use twinset_proto::ledger::v1::ledger_client::LedgerClient;
use twinset_tools::http1::{self, Connection};

/// What is silent for so long stands still: a comment, or the answer to a ping, comes every ten seconds.
const SILENCE: Duration = Duration::from_secs(20);
/// How often a gRPC client asks its router whether it is there. Half of [`SILENCE`]; the other half is for the answer.
const PING_EVERY: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(2);
/// Before the next router is asked.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// So many events come again on every other stream.
const AGAIN: usize = 10;

/// Over what events come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// HTTP.
    Sse,
    /// gRPC.
    Grpc,
}

/// An event, as it was told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// In JSON.
    Json(Value),
    /// In a message.
    Message(Box<wire::Event>),
}

impl Event {
    /// The key to recognise it by.
    pub fn key(&self) -> &str {
        match self {
            Event::Json(event) => event["event"].as_str().unwrap(),
            Event::Message(event) => &event.event,
        }
    }

    /// The one before it.
    pub fn previous(&self) -> &str {
        match self {
            Event::Json(event) => event["previous"].as_str().unwrap(),
            Event::Message(event) => &event.previous,
        }
    }

    fn set(&self) -> u32 {
        match self {
            Event::Json(event) => event["position"]["set"].as_u64().unwrap() as u32,
            Event::Message(event) => event.position.unwrap().set,
        }
    }

    fn resume(&self) -> &str {
        match self {
            Event::Json(event) => event["resume"].as_str().unwrap(),
            Event::Message(event) => &event.resume,
        }
    }

    /// Without where it is resumed, which a stream of all sets and one of its set say differently.
    pub fn without_resume(mut self) -> Event {
        match &mut self {
            Event::Json(event) => event["resume"] = Value::Null,
            Event::Message(event) => event.resume.clear(),
        }
        self
    }
}

/// Where a stream is: what resumes it there, and the last event of each set.
#[derive(Clone, Default)]
struct Place {
    resume: String,
    last: BTreeMap<u32, String>,
}

/// What a follower knows.
#[derive(Default)]
struct Book {
    /// In the order in which each came first.
    taken: BTreeMap<u32, Vec<Event>>,
    /// Where each stands there.
    known: HashMap<String, (u32, usize)>,
    /// Behind the last events, the latest at the end.
    places: VecDeque<Place>,
    again: usize,
    streams: usize,
    silences: usize,
    /// Why the other streams ended, and where none could be had.
    ends: Vec<String>,
    comments: usize,
    wrong: Option<String>,
}

impl Book {
    /// Where the next stream begins.
    fn place(&mut self) -> Place {
        if self.streams > 0 && self.streams.is_multiple_of(2) {
            self.places.truncate(1);
        }
        self.places.back().cloned().unwrap_or_default()
    }

    fn take(&mut self, place: &mut Place, event: Event, of: Option<u32>) -> Result<(), Ended> {
        let set = event.set();
        let last = place.last.get(&set).map_or("", String::as_str);
        if event.previous() != last || of.is_some_and(|of| of != set) {
            return Err(Ended::Wrong(format!("after {last:?} comes {event:?}")));
        }
        place.last.insert(set, event.key().to_owned());
        event.resume().clone_into(&mut place.resume);
        self.places.push_back(place.clone());
        if self.places.len() > AGAIN + 1 {
            self.places.pop_front();
        }
        let event = if of.is_some() { event } else { event.without_resume() };
        let taken = self.taken.entry(set).or_default();
        match self.known.get(event.key()) {
            None => {
                self.known.insert(event.key().to_owned(), (set, taken.len()));
                taken.push(event);
            }
            Some((known, at)) if (*known, &taken[*at]) == (set, &event) => self.again += 1,
            Some((_, at)) => {
                return Err(Ended::Wrong(format!("one key is both {:?} and {event:?}", taken.get(*at))));
            }
        }
        Ok(())
    }
}

/// Why a stream has ended.
enum Ended {
    /// It may be resumed.
    Broken(String),
    /// Nothing came, not even a sign of life.
    Silent,
    /// That must not be.
    Wrong(String),
}

fn broken(why: impl std::fmt::Display) -> Ended {
    Ended::Broken(why.to_string())
}

/// Who follows events.
#[derive(Clone)]
pub struct Follower {
    over: Over,
    /// None: all.
    set: Option<u32>,
    book: Arc<Mutex<Book>>,
}

impl Follower {
    /// Follows over `routers` (`ADDRESS:PORT`) in turn, the first one first, for as long as the test lives.
    pub fn start(over: Over, set: Option<u32>, routers: Vec<String>) -> Follower {
        let follower = Follower { over, set, book: Arc::default() };
        let this = follower.clone();
        tokio::spawn(async move {
            for router in routers.iter().cycle() {
                let ended = match this.over {
                    Over::Sse => this.read_sse(router).await,
                    Over::Grpc => this.read_grpc(router).await,
                };
                match ended {
                    Ok(never) => match never {},
                    Err(Ended::Wrong(words)) => {
                        this.book.lock().wrong = Some(words);
                        return;
                    }
                    Err(Ended::Silent) => this.book.lock().silences += 1,
                    Err(Ended::Broken(why)) => this.book.lock().ends.push(why),
                }
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        });
        follower
    }

    /// For people.
    pub fn name(&self) -> String {
        let of = self.set.map_or_else(|| "of all sets".to_owned(), |set| format!("of set {set}"));
        format!("{:?} {of}", self.over)
    }

    /// Over what it follows.
    pub fn over(&self) -> Over {
        self.over
    }

    /// Whether it follows that set.
    pub fn follows(&self, set: u32) -> bool {
        self.set.is_none_or(|own| own == set)
    }

    /// Whether it follows all sets.
    pub fn is_merged(&self) -> bool {
        self.set.is_none()
    }

    /// Looks at what it knows.
    fn look<T>(&self, at: impl FnOnce(&Book) -> T) -> T {
        let book = self.book.lock();
        assert!(book.wrong.is_none(), "{}: {}", self.name(), book.wrong.as_deref().unwrap_or_default());
        at(&book)
    }

    /// How many events of a set it has, each counted once.
    pub fn count(&self, set: u32) -> usize {
        self.look(|book| book.taken.get(&set).map_or(0, Vec::len))
    }

    /// The events of a set, each once, in the order in which they came first.
    pub fn events(&self, set: u32) -> Vec<Event> {
        self.look(|book| book.taken.get(&set).cloned().unwrap_or_default())
    }

    /// How often it went on with another stream.
    pub fn resumed(&self) -> usize {
        self.look(|book| book.streams.saturating_sub(1))
    }

    /// How often a stream stood still.
    pub fn silences(&self) -> usize {
        self.look(|book| book.silences)
    }

    /// Why streams ended that did not stand still, for people.
    pub fn ends(&self) -> Vec<String> {
        self.look(|book| book.ends.clone())
    }

    /// How many events came again.
    pub fn again(&self) -> usize {
        self.look(|book| book.again)
    }

    /// How often it heard that nothing happens.
    pub fn comments(&self) -> usize {
        self.look(|book| book.comments)
    }

    fn take(&self, place: &mut Place, event: Event) -> Result<(), Ended> {
        self.book.lock().take(place, event, self.set)
    }

    async fn read_sse(&self, router: &str) -> Result<Infallible, Ended> {
        let mut place = self.book.lock().place();
        let mut connection = Connection::open(router, CONNECT).await.map_err(broken)?;
        let path = self.set.map_or_else(|| "/v1/events".to_owned(), |set| format!("/v1/sets/{set}/events"));
        let uri: Uri = path.parse().unwrap();
        let mut request = http1::request(Method::GET, router, &uri, Bytes::new());
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
        if !place.resume.is_empty() {
            headers.insert("last-event-id", HeaderValue::from_str(&place.resume).unwrap());
        }
        let response = match connection.begin(request, SILENCE).await {
            Err(http1::Error::Silent { .. }) => return Err(Ended::Silent),
            response => response.map_err(broken)?,
        };
        let status = response.status();
        let mut body = response.into_body();
        if !status.is_success() {
            return Err(problem(&body.collect().await.map_err(broken)?.to_bytes()));
        }
        self.book.lock().streams += 1;
        let mut rest = Vec::new();
        loop {
            let frame = tokio::time::timeout(SILENCE, body.frame()).await.map_err(|_| Ended::Silent)?;
            let frame = frame.ok_or_else(|| broken("it has ended"))?.map_err(broken)?;
            rest.extend_from_slice(frame.data_ref().unwrap());
            while let Some(end) = rest.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = rest.drain(..end + 2).collect();
                self.take_block(&mut place, std::str::from_utf8(&block).unwrap())?;
            }
        }
    }

    /// One block of server-sent events.
    fn take_block(&self, place: &mut Place, block: &str) -> Result<(), Ended> {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
        match (field("event: "), field("data: ")) {
            (None, Some(data)) => {
                let event: Value = serde_json::from_str(data).unwrap();
                assert_eq!(field("id: "), event["resume"].as_str(), "a browser resumes by the id");
                self.take(place, Event::Json(event))
            }
            (Some("problem"), Some(data)) => Err(problem(data.as_bytes())),
            _ if block.starts_with(':') => {
                self.book.lock().comments += 1;
                Ok(())
            }
            _ if block == "retry: 1000\n\n" => Ok(()),
            _ => Err(Ended::Wrong(format!("no block of a stream: {block:?}"))),
        }
    }

    async fn read_grpc(&self, router: &str) -> Result<Infallible, Ended> {
        let mut place = self.book.lock().place();
        // A stream on which nothing happens says nothing; its connection answers.
        let endpoint = Endpoint::from_shared(format!("http://{router}")).unwrap();
        let endpoint = endpoint.connect_timeout(CONNECT).keep_alive_while_idle(true);
        let endpoint =
            endpoint.http2_keep_alive_interval(PING_EVERY).keep_alive_timeout(SILENCE - PING_EVERY);
        let mut client = LedgerClient::new(endpoint.connect().await.map_err(broken)?);
        let asked = wire::StreamEventsRequest { set: self.set, after: place.resume.clone() };
        let opened = tokio::time::timeout(SILENCE, client.stream_events(asked)).await;
        let mut stream = opened.map_err(|_| Ended::Silent)?.map_err(refused)?.into_inner();
        self.book.lock().streams += 1;
        loop {
            let event = stream.message().await.map_err(refused)?.ok_or_else(|| broken("it has ended"))?;
            self.take(&mut place, Event::Message(Box::new(event)))?;
        }
    }
}

/// What a router says instead of going on. What it is resumed behind must be there.
fn problem(body: &[u8]) -> Ended {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let words = String::from_utf8_lossy(body).into_owned();
    match problem["code"].as_str() {
        Some("not_found" | "malformed") => Ended::Wrong(words),
        _ => Ended::Broken(words),
    }
}

/// The same over gRPC.
fn refused(status: tonic::Status) -> Ended {
    match status.code() {
        tonic::Code::NotFound | tonic::Code::InvalidArgument => Ended::Wrong(status.to_string()),
        _ => Ended::Broken(status.to_string()),
    }
}
