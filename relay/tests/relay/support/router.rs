//! Routers that tell what a test has written: real servers over one world of events. Streams can be cut, refused, begun too early,
//! or be made to leave something out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::unfold;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What a router does with the next stream of a set that it is asked for.
#[derive(Clone, Debug)]
pub enum Trick {
    /// Ends it after so many events.
    Cut(usize),
    /// Ends it with a problem after so many events.
    Problem(usize, &'static str),
    /// Refuses it with a status and a code.
    Refuse(u16, &'static str),
    /// Begins so many events before what it was asked for.
    Early(usize),
}

#[derive(Default)]
struct World {
    /// By set, in order: key and JSON.
    events: BTreeMap<u32, Vec<(String, String)>>,
    tricks: BTreeMap<u32, VecDeque<Trick>>,
    /// Never told.
    hidden: BTreeSet<String>,
    /// Set and Last-Event-ID of every stream that was asked for.
    asked: Vec<(u32, Option<String>)>,
}

/// What all routers tell.
#[derive(Clone)]
pub struct Ledger {
    world: Arc<Mutex<World>>,
    grown: watch::Sender<()>,
}

impl Ledger {
    /// Sets from 1 on, without events.
    pub fn new(sets: u32) -> Ledger {
        let world = World { events: (1..=sets).map(|set| (set, Vec::new())).collect(), ..World::default() };
        Ledger { world: Arc::new(Mutex::new(world)), grown: watch::channel(()).0 }
    }

    /// `count` more bookings on an account.
    pub fn book(&self, set: u32, account: &str, count: usize) {
        let legs = format!(
            r#""transaction":{{"legs":[{{"account":"{account}","side":"debit","amount":"1.10","currency":"EUR"}},{{"account":"{{x}}:y","side":"credit","amount":"1.10","currency":"EUR"}}]}}"#
        );
        for _ in 0..count {
            self.add(set, "booked", &legs);
        }
    }

    /// One more event.
    pub fn add(&self, set: u32, kind: &str, more: &str) {
        let mut world = self.world.lock();
        let events = world.events.get_mut(&set).expect("a set");
        let previous = events.last().map_or("", |(key, _)| key).to_owned();
        // Two commands to an entry.
        let key = format!("{set}-1-{}-{}", 10 + events.len() / 2, events.len() % 2);
        let json = format!(
            r#"{{"event":"{key}","previous":"{previous}","resume":"{key}","position":{{"set":{set},"index":1,"time":"2026-11-29T12:00:00.000000001Z"}},"offset":0,"kind":"{kind}",{more}}}"#
        );
        events.push((key, json));
        drop(world);
        self.grown.send_replace(());
    }

    /// The keys of a set's events.
    pub fn keys(&self, set: u32) -> Vec<String> {
        self.world.lock().events[&set].iter().map(|(key, _)| key.clone()).collect()
    }

    /// What the next streams of a set will do, one after the other.
    pub fn trick(&self, set: u32, tricks: &[Trick]) {
        self.world.lock().tricks.entry(set).or_default().extend(tricks.iter().cloned());
    }

    /// Leaves an event out from now on.
    pub fn hide(&self, key: &str) {
        self.world.lock().hidden.insert(key.to_owned());
    }

    /// What streams were asked to begin behind.
    pub fn asked(&self, set: u32) -> Vec<Option<String>> {
        self.world.lock().asked.iter().filter(|(of, _)| *of == set).map(|(_, after)| after.clone()).collect()
    }
}

/// A router; it dies when it is dropped.
pub struct Router {
    /// As in a configuration.
    pub url: String,
    stop: CancellationToken,
}

impl Router {
    /// Starts one.
    pub async fn start(ledger: &Ledger) -> Router {
        let listener = TcpListener::bind(super::address()).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let stop = CancellationToken::new();
        let (ledger, connections) = (ledger.clone(), stop.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                let ledger = ledger.clone();
                let service = service_fn(move |request| {
                    let answer = answer(&ledger, &request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connections.clone().run_until_cancelled_owned(connection));
            }
        }));
        Router { url, stop }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

fn answer(ledger: &Ledger, request: &Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    if path == "/v1/events" {
        let sets =
            ledger.world.lock().events.keys().map(|set| format!("{{\"set\":{set}}}")).collect::<Vec<_>>();
        return whole(200, format!("{{\"events\":[],\"as_of\":[{}]}}", sets.join(",")));
    }
    let set = path.strip_prefix("/v1/sets/").and_then(|rest| rest.strip_suffix("/events"));
    let set: u32 = set.and_then(|set| set.parse().ok()).expect("a stream is asked for");
    let after = request.headers().get("last-event-id").map(|key| key.to_str().expect("text").to_owned());
    ledger.stream(set, after)
}

fn whole(status: u16, text: String) -> Response<Body> {
    let mut answer = Response::new(Full::new(Bytes::from(text)).boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
    answer
}

fn problem(code: &str) -> String {
    format!("{{\"code\":\"{code}\",\"detail\":\"a trick of the test\"}}")
}

impl Ledger {
    fn stream(&self, set: u32, after: Option<String>) -> Response<Body> {
        let mut world = self.world.lock();
        world.asked.push((set, after.clone()));
        let trick = world.tricks.get_mut(&set).and_then(VecDeque::pop_front);
        let events = &world.events[&set];
        let behind = |key: &String| events.iter().position(|(known, _)| known == key).map(|at| at + 1);
        let Some(mut next) = after.as_ref().map_or(Some(0), behind) else {
            return whole(404, problem("not_found"));
        };
        match trick {
            Some(Trick::Refuse(status, code)) => return whole(status, problem(code)),
            Some(Trick::Early(by)) => next = next.saturating_sub(by),
            _ => {}
        }
        let told = Told { ledger: self.clone(), grown: self.grown.subscribe(), set, next, count: 0, trick };
        let frames = unfold(Some((true, told)), async |state| {
            let (opening, mut told) = state?;
            if opening {
                return Some((Ok(Frame::data(Bytes::from_static(b"retry: 1000\n\n"))), Some((false, told))));
            }
            let (text, last) = told.next().await?;
            Some((Ok(Frame::data(Bytes::from(text))), (!last).then_some((false, told))))
        });
        Response::new(StreamBody::new(frames).boxed_unsync())
    }
}

/// A stream.
struct Told {
    ledger: Ledger,
    grown: watch::Receiver<()>,
    set: u32,
    next: usize,
    count: usize,
    trick: Option<Trick>,
}

impl Told {
    /// What comes next, and whether it is the last.
    async fn next(&mut self) -> Option<(String, bool)> {
        match self.trick {
            Some(Trick::Cut(count)) if self.count >= count => return None,
            Some(Trick::Problem(count, code)) if self.count >= count => {
                return Some((format!("event: problem\ndata: {}\n\n", problem(code)), true));
            }
            _ => {}
        }
        loop {
            let found = {
                let world = self.ledger.world.lock();
                let hidden = |key: &String| world.hidden.contains(key);
                let events = world.events[&self.set].iter().enumerate().skip(self.next);
                events.filter(|(_, (key, _))| !hidden(key)).map(|(at, event)| (at, event.clone())).next()
            };
            if let Some((at, (key, json))) = found {
                self.next = at + 1;
                self.count += 1;
                return Some((format!("id: {key}\ndata: {json}\n\n"), false));
            }
            self.grown.changed().await.ok()?;
        }
    }
}
