//! A receiver over HTTP that keeps what it was sent and answers as a test wants. It checks every signature by HMAC's definition,
//! not by the code that signs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// How a request is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// With that status, and nothing is taken.
    Status(u16),
    /// The same with `Retry-After`.
    Busy(u64),
    /// With a redirect.
    Redirect(String),
    /// Never.
    Hang,
    /// By a connection that breaks.
    Break,
    /// Taken, but not at once.
    Late(Duration),
    /// Taken, but the connection breaks before the answer.
    Lost,
}

/// What a request was.
#[derive(Clone, Debug)]
pub struct Asked {
    pub headers: HeaderMap,
    pub set: u32,
    pub events: Vec<String>,
}

#[derive(Default)]
struct Seen {
    /// What the next requests are answered with; then everything is taken.
    answers: VecDeque<Answer>,
    /// Events that are answered with a status, whenever they come.
    refused: BTreeMap<String, u16>,
    /// Requests of more events are answered with 413; 0: none is.
    events_max: usize,
    /// Sets whose requests hang.
    hanging: BTreeSet<u32>,
    asked: Vec<Asked>,
    /// In the order in which they came, by set, repeated ones too.
    taken: BTreeMap<u32, Vec<String>>,
    /// What is wrong with requests.
    wrong: Vec<String>,
}

/// Everything that receivers of one test have seen.
#[derive(Clone, Default)]
pub struct Book {
    seen: Arc<Mutex<Seen>>,
    secrets: Arc<BTreeMap<String, Vec<u8>>>,
}

impl Book {
    /// For requests that are signed with these.
    pub fn new(secrets: &[(&str, &str)]) -> Book {
        let secrets = secrets.iter().map(|(id, secret)| ((*id).to_owned(), secret.as_bytes().to_vec()));
        Book { secrets: Arc::new(secrets.collect()), ..Book::default() }
    }

    /// What the next requests are answered with.
    pub fn answers(&self, answers: impl IntoIterator<Item = Answer>) {
        self.seen.lock().answers.extend(answers);
    }

    /// How many of those answers are still to be given.
    pub fn answers_left(&self) -> usize {
        self.seen.lock().answers.len()
    }

    /// An event is answered with that status; none: it is taken.
    pub fn refuse(&self, key: &str, status: Option<u16>) {
        let mut seen = self.seen.lock();
        match status {
            Some(status) => drop(seen.refused.insert(key.to_owned(), status)),
            None => drop(seen.refused.remove(key)),
        }
    }

    /// Requests of more events are too large from now on.
    pub fn take_at_most(&self, events: usize) {
        self.seen.lock().events_max = events;
    }

    /// Requests of that set hang from now on.
    pub fn hang(&self, set: u32) {
        self.seen.lock().hanging.insert(set);
    }

    /// What was taken of a set, in order, repeated ones too.
    pub fn taken(&self, set: u32) -> Vec<String> {
        self.seen.lock().taken.get(&set).cloned().unwrap_or_default()
    }

    /// The same without what came again.
    pub fn taken_once(&self, set: u32) -> Vec<String> {
        let mut known = BTreeSet::new();
        self.taken(set).into_iter().filter(|key| known.insert(key.clone())).collect()
    }

    /// All requests.
    pub fn asked(&self) -> Vec<Asked> {
        self.seen.lock().asked.clone()
    }

    /// Nothing was wrong with any request.
    pub fn nothing_is_wrong(&self) {
        let wrong = &self.seen.lock().wrong;
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    fn check(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), String> {
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let time = header("twinset-timestamp");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let age = now.as_secs().abs_diff(time.parse().map_err(|_| format!("time {time:?}"))?);
        let signatures: Vec<&str> = header("twinset-signature").split(',').collect();
        if age > 60 || signatures.len() != self.secrets.len() {
            return Err(format!("{age} s old, {} signatures", signatures.len()));
        }
        for signature in signatures {
            let (id, digits) = signature.split_once('=').ok_or(format!("signature {signature:?}"))?;
            let secret = self.secrets.get(id).ok_or(format!("key {id:?}"))?;
            let message = [time.as_bytes(), b".", body].concat();
            if digits != hmac_sha256(secret, &message) {
                return Err(format!("signature of key {id} is wrong"));
            }
        }
        Ok(())
    }

    /// Notes a request, and says how it is answered; none: it is taken.
    fn decide(&self, headers: HeaderMap, body: &[u8]) -> Option<Answer> {
        let checked = self.check(&headers, body);
        let value: Value = serde_json::from_slice(body).expect("JSON");
        let set = value["set"].as_u64().expect("a set") as u32;
        let key = |event: &Value| event["event"].as_str().expect("a key").to_owned();
        let events: Vec<String> = value["events"].as_array().expect("a list").iter().map(key).collect();
        let mut seen = self.seen.lock();
        if let Err(wrong) = checked {
            seen.wrong.push(wrong);
        }
        let about = match (events.first(), events.last()) {
            (Some(first), Some(last)) if events.len() > 1 => format!("{first}..{last}"),
            (first, _) => first.cloned().unwrap_or_default(),
        };
        if headers["idempotency-key"] != about {
            seen.wrong.push(format!("{:?} for {about}", headers["idempotency-key"]));
        }
        seen.asked.push(Asked { headers, set, events: events.clone() });
        if seen.hanging.contains(&set) {
            return Some(Answer::Hang);
        }
        if let Some(status) = events.iter().find_map(|event| seen.refused.get(event)) {
            return Some(Answer::Status(*status));
        }
        if seen.events_max > 0 && events.len() > seen.events_max {
            return Some(Answer::Status(413));
        }
        let answer = seen.answers.pop_front();
        if matches!(answer, None | Some(Answer::Late(_) | Answer::Lost)) {
            seen.taken.entry(set).or_default().extend(events);
        }
        answer
    }
}

/// H((K xor opad) | H((K xor ipad) | message)), in hexadecimal digits.
fn hmac_sha256(secret: &[u8], message: &[u8]) -> String {
    let mut key = [0; 64];
    match secret.len() > key.len() {
        true => key[..32].copy_from_slice(&Sha256::digest(secret)),
        false => key[..secret.len()].copy_from_slice(secret),
    }
    let hash = |pad: u8, message: &[u8]| {
        let mut hash = Sha256::new();
        hash.update(key.map(|byte| byte ^ pad));
        hash.update(message);
        hash.finalize()
    };
    let outer = hash(0x5c, &hash(0x36, message));
    outer.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A receiver; it dies when it is dropped.
pub struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    stop: CancellationToken,
}

impl Receiver {
    /// On a free port.
    pub async fn start(book: &Book) -> Receiver {
        Receiver::start_at(super::address(), book, None).await
    }

    /// Over TLS.
    pub async fn start_tls(book: &Book, tls: TlsAcceptor) -> Receiver {
        Receiver::start_at(super::address(), book, Some(tls)).await
    }

    /// On that port.
    pub async fn start_at(address: SocketAddr, book: &Book, tls: Option<TlsAcceptor>) -> Receiver {
        let listener = super::until("the port is free", async || TcpListener::bind(address).await.ok()).await;
        let address = listener.local_addr().expect("bound");
        let (book, stop) = (book.clone(), CancellationToken::new());
        let connections = stop.clone();
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepted");
                let (book, tls) = (book.clone(), tls.clone());
                tokio::spawn(connections.clone().run_until_cancelled_owned(async move {
                    match tls {
                        None => serve(stream, book).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, book).await;
                            }
                        }
                    }
                }));
            }
        }));
        Receiver { address, stop }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, book: Book) {
    let service = service_fn(move |request| {
        let book = book.clone();
        async move { answer(&book, request).await }
    });
    // A broken connection is what some tests want.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(book: &Book, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let broken = || std::io::Error::other("as the test wants");
    let body = body.collect().await.map_err(|_| broken())?.to_bytes();
    let mut answer = Response::new(Full::new(Bytes::from_static(b"what the receiver says")));
    let mut status = |code: u16| *answer.status_mut() = StatusCode::from_u16(code).expect("a status");
    match book.decide(parts.headers, &body) {
        None => {}
        Some(Answer::Status(code)) => status(code),
        Some(Answer::Busy(seconds)) => {
            status(503);
            answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        Some(Answer::Redirect(to)) => {
            status(307);
            answer.headers_mut().insert(header::LOCATION, to.parse().expect("a URL"));
        }
        Some(Answer::Hang) => std::future::pending().await,
        Some(Answer::Break | Answer::Lost) => return Err(broken()),
        Some(Answer::Late(late)) => tokio::time::sleep(late).await,
    }
    Ok(answer)
}
