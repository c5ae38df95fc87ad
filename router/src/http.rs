//! The HTTP/JSON server: limits, and the way from bytes to the core and back. One function per route stands in
//! [`crate::handlers`]; no layer stands between hyper and them, because one request per transaction is how most clients
//! work and every layer would cost each of them. Connections are [`crate::connections`]'s.

use std::convert::Infallible;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::config::DEADLINE_MS_MAX;
use crate::connections::{self, Bound};
use crate::error::{Code, Error};
use crate::metrics::{Call, Protocol};
use crate::platform::Listener;
use crate::routes::{self, Route};
use crate::unparsed::Connection;
use crate::{dry_run, events, guard, handlers, status};

/// How long a client may take to send the head of a request. The time that a connection is idle counts, so it must be
/// longer than what clients keep connections for; the number of connections is what bounds slow clients.
const HEADER_WAIT: Duration = Duration::from_secs(75);
/// How long a client may take to send a body.
const BODY_WAIT: Duration = Duration::from_secs(30);
/// More than hyper's 64 KiB of URL, so that too long a URL is told from too long a head.
const HEADER_BYTES_MAX: usize = 128 << 10;

/// What a connection hears that finds no place.
static FULL: LazyLock<Vec<u8>> =
    LazyLock::new(|| closing(&Error::new(Code::Overloaded, "too many connections; nothing was applied")));

/// What the server answers with.
pub type Reply = Response<Full<Bytes>>;

/// Such an answer, or one without an end of its own.
type AnyReply = Response<Either<Full<Bytes>, events::http::Body>>;

/// Serves until `stop`, then lets the requests in progress end.
pub async fn serve(listener: Box<dyn Listener>, api: Arc<Api>, stop: CancellationToken) {
    let bound = Bound { connections_max: api.limits.connections_max, full: &FULL };
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_WAIT).max_buf_size(HEADER_BYTES_MAX);
    connections::serve(listener, bound, &api.metrics, stop, |stream| {
        let api = api.clone();
        let service = service_fn(move |request| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(answer(&api, request).await) }
        });
        builder.serve_connection(TokioIo::new(Connection::new(stream)), service)
    })
    .await;
}

/// One request.
async fn answer(api: &Arc<Api>, request: Request<Incoming>) -> AnyReply {
    let start = Instant::now();
    let (parts, body) = request.into_parts();
    let found = guard::local(&parts).and_then(|()| routes::find(&parts.method, parts.uri.path()));
    let (route, params) = match found {
        Ok(found) => found,
        Err(error) => return no_route(&error, parts.uri.path()).map(Either::Left),
    };
    let Some(call) = call_of(route, parts.uri.query()) else {
        return handlers::of_the_router(api, route).map(Either::Left);
    };
    if events::http::wants_stream(route, &parts) {
        return stream(api, params, &parts, start).await;
    }
    let result = handle(api, route, params, &parts, body, start).await;
    api.metrics.call(Protocol::Http, call, &result, start.elapsed());
    match result {
        Ok(body) => json(StatusCode::OK, body),
        Err(error) => problem(&error),
    }
    .map(Either::Left)
}

/// A request for a stream of events.
async fn stream(
    api: &Arc<Api>,
    params: routes::Params,
    parts: &http::request::Parts,
    start: Instant,
) -> AnyReply {
    let opened = match deadline(api, parts) {
        Ok(wait) => events::http::stream(api, params, parts, start + wait).await,
        Err(error) => Err(error),
    };
    api.metrics.call(Protocol::Http, Call::Read, &opened, start.elapsed());
    match opened {
        Ok(reply) => reply.map(Either::Right),
        Err(error) => problem(&error).map(Either::Left),
    }
}

async fn handle(
    api: &Api,
    route: Route,
    params: routes::Params,
    parts: &http::request::Parts,
    body: Incoming,
    start: Instant,
) -> Result<Vec<u8>, Error> {
    let _place = api.admit()?;
    let deadline = start + deadline(api, parts)?;
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        guard::json_body(&parts.headers)?;
    }
    let body = read_body(body, api.limits.body_bytes_max).await?;
    handlers::ledger(api, route, params, parts.uri.query().unwrap_or(""), body, deadline).await
}

/// What a route is counted as; None: it is about the router itself.
fn call_of(route: Route, query: Option<&str>) -> Option<Call> {
    match route {
        Route::PostTransaction | Route::PostBatch if dry_run::http::is_asked(query) => Some(Call::DryRun),
        Route::DefineCurrency | Route::DefineSubject => Some(Call::Define),
        Route::OpenAccount
        | Route::SetLimit
        | Route::Freeze
        | Route::Unfreeze
        | Route::SetPostingMode
        | Route::SetSweep
        | Route::RemoveSweep
        | Route::CloseAccount => Some(Call::Account),
        Route::PostTransaction | Route::CaptureHold | Route::ResolveSuspense => Some(Call::Transaction),
        Route::PlaceHold | Route::ReleaseHold | Route::ExtendHold => Some(Call::Hold),
        Route::ReleaseRestriction => Some(Call::Restriction),
        Route::PostBatch => Some(Call::Batch),
        Route::Reverse => Some(Call::Reversal),
        Route::GetAccount
        | Route::GetStatement
        | Route::GetBalance
        | Route::GetTransaction
        | Route::ListTransactions
        | Route::FindTransactions
        | Route::GetClearing
        | Route::GetRecovery
        | Route::GetRequest
        | Route::GetHold
        | Route::ListHolds
        | Route::ListOverdueHolds
        | Route::GetInTransit
        | Route::ListSuspense
        | Route::GetRestriction
        | Route::ListRestrictions
        | Route::GetSweep
        | Route::ListSweeps
        | Route::ListEvents
        | Route::ListAllEvents => Some(Call::Read),
        Route::OpenApi | Route::Health | Route::Ready | Route::Metrics => None,
    }
}

fn deadline(api: &Api, parts: &http::request::Parts) -> Result<Duration, Error> {
    let mut values = parts.headers.get_all("twinset-deadline-ms").iter();
    let Some(value) = values.next() else { return Ok(api.limits.deadline()) };
    let ms = value.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    match ms.filter(|ms| (1..=DEADLINE_MS_MAX).contains(ms) && values.next().is_none()) {
        Some(ms) => Ok(Duration::from_millis(ms)),
        None => {
            Err(Error::malformed(format!("Twinset-Deadline-Ms is one number from 1 to {DEADLINE_MS_MAX}")))
        }
    }
}

async fn read_body(body: Incoming, bytes_max: usize) -> Result<Bytes, Error> {
    let too_large = || Error::new(Code::BodyTooLarge, format!("a body has at most {bytes_max} bytes"));
    if hyper::body::Body::size_hint(&body).lower() > bytes_max as u64 {
        return Err(too_large());
    }
    let read = tokio::time::timeout(BODY_WAIT, Limited::new(body, bytes_max).collect());
    match read.await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Error::malformed(format!("the body ended too soon: {error}"))),
        Err(_) => Err(Error::malformed("the body did not come in time")),
    }
}

/// A reply in JSON.
pub fn json(status: StatusCode, body: Vec<u8>) -> Reply {
    typed(status, "application/json", body)
}

/// A reply of some type.
pub fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// An error as a reply.
pub fn problem(error: &Error) -> Reply {
    let problem = status::problem(error);
    let code = StatusCode::from_u16(problem.status).expect("the table has valid statuses");
    let body = serde_json::to_vec(&problem).expect("a problem is plain JSON");
    let mut reply = typed(code, "application/problem+json", body);
    if let Some(seconds) = status::retry_after(error) {
        reply.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
    }
    if code == StatusCode::PAYLOAD_TOO_LARGE {
        // The rest of the body is not read: the connection cannot be used again.
        reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    reply
}

/// The reply to a request that was not for any route; one for another method of this path hears which it knows.
fn no_route(error: &Error, path: &str) -> Reply {
    let mut reply = problem(error);
    if reply.status() == StatusCode::METHOD_NOT_ALLOWED {
        let allowed = HeaderValue::from_str(&routes::allowed(path)).expect("methods are ASCII");
        reply.headers_mut().insert(header::ALLOW, allowed);
    }
    reply
}

/// An error as the bytes of a whole reply, for a connection that is closed after it.
pub fn closing(error: &Error) -> Vec<u8> {
    let (parts, _) = problem(error).into_parts();
    let body = serde_json::to_vec(&status::problem(error)).expect("a problem is plain JSON");
    let mut bytes =
        format!("HTTP/1.1 {}\r\nconnection: close\r\ncontent-length: {}\r\n", parts.status, body.len())
            .into_bytes();
    for (name, value) in &parts.headers {
        if name != header::CONNECTION {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&body);
    bytes
}

#[cfg(test)]
mod tests {
    use super::FULL;

    #[test]
    fn a_connection_without_a_place_hears_a_whole_reply_of_the_table() {
        let text = std::str::from_utf8(&FULL).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
        assert!(head.starts_with("HTTP/1.1 429 Too Many Requests\r\n"), "{head}");
        for line in ["content-type: application/problem+json", "retry-after: 1", "connection: close"] {
            assert!(head.lines().any(|found| found == line), "{line} is not in {head}");
        }
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!((&body["code"], &body["status"]), (&"overloaded".into(), &429.into()));
    }
}
