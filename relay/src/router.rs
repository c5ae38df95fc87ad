//! One request to a router over one connection of its own: a stream stays for as long as both ends want it, so there is nothing to
//! pool. What a router says instead of an answer is a [`Problem`].

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// How long a router may take to begin an answer. Longer than it waits for a set by itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is read of an answer that is no stream.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// What a router refuses with; docs/reference/errors.md has every code.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// The stable code.
    pub code: String,
    /// For people.
    #[serde(default)]
    pub detail: String,
}

/// Why there is no answer, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The router said so.
    #[error("{}: {}", .0.code, .0.detail)]
    Problem(Problem),
    /// The way there is broken.
    #[error("{0}")]
    Broken(String),
}

/// Whatever went wrong on the way.
pub fn broken(why: impl std::fmt::Display) -> Error {
    Error::Broken(why.to_string())
}

/// An answer that has begun.
pub struct Answer {
    /// What comes.
    pub body: Incoming,
    _connection: AbortOnDropHandle<()>,
}

/// Asks `router` (`ADDRESS:PORT`) for `path`, with these headers.
pub async fn get(router: &str, path: &str, headers: &[(header::HeaderName, &str)]) -> Result<Answer, Error> {
    tokio::time::timeout(PATIENCE, begin(router, path, headers))
        .await
        .map_err(|_| broken(format!("no answer within {PATIENCE:?}")))?
}

async fn begin(router: &str, path: &str, headers: &[(header::HeaderName, &str)]) -> Result<Answer, Error> {
    let stream = TcpStream::connect(router).await.map_err(broken)?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // The sender and the body learn of a broken connection by themselves.
    let connection = AbortOnDropHandle::new(tokio::spawn(async move {
        let _ = connection.await;
    }));
    let mut request = Request::get(path).header(header::HOST, router);
    for (name, value) in headers {
        request = request.header(name, HeaderValue::from_str(value).map_err(broken)?);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(broken)?;
    let answer = sender.send_request(request).await.map_err(broken)?;
    let status = answer.status();
    let answer = Answer { body: answer.into_body(), _connection: connection };
    match status {
        StatusCode::OK => Ok(answer),
        _ => Err(match serde_json::from_slice(&read(answer).await?) {
            Ok(problem) => Error::Problem(problem),
            Err(_) => broken(status),
        }),
    }
}

/// The whole of an answer that has an end.
pub async fn read(answer: Answer) -> Result<Bytes, Error> {
    let Answer { body, _connection } = answer;
    let whole = tokio::time::timeout(PATIENCE, Limited::new(body, ANSWER_BYTES_MAX).collect()).await;
    let whole = whole.map_err(|_| broken(format!("no end of the answer within {PATIENCE:?}")))?;
    Ok(whole.map_err(broken)?.to_bytes())
}

#[derive(Deserialize)]
struct Page {
    as_of: Vec<AsOf>,
}

#[derive(Deserialize)]
struct AsOf {
    set: u32,
}

/// The sets of the cluster, as a router knows them: a page of events names each.
pub async fn sets(router: &str) -> Result<Vec<u32>, Error> {
    let answer = get(router, "/v1/events?page_size=1&consistency=stale", &[]).await?;
    let page: Page = serde_json::from_slice(&read(answer).await?).map_err(broken)?;
    Ok(page.as_of.into_iter().map(|as_of| as_of.set).collect())
}
