//! The HTTP/JSON server: connections, limits, and the way from bytes to the core and back. One function per route
//! stands in [`crate::handlers`]; no layer stands between hyper and them, because one request per transaction is how
//! most clients work and every layer would cost each of them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api::Api;
use crate::config::DEADLINE_MS_MAX;
use crate::error::{Code, Error};
use crate::handlers;
use crate::metrics::{Call, Protocol};
use crate::routes::{self, Route};
use crate::status;

/// How long a client may take to send the head of a request. The time that a connection is idle counts, so it must be
/// longer than what clients keep connections for; the number of connections is what bounds slow clients.
const HEADER_WAIT: Duration = Duration::from_secs(75);
/// How long a client may take to send a body.
const BODY_WAIT: Duration = Duration::from_secs(30);
const HEADER_BYTES_MAX: usize = 64 << 10;
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 123\r\n\r\n{\"type\":\"about:blank\",\"title\":\"Too many connections.\",\"status\":503,\"code\":\"overloaded\",\"outcome\":\"not_applied\",\"detail\":\"\"}";

/// What the server answers with.
pub type Reply = Response<Full<Bytes>>;

/// Serves until `stop`, then lets the requests in progress end.
pub async fn serve(listener: TcpListener, api: Arc<Api>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(api.limits.connections_max));
    let graceful = GracefulShutdown::new();
    let tasks = TaskTracker::new();
    loop {
        let stream = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Usually out of file descriptors: give those in use a moment to be closed.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            refuse(&api, &stream);
            continue;
        };
        // Without it small replies wait for the client's acknowledgement; an error only costs that.
        let _ = stream.set_nodelay(true);
        let api = api.clone();
        let service = service_fn(move |request| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(answer(&api, request).await) }
        });
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(HEADER_WAIT).max_buf_size(HEADER_BYTES_MAX);
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tasks.spawn(async move {
            // Clients break connections all the time; there is nobody to tell.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
    tasks.close();
    tasks.wait().await;
}

fn refuse(api: &Api, stream: &TcpStream) {
    api.metrics.connection_refused();
    // A courtesy: the connection is closed either way.
    let _ = stream.try_write(FULL);
}

/// One request.
async fn answer(api: &Api, request: Request<Incoming>) -> Reply {
    let start = Instant::now();
    let (parts, body) = request.into_parts();
    let (route, params) = match routes::find(&parts.method, parts.uri.path()) {
        Ok(found) => found,
        Err(error) => return problem(&error),
    };
    let Some(call) = call_of(route) else { return handlers::of_the_router(api, route) };
    let result = handle(api, route, params, &parts, body, start).await;
    api.metrics.call(Protocol::Http, call, &result, start.elapsed());
    match result {
        Ok(body) => json(StatusCode::OK, body),
        Err(error) => problem(&error),
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
    let body = read_body(body, api.limits.body_bytes_max).await?;
    handlers::ledger(api, route, params, parts.uri.query().unwrap_or(""), &body, deadline).await
}

/// What a route is counted as; None: it is about the router itself.
fn call_of(route: Route) -> Option<Call> {
    match route {
        Route::DefineCurrency | Route::DefineSubject => Some(Call::Define),
        Route::OpenAccount | Route::SetLimit | Route::Freeze | Route::Unfreeze | Route::CloseAccount => {
            Some(Call::Account)
        }
        Route::PostTransaction => Some(Call::Transaction),
        Route::PostBatch => Some(Call::Batch),
        Route::Reverse => Some(Call::Reversal),
        Route::GetAccount | Route::GetTransaction | Route::ListTransactions | Route::GetRequest => {
            Some(Call::Read)
        }
        Route::OpenApi | Route::Health | Route::Ready | Route::Metrics => None,
    }
}

fn deadline(api: &Api, parts: &http::request::Parts) -> Result<Duration, Error> {
    let Some(value) = parts.headers.get("twinset-deadline-ms") else { return Ok(api.limits.deadline()) };
    let ms = value.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    match ms.filter(|ms| (1..=DEADLINE_MS_MAX).contains(ms)) {
        Some(ms) => Ok(Duration::from_millis(ms)),
        None => Err(Error::malformed(format!("Twinset-Deadline-Ms is a number from 1 to {DEADLINE_MS_MAX}"))),
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

#[cfg(test)]
mod tests {
    use super::FULL;

    #[test]
    fn the_canned_refusal_is_a_whole_reply() {
        let text = std::str::from_utf8(FULL).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
        assert!(
            head.contains(&format!("content-length: {}", body.len())),
            "the body has {} bytes",
            body.len()
        );
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!(body["code"], "overloaded");
    }
}
